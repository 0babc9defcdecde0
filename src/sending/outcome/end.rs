//! How a request ended, and what that means for its items.

use std::ops::Range;
use std::time::Duration;

use crate::core::data::payload::Payload;
use crate::core::data::settlement::Share;
use crate::core::error::{ConsumeError, Reason};
use crate::otlp::regroup::portion::items_in;
use crate::sending::outcome::answer::AnswerFault;
use crate::sending::outcome::message_owners::Owners;
use crate::sending::outcome::tally::Tally;
use crate::sending::report::condition::Trouble;

/// How one request ended.
pub enum RequestEnd {
    Taken {
        rejected: u64,
        message: String,
    },
    Never {
        fault: AnswerFault,
        trouble: Trouble,
    },
    GaveUp {
        reason: Reason,
        after: Option<Duration>,
        trouble: Trouble,
    },
    /// Nobody waits for it any more.
    Abandoned,
    Over,
}

/// A search is over: these messages, all that is still open, end alike.
pub fn finish(payload: &Payload, owners: &mut Owners, messages: &[Range<usize>], end: RequestEnd, tally: &mut Tally) {
    match messages {
        // Nothing was at fault after all.
        [] => tally.deliver(0, owners.left()),
        _ => take(tally, items_in(payload, messages), owners.left(), end),
    }
}

/// Enters the end of a request into the tally.
pub fn take(tally: &mut Tally, items: u64, mut share: Share, end: RequestEnd) {
    match end {
        RequestEnd::Taken { rejected, message } => {
            tally.answered = true;
            if rejected > 0 {
                let apart = rejected < items && share.is_merged();
                let whose = if apart { " (of several requests sent together, counted in proportion)" } else { "" };
                let message = format!("rejected by the next hop{whose}: {message}");
                let error = ConsumeError::rejected(Reason::PARTIAL_SUCCESS, message);
                tally.lose(rejected, share.spread(rejected), error);
            }
            tally.deliver(items - rejected, share);
        }
        RequestEnd::Never { fault, trouble } => {
            let reason = if fault == AnswerFault::Size { Reason::TOO_LARGE } else { Reason::PERMANENT };
            tally.lose(items, share, ConsumeError::rejected(reason, format!("{}: {}", trouble.code, trouble.message)));
        }
        RequestEnd::GaveUp { reason, after, trouble } => {
            let message = format!("{}: {}", trouble.code, trouble.message);
            tally.lose(items, share, ConsumeError::Refused { reason, after, message });
        }
        RequestEnd::Abandoned => {
            let message = "the sender no longer waits for the answer";
            tally.lose(items, share, ConsumeError::refused(Reason::ABANDONED, message));
        }
        RequestEnd::Over => tally.lose(items, share, ConsumeError::refused(Reason::SHUTDOWN, "shutting down")),
    }
}

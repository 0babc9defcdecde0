//! What passes between the watch and its shell: requests and effects out, answers and time in.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Health, Verb};
use crate::kube::decode::{ApiStatus, Event, ListEnd, Seen};
use crate::kube::pod::Pod;

/// A request to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A watch that begins with all objects and marks their end (sendInitialEvents). `at_least`: not older than this.
    StreamingList {
        at_least: Option<String>,
        timeout_seconds: u32,
    },
    /// One page of a list; `page` is the continue token. `limit` 0 asks for everything at once.
    List {
        at_least: Option<String>,
        page: Option<String>,
        limit: u32,
    },
    Watch {
        from: String,
        timeout_seconds: u32,
    },
}

impl Ask {
    pub fn verb(&self) -> Verb {
        match self {
            Ask::List { .. } => Verb::List,
            Ask::StreamingList { .. } | Ask::Watch { .. } => Verb::Watch,
        }
    }
}

/// What the shell saw. Inputs that do not fit the state are ignored.
#[derive(Debug)]
pub enum Input {
    /// The answer's head, status 200.
    Opened,
    /// Any other status; `retry_after` from the header.
    Refused { status: ApiStatus, retry_after: Option<Duration> },
    /// A line of a watch.
    Event(Event),
    /// An item of a page.
    Item(Seen),
    /// The end of a page.
    Page(ListEnd),
    /// A body that is not what an API server sends.
    Garbage(String),
    /// The body of a watch ended as it should.
    Ended,
    /// No connection, a reset, a body cut off.
    Failed(String),
    /// The deadline passed.
    Timer,
}

/// What the shell is to do, in order. A request under way is dropped when [`Watch::is_waiting`](super::Watch::is_waiting) afterwards.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// Read token, CA and kubeconfig again before the next request.
    RenewCredentials,
    Request(Ask),
    Applied(Seen),
    Deleted {
        uid: Arc<str>,
        last: Option<Pod>,
        version: String,
    },
    /// A complete list.
    Listed(Vec<Seen>),
    /// Emitted on change only.
    Report(Health),
}

/// What came before the server was reached again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Requests failed.
    Failures,
    /// The stream was open, and nothing came.
    Silence,
}

/// When the watch last heard what; all on the monotonic clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heard {
    pub event: Option<Instant>,
    pub bookmark: Option<Instant>,
    pub listed: Option<Instant>,
    /// A request was answered after something else: what could not be told meanwhile is still on its way.
    pub reached_again: Option<(Instant, After)>,
    /// A bookmark or a list whose version was not the one we had: the server heard of its store. The same version again
    /// proves only that the server itself lives.
    pub advanced: Option<Instant>,
}

impl Heard {
    /// The latest sign of life.
    pub fn latest(&self) -> Option<Instant> {
        self.event.max(self.bookmark).max(self.listed)
    }

    /// The latest proof that what the store knew has reached us.
    pub fn proof(&self) -> Option<Instant> {
        self.event.max(self.advanced)
    }
}

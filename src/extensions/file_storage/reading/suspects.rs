//! Records of an earlier process that were just handed on: were the process to end now, one of them might be why. Said on
//! disk before they are handed on; at three such crashes a record is put aside as a dead letter.
//!
//! A record that the process has survived by some seconds is no suspect any more, however long it waits for its next hop.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::core::lock::Locked;
use crate::wal::body::{Mark, What};
use crate::wal::writer::reading::Recovered;

/// What ends a process does so when it is mapped or sent, at once.
const SURVIVED_AFTER: Duration = Duration::from_secs(2);
/// Suspects at a time; with as many no more are noted.
const SUSPECTS_MAX: usize = 10_000;

/// Records on probation, with the crashes they had before, in the order in which they were handed on.
#[derive(Debug, Default)]
pub struct Suspects(Mutex<VecDeque<(Instant, u64, u8)>>);

impl Suspects {
    /// Notes those of an earlier process; what is to be durable before they are handed on.
    pub fn note<'a>(&self, records: impl Iterator<Item = &'a Recovered>, now: Instant) -> Vec<Mark> {
        let mut held = self.0.locked();
        let mut marks = Vec::new();
        for record in records.filter(|record| !record.parked) {
            if held.len() >= SUSPECTS_MAX {
                break;
            }
            held.push_back((now + SURVIVED_AFTER, record.record, record.crashes));
            marks.push(whole(record.record, What::Sent));
        }
        marks
    }

    /// What is said of those whose time is over: in flight at no further crash.
    pub fn survivors(&self, now: Instant) -> Vec<Mark> {
        let mut held = self.0.locked();
        let over = held.partition_point(|(until, ..)| *until <= now);
        held.drain(..over).map(|(_, record, crashes)| whole(record, What::Crashed(crashes))).collect()
    }
}

fn whole(record: u64, what: What) -> Mark {
    Mark { record, from: 0, to: u32::MAX, what }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_record_of_an_earlier_process_is_suspect_until_the_process_has_survived_it() {
        let suspects = Suspects::default();
        let of = |record, parked| Recovered {
            record,
            description: None,
            described: Bytes::new(),
            payload: Bytes::new(),
            items: 1,
            left: vec![(0, 1)],
            doubt: false,
            crashes: 1,
            parked,
        };
        let now = Instant::now();
        let records = [of(7, false), of(8, true), of(9, false)];
        assert_eq!(suspects.note(records.iter(), now), [whole(7, What::Sent), whole(9, What::Sent)]);
        assert_eq!(suspects.survivors(now + SURVIVED_AFTER / 2), []);
        let survived = suspects.survivors(now + SURVIVED_AFTER);
        assert_eq!(survived, [whole(7, What::Crashed(1)), whole(9, What::Crashed(1))]);
        assert_eq!(suspects.survivors(now + SURVIVED_AFTER), []);
    }
}

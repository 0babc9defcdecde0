//! Which messages of a rejected batch are to blame: a search by halving that sends the good ones on the way.
//!
//! After a permanent error one message at least is faulty. The first half of the suspects is sent: taken, the fault is in the
//! other half, which need not be tried as a whole; rejected, the other half is set aside as presumed good. What was set
//! aside goes out in one request at the end. That makes log2(n) + 1 requests for one faulty message among n; with several,
//! the last request may fail too and its messages are lost with a count. Pure: knows message numbers only.

use std::ops::Range;
use std::time::Duration;

use tokio::time::Instant;

/// The search within one batch.
#[derive(Debug)]
pub struct Isolation {
    suspects: Range<usize>,
    set_aside: Vec<Range<usize>>,
    trying: Trying,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trying {
    /// The first half of the suspects.
    Half,
    /// What was set aside; goes out last.
    Rest,
    /// The last suspect itself, which nothing but elimination has blamed so far.
    Last,
    Nothing,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SearchStep {
    Send(Vec<Range<usize>>),
    /// These messages are dropped; all others were taken.
    Done(Vec<Range<usize>>),
}

impl Isolation {
    /// `messages` is at least 2: one message needs no search.
    pub fn new(messages: usize) -> Isolation {
        Isolation { suspects: 0..messages, set_aside: Vec::new(), trying: Trying::Half }
    }

    pub fn step(&mut self) -> SearchStep {
        if self.trying == Trying::Half && self.suspects.len() <= 1 {
            self.trying = if self.set_aside.is_empty() { Trying::Last } else { Trying::Rest };
        }
        match self.trying {
            Trying::Half => SearchStep::Send(vec![self.first_half()]),
            Trying::Rest => SearchStep::Send(self.set_aside.clone()),
            Trying::Last => SearchStep::Send(vec![self.suspects.clone()]),
            Trying::Nothing => {
                let mut lost = std::mem::take(&mut self.set_aside);
                lost.push(std::mem::take(&mut self.suspects));
                lost.retain(|range| !range.is_empty());
                SearchStep::Done(lost)
            }
        }
    }

    /// The answer to what the last step sent.
    pub fn answered(&mut self, taken: bool) {
        let half = self.first_half();
        match (self.trying, taken) {
            (Trying::Half, true) => self.suspects.start = half.end,
            (Trying::Half, false) => {
                self.set_aside.push(half.end..self.suspects.end);
                self.suspects.end = half.end;
            }
            (Trying::Rest, true) => self.set_aside.clear(),
            (Trying::Last, true) => self.suspects = 0..0,
            (Trying::Rest | Trying::Last | Trying::Nothing, _) => {}
        }
        if self.trying != Trying::Half {
            self.trying = Trying::Nothing;
        }
    }

    /// What is neither taken nor known to be faulty, when the search is given up.
    pub fn abandon(mut self) -> Vec<Range<usize>> {
        let mut open = std::mem::take(&mut self.set_aside);
        open.push(self.suspects);
        open
    }

    fn first_half(&self) -> Range<usize> {
        self.suspects.start..self.suspects.start + self.suspects.len().div_ceil(2)
    }
}

/// Requests an exporter may spend on searching: ten at once, ten more each second.
#[derive(Debug)]
pub struct SearchAllowance {
    used: u32,
    since: Instant,
}

impl SearchAllowance {
    const PER_SECOND: u32 = 10;
    const REFILL: Duration = Duration::from_millis(1000 / SearchAllowance::PER_SECOND as u64);

    pub fn new(now: Instant) -> SearchAllowance {
        SearchAllowance { used: 0, since: now }
    }

    /// Takes one request, or says when one is free.
    pub fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let refilled = now.saturating_duration_since(self.since).as_millis() / SearchAllowance::REFILL.as_millis();
        let refilled = u32::try_from(refilled).unwrap_or(u32::MAX);
        self.used = self.used.saturating_sub(refilled);
        self.since = if self.used == 0 { now } else { self.since + SearchAllowance::REFILL * refilled };
        if self.used < SearchAllowance::PER_SECOND {
            self.used += 1;
            return Ok(());
        }
        Err(self.since + SearchAllowance::REFILL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a search; gives the requests used and the messages dropped. Checks that each message ends exactly once.
    fn search(messages: usize, faulty: &[usize]) -> (usize, Vec<usize>) {
        let mut isolation = Isolation::new(messages);
        let (mut taken, mut requests) = (Vec::new(), 0);
        loop {
            match isolation.step() {
                SearchStep::Send(ranges) => {
                    requests += 1;
                    let sent: Vec<usize> = ranges.into_iter().flatten().collect();
                    assert!(!sent.is_empty());
                    let good = !sent.iter().any(|message| faulty.contains(message));
                    if good {
                        taken.extend(sent);
                    }
                    isolation.answered(good);
                }
                SearchStep::Done(ranges) => {
                    let lost: Vec<usize> = ranges.into_iter().flatten().collect();
                    taken.extend(&lost);
                    taken.sort_unstable();
                    assert_eq!(taken, (0..messages).collect::<Vec<_>>(), "{faulty:?}");
                    return (requests, lost);
                }
            }
        }
    }

    #[test]
    fn one_faulty_message_is_found_alone_within_log2_plus_one_requests() {
        for messages in [2usize, 3, 7, 8, 100, 500, 513] {
            let allowed = messages.next_power_of_two().ilog2() as usize + 1;
            for faulty in 0..messages {
                let (requests, lost) = search(messages, &[faulty]);
                assert_eq!(lost, [faulty], "{messages}");
                assert!(requests <= allowed, "{messages}, {faulty}: {requests} requests");
            }
        }
    }

    #[test]
    fn several_faulty_messages_still_end_within_the_bound_and_each_message_ends_once() {
        let mut random = fastrand::Rng::with_seed(11);
        for round in 0..300 {
            let messages = random.usize(2..400);
            let faulty: Vec<usize> = (0..random.usize(2..6)).map(|_| random.usize(0..messages)).collect();
            let (requests, lost) = search(messages, &faulty);
            assert!(requests <= messages.next_power_of_two().ilog2() as usize + 1, "seed 11, round {round}");
            assert!(faulty.iter().all(|message| lost.contains(message)), "seed 11, round {round}");
        }
    }

    #[test]
    fn nothing_is_dropped_when_the_error_was_not_the_messages_fault() {
        assert!(search(500, &[]).1.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn ten_requests_are_free_and_then_ten_a_second() {
        let start = Instant::now();
        let mut allowance = SearchAllowance::new(start);
        assert!((0..10).all(|_| allowance.take(start).is_ok()));
        assert_eq!(allowance.take(start), Err(start + Duration::from_millis(100)));
        let granted = (0..2000).filter(|ms| allowance.take(start + Duration::from_millis(*ms)).is_ok()).count();
        assert_eq!(granted, 19);
    }
}

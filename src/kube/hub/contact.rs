//! Whether the API server still answers: a stream that is silent may be quiet, or the server may be cut off from its store.
//!
//! Bookmarks tell only once a minute. Reads of single pods tell at once: they are served by the store, so that one that
//! fails or is not answered means that nothing newer than its request can be known to be in the snapshot. When it is
//! over, kubelets still have to tell what they could not. Pure: times are arguments. It knows neither requests nor pods.

use std::time::Duration;

use tokio::time::Instant;

/// An answer that takes longer is owed.
const PATIENCE: Duration = Duration::from_secs(1);

/// What kubelets could not write they write again after at most ten seconds (the status manager's period).
const CATCHING_UP: Duration = Duration::from_secs(12);

/// How a read of one pod ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// The store was asked: the pod, or that there is none.
    ByStore,
    /// By the server alone (no right, too many requests): nothing is known of the store.
    ByServer,
    /// Not at all, or with an error of the server.
    Failed,
}

#[derive(Clone, Copy, Debug)]
struct Doubt {
    /// When the first read was asked that failed.
    since: Instant,
    /// When the last of them did.
    known_at: Instant,
    /// Somebody repeats a read until it succeeds.
    probed: bool,
}

/// What reads of single pods tell of the server.
#[derive(Debug, Default)]
pub struct Contact {
    under_way: Vec<Instant>,
    /// When the latest read was asked that succeeded.
    good: Option<Instant>,
    doubt: Option<Doubt>,
    /// The server was away since the first of these times; until the second, statuses of then are on their way.
    away: Option<(Instant, Instant)>,
}

impl Contact {
    pub fn asked(&mut self, at: Instant) {
        self.under_way.push(at);
    }

    /// The end of the read that was asked at `asked`. True when the caller should repeat it until it succeeds.
    pub fn answered(&mut self, asked: Instant, how: Answered, now: Instant) -> bool {
        if let Some(at) = self.under_way.iter().position(|at| *at == asked) {
            self.under_way.swap_remove(at);
        }
        match how {
            Answered::ByStore => {
                self.good = self.good.max(Some(asked));
                if let Some(over) = self.doubt.take_if(|doubt| asked > doubt.since) {
                    self.back(over.since, now);
                }
                false
            }
            Answered::ByServer => false,
            Answered::Failed => {
                let since = self.good.map_or(asked, |good| good.max(asked));
                let before = self.doubt;
                let since = before.map_or(since, |doubt| doubt.since.min(since));
                self.doubt = Some(Doubt { since, known_at: now, probed: true });
                !before.is_some_and(|doubt| doubt.probed)
            }
        }
    }

    /// The server is back after it was away since `since`, as the end of a doubt or the stream shows.
    pub fn back(&mut self, since: Instant, now: Instant) {
        let since = self.away.filter(|(_, until)| now < *until).map_or(since, |(before, _)| before.min(since));
        self.away = Some((since, now + CATCHING_UP));
    }

    /// The one who repeats its read goes on doing so. It ends by success, or by what the stream brought since.
    pub fn still_doubted(&mut self, alive: Option<Instant>) -> bool {
        let over = self.doubt.take_if(|doubt| alive.is_some_and(|alive| alive > doubt.known_at));
        if let (Some(over), Some(alive)) = (over, alive) {
            self.back(over.since, alive);
        }
        self.doubt.is_some()
    }

    /// The snapshot may lack what happened after this; `None` when nothing speaks against it. `alive`: when the stream
    /// last brought an event or a bookmark.
    pub fn doubted_since(&self, now: Instant, alive: Option<Instant>) -> Option<Instant> {
        let until_heard = |since: Instant| alive.map_or(since, |alive| alive.max(since));
        let away = self.away.filter(|(_, until)| now < *until).map(|(since, _)| since);
        let owed = self.under_way.iter().filter(|asked| now.duration_since(**asked) > PATIENCE);
        // A doubt that the stream has ended since leaves what an outage leaves.
        let ended = |doubt: &Doubt| alive.is_some_and(|alive| alive > doubt.known_at);
        let caught_up = |alive: Instant| now.duration_since(alive) > CATCHING_UP;
        let after = self.doubt.filter(|doubt| ended(doubt) && !alive.is_some_and(caught_up)).map(|doubt| doubt.since);
        let failed = self.doubt.filter(|doubt| !ended(doubt)).map(|doubt| doubt.since);
        let silent = owed.copied().chain(failed).min().map(until_heard);
        [silent, after, away].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(of: Instant, after: u64) -> Instant {
        of + Duration::from_secs(after)
    }

    #[tokio::test]
    async fn an_answer_that_is_owed_casts_doubt_from_its_request_on() {
        let start = Instant::now();
        let at = |seconds| second(start, seconds);
        let mut contact = Contact::default();
        contact.asked(at(10));
        assert_eq!(contact.doubted_since(at(11), None), None, "it may still come");
        assert_eq!(contact.doubted_since(at(12), None), Some(at(10)));
        assert_eq!(contact.doubted_since(at(14), Some(at(13))), Some(at(13)), "the stream brought something since");
        assert!(!contact.answered(at(10), Answered::ByStore, at(15)));
        assert_eq!(contact.doubted_since(at(16), None), None, "a slow answer is no outage");
    }

    #[tokio::test]
    async fn a_failure_casts_doubt_until_the_store_or_the_stream_answers() {
        let start = Instant::now();
        let at = |seconds| second(start, seconds);
        let failed = || {
            let mut contact = Contact::default();
            contact.asked(at(10));
            assert!(contact.answered(at(10), Answered::Failed, at(20)), "somebody must find out when it is over");
            assert_eq!(contact.doubted_since(at(30), Some(at(5))), Some(at(10)));
            contact
        };
        let mut contact = failed();
        contact.asked(at(21));
        assert!(!contact.answered(at(21), Answered::Failed, at(22)), "one is enough");
        assert_eq!(contact.doubted_since(at(30), None), Some(at(10)));

        let mut contact = failed();
        contact.answered(at(31), Answered::ByServer, at(31));
        assert_eq!(contact.doubted_since(at(32), None), Some(at(10)), "a refusal says nothing of the store");
        contact.answered(at(33), Answered::ByStore, at(33));
        assert_eq!(contact.doubted_since(at(34), None), Some(at(10)), "kubelets have to catch up");
        assert_eq!(contact.doubted_since(at(46), None), None);

        let mut contact = failed();
        assert_eq!(contact.doubted_since(at(30), Some(at(15))), Some(at(15)), "heard before the failure was known");
        assert!(contact.still_doubted(Some(at(15))));
        for _ in 0..2 {
            assert_eq!(contact.doubted_since(at(30), Some(at(25))), Some(at(10)), "heard after it: catching up");
            assert_eq!(contact.doubted_since(at(38), Some(at(25))), None);
            assert!(!contact.still_doubted(Some(at(25))));
        }
    }

    #[tokio::test]
    async fn outages_that_follow_each_other_closely_are_one() {
        let start = Instant::now();
        let at = |seconds| second(start, seconds);
        let mut contact = Contact::default();
        contact.back(at(10), at(20));
        contact.back(at(25), at(30));
        assert_eq!(contact.doubted_since(at(41), None), Some(at(10)));
        assert_eq!(contact.doubted_since(at(42), None), None);
    }

    #[tokio::test]
    async fn a_failure_speaks_for_the_time_since_the_last_success_only() {
        let start = Instant::now();
        let at = |seconds| second(start, seconds);
        let mut contact = Contact::default();
        contact.asked(at(10));
        contact.asked(at(14));
        contact.answered(at(14), Answered::ByStore, at(15));
        contact.answered(at(10), Answered::Failed, at(20));
        assert_eq!(contact.doubted_since(at(30), None), Some(at(14)));
    }
}

//! Whether the API server still answers: a stream that is silent may be quiet, or the server may be cut off from its store.
//!
//! Bookmarks tell only once a minute. Reads of single pods tell at once: they are served by the store, so that one that
//! fails or is not answered means that nothing newer than its request can be known to be in the snapshot. Pure: times
//! are arguments. It knows neither requests nor pods.

use std::time::Duration;

use tokio::time::Instant;

/// An answer that takes longer is owed.
const PATIENCE: Duration = Duration::from_secs(1);

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
                self.doubt = self.doubt.filter(|doubt| asked <= doubt.since);
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

    /// The one who repeats its read goes on doing so. It ends by success, or by what the stream brought since.
    pub fn still_doubted(&mut self, alive: Option<Instant>) -> bool {
        self.doubt = self.doubt.filter(|doubt| alive.is_none_or(|alive| alive <= doubt.known_at));
        self.doubt.is_some()
    }

    /// The snapshot may lack what happened after this; `None` when nothing speaks against it. `alive`: when the stream
    /// last brought an event or a bookmark.
    pub fn doubted_since(&self, now: Instant, alive: Option<Instant>) -> Option<Instant> {
        let until_heard = |since: Instant| alive.map_or(since, |alive| alive.max(since));
        let owed = self.under_way.iter().filter(|asked| now.duration_since(**asked) > PATIENCE);
        let failed = self.doubt.filter(|doubt| alive.is_none_or(|alive| alive <= doubt.known_at));
        owed.copied().chain(failed.map(|doubt| doubt.since)).min().map(until_heard)
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
        assert_eq!(contact.doubted_since(at(16), None), None);
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
        assert_eq!(contact.doubted_since(at(34), None), None);

        let mut contact = failed();
        assert_eq!(contact.doubted_since(at(30), Some(at(15))), Some(at(15)), "heard before the failure was known");
        assert!(contact.still_doubted(Some(at(15))));
        assert_eq!(contact.doubted_since(at(30), Some(at(25))), None, "heard after it");
        assert!(!contact.still_doubted(Some(at(25))));
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

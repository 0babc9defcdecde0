//! Whether the API server still answers: a stream that is silent may be quiet, or the server may be cut off from its store.
//!
//! Bookmarks tell only once a minute. Reads of single pods tell at once: they are served by the store, so that one that
//! fails or is not answered means that nothing newer than its request can be known to be in the snapshot. When it is
//! over, kubelets still have to tell what they could not. Pure: times are arguments. It knows neither requests nor pods.

use std::time::Duration;

use tokio::time::Instant;

use crate::kube::watch::After;

/// An answer that takes longer is owed.
const PATIENCE: Duration = Duration::from_secs(1);

/// What kubelets could not write they write again after at most ten seconds (the status manager's period).
const CATCHING_UP: Duration = Duration::from_secs(12);

/// An answer that took longer than statuses may is the end of an outage, though nothing failed: a server that stood still
/// answers when it goes on, and kubelets still have to write what they could not.
const STOOD_STILL: Duration = crate::kube::ledger::FRESHNESS;

/// Longer than anything waits for an id.
const LONG: Duration = Duration::from_secs(3_600);

/// How a read of one pod ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// The store was asked: the pod, or that there is none.
    ByStore,
    /// By the server alone (too many requests): nothing is known of the store.
    ByServer,
    /// By the server alone, which does not let us ask.
    Forbidden,
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
pub struct Reachability {
    under_way: Vec<Instant>,
    /// When the latest read was asked that succeeded.
    good: Option<Instant>,
    doubt: Option<Doubt>,
    /// The server was away since the first of these times (`None`: for as long as we have been asking); until the second,
    /// statuses of then are on their way.
    away: Option<(Option<Instant>, Instant)>,
    /// The last answer was that we have no right to ask.
    mute: bool,
}

impl Reachability {
    pub fn asked(&mut self, at: Instant) {
        self.under_way.push(at);
    }

    /// The end of the read that was asked at `asked`. True when the caller should repeat it until it succeeds.
    pub fn answered(&mut self, asked: Instant, how: Answered, now: Instant) -> bool {
        if let Some(at) = self.under_way.iter().position(|at| *at == asked) {
            self.under_way.swap_remove(at);
        }
        self.mute = how == Answered::Forbidden || self.mute && how != Answered::ByStore;
        match how {
            Answered::ByStore => {
                if now.duration_since(asked) > STOOD_STILL {
                    // It may have stood still since the last answer before.
                    self.back(self.good.filter(|good| *good < asked), now);
                }
                self.good = self.good.max(Some(asked));
                if let Some(over) = self.doubt.take_if(|doubt| asked > doubt.since) {
                    self.back(Some(over.since), now);
                }
                false
            }
            Answered::ByServer | Answered::Forbidden => false,
            Answered::Failed => {
                let since = self.good.map_or(asked, |good| good.max(asked));
                let before = self.doubt;
                let since = before.map_or(since, |doubt| doubt.since.min(since));
                self.doubt = Some(Doubt { since, known_at: now, probed: true });
                !before.is_some_and(|doubt| doubt.probed)
            }
        }
    }

    /// When the latest read was asked that the store answered.
    pub fn answered_since(&self) -> Option<Instant> {
        self.good
    }

    /// We have no right to read single pods: nothing can be asked.
    pub fn is_mute(&self) -> bool {
        self.mute
    }

    /// The stream is answered again after it was not since `since`. What the store answered meanwhile shows that it was
    /// not away then: a stream that was silent for itself is no outage.
    pub fn reached_again(&mut self, after: After, since: Option<Instant>, now: Instant) {
        if after == After::Failures || self.good <= since {
            self.back(since.max(self.good), now);
        }
    }

    /// The server is back after it was away since `since`.
    fn back(&mut self, since: Option<Instant>, now: Instant) {
        // An unknown time is before every known one.
        let since = self.away.filter(|(_, until)| now < *until).map_or(since, |(before, _)| before.min(since));
        self.away = Some((since, now + CATCHING_UP));
    }

    /// What began then could not be told at once: how long that took says nothing of kubelets.
    pub fn was_away(&self, at: Instant) -> bool {
        self.away.is_some_and(|(since, until)| since.is_none_or(|since| since <= at) && at < until)
    }

    /// The one who repeats its read goes on doing so. It ends by success, or by what the stream brought since.
    pub fn still_doubted(&mut self, alive: Option<Instant>) -> bool {
        let over = self.doubt.take_if(|doubt| alive.is_some_and(|alive| alive > doubt.known_at));
        if let (Some(over), Some(alive)) = (over, alive) {
            self.back(Some(over.since), alive);
        }
        self.doubt.is_some()
    }

    /// The snapshot may lack what happened after this; `None` when nothing speaks against it. `alive`: when the stream
    /// last brought an event or a bookmark.
    pub fn doubted_since(&self, now: Instant, alive: Option<Instant>) -> Option<Instant> {
        let until_heard = |since: Instant| alive.map_or(since, |alive| alive.max(since));
        let long_ago = || now.checked_sub(LONG).unwrap_or(now);
        let away = self.away.filter(|(_, until)| now < *until).map(|(since, _)| since.unwrap_or_else(long_ago));
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
        let mut contact = Reachability::default();
        contact.asked(at(10));
        assert_eq!(contact.doubted_since(at(11), None), None, "it may still come");
        assert_eq!(contact.doubted_since(at(12), None), Some(at(10)));
        assert_eq!(contact.doubted_since(at(14), Some(at(13))), Some(at(13)), "the stream brought something since");
        assert!(!contact.answered(at(10), Answered::ByStore, at(13)));
        assert_eq!(contact.doubted_since(at(14), None), None, "a slow answer is no outage");
        contact.asked(at(20));
        contact.asked(at(21));
        contact.answered(at(20), Answered::ByStore, at(32));
        contact.answered(at(21), Answered::ByStore, at(32));
        assert_eq!(contact.doubted_since(at(33), Some(at(32))), Some(at(10)), "it stood still, and kubelets too");
        assert_eq!(contact.doubted_since(at(45), Some(at(32))), None);
    }

    #[tokio::test]
    async fn a_failure_casts_doubt_until_the_store_or_the_stream_answers() {
        let start = Instant::now();
        let at = |seconds| second(start, seconds);
        let failed = || {
            let mut contact = Reachability::default();
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
        let mut contact = Reachability::default();
        contact.back(Some(at(10)), at(20));
        contact.back(Some(at(25)), at(30));
        assert_eq!(contact.doubted_since(at(41), None), Some(at(10)));
        assert_eq!(contact.doubted_since(at(42), None), None);
        assert!(contact.was_away(at(10)) && contact.was_away(at(41)));
        assert!(!contact.was_away(at(9)) && !contact.was_away(at(42)));
        contact.back(None, at(60));
        assert!(contact.doubted_since(at(61), None).is_some_and(|since| since < at(0)), "never reached before");
    }

    #[tokio::test]
    async fn a_silent_stream_is_no_outage_while_reads_are_answered() {
        let start = Instant::now();
        let at = |seconds| second(start, seconds);
        let mut contact = Reachability::default();
        contact.asked(at(80));
        contact.answered(at(80), Answered::ByStore, at(80));
        contact.reached_again(After::Silence, Some(at(10)), at(85));
        assert_eq!(contact.doubted_since(at(86), None), None);
        contact.reached_again(After::Failures, Some(at(10)), at(85));
        assert_eq!(contact.doubted_since(at(86), None), Some(at(80)));
        assert!(!contact.was_away(at(79)));
    }

    #[tokio::test]
    async fn a_failure_speaks_for_the_time_since_the_last_success_only() {
        let start = Instant::now();
        let at = |seconds| second(start, seconds);
        let mut contact = Reachability::default();
        contact.asked(at(10));
        contact.asked(at(14));
        contact.answered(at(14), Answered::ByStore, at(15));
        contact.answered(at(10), Answered::Failed, at(20));
        assert_eq!(contact.doubted_since(at(30), None), Some(at(14)));
    }
}

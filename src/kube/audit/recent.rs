//! The events that came lately: which are delivered, and which are under way.
//!
//! The API server sends a batch again when it did not hear of success in time, so an event may come twice. One that was
//! delivered is left out. One that is still under way is not: should its first request fail, nobody would have it. The
//! request that brings it again is told to come back later. Bounded: two generations of half the window each.

use foldhash::HashSet;

/// An event as it was sent: a digest that nobody can meet on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EventKey(pub u128);

/// What becomes of an event that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is claimed by who asked, until `settle`.
    New,
    Delivered,
    UnderWay,
}

#[derive(Debug)]
pub struct RecentEvents {
    /// Events in one generation; 0 remembers nothing.
    half: usize,
    young: HashSet<EventKey>,
    old: HashSet<EventKey>,
    under_way: HashSet<EventKey>,
}

impl RecentEvents {
    pub fn new(window: usize) -> RecentEvents {
        let half = window.div_ceil(2);
        RecentEvents { half, young: HashSet::default(), old: HashSet::default(), under_way: HashSet::default() }
    }

    pub fn claim(&mut self, key: EventKey) -> Claim {
        if self.half == 0 {
            return Claim::New;
        }
        if self.young.contains(&key) || self.old.contains(&key) {
            return Claim::Delivered;
        }
        if self.under_way.insert(key) { Claim::New } else { Claim::UnderWay }
    }

    /// Claimed events have their end: delivered, or to be sent again.
    pub fn settle<'k>(&mut self, keys: impl IntoIterator<Item = &'k EventKey>, delivered: bool) {
        for key in keys {
            self.under_way.remove(key);
            if delivered && self.half > 0 {
                self.remember(*key);
            }
        }
    }

    /// All claimed events have their end.
    pub fn settle_all(&mut self, delivered: bool) {
        let keys = std::mem::take(&mut self.under_way);
        self.settle(&keys, delivered);
    }

    fn remember(&mut self, key: EventKey) {
        if self.young.len() >= self.half {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key);
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.young.len() + self.old.len() + self.under_way.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: u128) -> EventKey {
        EventKey(id)
    }

    #[test]
    fn an_event_is_a_duplicate_once_it_was_delivered_and_not_before() {
        let mut recent = RecentEvents::new(10);
        assert_eq!(recent.claim(key(1)), Claim::New);
        assert_eq!(recent.claim(key(1)), Claim::UnderWay);
        recent.settle(&[key(1)], false);
        assert_eq!(recent.claim(key(1)), Claim::New);
        recent.settle(&[key(1)], true);
        assert_eq!(recent.claim(key(1)), Claim::Delivered);
        assert_eq!(recent.claim(key(2)), Claim::New);
    }

    #[test]
    fn the_window_is_bounded_and_holds_its_newer_half() {
        let mut recent = RecentEvents::new(100);
        for id in 0..10_000 {
            assert_eq!(recent.claim(key(id)), Claim::New);
            recent.settle(&[key(id)], true);
            assert!(recent.len() <= 100);
        }
        assert!((9_950..10_000).all(|id| recent.claim(key(id)) == Claim::Delivered));
        recent.claim(key(20_000));
        recent.settle_all(true);
        assert_eq!((recent.claim(key(20_000)), recent.under_way.len()), (Claim::Delivered, 0));
        let mut none = RecentEvents::new(0);
        none.settle(&[key(1)], true);
        assert_eq!((none.claim(key(1)), none.len()), (Claim::New, 0));
    }
}

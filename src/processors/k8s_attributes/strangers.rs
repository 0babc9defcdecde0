//! Who was waited for without success: senders that name or have no pod of the watch, and will not have one in three seconds.
//!
//! The first data of a new pod comes before its announcement and waits for it. A machine outside the cluster looks the
//! same, once; from then on it is a stranger, and its data waits for nothing. Bounded, the least recent forgotten first, and
//! whoever was silent for hours: addresses and uids come and go, and most of them are never seen again.

use std::hash::{BuildHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use foldhash::quality::RandomState;
use lru::LruCache;
use tokio::time::Instant;

use crate::core::lock::Locked;

/// Strangers remembered.
const STRANGERS_MAX: usize = 16_384;
/// A stranger that was not seen for this long is waited for again.
const STRANGE_FOR: Duration = Duration::from_secs(600);
/// One that was not seen for FORGOTTEN_AFTER is forgotten when others come, as the bindings are, so that churn leaves nothing behind.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(6 * 3_600);
/// Forgotten with each new one, if they are too old: more than one, so that the map shrinks.
const FORGOTTEN_AT_ONCE: usize = 2;

/// What somebody is known by, as a keyed hash: nothing that a sender chooses is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sign(u64);

pub struct Strangers {
    hasher: RandomState,
    // Locked for a lookup, by data without a pod only.
    seen: Mutex<LruCache<Sign, Instant>>,
}

impl Default for Strangers {
    fn default() -> Strangers {
        Strangers { hasher: RandomState::default(), seen: Mutex::new(LruCache::unbounded()) }
    }
}

impl Strangers {
    pub fn sign(&self, value: impl Hash) -> Sign {
        Sign(self.hasher.hash_one(value))
    }

    /// The sign of what `write` writes, if it says so. Allocates nothing.
    pub fn sign_if(&self, write: impl FnOnce(&mut <RandomState as BuildHasher>::Hasher) -> bool) -> Option<Sign> {
        let mut hasher = self.hasher.build_hasher();
        write(&mut hasher).then(|| Sign(hasher.finish()))
    }

    /// True for one that was waited for in vain not long ago; seeing it keeps it one.
    pub fn knows(&self, sign: Sign, now: Instant) -> bool {
        let mut seen = self.seen.locked();
        let Some(last) = seen.get_mut(&sign) else { return false };
        let known = now.saturating_duration_since(*last) < STRANGE_FOR;
        *last = now;
        known
    }

    pub fn add(&self, sign: Sign, now: Instant) {
        let mut seen = self.seen.locked();
        seen.put(sign, now);
        for _ in 0..FORGOTTEN_AT_ONCE {
            let last = seen.peek_lru().map_or(now, |(_, last)| *last);
            if seen.len() <= STRANGERS_MAX && now.saturating_duration_since(last) <= FORGOTTEN_AFTER {
                return;
            }
            seen.pop_lru();
        }
    }
}

/// Addresses that networks of pods are made of: private ones, those of carriers, and the machine's own.
pub fn may_be_a_pods(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            ip.is_private() || ip.is_loopback() || ip.is_link_local() || shared
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.segments()[0] & 0xfe00 == 0xfc00,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_stays_one_while_it_is_seen_and_is_forgotten_after_ten_quiet_minutes() {
        let strangers = Strangers::default();
        let (sign, start) = (strangers.sign("x"), Instant::now());
        let at = |minutes: u64| start + Duration::from_secs(60 * minutes);
        assert!(!strangers.knows(sign, at(0)));
        strangers.add(sign, at(0));
        assert!(strangers.knows(sign, at(9)) && strangers.knows(sign, at(18)));
        assert!(!strangers.knows(sign, at(29)));
        assert!(!strangers.knows(strangers.sign("y"), at(0)));
    }

    #[test]
    fn the_number_of_strangers_is_bounded() {
        let strangers = Strangers::default();
        for number in 0..STRANGERS_MAX + 10 {
            strangers.add(strangers.sign(number), Instant::now());
        }
        assert_eq!(strangers.seen.lock().expect("fine").len(), STRANGERS_MAX);
    }

    #[test]
    fn senders_that_come_and_go_for_days_leave_no_more_than_those_of_some_hours_and_who_is_seen_stays() {
        let (strangers, start) = (Strangers::default(), Instant::now());
        let regular = strangers.sign("regular");
        strangers.add(regular, start);
        for hour in 0..200u32 {
            let now = start + Duration::from_secs(3_600) * hour;
            for number in 0..60 {
                strangers.add(strangers.sign((hour, number)), now);
            }
            strangers.knows(regular, now);
        }
        let left = strangers.seen.lock().expect("fine");
        assert!((60 * 6..60 * 8).contains(&left.len()), "{} of 12,000", left.len());
        assert!(left.contains(&regular));
    }

    #[test]
    fn addresses_of_the_internet_are_no_pods() {
        let may = |ip: &str| may_be_a_pods(ip.parse().expect("an address"));
        assert!(["10.1.0.5", "172.20.0.1", "192.168.1.1", "100.64.0.9", "127.0.0.21", "fd00::1"].into_iter().all(may));
        assert!(!["8.8.8.8", "100.128.0.1", "2001:db8::1"].into_iter().any(may));
    }
}

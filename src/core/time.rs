//! Wall-clock instants as plain numbers, so that pure cores take `now` as an argument and tests make it up.
//!
//! The one place where the wall clock is read. Waits, ages and deadlines are measured by tokio's monotonic clock, which
//! no step of the wall clock moves; wall times are for what other machines and people wrote down. A simulator puts a
//! clock of its own under both: tokio's paused one, and a [`StandIn`] here.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// As layouts of times spell them.
pub const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// From Sunday on.
pub const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Nanoseconds since the Unix epoch, the unit of every OTLP time field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixNanos(pub u64);

type Wall = dyn Fn() -> UnixNanos;

thread_local! {
    static STAND_IN: RefCell<Option<Rc<Wall>>> = const { RefCell::new(None) };
}

/// A wall clock in place of the system's, for everything that this thread reads until it is dropped.
///
/// Of one thread, so that simulations run beside each other and beside tests that keep the real time; a simulated
/// gateway runs on a runtime of one thread.
pub struct StandIn {
    before: Option<Rc<Wall>>,
}

impl StandIn {
    pub fn of(wall: impl Fn() -> UnixNanos + 'static) -> StandIn {
        let wall: Rc<Wall> = Rc::new(wall);
        StandIn { before: STAND_IN.with(|known| known.replace(Some(wall))) }
    }

    /// As [`StandIn::of`], from `start` on with tokio's clock, which tests pause.
    pub fn with_tokio(start: UnixNanos) -> StandIn {
        let started = tokio::time::Instant::now();
        StandIn::of(move || start.saturating_add(started.elapsed()))
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let before = self.before.take();
        STAND_IN.with(|known| known.replace(before));
    }
}

impl UnixNanos {
    /// Reads the wall clock. Only async shells call this; cores get the value passed in.
    pub fn now() -> UnixNanos {
        // A thread that is ending has no stand-in any more.
        let stand_in = STAND_IN.try_with(|known| known.borrow().clone()).ok().flatten();
        stand_in.map_or_else(UnixNanos::system, |wall| wall())
    }

    fn system() -> UnixNanos {
        UnixNanos::of_system(SystemTime::now())
    }

    /// Zero for a time before 1970.
    pub fn of_system(time: SystemTime) -> UnixNanos {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixNanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    pub fn from_secs(seconds: u64) -> UnixNanos {
        UnixNanos(seconds.saturating_mul(1_000_000_000))
    }

    /// As a calendar knows it; the latest one it knows for times far beyond.
    pub fn timestamp(self) -> jiff::Timestamp {
        jiff::Timestamp::from_nanosecond(i128::from(self.0)).unwrap_or(jiff::Timestamp::MAX)
    }

    pub fn saturating_add(self, by: Duration) -> UnixNanos {
        UnixNanos(self.0.saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }

    pub fn saturating_sub(self, by: Duration) -> UnixNanos {
        UnixNanos(self.0.saturating_sub(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Time from `earlier` to self; zero when `earlier` is later.
    pub fn since(self, earlier: UnixNanos) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stand_in_is_read_on_its_thread_alone_and_until_it_goes() {
        let before = UnixNanos::now();
        let outer = StandIn::of(|| UnixNanos(7));
        {
            let _inner = StandIn::of(|| UnixNanos(8));
            assert_eq!(UnixNanos::now(), UnixNanos(8));
            let elsewhere = std::thread::spawn(UnixNanos::now).join().expect("no panic");
            assert!(elsewhere >= before, "another thread reads the system's clock");
        }
        assert_eq!(UnixNanos::now(), UnixNanos(7));
        drop(outer);
        assert!(UnixNanos::now() >= before);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stand_in_goes_on_with_the_paused_clock() {
        let _clock = StandIn::with_tokio(UnixNanos::from_secs(100));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(UnixNanos::now(), UnixNanos::from_secs(105));
    }
}

//! Wall-clock instants as plain numbers, so that pure cores take `now` as an argument and tests make it up.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nanoseconds since the Unix epoch, the unit of every OTLP time field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixNanos(pub u64);

impl UnixNanos {
    /// Reads the system clock. Only async shells call this; cores get the value passed in.
    pub fn now() -> UnixNanos {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixNanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    pub fn from_secs(seconds: u64) -> UnixNanos {
        UnixNanos(seconds.saturating_mul(1_000_000_000))
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

//! What steps of the wall clock leave behind: which times can be compared with each other, and which came twice.

use std::time::Duration;

use super::Times;
use crate::core::time::UnixNanos;

/// What steps of the wall clock leave behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockStretches {
    /// A step was a moment ago.
    pub unsteady: bool,
    /// Times that came twice, because the clock was set back: what they belong to cannot be told.
    pub doubled: Option<(UnixNanos, UnixNanos)>,
    /// How long ago a step forwards (or a sleep of the machine) was, and by how much: what is older by the monotonic clock is
    /// older by that much more.
    pub skipped: Option<(Duration, Duration)>,
    /// Which times the clock has shown as long as we look; `None` while it was never set.
    pub shown: Option<ShownTimes>,
}

/// Stretches in which the clock ran evenly, as the times that it showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShownTimes {
    /// The begin of the present one.
    pub since: UnixNanos,
    /// The earlier ones, each with what it may have shown unseen, in no order; unused ones are empty.
    pub earlier: [(UnixNanos, UnixNanos); ShownTimes::EARLIER_MAX],
}

impl ShownTimes {
    /// Stretches remembered; what does not fit is remembered as one.
    const EARLIER_MAX: usize = 4;
    /// A stretch that shows no time.
    const NOTHING: (UnixNanos, UnixNanos) = (UnixNanos(u64::MAX), UnixNanos(0));

    pub fn new(since: UnixNanos) -> ShownTimes {
        ShownTimes { since, earlier: [ShownTimes::NOTHING; ShownTimes::EARLIER_MAX] }
    }

    /// Another stretch begins at `since`; the one before it showed these times.
    pub fn next(mut self, ended: (UnixNanos, UnixNanos), since: UnixNanos) -> ShownTimes {
        let cover = |a: (UnixNanos, UnixNanos), b: (UnixNanos, UnixNanos)| (a.0.min(b.0), a.1.max(b.1));
        let [first, second, ..] = self.earlier;
        self.earlier.rotate_left(1);
        self.earlier[0] = cover(first, second);
        self.earlier[ShownTimes::EARLIER_MAX - 1] = ended;
        ShownTimes { since, ..self }
    }

    /// In the present stretch, and in no earlier one.
    fn once(&self, at: UnixNanos) -> bool {
        self.since <= at && !self.earlier.iter().any(|(from, to)| *from <= at && at <= *to)
    }
}

impl ClockStretches {
    /// The wall time of something of which the monotonic clock says that it was at `at`.
    pub fn across_step(&self, at: UnixNanos, now: UnixNanos) -> UnixNanos {
        match self.skipped {
            Some((since, by)) if now.since(at) > since => at.saturating_sub(by),
            _ => at,
        }
    }

    /// A step backwards made this time come a second time.
    pub fn came_twice(&self, at: UnixNanos) -> bool {
        self.doubled.is_some_and(|(from, to)| from <= at && at <= to)
    }

    pub(super) fn tells(&self, times: Times) -> bool {
        self.doubled.is_none_or(|(from, to)| times.last < from || to < times.alive_from())
    }

    /// As long as we look, the clock showed this time once.
    pub fn is_fresh(&self, at: UnixNanos) -> bool {
        self.shown.is_some_and(|shown| shown.once(at))
    }
}

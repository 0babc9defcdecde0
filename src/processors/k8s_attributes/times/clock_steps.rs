//! Notices steps of the wall clock: for a while after one, times from before and after cannot be compared.
//!
//! The one place of this processor that reads the wall clock, for arrival and decision alike, and always between two
//! reads of the monotonic clock: a thread that was put aside between them (a CPU quota, a debugger) says nothing about
//! the clock. A suspended machine looks like a clock that was set forward, because its monotonic clock stood still. The
//! core ([`StepDetector`]) is pure: what both clocks showed goes in.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::core::lock::Locked;
use crate::core::time::UnixNanos;
use crate::processors::k8s_attributes::bindings::{ClockStretches, ShownTimes};

/// A difference between wall and monotonic clock that slewing does not make between two requests.
const STEP: Duration = Duration::from_millis(250);
/// A reading that took longer is not believed: the two clocks were read at different times.
const TORN: Duration = Duration::from_millis(20);

pub struct ClockSteps {
    started: Instant,
    state: Mutex<StepDetector>,
}

/// What both clocks showed, in this order: monotonic, wall, monotonic. Monotonic times count from the start.
#[derive(Clone, Copy, Debug)]
pub struct ClockReading {
    pub before: Duration,
    pub wall: UnixNanos,
    pub after: Duration,
}

/// Compares each reading with the one before it.
#[derive(Debug)]
pub struct StepDetector {
    /// How long the clock must have run evenly.
    settle: Duration,
    /// Wall clock minus monotonic clock, in nanoseconds, and when that was seen.
    offset: Option<(i128, Duration)>,
    stepped_at: Option<Duration>,
    /// What steps backwards made happen twice.
    doubled: Option<(UnixNanos, UnixNanos)>,
    /// When the last step forwards was seen, and by how much all of them were.
    skipped: Option<(Duration, Duration)>,
    /// The earliest time that the wall clock may have shown since it was last set.
    from: Option<UnixNanos>,
    shown: Option<ShownTimes>,
}

impl StepDetector {
    pub fn new(settle: Duration) -> StepDetector {
        StepDetector { settle, offset: None, stepped_at: None, doubled: None, skipped: None, from: None, shown: None }
    }

    /// Unsteady for the settle time after a step; what the last step backwards doubled and the last one forwards left out
    /// stays known.
    pub fn look(&mut self, reading: ClockReading) -> ClockStretches {
        if reading.after.saturating_sub(reading.before) <= TORN {
            self.compare(reading);
        }
        let since = |at: Duration| reading.after.saturating_sub(at);
        let unsteady = self.stepped_at.is_some_and(|at| since(at) < self.settle);
        let skipped = self.skipped.map(|(at, by)| (since(at), by));
        ClockStretches { unsteady, doubled: self.doubled, skipped, shown: self.shown }
    }

    fn compare(&mut self, ClockReading { wall, after, .. }: ClockReading) {
        let offset = i128::from(wall.0) - i128::try_from(after.as_nanos()).unwrap_or(i128::MAX);
        let from = *self.from.get_or_insert(wall);
        let Some((before, seen_at)) = self.offset.replace((offset, after)) else { return };
        if before.abs_diff(offset) <= STEP.as_nanos() {
            return;
        }
        self.stepped_at = Some(after);
        // It was set at some time since the last look: until then it may have gone on as before, since then as now.
        let unseen = after.saturating_sub(seen_at).saturating_add(self.settle);
        let seen = u64::try_from(before.saturating_add(i128::try_from(seen_at.as_nanos()).unwrap_or(i128::MAX)));
        let ended = (from.saturating_sub(self.settle), UnixNanos(seen.unwrap_or(0)).saturating_add(unseen));
        self.shown = Some(self.shown.unwrap_or(ShownTimes::new(from)).next(ended, wall));
        self.from = Some(wall.saturating_sub(unseen));
        let by = Duration::from_nanos(u64::try_from(before.abs_diff(offset)).unwrap_or(u64::MAX));
        if offset < before {
            self.set_back(wall, after.saturating_sub(seen_at), by);
        } else {
            // What was before the first of several steps is older by all of them.
            let all = self.skipped.map_or(by, |(_, earlier)| earlier.saturating_add(by));
            self.skipped = Some((after, all));
        }
    }

    /// The step was some time since the last look: from then on times may have come twice.
    fn set_back(&mut self, wall: UnixNanos, unseen: Duration, by: Duration) {
        let from = wall.saturating_sub(unseen).saturating_sub(self.settle);
        let until = wall.saturating_add(by).saturating_add(STEP);
        // An earlier step's may not be over yet.
        let (first, last) = self.doubled.filter(|(_, last)| *last >= from).unwrap_or((from, until));
        self.doubled = Some((first.min(from), last.max(until)));
    }
}

impl ClockSteps {
    pub fn new(settle: Duration) -> ClockSteps {
        let steady = ClockSteps { started: Instant::now(), state: Mutex::new(StepDetector::new(settle)) };
        // A step between here and the first data is one too.
        steady.look();
        steady
    }

    /// Since the processor was built.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// The wall clock, and how far times can be compared with it.
    pub fn look(&self) -> (UnixNanos, ClockStretches) {
        let before = self.started.elapsed();
        let wall = UnixNanos::now();
        let reading = ClockReading { before, wall, after: self.started.elapsed() };
        let mut state = self.state.locked();
        (wall, state.look(reading))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(seconds: f64) -> UnixNanos {
        UnixNanos((seconds * 1e9) as u64)
    }

    /// A look at these seconds of both clocks, without a pause between the reads.
    fn look(watchman: &mut StepDetector, monotonic: f64, wall: f64) -> ClockStretches {
        let at = Duration::from_secs_f64(monotonic);
        watchman.look(ClockReading { before: at, wall: second(wall), after: at })
    }

    #[test]
    fn a_step_of_the_clock_makes_it_unsteady_for_the_settle_time() {
        for by in [30.0, -30.0, 3_600.0, 0.3] {
            let mut watchman = StepDetector::new(Duration::from_secs(3));
            assert!(!look(&mut watchman, 0.0, 10_000.0).unsteady);
            assert!(!look(&mut watchman, 10.0, 10_010.0).unsteady, "ten seconds passed on both clocks");
            assert!(look(&mut watchman, 11.0, 10_011.0 + by).unsteady, "{by} s");
            assert!(look(&mut watchman, 13.0, 10_013.0 + by).unsteady);
            assert!(!look(&mut watchman, 14.0, 10_014.0 + by).unsteady);
        }
    }

    #[test]
    fn times_that_a_step_backwards_made_come_twice_stay_known() {
        let mut watchman = StepDetector::new(Duration::from_secs(3));
        look(&mut watchman, 0.0, 1_000.0);
        let (from, to) = look(&mut watchman, 1.0, 971.0).doubled.expect("set back by thirty seconds");
        assert!(from <= second(971.0) && to >= second(1_001.0));
    }

    #[test]
    fn a_step_that_is_noticed_late_made_times_come_twice_since_the_look_before_it() {
        let mut watchman = StepDetector::new(Duration::from_secs(3));
        look(&mut watchman, 0.0, 1_000.0);
        let (from, to) = look(&mut watchman, 60.0, 960.0).doubled.expect("set back by a hundred seconds");
        assert!(from <= second(900.0) && to >= second(1_060.0), "at once after the last look, or only now");
    }

    #[test]
    fn a_second_step_back_does_not_end_what_the_first_made_come_twice() {
        let mut watchman = StepDetector::new(Duration::from_secs(3));
        look(&mut watchman, 0.0, 1_000.0);
        look(&mut watchman, 1.0, 901.0);
        let (from, to) = look(&mut watchman, 11.0, 811.0).doubled.expect("set back again");
        assert!(from <= second(811.0) && to >= second(1_001.0));
    }

    #[test]
    fn it_knows_which_times_it_has_shown_but_once() {
        let mut watchman = StepDetector::new(Duration::from_secs(3));
        look(&mut watchman, 0.0, 1_000.0);
        look(&mut watchman, 10.0, 1_010.0);
        let once = |clock: ClockStretches| {
            let fresh: Vec<u64> = (800..1_100).filter(|at| clock.is_fresh(second(*at as f64))).collect();
            (fresh.first().copied().unwrap_or(0), fresh.len())
        };
        assert_eq!(once(look(&mut watchman, 10.0, 1_010.0)), (0, 0), "never set");
        // 997 to 1014 were shown before.
        assert_eq!(once(look(&mut watchman, 11.0, 901.0)), (901, 96 + 85));
        look(&mut watchman, 21.0, 911.0);
        // 894 to 914 as well.
        assert_eq!(once(look(&mut watchman, 21.0, 851.0)), (851, 43 + 82 + 85));
        for at in 22..40 {
            once(look(&mut watchman, f64::from(at), 2_000.0 + f64::from(at) * 100.0));
        }
        let shown = look(&mut watchman, 41.0, 900.0).shown.expect("it was set");
        assert!(shown.earlier.iter().any(|(from, to)| *from <= second(851.0) && second(1_010.0) <= *to), "as one");
    }

    #[test]
    fn what_was_heard_before_two_steps_forward_is_older_by_both() {
        let mut watchman = StepDetector::new(Duration::from_secs(3));
        look(&mut watchman, 0.0, 1_000.0);
        look(&mut watchman, 10.0, 1_170.0);
        let clock = look(&mut watchman, 12.0, 1_322.0);
        let (now, heard) = (second(1_322.0), second(1_322.0 - 11.0));
        assert_eq!(clock.across_step(heard, now).0, second(1_311.0 - 310.0).0);
    }

    #[test]
    fn a_suspended_machine_is_a_clock_that_left_out_the_time_asleep() {
        let mut watchman = StepDetector::new(Duration::from_secs(3));
        look(&mut watchman, 0.0, 1_000.0);
        // The monotonic clock stands still while the machine sleeps.
        let woken = look(&mut watchman, 1.0, 1_601.0);
        assert_eq!((woken.unsteady, woken.doubled), (true, None));
        let (now, minute) = (second(1_631.0), Duration::from_secs(60));
        let later = look(&mut watchman, 31.0, 1_631.0);
        assert_eq!(later.skipped, Some((Duration::from_secs(30), Duration::from_secs(600))));
        // What was heard of 60 seconds ago by the monotonic clock was heard of before the sleep.
        let heard = later.across_step(now.saturating_sub(minute), now);
        assert_eq!(heard, second(1_631.0 - 60.0 - 600.0));
        assert_eq!(later.across_step(second(1_611.0), now), second(1_611.0));
        // A step back later on changes nothing of that.
        let back = look(&mut watchman, 41.0, 1_041.0);
        assert_eq!(back.across_step(second(1_031.0), second(1_041.0)), second(1_031.0));
    }

    #[test]
    fn a_thread_that_was_put_aside_between_two_reads_is_no_step() {
        let mut watchman = StepDetector::new(Duration::from_secs(3));
        look(&mut watchman, 0.0, 1_000.0);
        for (before, wall, after) in [(1.0, 1_001.0, 1.5), (2.0, 1_002.4, 2.4)] {
            let reading = ClockReading {
                before: Duration::from_secs_f64(before),
                wall: second(wall),
                after: Duration::from_secs_f64(after),
            };
            assert!(!watchman.look(reading).unsteady, "{reading:?}");
        }
        let clock = look(&mut watchman, 3.0, 1_003.0);
        assert_eq!(clock, ClockStretches::default());
    }

    #[tokio::test(start_paused = true)]
    async fn the_wall_clock_is_the_one_that_everybody_reads() {
        let _clock = crate::core::time::StandIn::with_tokio(second(1_000.0));
        let steady = ClockSteps::new(Duration::from_secs(3));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(steady.look(), (second(1_005.0), ClockStretches::default()));
    }
}

//! Restarts after the clock was set back, further than to where we began to look.

use super::*;

fn at(seconds: u64) -> UnixNanos {
    UnixNanos(seconds * SECOND)
}

/// `run-0` began at 1,200 s by a clock that was then set back from 1,210 to 1,100, and ended at 1,120; `run-1` began at 1,121.
fn restarted() -> Table {
    let mut table = Table::new(Duration::from_secs(120));
    let running = |seconds: u64| RunState::Running { started: Some(at(seconds)) };
    table.apply(PodChange::Applied(pod("run-0", 0, running(1_200), None)), at(1_201));
    let dead = Ended {
        id: "run-0".into(),
        started: Some(at(1_200)),
        finished: Some(at(1_120)),
        reason: "Error".into(),
        exit_code: 1,
    };
    table.apply(PodChange::Applied(pod("run-1", 1, running(1_121), Some(dead))), at(1_122));
    table
}

/// The answer at `now` for a span of `made`. We look since `since`.
fn told(since: u64, is_new: bool, made: u64, now: u64) -> Result<String, Absence> {
    let mut table = restarted();
    let snapshot = table.snapshot();
    let entry = snapshot.by_uid(UID).expect("known");
    let sighting = unnamed(at(now));
    let clock = ClockStretches {
        doubled: Some((at(1_097), at(1_211))),
        shown: Some(ShownTimes::new(at(since)).next((at(since), at(1_210)), at(1_100))),
        ..ClockStretches::default()
    };
    let horizon = Horizon {
        known_until: at(now),
        seen_at: entry.seen_at,
        witnessed: None,
        stale: false,
        clock,
        is_new,
        apart: false,
    };
    let ledger = entry.ledger.container("app").expect("a status");
    match Bindings::default().resolve(ledger, &sighting, &horizon, &|| Some(Times::at(at(made)))) {
        BindingAnswer::Found { run, .. } => Ok(run.id.to_string()),
        BindingAnswer::Missing(absence) | BindingAnswer::Pending { absence, .. } => Err(absence),
    }
}

#[test]
fn a_run_that_began_since_then_is_told_by_times_that_the_clock_shows_for_the_first_time() {
    let right = Ok("run-1".to_owned());
    assert_eq!(told(1_199, false, 1_130, 1_133), right, "the first run began later than this: it was set back since");
    assert_eq!(told(1_150, true, 1_130, 1_133), right);
    assert_eq!(
        told(1_199, false, 1_121, 1_133),
        Err(Absence::Ambiguous),
        "in the second of its start both may have lived"
    );
}

#[test]
fn times_that_were_shown_before_tell_no_run_that_began_since_then() {
    assert_eq!(
        told(1_150, true, 1_160, 1_163),
        Err(Absence::Ambiguous),
        "we looked when it was 1,160 for the first time"
    );
    assert_eq!(told(1_199, false, 1_205, 1_208), Err(Absence::Ambiguous), "the first run lived then");
    assert_eq!(told(1_115, true, 1_130, 1_133), Err(Absence::Ambiguous));
}

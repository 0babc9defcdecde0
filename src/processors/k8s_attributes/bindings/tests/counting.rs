//! Processes of which nothing is known but since when their metrics count.

use super::*;

/// Runs `run-0` (1000 s to 1200 s) and `run-1` (from 1203 s), the last of which was published at `published`.
fn restarted(published: u64) -> Table {
    let mut table = Table::new(Duration::from_secs(120));
    let running = |at: u64| RunState::Running { started: Some(UnixNanos(at * SECOND)) };
    let dead = Ended {
        id: "run-0".into(),
        started: Some(UnixNanos(1_000 * SECOND)),
        finished: Some(UnixNanos(1_200 * SECOND)),
        reason: "Error".into(),
        exit_code: 1,
    };
    table.apply(PodChange::Applied(pod("run-0", 0, running(1_000), None)), UnixNanos(1_001 * SECOND));
    if published > 0 {
        let state = pod("run-1", 1, running(1_203), Some(dead));
        table.apply(PodChange::Applied(state), UnixNanos(published * SECOND));
    }
    table
}

/// The answer at `now` for points at `now` that count since `since`, from a sender that tells nothing else.
fn counted(bindings: &Bindings, table: &mut Table, now: u64, since: f64) -> Result<String, Absence> {
    let snapshot = table.snapshot();
    let entry = snapshot.by_uid(UID).expect("known");
    let ledger = entry.ledger.container("app").expect("a status");
    let at = |seconds: u64| UnixNanos(seconds * SECOND);
    let sighting = unnamed(at(now));
    let horizon = Horizon {
        known_until: at(now - 3),
        seen_at: entry.seen_at,
        witnessed: None,
        stale: false,
        clock: ClockStretches::default(),
        is_new: false,
        apart: false,
    };
    let counting_since = Some(UnixNanos((since * SECOND as f64) as u64));
    let times = || Some(Times { counting_since, ..Times::at(at(now)) });
    match bindings.resolve(ledger, &sighting, &horizon, &times) {
        BindingAnswer::Found { run, .. } => Ok(run.id.to_string()),
        BindingAnswer::Missing(absence) | BindingAnswer::Pending { absence, .. } => Err(absence),
    }
}

#[test]
fn points_that_count_since_the_second_of_a_runs_start_are_that_runs_at_once() {
    let mut table = restarted(1_204);
    assert_eq!(counted(&Bindings::default(), &mut table, 1_210, 1_203.4), Ok("run-1".to_owned()));
    assert_eq!(counted(&Bindings::default(), &mut table, 1_199, 1_000.2), Ok("run-0".to_owned()));
}

#[test]
fn points_that_count_since_later_than_the_runs_start_wait_no_longer_than_other_data() {
    let mut table = restarted(1_204);
    // Since a second ago: a run that began then may not be published yet.
    assert_eq!(counted(&Bindings::default(), &mut table, 1_216, 1_215.0), Err(Absence::AwaitingStatus));
    assert_eq!(counted(&Bindings::default(), &mut table, 1_218, 1_215.0), Ok("run-1".to_owned()));
}

#[test]
fn points_that_count_since_before_a_restart_and_are_made_after_it_are_nobodys() {
    assert_eq!(counted(&Bindings::default(), &mut restarted(1_204), 1_300, 1_100.0), Err(Absence::Outside));
}

#[test]
fn points_of_a_process_that_lived_while_a_known_run_did_are_that_runs() {
    let bindings = Bindings::default();
    let mut table = restarted(1_204);
    assert_eq!(counted(&bindings, &mut table, 1_220, 1_203.4), Ok("run-1".to_owned()));
    // Another reader of the same process, later begun: the process lived in a time that is certain.
    assert_eq!(counted(&bindings, &mut table, 1_230, 1_215.0), Ok("run-1".to_owned()));
    assert_eq!(counted(&bindings, &mut table, 1_231, 1_230.8), Err(Absence::AwaitingStatus));
}

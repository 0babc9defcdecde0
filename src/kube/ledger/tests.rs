//! The ledger against recorded watch streams of a real API server (kube-apiserver 1.35, tests/golden/k8s) and against
//! the cases that no recording shows.

use std::sync::Arc;

use super::*;
use crate::kube::decode::{Decoder, Event, Keep};
use crate::kube::pod::{ContainerStatus, Ended, RunState};
use crate::testing::pods;

pub(crate) const STREAM_NOW: UnixNanos = UnixNanos(1_795_241_110_000_000_000);

/// Pods of a recorded stream, in order.
fn stream(text: &str) -> Vec<Pod> {
    let mut decoder = Decoder::new(Keep::default());
    let events = text.lines().filter(|line| !line.is_empty()).filter_map(|line| {
        match decoder.line(line.as_bytes()).expect("a recorded line is readable") {
            Event::Applied(seen) => Some(seen.pod),
            Event::Deleted { last, .. } => last,
            _ => None,
        }
    });
    events.collect()
}

fn observed<'p>(pods: impl IntoIterator<Item = &'p Pod>) -> PodLedger {
    let mut ledger = PodLedger::default();
    for pod in pods {
        ledger.observe(pod, LastLook { previous: STREAM_NOW, now: STREAM_NOW });
    }
    ledger
}

/// `restart:first six of the id`, with `|` before a run that unseen ones may precede and `.` after an ended one.
fn shown(ledger: &PodLedger, container: &str) -> Vec<String> {
    let runs = &ledger.container(container).expect("the container has a status").runs;
    let show = |run: &Run| {
        let gap = if run.gap_before { "|" } else { "" };
        let end = if run.end.is_some() { "." } else { "" };
        format!("{gap}{}:{}{end}", run.restart, &run.id[..6])
    };
    runs.iter().map(show).collect()
}

macro_rules! recorded {
    ($name:literal) => {
        stream(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/k8s/", $name)))
    };
}

#[test]
fn a_restart_leaves_the_dead_run_and_the_open_one() {
    let ledger = observed(&recorded!("02-restart.jsonl"));
    assert_eq!(shown(&ledger, "app"), ["0:e30121.", "1:8d7d9c"]);
    assert_eq!(shown(&ledger, "sidecar"), ["0:d850d0"]);
    let dead = &ledger.container("app").expect("known").runs[0];
    assert_eq!((&*dead.reason, dead.exit_code, dead.end_reported), ("OOMKilled", 137, true));
}

#[test]
fn a_crash_loop_numbers_every_run_although_the_dead_id_stands_in_both_places() {
    let ledger = observed(&recorded!("03-crashloop.jsonl"));
    let expected = ["0:e30121.", "1:8d7d9c.", "2:bff4af.", "3:020e57.", "4:a5dee6"];
    assert_eq!(shown(&ledger, "app"), expected);
}

#[test]
fn every_prefix_of_a_crash_loop_gives_the_same_runs_so_far() {
    let pods = recorded!("03-crashloop.jsonl");
    let all = shown(&observed(&pods), "app");
    for length in 1..=pods.len() {
        let runs = shown(&observed(&pods[..length]), "app");
        for (run, known) in runs.iter().zip(&all) {
            assert_eq!(run[..8], known[..8], "after {length} events");
        }
    }
}

#[test]
fn a_jump_of_the_restart_count_leaves_a_gap_before_the_run_that_last_state_names() {
    let mut pods = recorded!("03-crashloop.jsonl");
    pods.extend(recorded!("04-restart-jump.jsonl"));
    let ledger = observed(&pods);
    let expected = ["0:e30121.", "1:8d7d9c.", "2:bff4af.", "3:020e57.", "4:a5dee6.", "|6:92f285.", "7:9ddca7"];
    assert_eq!(shown(&ledger, "app"), expected);
}

#[test]
fn a_jump_seen_first_has_a_gap_before_everything() {
    let ledger = observed(&recorded!("04-restart-jump.jsonl"));
    assert_eq!(shown(&ledger, "app"), ["|6:92f285.", "7:9ddca7"]);
}

#[test]
fn an_init_container_has_runs_of_its_own() {
    let ledger = observed(&recorded!("01-pod-start.jsonl"));
    assert_eq!(shown(&ledger, "migrate"), ["0:cd4796."]);
    assert_eq!(ledger.container("migrate").expect("known").kind, ContainerKind::Init);
    assert_eq!(shown(&ledger, "app"), ["0:e30121"]);
}

#[test]
fn a_deletion_with_grace_ends_the_runs_with_their_reported_times() {
    let ledger = observed(&recorded!("05-delete-grace.jsonl"));
    assert_eq!(shown(&ledger, "app"), ["|6:92f285.", "7:9ddca7."]);
    assert!(ledger.last_end().is_some());
}

#[test]
fn an_image_change_in_the_spec_does_not_touch_the_run_that_goes_on() {
    let pods = recorded!("10-ephemeral-and-image.jsonl");
    let ledger = observed(&pods);
    let run = ledger.container("app").and_then(ContainerLedger::newest).expect("running");
    let first = pods.first().expect("events").containers.iter().find(|c| *c.name == *"app").expect("in the spec");
    let last = pods.last().expect("events").containers.iter().find(|c| *c.name == *"app").expect("in the spec");
    assert_ne!(first.image, last.image, "the recording changes the image");
    assert_eq!(run.image, first.image);
}

#[test]
fn repeating_a_whole_stream_changes_nothing() {
    for pods in [recorded!("03-crashloop.jsonl"), recorded!("05-delete-grace.jsonl"), recorded!("08-eviction.jsonl")] {
        let once = observed(&pods);
        let mut twice = once.clone();
        for pod in &pods {
            twice.observe(pod, LastLook { previous: STREAM_NOW, now: STREAM_NOW });
        }
        let ids = |ledger: &PodLedger| ledger.ids().cloned().collect::<Vec<Arc<str>>>();
        assert_eq!(ids(&once), ids(&twice));
    }
}

/// A pod with one container `app` in this state.
pub(crate) fn pod_with(status: ContainerStatus) -> Pod {
    Pod { uid: "u".into(), ..pods::pod(UnixNanos::from_secs(100), status) }
}

fn running(id: &str, restart_count: i64, started: u64, last: Option<Ended>) -> ContainerStatus {
    pods::running(id, restart_count, UnixNanos::from_secs(started), last)
}

fn ended(id: &str, started: u64, finished: u64) -> Ended {
    Ended {
        id: id.into(),
        started: Some(UnixNanos::from_secs(started)),
        finished: Some(UnixNanos::from_secs(finished)),
        reason: "Error".into(),
        exit_code: 1,
    }
}

fn ledger_of(statuses: &[(u64, ContainerStatus)]) -> PodLedger {
    let mut ledger = PodLedger::default();
    let mut previous = None;
    for (now, status) in statuses {
        let now = UnixNanos::from_secs(*now);
        ledger.observe(&pod_with(status.clone()), LastLook { previous: previous.unwrap_or(now), now });
        previous = Some(now);
    }
    ledger
}

fn at(seconds: f64) -> UnixNanos {
    UnixNanos((seconds * 1e9) as u64)
}

/// Evidence at one moment, everything up to `horizon` being known.
fn ask(ledger: &PodLedger, seconds: f64, horizon: f64) -> String {
    let query = RunQuery {
        alive_from: at(seconds),
        alive_to: at(seconds),
        began: None,
        horizon: at(horizon),
        witnessed: None,
        seen_at: at(horizon),
        trusted_number: None,
        ours: None,
        slack: Duration::ZERO,
    };
    told(ledger.container("app").expect("known").resolve(&query))
}

fn told(resolution: Resolution<'_>) -> String {
    match resolution {
        Resolution::Found { run, .. } => run.id.to_string(),
        Resolution::Missing(absence) => absence.name().to_owned(),
        Resolution::Pending(absence) => format!("pending {}", absence.name()),
    }
}

#[test]
fn evidence_chooses_the_run_that_lived_then_and_none_in_between() {
    let ledger =
        ledger_of(&[(101, running("a", 0, 100, None)), (204, running("b", 1, 203, Some(ended("a", 100, 200))))]);
    let table = [
        (99.0, "outside_known_runs"),
        (99.95, "a"),
        (150.0, "a"),
        (200.9, "a"),
        (201.5, "outside_known_runs"),
        (202.5, "outside_known_runs"),
        (203.5, "b"),
        (900.0, "b"),
    ];
    for (seconds, expected) in table {
        assert_eq!(ask(&ledger, seconds, 1000.0), expected, "at {seconds}");
    }
}

#[test]
fn fresh_evidence_waits_because_the_next_run_may_not_be_published() {
    let ledger = ledger_of(&[(101, running("a", 0, 100, None))]);
    assert_eq!(ask(&ledger, 150.0, 147.0), "pending awaiting_status");
    assert_eq!(ask(&ledger, 150.0, 150.0), "a");
    assert_eq!(ask(&ledger, 140.0, 147.0), "a");
}

#[test]
fn a_second_shared_by_two_runs_belongs_to_neither() {
    let ledger =
        ledger_of(&[(101, running("a", 0, 100, None)), (204, running("b", 1, 200, Some(ended("a", 100, 200))))]);
    assert_eq!(ask(&ledger, 199.5, 1000.0), "a");
    assert_eq!(ask(&ledger, 200.5, 1000.0), "ambiguous");
    assert_eq!(ask(&ledger, 201.5, 1000.0), "b");
}

#[test]
fn a_gap_belongs_to_no_neighbour() {
    let ledger =
        ledger_of(&[(101, running("a", 0, 100, None)), (300, running("d", 3, 290, Some(ended("c", 250, 280))))]);
    let table = [
        (90.0, "outside_known_runs"),
        (99.0, "outside_known_runs"),
        (100.5, "gap"),
        (200.0, "gap"),
        (260.0, "c"),
        (295.0, "d"),
    ];
    for (seconds, expected) in table {
        assert_eq!(ask(&ledger, seconds, 1000.0), expected, "at {seconds}");
    }
}

#[test]
fn a_run_seen_alive_shortly_before_a_gap_keeps_what_it_surely_made() {
    let ledger = ledger_of(&[
        (101, running("a", 0, 100, None)),
        (180, running("a", 0, 100, None)),
        (300, running("d", 3, 290, Some(ended("c", 250, 280)))),
    ]);
    assert_eq!(ask(&ledger, 150.0, 1000.0), "a", "its status was still seen thirty seconds later");
    assert_eq!(ask(&ledger, 178.0, 1000.0), "gap", "the status seen at 180 may be three seconds old");
}

#[test]
fn a_process_that_began_later_than_its_run_waits_for_a_status_seen_after_that() {
    let ledger = ledger_of(&[(101, running("a", 0, 100, None))]);
    let query = |began: f64, seen: f64| RunQuery {
        alive_from: at(500.0),
        alive_to: at(500.0),
        began: Some(at(began)),
        horizon: at(600.0),
        witnessed: None,
        seen_at: at(seen),
        trusted_number: None,
        ours: None,
        slack: Duration::ZERO,
    };
    let container = ledger.container("app").expect("known");
    assert_eq!(told(container.resolve(&query(100.4, 101.0))), "a", "the main process");
    assert_eq!(told(container.resolve(&query(450.0, 101.0))), "pending awaiting_status", "a worker or another run");
    assert_eq!(told(container.resolve(&query(450.0, 511.0))), "a", "a worker: the status still says so");
}

#[test]
fn data_that_nothing_dates_belongs_to_a_run_only_when_there_never_was_another() {
    let undated = |ledger: &PodLedger, arrived: f64| {
        let query = RunQuery {
            alive_from: at(arrived),
            alive_to: UnixNanos(0),
            began: None,
            horizon: at(arrived),
            witnessed: None,
            seen_at: at(arrived),
            trusted_number: None,
            ours: None,
            slack: Duration::ZERO,
        };
        told(ledger.container("app").expect("known").resolve(&query))
    };
    let first = running("a", 0, 100, None);
    let second = running("b", 1, 203, Some(ended("a", 100, 200)));
    assert_eq!(undated(&ledger_of(&[(101, first.clone())]), 150.0), "a");
    assert_eq!(undated(&ledger_of(&[(101, first), (204, second.clone())]), 900.0), "ambiguous");
    assert_eq!(undated(&ledger_of(&[(204, running("c", 2, 203, None))]), 900.0), "gap");
}

#[test]
fn a_restart_count_selects_only_where_it_is_trusted() {
    let ledger =
        ledger_of(&[(101, running("a", 0, 100, None)), (204, running("b", 1, 200, Some(ended("a", 100, 200))))]);
    let with = |trusted_number| {
        let query = RunQuery {
            alive_from: at(200.5),
            alive_to: at(200.5),
            began: None,
            horizon: at(1000.0),
            witnessed: None,
            seen_at: at(1000.0),
            trusted_number,
            ours: None,
            slack: Duration::ZERO,
        };
        told(ledger.container("app").expect("known").resolve(&query))
    };
    assert_eq!(with(None), "ambiguous");
    assert_eq!(with(Some(0)), "a");
    assert_eq!(with(Some(7)), "ambiguous");
}

#[test]
fn a_count_lowered_by_the_kubelet_makes_no_run_older() {
    let ledger = ledger_of(&[
        (101, running("a", 5, 100, Some(ended("z", 50, 90)))),
        (204, running("b", 0, 203, Some(ended("a", 100, 200)))),
    ]);
    assert_eq!(shown_short(&ledger), ["|4:z", "5:a", "0:b"]);
    assert_eq!(ask(&ledger, 150.0, 1000.0), "a");
    assert_eq!(ask(&ledger, 210.0, 1000.0), "b");
}

fn shown_short(ledger: &PodLedger) -> Vec<String> {
    let show = |run: &Run| format!("{}{}:{}", if run.gap_before { "|" } else { "" }, run.restart, run.id);
    ledger.container("app").expect("known").runs.iter().map(show).collect()
}

#[test]
fn a_late_event_of_an_older_run_takes_its_place_and_not_the_newest() {
    let ledger = ledger_of(&[(204, running("b", 1, 203, None)), (205, running("a", 0, 100, None))]);
    assert_eq!(ledger.container("app").and_then(ContainerLedger::newest).map(|run| &*run.id), Some("b"));
    assert_eq!(ask(&ledger, 150.0, 1000.0), "a");
    assert_eq!(ask(&ledger, 250.0, 1000.0), "b");
}

#[test]
fn hostile_statuses_do_not_panic_and_name_nothing_twice() {
    let mut ledger = PodLedger::default();
    let counts = [i64::MIN, -1, 0, i64::MAX];
    for (step, count) in (0u64..).zip(counts.iter().cycle().take(64)) {
        let id = format!("run{}", step % 13);
        let last = ended(&format!("run{}", (step * 7) % 13), u64::MAX / 2, step);
        let mut status = running(&id, *count, step * 1_000_000_000_000, Some(last));
        if step % 3 == 0 {
            status.state = RunState::Terminated(ended(&id, 5, 1));
        }
        let now = UnixNanos::from_secs(step);
        ledger.observe(&pod_with(status), LastLook { previous: now, now });
        let runs = &ledger.container("app").expect("known").runs;
        let mut ids: Vec<&Arc<str>> = runs.iter().map(|run| &run.id).collect();
        ids.sort();
        ids.dedup();
        assert!(ids.len() == runs.len() && runs.len() <= RUNS_MAX, "after {step}");
        let _ = ask(&ledger, step as f64, 1.0);
    }
}

//! Silence proves nothing: what an API server that says nothing leaves to be said of a process that is seen first.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::stage::{UID, pod};
use super::{MadeUp, NOW, enricher, moment, read, resource};
use crate::core::data::budget::Ticket;
use crate::core::data::origin::{Origin, Transport};
use crate::core::report::stats::Metric;
use crate::core::time::UnixNanos;
use crate::kube::node_logs::{ContainerLogs, LogChange, LoggedRun};
use crate::kube::pod::Ended;
use crate::kube::table::PodChange;
use crate::processors::k8s_attributes::bindings::Times;
use crate::processors::k8s_attributes::enrich::{EnrichOutcome, Enricher};
use crate::processors::k8s_attributes::times::moment::{ArrivalMoment, Subject, WriteMode};

const BATCH_AGE: Duration = Duration::from_millis(4_800);

fn after(seconds: f64) -> UnixNanos {
    UnixNanos(NOW.0 + (seconds * 1e9) as u64)
}

fn arriving(at: UnixNanos) -> Origin {
    Origin::new(None, 0, at, at, Transport::Grpc)
}

/// A pod whose only run began ten minutes ago; the API server says nothing since `silent_since`.
fn silent(silent_since: UnixNanos) -> Arc<MadeUp> {
    let cluster = MadeUp::with([pod("run-a", 0, NOW.saturating_sub(Duration::from_secs(600)), None)]);
    cluster.set_proved(Some(silent_since));
    cluster
}

/// What a batch that arrives then is given: `Err` while it waits.
fn batch(
    enricher: &Enricher,
    instance: &str,
    at: UnixNanos,
    age: Duration,
    give_up: bool,
) -> Result<Option<String>, ()> {
    let times = || Some(Times::at(at.saturating_sub(age)));
    let resource = resource(&[("k8s.pod.uid", UID), ("service.instance.id", instance)]);
    let subject = Subject { resource: &resource, origin: &arriving(at), times: &times, ticket: &Ticket::free() };
    match enricher.enrich(&subject, &ArrivalMoment { give_up, ..moment(enricher, at, WriteMode::Full) }) {
        EnrichOutcome::Pending { .. } => Err(()),
        EnrichOutcome::Unchanged => Ok(None),
        EnrichOutcome::Changed(bytes) => Ok(read(&bytes).get("container.id").cloned()),
        EnrichOutcome::Refused(_) => panic!("there is room"),
    }
}

const RUN_B: &str = "c7b2a9be-45b7-4a3f-9f5b-0c4fd8d1d8bb";

fn restarted() -> crate::kube::pod::Pod {
    let dead = Ended {
        id: "run-a".into(),
        started: Some(NOW.saturating_sub(Duration::from_secs(600))),
        finished: Some(after(1.0)),
        reason: "Error".into(),
        exit_code: 1,
    };
    pod("run-b", 1, after(2.0), Some(dead))
}

#[test]
fn a_silent_api_server_never_lends_the_dead_runs_id_to_batches_that_are_five_seconds_old() {
    let cluster = silent(NOW);
    let (enricher, stats) = enricher("{}", &cluster);
    for seconds in (7..75).step_by(5) {
        let at = after(f64::from(seconds));
        assert_eq!(batch(&enricher, RUN_B, at, BATCH_AGE, false), Err(()), "{seconds} s: the pod is asked for");
        assert_eq!(batch(&enricher, RUN_B, at, BATCH_AGE, true), Ok(None), "{seconds} s: nobody answered");
    }
    assert_eq!(cluster.refreshed.lock().expect("fine").first().map(String::as_str), Some(UID));
    assert_eq!(stats.total("podgate_k8s_container_id_resources"), 14);
    let all = stats.all();
    let stale = all.iter().filter(|series| series.labels.iter().any(|(_, value)| value == "stale"));
    assert_eq!(stale.count(), 1);
}

#[test]
fn a_process_that_began_later_than_its_run_awaits_a_status_and_no_proof_of_contact() {
    for (silent_since, reason) in [(after(20.0), "awaiting_status"), (NOW, "stale")] {
        let (enricher, stats) = enricher("{}", &silent(silent_since));
        let began = jiff::Timestamp::from_nanosecond(i128::from(after(5.0).0)).expect("a time").to_string();
        let resource = resource(&[("k8s.pod.uid", UID), ("process.creation.time", &began)]);
        let times = || Some(Times::at(after(10.0)));
        let subject =
            Subject { resource: &resource, origin: &arriving(after(20.0)), times: &times, ticket: &Ticket::free() };
        let last = ArrivalMoment { give_up: true, ..moment(&enricher, after(20.0), WriteMode::Full) };
        assert!(matches!(enricher.enrich(&subject, &last), EnrichOutcome::Changed(_)));
        let all = stats.all();
        let of_reason = all.iter().filter(|series| series.labels.iter().any(|(_, value)| value == reason));
        let counted =
            of_reason.filter(|series| matches!(&series.metric, Metric::Counter(counter) if counter.get() == 1));
        assert_eq!(counted.count(), 1, "{reason}");
    }
}

#[test]
fn whatever_senders_batch_a_silent_server_lends_nothing_made_after_its_last_word() {
    // The last word came at zero, run-a died unseen at one second.
    let mut given = 0;
    for (number, age) in [0.25, 1.0, 5.0, 30.0, 60.0].into_iter().enumerate() {
        let cluster = silent(NOW);
        let (enricher, _) = enricher("{}", &cluster);
        for seconds in 0..70 {
            let (at, age) = (after(f64::from(seconds)), Duration::from_secs_f64(age));
            let instance = format!("c7b2a9be-45b7-4a3f-9f5b-0c4fd8{number:02}{seconds:04}");
            let id = batch(&enricher, &instance, at, age, true).expect("its time is over");
            let made = at.saturating_sub(age);
            assert_eq!(id.is_some(), made <= NOW.saturating_sub(Duration::from_secs(3)), "{age:?} at {seconds} s");
            given += u32::from(id.is_some());
        }
    }
    assert!(given > 50, "what is older than the proof is known: {given}");
}

#[test]
fn the_answer_to_one_read_is_proof_enough_for_its_pod() {
    let cluster = silent(NOW);
    let (enricher, _) = enricher("{}", &cluster);
    assert_eq!(batch(&enricher, RUN_B, after(7.0), BATCH_AGE, false), Err(()));
    // The answer shows the same run, and was asked for at the arrival: no run began until three seconds before.
    cluster.apply(PodChange::Proved { uid: UID.into(), asked: Instant::now() }, after(7.0));
    assert_eq!(batch(&enricher, RUN_B, after(7.0), BATCH_AGE, false), Ok(Some("run-a".to_owned())));
}

#[test]
fn the_answer_that_shows_the_next_run_gives_the_next_run() {
    let cluster = silent(NOW);
    let (enricher, _) = enricher("{}", &cluster);
    assert_eq!(batch(&enricher, RUN_B, after(7.0), BATCH_AGE, false), Err(()));
    cluster.apply(PodChange::Applied(restarted()), after(7.0));
    cluster.apply(PodChange::Proved { uid: UID.into(), asked: Instant::now() }, after(7.0));
    assert_eq!(batch(&enricher, RUN_B, after(7.0), BATCH_AGE, false), Ok(Some("run-b".to_owned())));
}

#[test]
fn evidence_that_is_too_young_for_any_answer_is_not_asked_for() {
    let cluster = silent(NOW.saturating_sub(Duration::from_secs(30)));
    let (enricher, _) = enricher("{}", &cluster);
    assert_eq!(batch(&enricher, RUN_B, NOW, Duration::from_millis(250), false), Err(()));
    assert!(cluster.refreshed.lock().expect("fine").is_empty(), "an answer could not prove it yet");
    assert_eq!(batch(&enricher, RUN_B, after(2.8), Duration::from_millis(3_050), false), Err(()));
    assert_eq!(cluster.refreshed.lock().expect("fine").len(), 1);
}

#[test]
fn statuses_that_lately_took_eight_seconds_make_evidence_of_five_wait() {
    let cluster = silent(after(60.0));
    let (enricher, _) = enricher("{}", &cluster);
    assert_eq!(batch(&enricher, RUN_B, after(60.0), BATCH_AGE, false), Ok(Some("run-a".to_owned())));
    cluster.set_delay(Duration::from_secs(8));
    let other = "c7b2a9be-45b7-4a3f-9f5b-0c4fd8d1d8cc";
    // Another process after a pause, so that nothing but its own data tells.
    cluster.set_proved(Some(after(90.0)));
    assert_eq!(batch(&enricher, other, after(90.0), BATCH_AGE, false), Err(()));
    assert_eq!(batch(&enricher, other, after(90.0), Duration::from_millis(8_050), false), Err(()), "or nearly nine");
    assert_eq!(batch(&enricher, other, after(90.0), Duration::from_millis(9_050), false), Ok(Some("run-a".to_owned())));
}

/// What the node's folder shows: these runs with the seconds of their starts.
fn logged(runs: &[(i64, &str, f64)], complete: bool) -> PodChange {
    let run = |(number, id, start): &(i64, &str, f64)| {
        let to = after(*start);
        LoggedRun { number: *number, id: (*id).into(), from: to.saturating_sub(Duration::from_millis(40)), to }
    };
    let logs = ContainerLogs { runs: runs.iter().map(run).collect(), complete };
    PodChange::Logged(LogChange { pod: UID.into(), container: "app".into(), logs: Some(logs) })
}

#[test]
fn where_the_node_tells_of_its_runs_a_new_process_waits_for_nothing_whatever_the_api_server_does() {
    let cluster = silent(NOW.saturating_sub(Duration::from_secs(300)));
    cluster.watch_logs();
    let (enricher, stats) = enricher("{}", &cluster);
    cluster.apply(logged(&[(0, "run-a", 0.0)], true), NOW);
    let young = Duration::from_millis(35);
    assert_eq!(batch(&enricher, RUN_B, after(0.2), young, false), Ok(Some("run-a".to_owned())), "known as it is now");
    // The log of the next run is there, its link is not: the run is starting.
    let other = "c7b2a9be-45b7-4a3f-9f5b-0c4fd8d1d8cc";
    cluster.apply(logged(&[(0, "run-a", 0.0)], false), after(10.0));
    assert_eq!(batch(&enricher, other, after(10.1), young, false), Err(()));
    cluster.apply(logged(&[(0, "run-a", 0.0), (1, "run-b", 10.1)], true), after(10.11));
    assert_eq!(batch(&enricher, other, after(10.2), young, false), Ok(Some("run-b".to_owned())));
    // Spans of the dead run that come late are the dead run's, without a status that tells of its end.
    let late = "c7b2a9be-45b7-4a3f-9f5b-0c4fd8d1d8dd";
    assert_eq!(batch(&enricher, late, after(12.0), Duration::from_secs(3), false), Ok(Some("run-a".to_owned())));
    assert!(cluster.refreshed.lock().expect("fine").is_empty(), "nobody had to be asked");
    let all = stats.all();
    let unconfirmed = all.iter().find(|series| series.labels.iter().any(|(_, value)| value == "unconfirmed"));
    let crate::core::report::stats::Metric::Counter(unconfirmed) = &unconfirmed.expect("counted").metric else {
        panic!()
    };
    assert_eq!(unconfirmed.get(), 0);
}

#[test]
fn a_process_that_was_begun_a_moment_ago_waits_for_the_folders_lag_and_no_longer() {
    let cluster = silent(NOW.saturating_sub(Duration::from_secs(300)));
    cluster.watch_logs();
    let (enricher, _) = enricher("{}", &cluster);
    cluster.apply(logged(&[(0, "run-a", 0.0)], true), NOW);
    let times = || Some(Times::at(after(5.0)));
    let resource = resource(&[("k8s.pod.uid", UID)]);
    let subject =
        Subject { resource: &resource, origin: &arriving(after(5.0)), times: &times, ticket: &Ticket::free() };
    let EnrichOutcome::Pending { retry_at } =
        enricher.enrich(&subject, &moment(&enricher, after(5.0), WriteMode::Full))
    else {
        panic!("the folder is known until 30 ms ago");
    };
    assert_eq!(retry_at, after(5.03));
}

#[test]
fn a_folder_that_is_gone_leaves_the_proof_of_contact() {
    let cluster = silent(NOW);
    cluster.watch_logs();
    let (enricher, _) = enricher("{}", &cluster);
    cluster.apply(logged(&[(0, "run-a", 0.0)], true), NOW);
    cluster.apply(PodChange::Logged(LogChange { pod: UID.into(), container: "app".into(), logs: None }), after(10.0));
    assert_eq!(batch(&enricher, RUN_B, after(20.0), BATCH_AGE, false), Err(()));
}

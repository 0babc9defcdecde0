//! A resource that tells its own container.id is scored: what it would have got without it, beside what it says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::stage::{UID, pod};
use super::{MadeUp, NOW, enriched, enriched_at, enricher, moment, origin, resource};
use crate::core::data::budget::Ticket;
use crate::core::report::stats::{Metric, Stats};
use crate::core::time::UnixNanos;
use crate::kube::pod::{Ended, Pod};
use crate::processors::k8s_attributes::bindings::Times;
use crate::processors::k8s_attributes::times::moment::{Subject, WriteMode};

const DEAD: &str = "4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c4f1c";
const ALIVE: &str = "9b279b279b279b279b279b279b279b279b279b279b279b279b279b279b279b27";
const OLD: Duration = Duration::from_secs(10);

fn ago(seconds: u64) -> UnixNanos {
    NOW.saturating_sub(Duration::from_secs(seconds))
}

/// Its second run began a minute ago.
fn restarted() -> Pod {
    let last = Ended { id: DEAD.into(), started: Some(ago(600)), finished: Some(ago(62)), ..Ended::default() };
    pod(ALIVE, 1, ago(60), Some(last))
}

/// Resources by outcome; what was never counted is left out.
fn scored(stats: &Stats) -> BTreeMap<String, u64> {
    let series = stats.all().into_iter().filter(|series| series.name == "podgate_k8s_self_scored");
    let counted = series.filter_map(|series| {
        let (_, outcome) = series.labels.iter().find(|(key, _)| *key == "outcome")?;
        match &series.metric {
            Metric::Counter(counter) if counter.get() > 0 => Some((outcome.to_string(), counter.get())),
            _ => None,
        }
    });
    counted.collect()
}

fn one(outcome: &str, count: u64) -> BTreeMap<String, u64> {
    BTreeMap::from([(outcome.to_owned(), count)])
}

/// The score of one resource of this age, beside what it came out with.
fn score(pairs: &[(&str, &str)], peer: Option<&str>, age: Duration) -> (BTreeMap<String, u64>, Option<String>) {
    let (enricher, stats) = enricher("{}", &MadeUp::with([restarted()]));
    let out = enriched(&enricher, &resource(pairs), &origin(peer, 0, NOW), age);
    (scored(&stats), out.and_then(|out| out.get("container.id").cloned()))
}

#[test]
fn a_run_that_is_told_and_would_have_been_found_is_right_and_stays_what_was_told() {
    let told = [("k8s.pod.uid", UID), ("container.id", ALIVE)];
    assert_eq!(score(&told, None, OLD), (one("right", 1), Some(ALIVE.to_owned())));
    let late = [("k8s.pod.uid", UID), ("container.id", DEAD)];
    assert_eq!(score(&late, None, Duration::from_secs(100)), (one("right", 1), Some(DEAD.to_owned())));
}

#[test]
fn another_run_than_the_one_that_is_told_is_wrong_and_is_not_emitted() {
    // Made after the dead run's end, as far as its times go: without the id it would have been the living one's.
    let told = [("k8s.pod.uid", UID), ("container.id", DEAD)];
    assert_eq!(score(&told, None, OLD), (one("wrong", 1), Some(DEAD.to_owned())));
}

#[test]
fn a_resource_that_nothing_but_its_id_leads_to_a_pod_would_have_got_none() {
    let rule = "pod_association: [{sources: [{from: resource_attribute, name: container.id}]}]";
    let (enricher, stats) = enricher(rule, &MadeUp::with([restarted()]));
    let told = resource(&[("container.id", ALIVE)]);
    let out = enriched(&enricher, &told, &origin(None, 0, NOW), OLD).expect("known at once");
    assert_eq!((scored(&stats), out.get("k8s.pod.name").map(String::as_str)), (one("missing", 1), Some("cart-1")));
}

#[test]
fn what_is_too_fresh_to_tell_would_have_waited_and_asks_nobody() {
    let cluster = MadeUp::with([restarted()]);
    let (enricher, stats) = enricher("{}", &cluster);
    let told = resource(&[("k8s.pod.uid", UID), ("container.id", ALIVE)]);
    assert!(enriched(&enricher, &told, &origin(None, 0, NOW), Duration::ZERO).is_some(), "told, so it does not wait");
    assert_eq!(scored(&stats), one("waiting", 1));
    assert!(cluster.refreshed.lock().expect("not poisoned").is_empty(), "no read of the API server for a score");
}

#[test]
fn an_id_that_nobody_here_knows_is_no_truth_to_compare_with_and_no_id_is_no_score() {
    let stranger = "00".repeat(32);
    let told = [("k8s.pod.uid", UID), ("container.id", stranger.as_str())];
    assert_eq!(score(&told, None, OLD).0, one("unknown", 1));
    assert_eq!(score(&[("k8s.pod.uid", UID)], None, OLD), (BTreeMap::new(), Some(ALIVE.to_owned())));
}

#[test]
fn the_score_leaves_no_trace_in_what_is_found_for_others() {
    let process = [("k8s.pod.uid", UID), ("service.instance.id", "c7b2a9be-45b7-4a3f-9f5b-0c4fd8d1d8aa")];
    let told = [process[0], process[1], ("container.id", ALIVE)];
    let (enricher, stats) = enricher("{}", &MadeUp::with([restarted()]));
    enriched(&enricher, &resource(&told), &origin(None, 0, NOW), OLD);
    assert_eq!(scored(&stats), one("right", 1));
    let fresh = enriched(&enricher, &resource(&process), &origin(None, 0, NOW), Duration::ZERO);
    assert_eq!(fresh, None, "the same process without an id still waits for its own evidence");
}

#[test]
fn at_the_decision_a_resource_is_scored_once() {
    let cluster: Arc<MadeUp> = MadeUp::with([restarted()]);
    let (enricher, stats) = enricher("{}", &cluster);
    let told = resource(&[("k8s.pod.uid", UID), ("container.id", ALIVE)]);
    let (from, times) = (origin(None, 0, NOW), || Some(Times::at(NOW)));
    let subject = Subject { resource: &told, origin: &from, times: &times, ticket: &Ticket::free() };
    let (_, whose) = enricher.enrich_at_arrival(&subject, &moment(&enricher, NOW, WriteMode::PodOnly));
    assert_eq!(scored(&stats), BTreeMap::new());
    let later = NOW.saturating_add(OLD);
    let known = whose.found_or_not_yet().expect("a pod");
    enricher.enrich_known(&subject, &moment(&enricher, later, WriteMode::RunOnly), known);
    assert_eq!(scored(&stats), one("right", 1));
    // A later look at the same process by another resource.
    enriched_at(&enricher, &told, &from, Duration::ZERO, later);
    assert_eq!(scored(&stats), one("right", 2));
}

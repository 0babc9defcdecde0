//! The first data of a new run while its status is late by 0, 1, 5 and 30 seconds, and senders behind a mesh proxy.

use std::sync::Arc;
use std::time::Duration;

use super::stage::{UID, pod};
use super::{Attributes, MadeUp, NOW, enricher, moment, read, resource};
use crate::core::data::budget::Ticket;
use crate::core::data::origin::{Origin, Transport};
use crate::core::report::stats::{Metric, Stats};
use crate::core::time::UnixNanos;
use crate::kube::pod::{Container, ContainerKind, ContainerStatus, Ended, Pod};
use crate::kube::table::PodChange;
use crate::processors::k8s_attributes::bindings::Times;
use crate::processors::k8s_attributes::enrich::{EnrichOutcome, Enricher};
use crate::processors::k8s_attributes::times::moment::{ArrivalMoment, Subject, WriteMode};

const HOLD: Duration = Duration::from_secs(3);

fn after(seconds: f64) -> UnixNanos {
    UnixNanos(NOW.0 + (seconds * 1e9) as u64)
}

/// `run-0` from long ago until [`NOW`], `run-1` from a second later.
fn restarted() -> Pod {
    let dead = Ended {
        id: "run-0".into(),
        started: Some(NOW.saturating_sub(Duration::from_secs(600))),
        finished: Some(NOW),
        reason: "Error".into(),
        exit_code: 1,
    };
    pod("run-1", 1, after(1.0), Some(dead))
}

/// What a resource gets whose data was made at `made` and that may wait as long as the hold; the status of the new run
/// is published at `published`.
struct Sent<'a> {
    enricher: &'a Enricher,
    cluster: &'a Arc<MadeUp>,
    published: UnixNanos,
}

impl Sent<'_> {
    fn id(&self, resource: &[u8], made: UnixNanos, origin: &Origin) -> Option<String> {
        let times = || Some(Times::at(made));
        let subject = Subject { resource, origin, times: &times, ticket: &Ticket::free() };
        let mut now = made;
        loop {
            if self.published <= now && self.cluster.snapshot_knows("run-1").is_none() {
                self.cluster.apply(PodChange::Applied(restarted()), self.published);
            }
            let give_up = now >= made.saturating_add(HOLD);
            let moment = ArrivalMoment { give_up, ..moment(self.enricher, now, WriteMode::Full) };
            match self.enricher.enrich(&subject, &moment) {
                EnrichOutcome::Refused(why) => panic!("{why}"),
                EnrichOutcome::Pending { .. } => now = now.saturating_add(Duration::from_millis(100)),
                EnrichOutcome::Unchanged => return None,
                EnrichOutcome::Changed(bytes) => return read(&bytes).get("container.id").cloned(),
            }
        }
    }
}

impl MadeUp {
    fn snapshot_knows(&self, id: &str) -> Option<()> {
        use crate::processors::k8s_attributes::cluster::Cluster;
        self.snapshot().by_uid(UID)?.ledger.knows(id).then_some(())
    }
}

fn counted(stats: &Stats, outcome: &str) -> u64 {
    let all = stats.all().into_iter().filter(|series| series.name == "podgate_k8s_container_id_resources");
    let wanted = all.filter(|series| series.labels.iter().any(|(_, value)| value == outcome));
    let counts = wanted.map(|series| match series.metric {
        Metric::Counter(counter) => counter.get(),
        _ => 0,
    });
    counts.sum()
}

#[test]
fn the_first_data_of_a_run_is_right_up_to_the_budget_and_with_a_told_start_never_wrong() {
    let instance = ("service.instance.id", "c7b2a9be-45b7-4a3f-9f5b-0c4fd8d1d8aa");
    // One second after the restart, as .NET's process detector writes it.
    let began = jiff::Timestamp::from_nanosecond(i128::from(after(1.0).0)).expect("a time").to_string();
    for (delay, tells_start) in [0, 1, 2, 5, 30].into_iter().flat_map(|delay| [(delay, false), (delay, true)]) {
        let cluster = MadeUp::with([pod("run-0", 0, NOW.saturating_sub(Duration::from_secs(600)), None)]);
        let (enricher, stats) = enricher("{}", &cluster);
        let published = after(1.0).saturating_add(Duration::from_secs(delay));
        let sent = Sent { enricher: &enricher, cluster: &cluster, published };
        let mut pairs = vec![("k8s.pod.uid", UID), instance];
        if tells_start {
            pairs.push(("process.creation.time", &began));
        }
        let resource = resource(&pairs);
        let origin = |made| Origin::new(None, 9, after(1.1), made, Transport::Grpc);
        let first = sent.id(&resource, after(1.2), &origin(after(1.2)));
        let case = format!("{delay} s late, start told: {tells_start}");
        let expected: &[Option<&str>] = match (delay, tells_start) {
            (0..=2, _) => &[Some("run-1")],
            (_, true) => &[None],
            // On age alone: wrong, and counted as unconfirmed.
            (_, false) => &[Some("run-0")],
        };
        assert!(expected.contains(&first.as_deref()), "{case}: {first:?}");
        let (unconfirmed, corrected) = (counted(&stats, "unconfirmed"), counted(&stats, "corrected"));
        assert_eq!((unconfirmed, corrected), (u64::from(!tells_start), 0), "{case}");
        let later = after(delay as f64 + 10.0);
        assert_eq!(sent.id(&resource, later, &origin(later)).as_deref(), Some("run-1"), "{case}");
        assert_eq!(counted(&stats, "corrected"), u64::from(delay > 2 && !tells_start), "{case}");
    }
}

fn got(enricher: &Enricher, pairs: &[(&str, &str)], origin: &Origin, made: UnixNanos) -> Attributes {
    let times = || Some(Times::at(made));
    let resource = resource(pairs);
    let subject = Subject { resource: &resource, origin, times: &times, ticket: &Ticket::free() };
    match enricher.enrich(&subject, &moment(enricher, made.saturating_add(Duration::from_secs(10)), WriteMode::Full)) {
        EnrichOutcome::Changed(bytes) => read(&bytes),
        other => panic!("{other:?}"),
    }
}

fn with_second(name: &str, made: Pod) -> Pod {
    let mut both = made;
    both.containers.push(Container { name: name.into(), image: "p:1".into(), kind: ContainerKind::Regular });
    let second = ContainerStatus { name: name.into(), id: format!("run-of-{name}").into(), ..both.statuses[0].clone() };
    both.statuses.push(second);
    both
}

#[test]
fn a_proxys_connection_that_outlives_a_restart_does_not_carry_the_old_run_over_it() {
    let before = with_second("istio-proxy", pod("run-0", 0, NOW.saturating_sub(Duration::from_secs(600)), None));
    let cluster = MadeUp::with([before]);
    let (enricher, _) = enricher("{}", &cluster);
    let pairs = [("k8s.pod.uid", UID), ("k8s.container.name", "app")];
    let origin = |made| Origin::new(None, 9, NOW.saturating_sub(Duration::from_secs(300)), made, Transport::Grpc);
    let old = NOW.saturating_sub(Duration::from_secs(60));
    assert_eq!(got(&enricher, &pairs, &origin(old), old)["container.id"], "run-0");
    cluster.apply(PodChange::Applied(with_second("istio-proxy", restarted())), after(2.0));
    let new = after(20.0);
    assert_eq!(got(&enricher, &pairs, &origin(new), new)["container.id"], "run-1");
}

#[test]
fn two_containers_behind_one_address_are_told_apart_by_name_and_not_at_all_without() {
    let cluster =
        MadeUp::with([with_second("worker", pod("run-0", 0, NOW.saturating_sub(Duration::from_secs(600)), None))]);
    let (enricher, stats) = enricher("{}", &cluster);
    let peer = Some("10.1.0.5:40000".parse().expect("an address"));
    let made = NOW.saturating_sub(Duration::from_secs(30));
    let origin = |number| Origin::new(peer, number, made, made, Transport::Grpc);
    assert_eq!(got(&enricher, &[("k8s.container.name", "app")], &origin(1), made)["container.id"], "run-0");
    assert_eq!(got(&enricher, &[("k8s.container.name", "worker")], &origin(2), made)["container.id"], "run-of-worker");
    let unnamed = got(&enricher, &[("service.name", "x")], &origin(3), made);
    assert_eq!((unnamed.get("container.id"), unnamed["k8s.pod.name"].as_str()), (None, "cart-1"));
    assert_eq!(counted(&stats, "container_name_missing"), 1);
}

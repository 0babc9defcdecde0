//! The binding at the decision: right whatever the wall clock did, and after the pod was forgotten.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::stage::{UID, pod};
use super::{Attributes, MadeUp, NOW, enricher, read, resource};
use crate::core::data::binding::{BindingOutcome, Evidence, LateBinding};
use crate::core::data::budget::Ticket;
use crate::core::data::origin::{Origin, Transport};
use crate::core::time::{StandIn, UnixNanos};
use crate::kube::pod::{Ended, Pod};
use crate::kube::table::PodChange;
use crate::processors::k8s_attributes::enrich::Enricher;
use crate::processors::k8s_attributes::late::{Binder, Late};
use crate::processors::k8s_attributes::times::clock_steps::ClockSteps;
use crate::processors::k8s_attributes::times::moment::{ArrivalMoment, Subject, WriteMode};

const SECOND: Duration = Duration::from_secs(1);

/// A wall clock that goes with tokio's and can be set.
struct Wall {
    offset: Arc<AtomicI64>,
    _stand_in: StandIn,
}

impl Wall {
    fn new() -> Wall {
        let offset: Arc<AtomicI64> = Arc::default();
        let (read, started) = (offset.clone(), tokio::time::Instant::now());
        let wall = move || {
            let even = NOW.saturating_add(started.elapsed());
            UnixNanos(even.0.saturating_add_signed(read.load(Ordering::Relaxed)))
        };
        Wall { offset, _stand_in: StandIn::of(wall) }
    }

    fn step(&self, seconds: i64) {
        self.offset.fetch_add(seconds * 1_000_000_000, Ordering::Relaxed);
    }
}

struct Rig {
    enricher: Arc<Enricher>,
    binder: Arc<Binder>,
    cluster: Arc<MadeUp>,
}

/// A pod with `run-0`, which began ten minutes ago.
fn rig() -> Rig {
    rig_of(pod("run-0", 0, NOW.saturating_sub(SECOND * 600), None))
}

fn rig_of(pod: Pod) -> Rig {
    let cluster = MadeUp::with([pod]);
    let enricher = Arc::new(enricher("{}", &cluster).0);
    let steady = Arc::new(ClockSteps::new(enricher.freshness));
    let binder = Arc::new(Binder { enricher: enricher.clone(), steady });
    // The first look, before any step.
    binder.steady.look();
    Rig { enricher, binder, cluster }
}

impl Rig {
    /// A resource that arrives now, with the binding that it is given.
    fn arrives(&self) -> (Bytes, Late) {
        self.arrives_from(None, UID)
    }

    fn arrives_from(&self, peer: Option<&str>, uid: &str) -> (Bytes, Late) {
        let now = UnixNanos::now();
        let peer = peer.map(|peer| std::net::SocketAddr::new(peer.parse().expect("an address"), 40_000));
        let origin = Arc::new(Origin::new(peer, 1, now, now, Transport::Grpc));
        let resource = resource(&[("k8s.pod.uid", uid)]);
        let moment = ArrivalMoment::new(&*self.enricher.cluster, &self.binder.steady, WriteMode::PodOnly);
        let subject = Subject { resource: &resource, origin: &origin, times: &|| None, ticket: &Ticket::free() };
        let (_, whose) = self.enricher.enrich_at_arrival(&subject, &moment);
        let known = whose.found_or_not_yet().expect("a pod, or none yet");
        (resource, Late { binder: self.binder.clone(), origin, known })
    }
}

/// The id that a decision gives to data made at `made`; `Err` while it is pending.
fn decided((resource, late): &(Bytes, Late), made: UnixNanos, last_chance: bool) -> Result<Option<String>, ()> {
    match late.resolve(resource, Evidence { latest: made, last_chance }) {
        BindingOutcome::Unchanged => Ok(None),
        BindingOutcome::Resource(bytes) => Ok(read(&bytes).get("container.id").cloned()),
        BindingOutcome::Pending => Err(()),
    }
}

fn restarted(at: UnixNanos) -> Pod {
    let dead = Ended {
        id: "run-0".into(),
        started: Some(NOW.saturating_sub(SECOND * 600)),
        finished: Some(at.saturating_sub(SECOND)),
        reason: "Error".into(),
        exit_code: 1,
    };
    pod("run-1", 1, at, Some(dead))
}

#[tokio::test(start_paused = true)]
async fn a_decision_after_the_clock_was_set_forward_by_a_minute_is_right_within_seconds() {
    let (wall, rig) = (Wall::new(), rig());
    wall.step(60);
    rig.binder.steady.look();
    tokio::time::advance(SECOND * 4).await;
    let (made, sent) = (UnixNanos::now(), rig.arrives());
    tokio::time::advance(SECOND * 5).await;
    assert_eq!(decided(&sent, made, true), Ok(Some("run-0".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn a_decision_after_the_clock_was_set_back_does_not_take_the_dead_run() {
    let (wall, rig) = (Wall::new(), rig());
    wall.step(-20);
    rig.binder.steady.look();
    tokio::time::advance(SECOND * 60).await;
    // The restart; its status comes 2.5 s later, the decision after one.
    let began = UnixNanos::now();
    tokio::time::advance(SECOND / 2).await;
    let (made, sent) = (UnixNanos::now(), rig.arrives());
    tokio::time::advance(SECOND).await;
    assert_eq!(decided(&sent, made, false), Err(()), "the status of a new run may be on its way");
    tokio::time::advance(SECOND).await;
    rig.cluster.apply(PodChange::Applied(restarted(began)), UnixNanos::now());
    tokio::time::advance(SECOND * 2).await;
    assert_eq!(decided(&sent, made, false), Ok(Some("run-1".to_owned())));
}

/// As a node sets it that was started with a wrong clock: pods are young, and the step goes back behind their start.
#[tokio::test(start_paused = true)]
async fn when_the_clock_is_set_back_behind_its_start_the_only_run_there_was_is_right_within_seconds() {
    for restarts in [false, true] {
        let started = NOW.saturating_sub(SECOND * 20);
        let young = pod("run-0", 0, started, None);
        let last = Ended { id: "run-0".into(), started: Some(started), finished: Some(NOW), ..Ended::default() };
        let (wall, rig) = (Wall::new(), rig_of(young));
        if restarts {
            rig.cluster.apply(PodChange::Applied(pod("run-1", 1, NOW, Some(last))), NOW);
        }
        wall.step(-90);
        rig.binder.steady.look();
        tokio::time::advance(SECOND * 4).await;
        let (made, sent) = (UnixNanos::now(), rig.arrives());
        tokio::time::advance(SECOND * 4).await;
        let expected = (!restarts).then(|| "run-0".to_owned());
        assert_eq!(decided(&sent, made, true), Ok(expected), "restarted before: {restarts}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_was_forgotten_between_arrival_and_decision_keeps_its_container() {
    let (_wall, rig) = (Wall::new(), rig());
    let (made, sent) = (UnixNanos::now().saturating_sub(SECOND * 10), rig.arrives());
    let fresh = (UnixNanos::now(), rig.arrives());
    rig.cluster.apply(PodChange::Deleted { uid: UID.into(), last: None }, UnixNanos::now());
    tokio::time::advance(SECOND * 200).await;
    rig.cluster.tick(UnixNanos::now());
    assert!(rig.enricher.cluster.snapshot().by_uid(UID).is_none(), "forgotten");
    assert_eq!(decided(&sent, made, false), Ok(Some("run-0".to_owned())));
    // What the pod did after its last sight is not known: it may have restarted.
    assert_eq!(decided(&fresh.1, fresh.0, true), Ok(None));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_announced_between_arrival_and_decision_gets_all_attributes() {
    let (_wall, rig) = (Wall::new(), rig());
    rig.cluster.apply(PodChange::Deleted { uid: UID.into(), last: None }, UnixNanos::now());
    tokio::time::advance(SECOND * 200).await;
    rig.cluster.tick(UnixNanos::now());
    let (made, (resource, late)) = (UnixNanos::now(), rig.arrives());
    assert_eq!(
        decided(
            &(resource.clone(), Late { origin: late.origin.clone(), known: None, binder: late.binder.clone() }),
            made,
            false
        ),
        Err(())
    );
    rig.cluster.apply(PodChange::Applied(restarted(made.saturating_sub(SECOND))), UnixNanos::now());
    tokio::time::advance(SECOND * 5).await;
    let BindingOutcome::Resource(bytes) = late.resolve(&resource, Evidence { latest: made, last_chance: false }) else {
        panic!("known by now");
    };
    let read: Attributes = read(&bytes);
    assert_eq!((&*read["k8s.pod.name"], &*read["container.id"]), ("cart-1", "run-1"));
}

#[tokio::test(start_paused = true)]
async fn a_claimed_pod_that_is_announced_by_the_decision_is_found_although_another_one_is_at_the_address() {
    let (_wall, rig) = (Wall::new(), rig());
    let (resource, late) = rig.arrives_from(Some("10.1.0.5"), "another");
    let other = Pod { uid: "another".into(), name: "other-1".into(), ips: Vec::new(), ..restarted(NOW) };
    rig.cluster.apply(PodChange::Applied(other), UnixNanos::now());
    tokio::time::advance(SECOND * 10).await;
    let BindingOutcome::Resource(bytes) = late.resolve(&resource, Evidence { latest: NOW, last_chance: false }) else {
        panic!("known by now");
    };
    assert_eq!(read(&bytes)["k8s.pod.name"], "other-1");
}

//! The binding at the decision: right whatever the wall clock did, and after the pod was forgotten.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;

use super::stage::{UID, pod};
use super::{Attributes, MadeUp, NOW, enricher, read, resource};
use crate::core::data::binding::{BindingOutcome, Evidence, LateBinding};
use crate::core::data::budget::Ticket;
use crate::core::data::origin::{Origin, Transport};
use crate::core::time::{StandIn, UnixNanos};
use crate::kube::pod::{Ended, Pod, RunState};
use crate::kube::table::PodChange;
use crate::processors::k8s_attributes::bindings::Times;
use crate::processors::k8s_attributes::enrich::{EnrichOutcome, Enricher};
use crate::processors::k8s_attributes::late::{Binder, Late};
use crate::processors::k8s_attributes::times::clock_steps::ClockSteps;
use crate::processors::k8s_attributes::times::moment::{ArrivalMoment, KnownPod, Subject, WriteMode};
use crate::testing::pods;

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

/// A pod is deleted while the watch is away, and its successor sends before that is heard.
struct Succession {
    rng: Rng,
    rig: Rig,
    /// How both name themselves.
    by: &'static str,
    /// With a sampler: the decision comes this many tenths of a second after the arrival.
    decision: Option<u64>,
    /// The watch knows that no stream is open.
    is_known: bool,
    /// How far the API server's clock is ahead.
    ahead: Duration,
    /// In tenths of a second: last contact, deletion, first data of the successor, and when all of it is heard.
    times: [u64; 4],
    last_state: RunState,
}

/// One resource, until it is decided.
struct Sent {
    truth: (&'static str, &'static str),
    at: u64,
    resource: Bytes,
    origin: Arc<Origin>,
    known: Option<KnownPod>,
}

const SUCCESSOR: &str = "0d6e1a34-7a5a-4b7e-8f0e-2d6f1c9a4b11";
const RULES: &str = "pod_association: [{sources: [{from: resource_attribute, name: k8s.pod.name}, \
                     {from: resource_attribute, name: k8s.namespace.name}]}, {sources: [{from: connection}]}]";

fn tenth(tenths: u64) -> UnixNanos {
    NOW.saturating_add(Duration::from_millis(tenths * 100))
}

fn second(at: UnixNanos) -> UnixNanos {
    UnixNanos::from_secs(at.0 / 1_000_000_000)
}

impl Succession {
    fn new(seed: u64) -> Succession {
        let mut rng = Rng::with_seed(seed);
        let contact = 30 + rng.u64(0..20);
        let deleted = contact + rng.u64(1..40);
        let (is_told, is_known) = (rng.bool(), rng.bool());
        let decision = rng.bool().then(|| 10 + rng.u64(0..60));
        // It is made when its predecessor is gone, and a container takes a second to start. Where the end is told and nothing was
        // decided before that, it may take less.
        let is_soon = is_told && (is_known || decision.is_none());
        let begun = deleted + rng.u64(if is_soon { 1..25 } else { 11..25 });
        let heard = begun + rng.u64(1..40);
        let started = second(NOW.saturating_sub(SECOND * 600));
        let finished = Some(second(tenth(deleted - 1)));
        let ended = Ended { id: "run-0".into(), started: Some(started), finished, ..Ended::default() };
        let running = RunState::Running { started: Some(started) };
        let last_state = if is_told { RunState::Terminated(ended) } else { running };
        let old = pod("run-0", 0, started, None);
        let cluster = MadeUp::with([old]);
        let enricher = Arc::new(enricher(RULES, &cluster).0);
        let steady = Arc::new(ClockSteps::new(enricher.freshness));
        let binder = Arc::new(Binder { enricher: enricher.clone(), steady });
        binder.steady.look();
        Succession {
            by: ["name", "address"][rng.usize(0..2)],
            decision,
            is_known,
            ahead: SECOND * [0, 0, 90][rng.usize(0..3)],
            times: [contact, deleted, begun, heard],
            last_state,
            rig: Rig { enricher, binder, cluster },
            rng,
        }
    }

    /// Both states as they are heard after the gap.
    fn hear(&self, at: UnixNanos) {
        let [_, deleted, begun, _] = self.times;
        let cluster = &self.rig.cluster;
        let state = pods::status("run-0", 0, self.last_state.clone(), None);
        let last = pods::pod(NOW.saturating_sub(SECOND * 3_600), state);
        cluster.apply(PodChange::Deleted { uid: UID.into(), last: Some(last) }, at);
        let successor = Pod {
            uid: SUCCESSOR.into(),
            created: second(tenth(deleted)).saturating_add(self.ahead),
            started: Some(second(tenth(begun - 1))),
            ..pod("run-n", 0, second(tenth(begun)), None)
        };
        cluster.apply(PodChange::Applied(successor), at);
        cluster.set_silent(None);
    }

    fn sends(&mut self, tick: u64) -> Option<Sent> {
        let [_, deleted, begun, _] = self.times;
        let truth = match tick {
            _ if tick < deleted => (UID, "run-0"),
            _ if tick >= begun => (SUCCESSOR, "run-n"),
            _ => return None,
        };
        if !self.rng.u8(..).is_multiple_of(3) {
            return None;
        }
        let peer = std::net::SocketAddr::new("10.1.0.5".parse().expect("an address"), 40_000);
        let (number, accepted) = if truth.0 == UID { (1, NOW) } else { (2, tenth(begun)) };
        let direct = self.by == "address";
        let origin = Origin::new(
            direct.then_some(peer),
            if direct { number } else { 0 },
            accepted,
            tenth(tick),
            Transport::Grpc,
        );
        let names = [("k8s.container.name", "app"), ("k8s.pod.name", "cart-1"), ("k8s.namespace.name", "shop")];
        let resource = resource(if direct { &names[..1] } else { &names });
        let mut sent = Sent { truth, at: tick, resource, origin: Arc::new(origin), known: None };
        if self.decision.is_some() {
            let moment = ArrivalMoment::new(&*self.rig.enricher.cluster, &self.rig.binder.steady, WriteMode::PodOnly);
            let times = || Some(Times::at(tenth(sent.at)));
            let subject =
                Subject { resource: &sent.resource, origin: &sent.origin, times: &times, ticket: &Ticket::free() };
            let (outcome, whose) = self.rig.enricher.enrich_at_arrival(&subject, &moment);
            sent.known = whose.found_or_not_yet()?;
            if let EnrichOutcome::Changed(bytes) = outcome {
                sent.resource = bytes;
            }
        }
        Some(sent)
    }

    /// What the resource ends as; `None` while it waits.
    fn ends(&self, sent: &Sent, tick: u64) -> Option<Attributes> {
        let made = tenth(sent.at);
        let last_chance = tick >= sent.at + self.decision.unwrap_or(0) + 50;
        if let Some(decision) = self.decision {
            if tick < sent.at + decision {
                return None;
            }
            let late = Late { binder: self.rig.binder.clone(), origin: sent.origin.clone(), known: sent.known.clone() };
            return match late.resolve(&sent.resource, Evidence { latest: made, last_chance }) {
                BindingOutcome::Pending => None,
                BindingOutcome::Unchanged => Some(read(&sent.resource)),
                BindingOutcome::Resource(bytes) => Some(read(&bytes)),
            };
        }
        let moment = ArrivalMoment::new(&*self.rig.enricher.cluster, &self.rig.binder.steady, WriteMode::Full);
        let times = || Some(Times::at(made));
        let subject =
            Subject { resource: &sent.resource, origin: &sent.origin, times: &times, ticket: &Ticket::free() };
        match self.rig.enricher.enrich(&subject, &ArrivalMoment { give_up: last_chance, ..moment }) {
            EnrichOutcome::Pending { .. } => None,
            EnrichOutcome::Changed(bytes) => Some(read(&bytes)),
            _ => Some(read(&sent.resource)),
        }
    }

    /// How many got an id.
    async fn run(mut self, seed: u64) -> usize {
        let [contact, .., heard] = self.times;
        let (mut waiting, mut given): (Vec<Sent>, usize) = (Vec::new(), 0);
        for tick in 1..heard + 150 {
            tokio::time::advance(SECOND / 10).await;
            let now = UnixNanos::now();
            match tick {
                // Words that come in one burst may have been held back together.
                _ if tick <= contact || tick >= heard + 10 => self.rig.cluster.hear(now),
                _ if tick == heard => self.hear(now),
                _ if self.is_known && tick < heard => self.rig.cluster.set_silent(Some(tenth(contact))),
                _ => {}
            }
            if tick < heard + 20 {
                waiting.extend(self.sends(tick));
            }
            waiting.retain(|sent| {
                let Some(end) = self.ends(sent, tick) else { return true };
                let (uid, id) = (end.get("k8s.pod.uid"), end.get("container.id"));
                let case = || {
                    format!(
                        "seed {seed}: by {}, decision {:?}, gap known {}, ahead {:?}, times {:?}, last {:?}, sent {}, \
                         ended {tick}: {:?} got {uid:?} {id:?}",
                        self.by,
                        self.decision,
                        self.is_known,
                        self.ahead,
                        self.times,
                        self.last_state,
                        sent.at,
                        sent.truth
                    )
                };
                assert!(id.is_none_or(|id| *id == sent.truth.1), "{}", case());
                // Whose it is can be known once the end of the one and the begin of the other were heard.
                if self.is_known && tick > heard {
                    assert!(uid.is_none_or(|uid| *uid == sent.truth.0), "{}", case());
                }
                given += usize::from(id.is_some());
                false
            });
        }
        given
    }
}

#[tokio::test(start_paused = true)]
async fn a_successor_that_sends_before_the_deletion_is_heard_never_gets_what_is_the_deleted_pods() {
    let mut given = 0;
    for seed in 0..400 {
        let _wall = Wall::new();
        given += Succession::new(seed).run(seed).await;
    }
    // Most of what both sent is told apart.
    assert!(given > 5_000, "{given}");
}

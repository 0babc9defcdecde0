//! The stage: what waits, for how long, and that the rest does not.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Attributes, MadeUp, NOW, enricher, origin, read};
use crate::core::data::balance::Balance;
use crate::core::data::budget::Ticket;
use crate::core::data::origin::{Origin, Transport};
use crate::core::data::payload::{Envelope, Group, Payload, ScopeGroup, Signal};
use crate::core::data::settlement::{ItemEnd, Share};
use crate::core::error::{ConsumeError, Reason};
use crate::core::report::stats::{Flow, Stats};
use crate::core::stage::consumer::Consumer;
use crate::core::time::{StandIn, UnixNanos};
use crate::kube::pod::{Ended, Pod};
use crate::kube::table::PodChange;
use crate::otlp::write;
use crate::processors::k8s_attributes::hold::Hold;
use crate::processors::k8s_attributes::report::first_data::FirstResources;
use crate::processors::k8s_attributes::stage::EnrichStage;
use crate::processors::k8s_attributes::times::clock_steps::ClockSteps;
use crate::processors::k8s_attributes::times::moment::WriteMode;
use crate::testing::pods;
pub use crate::testing::pods::UID;
use crate::testing::sink::Sink;

const SECOND: Duration = Duration::from_secs(1);

fn ago(seconds: u64) -> UnixNanos {
    NOW.saturating_sub(SECOND * u32::try_from(seconds).expect("small"))
}

/// A pod with one running container `app`, and its predecessor if any.
pub fn pod(id: &str, restart_count: i64, started: UnixNanos, last: Option<Ended>) -> Pod {
    pods::pod(ago(3_600), pods::running(id, restart_count, started, last))
}

struct Rig {
    stage: Arc<EnrichStage>,
    cluster: Arc<MadeUp>,
    sink: Arc<Sink>,
    stats: Stats,
    balance: Arc<Balance>,
    hold: Arc<Hold>,
    began: tokio::time::Instant,
    _clock: StandIn,
}

fn rig(body: &str) -> Rig {
    let (began, clock) = (tokio::time::Instant::now(), StandIn::with_tokio(NOW));
    let cluster = MadeUp::with([pod("run-0", 0, ago(600), None)]);
    let (enricher, stats) = enricher(body, &cluster);
    let sink = Sink::new();
    let balance: Arc<Balance> = Arc::default();
    let hold = Hold::new(enricher.config.own.hold);
    let steady = ClockSteps::new(enricher.freshness);
    let stage = EnrichStage {
        enricher: Arc::new(enricher),
        next: sink.clone(),
        flow: Flow::of(&stats, "k8s_attributes", Signal::Logs),
        mode: WriteMode::Full,
        binder: None,
        hold: hold.clone(),
        steady: Arc::new(steady),
        first_data: FirstResources::new("logs".to_owned(), "nop".to_owned()),
    };
    Rig { stage: Arc::new(stage), cluster, sink, stats, balance, hold, began, _clock: clock }
}

/// A log record with its time.
fn record(made: UnixNanos) -> Bytes {
    let mut out = Vec::new();
    write::key(&mut out, 1, write::FIXED64);
    out.extend_from_slice(&made.0.to_le_bytes());
    out.into()
}

fn group(service: &str, made: UnixNanos) -> Group {
    let resource = super::resource(&[("service.name", service), ("k8s.pod.uid", UID)]);
    let items = vec![record(made)];
    Group {
        resource: Some(resource),
        scopes: vec![ScopeGroup { items: items.into(), ..Default::default() }],
        ..Default::default()
    }
}

fn payload(groups: Vec<Group>) -> Payload {
    let items = groups.len() as u64;
    let envelope = Envelope { groups, dictionary: None };
    // No connection, so that only the records' times tell.
    let origin = Arc::new(origin(None, 0, NOW));
    Payload { signal: Signal::Logs, envelope, items, origin, ticket: Ticket::free(), share: Share::none() }
}

/// Attributes of everything that arrived, in order.
fn arrived(sink: &Sink) -> Vec<Attributes> {
    let groups = sink.take().into_iter().flat_map(|payload| payload.envelope.groups);
    groups.map(|group| read(&group.resource.expect("a resource"))).collect()
}

fn restarted() -> Pod {
    let dead = Ended {
        id: "run-0".into(),
        started: Some(ago(600)),
        finished: Some(ago(3)),
        reason: "OOMKilled".into(),
        exit_code: 137,
    };
    pod("run-1", 1, ago(1), Some(dead))
}

#[tokio::test(start_paused = true)]
async fn fresh_data_waits_for_the_status_of_its_run_while_the_rest_goes_on() {
    let rig = rig("{}");
    let sent = payload(vec![group("fresh", NOW), group("old", ago(10))]);
    let stage = rig.stage.clone();
    let answer = stage.consume(sent);
    let script = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let first = arrived(&rig.sink);
        assert_eq!(first.len(), 1, "the old data went on at once");
        assert_eq!((&*first[0]["service.name"], &*first[0]["container.id"]), ("old", "run-0"));
        rig.cluster.apply(PodChange::Applied(restarted()), NOW.saturating_add(SECOND));
    };
    let (answer, ()) = futures_util::future::join(answer, script).await;
    assert_eq!(answer, Ok(()));
    let late = arrived(&rig.sink);
    assert_eq!((&*late[0]["service.name"], &*late[0]["container.id"]), ("fresh", "run-1"));
    assert_eq!(*rig.cluster.refreshed.lock().expect("fine"), Vec::<String>::new(), "what is proved is not asked for");
    assert_eq!((rig.stats.total("podgate_k8s_held_resources"), rig.hold.used()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn data_is_given_the_open_run_when_the_freshness_budget_has_passed_without_news() {
    let rig = rig("{}");
    let began = tokio::time::Instant::now();
    assert_eq!(rig.stage.consume(payload(vec![group("fresh", NOW)])).await, Ok(()));
    assert_eq!(arrived(&rig.sink)[0]["container.id"], "run-0");
    assert!(began.elapsed() <= Duration::from_millis(3_300), "waited {:?}", began.elapsed());
    let again = payload(vec![group("fresh", NOW)]);
    let began = tokio::time::Instant::now();
    assert_eq!(rig.stage.consume(again).await, Ok(()));
    assert_eq!(began.elapsed(), Duration::ZERO, "the stream is known now");
}

#[tokio::test(start_paused = true)]
async fn without_room_or_time_data_goes_on_without_an_id_and_is_counted() {
    let rig = rig("{podgate: {hold: 0s}}");
    assert_eq!(rig.stage.consume(payload(vec![group("fresh", NOW)])).await, Ok(()));
    let arrived = arrived(&rig.sink);
    assert_eq!(arrived[0]["k8s.pod.name"], "cart-1");
    assert!(!arrived[0].contains_key("container.id"));
    assert_eq!(rig.stats.total("podgate_k8s_container_id_resources"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_every_wait_at_once() {
    let rig = rig("{}");
    let stage = rig.stage.clone();
    let drain = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        rig.hold.drain();
    };
    let began = tokio::time::Instant::now();
    let (answer, ()) = futures_util::future::join(stage.consume(payload(vec![group("fresh", NOW)])), drain).await;
    assert_eq!(answer, Ok(()));
    assert!(began.elapsed() < SECOND);
    assert!(!arrived(&rig.sink)[0].contains_key("container.id"));
}

#[tokio::test(start_paused = true)]
async fn before_the_first_list_data_waits_for_it() {
    let rig = rig("{}");
    rig.cluster.set_synced(false);
    let unknown = super::resource(&[("k8s.pod.uid", "another")]);
    let mut first = group("early", ago(10));
    first.resource = Some(unknown);
    let listed = async {
        tokio::time::sleep(SECOND).await;
        let mut other = pod("run-9", 0, ago(600), None);
        other.uid = "another".into();
        rig.cluster.apply(PodChange::Applied(other), NOW);
        rig.cluster.set_synced(true);
    };
    let stage = rig.stage.clone();
    let (answer, ()) = futures_util::future::join(stage.consume(payload(vec![first])), listed).await;
    assert_eq!(answer, Ok(()));
    assert_eq!(arrived(&rig.sink)[0]["container.id"], "run-9");
}

#[tokio::test(start_paused = true)]
async fn a_part_that_is_refused_makes_the_sender_keep_all_and_the_balance_still_holds() {
    let rig = rig("{}");
    let stage = rig.stage.clone();
    let refuse = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        // What had gone on is delivered by somebody behind us.
        rig.sink.take().into_iter().for_each(|payload| payload.share.end(ItemEnd::Delivered));
        rig.sink.answer_with(Some(ConsumeError::refused(Reason::QUEUE_FULL, "full")));
    };
    let (receipt, sent) = payload(vec![group("old", ago(10)), group("fresh", NOW)]).received(&rig.balance);
    let (answer, ()) = futures_util::future::join(stage.consume(sent), refuse).await;
    receipt.answer(answer.as_ref().copied());
    assert!(answer.is_err_and(|error| error.is_retryable()));
    let sheet = rig.balance.sheet(Signal::Logs);
    assert!(sheet.holds(0) && sheet.delivered == 1 && sheet.refused == 1, "{sheet:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_without_anything_to_wait_for_is_forwarded_in_order() {
    let rig = rig("{}");
    let groups = (0..5).map(|at| group(&format!("s{at}"), ago(10))).collect();
    assert_eq!(rig.stage.consume(payload(groups)).await, Ok(()));
    let names: Vec<String> = arrived(&rig.sink).iter().map(|read| read["service.name"].clone()).collect();
    assert_eq!(names, ["s0", "s1", "s2", "s3", "s4"]);
}

#[tokio::test(start_paused = true)]
async fn the_first_data_of_a_pod_that_is_not_announced_yet_waits_for_it_and_a_strangers_only_once() {
    let rig = rig("{}");
    let unknown = |uid: &str| {
        let mut group = group("early", ago(10));
        group.resource = Some(super::resource(&[("k8s.pod.uid", uid)]));
        payload(vec![group])
    };
    let announced = async {
        tokio::time::sleep(SECOND).await;
        assert!(arrived(&rig.sink).is_empty(), "it waits");
        let mut other = pod("run-9", 0, ago(600), None);
        other.uid = "another".into();
        rig.cluster.apply(PodChange::Applied(other), NOW.saturating_add(SECOND));
    };
    let stage = rig.stage.clone();
    let (answer, ()) = futures_util::future::join(stage.consume(unknown("another")), announced).await;
    assert_eq!(answer, Ok(()));
    assert_eq!(arrived(&rig.sink)[0]["container.id"], "run-9");

    for (time, waits) in [("first", true), ("second", false)] {
        let began = tokio::time::Instant::now();
        let mut sent = unknown("of another cluster");
        let arrived_at = NOW.saturating_add(began.duration_since(rig.began));
        sent.origin = Arc::new(Origin::new(None, 0, arrived_at, arrived_at, Transport::Grpc));
        assert_eq!(rig.stage.consume(sent).await, Ok(()));
        assert!(!arrived(&rig.sink)[0].contains_key("k8s.pod.name"));
        assert_eq!(began.elapsed() >= SECOND * 3, waits, "{time}: {:?}", began.elapsed());
        // The hold, and the time that a read of a pod may take.
        assert!(began.elapsed() < Duration::from_millis(4_500));
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_no_pod_has_yet_is_waited_for_where_pods_have_such_addresses() {
    let rig = rig("{}");
    for (peer, waits) in [("10.1.0.77", true), ("8.8.8.8", false)] {
        let began = tokio::time::Instant::now();
        let now = NOW.saturating_add(began.duration_since(rig.began));
        let mut sent = payload(vec![group("x", ago(10))]);
        sent.envelope.groups[0].resource = Some(super::resource(&[("service.name", "x")]));
        let peer_address = std::net::SocketAddr::new(peer.parse().expect("an address"), 40_000);
        sent.origin = Arc::new(Origin::new(Some(peer_address), 5, now, now, Transport::Grpc));
        assert_eq!(rig.stage.consume(sent).await, Ok(()));
        assert_eq!(began.elapsed() >= SECOND * 3, waits, "{peer}: {:?}", began.elapsed());
    }
}

#[test]
fn one_sender_cannot_take_the_room_of_all() {
    let hold = Hold::new(SECOND * 3);
    let peer = |last: u8| Some(std::net::SocketAddr::from(([10, 1, 0, last], 40_000)));
    let greedy: Vec<_> = std::iter::from_fn(|| hold.admit(peer(1), 1 << 20)).collect();
    assert_eq!(greedy.len(), 8, "half of the room");
    let rooms: Vec<_> = (2..6).map(|other| hold.admit(peer(other), 64 << 10)).collect();
    assert!(rooms.iter().all(Option::is_some), "everybody else has a part");
    // Another connection of the same sender is the same sender.
    let again = std::net::SocketAddr::from(([10, 1, 0, 1], 40_001));
    assert!(hold.admit(Some(again), 1 << 20).is_none());
    drop((greedy, rooms));
    assert_eq!(hold.used(), 0);
    assert!(hold.admit(Some(again), 1 << 20).is_some());
}

//! Who made it: relays, mesh proxies, init containers, and addresses that change hands; and that what was written for one is
//! never another's.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::stage::{UID, pod};
use super::{Attributes, MadeUp, NOW, config, enricher, moment, origin, read, resource};
use crate::core::data::budget::Ticket;
use crate::core::data::origin::Origin;
use crate::core::time::UnixNanos;
use crate::kube::pod::{Container, ContainerKind, ContainerStatus, Ended, Pod, RunState};
use crate::kube::table::PodChange;
use crate::processors::k8s_attributes::bindings::Times;
use crate::processors::k8s_attributes::enrich::{EnrichOutcome, Enricher};
use crate::processors::k8s_attributes::times::moment::{ArrivalMoment, Subject, WriteMode};

const SECOND: Duration = Duration::from_secs(1);

fn ago(seconds: u32) -> UnixNanos {
    NOW.saturating_sub(SECOND * seconds)
}

fn container(name: &str, kind: ContainerKind) -> Container {
    Container { name: name.into(), image: format!("images.example.com/{name}:1").into(), kind }
}

fn running(name: &str, started: UnixNanos) -> ContainerStatus {
    let state = RunState::Running { started: Some(started) };
    ContainerStatus {
        name: name.into(),
        id: format!("run-of-{name}").into(),
        state,
        ..pod("", 0, started, None).statuses[0].clone()
    }
}

/// A pod of these regular containers, all running since ten minutes.
fn pod_of(uid: &str, address: &str, names: &[&str]) -> Pod {
    Pod {
        uid: uid.into(),
        name: uid.into(),
        ips: vec![address.parse().expect("an address")],
        containers: names.iter().map(|name| container(name, ContainerKind::Regular)).collect(),
        statuses: names.iter().map(|name| running(name, ago(600))).collect(),
        ..pod("", 0, ago(600), None)
    }
}

fn outcome(
    enricher: &Enricher,
    pairs: &[(&str, &str)],
    from: &Origin,
    made: UnixNanos,
    give_up: bool,
) -> Option<Attributes> {
    let resource = resource(pairs);
    let times = || Some(Times::at(made));
    let subject = Subject { resource: &resource, origin: from, times: &times, ticket: &Ticket::free() };
    let moment = ArrivalMoment { give_up, ..moment(enricher, NOW, WriteMode::Full) };
    match enricher.enrich(&subject, &moment) {
        EnrichOutcome::Unchanged => Some(read(&resource)),
        EnrichOutcome::Changed(bytes) => Some(read(&bytes)),
        EnrichOutcome::Pending { .. } => None,
        EnrichOutcome::Refused(why) => panic!("{why}"),
    }
}

/// Attributes of data made ten seconds ago, from this peer.
fn sent(cluster: &Arc<MadeUp>, peer: &str, pairs: &[(&str, &str)]) -> Attributes {
    let (enricher, _) = enricher("{}", cluster);
    outcome(&enricher, pairs, &origin(Some(peer), 7, ago(30)), ago(10), false).expect("old enough")
}

#[test]
fn data_of_another_node_waits_however_old_its_clock_makes_it_look() {
    let cluster = MadeUp::with([pod("run-a", 0, ago(600), None)]);
    // Made by the next run, a moment after its start: its node's clock is four seconds behind ours.
    let next = |enricher: &Enricher| {
        outcome(enricher, &[("k8s.pod.uid", UID)], &origin(None, 0, NOW), ago(4), false)
            .map(|found| found.get("container.id").cloned())
    };
    let (own, _) = enricher("{filter: {node: node-a}}", &cluster);
    assert_eq!(next(&own), Some(Some("run-a".to_owned())), "on our node four seconds are old enough");
    let (gateway, _) = enricher("{}", &cluster);
    assert_eq!(next(&gateway), Some(Some("run-a".to_owned())), "one node is ours, as long as no other is known");
    let elsewhere = Pod { node: "node-b".into(), ..pod_of("other", "10.1.0.9", &["app"]) };
    cluster.apply(PodChange::Applied(elsewhere), ago(60));
    // Nothing is remembered of the process yet.
    let (gateway, _) = enricher("{}", &cluster);
    assert_eq!(next(&gateway), None, "it waits");
    assert_eq!(next(&own), Some(Some("run-a".to_owned())));
}

#[test]
fn a_relays_connection_says_nothing_of_another_pods_process() {
    let app = pod("run-0", 0, ago(600), None);
    let cluster = MadeUp::with([app, pod_of("relay", "10.1.0.9", &["gateway"])]);
    let (enricher, _) = enricher("{}", &cluster);
    // The relay's one long connection carries the data of one process of the app.
    let from = |arrived: UnixNanos| {
        let peer = std::net::SocketAddr::new("10.1.0.9".parse().expect("an address"), 40_000);
        Origin::new(Some(peer), 7, ago(300), arrived, crate::core::data::origin::Transport::Grpc)
    };
    let pairs = [("k8s.pod.uid", UID)];
    let first = outcome(&enricher, &pairs, &from(ago(60)), ago(70), false).expect("old enough");
    assert_eq!(first["container.id"], "run-0");
    // It restarts; the new process speaks over the same connection of the relay before its status is published.
    let fresh = outcome(&enricher, &pairs, &from(NOW), NOW, false);
    assert_eq!(fresh.and_then(|read| read.get("container.id").cloned()), None, "it waits");
}

#[test]
fn the_pods_own_connection_still_binds_its_process() {
    let cluster = MadeUp::with([pod("run-0", 0, ago(600), None)]);
    let (enricher, _) = enricher("{}", &cluster);
    let from = origin(Some("10.1.0.5"), 7, ago(300));
    let pairs = [("k8s.pod.uid", UID)];
    assert!(outcome(&enricher, &pairs, &from, ago(10), false).is_some());
    let fresh = outcome(&enricher, &pairs, &from, NOW, false).expect("nothing to wait for");
    assert_eq!(fresh["container.id"], "run-0");
}

#[test]
fn spans_of_a_mesh_proxy_are_the_proxys() {
    let cluster = MadeUp::with([pod_of("cart", "10.1.0.6", &["app", "istio-proxy"])]);
    let envoy = sent(&cluster, "10.1.0.6", &[("telemetry.sdk.name", "envoy")]);
    assert_eq!((&*envoy["k8s.container.name"], &*envoy["container.id"]), ("istio-proxy", "run-of-istio-proxy"));
    let app = sent(&cluster, "10.1.0.6", &[("telemetry.sdk.name", "opentelemetry")]);
    assert_eq!((&*app["k8s.container.name"], &*app["container.id"]), ("app", "run-of-app"));
    let none = sent(
        &MadeUp::with([pod_of("cart", "10.1.0.6", &["app", "worker"])]),
        "10.1.0.6",
        &[("telemetry.sdk.name", "envoy")],
    );
    assert!(!none.contains_key("container.id") && !none.contains_key("k8s.container.name"));
}

/// `init` ran from 60 seconds ago for 30, if it has ended; `main` since 25 seconds, if it has begun.
fn beginning(init_ended: bool, main_began: bool) -> Pod {
    let mut pod = pod_of("young", "10.1.0.7", &["main"]);
    pod.containers.push(container("init", ContainerKind::Init));
    let ended = Ended { id: "run-of-init".into(), started: Some(ago(60)), finished: Some(ago(30)), ..Ended::default() };
    let init = running("init", ago(60));
    let init = if init_ended { ContainerStatus { state: RunState::Terminated(ended), ..init } } else { init };
    let waiting = RunState::Waiting { reason: "PodInitializing".into() };
    let main = running("main", ago(25));
    let main = if main_began { main } else { ContainerStatus { id: "".into(), state: waiting, ..main } };
    pod.created = ago(70);
    pod.started = Some(ago(70));
    pod.statuses = vec![main, init];
    pod
}

#[test]
fn data_of_an_init_container_is_not_given_to_the_main_one() {
    let (enricher, _) = enricher("{}", &MadeUp::with([beginning(false, false)]));
    let from = origin(Some("10.1.0.7"), 7, ago(40));
    let old = outcome(&enricher, &[], &from, ago(10), false).expect("what ran then is known");
    assert_eq!((&*old["k8s.container.name"], &*old["container.id"]), ("init", "run-of-init"));
    // The main container may have begun a second ago.
    assert_eq!(outcome(&enricher, &[], &from, NOW, false), None, "it waits");
    let given_up = outcome(&enricher, &[], &from, NOW, true).expect("the last chance");
    assert_eq!((given_up.get("k8s.container.name"), given_up.get("container.id")), (None, None));
    assert_eq!(given_up["k8s.pod.name"], "young");
}

#[test]
fn late_data_of_an_init_container_is_told_from_the_main_ones_by_its_time() {
    let (enricher, _) = enricher("{}", &MadeUp::with([beginning(true, true)]));
    let from = origin(Some("10.1.0.7"), 7, ago(50));
    let init = outcome(&enricher, &[], &from, ago(40), false).expect("known");
    assert_eq!((&*init["k8s.container.name"], &*init["container.id"]), ("init", "run-of-init"));
    let from = origin(Some("10.1.0.7"), 8, ago(20));
    let main = outcome(&enricher, &[], &from, ago(10), false).expect("known");
    assert_eq!((&*main["k8s.container.name"], &*main["container.id"]), ("main", "run-of-main"));
}

#[test]
fn a_name_that_contradicts_the_container_id_is_repaired_and_counted() {
    let cluster = MadeUp::with([pod_of("cart", "10.1.0.6", &["app", "agent"])]);
    let pairs = [("k8s.pod.uid", "cart"), ("k8s.container.name", "agent"), ("container.id", "run-of-app12345")];
    let mut both = pod_of("cart", "10.1.0.6", &["app", "agent"]);
    both.statuses[0].id = "run-of-app12345".into();
    cluster.apply(PodChange::Applied(both), ago(50));
    for (body, name, repaired) in [("{}", "app", 1), ("{podgate: {repair: false}}", "agent", 0)] {
        let (enricher, stats) = enricher(body, &cluster);
        let read = outcome(&enricher, &pairs, &origin(None, 0, NOW), ago(10), false).expect("known");
        assert_eq!((&*read["k8s.container.name"], &*read["container.id"]), (name, "run-of-app12345"), "{body}");
        assert_eq!(stats.total("podgate_k8s_container_name_repaired"), repaired, "{body}");
    }
}

#[test]
fn relays_by_name_by_image_and_by_the_configuration_never_lend_their_pod() {
    let named = |name: &str, image: &str, helper: bool| {
        let mut pod = pod_of("relay", "10.1.0.9", &[name]);
        pod.containers[0].image = image.into();
        if helper {
            pod.containers.push(container("config-reloader", ContainerKind::Regular));
        }
        MadeUp::with([pod])
    };
    for name in ["alloy", "grafana-agent", "fluent-bit", "vector", "otelcol", "edot-collector", "collector", "podgate"]
    {
        for helper in [false, true] {
            let read = sent(&named(name, "x:1", helper), "10.1.0.9", &[("service.name", "nginx")]);
            assert!(!read.contains_key("k8s.pod.name"), "{name} {helper}");
        }
    }
    let by_image = named("gateway", "ghcr.io/open-telemetry/opentelemetry-collector-contrib:0.161.0", false);
    assert!(!sent(&by_image, "10.1.0.9", &[]).contains_key("k8s.pod.name"));
    let own = named("gateway", "shop/router:2", false);
    assert!(sent(&own, "10.1.0.9", &[]).contains_key("k8s.pod.name"), "nobody says that it is a relay");
    for relay in ["gateway", "router"] {
        let (enricher, _) = enricher(&format!("{{podgate: {{relays: [{relay}]}}}}"), &own);
        let from = origin(Some("10.1.0.9"), 7, ago(30));
        let read = outcome(&enricher, &[], &from, ago(10), false).expect("old enough");
        assert!(!read.contains_key("k8s.pod.name"), "{relay}");
    }
    // What a relay says of itself is believed, and its only container is meant.
    let itself = sent(&named("alloy", "x:1", false), "10.1.0.9", &[("k8s.pod.uid", "relay")]);
    assert_eq!(itself["container.id"], "run-of-alloy");
}

#[test]
fn a_rule_may_ask_for_the_containers_name_beside_the_pod() {
    let cluster = MadeUp::with([pod_of("cart", "10.1.0.6", &["app"])]);
    let body = "{pod_association: [{sources: [{from: resource_attribute, name: k8s.pod.uid}, \
                {from: resource_attribute, name: k8s.container.name}]}]}";
    let (_, findings) = super::checked(body);
    assert!(findings.is_empty(), "{findings:?}");
    let (enricher, _) = enricher(body, &cluster);
    let found = |name: &str| {
        let pairs = [("k8s.pod.uid", "cart"), ("k8s.container.name", name)];
        let read = outcome(&enricher, &pairs, &origin(None, 0, NOW), ago(10), true).expect("the last chance");
        read.contains_key("k8s.node.name")
    };
    assert!(found("app") && !found("nope"));
    assert!(config(body).rules.len() == 1);
}

#[test]
fn the_version_label_needs_no_container_and_an_empty_label_is_none() {
    let body = "{extract: {metadata: [k8s.pod.name, service.name, service.version]}}";
    let labelled = |labels: &[(&str, &str)], names: &[&str]| {
        let mut pod = pod_of("cart", "10.1.0.6", names);
        pod.labels = labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        pod.labels.sort();
        let (enricher, _) = enricher(body, &MadeUp::with([pod]));
        outcome(&enricher, &[("k8s.pod.uid", "cart")], &origin(None, 0, NOW), ago(10), false).expect("known")
    };
    let name = ("app.kubernetes.io/name", "cart");
    let two = labelled(&[name, ("app.kubernetes.io/version", "2.3.4")], &["app", "vault-agent"]);
    assert_eq!((&*two["service.name"], &*two["service.version"]), ("cart", "2.3.4"));
    let empty = [("app.kubernetes.io/instance", ""), name, ("app.kubernetes.io/version", "")];
    let image = labelled(&empty, &["app"]);
    assert_eq!((&*image["service.name"], &*image["service.version"]), ("cart", "1"));
}

#[test]
fn the_address_of_a_pod_being_deleted_is_not_its_own_once_it_was_killed_or_another_pod_may_have_it() {
    let deleting = |seconds: i64| {
        let at = UnixNanos(NOW.0.saturating_add_signed(seconds * 1_000_000_000));
        Pod { deleting: Some(at), ..pod_of("old", "10.1.0.6", &["app"]) }
    };
    let from = origin(Some("10.1.0.6"), 7, ago(1));
    let found = |cluster: &Arc<MadeUp>| {
        let (enricher, _) = enricher("{}", cluster);
        let read = outcome(&enricher, &[], &from, ago(10), true).expect("the last chance");
        read.get("k8s.pod.name").cloned()
    };
    assert_eq!(found(&MadeUp::with([deleting(20)])).as_deref(), Some("old"), "it has twenty seconds left");
    assert_eq!(found(&MadeUp::with([deleting(-20)])), None, "its last status is late");
    let next = Pod { ips: Vec::new(), created: ago(2), started: None, ..pod_of("new", "10.1.0.6", &["app"]) };
    assert_eq!(found(&MadeUp::with([deleting(20), next.clone()])), None, "who has the address now?");
    let elsewhere = Pod { node: "node-b".into(), ..next };
    assert_eq!(found(&MadeUp::with([deleting(20), elsewhere])).as_deref(), Some("old"));
}

#[test]
fn a_connection_from_the_first_seconds_of_a_pod_on_a_node_whose_clock_is_ahead_is_the_pods() {
    let ahead =
        |by: u32| Pod { started: Some(NOW.saturating_add(SECOND * by)), ..pod_of("ahead", "10.1.0.6", &["app"]) };
    let from = origin(Some("10.1.0.6"), 7, NOW);
    let found = |pods: Vec<Pod>| {
        let (enricher, _) = enricher("{}", &MadeUp::with(pods));
        let read = outcome(&enricher, &[], &from, ago(10), true);
        read.expect("the last chance").get("k8s.pod.name").cloned()
    };
    assert_eq!(found(vec![ahead(5)]).as_deref(), Some("ahead"));
    assert_eq!(found(vec![ahead(60)]), None);
}

const BY_CONNECTION: &str = "{extract: {metadata: [k8s.pod.name, k8s.pod.uid, container.id], \
                             labels: [{tag_name: app, key: app, from: pod}]}, \
                             pod_association: [{sources: [{from: connection}]}]}";

fn cart(name: &str, address: &str, id: &str) -> Pod {
    let address = address.parse().expect("an address");
    let base = pod(id, 0, ago(600), None);
    Pod { uid: format!("uid-of-{name}").into(), name: name.into(), ips: vec![address], ..base }
}

/// The new bytes of data that was made `age` seconds before `now`.
fn new_bytes(enricher: &Enricher, resource: &[u8], from: &Origin, now: UnixNanos, age: u64) -> Bytes {
    let at = now.saturating_sub(Duration::from_secs(age));
    let times = || Some(Times::at(at));
    let subject = Subject { resource, origin: from, times: &times, ticket: &Ticket::free() };
    match enricher.enrich(&subject, &moment(enricher, now, WriteMode::Full)) {
        EnrichOutcome::Changed(bytes) => bytes,
        other => panic!("{other:?}"),
    }
}

#[test]
fn two_pods_with_equal_resources_never_share_an_id_while_one_restarts_under_load() {
    let (still, restarting) = (cart("still", "10.1.0.5", "run-s"), cart("restarting", "10.1.0.9", "run-0"));
    let cluster = MadeUp::with([still, restarting.clone()]);
    let (enricher, _) = enricher(BY_CONNECTION, &cluster);
    let sent = resource(&[("service.name", "cart"), ("telemetry.sdk.language", "go")]);
    let accepted = ago(300);
    let id = |bytes: &Bytes| read(bytes)["container.id"].clone();
    let name = |bytes: &Bytes| read(bytes)["k8s.pod.name"].clone();
    let mut now = NOW;
    let mut run = "run-0".to_owned();
    for round in 0_u32..40 {
        now = now.saturating_add(Duration::from_secs(20));
        if round % 10 == 9 {
            // The container ends, and the next run begins, ten seconds before anybody speaks again.
            let ended = Ended {
                id: run.as_str().into(),
                started: Some(now.saturating_sub(Duration::from_secs(200))),
                finished: Some(now.saturating_sub(Duration::from_secs(11))),
                reason: "Error".into(),
                exit_code: 1,
            };
            run = format!("run-{}", round / 10 + 1);
            let started = now.saturating_sub(Duration::from_secs(10));
            let next = pod(&run, i64::from(round / 10 + 1), started, Some(ended));
            let next = Pod { statuses: next.statuses, ..restarting.clone() };
            cluster.apply(PodChange::Applied(next), now.saturating_sub(Duration::from_secs(9)));
        }
        // Each life of the process has a connection of its own.
        let life = 100 + u64::from((round + 1) / 10);
        for _ in 0..4 {
            let one = new_bytes(&enricher, &sent, &origin(Some("10.1.0.5"), 7, accepted), now, 5);
            let dated = now.saturating_sub(Duration::from_secs(8));
            let other = new_bytes(&enricher, &sent, &origin(Some("10.1.0.9"), life, dated), now, 5);
            assert_eq!((name(&one), id(&one)), ("still".to_owned(), "run-s".to_owned()), "round {round}");
            assert_eq!((name(&other), id(&other)), ("restarting".to_owned(), run.clone()), "round {round}");
        }
    }
}

#[test]
fn what_was_written_is_used_again_until_the_pod_changes() {
    let one = cart("one", "10.1.0.5", "run-s");
    let cluster = MadeUp::with([one.clone()]);
    let (enricher, stats) = enricher(BY_CONNECTION, &cluster);
    let sent = resource(&[("service.name", "cart")]);
    let from = origin(Some("10.1.0.5"), 7, ago(300));
    let again = || new_bytes(&enricher, &sent, &from, NOW, 10);
    let [_, _, first] = [again(), again(), again()];
    assert_eq!(again().as_ptr(), first.as_ptr(), "the same bytes, not equal ones");
    assert_eq!(stats.total("podgate_k8s_container_id_resources"), 4, "each is counted");
    let labelled = Pod { labels: vec![("app".into(), "shop".into())], ..one };
    cluster.apply(PodChange::Applied(labelled), ago(5));
    let after: Attributes = read(&again());
    assert_eq!(after["app"], "shop");
}

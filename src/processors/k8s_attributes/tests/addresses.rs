//! Addresses that are nobody's: nodes', proxies', and those of pods that only forward.

use std::sync::Arc;
use std::time::Duration;

use super::stage::{UID, pod};
use super::{MadeUp, NOW, enriched, enricher, moment, origin, resource};
use crate::core::data::budget::Ticket;
use crate::core::data::origin::Identity;
use crate::kube::pod::{Container, ContainerKind, Pod};
use crate::kube::table::PodChange;
use crate::processors::k8s_attributes::bindings::ClockStretches;
use crate::processors::k8s_attributes::enrich::EnrichOutcome;
use crate::processors::k8s_attributes::times::moment::{ArrivalMoment, Subject, Whose, WriteMode};

fn ip(text: &str) -> std::net::IpAddr {
    text.parse().expect("an address")
}

fn named(name: &str, address: &str, containers: &[&str]) -> Pod {
    let container = |name: &&str| Container { name: (*name).into(), image: "i:1".into(), kind: ContainerKind::Regular };
    let began = NOW.saturating_sub(Duration::from_secs(600));
    Pod {
        uid: name.into(),
        name: name.into(),
        ips: vec![ip(address)],
        host_ips: vec![ip("192.168.0.7")],
        containers: containers.iter().map(container).collect(),
        ..pod("run-0", 0, began, None)
    }
}

/// The pod that data from this peer gets, how often a rule refused the address, and conflicts.
fn from(body: &str, cluster: &Arc<MadeUp>, peer: &str, pairs: &[(&str, &str)]) -> (Option<String>, u64, u64) {
    let (enricher, stats) = enricher(body, cluster);
    let accepted = NOW.saturating_sub(Duration::from_secs(30));
    let read = enriched(&enricher, &resource(pairs), &origin(Some(peer), 7, accepted), Duration::from_secs(10));
    let refused = stats.all().into_iter().filter(|series| {
        series.name == "podgate_k8s_association" && series.labels.iter().any(|(_, value)| value == "refused")
    });
    let refused = refused.map(|series| match series.metric {
        crate::core::report::stats::Metric::Counter(counter) => counter.get(),
        _ => 0,
    });
    let name = read.expect("old enough").get("k8s.pod.name").cloned();
    (name, refused.sum(), stats.total("podgate_k8s_identity_conflict"))
}

#[test]
fn data_from_the_nodes_address_belongs_to_no_pod_not_even_to_one_in_its_network() {
    let agent = Pod { host_network: true, ..named("agent", "192.168.0.7", &["app"]) };
    let thief = Pod { host_ips: vec![ip("192.168.0.8")], ..named("thief", "192.168.0.7", &["app"]) };
    let cluster = MadeUp::with([named("cart", "10.1.0.5", &["app"]), agent, thief]);
    assert_eq!(from("{}", &cluster, "192.168.0.7", &[]), (None, 1, 0));
    assert_eq!(from("{}", &cluster, "10.1.0.5", &[("k8s.pod.ip", "192.168.0.7")]), (Some("cart".to_owned()), 1, 0));
    assert_eq!(from("{}", &cluster, "192.168.0.7", &[("k8s.pod.uid", "cart")]), (Some("cart".to_owned()), 0, 0));
}

#[test]
fn data_from_a_configured_proxy_belongs_to_whoever_it_names() {
    let cluster = MadeUp::with([named("cart", "10.1.0.5", &["app"]), named("gateway", "10.244.0.1", &["app"])]);
    assert_eq!(from("{}", &cluster, "10.244.0.1", &[]).0.as_deref(), Some("gateway"));
    let body = "{podgate: {proxies: [10.244.0.0/24]}}";
    assert_eq!(from(body, &cluster, "10.244.0.1", &[]), (None, 1, 0));
    assert_eq!(from(body, &cluster, "::ffff:10.244.0.1", &[]), (None, 1, 0));
    assert_eq!(from(body, &cluster, "10.244.0.1", &[("k8s.pod.uid", "cart")]), (Some("cart".to_owned()), 0, 0));
}

#[test]
fn a_pod_that_only_forwards_is_not_taken_for_the_sender_and_no_conflict() {
    let relay = named("relay", "10.1.0.9", &["otel-collector", "istio-proxy"]);
    let cluster = MadeUp::with([named("cart", "10.1.0.5", &["app"]), relay]);
    assert_eq!(from("{}", &cluster, "10.1.0.9", &[]), (None, 1, 0));
    for policy in ["keep", "replace", "refuse"] {
        let body = format!("{{podgate: {{on_conflict: {policy}}}}}");
        let found = from(&body, &cluster, "10.1.0.9", &[("k8s.pod.uid", "cart")]);
        assert_eq!(found, (Some("cart".to_owned()), 0, 0), "{policy}");
    }
    let ingress = named("ingress", "10.1.0.10", &["istio-proxy"]);
    let gateway = MadeUp::with([ingress]);
    assert_eq!(from("{}", &gateway, "10.1.0.10", &[]).0.as_deref(), Some("ingress"), "its spans are its own");
    // What it says of itself is believed.
    assert_eq!(from("{}", &cluster, "10.1.0.9", &[("k8s.pod.uid", "relay")]).0.as_deref(), Some("relay"));
    assert_eq!(from("{}", &cluster, "10.1.0.5", &[("k8s.pod.uid", UID)]).0, None, "an unknown claim gets nothing");
}

#[test]
fn while_the_server_is_silent_an_address_alone_is_left_to_the_decision_and_a_name_is_not() {
    let cluster = MadeUp::with([named("cart", "10.1.0.5", &["app"])]);
    let (enricher, _) = enricher("{}", &cluster);
    let origin = origin(Some("10.1.0.5"), 7, NOW);
    let at_arrival = |pairs: &[(&str, &str)]| {
        let resource = resource(pairs);
        let subject = Subject { resource: &resource, origin: &origin, times: &|| None, ticket: &Ticket::free() };
        let (outcome, whose) = enricher.enrich_at_arrival(&subject, &moment(&enricher, NOW, WriteMode::PodOnly));
        (matches!(outcome, EnrichOutcome::Changed(_)), matches!(whose, Whose::Pods(_)))
    };
    assert_eq!(at_arrival(&[]), (true, true));
    *cluster.in_touch.lock().expect("not poisoned") = Some(NOW.saturating_sub(Duration::from_secs(20)));
    assert_eq!(at_arrival(&[]), (false, false), "another pod may have got the address");
    assert_eq!(at_arrival(&[("k8s.pod.uid", "cart")]), (true, true));
}

/// A clock that was set back by an hour a minute ago.
fn set_back() -> ClockStretches {
    let until = NOW.saturating_add(Duration::from_secs(3_540));
    ClockStretches { doubled: Some((NOW.saturating_sub(Duration::from_secs(63)), until)), ..ClockStretches::default() }
}

#[test]
fn after_the_clock_was_set_back_an_address_or_a_name_is_the_only_pods_that_ever_had_it() {
    let ahead = NOW.saturating_add(Duration::from_secs(1_800));
    let mut cart = named("cart", "10.1.0.5", &["app"]);
    (cart.created, cart.started) = (ahead, Some(ahead));
    let cluster = MadeUp::with([cart.clone()]);
    let found = |pairs: &[(&str, &str)], clock: ClockStretches| {
        let (enricher, _) = enricher("{}", &cluster);
        let (resource, origin) = (resource(pairs), origin(Some("10.1.0.5"), 7, NOW));
        let subject = Subject { resource: &resource, origin: &origin, times: &|| None, ticket: &Ticket::free() };
        let moment = ArrivalMoment { clock, ..moment(&enricher, NOW, WriteMode::PodOnly) };
        match enricher.enrich_at_arrival(&subject, &moment).0 {
            EnrichOutcome::Changed(bytes) => super::read(&bytes).get("k8s.pod.name").cloned(),
            _ => None,
        }
    };
    assert_eq!(found(&[], ClockStretches::default()), None, "by its clock it begins in half an hour");
    assert_eq!(found(&[], set_back()).as_deref(), Some("cart"));
    assert_eq!(found(&[("k8s.pod.ip", "10.1.0.5")], set_back()).as_deref(), Some("cart"));
    // Its successor got the address at a time that came twice: whoever connected then may be either.
    cluster.apply(PodChange::Deleted { uid: "cart".into(), last: None }, ahead.saturating_add(Duration::from_secs(60)));
    let mut next = named("next", "10.1.0.5", &["app"]);
    (next.created, next.started) = (NOW, Some(NOW));
    cluster.apply(PodChange::Applied(next), NOW);
    assert_eq!(found(&[], set_back()), None);
    assert_eq!(found(&[("k8s.pod.uid", "next")], set_back()).as_deref(), Some("next"));
}

/// The pod that data of the sender with this token gets, and conflicts.
fn with_token(
    body: &str,
    cluster: &Arc<MadeUp>,
    uid: &str,
    peer: Option<&str>,
    pairs: &[(&str, &str)],
) -> (Option<String>, u64) {
    let (enricher, stats) = enricher(body, cluster);
    let mut origin = origin(peer, 7, NOW.saturating_sub(Duration::from_secs(30)));
    let attributes = vec![("pod_uid", uid.to_owned())];
    origin.identity = Some(Arc::new(Identity { subject: "shop/x".into(), tells_senders: true, attributes }));
    let read = enriched(&enricher, &resource(pairs), &origin, Duration::from_secs(10));
    let name = read.and_then(|read| read.get("k8s.pod.name").cloned());
    (name, stats.total("podgate_k8s_identity_conflict"))
}

#[test]
fn a_token_tells_the_sender_whatever_the_address_says() {
    let cluster = MadeUp::with([named("cart", "10.1.0.5", &["app"]), named("bank", "10.1.0.6", &["app"])]);
    let cart = || Some("cart".to_owned());
    for peer in [Some("10.1.0.5"), Some("10.1.0.6"), Some("192.168.0.7"), Some("127.0.0.1"), None] {
        assert_eq!(with_token("{}", &cluster, "cart", peer, &[]), (cart(), 0), "{peer:?}");
        assert_eq!(with_token("{}", &cluster, "cart", peer, &[("k8s.pod.uid", "cart")]), (cart(), 0), "{peer:?}");
    }
    let body = "{podgate: {proxies: [10.244.0.0/24]}}";
    assert_eq!(with_token(body, &cluster, "cart", Some("10.244.0.1"), &[]), (cart(), 0), "a proxy carries tokens on");
    assert_eq!(
        with_token("{}", &cluster, "unknown", Some("10.1.0.5"), &[]),
        (None, 0),
        "the address is not asked then"
    );
}

#[test]
fn a_resource_that_names_another_pod_than_its_senders_token_is_not_believed() {
    let cluster = MadeUp::with([named("cart", "10.1.0.5", &["app"]), named("bank", "10.1.0.6", &["app"])]);
    let claims: [&[(&str, &str)]; 3] = [
        &[("k8s.pod.uid", "bank")],
        &[("k8s.pod.ip", "10.1.0.6")],
        &[("k8s.pod.uid", "bank"), ("k8s.pod.ip", "10.1.0.5")],
    ];
    let bank = || Some("bank".to_owned());
    for claim in claims {
        let told = |body: &str, uid: &str| with_token(body, &cluster, uid, Some("10.1.0.6"), claim);
        assert_eq!(told("{}", "cart"), (None, 1), "{claim:?}");
        assert_eq!(told("{podgate: {on_conflict: refuse}}", "cart"), (None, 1), "{claim:?}");
        assert_eq!(told("{podgate: {on_conflict: replace}}", "cart"), (Some("cart".to_owned()), 1), "{claim:?}");
        assert_eq!(told("{podgate: {on_conflict: keep}}", "cart"), (bank(), 1), "{claim:?}");
        // Of a pod that is not watched nobody can say that it only forwards.
        assert_eq!(told("{}", "unknown"), (None, 1), "{claim:?}");
        assert_eq!(told("{}", "bank"), (bank(), 0), "{claim:?}");
    }
}

#[test]
fn a_pod_that_only_forwards_speaks_for_others_with_its_own_token() {
    let relay = named("relay", "10.1.0.9", &["otel-collector"]);
    let cluster = MadeUp::with([named("cart", "10.1.0.5", &["app"]), relay]);
    let cart = [("k8s.pod.uid", "cart")];
    assert_eq!(with_token("{}", &cluster, "relay", Some("10.1.0.9"), &cart), (Some("cart".to_owned()), 0));
    assert_eq!(with_token("{}", &cluster, "relay", Some("10.1.0.9"), &[]), (None, 0), "its token is no data's");
}

//! Counterparts of the Collector's own cases (processor_test.go, client_test.go, pod_association_test.go) and of the
//! ones nobody tested: restart hints, proxies, static pods, reused addresses.

use std::sync::Arc;
use std::time::Duration;

use super::stage::{UID, pod};
use super::{Attributes, MadeUp, NOW, enriched, enricher, moment, origin, read, resource};
use crate::core::data::budget::Ticket;
use crate::core::data::origin::Origin;
use crate::core::time::UnixNanos;
use crate::kube::pod::{Container, ContainerKind, ContainerStatus, Ended, Owner, Phase, Pod, RunState};
use crate::kube::table::PodChange;
use crate::processors::k8s_attributes::bindings::Times;
use crate::processors::k8s_attributes::enrich::EnrichOutcome;
use crate::processors::k8s_attributes::times::moment::{Subject, WriteMode};
use crate::testing::pods;

const OLD: Duration = Duration::from_secs(10);

fn ago(seconds: u64) -> UnixNanos {
    NOW.saturating_sub(Duration::from_secs(seconds))
}

fn plain() -> Pod {
    pod("run-0", 0, ago(600), None)
}

/// One resource, ten seconds old, from this peer.
fn got(body: &str, cluster: &Arc<MadeUp>, pairs: &[(&str, &str)], peer: Option<&str>) -> Attributes {
    let (enricher, _) = enricher(body, cluster);
    enriched(&enricher, &resource(pairs), &origin(peer, 7, ago(30)), OLD).expect("old enough to know")
}

fn name(attributes: &Attributes) -> Option<&str> {
    attributes.get("k8s.pod.name").map(String::as_str)
}

fn id(attributes: &Attributes) -> Option<&str> {
    attributes.get("container.id").map(String::as_str)
}

#[test]
fn without_rules_uid_goes_before_pod_ip_before_ip_before_connection_before_an_ip_as_host_name() {
    let named = |ip: &str, name: &str| Pod {
        name: name.into(),
        uid: name.into(),
        ips: vec![ip.parse().expect("an address")],
        ..plain()
    };
    let pods = [("1.1.1.1", "a"), ("2.2.2.2", "b"), ("3.3.3.3", "c"), ("4.4.4.4", "d")];
    let cluster = MadeUp::with(pods.map(|(ip, name)| named(ip, name)));
    let mut pairs = vec![("host.name", "4.4.4.4")];
    assert_eq!(name(&got("{}", &cluster, &pairs, Some("9.9.9.9"))), Some("d"));
    assert_eq!(name(&got("{}", &cluster, &pairs, Some("3.3.3.3"))), Some("c"));
    assert_eq!(name(&got("{}", &cluster, &pairs, Some("::ffff:3.3.3.3"))), Some("c"), "IPv4 in IPv6");
    pairs.push(("ip", "2.2.2.2"));
    assert_eq!(name(&got("{}", &cluster, &pairs, Some("3.3.3.3"))), Some("b"));
    pairs.push(("k8s.pod.ip", "1.1.1.1"));
    assert_eq!(name(&got("{}", &cluster, &pairs, Some("3.3.3.3"))), Some("a"));
    pairs.push(("k8s.pod.uid", "d"));
    assert_eq!(name(&got("{}", &cluster, &pairs, Some("3.3.3.3"))), Some("d"));
}

#[test]
fn a_host_name_that_is_no_address_is_no_source() {
    let cluster = MadeUp::with([plain()]);
    assert_eq!(name(&got("{}", &cluster, &[("host.name", "cart-1")], None)), None);
}

#[test]
fn nothing_to_go_by_adds_nothing_and_does_not_fail() {
    let cluster = MadeUp::with([plain()]);
    assert!(got("{}", &cluster, &[], None).is_empty());
    let (enricher, stats) = enricher("{}", &cluster);
    let broken = [0x0a, 0x7f];
    let from = origin(None, 0, NOW);
    let subject = Subject { resource: &broken, origin: &from, times: &|| None, ticket: &Ticket::free() };
    assert_eq!(enricher.enrich(&subject, &moment(&enricher, NOW, WriteMode::Full)), EnrichOutcome::Unchanged);
    assert_eq!(stats.total("podgate_k8s_malformed_resources"), 1);
}

#[test]
fn passthrough_writes_the_address_only() {
    let cluster = MadeUp::with([plain()]);
    let read = got("{passthrough: true}", &cluster, &[("k8s.pod.uid", UID)], Some("10.1.0.5"));
    assert_eq!(read.get("k8s.pod.ip").map(String::as_str), Some("10.1.0.5"));
    assert_eq!(name(&read), None);
    let kept = got("{passthrough: true}", &cluster, &[("k8s.pod.ip", "1.2.3.4")], Some("10.1.0.5"));
    assert_eq!(kept["k8s.pod.ip"], "1.2.3.4");
}

#[test]
fn every_address_of_a_pod_finds_it_and_a_host_network_pod_is_found_by_none() {
    let dual = Pod { ips: vec!["10.1.0.5".parse().expect("ok"), "fd00::5".parse().expect("ok")], ..plain() };
    let cluster = MadeUp::with([dual.clone()]);
    assert_eq!(name(&got("{}", &cluster, &[], Some("fd00::5"))), Some("cart-1"));
    let cluster = MadeUp::with([Pod { host_network: true, ..dual }]);
    assert_eq!(name(&got("{}", &cluster, &[], Some("10.1.0.5"))), None);
    assert_eq!(name(&got("{}", &cluster, &[("k8s.pod.uid", UID)], None)), Some("cart-1"));
}

#[test]
fn a_finished_job_lets_go_of_its_address_although_its_object_stays() {
    let cluster = MadeUp::with([Pod { phase: Phase::Succeeded, ..plain() }]);
    let (enricher, _) = enricher("{}", &cluster);
    let accepted = |seconds| {
        let from = origin(Some("10.1.0.5"), 8, ago(seconds));
        enriched(&enricher, &resource(&[]), &from, OLD).expect("old enough to know")
    };
    assert_eq!(name(&accepted(90)), Some("cart-1"), "before it ended");
    assert_eq!(name(&accepted(1)), None);
}

#[test]
fn a_static_pod_is_found_by_the_hash_its_containers_know() {
    let cluster = MadeUp::with([Pod { config_hash: Some("abc123".into()), ..plain() }]);
    let read = got("{}", &cluster, &[("k8s.pod.uid", "abc123")], None);
    assert_eq!((name(&read), id(&read)), (Some("cart-1"), Some("run-0")));
}

#[test]
fn a_rule_without_an_index_finds_a_pod_only_when_one_has_the_value() {
    let rule = "{pod_association: [{sources: [{from: resource_attribute, name: k8s.pod.name}]}]}";
    let twin = Pod { uid: "other".into(), namespace: "bank".into(), ..plain() };
    let pairs = [("k8s.pod.name", "cart-1")];
    assert_eq!(id(&got(rule, &MadeUp::with([plain()]), &pairs, None)), Some("run-0"));
    assert_eq!(id(&got(rule, &MadeUp::with([plain(), twin]), &pairs, None)), None, "two pods of this name");
}

#[test]
fn all_sources_of_a_rule_must_fit_the_same_pod() {
    let rule = "{pod_association: [{sources: [{from: resource_attribute, name: k8s.pod.name}, \
                {from: resource_attribute, name: k8s.namespace.name}, {from: resource_attribute, name: k8s.node.name}]}]}";
    let cluster = MadeUp::with([plain()]);
    let pairs = |node| [("k8s.pod.name", "cart-1"), ("k8s.namespace.name", "shop"), ("k8s.node.name", node)];
    assert_eq!(id(&got(rule, &cluster, &pairs("node-a"), None)), Some("run-0"));
    assert_eq!(id(&got(rule, &cluster, &pairs("node-b"), None)), None);
}

#[test]
fn a_recreated_name_means_the_pod_that_existed_then() {
    let rule = "{pod_association: [{sources: [{from: resource_attribute, name: k8s.pod.name}, \
                {from: resource_attribute, name: k8s.namespace.name}]}]}";
    let before = Pod { uid: "before".into(), ..plain() };
    let after = Pod { uid: "after".into(), created: ago(100), ..pod("run-b", 0, ago(90), None) };
    let cluster = MadeUp::with([before]);
    cluster.apply(PodChange::Deleted { uid: "before".into(), last: None }, ago(110));
    cluster.apply(PodChange::Applied(after), ago(100));
    let pairs = [("k8s.pod.name", "cart-1"), ("k8s.namespace.name", "shop")];
    assert_eq!(id(&got(rule, &cluster, &pairs, None)), Some("run-b"));
}

#[test]
fn what_was_made_after_a_pod_was_deleted_is_not_its_by_name() {
    let rule = "{pod_association: [{sources: [{from: resource_attribute, name: k8s.pod.name}, \
                {from: resource_attribute, name: k8s.namespace.name}]}]}";
    let cluster = MadeUp::with([plain()]);
    cluster.apply(PodChange::Deleted { uid: UID.into(), last: None }, ago(50));
    let (enricher, _) = enricher(rule, &cluster);
    let resource = resource(&[("k8s.pod.name", "cart-1"), ("k8s.namespace.name", "shop")]);
    let origin = origin(None, 3, ago(20));
    for (made, found) in [(ago(51), true), (ago(49), false)] {
        let times = || Some(Times { first: made, last: made, counting_since: None });
        let subject = Subject { resource: &resource, origin: &origin, times: &times, ticket: &Ticket::free() };
        let outcome = enricher.enrich(&subject, &moment(&enricher, NOW, WriteMode::PodOnly));
        assert_eq!(matches!(outcome, EnrichOutcome::Changed(_)), found, "made at {made:?}");
    }
}

#[test]
fn a_successor_has_its_name_at_once_where_its_predecessor_is_known_to_have_ended() {
    let rule = "{pod_association: [{sources: [{from: resource_attribute, name: k8s.pod.name}, \
                {from: resource_attribute, name: k8s.namespace.name}]}]}";
    let tenth = |tenths: u64| ago(20).saturating_add(Duration::from_millis(tenths * 100));
    let finished = Some(ago(22));
    let end = Ended { id: "run-0".into(), started: Some(ago(600)), finished, ..Ended::default() };
    for (last, found) in [
        (RunState::Terminated(end), [Some(UID), Some("after"), Some("after"), Some("after")]),
        // Deleted by force: what was heard last was that it runs.
        (RunState::Running { started: Some(ago(600)) }, [Some(UID), None, None, None]),
    ] {
        let cluster = MadeUp::with([plain()]);
        cluster.hear(ago(22));
        let gone = pods::pod(ago(3_600), pods::status("run-0", 0, last.clone(), None));
        cluster.apply(PodChange::Deleted { uid: UID.into(), last: Some(gone) }, tenth(0));
        // Created in the whole second that began when the deletion was heard.
        let after = Pod { uid: "after".into(), created: ago(20), statuses: Vec::new(), ..plain() };
        cluster.apply(PodChange::Applied(after), tenth(1));
        let (enricher, _) = enricher(rule, &cluster);
        let resource = resource(&[("k8s.pod.name", "cart-1"), ("k8s.namespace.name", "shop")]);
        // The second: by a clock that is behind the one that dates creations.
        for (made, uid) in [ago(25), tenth(0).saturating_sub(OLD / 20), tenth(2), tenth(9)].into_iter().zip(found) {
            let times = || Some(Times::at(made));
            let origin = origin(None, 3, tenth(9));
            let subject = Subject { resource: &resource, origin: &origin, times: &times, ticket: &Ticket::free() };
            let read = match enricher.enrich(&subject, &moment(&enricher, NOW, WriteMode::PodOnly)) {
                EnrichOutcome::Changed(bytes) => read(&bytes),
                _ => Attributes::default(),
            };
            assert_eq!(read.get("k8s.pod.uid").map(String::as_str), uid, "{last:?}, made at {made:?}");
        }
    }
}

#[test]
fn a_new_process_waits_for_a_status_of_the_watch_and_never_for_one_of_a_file() {
    let cluster = MadeUp::with([plain()]);
    for (body, waits) in [("{}", true), ("{podgate: {pods_file: pods.yaml}}", false)] {
        let (enricher, _) = enricher(body, &cluster);
        let resource = resource(&[("k8s.pod.uid", UID)]);
        let origin = origin(None, 3, NOW);
        let times = || Some(Times { first: NOW, last: NOW, counting_since: None });
        let subject = Subject { resource: &resource, origin: &origin, times: &times, ticket: &Ticket::free() };
        let outcome = enricher.enrich(&subject, &moment(&enricher, NOW, WriteMode::Full));
        assert_eq!(matches!(outcome, EnrichOutcome::Pending { .. }), waits, "{body}: {outcome:?}");
    }
}

#[test]
fn a_deleted_pod_is_found_in_its_grace_and_not_after() {
    let cluster = MadeUp::with([plain()]);
    cluster.apply(PodChange::Deleted { uid: UID.into(), last: None }, ago(50));
    assert_eq!(name(&got("{}", &cluster, &[("k8s.pod.uid", UID)], None)), Some("cart-1"));
    cluster.tick(NOW.saturating_add(Duration::from_secs(71)));
    assert_eq!(name(&got("{}", &cluster, &[("k8s.pod.uid", UID)], None)), None);
}

#[test]
fn a_deployment_is_named_by_the_template_hash_and_a_bare_replica_set_has_none() {
    let owner = |name: &str| {
        let part = |text: &str| -> Arc<str> { text.into() };
        Some(Owner { api_version: part("apps/v1"), kind: part("ReplicaSet"), name: part(name), uid: part("rs") })
    };
    let labels: Vec<(Arc<str>, Arc<str>)> = vec![("pod-template-hash".into(), "5c4d".into())];
    let deployed = Pod { owner: owner("my-web-5c4d"), labels, ..plain() };
    let pairs = [("k8s.pod.uid", UID)];
    let read = got("{}", &MadeUp::with([deployed]), &pairs, None);
    assert_eq!(read.get("k8s.deployment.name").map(String::as_str), Some("my-web"));
    let bare = Pod { owner: owner("my-web-5c4d"), ..plain() };
    assert!(!got("{}", &MadeUp::with([bare]), &pairs, None).contains_key("k8s.deployment.name"));
}

#[test]
fn labels_and_annotations_are_named_by_rule_and_pattern() {
    let body = "{extract: {metadata: [k8s.pod.name], otel_annotations: true, \
                labels: [{tag_name: app, key: a}, {key: b}, {tag_name: $1, key_regex: c-(.*)}, {key_regex: d}], \
                annotations: [{tag_name: note, key: n, from: pod}]}}";
    let pair = |key: &str, value: &str| -> (Arc<str>, Arc<str>) { (key.into(), value.into()) };
    let labels = vec![pair("a", "1"), pair("b", "2"), pair("c-x", "3"), pair("d", "4"), pair("dd", "5"), pair("e", "")];
    let annotations = vec![pair("n", "6"), pair("resource.opentelemetry.io/service.name", "cart")];
    let read = got(body, &MadeUp::with([Pod { labels, annotations, ..plain() }]), &[("k8s.pod.uid", UID)], None);
    let expected = [
        ("app", "1"),
        ("k8s.pod.label.b", "2"),
        ("x", "3"),
        ("k8s.pod.label.d", "4"),
        ("note", "6"),
        ("service.name", "cart"),
    ];
    for (key, value) in expected {
        assert_eq!(read.get(key).map(String::as_str), Some(value), "{key}");
    }
    assert!(!read.keys().any(|key| key.contains("dd")), "patterns are anchored");
}

#[test]
fn a_pod_that_opts_out_or_is_excluded_gets_nothing() {
    let annotations: Vec<(Arc<str>, Arc<str>)> = vec![("opentelemetry.io/k8s-processor.ignore".into(), "true".into())];
    let pairs = [("k8s.pod.uid", UID)];
    assert_eq!(name(&got("{}", &MadeUp::with([Pod { annotations, ..plain() }]), &pairs, None)), None);
    let jaeger = Pod { name: "jaeger-agent-x1".into(), ..plain() };
    assert_eq!(name(&got("{}", &MadeUp::with([jaeger.clone()]), &pairs, None)), None);
    assert_eq!(name(&got("{exclude: {pods: []}}", &MadeUp::with([jaeger]), &pairs, None)), Some("jaeger-agent-x1"));
}

fn with_containers(containers: &[(&str, ContainerKind)]) -> Pod {
    let spec =
        containers.iter().map(|(name, kind)| Container { name: (*name).into(), image: "i:1".into(), kind: *kind });
    let status = |name: &str| ContainerStatus {
        name: name.into(),
        image: "i:1".into(),
        ..pods::running(&format!("run-of-{name}"), 0, ago(600), None)
    };
    let statuses = containers.iter().map(|(name, _)| status(name)).collect();
    Pod { containers: spec.collect(), statuses, ..plain() }
}

#[test]
fn the_container_is_the_named_one_else_the_only_one_that_can_be_meant() {
    use ContainerKind::{Ephemeral, Init, Regular, Sidecar};
    let by = |containers: &[(&str, ContainerKind)], named: Option<&str>| {
        let mut pairs = vec![("k8s.pod.uid", UID)];
        pairs.extend(named.map(|name| ("k8s.container.name", name)));
        let read = got("{}", &MadeUp::with([with_containers(containers)]), &pairs, None);
        (id(&read).map(str::to_owned), read.get("k8s.container.name").cloned())
    };
    let found = |name: &str| (Some(format!("run-of-{name}")), Some(name.to_owned()));
    let app = ("app", Regular);
    assert_eq!(by(&[app, ("setup", Init), ("debugger", Ephemeral)], None), found("app"));
    assert_eq!(by(&[app, ("istio-proxy", Sidecar)], None), found("app"));
    assert_eq!(by(&[app, ("cache", Sidecar)], None), (None, None));
    assert_eq!(by(&[app, ("cache", Sidecar)], Some("cache")), found("cache"));
    assert_eq!(by(&[app, ("setup", Init)], Some("setup")), found("setup"));
    assert_eq!(by(&[app, ("debugger", Ephemeral)], Some("debugger")), found("debugger"));
    assert_eq!(by(&[app], Some("typo")), found("app"), "a wrong name is repaired when only one can be meant");
    assert_eq!(by(&[app, ("other", Regular)], Some("typo")), (None, Some("typo".to_owned())));
}

#[test]
fn attributes_that_are_there_stay_and_empty_ones_are_filled() {
    let pairs = [("k8s.pod.uid", UID), ("k8s.pod.name", "mine"), ("k8s.namespace.name", "")];
    let read = got("{}", &MadeUp::with([plain()]), &pairs, None);
    assert_eq!((&*read["k8s.pod.name"], &*read["k8s.namespace.name"]), ("mine", "shop"));
}

/// A pod whose container restarted `times` times, ten minutes ago last.
fn restarted(times: i64) -> Pod {
    let dead = Ended {
        id: "dead".into(),
        started: Some(ago(900)),
        finished: Some(ago(610)),
        reason: "Error".into(),
        exit_code: 1,
    };
    pod("alive", times, ago(600), Some(dead))
}

#[test]
fn a_hard_coded_restart_count_of_zero_is_right_after_one_two_and_five_restarts() {
    for times in [1, 2, 5] {
        let pairs = [("k8s.pod.uid", UID), ("k8s.container.name", "app"), ("k8s.container.restart_count", "0")];
        let read = got("{}", &MadeUp::with([restarted(times)]), &pairs, None);
        assert_eq!(id(&read), Some("alive"));
        assert_eq!(read["k8s.container.restart_count"], times.to_string());
        let kept = got("{podgate: {restart_count: keep}}", &MadeUp::with([restarted(times)]), &pairs, None);
        assert_eq!(kept["k8s.container.restart_count"], "0");
    }
}

#[test]
fn late_data_of_the_dead_run_gets_the_dead_runs_id() {
    let (enricher, _) = enricher("{}", &MadeUp::with([restarted(1)]));
    let from = origin(None, 0, NOW);
    let read = enriched(&enricher, &resource(&[("k8s.pod.uid", UID)]), &from, Duration::from_secs(700));
    assert_eq!(id(&read.expect("old enough")), Some("dead"));
}

#[test]
fn a_claimed_id_is_believed_when_the_pod_has_it_and_repaired_when_it_does_not() {
    let long = "ab".repeat(32);
    let cluster = MadeUp::with([pod(&long, 0, ago(600), None)]);
    let claim = |body: &str, id: &str| got(body, &cluster, &[("k8s.pod.uid", UID), ("container.id", id)], None);
    assert_eq!(id(&claim("{}", &long)), Some(&*long));
    assert_eq!(id(&claim("{}", &format!("containerd://{long}"))), Some(&*long), "the scheme is cut");
    assert_eq!(id(&claim("{}", &long[..12])), Some(&*long), "a short id is completed");
    let sandbox = "cd".repeat(32);
    assert_eq!(id(&claim("{}", &sandbox)), Some(&*long), "the pause container's id is no container's");
    assert_eq!(id(&claim("{podgate: {repair: false}}", &sandbox)), Some(&*sandbox));
}

#[test]
fn a_resource_that_names_another_pod_than_its_address_is_handled_as_configured() {
    let other = Pod { uid: "other".into(), name: "other".into(), ips: Vec::new(), ..plain() };
    let cluster = MadeUp::with([plain(), other]);
    let pairs = [("k8s.pod.uid", "other")];
    let names = |policy: &str| {
        let body = format!("{{podgate: {{on_conflict: {policy}}}}}");
        let read = got(&body, &cluster, &pairs, Some("10.1.0.5"));
        (name(&read).map(str::to_owned), read["k8s.pod.uid"].clone())
    };
    assert_eq!(names("keep"), (Some("other".to_owned()), "other".to_owned()));
    assert_eq!(names("replace"), (Some("cart-1".to_owned()), UID.to_owned()));
    assert_eq!(names("refuse"), (None, "other".to_owned()));
}

#[test]
fn while_the_watch_is_cut_off_old_evidence_still_counts_and_fresh_evidence_does_not() {
    let cluster = MadeUp::with([plain()]);
    *cluster.in_touch.lock().expect("fine") = Some(ago(600));
    let (enricher, _) = enricher("{}", &cluster);
    let at = |age: u64| {
        let from: Origin = origin(None, 0, NOW);
        let read = enriched(&enricher, &resource(&[("k8s.pod.uid", UID)]), &from, Duration::from_secs(age));
        read.expect("nothing waits for a watch that is away").get("container.id").cloned()
    };
    assert_eq!(at(10), None);
    // Made before the last contact: the ledger is complete for that time. The container began 600 s ago.
    *cluster.in_touch.lock().expect("fine") = Some(ago(100));
    assert_eq!(at(110), Some("run-0".to_owned()));
}

#[test]
fn pod_attributes_come_at_arrival_and_the_runs_at_the_decision() {
    let cluster = MadeUp::with([plain()]);
    let (enricher, _) = enricher("{}", &cluster);
    let from = origin(Some("10.1.0.5"), 3, ago(20));
    let resource = resource(&[("k8s.pod.uid", UID)]);
    let times = || Some(Times::at(NOW));
    let subject = Subject { resource: &resource, origin: &from, times: &times, ticket: &Ticket::free() };
    let EnrichOutcome::Changed(early) = enricher.enrich(&subject, &moment(&enricher, NOW, WriteMode::PodOnly)) else {
        panic!("the pod is known at arrival");
    };
    let read_early = read(&early);
    assert_eq!((name(&read_early), id(&read_early)), (Some("cart-1"), None));
    let later = NOW.saturating_add(Duration::from_secs(10));
    let subject = Subject { resource: &early, origin: &from, times: &times, ticket: &Ticket::free() };
    let EnrichOutcome::Changed(bound) =
        enricher.enrich_known(&subject, &moment(&enricher, later, WriteMode::RunOnly), None)
    else {
        panic!("the run is known at the decision");
    };
    assert_eq!(id(&read(&bound)), Some("run-0"));
    assert_eq!(read(&bound)["container.image.tag"], "1");
}

#[test]
fn a_pod_that_is_reported_between_arrival_and_decision_gives_all_its_attributes_at_the_decision() {
    let cluster = MadeUp::with([]);
    let (enricher, stats) = enricher("{}", &cluster);
    let missing = || stats.total("podgate_k8s_container_id_resources");
    let from = origin(Some("10.1.0.5"), 3, ago(20));
    let resource = resource(&[("service.name", "cart")]);
    let times = || Some(Times { first: NOW, last: NOW, counting_since: None });
    let subject = Subject { resource: &resource, origin: &from, times: &times, ticket: &Ticket::free() };
    assert_eq!(enricher.enrich(&subject, &moment(&enricher, NOW, WriteMode::PodOnly)), EnrichOutcome::Unchanged);
    assert_eq!(missing(), 0, "nobody knows yet");
    let later = NOW.saturating_add(Duration::from_secs(10));
    assert_eq!(
        enricher.enrich_known(&subject, &moment(&enricher, later, WriteMode::RunOnly), None),
        EnrichOutcome::Unchanged
    );
    assert_eq!(missing(), 1);
    cluster.apply(PodChange::Applied(plain()), later);
    let EnrichOutcome::Changed(bound) =
        enricher.enrich_known(&subject, &moment(&enricher, later, WriteMode::RunOnly), None)
    else {
        panic!("the pod is known at the decision");
    };
    let bound = read(&bound);
    assert_eq!((name(&bound), id(&bound)), (Some("cart-1"), Some("run-0")));
    assert_eq!(bound["k8s.container.name"], "app");
}

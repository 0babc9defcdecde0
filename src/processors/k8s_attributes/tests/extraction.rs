//! Counterparts of the Collector's extraction cases (TestExtractionRules, TestReplicaSetExtractionRules,
//! TestNamespaceLabels, repro_issue_43865 and others): owners, service attributes, labels of other objects.

use std::sync::Arc;
use std::time::Duration;

use super::stage::{UID, pod};
use super::{Attributes, MadeUp, NOW, enriched, enricher, moment, origin, read, resource};
use crate::core::data::budget::Ticket;
use crate::kube::decode::{Keep, Related};
use crate::kube::pod::{Owner, Pod};
use crate::kube::table::PodChange;
use crate::processors::k8s_attributes::enrich::EnrichOutcome;
use crate::processors::k8s_attributes::hub_cluster;
use crate::processors::k8s_attributes::times::moment::{ArrivalMoment, Subject, WriteMode};

const ALL: &str = "[k8s.deployment.name, k8s.deployment.uid, k8s.replicaset.name, k8s.replicaset.uid, \
    k8s.statefulset.name, k8s.statefulset.uid, k8s.daemonset.name, k8s.daemonset.uid, k8s.job.name, k8s.job.uid, \
    k8s.cronjob.name, k8s.cronjob.uid]";

type Pairs<'a> = &'a [(&'a str, &'a str)];

fn pairs(pairs: &[(&str, &str)]) -> Vec<(Arc<str>, Arc<str>)> {
    pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
}

fn owner(kind: &str, name: &str, uid: &str) -> Owner {
    Owner { api_version: "apps/v1".into(), kind: kind.into(), name: name.into(), uid: uid.into() }
}

fn related(name: &str, uid: &str, owner: Option<Owner>, labels: &[(&str, &str)]) -> Arc<Related> {
    let (labels, annotations) = (pairs(labels), pairs(&[("note", name)]));
    Arc::new(Related { uid: uid.into(), name: name.into(), owner, labels, annotations })
}

fn plain() -> Pod {
    pod("run-0", 0, NOW.saturating_sub(Duration::from_secs(600)), None)
}

fn known(cluster: MadeUp, pod: Pod) -> Arc<MadeUp> {
    cluster.apply(PodChange::Applied(pod), NOW.saturating_sub(Duration::from_secs(60)));
    Arc::new(cluster)
}

fn got(body: &str, cluster: &Arc<MadeUp>, sent: &[(&str, &str)]) -> Attributes {
    let (enricher, _) = enricher(body, cluster);
    let read = enriched(&enricher, &resource(sent), &origin(None, 0, NOW), Duration::from_secs(10));
    let mut read = read.expect("old enough to know");
    for (key, _) in sent {
        read.remove(*key);
    }
    read
}

fn attributes(expected: &[(&str, &str)]) -> Attributes {
    expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn with_owners() -> MadeUp {
    let mut cluster = MadeUp::default();
    for (name, uid, above) in [
        ("web-5c4d", "rs-uid", Some(owner("Deployment", "web", "deployment-uid"))),
        ("rollout-77", "other-rs", Some(owner("Rollout", "rollout", "rollout-uid"))),
        ("tick-29000000", "job-uid", Some(owner("CronJob", "tick", "cronjob-uid"))),
        ("once", "bare-job", None),
        ("db", "set-uid", None),
        ("agent", "daemon-uid", None),
    ] {
        cluster.owners.insert(uid.to_owned(), related(name, uid, above, &[]));
    }
    cluster
}

#[test]
fn owners_are_named_by_their_kind_and_only_real_ones() {
    let hash = [("pod-template-hash", "5c4d")];
    let table: &[(Option<Owner>, Pairs<'_>, Pairs<'_>)] = &[
        (None, &[], &[]),
        (
            Some(owner("ReplicaSet", "web-5c4d", "rs-uid")),
            &hash,
            &[
                ("k8s.deployment.name", "web"),
                ("k8s.deployment.uid", "deployment-uid"),
                ("k8s.replicaset.name", "web-5c4d"),
                ("k8s.replicaset.uid", "rs-uid"),
            ],
        ),
        // A replica set of something else than a Deployment (an Argo Rollout) has no deployment uid.
        (
            Some(owner("ReplicaSet", "rollout-77", "other-rs")),
            &[],
            &[("k8s.replicaset.name", "rollout-77"), ("k8s.replicaset.uid", "other-rs")],
        ),
        (
            Some(owner("Job", "tick-29000000", "job-uid")),
            &[],
            &[
                ("k8s.job.name", "tick-29000000"),
                ("k8s.job.uid", "job-uid"),
                ("k8s.cronjob.name", "tick"),
                ("k8s.cronjob.uid", "cronjob-uid"),
            ],
        ),
        (Some(owner("Job", "once", "bare-job")), &[], &[("k8s.job.name", "once"), ("k8s.job.uid", "bare-job")]),
        (
            Some(owner("StatefulSet", "db", "set-uid")),
            &[],
            &[("k8s.statefulset.name", "db"), ("k8s.statefulset.uid", "set-uid")],
        ),
        (
            Some(owner("DaemonSet", "agent", "daemon-uid")),
            &[],
            &[("k8s.daemonset.name", "agent"), ("k8s.daemonset.uid", "daemon-uid")],
        ),
        (Some(owner("Widget", "w", "w-uid")), &[], &[]),
    ];
    for (owner, labels, expected) in table {
        let cluster = known(with_owners(), Pod { owner: owner.clone(), labels: pairs(labels), ..plain() });
        let body = format!("{{extract: {{metadata: {ALL}}}}}");
        assert_eq!(got(&body, &cluster, &[("k8s.pod.uid", UID)]), attributes(expected), "{owner:?}");
    }
}

#[test]
fn only_the_controller_among_the_owners_counts() {
    let keep = || Keep::default();
    let pod = |references: serde_json::Value| {
        let metadata = serde_json::json!({"uid": "u", "name": "n", "ownerReferences": references});
        super::decoded(&serde_json::json!({ "metadata": metadata }), keep()).owner.map(|owner| owner.uid.to_string())
    };
    let reference = |uid: &str, controller: Option<bool>| serde_json::json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "x", "uid": uid, "controller": controller});
    assert_eq!(pod(serde_json::json!([])), None);
    assert_eq!(pod(serde_json::json!([reference("a", Some(true))])).as_deref(), Some("a"));
    assert_eq!(pod(serde_json::json!([reference("a", None)])), None);
    assert_eq!(pod(serde_json::json!([reference("a", Some(false)), reference("b", Some(true))])).as_deref(), Some("b"));
}

#[test]
fn a_service_is_named_by_the_most_deliberate_name_there_is() {
    let body = "{extract: {metadata: [service.name, service.namespace, service.version, service.instance.id], \
                otel_annotations: true}}";
    let replica_set = || Some(owner("ReplicaSet", "web-5c4d", "rs-uid"));
    let hash = ("pod-template-hash", "5c4d");
    let (name, instance) = (("app.kubernetes.io/name", "shop"), ("app.kubernetes.io/instance", "shop-eu"));
    let annotation = ("resource.opentelemetry.io/service.name", "cart");
    let table: &[(Option<Owner>, Pairs<'_>, Pairs<'_>, &str)] = &[
        (None, &[], &[], "cart-1"),
        (Some(owner("DaemonSet", "agent", "daemon-uid")), &[], &[], "agent"),
        (Some(owner("Widget", "w", "w-uid")), &[], &[], "cart-1"),
        (replica_set(), &[], &[], "web-5c4d"),
        (replica_set(), &[hash], &[], "web"),
        (Some(owner("Job", "tick-29000000", "job-uid")), &[], &[], "tick"),
        (Some(owner("Job", "once", "bare-job")), &[], &[], "once"),
        (replica_set(), &[hash, name], &[], "shop"),
        (replica_set(), &[hash, name, instance], &[], "shop-eu"),
        (replica_set(), &[hash, name, instance], &[annotation], "cart"),
    ];
    for (owner, labels, annotations, expected) in table {
        let made = Pod { owner: owner.clone(), labels: pairs(labels), annotations: pairs(annotations), ..plain() };
        let read = got(body, &known(with_owners(), made), &[("k8s.pod.uid", UID)]);
        assert_eq!(read["service.name"], *expected, "{owner:?} {labels:?} {annotations:?}");
        assert_eq!((&*read["service.namespace"], &*read["service.version"]), ("shop", "1"));
        assert_eq!(read["service.instance.id"], "shop.cart-1.app", "of the pod's place, not of its run");
    }
    let labelled = Pod { labels: pairs(&[("app.kubernetes.io/version", "2.0")]), ..plain() };
    assert_eq!(got(body, &known(MadeUp::default(), labelled), &[("k8s.pod.uid", UID)])["service.version"], "2.0");
}

fn with_neighbours() -> MadeUp {
    let mut cluster = with_owners();
    let tier = |value: &str| related(value, value, None, &[("tier", value), ("empty", "")]);
    cluster.namespaces.insert("shop".to_owned(), tier("of-namespace"));
    cluster.namespaces.insert("kube-system".to_owned(), related("kube-system", "cluster-uid", None, &[]));
    cluster.nodes.insert("node-a".to_owned(), tier("of-node"));
    cluster
}

const LABELS: &str = "labels: [{key: tier, from: pod}, {key: tier, from: namespace}, {key: tier, from: node, tag_name: n}, \
    {key: empty, from: node}], annotations: [{key_regex: 'no(?P<rest>.*)', tag_name: 'ns.$0.$rest', from: namespace}]";

#[test]
fn labels_of_pod_namespace_and_node_are_kept_apart() {
    let body = format!("{{extract: {{metadata: [k8s.node.uid, k8s.cluster.uid], {LABELS}}}}}");
    let pod = Pod { labels: pairs(&[("tier", "of-pod")]), ..plain() };
    let read = got(&body, &known(with_neighbours(), pod), &[("k8s.pod.uid", UID)]);
    let expected = [
        ("k8s.pod.label.tier", "of-pod"),
        ("k8s.namespace.label.tier", "of-namespace"),
        ("n", "of-node"),
        ("ns.note.te", "of-namespace"),
        ("k8s.node.uid", "of-node"),
        ("k8s.cluster.uid", "cluster-uid"),
    ];
    assert_eq!(read, attributes(&expected));
    let kept = hub_cluster::spec(&super::config(&body)).keep;
    assert_eq!((kept.labels.len(), kept.related_labels.len()), (1, 3), "only what a rule asks for is stored");
}

#[test]
fn labels_are_named_as_one_generation_of_the_conventions_or_as_both() {
    let label = [("k8s.pod.label.tier", "of-pod"), ("k8s.deployment.label.tier", "of-deployment")];
    let older = [("k8s.pod.labels.tier", "of-pod"), ("k8s.pod.annotations.note", "n")];
    let newer = [("k8s.pod.annotation.note", "n")];
    let table: [(&str, Vec<(&str, &str)>); 3] = [
        ("new", [&label[..], &newer[..]].concat()),
        ("old", [&older[..], &label[1..]].concat()),
        ("both", [&label[..], &newer[..], &older[..]].concat()),
    ];
    let mut cluster = with_owners();
    let tier = [("tier", "of-deployment")];
    cluster.owners.insert("deployment-uid".to_owned(), related("web", "deployment-uid", None, &tier));
    let made = Pod {
        owner: Some(owner("ReplicaSet", "web-5c4d", "rs-uid")),
        labels: pairs(&[("tier", "of-pod")]),
        annotations: pairs(&[("note", "n")]),
        ..plain()
    };
    let cluster = known(cluster, made);
    for (generation, expected) in table {
        let body = format!(
            "{{extract: {{metadata: [], labels: [{{key: tier}}, {{key: tier, from: deployment}}], \
             annotations: [{{key_regex: n.*}}]}}, podgate: {{label_names: {generation}}}}}"
        );
        assert_eq!(got(&body, &cluster, &[("k8s.pod.uid", UID)]), attributes(&expected), "{generation}");
    }
}

#[test]
fn a_resource_without_a_pod_gets_what_its_own_namespace_and_node_have() {
    let body = format!("{{extract: {{metadata: [k8s.node.uid], {LABELS}}}}}");
    let cluster = known(with_neighbours(), plain());
    let read = got(&body, &cluster, &[("k8s.namespace.name", "shop"), ("k8s.node.name", "node-a")]);
    let expected = [
        ("k8s.namespace.label.tier", "of-namespace"),
        ("n", "of-node"),
        ("ns.note.te", "of-namespace"),
        ("k8s.node.uid", "of-node"),
    ];
    assert_eq!(read, attributes(&expected), "an empty label counts as absent");
    assert_eq!(got(&body, &cluster, &[("k8s.namespace.name", "nowhere")]), Attributes::new());
}

#[test]
fn what_is_not_known_yet_is_left_out_and_asked_for_again() {
    let body = "{extract: {metadata: [k8s.pod.name, k8s.cluster.uid, k8s.deployment.uid]}}";
    let made = Pod { owner: Some(owner("ReplicaSet", "web-5c4d", "unknown-yet")), ..plain() };
    let cluster = known(MadeUp::default(), made);
    assert_eq!(got(body, &cluster, &[("k8s.pod.uid", UID)]), attributes(&[("k8s.pod.name", "cart-1")]));
    let (enricher, _) = enricher(body, &cluster);
    let entry = enricher.cluster.snapshot().by_uid(UID).cloned().expect("known");
    let profile = enricher.profile(&entry, NOW);
    assert_eq!(profile.lacking, ["ReplicaSet web-5c4d", "namespace kube-system"]);
    assert!(profile.borrowed && !profile.incomplete, "so it is worked out anew some seconds later");
}

#[test]
fn data_waits_for_owners_and_namespaces_that_are_on_their_way_and_not_for_those_that_never_come() {
    let body = "{extract: {metadata: [k8s.pod.name], labels: [{tag_name: tier, key: tier, from: namespace}]}}";
    let cluster = known(with_neighbours(), plain());
    cluster.set_asking(true);
    let (enricher, _) = enricher(body, &cluster);
    let sent = resource(&[("k8s.pod.uid", UID)]);
    let from = origin(None, 0, NOW);
    for mode in [WriteMode::Full, WriteMode::PodOnly] {
        let subject = Subject { resource: &sent, origin: &from, times: &|| None, ticket: &Ticket::free() };
        let ask = |give_up| enricher.enrich(&subject, &ArrivalMoment { give_up, ..moment(&enricher, NOW, mode) });
        assert!(matches!(ask(false), EnrichOutcome::Pending { .. }), "{mode:?}");
        assert!(matches!(ask(true), EnrichOutcome::Changed(_)), "{mode:?}: its time is over");
    }
    cluster.set_asking(false);
    let subject = Subject { resource: &sent, origin: &from, times: &|| None, ticket: &Ticket::free() };
    let EnrichOutcome::Changed(bytes) = enricher.enrich(&subject, &moment(&enricher, NOW, WriteMode::PodOnly)) else {
        panic!("the label is there, at once after it came");
    };
    assert_eq!(read(&bytes)["tier"], "of-namespace");
}

#[test]
fn data_without_a_pod_waits_for_its_namespace_and_node_that_are_on_their_way() {
    let body = "{extract: {metadata: [k8s.node.uid], labels: [{tag_name: tier, key: tier, from: namespace}]}}";
    let cluster = known(with_neighbours(), plain());
    cluster.set_asking(true);
    let (enricher, _) = enricher(body, &cluster);
    let from = origin(None, 0, NOW);
    let ask = |key: &str, name: &str, mode, give_up| {
        let sent = resource(&[(key, name)]);
        let subject = Subject { resource: &sent, origin: &from, times: &|| None, ticket: &Ticket::free() };
        enricher.enrich(&subject, &ArrivalMoment { give_up, ..moment(&enricher, NOW, mode) })
    };
    for (key, name) in [("k8s.namespace.name", "shop"), ("k8s.node.name", "node-1")] {
        for mode in [WriteMode::Full, WriteMode::PodOnly] {
            assert!(matches!(ask(key, name, mode, false), EnrichOutcome::Pending { .. }), "{key} {mode:?}");
            assert_eq!(ask(key, name, mode, true), EnrichOutcome::Unchanged, "{key} {mode:?}: its time is over");
        }
    }
    assert_eq!(ask("service.name", "x", WriteMode::Full, false), EnrichOutcome::Unchanged, "nothing is on its way");
    cluster.set_asking(false);
    let EnrichOutcome::Changed(bytes) = ask("k8s.namespace.name", "shop", WriteMode::Full, false) else {
        panic!("the label is there")
    };
    assert_eq!(read(&bytes)["tier"], "of-namespace");
}

#[test]
fn a_cron_jobs_name_is_read_off_its_jobs_name_and_a_date_is_no_minute() {
    let body = "{extract: {metadata: [k8s.cronjob.name, service.name]}}";
    // 2026-11-21T06:05Z in minutes.
    let cases = [
        ("backup-29920685", Some("backup"), "backup"),
        ("a-b-29920000", Some("a-b"), "a-b"),
        ("backup-20261121", None, "backup-20261121"),
        ("backup-2992068", None, "backup-2992068"),
        ("backup", None, "backup"),
    ];
    for (job, cron_job, service) in cases {
        let made = Pod { owner: Some(owner("Job", job, "job-unknown")), ..plain() };
        let read = got(body, &known(MadeUp::default(), made), &[("k8s.pod.uid", UID)]);
        assert_eq!(read.get("k8s.cronjob.name").map(String::as_str), cron_job, "{job}");
        assert_eq!(read["service.name"], service, "{job}");
    }
}

//! Pages of the admin extension: all pods, and why one resource would get what it gets.
//!
//! `/v1/explain?uid=|ip=|container=|pod=` runs the real rules over a resource that carries just that key, so the answer is
//! what data would meet: rules tried, pod found or not, runs with their intervals, and what is remembered.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

use serde_json::{Value, json};

use crate::core::data::origin::{Origin, Transport};
use crate::core::lock::Locked;
use crate::core::report::routes::{Page, PageQuery};
use crate::core::stage::host::Host;
use crate::core::time::UnixNanos;
use crate::kube::ledger::{ContainerLedger, FRESHNESS, Run, TimeBounds};
use crate::kube::table::PodEntry;
use crate::otlp::edit::Appender;
use crate::processors::k8s_attributes::association::Attempt;
use crate::processors::k8s_attributes::bindings::ClockStretches;
use crate::processors::k8s_attributes::enrich::Enricher;
use crate::processors::k8s_attributes::facts::ResourceFacts;
use crate::processors::k8s_attributes::report::runs;

/// A run that was heard of this long after its start, by either clock, was not found by a list.
const HEARD_SOON: std::time::Duration = std::time::Duration::from_secs(30);

/// Pods on one page.
const PODS_MAX: usize = 1_000;

type Listed = Mutex<Vec<(String, Weak<Enricher>)>>;

/// Adds this processor to the pages.
pub fn offer(host: &Host, processor: &str, enricher: &Arc<Enricher>) {
    let listed: Arc<Listed> = host.shared("k8s_attributes pages", Arc::default);
    let mut known = listed.locked();
    // After a reload the last of a name is shown; the one before goes when nothing holds it.
    known.retain(|(_, enricher)| enricher.strong_count() > 0);
    known.push((processor.to_owned(), Arc::downgrade(enricher)));
    drop(known);
    let (of_pods, of_runs) = (listed.clone(), listed.clone());
    host.routes.add(
        "/v1/pods",
        "pods known to k8s_attributes (?namespace= narrows)",
        Arc::new(move |query| for_each(&of_pods, |enricher| Ok(pods(enricher, query)))),
    );
    host.routes.add(
        "/v1/runs",
        "a lane for each container with its runs (?namespace= narrows)",
        Arc::new(move |query| for_each(&of_runs, |enricher| Ok(runs::lanes(enricher, query, UnixNanos::now())))),
    );
    host.routes.add(
        "/v1/explain",
        "why a resource gets its pod and container.id (?uid=, ?ip=, ?container= or ?pod=[namespace/]name)",
        Arc::new(move |query| for_each(&listed, |enricher| explain(enricher, query, UnixNanos::now()))),
    );
}

fn for_each(listed: &Listed, page: impl Fn(&Enricher) -> Result<Value, String>) -> Page {
    let listed = listed.locked();
    let mut processors = serde_json::Map::new();
    for (name, enricher) in listed.iter() {
        let Some(enricher) = enricher.upgrade() else { continue };
        match page(&enricher) {
            Ok(value) => processors.insert(name.clone(), value),
            Err(fault) => return Page::error(400, &fault),
        };
    }
    Page::ok(json!({ "processors": processors }))
}

fn pods(enricher: &Enricher, query: &PageQuery) -> Value {
    let snapshot = enricher.cluster.snapshot();
    let namespace = query.get("namespace");
    let mut entries: Vec<&Arc<PodEntry>> =
        snapshot.pods().filter(|entry| namespace.is_none_or(|namespace| **namespace == *entry.pod.namespace)).collect();
    entries.sort_by(|a, b| (&a.pod.namespace, &a.pod.name).cmp(&(&b.pod.namespace, &b.pod.name)));
    let total = entries.len();
    let rows: Vec<Value> = entries.into_iter().take(PODS_MAX).map(|entry| row(entry)).collect();
    json!({ "total": total, "synced": enricher.cluster.synced(), "pods": rows })
}

fn row(entry: &PodEntry) -> Value {
    let pod = &entry.pod;
    let containers = entry.ledger.containers().iter().map(|ledger| {
        let newest = ledger.newest();
        json!({
            "name": *ledger.name,
            "container_id": newest.map(|run| &*run.id),
            "restart_count": newest.map(|run| run.restart),
            "waiting": *ledger.waiting,
        })
    });
    json!({
        "namespace": *pod.namespace,
        "name": *pod.name,
        "uid": *pod.uid,
        "node": *pod.node,
        "ips": pod.ips,
        "host_network": pod.host_network,
        "phase": format!("{:?}", pod.phase),
        "deleted_at": entry.removed_at.map(time),
        "containers": containers.collect::<Vec<_>>(),
    })
}

/// `Err` tells what is wrong with the question.
pub fn explain(enricher: &Enricher, query: &PageQuery, now: UnixNanos) -> Result<Value, String> {
    let keys = [("uid", "k8s.pod.uid"), ("ip", "k8s.pod.ip"), ("container", "container.id")];
    let asked = keys.iter().find_map(|(key, attribute)| Some((*attribute, query.get(*key)?.clone())));
    let by_name = || query.get("pod").map(|name| uid_of(enricher, name)).transpose();
    let asked = match asked {
        None => by_name()?.map(|uid| ("k8s.pod.uid", uid)),
        asked => asked,
    };
    let Some((attribute, value)) = asked else {
        return Err("ask with ?uid=, ?ip=, ?container= or ?pod=[namespace/]name".to_owned());
    };
    let value = value.as_str();
    let mut edit = Appender::new(b"").map_err(|_| "internal".to_owned())?;
    edit.append(attribute, value);
    let resource = edit.finish().map_err(|_| "internal".to_owned())?;
    let facts = ResourceFacts::read(&resource).map_err(|_| "internal".to_owned())?;
    // An address is asked for as a sender would have it, too: at the other end of the connection.
    let peer = if attribute == "k8s.pod.ip" { value.parse().ok() } else { None };
    let peer = peer.map(|ip| std::net::SocketAddr::new(ip, 0));
    let origin = Origin::new(peer, 0, now, now, Transport::Internal);
    let seeker = enricher.seeker(&facts, &origin, &|| None, ClockStretches::default());
    let snapshot = enricher.cluster.snapshot();
    let attempts = enricher.association.attempts(&seeker, &snapshot, enricher);
    let found = enricher.association.find(&seeker, &snapshot, enricher, &mut |_, _| {});
    let by_rules = found.is_some();
    // What the rules do not find, the table may still know: that tells a missing rule from a missing pod.
    let entry = found.map(|(entry, _)| entry).or_else(|| known(&snapshot, attribute, value, now));
    let why_not = match (by_rules, &entry) {
        (true, _) => None,
        (false, Some(_)) => Some(format!("the pod is known, but no rule looks for {attribute}")),
        (false, None) if !enricher.cluster.synced() => Some("the first list of pods is not there yet".to_owned()),
        (false, None) if attribute == "k8s.pod.ip" && is_node_address(&snapshot, value) => {
            Some("this is a node's address: it does not identify one pod".to_owned())
        }
        (false, None) => {
            Some("no pod of the watch has it: other node, other namespace, deleted, or hostNetwork".to_owned())
        }
    };
    Ok(json!({
        "asked": { "attribute": attribute, "value": value },
        "rules": attempts.iter().map(|attempt| rule(enricher, attempt)).collect::<Vec<_>>(),
        "found": by_rules,
        "why_not": why_not,
        "view_age_seconds": now.since(enricher.cluster.touch(now).of(None)).as_secs(),
        "pod": entry.map(|entry| pod(enricher, &entry, now)),
    }))
}

/// A pod by the name that people have in their hands; of several runs of one name (a StatefulSet's) the living one.
fn uid_of(enricher: &Enricher, name: &str) -> Result<String, String> {
    let (namespace, name) = name.split_once('/').map_or((None, name), |(namespace, name)| (Some(namespace), name));
    let snapshot = enricher.cluster.snapshot();
    let is_meant = |entry: &&Arc<PodEntry>| {
        *entry.pod.name == *name && namespace.is_none_or(|namespace| *entry.pod.namespace == *namespace)
    };
    let mut found: Vec<&Arc<PodEntry>> = snapshot.pods().filter(is_meant).collect();
    if found.iter().any(|entry| entry.removed_at.is_none()) {
        found.retain(|entry| entry.removed_at.is_none());
    }
    found.sort_by_key(|entry| std::cmp::Reverse(entry.removed_at));
    let mut namespaces: Vec<&str> = found.iter().map(|entry| &*entry.pod.namespace).collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    match (found.first(), namespaces.as_slice()) {
        (Some(entry), [_]) => Ok(entry.pod.uid.to_string()),
        (None, _) => Err(format!("no pod named {name:?} is known; /v1/pods lists those that are")),
        (_, several) => Err(format!("pods named {name:?} are in {}: ask for NAMESPACE/{name}", several.join(", "))),
    }
}

fn is_node_address(snapshot: &crate::kube::table::Snapshot, value: &str) -> bool {
    value.parse().is_ok_and(|ip| snapshot.is_node_address(ip))
}

fn rule(enricher: &Enricher, attempt: &Attempt) -> Value {
    let values: serde_json::Map<String, Value> =
        attempt.values.iter().map(|(source, value)| (source.clone(), json!(value))).collect();
    json!({ "rule": enricher.rule_label(attempt.rule), "values": values, "result": attempt.tried.outcome() })
}

fn known(
    snapshot: &crate::kube::table::Snapshot,
    attribute: &str,
    value: &str,
    now: UnixNanos,
) -> Option<Arc<PodEntry>> {
    let entry = match attribute {
        "k8s.pod.uid" => snapshot.by_uid(value),
        "k8s.pod.ip" => snapshot.by_ip(value.parse().ok()?, now),
        _ => snapshot.by_container_id(value),
    };
    entry.cloned()
}

fn pod(enricher: &Enricher, entry: &Arc<PodEntry>, now: UnixNanos) -> Value {
    let profile = enricher.profile(entry, now);
    let attributes: serde_json::Map<String, Value> =
        profile.values.iter().map(|(key, value)| (key.to_string(), json!(**value))).collect();
    let ledgers = entry.ledger.containers().iter().map(|ledger| container(enricher, entry, ledger));
    json!({
        "summary": row(entry),
        "ignored": profile.ignored,
        "attributes": attributes,
        "incomplete": profile.incomplete,
        "lacking": profile.lacking,
        "seen_at": time(entry.seen_at),
        "node_clock_ahead_seconds": node_clock(&enricher.cluster.snapshot(), &entry.pod.node),
        "containers": ledgers.collect::<Vec<_>>(),
    })
}

fn container(enricher: &Enricher, entry: &PodEntry, ledger: &ContainerLedger) -> Value {
    let stream = enricher.bindings.of_stream(&entry.pod.uid, &ledger.name);
    let remembered = enricher.bindings.remembered(&entry.pod.uid, &ledger.name);
    let absence = remembered.absence.map(|(absence, at)| json!({ "reason": absence.name(), "at": time(at) }));
    json!({
        "name": *ledger.name,
        "kind": ledger.kind.name(),
        "waiting": *ledger.waiting,
        "runs": ledger.runs.iter().map(run).collect::<Vec<_>>(),
        "last_data": stream.map(|stream| json!({
            "run": *stream.run, "since": time(stream.since), "until": time(stream.until), "evidence": stream.basis.name(),
        })),
        "last_without_id": absence,
        "bindings": {
            "identities": counts(&remembered.identities),
            "connections": counts(&remembered.connections),
            "void": remembered.void,
        },
    })
}

fn counts(runs: &BTreeMap<Arc<str>, usize>) -> Value {
    Value::Object(runs.iter().map(|(run, count)| (run.to_string(), json!(count))).collect())
}

fn run(run: &Run) -> Value {
    json!({
        "container_id": *run.id,
        "restart_count": run.restart,
        "started": interval(run.start),
        "ended": run.end.map(interval),
        "end_reported": run.end_reported,
        "reason": *run.reason,
        "exit_code": run.end.map(|_| run.exit_code),
        "unseen_runs_before": run.gap_before,
        "image": *run.image,
        "learned_at": time(run.learned_at),
    })
}

fn interval(moment: TimeBounds) -> Value {
    if moment.hi.0 == u64::MAX {
        return json!({ "after": time(moment.lo) });
    }
    json!({ "from": time(moment.lo), "to": time(moment.hi) })
}

fn time(time: UnixNanos) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(time.0)).map_or_else(|_| time.0.to_string(), |time| time.to_string())
}

/// How far a node's clock is ahead of ours, in seconds, as far as it can be told: a run is heard of after its start, and,
/// where that was not by a list, soon after it.
fn node_clock(snapshot: &crate::kube::table::Snapshot, node: &str) -> Value {
    let (mut least, mut most) = (f64::MIN, f64::MAX);
    for entry in snapshot.pods().filter(|entry| !node.is_empty() && *entry.pod.node == *node) {
        for run in entry.ledger.containers().iter().flat_map(|ledger| &ledger.runs) {
            let seconds = |from: UnixNanos, to: UnixNanos| (from.0 as f64 - to.0 as f64) / 1e9;
            if run.start.hi.0 == u64::MAX {
                continue;
            }
            least = least.max(seconds(run.start.lo, run.learned_at));
            if seconds(run.learned_at, run.start.lo).abs() < HEARD_SOON.as_secs_f64() {
                most = most.min(seconds(run.start.hi, run.learned_at.saturating_sub(FRESHNESS)));
            }
        }
    }
    let known = |bound: f64| (bound.abs() < f64::MAX).then_some((bound * 10.0).round() / 10.0);
    json!({ "at_least": known(least), "at_most": known(most) })
}

//! The page `/v1/runs`: a lane for each container with its runs, for pictures of what a node's containers did and when.
//!
//! It says what the ledger holds, in short: times in milliseconds, identities cut to what tells them apart. What a run's
//! evidence is, and why a container has no id, is `/v1/explain`'s.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::core::report::routes::PageQuery;
use crate::core::time::UnixNanos;
use crate::kube::ledger::{ContainerLedger, Run, TimeBounds};
use crate::kube::table::PodEntry;
use crate::processors::k8s_attributes::enrich::Enricher;

/// Lanes on one page: those of a node's 250 pods with eight containers each.
const LANES_MAX: usize = 2_000;
/// Characters of a runtime's words, which may be anything.
const WORDS_MAX: usize = 120;
/// Digits of a container id that people use.
const ID_DIGITS: usize = 12;

/// The lanes of one processor: living pods first, then by namespace, pod and container.
pub fn lanes(enricher: &Enricher, query: &PageQuery, now: UnixNanos) -> Value {
    let snapshot = enricher.cluster.snapshot();
    let namespace = query.get("namespace");
    let wanted = |entry: &&Arc<PodEntry>| namespace.is_none_or(|namespace| **namespace == *entry.pod.namespace);
    let mut entries: Vec<&Arc<PodEntry>> = snapshot.pods().filter(wanted).collect();
    let place =
        |entry: &Arc<PodEntry>| (entry.removed_at.is_some(), entry.pod.namespace.clone(), entry.pod.name.clone());
    entries.sort_by_cached_key(|entry| place(entry));
    let total: usize = entries.iter().map(|entry| containers(entry).count()).sum();
    let all = entries.iter().flat_map(|entry| containers(entry).map(|ledger| lane(enricher, entry, &ledger)));
    json!({
        "synced": enricher.cluster.synced(),
        "view_age_seconds": now.since(enricher.cluster.touch(now).of(None)).as_secs(),
        "pods": entries.len(),
        "total": total,
        "lanes": all.take(LANES_MAX).collect::<Vec<_>>(),
    })
}

/// The ledgers of a pod, and empty ones for containers of which no status has come.
fn containers(entry: &PodEntry) -> impl Iterator<Item = ContainerLedger> {
    let reported = entry.ledger.containers();
    let unreported = entry.pod.containers.iter().filter(|spec| reported.iter().all(|ledger| ledger.name != spec.name));
    let fresh = unreported.map(|spec| ContainerLedger::unreported(&spec.name, spec.kind));
    reported.iter().cloned().chain(fresh)
}

fn lane(enricher: &Enricher, entry: &PodEntry, ledger: &ContainerLedger) -> Value {
    let pod = &entry.pod;
    let stream = enricher.bindings.of_stream(&pod.uid, &ledger.name);
    let missed = enricher.bindings.absence(&pod.uid, &ledger.name);
    json!({
        "uid": *pod.uid,
        "namespace": *pod.namespace,
        "pod": *pod.name,
        "node": *pod.node,
        "container": *ledger.name,
        "kind": ledger.kind.name(),
        "phase": format!("{:?}", pod.phase),
        "deleted_ms": entry.removed_at.map(millis),
        "waiting": shown(&ledger.waiting),
        "runs": ledger.runs.iter().map(run).collect::<Vec<_>>(),
        "data": stream.map(|stream| json!({ "run": id(&stream.run), "evidence": stream.basis.name() })),
        "miss": missed.map(|(absence, at)| json!({ "reason": absence.name(), "ms": millis(at) })),
    })
}

fn run(run: &Run) -> Value {
    json!({
        "id": id(&run.id),
        "restart": run.restart,
        "from_ms": bounds(run.start).map(|(from, _)| from),
        "to_ms": run.end.and_then(bounds).map(|(_, to)| to),
        "ended": run.end.is_some(),
        "end_reported": run.end_reported,
        "reason": shown(&run.reason),
        "exit_code": run.end.map(|_| run.exit_code),
        "unseen_before": run.gap_before,
    })
}

/// Both ends in milliseconds; `None` where the upper one is not known.
fn bounds(time: TimeBounds) -> Option<(u64, u64)> {
    time.is_known().then(|| (millis(time.lo), millis(time.hi)))
}

fn millis(time: UnixNanos) -> u64 {
    time.0 / 1_000_000
}

fn id(id: &str) -> String {
    id.chars().take(ID_DIGITS).collect()
}

fn shown(text: &str) -> String {
    text.chars().take(WORDS_MAX).collect()
}

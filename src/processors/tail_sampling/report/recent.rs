//! The page `/v1/traces`: the latest decisions, and some traces that are held, for people who have no id yet.

use serde_json::{Value, json};

use crate::processors::tail_sampling::engine::looking::HeldSpan;
use crate::processors::tail_sampling::journal::explain::Explainer;
use crate::processors::tail_sampling::journal::lookup::hex;
use crate::processors::tail_sampling::journal::record::{DecisionRecord, JournalRecord, records};
use crate::processors::tail_sampling::journal::ring::{JournalCopy, JournalRing};
use crate::processors::tail_sampling::live::LivePolicies;

/// Decisions of either outcome that are told.
const DECISIONS_MAX: usize = 20;
/// Blocks of a journal that are read for them, the latest.
const BLOCKS_MAX: usize = 8;

/// The latest decisions of one shard of either outcome.
pub fn latest(copy: &JournalCopy) -> Vec<DecisionRecord> {
    let (mut kept, mut dropped) = (Vec::new(), Vec::new());
    for block in copy.decisions.iter().rev().take(BLOCKS_MAX) {
        let decided = records(block).filter_map(|raw| match raw.read()? {
            JournalRecord::Decision(record) => Some(record),
            JournalRecord::Late(_) => None,
        });
        let (of_kept, of_dropped): (Vec<DecisionRecord>, Vec<DecisionRecord>) =
            decided.partition(|record| record.decision.kept);
        for (all, of_block) in [(&mut kept, of_kept), (&mut dropped, of_dropped)] {
            all.extend(of_block.into_iter().rev().take(DECISIONS_MAX - all.len().min(DECISIONS_MAX)));
        }
        if kept.len().min(dropped.len()) >= DECISIONS_MAX {
            break;
        }
    }
    kept.append(&mut dropped);
    kept
}

/// The latest decisions of all shards, of either outcome, each with who knows its names; newest first.
pub fn decisions(mut all: Vec<(DecisionRecord, &LivePolicies, &JournalRing)>) -> Vec<Value> {
    all.sort_by_key(|(record, ..)| std::cmp::Reverse(record.at));
    let mut left = [DECISIONS_MAX; 2];
    let told = all.iter().filter(|(record, ..)| {
        let left = &mut left[usize::from(record.decision.kept)];
        let is_told = *left > 0;
        *left = left.saturating_sub(1);
        is_told
    });
    told.map(|(record, live, ring)| row(record, live, ring)).collect()
}

fn row(record: &DecisionRecord, live: &LivePolicies, ring: &JournalRing) -> Value {
    // Of a set that is forgotten the names are, too.
    let reason = live.of(record.version).map(|set| {
        let names = set.settings.names();
        Explainer { settings: &set.settings, names: &names }.reason(record.decision.why)
    });
    let services = ring.services();
    let summary = &record.summary;
    json!({
        "trace_id": hex(&summary.trace_id),
        "kept": record.decision.kept,
        "reason": reason,
        "trigger": record.trigger.name(),
        "spans": summary.spans,
        "duration_ms": summary.duration_millis(),
        "services": record.services.iter().map(|number| services.name(number)).collect::<Vec<_>>(),
        "decided_at_unix_nano": record.at.0,
    })
}

/// A span as a waterfall needs it; times in nanoseconds.
pub fn span(span: &HeldSpan) -> Value {
    let id = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    json!({
        "span_id": id(&span.span_id),
        "parent_span_id": id(&span.parent_id),
        "name": span.name,
        "service": span.service,
        "start_unix_nano": span.start.0,
        "end_unix_nano": span.end.0,
        "failed": span.failed,
    })
}

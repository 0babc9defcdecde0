//! What a page shows of traces that are not decided yet: the spans of one, which came last, and whose ids have a part.
//!
//! For people, so bounded, and read from the bytes as they are held: nothing is kept for it.

use crate::core::time::UnixNanos;
use crate::otlp::attributes::find;
use crate::otlp::fields::trace::span;
use crate::otlp::span::{StatusCode, read};
use crate::otlp::walk::{AnyValue, Fields};
use crate::processors::tail_sampling::engine::{Engine, Held};
use crate::processors::tail_sampling::held::ids::is_stand_in;
use crate::processors::tail_sampling::policies::decision::TraceSummary;
use crate::processors::tail_sampling::summaries::PartSummary;

/// Spans of a trace that are shown; of a longer one those that came last.
const SPANS_MAX: usize = 300;
/// Characters of a name.
const NAME_MAX: usize = 120;
/// Held traces that are told of one shard.
const NEWEST_MAX: usize = 20;
/// Places of the table that are looked at for them.
const LOOKED_AT_MAX: u32 = 4_096;
/// Places of the table that are compared with a part of an id before spans are filed again: a millisecond or two.
const COMPARED_MAX: u32 = 1 << 15;

/// One span of a held trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldSpan {
    pub span_id: Vec<u8>,
    /// Empty for a root.
    pub parent_id: Vec<u8>,
    pub name: String,
    pub service: String,
    pub start: UnixNanos,
    pub end: UnixNanos,
    pub failed: bool,
}

impl Engine {
    /// The part of an undecided trace that is held here, by the present policies. `None` of a trace that is not held, and of
    /// a span without a trace id, which is a trace for itself.
    pub fn part_summary(&mut self, trace_id: &[u8; 16]) -> Option<PartSummary> {
        let slot = self.traces.find(self.traces.hash(trace_id), trace_id).filter(|_| !is_stand_in(trace_id))?;
        self.refresh(slot);
        let held = self.traces.at(slot).summary;
        let summary = TraceSummary { bits: held.bits.first(self.settings.questions), ..held };
        Some(PartSummary { policies: self.settings.digest, summary, marks: self.marks(slot) })
    }

    /// The spans of an undecided trace, in the order of their starts.
    pub fn held_spans(&self, trace_id: &[u8; 16]) -> Vec<HeldSpan> {
        let found = self.traces.find(self.traces.hash(trace_id), trace_id);
        let Some(slot) = found else { return Vec::new() };
        let (mut at, mut spans) = (self.traces.at(slot).last, Vec::new());
        while !at.is_none() && spans.len() < SPANS_MAX {
            let header = self.store.header(at);
            let group = self.groups.get(header.group);
            let service = service(group.and_then(|held| held.resource.as_deref()).unwrap_or_default());
            let left = SPANS_MAX - spans.len();
            spans.extend(self.store.spans(at).take(left).filter_map(|span| held_span(span, &service)));
            at = header.previous;
        }
        spans.sort_by_key(|span| span.start);
        spans
    }

    /// Ids of undecided traces that are wanted, so many at most, in a stretch of the table from the place `from` on, and
    /// where the next stretch begins.
    pub fn held_in_stretch(
        &self,
        is_wanted: impl Fn(&[u8; 16]) -> bool,
        most: usize,
        from: u32,
    ) -> (Vec<[u8; 16]>, Option<u32>) {
        let to = from.saturating_add(COMPARED_MAX).min(self.traces.slots());
        let ids = (from..to).filter_map(|slot| self.traces.live(slot)).map(|trace| trace.summary.trace_id);
        let found = ids.filter(is_wanted).take(most).collect();
        (found, (to < self.traces.slots()).then_some(to))
    }

    /// Some undecided traces, those that came last first.
    pub fn newest_held(&self) -> Vec<([u8; 16], Held)> {
        let (mut next, mut looked, mut found) = (0, 0, Vec::new());
        while let Some(slot) = self.traces.next_live(next).filter(|_| looked < LOOKED_AT_MAX) {
            looked += 1;
            next = slot + 1;
            found.push(self.traces.at(slot).summary.trace_id);
        }
        let mut held: Vec<([u8; 16], Held)> = found.iter().filter_map(|id| Some((*id, self.held(id)?))).collect();
        held.sort_by_key(|(_, held)| std::cmp::Reverse(held.first_seen));
        held.truncate(NEWEST_MAX);
        held
    }
}

fn service(resource: &[u8]) -> String {
    match find(resource, "service.name") {
        Some(AnyValue::Str(name)) => shown(name),
        _ => String::new(),
    }
}

fn held_span(bytes: &[u8], service: &str) -> Option<HeldSpan> {
    let facts = read(bytes).ok()?;
    let mut parent: &[u8] = &[];
    if !facts.is_root {
        let fields = Fields::new(bytes).filter_map(Result::ok);
        parent = fields.filter(|field| field.number == span::PARENT_SPAN_ID).last()?.bytes().ok()?;
    }
    Some(HeldSpan {
        span_id: facts.span_id.to_vec(),
        parent_id: parent.to_vec(),
        name: shown(facts.name),
        service: service.to_owned(),
        start: UnixNanos(facts.start),
        end: UnixNanos(facts.end),
        failed: facts.status == StatusCode::Error,
    })
}

fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().take(NAME_MAX).collect()
}

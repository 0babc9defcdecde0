//! Which spans of an envelope belong to which trace, and a new envelope from picked items.
//!
//! Both work on places (group, scope, item), so nothing is copied: picked items are slices of the same buffer under the
//! same resource and scope. A span that cannot be walked or has no valid trace id is listed apart, for the caller to
//! drop alone and count.

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::core::data::items::Items;
use crate::core::data::payload::{Envelope, Group, ScopeGroup};
use crate::otlp::ids::TraceId;
use crate::otlp::span::{self, SpanFacts};

/// Where an item stands in its envelope. Order of places is order of items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ItemPosition {
    pub group: u32,
    pub scope: u32,
    pub item: u32,
}

/// One span with its facts, read on the way.
#[derive(Clone, Copy, Debug)]
pub struct Placed<'a> {
    pub place: ItemPosition,
    pub bytes: &'a [u8],
    pub facts: SpanFacts<'a>,
}

/// The spans of an envelope by trace, traces in order of first appearance.
#[derive(Debug, Default)]
pub struct ByTrace<'a> {
    /// Every span with a valid trace id, in envelope order.
    spans: Vec<Placed<'a>>,
    /// Indices into `spans`, those of one trace side by side.
    order: Vec<u32>,
    /// Each trace and the end of its run in `order`.
    traces: Vec<(TraceId, u32)>,
    /// Spans that cannot be walked or have no valid trace id.
    pub faulty: Vec<ItemPosition>,
}

impl<'a> ByTrace<'a> {
    pub fn trace_count(&self) -> usize {
        self.traces.len()
    }

    /// Each trace with its spans in envelope order.
    pub fn traces(&self) -> impl Iterator<Item = (TraceId, impl ExactSizeIterator<Item = &Placed<'a>>)> {
        let mut from = 0;
        self.traces.iter().map(move |(id, end)| {
            let run = &self.order[from..*end as usize];
            from = *end as usize;
            (*id, run.iter().map(|index| &self.spans[*index as usize]))
        })
    }
}

/// Groups the spans of a traces envelope by trace id, reading each span once.
pub fn by_trace(envelope: &Envelope) -> ByTrace<'_> {
    // granted: of the tests alone
    let mut found = ByTrace { spans: Vec::with_capacity(envelope.messages()), ..ByTrace::default() };
    let mut known: HashMap<TraceId, u32, RandomState> = HashMap::default();
    let mut trace_of = Vec::with_capacity(envelope.messages()); // granted: of the tests alone
    for_each_place(envelope, |place, bytes| {
        let facts = span::read(bytes).ok();
        let Some((facts, id)) = facts.and_then(|facts| Some((facts, TraceId::from_wire(facts.trace_id)?))) else {
            found.faulty.push(place);
            return;
        };
        // Spans of one trace often follow each other, which spares the lookup.
        let trace = match trace_of.last() {
            Some(last) if found.traces[*last as usize].0 == id => *last,
            _ => *known.entry(id).or_insert_with(|| {
                found.traces.push((id, 0));
                found.traces.len() as u32 - 1
            }),
        };
        found.traces[trace as usize].1 += 1;
        trace_of.push(trace);
        found.spans.push(Placed { place, bytes, facts });
    });
    found.order = order_by_trace(&mut found.traces, &trace_of);
    found
}

/// Counting sort: turns each trace's count into the end of its run and fills the runs in span order.
fn order_by_trace(traces: &mut [(TraceId, u32)], trace_of: &[u32]) -> Vec<u32> {
    let mut start = 0;
    for (_, count) in traces.iter_mut() {
        let next = start + *count;
        *count = start;
        start = next;
    }
    let mut order = vec![0; trace_of.len()]; // granted: of the tests alone
    for (index, trace) in trace_of.iter().enumerate() {
        let cursor = &mut traces[*trace as usize].1;
        order[*cursor as usize] = index as u32;
        *cursor += 1;
    }
    order
}

/// Every item of an envelope with its place, in order. A request is bounded far below 2^32 items by its size.
fn for_each_place<'a>(envelope: &'a Envelope, mut visit: impl FnMut(ItemPosition, &'a [u8])) {
    for (group, resource) in (0u32..).zip(&envelope.groups) {
        for (scope, items) in (0u32..).zip(&resource.scopes) {
            for (item, bytes) in (0u32..).zip(&items.items) {
                visit(ItemPosition { group, scope, item }, bytes);
            }
        }
    }
}

/// The envelope of the items at `places`, under their own resources and scopes, in envelope order. Places outside the
/// envelope and repeated places are ignored. The dictionary stays behind: profiles requests are not split.
pub fn pick(envelope: &Envelope, places: &mut [ItemPosition]) -> Envelope {
    places.sort_unstable();
    let mut picked = Envelope::default();
    let mut last: Option<ItemPosition> = None;
    for place in places.iter().copied() {
        let source = envelope.groups.get(place.group as usize);
        let scope = source.and_then(|group| group.scopes.get(place.scope as usize));
        let (Some(source), Some(scope)) = (source, scope) else { continue };
        if last == Some(place) || place.item as usize >= scope.items.len() {
            continue;
        }
        if last.is_none_or(|last| last.group != place.group) {
            picked.groups.push(without_scopes(source));
        }
        let group = picked.groups.last_mut().expect("a group was pushed for the first place of each resource");
        if last.is_none_or(|last| (last.group, last.scope) != (place.group, place.scope)) {
            group.scopes.push(without_items(scope));
        }
        let target = group.scopes.last_mut().expect("a scope was pushed for the first place of each scope");
        target.items.push_from(&scope.items, place.item as usize);
        last = Some(place);
    }
    picked
}

/// The group's resource, schema and binding without its scopes.
pub fn without_scopes(group: &Group) -> Group {
    let Group { resource, schema_url, later, .. } = group;
    Group { resource: resource.clone(), scopes: Vec::new(), schema_url: schema_url.clone(), later: later.clone() }
}

/// The scope and its schema without its items.
pub fn without_items(scope: &ScopeGroup) -> ScopeGroup {
    ScopeGroup { scope: scope.scope.clone(), items: Items::new(), schema_url: scope.schema_url.clone() }
}

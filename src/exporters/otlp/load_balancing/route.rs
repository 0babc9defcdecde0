//! Which items of a payload go to which member, by what they are routed by. Pure, on bytes: of an item only the fields before
//! the one that is asked for are walked over.
//!
//! Keys are the Collector's (`routing_key`). A message is never cut, so that a metric with many points stays whole.

use std::ops::Range;

use crate::core::data::granted::list_bytes;
use crate::core::data::payload::{Envelope, Group, Payload, ScopeGroup, Signal};
use crate::exporters::otlp::load_balancing::ring::{Ring, hash, hash_on};
use crate::otlp::attributes::{LOG_RECORD, SCOPE, SPAN, attributes, find, find_in};
use crate::otlp::envelope::count_item;
use crate::otlp::fields::logs::log_record;
use crate::otlp::fields::metrics::metric;
use crate::otlp::fields::trace::span;
use crate::otlp::walk::{AnyValue, Fields};

/// What decides where an item goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoutingKey {
    /// Items of one trace go to one member; log records without a trace are spread.
    TraceId,
    /// `service.name` of the resource.
    Service,
    /// All attributes of the resource, in any order.
    Resource,
    /// The name of the metric.
    Metric,
    /// The values of these attributes, each looked up in the resource, then in the scope, then in the item; `span.name` and
    /// `span.kind` are the span's own.
    Attributes(Vec<String>),
}

/// Messages in a row that one member owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberRun {
    /// Place among the ring's members.
    pub member: usize,
    /// Messages of the envelope, from 0.
    pub messages: Range<usize>,
    /// In the unit in which the balance counts.
    pub items: u64,
}

/// The runs of the messages within `ranges`, which ascend; empty without members.
pub fn runs(payload: &Payload, ranges: &[Range<usize>], key: &RoutingKey, ring: &Ring) -> Vec<MemberRun> {
    let mut runs: Vec<MemberRun> = Vec::new();
    let mut wanted = ranges.iter().peekable();
    let mut at = 0;
    // Spans of a trace mostly stand together: the ring is asked once for them.
    let mut last = None;
    for group in &payload.envelope.groups {
        let mut keys = Keys { signal: payload.signal, by: key, group, of_resource: None };
        for (scope, item) in group.scopes.iter().flat_map(|scope| scope.items.iter().map(move |item| (scope, item))) {
            while wanted.next_if(|range| range.end <= at).is_some() {}
            if wanted.peek().is_some_and(|range| range.contains(&at)) {
                let key = keys.of(scope, item);
                let known = last.filter(|(of, _)| *of == key).map(|(_, member)| member);
                let Some(member) = known.or_else(|| ring.owner(key)) else { return Vec::new() };
                last = Some((key, member));
                extend(&mut runs, member, at, count_item(payload.signal, item));
            }
            at += 1;
        }
    }
    runs
}

fn extend(runs: &mut Vec<MemberRun>, member: usize, at: usize, items: u64) {
    match runs.last_mut() {
        Some(last) if last.member == member && last.messages.end == at => {
            last.messages.end = at + 1;
            last.items += items;
        }
        _ => runs.push(MemberRun { member, messages: at..at + 1, items }), // granted: see runs_bytes
    }
}

/// Memory of the list of runs at its largest: one for each message.
pub fn runs_bytes(envelope: &Envelope) -> u64 {
    list_bytes::<MemberRun>(envelope.messages().next_power_of_two()) as u64
}

/// The keys of one group's items.
struct Keys<'a> {
    signal: Signal,
    by: &'a RoutingKey,
    group: &'a Group,
    /// What was found of the resource.
    of_resource: Option<u64>,
}

impl Keys<'_> {
    fn of(&mut self, scope: &ScopeGroup, item: &[u8]) -> u64 {
        let (signal, resource) = (self.signal, self.group.resource.as_deref().unwrap_or_default());
        match self.by {
            RoutingKey::TraceId => trace_key(signal, item),
            RoutingKey::Metric => hash(field(item, metric::NAME).unwrap_or_default()),
            RoutingKey::Service => *self.of_resource.get_or_insert_with(|| match find(resource, "service.name") {
                Some(AnyValue::Str(name)) => hash(name),
                _ => hash(b""),
            }),
            RoutingKey::Resource => *self.of_resource.get_or_insert_with(|| resource_key(resource)),
            RoutingKey::Attributes(names) => names.iter().fold(hash(b""), |state, name| {
                let value = own(signal, item, name)
                    .or_else(|| find(resource, name).map(of_value))
                    .or_else(|| find_in(scope.scope.as_deref().unwrap_or_default(), SCOPE, name).map(of_value))
                    .or_else(|| find_in(item, attributes_of(signal), name).map(of_value));
                value.map_or(state, |value| hash_on(state, &value.to_le_bytes()))
            }),
        }
    }
}

/// A trace's key; that of a record of no trace comes of its own bytes.
fn trace_key(signal: Signal, item: &[u8]) -> u64 {
    let number = if signal == Signal::Logs { log_record::TRACE_ID } else { span::TRACE_ID };
    match field(item, number) {
        Some(id) if id.iter().any(|byte| *byte != 0) => hash(id),
        _ if signal == Signal::Logs => hash(item),
        _ => hash(b""),
    }
}

/// The order of attributes means nothing: senders write them as their maps give them.
fn resource_key(resource: &[u8]) -> u64 {
    let readable = attributes(resource).map_while(Result::ok);
    readable.fold(0, |sum, attribute| {
        sum.wrapping_add(hash_on(hash(attribute.key), &of_value(attribute.value).to_le_bytes()))
    })
}

fn of_value(value: AnyValue<'_>) -> u64 {
    match value {
        AnyValue::Empty => 0,
        AnyValue::Str(bytes) | AnyValue::Bytes(bytes) | AnyValue::Array(bytes) | AnyValue::KvList(bytes) => hash(bytes),
        AnyValue::Bool(truth) => hash(&[u8::from(truth)]),
        AnyValue::Int(number) => hash(&number.to_le_bytes()),
        AnyValue::Double(number) => hash(&number.to_bits().to_le_bytes()),
    }
}

/// What is no attribute but a field of the span.
fn own(signal: Signal, item: &[u8], name: &str) -> Option<u64> {
    match (signal, name) {
        (Signal::Traces, "span.name") => Some(hash(field(item, span::NAME).unwrap_or_default())),
        (Signal::Traces, "span.kind") => {
            let kind = Fields::new(item).map_while(Result::ok).find(|field| field.number == span::KIND);
            Some(hash(&kind.and_then(|kind| kind.varint().ok()).unwrap_or_default().to_le_bytes()))
        }
        _ => None,
    }
}

fn attributes_of(signal: Signal) -> u32 {
    if signal == Signal::Logs { LOG_RECORD } else { SPAN }
}

/// The bytes of the first field of this number.
fn field(message: &[u8], number: u32) -> Option<&[u8]> {
    let found = Fields::new(message).map_while(Result::ok).find(|field| field.number == number)?;
    found.bytes().ok()
}

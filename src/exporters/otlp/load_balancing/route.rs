//! Which items of a payload go to which member, by what they are routed by. Pure, on bytes: of an item only the fields before
//! the one that is asked for are walked over.
//!
//! Keys are the Collector's (`routing_key`). A metric is cut between its data points (`points.rs`) where the key is theirs.

use crate::core::data::payload::{Envelope, Signal};
use crate::exporters::otlp::load_balancing::metric::{MetricPoints, field};
use crate::exporters::otlp::load_balancing::ring::{Ring, hash, hash_on};
use crate::otlp::attributes::{LOG_RECORD, RESOURCE, SCOPE, SPAN, attributes_of as attributes_in, find, find_in};
use crate::otlp::fields::common::instrumentation_scope;
use crate::otlp::fields::logs::log_record;
use crate::otlp::fields::metrics::metric;
use crate::otlp::fields::trace::span;
use crate::otlp::regroup::portion::deal::Dealing;
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
    /// The resource's attributes, the scope, what tells the metric from others, and the attributes of the data point.
    StreamId,
    /// The values of these attributes, each looked up in the resource, then in the scope, then in the item or the data
    /// point; `span.name` and `span.kind` are the span's own.
    Attributes(Vec<String>),
}

impl RoutingKey {
    /// True when data points of one metric may have several owners.
    pub fn tells_points_apart(&self) -> bool {
        matches!(self, RoutingKey::StreamId | RoutingKey::Attributes(_))
    }
}

/// Asks the ring for the owner of each message, in the order of the envelope.
pub struct MemberOwners<'a> {
    ring: &'a Ring,
    keys: Keys<'a>,
    /// Spans of a trace mostly stand together: the ring is asked once for them.
    last: Option<(u64, usize)>,
    /// So many messages from the first on have one owner, who is known already.
    alike: (usize, usize),
}

impl<'a> MemberOwners<'a> {
    pub fn new(signal: Signal, by: &'a RoutingKey, ring: &'a Ring) -> MemberOwners<'a> {
        MemberOwners { ring, keys: Keys::new(signal, by), last: None, alike: (0, 0) }
    }

    /// The place among the ring's members; `None` without members.
    pub fn of(&mut self, at: &Dealing<'_>) -> Option<usize> {
        if at.message < self.alike.0 {
            return Some(self.alike.1);
        }
        let key = self.keys.of(at);
        self.by_key(key)
    }

    /// The owner of one data point of a metric.
    pub fn of_point(&mut self, metric: &MetricPoints<'_>, point: &[u8]) -> Option<usize> {
        let key = self.keys.of_point(metric, point);
        self.by_key(key)
    }

    /// Data points that are asked for next are of this scope.
    pub fn enter(&mut self, at: &Dealing<'_>) {
        self.keys.enter(at);
    }

    fn by_key(&mut self, key: u64) -> Option<usize> {
        let known = self.last.filter(|(of, _)| *of == key).map(|(_, member)| member);
        let member = known.or_else(|| self.ring.owner(key))?;
        self.last = Some((key, member));
        Some(member)
    }

    /// The one member that owns all messages. When there are several, those in front that one owns are not asked for again.
    pub fn sole(&mut self, envelope: &Envelope) -> Option<usize> {
        let groups = envelope.groups.iter().enumerate();
        let scopes = groups.flat_map(|(group_number, group)| {
            group.scopes.iter().enumerate().map(move |(scope_number, scope)| (group_number, group, scope_number, scope))
        });
        let (mut message, mut sole) = (0, None);
        for (group_number, group, scope_number, scope) in scopes {
            for bytes in &scope.items {
                let member = self.of(&Dealing { message, group_number, scope_number, group, scope, bytes })?;
                if *sole.get_or_insert(member) != member {
                    (self.alike, self.keys.entered) = ((message, sole?), None);
                    return None;
                }
                message += 1;
            }
        }
        sole
    }
}

/// The keys of items, and of the data points of metrics. What stands above many items is read once for all of them.
struct Keys<'a> {
    signal: Signal,
    by: &'a RoutingKey,
    /// Group and scope that the rest is of.
    entered: Option<(usize, usize)>,
    of_resource: u64,
    of_scope: u64,
    /// What the resource, and then what the scope says of each name.
    in_resource: Vec<Option<u64>>,
    in_scope: Vec<Option<u64>>,
}

impl<'a> Keys<'a> {
    fn new(signal: Signal, by: &'a RoutingKey) -> Keys<'a> {
        let (in_resource, in_scope) = (Vec::new(), Vec::new());
        Keys { signal, by, entered: None, of_resource: 0, of_scope: 0, in_resource, in_scope }
    }

    fn names(&self) -> &'a [String] {
        if let RoutingKey::Attributes(names) = self.by { names } else { &[] }
    }

    fn enter(&mut self, at: &Dealing<'_>) {
        let here = (at.group_number, at.scope_number);
        if self.entered == Some(here) {
            return;
        }
        let names = self.names();
        if self.entered.is_none_or(|(group, _)| group != here.0) {
            let resource = at.group.resource.as_deref().unwrap_or_default();
            self.of_resource = match self.by {
                RoutingKey::Service => match find(resource, "service.name") {
                    Some(AnyValue::Str(name)) => hash(name),
                    _ => hash(b""),
                },
                RoutingKey::Resource | RoutingKey::StreamId => unordered(resource, RESOURCE),
                RoutingKey::TraceId | RoutingKey::Metric | RoutingKey::Attributes(_) => 0,
            };
            self.in_resource.clear();
            self.in_resource.extend(names.iter().map(|name| find(resource, name).map(of_value))); // granted: as many as names
        }
        let scope = at.scope.scope.as_deref().unwrap_or_default();
        if *self.by == RoutingKey::StreamId {
            self.of_scope = scope_key(scope);
        }
        self.in_scope.clear();
        self.in_scope.extend(names.iter().map(|name| find_in(scope, SCOPE, name).map(of_value))); // granted: as many as names
        self.entered = Some(here);
    }

    fn of(&mut self, at: &Dealing<'_>) -> u64 {
        self.enter(at);
        let (signal, item) = (self.signal, at.bytes);
        match self.by {
            RoutingKey::TraceId => trace_key(signal, item),
            RoutingKey::Metric => hash(field(item, metric::NAME).unwrap_or_default()),
            RoutingKey::Service | RoutingKey::Resource => self.of_resource,
            RoutingKey::StreamId | RoutingKey::Attributes(_) if signal == Signal::Metrics => {
                // One whose points have several owners was cut before.
                let Some(metric) = MetricPoints::read(item) else { return hash(item) };
                self.of_point(&metric, metric.points().next().unwrap_or_default())
            }
            RoutingKey::StreamId => self.of_resource,
            RoutingKey::Attributes(names) => self.of_names(names, |name| {
                own(signal, item, name).or_else(|| find_in(item, attributes_of(signal), name).map(of_value))
            }),
        }
    }

    fn of_point(&self, metric: &MetricPoints<'_>, point: &[u8]) -> u64 {
        match self.by {
            RoutingKey::Attributes(names) => {
                self.of_names(names, |name| find_in(point, metric.attributes, name).map(of_value))
            }
            _ => {
                let above = hash_on(self.of_resource, &self.of_scope.to_le_bytes());
                let above = hash_on(above, &metric.identity.to_le_bytes());
                hash_on(above, &unordered(point, metric.attributes).to_le_bytes())
            }
        }
    }

    /// Of each name the value of the resource, else of the scope, else of the item; of a span's own fields always its own.
    fn of_names(&self, names: &[String], of_item: impl Fn(&str) -> Option<u64>) -> u64 {
        let above = self.in_resource.iter().zip(&self.in_scope);
        names.iter().zip(above).fold(hash(b""), |state, (name, (resource, scope))| {
            let own = name.starts_with("span.").then(|| of_item(name)).flatten();
            let value = own.or(*resource).or(*scope).or_else(|| of_item(name));
            value.map_or(state, |value| hash_on(state, &value.to_le_bytes()))
        })
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

fn scope_key(scope: &[u8]) -> u64 {
    let state = hash(field(scope, instrumentation_scope::NAME).unwrap_or_default());
    let state = hash_on(state, field(scope, instrumentation_scope::VERSION).unwrap_or_default());
    hash_on(state, &unordered(scope, SCOPE).to_le_bytes())
}

/// The attributes of a message. Their order means nothing: senders write them as their maps give them.
fn unordered(message: &[u8], number: u32) -> u64 {
    let readable = attributes_in(message, number).map_while(Result::ok);
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

//! Data points: those of one scope that share time, start, unit and attributes make one document, because a time series
//! index knows a document by them.
//!
//! Times count in milliseconds, as Elasticsearch's do. Grouping is by a 64-bit hash, seeded at start.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::core::payload::{Envelope, Signal};
use crate::exporters::elasticsearch::mapping::attributes::{self, Composites};
use crate::exporters::elasticsearch::mapping::otel::frame::{Frame, each_scope};
use crate::exporters::elasticsearch::mapping::otel::{close_object, push_count, push_key, push_text};
use crate::exporters::elasticsearch::mapping::points::{Kind, Metric, Number, Point};
use crate::exporters::elasticsearch::mapping::route::Target;
use crate::exporters::elasticsearch::mapping::value::{self, Seen};
use crate::exporters::elasticsearch::mapping::{Bulk, Fault, xxh64};
use crate::otlp::envelope;
use crate::otlp::ids::push_hex;
use crate::otlp::json::text;
use crate::otlp::split::Place;
use crate::otlp::walk::{AnyValue, Attribute, Fields, Malformed};

/// The attribute with which a sender chooses another field type for a point.
const HINTS: &[u8] = b"elasticsearch.mapping.hints";

/// Appends the documents of a metrics envelope.
pub fn metrics(envelope: &Envelope, bulk: &mut Bulk) {
    let hasher = RandomState::default();
    each_scope(Signal::Metrics, envelope, bulk, |frame, scope, bulk, seen| {
        let mut groups = Groups { hasher: &hasher, index: HashMap::default(), groups: Vec::new() };
        for (place, bytes) in scope.items() {
            match read_metric(bytes) {
                Ok(metric) => groups.add(metric, place, &mut bulk.faulty),
                Err(fault) => bulk.fault_all(Signal::Metrics, place, bytes, fault),
            }
        }
        let target = frame.target("metrics");
        for group in &groups.groups {
            let start = bulk.lines.len();
            match push_group(&mut bulk.lines, group, &target, frame, seen) {
                Ok(()) => bulk.end_document(group.points[0].place, group.points.len() as u32),
                Err(fault) => {
                    seen.reset();
                    bulk.lines.truncate(start);
                    bulk.faulty.extend(group.points.iter().map(|point| (point.place, Fault::from(fault))));
                }
            }
        }
    });
}

/// A metric whose points are all in one place. Data in several parts is valid protobuf that no encoder writes, and
/// counting its items the same way everywhere is worth more than reading it.
fn read_metric(bytes: &[u8]) -> Result<Metric<'_>, Fault> {
    let metric = Metric::read(bytes)?;
    let whole = metric.points.count as u64 == envelope::count_item(Signal::Metrics, bytes);
    if whole { Ok(metric) } else { Err(Fault::Parts) }
}

/// The documents to be of one scope.
struct Groups<'a, 'h> {
    hasher: &'h RandomState,
    index: HashMap<u64, usize>,
    groups: Vec<Group<'a>>,
}

/// One document to be; never empty.
struct Group<'a> {
    unit: &'a [u8],
    points: Vec<Entry<'a>>,
}

/// One point and how its value is written.
struct Entry<'a> {
    place: Place,
    name: &'a [u8],
    point: Point<'a>,
    field: FieldType,
    doc_count: bool,
}

/// The field type of a value: which dynamic template Elasticsearch is told to use, and the value in its form.
enum FieldType {
    Number { number: Number, counter: bool },
    Histogram(Vec<(f64, u64)>),
    Summary,
}

impl FieldType {
    fn template(&self) -> &'static str {
        match self {
            FieldType::Number { number: Number::Long(_), counter: true } => "counter_long",
            FieldType::Number { number: Number::Double(_), counter: true } => "counter_double",
            FieldType::Number { number: Number::Long(_), counter: false } => "gauge_long",
            FieldType::Number { number: Number::Double(_), counter: false } => "gauge_double",
            FieldType::Histogram(_) => "histogram",
            FieldType::Summary => "summary",
        }
    }
}

/// What the hints attribute of a point asks for.
#[derive(Default)]
struct Hints {
    doc_count: bool,
    aggregate: bool,
}

impl<'a> Groups<'a, '_> {
    /// Adds every point of a metric to its document; each point that has no place is a fault of its own.
    fn add(&mut self, metric: Metric<'a>, place: Place, faulty: &mut Vec<(Place, Fault)>) {
        let Some(kind) = metric.kind else { return };
        for point in metric.points.entries() {
            let added = point.map_err(Fault::from).and_then(|bytes| self.add_point(kind, &metric, bytes, place));
            if let Err(fault) = added {
                faulty.push((place, fault));
            }
        }
    }

    fn add_point(&mut self, kind: Kind, metric: &Metric<'a>, bytes: &'a [u8], place: Place) -> Result<(), Fault> {
        if metric.name.is_empty() {
            return Err(Fault::Unnamed);
        }
        let point = Point::read(kind, bytes)?;
        let (identity, hints) = self.identity(&point, metric.unit)?;
        let field = match kind {
            Kind::Gauge | Kind::Sum => {
                let number = point.number.ok_or(Fault::Empty)?;
                FieldType::Number { number, counter: metric.is_counter() }
            }
            Kind::Summary => FieldType::Summary,
            _ if metric.is_cumulative_histogram() => return Err(Fault::Cumulative),
            _ if hints.aggregate && point.sum.is_finite() => FieldType::Summary,
            Kind::Histogram => FieldType::Histogram(point.explicit_values()?),
            Kind::Exponential => FieldType::Histogram(point.exponential_values()?),
        };
        let entry = Entry { place, name: metric.name, point, field, doc_count: hints.doc_count };
        let next = self.groups.len();
        let at = *self.index.entry(identity).or_insert(next);
        if at == next {
            self.groups.push(Group { unit: metric.unit, points: vec![entry] });
            return Ok(());
        }
        let points = &mut self.groups[at].points;
        if points.iter().any(|other| other.name == metric.name) {
            return Err(Fault::Duplicate);
        }
        points.push(entry);
        Ok(())
    }

    /// What a time series index knows the point by: times, unit and attributes in any order.
    fn identity(&self, point: &Point<'a>, unit: &[u8]) -> Result<(u64, Hints), Malformed> {
        let mut hints = Hints::default();
        let mut hashes = Vec::with_capacity(point.attributes.count);
        for entry in point.attributes.entries() {
            let bytes = entry?;
            let attribute = Attribute::read(bytes)?;
            if attribute.key == HINTS {
                hints = read_hints(attribute.value)?;
            } else {
                hashes.push(self.hasher.hash_one(bytes));
            }
        }
        hashes.sort_unstable();
        let identity = self.hasher.hash_one((point.time / 1_000_000, point.start / 1_000_000, unit, hashes));
        Ok((identity, hints))
    }
}

fn read_hints(value: AnyValue<'_>) -> Result<Hints, Malformed> {
    let mut hints = Hints::default();
    let AnyValue::Array(list) = value else { return Ok(hints) };
    for field in Fields::new(list) {
        let field = field?;
        match AnyValue::read(field.bytes()?)? {
            AnyValue::Str(b"_doc_count") => hints.doc_count = true,
            AnyValue::Str(b"aggregate_metric_double") => hints.aggregate = true,
            _ => {}
        }
    }
    Ok(hints)
}

fn push_group(
    out: &mut Vec<u8>,
    group: &Group<'_>,
    target: &Target,
    frame: &Frame<'_>,
    seen: &mut Seen,
) -> Result<(), Malformed> {
    let mut body = Vec::new();
    let first = &group.points[0];
    let found = attributes::push_attributes(&mut body, &first.point.attributes, seen, Composites::Dimension)?;
    let own = (found.wanted != Default::default()).then(|| frame.target_for("metrics", found.wanted));
    let target = own.as_ref().unwrap_or(target);

    push_action(out, group, target);
    out.push(b'{');
    push_key(out, "@timestamp");
    text::push_unsigned(out, first.point.time / 1_000_000);
    out.push(b',');
    push_count(out, "start_timestamp", first.point.start / 1_000_000);
    push_text(out, "unit", group.unit);
    out.extend_from_slice(&target.stream);
    out.extend_from_slice(&body);
    out.extend_from_slice(&frame.tail);
    out.extend_from_slice(b",\"metrics\":{");
    for entry in &group.points {
        text::push_string(out, entry.name);
        out.push(b':');
        push_measure(out, entry);
        out.push(b',');
    }
    close_object(out);
    out.push(b',');
    if let Some(counted) = group.points.iter().find(|entry| entry.doc_count) {
        push_count(out, "_doc_count", counted.point.count);
    }
    push_names_hash(out, group);
    out.extend_from_slice(b"}\n");
    Ok(())
}

fn push_action(out: &mut Vec<u8>, group: &Group<'_>, target: &Target) {
    out.extend_from_slice(&target.action);
    out.extend_from_slice(b",\"dynamic_templates\":{");
    for entry in &group.points {
        out.extend_from_slice(b"\"metrics.");
        text::push_escaped(out, entry.name);
        out.extend_from_slice(b"\":\"");
        out.extend_from_slice(entry.field.template().as_bytes());
        out.extend_from_slice(b"\",");
    }
    close_object(out);
    out.extend_from_slice(b"}}\n");
}

fn push_measure(out: &mut Vec<u8>, entry: &Entry<'_>) {
    match &entry.field {
        FieldType::Number { number: Number::Long(number), .. } => text::push_signed(out, *number),
        FieldType::Number { number: Number::Double(number), .. } => value::push_double(out, *number),
        FieldType::Summary => {
            out.extend_from_slice(b"{\"sum\":");
            value::push_double(out, entry.point.sum);
            out.extend_from_slice(b",\"value_count\":");
            text::push_unsigned(out, entry.point.count);
            out.push(b'}');
        }
        FieldType::Histogram(values) => {
            out.extend_from_slice(b"{\"counts\":[");
            for (at, (_, count)) in values.iter().enumerate() {
                out.extend_from_slice(if at == 0 { b"" } else { b"," });
                text::push_unsigned(out, *count);
            }
            out.extend_from_slice(b"],\"values\":[");
            for (at, (value, _)) in values.iter().enumerate() {
                out.extend_from_slice(if at == 0 { b"" } else { b"," });
                value::push_double(out, *value);
            }
            out.extend_from_slice(b"]}");
        }
    }
}

/// Documents of one time series and time differ by the names of their metrics; the hash is one of its dimensions.
fn push_names_hash(out: &mut Vec<u8>, group: &Group<'_>) {
    let mut names: Vec<&[u8]> = group.points.iter().map(|entry| entry.name).collect();
    names.sort_unstable();
    let hash = xxh64::hash(&names.concat()).to_be_bytes();
    let mut digits = Vec::with_capacity(16);
    push_hex(&mut digits, &hash);
    let leading = digits.iter().take(15).take_while(|digit| **digit == b'0').count();
    push_key(out, "_metric_names_hash");
    text::push_string(out, &digits[leading..]);
}

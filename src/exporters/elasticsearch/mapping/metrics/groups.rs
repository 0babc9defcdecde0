//! Data points grouped into documents: those of one scope that share time and attributes (in mode `otel` start and unit,
//! too) make one, because a time series index knows a document by them.
//!
//! Times count in milliseconds, as Elasticsearch's do. Grouping is by 64-bit hashes, seeded at start. Cumulative
//! histograms become differences here.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::core::data::payload::Signal;
use crate::exporters::elasticsearch::capability::Capability;
use crate::exporters::elasticsearch::mapping::fault::MappingFault;
use crate::exporters::elasticsearch::mapping::json::value::same_key;
use crate::exporters::elasticsearch::mapping::metrics::distribution::Distribution;
use crate::exporters::elasticsearch::mapping::metrics::points::{MetricHead, MetricKind, Number, Point};
use crate::exporters::elasticsearch::mapping::scope::MappedScope;
use crate::exporters::elasticsearch::mapping::work::Work;
use crate::otlp::envelope;
use crate::otlp::regroup::split::ItemPosition;
use crate::otlp::walk::{AnyValue, Attribute, Fields, Malformed};

/// The attribute with which a sender chooses another field type for a point.
const HINTS: &[u8] = b"elasticsearch.mapping.hints";
const NONE: u32 = u32::MAX;

/// Which points share a document, and which of two equal ones stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupingRule {
    /// Time, start, unit and attributes; the first stays.
    Otel,
    /// Time and attributes; the last stays.
    Ecs,
}

/// The documents to be of one scope.
pub struct PointGroups<'a> {
    rule: GroupingRule,
    /// Whether the cluster has a field type for histograms; else they are written as sum and count.
    histograms: bool,
    hasher: RandomState,
    by_identity: HashMap<u64, u32, RandomState>,
    /// Entry of each metric name in each group.
    by_name: HashMap<u64, u32, RandomState>,
    groups: Vec<PointGroup<'a>>,
    entries: Vec<GroupedPoint<'a>>,
    values: Vec<(f64, u64)>,
    hashes: Vec<u64>,
    state: Distribution,
    /// Resource and scope as far as a series is known by them.
    series: [&'a [u8]; 2],
}

/// One document to be; never empty.
pub struct PointGroup<'a> {
    pub unit: &'a [u8],
    first: u32,
    last: u32,
    pub items: u32,
}

/// One point and how its value is written.
pub struct GroupedPoint<'a> {
    pub place: ItemPosition,
    pub name: &'a [u8],
    pub point: Point<'a>,
    pub field: FieldType,
    pub doc_count: bool,
    next: u32,
}

impl GroupedPoint<'_> {
    /// How many documents this one stands for: the observations of a histogram or summary, one for a number (contrib,
    /// `datapoints`: `DocCount` of a number is 1).
    pub fn doc_count(&self) -> u64 {
        match self.field {
            FieldType::Number { .. } => 1,
            FieldType::Histogram { .. } | FieldType::Summary => self.point.count,
        }
    }
}

/// The field type of a value: which dynamic template Elasticsearch is told to use, and the value in its form.
#[derive(Clone, Copy)]
pub enum FieldType {
    Number {
        number: Number,
        counter: bool,
    },
    /// Where the values stand.
    Histogram {
        from: usize,
        to: usize,
    },
    Summary,
}

/// What the hints attribute of a point asks for.
#[derive(Default)]
struct Hints {
    doc_count: bool,
    aggregate: bool,
}

impl<'a> PointGroups<'a> {
    /// Groups the points of a scope. Each point that has no place in a document is a fault of its own.
    pub fn of(rule: GroupingRule, scope: &MappedScope<'a>, takes: &Capability, work: &mut Work<'_>) -> PointGroups<'a> {
        let mut groups = PointGroups {
            rule,
            histograms: takes.histograms,
            hasher: RandomState::default(),
            by_identity: HashMap::default(),
            by_name: HashMap::default(),
            groups: Vec::new(),
            entries: Vec::new(),
            values: Vec::new(),
            hashes: Vec::new(),
            state: Distribution::default(),
            series: scope.series(),
        };
        for (place, bytes) in scope.items() {
            match read_metric(bytes) {
                Ok(metric) => groups.add(&metric, place, work),
                Err(fault) => work.bulk.fault_all(Signal::Metrics, place, bytes, fault),
            }
        }
        groups
    }

    pub fn iter(&self) -> impl Iterator<Item = &PointGroup<'a>> {
        self.groups.iter()
    }

    pub fn first(&self, group: &PointGroup<'a>) -> &GroupedPoint<'a> {
        &self.entries[group.first as usize]
    }

    /// The points of a document in order.
    pub fn entries(&self, group: &PointGroup<'a>) -> impl Iterator<Item = &GroupedPoint<'a>> {
        let first = self.entries.get(group.first as usize);
        std::iter::successors(first, |entry| self.entries.get(entry.next as usize))
    }

    pub fn values(&self, from: usize, to: usize) -> &[(f64, u64)] {
        &self.values[from..to]
    }

    fn add(&mut self, metric: &MetricHead<'a>, place: ItemPosition, work: &mut Work<'_>) {
        let Some(kind) = metric.kind else { return };
        for point in metric.points.entries() {
            let added =
                point.map_err(MappingFault::from).and_then(|bytes| self.add_point(kind, metric, (bytes, place), work));
            if let Err(fault) = added {
                work.bulk.faulty.push((place, fault));
            }
        }
    }

    fn add_point(
        &mut self,
        kind: MetricKind,
        metric: &MetricHead<'a>,
        (bytes, place): (&'a [u8], ItemPosition),
        work: &mut Work<'_>,
    ) -> Result<(), MappingFault> {
        if metric.name.iter().all(u8::is_ascii_whitespace) {
            return Err(MappingFault::Unnamed);
        }
        let mut point = Point::read(kind, bytes)?;
        let hints = self.hash_attributes(&point, work)?;
        let field = match kind {
            MetricKind::Gauge | MetricKind::Sum => {
                FieldType::Number { number: point.number.ok_or(MappingFault::Empty)?, counter: metric.is_counter() }
            }
            MetricKind::Summary => FieldType::Summary,
            MetricKind::Histogram | MetricKind::Exponential => {
                self.histogram(kind, metric, (&mut point, &hints), work)?
            }
        };
        let entry = GroupedPoint { place, name: metric.name, point, field, doc_count: hints.doc_count, next: NONE };
        self.place(metric.unit, entry, work)
    }

    fn histogram(
        &mut self,
        kind: MetricKind,
        metric: &MetricHead<'a>,
        (point, hints): (&mut Point<'a>, &Hints),
        work: &mut Work<'_>,
    ) -> Result<FieldType, MappingFault> {
        self.state.read(kind, point)?;
        if metric.is_cumulative().ok_or(MappingFault::Temporality)? {
            let [resource, scope] = self.series;
            let key = work.deltas.key(&[resource, scope, metric.name, metric.unit], &self.hashes);
            point.start = work.deltas.advance(key, (point.start, point.time), &mut self.state)?;
            (point.count, point.sum) = (self.state.count, self.state.sum);
        }
        if (hints.aggregate || !self.histograms) && point.sum.is_finite() {
            return Ok(FieldType::Summary);
        }
        if !self.histograms {
            return Err(MappingFault::NotFinite);
        }
        let from = self.values.len();
        self.state.push_values(kind, point.bounds, &mut self.values)?;
        Ok(FieldType::Histogram { from, to: self.values.len() })
    }

    /// Puts a point into its document.
    fn place(&mut self, unit: &'a [u8], entry: GroupedPoint<'a>, work: &mut Work<'_>) -> Result<(), MappingFault> {
        let identity = self.identity(&entry.point, unit);
        let name = self.hasher.hash_one((identity, same_key(entry.name)));
        let at = self.entries.len() as u32;
        if let Some(known) = self.by_name.get(&name) {
            if self.rule == GroupingRule::Otel {
                return Err(MappingFault::Duplicate);
            }
            let known = &mut self.entries[*known as usize];
            let next = known.next;
            work.bulk.faulty.push((known.place, MappingFault::Duplicate));
            *known = GroupedPoint { next, ..entry };
            return Ok(());
        }
        self.by_name.insert(name, at);
        let next = self.groups.len() as u32;
        let group = *self.by_identity.entry(identity).or_insert(next);
        if group == next {
            self.groups.push(PointGroup { unit, first: at, last: at, items: 1 });
        } else {
            let group = &mut self.groups[group as usize];
            self.entries[group.last as usize].next = at;
            group.last = at;
            group.items += 1;
        }
        self.entries.push(entry);
        Ok(())
    }

    /// Hashes the point's attributes, in any order the same; what they hint at is not one of them.
    fn hash_attributes(&mut self, point: &Point<'a>, work: &Work<'_>) -> Result<Hints, Malformed> {
        let mut hints = Hints::default();
        self.hashes.clear();
        for entry in point.attributes.entries() {
            let bytes = entry?;
            let attribute = Attribute::read(bytes)?;
            if attribute.key == HINTS {
                hints = read_hints(attribute.value)?;
            } else {
                // A series is known by it in other requests, too.
                self.hashes.push(work.deltas.hash(bytes));
            }
        }
        self.hashes.sort_unstable();
        Ok(hints)
    }

    fn identity(&self, point: &Point<'a>, unit: &[u8]) -> u64 {
        let (start, unit) =
            if self.rule == GroupingRule::Otel { (point.start / 1_000_000, unit) } else { (0, &b""[..]) };
        self.hasher.hash_one((point.time / 1_000_000, start, unit, &self.hashes))
    }
}

/// A metric whose points are all in one place. Data in several parts is valid protobuf that no encoder writes, and
/// counting its items the same way everywhere is worth more than reading it.
fn read_metric(bytes: &[u8]) -> Result<MetricHead<'_>, MappingFault> {
    let metric = MetricHead::read(bytes)?;
    let whole = metric.points.count as u64 == envelope::count_item(Signal::Metrics, bytes);
    if whole { Ok(metric) } else { Err(MappingFault::Parts) }
}

fn read_hints(value: AnyValue<'_>) -> Result<Hints, Malformed> {
    let mut hints = Hints::default();
    let AnyValue::Array(list) = value else { return Ok(hints) };
    for field in Fields::new(list) {
        let field = field?;
        if field.number != 1 {
            continue;
        }
        match AnyValue::read(field.bytes()?)? {
            AnyValue::Str(b"_doc_count") => hints.doc_count = true,
            AnyValue::Str(b"aggregate_metric_double") => hints.aggregate = true,
            _ => {}
        }
    }
    Ok(hints)
}

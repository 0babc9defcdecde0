//! Metrics and their data points read from the wire, and histograms as the values and counts that Elasticsearch keeps.

use crate::exporters::elasticsearch::mapping::Fault;
use crate::exporters::elasticsearch::mapping::attributes::Repeated;
use crate::otlp::walk::{Field, Fields, Malformed, Wire, read_varint};

const DELTA: u64 = 1;
const CUMULATIVE: u64 = 2;
/// Bit of a point's flags: nothing was recorded.
const NO_RECORDED_VALUE: u64 = 1;

/// The five kinds of metric data, by their field number in `Metric`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Gauge,
    Sum,
    Histogram,
    Exponential,
    Summary,
}

/// A metric without its points.
#[derive(Clone, Copy, Debug, Default)]
pub struct Metric<'a> {
    pub name: &'a [u8],
    pub unit: &'a [u8],
    pub kind: Option<Kind>,
    pub points: Repeated<'a>,
    temporality: u64,
    monotonic: bool,
}

impl<'a> Metric<'a> {
    pub fn read(message: &'a [u8]) -> Result<Metric<'a>, Malformed> {
        let mut metric = Metric::default();
        for field in Fields::new(message) {
            let field = field?;
            match field.number {
                1 => metric.name = field.bytes()?,
                3 => metric.unit = field.bytes()?,
                5 => metric.read_data(Kind::Gauge, field.bytes()?)?,
                7 => metric.read_data(Kind::Sum, field.bytes()?)?,
                9 => metric.read_data(Kind::Histogram, field.bytes()?)?,
                10 => metric.read_data(Kind::Exponential, field.bytes()?)?,
                11 => metric.read_data(Kind::Summary, field.bytes()?)?,
                _ => {}
            }
        }
        Ok(metric)
    }

    fn read_data(&mut self, kind: Kind, message: &'a [u8]) -> Result<(), Malformed> {
        self.kind = Some(kind);
        self.points = Repeated::default();
        let mut fields = Fields::new(message);
        loop {
            let at = fields;
            let Some(field) = fields.next() else { return Ok(()) };
            let field = field?;
            match (field.number, kind) {
                (1, _) => self.points.note(at, 1),
                (2, Kind::Sum | Kind::Histogram | Kind::Exponential) => self.temporality = field.varint()?,
                (3, Kind::Sum) => self.monotonic = field.varint()? != 0,
                _ => {}
            }
        }
    }

    /// A counter of a time series only ever grows from its start time on.
    pub fn is_counter(&self) -> bool {
        self.kind == Some(Kind::Sum) && self.monotonic && self.temporality == CUMULATIVE
    }

    /// The histogram field holds what came in since the point before.
    pub fn is_cumulative_histogram(&self) -> bool {
        matches!(self.kind, Some(Kind::Histogram | Kind::Exponential)) && self.temporality != DELTA
    }
}

/// A data point of any kind; what its kind lacks is empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct Point<'a> {
    pub attributes: Repeated<'a>,
    pub start: u64,
    pub time: u64,
    pub number: Option<Number>,
    pub count: u64,
    pub sum: f64,
    flags: u64,
    /// `bucket_counts`: packed fixed64 values.
    buckets: &'a [u8],
    /// `explicit_bounds`: packed doubles.
    bounds: &'a [u8],
    scale: i64,
    zero_count: u64,
    positive: &'a [u8],
    negative: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    Long(i64),
    Double(f64),
}

impl<'a> Point<'a> {
    /// Reads a point of one kind; an error when it holds nothing that can be written.
    pub fn read(kind: Kind, message: &'a [u8]) -> Result<Point<'a>, Fault> {
        let mut point = Point::default();
        let mut fields = Fields::new(message);
        loop {
            let at = fields;
            let Some(field) = fields.next() else { break };
            point.take(kind, field?, at)?;
        }
        if point.flags & NO_RECORDED_VALUE != 0 {
            return Err(Fault::NoRecordedValue);
        }
        match (kind, point.number) {
            (Kind::Gauge | Kind::Sum, None) => Err(Fault::Empty),
            (_, Some(Number::Double(number))) if !number.is_finite() => Err(Fault::NotFinite),
            (Kind::Summary, _) if !point.sum.is_finite() => Err(Fault::NotFinite),
            _ => Ok(point),
        }
    }

    fn take(&mut self, kind: Kind, field: Field<'a>, at: Fields<'a>) -> Result<(), Malformed> {
        use Kind::{Exponential, Gauge, Histogram, Sum, Summary};
        match (field.number, kind) {
            (2, _) => self.start = field.fixed64()?,
            (3, _) => self.time = field.fixed64()?,
            (7, Gauge | Sum | Summary) | (9, Histogram) | (1, Exponential) => self.attributes.note(at, field.number),
            (8, Gauge | Sum | Summary) | (10, Histogram | Exponential) => self.flags = field.varint()?,
            (4, Gauge | Sum) => self.number = Some(Number::Double(f64::from_bits(field.fixed64()?))),
            (6, Gauge | Sum) => self.number = Some(Number::Long(field.fixed64()? as i64)),
            (4, Histogram | Exponential | Summary) => self.count = field.fixed64()?,
            (5, Histogram | Exponential | Summary) => self.sum = f64::from_bits(field.fixed64()?),
            (6, Histogram) => self.buckets = field.bytes()?,
            (7, Histogram) => self.bounds = field.bytes()?,
            (6, Exponential) => self.scale = zigzag(field.varint()?),
            (7, Exponential) => self.zero_count = field.fixed64()?,
            (8, Exponential) => self.positive = field.bytes()?,
            (9, Exponential) => self.negative = field.bytes()?,
            _ => {}
        }
        Ok(())
    }

    /// Values with their counts, in ascending order, for a histogram of explicit bounds: the middle of each bucket that
    /// holds something; of the open ones the half of the first bound if positive, the bounds themselves otherwise.
    /// Without bounds the mean stands for all.
    pub fn explicit_values(&self) -> Result<Vec<(f64, u64)>, Fault> {
        let (bounds, ragged) = self.bounds.as_chunks::<8>();
        let (counts, torn) = self.buckets.as_chunks::<8>();
        if !ragged.is_empty() || !torn.is_empty() || (!counts.is_empty() && counts.len() != bounds.len() + 1) {
            return Err(Fault::Buckets);
        }
        if bounds.is_empty() {
            let mean = self.sum / self.count as f64;
            return if self.count == 0 { Ok(Vec::new()) } else { finite(vec![(mean, self.count)]) };
        }
        let bound = |at: usize| f64::from_le_bytes(bounds[at]);
        let mut values = Vec::with_capacity(counts.len());
        for (at, count) in counts.iter().enumerate() {
            let count = u64::from_le_bytes(*count);
            let value = match at {
                0 if bound(0) > 0.0 => bound(0) / 2.0,
                0 => bound(0),
                last if last == bounds.len() => bound(last - 1),
                _ => bound(at - 1) + (bound(at) - bound(at - 1)) / 2.0,
            };
            if count > 0 {
                values.push((value, count));
            }
        }
        finite(values)
    }

    /// The same for exponential buckets: bucket i lies between base^i and base^(i+1), where base is 2^(2^-scale).
    pub fn exponential_values(&self) -> Result<Vec<(f64, u64)>, Fault> {
        let base = 2f64.powf(2f64.powf(-(self.scale as f64)));
        let middle = |index: i64| {
            let lower = base.powf(index as f64);
            lower + (base.powf(index as f64 + 1.0) - lower) / 2.0
        };
        let mut values: Vec<(f64, u64)> = Vec::new();
        read_buckets(self.negative, |index, count| values.push((-middle(index), count)))?;
        values.reverse();
        if self.zero_count > 0 {
            values.push((0.0, self.zero_count));
        }
        read_buckets(self.positive, |index, count| values.push((middle(index), count)))?;
        finite(values)
    }
}

fn finite(values: Vec<(f64, u64)>) -> Result<Vec<(f64, u64)>, Fault> {
    if values.iter().all(|(value, _)| value.is_finite()) { Ok(values) } else { Err(Fault::NotFinite) }
}

fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Visits the buckets of one side that hold something: offset = 1, packed counts = 2.
fn read_buckets(message: &[u8], mut visit: impl FnMut(i64, u64)) -> Result<(), Fault> {
    let mut offset = 0;
    let mut counts: &[u8] = b"";
    for field in Fields::new(message) {
        let field = field?;
        match (field.number, field.wire) {
            (1, Wire::Varint(value)) => offset = zigzag(value),
            (2, Wire::Bytes(packed)) => counts = packed,
            _ => {}
        }
    }
    let mut index = offset;
    while !counts.is_empty() {
        let (count, length) = read_varint(counts)?;
        if count > 0 {
            visit(index, count);
        }
        index = index.checked_add(1).ok_or(Fault::Buckets)?;
        counts = &counts[length..];
    }
    Ok(())
}

//! Metrics and their data points read from the wire, and histograms as the values and counts that Elasticsearch keeps.

use crate::exporters::elasticsearch::mapping::MappingFault;
use crate::exporters::elasticsearch::mapping::json::attributes::Repeated;
use crate::otlp::walk::{Field, Fields, Malformed};

const DELTA: u64 = 1;
const CUMULATIVE: u64 = 2;
/// Bit of a point's flags: nothing was recorded.
const NO_RECORDED_VALUE: u64 = 1;

/// The five kinds of metric data, by their field number in `MetricHead`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    Gauge,
    Sum,
    Histogram,
    Exponential,
    Summary,
}

/// A metric without its points.
#[derive(Clone, Copy, Debug, Default)]
pub struct MetricHead<'a> {
    pub name: &'a [u8],
    pub unit: &'a [u8],
    pub kind: Option<MetricKind>,
    pub points: Repeated<'a>,
    temporality: u64,
    monotonic: bool,
}

impl<'a> MetricHead<'a> {
    pub fn read(message: &'a [u8]) -> Result<MetricHead<'a>, Malformed> {
        let mut metric = MetricHead::default();
        for field in Fields::new(message) {
            let field = field?;
            match field.number {
                1 => metric.name = field.bytes()?,
                3 => metric.unit = field.bytes()?,
                5 => metric.read_data(MetricKind::Gauge, field.bytes()?)?,
                7 => metric.read_data(MetricKind::Sum, field.bytes()?)?,
                9 => metric.read_data(MetricKind::Histogram, field.bytes()?)?,
                10 => metric.read_data(MetricKind::Exponential, field.bytes()?)?,
                11 => metric.read_data(MetricKind::Summary, field.bytes()?)?,
                _ => {}
            }
        }
        Ok(metric)
    }

    fn read_data(&mut self, kind: MetricKind, message: &'a [u8]) -> Result<(), Malformed> {
        self.kind = Some(kind);
        self.points = Repeated::default();
        let mut fields = Fields::new(message);
        loop {
            let at = fields;
            let Some(field) = fields.next() else { return Ok(()) };
            let field = field?;
            match (field.number, kind) {
                (1, _) => self.points.note(at, 1),
                (2, MetricKind::Sum | MetricKind::Histogram | MetricKind::Exponential) => {
                    self.temporality = field.varint()?
                }
                (3, MetricKind::Sum) => self.monotonic = field.varint()? != 0,
                _ => {}
            }
        }
    }

    /// A counter of a time series only ever grows from its start time on.
    pub fn is_counter(&self) -> bool {
        self.kind == Some(MetricKind::Sum) && self.monotonic && self.temporality == CUMULATIVE
    }

    /// Whether the points of a histogram hold all since the start; None when it does not say.
    pub fn is_cumulative(&self) -> Option<bool> {
        match self.temporality {
            DELTA => Some(false),
            CUMULATIVE => Some(true),
            _ => None,
        }
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
    pub buckets: &'a [u8],
    /// `explicit_bounds`: packed doubles.
    pub bounds: &'a [u8],
    pub scale: i64,
    pub zero_count: u64,
    pub positive: &'a [u8],
    pub negative: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    Long(i64),
    Double(f64),
}

impl<'a> Point<'a> {
    /// Reads a point of one kind; an error when it holds nothing that can be written.
    pub fn read(kind: MetricKind, message: &'a [u8]) -> Result<Point<'a>, MappingFault> {
        let mut point = Point::default();
        let mut fields = Fields::new(message);
        loop {
            let at = fields;
            let Some(field) = fields.next() else { break };
            point.take(kind, field?, at)?;
        }
        if point.flags & NO_RECORDED_VALUE != 0 {
            return Err(MappingFault::NoRecordedValue);
        }
        match (kind, point.number) {
            (MetricKind::Gauge | MetricKind::Sum, None) => Err(MappingFault::Empty),
            (_, Some(Number::Double(number))) if !number.is_finite() => Err(MappingFault::NotFinite),
            (MetricKind::Summary, _) if !point.sum.is_finite() => Err(MappingFault::NotFinite),
            _ => Ok(point),
        }
    }

    fn take(&mut self, kind: MetricKind, field: Field<'a>, at: Fields<'a>) -> Result<(), Malformed> {
        use MetricKind::{Exponential, Gauge, Histogram, Sum, Summary};
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
}

pub fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

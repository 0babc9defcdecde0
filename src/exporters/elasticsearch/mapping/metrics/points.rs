//! Metrics and their data points read from the wire, and histograms as the values and counts that Elasticsearch keeps.

use crate::exporters::elasticsearch::mapping::fault::MappingFault;
use crate::exporters::elasticsearch::mapping::json::repeated::Repeated;
use crate::otlp::fields::metric_data;
use crate::otlp::fields::metrics::{
    aggregation_temporality, data_point_flags, exponential_histogram_data_point as exponential_point,
    histogram_data_point as histogram_point, metric, number_data_point as number_point, sum,
    summary_data_point as summary_point,
};
use crate::otlp::walk::{Field, Fields, Malformed};

const DELTA: u64 = aggregation_temporality::DELTA as u64;
const CUMULATIVE: u64 = aggregation_temporality::CUMULATIVE as u64;
/// Bit of a point's flags: nothing was recorded.
const NO_RECORDED_VALUE: u64 = data_point_flags::NO_RECORDED_VALUE_MASK as u64;

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
                metric::NAME => metric.name = field.bytes()?,
                metric::UNIT => metric.unit = field.bytes()?,
                metric::GAUGE => metric.read_data(MetricKind::Gauge, field.bytes()?)?,
                metric::SUM => metric.read_data(MetricKind::Sum, field.bytes()?)?,
                metric::HISTOGRAM => metric.read_data(MetricKind::Histogram, field.bytes()?)?,
                metric::EXPONENTIAL_HISTOGRAM => metric.read_data(MetricKind::Exponential, field.bytes()?)?,
                metric::SUMMARY => metric.read_data(MetricKind::Summary, field.bytes()?)?,
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
                (metric_data::DATA_POINTS, _) => self.points.note(at, metric_data::DATA_POINTS),
                (
                    metric_data::AGGREGATION_TEMPORALITY,
                    MetricKind::Sum | MetricKind::Histogram | MetricKind::Exponential,
                ) => {
                    self.temporality = field.varint()?;
                }
                (sum::IS_MONOTONIC, MetricKind::Sum) => self.monotonic = field.varint()? != 0,
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
            (metric_data::POINT_START_TIME_UNIX_NANO, _) => self.start = field.fixed64()?,
            (metric_data::POINT_TIME_UNIX_NANO, _) => self.time = field.fixed64()?,
            (number_point::ATTRIBUTES, Gauge | Sum)
            | (summary_point::ATTRIBUTES, Summary)
            | (histogram_point::ATTRIBUTES, Histogram)
            | (exponential_point::ATTRIBUTES, Exponential) => self.attributes.note(at, field.number),
            (number_point::FLAGS, Gauge | Sum)
            | (summary_point::FLAGS, Summary)
            | (histogram_point::FLAGS, Histogram)
            | (exponential_point::FLAGS, Exponential) => self.flags = field.varint()?,
            (number_point::AS_DOUBLE, Gauge | Sum) => {
                self.number = Some(Number::Double(f64::from_bits(field.fixed64()?)));
            }
            (number_point::AS_INT, Gauge | Sum) => self.number = Some(Number::Long(field.fixed64()? as i64)),
            (metric_data::POINT_COUNT, Histogram | Exponential | Summary) => self.count = field.fixed64()?,
            (metric_data::POINT_SUM, Histogram | Exponential | Summary) => {
                self.sum = f64::from_bits(field.fixed64()?);
            }
            (histogram_point::BUCKET_COUNTS, Histogram) => self.buckets = field.bytes()?,
            (histogram_point::EXPLICIT_BOUNDS, Histogram) => self.bounds = field.bytes()?,
            (exponential_point::SCALE, Exponential) => self.scale = zigzag(field.varint()?),
            (exponential_point::ZERO_COUNT, Exponential) => self.zero_count = field.fixed64()?,
            (exponential_point::POSITIVE, Exponential) => self.positive = field.bytes()?,
            (exponential_point::NEGATIVE, Exponential) => self.negative = field.bytes()?,
            _ => {}
        }
        Ok(())
    }
}

pub fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

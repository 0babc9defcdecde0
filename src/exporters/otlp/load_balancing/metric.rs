//! One metric as routing sees it: what tells its streams from those of others, and its data points. Pure, on bytes.

use crate::exporters::otlp::load_balancing::ring::{hash, hash_on};
use crate::otlp::fields::metric_data;
use crate::otlp::fields::metrics::{
    exponential_histogram_data_point, histogram_data_point, metric, number_data_point, sum, summary_data_point,
};
use crate::otlp::walk::Fields;

/// A metric with one kind of data.
pub struct MetricPoints<'a> {
    /// Name, unit, kind, temporality and whether it only rises.
    pub identity: u64,
    /// Field number of the attributes in its points.
    pub attributes: u32,
    /// Field number of the kind.
    pub kind: u32,
    pub data: &'a [u8],
}

impl<'a> MetricPoints<'a> {
    /// `None` for what cannot be walked to its end, or has not just one kind of data.
    pub fn read(message: &'a [u8]) -> Option<MetricPoints<'a>> {
        let mut found = None;
        for field in Fields::new(message) {
            let field = field.ok()?;
            if metric_data::is_data(field.number) && found.replace((field.number, field.bytes().ok()?)).is_some() {
                return None;
            }
        }
        let (kind, data) = found?;
        let (mut temporality, mut rises) = (0, 0);
        for field in Fields::new(data) {
            let field = field.ok()?;
            match field.number {
                metric_data::DATA_POINTS => drop(field.bytes().ok()?),
                metric_data::AGGREGATION_TEMPORALITY => temporality = field.varint().ok()?,
                sum::IS_MONOTONIC if kind == metric::SUM => rises = field.varint().ok()?,
                _ => {}
            }
        }
        let attributes = match kind {
            metric::HISTOGRAM => histogram_data_point::ATTRIBUTES,
            metric::EXPONENTIAL_HISTOGRAM => exponential_histogram_data_point::ATTRIBUTES,
            metric::SUMMARY => summary_data_point::ATTRIBUTES,
            _ => number_data_point::ATTRIBUTES,
        };
        let state = hash(field(message, metric::NAME).unwrap_or_default());
        let state = hash_on(state, field(message, metric::UNIT).unwrap_or_default());
        let numbers = [u64::from(kind), temporality, rises];
        let identity = numbers.into_iter().fold(state, |state, number| hash_on(state, &number.to_le_bytes()));
        Some(MetricPoints { identity, attributes, kind, data })
    }

    pub fn points(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let fields = Fields::new(self.data).map_while(Result::ok);
        fields.filter(|field| field.number == metric_data::DATA_POINTS).filter_map(|field| field.bytes().ok())
    }
}

/// The bytes of the first field of this number.
pub(super) fn field(message: &[u8], number: u32) -> Option<&[u8]> {
    let found = Fields::new(message).map_while(Result::ok).find(|field| field.number == number)?;
    found.bytes().ok()
}

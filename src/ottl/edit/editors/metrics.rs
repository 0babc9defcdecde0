//! Editors of whole metrics (contrib processor/transformprocessor, internal/metrics).

use crate::otlp::fields::metric_data::POINT_SUM;
use crate::otlp::fields::metrics::{
    exemplar, histogram_data_point as histogram_point, metric, number_data_point as number_point, sum,
    summary_data_point as summary_point, summary_data_point_value_at_quantile as value_at_quantile,
};
use crate::otlp::walk::{Fields, Wire};
use crate::otlp::write;
use crate::ottl::checked::CheckedNode;
use crate::ottl::convert::{text, truncated};
use crate::ottl::edit::editors::buckets::{Spreading, explicit};
use crate::ottl::edit::editors::merge::{Aggregation, Alike, aggregated};
use crate::ottl::edit::encode::put_double;
use crate::ottl::edit::message_edit::{places, without};
use crate::ottl::edit::target::EditTarget;
use crate::ottl::eval;
use crate::ottl::path::tables::Points;
use crate::ottl::path::{POINTS, points_of};
use crate::ottl::value::failure::EvalFailure;

/// What may be done with a metric as a whole.
#[derive(Debug)]
pub enum MetricEdit {
    SumToGauge,
    GaugeToSum {
        temporality: u64,
        monotonic: bool,
    },
    Scale {
        by: f64,
        unit: Option<CheckedNode>,
    },
    /// Of exponential histograms.
    Explicit {
        how: Spreading,
        bounds: Vec<f64>,
    },
    Aggregate {
        how: Aggregation,
        alike: Alike,
    },
}

impl MetricEdit {
    pub fn run(&self, scene: &mut EditTarget<'_>) -> Result<(), EvalFailure> {
        let metric = scene.item.bytes();
        let Some((points, holder)) = points_of(metric) else {
            return match self {
                MetricEdit::Scale { .. } => Err(EvalFailure("the metric has no points")),
                _ => Ok(()),
            };
        };
        let new = match self {
            MetricEdit::SumToGauge if points == Points::Sum => {
                // The points alone: a gauge has no temporality.
                kept(
                    metric,
                    points,
                    Points::Gauge,
                    &without(&without(&holder, sum::AGGREGATION_TEMPORALITY), sum::IS_MONOTONIC),
                )
            }
            MetricEdit::GaugeToSum { temporality, monotonic } if points == Points::Gauge => {
                let mut inside = holder.into_owned();
                write::key(&mut inside, sum::AGGREGATION_TEMPORALITY, write::VARINT);
                write::varint(&mut inside, *temporality);
                if *monotonic {
                    write::key(&mut inside, sum::IS_MONOTONIC, write::VARINT);
                    inside.push(1);
                }
                kept(metric, points, Points::Sum, &inside)
            }
            MetricEdit::Scale { by, unit } => {
                if points == Points::Exponential {
                    return Err(EvalFailure("exponential histograms cannot be scaled"));
                }
                let unit = unit.as_ref().map(|unit| eval::value(unit, &scene.view())).transpose()?;
                let mut new = kept(metric, points, points, &each_point(&holder, |point| scaled(point, points, *by)));
                if let Some(unit) = &unit {
                    new = without(&new, metric::UNIT);
                    write::bytes(&mut new, metric::UNIT, text(unit)?.as_bytes());
                }
                new
            }
            MetricEdit::Explicit { how, bounds } if points == Points::Exponential => {
                kept(metric, points, Points::Histogram, &explicit(&holder, *how, bounds, scene.world.seed)?)
            }
            MetricEdit::Aggregate { .. } if points == Points::Summary => {
                return Err(EvalFailure("summaries cannot be aggregated"));
            }
            MetricEdit::Aggregate { how, alike } => {
                kept(metric, points, points, &aggregated(&holder, points, *how, alike)?)
            }
            _ => return Ok(()),
        };
        let length = metric.len();
        scene.item.replace(0..length, &new)
    }
}

/// The metric with its points under another kind.
fn kept(metric: &[u8], from: Points, to: Points, holder: &[u8]) -> Vec<u8> {
    let mut new = without(metric, from.field());
    write::bytes(&mut new, to.field(), holder);
    new
}

fn each_point(holder: &[u8], mut change: impl FnMut(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let mut new = Vec::with_capacity(holder.len());
    let mut fields = Fields::new(holder);
    let mut from = 0;
    while let Some(Ok(field)) = fields.next() {
        let range = from..fields.position();
        from = range.end;
        match field.bytes() {
            Ok(point) if field.number == POINTS => write::bytes(&mut new, POINTS, &change(point)),
            _ => new.extend_from_slice(&holder[range]),
        }
    }
    new
}

/// Fields that hold a double to be scaled, by the kind of point.
fn doubles(points: Points) -> &'static [u32] {
    match points {
        Points::Gauge | Points::Sum => &[number_point::AS_DOUBLE],
        Points::Histogram => &[histogram_point::SUM, histogram_point::MIN, histogram_point::MAX],
        _ => &[POINT_SUM],
    }
}

fn scaled(point: &[u8], points: Points, by: f64) -> Vec<u8> {
    let whole = |number: i64| truncated(number as f64 * by);
    let mut new = Vec::with_capacity(point.len());
    for (number, range) in places(point) {
        let field = Fields::new(&point[range.clone()]).next().and_then(Result::ok);
        let Some(field) = field else { continue };
        match field.wire {
            Wire::Fixed64(bits) if doubles(points).contains(&number) => {
                put_double(&mut new, number, f64::from_bits(bits) * by);
            }
            Wire::Fixed64(bits) if number == number_point::AS_INT && matches!(points, Points::Gauge | Points::Sum) => {
                write::key(&mut new, number, write::FIXED64);
                new.extend_from_slice(&whole(bits as i64).to_le_bytes());
            }
            // Bounds, side by side or alone.
            Wire::Fixed64(bits) if number == histogram_point::EXPLICIT_BOUNDS && points == Points::Histogram => {
                put_double(&mut new, number, f64::from_bits(bits) * by);
            }
            _ => match field.bytes() {
                Ok(bounds) if number == histogram_point::EXPLICIT_BOUNDS && points == Points::Histogram => {
                    let scale = |word: &[u8]| {
                        let bits = word.iter().rev().fold(0u64, |all, byte| all << 8 | u64::from(*byte));
                        (f64::from_bits(bits) * by).to_le_bytes()
                    };
                    let bounds: Vec<u8> = bounds.chunks_exact(8).flat_map(scale).collect();
                    write::bytes(&mut new, number, &bounds);
                }
                // Exemplars have a value as points have one, in other fields.
                Ok(message) if number == histogram_point::EXEMPLARS && points == Points::Histogram => {
                    let scaled = each_value(message, &[exemplar::AS_DOUBLE], Some(exemplar::AS_INT), by);
                    write::bytes(&mut new, number, &scaled);
                }
                Ok(quantile) if number == summary_point::QUANTILE_VALUES && points == Points::Summary => {
                    write::bytes(&mut new, number, &each_value(quantile, &[value_at_quantile::VALUE], None, by));
                }
                _ => new.extend_from_slice(&point[range]),
            },
        }
    }
    new
}

fn each_value(message: &[u8], doubles: &[u32], whole: Option<u32>, by: f64) -> Vec<u8> {
    let mut new = Vec::with_capacity(message.len());
    for (number, range) in places(message) {
        let field = Fields::new(&message[range.clone()]).next().and_then(Result::ok);
        match field.map(|field| field.wire) {
            Some(Wire::Fixed64(bits)) if doubles.contains(&number) => {
                put_double(&mut new, number, f64::from_bits(bits) * by);
            }
            Some(Wire::Fixed64(bits)) if whole == Some(number) => {
                let scaled = truncated(bits as i64 as f64 * by);
                write::key(&mut new, number, write::FIXED64);
                new.extend_from_slice(&scaled.to_le_bytes());
            }
            _ => new.extend_from_slice(&message[range]),
        }
    }
    new
}

//! Metrics that statements make beside the one they run on: copies, and its counts, sums, quantiles and percentiles as
//! metrics of their own (contrib processor/transformprocessor, internal/metrics).

use crate::otlp::fields::metric_data::{AGGREGATION_TEMPORALITY, POINT_COUNT, POINT_SUM};
use crate::otlp::fields::metrics::{
    aggregation_temporality, metric, number_data_point as number_point, sum, summary_data_point as summary_point,
    summary_data_point_value_at_quantile as value_at_quantile,
};
use crate::otlp::write;
use crate::ottl::checked::CheckedNode;
use crate::ottl::convert::text;
use crate::ottl::edit::editors::maps::{MADE_FREE, MADE_MAX, MADE_PER_BYTE};
use crate::ottl::edit::editors::percentile::percentile;
use crate::ottl::edit::editors::points::{PointList, attributes_of, double, put_shared, put_word};
use crate::ottl::edit::encode::{MapItem, put_attribute, put_double, put_value, raw_entries};
use crate::ottl::edit::message_edit::without;
use crate::ottl::edit::target::{EditTarget, TOO_MANY_MADE};
use crate::ottl::eval;
use crate::ottl::path::tables::Points;
use crate::ottl::path::{bytes, integer, points_in, points_of};
use crate::ottl::value::failure::EvalFailure;
use crate::ottl::value::{OttlValue, pieces};

/// What is made of a metric.
#[derive(Debug)]
pub enum MetricMade {
    Copy {
        name: Option<CheckedNode>,
        description: Option<CheckedNode>,
        unit: Option<CheckedNode>,
    },
    /// One value of each point.
    Drawn(Drawn),
    Quantiles {
        key: String,
        suffix: String,
    },
    Percentile {
        percent: f64,
        suffix: String,
    },
}

/// The counts or sums of a metric's points as a sum.
#[derive(Debug)]
pub struct Drawn {
    pub what: DrawnPart,
    /// Of the new metric, made of summaries alone; else it is that of the metric.
    pub temporality: Option<u64>,
    pub monotonic: bool,
    pub suffix: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrawnPart {
    Count,
    Sum,
}

impl MetricMade {
    pub fn run(&self, scene: &mut EditTarget<'_>) -> Result<(), EvalFailure> {
        // What was looked at counts too: a statement runs on each point of a metric and looks at all of them.
        let looked_at = scene.around.map_or(0, |around| around.holder.len());
        let most = (scene.item.bytes().len() + looked_at).saturating_mul(MADE_PER_BYTE).saturating_add(MADE_FREE);
        let room = scene.made.room()?.min(most).min(MADE_MAX);
        let made = match self {
            MetricMade::Copy { name, description, unit } => copied(scene, name, description, unit).map(Some),
            MetricMade::Drawn(drawn) => drawn.metric(scene, room),
            MetricMade::Quantiles { key, suffix } => quantiles(scene.item.bytes(), key, suffix, room),
            MetricMade::Percentile { percent, suffix } => percentiles(scene.item.bytes(), *percent, suffix, room),
        };
        match made {
            Ok(Some(metric)) => scene.made.add(metric, looked_at),
            Ok(None) => Ok(()),
            Err(failure) => {
                if failure == TOO_MANY_MADE {
                    scene.made.end();
                }
                Err(failure)
            }
        }
    }
}

fn copied(
    scene: &EditTarget<'_>,
    name: &Option<CheckedNode>,
    description: &Option<CheckedNode>,
    unit: &Option<CheckedNode>,
) -> Result<Vec<u8>, EvalFailure> {
    let mut new = scene.item.bytes().to_vec();
    let parts = [(metric::NAME, name), (metric::DESCRIPTION, description), (metric::UNIT, unit)];
    for (number, node) in parts {
        let Some(node) = node else { continue };
        let value = eval::value(node, &scene.view())?;
        new = without(&new, number);
        write::bytes(&mut new, number, text(&value)?.as_bytes());
    }
    Ok(new)
}

/// A metric of another name around these points.
fn metric_around(
    of: &[u8],
    (name, unit): (&str, &[u8]),
    description: &[u8],
    (kind, holder): (Points, &[u8]),
) -> Vec<u8> {
    let mut new = Vec::with_capacity(of.len().min(256) + holder.len());
    let mut whole = bytes(of, metric::NAME).to_vec();
    whole.extend_from_slice(name.as_bytes());
    write::bytes(&mut new, metric::NAME, &whole);
    if !description.is_empty() {
        write::bytes(&mut new, metric::DESCRIPTION, description);
    }
    if !unit.is_empty() {
        write::bytes(&mut new, metric::UNIT, unit);
    }
    write::bytes(&mut new, kind.field(), holder);
    new
}

impl Drawn {
    fn metric(&self, scene: &EditTarget<'_>, room: usize) -> Result<Option<Vec<u8>>, EvalFailure> {
        let of = scene.item.bytes();
        let Some((points, inside)) = points_of(of) else {
            return if self.temporality.is_some() { Ok(None) } else { Err(WRONG_KIND) };
        };
        let temporality = match self.temporality {
            Some(_) if points != Points::Summary => return Ok(None),
            Some(temporality) => temporality,
            None => temporality_of(points, &inside)?,
        };
        let mut list = PointList::within(room);
        let mut take = |point: &[u8]| self.point(point, points).map_or(Ok(()), |point| list.push(&point));
        match &scene.around {
            // Seen from one of its points the metric is without them.
            Some(around) => around.each(scene.piece.bytes(), take)?,
            None => points_in(&inside).try_for_each(&mut take)?,
        }
        // A metric is made of summaries whatever there is of them, and of others only where there is something.
        if list.is_empty() && self.temporality.is_none() {
            return Ok(None);
        }
        let mut holder = list.finish();
        write::key(&mut holder, AGGREGATION_TEMPORALITY, write::VARINT);
        write::varint(&mut holder, temporality);
        if self.monotonic {
            write::key(&mut holder, sum::IS_MONOTONIC, write::VARINT);
            holder.push(1);
        }
        // The unit of what is measured is not that of its count, where upstream knows that.
        let unit: &[u8] = match (self.what, self.temporality) {
            (DrawnPart::Count, None) => b"1",
            _ => bytes(of, metric::UNIT),
        };
        let description = bytes(of, metric::DESCRIPTION);
        Ok(Some(metric_around(of, (&self.suffix, unit), description, (Points::Sum, &holder))))
    }

    fn point(&self, point: &[u8], points: Points) -> Option<Vec<u8>> {
        let mut new = Vec::new();
        put_shared(&mut new, point, points);
        match self.what {
            DrawnPart::Count => put_word(&mut new, number_point::AS_INT, integer(point, POINT_COUNT) as u64),
            DrawnPart::Sum => match double(point, POINT_SUM) {
                Some(sum) => put_double(&mut new, number_point::AS_DOUBLE, sum),
                // A summary's sum is always there.
                None if points == Points::Summary => put_double(&mut new, number_point::AS_DOUBLE, 0.0),
                None => return None,
            },
        }
        Some(new)
    }
}

const WRONG_KIND: EvalFailure = EvalFailure("expected a histogram or a summary, with a temporality");

/// A summary's is cumulative.
fn temporality_of(points: Points, inside: &[u8]) -> Result<u64, EvalFailure> {
    match points {
        Points::Summary => Ok(u64::from(aggregation_temporality::CUMULATIVE)),
        Points::Histogram | Points::Exponential => match integer(inside, AGGREGATION_TEMPORALITY) as u64 {
            0 => Err(WRONG_KIND),
            temporality => Ok(temporality),
        },
        _ => Err(WRONG_KIND),
    }
}

fn quantiles(of: &[u8], key: &str, suffix: &str, room: usize) -> Result<Option<Vec<u8>>, EvalFailure> {
    let Some((Points::Summary, inside)) = points_of(of) else { return Ok(None) };
    let mut list = PointList::within(room);
    let attributes = attributes_of(Points::Gauge);
    for point in points_in(&inside) {
        let mut shared = Vec::new();
        put_shared(&mut shared, point, Points::Summary);
        // The key is the quantile's, whatever the summary has under it.
        if raw_entries(&shared, attributes).any(|raw| *MapItem::read(raw).key == *key.as_bytes()) {
            shared = without_key(&shared, attributes, key);
        }
        for quantile in pieces(point, summary_point::QUANTILE_VALUES) {
            let mut new = shared.clone();
            let mut value = Vec::new();
            let of = double(quantile, value_at_quantile::QUANTILE).unwrap_or_default();
            put_value(&mut value, &OttlValue::Float(of))?;
            put_attribute(&mut new, attributes, key.as_bytes(), &value);
            let value = double(quantile, value_at_quantile::VALUE).unwrap_or_default();
            put_double(&mut new, number_point::AS_DOUBLE, value);
            list.push(&new)?;
        }
    }
    let (unit, description) = (bytes(of, metric::UNIT), bytes(of, metric::DESCRIPTION));
    Ok(Some(metric_around(of, (suffix, unit), description, (Points::Gauge, &list.finish()))))
}

/// The message without the attribute of this name.
fn without_key(message: &[u8], attributes: u32, key: &str) -> Vec<u8> {
    let mut rest = without(message, attributes);
    for raw in raw_entries(message, attributes).filter(|raw| *MapItem::read(raw).key != *key.as_bytes()) {
        write::bytes(&mut rest, attributes, raw);
    }
    rest
}

fn percentiles(of: &[u8], percent: f64, suffix: &str, room: usize) -> Result<Option<Vec<u8>>, EvalFailure> {
    let Some((points @ (Points::Histogram | Points::Exponential), inside)) = points_of(of) else { return Ok(None) };
    let mut list = PointList::within(room);
    for point in points_in(&inside) {
        let Some(value) = percentile(point, points, percent)? else { continue };
        let mut new = Vec::new();
        put_shared(&mut new, point, points);
        put_double(&mut new, number_point::AS_DOUBLE, value);
        list.push(&new)?;
    }
    if list.is_empty() {
        return Ok(None);
    }
    let of_description = String::from_utf8_lossy(bytes(of, metric::DESCRIPTION));
    let description = match of_description.is_empty() {
        true => format!("p{percent}"),
        false => format!("{of_description} (p{percent})"),
    };
    let unit = bytes(of, metric::UNIT);
    Ok(Some(metric_around(of, (suffix, unit), description.as_bytes(), (Points::Gauge, &list.finish()))))
}

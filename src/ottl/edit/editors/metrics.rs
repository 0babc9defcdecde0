//! Editors of whole metrics and spans (contrib processor/transformprocessor, internal/metrics and internal/traces).

use crate::otlp::fields::metric_data::POINT_SUM;
use crate::otlp::fields::metrics::{
    exemplar, histogram_data_point as histogram_point, metric, number_data_point as number_point, sum,
    summary_data_point as summary_point, summary_data_point_value_at_quantile as value_at_quantile,
};
use crate::otlp::fields::trace::{span, span_kind};
use crate::otlp::walk::{AnyValue, Fields, Wire};
use crate::otlp::write;
use crate::ottl::checked::CheckedNode;
use crate::ottl::convert::{text, truncated};
use crate::ottl::edit::encode::{MapItem, put_attribute, put_double, put_value, raw_entries};
use crate::ottl::edit::message_edit::{places, without};
use crate::ottl::edit::target::EditTarget;
use crate::ottl::eval;
use crate::ottl::item::Item;
use crate::ottl::path::tables::Points;
use crate::ottl::path::{POINTS, bytes, points_of};
use crate::ottl::value::OttlValue;
use crate::ottl::value::failure::EvalFailure;

/// What may be done with a metric as a whole.
#[derive(Debug)]
pub enum MetricEdit {
    SumToGauge,
    GaugeToSum { temporality: u64, monotonic: bool },
    Scale { by: f64, unit: Option<CheckedNode> },
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

/// Field of `Span` that holds its attributes.
const ATTRIBUTES: u32 = span::ATTRIBUTES;

/// Names the span as the conventions say, and keeps the name it had in an attribute.
pub fn set_span_name(scene: &mut EditTarget<'_>, original: Option<&str>) -> Result<(), EvalFailure> {
    let message = scene.item.bytes();
    let old = String::from_utf8_lossy(bytes(message, span::NAME)).into_owned();
    let Some(name) = span_name(&scene.view()).filter(|name| *name != old) else { return Ok(()) };
    let mut new = without(message, span::NAME);
    write::bytes(&mut new, span::NAME, name.as_bytes());
    if let Some(original) = original {
        let mut value = Vec::new();
        put_value(&mut value, &OttlValue::Text(old.into()))?;
        let mut kept = Vec::with_capacity(new.len());
        let is_it = |range: &std::ops::Range<usize>| {
            let field = Fields::new(&new[range.clone()]).next().and_then(Result::ok);
            field
                .and_then(|field| field.bytes().ok())
                .is_some_and(|raw| *MapItem::read(raw).key == *original.as_bytes())
        };
        for (number, range) in places(&new).filter(|(number, range)| *number != ATTRIBUTES || !is_it(range)) {
            _ = number;
            kept.extend_from_slice(&new[range]);
        }
        put_attribute(&mut kept, ATTRIBUTES, original.as_bytes(), &value);
        new = kept;
    }
    let length = message.len();
    scene.item.replace(0..length, &new)
}

struct Attributes<'a>(&'a [u8]);

impl Attributes<'_> {
    fn text(&self, name: &str) -> Option<String> {
        let found = raw_entries(self.0, ATTRIBUTES).map(MapItem::read).find(|entry| *entry.key == *name.as_bytes())?;
        OttlValue::of(found.any()).to_plain_text().ok().map(|text| text.into_owned())
    }

    /// Under its name, or under the one it had before.
    fn either(&self, name: &str, before: &str) -> Option<String> {
        self.text(name).or_else(|| self.text(before))
    }

    fn truth(&self, name: &str) -> bool {
        let found = raw_entries(self.0, ATTRIBUTES).map(MapItem::read).find(|entry| *entry.key == *name.as_bytes());
        found.is_some_and(|found| matches!(found.any(), AnyValue::Bool(true)))
    }

    fn server(&self) -> Option<String> {
        let address = self.text("server.address")?;
        Some(match self.text("server.port") {
            Some(port) => format!("{address}:{port}"),
            None => address,
        })
    }
}

/// `None` where no convention names the span.
fn span_name(item: &Item<'_>) -> Option<String> {
    let of = Attributes(item.item);
    let kind = Fields::new(item.item).map_while(Result::ok).filter(|field| field.number == span::KIND).last();
    let filled = |name: String| if name.is_empty() { None } else { Some(name) };
    let http = |subject: &str| http(&of, subject).and_then(filled);
    let (rpc, messaging) = (|| rpc(&of).and_then(filled), || messaging(&of).and_then(filled));
    match kind.and_then(|field| u32::try_from(field.varint().ok()?).ok()) {
        Some(span_kind::SERVER) => http("http.route").or_else(rpc).or_else(messaging),
        Some(span_kind::CLIENT) => {
            http("url.template").or_else(rpc).or_else(|| database(&of).and_then(filled)).or_else(messaging)
        }
        Some(span_kind::PRODUCER | span_kind::CONSUMER) => messaging(),
        _ => None,
    }
}

fn http(of: &Attributes<'_>, subject: &str) -> Option<String> {
    let method = of.either("http.request.method", "http.method")?;
    Some(match of.text(subject) {
        Some(subject) => format!("{method} {subject}"),
        None => method,
    })
}

fn rpc(of: &Attributes<'_>) -> Option<String> {
    let system = of.either("rpc.system.name", "rpc.system")?;
    let method = of.either("rpc.method", "rpc.grpc.method");
    let service = of.either("rpc.service", "rpc.grpc.service");
    Some(match (service, method) {
        (Some(service), Some(method)) => format!("{service}/{method}"),
        (None, Some(method)) => method,
        (Some(service), None) => format!("{service}/*"),
        (None, None) => system,
    })
}

fn database(of: &Attributes<'_>) -> Option<String> {
    let system = of.either("db.system.name", "db.system")?;
    if let Some(summary) = of.text("db.query.summary") {
        return Some(summary);
    }
    let operation = of.either("db.operation.name", "db.operation").unwrap_or_default();
    let namespace = of.either("db.namespace", "db.name").unwrap_or_default();
    let inside = |name: String| if namespace.is_empty() { name } else { format!("{namespace}.{name}") };
    let target = match of.text("db.collection.name").or_else(|| of.text("db.stored_procedure.name")) {
        Some(name) => inside(name),
        None if namespace.is_empty() => of.server().unwrap_or_default(),
        None => namespace,
    };
    Some(match (operation.is_empty(), target.is_empty()) {
        (false, false) => format!("{operation} {target}"),
        (false, true) => operation,
        (true, false) => target,
        (true, true) => system,
    })
}

fn messaging(of: &Attributes<'_>) -> Option<String> {
    let system = of.text("messaging.system")?;
    let operation = of.either("messaging.operation.name", "messaging.operation");
    let destination = if of.truth("messaging.destination.temporary") {
        "(temporary)".to_owned()
    } else if of.truth("messaging.destination.anonymous") {
        "(anonymous)".to_owned()
    } else {
        let named = of.text("messaging.destination.template");
        let named = named.or_else(|| of.either("messaging.destination.name", "messaging.destination"));
        named.or_else(|| of.server()).unwrap_or_default()
    };
    Some(match (operation, destination.is_empty()) {
        (Some(operation), false) => format!("{operation} {destination}"),
        (_, false) => destination,
        (Some(operation), true) => operation,
        (None, true) => system,
    })
}

//! OTTL: any text is a statement, a condition or a fault; run on a valid record it leaves a valid record.

use std::sync::LazyLock;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogram, ExponentialHistogramDataPoint, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum,
    Summary, SummaryDataPoint,
};
use podgate::ottl::{
    ChangedPieces, Condition, Context, EditTarget, Edits, MadeMetrics, MessageEdit, Points, PointsAround, Statement,
    Syntax, points_in, points_of, put_without_points,
};
use prost::Message;

static RECORD: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let any = |value| Some(AnyValue { value: Some(value) });
    let pair = |key: &str, value| KeyValue { key: key.into(), value: any(value), ..KeyValue::default() };
    let list = ArrayValue { values: any(Value::IntValue(1)).into_iter().collect() };
    let map = KeyValueList { values: vec![pair("k", Value::StringValue("v".into()))] };
    let attributes = vec![
        pair("s", Value::StringValue("A|b c=d \u{e9}".into())),
        pair("i", Value::IntValue(-7)),
        pair("d", Value::DoubleValue(0.5)),
        pair("b", Value::BoolValue(true)),
        pair("l", Value::ArrayValue(list)),
        pair("m", Value::KvlistValue(map.clone())),
    ];
    let record = LogRecord {
        body: any(Value::KvlistValue(map)),
        attributes,
        severity_number: 9,
        time_unix_nano: 1_581_452_772_000_000_321,
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        ..LogRecord::default()
    };
    record.encode_to_vec()
});

/// A metric of each kind, of two points with the same attributes.
static METRICS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let pair = |key: &str, value: &str| KeyValue {
        key: key.into(),
        value: Some(AnyValue { value: Some(Value::StringValue(value.into())) }),
        ..KeyValue::default()
    };
    let attributes = vec![pair("k", "v"), pair("h", "1")];
    let number = |value| NumberDataPoint {
        attributes: attributes.clone(),
        value: Some(value),
        time_unix_nano: 7,
        ..NumberDataPoint::default()
    };
    let histogram = HistogramDataPoint {
        attributes: attributes.clone(),
        count: 4,
        sum: Some(9.0),
        bucket_counts: vec![1, 2, 1],
        explicit_bounds: vec![1.0, 3.0],
        min: Some(0.5),
        max: Some(4.0),
        ..HistogramDataPoint::default()
    };
    let exponential = ExponentialHistogramDataPoint {
        attributes: attributes.clone(),
        count: 7,
        zero_count: 1,
        scale: 1,
        positive: Some(Buckets { offset: -1, bucket_counts: vec![1, 2] }),
        negative: Some(Buckets { offset: 1, bucket_counts: vec![3] }),
        ..ExponentialHistogramDataPoint::default()
    };
    let summary = SummaryDataPoint {
        attributes: attributes.clone(),
        count: 4,
        sum: 8.5,
        quantile_values: vec![ValueAtQuantile { quantile: 0.5, value: 2.0 }],
        ..SummaryDataPoint::default()
    };
    let kinds = [
        Data::Sum(Sum {
            data_points: vec![number(Number::AsInt(3)), number(Number::AsDouble(2.5))],
            aggregation_temporality: 1,
            is_monotonic: true,
        }),
        Data::Histogram(Histogram { data_points: vec![histogram.clone(), histogram], aggregation_temporality: 2 }),
        Data::ExponentialHistogram(ExponentialHistogram {
            data_points: vec![exponential.clone(), exponential],
            aggregation_temporality: 2,
        }),
        Data::Summary(Summary { data_points: vec![summary.clone(), summary] }),
    ];
    let metric = |data| Metric { name: "m".into(), unit: "s".into(), data: Some(data), ..Metric::default() };
    kinds.into_iter().map(|data| metric(data).encode_to_vec()).collect()
});

const CONTEXTS: [Context; 7] = [
    Context::Log,
    Context::Resource,
    Context::Scope,
    Context::Span,
    Context::SpanEvent,
    Context::Metric,
    Context::DataPoint,
];

/// A text, and behind its first zero byte a message to run it on beside the record.
pub fn text(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let Ok(text) = std::str::from_utf8(parts.next().unwrap_or_default()) else { return };
    let message = parts.next().unwrap_or_default();
    for context in CONTEXTS {
        let syntax = Syntax { context, prefixed: false, cache: true };
        if let Ok(condition) = Condition::parse_as(text, syntax) {
            _ = condition.matches(&scene(message).view());
            _ = condition.matches(&scene(&RECORD).view());
        }
        let Ok(statement) = Statement::parse(text, syntax) else { continue };
        _ = statement.run(&mut scene(message));
        let mut scene = scene(&RECORD);
        let outcome = statement.run(&mut scene);
        if context == Context::Log {
            assert!(LogRecord::decode(scene.item.bytes()).is_ok(), "{text:?} breaks the record");
            assert!(outcome.is_ok() || !scene.item.is_changed(), "{text:?} fails half-way");
        }
        if matches!(context, Context::Metric | Context::DataPoint) {
            METRICS.iter().for_each(|metric| on_metric(text, &statement, context, metric));
        }
    }
}

/// Run on a valid metric, or on its first point, it leaves a valid one, and so is each that it makes.
fn on_metric(text: &str, statement: &Statement, context: Context, metric: &[u8]) {
    let draft = |message| MessageEdit::new(message, Edits::default());
    let Some((points, holder)) = points_of(metric) else { return };
    let (shell, piece) = match context {
        Context::DataPoint => {
            let mut shell = Vec::new();
            put_without_points(&mut shell, metric, points, &holder);
            (shell, points_in(&holder).next().unwrap_or_default().to_vec())
        }
        _ => (metric.to_vec(), Vec::new()),
    };
    let none = ChangedPieces::default();
    let around = PointsAround { holder: &holder, changed: &none, at: 0 };
    let mut scene = EditTarget {
        item: draft(&shell),
        piece: draft(&piece),
        points,
        around: (context == Context::DataPoint).then_some(around),
        made: MadeMetrics { left: 1 << 16, ..MadeMetrics::default() },
        ..EditTarget::default()
    };
    let outcome = statement.run(&mut scene);
    assert!(Metric::decode(scene.item.bytes()).is_ok(), "{text:?} breaks the metric");
    for made in &scene.made.list {
        assert!(Metric::decode(&made[..]).is_ok(), "{text:?} makes no metric");
        assert!(made.len() <= 1 << 16, "{text:?} makes too much");
    }
    let untouched = !scene.item.is_changed() && !scene.piece.is_changed() && scene.made.list.is_empty();
    assert!(outcome.is_ok() || untouched, "{text:?} fails half-way");
}

fn scene(message: &[u8]) -> EditTarget<'_> {
    let draft = || MessageEdit::new(message, Edits::default());
    EditTarget {
        resource: draft(),
        scope: draft(),
        item: draft(),
        piece: draft(),
        points: Points::Gauge,
        ..EditTarget::default()
    }
}

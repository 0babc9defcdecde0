//! OTTL: any text is a statement, a condition or a fault; run on a valid record it leaves a valid record.

use std::sync::LazyLock;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use podgate::ottl::{Condition, Context, EditTarget, Edits, MessageEdit, Points, Statement, Syntax};
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
    }
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

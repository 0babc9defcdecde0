//! Requests as readable lines, in the Collector's layout (internal/otlptext). Works on OTLP/JSON values and trusts no field
//! to be there.

use std::fmt::Write;

use jiff::Timestamp;
use serde_json::Value;

use crate::core::payload::{Payload, Signal};

/// What the layers of one signal are called, in the request and on the screen.
struct Words {
    title: &'static str,
    groups: &'static str,
    scopes: &'static str,
    items: &'static str,
    group_title: &'static str,
    scope_title: &'static str,
    item_title: &'static str,
}

fn words(signal: Signal) -> Words {
    let (title, groups, scopes, items, group_title, scope_title, item_title) = match signal {
        Signal::Traces => ("Traces", "resourceSpans", "scopeSpans", "spans", "ResourceSpans", "ScopeSpans", "Span"),
        Signal::Metrics => {
            ("Metrics", "resourceMetrics", "scopeMetrics", "metrics", "ResourceMetrics", "ScopeMetrics", "Metric")
        }
        Signal::Logs => ("Logs", "resourceLogs", "scopeLogs", "logRecords", "ResourceLog", "ScopeLogs", "LogRecord"),
        Signal::Profiles => (
            "Profiles",
            "resourceProfiles",
            "scopeProfiles",
            "profiles",
            "ResourceProfiles",
            "ScopeProfiles",
            "Profile",
        ),
    };
    Words { title, groups, scopes, items, group_title, scope_title, item_title }
}

/// One line: how many resources and items a request has. Decodes nothing.
pub fn summary(payload: &Payload) -> String {
    let groups = payload.envelope.groups.len();
    let (messages, items) = (payload.envelope.messages(), payload.items);
    let title = words(payload.signal).title;
    let counts = match payload.signal {
        Signal::Traces => format!("\"resource spans\": {groups}, \"spans\": {items}"),
        Signal::Metrics => format!("\"resource metrics\": {groups}, \"metrics\": {messages}, \"data points\": {items}"),
        Signal::Logs => format!("\"resource logs\": {groups}, \"log records\": {items}"),
        Signal::Profiles => format!("\"resource profiles\": {groups}, \"profiles\": {messages}"),
    };
    format!("{title}\t{{{counts}}}\n")
}

/// One line per item.
pub fn normal(signal: Signal, request: &Value, out: &mut String) {
    let words = words(signal);
    for (at, group) in list(request, words.groups).enumerate() {
        let resource = pairs(&group["resource"]["attributes"]);
        line(out, format_args!("{} #{at} {resource}", words.group_title));
        for (at, scope) in list(group, words.scopes).enumerate() {
            let named = &scope["scope"];
            line(out, format_args!("{} #{at} {} {}", words.scope_title, text(named, "name"), text(named, "version")));
            list(scope, words.items).for_each(|item| line(out, format_args!("{}", brief(signal, item))));
        }
    }
}

fn brief(signal: Signal, item: &Value) -> String {
    let attributes = pairs(&item["attributes"]);
    match signal {
        Signal::Traces => {
            format!("{} {} {} {attributes}", text(item, "name"), text(item, "traceId"), text(item, "spanId"))
        }
        Signal::Logs => format!("{} {attributes}", plain(&item["body"])),
        Signal::Metrics => {
            let points = points(item).map(|(_, point)| {
                let value = ["asInt", "asDouble", "count"].iter().find_map(|key| point.get(key)).map(scalar);
                format!("{}{{{}}} {}", text(item, "name"), pairs(&point["attributes"]), value.unwrap_or_default())
            });
            points.collect::<Vec<_>>().join("\n")
        }
        Signal::Profiles => format!("{} samples={}", text(item, "profileId"), list(item, "samples").count()),
    }
}

/// Every field of every item.
pub fn detailed(signal: Signal, request: &Value, out: &mut String) {
    let words = words(signal);
    for (at, group) in list(request, words.groups).enumerate() {
        line(out, format_args!("{} #{at}", words.group_title));
        line(out, format_args!("Resource SchemaURL: {}", text(group, "schemaUrl")));
        attributes("Resource attributes:", &group["resource"], "", out);
        for (at, scope) in list(group, words.scopes).enumerate() {
            line(out, format_args!("{} #{at}", words.scope_title));
            line(out, format_args!("{} SchemaURL: {}", words.scope_title, text(scope, "schemaUrl")));
            let named = &scope["scope"];
            line(out, format_args!("InstrumentationScope {} {}", text(named, "name"), text(named, "version")));
            attributes("InstrumentationScope attributes:", named, "", out);
            for (at, item) in list(scope, words.items).enumerate() {
                line(out, format_args!("{} #{at}", words.item_title));
                match signal {
                    Signal::Traces => span(item, out),
                    Signal::Logs => log_record(item, out),
                    Signal::Metrics => metric(item, out),
                    Signal::Profiles => line(out, format_args!("{item}")),
                }
            }
        }
    }
    out.push('\n');
}

fn span(span: &Value, out: &mut String) {
    let status = &span["status"];
    field(out, "Trace ID", text(span, "traceId"));
    field(out, "Parent ID", text(span, "parentSpanId"));
    field(out, "ID", text(span, "spanId"));
    field(out, "Name", text(span, "name"));
    field(out, "Kind", named(span, "kind", &["Unspecified", "Internal", "Server", "Client", "Producer", "Consumer"]));
    field(out, "Start time", time(span, "startTimeUnixNano"));
    field(out, "End time", time(span, "endTimeUnixNano"));
    field(out, "Status code", named(status, "code", &["Unset", "Ok", "Error"]));
    field(out, "Status message", text(status, "message"));
    if let Some(state) = span.get("traceState") {
        field(out, "TraceState", scalar(state));
    }
    attributes("Attributes:", span, "", out);
    for (at, event) in list(span, "events").enumerate() {
        if at == 0 {
            line(out, format_args!("Events:"));
        }
        line(out, format_args!("SpanEvent #{at}"));
        line(out, format_args!("     -> Name: {}", text(event, "name")));
        line(out, format_args!("     -> Timestamp: {}", time(event, "timeUnixNano")));
        attributes("     -> Attributes::", event, "     ", out);
    }
    for (at, link) in list(span, "links").enumerate() {
        if at == 0 {
            line(out, format_args!("Links:"));
        }
        line(out, format_args!("SpanLink #{at}"));
        line(out, format_args!("     -> Trace ID: {}", text(link, "traceId")));
        line(out, format_args!("     -> ID: {}", text(link, "spanId")));
        attributes("     -> Attributes::", link, "     ", out);
    }
}

fn log_record(record: &Value, out: &mut String) {
    line(out, format_args!("ObservedTimestamp: {}", time(record, "observedTimeUnixNano")));
    line(out, format_args!("Timestamp: {}", time(record, "timeUnixNano")));
    line(out, format_args!("SeverityText: {}", text(record, "severityText")));
    line(out, format_args!("SeverityNumber: {}", text(record, "severityNumber")));
    if let Some(name) = record.get("eventName") {
        line(out, format_args!("EventName: {}", scalar(name)));
    }
    line(out, format_args!("Body: {}", typed(&record["body"])));
    attributes("Attributes:", record, "", out);
    line(out, format_args!("Trace ID: {}", text(record, "traceId")));
    line(out, format_args!("Span ID: {}", text(record, "spanId")));
    line(out, format_args!("Flags: {}", text(record, "flags")));
}

fn metric(metric: &Value, out: &mut String) {
    line(out, format_args!("Descriptor:"));
    line(out, format_args!("     -> Name: {}", text(metric, "name")));
    line(out, format_args!("     -> Description: {}", text(metric, "description")));
    line(out, format_args!("     -> Unit: {}", text(metric, "unit")));
    let mut kind = "";
    for (at, (of, point)) in points(metric).enumerate() {
        if kind.is_empty() {
            line(out, format_args!("     -> DataType: {of}"));
        }
        kind = of;
        line(out, format_args!("{of}DataPoints #{at}"));
        attributes("Data point attributes:", point, "", out);
        line(out, format_args!("StartTimestamp: {}", time(point, "startTimeUnixNano")));
        line(out, format_args!("Timestamp: {}", time(point, "timeUnixNano")));
        for (key, title) in [
            ("asInt", "Value"),
            ("asDouble", "Value"),
            ("count", "Count"),
            ("sum", "Sum"),
            ("min", "Min"),
            ("max", "Max"),
        ] {
            if let Some(value) = point.get(key) {
                line(out, format_args!("{title}: {}", scalar(value)));
            }
        }
        let buckets = list(point, "explicitBounds").zip(list(point, "bucketCounts"));
        for (at, (bound, count)) in buckets.enumerate() {
            line(out, format_args!("Buckets #{at}, Bound: {}, Count: {}", scalar(bound), scalar(count)));
        }
        for quantile in list(point, "quantileValues") {
            line(out, format_args!("QuantileValue {}: {}", text(quantile, "quantile"), text(quantile, "value")));
        }
    }
}

/// Data points of a metric with the name of their kind.
fn points(metric: &Value) -> impl Iterator<Item = (&'static str, &Value)> {
    let kinds = [
        ("gauge", "Gauge"),
        ("sum", "Sum"),
        ("histogram", "Histogram"),
        ("exponentialHistogram", "ExponentialHistogram"),
        ("summary", "Summary"),
    ];
    kinds.into_iter().flat_map(|(key, name)| list(&metric[key], "dataPoints").map(move |point| (name, point)))
}

fn attributes(title: &str, owner: &Value, indent: &str, out: &mut String) {
    for (at, pair) in list(owner, "attributes").enumerate() {
        if at == 0 {
            line(out, format_args!("{title}"));
        }
        line(out, format_args!("{indent}     -> {}: {}", text(pair, "key"), typed(&pair["value"])));
    }
}

/// `key=value` pairs in one line.
fn pairs(attributes: &Value) -> String {
    let pairs = attributes.as_array().into_iter().flatten();
    pairs.map(|pair| format!("{}={}", text(pair, "key"), plain(&pair["value"]))).collect::<Vec<_>>().join(" ")
}

/// A value with its type: `Str(x)`, `Int(5)`, `Map({...})`.
fn typed(value: &Value) -> String {
    let name = match only(value) {
        None => return "Empty()".to_owned(),
        Some(("stringValue", _)) => "Str",
        Some(("intValue", _)) => "Int",
        Some(("doubleValue", _)) => "Double",
        Some(("boolValue", _)) => "Bool",
        Some(("bytesValue", _)) => "Bytes",
        Some(("arrayValue", _)) => "Slice",
        Some(("kvlistValue", _)) => "Map",
        Some((other, _)) => other,
    };
    format!("{name}({})", plain(value))
}

/// A value alone; lists and maps as JSON of their plain values.
fn plain(value: &Value) -> String {
    match only(value) {
        None => String::new(),
        Some(("arrayValue" | "kvlistValue", _)) => simple(value).to_string(),
        Some((_, inner)) => scalar(inner),
    }
}

/// An OTLP value as ordinary JSON. Depth is bounded by the transcoder that made it.
fn simple(value: &Value) -> Value {
    match only(value) {
        Some(("arrayValue", inner)) => list(inner, "values").map(simple).collect(),
        Some(("kvlistValue", inner)) => {
            let pairs = list(inner, "values").map(|pair| (text(pair, "key"), simple(&pair["value"])));
            Value::Object(pairs.collect())
        }
        Some((_, inner)) => inner.clone(),
        None => Value::Null,
    }
}

fn only(value: &Value) -> Option<(&str, &Value)> {
    value.as_object()?.iter().next().map(|(key, inner)| (key.as_str(), inner))
}

fn list<'a>(owner: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    owner.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn scalar(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn text(owner: &Value, key: &str) -> String {
    owner.get(key).map(scalar).unwrap_or_default()
}

fn named(owner: &Value, key: &str, names: &[&str]) -> String {
    let number = owner.get(key).and_then(Value::as_u64).unwrap_or(0);
    let known = usize::try_from(number).ok().and_then(|at| names.get(at));
    known.map_or_else(|| number.to_string(), |name| (*name).to_owned())
}

/// `2026-11-21 08:49:37.000000001 +0000 UTC`, as Go prints times; zero is the epoch.
fn time(owner: &Value, key: &str) -> String {
    let nanos: i128 = text(owner, key).parse().unwrap_or(0);
    match Timestamp::from_nanosecond(nanos) {
        Ok(at) => at.to_string().replace('T', " ").replace('Z', " +0000 UTC"),
        Err(_) => nanos.to_string(),
    }
}

fn field(out: &mut String, name: &str, value: String) {
    line(out, format_args!("    {name:<15}: {value}"));
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{text}");
}

//! Requests as readable lines, laid out as the Collector's (internal/normal, internal/otlptext), but for the buckets of
//! exponential histograms, which only `detailed` has, and for what `normal` says of a span's and a record's time. Works on OTLP/JSON values and trusts no field to be there, nor to be
//! harmless: what a terminal would obey is written out.

use jiff::Timestamp;
use serde_json::Value;

use crate::core::data::payload::{Payload, Signal};
use crate::core::visible;
use crate::otlp::span::KIND_WORDS;

const STATUS: &[&str] = &["Unset", "Ok", "Error"];

/// How much is shown of each item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    Normal,
    Detailed,
}

/// What the layers of one signal are called, in the request and on the screen.
pub struct SignalWords {
    title: &'static str,
    pub groups: &'static str,
    pub scopes: &'static str,
    pub items: &'static str,
    group_title: &'static str,
    scope_title: &'static str,
    item_title: &'static str,
}

pub fn words(signal: Signal) -> SignalWords {
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
    SignalWords { title, groups, scopes, items, group_title, scope_title, item_title }
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

/// The head of a group, `at`th of its request: its resource.
pub fn group(signal: Signal, style: Detail, at: usize, group: &Value, out: &mut String) {
    let title = words(signal).group_title;
    if style == Detail::Normal {
        return line(out, format_args!("{title} #{at} {}", pairs(&group["resource"]["attributes"])));
    }
    line(out, format_args!("{title} #{at}"));
    line(out, format_args!("Resource SchemaURL: {}", text(group, "schemaUrl")));
    attributes("Resource attributes:", &group["resource"], "", out);
}

/// The head of a scope, `at`th of its group.
pub fn scope(signal: Signal, style: Detail, at: usize, scope: &Value, out: &mut String) {
    let (title, named) = (words(signal).scope_title, &scope["scope"]);
    let (name, version) = (text(named, "name"), text(named, "version"));
    if style == Detail::Normal {
        return line(out, format_args!("{title} #{at} {name} {version}"));
    }
    line(out, format_args!("{title} #{at}"));
    line(out, format_args!("{title} SchemaURL: {}", text(scope, "schemaUrl")));
    line(out, format_args!("InstrumentationScope {name} {version}"));
    attributes("InstrumentationScope attributes:", named, "", out);
}

/// An item, `at`th of its scope: one line, or every field of it.
pub fn item(signal: Signal, style: Detail, at: usize, item: &Value, out: &mut String) {
    if style == Detail::Normal {
        return match signal {
            Signal::Metrics => brief_metric(item, out),
            _ => line(out, format_args!("{}", brief(signal, item))),
        };
    }
    line(out, format_args!("{} #{at}", words(signal).item_title));
    match signal {
        Signal::Traces => span(item, out),
        Signal::Logs => log_record(item, out),
        Signal::Metrics => metric(item, out),
        Signal::Profiles => line(out, format_args!("{item}")),
    }
}

/// Instead of what is not shown.
pub fn instead(why: std::fmt::Arguments<'_>, out: &mut String) {
    line(out, format_args!("({why})"));
}

fn brief(signal: Signal, item: &Value) -> String {
    let attributes = pairs(&item["attributes"]);
    match signal {
        Signal::Traces => {
            let ids = format!("{} {} {}", text(item, "name"), text(item, "traceId"), text(item, "spanId"));
            format!("{ids} {} {attributes}", of_span(item))
        }
        Signal::Logs => format!("{} {}{attributes}", plain(&item["body"]), of_record(item)),
        Signal::Metrics | Signal::Profiles => {
            format!("{} samples={}", text(item, "profileId"), list(item, "samples").count())
        }
    }
}

/// What one wants to know of a span before its attributes, and the Collector does not print: when, how long, how it went.
fn of_span(span: &Value) -> String {
    let (from, to) = (nanos(span, "startTimeUnixNano"), nanos(span, "endTimeUnixNano"));
    let (status, kind) = (named(&span["status"], "code", STATUS), named(span, "kind", &KIND_WORDS));
    let mut words = format!("start={} duration={} status={status} kind={kind}", moment(from), span_of(to - from));
    for (key, name) in [("message", "message"), ("parentSpanId", "parent")] {
        let owner = if key == "message" { &span["status"] } else { span };
        let value = text(owner, key);
        if !value.is_empty() {
            words = format!("{words} {name}={value}");
        }
    }
    words
}

/// A record's time and severity, each with a blank behind it; what it does not have is left out.
fn of_record(record: &Value) -> String {
    let times = [nanos(record, "timeUnixNano"), nanos(record, "observedTimeUnixNano")];
    let time = times.into_iter().find(|nanos| *nanos > 0).map(|nanos| format!("time={} ", moment(nanos)));
    let severity = Some(text(record, "severityText")).filter(|text| !text.is_empty());
    time.unwrap_or_default() + &severity.map(|severity| format!("severity={severity} ")).unwrap_or_default()
}

/// `2026-11-30T09:31:46.123Z`: milliseconds are what an eye compares.
fn moment(nanos: i128) -> String {
    Timestamp::from_nanosecond(nanos).map_or_else(|_| nanos.to_string(), |at| format!("{at:.3}"))
}

/// `550ms`, `1.2s`, `17.35us`: two digits behind the point at most.
fn span_of(nanos: i128) -> String {
    let (unit, name) = match nanos.unsigned_abs() {
        0..1_000 => (1.0, "ns"),
        1_000..1_000_000 => (1e3, "us"),
        1_000_000..1_000_000_000 => (1e6, "ms"),
        _ => (1e9, "s"),
    };
    let digits = format!("{:.2}", nanos as f64 / unit);
    format!("{}{name}", digits.trim_end_matches('0').trim_end_matches('.'))
}

/// One line per data point.
fn brief_metric(metric: &Value, out: &mut String) {
    for (_, point) in points(metric) {
        let (name, attributes) = (text(metric, "name"), pairs(&point["attributes"]));
        line(out, format_args!("{name}{{{attributes}}} {}", brief_value(point)));
    }
}

/// A number; of a distribution its count, sum and extremes, then its buckets or quantiles.
fn brief_value(point: &Value) -> String {
    if let Some(number) = ["asInt", "asDouble"].iter().find_map(|key| point.get(key)) {
        return scalar(number);
    }
    let sums = ["count", "sum", "min", "max"].iter();
    let mut words: Vec<String> = sums.filter_map(|key| Some(format!("{key}={}", scalar(point.get(key)?)))).collect();
    let mut bounds = list(point, "explicitBounds");
    // granted: within the tree's room, of which a bucket takes a tenth
    words.extend(list(point, "bucketCounts").map(|count| match bounds.next() {
        Some(bound) => format!("le{}={}", scalar(bound), scalar(count)),
        None => scalar(count),
    }));
    let quantiles = list(point, "quantileValues");
    // granted: as above
    words.extend(quantiles.map(|value| format!("q{}={}", text(value, "quantile"), text(value, "value"))));
    words.join(" ")
}

fn span(span: &Value, out: &mut String) {
    let status = &span["status"];
    field(out, "Trace ID", text(span, "traceId"));
    field(out, "Parent ID", text(span, "parentSpanId"));
    field(out, "ID", text(span, "spanId"));
    field(out, "Name", text(span, "name"));
    field(out, "Kind", named(span, "kind", &KIND_WORDS));
    field(out, "Start time", time(span, "startTimeUnixNano"));
    field(out, "End time", time(span, "endTimeUnixNano"));
    field(out, "Status code", named(status, "code", STATUS));
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

fn nanos(owner: &Value, key: &str) -> i128 {
    text(owner, key).parse().unwrap_or(0)
}

/// `2026-11-21 08:49:37.000000001 +0000 UTC`, as Go prints times; zero is the epoch.
fn time(owner: &Value, key: &str) -> String {
    let nanos = nanos(owner, key);
    match Timestamp::from_nanosecond(nanos) {
        Ok(at) => at.to_string().replace('T', " ").replace('Z', " +0000 UTC"),
        Err(_) => nanos.to_string(),
    }
}

fn field(out: &mut String, name: &str, value: String) {
    line(out, format_args!("    {name:<15}: {value}"));
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.push_str(&visible::escape(&text.to_string()));
    out.push('\n');
}

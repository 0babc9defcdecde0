//! `service::telemetry`: what podgate says of itself. Read here into plain values with defaults; src/telemetry acts on them.
//!
//! ```yaml
//! service:
//!   telemetry:
//!     metrics:
//!       readers:
//!       - pull: {exporter: {prometheus: {host: 0.0.0.0, port: 8888}}}
//!     logs: {level: info, encoding: console, initial_fields: {cluster: eu-1}}
//!     resource: {service.name: podgate}
//! ```

use crate::config::auth::{self, AuthReference};
use crate::config::check::{Section, text_of};
use crate::config::server::{self, PageLock, ServerTlsKeys};
use crate::config::value::address;
use crate::core::diagnostic::code;
use crate::core::node::{Node, Place, Value};
use crate::core::report::labels;
use crate::core::stage::auth::AuthSide;

/// What podgate tells about itself, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Telemetry {
    /// Where metrics are served in Prometheus form; empty when nothing listens.
    pub metrics: Vec<PrometheusReader>,
    pub logs: Logs,
    /// Attributes of podgate's own resource, in the order written.
    pub resource: Vec<(String, String)>,
}

impl Default for Telemetry {
    fn default() -> Telemetry {
        Telemetry { metrics: vec![PrometheusReader::default()], logs: Logs::default(), resource: Vec::new() }
    }
}

/// One `pull` reader.
#[derive(Clone, Debug, PartialEq)]
pub struct PrometheusReader {
    pub host: String,
    pub port: u16,
    /// Leaves the `_total` suffix of counters away.
    pub without_type_suffix: bool,
    /// Leaves units such as `_bytes` and `_seconds` away.
    pub without_units: bool,
    /// Leaves `otel_scope_*` labels away. podgate has none, so this changes nothing.
    pub without_scope_info: bool,
    /// `podgate: {tls, auth}`; a Collector serves this page plainly to anyone.
    pub tls: Option<ServerTlsKeys>,
    pub auth: Option<AuthReference>,
    /// Where the reader is written; the start of nothing when it is the default.
    pub place: Place,
}

impl Default for PrometheusReader {
    fn default() -> PrometheusReader {
        PrometheusReader {
            host: "127.0.0.1".to_owned(),
            port: 8888,
            without_type_suffix: false,
            without_units: false,
            without_scope_info: false,
            tls: None,
            auth: None,
            place: Place::default(),
        }
    }
}

impl PrometheusReader {
    /// By what its page is locked.
    pub fn lock(&self) -> PageLock {
        PageLock { tls: self.tls.clone(), auth: self.auth.as_ref().map(|auth| auth.id.to_string()) }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Logs {
    pub level: LogLevel,
    pub encoding: LogEncoding,
    /// Fields that every line carries.
    pub initial_fields: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    Debug,
    #[default]
    Info,
    Warn,
    Error,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogEncoding {
    #[default]
    Console,
    Json,
}

/// Reads the section and reports what is wrong in it.
pub fn read(section: Section<'_>) -> Telemetry {
    let mut telemetry = Telemetry::default();
    if let Some(metrics) = section.section("metrics") {
        telemetry.metrics = read_metrics(metrics);
    }
    if let Some(logs) = section.section("logs") {
        telemetry.logs = read_logs(logs);
    }
    if let Some(traces) = section.section("traces") {
        read_traces(traces);
    }
    if let Some(resource) = section.section("resource") {
        telemetry.resource = read_resource(resource);
        warn_of_collisions(&section, &telemetry.resource);
    }
    section.finish();
    telemetry
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Off,
    On,
}

const LEVELS: [(&str, Level); 4] =
    [("none", Level::Off), ("basic", Level::On), ("normal", Level::On), ("detailed", Level::On)];

fn read_metrics(section: Section<'_>) -> Vec<PrometheusReader> {
    let level = section.level("level", &LEVELS).unwrap_or(Level::On);
    if section.node("address").is_some() {
        let help = "write readers: [{pull: {exporter: {prometheus: {host: 0.0.0.0, port: 8888}}}}]";
        section.error("address", code::RETIRED, "`address` was replaced by `readers`", Some(help));
    }
    section.not_yet(&["views"]);
    let readers = match section.list("readers") {
        None => vec![PrometheusReader::default()],
        Some(items) => {
            if items.is_empty() && level == Level::On {
                let help = "set `level: none` to serve no metrics";
                section.error("readers", code::INVALID_VALUE, "no reader is listed", Some(help));
            }
            let path = section.child_path("readers");
            let read = |(at, item)| read_reader(Section::new(item, format!("{path}::{at}"), section.diagnostics()));
            items.iter().enumerate().filter_map(read).collect()
        }
    };
    section.finish();
    if level == Level::Off { Vec::new() } else { readers }
}

fn read_reader(section: Section<'_>) -> Option<PrometheusReader> {
    section.not_yet(&["periodic"]);
    let reader = section.section("pull").and_then(read_pull);
    if section.is_empty() {
        section.missing::<()>("pull", "{exporter: {prometheus: {host: 0.0.0.0, port: 8888}}}");
    }
    section.finish();
    reader
}

fn read_pull(pull: Section<'_>) -> Option<PrometheusReader> {
    pull.not_yet(&["producers", "cardinality_limits"]);
    let exporter = pull.section("exporter").filter(|exporter| !exporter.is_empty());
    if exporter.is_none() {
        pull.missing::<()>("exporter", "{prometheus: {host: 0.0.0.0, port: 8888}}");
    }
    pull.finish();
    let exporter = exporter?;
    let reader = exporter.section("prometheus").map(read_prometheus);
    exporter.finish();
    reader
}

fn read_prometheus(section: Section<'_>) -> PrometheusReader {
    let default = PrometheusReader::default();
    let port = section.u64("port").and_then(|port| {
        u16::try_from(port)
            .ok()
            .or_else(|| section.invalid("port", format!("{port} is not a port"), "a port from 0 to 65535"))
    });
    section.not_yet(&["with_resource_constant_labels"]);
    let own = section.section("podgate");
    let tls = own.as_ref().and_then(server::tls);
    let auth = own.as_ref().and_then(|own| auth::reference(own, AuthSide::Server));
    own.into_iter().for_each(Section::finish);
    section.string("host");
    let host = section.node("host").and_then(address::text);
    let reader = PrometheusReader {
        host: host.filter(|host| !host.is_empty()).unwrap_or(default.host),
        port: port.unwrap_or(default.port),
        without_type_suffix: section.bool("without_type_suffix").unwrap_or(false),
        without_units: section.bool("without_units").unwrap_or(false),
        without_scope_info: section.bool("without_scope_info").unwrap_or(false),
        tls,
        auth,
        place: section.place(),
    };
    section.finish();
    reader
}

/// The last three are the Collector's words for what ends the process there.
const LOG_LEVELS: [(&str, LogLevel); 7] = [
    ("debug", LogLevel::Debug),
    ("info", LogLevel::Info),
    ("warn", LogLevel::Warn),
    ("error", LogLevel::Error),
    ("dpanic", LogLevel::Error),
    ("panic", LogLevel::Error),
    ("fatal", LogLevel::Error),
];

fn read_logs(section: Section<'_>) -> Logs {
    let encodings = [("console", LogEncoding::Console), ("json", LogEncoding::Json)];
    let logs = Logs {
        level: section.level("level", &LOG_LEVELS).unwrap_or_default(),
        encoding: section.choice("encoding", &encodings).unwrap_or_default(),
        initial_fields: section.string_map("initial_fields").unwrap_or_default(),
    };
    not_yet_unless_empty(&section, "processors");
    for key in ["output_paths", "error_output_paths"] {
        // The Collector's default, written out.
        let standard = |node: &Node| node.items().len() == 1 && text_of(&node.items()[0]).as_deref() == Some("stderr");
        if !section.node(key).is_some_and(standard) {
            section.not_yet(&[key]);
        }
    }
    section.without_effect("development", "podgate has no development mode");
    section.without_effect("disable_caller", "podgate's lines never name the caller");
    section.without_effect("disable_stacktrace", "podgate's lines never carry a stack");
    section.without_effect("sampling", "podgate logs changes of state, not single items");
    section.without_effect("disable_zap_resource", "podgate's lines do not repeat the resource");
    section.finish();
    logs
}

/// podgate makes no spans of its own yet, so only what asks for none can be granted.
fn read_traces(section: Section<'_>) {
    match section.level("level", &LEVELS) {
        Some(Level::Off) => section.without_effect("processors", "`level: none` asks for no spans"),
        _ => not_yet_unless_empty(&section, "processors"),
    }
    not_yet_unless_empty(&section, "propagators");
    section.not_yet(&["sampler", "limits"]);
    section.finish();
}

fn not_yet_unless_empty(section: &Section<'_>, key: &str) {
    let asks = section.node(key).is_some_and(|node| !node.is_null() && node.value != Value::List(Vec::new()));
    if asks {
        section.not_yet(&[key]);
    }
}

/// A map of attributes, or the declarative form: `attributes: [{name, value}]`. A null value takes an attribute away.
fn read_resource(section: Section<'_>) -> Vec<(String, String)> {
    let declarative = matches!(section.node("attributes").map(|node| &node.value), Some(Value::List(_)));
    if declarative {
        let path = section.child_path("attributes");
        let items = section.list("attributes").unwrap_or_default();
        let pairs = items.iter().enumerate().filter_map(|(at, item)| {
            read_attribute(Section::new(item, format!("{path}::{at}"), section.diagnostics()))
        });
        let pairs = pairs.collect();
        section.not_yet(&["attributes_list", "detection/development"]);
        section.string("schema_url");
        section.finish();
        return pairs;
    }
    let pair = |key: &str, value: &Node| {
        let text = text_of(value);
        if text.is_none() && !value.is_null() {
            section.error(key, code::WRONG_TYPE, format!("this is {}", value.kind()), Some("an attribute is a text"));
        }
        text.map(|text| (key.to_owned(), text))
    };
    section.entries().iter().filter_map(|entry| pair(&entry.key, &entry.value)).collect()
}

/// Prometheus knows letters, digits and underscores: two attributes may come to one label.
fn warn_of_collisions(section: &Section<'_>, resource: &[(String, String)]) {
    for (at, (key, _)) in resource.iter().enumerate() {
        let label = labels::name(key);
        let Some((first, _)) = resource[..at].iter().find(|(first, _)| labels::name(first) == label) else { continue };
        let message = format!("`{key}` and `{first}` are one label, `{label}`: target_info shows `{first}` alone");
        section.warn("resource", code::LINT, message, Some("give one of them another name"));
    }
}

fn read_attribute(section: Section<'_>) -> Option<(String, String)> {
    let name = section.string("name");
    let value = section.node("value").filter(|node| !node.is_null());
    section.string("type");
    if name.is_none() {
        section.missing::<()>("name", "the attribute's key");
    }
    let text = value.and_then(text_of);
    if let (Some(value), None) = (value, &text) {
        section.error(
            "value",
            code::WRONG_TYPE,
            format!("this is {}", value.kind()),
            Some("write the value as a text"),
        );
    }
    section.finish();
    Some((name?, text?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::read::yaml;
    use crate::core::diagnostic::Diagnostics;
    use crate::core::node::SourceId;

    /// What is read, and the findings as `code path`.
    fn check(text: &str) -> (Telemetry, Vec<String>) {
        let diagnostics = Diagnostics::default();
        let tree = yaml::parse(text, SourceId(0), &diagnostics).expect("test YAML parses");
        let telemetry = read(Section::new(&tree, "telemetry", &diagnostics));
        let found = diagnostics.sorted().into_iter().map(|found| format!("{} {}", found.code, found.path));
        (telemetry, found.collect())
    }

    fn listeners(telemetry: &Telemetry) -> Vec<String> {
        telemetry.metrics.iter().map(|reader| format!("{}:{}", reader.host, reader.port)).collect()
    }

    #[test]
    fn metrics_listen_on_loopback_unless_told_otherwise() {
        let pull = |inner: &str| format!("{{pull: {{exporter: {{prometheus: {{{inner}}}}}}}}}");
        let two = format!("metrics: {{readers: [{}, {}]}}", pull("host: 0.0.0.0"), pull("port: 9999"));
        let off = format!("metrics: {{level: none, readers: [{}]}}", pull(""));
        for (text, expected) in [
            ("", vec!["127.0.0.1:8888"]),
            ("metrics:", vec!["127.0.0.1:8888"]),
            ("metrics: {level: Detailed, readers: }", vec!["127.0.0.1:8888"]),
            ("metrics: {level: none}", vec![]),
            (&two, vec!["0.0.0.0:8888", "127.0.0.1:9999"]),
            (&off, vec![]),
        ] {
            let (telemetry, found) = check(text);
            assert_eq!(listeners(&telemetry), expected, "{text}");
            assert_eq!(found, Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn reader_options_and_logs_are_taken() {
        let (telemetry, found) = check(
            "metrics: {readers: [{pull: {exporter: {prometheus: {without_units: true, without_type_suffix: true}}}}]}\n\
             logs: {level: WARN, encoding: json, initial_fields: {cluster: eu-1, shard: 007}}",
        );
        assert!(telemetry.metrics[0].without_units && telemetry.metrics[0].without_type_suffix);
        assert_eq!((telemetry.logs.level, telemetry.logs.encoding), (LogLevel::Warn, LogEncoding::Json));
        let fields = [("cluster", "eu-1"), ("shard", "007")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(telemetry.logs.initial_fields, fields);
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn the_resource_is_read_in_both_forms() {
        for text in [
            "resource: {service.name: gate, gone: , n: 1}",
            "resource: {attributes: [{name: service.name, value: gate}, {name: gone, value: }, {name: n, value: 1, type: int}]}",
        ] {
            let (telemetry, found) = check(text);
            let expected =
                [("service.name", "gate"), ("n", "1")].map(|(key, value)| (key.to_owned(), value.to_owned()));
            assert_eq!(telemetry.resource, expected, "{text}");
            assert_eq!(found, Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn what_podgate_cannot_do_is_refused_and_what_asks_for_nothing_is_not() {
        for (text, expected) in [
            (
                "metrics: {readers: [{periodic: {exporter: {otlp: }}}]}",
                vec!["E0205 telemetry::metrics::readers::0::periodic"],
            ),
            ("metrics: {readers: []}", vec!["E0203 telemetry::metrics::readers"]),
            ("metrics: {readers: [{}]}", vec!["E0204 telemetry::metrics::readers::0::pull"]),
            (
                "metrics: {readers: [{pull: {exporter: {console: }}}]}",
                vec!["E0201 telemetry::metrics::readers::0::pull::exporter::console"],
            ),
            ("metrics: {readers: [{poll: }]}", vec!["E0201 telemetry::metrics::readers::0::poll"]),
            ("metrics: {address: ':8888'}", vec!["E0206 telemetry::metrics::address"]),
            (
                "logs: {processors: [{batch: }], sampling: {enabled: false}}",
                vec!["E0205 telemetry::logs::processors", "W0402 telemetry::logs::sampling"],
            ),
            ("logs: {processors: []}", vec![]),
            ("traces: {processors: [{batch: }]}", vec!["E0205 telemetry::traces::processors"]),
            ("traces: {level: none, processors: [{batch: }]}", vec!["W0402 telemetry::traces::processors"]),
            ("traces: {processors: [], propagators: }", vec![]),
            ("resource: {a: {b: c}}", vec!["E0202 telemetry::resource::a"]),
            ("metric: ", vec!["E0201 telemetry::metric"]),
        ] {
            assert_eq!(check(text).1, expected, "{text}");
        }
    }
}

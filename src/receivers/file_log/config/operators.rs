//! The list of operators as a chain: each by its type, with its condition, its output and what it embeds.

use std::time::Duration;

use jiff::tz::TimeZone;

use crate::config::check::{Section, text_of};
use crate::config::value::pattern;
use crate::core::diagnostic::code;
use crate::core::node::{Node, Value};
use crate::receivers::file_log::condition::EntryCondition;
use crate::receivers::file_log::entry::EntryValue;
use crate::receivers::file_log::field::{EntryField, EntryPart};
use crate::receivers::file_log::operators::container::ContainerFormat;
use crate::receivers::file_log::operators::severity::{self, SeverityReading};
use crate::receivers::file_log::operators::time::{TimeLayout, TimeReading};
use crate::receivers::file_log::operators::{
    ChainStep, ContainerRule, LineOperator, OperatorChain, RecombineRule, TraceReading,
};

const STEPS_MAX: usize = 200;
const CONTAINER_BYTES_MAX: u64 = 1 << 20;
const RECOMBINE_LINES_MAX: usize = 1_000;
const RECOMBINE_UNMATCHED_MAX: usize = 100;
const RECOMBINE_BYTES_MAX: u64 = 1 << 20;
const RECOMBINE_FLUSH: Duration = Duration::from_secs(5);
const TYPES: &str = "container, json_parser, regex_parser, time_parser, severity_parser, trace_parser, move, copy, add, \
    remove, retain, router, recombine, filter or noop";

/// The names by which operators are found as outputs, in order.
struct Names {
    ids: Vec<String>,
    at: usize,
}

impl Names {
    /// A chain goes forward only.
    fn find(&self, section: &Section<'_>, key: &str, name: &str) -> Option<usize> {
        let found = self.ids.iter().position(|id| id == name);
        match found {
            Some(to) if to > self.at => Some(to),
            Some(_) => {
                let message = format!("`{name}` stands before this operator: lines would go round");
                section.invalid(key, message, "the id of an operator that follows")
            }
            None => section.invalid(key, format!("`{name}` is no operator's id"), "the id of an operator that follows"),
        }
    }
}

pub fn check(section: &Section<'_>) -> OperatorChain {
    let Some(list) = section.list("operators") else { return OperatorChain::default() };
    if list.len() > STEPS_MAX {
        let message = format!("{} operators are too many", list.len());
        section.invalid::<()>("operators", message, "at most 200");
        return OperatorChain::default();
    }
    let ids = list.iter().map(|node| {
        let text = |key: &str| node.get(key).and_then(text_of);
        text("id").or_else(|| text("type")).unwrap_or_default()
    });
    let mut names = Names { ids: ids.collect(), at: 0 };
    for (at, node) in list.iter().enumerate() {
        let id = node.get("id").and_then(text_of);
        if let Some(id) = id.filter(|id| names.ids.iter().take(at).any(|before| before == id)) {
            let message = format!("`{id}` is the id of an operator before this one, too");
            section.error("operators", code::CONFLICT, message, Some("give it an id of its own"));
        }
    }
    let mut steps = Vec::new();
    for (at, node) in list.iter().enumerate() {
        names.at = at;
        let keys = Section::new(node, format!("{}[{at}]", section.child_path("operators")), section.diagnostics());
        steps.push(step(keys, &names)); // granted: STEPS_MAX of a configuration
    }
    let needs_resource = steps.iter().any(ChainStep::needs_resource);
    OperatorChain { steps, needs_resource }
}

fn step(keys: Section<'_>, names: &Names) -> ChainStep {
    keys.string("id");
    let Some(kind) = keys.string("type") else {
        keys.missing::<()>("type", TYPES);
        return ChainStep { output: names.at + 1, ..nothing() };
    };
    let condition = keys.string("if").and_then(|text| condition(&keys, "if", &text));
    let output = match keys.node("output").filter(|node| !node.is_null()) {
        Some(node) if matches!(node.value, Value::List(_)) && node.items().len() > 1 => {
            let message = "lines go to one operator here; a router chooses among several";
            keys.error("output", code::NOT_YET, message, Some("name one output"));
            None
        }
        Some(_) => keys.strings("output").and_then(|names| names.into_iter().next()),
        None => None,
    };
    let output = output.and_then(|name| names.find(&keys, "output", &name)).unwrap_or(names.at + 1);
    let errors = [("send", false), ("send_quiet", false), ("drop", true), ("drop_quiet", true)];
    let drops_failed = keys.choice("on_error", &errors).unwrap_or(false);
    let what = operator(&keys, &kind, names);
    let embedded = if matches!(what, Some(LineOperator::Json { .. } | LineOperator::Regex { .. })) {
        embedded(&keys)
    } else {
        Vec::new()
    };
    keys.finish();
    ChainStep { what: what.unwrap_or(LineOperator::Noop), condition, embedded, output, drops_failed }
}

fn nothing() -> ChainStep {
    ChainStep { what: LineOperator::Noop, condition: None, embedded: Vec::new(), output: 1, drops_failed: false }
}

fn condition(keys: &Section<'_>, key: &str, text: &str) -> Option<EntryCondition> {
    match EntryCondition::parse(text) {
        Ok(condition) => Some(condition),
        Err(why) => keys.invalid(key, why, "comparisons of fields, such as attributes.level == 'info'"),
    }
}

fn required_condition(keys: &Section<'_>, key: &str) -> Option<EntryCondition> {
    match keys.string(key) {
        Some(text) => condition(keys, key, &text),
        None => keys.missing(key, "a condition, such as body matches '^{'"),
    }
}

/// A field; all attributes or the whole resource are none.
fn field(keys: &Section<'_>, key: &str) -> Option<EntryField> {
    let field = any_field(keys, key)?;
    if field.keys.is_empty() && field.part != EntryPart::Body {
        return keys.invalid(key, "all of them are no field", "one of them, such as attributes.NAME");
    }
    Some(field)
}

fn any_field(keys: &Section<'_>, key: &str) -> Option<EntryField> {
    let text = keys.string(key)?;
    match EntryField::parse(&text) {
        Ok(field) => Some(field),
        Err(why) => keys.invalid(key, why, "body, attributes.NAME, attributes[\"NAME\"] or resource.NAME"),
    }
}

fn required(keys: &Section<'_>, key: &str) -> Option<EntryField> {
    if keys.node(key).is_none() {
        return keys.missing(key, "a field, such as attributes.level");
    }
    field(keys, key)
}

fn parsed(keys: &Section<'_>) -> (EntryField, EntryField) {
    let whole = EntryField::parse("attributes").unwrap_or_else(|_| EntryField::body());
    (field(keys, "parse_from").unwrap_or_else(EntryField::body), any_field(keys, "parse_to").unwrap_or(whole))
}

fn operator(keys: &Section<'_>, kind: &str, names: &Names) -> Option<LineOperator> {
    Some(match kind {
        "noop" => LineOperator::Noop,
        "container" => container(keys),
        "json_parser" => {
            let (from, to) = parsed(keys);
            LineOperator::Json { from, to, keeps_ints: keys.bool("parse_ints").unwrap_or(false) }
        }
        "regex_parser" => regex(keys)?,
        "time_parser" => time(keys)?,
        "severity_parser" => LineOperator::Severity(severity(keys)?),
        "trace_parser" => LineOperator::Trace(trace(keys)),
        "move" => LineOperator::Move { from: required(keys, "from")?, to: required(keys, "to")? },
        "copy" => LineOperator::Copy { from: required(keys, "from")?, to: required(keys, "to")? },
        "add" => add(keys)?,
        "remove" => match keys.node("field") {
            Some(_) => LineOperator::Remove(any_field(keys, "field")?),
            None => return keys.missing("field", "a field, such as attributes.level"),
        },
        "retain" => {
            let texts = keys.strings("fields").unwrap_or_default();
            if texts.is_empty() {
                return keys.missing("fields", "fields such as attributes.level");
            }
            let fields = texts.iter().filter_map(|text| match EntryField::parse(text) {
                Ok(field) if field.keys.is_empty() && field.part != EntryPart::Body => {
                    keys.invalid("fields", "all of them are no field", "fields such as attributes.level")
                }
                Ok(field) => Some(field),
                Err(why) => keys.invalid("fields", why, "fields such as attributes.level"),
            });
            LineOperator::Retain(fields.collect())
        }
        "filter" => {
            if keys.f64("drop_ratio").is_some_and(|ratio| ratio < 1.0) {
                let message = "a part of the lines cannot be dropped by chance";
                keys.error("drop_ratio", code::NOT_YET, message, Some("use the probabilistic_sampler processor"));
            }
            LineOperator::Filter(required_condition(keys, "expr")?)
        }
        "router" => router(keys, names),
        "recombine" => recombine(keys)?,
        other => {
            let message = format!("the operator `{other}` is not supported");
            keys.error(
                "type",
                code::NOT_YET,
                message,
                Some(&format!("use {TYPES}, or a processor behind the receiver")),
            );
            return None;
        }
    })
}

fn container(keys: &Section<'_>) -> LineOperator {
    let formats = [
        ("docker", ContainerFormat::Docker),
        ("crio", ContainerFormat::Crio),
        ("containerd", ContainerFormat::Containerd),
    ];
    let format = if keys.string("format").is_some_and(|format| !format.is_empty()) {
        keys.choice("format", &formats)
    } else {
        None
    };
    let names_pod = keys.bool("add_metadata_from_filepath").unwrap_or(true);
    let bytes_max = keys.bytes("max_log_size").unwrap_or(CONTAINER_BYTES_MAX);
    if keys.string("parse_from").is_some_and(|from| from != "body") {
        let message = "container lines are read from the body alone";
        keys.error("parse_from", code::NOT_YET, message, Some("leave the key out"));
    }
    keys.without_effect("parse_to", "the fields have names of their own");
    keys.not_yet(&["severity"]);
    // 0 is no limit in the Collector; one line cannot be more than this here.
    let bytes_max = if bytes_max == 0 { 16 << 20 } else { bytes_max.min(16 << 20) };
    LineOperator::Container(ContainerRule { format, names_pod, bytes_max: bytes_max as usize })
}

fn regex(keys: &Section<'_>) -> Option<LineOperator> {
    let (from, to) = parsed(keys);
    keys.without_effect("cache", "patterns are linear and need no cache");
    let Some(text) = keys.string("regex") else {
        return keys.missing("regex", "a regular expression with named groups, such as ^(?P<level>\\w+) (?P<text>.*)$");
    };
    let regex = match pattern::compile_bytes(&text) {
        Ok(regex) => regex,
        Err(why) => return keys.invalid("regex", why, "a regular expression with named groups"),
    };
    if regex.capture_names().flatten().next().is_none() {
        return keys.invalid("regex", "no group has a name", "named groups, such as (?P<level>\\w+)");
    }
    Some(LineOperator::Regex { from, to, regex })
}

fn time(keys: &Section<'_>) -> Option<LineOperator> {
    let from = required(keys, "parse_from");
    let kinds = [("strptime", 0), ("gotime", 1), ("epoch", 2)];
    let kind = keys.choice("layout_type", &kinds).unwrap_or(0);
    let zone = match keys.string("location").filter(|name| !name.is_empty()) {
        None => TimeZone::UTC,
        Some(name) => match TimeZone::get(&name) {
            Ok(zone) => zone,
            Err(_) => keys.invalid("location", format!("{name:?} is no time zone"), "a name such as Europe/Madrid")?,
        },
    };
    let Some(layout) = keys.string("layout") else {
        return keys.missing("layout", "a layout, such as '%Y-%m-%d %H:%M:%S'");
    };
    let read = match kind {
        0 => TimeLayout::strptime(&layout),
        1 => TimeLayout::gotime(&layout),
        _ => TimeLayout::epoch(&layout),
    };
    match read {
        Ok(layout) => Some(LineOperator::Time { from: from?, reading: TimeReading { layout, zone } }),
        Err(why) => keys.invalid("layout", why, "a layout of the kind that `layout_type` says"),
    }
}

fn severity(keys: &Section<'_>) -> Option<SeverityReading> {
    let from = required(keys, "parse_from");
    let presets = ["default", "none", "otel", "aliases"].map(|name| (name, name));
    let texts = severity::preset(keys.choice("preset", &presets).unwrap_or("default"));
    let overwrite_text = keys.bool("overwrite_text").unwrap_or(false);
    let mut reading = SeverityReading { from: from?, texts, ranges: Vec::new(), overwrite_text };
    if let Some(mapping) = keys.section("mapping") {
        for entry in mapping.entries() {
            let Some(number) = severity::number_of(&entry.key) else {
                mapping.invalid::<()>(&entry.key, format!("`{}` is no severity", entry.key), "trace to fatal4");
                continue;
            };
            let one = std::slice::from_ref(&entry.value);
            let values = if matches!(entry.value.value, Value::List(_)) { entry.value.items() } else { one };
            for value in values {
                mapped(&mapping, &entry.key, value, number, &mut reading);
            }
        }
        mapping.finish();
    }
    Some(reading)
}

fn mapped(mapping: &Section<'_>, key: &str, value: &Node, number: u32, reading: &mut SeverityReading) {
    let whole = |key: &str| match value.get(key).map(|node| &node.value) {
        Some(Value::Int(number)) => Some(*number),
        _ => None,
    };
    if let (Some(min), Some(max)) = (whole("min"), whole("max")) {
        reading.map_range(min.min(max), min.max(max), number);
        return;
    }
    let Some(text) = text_of(value) else {
        mapping.invalid::<()>(
            key,
            "the value is no text, number or range",
            "a text, a number, 5xx or {min: 1, max: 5}",
        );
        return;
    };
    if matches!(value.value, Value::Bool(_)) {
        mapping.invalid::<()>(key, "true and false are no severities", "a text, a number, 5xx or {min: 1, max: 5}");
        return;
    }
    match text.strip_suffix("xx").and_then(|digit| digit.parse::<i64>().ok()).filter(|digit| (2..=5).contains(digit)) {
        Some(hundreds) => reading.map_range(hundreds * 100, hundreds * 100 + 99, number),
        None => drop(reading.texts.insert(text.to_lowercase(), number)),
    }
}

fn trace(keys: &Section<'_>) -> TraceReading {
    let of = |key: &str| {
        let default = EntryField { part: EntryPart::Body, keys: vec![key.to_owned()] };
        let Some(keys) = keys.section(key) else { return default };
        let from = field(&keys, "parse_from").unwrap_or(default);
        keys.finish();
        from
    };
    TraceReading { trace_id: of("trace_id"), span_id: of("span_id"), trace_flags: of("trace_flags") }
}

fn embedded(keys: &Section<'_>) -> Vec<LineOperator> {
    let mut embedded = Vec::new();
    if let Some(keys) = keys.section("timestamp") {
        embedded.extend(time(&keys)); // granted: one of a configuration
        keys.finish();
    }
    if let Some(keys) = keys.section("severity") {
        embedded.extend(severity(&keys).map(LineOperator::Severity)); // granted: one of a configuration
        keys.finish();
    }
    if let Some(keys) = keys.section("trace") {
        embedded.push(LineOperator::Trace(trace(&keys)));
        keys.finish();
    }
    keys.not_yet(&["scope_name"]);
    embedded
}

fn add(keys: &Section<'_>) -> Option<LineOperator> {
    let field = required(keys, "field");
    let Some(node) = keys.node("value").filter(|node| !node.is_null()) else {
        return keys.missing("value", "what the field becomes");
    };
    let value = literal(node);
    if value.as_text().is_some_and(|text| text.starts_with(b"EXPR(")) {
        let message = "values that are computed are not supported";
        keys.error("value", code::NOT_YET, message, Some("use the transform processor"));
    }
    Some(LineOperator::Add { field: field?, value })
}

fn literal(node: &Node) -> EntryValue<'static> {
    match &node.value {
        Value::Null => EntryValue::Nil,
        Value::Bool(value) => EntryValue::Bool(*value),
        Value::Int(number) => EntryValue::Int(*number),
        Value::Float(number) => EntryValue::Double(*number),
        Value::String(text) => EntryValue::Text(text.clone().into_bytes().into()),
        Value::List(items) => EntryValue::List(items.iter().map(literal).collect()),
        Value::Map(entries) => {
            EntryValue::Map(entries.iter().map(|entry| (entry.key.clone().into(), literal(&entry.value))).collect())
        }
    }
}

fn router(keys: &Section<'_>, names: &Names) -> LineOperator {
    let mut routes = Vec::new();
    let list = keys.list("routes");
    for (at, node) in list.as_deref().unwrap_or_default().iter().enumerate() {
        let route = Section::new(node, format!("{}[{at}]", keys.child_path("routes")), keys.diagnostics());
        let condition = required_condition(&route, "expr");
        let output = match route.string("output") {
            Some(name) => names.find(&route, "output", &name),
            None => route.missing("output", "the id of an operator that follows"),
        };
        if let Some(values) = route.section("attributes") {
            let message = "a route sets no attributes here";
            route.error("attributes", code::NOT_YET, message, Some("add them by an `add` operator"));
            values.entries();
        }
        route.finish();
        routes.extend(condition.zip(output)); // granted: of a configuration
    }
    let default = keys.string("default").filter(|name| !name.is_empty());
    let default = default.and_then(|name| names.find(keys, "default", &name));
    LineOperator::Router { routes, default }
}

fn recombine(keys: &Section<'_>) -> Option<LineOperator> {
    let field = required(keys, "combine_field");
    let (first, last) = (keys.string("is_first_entry"), keys.string("is_last_entry"));
    let (edge, key) = match (first, last) {
        (Some(first), None) => (first, "is_first_entry"),
        (None, Some(last)) => (last, "is_last_entry"),
        (Some(_), Some(_)) => return keys.invalid("is_last_entry", "an entry has one edge", "one of the two keys"),
        (None, None) => return keys.missing("is_first_entry", "a condition here or in `is_last_entry`"),
    };
    let is_edge = condition(keys, key, &edge);
    let source = keys.string("source_identifier").unwrap_or_default().replace('\'', "\"");
    if !["", "attributes[\"log.file.path\"]", "attributes[\"log.file.name\"]"].contains(&source.as_str()) {
        let message = "lines are joined by the file that they stand in";
        keys.warn("source_identifier", code::IGNORED_KEY, message, None);
    }
    let newest = keys.choice("overwrite_with", &[("oldest", false), ("newest", true)]).unwrap_or(false);
    keys.without_effect("max_sources", "each file has its own lines");
    let bytes_max = keys.bytes("max_log_size").filter(|bytes| *bytes > 0).unwrap_or(RECOMBINE_BYTES_MAX);
    Some(LineOperator::Recombine(RecombineRule {
        field: field?,
        is_edge: is_edge?,
        edge_is_first: key == "is_first_entry",
        with: keys.string("combine_with").unwrap_or_else(|| "\n".to_owned()),
        lines_max: keys.usize("max_batch_size").unwrap_or(RECOMBINE_LINES_MAX),
        unmatched_max: keys.usize("max_unmatched_batch_size").unwrap_or(RECOMBINE_UNMATCHED_MAX),
        bytes_max: bytes_max.min(16 << 20) as usize,
        keeps_newest: newest,
        flush_after: keys.duration("force_flush_period").unwrap_or(RECOMBINE_FLUSH),
    }))
}

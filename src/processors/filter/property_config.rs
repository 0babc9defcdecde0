//! The properties of `include` and `exclude`, as the configuration writes them.

use crate::config::check::Section;
use crate::config::value::pattern;
use crate::core::data::payload::Signal;
use crate::core::diagnostic::code;
use crate::core::node::{Node, Value as Scalar};
use crate::otlp::attributes::{LOG_RECORD, SPAN};
use crate::processors::filter::properties::{ItemProperties, Names, Property, Skip, WantedAttribute, WantedValue};
use crate::processors::filter::rules::{FilterTest, Pass};

/// The pass of `include` and `exclude` under `spans`, `metrics` or `logs`; `None` where neither is given.
pub fn read(section: &Section<'_>, signal: Signal) -> Option<Pass> {
    let mut item = Skip::default();
    let mut resource = Skip::default();
    for (key, include) in [("include", true), ("exclude", false)] {
        let Some(keys) = section.section(key) else { continue };
        let mut found = matched(&keys, signal);
        keys.finish();
        if signal == Signal::Metrics {
            // The resource decides about all metrics in it, a name about its metric.
            let (of_resource, of_item) =
                found.tests.into_iter().partition(|test| matches!(test, Property::Resource(_)));
            resource.put(include, ItemProperties { tests: of_resource });
            found = ItemProperties { tests: of_item };
        }
        item.put(include, found);
    }
    if signal == Signal::Metrics {
        section.section("regexp");
    }
    let some = |skip: Skip| (skip.include.is_some() || skip.exclude.is_some()).then_some(FilterTest::Properties(skip));
    let (resource, item) = (some(resource), some(item));
    let pass = resource.is_some() || item.is_some();
    pass.then_some(Pass { resource, item, ..Pass::default() })
}

fn matched(keys: &Section<'_>, signal: Signal) -> ItemProperties {
    let patterns = match keys.string("match_type").as_deref() {
        Some("strict") => false,
        Some("regexp") => true,
        Some("expr") => {
            let help = Some("write the expression as an OTTL condition");
            keys.error("match_type", code::NOT_YET, "podgate does not have `expr`", help);
            keys.node("expressions");
            false
        }
        Some(other) => {
            keys.invalid::<()>("match_type", format!("`match_type` cannot be {other:?}"), "strict or regexp");
            false
        }
        // A lowest severity needs no way to compare texts.
        None if keys.node("severity_number").is_some() => false,
        None => {
            keys.missing::<()>("match_type", "strict or regexp");
            false
        }
    };
    // Settings of a cache that a linear matcher does not need.
    keys.section("regexp");
    let mut tests = Vec::new();
    let mut names = |key: &str, make: fn(Names) -> Property| {
        let names = keys.strings(key).filter(|names| !names.is_empty());
        tests.extend(names.and_then(|names| names_of(keys, key, names, patterns)).map(make));
    };
    match signal {
        Signal::Traces => {
            names("services", Property::Service);
            names("span_names", |names| Property::Text(5, names));
            names("span_kinds", Property::Kind);
        }
        Signal::Metrics => names("metric_names", |names| Property::Text(1, names)),
        _ => {
            names("severity_texts", |names| Property::Text(3, names));
            names("bodies", Property::Body);
        }
    }
    let attributes: &[(&str, Option<u32>)] = match signal {
        Signal::Traces => &[("attributes", Some(SPAN)), ("resources", None)],
        Signal::Logs => &[("record_attributes", Some(LOG_RECORD)), ("resource_attributes", None)],
        _ => &[("resource_attributes", None)],
    };
    for (key, of_item) in attributes {
        let wanted = attributes_of(keys, key, patterns);
        match of_item {
            _ if wanted.is_empty() => {}
            Some(number) => tests.push(Property::Attributes(*number, wanted)),
            None => tests.push(Property::Resource(wanted)),
        }
    }
    match signal {
        Signal::Traces => tests.extend(libraries(keys, patterns)),
        Signal::Logs => tests.extend(severity(keys)),
        _ => {}
    }
    ItemProperties { tests }
}

fn names_of(keys: &Section<'_>, key: &str, names: Vec<String>, patterns: bool) -> Option<Names> {
    if !patterns {
        return Some(Names::Strict(names));
    }
    match pattern::set(&names) {
        Ok(patterns) => Some(Names::Patterns(patterns)),
        Err(why) => keys.invalid(key, format!("a name is not a regular expression: {why}"), "regular expressions"),
    }
}

fn attributes_of(keys: &Section<'_>, key: &str, patterns: bool) -> Vec<WantedAttribute> {
    let mut wanted = Vec::new();
    for (at, node) in keys.list(key).unwrap_or_default().iter().enumerate() {
        let section = Section::new(node, format!("{}::{at}", keys.child_path(key)), keys.diagnostics());
        let name = section.string("key").filter(|name| !name.is_empty());
        let value = section.node("value").filter(|value| !value.is_null());
        let value = value.map(|value| wanted_of(&section, value, patterns));
        match (name, value) {
            (Some(key), None) => wanted.push(WantedAttribute { key, value: None }),
            (Some(key), Some(Some(value))) => wanted.push(WantedAttribute { key, value: Some(value) }),
            (None, _) => _ = section.missing::<()>("key", "the name of an attribute"),
            (Some(_), Some(None)) => {}
        }
        section.finish();
    }
    wanted
}

fn wanted_of(section: &Section<'_>, value: &Node, patterns: bool) -> Option<WantedValue> {
    match &value.value {
        Scalar::String(text) if patterns => {
            names_of(section, "value", vec![text.clone()], true).map(WantedValue::Pattern)
        }
        _ if patterns => section.invalid("value", "a pattern must be a text", "a regular expression"),
        Scalar::String(text) => Some(WantedValue::Text(text.clone())),
        Scalar::Int(number) => Some(WantedValue::Int(*number)),
        Scalar::Float(number) => Some(WantedValue::Double(*number)),
        Scalar::Bool(truth) => Some(WantedValue::Bool(*truth)),
        _ => section.invalid("value", "lists and maps cannot be matched", "a text, number or boolean"),
    }
}

fn libraries(keys: &Section<'_>, patterns: bool) -> Option<Property> {
    let mut libraries = Vec::new();
    for (at, node) in keys.list("libraries").unwrap_or_default().iter().enumerate() {
        let section = Section::new(node, format!("{}::{at}", keys.child_path("libraries")), keys.diagnostics());
        let name = section.string("name").and_then(|name| names_of(&section, "name", vec![name], patterns));
        let version =
            section.string("version").and_then(|version| names_of(&section, "version", vec![version], patterns));
        match name {
            Some(name) => libraries.push((name, version)),
            None => _ = section.missing::<()>("name", "the name of an instrumentation scope"),
        }
        section.finish();
    }
    (!libraries.is_empty()).then_some(Property::Libraries(libraries))
}

/// `severity_number: {min: INFO, match_undefined: true}`
fn severity(keys: &Section<'_>) -> Option<Property> {
    let section = keys.section("severity_number")?;
    let undefined = section.bool("match_undefined").unwrap_or(false);
    let lowest = section.string("min").map(|lowest| lowest.to_uppercase());
    let found = lowest.as_deref().map(|lowest| (lowest, severity_of(lowest)));
    let property = match found {
        Some((_, Some(lowest))) => Some(Property::Severity(lowest, undefined)),
        Some((written, None)) => {
            section.invalid("min", format!("{written:?} is no severity"), "a severity such as INFO or WARN2")
        }
        None => None,
    };
    section.finish();
    property
}

fn severity_of(written: &str) -> Option<i64> {
    let names = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
    let by_name = names.iter().enumerate().find_map(|(at, name)| {
        let step = match written.strip_prefix(name)? {
            "" => 0,
            "2" => 1,
            "3" => 2,
            "4" => 3,
            _ => return None,
        };
        Some(at as i64 * 4 + 1 + step)
    });
    by_name.or_else(|| written.parse().ok().filter(|number| (1..=24).contains(number)))
}

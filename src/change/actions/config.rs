//! A list of actions from the Collector's YAML, every fault with its place.

use regex::bytes::Regex;

use super::literal::any_value;
use crate::change::actions::action::{Action, ActionTarget, Actions, ConvertedKind, Source, When};
use crate::config::check::Section;
use crate::config::value::pattern::compile_bytes;
use crate::core::diagnostic::code;

/// More actions than this on every message are a mistake.
const ACTIONS_MAX: usize = 1_000;

/// Reads the list under `key`; `None` after reporting at least one fault.
pub fn read(section: &Section<'_>, key: &str) -> Option<Actions> {
    let items = match section.list(key) {
        Some(items) if items.len() > ACTIONS_MAX => {
            return section.invalid(key, format!("{} actions", items.len()), "at most 1000 actions");
        }
        Some(items) if !items.is_empty() => items,
        // Of another type: reported already.
        None if section.node(key).is_some_and(|node| !node.is_null()) => return None,
        _ => return section.missing(key, "a list of actions, such as {key: env, value: prod, action: upsert}"),
    };
    let read = items.iter().enumerate().map(|(at, item)| {
        let path = format!("{}::{at}", section.child_path(key));
        let item = Section::new(item, path, section.diagnostics());
        let read = item.is_map().then(|| action(&item)).flatten();
        item.finish();
        read
    });
    let list: Vec<Option<Action>> = read.collect();
    list.into_iter().collect::<Option<Vec<Action>>>().map(|list| Actions { list })
}

/// A regular expression; `None` when the key is absent or empty, or after reporting that it is none.
pub fn pattern(section: &Section<'_>, key: &str) -> Option<Regex> {
    let text = section.string(key).filter(|text| !text.is_empty())?;
    match compile_bytes(&text) {
        Ok(pattern) => Some(pattern),
        Err(why) => {
            let message = format!("{text:?} is not a regular expression: {why}");
            section.invalid(key, message, "a regular expression in Go's syntax")
        }
    }
}

/// The keys an action may have beside `key` and `action`.
const OPERANDS: [&str; 6] = ["value", "from_attribute", "from_context", "default_value", "pattern", "converted_type"];

fn action(item: &Section<'_>) -> Option<Action> {
    let key = item.string("key").filter(|key| !key.is_empty());
    let Some(name) = item.string("action").map(|name| name.to_ascii_lowercase()) else {
        OPERANDS.iter().for_each(|operand| _ = item.node(operand));
        return item.missing("action", "insert, update, upsert, delete, hash, extract or convert");
    };
    let needs: &[&str] = match name.as_str() {
        "insert" | "update" | "upsert" => &["value", "from_attribute", "from_context", "default_value"],
        "delete" | "hash" | "extract" => &["pattern"],
        "convert" => &["converted_type"],
        _ => {
            OPERANDS.iter().for_each(|operand| _ = item.node(operand));
            let expected = "insert, update, upsert, delete, hash, extract or convert";
            return item.invalid("action", format!("there is no action {name:?}"), expected);
        }
    };
    let mut sound = true;
    for operand in OPERANDS.iter().filter(|operand| !needs.contains(operand)) {
        if is_given(item, operand) {
            item.invalid::<()>(operand, format!("`{name}` does not use `{operand}`"), "an action without it");
            sound = false;
        }
    }
    if key.is_none() && !(matches!(name.as_str(), "delete" | "hash") && is_given(item, "pattern")) {
        item.missing::<()>("key", "the attribute's name");
        sound = false;
    }
    let read = match name.as_str() {
        "insert" => write(item, When::Absent, key),
        "update" => write(item, When::Present, key),
        "upsert" => write(item, When::Always, key),
        "delete" => target(item, key).map(Action::Delete),
        "hash" => target(item, key).map(Action::Hash),
        "extract" => extract(item, key),
        _ => convert(item, key),
    };
    read.filter(|_| sound)
}

/// Null and, of texts, empty count as not given.
fn is_given(item: &Section<'_>, key: &str) -> bool {
    match item.node(key) {
        None => false,
        Some(node) if matches!(key, "value" | "default_value") => !node.is_null(),
        Some(_) => item.string(key).is_none_or(|text| !text.is_empty()),
    }
}

fn write(item: &Section<'_>, when: When, key: Option<String>) -> Option<Action> {
    let literal = |key: &str| item.node(key).filter(|node| !node.is_null()).map(any_value);
    let text = |key: &str| item.string(key).filter(|text| !text.is_empty());
    let (value, attribute, context) = (literal("value"), text("from_attribute"), text("from_context"));
    let default = literal("default_value");
    let source = match (value, attribute, context) {
        (Some(value), None, None) => Source::Literal(value),
        (None, Some(attribute), None) => Source::Attribute(attribute),
        (None, None, Some(context)) => from_context(&context),
        (None, None, None) if default.is_some() => Source::Nothing,
        (None, None, None) => return item.missing("value", "value, from_attribute or from_context"),
        _ => {
            let message = "more than one of `value`, `from_attribute` and `from_context`";
            item.error("key", code::CONFLICT, message, Some("keep the one that the value comes from"));
            return None;
        }
    };
    Some(Action::Write { when, key: key?, source, default })
}

fn from_context(name: &str) -> Source {
    if name == "client.address" {
        return Source::Peer;
    }
    if let Some(name) = name.strip_prefix("auth.") {
        return Source::Identity(name.to_owned());
    }
    Source::Header(name.strip_prefix("metadata.").unwrap_or(name).to_lowercase())
}

fn target(item: &Section<'_>, key: Option<String>) -> Option<ActionTarget> {
    let pattern = pattern(item, "pattern");
    (pattern.is_some() || !is_given(item, "pattern")).then_some(ActionTarget { key, pattern })
}

fn extract(item: &Section<'_>, key: Option<String>) -> Option<Action> {
    if !is_given(item, "pattern") {
        return item.missing("pattern", "a regular expression with named groups");
    }
    let pattern = pattern(item, "pattern")?;
    let names: Vec<Option<&str>> = pattern.capture_names().skip(1).collect();
    if names.is_empty() || names.contains(&None) {
        let message = "every capture group must be named, because each becomes an attribute";
        return item.invalid(
            "pattern",
            message,
            "named groups, such as (?P<user>[^/]+); (?: ) groups without becoming one",
        );
    }
    let names = names.into_iter().flatten().map(str::to_owned).collect();
    Some(Action::Extract { key: key?, pattern, names })
}

fn convert(item: &Section<'_>, key: Option<String>) -> Option<Action> {
    if !is_given(item, "converted_type") {
        return item.missing("converted_type", "int, double or string");
    }
    let kinds = [("int", ConvertedKind::Int), ("double", ConvertedKind::Double), ("string", ConvertedKind::Text)];
    let to = item.choice("converted_type", &kinds)?;
    Some(Action::Convert { key: key?, to })
}

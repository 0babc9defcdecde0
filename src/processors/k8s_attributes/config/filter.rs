//! `filter`: which pods are watched, as selectors the API server evaluates.

use crate::config::check::Section;
use crate::core::diagnostic::code;
use crate::core::stage::factory::CheckContext;

/// The watch's scope. Empty means everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchScope {
    pub node: Option<String>,
    pub namespaces: Vec<String>,
    /// In the API server's syntax: `app=web,tier!=test`.
    pub label_selector: String,
    pub field_selector: String,
}

#[derive(Clone, Copy)]
enum Op {
    Equals,
    NotEquals,
    Exists,
    DoesNotExist,
}

const FIELD_OPS: [(&str, Op); 2] = [("equals", Op::Equals), ("not-equals", Op::NotEquals)];
const LABEL_OPS: [(&str, Op); 4] = [
    ("equals", Op::Equals),
    ("not-equals", Op::NotEquals),
    ("exists", Op::Exists),
    ("does-not-exist", Op::DoesNotExist),
];

pub(super) fn read(cx: &CheckContext<'_>, body: &Section<'_>) -> WatchScope {
    let Some(section) = body.section("filter") else { return WatchScope::default() };
    let filter = WatchScope {
        node: node(cx, &section),
        namespaces: namespaces(&section),
        label_selector: selectors(&section, "labels", &LABEL_OPS),
        field_selector: selectors(&section, "fields", &FIELD_OPS),
    };
    section.finish();
    filter
}

/// The node's name, written down or taken from the environment, where the downward API puts it.
fn node(cx: &CheckContext<'_>, section: &Section<'_>) -> Option<String> {
    let node = section.string("node").filter(|node| !node.is_empty());
    let variable = section.string("node_from_env_var").filter(|variable| !variable.is_empty());
    let Some(variable) = variable else { return node };
    match cx.checks.environment.variable(&variable) {
        Some(value) if !value.is_empty() => Some(value),
        _ => {
            section.error(
                "node_from_env_var",
                code::INVALID_VALUE,
                format!("the environment variable {variable} is not set, so the node is not known"),
                Some(&format!(
                    "set it in the pod spec: env: [{{name: {variable}, valueFrom: {{fieldRef: {{fieldPath: spec.nodeName}}}}}}]"
                )),
            );
            None
        }
    }
}

/// One namespace, or a list of them (ours alone, issue 47187).
fn namespaces(section: &Section<'_>) -> Vec<String> {
    let is_list = section.node("namespace").is_some_and(|node| !node.items().is_empty());
    let names = if is_list {
        section.strings("namespace").unwrap_or_default()
    } else {
        section.string("namespace").into_iter().collect()
    };
    names.into_iter().filter(|name| !name.is_empty()).collect()
}

fn selectors(section: &Section<'_>, key: &str, ops: &[(&str, Op)]) -> String {
    let path = section.child_path(key);
    let items = section.list(key).unwrap_or_default();
    let read = items.iter().enumerate().filter_map(|(at, item)| {
        let filter = Section::new(item, format!("{path}::{at}"), section.diagnostics());
        let read = selector(&filter, ops);
        filter.finish();
        read
    });
    read.collect::<Vec<_>>().join(",")
}

fn selector(filter: &Section<'_>, ops: &[(&str, Op)]) -> Option<String> {
    let value = filter.string("value").unwrap_or_default();
    let op = match filter.node("op") {
        Some(_) => filter.choice("op", ops),
        None => Some(Op::Equals),
    };
    let Some(key) = filter.string("key").filter(|key| !key.is_empty()) else {
        return filter.missing("key", "the label or field to compare");
    };
    if [&key, &value].into_iter().any(|text| text.contains([',', '=', '!', ' ', '(', ')'])) {
        return filter.invalid("key", format!("{key:?} and {value:?} would change the selector"), "plain names");
    }
    Some(match op? {
        Op::Equals => format!("{key}={value}"),
        Op::NotEquals => format!("{key}!={value}"),
        Op::Exists => key,
        Op::DoesNotExist => format!("!{key}"),
    })
}

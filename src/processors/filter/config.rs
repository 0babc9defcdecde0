//! What a filter's configuration says: one row of passes for each signal, in the order in which they run.

use crate::config::check::Section;
use crate::core::data::payload::Signal;
use crate::core::diagnostic::code;
use crate::core::node::{Node, Value};
use crate::ottl::{Context, ContextHints, ErrorMode, Grammar, StatementTexts, Syntax};
use crate::processors::filter::property_config;
use crate::processors::filter::rules::{FilterTest, Pass};

/// The passes of each signal, by [`Signal::index`].
#[derive(Debug, Default)]
pub struct FilterRules {
    passes: [Vec<Pass>; 4],
}

impl FilterRules {
    pub fn of(&self, signal: Signal) -> &[Pass] {
        &self.passes[signal.index()]
    }
}

/// Reports every fault; what is faulty is left out.
pub fn read(keys: &Section<'_>) -> FilterRules {
    let mode = ErrorMode::read(keys).unwrap_or_default();
    let mut rules = FilterRules::default();
    let old = [
        (Signal::Traces, "traces", "spans", "trace_conditions"),
        (Signal::Metrics, "metrics", "metrics", "metric_conditions"),
        (Signal::Logs, "logs", "logs", "log_conditions"),
    ];
    for (signal, contexts, matching, flat) in old {
        let mut rows = flat_list(keys, flat, signal, mode);
        let section = keys.section(contexts);
        let listed = section.as_ref().and_then(|section| context_lists(section, signal, mode));
        let matched = match &section {
            Some(section) if contexts == matching => property_config::read(section, signal),
            _ => keys.section(matching).and_then(|section| {
                let pass = property_config::read(&section, signal);
                section.finish();
                pass
            }),
        };
        let forms = [!rows.is_empty(), listed.is_some(), matched.is_some()];
        if forms.iter().filter(|given| **given).count() > 1 {
            let help = Some("keep one of the lists by context, the flat list, and include/exclude");
            let message = format!("the {} are filtered in two forms at once", signal.name());
            keys.error(if forms[0] { flat } else { contexts }, code::CONFLICT, message, help);
        }
        if let Some(section) = section {
            section.finish();
        }
        rows.extend(listed);
        rows.extend(matched);
        rules.passes[signal.index()] = rows;
    }
    keys.not_yet(&["profiles", "profile_conditions"]);
    rules
}

/// `traces: {resource: [...], span: [...], spanevent: [...]}` and its siblings: one pass for all levels.
fn context_lists(section: &Section<'_>, signal: Signal, mode: ErrorMode) -> Option<Pass> {
    let lists: &[(&str, Context)] = match signal {
        Signal::Traces => {
            &[("resource", Context::Resource), ("span", Context::Span), ("spanevent", Context::SpanEvent)]
        }
        Signal::Metrics => {
            &[("resource", Context::Resource), ("metric", Context::Metric), ("datapoint", Context::DataPoint)]
        }
        Signal::Logs => &[("resource", Context::Resource), ("log_record", Context::Log)],
        Signal::Profiles => &[],
    };
    let mut pass = None;
    for (key, context) in lists {
        let texts = StatementTexts::under(section, key);
        if texts.is_empty() {
            continue;
        }
        let syntax = Syntax { context: *context, prefixed: false, cache: false };
        let pass = pass.get_or_insert_with(Pass::default);
        pass.set(*context, FilterTest::Conditions(texts.conditions(syntax, mode)));
    }
    pass
}

/// `trace_conditions` and its siblings: texts, or groups of texts with a context.
fn flat_list(keys: &Section<'_>, key: &str, signal: Signal, mode: ErrorMode) -> Vec<Pass> {
    let nodes = keys.list(key).unwrap_or_default();
    let is_group = |node: &&Node| matches!(node.value, Value::Map(_));
    let (groups, texts): (Vec<&Node>, Vec<&Node>) = nodes.iter().partition(is_group);
    if !groups.is_empty() && !texts.is_empty() {
        keys.invalid::<()>(key, "one list holds conditions and groups", "texts only or groups only");
        return Vec::new();
    }
    let mut passes = Vec::new();
    let texts = StatementTexts::of(keys, key, texts);
    if !texts.is_empty() {
        passes.extend(inferred(&texts, signal, mode));
    }
    for (at, group) in groups.into_iter().enumerate() {
        let section = Section::new(group, format!("{}::{at}", keys.child_path(key)), keys.diagnostics());
        passes.extend(self::group(&section, signal, mode));
        section.finish();
    }
    passes
}

fn group(section: &Section<'_>, signal: Signal, mode: ErrorMode) -> Option<Pass> {
    let mode = ErrorMode::read(section).unwrap_or(mode);
    let contexts: Vec<(&str, Context)> = Context::of(signal).iter().map(|context| (context.name(), *context)).collect();
    let context = section.choice("context", &contexts);
    let texts = StatementTexts::under(section, "conditions");
    if texts.is_empty() {
        if section.node("conditions").is_some() {
            return None;
        }
        return section.missing("conditions", "a list of conditions");
    }
    match (context, section.node("context")) {
        (Some(context), _) => {
            let syntax = Syntax { context, prefixed: false, cache: false };
            let mut pass = Pass::default();
            pass.set(context, FilterTest::Conditions(texts.conditions(syntax, mode)));
            Some(pass)
        }
        (None, Some(_)) => None,
        (None, None) => inferred(&texts, signal, mode),
    }
}

/// The one context of all the texts: the lowest that any of them names, or the lowest below it that knows their functions and
/// constants.
fn inferred(texts: &StatementTexts<'_>, signal: Signal, mode: ErrorMode) -> Option<Pass> {
    let mut hints = ContextHints::default();
    for text in texts.iter() {
        if let Err(fault) = hints.add(text, Grammar::Condition, signal) {
            texts.fault(text, &fault);
            return None;
        }
    }
    let Some(context) = hints.inferred(signal) else {
        texts.no_context();
        return None;
    };
    let syntax = Syntax { context, prefixed: true, cache: false };
    let mut pass = Pass::default();
    pass.set(context, FilterTest::Conditions(texts.conditions(syntax, mode)));
    Some(pass)
}

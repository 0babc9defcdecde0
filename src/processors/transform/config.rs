//! What a transform's configuration says: rows of statements for each signal, in the order in which they run.

use crate::config::check::Section;
use crate::core::data::payload::Signal;
use crate::core::node::{Node, Value};
use crate::ottl::{Context, ErrorMode, Grammar, Statement, StatementTexts, Statements, Syntax, infer, required};

/// The statements of each signal, by [`Signal::index`].
#[derive(Debug, Default)]
pub struct SignalStatements {
    rows: [Vec<Statements>; 4],
}

impl SignalStatements {
    pub fn of(&self, signal: Signal) -> &[Statements] {
        &self.rows[signal.index()]
    }
}

/// Reports every fault; what is faulty is left out.
pub fn read(keys: &Section<'_>) -> SignalStatements {
    let mode = ErrorMode::read(keys).unwrap_or_default();
    let mut groups = SignalStatements::default();
    let lists = [
        (Signal::Traces, "trace_statements"),
        (Signal::Metrics, "metric_statements"),
        (Signal::Logs, "log_statements"),
    ];
    for (signal, key) in lists {
        groups.rows[signal.index()] = list(keys, key, signal, mode);
    }
    if keys.node("flatten_data").is_some_and(|node| node.value != Value::Bool(false)) {
        keys.not_yet(&["flatten_data"]);
    }
    keys.not_yet(&["profile_statements", "shared_cache"]);
    groups
}

fn list(keys: &Section<'_>, key: &str, signal: Signal, mode: ErrorMode) -> Vec<Statements> {
    let nodes = keys.list(key).unwrap_or_default();
    let is_group = |node: &&Node| matches!(node.value, Value::Map(_));
    let (groups, texts): (Vec<&Node>, Vec<&Node>) = nodes.iter().partition(is_group);
    if !groups.is_empty() && !texts.is_empty() {
        keys.invalid::<()>(key, "one list holds statements and groups", "statements only or groups only");
        return Vec::new();
    }
    // Each statement of a flat list has a context of its own; they share what they remember.
    let mut rows: Vec<Statements> = Vec::new();
    for node in texts {
        let texts = StatementTexts::of(keys, key, [node]);
        let about = inferred(&texts, None, signal);
        rows.extend(about.map(|context| {
            let syntax = Syntax { context, prefixed: true, cache: true };
            let mut row = texts.statements(syntax, mode);
            row.shared_cache = true;
            row
        }));
    }
    for (at, node) in groups.into_iter().enumerate() {
        let section = Section::new(node, format!("{}::{at}", keys.child_path(key)), keys.diagnostics());
        rows.extend(group(&section, signal, mode));
        section.finish();
    }
    rows
}

/// `{context, conditions, statements, error_mode}`
fn group(section: &Section<'_>, signal: Signal, mode: ErrorMode) -> Option<Statements> {
    let mode = ErrorMode::read(section).unwrap_or(mode);
    let contexts: Vec<(&str, Context)> = Context::of(signal).iter().map(|context| (context.name(), *context)).collect();
    let written = section.node("context").is_some_and(|node| !node.is_null());
    let context = section.choice("context", &contexts);
    let statements = StatementTexts::under(section, "statements");
    let conditions = StatementTexts::under(section, "conditions");
    if statements.is_empty() {
        if section.node("statements").is_some() {
            return None;
        }
        return section.missing("statements", "a list of statements");
    }
    let (context, prefixed) = match context {
        Some(context) => (context, false),
        None if written => return None,
        None => (inferred(&statements, Some(&conditions), signal)?, true),
    };
    let syntax = Syntax { context, prefixed, cache: true };
    let mut row = statements.statements(syntax, mode);
    row.conditions = conditions.conditions(Syntax { cache: false, ..syntax }, mode);
    Some(row)
}

/// The lowest context that any of the texts names, or a lower one that a function of theirs is only for; reports where
/// none is named.
fn inferred(
    statements: &StatementTexts<'_>,
    conditions: Option<&StatementTexts<'_>>,
    signal: Signal,
) -> Option<Context> {
    let (mut found, mut only) = (None, None);
    let both = [(Some(statements), Grammar::Statement), (conditions, Grammar::Condition)];
    for (texts, grammar) in both {
        let Some(texts) = texts else { continue };
        for text in texts.iter() {
            only = Context::lower(only, required(text, grammar));
            match infer(text, grammar, signal) {
                Ok(context) => found = Context::lower(found, context),
                Err(fault) => {
                    texts.fault(text, &fault);
                    return None;
                }
            }
        }
    }
    if found.is_none() && !told_not_built(statements, signal) {
        statements.no_context();
    }
    let only = only.filter(|only| Context::of(signal).contains(only));
    found.and_then(|context| Context::lower(Some(context), only))
}

/// A function that is not built needs no path to be refused for what it is.
fn told_not_built(statements: &StatementTexts<'_>, signal: Signal) -> bool {
    let Some(context) = Context::of(signal).first().copied() else { return false };
    let syntax = Syntax { context, prefixed: true, cache: true };
    let faults = statements.iter().filter_map(|text| Some((text, Statement::parse(text, syntax).err()?)));
    let mut not_built = faults.filter(|(_, fault)| fault.not_built);
    not_built.next().map(|(text, fault)| statements.fault(text, &fault)).is_some()
}

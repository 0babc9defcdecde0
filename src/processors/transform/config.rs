//! What a transform's configuration says: rows of statements for each signal, in the order in which they run.

use crate::config::check::Section;
use crate::core::data::payload::Signal;
use crate::core::node::{Node, Value};
use crate::ottl::{Context, ContextHints, ErrorMode, Grammar, Statement, StatementTexts, Statements, Syntax};

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
    let mut rows: Vec<Statements> = Vec::new();
    let mut texts = StatementTexts::of(keys, key, texts);
    if !texts.is_empty() {
        // The whole list is one group: an item meets all of its statements before the next item is looked at.
        let context = inferred(&mut texts, None, signal);
        let syntax = context.map(|context| Syntax { context, prefixed: true, cache: true });
        rows.extend(syntax.map(|syntax| texts.statements(syntax, mode)));
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
    let mut statements = StatementTexts::under(section, "statements");
    let mut conditions = StatementTexts::under(section, "conditions");
    if statements.is_empty() {
        if section.node("statements").is_some() {
            return None;
        }
        return section.missing("statements", "a list of statements");
    }
    let (context, prefixed) = match context {
        Some(context) => (context, false),
        None if written => return None,
        None => (inferred(&mut statements, Some(&mut conditions), signal)?, true),
    };
    let syntax = Syntax { context, prefixed, cache: true };
    let mut row = statements.statements(syntax, mode);
    row.conditions = conditions.conditions(Syntax { cache: false, ..syntax }, mode);
    // A group all of whose conditions are left out would run on everything.
    (conditions.is_empty() || !row.conditions.is_empty()).then_some(row)
}

/// The one context of all the texts; reports where none is named. A text that is faulty by itself is reported and taken
/// out; without one of its conditions a group would run where it should not, so there is no context then.
fn inferred(
    statements: &mut StatementTexts<'_>,
    conditions: Option<&mut StatementTexts<'_>>,
    signal: Signal,
) -> Option<Context> {
    let mut hints = ContextHints::default();
    statements.keep(|text| hints.add(text, Grammar::Statement, signal));
    if let Some(conditions) = conditions
        && !conditions.keep(|text| hints.add(text, Grammar::Condition, signal))
    {
        return None;
    }
    let found = hints.inferred(signal);
    if found.is_none() && !told_not_built(statements, signal) {
        statements.no_context();
    }
    found
}

/// A function that is not built needs no path to be refused for what it is.
fn told_not_built(statements: &StatementTexts<'_>, signal: Signal) -> bool {
    let Some(context) = Context::of(signal).first().copied() else { return false };
    let syntax = Syntax { context, prefixed: true, cache: true };
    let faults = statements.iter().filter_map(|text| Some((text, Statement::parse(text, syntax).err()?)));
    let mut not_built = faults.filter(|(_, fault)| fault.not_built);
    not_built.next().map(|(text, fault)| statements.fault(text, &fault)).is_some()
}

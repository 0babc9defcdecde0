//! Lists of conditions and statements as processors run them: an error mode, and failures that are counted and said once
//! for each text instead of once for each item.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::config::check::Section;
use crate::core::diagnostic::{Diagnostic, code};
use crate::core::node::{Node, Value};
use crate::core::report::stats::Counter;
use crate::ottl::condition::Condition;
use crate::ottl::context::{Context, Grammar, Syntax};
use crate::ottl::edit::target::EditTarget;
use crate::ottl::explain::failing;
use crate::ottl::item::Item;
use crate::ottl::statement::Statement;
use crate::ottl::syntax::fault::TextFault;
use crate::ottl::value::failure::EvalFailure;

/// What a failure means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ErrorMode {
    /// Said once, counted, and the next text is run.
    #[default]
    Ignore,
    /// Counted.
    Silent,
    /// The payload is rejected.
    Propagate,
}

impl ErrorMode {
    /// The section's `error_mode`.
    pub fn read(section: &Section<'_>) -> Option<ErrorMode> {
        let modes = [("ignore", ErrorMode::Ignore), ("silent", ErrorMode::Silent), ("propagate", ErrorMode::Propagate)];
        section.choice("error_mode", &modes)
    }
}

/// True unless a configuration of conditions and statements certainly says nothing about resources: no context, path,
/// property or text in it has the word, nor that of the resource's attribute that properties match (`services`).
pub fn names_resources(node: &Node) -> bool {
    let names = |text: &str| text.contains("resource") || text.contains("service");
    match &node.value {
        Value::Map(entries) => entries.iter().any(|entry| names(&entry.key) || names_resources(&entry.value)),
        Value::List(items) => items.iter().any(names_resources),
        Value::String(text) => names(text),
        _ => false,
    }
}

/// Counts failures.
#[derive(Clone, Debug, Default)]
pub struct Failures(pub Arc<Counter>);

#[derive(Debug)]
struct Rule<T> {
    run: T,
    text: String,
    grammar: Grammar,
    syntax: Syntax,
    said: AtomicBool,
}

impl<T> Rule<T> {
    /// The failure where it is the caller's business.
    fn settle(
        &self,
        failure: EvalFailure,
        item: &Item<'_>,
        mode: ErrorMode,
        failures: &Failures,
    ) -> Result<(), EvalFailure> {
        failures.0.add(1);
        if mode != ErrorMode::Silent && !self.said.swap(true, Ordering::Relaxed) {
            let (at, met) = failing(&self.text, self.grammar, self.syntax, item).unwrap_or_default();
            let text = marked(&self.text, at);
            tracing::warn!(text, error = failure.0, met, "an OTTL statement failed; further failures are only counted");
        }
        if mode == ErrorMode::Propagate { Err(failure) } else { Ok(()) }
    }
}

/// The text with a sign before the character at which it failed, on one line.
fn marked(text: &str, at: usize) -> String {
    let (before, behind): (String, String) = (text.chars().take(at).collect(), text.chars().skip(at).collect());
    format!("{before}>>>{behind}")
}

/// Conditions of which any counts.
#[derive(Debug, Default)]
pub struct Conditions {
    rules: Vec<Rule<Condition>>,
    mode: ErrorMode,
}

impl Conditions {
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// As they are written.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(|rule| rule.text.as_str())
    }

    /// True when any condition holds.
    pub fn any(&self, item: &Item<'_>, failures: &Failures) -> Result<bool, EvalFailure> {
        for rule in &self.rules {
            match rule.run.matches(item) {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(failure) => rule.settle(failure, item, self.mode, failures)?,
            }
        }
        Ok(false)
    }
}

/// Reading one message for all that is under it would take too long.
const TOO_MUCH: EvalFailure = EvalFailure("one message holds too much for this condition");

impl Conditions {
    /// Counts as a failure that these are not asked.
    pub fn give_up(&self, failures: &Failures) -> Result<(), EvalFailure> {
        give_up(self.mode, failures)
    }
}

fn give_up(mode: ErrorMode, failures: &Failures) -> Result<(), EvalFailure> {
    failures.0.add(1);
    if mode == ErrorMode::Propagate { Err(TOO_MUCH) } else { Ok(()) }
}

/// Statements of one context, run in order where any of the conditions holds or there is none.
#[derive(Debug)]
pub struct Statements {
    pub context: Context,
    pub conditions: Conditions,
    rules: Vec<Rule<Statement>>,
    mode: ErrorMode,
}

impl Statements {
    /// Counts as a failure that these are not run.
    pub fn give_up(&self, failures: &Failures) -> Result<(), EvalFailure> {
        give_up(self.mode, failures)
    }

    pub fn run(&self, scene: &mut EditTarget<'_>, failures: &Failures) -> Result<(), EvalFailure> {
        if !self.conditions.is_empty() && !self.conditions.any(&scene.view(), failures)? {
            return Ok(());
        }
        for rule in &self.rules {
            if let Err(failure) = rule.run.run(scene) {
                rule.settle(failure, &scene.view(), self.mode, failures)?;
            }
        }
        Ok(())
    }
}

/// The texts of one list of the configuration, with their places.
pub struct StatementTexts<'a> {
    section: &'a Section<'a>,
    /// Each with its place in the list.
    found: Vec<(usize, &'a Node, String)>,
    path: String,
}

impl<'a> StatementTexts<'a> {
    /// The list under `key`; empty when there is none.
    pub fn under(section: &'a Section<'a>, key: &str) -> StatementTexts<'a> {
        StatementTexts::of(section, key, section.strict_list(key).unwrap_or_default())
    }

    /// These nodes of the list under `key`.
    pub fn of(section: &'a Section<'a>, key: &str, nodes: impl IntoIterator<Item = &'a Node>) -> StatementTexts<'a> {
        let mut texts = StatementTexts { section, found: Vec::new(), path: section.child_path(key) };
        let list = section.node(key).map(Node::items).unwrap_or_default();
        for node in nodes {
            let at = list.iter().position(|item| std::ptr::eq(item, node)).unwrap_or_default();
            match &node.value {
                Value::String(text) => texts.found.push((at, node, text.clone())),
                // `true` alone is a condition, and YAML takes it for a boolean.
                Value::Bool(truth) => texts.found.push((at, node, truth.to_string())),
                _ => texts.report(at, node, code::WRONG_TYPE, format!("this is {}", node.kind())),
            }
        }
        texts
    }

    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.found.iter().map(|(_, _, text)| text.as_str())
    }

    /// Reports every text at which this finds a fault, and takes it out; true when all stay.
    pub fn keep(&mut self, mut check: impl FnMut(&str) -> Result<(), TextFault>) -> bool {
        let before = self.found.len();
        let mut kept = Vec::with_capacity(self.found.len());
        for (at, node, text) in std::mem::take(&mut self.found) {
            match check(&text) {
                Ok(()) => kept.push((at, node, text)),
                Err(fault) => self.report_fault((at, node, &text), &fault),
            }
        }
        self.found = kept;
        self.found.len() == before
    }

    /// Reports every text that is no condition; the others.
    pub fn conditions(&self, syntax: Syntax, mode: ErrorMode) -> Conditions {
        Conditions { rules: self.parsed(Grammar::Condition, syntax, Condition::parse_as), mode }
    }

    /// Reports every text that is no statement; the others, without conditions.
    pub fn statements(&self, syntax: Syntax, mode: ErrorMode) -> Statements {
        let rules = self.parsed(Grammar::Statement, syntax, Statement::parse);
        Statements { context: syntax.context, conditions: Conditions::default(), rules, mode }
    }

    fn parsed<T>(
        &self,
        grammar: Grammar,
        syntax: Syntax,
        parse: impl Fn(&str, Syntax) -> Result<T, TextFault>,
    ) -> Vec<Rule<T>> {
        let mut rules = Vec::with_capacity(self.found.len());
        for (at, node, text) in &self.found {
            match parse(text, syntax) {
                Ok(run) => rules.push(Rule { run, text: text.clone(), grammar, syntax, said: AtomicBool::new(false) }),
                Err(fault) => self.report_fault((*at, node, text), &fault),
            }
        }
        rules
    }

    /// Reports that no path of the texts says whose it is.
    pub fn no_context(&self) {
        let Some((at, node, _)) = self.found.first() else { return };
        let message = "no path tells the context: write it, as in resource.attributes[\"k\"]";
        self.report(*at, node, code::INVALID_VALUE, message.to_owned());
    }

    /// Reports a fault of one of the texts.
    pub fn fault(&self, text: &str, fault: &TextFault) {
        if let Some((at, node, text)) = self.found.iter().find(|(_, _, known)| known == text) {
            self.report_fault((*at, node, text), fault);
        }
    }

    fn report_fault(&self, (at, node, text): (usize, &Node, &str), fault: &TextFault) {
        let shown: String = text.chars().take(200).collect();
        let code = if fault.not_built { code::NOT_YET } else { code::INVALID_VALUE };
        self.report(at, node, code, format!("{fault} in {shown:?}"));
    }

    fn report(&self, at: usize, node: &Node, code: &'static str, message: String) {
        let help = "remove the statement, or start with --unsupported=skip and read what is lost".to_owned();
        self.section.diagnostics().push(
            Diagnostic::error(code, node.place)
                .at(format!("{}::{at}", self.path))
                .says(message)
                .expected("expected a text of OTTL")
                .help_if((code == code::NOT_YET).then_some(help)),
        );
    }
}

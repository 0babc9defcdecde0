//! Lists of conditions and statements as processors run them: an error mode, and failures that are counted and said once
//! for each text instead of once for each item.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::config::check::Section;
use crate::core::diagnostic::{Diagnostic, Severity, code};
use crate::core::node::{Node, Value};
use crate::core::stats::Counter;
use crate::ottl::{Condition, Context, Failure, Fault, Item, Scene, Statement, Syntax};

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

/// Counts failures.
#[derive(Clone, Debug, Default)]
pub struct Failures(pub Arc<Counter>);

#[derive(Debug)]
struct Rule<T> {
    run: T,
    text: String,
    said: AtomicBool,
}

impl<T> Rule<T> {
    /// The failure where it is the caller's business.
    fn settle(&self, failure: Failure, mode: ErrorMode, failures: &Failures) -> Result<(), Failure> {
        failures.0.add(1);
        if mode == ErrorMode::Ignore && !self.said.swap(true, Ordering::Relaxed) {
            tracing::warn!(text = self.text, error = failure.0, "an OTTL text failed; said once, counted from now on");
        }
        if mode == ErrorMode::Propagate { Err(failure) } else { Ok(()) }
    }
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

    /// True when any condition holds.
    pub fn any(&self, item: &Item<'_>, failures: &Failures) -> Result<bool, Failure> {
        for rule in &self.rules {
            match rule.run.matches(item) {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(failure) => rule.settle(failure, self.mode, failures)?,
            }
        }
        Ok(false)
    }
}

/// Statements of one context, run in order where any of the conditions holds or there is none.
#[derive(Debug)]
pub struct Statements {
    pub context: Context,
    pub conditions: Conditions,
    rules: Vec<Rule<Statement>>,
    mode: ErrorMode,
    /// The cache is shared with the lists before and behind.
    pub shared_cache: bool,
}

impl Statements {
    pub fn run(&self, scene: &mut Scene<'_>, failures: &Failures) -> Result<(), Failure> {
        if !self.conditions.is_empty() && !self.conditions.any(&scene.view(), failures)? {
            return Ok(());
        }
        for rule in &self.rules {
            if let Err(failure) = rule.run.run(scene) {
                rule.settle(failure, self.mode, failures)?;
            }
        }
        Ok(())
    }
}

/// The texts of one list of the configuration, with their places.
pub struct Texts<'a> {
    section: &'a Section<'a>,
    found: Vec<(&'a Node, String)>,
    path: String,
}

impl<'a> Texts<'a> {
    /// The list under `key`; empty when there is none.
    pub fn under(section: &'a Section<'a>, key: &str) -> Texts<'a> {
        Texts::of(section, key, section.list(key).unwrap_or_default())
    }

    /// These nodes of the list under `key`.
    pub fn of(section: &'a Section<'a>, key: &str, nodes: impl IntoIterator<Item = &'a Node>) -> Texts<'a> {
        let mut texts = Texts { section, found: Vec::new(), path: section.child_path(key) };
        for node in nodes {
            match &node.value {
                Value::String(text) => texts.found.push((node, text.clone())),
                // `true` alone is a condition, and YAML takes it for a boolean.
                Value::Bool(truth) => texts.found.push((node, truth.to_string())),
                _ => texts.report(node, code::WRONG_TYPE, format!("this is {}", node.kind()), "a text of OTTL"),
            }
        }
        texts
    }

    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'a Node, &str)> {
        self.found.iter().map(|(node, text)| (*node, text.as_str()))
    }

    /// Reports every text that is no condition; the others.
    pub fn conditions(&self, syntax: Syntax, mode: ErrorMode) -> Conditions {
        Conditions { rules: self.parsed(|text| Condition::parse_as(text, syntax)), mode }
    }

    /// Reports every text that is no statement; the others, without conditions.
    pub fn statements(&self, syntax: Syntax, mode: ErrorMode) -> Statements {
        let rules = self.parsed(|text| Statement::parse(text, syntax));
        Statements { context: syntax.context, conditions: Conditions::default(), rules, mode, shared_cache: false }
    }

    fn parsed<T>(&self, parse: impl Fn(&str) -> Result<T, Fault>) -> Vec<Rule<T>> {
        let mut rules = Vec::with_capacity(self.found.len());
        for (node, text) in &self.found {
            match parse(text) {
                Ok(run) => rules.push(Rule { run, text: text.clone(), said: AtomicBool::new(false) }),
                Err(fault) => self.fault(node, text, &fault),
            }
        }
        rules
    }

    /// Reports that no path of the texts says whose it is.
    pub fn no_context(&self) {
        let Some((node, _)) = self.found.first() else { return };
        let expected = "paths that say whose they are, such as resource.attributes[\"k\"], or a context";
        self.report(node, code::INVALID_VALUE, "no path tells what this is about".to_owned(), expected);
    }

    /// Reports a fault of one of the texts.
    pub fn fault(&self, node: &Node, text: &str, fault: &Fault) {
        let text: String = text.chars().take(200).collect();
        self.report(node, code::INVALID_VALUE, format!("{fault} in {text:?}"), "a text of OTTL");
    }

    fn report(&self, node: &Node, code: &'static str, message: String, expected: &str) {
        self.section.diagnostics().push(Diagnostic {
            code,
            severity: Severity::Error,
            place: Some(node.place),
            path: self.path.clone(),
            message,
            expected: Some(format!("expected {expected}")),
            help: None,
        });
    }
}

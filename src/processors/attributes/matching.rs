//! Which items are meant: `include` and `exclude`, asked once per resource, once per scope and then per item.
//!
//! A property's words are alternatives; all properties given have to match, and of several attributes every one (the
//! Collector's filterconfig). Include is looked at first, then exclude.

use std::borrow::Cow;

use regex::bytes::{Regex, RegexSet};

use crate::change::actions::push_text;
use crate::core::data::payload::Signal;
use crate::otlp::attributes::{LOG_RECORD, RESOURCE, SPAN, find_in};
use crate::otlp::fields::common::instrumentation_scope as scope_fields;
use crate::otlp::fields::logs::log_record;
use crate::otlp::fields::metrics::metric;
use crate::otlp::fields::trace::span_kind;
use crate::otlp::span;
use crate::otlp::walk::{AnyValue, Fields};

#[derive(Debug)]
pub struct MatchRules {
    pub include: Option<Properties>,
    pub exclude: Option<Properties>,
}

/// Words of which one has to match.
#[derive(Debug)]
pub enum WordMatch {
    Strict(Vec<String>),
    Regexp(RegexSet),
}

/// What has to match, all of it.
#[derive(Debug, Default)]
pub struct Properties {
    pub services: Option<WordMatch>,
    pub resources: Vec<Wanted>,
    pub libraries: Vec<Library>,
    pub span_names: Option<WordMatch>,
    pub span_kinds: Option<WordMatch>,
    pub log_bodies: Option<WordMatch>,
    pub severity_texts: Option<WordMatch>,
    pub severity_number: Option<SeverityMatch>,
    pub metric_names: Option<WordMatch>,
    pub attributes: Vec<Wanted>,
}

/// An attribute that has to be there.
#[derive(Debug)]
pub struct Wanted {
    pub key: String,
    pub value: Expected,
}

#[derive(Debug)]
pub enum Expected {
    Anything,
    /// An `AnyValue` message.
    Equal(Vec<u8>),
    Like(Regex),
}

#[derive(Debug)]
pub struct Library {
    pub name: WordMatch,
    pub version: Option<WordMatch>,
}

#[derive(Clone, Copy, Debug)]
pub struct SeverityMatch {
    pub min: i64,
    pub match_undefined: bool,
}

/// What resource and scope say so far: whether `exclude` may still match.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standing {
    excludable: bool,
}

impl MatchRules {
    /// `None` when nothing of this resource is meant.
    pub fn at_resource(&self, resource: &[u8]) -> Option<Standing> {
        if self.include.as_ref().is_some_and(|include| !include.matches_resource(resource)) {
            return None;
        }
        Some(Standing { excludable: self.exclude.as_ref().is_some_and(|exclude| exclude.matches_resource(resource)) })
    }

    /// `None` when nothing of this scope is meant.
    pub fn at_scope(&self, standing: Standing, scope: &[u8]) -> Option<Standing> {
        if self.include.as_ref().is_some_and(|include| !include.matches_scope(scope)) {
            return None;
        }
        let excludable =
            standing.excludable && self.exclude.as_ref().is_some_and(|exclude| exclude.matches_scope(scope));
        Some(Standing { excludable })
    }

    pub fn means(&self, signal: Signal, standing: Standing, item: &[u8]) -> bool {
        self.include.as_ref().is_none_or(|include| include.matches_item(signal, item))
            && !(standing.excludable && self.exclude.as_ref().is_some_and(|exclude| exclude.matches_item(signal, item)))
    }

    /// Names properties that items of a signal do not have; and a set of properties none of which they have.
    pub fn unfit(&self, signal: Signal) -> Option<String> {
        let sides = [("include", &self.include), ("exclude", &self.exclude)];
        let unfit = |properties: &Properties| {
            let foreign = properties.given().into_iter().find(|(_, signals)| !signals.contains(&signal));
            foreign.map(|(key, _)| key)
        };
        sides.into_iter().find_map(|(side, properties)| {
            let key = unfit(properties.as_ref()?)?;
            Some(format!("`{side}::{key}` says nothing about {}", signal.name()))
        })
    }
}

const TRACES: &[Signal] = &[Signal::Traces];
const LOGS: &[Signal] = &[Signal::Logs];
const METRICS: &[Signal] = &[Signal::Metrics];
const TRACES_AND_LOGS: &[Signal] = &[Signal::Traces, Signal::Logs];
const ALL: &[Signal] = &[Signal::Traces, Signal::Logs, Signal::Metrics];

impl Properties {
    /// The keys given, with the signals whose items have such a property.
    pub fn given(&self) -> Vec<(&'static str, &'static [Signal])> {
        let all = [
            ("services", TRACES, self.services.is_some()),
            ("span_names", TRACES, self.span_names.is_some()),
            ("span_kinds", TRACES, self.span_kinds.is_some()),
            ("log_bodies", LOGS, self.log_bodies.is_some()),
            ("log_severity_texts", LOGS, self.severity_texts.is_some()),
            ("log_severity_number", LOGS, self.severity_number.is_some()),
            ("metric_names", METRICS, self.metric_names.is_some()),
            ("attributes", TRACES_AND_LOGS, !self.attributes.is_empty()),
            ("libraries", TRACES_AND_LOGS, !self.libraries.is_empty()),
            ("resources", ALL, !self.resources.is_empty()),
        ];
        all.into_iter().filter(|(_, _, given)| *given).map(|(key, signals, _)| (key, signals)).collect()
    }

    fn matches_resource(&self, resource: &[u8]) -> bool {
        let service = || find_in(resource, RESOURCE, "service.name");
        self.services.as_ref().is_none_or(|words| service().is_some_and(|name| words.match_value(name)))
            && all_there(&self.resources, resource, RESOURCE)
    }

    fn matches_scope(&self, scope: &[u8]) -> bool {
        if self.libraries.is_empty() {
            return true;
        }
        let (name, version) = (text_field(scope, scope_fields::NAME), text_field(scope, scope_fields::VERSION));
        self.libraries.iter().any(|library| {
            library.name.matches(name) && library.version.as_ref().is_none_or(|words| words.matches(version))
        })
    }

    fn matches_item(&self, signal: Signal, item: &[u8]) -> bool {
        match signal {
            Signal::Traces => self.matches_span(item) && all_there(&self.attributes, item, SPAN),
            Signal::Logs => self.matches_record(item) && all_there(&self.attributes, item, LOG_RECORD),
            Signal::Metrics => {
                self.metric_names.as_ref().is_none_or(|words| words.matches(text_field(item, metric::NAME)))
            }
            Signal::Profiles => false,
        }
    }

    fn matches_span(&self, span: &[u8]) -> bool {
        if self.span_names.is_none() && self.span_kinds.is_none() {
            return true;
        }
        let Ok(facts) = span::read(span) else { return false };
        self.span_names.as_ref().is_none_or(|words| words.matches(facts.name))
            && self.span_kinds.as_ref().is_none_or(|words| words.matches(kind_name(facts.kind).as_bytes()))
    }

    fn matches_record(&self, record: &[u8]) -> bool {
        let number = || {
            let fields =
                Fields::new(record).map_while(Result::ok).filter(|field| field.number == log_record::SEVERITY_NUMBER);
            fields.filter_map(|field| field.varint().ok()).last().unwrap_or(0) as i64
        };
        self.severity_number.is_none_or(|wanted| wanted.matches(number()))
            && self
                .severity_texts
                .as_ref()
                .is_none_or(|words| words.matches(text_field(record, log_record::SEVERITY_TEXT)))
            && self.log_bodies.as_ref().is_none_or(|words| {
                let body = AnyValue::read(text_field(record, log_record::BODY)).unwrap_or(AnyValue::Empty);
                words.match_text(body)
            })
    }
}

impl SeverityMatch {
    fn matches(self, number: i64) -> bool {
        if number == 0 { self.match_undefined } else { number >= self.min }
    }
}

impl WordMatch {
    pub fn matches(&self, text: &[u8]) -> bool {
        match self {
            WordMatch::Strict(words) => words.iter().any(|word| word.as_bytes() == text),
            WordMatch::Regexp(set) => set.is_match(text),
        }
    }

    /// A strict word equals strings only; a pattern looks at any value's text.
    fn match_value(&self, value: AnyValue<'_>) -> bool {
        match (self, value) {
            (_, AnyValue::Str(text)) => self.matches(text),
            (_, AnyValue::Empty) | (WordMatch::Strict(_), _) => false,
            (WordMatch::Regexp(_), other) => self.match_text(other),
        }
    }

    fn match_text(&self, value: AnyValue<'_>) -> bool {
        self.matches(&text_of(value))
    }
}

fn all_there(wanted: &[Wanted], message: &[u8], number: u32) -> bool {
    wanted.iter().all(|wanted| find_in(message, number, &wanted.key).is_some_and(|value| wanted.value.matches(value)))
}

impl Expected {
    fn matches(&self, value: AnyValue<'_>) -> bool {
        let expected = match self {
            Expected::Anything => return true,
            Expected::Like(_) if value == AnyValue::Empty => return false,
            Expected::Like(pattern) => return pattern.is_match(&text_of(value)),
            Expected::Equal(message) => AnyValue::read(message).unwrap_or(AnyValue::Empty),
        };
        match (expected, value) {
            // Numbers are compared as numbers, as in OTTL.
            (AnyValue::Int(wanted), AnyValue::Double(is)) => wanted as f64 == is,
            (AnyValue::Double(wanted), AnyValue::Int(is)) => wanted == is as f64,
            (wanted, is) => wanted == is,
        }
    }
}

fn text_of(value: AnyValue<'_>) -> Cow<'_, [u8]> {
    if let AnyValue::Str(text) = value {
        return Cow::Borrowed(text);
    }
    let mut text = Vec::new();
    push_text(&mut text, value);
    Cow::Owned(text)
}

/// The last field of this number that has bytes; nothing when there is none.
fn text_field(message: &[u8], number: u32) -> &[u8] {
    let fields = Fields::new(message).map_while(Result::ok).filter(|field| field.number == number);
    fields.filter_map(|field| field.bytes().ok()).last().unwrap_or_default()
}

/// `SpanKind` as the Collector spells it; a kind that is not set has no name there.
pub fn kind_name(kind: u32) -> &'static str {
    match kind {
        span_kind::UNSPECIFIED => "",
        kind => span_kind::NAMES.get(kind as usize).copied().unwrap_or_default(),
    }
}

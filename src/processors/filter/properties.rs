//! The older form, include and exclude by properties: what include does not match is skipped, then what exclude matches.
//!
//! Matching is upstream's (contrib internal/filter): all kinds of properties given must match, of each list of names any
//! one, of attributes every one. Expressions (`match_type: expr`) are refused.

use regex::RegexSet;

use crate::otlp::attributes::{RESOURCE, find_in};
use crate::otlp::fields::common::instrumentation_scope;
use crate::otlp::fields::logs::log_record;
use crate::otlp::fields::trace::{span, span_kind};
use crate::otlp::walk::{AnyValue, Fields};
use crate::ottl::Item;

/// What is skipped: what `include` does not match and what `exclude` matches.
#[derive(Debug, Default)]
pub struct Skip {
    pub(super) include: Option<ItemProperties>,
    pub(super) exclude: Option<ItemProperties>,
}

/// All that is given must match.
#[derive(Debug, Default)]
pub(super) struct ItemProperties {
    pub tests: Vec<Property>,
}

#[derive(Debug)]
pub(super) enum Property {
    /// A text in field `number` of the item.
    Text(u32, Names),
    Service(Names),
    Kind(Names),
    Body(Names),
    /// The lowest severity, and whether records without one match.
    Severity(i64, bool),
    /// In this field of the item.
    Attributes(u32, Vec<WantedAttribute>),
    Resource(Vec<WantedAttribute>),
    /// Name and version of the instrumentation scope.
    Libraries(Vec<(Names, Option<Names>)>),
}

/// Any of these names.
#[derive(Debug)]
pub(super) enum Names {
    Strict(Vec<String>),
    Patterns(RegexSet),
}

/// An attribute that must be there and, where given, have this value.
#[derive(Debug)]
pub(super) struct WantedAttribute {
    pub key: String,
    pub value: Option<WantedValue>,
}

#[derive(Debug)]
pub(super) enum WantedValue {
    Text(String),
    Int(i64),
    Double(f64),
    Bool(bool),
    Pattern(Names),
}

impl Skip {
    /// Without a property there is nothing to match, and nothing is skipped for it.
    pub(super) fn put(&mut self, include: bool, properties: ItemProperties) {
        if properties.tests.is_empty() {
            return;
        }
        *(if include { &mut self.include } else { &mut self.exclude }) = Some(properties);
    }

    pub fn skips(&self, item: &Item<'_>) -> bool {
        self.include.as_ref().is_some_and(|include| !include.matches(item))
            || self.exclude.as_ref().is_some_and(|exclude| exclude.matches(item))
    }
}

impl ItemProperties {
    fn matches(&self, item: &Item<'_>) -> bool {
        self.tests.iter().all(|test| test.matches(item))
    }
}

impl Property {
    fn matches(&self, item: &Item<'_>) -> bool {
        match self {
            Property::Text(number, names) => names.have(&text_in(item.item, *number)),
            Property::Service(names) => match find_in(item.resource, RESOURCE, "service.name") {
                Some(value) => names.have(&shown(&value)),
                None => names.have("<nil-service-name>"),
            },
            Property::Kind(names) => names.have(kind_name(number_in(item.item, span::KIND))),
            Property::Body(names) => {
                let body = field(item.item, log_record::BODY).and_then(|field| field.bytes().ok()).unwrap_or_default();
                names.have(&shown(&AnyValue::read(body).unwrap_or(AnyValue::Empty)))
            }
            Property::Severity(lowest, undefined) => match number_in(item.item, log_record::SEVERITY_NUMBER) {
                0 => *undefined,
                severity => severity >= *lowest,
            },
            Property::Attributes(number, wanted) => wanted.iter().all(|wanted| wanted.is_in(item.item, *number)),
            Property::Resource(wanted) => wanted.iter().all(|wanted| wanted.is_in(item.resource, RESOURCE)),
            Property::Libraries(libraries) => libraries.iter().any(|(name, version)| {
                name.have(&text_in(item.scope, instrumentation_scope::NAME))
                    && version
                        .as_ref()
                        .is_none_or(|version| version.have(&text_in(item.scope, instrumentation_scope::VERSION)))
            }),
        }
    }
}

impl WantedAttribute {
    fn is_in(&self, message: &[u8], number: u32) -> bool {
        let Some(found) = find_in(message, number, &self.key) else { return false };
        match (&self.value, found) {
            (None, _) => true,
            (Some(WantedValue::Text(text)), AnyValue::Str(found)) => text.as_bytes() == found,
            (Some(WantedValue::Int(number)), AnyValue::Int(found)) => *number == found,
            (Some(WantedValue::Double(number)), AnyValue::Double(found)) => *number == found,
            (Some(WantedValue::Bool(truth)), AnyValue::Bool(found)) => *truth == found,
            (Some(WantedValue::Pattern(pattern)), found) => {
                !matches!(found, AnyValue::Array(_) | AnyValue::KvList(_) | AnyValue::Bytes(_) | AnyValue::Empty)
                    && pattern.have(&shown(&found))
            }
            _ => false,
        }
    }
}

impl Names {
    fn have(&self, name: &str) -> bool {
        match self {
            Names::Strict(names) => names.iter().any(|known| known == name),
            Names::Patterns(patterns) => patterns.is_match(name),
        }
    }
}

fn field(message: &[u8], number: u32) -> Option<crate::otlp::walk::Field<'_>> {
    Fields::new(message).map_while(Result::ok).filter(|field| field.number == number).last()
}

fn text_in(message: &[u8], number: u32) -> std::borrow::Cow<'_, str> {
    let bytes = field(message, number).and_then(|field| field.bytes().ok()).unwrap_or_default();
    String::from_utf8_lossy(bytes)
}

fn number_in(message: &[u8], number: u32) -> i64 {
    field(message, number).and_then(|field| field.varint().ok()).unwrap_or_default() as i64
}

fn shown(value: &AnyValue<'_>) -> String {
    crate::ottl::shown(*value)
}

fn kind_name(kind: i64) -> &'static str {
    usize::try_from(kind).ok().and_then(|kind| span_kind::NAMES.get(kind)).copied().unwrap_or_default()
}

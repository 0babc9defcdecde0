//! `string_attribute`: any resource or span whose attribute is one of these texts, or matches one of these patterns.
//!
//! YAML: `string_attribute: {key: env, values: [prod], enabled_regex_matching: false, cache_max_size: 128,
//! invert_match: false}`. Patterns are not anchored. Empty texts in `values` are not looked for, as in the Collector.

use std::num::NonZeroUsize;

use regex::bytes::Regex;

use crate::config::check::{Section, text_of};
use crate::config::value::pattern::compile_bytes;
use crate::core::diagnostic::code;
use crate::core::node::Value;
use crate::processors::tail_sampling::policies::leaf::Leaf;
use crate::processors::tail_sampling::policies::matching::{Patterns, ValueTest};
use crate::processors::tail_sampling::policies::{PolicyCheck, PolicyRule};

const REMEMBERED_DEFAULT: NonZeroUsize = NonZeroUsize::new(128).expect("128 is not zero");
const REMEMBERED_MAX: usize = 65_536;

pub fn check(section: &Section<'_>, cx: &mut PolicyCheck<'_>, depth: usize) -> Option<PolicyRule> {
    let key = section.string("key").or_else(|| section.missing("key", "the name of an attribute"));
    let values = section.strings("values").unwrap_or_default();
    lint_values(section);
    let invert = section.bool("invert_match");
    Leaf::lint_invert(section, invert, cx, depth);
    let remembered = section.usize("cache_max_size").and_then(|size| NonZeroUsize::new(size.min(REMEMBERED_MAX)));
    let test = match section.bool("enabled_regex_matching") {
        Some(true) => {
            let patterns: Vec<Option<Regex>> = values.iter().map(|value| pattern(section, value)).collect();
            let patterns: Option<Vec<Regex>> = patterns.into_iter().collect();
            ValueTest::Pattern(Patterns::new(patterns?, remembered.unwrap_or(REMEMBERED_DEFAULT)))
        }
        _ => {
            let values = values.iter().filter(|value| !value.is_empty());
            ValueTest::OneOf(values.map(|value| value.as_bytes().into()).collect())
        }
    };
    let leaf = cx.leaves.attribute(&key?, test);
    Some(PolicyRule::Leaf(Leaf::with_invert(leaf, invert, cx.invert, depth)))
}

/// Values that were not written as text stand for texts that attributes rarely have.
fn lint_values(section: &Section<'_>) {
    for item in section.list("values").unwrap_or_default().iter() {
        let other = match item.value {
            Value::Bool(_) => "boolean_attribute",
            Value::Int(_) | Value::Float(_) => "numeric_attribute",
            _ => continue,
        };
        let text = text_of(item).unwrap_or_default();
        let message =
            format!("an attribute matches only if it is the text {text:?}; as a number or boolean it never does");
        let help = format!("use {other} for such attributes, or quote the value if text is meant");
        section.warn("values", code::LINT, message, Some(&help));
        return;
    }
}

fn pattern(section: &Section<'_>, text: &str) -> Option<Regex> {
    match compile_bytes(text) {
        Ok(pattern) => Some(pattern),
        Err(why) => {
            section.invalid("values", format!("{text:?} is not a regular expression: {why}"), "an RE2 expression")
        }
    }
}

//! `string_attribute`: any resource or span whose attribute is one of these texts, or matches one of these patterns.
//!
//! YAML: `string_attribute: {key: env, values: [prod], enabled_regex_matching: false, cache_max_size: 128,
//! invert_match: false}`. Patterns are not anchored. Empty texts in `values` are not looked for, as in the Collector.

use std::num::NonZeroUsize;

use regex::bytes::Regex;

use crate::config::check::Section;
use crate::processors::tail_sampling::matching::{Patterns, Test};
use crate::processors::tail_sampling::policies::leaf::Leaf;
use crate::processors::tail_sampling::policies::{PolicyCheck, Rule};

const REMEMBERED_DEFAULT: NonZeroUsize = NonZeroUsize::new(128).expect("128 is not zero");
const REMEMBERED_MAX: usize = 65_536;

pub fn check(section: &Section<'_>, cx: &mut PolicyCheck<'_>, depth: usize) -> Option<Rule> {
    let key = section.string("key").or_else(|| section.missing("key", "the name of an attribute"));
    let values = section.strings("values").unwrap_or_default();
    let invert = section.bool("invert_match");
    let remembered = section.usize("cache_max_size").and_then(|size| NonZeroUsize::new(size.min(REMEMBERED_MAX)));
    let test = match section.bool("enabled_regex_matching") {
        Some(true) => {
            let patterns: Vec<Option<Regex>> = values.iter().map(|value| pattern(section, value)).collect();
            let patterns: Option<Vec<Regex>> = patterns.into_iter().collect();
            Test::Pattern(Patterns::new(patterns?, remembered.unwrap_or(REMEMBERED_DEFAULT)))
        }
        _ => {
            let values = values.iter().filter(|value| !value.is_empty());
            Test::OneOf(values.map(|value| value.as_bytes().into()).collect())
        }
    };
    let leaf = cx.leaves.attribute(&key?, test);
    Some(Rule::Leaf(Leaf::with_invert(leaf, invert, cx.invert, depth)))
}

fn pattern(section: &Section<'_>, text: &str) -> Option<Regex> {
    match Regex::new(text) {
        Ok(pattern) => Some(pattern),
        Err(fault) => {
            let why = fault.to_string();
            let why = why.lines().last().unwrap_or("not valid").trim().to_owned();
            section.invalid("values", format!("{text:?} is not a regular expression: {why}"), "an RE2 expression")
        }
    }
}

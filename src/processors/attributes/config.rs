//! `include` and `exclude` from the Collector's YAML, every fault with its place.

use super::matching::{Expected, Library, Properties, SeverityMatch, Wanted, WordMatch, kind_name};
use crate::change::actions::{any_value, pattern};
use crate::config::check::Section;
use crate::config::value::pattern;
use crate::core::diagnostic::code;
use crate::core::node::{Node, Value};

#[derive(Clone, Copy, PartialEq, Eq)]
enum MatchType {
    Strict,
    Regexp,
}

/// The properties under `key`: `Some(None)` when there are none, `None` after reporting at least one fault.
pub fn properties(parent: &Section<'_>, key: &str) -> Option<Option<Properties>> {
    if parent.node(key).is_none_or(Node::is_null) {
        return Some(None);
    }
    let section = parent.section(key).filter(Section::is_map)?;
    let types = [("strict", MatchType::Strict), ("regexp", MatchType::Regexp)];
    let match_type = match section.string("match_type") {
        None => section.missing("match_type", "strict or regexp"),
        Some(_) => section.choice("match_type", &types),
    };
    section.without_effect("regexp", "patterns are compiled into one automaton, and no match is cached");
    // An unknown type was reported; the rest is read for its own faults.
    let reader = Reader { section: &section, match_type: match_type.unwrap_or(MatchType::Strict) };
    let read = reader.read();
    let empty = read.as_ref().is_some_and(|read| read.given().is_empty());
    if empty {
        let help = "give services, span_names, span_kinds, attributes, resources, libraries, log_bodies, \
                    log_severity_texts, log_severity_number or metric_names";
        let message = format!("`{key}` says nothing of what to match");
        section.error("match_type", code::MISSING_KEY, message, Some(help));
    }
    section.finish();
    read.filter(|_| match_type.is_some() && !empty).map(Some)
}

struct Reader<'a> {
    section: &'a Section<'a>,
    match_type: MatchType,
}

impl Reader<'_> {
    fn read(&self) -> Option<Properties> {
        let (services, span_names) = (self.words("services"), self.words("span_names"));
        let (log_bodies, severity_texts) = (self.words("log_bodies"), self.words("log_severity_texts"));
        let (metric_names, span_kinds) = (self.words("metric_names"), self.kinds());
        let (attributes, resources) = (self.wanted("attributes"), self.wanted("resources"));
        let (libraries, severity_number) = (self.libraries(), self.severity());
        Some(Properties {
            services: services?,
            resources: resources?,
            libraries: libraries?,
            span_names: span_names?,
            span_kinds: span_kinds?,
            log_bodies: log_bodies?,
            severity_texts: severity_texts?,
            severity_number: severity_number?,
            metric_names: metric_names?,
            attributes: attributes?,
        })
    }

    /// `Some(None)` when the key is absent or its list empty.
    fn words(&self, key: &str) -> Option<Option<WordMatch>> {
        let Some(texts) = self.section.strings(key) else {
            let absent = self.section.node(key).is_none_or(Node::is_null);
            return absent.then_some(None);
        };
        if texts.is_empty() {
            return Some(None);
        }
        self.compile(self.section, key, texts).map(Some)
    }

    fn compile(&self, section: &Section<'_>, key: &str, texts: Vec<String>) -> Option<WordMatch> {
        if self.match_type == MatchType::Strict {
            return Some(WordMatch::Strict(texts));
        }
        match pattern::set_bytes(&texts) {
            Ok(set) => Some(WordMatch::Regexp(set)),
            Err(why) => {
                let message = format!("not a regular expression: {why}");
                section.invalid(key, message, "regular expressions in RE2's syntax")
            }
        }
    }

    fn kinds(&self) -> Option<Option<WordMatch>> {
        let words = self.words("span_kinds")?;
        if let Some(WordMatch::Strict(kinds)) = &words {
            let known = |kind: &String| (1..=5).any(|number| kind_name(number) == kind);
            if let Some(kind) = kinds.iter().find(|kind| !known(kind)) {
                let expected = "SPAN_KIND_INTERNAL, _SERVER, _CLIENT, _PRODUCER or _CONSUMER";
                return self.section.invalid("span_kinds", format!("{kind:?} is no kind of span"), expected);
            }
        }
        Some(words)
    }

    fn entries(&self, key: &str) -> Option<Vec<Section<'_>>> {
        let Some(items) = self.section.strict_list(key) else {
            let absent = self.section.node(key).is_none_or(Node::is_null);
            return absent.then(Vec::new);
        };
        let path = self.section.child_path(key);
        let sections = items.iter().enumerate();
        let sections =
            sections.map(|(at, item)| Section::new(item, format!("{path}::{at}"), self.section.diagnostics()));
        Some(sections.collect())
    }

    fn wanted(&self, key: &str) -> Option<Vec<Wanted>> {
        let read = self.entries(key)?.into_iter().map(|entry| {
            let wanted = entry.is_map().then(|| self.one_wanted(&entry)).flatten();
            entry.finish();
            wanted
        });
        read.collect::<Vec<_>>().into_iter().collect()
    }

    fn one_wanted(&self, entry: &Section<'_>) -> Option<Wanted> {
        let key = entry.string("key").filter(|key| !key.is_empty());
        let value = match (entry.node("value").filter(|node| !node.is_null()), self.match_type) {
            (None, _) => Some(Expected::Anything),
            (Some(node), MatchType::Strict) => Some(Expected::Equal(any_value(node))),
            (Some(node), MatchType::Regexp) if matches!(node.value, Value::String(_)) => match entry.string("value") {
                // The empty pattern matches every value.
                Some(text) if text.is_empty() => Some(Expected::Anything),
                _ => pattern(entry, "value").map(Expected::Like),
            },
            (Some(node), MatchType::Regexp) => {
                let message = format!("the value is {}, and match_type is regexp", node.kind());
                entry.invalid("value", message, "a string with a regular expression")
            }
        };
        let key = key.or_else(|| entry.missing("key", "the attribute's name"));
        Some(Wanted { key: key?, value: value? })
    }

    fn libraries(&self) -> Option<Vec<Library>> {
        let read = self.entries("libraries")?.into_iter().map(|entry| {
            let name = entry.string("name").unwrap_or_default();
            let version = entry.string("version");
            let name = self.compile(&entry, "name", vec![name]);
            let version = version.map(|version| self.compile(&entry, "version", vec![version]));
            entry.finish();
            let version = match version {
                None => None,
                Some(words) => Some(words?),
            };
            Some(Library { name: name?, version })
        });
        read.collect::<Vec<_>>().into_iter().collect()
    }

    fn severity(&self) -> Option<Option<SeverityMatch>> {
        let Some(section) = self.section.section("log_severity_number") else { return Some(None) };
        let min = section.i64("min").unwrap_or(0);
        let match_undefined = section.bool("match_undefined").unwrap_or(false);
        let sound = section.is_map();
        section.finish();
        sound.then_some(Some(SeverityMatch { min, match_undefined }))
    }
}

//! Reading a component's body: typed getters that report faults with their place, and unknown keys at the end.
//!
//! A section borrows the tree and the list of findings; nothing here stops at the first fault. Every getter marks its
//! key as known, so call all of them before [`Section::finish`].

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use crate::config::value::{duration, size};
use crate::core::diagnostic::{Diagnostic, Diagnostics, code};
use crate::core::node::{Entry, Node, Place, Value};

/// One map of the configuration under check. A null body reads as an empty map.
pub struct Section<'a> {
    node: &'a Node,
    path: String,
    diagnostics: &'a Diagnostics,
    known: RefCell<BTreeSet<String>>,
    /// Keys that podgate does not take here and that were reported with a better cure than a list of known ones.
    reported: RefCell<BTreeSet<String>>,
}

impl<'a> Section<'a> {
    /// Reports when `node` is neither a map nor null and then reads as empty.
    pub fn new(node: &'a Node, path: impl Into<String>, diagnostics: &'a Diagnostics) -> Section<'a> {
        let section =
            Section { node, path: path.into(), diagnostics, known: RefCell::default(), reported: RefCell::default() };
        if !matches!(node.value, Value::Map(_) | Value::Null) {
            section.wrong_type::<()>(&section.path, node, "a map of keys");
        }
        section
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    pub fn place(&self) -> Place {
        self.node.place
    }

    /// False when the body has the wrong type, which was reported when the section was made.
    pub fn is_map(&self) -> bool {
        matches!(self.node.value, Value::Map(_) | Value::Null)
    }

    /// True for a null body and for `{}`.
    pub fn is_empty(&self) -> bool {
        self.node.entries().is_empty()
    }

    pub fn diagnostics(&self) -> &'a Diagnostics {
        self.diagnostics
    }

    /// The path of a key of this section; keys of the top level have no prefix.
    pub fn child_path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}::{key}", self.path) }
    }

    /// All keys with their values, for maps whose keys are names. All count as known.
    pub fn entries(&self) -> &'a [Entry] {
        self.known.borrow_mut().extend(self.node.entries().iter().map(|entry| entry.key.clone()));
        self.node.entries()
    }

    /// The raw value of a key, marked as known; `None` when the key is absent.
    pub fn node(&self, key: &str) -> Option<&'a Node> {
        self.known.borrow_mut().insert(key.to_owned());
        self.node.get(key)
    }

    fn present(&self, key: &str) -> Option<&'a Node> {
        self.node(key).filter(|node| !node.is_null())
    }

    /// A nested map; `None` when the key is absent. A null body is an empty section.
    pub fn section(&self, key: &str) -> Option<Section<'a>> {
        let node = self.node(key)?;
        Some(Section::new(node, self.child_path(key), self.diagnostics))
    }

    pub fn bool(&self, key: &str) -> Option<bool> {
        let node = self.present(key)?;
        match &node.value {
            Value::Bool(value) => Some(*value),
            _ => self.wrong_type(&self.child_path(key), node, "true or false"),
        }
    }

    /// A text; numbers and booleans are taken as written.
    pub fn string(&self, key: &str) -> Option<String> {
        let node = self.present(key)?;
        text_of(node).or_else(|| self.wrong_type(&self.child_path(key), node, "a string"))
    }

    pub fn i64(&self, key: &str) -> Option<i64> {
        let node = self.present(key)?;
        match &node.value {
            Value::Int(value) => Some(*value),
            // The Collector truncates a float here without a word; a whole one is harmless.
            Value::Float(value) if value.fract() == 0.0 && value.abs() < 9e15 => Some(*value as i64),
            _ => self.wrong_type(&self.child_path(key), node, "an integer"),
        }
    }

    /// A non-negative integer.
    pub fn u64(&self, key: &str) -> Option<u64> {
        let value = self.i64(key)?;
        u64::try_from(value)
            .ok()
            .or_else(|| self.invalid(key, format!("{value} is negative"), "an integer of 0 or more"))
    }

    pub fn usize(&self, key: &str) -> Option<usize> {
        self.u64(key).and_then(|value| usize::try_from(value).ok())
    }

    pub fn f64(&self, key: &str) -> Option<f64> {
        let node = self.present(key)?;
        match &node.value {
            Value::Int(value) => Some(*value as f64),
            Value::Float(value) => Some(*value),
            _ => self.wrong_type(&self.child_path(key), node, "a number"),
        }
    }

    /// A duration as Go writes it (`1m30s`, `250ms`); a bare 0 is zero. Any other bare number is an error: the
    /// Collector takes it as nanoseconds, which nobody means.
    pub fn duration(&self, key: &str) -> Option<Duration> {
        let node = self.present(key)?;
        let text = text_of(node).or_else(|| self.wrong_type(&self.child_path(key), node, "a duration such as 5s"))?;
        match duration::parse(&text) {
            Ok(value) => Some(value),
            Err(why) => self.invalid(key, why, "a duration such as 250ms, 5s or 1m30s"),
        }
    }

    /// Bytes: an integer, or text with a unit (`512KiB`, `1GiB`, `20MB`).
    pub fn bytes(&self, key: &str) -> Option<u64> {
        let node = self.present(key)?;
        let text = text_of(node).or_else(|| self.wrong_type(&self.child_path(key), node, "a size such as 64MiB"))?;
        match size::parse(&text) {
            Ok(value) => Some(value),
            Err(why) => self.invalid(key, why, "a size in bytes or with a unit, such as 64MiB"),
        }
    }

    /// Items of a list. One text is taken as several with commas between them, as upstream's decoder does (mapstructure's
    /// StringToSliceHookFunc): `detectors: env,system`.
    pub fn list(&self, key: &str) -> Option<Cow<'a, [Node]>> {
        match self.present(key)? {
            Node { value: Value::String(text), place, expression, .. } => {
                let parts = text.split(',').filter(|_| !text.is_empty());
                let part = |part: &str| Node {
                    expression: expression.clone(),
                    ..Node::new(Value::String(part.to_owned()), *place)
                };
                Some(Cow::Owned(parts.map(part).collect()))
            }
            _ => self.strict_list(key).map(Cow::Borrowed),
        }
    }

    /// Items of a list where one text is none: pipelines and `service::extensions`.
    pub fn strict_list(&self, key: &str) -> Option<&'a [Node]> {
        let node = self.present(key)?;
        match &node.value {
            Value::List(items) => Some(items),
            _ => self.wrong_type(&self.child_path(key), node, "a list"),
        }
    }

    pub fn strings(&self, key: &str) -> Option<Vec<String>> {
        let path = self.child_path(key);
        let items = self.list(key)?;
        let texts = items
            .iter()
            .enumerate()
            .map(|(at, item)| text_of(item).or_else(|| self.wrong_type(&format!("{path}::{at}"), item, "a string")));
        Some(texts.flatten().collect())
    }

    /// Key and text of every entry of a nested map (headers, attributes), in the order written.
    pub fn string_map(&self, key: &str) -> Option<Vec<(String, String)>> {
        let node = self.present(key)?;
        let path = self.child_path(key);
        if !matches!(node.value, Value::Map(_)) {
            return self.wrong_type(&path, node, "a map of keys and strings");
        }
        let pairs = node.entries().iter().map(|entry| {
            let text = text_of(&entry.value)
                .or_else(|| self.wrong_type(&format!("{path}::{}", entry.key), &entry.value, "a string"));
            text.map(|text| (entry.key.clone(), text))
        });
        Some(pairs.flatten().collect())
    }

    /// One of `choices`; reports what is allowed and the nearest.
    pub fn choice<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.string(key)?;
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
            return Some(*value);
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let meant = nearest(&text, names.iter().copied()).map(|near| format!("; did you mean `{near}`?"));
        let expected = format!("one of {}{}", names.join(", "), meant.unwrap_or_default());
        self.invalid(key, format!("`{key}` cannot be {text:?}"), &expected)
    }

    /// One of `choices`, in upper or lower case: so the Collector takes levels.
    pub fn level<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.string(key)?;
        match choices.iter().find(|(name, _)| name.eq_ignore_ascii_case(&text)) {
            Some((_, level)) => Some(*level),
            None => self.choice(key, choices),
        }
    }

    /// Keys the Collector has and podgate does not have yet: refused with their place, never ignored. A value that asks
    /// for nothing (`null`, `[]`, an empty text), as rendered charts write it, is none.
    pub fn not_yet(&self, keys: &[&str]) {
        for key in keys {
            let Some(place) = self.key_place(key) else { continue };
            self.reported.borrow_mut().insert((*key).to_owned());
            if self.node.get(key).is_some_and(|node| asks_for_nothing(key, node)) {
                continue;
            }
            self.diagnostics.push(
                Diagnostic::error(code::NOT_YET, place)
                    .at(self.child_path(key))
                    .says(format!("`{key}` is not supported yet"))
                    .help(cure_without(key).to_owned()),
            );
        }
    }

    /// A key that is known elsewhere and stands here by mistake.
    pub fn misplaced(&self, key: &str, help: &str) {
        let Some(place) = self.key_place(key) else { return };
        self.reported.borrow_mut().insert(key.to_owned());
        self.diagnostics.push(
            Diagnostic::error(code::UNKNOWN_KEY, place)
                .at(self.child_path(key))
                .says(format!("`{key}` stands in the wrong place"))
                .help(help.to_owned()),
        );
    }

    /// Keys that are accepted and have no effect here; said once with the reason.
    pub fn without_effect(&self, key: &str, why: &str) {
        let Some(place) = self.key_place(key) else { return };
        self.node(key);
        self.diagnostics.push(
            Diagnostic::warning(code::IGNORED_KEY, place)
                .at(self.child_path(key))
                .says(format!("`{key}` has no effect: {why}")),
        );
    }

    /// Where a key is written, else where its section is.
    pub fn place_of(&self, key: &str) -> Place {
        self.node
            .get(key)
            .map(|node| node.place)
            .filter(|place| place.line > 0)
            .or_else(|| self.key_place(key))
            .unwrap_or(self.node.place)
    }

    fn key_place(&self, key: &str) -> Option<Place> {
        self.node.entries().iter().find(|entry| entry.key == key).map(|entry| entry.key_place)
    }

    /// Reports a value that has the right type and the wrong content. Always `None`, to be returned by getters.
    pub fn invalid<T>(&self, key: &str, message: impl Into<String>, expected: &str) -> Option<T> {
        self.diagnostics.push(
            Diagnostic::error(code::INVALID_VALUE, self.place_of(key))
                .at(self.child_path(key))
                .says(message.into())
                .expected(format!("expected {expected}")),
        );
        None
    }

    pub fn missing<T>(&self, key: &str, expected: &str) -> Option<T> {
        // What is no map lacks every key; that it is none was told, at this very place.
        if !self.is_map() {
            return None;
        }
        let message = format!("`{key}` is required");
        self.diagnostics.push(
            Diagnostic::error(code::MISSING_KEY, self.node.place)
                .at(self.child_path(key))
                .says(message)
                .expected(format!("expected {expected}")),
        );
        None
    }

    pub fn warn(&self, key: &str, code: &'static str, message: impl Into<String>, help: Option<&str>) {
        self.diagnostics.push(
            Diagnostic::warning(code, self.place_of(key))
                .at(self.child_path(key))
                .says(message.into())
                .help_if(help.map(str::to_owned)),
        );
    }

    pub fn error(&self, key: &str, code: &'static str, message: impl Into<String>, help: Option<&str>) {
        self.diagnostics.push(
            Diagnostic::error(code, self.place_of(key))
                .at(self.child_path(key))
                .says(message.into())
                .help_if(help.map(str::to_owned)),
        );
    }

    fn wrong_type<T>(&self, path: &str, node: &Node, expected: &str) -> Option<T> {
        let message = match path.rsplit("::").next() {
            Some(key) if !key.is_empty() && !key.bytes().all(|byte| byte.is_ascii_digit()) => {
                format!("`{key}` is {}", node.kind())
            }
            _ => format!("this is {}", node.kind()),
        };
        self.diagnostics.push(
            Diagnostic::error(code::WRONG_TYPE, node.place)
                .at(path.to_owned())
                .says(message)
                .expected(format!("expected {expected}")),
        );
        None
    }

    /// Reports every key that no getter asked for, with the nearest known one.
    pub fn finish(self) {
        let (known, reported) = (self.known.borrow(), self.reported.borrow());
        let answered = |key: &str| known.contains(key) || reported.contains(key);
        for entry in self.node.entries().iter().filter(|entry| !answered(&entry.key)) {
            let nearest = nearest(&entry.key, known.iter().map(String::as_str));
            let all = format!("known keys: {}", known.iter().cloned().collect::<Vec<_>>().join(", "));
            let (expected, help) = match nearest {
                Some(nearest) => (format!("did you mean `{nearest}`?"), Some(all)),
                None if known.is_empty() => ("no keys are known here".to_owned(), None),
                None => (all, None),
            };
            self.diagnostics.push(
                Diagnostic::error(code::UNKNOWN_KEY, entry.key_place)
                    .at(self.child_path(&entry.key))
                    .says(format!("unknown key `{}`", entry.key))
                    .expected(expected)
                    .help_if(help),
            );
        }
    }
}

/// True for a value of an unsupported key that changes nothing. An empty `tls` or `auth` asks for it.
fn asks_for_nothing(key: &str, node: &Node) -> bool {
    match &node.value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::List(items) => items.is_empty(),
        Value::Map(entries) => entries.is_empty() && !matches!(key, "tls" | "auth"),
        Value::Bool(on) => !on && key != "force_attempt_http2",
        Value::Int(_) | Value::Float(_) => false,
    }
}

/// What to do without a key. Who is told to remove a protection would send openly.
fn cure_without(key: &str) -> &'static str {
    match key {
        "auth" => "send a fixed credential by `headers: {Authorization: ...}`, or keep a Collector in front for this",
        "tls" => "keep a proxy or a Collector that ends TLS in front; without the key the port is a plain one",
        _ => "remove the key, or start with --unsupported=skip and read what is lost",
    }
}

/// The text of a value as written: any scalar but null, and whatever a whole `${...}` brought in (a password may look
/// like a list); `None` for other lists and maps.
pub fn text_of(node: &Node) -> Option<String> {
    if let Some(written) = &node.written {
        return Some(written.clone());
    }
    match &node.value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Int(value) => Some(value.to_string()),
        Value::Float(value) => Some(value.to_string()),
        Value::Null | Value::List(_) | Value::Map(_) => None,
    }
}

/// Longer words are nobody's slip, and the distance between two words costs the product of their lengths.
const WORD_MAX: usize = 100;

/// The known word nearest to `word`, when it is near enough to be a slip of the pen.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().count();
    if length > WORD_MAX {
        return None;
    }
    let allowed = 1 + length / 4;
    known
        .filter(|candidate| candidate.chars().count().abs_diff(length) <= allowed)
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, delete, replace, swap of neighbours) between two words.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.to_lowercase().chars().collect(), b.to_lowercase().chars().collect());
    let width = b.len() + 1;
    let mut rows = vec![0usize; (a.len() + 1) * width];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            let at = i * width + j;
            if i == 0 || j == 0 {
                rows[at] = i + j;
                continue;
            }
            let replace = rows[at - width - 1] + usize::from(a[i - 1] != b[j - 1]);
            rows[at] = replace.min(rows[at - width] + 1).min(rows[at - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                rows[at] = rows[at].min(rows[at - 2 * width - 2] + 1);
            }
        }
    }
    rows[a.len() * width + b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_named_only_when_it_is_near() {
        let known = ["endpoint", "timeout", "compression"];
        assert_eq!(nearest("endpiont", known.into_iter()), Some("endpoint"));
        assert_eq!(nearest("timout", known.into_iter()), Some("timeout"));
        assert_eq!(nearest("zebra", known.into_iter()), None);
    }
}

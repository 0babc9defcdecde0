//! What must not be shown of a configuration in words about it: values from variables and files, secrets, userinfo.
//!
//! A check words its findings with the value it objects to. Here each text passes before it is printed: what an
//! expression brought in reads as the expression again, a secret as redacted.

use std::borrow::Cow;

use crate::config::value::secret::{is_secret_key, redacted, userinfo, without_userinfo};
use crate::core::node::{Node, Place, Value};

/// A value that `${env:...}` or `${file:...}` brought in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brought {
    pub value: String,
    pub expression: String,
    /// Of the value that it became a part of.
    pub place: Place,
}

/// Shorter values are ordinary words (`otlp`, `info`): they are taken back only in findings about their own line.
const EVERYWHERE_FROM: usize = 8;
const OWN_LINE_FROM: usize = 3;
const SECRET_FROM: usize = 4;

#[derive(Clone, Debug, Default)]
pub struct Hidden {
    brought: Vec<Brought>,
    secrets: Vec<String>,
}

impl Hidden {
    /// Longest first, so that a value that holds another one goes as a whole.
    pub fn brought(&mut self, mut brought: Vec<Brought>) {
        brought.retain(|one| one.value.chars().count() >= OWN_LINE_FROM);
        brought.sort_by_key(|one| std::cmp::Reverse(one.value.len()));
        self.brought = brought;
    }

    /// Literal values under secret keys, however deep.
    pub fn secrets_of(&mut self, tree: &Node) {
        self.collect(tree, false);
        self.secrets.sort_by_key(|text| std::cmp::Reverse(text.len()));
        self.secrets.dedup();
    }

    fn collect(&mut self, node: &Node, secret: bool) {
        match &node.value {
            Value::Map(entries) => {
                for entry in entries {
                    // `{Authorization:ApiKey abc}` without a blank is a key alone.
                    if secret && entry.value.is_null() && entry.key.contains([':', ' ']) {
                        self.secrets.push(entry.key.clone());
                    }
                    self.collect(&entry.value, secret || is_secret_key(&entry.key));
                }
            }
            Value::List(items) => items.iter().for_each(|item| self.collect(item, secret)),
            Value::String(text) if secret && text.chars().count() >= SECRET_FROM => self.secrets.push(text.clone()),
            _ => {}
        }
    }

    /// A text about the configuration as it may be shown, `place` being what it is about.
    pub fn in_words<'t>(&self, text: &'t str, place: Option<Place>) -> Cow<'t, str> {
        let mut text = Cow::Borrowed(text);
        for Brought { value, expression, place: of } in &self.brought {
            let own_line = place.is_some_and(|place| (place.source, place.line) == (of.source, of.line));
            if (own_line || value.chars().count() >= EVERYWHERE_FROM) && text.contains(value.as_str()) {
                text = Cow::Owned(replaced(&text, value, expression));
            }
            if own_line && let Some(shown) = quoted_parts(&text, value, expression) {
                text = Cow::Owned(shown);
            }
        }
        for secret in self.secrets.iter().filter(|secret| secret.chars().count() >= SECRET_FROM) {
            if text.contains(secret.as_str()) {
                text = Cow::Owned(text.replace(secret.as_str(), &redacted(secret)));
            }
        }
        if userinfo(&text).is_some() {
            text = Cow::Owned(without_userinfo(&text));
        }
        text
    }
}

/// Whole words only, unless the value is long: `4317` is not a part of `43170`.
fn replaced(text: &str, value: &str, expression: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(value) {
        let (before, after) = (&rest[..at], &rest[at + value.len()..]);
        let joins = |letter: Option<char>| letter.is_some_and(char::is_alphanumeric);
        let whole = value.chars().count() >= EVERYWHERE_FROM
            || !(joins(before.chars().next_back()) || joins(after.chars().next()));
        out.push_str(before);
        out.push_str(if whole { expression } else { value });
        rest = after;
    }
    out + rest
}

/// A quoted part of the value (`"notaport" is not a port`) reads as the expression too; `None` when there is none.
fn quoted_parts(text: &str, value: &str, expression: &str) -> Option<String> {
    let mut pieces: Vec<&str> = text.split('"').collect();
    let mut found = false;
    for (_, piece) in pieces.iter_mut().enumerate().filter(|(at, _)| at % 2 == 1) {
        if piece.chars().count() >= OWN_LINE_FROM && value.contains(*piece) {
            *piece = expression;
            found = true;
        }
    }
    found.then(|| pieces.join("\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::read::yaml;
    use crate::core::diagnostic::Diagnostics;
    use crate::core::node::SourceId;

    #[test]
    fn words_show_expressions_instead_of_what_they_brought_in() {
        let place = Place { line: 7, column: 3, length: 1, source: SourceId(0) };
        let elsewhere = Place { line: 9, ..place };
        let one = |value: &str, expression: &str| Brought {
            value: value.to_owned(),
            expression: expression.to_owned(),
            place,
        };
        let mut hidden = Hidden::default();
        hidden.brought(vec![
            one("https://u:canary@h:notaport", "${env:URL}"),
            one("4317", "${env:PORT}"),
            one("info", "${env:L}"),
        ]);
        let tree = yaml::parse(
            "{headers: {x: canary-two, 'y:canary three': }, k: [{password: pass}]}",
            SourceId(0),
            &Diagnostics::default(),
        )
        .unwrap();
        hidden.secrets_of(&tree);
        for (text, at, shown) in [
            ("\"notaport\" is not a port", place, "\"${env:URL}\" is not a port"),
            ("\"https://u:canary@h:notaport\" is wrong", elsewhere, "\"${env:URL}\" is wrong"),
            ("4317 and 43170 and \"info\"", place, "${env:PORT} and 43170 and \"${env:L}\""),
            ("4317 and info", elsewhere, "4317 and info"),
            ("`canary-two` and `y:canary three` pass", elsewhere, "`[redacted]` and `[redacted]` [redacted]"),
            ("http://u:p@h/ and http://v:q@h/", elsewhere, "http://[redacted]@h/ and http://[redacted]@h/"),
        ] {
            assert_eq!(hidden.in_words(text, Some(at)), shown);
        }
    }
}

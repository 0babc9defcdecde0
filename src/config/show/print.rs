//! A tree as YAML again, for `print-config`: what was read after joining and expansion, secrets hidden unless asked.
//!
//! Strings that would read as something else are quoted, so that what is printed can be read back.

use std::fmt::Write as _;

use crate::config::read::scalar;
use crate::config::value::secret::{REDACTED, is_secret_key, redacted, without_userinfo};
use crate::core::node::{Node, Value};

/// Whether values under secret keys are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrets {
    Redacted,
    Shown,
}

/// The tree in block style, ending with a newline.
pub fn to_yaml(tree: &Node, secrets: Secrets) -> String {
    let mut out = String::new();
    Printer { out: &mut out, secrets }.body(tree, 0, Reveal::AsKeySays);
    out.trim_start_matches(['\n', ' ']).to_owned() + "\n"
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reveal {
    AsKeySays,
    /// Everything below a secret key is secret.
    Nothing,
}

struct Printer<'a> {
    out: &'a mut String,
    secrets: Secrets,
}

impl Printer<'_> {
    /// What follows `key:` or `-`: a scalar on the same line, or a block on the next ones.
    fn body(&mut self, node: &Node, indent: usize, reveal: Reveal) {
        if let (Secrets::Redacted, Some(expression)) = (self.secrets, &node.expression) {
            // A variable or a file may hold a secret under any key: it prints as what names it.
            let shown = if reveal == Reveal::Nothing {
                redacted(expression)
            } else {
                without_userinfo(expression).into_owned()
            };
            self.out.push(' ');
            return self.out.push_str(&quoted(&shown));
        }
        match &node.value {
            Value::Map(entries) if entries.is_empty() => self.out.push_str(" {}"),
            Value::List(items) if items.is_empty() => self.out.push_str(" []"),
            Value::Map(entries) => {
                let named = self.secrets == Secrets::Redacted && names_secret(node);
                for entry in entries {
                    let hidden = self.secrets == Secrets::Redacted && is_secret_key(&entry.key);
                    let below = if hidden || (named && entry.key == "value") { Reveal::Nothing } else { reveal };
                    self.line(indent);
                    // `{Authorization:ApiKey abc}` without a blank is a key alone.
                    let slip = reveal == Reveal::Nothing && entry.value.is_null() && entry.key.contains([':', ' ']);
                    self.out.push_str(&quoted(if slip { REDACTED } else { &entry.key }));
                    self.out.push(':');
                    self.body(&entry.value, indent + 2, below);
                }
            }
            Value::List(items) => {
                for item in items {
                    self.line(indent);
                    self.out.push('-');
                    self.item(item, indent + 2, reveal);
                }
            }
            _ => self.scalar(node, reveal),
        }
    }

    /// A map in a list begins on the line of its dash.
    fn item(&mut self, item: &Node, indent: usize, reveal: Reveal) {
        let begin = self.out.len();
        self.body(item, indent, reveal);
        let whole = self.secrets == Secrets::Shown || item.expression.is_none();
        let nested = matches!(&item.value, Value::Map(entries) if !entries.is_empty())
            || matches!(&item.value, Value::List(items) if !items.is_empty());
        if nested && whole {
            let first = self.out[begin..].len() - self.out[begin..].trim_start().len();
            self.out.replace_range(begin..begin + first, " ");
        }
    }

    fn line(&mut self, indent: usize) {
        self.out.push('\n');
        self.out.extend(std::iter::repeat_n(' ', indent));
    }

    fn scalar(&mut self, node: &Node, reveal: Reveal) {
        let text = match &node.value {
            Value::Null => return,
            _ if reveal == Reveal::Nothing => format!("{REDACTED:?}"),
            Value::String(text) if self.secrets == Secrets::Redacted => quoted(&without_userinfo(text)),
            Value::String(text) => quoted(text),
            value => {
                node.written.clone().filter(|text| scalar::resolve(text).0 == *value).unwrap_or_else(|| plain(value))
            }
        };
        self.out.push(' ');
        self.out.push_str(&text);
    }
}

/// Headers also come as a list of `{name: authorization, value: ...}`.
fn names_secret(map: &Node) -> bool {
    let name = ["name", "key"].iter().find_map(|key| map.get(key));
    matches!(name.map(|node| &node.value), Some(Value::String(name)) if is_secret_key(name))
}

fn plain(value: &Value) -> String {
    match value {
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) if value.is_nan() => ".nan".to_owned(),
        Value::Float(value) if value.is_infinite() => if *value > 0.0 { ".inf" } else { "-.inf" }.to_owned(),
        Value::Float(value) => format!("{value:?}"),
        _ => String::new(),
    }
}

/// The text bare where YAML reads it back as the same string, else in double quotes.
fn quoted(text: &str) -> String {
    let bare = !text.is_empty()
        && matches!(scalar::resolve(text).0, Value::String(_))
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-./:+ ()<>=\"'$;,".contains(c))
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || "_/.$(+".contains(c))
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && text != "<<";
    if bare {
        return text.to_owned();
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if (c as u32) < 0x20 || (0x7f..0xa0).contains(&(c as u32)) => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c if (0x2028..=0x2029).contains(&(c as u32)) || c as u32 == 0xfeff || c as u32 == 0xfffe => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

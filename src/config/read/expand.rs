//! `${...}` in values, by the Collector's rules (confmap): `${env:X}`, `${env:X:-default}`, `${file:...}`, `${yaml:...}`, bare `${X}`.
//!
//! Works on the joined tree, as there. The innermost expression is replaced first and the result is looked at again; a
//! value that is one expression takes the type of what it brings in, maps and lists included. Keys are not expanded.
//! `$$` is a dollar sign. Rounds, values and bytes are bounded, so that sources that name each other end in an error.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};

use crate::config::read::source;
use crate::config::read::source::Sources;
use crate::config::read::yaml;
use crate::config::show::hidden::{Brought, is_plain_key};
use crate::core::diagnostic::{Diagnostic, Diagnostics, code};
use crate::core::limits::{CONFIG_BYTES_MAX, CONFIG_DEPTH_MAX, CONFIG_NODES_MAX};
use crate::core::node::{Entry, Node, Place, Value};

/// Replacements within one value (confmap has the same bound).
const ROUNDS_MAX: usize = 1_000;
/// Lines of a long text in which the place of an expression is looked for.
const LINES_SEARCHED_MAX: u32 = 200;
/// Expressions whose own place is looked for, which reads their line again: more findings than these are not shown.
const PLACES_SOUGHT_MAX: usize = 200;
/// Steps of a path that are printed; deeper ones only come from a value that brings in itself.
const PATH_SHOWN_MAX: usize = 16;

/// Expands every value. Faulty expressions are pushed and read as nothing; `None` only when a limit was passed. Also
/// says what came in from where, for whoever must not show it.
pub fn expand(
    tree: Node,
    sources: &Sources,
    env: &dyn Fn(&str) -> Option<String>,
    diagnostics: &Diagnostics,
) -> (Option<Node>, Vec<Brought>) {
    let mut expander = Expander {
        sources,
        env,
        diagnostics,
        files: HashMap::new(),
        nodes: 0,
        bytes: 0,
        unset: BTreeMap::new(),
        newly_unset: Vec::new(),
        bare: BTreeMap::new(),
        path: Vec::new(),
        brought: Vec::new(),
        placed: Cell::new(0),
    };
    let tree = expander.node(tree, 0);
    expander.warn();
    (tree.ok(), expander.brought)
}

/// A limit was passed and reported; nothing more is expanded.
struct Exhausted;

/// The first place of something that is said once, and how often it occurs.
struct Seen {
    place: Place,
    path: String,
    times: usize,
    /// The whole value as written, when the expression is a part of it.
    within: Option<String>,
}

struct Expander<'a> {
    sources: &'a Sources,
    env: &'a dyn Fn(&str) -> Option<String>,
    diagnostics: &'a Diagnostics,
    files: HashMap<String, Result<String, String>>,
    nodes: usize,
    bytes: usize,
    unset: BTreeMap<String, Seen>,
    /// Names of the value at hand that came into `unset` with it.
    newly_unset: Vec<String>,
    bare: BTreeMap<String, Seen>,
    /// Keys and list positions down to the value at hand.
    path: Vec<String>,
    brought: Vec<Brought>,
    /// How many places were looked for.
    placed: Cell<usize>,
}

/// The first expression to replace, with its `${` and `}`: the one whose `}` comes first, from the nearest `${` before it. An escaped one
/// (`$${`) ends the search, in the Collector too.
fn find(text: &str) -> Option<&str> {
    let mut from = 0;
    loop {
        let close = from + text[from..].find('}')?;
        let Some(open) = text[from..close].rfind("${").map(|open| from + open) else {
            from = close + 1;
            continue;
        };
        let dollars = text[..open].bytes().rev().take_while(|byte| *byte == b'$').count();
        return (dollars % 2 == 0).then(|| &text[open..=close]);
    }
}

impl Expander<'_> {
    fn node(&mut self, node: Node, depth: usize) -> Result<Node, Exhausted> {
        self.nodes += 1;
        if depth > CONFIG_DEPTH_MAX || self.nodes > CONFIG_NODES_MAX {
            return self.exhausted(node.place, "what `${...}` brings in is too large, or names itself");
        }
        let Node { value, place, written, expression } = node;
        let value = match value {
            Value::String(text) => return self.text(text, place, depth),
            Value::List(items) => {
                let items = items.into_iter().enumerate();
                let items = items.map(|(at, item)| self.below(at.to_string(), item, depth));
                Value::List(items.collect::<Result<_, _>>()?)
            }
            Value::Map(entries) => {
                let entries = entries.into_iter().map(|entry| {
                    let value = self.below(entry.key.clone(), entry.value, depth)?;
                    Ok(Entry { value, key: entry.key, key_place: entry.key_place })
                });
                Value::Map(entries.collect::<Result<_, _>>()?)
            }
            scalar => scalar,
        };
        Ok(Node { value, place, written, expression })
    }

    fn below(&mut self, step: String, node: Node, depth: usize) -> Result<Node, Exhausted> {
        self.path.push(step);
        let node = self.node(node, depth + 1);
        self.path.pop();
        node
    }

    fn path(&self) -> String {
        match self.path.get(..PATH_SHOWN_MAX) {
            Some(shown) => shown.join("::") + "::...",
            None => self.path.join("::"),
        }
    }

    fn text(&mut self, text: String, place: Place, depth: usize) -> Result<Node, Exhausted> {
        let written = find(&text).is_some().then(|| text.clone().into_boxed_str());
        let node = self.expanded(text, place, depth)?;
        if let Some(written) = written.as_deref() {
            self.note_whole(written);
        }
        Ok(Node { expression: written.or(node.expression), ..node })
    }

    fn expanded(&mut self, mut text: String, place: Place, depth: usize) -> Result<Node, Exhausted> {
        let whole = text.clone();
        for _ in 0..ROUNDS_MAX {
            let Some(expression) = find(&text) else {
                self.warn_of_hidden(&text, place);
                return Ok(Node::new(Value::String(unescape(text)), place));
            };
            // What a value brought in names must not be shown either: the whole is shown instead.
            let shown = if whole.contains(expression) { expression } else { &whole };
            let brought = self.fetch(expression, shown, place);
            self.bytes += brought.len();
            let grown = text.len() + text.matches(expression).count() * brought.len();
            if grown > CONFIG_BYTES_MAX || self.bytes > CONFIG_BYTES_MAX {
                return self.exhausted(place, "what `${...}` brings in is larger than 8 MiB");
            }
            if expression.len() < text.len() {
                text = text.replace(expression, &brought);
                continue;
            }
            match typed(&brought, place) {
                Some(node) => {
                    self.note_typed(&node, shown, place);
                    return self.typed(node, brought, depth);
                }
                None => text = brought,
            }
        }
        self.exhausted(place, "this `${...}` names itself")
    }

    /// A value that is one expression, and what it brings in is not text.
    fn typed(&mut self, node: Node, brought: String, depth: usize) -> Result<Node, Exhausted> {
        let mut node = self.node(node, depth)?;
        // The text is kept for a key that wants a string, unless it has expressions of its own.
        node.written = (!brought.contains("${")).then(|| unescape(brought));
        Ok(node)
    }

    /// What an expression stands for; empty after reporting when it stands for nothing. It may be shown as `shown`.
    fn fetch(&mut self, expression: &str, shown: &str, place: Place) -> String {
        let uri = &expression[2..expression.len() - 1];
        let (scheme, opaque) = match uri.split_once(':') {
            Some((scheme, opaque)) => (scheme, opaque),
            None => {
                self.note_bare(uri, expression, place);
                ("env", uri)
            }
        };
        let result = match scheme {
            _ if opaque.contains('$') => Err("a `$` cannot stand in an expression".to_owned()),
            "env" => {
                let value = self.variable(opaque, expression, place);
                self.note_brought(&value, shown, place);
                return value;
            }
            "file" => self.file(opaque).inspect(|text| self.note_brought(text, shown, place)),
            "yaml" => Ok(opaque.to_owned()),
            _ => Err(format!("`{scheme}:` is not a source of values")),
        };
        result.unwrap_or_else(|message| {
            let help = cure_of(scheme, opaque);
            self.report(code::EXPANSION, self.place_in(place, expression), message, help);
            String::new()
        })
    }

    fn note_brought(&mut self, value: &str, expression: &str, place: Place) {
        let (value, expression, path) = (value.trim().to_owned(), expression.to_owned(), self.path());
        self.brought.push(Brought { value, expression, place, path });
    }

    /// Keys and values of what came in as YAML, as they print: escapes of YAML are read by then, and numbers have another form.
    fn note_typed(&mut self, node: &Node, expression: &str, place: Place) {
        match &node.value {
            Value::Map(entries) => entries.iter().for_each(|entry| {
                if !is_plain_key(&entry.key) {
                    self.note_brought(&entry.key, expression, place);
                }
                self.note_typed(&entry.value, expression, place);
            }),
            Value::List(items) => items.iter().for_each(|item| self.note_typed(item, expression, place)),
            Value::String(text) => self.note_brought(text, expression, place),
            Value::Float(number) => {
                self.note_brought(&number.to_string(), expression, place);
                self.note_brought(&format!("{number:?}"), expression, place);
            }
            Value::Int(number) => self.note_brought(&number.to_string(), expression, place),
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// Keeps the value that a missing variable is a part of, for the words about it.
    fn note_whole(&mut self, written: &str) {
        for name in std::mem::take(&mut self.newly_unset) {
            let Some(seen) = self.unset.get_mut(&name) else { continue };
            let expression = [format!("${{env:{name}}}"), format!("${{{name}}}")];
            if let Some(expression) = expression.iter().find(|one| written.contains(*one) && written != *one) {
                seen.within = Some(format!("{written:?} reads as {:?}", written.replace(expression, "")));
            }
        }
    }

    fn note_bare(&mut self, name: &str, expression: &str, place: Place) {
        if let Some(seen) = self.bare.get_mut(name) {
            seen.times += 1;
            return;
        }
        let seen = Seen { place: self.place_in(place, expression), path: self.path(), times: 1, within: None };
        self.bare.insert(name.to_owned(), seen);
    }

    fn variable(&mut self, opaque: &str, expression: &str, place: Place) -> String {
        let (name, default) = match opaque.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (opaque, None),
        };
        if !source::is_variable_name(name) {
            let message = format!("{name:?} is not a name of an environment variable");
            let help =
                "names are letters, digits and `_`, and do not begin with a digit; a literal `${` is written `$${`";
            self.report(code::EXPANSION, self.place_in(place, expression), message, help.to_owned());
            return String::new();
        }
        if let Some(value) = (self.env)(name) {
            return value;
        }
        match self.unset.get_mut(name) {
            _ if default.is_some() => {}
            Some(seen) => seen.times += 1,
            None => {
                let seen = Seen { place: self.place_in(place, expression), path: self.path(), times: 1, within: None };
                self.unset.insert(name.to_owned(), seen);
                self.newly_unset.push(name.to_owned());
            }
        }
        default.unwrap_or_default().to_owned()
    }

    fn file(&mut self, path: &str) -> Result<String, String> {
        let read = self
            .files
            .entry(path.to_owned())
            .or_insert_with(|| source::read_file(path).map_err(|error| format!("cannot read {path}: {error}")));
        read.clone()
    }

    /// The place of the expression in the line where its value begins, else the value's; of many always that.
    fn place_in(&self, place: Place, expression: &str) -> Place {
        self.placed.set(self.placed.get() + 1);
        if self.placed.get() > PLACES_SOUGHT_MAX {
            return place;
        }
        for number in place.line..place.line.saturating_add(LINES_SEARCHED_MAX) {
            let line = self.sources.line(place.source, number);
            let skip = if number == place.line { place.column.saturating_sub(1) as usize } else { 0 };
            let begin = line.char_indices().nth(skip).map_or(line.len(), |(at, _)| at);
            if let Some(at) = line[begin..].find(expression) {
                let column = skip + line[begin..begin + at].chars().count() + 1;
                return Place {
                    line: number,
                    column: u32::try_from(column).unwrap_or(u32::MAX),
                    length: u32::try_from(expression.chars().count()).unwrap_or(u32::MAX),
                    ..place
                };
            }
        }
        place
    }

    /// After an escaped expression the Collector looks no further; say so where it matters.
    fn warn_of_hidden(&self, text: &str, place: Place) {
        let Some(escaped) = text.find("$${") else { return };
        let rest = &text[escaped + 3..];
        let Some(open) = rest.find("${env:").filter(|open| rest[*open..].contains('}')) else { return };
        if rest[..open].ends_with('$') {
            return;
        }
        let seen = Seen { place, path: self.path(), times: 1, within: None };
        let message = "`${env:...}` after an escaped `$${` in the same value is left as it is".to_owned();
        self.push_warning(&seen, message, "the Collector does the same; put the escaped part last".to_owned());
    }

    fn exhausted<T>(&self, place: Place, message: &str) -> Result<T, Exhausted> {
        let help = "look for a variable or file that brings in itself";
        self.report(code::LIMIT, place, message.to_owned(), help.to_owned());
        Err(Exhausted)
    }

    fn report(&self, code: &'static str, place: Place, message: String, help: String) {
        self.diagnostics.push(Diagnostic::error(code, place).at(self.path()).says(message).help(help));
    }

    /// One warning per unset variable, one for all bare expressions.
    fn warn(&self) {
        for (name, seen) in &self.unset {
            let within = seen.within.as_ref().map_or_else(String::new, |within| format!(": {within}"));
            let message =
                format!("environment variable {name} is not set and reads as empty{}{within}", times(seen.times));
            let help = format!("set it, or give a default: ${{env:{name}:-default}}");
            self.push_warning(seen, message, help);
        }
        let first = self.bare.iter().min_by_key(|(_, seen)| seen.place);
        if let Some((name, seen)) = first {
            let count = self.bare.values().map(|seen| seen.times).sum();
            let message = format!("`${{{name}}}` is read as `${{env:{name}}}`{}", times(count));
            self.push_warning(seen, message, "write `${env:...}`: the short form is deprecated".to_owned());
        }
    }

    fn push_warning(&self, seen: &Seen, message: String, help: String) {
        self.diagnostics.push(
            Diagnostic::warning(code::EXPANSION_WARNING, seen.place).at(seen.path.clone()).says(message).help(help),
        );
    }
}

fn times(count: usize) -> String {
    match count {
        0 | 1 => String::new(),
        count => format!(" ({count} places, this is the first)"),
    }
}

fn cure_of(scheme: &str, opaque: &str) -> String {
    if let Some(default) = opaque.strip_prefix('-') {
        return format!("a default needs the long form: ${{env:{scheme}:-{default}}}");
    }
    if scheme == "file" {
        return "relative paths are looked up in the working directory".to_owned();
    }
    "known are `${env:NAME}`, `${env:NAME:-default}`, `${file:path}` and `${yaml:text}`; a literal `${` is written `$${`"
        .to_owned()
}

/// What a text reads as when it is not a string: `None` for strings and for what is not YAML, which stay verbatim.
fn typed(text: &str, place: Place) -> Option<Node> {
    let scratch = Diagnostics::default();
    let node = yaml::parse(text, place.source, &scratch).ok()?;
    if scratch.has_errors() || matches!(node.value, Value::String(_)) {
        return None;
    }
    Some(relocate(node, place))
}

/// Everything that came out of an expression stands where the expression stands.
fn relocate(node: Node, place: Place) -> Node {
    let value = match node.value {
        Value::List(items) => Value::List(items.into_iter().map(|item| relocate(item, place)).collect()),
        Value::Map(entries) => {
            let moved = entries.into_iter().map(|entry| Entry {
                key: entry.key,
                key_place: place,
                value: relocate(entry.value, place),
            });
            Value::Map(moved.collect())
        }
        scalar => scalar,
    };
    Node { value, place, written: node.written, expression: None }
}

fn unescape(text: String) -> String {
    if text.contains("$$") { text.replace("$$", "$") } else { text }
}

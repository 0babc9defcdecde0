//! YAML text to a tree of values with places: one document, duplicate keys reported, aliases and merge keys resolved.
//!
//! Works on the parser's events with a stack of its own, so that no nesting of the input becomes recursion here.
//! Levels, values and bytes are bounded (`limits::CONFIG_*`), aliases included: a bomb ends in a located error.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

use crate::config::read::scalar;
use crate::core::diagnostic::{Diagnostic, Diagnostics, code};
use crate::core::limits::{CONFIG_BYTES_MAX, CONFIG_DEPTH_MAX, CONFIG_NODES_MAX};
use crate::core::node::{Entry, Node, Place, SourceId, Value};

/// A fault that ends the reading of this text.
#[derive(Clone, Debug, PartialEq)]
pub struct YamlFault {
    pub code: &'static str,
    pub place: Place,
    pub message: String,
    pub help: Option<String>,
}

impl YamlFault {
    fn new(code: &'static str, place: Place, message: impl Into<String>) -> YamlFault {
        YamlFault { code, place, message: message.into(), help: None }
    }

    fn help(mut self, help: &str) -> YamlFault {
        self.help = Some(help.to_owned());
        self
    }

    pub fn report(self, diagnostics: &Diagnostics) {
        diagnostics.push(Diagnostic::error(self.code, self.place).says(self.message).help_if(self.help));
    }
}

/// Parses the first document of `text`. Duplicate keys and further documents are pushed to `diagnostics`; anything worse
/// is the returned fault. An empty text is null.
pub fn parse(text: &str, source: SourceId, diagnostics: &Diagnostics) -> Result<Node, YamlFault> {
    let start = Place { source, line: 1, column: 1, length: 1 };
    if text.len() > CONFIG_BYTES_MAX {
        let message = format!("{} bytes of configuration are more than {CONFIG_BYTES_MAX}", text.len());
        return Err(YamlFault::new(code::LIMIT, start, message));
    }
    let mut parser = Parser::new_from_str(text);
    let mut builder = Builder::new(source, diagnostics);
    let mut document = false;
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| syntax(text, source, &error))?;
        match event {
            Event::DocumentEnd | Event::StreamEnd => break,
            Event::DocumentStart(_) => document = true,
            event => builder.take(event, span)?,
        }
    }
    if document {
        warn_of_more_documents(parser, source, diagnostics);
    }
    Ok(builder.root.unwrap_or_else(|| Node::null(start)))
}

fn warn_of_more_documents(mut parser: Parser<'_, StrInput<'_>>, source: SourceId, diagnostics: &Diagnostics) {
    let Some(Ok((Event::DocumentStart(_), span))) = parser.next_event() else { return };
    diagnostics.push(
        Diagnostic::warning(code::IGNORED_KEY, place_of(source, &span))
            .says("only the first YAML document is read; this one and all after it are ignored")
            .help("give each document as a --config of its own: they are then joined"),
    );
}

/// What the parser says, and what usually causes it.
const CURES: [(&str, &str); 10] = [
    ("tab", "YAML is indented with spaces; replace the tab"),
    ("mapping values are not allowed", "put a text with `: ` in it into quotes; or the line above is indented wrongly"),
    ("unexpected character", "put a text that begins with this character into quotes"),
    ("unknown anchor", "an alias `*x` needs an anchor `&x` above it; put a text that begins with `*` into quotes"),
    ("unexpected end of stream", "the quote that begins here is not closed"),
    ("unknown escape", "in double quotes a backslash is written twice; in single quotes it stands for itself"),
    ("',' or '}'", "a `{` above is not closed, or a comma is missing"),
    ("',' or ']'", "a `[` above is not closed, or a comma is missing"),
    ("invalid indentation", "a bracket or quote above is not closed, or this line stands too far left"),
    ("expected key", "this line is indented differently from the keys above it"),
];

fn syntax(text: &str, source: SourceId, error: &ScanError) -> YamlFault {
    let marker = error.marker();
    let line = u32::try_from(marker.line().max(1)).unwrap_or(u32::MAX);
    let column = u32::try_from(marker.col() + 1).unwrap_or(u32::MAX);
    let place = Place { source, line, column, length: 1 };
    if error.info().contains("recursion limit") {
        return too_deep(place);
    }
    if let Some(fault) = missing_colon(text, place, error.info()) {
        return fault;
    }
    let fault = YamlFault::new(code::SYNTAX, place, format!("this is not YAML: {}", error.info()));
    let written = text.lines().nth(line as usize - 1).unwrap_or_default();
    let indent = &written[..written.len() - written.trim_start().len()];
    let said = if indent.contains('\t') { "tab" } else { error.info() };
    if written.contains('\0') {
        return fault.help("the line holds a NUL, which no YAML does: the file is no text, or was written wrongly");
    }
    if said.contains("',' or '}'") && written.contains("${") {
        return fault.help("put an expression within `{ }` into quotes: {key: \"${env:NAME}\"}");
    }
    let cure = CURES.iter().find(|(words, _)| said.contains(words));
    fault.help(cure.map_or("check the indentation and the quotes of this line and the one above", |(_, cure)| cure))
}

/// A key without its colon shows only at what follows, where the parser gives up; the caret belongs under the key.
fn missing_colon(text: &str, place: Place, said: &str) -> Option<YamlFault> {
    let at_the_next = said.contains("simple key expect");
    let below =
        ["mapping values are not allowed", "did not find expected key"].iter().any(|words| said.contains(words));
    if !(at_the_next || below) {
        return None;
    }
    let lines: Vec<&str> = text.lines().take(place.line as usize).collect();
    let indent = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let (faulty, above) = lines.split_last()?;
    let said_something = |line: &&&str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let (at, line) = above.iter().enumerate().rfind(|(_, line)| said_something(line))?;
    let (key, deeper) = (line.trim(), indent(faulty) > indent(line));
    let is_name = key.chars().all(|letter| letter.is_ascii_alphanumeric() || "_/.-".contains(letter));
    if !is_name || key.starts_with('-') || (below && !deeper) {
        return None;
    }
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let place = Place {
        source: place.source,
        line: number(at + 1),
        column: number(indent(line) + 1),
        length: number(key.chars().count()),
    };
    let fault = YamlFault::new(code::SYNTAX, place, format!("this is not YAML: a colon is missing behind `{key}`"));
    Some(fault.help("a key ends with a colon: `key:`, or `key: value`"))
}

fn too_deep(place: Place) -> YamlFault {
    YamlFault::new(code::LIMIT, place, format!("this is nested deeper than {CONFIG_DEPTH_MAX} levels"))
        .help("no configuration needs that; look for a bracket that is not closed")
}

fn place_of(source: SourceId, span: &Span) -> Place {
    let at = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    let length = if span.start.line() == span.end.line() { span.end.col().saturating_sub(span.start.col()) } else { 1 };
    Place {
        source,
        line: at(span.start.line().max(1)),
        column: at(span.start.col().saturating_add(1)),
        length: at(length.max(1)),
    }
}

/// A complete value that an alias may repeat.
struct Anchored {
    node: Node,
    size: Size,
}

/// What a value counts against the limits.
#[derive(Clone, Copy, Default)]
struct Size {
    nodes: usize,
    bytes: usize,
    depth: usize,
}

impl Size {
    fn of(node: &Node) -> Size {
        let mut size = Size { nodes: 1, bytes: node.written.as_ref().map_or(0, String::len), depth: 1 };
        match &node.value {
            Value::String(text) => size.bytes += text.len(),
            Value::List(items) => items.iter().for_each(|item| size.add(Size::of(item))),
            Value::Map(entries) => entries.iter().for_each(|entry| {
                size.bytes += entry.key.len();
                size.add(Size::of(&entry.value));
            }),
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => {}
        }
        size
    }

    fn add(&mut self, child: Size) {
        self.nodes += child.nodes;
        self.bytes += child.bytes;
        self.depth = self.depth.max(child.depth + 1);
    }
}

/// A list or map whose end has not come yet.
struct Open {
    value: Value,
    place: Place,
    /// Line and column of a flow collection's bracket; `None` for block style.
    bracket: Option<(usize, usize)>,
    anchor: usize,
    /// The key whose value comes next.
    key: Option<Key>,
    /// Key to the place of its entry; only maps use it.
    seen: HashMap<String, Place>,
    /// Values of `<<` keys, applied when the map ends.
    merges: Vec<Node>,
}

struct Key {
    text: String,
    place: Place,
    merge: bool,
}

struct Builder<'a> {
    source: SourceId,
    diagnostics: &'a Diagnostics,
    open: Vec<Open>,
    root: Option<Node>,
    anchors: HashMap<usize, Anchored>,
    used: Size,
}

impl<'a> Builder<'a> {
    fn new(source: SourceId, diagnostics: &'a Diagnostics) -> Builder<'a> {
        let anchors = HashMap::new();
        Builder { source, diagnostics, open: Vec::new(), root: None, anchors, used: Size::default() }
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), YamlFault> {
        let place = place_of(self.source, &span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let node = scalar_node(&text, style, tag.as_deref(), place)?;
                let plain_merge = style == ScalarStyle::Plain && tag.is_none() && text == "<<";
                self.charge(Size::of(&node), place)?;
                let empty = style == ScalarStyle::Plain && text.is_empty();
                self.value(Incoming { node, anchor, plain_merge, empty })
            }
            Event::Alias(anchor) => self.alias(anchor, place),
            Event::SequenceStart(anchor, _) => self.begin(Value::List(Vec::new()), anchor, span),
            Event::MappingStart(anchor, _) => self.begin(Value::Map(Vec::new()), anchor, span),
            Event::SequenceEnd | Event::MappingEnd => self.end(span),
            _ => Ok(()),
        }
    }

    fn charge(&mut self, size: Size, place: Place) -> Result<(), YamlFault> {
        self.used.nodes += size.nodes;
        self.used.bytes += size.bytes;
        if self.used.nodes > CONFIG_NODES_MAX || self.used.bytes > CONFIG_BYTES_MAX {
            let message = "the configuration is too large once its aliases are written out".to_owned();
            let fault = YamlFault::new(code::LIMIT, place, message);
            return Err(fault.help("at most 200,000 values and 8 MiB of text are read"));
        }
        self.check_depth(size.depth, place)
    }

    fn check_depth(&self, depth: usize, place: Place) -> Result<(), YamlFault> {
        if self.open.len() + depth > CONFIG_DEPTH_MAX { Err(too_deep(place)) } else { Ok(()) }
    }

    fn begin(&mut self, value: Value, anchor: usize, span: Span) -> Result<(), YamlFault> {
        let own = place_of(self.source, &span);
        self.charge(Size { nodes: 1, bytes: 0, depth: 1 }, own)?;
        let key = self.open.last().and_then(|parent| parent.key.as_ref());
        let parent_is_map = self.open.last().is_some_and(|parent| matches!(parent.value, Value::Map(_)));
        if parent_is_map && key.is_none() {
            return Err(YamlFault::new(code::SYNTAX, own, "a list or a map cannot be a key"));
        }
        let flow = span.end.index() > span.start.index();
        let bracket = flow.then(|| (span.start.line(), span.start.col()));
        // A block collection has no mark of its own: its key is what a reader looks for.
        let place = if flow { own } else { key.map_or(own, |key| key.place) };
        self.open.push(Open { value, place, bracket, anchor, key: None, seen: HashMap::new(), merges: Vec::new() });
        Ok(())
    }

    fn end(&mut self, span: Span) -> Result<(), YamlFault> {
        let Some(mut open) = self.open.pop() else { return Ok(()) };
        if let Some((_, column)) = open.bracket.filter(|(line, _)| *line == span.end.line()) {
            let length = span.end.col().saturating_sub(column).max(1);
            open.place.length = u32::try_from(length).unwrap_or(u32::MAX);
        }
        self.apply_merges(&mut open)?;
        let node = Node::new(open.value, open.place);
        self.value(Incoming { node, anchor: open.anchor, plain_merge: false, empty: false })
    }

    /// Entries of merged maps follow the map's own; own keys win, then earlier merges.
    fn apply_merges(&mut self, open: &mut Open) -> Result<(), YamlFault> {
        let Value::Map(entries) = &mut open.value else { return Ok(()) };
        for merged in std::mem::take(&mut open.merges) {
            for entry in merged_entries(merged)? {
                if open.seen.contains_key(&entry.key) {
                    continue;
                }
                open.seen.insert(entry.key.clone(), entry.key_place);
                entries.push(entry);
            }
        }
        Ok(())
    }

    fn alias(&mut self, anchor: usize, place: Place) -> Result<(), YamlFault> {
        let Some(anchored) = self.anchors.get(&anchor) else {
            return Err(YamlFault::new(code::SYNTAX, place, "this alias is part of the value it repeats"));
        };
        let size = anchored.size;
        self.charge(size, place)?;
        let node = self.anchors.get(&anchor).map_or_else(|| Node::null(place), |anchored| anchored.node.clone());
        self.value(Incoming { node, anchor: 0, plain_merge: false, empty: false })
    }

    /// Puts a complete value where it belongs: as key or value of the open map, into the open list, or as the root.
    fn value(&mut self, incoming: Incoming) -> Result<(), YamlFault> {
        let Incoming { mut node, anchor, plain_merge, empty } = incoming;
        if anchor > 0 {
            let size = Size::of(&node);
            self.charge(size, node.place)?;
            self.anchors.insert(anchor, Anchored { node: node.clone(), size });
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        let entries = match &mut open.value {
            Value::List(items) => {
                items.push(node);
                return Ok(());
            }
            Value::Map(entries) => entries,
            _ => return Ok(()),
        };
        let Some(key) = open.key.take() else {
            open.key = Some(key_of(&node, plain_merge)?);
            return Ok(());
        };
        if empty {
            node.place = key.place;
        }
        if key.merge {
            open.merges.push(node);
            return Ok(());
        }
        if let Some(first) = open.seen.get(&key.text).copied() {
            self.report_duplicate(&key, first);
            return Ok(());
        }
        open.seen.insert(key.text.clone(), key.place);
        entries.push(Entry { key: key.text, key_place: key.place, value: node });
        Ok(())
    }

    fn report_duplicate(&self, key: &Key, first: Place) {
        let above = self.open.iter().map(|open| match (&open.value, &open.key) {
            (Value::List(items), _) => items.len().to_string(),
            (_, Some(key)) => key.text.clone(),
            _ => key.text.clone(),
        });
        self.diagnostics.push(
            Diagnostic::error(code::DUPLICATE_KEY, key.place)
                .at(above.collect::<Vec<_>>().join("::"))
                .says(format!("key `{}` is written twice in this map", key.text))
                .expected(format!("first written in line {}, column {}", first.line, first.column))
                .help("remove one of them, or join their contents"),
        );
    }
}

struct Incoming {
    node: Node,
    /// Zero when the value has no anchor.
    anchor: usize,
    plain_merge: bool,
    /// Nothing is written: the value of `key:`.
    empty: bool,
}

/// All entries that a `<<` brings in, in order.
fn merged_entries(merged: Node) -> Result<Vec<Entry>, YamlFault> {
    let place = merged.place;
    let maps = match merged.value {
        Value::List(maps) => maps,
        _ => vec![merged],
    };
    let entries = maps.into_iter().map(|map| match map.value {
        Value::Map(entries) => Ok(entries),
        _ => Err(YamlFault::new(code::SYNTAX, place, "`<<` takes a map or a list of maps")),
    });
    Ok(entries.collect::<Result<Vec<_>, YamlFault>>()?.into_iter().flatten().collect())
}

fn key_of(node: &Node, merge: bool) -> Result<Key, YamlFault> {
    let text = match (&node.value, &node.written) {
        (Value::String(text), _) => text.clone(),
        (_, Some(written)) => written.clone(),
        (Value::Bool(value), None) => value.to_string(),
        (Value::Int(value), None) => value.to_string(),
        (Value::Float(value), None) => value.to_string(),
        _ => return Err(YamlFault::new(code::SYNTAX, node.place, "a key must be a text")),
    };
    Ok(Key { text, place: node.place, merge })
}

fn scalar_node(text: &str, style: ScalarStyle, tag: Option<&Tag>, place: Place) -> Result<Node, YamlFault> {
    let core = tag.filter(|tag| tag.is_yaml_core_schema()).map(|tag| tag.suffix.as_str());
    let resolves = match core {
        Some("str") => false,
        Some(_) => true,
        None => tag.is_none() && style == ScalarStyle::Plain,
    };
    if !resolves {
        return Ok(Node::new(Value::String(text.to_owned()), place));
    }
    let (value, written) = scalar::resolve(text);
    let fits = match core {
        Some("int") => matches!(value, Value::Int(_)),
        Some("float") => matches!(value, Value::Int(_) | Value::Float(_)),
        Some("bool") => matches!(value, Value::Bool(_)),
        Some("null") => value == Value::Null,
        _ => true,
    };
    if !fits {
        let message = format!("{text:?} is not what its tag `!!{}` says", core.unwrap_or_default());
        return Err(YamlFault::new(code::SYNTAX, place, message));
    }
    Ok(Node { written, ..Node::new(value, place) })
}

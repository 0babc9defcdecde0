//! A configuration value that remembers where it was written. Made by config, read by every component's check.

/// Index into the list of configuration sources (files, `env:`, `yaml:`, `--set`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(pub u16);

/// Where a key or value stands. Lines and columns count from 1, columns in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub source: SourceId,
    pub line: u32,
    pub column: u32,
    /// Length in characters of what the caret underlines, at least 1.
    pub length: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    String(String),
    List(Vec<Node>),
    /// Keys in the order written; no key twice.
    Map(Vec<Entry>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub value: Value,
    pub place: Place,
    /// The scalar as written, when that differs from what `value` prints (`0777`, `1e3`, an expanded `${env:X}`):
    /// a key that wants a string gets this text, as in the Collector.
    pub written: Option<String>,
    /// The text with its `${...}` as it stands in the configuration, when the value came from expanding it. What is shown
    /// of the value is this text: a variable or a file may hold a secret under any key.
    pub expression: Option<Box<str>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub key: String,
    pub key_place: Place,
    pub value: Node,
}

impl Node {
    pub fn new(value: Value, place: Place) -> Node {
        Node { value, place, written: None, expression: None }
    }

    pub fn null(place: Place) -> Node {
        Node::new(Value::Null, place)
    }

    pub fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// Entries of a map; empty for every other value.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// What kind of value this is, for "expected a number, got a list".
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Int(_) => "an integer",
            Value::Float(_) => "a number",
            Value::String(_) => "a string",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}

//! The texts a configuration is read from: files, environment variables, inline YAML and `--set` values.
//!
//! Kept for as long as findings are printed, because a finding shows the line it is about. Knows names and texts only;
//! what they mean is the parser's business.

use std::fs::File;
use std::io::Read as _;

use crate::config::read::{manifest, merge, yaml};
use crate::config::show::hidden::Hidden;
use crate::core::diagnostic::{Diagnostic, Diagnostics, code};
use crate::core::limits::CONFIG_BYTES_MAX;
use crate::core::node::{Entry, Node, Place, SourceId, Value};

/// One text with the name it is shown under.
#[derive(Clone, Debug)]
struct Source {
    name: String,
    text: String,
    /// Byte offset of each line, so that a thousand findings do not read the text a thousand times.
    lines: Vec<usize>,
}

/// Every text that places point into, in the order in which they were read.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    all: Vec<Source>,
    /// Texts that must not be shown in what is said about these sources.
    pub hidden: Hidden,
}

impl Sources {
    /// Adds a text; a name that is taken gets a number. More sources than ids are shown as the last one: nobody gives
    /// 65,000 `--config` flags.
    pub fn add(&mut self, name: &str, text: &str) -> SourceId {
        let taken = self.all.iter().filter(|source| source.name.split(" #").next() == Some(name)).count();
        let name = if taken == 0 { name.to_owned() } else { format!("{name} #{}", taken + 1) };
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(ends).collect();
        self.all.push(Source { name, text: text.to_owned(), lines });
        SourceId(u16::try_from(self.all.len() - 1).unwrap_or(u16::MAX))
    }

    /// The name shown in findings: a path, `env:NAME`, `yaml`, `--set`, or what named a source that cannot be read.
    pub fn name(&self, id: SourceId) -> &str {
        self.all.get(usize::from(id.0)).map_or("", |source| &source.name)
    }

    pub fn text(&self, id: SourceId) -> &str {
        self.all.get(usize::from(id.0)).map_or("", |source| &source.text)
    }

    /// The line with this number, counted from 1, without its end; empty when there is none.
    pub fn line(&self, id: SourceId, number: u32) -> &str {
        let Some(source) = self.all.get(usize::from(id.0)) else { return "" };
        let at = number.max(1) as usize - 1;
        let Some(begin) = source.lines.get(at) else { return "" };
        let end = source.lines.get(at + 1).copied().unwrap_or(source.text.len());
        source.text[*begin..end].trim_end_matches(['\n', '\r'])
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

/// What names a source of configuration on the command line.
pub const FLAG: &str = "--config";

/// A text that stands under a key of the configuration, and what findings call it.
#[derive(Clone, Debug)]
pub struct PlacedText {
    pub name: String,
    /// As in `--set`, with `::` between names.
    pub key: String,
    pub text: String,
}

/// Reads and joins sources, `--set` values and placed texts in order; the sources stand behind what named them, the flag or a variable.
/// `None` when one of them could not be read, or none was given.
pub fn read_all(
    (named_by, configs): (&str, &[String]),
    (sets, placed): (&[String], &[PlacedText]),
    env: &dyn Fn(&str) -> Option<String>,
    sources: &mut Sources,
    diagnostics: &Diagnostics,
) -> Option<Node> {
    let mut reader = Reader { named_by, env, sources, diagnostics, joined: None, failed: false };
    for config in configs {
        reader.config(config);
    }
    for set in sets {
        reader.set(set);
    }
    for placed in placed {
        reader.placed(placed);
    }
    let Reader { joined, failed, .. } = reader;
    if joined.is_none() && !failed {
        report(diagnostics, code::SOURCE_UNREADABLE, None, "no configuration was given", "give at least one --config");
    }
    joined.filter(|_| !failed)
}

/// `[a-zA-Z_][a-zA-Z0-9_]*`, as the Collector demands.
pub fn is_variable_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// A file's text, without a byte order mark. The error is a sentence.
pub fn read_file(path: &str) -> Result<String, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    let limit = CONFIG_BYTES_MAX as u64 + 1;
    file.take(limit).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 == limit {
        return Err(format!("the file is larger than {CONFIG_BYTES_MAX} bytes"));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err("the file is UTF-16; save it as UTF-8".to_owned());
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("the file is not UTF-8: a wrong byte in line {line}")
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// The configuration in a manifest, with the manifest's lines where it can keep them; any other text as it is.
fn unwrapped(name: String, text: String, key: Option<&str>) -> Result<(String, String), (String, &'static str)> {
    let help = "a manifest is read for its ConfigMap or OpenTelemetryCollector";
    let Some(objects) = manifest::objects(&text) else {
        return match key {
            Some(key) => Err((format!("{name} is no manifest: `#{key}` names nothing in it"), help)),
            None => Ok((name, text)),
        };
    };
    let found = manifest::configuration(&text, &objects, key).map_err(|why| (format!("{name}: {why}"), help))?;
    let name = if found.in_place { name } else { format!("{name}, {}", found.key) };
    Ok((name, found.text))
}

struct Reader<'a> {
    named_by: &'a str,
    env: &'a dyn Fn(&str) -> Option<String>,
    sources: &'a mut Sources,
    diagnostics: &'a Diagnostics,
    joined: Option<Node>,
    failed: bool,
}

impl Reader<'_> {
    fn config(&mut self, uri: &str) {
        let fetched = self.fetch(uri).and_then(|(name, text)| unwrapped(name, text, None));
        // A manifest with several configurations: the key of the one that is meant stands behind its path.
        let fetched = match (fetched, uri.rsplit_once('#')) {
            (Err(fault), Some((path, key))) => self
                .fetch(path)
                .and_then(|(name, text)| unwrapped(name, text, Some(key)))
                .map_err(|other| if path.is_empty() { fault } else { other }),
            (fetched, _) => fetched,
        };
        match fetched {
            Ok((name, text)) => self.parse(&name, &text),
            Err((message, help)) => {
                let id = self.sources.add(self.named_by, uri);
                self.fail(Place { source: id, line: 1, column: 1, length: length_of(uri).max(1) }, &message, help);
            }
        }
    }

    /// The name to show and the text, or what is wrong and what to do about it.
    fn fetch(&self, uri: &str) -> Result<(String, String), (String, &'static str)> {
        let (scheme, opaque) = match uri.split_once(':') {
            // One letter before a colon is a drive, not a scheme.
            Some((scheme, opaque)) if scheme.len() > 1 => (scheme, opaque),
            _ => ("file", uri),
        };
        match scheme {
            "file" => match read_file(opaque) {
                Ok(text) => Ok((opaque.to_owned(), text)),
                Err(why) => Err((
                    format!("cannot read {opaque}: {why}"),
                    "relative paths are looked up in the working directory",
                )),
            },
            "env" if !is_variable_name(opaque) => Err((
                format!("{opaque:?} is not a name of an environment variable"),
                "names are letters, digits and `_`, and do not begin with a digit",
            )),
            "env" => match (self.env)(opaque) {
                Some(text) => Ok((uri.to_owned(), text)),
                None => Err((
                    format!("environment variable {opaque} is not set"),
                    "set it to the YAML of the configuration",
                )),
            },
            "yaml" => Ok((scheme.to_owned(), opaque.to_owned())),
            "http" | "https" => Err((
                format!("`{scheme}:` sources are not supported"),
                "fetch the configuration beforehand and give its path",
            )),
            _ => Err((
                format!("`{scheme}:` is not a source of configuration"),
                "known are a path, file:<path>, env:<name> and yaml:<text>",
            )),
        }
    }

    fn parse(&mut self, name: &str, text: &str) {
        let id = self.sources.add(name, text.strip_prefix('\u{feff}').unwrap_or(text));
        match yaml::parse(self.sources.text(id), id, self.diagnostics) {
            Ok(node) if matches!(node.value, Value::Map(_)) => self.join(node),
            Ok(node) if node.is_null() => self.join(Node::new(Value::Map(Vec::new()), node.place)),
            Ok(node) => {
                let message = format!("this is {}", node.kind());
                self.fail(node.place, &message, "a configuration is a map: receivers, exporters, service ...");
            }
            Err(fault) => {
                self.failed = true;
                fault.report(self.diagnostics);
            }
        }
    }

    /// `a.b.c=value` or `a::b::c=value`; the value is YAML.
    fn set(&mut self, text: &str) {
        let id = self.sources.add("--set", text);
        let whole = Place { source: id, line: 1, column: 1, length: length_of(text).max(1) };
        let Some((path, value)) = text.split_once('=') else {
            self.fail(whole, "`--set` wants key=value", "for example --set exporters.debug.verbosity=detailed");
            return;
        };
        let column = length_of(path) + 1;
        let key_place = Place { length: length_of(path).max(1), ..whole };
        match yaml::parse(value.trim(), id, self.diagnostics) {
            Ok(mut node) => {
                let indent = length_of(value) - length_of(value.trim_start());
                shift(&mut node, column + indent);
                let key = path.trim().replace('.', "::");
                self.join(Node::new(Value::Map(vec![Entry { key, key_place, value: node }]), whole));
            }
            Err(mut fault) => {
                self.failed = true;
                fault.place.column = fault.place.column.saturating_add(column);
                fault.report(self.diagnostics);
            }
        }
    }

    fn placed(&mut self, placed: &PlacedText) {
        let id = self.sources.add(&placed.name, &placed.text);
        match yaml::parse(&placed.text, id, self.diagnostics) {
            Ok(node) => {
                let (key, place) = (placed.key.clone(), node.place);
                self.join(Node::new(Value::Map(vec![Entry { key, key_place: place, value: node }]), place));
            }
            Err(fault) => {
                self.failed = true;
                fault.report(self.diagnostics);
            }
        }
    }

    fn join(&mut self, node: Node) {
        let node = merge::split_paths(node);
        self.joined = Some(match self.joined.take() {
            Some(base) => merge::join(base, node),
            None => node,
        });
    }

    fn fail(&mut self, place: Place, message: &str, help: &str) {
        self.failed = true;
        report(self.diagnostics, code::SOURCE_UNREADABLE, Some(place), message, help);
    }
}

/// Moves places in the first line to the right, for a value that was cut out of a longer line.
fn shift(node: &mut Node, columns: u32) {
    let moved = |place: &mut Place| {
        if place.line == 1 {
            place.column = place.column.saturating_add(columns);
        }
    };
    moved(&mut node.place);
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| shift(item, columns)),
        Value::Map(entries) => entries.iter_mut().for_each(|entry| {
            moved(&mut entry.key_place);
            shift(&mut entry.value, columns);
        }),
        _ => {}
    }
}

fn length_of(text: &str) -> u32 {
    u32::try_from(text.chars().count()).unwrap_or(u32::MAX)
}

fn report(diagnostics: &Diagnostics, code: &'static str, place: Option<Place>, message: &str, help: &str) {
    diagnostics.push(Diagnostic::error(code, place).says(message.to_owned()).help(help.to_owned()));
}

//! Where a document goes: an index named by attribute, or the data stream `<type>-<dataset>-<namespace>`.
//!
//! Attributes of the record come before those of the scope, these before the resource's. Without a dataset the name of
//! a Collector receiver in the scope name is taken, as the Collector does, else `generic`.

use crate::otlp::json::text;
use crate::otlp::walk::{AnyValue, Attribute};

/// Elasticsearch's limit for each part of a data stream's name.
const PART_BYTES_MAX: usize = 100;

/// What attributes say about the destination; values as sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted<'a> {
    pub index: Option<&'a [u8]>,
    pub dataset: Option<&'a [u8]>,
    pub namespace: Option<&'a [u8]>,
}

impl<'a> Wanted<'a> {
    /// Takes note of an attribute that is about the document and not part of it; true for those.
    #[inline]
    pub fn note(&mut self, attribute: &Attribute<'a>) -> bool {
        // Most keys begin with another letter.
        if !matches!(attribute.key.first(), Some(b'd' | b'e')) {
            return false;
        }
        let place = match attribute.key {
            b"data_stream.dataset" => &mut self.dataset,
            b"data_stream.namespace" => &mut self.namespace,
            b"elasticsearch.index" => &mut self.index,
            b"data_stream.type"
            | b"elasticsearch.mapping.hints"
            | b"elasticsearch.document_id"
            | b"elasticsearch.ingest_pipeline"
            | b"elastic.mapping.mode" => return true,
            _ => return false,
        };
        if let AnyValue::Str(value) = attribute.value
            && !value.is_empty()
        {
            place.get_or_insert(value);
        }
        true
    }

    /// What self says, and what `general` says where self is silent.
    pub fn or(self, general: Wanted<'a>) -> Wanted<'a> {
        Wanted {
            index: self.index.or(general.index),
            dataset: self.dataset.or(general.dataset),
            namespace: self.namespace.or(general.namespace),
        }
    }
}

/// The destination, rendered: beginning of the action line and the document's `data_stream` field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// `{"create":{"_index":"..."`, to be ended by `end_action`.
    pub action: Vec<u8>,
    /// `"data_stream":{...},` or empty for an index of that name.
    pub stream: Vec<u8>,
}

impl Target {
    /// Renders the destination of documents of `kind` (`traces`, `logs`, `metrics`).
    pub fn new(kind: &str, wanted: Wanted<'_>, scope_name: &[u8]) -> Target {
        let mut target = Target { action: b"{\"create\":{\"_index\":".to_vec(), stream: Vec::new() };
        if let Some(index) = wanted.index {
            text::push_string(&mut target.action, index);
            return target;
        }
        let dataset = wanted.dataset.or_else(|| receiver_name(scope_name)).unwrap_or(b"generic");
        let dataset = with_suffix(sanitized(dataset, Part::Dataset));
        let namespace = cut(sanitized(wanted.namespace.unwrap_or(b"default"), Part::Namespace), PART_BYTES_MAX);
        let index = format!("{kind}-{dataset}-{namespace}");
        text::push_string(&mut target.action, index.as_bytes());
        target.action.extend_from_slice(b",\"require_data_stream\":true");
        for (key, part) in [("type", kind), ("dataset", &dataset), ("namespace", &namespace)] {
            target.stream.extend_from_slice(if target.stream.is_empty() { b"\"data_stream\":{" } else { b"," });
            text::push_string(&mut target.stream, key.as_bytes());
            target.stream.push(b':');
            text::push_string(&mut target.stream, part.as_bytes());
        }
        target.stream.extend_from_slice(b"},");
        target
    }

    /// Appends the action line.
    #[inline]
    pub fn push_action(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.action);
        out.extend_from_slice(b"}}\n");
    }
}

/// The last path element after `/receiver/` that ends in `receiver`: the scraper's receiver in the scope name of the
/// Collector's own receivers.
fn receiver_name(scope_name: &[u8]) -> Option<&[u8]> {
    const MARK: &[u8] = b"/receiver/";
    let at = scope_name.windows(MARK.len()).position(|window| window == MARK)?;
    let rest = &scope_name[at + MARK.len()..];
    let word = rest.iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_').unwrap_or(rest.len());
    let name = &rest[..word];
    // As a greedy pattern `\w*receiver` matches: up to the last `receiver` in the word.
    let end = (8..=name.len()).rev().find(|end| name[..*end].ends_with(b"receiver"))?;
    Some(&name[..end])
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// A dash would end it.
    Dataset,
    Namespace,
}

/// Lower case, and what Elasticsearch forbids in the name replaced.
fn sanitized(part: &[u8], kind: Part) -> String {
    String::from_utf8_lossy(part)
        .chars()
        .flat_map(char::to_lowercase)
        .map(|letter| match letter {
            '\\' | '/' | '*' | '?' | '"' | '<' | '>' | '|' | ' ' | ',' | '#' | ':' => '_',
            '-' if kind == Part::Dataset => '_',
            other => other,
        })
        .collect()
}

/// The dataset with `.otel` at its end, once, and short enough with it.
fn with_suffix(dataset: String) -> String {
    const SUFFIX: &str = ".otel";
    let stem = dataset.strip_suffix(SUFFIX).unwrap_or(&dataset).to_string();
    cut(stem, PART_BYTES_MAX - SUFFIX.len()) + SUFFIX
}

/// At most `max` bytes, cut between characters.
fn cut(mut part: String, max: usize) -> String {
    part.truncate(part.floor_char_boundary(max));
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(wanted: Wanted<'_>, scope: &str) -> String {
        let target = Target::new("logs", wanted, scope.as_bytes());
        let action: serde_json::Value = serde_json::from_slice(&[&target.action[..], b"}}"].concat()).unwrap();
        action["create"]["_index"].as_str().unwrap().to_string()
    }

    #[test]
    fn the_dataset_comes_from_attributes_then_the_receiver_in_the_scope_name() {
        let wanted = |dataset: &'static [u8]| Wanted { dataset: Some(dataset), ..Wanted::default() };
        assert_eq!(stream(Wanted::default(), "lib"), "logs-generic.otel-default");
        assert_eq!(stream(wanted(b"nginx.access"), "lib"), "logs-nginx.access.otel-default");
        assert_eq!(stream(wanted(b"app.otel"), "lib"), "logs-app.otel-default");
        assert_eq!(stream(wanted(b"My-Data:Set"), "lib"), "logs-my_data_set.otel-default");
        let scope = "github.com/x/receiver/hostmetricsreceiver/internal/scraper/cpuscraper";
        assert_eq!(stream(Wanted::default(), scope), "logs-hostmetricsreceiver.otel-default");
        assert_eq!(stream(wanted(b"mine"), scope), "logs-mine.otel-default");
        assert_eq!(stream(Wanted::default(), "x/receiver/other/y"), "logs-generic.otel-default");
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        let dataset = "\u{e9}".repeat(80);
        let index = stream(Wanted { dataset: Some(dataset.as_bytes()), ..Wanted::default() }, "");
        assert_eq!(index, format!("logs-{}.otel-default", "\u{e9}".repeat(47)));
    }

    #[test]
    fn an_index_by_attribute_is_no_data_stream() {
        let target = Target::new("logs", Wanted { index: Some(b"mine"), ..Wanted::default() }, b"");
        assert_eq!(target.action, b"{\"create\":{\"_index\":\"mine\"");
        assert!(target.stream.is_empty());
    }
}

//! Where a document goes: an index named by attribute, or the data stream `<type>-<dataset>-<namespace>`.
//!
//! Attributes of the record come before those of the scope, these before the resource's. Without a dataset the name of
//! a Collector receiver in the scope name is taken, as the Collector does, else `generic`.

use crate::exporters::elasticsearch::mapping::ids::DocumentId;
use crate::exporters::elasticsearch::mapping::settings::{DataStreamType, MappingMode, MappingSettings};
use crate::otlp::json::text;
use crate::otlp::walk::{AnyValue, Attribute};

/// Elasticsearch's limit for each part of a data stream's name.
const PART_BYTES_MAX: usize = 100;
/// Elasticsearch's limit for a document id.
const ID_BYTES_MAX: usize = 512;

/// What attributes say about the document; values as sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WantedTarget<'a> {
    pub index: Option<&'a [u8]>,
    pub dataset: Option<&'a [u8]>,
    pub namespace: Option<&'a [u8]>,
    /// `data_stream.type`; only mode `bodymap` heeds it.
    pub kind: Option<&'a [u8]>,
    /// `elasticsearch.document_id`, only of the record itself.
    pub id: Option<&'a [u8]>,
    /// `elasticsearch.ingest_pipeline`, likewise.
    pub pipeline: Option<&'a [u8]>,
}

impl<'a> WantedTarget<'a> {
    /// Takes note of an attribute that is about the document and not part of it; true for those.
    #[inline]
    pub fn note(&mut self, attribute: &Attribute<'a>) -> bool {
        // Most keys begin with another letter.
        if !matches!(attribute.key.first(), Some(b'd' | b'e')) {
            return false;
        }
        let place = match attribute.key {
            b"data_stream.type" => &mut self.kind,
            b"data_stream.dataset" => &mut self.dataset,
            b"data_stream.namespace" => &mut self.namespace,
            b"elasticsearch.index" => &mut self.index,
            b"elasticsearch.document_id" => &mut self.id,
            b"elasticsearch.ingest_pipeline" => &mut self.pipeline,
            b"elasticsearch.mapping.hints" | b"elastic.mapping.mode" => return true,
            _ => return false,
        };
        if let AnyValue::Str(value) = attribute.value
            && !value.is_empty()
        {
            place.get_or_insert(value);
        }
        true
    }

    /// What self says, and what `general` says where self is silent. Ids and pipelines are the record's alone.
    pub fn or(self, general: WantedTarget<'a>) -> WantedTarget<'a> {
        WantedTarget {
            index: self.index.or(general.index),
            dataset: self.dataset.or(general.dataset),
            namespace: self.namespace.or(general.namespace),
            kind: self.kind.or(general.kind),
            ..self
        }
    }
}

/// What a route is made of besides attributes.
#[derive(Clone, Copy)]
pub struct Router<'a> {
    pub settings: &'a MappingSettings,
    pub mode: MappingMode,
    /// With `logstash_format`: what stands behind every index name today.
    pub date: Option<&'a str>,
    pub scope_name: &'a [u8],
}

/// The destination, rendered: beginning of the action line and the document's `data_stream` field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DocumentTarget {
    /// `{"create":{"_index":"..."`, to be ended by `push_action`.
    pub action: Vec<u8>,
    /// Type, dataset and namespace; None for an index that is no data stream.
    pub stream: Option<[String; 3]>,
    /// `"data_stream":{...},` or empty.
    pub stream_json: Vec<u8>,
}

impl<'a> Router<'a> {
    /// Where documents go for which these attributes speak.
    pub fn target(&self, kind: DataStreamType, wanted: WantedTarget<'_>) -> DocumentTarget {
        let dataset = wanted.dataset.or_else(|| receiver_name(self.scope_name)).unwrap_or(b"generic");
        self.target_of(kind, wanted, dataset)
    }

    /// The same with the dataset given.
    pub fn target_of(&self, kind: DataStreamType, wanted: WantedTarget<'_>, dataset: &[u8]) -> DocumentTarget {
        if let Some(index) = self.settings.index(kind) {
            return self.index(index.as_bytes());
        }
        if let Some(index) = wanted.index {
            return self.index(index);
        }
        let dataset = sanitized(dataset, Part::Dataset);
        let dataset = if self.mode == MappingMode::Otel { with_suffix(dataset) } else { cut(dataset, PART_BYTES_MAX) };
        let namespace = cut(sanitized(wanted.namespace.unwrap_or(b"default"), Part::Namespace), PART_BYTES_MAX);
        let index = format!("{}-{dataset}-{namespace}", kind.name());
        let mut target = self.index(index.as_bytes());
        if self.date.is_none() {
            if self.settings.capability.require_data_stream {
                target.action.extend_from_slice(b",\"require_data_stream\":true");
            }
            target.describe([kind.name().to_owned(), dataset, namespace]);
        }
        target
    }

    fn index(&self, name: &[u8]) -> DocumentTarget {
        let mut target = DocumentTarget { action: b"{\"create\":{\"_index\":\"".to_vec(), ..DocumentTarget::default() };
        text::push_escaped(&mut target.action, name);
        text::push_escaped(&mut target.action, self.date.unwrap_or_default().as_bytes());
        target.action.push(b'"');
        target
    }
}

impl DocumentTarget {
    fn describe(&mut self, parts: [String; 3]) {
        let out = &mut self.stream_json;
        for (key, part) in ["type", "dataset", "namespace"].iter().zip(&parts) {
            out.extend_from_slice(if out.is_empty() { b"\"data_stream\":{" } else { b"," });
            text::push_string(out, key.as_bytes());
            out.push(b':');
            text::push_string(out, part.as_bytes());
        }
        out.extend_from_slice(b"},");
        self.stream = Some(parts);
    }

    /// Appends the action line of a metrics document, which names the dynamic template of each field.
    pub fn push_templates<'n>(
        &self,
        out: &mut Vec<u8>,
        fields: impl Iterator<Item = (&'n [u8], &'static str)>,
        prefix: &str,
    ) {
        out.extend_from_slice(&self.action);
        let bare = out.len();
        out.extend_from_slice(b",\"dynamic_templates\":{");
        let empty = out.len();
        for (name, template) in fields {
            out.extend_from_slice(if out.len() == empty { b"\"" } else { b",\"" });
            out.extend_from_slice(prefix.as_bytes());
            text::push_escaped(out, name);
            out.extend_from_slice(b"\":\"");
            out.extend_from_slice(template.as_bytes());
            out.push(b'"');
        }
        if out.len() == empty {
            out.truncate(bare);
        } else {
            out.push(b'}');
        }
        out.extend_from_slice(b"}}\n");
    }

    /// Appends the action line; true when it carries an id.
    #[inline]
    pub fn push_action(&self, out: &mut Vec<u8>, naming: &Naming<'_>) -> bool {
        out.extend_from_slice(&self.action);
        let own = naming.push_id(out);
        if let Some(pipeline) = naming.pipeline {
            out.extend_from_slice(b",\"pipeline\":");
            text::push_string(out, pipeline);
        }
        out.extend_from_slice(b"}}\n");
        own
    }
}

/// What an action line says of its document beside the index.
#[derive(Clone, Copy, Default)]
pub struct Naming<'a> {
    /// The id made of the document, without the event's number.
    pub made: &'a [u8],
    pub event: Option<usize>,
    /// The id that an attribute gives, which comes first.
    pub given: Option<&'a [u8]>,
    pub pipeline: Option<&'a [u8]>,
}

impl<'a> Naming<'a> {
    /// The made id, and what the record's own attributes say where the settings heed them. Elasticsearch refuses a
    /// whole request for one id of more than 512 bytes, so such an id is not heeded.
    pub fn new(
        made: &'a DocumentId,
        wanted: &WantedTarget<'a>,
        kind: DataStreamType,
        settings: &MappingSettings,
    ) -> Naming<'a> {
        let (ids, pipelines) = match kind {
            DataStreamType::Traces => (settings.traces_dynamic_id, false),
            DataStreamType::Logs => (settings.logs_dynamic_id, settings.logs_dynamic_pipeline),
            DataStreamType::Metrics => (false, false),
        };
        let fits = |id: &&[u8]| id.len() <= ID_BYTES_MAX && std::str::from_utf8(id).is_ok();
        Naming {
            made: made.letters(),
            event: None,
            given: wanted.id.filter(|_| ids).filter(fits),
            pipeline: wanted.pipeline.filter(|_| pipelines),
        }
    }

    #[inline]
    fn push_id(&self, out: &mut Vec<u8>) -> bool {
        if let Some(id) = self.given {
            out.extend_from_slice(b",\"_id\":");
            text::push_string(out, id);
            return true;
        }
        if self.made.is_empty() {
            return false;
        }
        out.extend_from_slice(b",\"_id\":\"");
        out.extend_from_slice(self.made);
        if let Some(event) = self.event {
            out.push(b'.');
            text::push_unsigned(out, event as u64);
        }
        out.push(b'"');
        true
    }
}

/// The word after `/receiver/` that ends in `receiver` (or `connector` likewise): the component in the scope name of the
/// Collector's own receivers and connectors (contrib #44525).
fn receiver_name(scope_name: &[u8]) -> Option<&[u8]> {
    named_after(scope_name, b"/receiver/", b"receiver")
        .or_else(|| named_after(scope_name, b"/connector/", b"connector"))
}

fn named_after<'a>(scope_name: &'a [u8], mark: &[u8], ending: &[u8]) -> Option<&'a [u8]> {
    let at = scope_name.windows(mark.len()).position(|window| window == mark)?;
    let rest = &scope_name[at + mark.len()..];
    let word = rest.iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_').unwrap_or(rest.len());
    let name = &rest[..word];
    // As a greedy pattern `\w*receiver` matches: up to the last `receiver` in the word.
    let end = (ending.len()..=name.len()).rev().find(|end| name[..*end].ends_with(ending))?;
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

    fn target(wanted: WantedTarget<'_>, scope: &str, settings: &MappingSettings) -> DocumentTarget {
        let router = Router { settings, mode: settings.mode, date: None, scope_name: scope.as_bytes() };
        router.target(DataStreamType::Logs, wanted)
    }

    fn index(target: &DocumentTarget) -> String {
        let action: serde_json::Value = serde_json::from_slice(&[&target.action[..], b"}}"].concat()).unwrap();
        action["create"]["_index"].as_str().unwrap().to_string()
    }

    fn stream(wanted: WantedTarget<'_>, scope: &str) -> String {
        index(&target(wanted, scope, &MappingSettings::default()))
    }

    #[test]
    fn the_dataset_comes_from_attributes_then_the_receiver_in_the_scope_name() {
        let wanted = |dataset: &'static [u8]| WantedTarget { dataset: Some(dataset), ..WantedTarget::default() };
        assert_eq!(stream(WantedTarget::default(), "lib"), "logs-generic.otel-default");
        assert_eq!(stream(wanted(b"nginx.access"), "lib"), "logs-nginx.access.otel-default");
        assert_eq!(stream(wanted(b"app.otel"), "lib"), "logs-app.otel-default");
        assert_eq!(stream(wanted(b"My-Data:Set"), "lib"), "logs-my_data_set.otel-default");
        let scope = "github.com/x/receiver/hostmetricsreceiver/internal/scraper/cpuscraper";
        assert_eq!(stream(WantedTarget::default(), scope), "logs-hostmetricsreceiver.otel-default");
        assert_eq!(stream(wanted(b"mine"), scope), "logs-mine.otel-default");
        assert_eq!(stream(WantedTarget::default(), "x/receiver/other/y"), "logs-generic.otel-default");
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        let dataset = "\u{e9}".repeat(80);
        let index = stream(WantedTarget { dataset: Some(dataset.as_bytes()), ..WantedTarget::default() }, "");
        assert_eq!(index, format!("logs-{}.otel-default", "\u{e9}".repeat(47)));
    }

    #[test]
    fn an_index_by_attribute_is_no_data_stream() {
        let target =
            target(WantedTarget { index: Some(b"mine"), ..WantedTarget::default() }, "", &MappingSettings::default());
        assert_eq!(target.action, b"{\"create\":{\"_index\":\"mine\"");
        assert!(target.stream_json.is_empty());
    }

    #[test]
    fn a_static_index_comes_before_attributes_and_an_empty_one_is_none() {
        let wanted = WantedTarget { index: Some(b"mine"), dataset: Some(b"d"), ..WantedTarget::default() };
        let settings = MappingSettings { logs_index: Some("fixed".into()), ..MappingSettings::default() };
        assert_eq!(target(wanted, "", &settings).action, b"{\"create\":{\"_index\":\"fixed\"");
        let settings = MappingSettings { logs_index: Some(String::new()), ..MappingSettings::default() };
        assert_eq!(index(&target(wanted, "", &settings)), "mine");
    }

    #[test]
    fn only_otel_documents_go_to_streams_for_them() {
        let settings = MappingSettings { mode: MappingMode::Ecs, ..MappingSettings::default() };
        assert_eq!(index(&target(WantedTarget::default(), "", &settings)), "logs-generic-default");
        assert_eq!(
            stream(WantedTarget::default(), "x/connector/spanmetricsconnector"),
            "logs-spanmetricsconnector.otel-default"
        );
    }

    #[test]
    fn the_dates_index_is_no_data_stream() {
        let settings = MappingSettings::default();
        let router =
            Router { settings: &settings, mode: MappingMode::Otel, date: Some("-2026.11.21"), scope_name: b"" };
        let target = router.target(DataStreamType::Traces, WantedTarget::default());
        assert_eq!(target.action, b"{\"create\":{\"_index\":\"traces-generic.otel-default-2026.11.21\"");
        assert_eq!(target.stream, None);
    }

    #[test]
    fn a_cluster_that_does_not_know_the_word_is_not_told_to_require_a_data_stream() {
        let mut settings = MappingSettings::default();
        assert!(target(WantedTarget::default(), "", &settings).action.ends_with(b"\"require_data_stream\":true"));
        settings.capability.require_data_stream = false;
        assert!(target(WantedTarget::default(), "", &settings).action.ends_with(b"default\""));
    }
}

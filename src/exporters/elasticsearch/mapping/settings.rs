//! What the configuration decides about documents: their shape, where they go and which ids they carry.

use crate::core::time::UnixNanos;
use crate::exporters::elasticsearch::capability::Capability;

/// The shape of documents (`mapping::mode` of the Collector's exporter).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MappingMode {
    /// As Elasticsearch's own templates for OpenTelemetry expect them.
    #[default]
    Otel,
    /// Elastic Common Schema: nested objects under ECS names.
    Ecs,
    /// Flat under `Attributes.`, `Resource.`, `Scope.` and `Events.`.
    None,
    /// As `None`, attributes and events without prefix.
    Raw,
    /// A log record's body, a map, is the document.
    Bodymap,
}

impl MappingMode {
    /// The scope attribute that names a mode.
    pub const SCOPE_ATTRIBUTE: &str = "elastic.mapping.mode";

    pub const ALL: [MappingMode; 5] =
        [MappingMode::Otel, MappingMode::Ecs, MappingMode::None, MappingMode::Raw, MappingMode::Bodymap];

    /// The name used in configuration, in the header `X-Elastic-Mapping-MappingMode` and in the scope attribute
    /// `elastic.mapping.mode`.
    pub fn name(self) -> &'static str {
        match self {
            MappingMode::Otel => "otel",
            MappingMode::Ecs => "ecs",
            MappingMode::None => "none",
            MappingMode::Raw => "raw",
            MappingMode::Bodymap => "bodymap",
        }
    }

    /// The mode of a name in any case; the Collector also takes `no` and nothing for `none`.
    pub fn parse(name: &[u8]) -> Option<MappingMode> {
        if name.is_empty() || name.eq_ignore_ascii_case(b"no") {
            return Some(MappingMode::None);
        }
        MappingMode::ALL.into_iter().find(|mode| name.eq_ignore_ascii_case(mode.name().as_bytes()))
    }
}

/// `logstash_format`: a date behind the name of each static or attribute-named index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logstash {
    pub prefix_separator: String,
    /// In the notation of `strftime`: `%Y.%m.%d`.
    pub date_format: String,
}

impl Logstash {
    /// What stands behind an index name on the day of `now` (UTC); None when the date format cannot be rendered.
    pub fn suffix(&self, now: UnixNanos) -> Option<String> {
        let now = jiff::Timestamp::from_nanosecond(i128::from(now.0)).ok()?;
        let date = jiff::fmt::strtime::format(&self.date_format, &now.to_zoned(jiff::tz::TimeZone::UTC)).ok()?;
        Some(format!("{}{date}", self.prefix_separator))
    }
}

/// How envelopes become documents. What the Collector's keys of the same names say, and `deterministic_ids`.
#[derive(Clone, Debug)]
pub struct MappingSettings {
    /// Where neither scope nor request names one.
    pub mode: MappingMode,
    /// What scopes and requests may name: `mapping::allowed_modes`. The default mode is always allowed.
    pub allowed_modes: Vec<MappingMode>,
    /// Static index of spans; routing attributes are not read then. Empty strings count as absent.
    pub traces_index: Option<String>,
    pub metrics_index: Option<String>,
    /// Of log records and of span events.
    pub logs_index: Option<String>,
    pub logstash: Option<Logstash>,
    /// The attribute `elasticsearch.document_id` of a span becomes `_id`.
    pub traces_dynamic_id: bool,
    pub logs_dynamic_id: bool,
    /// The attribute `elasticsearch.ingest_pipeline` of a log record names its pipeline.
    pub logs_dynamic_pipeline: bool,
    /// Spans, span events and log records carry an `_id` made of what they are, the same on every attempt.
    pub deterministic_ids: bool,
    /// Mode `ecs`: events of spans become documents of their own. The Collector's default is off, which loses them.
    pub ecs_span_events_to_logs: bool,
    pub capability: Capability,
}

impl MappingSettings {
    /// The static index of a signal, `None` for routing by attributes.
    pub fn index(&self, kind: DataStreamType) -> Option<&str> {
        let index = match kind {
            DataStreamType::Traces => &self.traces_index,
            DataStreamType::Metrics => &self.metrics_index,
            DataStreamType::Logs => &self.logs_index,
        };
        index.as_deref().filter(|index| !index.is_empty())
    }

    /// The mode of a scope: its own, the request's or the default. None when one is named that does not exist or is
    /// not allowed.
    pub fn mode_for(&self, scope: Option<&[u8]>, request: Option<MappingMode>) -> Option<MappingMode> {
        let named = match scope {
            Some(name) => Some(MappingMode::parse(name)?),
            None => request,
        };
        let mode = named.unwrap_or(self.mode);
        (mode == self.mode || self.allowed_modes.contains(&mode)).then_some(mode)
    }
}

impl Default for MappingSettings {
    fn default() -> MappingSettings {
        MappingSettings {
            mode: MappingMode::Otel,
            allowed_modes: MappingMode::ALL.to_vec(),
            traces_index: None,
            metrics_index: None,
            logs_index: None,
            logstash: None,
            traces_dynamic_id: false,
            logs_dynamic_id: false,
            logs_dynamic_pipeline: false,
            deterministic_ids: true,
            ecs_span_events_to_logs: true,
            capability: Capability::default(),
        }
    }
}

/// The first part of a data stream's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataStreamType {
    Traces,
    Metrics,
    Logs,
}

impl DataStreamType {
    pub fn name(self) -> &'static str {
        match self {
            DataStreamType::Traces => "traces",
            DataStreamType::Metrics => "metrics",
            DataStreamType::Logs => "logs",
        }
    }
}

//! The mapping engine: OTLP bytes to `_bulk` lines without a value tree.
//!
//! What a document shares with its neighbours (resource, scope, data stream) is rendered once per scope. The shape is
//! `otel`, the one Elasticsearch's own templates for OpenTelemetry expect. What Elasticsearch would refuse a document for
//! is kept out of it: repeated keys, empty keys, numbers that are not finite, arrays of mixed kinds. It does not know
//! HTTP, retries or who sent the data.

mod bodymap;
mod ecs;
mod flat;
mod ids;
mod json;
mod metrics;
mod otel;
mod record;
mod route;
mod scope;
mod settings;
mod xxh64;

pub use crate::exporters::elasticsearch::mapping::metrics::deltas::Deltas;
pub use route::DataStreamType;
pub use settings::{Logstash, MappingMode, MappingSettings};

use crate::core::data::payload::{Envelope, Signal};
use crate::core::time::UnixNanos;
use crate::exporters::elasticsearch::capability::Capability;
use crate::exporters::elasticsearch::mapping::ids::Ids;
use crate::exporters::elasticsearch::mapping::json::tree::FieldTree;
use crate::exporters::elasticsearch::mapping::json::value::SeenKeys;
use crate::exporters::elasticsearch::mapping::route::{DocumentTarget, Naming, Router};
use crate::exporters::elasticsearch::mapping::scope::{ItemsAt, MappedScope};
use crate::otlp::envelope;
use crate::otlp::regroup::split::ItemPosition;
use crate::otlp::walk::Malformed;
use crate::ottl::is_too_much;

/// Lines for one `_bulk` request and which part of the envelope each document speaks of.
#[derive(Debug, Default)]
pub struct Bulk {
    /// Action line and document line of every document, each ended by a line feed.
    pub lines: Vec<u8>,
    pub documents: Vec<MappedDocument>,
    /// Items (for metrics data points) that could not be mapped, and why; they have no document. Together with the
    /// documents' items they are all that came in.
    pub faulty: Vec<(ItemPosition, MappingFault)>,
    /// Values that no index can store as what they are, and that were written as text instead: times outside of
    /// [`DATE_NANOS_MAX`], maps and lists below `json::value::LEVELS_MAX`.
    pub as_text: u64,
}

/// One document; it begins where the one before ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappedDocument {
    /// Offset in `Bulk::lines` of the document line, behind the action line.
    pub body: usize,
    /// Offset in `Bulk::lines` behind the document's last line feed.
    pub end: usize,
    /// The item it comes from; for metrics that of its first data point.
    pub place: ItemPosition,
    /// Items that are delivered with it: 1 for a span or a record, the points of a metrics document, 0 for an event of a
    /// span, whose span has its own document.
    pub items: u32,
    /// The action line carries an `_id`: a conflict then means that the document is there already.
    pub own_id: bool,
}

/// The last time that a field of type `date_nanos` holds, in nanoseconds since 1970: 2262-04-11T23:47:16.854775807Z
/// (Elasticsearch, "Date nanoseconds field type").
pub const DATE_NANOS_MAX: u64 = i64::MAX as u64;
/// The attribute that keeps a time which no index can store.
const ORIGINAL_TIME: &str = "podgate.timestamp";

/// Why an item, or a data point, has no document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MappingFault {
    #[error("the bytes cannot be walked: {0}")]
    Malformed(#[from] Malformed),
    #[error("the first point of a cumulative histogram only sets the baseline")]
    Baseline,
    #[error("a point of a cumulative histogram came later than a newer one")]
    Stale,
    #[error("a histogram that says neither delta nor cumulative")]
    Temporality,
    #[error("the value is not a finite number")]
    NotFinite,
    #[error("the point says that no value was recorded")]
    NoRecordedValue,
    #[error("another point of the same metric, time and attributes came first")]
    Duplicate,
    #[error("the point has no value")]
    Empty,
    #[error("the metric's data comes in several parts")]
    Parts,
    #[error("the metric has no name")]
    Unnamed,
    #[error("bucket counts and bounds do not belong together")]
    Buckets,
    #[error("the mapping mode that the scope names does not exist or is not allowed")]
    Mode,
    #[error("the mapping mode has no documents for this signal")]
    Unsupported,
    #[error("mode bodymap takes only records whose body is a map")]
    Body,
    #[error("profiles have no documents yet")]
    Profiles,
}

impl MappingFault {
    /// A short word for metrics.
    pub fn reason(self) -> &'static str {
        match self {
            MappingFault::Malformed(_) => "malformed",
            MappingFault::Baseline => "cumulative_baseline",
            MappingFault::Stale => "cumulative_stale",
            MappingFault::Temporality => "temporality",
            MappingFault::NotFinite => "not_finite",
            MappingFault::NoRecordedValue => "no_recorded_value",
            MappingFault::Duplicate => "duplicate_point",
            MappingFault::Empty => "empty_point",
            MappingFault::Parts => "metric_in_parts",
            MappingFault::Unnamed => "unnamed_metric",
            MappingFault::Buckets => "bad_buckets",
            MappingFault::Mode => "mapping_mode",
            MappingFault::Unsupported | MappingFault::Profiles => "unsupported_signal",
            MappingFault::Body => "body_not_a_map",
        }
    }
}

/// What is to be mapped.
#[derive(Clone, Copy, Debug)]
pub struct MappingRequest<'a> {
    pub signal: Signal,
    pub envelope: &'a Envelope,
    /// The mode that the request's metadata names (`X-Elastic-Mapping-MappingMode`); a scope's attribute comes before it.
    pub mode: Option<MappingMode>,
    pub now: UnixNanos,
    /// When the request arrived: the time of what has none, or one that no index can store.
    pub arrived: UnixNanos,
    /// Drawn once for a payload and kept for every attempt: part of the ids of what has no identity of its own.
    pub nonce: u64,
}

/// Turns envelopes into documents. Holds room that is used again, so one belongs to whoever builds bulk requests.
#[derive(Debug)]
pub struct Mapper {
    settings: MappingSettings,
    seen: SeenKeys,
    ids: Ids,
    tree: FieldTree,
}

/// A time as it is stored, and the one that could not be.
#[derive(Clone, Copy)]
struct Stored {
    nanos: u64,
    original: Option<u64>,
}

/// What mapping writes into and works with.
struct Work<'w> {
    bulk: &'w mut Bulk,
    seen: &'w mut SeenKeys,
    ids: &'w mut Ids,
    tree: &'w mut FieldTree,
    deltas: &'w mut Deltas,
    /// See [`MappingRequest::arrived`].
    arrived: u64,
}

impl Work<'_> {
    /// The time as an index can store it: the arrival for one out of range.
    fn storable(&mut self, nanos: u64) -> Stored {
        let keep_original = nanos > DATE_NANOS_MAX;
        self.bulk.as_text += u64::from(keep_original);
        Stored { nanos: if keep_original { self.arrived } else { nanos }, original: keep_original.then_some(nanos) }
    }

    /// The same of a record, which has the time of its arrival when it has none (OpenTelemetry, logs data model: data
    /// that was never observed is observed when it comes).
    fn storable_or_arrival(&mut self, nanos: u64) -> Stored {
        self.storable(if nanos == 0 { self.arrived } else { nanos })
    }

    /// `@timestamp` in the modes that write paths, with the original beside it if it is out of range.
    fn add_timestamp(&mut self, time: Stored) {
        self.tree.add_time("@timestamp", time.nanos);
        if let Some(original) = time.original {
            self.tree.add_time(ORIGINAL_TIME, original);
        }
    }
}

impl Mapper {
    pub fn new(settings: MappingSettings) -> Mapper {
        Mapper { settings, seen: SeenKeys::default(), ids: Ids::default(), tree: FieldTree::default() }
    }

    /// What the cluster turned out to take.
    pub fn adjust(&mut self, capability: Capability) {
        self.settings.capability = capability;
    }

    /// Appends the documents of an envelope. Call it once for an envelope and keep the lines for further attempts:
    /// cumulative series move on with every call.
    pub fn map(&mut self, request: &MappingRequest<'_>, deltas: &mut Deltas, bulk: &mut Bulk) {
        deltas.begin(request.now);
        self.ids.begin_request(self.settings.deterministic_ids, request.nonce);
        let date = self.settings.logstash.as_ref().and_then(|logstash| logstash.suffix(request.now));
        let Mapper { settings, seen, ids, tree } = self;
        let mut work = Work { bulk, seen, ids, tree, deltas, arrived: request.arrived.0 };
        for (group, resource) in (0u32..).zip(&request.envelope.groups) {
            // Every scope reads its resource anew, which shows in no document when the resource has nothing to show.
            let bytes = resource.scopes.iter().map(|scope| scope.items.byte_len()).sum();
            let shared = resource.resource.as_deref().unwrap_or_default();
            let crowded = is_too_much(resource.scopes.len(), bytes, shared);
            for (scope, items) in (0u32..).zip(&resource.scopes).filter(|(_, items)| !items.items.is_empty()) {
                let at = ItemsAt { items: &items.items, group, scope };
                if crowded {
                    let fault = MappingFault::Malformed(Malformed::Crowded);
                    at.iter().for_each(|(place, bytes)| work.bulk.fault_all(request.signal, place, bytes, fault));
                    continue;
                }
                work.ids.begin_scope(resource, items);
                let mapped = MappedScope::read(resource, items, at)
                    .map_err(MappingFault::from)
                    .and_then(|scope| map_scope(settings, request, (&scope, date.as_deref()), &mut work));
                work.bulk.as_text += std::mem::take(&mut work.seen.as_text);
                if let Err(fault) = mapped {
                    work.seen.reset();
                    at.iter().for_each(|(place, bytes)| work.bulk.fault_all(request.signal, place, bytes, fault));
                }
            }
        }
    }
}

/// An error says that no item of the scope has a document.
fn map_scope(
    settings: &MappingSettings,
    request: &MappingRequest<'_>,
    (scope, date): (&MappedScope<'_>, Option<&str>),
    work: &mut Work<'_>,
) -> Result<(), MappingFault> {
    let mode = settings.mode_for(scope.mode, request.mode).ok_or(MappingFault::Mode)?;
    let router = Router { settings, mode, date, scope_name: scope.scope.name };
    match (mode, request.signal) {
        (MappingMode::Otel, Signal::Traces) => otel::spans(&router, scope, work)?,
        (MappingMode::Otel, Signal::Logs) => otel::logs(&router, scope, work)?,
        (MappingMode::Otel, Signal::Metrics) => otel::metrics(&router, scope, work)?,
        (MappingMode::Ecs, Signal::Traces) => ecs::spans(&router, scope, work)?,
        (MappingMode::Ecs, Signal::Logs) => ecs::logs(&router, scope, work)?,
        (MappingMode::Ecs, Signal::Metrics) => ecs::metrics(&router, scope, work)?,
        (MappingMode::None | MappingMode::Raw, Signal::Traces) => flat::spans(&router, scope, work)?,
        (MappingMode::None | MappingMode::Raw, Signal::Logs) => flat::logs(&router, scope, work)?,
        (MappingMode::Bodymap, Signal::Logs) => bodymap::logs(&router, scope, work)?,
        (_, Signal::Profiles) => return Err(MappingFault::Profiles),
        _ => return Err(MappingFault::Unsupported),
    }
    Ok(())
}

/// The head of a document that is being written.
#[derive(Clone, Copy, Debug)]
struct Head {
    body: usize,
    own_id: bool,
}

/// How long a bulk was before an item.
#[derive(Clone, Copy)]
struct Mark {
    lines: usize,
    documents: usize,
}

impl Bulk {
    pub fn clear(&mut self) {
        self.lines.clear();
        self.documents.clear();
        self.faulty.clear();
        self.as_text = 0;
    }

    /// Empties the lists, and gives back what they have beyond this many.
    pub fn shed(&mut self, most: usize) {
        self.documents.clear();
        self.faulty.clear();
        self.documents.shrink_to(most);
        self.faulty.shrink_to(most);
    }

    /// Notes an item message without documents, once for each item it counts for.
    fn fault_all(&mut self, signal: Signal, place: ItemPosition, bytes: &[u8], fault: MappingFault) {
        let items = envelope::count_item(signal, bytes);
        self.faulty.extend((0..items).map(|_| (place, fault)));
    }

    fn mark(&self) -> Mark {
        Mark { lines: self.lines.len(), documents: self.documents.len() }
    }

    /// Takes back what an item wrote and notes why.
    fn reject(&mut self, mark: Mark, place: ItemPosition, fault: MappingFault) {
        self.lines.truncate(mark.lines);
        self.documents.truncate(mark.documents);
        self.faulty.push((place, fault));
    }

    /// Writes the action line and opens the document.
    #[inline]
    fn begin_document(&mut self, target: &DocumentTarget, naming: &Naming<'_>) -> Head {
        let own_id = target.push_action(&mut self.lines, naming);
        self.open_document(own_id)
    }

    /// Opens a document whose action line is written.
    #[inline]
    fn open_document(&mut self, own_id: bool) -> Head {
        let body = self.lines.len();
        self.lines.push(b'{');
        Head { body, own_id }
    }

    #[inline]
    fn end_document(&mut self, place: ItemPosition, items: u32, head: Head) {
        let Head { body, own_id } = head;
        self.documents.push(MappedDocument { body, end: self.lines.len(), place, items, own_id });
    }
}

#[cfg(test)]
mod tests;

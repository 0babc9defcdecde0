//! The mapping engine: OTLP bytes to `_bulk` lines without a value tree.
//!
//! What a document shares with its neighbours (resource, scope, data stream) is rendered once per scope. The shape is
//! `otel`, the one Elasticsearch's own templates for OpenTelemetry expect. What Elasticsearch would refuse a document for
//! is kept out of it: repeated keys, empty keys, numbers that are not finite, arrays of mixed kinds. It does not know
//! HTTP, retries or who sent the data.

mod attributes;
mod deltas;
mod otel;
mod points;
mod route;
mod settings;
mod value;
mod xxh64;

pub use deltas::Deltas;
pub use settings::{Logstash, Mode, Settings};

use crate::core::payload::{Envelope, Signal};
use crate::core::time::UnixNanos;
use crate::exporters::elasticsearch::capability::Capability;
use crate::otlp::envelope;
use crate::otlp::split::Place;
use crate::otlp::walk::Malformed;

/// Lines for one `_bulk` request and which part of the envelope each document speaks of.
#[derive(Debug, Default)]
pub struct Bulk {
    /// Action line and document line of every document, each ended by a line feed.
    pub lines: Vec<u8>,
    pub documents: Vec<Document>,
    /// Items (for metrics data points) that could not be mapped, and why; they have no document. Together with the
    /// documents' items they are all that came in.
    pub faulty: Vec<(Place, Fault)>,
}

/// One document; it begins where the one before ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Document {
    /// Offset in `Bulk::lines` of the document line, behind the action line.
    pub body: usize,
    /// Offset in `Bulk::lines` behind the document's last line feed.
    pub end: usize,
    /// The item it comes from; for metrics that of its first data point.
    pub place: Place,
    /// Items that are delivered with it: 1 for a span or a record, the points of a metrics document, 0 for an event of a
    /// span, whose span has its own document.
    pub items: u32,
    /// The action line carries an `_id`: a conflict then means that the document is there already.
    pub own_id: bool,
}

/// Why an item, or a data point, has no document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("the bytes cannot be walked: {0}")]
    Malformed(#[from] Malformed),
    #[error("a histogram of cumulative temporality has no place in a delta field")]
    Cumulative,
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
}

/// What is to be mapped.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub signal: Signal,
    pub envelope: &'a Envelope,
    /// The mode that the request's metadata names (`X-Elastic-Mapping-Mode`); a scope's attribute comes before it.
    pub mode: Option<Mode>,
    pub now: UnixNanos,
}

/// Turns envelopes into documents. Holds room that is used again, so one belongs to whoever builds bulk requests.
#[derive(Debug)]
pub struct Mapper {
    settings: Settings,
}

impl Mapper {
    pub fn new(settings: Settings) -> Mapper {
        Mapper { settings }
    }

    /// What the cluster turned out to take.
    pub fn adjust(&mut self, capability: Capability) {
        self.settings.capability = capability;
    }

    /// Appends the documents of an envelope. Call it once for an envelope and keep the lines for further attempts:
    /// cumulative series move on with every call.
    pub fn map(&mut self, request: &Request<'_>, _deltas: &mut Deltas, bulk: &mut Bulk) {
        match request.signal {
            Signal::Traces => otel::spans(request.envelope, bulk),
            Signal::Logs => otel::logs(request.envelope, bulk),
            Signal::Metrics => otel::metrics(request.envelope, bulk),
            Signal::Profiles => {}
        }
    }
}

impl Bulk {
    pub fn clear(&mut self) {
        self.lines.clear();
        self.documents.clear();
        self.faulty.clear();
    }

    /// Notes an item message without documents, once for each item it counts for.
    fn fault_all(&mut self, signal: Signal, place: Place, bytes: &[u8], fault: Fault) {
        let items = envelope::count_item(signal, bytes);
        self.faulty.extend((0..items).map(|_| (place, fault)));
    }

    fn end_document(&mut self, place: Place, items: u32) {
        let start = self.documents.last().map_or(0, |document| document.end);
        let action = self.lines[start..].iter().position(|byte| *byte == b'\n').unwrap_or(0);
        self.documents.push(Document { body: start + action + 1, end: self.lines.len(), place, items, own_id: false });
    }
}

#[cfg(test)]
mod tests;

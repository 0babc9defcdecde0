//! The mapping engine: OTLP bytes to `_bulk` lines without a value tree.
//!
//! What a document shares with its neighbours (resource, scope, data stream) is rendered once per scope. The shape is
//! `otel`, the one Elasticsearch's own templates for OpenTelemetry expect. What Elasticsearch would refuse a document for
//! is kept out of it: repeated keys, empty keys, numbers that are not finite, arrays of mixed kinds. It does not know
//! HTTP, retries or who sent the data.

mod bodymap;
mod bulk;
mod ecs;
mod fault;
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

use crate::core::data::payload::{Envelope, Signal};
use crate::core::data::settlement::RecordPlace;
use crate::core::time::UnixNanos;
use crate::exporters::elasticsearch::capability::Capability;
use crate::exporters::elasticsearch::mapping::ids::Ids;
use crate::exporters::elasticsearch::mapping::json::tree::FieldTree;
use crate::exporters::elasticsearch::mapping::json::value::SeenKeys;
use crate::exporters::elasticsearch::mapping::route::Router;
use crate::exporters::elasticsearch::mapping::scope::{ItemsAt, MappedScope};
use crate::exporters::elasticsearch::mapping::work::Work;
use crate::otlp::walk::Malformed;
use crate::ottl::is_too_much;

pub use crate::exporters::elasticsearch::mapping::bulk::Bulk;
pub use crate::exporters::elasticsearch::mapping::fault::MappingFault;
pub use crate::exporters::elasticsearch::mapping::metrics::deltas::{BASELINES_KEPT, Deltas};
pub use crate::exporters::elasticsearch::mapping::settings::DataStreamType;
pub use settings::{Logstash, MappingMode, MappingSettings};

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

impl Mapper {
    pub fn new(settings: MappingSettings) -> Mapper {
        Mapper { settings, seen: SeenKeys::default(), ids: Ids::default(), tree: FieldTree::default() }
    }

    /// What the cluster turned out to take.
    pub fn adjust(&mut self, capability: Capability) {
        self.settings.capability = capability;
    }

    /// Says where the items of the next envelope stand on disk, from the first on.
    pub fn place(&mut self, runs: impl Iterator<Item = (u64, Option<RecordPlace>)>) {
        self.ids.place(runs);
    }

    /// Appends the documents of an envelope. Call it once for an envelope and keep the lines for further attempts:
    /// cumulative series move on with every call.
    pub fn map(&mut self, request: &MappingRequest<'_>, deltas: &mut Deltas, bulk: &mut Bulk) {
        deltas.begin(request.now);
        self.ids.begin_request(self.settings.deterministic_ids, request.nonce);
        let date = self.settings.logstash.as_ref().and_then(|logstash| logstash.suffix(request.now));
        let Mapper { settings, seen, ids, tree } = self;
        let mut work = Work { bulk, seen, ids, tree, deltas, arrived: request.arrived.0 };
        let mut first = 0;
        for (group, resource) in (0u32..).zip(&request.envelope.groups) {
            // Every scope reads its resource anew, which shows in no document when the resource has nothing to show.
            let bytes = resource.scopes.iter().map(|scope| scope.items.byte_len()).sum();
            let shared = resource.resource.as_deref().unwrap_or_default();
            let crowded = is_too_much(resource.scopes.len(), bytes, shared);
            for (scope, items) in (0u32..).zip(&resource.scopes).filter(|(_, items)| !items.items.is_empty()) {
                let at = ItemsAt { items: &items.items, group, scope };
                let first_here = first;
                first += items.items.len() as u64;
                if crowded {
                    let fault = MappingFault::Malformed(Malformed::Crowded);
                    at.iter().for_each(|(place, bytes)| work.bulk.fault_all(request.signal, place, bytes, fault));
                    continue;
                }
                work.ids.begin_scope(resource, items, first_here);
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

#[cfg(test)]
mod tests;
mod work;

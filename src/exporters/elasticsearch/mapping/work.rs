//! What mapping writes into and works with, and the times that an index can store.

use crate::exporters::elasticsearch::mapping::bulk::Bulk;
use crate::exporters::elasticsearch::mapping::fault::MappingFault;
use crate::exporters::elasticsearch::mapping::ids::Ids;
use crate::exporters::elasticsearch::mapping::json::tree::FieldTree;
use crate::exporters::elasticsearch::mapping::json::value::SeenKeys;
use crate::exporters::elasticsearch::mapping::metrics::deltas::Deltas;
use crate::exporters::elasticsearch::mapping::scope::MappedScope;
use crate::otlp::regroup::split::ItemPosition;

/// The last time that a field of type `date_nanos` holds, in nanoseconds since 1970: 2262-04-11T23:47:16.854775807Z
/// (Elasticsearch, "Date nanoseconds field type").
pub const DATE_NANOS_MAX: u64 = i64::MAX as u64;

/// The attribute that keeps a time which no index can store.
pub const ORIGINAL_TIME: &str = "podgate.timestamp";

/// A time as it is stored, and the one that could not be.
#[derive(Clone, Copy)]
pub struct Stored {
    pub(super) nanos: u64,
    pub(super) original: Option<u64>,
}

/// What mapping writes into and works with.
pub struct Work<'w> {
    pub(super) bulk: &'w mut Bulk,
    pub(super) seen: &'w mut SeenKeys,
    pub(super) ids: &'w mut Ids,
    pub(super) tree: &'w mut FieldTree,
    pub(super) deltas: &'w mut Deltas,
    /// See [`MappingRequest::arrived`].
    pub(super) arrived: u64,
}

impl<'w> Work<'w> {
    /// Maps each item of a scope: `write` makes its documents. An item that fails leaves nothing behind but its fault.
    pub(super) fn each_item<'a, F: Into<MappingFault>>(
        &mut self,
        scope: &MappedScope<'a>,
        mut write: impl FnMut(&mut Work<'w>, ItemPosition, &'a [u8]) -> Result<(), F>,
    ) {
        for (place, bytes) in scope.items() {
            let mark = self.bulk.mark();
            self.ids.begin_item(place.item);
            if let Err(fault) = write(self, place, bytes) {
                self.seen.reset();
                self.bulk.reject(mark, place, fault.into());
            }
        }
    }

    /// The time as an index can store it: the arrival for one out of range.
    pub(super) fn storable(&mut self, nanos: u64) -> Stored {
        let keep_original = nanos > DATE_NANOS_MAX;
        self.bulk.as_text += u64::from(keep_original);
        Stored { nanos: if keep_original { self.arrived } else { nanos }, original: keep_original.then_some(nanos) }
    }

    /// The same of a record, which has the time of its arrival when it has none (OpenTelemetry, logs data model: data
    /// that was never observed is observed when it comes).
    pub(super) fn storable_or_arrival(&mut self, nanos: u64) -> Stored {
        self.storable(if nanos == 0 { self.arrived } else { nanos })
    }

    /// `@timestamp` in the modes that write paths, with the original beside it if it is out of range.
    pub(super) fn add_timestamp(&mut self, time: Stored) {
        self.tree.add_time("@timestamp", time.nanos);
        if let Some(original) = time.original {
            self.tree.add_time(ORIGINAL_TIME, original);
        }
    }
}

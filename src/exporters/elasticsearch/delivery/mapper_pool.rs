//! Where mapping works: mappers and line buffers that are used again, so that steady traffic allocates nothing a document.

use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use bytes::Bytes;

use crate::core::data::payload::{Payload, Signal};
use crate::core::data::settlement::Share;
use crate::core::lock::Locked;
use crate::core::time::UnixNanos;
use crate::exporters::elasticsearch::capability::Capability;
use crate::exporters::elasticsearch::delivery::bulk::batch::OpenDocument;
use crate::exporters::elasticsearch::mapping::{
    Bulk, Deltas, Mapper, MappingFault, MappingMode, MappingRequest, MappingSettings,
};

/// Rooms and buffers kept for the next payload; more at once are made and thrown away.
const KEPT_MAX: usize = 4;
/// What lies idle is charged to nobody, so all buffers together are kept up to this only: the documents of one portion.
const KEPT_BYTES_MAX: usize = 12 << 20;
/// Lists that a payload of tiny records blew up are not kept: at most a MiB in all rooms.
const KEPT_DOCUMENTS_MAX: usize = 4 << 10;

/// A mapper with the lists it fills.
struct Room {
    mapper: Mapper,
    bulk: Bulk,
    /// For signals that have no series.
    no_series: Deltas,
}

type Buffers = Arc<Mutex<Vec<Vec<u8>>>>;

/// Lines under way; the buffer comes back when the last slice is gone.
struct Lent {
    lines: Vec<u8>,
    home: Buffers,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.lines
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut home = self.home.locked();
        let kept: usize = home.iter().map(Vec::capacity).sum();
        if home.len() < KEPT_MAX && kept.saturating_add(self.lines.capacity()) <= KEPT_BYTES_MAX {
            home.push(std::mem::take(&mut self.lines));
        }
    }
}

/// A payload as documents.
pub struct Mapped {
    pub lines: Bytes,
    pub documents: Vec<OpenDocument>,
    /// One for each item without a document.
    pub unmappable: Vec<(MappingFault, Share)>,
    /// Values written as text, because no index can store them as what they are.
    pub as_text: u64,
    /// Points of series are to be logged before the documents are sent.
    pub moved_series: bool,
}

pub struct MapperPool {
    settings: MappingSettings,
    /// What the cluster turned out to take.
    takes: Arc<ArcSwap<Capability>>,
    // Locked to push and pop only.
    idle: Mutex<Vec<Room>>,
    buffers: Buffers,
    /// Locked while one payload of metrics is mapped: the series are the exporter's.
    deltas: Mutex<Deltas>,
}

impl MapperPool {
    pub fn new(settings: MappingSettings) -> MapperPool {
        let takes = Arc::new(ArcSwap::from_pointee(settings.capability));
        MapperPool { settings, takes, idle: Mutex::default(), buffers: Arc::default(), deltas: Mutex::default() }
    }

    /// Where to put what the cluster takes.
    pub fn takes(&self) -> Arc<ArcSwap<Capability>> {
        self.takes.clone()
    }

    /// The payload's share goes to its documents. `nonce`: see [`MappingRequest::nonce`].
    pub fn map(&self, payload: &mut Payload, (mode, nonce): (Option<MappingMode>, u64), now: UnixNanos) -> Mapped {
        let kept = self.idle.locked().pop();
        let mut room = kept.unwrap_or_else(|| Room {
            mapper: Mapper::new(self.settings.clone()),
            bulk: Bulk::default(),
            no_series: Deltas::default(),
        });
        room.mapper.adjust(**self.takes.load());
        room.bulk.clear();
        room.bulk.lines = self.buffers.locked().pop().unwrap_or_default();
        room.bulk.lines.clear();
        // Which items a share of fewer answers for is not known.
        let is_whole = payload.share.items() == payload.items;
        room.mapper.place(payload.share.places().filter(|_| is_whole));
        let request = MappingRequest {
            signal: payload.signal,
            envelope: &payload.envelope,
            mode,
            now,
            arrived: payload.origin.arrived_at,
            nonce,
        };
        let mut moved_series = false;
        if payload.signal == Signal::Metrics {
            let mut deltas = self.deltas.locked();
            room.mapper.map(&request, &mut deltas, &mut room.bulk);
            moved_series = deltas.has_moved();
        } else {
            room.mapper.map(&request, &mut room.no_series, &mut room.bulk);
        }
        let (documents, unmappable) = owned(&room.bulk, payload);
        let as_text = room.bulk.as_text;
        let lines = Lent { lines: std::mem::take(&mut room.bulk.lines), home: self.buffers.clone() };
        room.bulk.shed(KEPT_DOCUMENTS_MAX);
        let mut idle = self.idle.locked();
        if idle.len() < KEPT_MAX {
            idle.push(room);
        }
        Mapped { lines: Bytes::from_owner(lines), documents, unmappable, as_text, moved_series }
    }

    /// Points of cumulative series are logged from now on.
    pub fn log_series(&self) {
        self.deltas.locked().log();
    }

    /// Points that are not logged yet.
    pub fn moved_series(&self) -> Vec<Bytes> {
        self.deltas.locked().moved()
    }

    pub fn has_moved_series(&self) -> bool {
        self.deltas.locked().has_moved()
    }

    /// What an earlier process logged.
    pub fn restore_series(&self, batch: &[u8]) {
        self.deltas.locked().restore(batch);
    }
}

/// Documents and faults with the share of their items, which is given out in the order of the items where it matters whose
/// they are. The points of a metrics document count where its first one stands.
fn owned(bulk: &Bulk, payload: &mut Payload) -> (Vec<OpenDocument>, Vec<(MappingFault, Share)>) {
    let (mut start, in_doubt) = (0, payload.share.is_in_doubt());
    let documents = bulk.documents.iter().map(|document| {
        let range = start..document.end;
        start = document.end;
        let (items, own_id, signal) = (document.items, document.own_id, payload.signal);
        OpenDocument { range, items, own_id, signal, in_doubt, share: Share::none() }
    });
    let mut documents: Vec<OpenDocument> = documents.collect();
    let mut faults: Vec<(MappingFault, Share)> = bulk.faulty.iter().map(|(_, fault)| (*fault, Share::none())).collect();
    let share = &mut payload.share;
    if share.is_merged() {
        let of_documents = bulk.documents.iter().zip(&mut documents);
        let of_documents = of_documents.map(|(mapped, document)| (mapped.place, mapped.items, &mut document.share));
        let of_faults = bulk.faulty.iter().zip(&mut faults).map(|((place, _), (_, share))| (*place, 1, share));
        let mut places: Vec<_> = of_documents.chain(of_faults).collect();
        places.sort_by_key(|(place, ..)| *place);
        places.into_iter().for_each(|(_, items, owner)| *owner = share.split(u64::from(items)));
    } else {
        documents.iter_mut().for_each(|document| document.share = share.split(u64::from(document.items)));
        faults.iter_mut().for_each(|(_, owner)| *owner = share.split(1));
    }
    (documents, faults)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_that_lie_idle_are_bounded_together() {
        let home: Buffers = Arc::default();
        let sizes = [5 << 20, 5 << 20, 5 << 20, 1 << 20, 16 << 20];
        for size in sizes {
            drop(Lent { lines: Vec::with_capacity(size), home: home.clone() });
        }
        let kept: Vec<usize> = home.locked().iter().map(Vec::capacity).collect();
        assert_eq!(kept, [5 << 20, 5 << 20, 1 << 20]);
    }
}

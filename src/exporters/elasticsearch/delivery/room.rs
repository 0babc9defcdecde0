//! Where mapping works: mappers and line buffers that are used again, so that steady traffic allocates nothing a document.

use std::sync::{Arc, Mutex, MutexGuard};

use arc_swap::ArcSwap;
use bytes::Bytes;

use crate::core::payload::{Payload, Signal};
use crate::core::time::UnixNanos;
use crate::exporters::elasticsearch::capability::Capability;
use crate::exporters::elasticsearch::delivery::load::Document;
use crate::exporters::elasticsearch::mapping::{Bulk, Deltas, Fault, Mapper, Mode, Request, Settings};

/// Rooms and buffers kept for the next payload; more at once are made and thrown away.
const KEPT_MAX: usize = 4;
/// A buffer that one large payload blew up is not kept.
const KEPT_BYTES_MAX: usize = 16 << 20;

/// A mapper with the lists it fills.
struct Room {
    mapper: Mapper,
    bulk: Bulk,
    /// For signals that have no series.
    no_series: Deltas,
}

type Buffers = Arc<Mutex<Vec<Vec<u8>>>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

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
        let mut home = lock(&self.home);
        if home.len() < KEPT_MAX && self.lines.capacity() <= KEPT_BYTES_MAX {
            home.push(std::mem::take(&mut self.lines));
        }
    }
}

/// A payload as documents.
pub struct Mapped {
    pub lines: Bytes,
    pub documents: Vec<Document>,
    /// One for each item without a document.
    pub unmappable: Vec<Fault>,
}

pub struct Rooms {
    settings: Settings,
    /// What the cluster turned out to take.
    takes: Arc<ArcSwap<Capability>>,
    // Locked to push and pop only.
    idle: Mutex<Vec<Room>>,
    buffers: Buffers,
    /// Locked while one payload of metrics is mapped: the series are the exporter's.
    deltas: Mutex<Deltas>,
}

impl Rooms {
    pub fn new(settings: Settings) -> Rooms {
        let takes = Arc::new(ArcSwap::from_pointee(settings.capability));
        Rooms { settings, takes, idle: Mutex::default(), buffers: Arc::default(), deltas: Mutex::default() }
    }

    /// Where to put what the cluster takes.
    pub fn takes(&self) -> Arc<ArcSwap<Capability>> {
        self.takes.clone()
    }

    pub fn map(&self, payload: &Payload, mode: Option<Mode>, now: UnixNanos) -> Mapped {
        let kept = lock(&self.idle).pop();
        let mut room = kept.unwrap_or_else(|| Room {
            mapper: Mapper::new(self.settings.clone()),
            bulk: Bulk::default(),
            no_series: Deltas::default(),
        });
        room.mapper.adjust(**self.takes.load());
        room.bulk.clear();
        room.bulk.lines = lock(&self.buffers).pop().unwrap_or_default();
        room.bulk.lines.clear();
        let request = Request { signal: payload.signal, envelope: &payload.envelope, mode, now };
        if payload.signal == Signal::Metrics {
            room.mapper.map(&request, &mut lock(&self.deltas), &mut room.bulk);
        } else {
            room.mapper.map(&request, &mut room.no_series, &mut room.bulk);
        }
        let mut start = 0;
        let documents = room.bulk.documents.iter().map(|document| {
            let range = start..document.end;
            start = document.end;
            Document { range, items: document.items, own_id: document.own_id, signal: payload.signal }
        });
        let documents = documents.collect();
        let unmappable = room.bulk.faulty.iter().map(|(_, fault)| *fault).collect();
        let lines = Lent { lines: std::mem::take(&mut room.bulk.lines), home: self.buffers.clone() };
        let mut idle = lock(&self.idle);
        if idle.len() < KEPT_MAX {
            idle.push(room);
        }
        Mapped { lines: Bytes::from_owner(lines), documents, unmappable }
    }
}

//! Kept spans on their way out: gathered from many traces by the resource they came with, one payload for a whole tick.
//!
//! Pure: builds parcels and asks the late binding; [`delivery`](super::delivery) sends them. Spans are copied out of the
//! store's chunks, so that a chunk is free as soon as its traces are decided, however slow the next hop is.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use foldhash::fast::FixedState;

use crate::core::binding::{Bound, Evidence, LateBinding};
use crate::core::budget::Ticket;
use crate::core::origin::Origin;
use crate::core::payload::{Envelope, Group, Payload, ScopeGroup, Signal};
use crate::core::time::UnixNanos;
use crate::processors::tail_sampling::admission::HeldGroup;

/// A parcel is closed beyond either of these.
const PARCEL_SPANS_MAX: u64 = 4096;
const PARCEL_BYTES_MAX: usize = 1 << 20;

struct ParcelScope {
    scope: u32,
    spans: Vec<Range<usize>>,
}

struct Gathered {
    held: Arc<HeldGroup>,
    scopes: Vec<ParcelScope>,
}

/// Collects spans of kept traces until they make a parcel.
#[derive(Default)]
pub struct Gathering {
    groups: Vec<Gathered>,
    /// Place of a group in `groups` by its address.
    places: HashMap<usize, usize, FixedState>,
    bytes: Vec<u8>,
    spans: u64,
}

impl Gathering {
    pub fn is_empty(&self) -> bool {
        self.spans == 0
    }

    pub fn is_full(&self) -> bool {
        self.spans >= PARCEL_SPANS_MAX || self.bytes.len() >= PARCEL_BYTES_MAX
    }

    pub fn footprint(&self) -> u64 {
        self.bytes.capacity() as u64
    }

    /// Adds spans of one group and scope.
    pub fn add<'a>(&mut self, held: &Arc<HeldGroup>, scope: u32, spans: impl Iterator<Item = &'a [u8]>) {
        let groups = &mut self.groups;
        let place = *self.places.entry(Arc::as_ptr(held) as usize).or_insert_with(|| {
            groups.push(Gathered { held: held.clone(), scopes: Vec::new() });
            groups.len() - 1
        });
        let scopes = &mut groups[place].scopes;
        let at = scopes.iter().position(|known| known.scope == scope).unwrap_or_else(|| {
            scopes.push(ParcelScope { scope, spans: Vec::new() });
            scopes.len() - 1
        });
        for span in spans {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(span);
            scopes[at].spans.push(start..self.bytes.len());
            self.spans += 1;
        }
    }

    /// Closes the parcel and leaves an empty gathering.
    pub fn finish(&mut self) -> Parcel {
        let gathered = std::mem::take(self);
        let bytes = Bytes::from(gathered.bytes);
        let groups = gathered.groups.into_iter().map(|Gathered { held, scopes }| {
            let scopes = scopes.into_iter().map(|scope| {
                let known = &held.scopes[scope.scope as usize];
                ScopeGroup {
                    scope: known.scope.clone(),
                    items: scope.spans.into_iter().map(|span| bytes.slice(span)).collect(),
                    schema_url: known.schema_url.clone(),
                }
            });
            let scopes = scopes.collect();
            let group = Group { resource: held.resource.clone(), scopes, schema_url: held.schema_url.clone() };
            ParcelGroup { held, group }
        });
        Parcel { groups: groups.collect(), bytes: bytes.len() as u64 }
    }
}

pub struct ParcelGroup {
    held: Arc<HeldGroup>,
    group: Group,
}

impl ParcelGroup {
    fn spans(&self) -> u64 {
        self.group.scopes.iter().map(|scope| scope.items.len() as u64).sum()
    }
}

/// Kept spans with what is known of their origin, not yet a payload.
pub struct Parcel {
    groups: Vec<ParcelGroup>,
    /// Bytes of the spans.
    pub bytes: u64,
}

impl Parcel {
    pub fn spans(&self) -> u64 {
        self.groups.iter().map(ParcelGroup::spans).sum()
    }

    /// Asks the binding for every group once. What it is still waiting for is split off and returned.
    pub fn bind(&mut self, binding: &dyn LateBinding, now: UnixNanos) -> Option<Parcel> {
        let mut pending = Vec::new();
        let mut ready = Vec::with_capacity(self.groups.len());
        for mut group in std::mem::take(&mut self.groups) {
            let held = &group.held;
            let resource = held.resource.clone().unwrap_or_default();
            match binding.resolve(&held.origin, &resource, Evidence { latest: held.latest }, now) {
                Bound::Unchanged => ready.push(group),
                Bound::Resource(bound) => {
                    group.group.resource = Some(bound);
                    ready.push(group);
                }
                Bound::Pending => pending.push(group),
            }
        }
        self.groups = ready;
        if pending.is_empty() {
            return None;
        }
        let bytes = |groups: &[ParcelGroup]| -> u64 {
            let items = groups.iter().flat_map(|group| &group.group.scopes).flat_map(|scope| &scope.items);
            items.map(|item| item.len() as u64).sum()
        };
        let split = Parcel { bytes: bytes(&pending), groups: pending };
        self.bytes -= split.bytes.min(self.bytes);
        Some(split)
    }

    /// The payload; its origin is that of its groups when they have only one.
    pub fn into_payload(self, ticket: Ticket, now: UnixNanos) -> Payload {
        let items = self.spans();
        let mut origins = self.groups.iter().map(|group| &group.held.origin);
        let first = origins.next().cloned();
        let same = first.filter(|first| origins.all(|other| Arc::ptr_eq(first, other)));
        let groups = self.groups.into_iter().map(|group| group.group).collect();
        Payload {
            signal: Signal::Traces,
            envelope: Envelope { groups, dictionary: None },
            items,
            origin: same.unwrap_or_else(|| Arc::new(Origin::internal(now))),
            ticket,
        }
    }
}

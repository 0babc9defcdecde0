//! Kept spans on their way out: gathered from many traces by the resource they came with, one payload for a whole tick.
//!
//! Pure: builds parcels and asks the late binding; [`delivery`](crate::processors::tail_sampling::release::delivery) sends them. Spans are copied out of the
//! store's chunks, so that a chunk is free as soon as its traces are decided, however slow the next hop is.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use foldhash::fast::FixedState;

use crate::core::data::binding::{BindingOutcome, Evidence, Later};
use crate::core::data::budget::Ticket;
use crate::core::data::granted::{BLOCK_BYTES, SHARED_BYTES};
use crate::core::data::items::{Extent, Items};
use crate::core::data::origin::Origin;
use crate::core::data::payload::{Envelope, Group, Payload, ScopeGroup, Signal};
use crate::core::data::settlement::{ItemEnd, Share};
use crate::core::time::UnixNanos;
use crate::otlp::fields::{scope_group, short_key};
use crate::otlp::walk::Fields;
use crate::otlp::write;
use crate::processors::tail_sampling::held::admission::HeldGroup;

/// A parcel is closed beyond either of these.
const PARCEL_SPANS_MAX: u64 = 4096;
const PARCEL_BYTES_MAX: usize = 1 << 20;
/// A trace is not divided before its parcel is so many times as large.
const OVERFULL_TIMES: usize = 3;

/// Spans that were added together.
#[derive(Clone, Copy)]
struct Piece {
    /// Place of the group in `groups`.
    group: u32,
    scope: u32,
    from: usize,
    to: usize,
    spans: u64,
}

/// Collects spans of kept traces until they make a parcel. What it works with is kept from one parcel to the next, so that
/// a parcel allocates for its groups and scopes, never for spans.
#[derive(Default)]
pub struct Gathering {
    groups: Vec<Arc<HeldGroup>>,
    /// Place of a group in `groups` by its address.
    places: HashMap<usize, u32, FixedState>,
    pieces: Vec<Piece>,
    /// Spans as fields of a scope group, as they leave.
    bytes: Vec<u8>,
    spans: u64,
    /// Bytes of the latest parcel: so large the next one is made at once, since growing copies and touches fresh memory.
    usual: usize,
}

impl Gathering {
    pub fn is_empty(&self) -> bool {
        self.spans == 0
    }

    pub fn is_full(&self) -> bool {
        self.spans >= PARCEL_SPANS_MAX || self.bytes.len() >= PARCEL_BYTES_MAX
    }

    /// So full that it is closed within a trace.
    pub fn is_overfull(&self) -> bool {
        self.spans >= PARCEL_SPANS_MAX * OVERFULL_TIMES as u64 || self.bytes.len() >= PARCEL_BYTES_MAX * OVERFULL_TIMES
    }

    pub fn footprint(&self) -> u64 {
        (self.bytes.capacity() + self.pieces.capacity() * size_of::<Piece>()) as u64
    }

    /// Adds spans of one group and scope; `write` appends them as fields of a scope group.
    pub fn add(&mut self, held: &Arc<HeldGroup>, scope: u32, spans: u64, write: impl FnOnce(&mut Vec<u8>)) {
        if self.bytes.capacity() == 0 {
            self.bytes.reserve(self.usual);
        }
        let groups = &mut self.groups;
        let group = *self.places.entry(Arc::as_ptr(held) as usize).or_insert_with(|| {
            groups.push(held.clone());
            groups.len() as u32 - 1
        });
        let from = self.bytes.len();
        write(&mut self.bytes);
        self.pieces.push(Piece { group, scope, from, to: self.bytes.len(), spans });
        self.spans += spans;
    }

    /// Closes the parcel and leaves an empty gathering.
    pub fn finish(&mut self) -> Parcel {
        // A full parcel exceeds its limit by less than a run.
        self.usual = (self.bytes.len() + self.bytes.len() / 16).min(PARCEL_BYTES_MAX + PARCEL_BYTES_MAX / 16);
        let bytes = Bytes::from(std::mem::take(&mut self.bytes));
        // Groups and scopes in the order they came, and so the pieces of each.
        self.pieces.sort_unstable_by_key(|piece| (piece.group, piece.scope, piece.from));
        let mut groups = Vec::with_capacity(self.groups.len());
        for pieces in self.pieces.chunk_by(|one, other| one.group == other.group) {
            let held = &self.groups[pieces[0].group as usize];
            let of_scopes = || pieces.chunk_by(|one, other| one.scope == other.scope);
            let mut scopes = Vec::with_capacity(of_scopes().count());
            scopes.extend(of_scopes().map(|pieces| scope_of(held, pieces, &bytes)));
            let (resource, schema_url) = (held.resource.clone(), held.schema_url.clone());
            // Bound below, and not again behind the sampler.
            let group = Group { resource, scopes, schema_url, later: Later::default() };
            let spans = pieces.iter().map(|piece| piece.spans).sum();
            groups.push(ParcelGroup { held: held.clone(), group, share: held.take(spans) });
        }
        self.groups.clear();
        self.places.clear();
        self.pieces.clear();
        self.spans = 0;
        Parcel { groups, bytes: bytes.len() as u64, made: 0 }
    }
}

/// One scope of a parcel, with its pieces in the order in which they stand in `bytes`.
fn scope_of(held: &HeldGroup, pieces: &[Piece], bytes: &Bytes) -> ScopeGroup {
    let mut places = Vec::with_capacity(pieces.iter().map(|piece| piece.spans as usize).sum());
    for piece in pieces {
        let mut fields = Fields::new(&bytes[piece.from..piece.to]);
        while let Some(span) = fields.next_of(SPANS).or_else(|| fields.next()?.ok()?.bytes().ok()) {
            let to = piece.from + fields.position();
            // A parcel is far smaller than what 32 bits can tell.
            places.push(Extent { from: (to - span.len()) as u32, to: to as u32 });
        }
    }
    let known = &held.scopes[pieces[0].scope as usize];
    let items = Items::within(bytes.clone(), places);
    ScopeGroup { scope: known.scope.clone(), items, schema_url: known.schema_url.clone() }
}

/// The key of spans in a scope group.
const SPANS: u8 = short_key(scope_group::ITEMS, write::LEN);

pub struct ParcelGroup {
    held: Arc<HeldGroup>,
    group: Group,
    share: Share,
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
    /// Bytes of resources that were made for it and are not on its ticket yet.
    pub made: u64,
}

impl Parcel {
    pub fn spans(&self) -> u64 {
        self.groups.iter().map(ParcelGroup::spans).sum()
    }

    /// The groups its spans came with.
    pub fn held(&self) -> Vec<Arc<HeldGroup>> {
        self.groups.iter().map(|group| group.held.clone()).collect()
    }

    /// Ends all its spans.
    pub fn end(self, end: ItemEnd<'_>) {
        self.groups.into_iter().for_each(|group| group.share.end(end));
    }

    /// Asks the binding of every group once. What is still waited for is split off and returned.
    pub fn bind(&mut self, last_chance: bool) -> Option<Parcel> {
        let mut pending = Vec::new();
        let mut ready = Vec::with_capacity(self.groups.len());
        for mut group in std::mem::take(&mut self.groups) {
            let held = &group.held;
            let resource = held.resource.clone().unwrap_or_default();
            let evidence = Evidence { latest: held.latest, last_chance };
            match held.later.resolve(&resource, evidence) {
                BindingOutcome::Unchanged => ready.push(group),
                BindingOutcome::Resource(bound) => {
                    self.made += (bound.len() + SHARED_BYTES + BLOCK_BYTES) as u64;
                    group.group.resource = Some(bound);
                    ready.push(group);
                }
                BindingOutcome::Pending => pending.push(group),
            }
        }
        self.groups = ready;
        if pending.is_empty() {
            return None;
        }
        let bytes = |groups: &[ParcelGroup]| -> u64 {
            groups.iter().flat_map(|group| &group.group.scopes).map(|scope| scope.items.byte_len() as u64).sum()
        };
        let split = Parcel { bytes: bytes(&pending), groups: pending, made: 0 };
        self.bytes -= split.bytes.min(self.bytes);
        Some(split)
    }

    /// The payload; its origin is that of its groups when they have only one.
    pub fn into_payload(self, ticket: Ticket, now: UnixNanos) -> Payload {
        let items = self.spans();
        let mut origins = self.groups.iter().map(|group| &group.held.origin);
        let first = origins.next().cloned();
        let same = first.filter(|first| origins.all(|other| Arc::ptr_eq(first, other)));
        let mut share = Share::none();
        let groups = self.groups.into_iter().map(|group| {
            share.join(group.share);
            group.group
        });
        let groups = groups.collect();
        Payload {
            signal: Signal::Traces,
            envelope: Envelope { groups, dictionary: None },
            items,
            origin: same.unwrap_or_else(|| Arc::new(Origin::internal(now))),
            ticket,
            share,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::data::binding::LateBinding;
    use crate::core::data::budget::Budget;
    use crate::otlp::envelope;
    use crate::processors::tail_sampling::held::account::ByteAccount;

    fn held(account: &Arc<ByteAccount>, resource: &'static [u8], scopes: usize) -> Arc<HeldGroup> {
        let scope = |at| ScopeGroup { scope: Some(Bytes::from(vec![at as u8])), ..ScopeGroup::default() };
        let (resource, scopes) = (Some(Bytes::from_static(resource)), (0..scopes).map(scope).collect());
        let group = Group { resource, scopes, later: Later::by(Arc::new(Knows)), ..Group::default() };
        let origin = Arc::new(Origin::internal(UnixNanos(1)));
        Arc::new(HeldGroup::copy(&group, &origin, UnixNanos(7), account))
    }

    fn add(gathering: &mut Gathering, held: &Arc<HeldGroup>, scope: u32, spans: &[&[u8]]) {
        let write = |out: &mut Vec<u8>| spans.iter().for_each(|span| write::bytes(out, scope_group::ITEMS, span));
        gathering.add(held, scope, spans.len() as u64, write);
    }

    #[test]
    fn spans_of_many_traces_share_their_resource_and_scope_again() {
        let account = ByteAccount::new(1 << 20, &Budget::unlimited());
        let (one, other) = (held(&account, b"one", 2), held(&account, b"other", 1));
        let mut gathering = Gathering::default();
        let long = vec![b'x'; 20_000];
        add(&mut gathering, &one, 1, &[b"a", b""]);
        add(&mut gathering, &other, 0, &[&long]);
        add(&mut gathering, &one, 0, &[b"b"]);
        add(&mut gathering, &one, 1, &[b"c"]);
        let payload = gathering.finish().into_payload(Ticket::free(), UnixNanos(9));
        let shape = |group: &Group| {
            let spans = |scope: &ScopeGroup| scope.items.iter().map(<[u8]>::to_vec).collect::<Vec<_>>();
            (group.resource.clone(), group.scopes.iter().map(spans).collect::<Vec<_>>())
        };
        let groups: Vec<_> = payload.envelope.groups.iter().map(shape).collect();
        let spans = |texts: &[&[u8]]| texts.iter().map(|text| text.to_vec()).collect::<Vec<_>>();
        assert_eq!(groups[0], (Some("one".into()), vec![spans(&[b"b"]), spans(&[b"a", b"", b"c"])]));
        assert_eq!(groups[1], (Some("other".into()), vec![spans(&[&long])]));
        assert_eq!(payload.items, 5);
        let sent = envelope::encode(&payload.envelope);
        assert_eq!(envelope::decode(sent).as_ref(), Ok(&payload.envelope), "the bytes are a request");
        assert!(gathering.is_empty());
        add(&mut gathering, &one, 0, &[b"d"]);
        assert_eq!(gathering.finish().spans(), 1, "nothing stays behind");
    }

    #[test]
    fn a_parcel_is_full_by_spans_or_by_bytes() {
        let account = ByteAccount::new(1 << 20, &Budget::unlimited());
        let held = held(&account, b"one", 1);
        let mut gathering = Gathering::default();
        for _ in 0..PARCEL_SPANS_MAX {
            assert!(!gathering.is_full());
            add(&mut gathering, &held, 0, &[b"a"]);
        }
        assert!(gathering.is_full());
        gathering.finish();
        add(&mut gathering, &held, 0, &[&vec![0; PARCEL_BYTES_MAX]]);
        assert!(gathering.is_full() && !gathering.is_overfull());
        add(&mut gathering, &held, 0, &[&vec![0; 2 * PARCEL_BYTES_MAX]]);
        assert!(gathering.is_overfull());
    }

    /// Knows some resources, waits for others.
    struct Knows;

    impl LateBinding for Knows {
        fn bytes(&self) -> u64 {
            0
        }

        fn resolve(&self, resource: &Bytes, evidence: Evidence) -> BindingOutcome {
            assert_eq!(evidence.latest, UnixNanos(7));
            match &resource[..] {
                b"known" => BindingOutcome::Resource(Bytes::from_static(b"bound")),
                b"pending" => BindingOutcome::Pending,
                _ => BindingOutcome::Unchanged,
            }
        }
    }

    #[test]
    fn what_is_still_pending_is_split_off_with_its_bytes() {
        let account = ByteAccount::new(1 << 20, &Budget::unlimited());
        let mut gathering = Gathering::default();
        for (resource, span) in [(&b"known"[..], &b"abc"[..]), (b"pending", b"defgh"), (b"strange", b"i")] {
            add(&mut gathering, &held(&account, resource, 1), 0, &[span]);
        }
        let mut parcel = gathering.finish();
        let before = parcel.bytes;
        let pending = parcel.bind(false).expect("one group waits");
        assert_eq!((pending.spans(), pending.bytes, parcel.bytes), (1, 5, before - 5));
        let payload = parcel.into_payload(Ticket::free(), UnixNanos(9));
        let resources: Vec<_> = payload.envelope.groups.iter().filter_map(|group| group.resource.as_deref()).collect();
        assert_eq!(resources, [&b"bound"[..], b"strange"]);
    }
}

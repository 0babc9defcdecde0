//! What a request becomes on its way into the shards: spans walked once, runs of one trace, resources copied out.
//!
//! Runs in the sender's task, so that walking and matching scale with the senders; the shard only files the result.
//! Knows leaves and bytes, nothing of decisions.

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;

use crate::core::data::binding::Later;
use crate::core::data::budget::OverBudget;
use crate::core::data::granted::{Allowance, Granted, SHARED_BYTES};
use crate::core::data::items::Items;
use crate::core::data::origin::Origin;
use crate::core::data::payload::{Envelope, Group, Payload};
use crate::core::data::settlement::Share;
use crate::core::lock::Locked;
use crate::core::time::UnixNanos;
use crate::otlp::fields::scope_group;
use crate::otlp::write::{self, field_len};
use crate::ottl::Item;
use crate::processors::tail_sampling::held::account::{ByteAccount, HeldBytes};
use crate::processors::tail_sampling::held::ids::{shard_of, stand_in};
use crate::processors::tail_sampling::held::store::run_cost;
use crate::processors::tail_sampling::policies::decision::TraceSummary;
use crate::processors::tail_sampling::policies::predicates::{LeafBits, Leaves, SampledSpan};

/// A resource with its scopes as one request brought it, held as long as a span of it is.
pub struct HeldGroup {
    pub origin: Arc<Origin>,
    pub resource: Option<Bytes>,
    pub schema_url: Bytes,
    pub scopes: Vec<HeldScope>,
    /// Latest end among the group's spans in its request.
    pub latest: UnixNanos,
    /// Writes what is known of the run when its traces are decided.
    pub later: Later,
    /// Bytes of its message in the Collector's count of a trace, spans aside.
    pub overhead: u64,
    /// All spans of its request, readable or not, and their bytes.
    pub came: SpanBytes,
    charge: HeldBytes,
    /// Answers for its spans that have no verdict yet; each run's verdict takes its part. Locked for a few instructions.
    share: Mutex<Share>,
}

/// How many spans, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpanBytes {
    pub spans: usize,
    pub bytes: usize,
}

pub struct HeldScope {
    pub scope: Option<Bytes>,
    pub schema_url: Bytes,
    pub overhead: u64,
}

impl HeldGroup {
    /// Bytes charged for it.
    pub fn bytes(&self) -> u64 {
        self.charge.bytes()
    }

    fn share(&self) -> MutexGuard<'_, Share> {
        self.share.locked()
    }

    /// The request was taken: from now on this group answers for its spans.
    pub fn own(&self, share: Share) {
        self.share().join(share);
    }

    /// Whether its spans are somebody else's by now, who reads them again.
    pub fn is_taken_over(&self) -> bool {
        self.share().is_taken_over()
    }

    /// The share of so many of its spans, for whoever ends them or hands them on.
    pub fn take(&self, spans: u64) -> Share {
        self.share().split(spans)
    }

    /// What of a group is copied.
    fn parts(group: &Group) -> impl Iterator<Item = &Bytes> {
        let scopes = group.scopes.iter().flat_map(|scope| [scope.scope.as_ref(), Some(&scope.schema_url)]);
        [group.resource.as_ref(), Some(&group.schema_url)].into_iter().chain(scopes).flatten()
    }

    /// Bytes of the copy, with the counts that share it.
    fn footprint(group: &Group) -> usize {
        let copied: usize = HeldGroup::parts(group).map(Bytes::len).sum();
        let later = usize::try_from(group.later.bytes()).unwrap_or(usize::MAX);
        copied + later + 2 * SHARED_BYTES + size_of::<HeldGroup>() + group.scopes.len() * size_of::<HeldScope>()
    }

    pub(crate) fn copy(
        group: &Group,
        origin: &Arc<Origin>,
        latest: UnixNanos,
        account: &Arc<ByteAccount>,
    ) -> HeldGroup {
        let parts = || HeldGroup::parts(group);
        // One allocation for all of them, so that no receive buffer stays behind for a few bytes.
        let mut copied = Vec::with_capacity(parts().map(Bytes::len).sum()); // granted: `footprint`
        parts().for_each(|part| copied.extend_from_slice(part));
        let mut rest = Bytes::from(copied);
        let charge = HeldGroup::footprint(group) as u64;
        let mut cut = |part: &Bytes| rest.split_to(part.len());
        let resource = group.resource.as_ref().map(&mut cut);
        let schema_url = cut(&group.schema_url);
        let scopes = group.scopes.iter().map(|scope| HeldScope {
            scope: scope.scope.as_ref().map(&mut cut),
            schema_url: cut(&scope.schema_url),
            overhead: part_len(1, scope.scope.as_ref()) + text_len(&scope.schema_url) + NESTED_BYTES,
        });
        let scopes = scopes.collect();
        HeldGroup {
            origin: origin.clone(),
            overhead: part_len(1, group.resource.as_ref()) + text_len(&group.schema_url),
            resource,
            schema_url,
            scopes,
            latest,
            later: group.later.clone(),
            came: SpanBytes::default(),
            charge: HeldBytes::new(account, charge),
            share: Mutex::default(),
        }
    }
}

/// Key and length of a message of some hundred bytes.
const NESTED_BYTES: u64 = 3;

fn part_len(number: u32, part: Option<&Bytes>) -> u64 {
    // The Collector always writes the resource and the scope, empty or not.
    field_len(number, part.map_or(0, Bytes::len)) as u64
}

fn text_len(text: &Bytes) -> u64 {
    if text.is_empty() { 0 } else { field_len(3, text.len()) as u64 }
}

/// Spans of one trace, group and scope of a request.
#[derive(Clone, Copy, Debug)]
pub struct SpanGroup {
    pub trace_id: [u8; 16],
    pub group: u32,
    pub scope: u32,
    /// Number of the scope's first item in the request, and of the run's first and last one.
    pub base: u32,
    pub first: u32,
    last: u32,
    pub spans: u32,
    /// Sum of the spans' lengths, each with its key and length on the wire.
    pub wire: u32,
    pub bits: LeafBits,
    pub min_start: u64,
    pub max_end: u64,
    pub has_root: bool,
    /// A span of it has a trace state.
    pub has_states: bool,
}

/// Runs do not grow beyond this, so that they fit chunks.
const RUN_BYTES_MAX: u32 = 24 << 10;

impl SpanGroup {
    /// What it adds to its trace, which counts so many bytes for it.
    #[inline]
    pub fn summary(&self, bytes: u64) -> TraceSummary {
        TraceSummary {
            trace_id: self.trace_id,
            bits: self.bits,
            min_start: self.min_start,
            max_end: self.max_end,
            spans: u64::from(self.spans),
            bytes,
        }
    }

    /// Bytes it takes in a store.
    pub fn cost(&self) -> u64 {
        run_cost(u64::from(self.wire))
    }

    #[inline(always)]
    fn takes(&self, facts: &SampledSpan, length: u32) -> bool {
        // Spans may be as long as requests may be.
        self.trace_id == facts.trace_id && self.wire.saturating_add(length) <= RUN_BYTES_MAX
    }

    #[inline(always)]
    fn add(&mut self, facts: &SampledSpan, length: u32) {
        self.spans += 1;
        self.wire += length;
        self.bits.merge(&facts.bits);
        self.min_start = match (self.min_start, facts.start) {
            (0, start) | (start, 0) => start,
            (mine, other) => mine.min(other),
        };
        self.max_end = self.max_end.max(facts.end);
        self.has_root |= facts.is_root;
        self.has_states |= facts.has_state;
    }
}

/// A request ready for the shards.
pub struct Admitted {
    pub groups: Vec<Arc<HeldGroup>>,
    /// Spans of each group: all of them, and those that are malformed.
    pub spans: Vec<(u64, u64)>,
    /// Runs by shard.
    pub runs: Vec<Vec<SpanGroup>>,
    /// For each item of the request the next one of its run.
    pub links: Vec<u32>,
    /// What the shards' stores will need for them.
    pub cost: u64,
    pub malformed: u64,
    /// Failed evaluations of OTTL conditions.
    pub failures: u64,
}

/// What the runs of one request refer to.
#[derive(Clone, Copy)]
pub struct AdmittedRequest<'a> {
    pub envelope: &'a Envelope,
    pub groups: &'a [Arc<HeldGroup>],
    pub links: &'a [u32],
    /// That of the policies whose questions its bits answer.
    pub version: u16,
}

impl<'a> AdmittedRequest<'a> {
    /// The spans of a run in the order they came.
    fn spans(self, run: &SpanGroup) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let items = self.items(run);
        let (links, base, mut next) = (self.links, run.base, run.first);
        (0..run.spans).map(move |_| {
            let at = next;
            next = links[at as usize];
            items.get((at - base) as usize).unwrap_or_default()
        })
    }

    fn items(self, run: &SpanGroup) -> &'a Items {
        &self.envelope.groups[run.group as usize].scopes[run.scope as usize].items
    }

    /// Writes the spans of a run as fields of a scope group: `run.wire` bytes.
    pub fn write(self, run: &SpanGroup, out: &mut Vec<u8>) {
        let (first, items) = ((run.first - run.base) as usize, self.items(run));
        let length = items.get(first).unwrap_or_default().len();
        let head = field_len(ITEM, length) - length;
        let stretch = items.stretch(first, (run.last - run.first) as usize + 1);
        // It cannot be shorter than its spans with the shortest keys and lengths, so when it is as long, it is just these.
        if let Some(stretch) = stretch.filter(|stretch| head + stretch.len() == run.wire as usize) {
            write_head(out, length);
            out.extend_from_slice(stretch);
            return;
        }
        for span in self.spans(run) {
            write_head(out, span.len());
            out.extend_from_slice(span);
        }
    }
}

/// The field of a scope group that spans are.
const ITEM: u32 = scope_group::ITEMS;

#[inline]
fn write_head(out: &mut Vec<u8>, length: usize) {
    write::key(out, ITEM, write::LEN);
    write::varint(out, length as u64);
}

/// Walks the envelope.
pub struct Admission<'a> {
    pub leaves: &'a Leaves,
    pub account: &'a Arc<ByteAccount>,
    pub shards: usize,
    /// Random, another one for each request: makes the stand-ins of ids that spans lack.
    pub seed: u64,
}

impl Admission<'_> {
    /// Walks the request; its ticket pays for what is made until the request is stored. An error means that there is no
    /// memory for it.
    pub fn read(&self, payload: &Payload) -> Result<Admitted, OverBudget> {
        let envelope = &payload.envelope;
        let items = envelope.messages();
        let mut room = Allowance::of(&payload.ticket);
        let mut groups = Granted::new();
        groups.reserve(envelope.groups.len(), &mut room)?;
        let mut spans = Granted::new();
        spans.reserve(envelope.groups.len(), &mut room)?;
        room.take(items * size_of::<u32>())?;
        let mut reading = Reading {
            runs: (0..self.shards).map(|_| Granted::new()).collect(),
            links: vec![0; items], // granted: taken above
            room,
            recent: Recent::default(),
            malformed: 0,
            failures: 0,
        };
        if let [runs] = &mut reading.runs[..] {
            runs.reserve(items.min(RUNS_USUAL), &mut reading.room)?;
        }
        let mut base = 0;
        for (at, group) in envelope.groups.iter().enumerate() {
            let place = Place { group: at as u32, scope: 0, base };
            let malformed = reading.malformed;
            let (latest, came) = self.read_group(group, place, &mut reading)?;
            let of_group = group.scopes.iter().map(|scope| scope.items.len() as u32).sum::<u32>();
            spans.push((u64::from(of_group), reading.malformed - malformed), &mut reading.room)?;
            base += of_group;
            // The account charges what it holds; until then there may be no room for it.
            reading.room.take(HeldGroup::footprint(group))?;
            let mut held = HeldGroup::copy(group, &payload.origin, latest, self.account);
            held.came = came;
            groups.push(Arc::new(held), &mut reading.room)?;
        }
        let Reading { runs, links, mut room, malformed, failures, .. } = reading;
        let runs: Vec<Vec<SpanGroup>> = runs.into_iter().map(|runs| runs.finish(&mut room)).collect();
        let cost = runs.iter().flatten().map(SpanGroup::cost).sum();
        let (groups, spans) = (groups.finish(&mut room), spans.finish(&mut room));
        Ok(Admitted { groups, spans, runs, links, cost, malformed, failures })
    }

    /// Returns the latest end of the group's spans, and how much they are.
    fn read_group(
        &self,
        group: &Group,
        at: Place,
        reading: &mut Reading,
    ) -> Result<(UnixNanos, SpanBytes), OverBudget> {
        let resource = group.resource.as_deref().unwrap_or_default();
        let Ok(resource_bits) = self.leaves.read_resource(resource) else {
            reading.malformed += group.scopes.iter().map(|scope| scope.items.len() as u64).sum::<u64>();
            return Ok((UnixNanos::default(), SpanBytes::default()));
        };
        let mut latest = 0;
        let mut came = SpanBytes::default();
        let mut place = at;
        let (spans, bytes) = group.scopes.iter().fold((0, 0), |(spans, bytes), scope| {
            (spans + scope.items.len(), bytes + if self.leaves.has_conditions() { scope.items.byte_len() } else { 0 })
        });
        let resource_too_much = self.leaves.is_too_much(spans, bytes, resource);
        for (scope_at, scope) in group.scopes.iter().enumerate() {
            place.scope = scope_at as u32;
            reading.recent.open = None;
            let about = scope.scope.as_deref().unwrap_or_default();
            let too_much = resource_too_much || self.leaves.is_too_much(scope.items.len(), bytes, about);
            for (number, span) in (place.base..).zip(&scope.items) {
                let mut facts = SampledSpan::default();
                if self.leaves.read_span(span, &mut facts).is_err() {
                    reading.malformed += 1;
                    continue;
                }
                if facts.trace_id == [0; 16] {
                    facts.trace_id = stand_in(self.seed, number);
                }
                if too_much {
                    reading.failures += 1;
                } else if self.leaves.has_conditions() {
                    let item = Item::span(span, about, resource);
                    reading.failures += self.leaves.evaluate(&item, &mut facts.bits);
                }
                latest = latest.max(facts.end);
                came.bytes += span.len();
                let length = field_len(ITEM, span.len()) as u32;
                if let Some(run) = reading.recent.find(&mut reading.runs, &facts, length, place) {
                    reading.links[run.last as usize] = number;
                    run.last = number;
                    run.add(&facts, length);
                    continue;
                }
                let shard = shard_of(&facts.trace_id, self.shards);
                let runs = &mut reading.runs[shard];
                reading.recent.opened(&facts, shard, runs.len());
                let mut run = place.run(facts.trace_id, number, resource_bits);
                run.add(&facts, length);
                runs.push(run, &mut reading.room)?;
            }
            place.base += scope.items.len() as u32;
            came.spans += scope.items.len();
        }
        Ok((UnixNanos(latest), came))
    }
}

/// A request that is being read.
struct Reading {
    runs: Vec<Granted<SpanGroup>>,
    links: Vec<u32>,
    room: Allowance,
    recent: Recent,
    malformed: u64,
    failures: u64,
}

/// Room for the runs of a usual request.
const RUNS_USUAL: usize = 64;

/// Where in a request spans are being read.
#[derive(Clone, Copy)]
struct Place {
    group: u32,
    scope: u32,
    /// Number of the scope's first item in the request.
    base: u32,
}

impl Place {
    fn run(&self, trace_id: [u8; 16], number: u32, bits: LeafBits) -> SpanGroup {
        SpanGroup {
            trace_id,
            group: self.group,
            scope: self.scope,
            base: self.base,
            first: number,
            last: number,
            spans: 0,
            wire: 0,
            bits,
            min_start: 0,
            max_end: 0,
            has_root: false,
            has_states: false,
        }
    }
}

/// Runs that the next span may join: the latest, and one for each of the low byte's values of trace ids, because senders
/// mix the spans of traces that run at the same time. What collides there only begins a run of its own.
struct Recent {
    /// Shard of the latest run and its place there.
    open: Option<(u32, u32)>,
    places: [(u32, u32); 256],
}

const NOWHERE: (u32, u32) = (u32::MAX, u32::MAX);

impl Default for Recent {
    fn default() -> Recent {
        Recent { open: None, places: [NOWHERE; 256] }
    }
}

impl Recent {
    #[inline(always)]
    fn find<'a>(
        &mut self,
        runs: &'a mut [Granted<SpanGroup>],
        facts: &SampledSpan,
        length: u32,
        place: Place,
    ) -> Option<&'a mut SpanGroup> {
        let at = |(shard, run): (u32, u32)| (shard as usize, run as usize);
        if let Some((shard, run)) = self.open.map(at)
            && runs[shard][run].takes(facts, length)
        {
            return Some(&mut runs[shard][run]);
        }
        let known = self.places[usize::from(facts.trace_id[15])];
        let (shard, run) = at(known);
        let found = runs.get_mut(shard)?.get_mut(run)?;
        if (found.group, found.scope) != (place.group, place.scope) || !found.takes(facts, length) {
            return None;
        }
        self.open = Some(known);
        Some(found)
    }

    fn opened(&mut self, facts: &SampledSpan, shard: usize, run: usize) {
        let place = (shard as u32, run as u32);
        self.open = Some(place);
        self.places[usize::from(facts.trace_id[15])] = place;
    }
}

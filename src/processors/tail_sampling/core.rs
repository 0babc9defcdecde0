//! The heart of a shard: files runs under their traces, decides those that are due, gathers what was kept.
//!
//! Pure: time comes in, parcels and counts go out; it never waits and knows no task, no channel and no account. The file
//! beside it, `shard`, owns the clock and the queue.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::core::items::Items;
use foldhash::fast::RandomState;

use crate::core::payload::Envelope;
use crate::core::time::UnixNanos;
use crate::processors::tail_sampling::admission::{HeldGroup, Run};
use crate::processors::tail_sampling::cache::{Decided, Kept, Past};
use crate::processors::tail_sampling::config::{AtShutdown, Settings, Strategy};
use crate::processors::tail_sampling::counts::{Counts, Early, Verdict};
use crate::processors::tail_sampling::decision::{Ballot, Decision, Fallback, Rules, Why, decide};
use crate::processors::tail_sampling::fragments;
use crate::processors::tail_sampling::groups::Groups;
use crate::processors::tail_sampling::policies::meter::Meters;
use crate::processors::tail_sampling::release::{Gathering, Parcel};
use crate::processors::tail_sampling::store::{RunAt, RunHeader, Store, run_cost};
use crate::processors::tail_sampling::traces::Traces;
use crate::processors::tail_sampling::wheel::{Entry, Wheel};

/// Why a trace is decided now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its wait is over.
    Due,
    Early(Early),
}

/// Limits of one shard.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Undecided traces.
    pub traces: Option<u64>,
    /// A trace holding more than this is decided at once.
    pub giant_bytes: u64,
}

/// Traces and their bytes. Invariant: every span taken in is held, gathered, or counted as released or sampled out.
pub struct Core {
    settings: Settings,
    bounds: Bounds,
    traces: Traces,
    store: Store,
    groups: Groups,
    wheel: Wheel,
    /// Entries taken from the wheel, oldest first; the tick is the one they were filed under.
    due: VecDeque<(u64, Entry)>,
    taken: Vec<(u64, Entry)>,
    /// Traces that once grew heavy: pressure looks at them first.
    heavy: Vec<Entry>,
    decided: Decided,
    meters: Meters,
    gathering: Gathering,
    parcels: VecDeque<Parcel>,
    touched: Vec<u32>,
    scratch: fragments::Scratch,
    /// Slots below this were ended by [`Core::finish`].
    finished: u32,
    pub counts: Counts,
}

/// A run on its way in, with the resource and the items it refers to.
struct Coming<'a> {
    run: &'a Run,
    held: &'a Arc<HeldGroup>,
    items: &'a Items,
}

impl<'a> Coming<'a> {
    fn spans(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let first = self.run.first as usize;
        self.items.range(first, self.run.spans as usize)
    }
}

const HEAVY_BYTES: u64 = 256 << 10;
const HEAVY_MAX: usize = 1024;
/// Beyond this many closed parcels nothing more is decided: the verdict waits with its trace.
const PARCELS_MAX: usize = 2;

impl Core {
    pub fn new(settings: Settings, bounds: Bounds, seed: RandomState, now: UnixNanos) -> Core {
        let shards = settings.shards;
        let divided = |count: usize| count.div_ceil(shards);
        Core {
            bounds,
            traces: Traces::new(seed.clone()),
            store: Store::default(),
            groups: Groups::default(),
            wheel: Wheel::new(settings.decision_wait + Duration::from_millis(20), now),
            due: VecDeque::new(),
            taken: Vec::new(),
            heavy: Vec::new(),
            decided: Decided::new(divided(settings.kept_remembered), divided(settings.dropped_remembered), seed),
            meters: Meters::new(&settings.meters, now),
            gathering: Gathering::default(),
            parcels: VecDeque::new(),
            touched: Vec::new(),
            scratch: fragments::Scratch::default(),
            finished: 0,
            counts: Counts::new(settings.policies.len()),
            settings,
        }
    }

    /// Undecided traces.
    pub fn traces(&self) -> u64 {
        self.traces.len() as u64
    }

    /// Bytes held, groups aside, which charge themselves.
    pub fn footprint(&self) -> u64 {
        let tables = self.traces.footprint() + self.wheel.footprint() + self.groups.footprint();
        let parcels: u64 = self.parcels.iter().map(|parcel| parcel.bytes).sum();
        self.store.capacity() + tables + self.gathering.footprint() + parcels
    }

    /// Bytes of the memory of decided ids, which the account does not count: it is bounded by configuration.
    pub fn remembered_bytes(&self) -> u64 {
        self.decided.footprint()
    }

    /// Files the runs of one request.
    pub fn accept(&mut self, envelope: &Envelope, groups: &[Arc<HeldGroup>], runs: &[Run], now: UnixNanos) {
        self.advance(now);
        let mut filed = self.groups.begin(groups);
        for run in runs {
            let held = &groups[run.group as usize];
            let scope = &envelope.groups[run.group as usize].scopes[run.scope as usize];
            let coming = Coming { run, held, items: &scope.items };
            let hash = self.traces.hash(&run.trace_id);
            let slot = match self.traces.find(hash, &run.trace_id) {
                Some(slot) => slot,
                None => match self.decided.find(&run.trace_id) {
                    Some(past) => {
                        self.accept_late(past, &coming, now);
                        continue;
                    }
                    None => self.open(hash, run, now),
                },
            };
            let group = self.groups.file(&mut filed, run.group, held);
            self.file(slot, group, &coming);
            self.settle(slot, run, now);
        }
        self.groups.end(filed);
        self.judge_touched(now);
        self.close_gathering();
    }

    fn open(&mut self, hash: u64, run: &Run, now: UnixNanos) -> u32 {
        let slot = self.traces.insert(hash, run.trace_id, now);
        let generation = self.traces.at(slot).generation;
        let deadline = now.saturating_add(self.settings.decision_wait);
        let tick = self.wheel.schedule(deadline, Entry { slot, generation });
        self.traces.at_mut(slot).tick = tick;
        self.counts.new_traces += 1;
        slot
    }

    fn file(&mut self, slot: u32, group: u32, coming: &Coming<'_>) {
        let Coming { run, held, .. } = *coming;
        let trace = self.traces.at_mut(slot);
        let mut bytes = run.wire_bytes();
        if trace.group != group {
            bytes += held.overhead;
            trace.scope = u32::MAX;
        }
        if trace.scope != run.scope {
            bytes += held.scopes[run.scope as usize].overhead;
        }
        (trace.group, trace.scope) = (group, run.scope);
        trace.summary.merge(&run.bits, run.min_start, run.max_end);
        trace.summary.spans += u64::from(run.spans);
        trace.summary.bytes += bytes;
        trace.held += run_cost(run.spans as usize, u64::from(run.bytes));
        trace.has_root |= run.has_root;
        let header =
            RunHeader { previous: trace.last, owner: slot, group, scope: run.scope, spans: run.spans, length: 0 };
        trace.last = self.store.append(header, run.bytes as usize, coming.spans());
    }

    /// What follows from a run that was just filed: an earlier wait, or a decision at once.
    fn settle(&mut self, slot: u32, run: &Run, now: UnixNanos) {
        let trace = self.traces.at(slot);
        let entry = Entry { slot, generation: trace.generation };
        if self.settings.trace_bytes_max.is_some_and(|most| trace.summary.bytes > most) {
            self.counts.too_large += 1;
            return self.conclude(slot, Decision::dropped(Why::TooLarge), now);
        }
        if trace.held > self.bounds.giant_bytes {
            return self.decide_slot(slot, Cause::Early(Early::Giant), now);
        }
        if trace.held > HEAVY_BYTES && trace.held - u64::from(run.bytes) <= HEAVY_BYTES && self.heavy.len() < HEAVY_MAX
        {
            self.heavy.push(entry);
        }
        if let Some(wait) = self.settings.root_wait
            && run.has_root
        {
            let deadline = now.saturating_add(wait);
            if self.wheel.tick_of(deadline) < trace.tick {
                let tick = self.wheel.schedule(deadline, entry);
                self.traces.at_mut(slot).tick = tick;
            }
        }
        if self.settings.strategy == Strategy::SpanIngest && self.touched.last() != Some(&slot) {
            self.touched.push(slot);
        }
        if self.bounds.traces.is_some_and(|most| self.traces.len() as u64 > most) {
            self.relieve_one(Early::NumTraces, now);
        }
    }

    /// At span ingest: a yes or a drop is final at once.
    fn judge_touched(&mut self, now: UnixNanos) {
        let mut touched = std::mem::take(&mut self.touched);
        touched.sort_unstable();
        touched.dedup();
        for slot in touched.drain(..) {
            if self.traces.live(slot).is_none() {
                continue;
            }
            let rules = Rules { fallback: Fallback::Drop, ..self.settings.rules };
            let decision = self.vote(slot, rules, now);
            if decision.kept || matches!(decision.why, Why::DroppedBy(_)) {
                self.conclude(slot, decision, now);
            }
        }
        self.touched = touched;
    }

    fn accept_late(&mut self, past: Past, coming: &Coming<'_>, now: UnixNanos) {
        let run = coming.run;
        match past {
            Past::Dropped => {
                self.counts.late_dropped += 1;
                self.counts.sampled_out += u64::from(run.spans);
            }
            Past::Kept(kept) => {
                self.counts.late_kept += 1;
                self.counts.late_ages.push(now.since(kept.decided_at));
                self.counts.released += u64::from(run.spans);
                self.gathering.add(coming.held, run.scope, coming.spans());
            }
        }
    }

    fn vote(&mut self, slot: u32, rules: Rules, now: UnixNanos) -> Decision {
        let summary = self.traces.at(slot).summary;
        let mut ballot = Ballot { meters: &mut self.meters, votes: &mut self.counts.votes, now };
        decide(&self.settings.policies, rules, &summary, &mut ballot)
    }

    fn decide_slot(&mut self, slot: u32, cause: Cause, now: UnixNanos) {
        let decision = match (self.settings.strategy, self.settings.rules.fallback) {
            (Strategy::TraceComplete, _) => self.vote(slot, self.settings.rules, now),
            (Strategy::SpanIngest, Fallback::Drop) => Decision::dropped(Why::NoMatch),
            (Strategy::SpanIngest, Fallback::Keep) => Decision { kept: true, why: Why::NoMatch, weight: 1.0 },
        };
        if let Cause::Early(early) = cause {
            self.counts.early(early, decision.kept);
        }
        self.conclude(slot, decision, now);
    }

    /// Carries a decision out and remembers it.
    fn conclude(&mut self, slot: u32, decision: Decision, now: UnixNanos) {
        let trace = *self.traces.at(slot);
        let id = trace.summary.trace_id;
        self.traces.remove(slot);
        self.counts.decided(Verdict { trace_id: id, decision, spans: trace.summary.spans, at: now });
        self.counts.removal_ages.push(now.since(trace.first_seen));
        self.counts.fragments_without_root += u64::from(!trace.has_root);
        if decision.kept {
            self.decided.remember_kept(&id, Kept { decision, decided_at: now });
            self.release(trace.last);
        } else {
            self.decided.remember_dropped(&id);
            self.discard(trace.last);
        }
    }

    fn discard(&mut self, last: RunAt) {
        let mut at = last;
        while !at.is_none() {
            let header = self.store.free(at);
            self.groups.free(header.group);
            self.counts.sampled_out += u64::from(header.spans);
            at = header.previous;
        }
    }

    fn release(&mut self, last: RunAt) {
        let mut at = last;
        self.scratch.begin();
        while !at.is_none() {
            let header = self.store.header(at);
            if let Some(held) = self.groups.get(header.group) {
                self.gathering.add(held, header.scope, self.store.spans(at));
            }
            self.store.spans(at).for_each(|span| self.scratch.note(span));
            self.store.free(at);
            self.groups.free(header.group);
            self.counts.released += u64::from(header.spans);
            at = header.previous;
        }
        self.counts.fragments_with_orphans += u64::from(self.scratch.has_orphans());
        if self.gathering.is_full() {
            self.close_gathering();
        }
    }

    fn close_gathering(&mut self) {
        if !self.gathering.is_empty() {
            self.parcels.push_back(self.gathering.finish());
        }
    }

    /// The next parcel to deliver.
    pub fn take_parcel(&mut self) -> Option<Parcel> {
        self.parcels.pop_front()
    }

    pub fn has_parcels(&self) -> bool {
        !self.parcels.is_empty()
    }

    /// Puts back a parcel that could not be handed on.
    pub fn return_parcel(&mut self, parcel: Parcel) {
        self.parcels.push_front(parcel);
    }

    /// True while closed parcels wait, so that nothing further should be decided or taken in.
    pub fn is_backed_up(&self) -> bool {
        self.parcels.len() >= PARCELS_MAX
    }

    /// When there is something to decide next.
    pub fn next_due(&self) -> Option<UnixNanos> {
        let taken = self.due.front().map(|(tick, _)| self.wheel.time_of(*tick));
        taken.into_iter().chain(self.wheel.next_due()).min()
    }

    /// Turns the wheel to `now`. Also before anything is filed: a wheel that stood still while nothing came has no place
    /// for a whole wait ahead, and would clamp it.
    fn advance(&mut self, now: UnixNanos) {
        self.wheel.take_due(now, &mut self.taken);
        if !self.taken.is_empty() {
            self.due.extend(self.taken.drain(..));
            // What pressure took ahead of its time may stand before entries that are due earlier.
            self.due.make_contiguous().sort_by_key(|(tick, _)| *tick);
        }
    }

    /// Decides up to `most` traces whose wait is over; true when some are left.
    pub fn decide_due(&mut self, now: UnixNanos, most: usize) -> bool {
        self.advance(now);
        let mut left = most;
        while let Some((tick, entry)) = self.due.front().copied() {
            if self.wheel.time_of(tick) > now {
                break;
            }
            if left == 0 || self.is_backed_up() {
                return true;
            }
            self.due.pop_front();
            if self.traces.due(entry, tick).is_some() {
                self.decide_slot(entry.slot, Cause::Due, now);
                left -= 1;
            }
        }
        self.close_gathering();
        false
    }

    /// Decides early until about `bytes` are free: what is heavy first, then what is oldest.
    pub fn relieve(&mut self, bytes: u64, now: UnixNanos) {
        self.sort_heavy(now);
        let target = self.store.live().saturating_sub(bytes);
        while self.store.live() > target && !self.is_backed_up() {
            if !self.relieve_one(Early::Memory, now) {
                break;
            }
        }
        self.close_gathering();
    }

    /// Lightest first, so that the heaviest can be popped. Weight grows with age, up to fivefold over a whole wait.
    fn sort_heavy(&mut self, now: UnixNanos) {
        let wait = self.settings.decision_wait.as_secs_f64().max(0.001);
        let traces = &self.traces;
        let alive = |entry: &Entry| traces.live(entry.slot).is_some_and(|trace| trace.generation == entry.generation);
        self.heavy.retain(alive);
        self.heavy.sort_by_key(|entry| {
            let trace = traces.at(entry.slot);
            let age = now.since(trace.first_seen).as_secs_f64() / wait;
            (trace.held as f64 * (1.0 + 4.0 * age.min(1.0))) as u64
        });
    }

    /// Decides one trace before its time; false when there is none.
    fn relieve_one(&mut self, early: Early, now: UnixNanos) -> bool {
        if early == Early::Memory
            && let Some(entry) = self.heavy.pop()
        {
            if self.traces.live(entry.slot).is_some_and(|trace| trace.generation == entry.generation) {
                self.decide_slot(entry.slot, Cause::Early(early), now);
            }
            return true;
        }
        loop {
            if self.due.is_empty() {
                self.wheel.take_oldest(&mut self.taken);
                self.due.extend(self.taken.drain(..));
            }
            let Some((tick, entry)) = self.due.pop_front() else { return false };
            if self.traces.due(entry, tick).is_some() {
                self.decide_slot(entry.slot, Cause::Early(early), now);
                return true;
            }
        }
    }

    /// Moves what is left in thinly used chunks together; at most two chunks a call.
    pub fn compact(&mut self) {
        for _ in 0..2 {
            let Some(chunk) = self.store.sparsest() else { return };
            for owner in self.store.owners(chunk) {
                if let Some(last) = self.traces.live(owner).map(|trace| trace.last) {
                    let moved = self.store.move_out(chunk, last);
                    self.traces.at_mut(owner).last = moved;
                }
            }
        }
    }

    /// Ends every trace: decided on what is there, or dropped, as configured. True when more are left to do.
    pub fn finish(&mut self, now: UnixNanos, most: usize) -> bool {
        for _ in 0..most {
            let Some(slot) = self.traces.next_live(self.finished) else { break };
            if self.is_backed_up() {
                return true;
            }
            self.finished = slot + 1;
            match self.settings.at_shutdown {
                AtShutdown::Decide => self.decide_slot(slot, Cause::Early(Early::Shutdown), now),
                AtShutdown::Drop => self.abandon(slot),
            }
        }
        self.close_gathering();
        !self.traces.is_empty()
    }

    /// Drops everything undecided without a verdict; for `drop_pending_traces_on_shutdown` and a drain that ran out of time.
    pub fn abandon_all(&mut self) {
        let mut next = 0;
        while let Some(slot) = self.traces.next_live(next) {
            self.abandon(slot);
            next = slot + 1;
        }
    }

    fn abandon(&mut self, slot: u32) {
        let last = self.traces.at(slot).last;
        let spans = self.traces.at(slot).summary.spans;
        self.traces.remove(slot);
        let before = self.counts.sampled_out;
        self.discard(last);
        self.counts.sampled_out = before;
        self.counts.abandoned += spans;
    }

    /// Checks the struct's invariants; for tests.
    pub fn invariants(&self) -> bool {
        self.store.invariants() && (!self.traces.is_empty() || self.store.live() == 0)
    }
}

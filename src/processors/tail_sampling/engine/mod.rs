//! The heart of a shard: files runs under their traces, decides those that are due, gathers what was kept.
//!
//! Pure: time comes in, parcels and counts go out; it never waits and knows no task, no channel and no account. `shard`
//! owns the clock and the queue. How runs come in is in `filing`, what ends before its time in `relief`.

mod filing;
mod logged;
pub mod looking;
mod recording;
mod relief;
mod renewal;
mod shadowing;
mod together;

pub use crate::processors::tail_sampling::engine::logged::ToLog;
pub use crate::processors::tail_sampling::engine::shadowing::ShadowJudge;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;

use crate::core::data::budget::Ticket;
use crate::core::data::settlement::ItemEnd;
use crate::core::time::UnixNanos;
use crate::processors::tail_sampling::advice::sizes::ShardSizes;
use crate::processors::tail_sampling::clock::Stopwatch;
use crate::processors::tail_sampling::config::{SamplingSettings, Strategy};
use crate::processors::tail_sampling::decided::cache::{Decided, Kept, remembered};
use crate::processors::tail_sampling::decided::completeness;
use crate::processors::tail_sampling::engine::filing::KnownTrace;
use crate::processors::tail_sampling::engine::recording::{Verdict, measured};
use crate::processors::tail_sampling::engine::renewal::EarlierPolicies;
use crate::processors::tail_sampling::held::groups::HeldGroups;
use crate::processors::tail_sampling::held::store::{RunAt, SpanStore};
use crate::processors::tail_sampling::held::traces::Traces;
use crate::processors::tail_sampling::held::wheel::{DueTrace, Wheel};
use crate::processors::tail_sampling::journal::record::{Orphans, RecordedTrigger};
use crate::processors::tail_sampling::journal::ring::{DecisionJournal, JournalRing};
use crate::processors::tail_sampling::policies::circumstances::Chance;
use crate::processors::tail_sampling::policies::decision::{Decision, Fallback, PolicySet, Why};
use crate::processors::tail_sampling::policies::meter::RateMeters;
use crate::processors::tail_sampling::release::gather::{Gathering, Parcel};
use crate::processors::tail_sampling::report::counts::ShardCounts;
use crate::processors::tail_sampling::report::early::Early;
use crate::processors::tail_sampling::summaries::judge::PolicyJudge;
use crate::processors::tail_sampling::weights::marking::{KeptWeight, SpanMarker};

/// Why a trace is decided now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecisionTrigger {
    /// Its wait is over.
    Due,
    Early(Early),
}

/// What is told of an undecided trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    pub first_seen: UnixNanos,
    /// When it is decided at the latest; pressure, or the root where it is waited for, decides sooner.
    pub due: UnixNanos,
    pub spans: u64,
    /// In the store.
    pub bytes: u64,
    pub has_root: bool,
}

/// Limits of one shard.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Undecided traces.
    pub traces: Option<u64>,
    /// A trace holding more than this is decided at once.
    pub giant_bytes: u64,
    /// Empty chunks kept for reuse.
    pub spare_bytes: u64,
}

/// A trace larger than this share of the account is decided at once.
const GIANT_SHARE: u64 = 8;
/// The share of the account that may be empty chunks kept for reuse: what a tick of the wheel frees at a steady load.
const SPARE_SHARE: u64 = 32;

impl Bounds {
    /// Of one shard beside an account of so many bytes.
    pub fn of(settings: &SamplingSettings, account_max: u64) -> Bounds {
        Bounds {
            traces: settings.num_traces.map(|count| count.div_ceil(settings.shards as u64)),
            giant_bytes: account_max / GIANT_SHARE,
            spare_bytes: account_max / SPARE_SHARE / settings.shards as u64,
        }
    }
}

/// Traces and their bytes. Invariant: every span taken in is held, gathered, or counted as released or sampled out.
pub struct Engine {
    settings: SamplingSettings,
    bounds: Bounds,
    traces: Traces,
    store: SpanStore,
    groups: HeldGroups,
    wheel: Wheel,
    /// Entries taken from the wheel, oldest first; the tick is the one they were filed under.
    due: VecDeque<(u64, DueTrace)>,
    taken: Vec<(u64, DueTrace)>,
    /// Traces that once grew heavy: pressure looks at them first.
    heavy: Vec<DueTrace>,
    decided: Decided,
    meters: Arc<RateMeters>,
    gathering: Gathering,
    parcels: VecDeque<Parcel>,
    touched: Vec<u32>,
    known: Vec<KnownTrace>,
    scratch: completeness::Scratch,
    /// Traces ended so far, so that what was looked up before can be told from what is true now.
    concluded: u64,
    /// Decisions taken so far; of some the policies' time is measured.
    asked: u64,
    watch: Stopwatch,
    thinned_out: UnixNanos,
    /// Slots below this were ended by [`Engine::finish`].
    finished: u32,
    /// Where verdicts are logged: those that wait for it.
    to_log: Option<ToLog>,
    /// When the request that is filed arrived, if that was in an earlier process.
    since: Option<UnixNanos>,
    /// Requests have come that stand in a record, whose reader may change.
    may_be_taken_over: bool,
    earlier: EarlierPolicies,
    /// Judged beside the policies, without effect.
    pub shadow: Option<ShadowJudge>,
    /// Handed over by the shard about once a second.
    pub sizes: ShardSizes,
    pub counts: ShardCounts,
    /// Published by the shard once a step.
    pub journal: DecisionJournal,
    marker: SpanMarker,
    /// Spans on their way to the marker.
    unmarked: Vec<u8>,
}

/// A wheel that reaches as far as a wait, and a tick more.
fn wheel_for(settings: &SamplingSettings, now: UnixNanos) -> Wheel {
    Wheel::new(settings.decision_wait + Duration::from_millis(20), now)
}

/// Beyond this many closed parcels nothing more is decided: the verdict waits with its trace.
const PARCELS_MAX: usize = 2;

/// Of so many decisions one is measured: reading the clock takes longer than most policies.
pub const MEASURED_EVERY: u64 = 64;

impl Engine {
    /// `watch` is read for nothing but the time that policies take.
    /// `meters` are shared by all shards of a sampler.
    pub fn new(
        settings: SamplingSettings,
        meters: Arc<RateMeters>,
        bounds: Bounds,
        seed: RandomState,
        (now, watch): (UnixNanos, Stopwatch),
    ) -> Engine {
        let shards = settings.shards;
        let divided = |count: usize| count.div_ceil(shards);
        Engine {
            bounds,
            traces: Traces::new(seed),
            store: SpanStore::new(bounds.spare_bytes),
            groups: HeldGroups::default(),
            wheel: wheel_for(&settings, now),
            due: VecDeque::new(),
            taken: Vec::new(),
            heavy: Vec::new(),
            decided: Decided::new(
                divided(settings.kept_remembered),
                divided(settings.dropped_remembered),
                Ticket::free,
            ),
            meters,
            gathering: Gathering::default(),
            parcels: VecDeque::new(),
            touched: Vec::new(),
            known: Vec::new(),
            scratch: completeness::Scratch::default(),
            concluded: 0,
            asked: 0,
            watch,
            thinned_out: now,
            finished: 0,
            to_log: None,
            since: None,
            may_be_taken_over: false,
            earlier: EarlierPolicies::default(),
            shadow: ShadowJudge::of(&settings, now),
            sizes: ShardSizes::default(),
            counts: ShardCounts::new(settings.policies.len()),
            marker: SpanMarker::new(settings.weights, settings.weight_attributes),
            unmarked: Vec::new(),
            journal: DecisionJournal::new(JournalRing::new(settings.journal_bytes(u64::MAX), Ticket::free)),
            settings,
        }
    }

    /// Undecided traces.
    pub fn traces(&self) -> u64 {
        self.traces.len() as u64
    }

    /// An undecided trace by its id.
    pub fn held(&self, trace_id: &[u8; 16]) -> Option<Held> {
        let trace = self.traces.at(self.traces.find(self.traces.hash(trace_id), trace_id)?);
        Some(Held {
            first_seen: trace.first_seen,
            due: self.wheel.time_of(trace.tick),
            spans: trace.summary.spans,
            bytes: trace.held,
            has_root: trace.has_root,
        })
    }

    /// Bytes of undecided spans.
    pub fn live_bytes(&self) -> u64 {
        self.store.live()
    }

    /// Bytes held, without what pays for itself: groups, the journal, and what is remembered of decided traces.
    pub fn footprint(&self) -> u64 {
        let tables = self.traces.footprint() + self.wheel.footprint() + self.groups.footprint();
        let parcels: u64 = self.parcels.iter().map(|parcel| parcel.bytes).sum();
        self.store.footprint() + tables + self.gathering.footprint() + parcels + self.lists_footprint()
    }

    /// Of the lists that the engine works with.
    fn lists_footprint(&self) -> u64 {
        let due = (self.due.capacity() + self.taken.capacity()) * size_of::<(u64, DueTrace)>();
        let heavy = self.heavy.capacity() * size_of::<DueTrace>();
        let known = self.known.capacity() * size_of::<KnownTrace>();
        let touched = self.touched.capacity() * size_of::<u32>();
        (due + heavy + known + touched + self.unmarked.capacity()) as u64
    }

    /// Remembers decided traces beside a budget of so many bytes, on tickets of it.
    pub fn remember_within(&mut self, budget: u64, ticket: impl Fn() -> Ticket) {
        let SamplingSettings { shards, kept_remembered, dropped_remembered, .. } = self.settings;
        let (kept, dropped) = remembered(budget, (kept_remembered, dropped_remembered));
        self.decided = Decided::new(kept.div_ceil(shards), dropped.div_ceil(shards), ticket);
    }

    fn vote(&mut self, slot: u32, rules: PolicySet, now: UnixNanos) -> Verdict {
        self.asked += 1;
        self.refresh(slot);
        let watch = self.asked.is_multiple_of(MEASURED_EVERY).then_some(self.watch);
        let drawn = self.draw(slot);
        let judge = PolicyJudge { settings: &self.settings, rules, meters: &self.meters };
        let decided = judge.decide(&drawn, &mut self.counts.votes, (now, watch));
        let weighed = self.settings.weights.is_on();
        let chance = if weighed { Chance::Shared(drawn.draw.randomness) } else { Chance::Salted };
        let shadow = self.shadow.as_mut().map(|shadow| shadow.judge(&self.settings, &drawn.summary, chance, now));
        Verdict { shadow, ..Verdict::of(&decided, weighed.then_some(drawn.draw.randomness)) }
    }

    fn decide_slot(&mut self, slot: u32, cause: DecisionTrigger, now: UnixNanos) {
        if self.let_go_of(slot) {
            return;
        }
        let verdict = match (self.settings.strategy, self.settings.rules.fallback) {
            (Strategy::TraceComplete, _) => self.vote(slot, self.settings.rules, now),
            (Strategy::SpanIngest, Fallback::Drop) => Verdict::unasked(Decision::dropped(Why::NoMatch)),
            (Strategy::SpanIngest, Fallback::Keep) => Verdict::unasked(Decision::kept(Why::NoMatch)),
        };
        if let DecisionTrigger::Early(early) = cause {
            self.counts.early(early, verdict.decision.kept);
        }
        self.conclude(slot, verdict, self.trigger_of(slot, cause), now);
    }

    /// Carries a decision out and remembers it.
    fn conclude(&mut self, slot: u32, verdict: Verdict, trigger: RecordedTrigger, now: UnixNanos) {
        let mut record = self.record(slot, &verdict, trigger, now);
        if let Some(shadow) = verdict.shadow {
            self.compare(slot, verdict.decision, shadow);
        }
        let decision = verdict.decision;
        let trace = self.traces.at(slot);
        let (id, last) = (trace.summary.trace_id, trace.last);
        self.counts.decided(&record, verdict.in_favour);
        self.counts.removal_ages.record(now.since(trace.first_seen));
        self.sizes.decided(&measured(trace), &record.services);
        self.counts.fragments_without_root += u64::from(!trace.has_root);
        let hash = self.traces.hash(&id);
        self.traces.remove(slot, hash);
        self.concluded += 1;
        self.note_verdict(id, decision, now);
        if decision.kept {
            let weight = verdict.weighing.map_or(KeptWeight::UNKNOWN, |(_, weight)| weight);
            self.counts.weighed(verdict.weighing.map(|_| weight));
            let kept = Kept { decision, version: self.settings.version, decided_at: now, weight };
            self.decided.remember_kept(hash, &id, kept);
            record.orphans = if self.release(last, &kept) { Orphans::Some } else { Orphans::None };
        } else {
            self.decided.remember_dropped(hash);
            self.counts.sampled_out += self.discard(last, ItemEnd::SampledOut);
        }
        self.journal.decided(&record);
    }

    /// Ends the spans of a trace; says how many there were.
    fn discard(&mut self, last: RunAt, end: ItemEnd<'_>) -> u64 {
        let (mut at, mut spans) = (last, 0);
        while !at.is_none() {
            let header = self.store.free(at);
            let share = self.groups.get(header.group).map(|held| held.take(u64::from(header.spans)));
            match share {
                Some(share) if end == ItemEnd::SampledOut => self.sample_out(share),
                Some(share) => share.end(end),
                None => {}
            }
            self.groups.free(header.group);
            spans += u64::from(header.spans);
            at = header.previous;
        }
        spans
    }

    /// Hands the spans of a trace on; says whether parents of some are missing.
    fn release(&mut self, last: RunAt, kept: &Kept) -> bool {
        let mut at = last;
        self.scratch.begin();
        while !at.is_none() {
            let header = self.store.header(at);
            if let Some(held) = self.groups.get(header.group) {
                let wire = self.store.wire(at);
                let (marker, policy) = (&mut self.marker, self.settings.winner(kept.decision.why));
                let write = |out: &mut Vec<u8>| marker.write((wire, header.has_states), kept.weight, policy, out);
                self.gathering.add(held, header.scope, u64::from(header.spans), write);
            }
            self.store.spans(at).for_each(|span| self.scratch.note(span));
            self.store.free(at);
            self.groups.free(header.group);
            self.counts.released += u64::from(header.spans);
            at = header.previous;
            if self.gathering.is_overfull() {
                self.close_gathering();
            }
        }
        // Between two traces, so that a death between two requests leaves each whole.
        if self.gathering.is_full() {
            self.close_gathering();
        }
        let has_orphans = self.scratch.has_orphans();
        self.counts.fragments_with_orphans += u64::from(has_orphans);
        has_orphans
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
        if self.taken.is_empty() {
            return;
        }
        let waiting = !self.due.is_empty();
        self.due.extend(self.taken.drain(..));
        if waiting {
            // What pressure took ahead of its time may stand before entries that are due earlier.
            self.due.make_contiguous().sort_by_key(|(tick, _)| *tick);
        }
    }

    /// True when a wait is over.
    pub fn is_due(&self, now: UnixNanos) -> bool {
        self.next_due().is_some_and(|due| due <= now)
    }

    /// Decides up to `most` traces whose wait is over; true when some are left.
    pub fn decide_due(&mut self, now: UnixNanos, most: usize) -> bool {
        self.advance(now);
        if self.settings.weights.is_on() && !self.meters.is_empty() {
            return self.decide_due_together(now, most);
        }
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
                self.decide_slot(entry.slot, DecisionTrigger::Due, now);
                left -= 1;
            }
        }
        self.close_gathering();
        false
    }

    /// Checks the struct's invariants; for tests.
    pub fn invariants(&self) -> bool {
        self.store.invariants() && (!self.traces.is_empty() || self.store.live() == 0)
    }
}

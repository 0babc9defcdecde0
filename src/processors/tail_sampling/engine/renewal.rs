//! Another set of policies while traces are held: they are decided by the newest set, without one being lost or decided twice.
//!
//! The bits of a trace answer the questions of the set it was read for. A trace of another set than the present one is read
//! again from its own spans when it is decided, so that the swap itself costs a walk over the traces only where their waits
//! change.

use std::sync::Arc;
use std::time::Duration;

use crate::core::time::UnixNanos;
use crate::processors::tail_sampling::config::{SamplingSettings, winner};
use crate::processors::tail_sampling::decided::cache::Kept;
use crate::processors::tail_sampling::engine::{Bounds, Engine, ShadowJudge, wheel_for};
use crate::processors::tail_sampling::held::rereading::GroupBits;
use crate::processors::tail_sampling::held::store::RunAt;
use crate::processors::tail_sampling::held::traces::Trace;
use crate::processors::tail_sampling::held::wheel::{DueTrace, Wheel};
use crate::processors::tail_sampling::policies::Policy;
use crate::processors::tail_sampling::policies::meter::RateMeters;
use crate::processors::tail_sampling::policies::predicates::LeafBits;
use crate::processors::tail_sampling::report::counts::ShardCounts;
use crate::processors::tail_sampling::weights::marking::SpanMarker;

/// Earlier sets whose names late spans may still carry.
const NAMED_SETS_MAX: usize = 8;

/// The policies of earlier sets by their version, newest first.
#[derive(Default)]
pub(super) struct EarlierPolicies(Vec<(u16, Arc<Vec<Policy>>)>);

impl Engine {
    /// The version of the set by which it decides.
    pub fn version(&self) -> u16 {
        self.settings.version
    }

    /// Decides by other settings from now on. The counts must have been taken: they begin anew, by the new policies' places.
    /// Shards, caches and the strategy are as they were.
    pub fn adopt(&mut self, settings: SamplingSettings, meters: Arc<RateMeters>, bounds: Bounds, now: UnixNanos) {
        let old = std::mem::replace(&mut self.settings, settings);
        self.earlier.0.insert(0, (old.version, old.policies.clone()));
        self.earlier.0.truncate(NAMED_SETS_MAX);
        self.meters = meters;
        self.bounds = bounds;
        self.marker = SpanMarker::new(self.settings.weights, self.settings.weight_attributes);
        self.shadow = ShadowJudge::of(&self.settings, now);
        self.counts = ShardCounts::new(self.settings.policies.len());
        if old.decision_wait != self.settings.decision_wait {
            self.file_anew(&old, now);
        }
    }

    /// Gives every held trace its place in a wheel of the new wait. What its root made shorter stays as short.
    fn file_anew(&mut self, old: &SamplingSettings, now: UnixNanos) {
        let new_wait = self.settings.decision_wait;
        self.schedule_anew(now, |trace, before| {
            let whole = before.tick_of(trace.first_seen.saturating_add(old.decision_wait));
            let deadline = trace.first_seen.saturating_add(new_wait);
            let is_shorter = trace.has_root && trace.tick < whole;
            if is_shorter { deadline.min(before.time_of(trace.tick)) } else { deadline }
        });
    }

    /// Every held trace is due so much later: what it waits for was held up for as long.
    pub fn postpone(&mut self, by: Duration, now: UnixNanos) {
        self.schedule_anew(now, |trace, before| before.time_of(trace.tick).saturating_add(by));
    }

    /// Another wheel, in which every held trace is due as `deadline` has it of the one before.
    fn schedule_anew(&mut self, now: UnixNanos, deadline: impl Fn(&Trace, &Wheel) -> UnixNanos) {
        let before = std::mem::replace(&mut self.wheel, wheel_for(&self.settings, now));
        self.due.clear();
        let mut next = 0;
        while let Some(slot) = self.traces.next_live(next) {
            next = slot + 1;
            let trace = self.traces.at(slot);
            let entry = DueTrace { slot, generation: trace.generation };
            let tick = self.wheel.schedule(deadline(trace, &before), entry);
            self.traces.at_mut(slot).tick = tick;
        }
    }

    /// Reads a held trace again where its bits answer the questions of another set.
    pub(super) fn refresh(&mut self, slot: u32) {
        let trace = self.traces.at(slot);
        let version = self.settings.version;
        if trace.version == version {
            return;
        }
        let (mut at, mut bits) = (trace.last, LeafBits::NONE);
        while !at.is_none() {
            at = self.refresh_run(at, &mut bits);
        }
        let trace = self.traces.at_mut(slot);
        (trace.summary.bits, trace.version) = (bits, version);
    }

    /// Returns the run before it.
    fn refresh_run(&mut self, at: RunAt, bits: &mut LeafBits) -> RunAt {
        let header = self.store.header(at);
        let leaves = &self.settings.leaves;
        let of_group = self.groups.bits(header.group, self.settings.version, |held| GroupBits::of(leaves, held));
        if let (Some(of_group), Some(held)) = (of_group, self.groups.get(header.group)) {
            let (read, failures) = of_group.with_spans(leaves, (held, header.scope), self.store.spans(at));
            bits.merge(&read);
            self.counts.evaluation_errors += failures;
        }
        header.previous
    }
}

impl EarlierPolicies {
    /// The policy that kept a trace, by the set that decided on it; empty where that is no longer known.
    pub fn winner<'a>(&'a self, settings: &'a SamplingSettings, kept: &Kept) -> &'a str {
        if kept.version == settings.version {
            return settings.winner(kept.decision.why);
        }
        let policies = self.0.iter().find(|(version, _)| *version == kept.version);
        policies.map_or("", |(_, policies)| winner(policies, kept.decision.why))
    }
}

//! What comes in: runs are filed under their traces, late spans follow the verdict, and span ingest judges at once.
//!
//! Apart from the rest of the core because every span passes here. Knows the requests' bytes only as runs that can write
//! themselves into the store.

use std::sync::Arc;
use std::time::Duration;

use crate::core::data::settlement::ItemEnd;
use crate::core::time::UnixNanos;
use crate::processors::tail_sampling::config::Strategy;
use crate::processors::tail_sampling::decided::cache::{Kept, Past};
use crate::processors::tail_sampling::engine::recording::Verdict;
use crate::processors::tail_sampling::engine::{DecisionTrigger, Engine};
use crate::processors::tail_sampling::held::admission::{AdmittedRequest, HeldGroup, SpanGroup};
use crate::processors::tail_sampling::held::groups::Filed;
use crate::processors::tail_sampling::held::store::RunHeader;
use crate::processors::tail_sampling::held::traces::Trace;
use crate::processors::tail_sampling::held::wheel::DueTrace;
use crate::processors::tail_sampling::journal::record::RecordedTrigger;
use crate::processors::tail_sampling::policies::decision::{Decision, Fallback, PolicySet, Why};
use crate::processors::tail_sampling::report::early::Early;
use crate::processors::tail_sampling::summaries::judge::is_too_large;

/// What is known of a run's trace.
#[derive(Clone, Copy)]
pub(super) struct KnownTrace {
    hash: u64,
    slot: Option<u32>,
    past: Option<Past>,
}

/// A run on its way in, with the resource and the items it refers to.
#[derive(Clone, Copy)]
struct Coming<'a> {
    run: &'a SpanGroup,
    held: &'a Arc<HeldGroup>,
    incoming: AdmittedRequest<'a>,
}

/// Longer ones count as some seven weeks.
fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

const HEAVY_BYTES: u64 = 256 << 10;
const HEAVY_MAX: usize = 1024;
/// Runs whose traces are looked up before the first of them is filed: many misses overlap, and what is found takes some 20 KiB
/// however large the request is.
const LOOKED_UP_AT_ONCE: usize = 256;

impl Engine {
    /// Files the runs of one request.
    pub fn accept(&mut self, incoming: AdmittedRequest<'_>, runs: &[SpanGroup], now: UnixNanos) {
        self.advance(now);
        let mut filed = self.groups.begin(incoming.groups);
        for runs in runs.chunks(LOOKED_UP_AT_ONCE) {
            self.accept_runs(incoming, runs, &mut filed, now);
        }
        self.groups.end(filed);
        self.judge_touched(now);
        self.close_gathering();
    }

    /// All traces are looked up before any is filed: each look misses the processor's cache, and misses overlap only when
    /// nothing stands between them.
    fn accept_runs(&mut self, incoming: AdmittedRequest<'_>, runs: &[SpanGroup], filed: &mut Filed, now: UnixNanos) {
        let mut known = std::mem::take(&mut self.known);
        known.clear();
        known.extend(runs.iter().map(|run| self.look_up(&run.trace_id)));
        let concluded = self.concluded;
        for (run, known) in runs.iter().zip(&known) {
            let known = if self.concluded == concluded { *known } else { self.look_up(&run.trace_id) };
            let held = &incoming.groups[run.group as usize];
            let coming = Coming { run, held, incoming };
            // An earlier run of the same request may have begun the trace.
            let slot = match known.slot.or_else(|| self.traces.find(known.hash, &run.trace_id)) {
                Some(slot) if !self.let_go_of(slot) => slot,
                _ => match known.past {
                    Some(past) => {
                        self.accept_late(past, known.hash, &coming, now);
                        continue;
                    }
                    None => self.open(known.hash, &coming, now),
                },
            };
            let group = self.groups.file(filed, run.group, held);
            self.file(slot, group, &coming, now);
            self.settle(slot, run, now);
        }
        self.known = known;
    }

    fn look_up(&self, id: &[u8; 16]) -> KnownTrace {
        let hash = self.traces.hash(id);
        let slot = self.traces.find(hash, id);
        let past = if slot.is_none() { self.decided.find(hash, id) } else { None };
        KnownTrace { hash, slot, past }
    }

    fn open(&mut self, hash: u64, coming: &Coming<'_>, now: UnixNanos) -> u32 {
        let seen = self.since.unwrap_or(now);
        let slot = self.traces.insert(hash, coming.run.trace_id, seen);
        let trace = self.traces.at_mut(slot);
        trace.version = coming.incoming.version;
        let generation = trace.generation;
        let deadline = seen.saturating_add(self.settings.decision_wait);
        let tick = self.wheel.schedule(deadline, DueTrace { slot, generation });
        self.traces.at_mut(slot).tick = tick;
        self.counts.new_traces += 1;
        slot
    }

    fn file(&mut self, slot: u32, group: u32, coming: &Coming<'_>, now: UnixNanos) {
        let Coming { run, held, incoming } = *coming;
        let trace = self.traces.at_mut(slot);
        if trace.version != incoming.version {
            trace.version = Trace::OUTDATED;
        }
        let mut bytes = u64::from(run.wire);
        if trace.group != group {
            bytes += held.overhead;
            trace.scope = u32::MAX;
        }
        if trace.scope != run.scope {
            bytes += held.scopes[run.scope as usize].overhead;
        }
        (trace.group, trace.scope) = (group, run.scope);
        trace.summary.merge(&run.summary(bytes));
        trace.held += run.cost();
        trace.has_root |= run.has_root;
        trace.has_states |= run.has_states;
        trace.spread_millis = millis(now.since(trace.first_seen));
        let header = RunHeader {
            previous: trace.last,
            owner: slot,
            group,
            scope: run.scope,
            spans: run.spans,
            has_states: run.has_states,
            length: 0,
        };
        trace.last = self.store.append(header, run.wire as usize, |out| coming.incoming.write(run, out));
    }

    /// What follows from a run that was just filed: an earlier wait, or a decision at once.
    fn settle(&mut self, slot: u32, run: &SpanGroup, now: UnixNanos) {
        let trace = self.traces.at(slot);
        let entry = DueTrace { slot, generation: trace.generation };
        if is_too_large(&self.settings, &trace.summary) {
            self.counts.too_large += 1;
            let verdict = Verdict::unasked(Decision::dropped(Why::TooLarge));
            return self.conclude(slot, verdict, RecordedTrigger::Size, now);
        }
        if trace.held > self.bounds.giant_bytes {
            return self.decide_slot(slot, DecisionTrigger::Early(Early::Giant), now);
        }
        if trace.held > HEAVY_BYTES && trace.held - run.cost() <= HEAVY_BYTES && self.heavy.len() < HEAVY_MAX {
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
            let rules = PolicySet { fallback: Fallback::Drop, ..self.settings.rules };
            let verdict = self.vote(slot, rules, now);
            if verdict.decision.kept || matches!(verdict.decision.why, Why::DroppedBy(_)) {
                self.conclude(slot, verdict, RecordedTrigger::Arrival, now);
            }
        }
        self.touched = touched;
    }

    /// Late spans carry the weight of their trace, known or not.
    fn gather_late(&mut self, coming: &Coming<'_>, kept: &Kept, spans: u64) {
        let (run, incoming) = (coming.run, coming.incoming);
        let (marker, unmarked) = (&mut self.marker, &mut self.unmarked);
        let policy = self.earlier.winner(&self.settings, kept);
        self.gathering.add(coming.held, run.scope, spans, |out| {
            if marker.is_on() {
                unmarked.clear();
                incoming.write(run, unmarked);
                marker.write((unmarked, run.has_states), kept.weight, policy, out);
            } else {
                incoming.write(run, out);
            }
        });
    }

    fn accept_late(&mut self, past: Past, hash: u64, coming: &Coming<'_>, now: UnixNanos) {
        let run = coming.run;
        match past {
            Past::Dropped => {
                self.counts.late_dropped += 1;
                self.record_late(run.trace_id, u64::from(run.spans), None, now);
                self.counts.sampled_out += u64::from(run.spans);
                coming.held.take(u64::from(run.spans)).end(ItemEnd::SampledOut);
            }
            Past::Kept(kept) => {
                self.decided.used(hash, &run.trace_id);
                self.counts.late_kept += 1;
                self.record_late(run.trace_id, u64::from(run.spans), Some(kept.decided_at), now);
                let late = now.since(kept.decided_at);
                self.counts.late_ages.record(late);
                let resource = coming.held.resource.as_deref().unwrap_or_default();
                self.sizes.late(self.journal.ring().number_of(resource), late.as_millis() as u64);
                self.counts.released += u64::from(run.spans);
                let spans = u64::from(run.spans);
                self.gather_late(coming, &kept, spans);
                if self.gathering.is_full() {
                    self.close_gathering();
                }
            }
        }
    }
}

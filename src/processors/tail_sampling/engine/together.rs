//! Decisions with weights: one trace for itself, or those of a tick together where limits cut among them.
//!
//! Only what `podgate: {weights: ...}` asks for goes this way. The reckoning itself stands in `weights`, which knows no shard.

use crate::core::time::UnixNanos;
use crate::processors::tail_sampling::engine::recording::Verdict;
use crate::processors::tail_sampling::engine::{DecisionTrigger, Engine, ShadowJudge};
use crate::processors::tail_sampling::held::store::RunAt;
use crate::processors::tail_sampling::summaries::judge::PolicyJudge;
use crate::processors::tail_sampling::weights::draw::TraceMarks;
use crate::processors::tail_sampling::weights::tick::DrawnTrace;

/// Traces decided together at most, and their bytes in the store: what they keep must fit into few parcels.
const TOGETHER_MAX: usize = 512;
const TOGETHER_BYTES_MAX: u64 = 2 << 20;
/// Spans of a trace whose trace states are read.
const SPANS_READ_MAX: usize = 64;

impl Engine {
    /// A held trace, and how chance falls for it.
    pub(super) fn draw(&self, slot: u32) -> DrawnTrace {
        let summary = self.traces.at(slot).summary;
        DrawnTrace { summary, draw: self.marks(slot).draw(&summary.trace_id) }
    }

    /// What samplers before wrote into its trace states; nobody asks unless weights are on.
    pub(super) fn marks(&self, slot: u32) -> TraceMarks {
        let trace = self.traces.at(slot);
        if !trace.has_states || !self.settings.weights.is_on() {
            return TraceMarks::default();
        }
        let mut at = trace.last;
        let mut runs = std::iter::from_fn(|| {
            let run: RunAt = at;
            (!run.is_none()).then(|| {
                at = self.store.header(run).previous;
                run
            })
        });
        let spans = runs.by_ref().flat_map(|run| self.store.spans(run)).take(SPANS_READ_MAX);
        TraceMarks::of_spans(spans)
    }

    /// As [`Engine::decide_due`], some hundred traces at a time.
    pub(super) fn decide_due_together(&mut self, now: UnixNanos, most: usize) -> bool {
        let mut left = most;
        loop {
            if left == 0 || self.is_backed_up() {
                return self.is_due(now);
            }
            let slots = self.take_together(now, left.min(TOGETHER_MAX));
            if slots.is_empty() {
                break;
            }
            left -= slots.len().min(left);
            slots.iter().for_each(|slot| self.refresh(*slot));
            let drawn: Vec<DrawnTrace> = slots.iter().map(|slot| self.draw(*slot)).collect();
            self.asked += drawn.len() as u64;
            let policies = PolicyJudge::new(&self.settings, &self.meters).consistent();
            let hopeless = &mut self.counts.cut_unrepresented;
            let decided = policies.decide_tick(&drawn, &mut self.counts.votes, now, hopeless);
            let judge = |judge: &mut ShadowJudge| judge.judge_tick(&self.settings, &drawn, now);
            let shadows = self.shadow.as_mut().map(judge).unwrap_or_default();
            let mut shadows = shadows.into_iter();
            for ((slot, drawn), decided) in slots.into_iter().zip(&drawn).zip(&decided) {
                let trigger = self.trigger_of(slot, DecisionTrigger::Due);
                let verdict = Verdict { shadow: shadows.next(), ..Verdict::of(decided, Some(drawn.draw.randomness)) };
                self.conclude(slot, verdict, trigger, now);
            }
        }
        self.close_gathering();
        false
    }

    /// Traces whose wait is over, as many as are decided together.
    fn take_together(&mut self, now: UnixNanos, most: usize) -> Vec<u32> {
        let (mut slots, mut bytes) = (Vec::with_capacity(most), 0);
        while let Some((tick, entry)) = self.due.front().copied() {
            if self.wheel.time_of(tick) > now || slots.len() == most || bytes >= TOGETHER_BYTES_MAX {
                break;
            }
            self.due.pop_front();
            if let Some(trace) = self.traces.due(entry, tick) {
                let held = trace.held;
                if self.let_go_of(entry.slot) {
                    continue;
                }
                bytes += held;
                // The root may have moved it to a tick that is due as well: it is decided once.
                if !slots.contains(&entry.slot) {
                    slots.push(entry.slot);
                }
            }
        }
        slots
    }
}

//! What goes before its time: early decisions under pressure, memory handed back, and the end of everything at shutdown.
//!
//! Nothing here throws a trace away unasked, except a shutdown that was told to or has no time left; that is counted by
//! cause. How much must go is told by the account's owner, the account itself is unknown here.

use std::time::Duration;

use crate::core::data::settlement::ItemEnd;
use crate::core::time::UnixNanos;
use crate::processors::tail_sampling::config::AtShutdown;
use crate::processors::tail_sampling::engine::{DecisionTrigger, Engine};
use crate::processors::tail_sampling::held::wheel::DueTrace;
use crate::processors::tail_sampling::report::counts::Undecided;
use crate::processors::tail_sampling::report::early::Early;

/// Longer than a tick of the wheel, after which chunks become free all at once.
const THIN_OUT_EVERY: Duration = Duration::from_secs(2);
/// Entries of idle space that lists of what is due keep.
const DUE_KEPT: usize = 4096;
/// Chunks emptied by one call, and links of traces' chains followed for it.
const COMPACTED_AT_ONCE: usize = 2;
const LINKS_AT_ONCE: usize = 1 << 16;

impl Engine {
    /// Decides early until about `bytes` are free: what is heavy first, then what is oldest. Chunks that nobody uses go
    /// before any trace.
    pub fn relieve(&mut self, bytes: u64, now: UnixNanos) {
        let bytes = bytes.saturating_sub(self.store.shed(bytes));
        if bytes == 0 {
            return;
        }
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
        let alive =
            |entry: &DueTrace| traces.live(entry.slot).is_some_and(|trace| trace.generation == entry.generation);
        self.heavy.retain(alive);
        self.heavy.sort_by_key(|entry| {
            let trace = traces.at(entry.slot);
            let age = now.since(trace.first_seen).as_secs_f64() / wait;
            (trace.held as f64 * (1.0 + 4.0 * age.min(1.0))) as u64
        });
    }

    /// Decides one trace before its time; false when there is none.
    pub(super) fn relieve_one(&mut self, early: Early, now: UnixNanos) -> bool {
        if early == Early::Memory
            && let Some(entry) = self.heavy.pop()
        {
            if self.traces.live(entry.slot).is_some_and(|trace| trace.generation == entry.generation) {
                self.decide_slot(entry.slot, DecisionTrigger::Early(early), now);
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
                self.decide_slot(entry.slot, DecisionTrigger::Early(early), now);
                return true;
            }
        }
    }

    /// Moves what is left in thinly used chunks together, a little at a time, and thins out the spare ones.
    pub fn tidy(&mut self, now: UnixNanos) {
        if now.since(self.thinned_out) >= THIN_OUT_EVERY {
            self.thinned_out = now;
            self.store.thin_out();
            self.traces.thin_out();
            let due = self.due.len().max(DUE_KEPT);
            self.due.shrink_to(due);
            self.taken.shrink_to(DUE_KEPT);
        }
        let mut links = LINKS_AT_ONCE;
        for _ in 0..COMPACTED_AT_ONCE {
            let Some(chunk) = self.store.sparse_chunk() else { return };
            for owner in self.store.owners(chunk) {
                if let Some(last) = self.traces.live(owner).map(|trace| trace.last) {
                    let moved = self.store.move_out(chunk, last, &mut links);
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
                AtShutdown::Decide => self.decide_slot(slot, DecisionTrigger::Early(Early::Shutdown), now),
                AtShutdown::Drop => self.abandon(slot, Undecided::Configured),
            }
        }
        self.close_gathering();
        !self.traces.is_empty()
    }

    /// Drops everything undecided without a verdict, when a drain ran out of time.
    pub fn abandon_all(&mut self) {
        let mut next = 0;
        while let Some(slot) = self.traces.next_live(next) {
            self.abandon(slot, Undecided::Deadline);
            next = slot + 1;
        }
    }

    /// Ends a trace without a verdict.
    pub(super) fn abandon(&mut self, slot: u32, cause: Undecided) {
        let trace = self.traces.at(slot);
        let (last, id) = (trace.last, trace.summary.trace_id);
        self.traces.remove(slot, self.traces.hash(&id));
        self.discard(last, ItemEnd::Dropped(cause.reason(), cause.name()));
        self.counts.undecided[cause as usize] += 1;
    }
}

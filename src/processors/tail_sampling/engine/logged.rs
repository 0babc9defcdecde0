//! Verdicts that have to be on disk before they are carried out: gathered here, taken by the shard, which waits.
//!
//! Until then sampled-out spans have no end. Kept ones wait in parcels, which the shard hands on after the verdicts.

use crate::core::data::settlement::{ItemEnd, Share};
use crate::core::time::UnixNanos;
use crate::processors::tail_sampling::decided::cache::Kept;
use crate::processors::tail_sampling::durable::verdicts::LoggedVerdict;
use crate::processors::tail_sampling::engine::{Engine, wheel_for};
use crate::processors::tail_sampling::held::admission::{AdmittedRequest, SpanGroup};
use crate::processors::tail_sampling::held::traces::Trace;
use crate::processors::tail_sampling::policies::decision::Decision;
use crate::processors::tail_sampling::report::counts::Undecided;
use crate::processors::tail_sampling::weights::marking::KeptWeight;

/// What waits for the log.
#[derive(Default)]
pub struct ToLog {
    pub verdicts: Vec<LoggedVerdict>,
    sampled_out: Vec<Share>,
}

impl ToLog {
    /// The verdicts are on disk.
    pub fn carry_out(self) {
        self.sampled_out.into_iter().for_each(|share| share.end(ItemEnd::SampledOut));
    }
}

impl Engine {
    /// From now on verdicts wait for the log.
    pub fn log_verdicts(&mut self) {
        self.to_log = Some(ToLog::default());
    }

    /// Verdicts since the last time; `None` when there are none.
    pub fn take_to_log(&mut self) -> Option<ToLog> {
        let waiting = self.to_log.as_mut().filter(|waiting| !waiting.verdicts.is_empty())?;
        Some(std::mem::take(waiting))
    }

    pub(super) fn note_verdict(&mut self, trace_id: [u8; 16], decision: Decision, decided_at: UnixNanos) {
        if let Some(waiting) = &mut self.to_log {
            waiting.verdicts.push(LoggedVerdict { trace_id, decision, decided_at });
        }
    }

    /// Ends spans by a verdict: at once, or when it is on disk.
    pub(super) fn sample_out(&mut self, share: Share) {
        match &mut self.to_log {
            Some(waiting) => waiting.sampled_out.push(share),
            None => share.end(ItemEnd::SampledOut),
        }
    }

    /// A verdict of an earlier process: the trace is not decided again.
    pub fn remember(&mut self, verdict: &LoggedVerdict) {
        let hash = self.traces.hash(&verdict.trace_id);
        let LoggedVerdict { decision, decided_at, .. } = *verdict;
        match decision.kept {
            true => {
                let kept = Kept { decision, version: Trace::OUTDATED, decided_at, weight: KeptWeight::UNKNOWN };
                self.decided.remember_kept(hash, &verdict.trace_id, kept);
            }
            false => self.decided.remember_dropped(hash),
        }
    }

    /// Begins at an earlier time: what an earlier process left is filed and decided as if it came now. Without effect once
    /// anything is held.
    pub fn begin_at(&mut self, then: UnixNanos) {
        if self.traces.is_empty() && self.due.is_empty() {
            self.wheel = wheel_for(&self.settings, then);
        }
    }

    /// As [`Engine::accept`], for a request that arrived `since`: traces it begins are decided as if it came then.
    pub fn accept_since(
        &mut self,
        incoming: AdmittedRequest<'_>,
        runs: &[SpanGroup],
        (since, now): (UnixNanos, UnixNanos),
    ) {
        self.since = Some(since.min(now));
        self.may_be_taken_over = true;
        self.accept(incoming, runs, now);
        self.since = None;
    }

    /// Lets go of a trace whose latest spans are somebody else's by now, and with them all of it: they stand in one partition,
    /// whose next owner sees them whole and decides. True when it did.
    pub(super) fn let_go_of(&mut self, slot: u32) -> bool {
        let is_taken_over = |last| {
            let header = self.store.header(last);
            self.groups.get(header.group).is_some_and(|held| held.is_taken_over())
        };
        let last = self.traces.at(slot).last;
        if !self.may_be_taken_over || last.is_none() || !is_taken_over(last) {
            return false;
        }
        self.abandon(slot, Undecided::TakenOver);
        self.concluded += 1;
        true
    }
}

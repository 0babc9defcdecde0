//! What a shard counts while it works: plain numbers, handed to the metrics once a step.

use std::collections::VecDeque;
use std::time::Duration;

use crate::core::time::UnixNanos;
use crate::processors::tail_sampling::decision::{Decision, Votes, Why};

/// Why a trace was decided before its wait was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Early {
    Memory,
    NumTraces,
    Giant,
    Shutdown,
}

impl Early {
    pub const ALL: [Early; 4] = [Early::Memory, Early::NumTraces, Early::Giant, Early::Shutdown];

    /// The label of the metric.
    pub fn name(self) -> &'static str {
        match self {
            Early::Memory => "memory",
            Early::NumTraces => "num_traces",
            Early::Giant => "giant_trace",
            Early::Shutdown => "shutdown",
        }
    }
}

/// A decision as the journal shows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    pub trace_id: [u8; 16],
    pub decision: Decision,
    pub spans: u64,
    pub at: UnixNanos,
}

/// Verdicts kept between two steps; the latest stay.
const VERDICTS_MAX: usize = 256;
/// Ages kept between two steps.
const AGES_MAX: usize = 4096;

/// Since the last step; taken by the shard.
#[derive(Default)]
pub struct Counts {
    pub new_traces: u64,
    pub votes: Vec<Votes>,
    pub kept: u64,
    pub not_kept: u64,
    pub dropped: u64,
    pub too_large: u64,
    /// By [`Early`], and how many of these were not kept.
    pub early: [u64; 4],
    pub early_not_kept: u64,
    pub late_kept: u64,
    pub late_dropped: u64,
    pub fragments_without_root: u64,
    pub fragments_with_orphans: u64,
    /// Spans.
    pub released: u64,
    pub sampled_out: u64,
    pub abandoned: u64,
    pub late_ages: Ages,
    pub removal_ages: Ages,
    pub verdicts: VecDeque<Verdict>,
}

/// A bounded list of durations.
#[derive(Default)]
pub struct Ages(Vec<Duration>);

impl Ages {
    pub fn push(&mut self, age: Duration) {
        if self.0.len() < AGES_MAX {
            self.0.push(age);
        }
    }

    pub fn drain(&mut self) -> impl Iterator<Item = Duration> + '_ {
        self.0.drain(..)
    }
}

impl Counts {
    pub fn new(policies: usize) -> Counts {
        Counts { votes: vec![Votes::default(); policies], ..Counts::default() }
    }

    pub fn early(&mut self, early: Early, kept: bool) {
        self.early[early as usize] += 1;
        self.early_not_kept += u64::from(!kept && matches!(early, Early::Memory | Early::NumTraces));
    }

    pub fn decided(&mut self, verdict: Verdict) {
        match (verdict.decision.kept, verdict.decision.why) {
            (true, _) => self.kept += 1,
            (false, Why::DroppedBy(_)) => self.dropped += 1,
            (false, _) => self.not_kept += 1,
        }
        if self.verdicts.len() == VERDICTS_MAX {
            self.verdicts.pop_front();
        }
        self.verdicts.push_back(verdict);
    }
}

//! What a shard counts while it works: plain numbers, handed to the metrics once a step.

use std::collections::VecDeque;
use std::time::Duration;

use crate::core::time::UnixNanos;
use crate::processors::tail_sampling::policies::decision::{CastVotes, Decision, Votes, Why};

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

/// Why a trace ended without a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undecided {
    /// `drop_pending_traces_on_shutdown`.
    Configured,
    /// The drain's deadline came first.
    Deadline,
}

impl Undecided {
    pub const ALL: [Undecided; 2] = [Undecided::Configured, Undecided::Deadline];

    /// The label of the metric.
    pub fn name(self) -> &'static str {
        match self {
            Undecided::Configured => "drop_pending_traces_on_shutdown",
            Undecided::Deadline => "drain_deadline",
        }
    }
}

/// A decision as the journal shows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JournalEntry {
    pub trace_id: [u8; 16],
    pub decision: Decision,
    pub votes: CastVotes,
    pub spans: u64,
    pub at: UnixNanos,
}

/// Verdicts kept between two steps; the latest stay.
const VERDICTS_MAX: usize = 256;
/// Bounds of the histograms of ages, in seconds.
pub const AGES: &[u64] = &[0, 1, 2, 5, 10, 20, 30, 60, 120, 300, 1800, 3600, 7200];

/// Since the last step; taken by the shard.
#[derive(Default)]
pub struct ShardCounts {
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
    /// Traces, by [`Undecided`].
    pub undecided: [u64; 2],
    pub late_ages: Ages,
    pub removal_ages: Ages,
    pub verdicts: VecDeque<JournalEntry>,
}

/// Durations by the buckets of [`AGES`]; the last is beyond all of them.
#[derive(Default)]
pub struct Ages {
    pub counts: [u64; AGES.len() + 1],
    /// Whole seconds.
    pub sum: u64,
}

impl Ages {
    pub fn record(&mut self, age: Duration) {
        let seconds = age.as_secs();
        self.counts[AGES.partition_point(|bound| *bound < seconds)] += 1;
        self.sum += seconds;
    }
}

impl ShardCounts {
    pub fn new(policies: usize) -> ShardCounts {
        ShardCounts { votes: vec![Votes::default(); policies], ..ShardCounts::default() }
    }

    pub fn early(&mut self, early: Early, kept: bool) {
        self.early[early as usize] += 1;
        self.early_not_kept += u64::from(!kept && matches!(early, Early::Memory | Early::NumTraces));
    }

    pub fn decided(&mut self, verdict: JournalEntry) {
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

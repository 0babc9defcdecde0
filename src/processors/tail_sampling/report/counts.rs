//! What a shard counts while it works: plain numbers, handed to the metrics once a step.

use std::time::Duration;

use crate::core::error::Reason;
use crate::processors::tail_sampling::journal::record::DecisionRecord;
use crate::processors::tail_sampling::journal::volume::SampledVolumes;
use crate::processors::tail_sampling::policies::decision::{Votes, Why};
use crate::processors::tail_sampling::report::early::Early;
use crate::processors::tail_sampling::weights::marking::KeptWeight;

/// Why a trace ended without a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undecided {
    /// `drop_pending_traces_on_shutdown`.
    Configured,
    /// The drain's deadline came first.
    Deadline,
    /// What was held of it has another reader, who decides it.
    TakenOver,
}

impl Undecided {
    pub const ALL: [Undecided; 3] = [Undecided::Configured, Undecided::Deadline, Undecided::TakenOver];

    /// The label of the metric.
    pub fn name(self) -> &'static str {
        match self {
            Undecided::Configured => "drop_pending_traces_on_shutdown",
            Undecided::Deadline => "drain_deadline",
            Undecided::TakenOver => "taken_over",
        }
    }

    pub fn reason(self) -> Reason {
        match self {
            Undecided::Configured | Undecided::Deadline => Reason::SHUTDOWN,
            Undecided::TakenOver => Reason::ABANDONED,
        }
    }
}

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
    pub undecided: [u64; Undecided::ALL.len()],
    pub late_ages: Ages,
    pub removal_ages: Ages,
    pub volumes: SampledVolumes,
    /// Kept traces by [`WEIGHT_KINDS`], with weights on.
    pub weights: [u64; WEIGHT_KINDS.len()],
    /// Traces that a limit cut off and that no kept trace stands for.
    pub cut_unrepresented: u64,
    /// Failed evaluations of conditions, of spans that were read again.
    pub evaluation_errors: u64,
}

/// What is known of the weights of kept traces; labels of the metric.
pub const WEIGHT_KINDS: [&str; 3] = ["known", "known_without_threshold", "unknown"];

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
        let volumes = SampledVolumes::new(policies);
        ShardCounts { votes: vec![Votes::default(); policies], volumes, ..ShardCounts::default() }
    }

    pub fn early(&mut self, early: Early, kept: bool) {
        self.early[early as usize] += 1;
        self.early_not_kept += u64::from(!kept && matches!(early, Early::Memory | Early::NumTraces));
    }

    /// The weight of a kept trace; `None` where weights are off.
    pub fn weighed(&mut self, weight: Option<KeptWeight>) {
        let Some(weight) = weight else { return };
        let kind = match (weight.known(), weight.threshold) {
            (Some(_), Some(_)) => 0,
            (Some(_), None) => 1,
            (None, _) => 2,
        };
        self.weights[kind] += 1;
    }

    /// `in_favour` policies voted for it.
    pub fn decided(&mut self, record: &DecisionRecord, in_favour: u16) {
        match (record.decision.kept, record.decision.why) {
            (true, _) => self.kept += 1,
            (false, Why::DroppedBy(_)) => self.dropped += 1,
            (false, _) => self.not_kept += 1,
        }
        self.volumes.note(record, in_favour);
    }
}

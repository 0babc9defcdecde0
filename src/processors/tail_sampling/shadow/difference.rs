//! What would become otherwise by the shadow policies: plain sums of one shard, handed over once a step.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::processors::tail_sampling::journal::volume::TraceVolume;
use crate::processors::tail_sampling::policies::decision::{Decision, Votes, Why};

/// How the two sets decided on a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShadowOutcome {
    Both,
    OnlyLive,
    OnlyShadow,
    Neither,
}

impl ShadowOutcome {
    pub const ALL: [ShadowOutcome; 4] =
        [ShadowOutcome::Both, ShadowOutcome::OnlyLive, ShadowOutcome::OnlyShadow, ShadowOutcome::Neither];

    pub fn of(live: Decision, shadow: Decision) -> ShadowOutcome {
        match (live.kept, shadow.kept) {
            (true, true) => ShadowOutcome::Both,
            (true, false) => ShadowOutcome::OnlyLive,
            (false, true) => ShadowOutcome::OnlyShadow,
            (false, false) => ShadowOutcome::Neither,
        }
    }

    /// The word of pages and metrics.
    pub fn name(self) -> &'static str {
        match self {
            ShadowOutcome::Both => "both",
            ShadowOutcome::OnlyLive => "only_live",
            ShadowOutcome::OnlyShadow => "only_shadow",
            ShadowOutcome::Neither => "neither",
        }
    }

    /// Place among those that change sides: lost by the shadow set, or gained.
    pub fn side(self) -> Option<usize> {
        match self {
            ShadowOutcome::OnlyLive => Some(0),
            ShadowOutcome::OnlyShadow => Some(1),
            ShadowOutcome::Both | ShadowOutcome::Neither => None,
        }
    }
}

/// Ids of traces that change sides, of each side, the latest.
const EXEMPLARS_MAX: usize = 8;

/// Lost and gained, of one service: its own spans and their bytes in the store, and the traces that have any.
pub type ServiceSides = [TraceVolume; 2];

/// Since the last step.
#[derive(Default)]
pub struct ShadowDifference {
    /// By [`ShadowOutcome`].
    pub outcomes: [TraceVolume; 4],
    /// By the number in the journal's list of services, which is bounded; only of traces that change sides.
    pub services: HashMap<u16, ServiceSides, RandomState>,
    /// By side, oldest first.
    pub exemplars: [Vec<[u8; 16]>; 2],
    /// Of each shadow policy, by its place.
    pub votes: Vec<Votes>,
    /// What each shadow policy would keep as the first that wants it.
    pub first: Vec<TraceVolume>,
}

impl ShadowDifference {
    pub fn new(policies: usize) -> ShadowDifference {
        let (votes, first) = (vec![Votes::default(); policies], vec![TraceVolume::default(); policies]);
        ShadowDifference { votes, first, ..ShadowDifference::default() }
    }

    pub fn note(&mut self, outcome: ShadowOutcome, shadow: Decision, volume: TraceVolume) {
        self.outcomes[outcome as usize].add(volume);
        if let (true, Why::Policy(place)) = (shadow.kept, shadow.why)
            && let Some(first) = self.first.get_mut(usize::from(place))
        {
            first.add(volume);
        }
    }

    pub fn exemplar(&mut self, side: usize, trace_id: [u8; 16]) {
        push_latest(&mut self.exemplars[side], trace_id);
    }

    /// Nothing was decided since the last step.
    pub fn is_empty(&self) -> bool {
        self.outcomes.iter().all(|volume| volume.traces == 0)
    }
}

/// Keeps the latest few.
pub fn push_latest(ids: &mut Vec<[u8; 16]>, id: [u8; 16]) {
    if ids.len() == EXEMPLARS_MAX {
        ids.remove(0);
    }
    ids.push(id);
}

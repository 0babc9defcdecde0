//! What each policy keeps and drops: traces, spans and bytes, and what would be gone without it.
//!
//! Plain sums, handed over by the shard once a step. Knows decisions, not the policies' rules.

use serde_json::{Value, json};

use crate::otlp::ids::push_hex;
use crate::processors::tail_sampling::journal::record::DecisionRecord;
use crate::processors::tail_sampling::policies::decision::Why;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceVolume {
    pub traces: u64,
    pub spans: u64,
    /// Size as the Collector counts it, resource and scope repeated for each of its `ResourceSpans`.
    pub bytes: u64,
}

impl TraceVolume {
    pub fn add(&mut self, other: TraceVolume) {
        self.traces += other.traces;
        self.spans += other.spans;
        self.bytes += other.bytes;
    }

    pub fn page(self) -> Value {
        json!({ "traces": self.traces, "spans": self.spans, "bytes": self.bytes })
    }
}

/// Of one policy.
#[derive(Clone, Copy, Debug, Default)]
struct PolicyVolume {
    /// Kept, and this policy was the first that voted for it.
    won: TraceVolume,
    /// Kept, and no other policy that was asked voted for it.
    alone: TraceVolume,
    dropped: TraceVolume,
    /// The latest of either outcome that this policy brought about.
    kept_id: Option<[u8; 16]>,
    dropped_id: Option<[u8; 16]>,
}

/// Of one sampler, or of one shard since its last step.
#[derive(Clone, Debug, Default)]
pub struct SampledVolumes {
    policies: Vec<PolicyVolume>,
    kept: TraceVolume,
    not_kept: TraceVolume,
    /// The latest trace that no policy voted for.
    unwanted_id: Option<[u8; 16]>,
}

impl SampledVolumes {
    pub fn new(policies: usize) -> SampledVolumes {
        SampledVolumes { policies: vec![PolicyVolume::default(); policies], ..SampledVolumes::default() }
    }

    pub fn note(&mut self, record: &DecisionRecord, in_favour: u16) {
        let summary = &record.summary;
        let volume = TraceVolume { traces: 1, spans: summary.spans, bytes: summary.bytes };
        let id = Some(summary.trace_id);
        if record.decision.kept {
            self.kept.add(volume);
        } else {
            self.not_kept.add(volume);
        }
        match record.decision.why {
            Why::Policy(place) => {
                let Some(policy) = self.policies.get_mut(usize::from(place)) else { return };
                policy.won.add(volume);
                policy.kept_id = id;
                if in_favour <= 1 {
                    policy.alone.add(volume);
                }
            }
            Why::DroppedBy(place) => {
                let Some(policy) = self.policies.get_mut(usize::from(place)) else { return };
                policy.dropped.add(volume);
                policy.dropped_id = id;
            }
            Why::NoMatch | Why::TooLarge => self.unwanted_id = id,
        }
    }

    /// Takes everything out of `other`.
    pub fn take_from(&mut self, other: &mut SampledVolumes) {
        if other.kept.traces + other.not_kept.traces == 0 {
            return;
        }
        self.kept.add(std::mem::take(&mut other.kept));
        self.not_kept.add(std::mem::take(&mut other.not_kept));
        self.unwanted_id = other.unwanted_id.take().or(self.unwanted_id);
        for (mine, theirs) in self.policies.iter_mut().zip(&mut other.policies) {
            let theirs = std::mem::take(theirs);
            mine.won.add(theirs.won);
            mine.alone.add(theirs.alone);
            mine.dropped.add(theirs.dropped);
            mine.kept_id = theirs.kept_id.or(mine.kept_id);
            mine.dropped_id = theirs.dropped_id.or(mine.dropped_id);
        }
    }

    /// Of one policy, by its place in the configuration.
    pub fn of_policy(&self, place: usize) -> Value {
        let policy = self.policies.get(place).copied().unwrap_or_default();
        let all = (self.kept.bytes + self.not_kept.bytes).max(1);
        json!({
            "won": policy.won.page(),
            "only_it": policy.alone.page(),
            "dropped": policy.dropped.page(),
            "share_of_bytes": (policy.won.bytes + policy.dropped.bytes) as f64 / all as f64,
            "exemplars": { "kept": hex(policy.kept_id), "dropped": hex(policy.dropped_id) },
        })
    }

    /// Of all policies together.
    pub fn of_all(&self) -> Value {
        json!({ "kept": self.kept.page(), "not_kept": self.not_kept.page(), "no_policy_exemplar": hex(self.unwanted_id) })
    }
}

fn hex(id: Option<[u8; 16]>) -> Option<String> {
    let mut text = Vec::new();
    push_hex(&mut text, &id?);
    String::from_utf8(text).ok()
}

//! The shadow policies' opinion of each trace that is decided: judged on the same summary, with limits of its own, and compared.
//!
//! Apart from the decision itself, which nothing here may change.

use std::sync::Arc;

use crate::core::time::UnixNanos;
use crate::processors::tail_sampling::config::SamplingSettings;
use crate::processors::tail_sampling::engine::Engine;
use crate::processors::tail_sampling::journal::volume::TraceVolume;
use crate::processors::tail_sampling::policies::circumstances::{Chance, Circumstances, Limits};
use crate::processors::tail_sampling::policies::decision::{Ballot, CastVotes, Decision, TraceSummary, decide};
use crate::processors::tail_sampling::policies::meter::RateMeters;
use crate::processors::tail_sampling::shadow::ShadowSettings;
use crate::processors::tail_sampling::shadow::difference::{ServiceSides, ShadowDifference, ShadowOutcome};
use crate::processors::tail_sampling::shadow::report::LiveShadow;
use crate::processors::tail_sampling::weights::tick::{ConsistentPolicies, DrawnTrace};

/// The shadow set of one shard.
pub struct ShadowJudge {
    settings: Arc<ShadowSettings>,
    meters: Arc<RateMeters>,
    pub found: ShadowDifference,
}

impl ShadowJudge {
    /// With limits of its own, unless those of the sampler take their place.
    pub(super) fn of(settings: &SamplingSettings, now: UnixNanos) -> Option<ShadowJudge> {
        let settings = settings.shadow.clone()?;
        let (meters, found) = (RateMeters::new(&settings.meters, now), ShadowDifference::new(settings.policies.len()));
        Some(ShadowJudge { settings, meters: Arc::new(meters), found })
    }

    /// As the policies that decide were asked: one trace for itself.
    pub(super) fn judge(
        &mut self,
        live: &SamplingSettings,
        summary: &TraceSummary,
        chance: Chance<'_>,
        now: UnixNanos,
    ) -> Decision {
        let circumstances = Circumstances::new(Limits::Metered(&self.meters), chance, now);
        let (votes, cast) = (&mut self.found.votes, CastVotes::default());
        let mut ballot = Ballot { circumstances, votes, cast, in_favour: 0, watch: None };
        decide(&self.settings.policies, live.rules, summary, &mut ballot)
    }

    /// As [`ShadowJudge::judge`], of a tick together.
    pub(super) fn judge_tick(
        &mut self,
        live: &SamplingSettings,
        traces: &[DrawnTrace],
        now: UnixNanos,
    ) -> Vec<Decision> {
        let ShadowSettings { policies, cuts, .. } = &*self.settings;
        let policies = ConsistentPolicies { policies, rules: live.rules, cuts, meters: &self.meters };
        let decided = policies.decide_tick(traces, &mut self.found.votes, now, &mut 0);
        decided.into_iter().map(|decided| decided.decision).collect()
    }
}

impl Engine {
    /// The shadow's limits are those of all shards from now on.
    pub fn share_shadow(&mut self, live: Option<&LiveShadow>) {
        if let (Some(judge), Some(live)) = (&mut self.shadow, live) {
            judge.meters = live.meters.clone();
        }
    }

    /// Counts how the two decisions on a held trace compare.
    pub(super) fn compare(&mut self, slot: u32, live: Decision, shadow: Decision) {
        let trace = *self.traces.at(slot);
        let outcome = ShadowOutcome::of(live, shadow);
        let services = outcome.side().map(|side| (side, self.volumes_by_service(slot)));
        let Some(judge) = &mut self.shadow else { return };
        let volume = TraceVolume { traces: 1, spans: trace.summary.spans, bytes: trace.summary.bytes };
        judge.found.note(outcome, shadow, volume);
        let Some((side, services)) = services else { return };
        judge.found.exemplar(side, trace.summary.trace_id);
        for (service, volume) in services {
            let sides: &mut ServiceSides = judge.found.services.entry(service).or_default();
            sides[side].add(volume);
        }
    }

    /// The spans of a held trace and their bytes in the store by the number of their service.
    fn volumes_by_service(&mut self, slot: u32) -> Vec<(u16, TraceVolume)> {
        let mut volumes: Vec<(u16, TraceVolume)> = Vec::new();
        let mut at = self.traces.at(slot).last;
        while !at.is_none() {
            let header = self.store.header(at);
            at = header.previous;
            let ring = self.journal.ring();
            let Some(service) = self.groups.service(header.group, |resource| ring.number_of(resource)) else {
                continue;
            };
            let place = volumes.iter().position(|(known, _)| *known == service).unwrap_or_else(|| {
                volumes.push((service, TraceVolume { traces: 1, ..TraceVolume::default() }));
                volumes.len() - 1
            });
            let (spans, bytes) = (u64::from(header.spans), u64::from(header.length));
            volumes[place].1.add(TraceVolume { traces: 0, spans, bytes });
        }
        volumes
    }
}

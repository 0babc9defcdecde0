//! What the shadow policies of one sampler would have done so far: sums of all its shards, their metrics and their page.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};

use crate::core::lock::Locked;
use crate::core::report::stats::{Counter, Stats};
use crate::core::time::UnixNanos;
use crate::otlp::ids::push_hex;
use crate::processors::tail_sampling::journal::services::ServiceNames;
use crate::processors::tail_sampling::journal::volume::TraceVolume;
use crate::processors::tail_sampling::policies::decision::Votes;
use crate::processors::tail_sampling::policies::meter::RateMeters;
use crate::processors::tail_sampling::shadow::ShadowSettings;
use crate::processors::tail_sampling::shadow::difference::{
    ServiceSides, ShadowDifference, ShadowOutcome, push_latest,
};

/// Services told apart, all shards together; each has at most so many by itself.
const SERVICES_MAX: usize = 1026;

#[derive(Default)]
struct ShadowSums {
    outcomes: [TraceVolume; 4],
    services: BTreeMap<String, ServiceSides>,
    exemplars: [Vec<[u8; 16]>; 2],
    votes: Vec<Votes>,
    first: Vec<TraceVolume>,
}

/// Traces, spans and bytes by outcome.
struct OutcomeCounters([Arc<Counter>; 3]);

/// One shadow set while it is judged.
pub struct LiveShadow {
    pub settings: Arc<ShadowSettings>,
    /// Its own limits, shared by the shards.
    pub meters: Arc<RateMeters>,
    /// When it ends by itself, by the shards' clock; `None` where the configuration has it.
    pub until: Option<UnixNanos>,
    /// By the wall clock.
    since: UnixNanos,
    ends: Option<UnixNanos>,
    counters: Vec<OutcomeCounters>,
    // Written once a step, read by the admin page.
    sums: Mutex<ShadowSums>,
}

impl LiveShadow {
    /// `until` is the end by the shards' clock, whose present time is `now`.
    pub fn new(
        settings: Arc<ShadowSettings>,
        meters: Arc<RateMeters>,
        (until, now): (Option<UnixNanos>, UnixNanos),
        (stats, processor): (&Stats, &str),
    ) -> Arc<LiveShadow> {
        let since = UnixNanos::now();
        let counters = |outcome: ShadowOutcome| {
            let counter = |what: &str, help| {
                let labels = [("processor", processor), ("outcome", outcome.name())];
                stats.counter(&format!("podgate_tail_sampling_shadow_{what}"), help, &labels)
            };
            OutcomeCounters([
                counter("traces", "Traces by which set of policies keeps them."),
                counter("spans", "Spans of traces by which set of policies keeps them."),
                counter("bytes", "Bytes of traces by which set of policies keeps them."),
            ])
        };
        let names = settings.policies.len();
        let sums = ShadowSums {
            votes: vec![Votes::default(); names],
            first: vec![TraceVolume::default(); names],
            ..ShadowSums::default()
        };
        Arc::new(LiveShadow {
            counters: ShadowOutcome::ALL.into_iter().map(counters).collect(),
            sums: Mutex::new(sums),
            ends: until.map(|until| since.saturating_add(until.since(now))),
            since,
            settings,
            meters,
            until,
        })
    }

    fn sums(&self) -> MutexGuard<'_, ShadowSums> {
        self.sums.locked()
    }

    /// Takes what a shard, whose services have these names, found since the last step.
    pub fn take(&self, found: &mut ShadowDifference, names: &ServiceNames) {
        if found.is_empty() {
            return;
        }
        let mut sums = self.sums();
        for ((sum, found), OutcomeCounters([traces, spans, bytes])) in
            sums.outcomes.iter_mut().zip(&mut found.outcomes).zip(&self.counters)
        {
            let found = std::mem::take(found);
            sum.add(found);
            traces.add(found.traces);
            spans.add(found.spans);
            bytes.add(found.bytes);
        }
        for (number, sides) in found.services.drain() {
            let name = names.name(number);
            if !sums.services.contains_key(name) && sums.services.len() >= SERVICES_MAX {
                continue;
            }
            let known = sums.services.entry(name.to_owned()).or_default();
            known.iter_mut().zip(sides).for_each(|(known, side)| known.add(side));
        }
        for (known, ids) in sums.exemplars.iter_mut().zip(&mut found.exemplars) {
            ids.drain(..).for_each(|id| push_latest(known, id));
        }
        for (sum, votes) in sums.votes.iter_mut().zip(&mut found.votes) {
            sum.merge(std::mem::take(votes));
        }
        for (sum, first) in sums.first.iter_mut().zip(&mut found.first) {
            sum.add(std::mem::take(first));
        }
    }

    /// The page's part; `is_over` says that it is judged no more.
    pub fn page(&self, is_over: bool) -> Value {
        let sums = self.sums();
        let outcomes = ShadowOutcome::ALL.into_iter().zip(sums.outcomes);
        let services = sums.services.iter().map(
            |(name, [lost, gained])| json!({ "service": name, "only_live": lost.page(), "only_shadow": gained.page() }),
        );
        let names = self.settings.names();
        let policies = names.iter().zip(&sums.votes).zip(&sums.first).map(|((name, votes), first)| {
            json!({
                "name": name,
                "sampled": votes.sampled,
                "not_sampled": votes.not_sampled,
                "dropped": votes.dropped,
                "would_keep_first": first.page(),
            })
        });
        let ids = |side: usize| sums.exemplars[side].iter().map(hex).collect::<Vec<_>>();
        json!({
            "since_unix_nano": self.since.0,
            "until_unix_nano": self.ends.map(|ends| ends.0),
            "is_over": is_over,
            "policies": policies.collect::<Vec<_>>(),
            "outcomes": outcomes.map(|(outcome, volume)| (outcome.name().to_owned(), volume.page())).collect::<serde_json::Map<_, _>>(),
            "services": services.collect::<Vec<_>>(),
            "exemplars": { "only_live": ids(0), "only_shadow": ids(1) },
        })
    }
}

fn hex(id: &[u8; 16]) -> String {
    let mut text = Vec::with_capacity(2 * id.len());
    push_hex(&mut text, id);
    String::from_utf8(text).unwrap_or_default()
}

//! The sampler on recorded requests: the same admission and the same engine, by the time that the recording tells.
//!
//! A request comes when its latest span ended, and never before the one ahead of it; waits and limits go by that time.

use std::sync::Arc;

use foldhash::fast::RandomState;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::core::data::budget::Budget;
use crate::core::data::payload::Payload;
use crate::core::report::stats::Stats;
use crate::core::stage::commands::rehearsal::Rehearsal;
use crate::core::time::UnixNanos;
use crate::processors::tail_sampling::config::SamplingSettings;
use crate::processors::tail_sampling::engine::{Bounds, Engine};
use crate::processors::tail_sampling::held::account::ByteAccount;
use crate::processors::tail_sampling::held::admission::{Admission, AdmittedRequest};
use crate::processors::tail_sampling::live::LivePolicies;

/// The latest time that a recording may tell: waits and ticks behind it are still times.
const LATEST: UnixNanos = UnixNanos(u64::MAX / 2);
/// Traces decided between two looks at what was kept.
const DECISIONS_AT_ONCE: usize = 512;

pub struct RecordedSampling {
    settings: SamplingSettings,
    live: Arc<LivePolicies>,
    /// Begins with the first request.
    core: Option<Engine>,
    account: Arc<ByteAccount>,
    now: UnixNanos,
    unreadable: u64,
}

impl RecordedSampling {
    /// All shards are one, and no memory is short.
    pub fn new(settings: &SamplingSettings) -> RecordedSampling {
        let settings = SamplingSettings { shards: 1, ..settings.clone() };
        RecordedSampling {
            live: LivePolicies::new(&settings, &Arc::new(Stats::default()), "recorded", UnixNanos::default()),
            core: None,
            account: ByteAccount::new(u64::MAX / 2, &Budget::unlimited()),
            now: UnixNanos::default(),
            settings,
            unreadable: 0,
        }
    }

    /// Decides what is due, and lets go of what was kept.
    fn decide(&mut self) {
        let Some(core) = &mut self.core else { return };
        while core.is_due(self.now) {
            core.decide_due(self.now, DECISIONS_AT_ONCE);
            while core.take_parcel().is_some() {}
        }
        core.tidy(self.now);
        let live = self.live.current();
        live.counts.take(&mut core.counts);
        if let (Some(shadow), Some(judge)) = (&live.shadow, &mut core.shadow) {
            shadow.take(&mut judge.found, &core.journal.ring().services());
        }
    }
}

impl Rehearsal for RecordedSampling {
    fn take(&mut self, payload: Payload) {
        let admission = Admission { leaves: &self.settings.leaves, account: &self.account, shards: 1, seed: 1 };
        let Ok(admitted) = admission.read(&payload) else {
            self.unreadable += payload.items;
            return;
        };
        self.unreadable += admitted.malformed;
        let ends = admitted.groups.iter().map(|group| group.latest);
        self.now = ends.fold(self.now, UnixNanos::max).min(LATEST);
        if self.core.is_none() {
            let bounds = Bounds { giant_bytes: u64::MAX, ..Bounds::of(&self.settings, 0) };
            let live = self.live.current().clone();
            // Limits begin full with the recording.
            let meters = live.meters.begun(self.now);
            let clock = (self.now, Instant::now as fn() -> Instant);
            self.core =
                Some(Engine::new(self.settings.clone(), Arc::new(meters), bounds, RandomState::default(), clock));
        }
        self.decide();
        if let Some(core) = &mut self.core {
            let incoming = AdmittedRequest {
                envelope: &payload.envelope,
                groups: &admitted.groups,
                links: &admitted.links,
                version: self.settings.version,
            };
            admitted.runs.iter().for_each(|runs| core.accept(incoming, runs, self.now));
            while core.take_parcel().is_some() {}
        }
    }

    fn finish(mut self: Box<Self>) -> Value {
        // Longer than any wait and any tick.
        self.now =
            self.now.saturating_add(self.settings.decision_wait * 2).saturating_add(std::time::Duration::from_secs(60));
        self.decide();
        let (policies, volume) = self.live.current().counts.page();
        json!({
            "processor": "recorded traces",
            "policies": policies,
            "volume": volume,
            "shadow": self.live.shadow_page(),
            "unreadable_spans": self.unreadable,
        })
    }
}

//! The set of policies that decides at present, and those before it. Senders, shards and pages read it without waiting; a
//! reload replaces it as a whole.
//!
//! Senders read spans by the set they find, shards take the newest set between two steps: a trace knows the version that its
//! bits belong to.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use arc_swap::{ArcSwap, Guard};

use crate::core::lock::Locked;
use crate::core::report::stats::Stats;
use crate::core::time::UnixNanos;
use crate::processors::tail_sampling::config::SamplingSettings;
use crate::processors::tail_sampling::policies::meter::RateMeters;
use crate::processors::tail_sampling::report::policy_counts::PolicyCounts;

/// Sets before the present one that old decisions are explained by.
const EARLIER_SETS_MAX: usize = 8;

/// One set, with what goes by its policies.
pub struct PolicyVersion {
    pub settings: SamplingSettings,
    /// By the wall clock.
    pub since: UnixNanos,
    pub meters: Arc<RateMeters>,
    pub counts: Arc<PolicyCounts>,
}

pub struct LivePolicies {
    current: ArcSwap<PolicyVersion>,
    // Locked while a set is replaced, and when a page explains.
    earlier: Mutex<VecDeque<Arc<PolicyVersion>>>,
    /// The component's id.
    processor: String,
}

impl LivePolicies {
    /// The first set; `now` is the time of the shards' clock.
    pub fn new(settings: &SamplingSettings, stats: &Stats, processor: &str, now: UnixNanos) -> Arc<LivePolicies> {
        let first = PolicyVersion {
            since: UnixNanos::now(),
            meters: Arc::new(RateMeters::new(&settings.meters, now)),
            counts: PolicyCounts::new(stats, processor, settings.names()),
            settings: settings.clone(),
        };
        Arc::new(LivePolicies {
            current: ArcSwap::from_pointee(first),
            earlier: Mutex::default(),
            processor: processor.to_owned(),
        })
    }

    pub fn current(&self) -> Guard<Arc<PolicyVersion>> {
        self.current.load()
    }

    /// Puts another set in the present one's place; its number is the next.
    pub fn replace(&self, settings: &SamplingSettings, stats: &Stats, now: UnixNanos) {
        let mut earlier = self.earlier.locked();
        let old = self.current.load_full();
        let before = &old.settings;
        let mut settings = settings.clone();
        // 0 is no set's number.
        settings.version = before.version.checked_add(1).unwrap_or(1);
        let (plans, names) = (&settings.meters, &settings.meter_names);
        let next = PolicyVersion {
            since: UnixNanos::now(),
            meters: Arc::new(old.meters.renewed(&before.meter_names, plans, names, now)),
            counts: PolicyCounts::new(stats, &self.processor, settings.names()),
            settings,
        };
        earlier.push_front(old);
        earlier.truncate(EARLIER_SETS_MAX);
        self.current.store(Arc::new(next));
    }

    /// The set of this number; `None` when it is too long ago.
    pub fn of(&self, version: u16) -> Option<Arc<PolicyVersion>> {
        let current = self.current.load_full();
        if current.settings.version == version {
            return Some(current);
        }
        self.earlier.locked().iter().find(|set| set.settings.version == version).cloned()
    }
}

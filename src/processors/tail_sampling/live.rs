//! The set of policies that decides at present, and those before it. Senders, shards and pages read it without waiting; a
//! reload replaces it as a whole.
//!
//! Senders read spans by the set they find, shards take the newest set between two steps: a trace knows the version that its
//! bits belong to.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use arc_swap::{ArcSwap, Guard};
use serde_json::Value;

use crate::core::lock::Locked;
use crate::core::report::stats::Stats;
use crate::core::time::UnixNanos;
use crate::processors::tail_sampling::config::SamplingSettings;
use crate::processors::tail_sampling::policies::meter::RateMeters;
use crate::processors::tail_sampling::report::policy_counts::PolicyCounts;
use crate::processors::tail_sampling::shadow::report::LiveShadow;

/// Sets before the present one that old decisions are explained by.
const EARLIER_SETS_MAX: usize = 8;

/// One set, with what goes by its policies.
pub struct PolicyVersion {
    pub settings: SamplingSettings,
    /// By the wall clock.
    pub since: UnixNanos,
    pub meters: Arc<RateMeters>,
    pub counts: Arc<PolicyCounts>,
    pub shadow: Option<Arc<LiveShadow>>,
}

/// What was before, and what comes back.
struct Replaced {
    /// Newest first.
    earlier: VecDeque<Arc<PolicyVersion>>,
    /// The set of the configuration, for the time after a shadow that was given for a while.
    configured: SamplingSettings,
    /// The latest shadow that ended, so that its outcome can still be read.
    ended: Option<Arc<LiveShadow>>,
}

pub struct LivePolicies {
    current: ArcSwap<PolicyVersion>,
    // Locked while a set is replaced, and when a page explains.
    replaced: Mutex<Replaced>,
    stats: Arc<Stats>,
    /// The component's id.
    processor: String,
}

impl LivePolicies {
    /// The first set; `now` is the time of the shards' clock.
    pub fn new(settings: &SamplingSettings, stats: &Arc<Stats>, processor: &str, now: UnixNanos) -> Arc<LivePolicies> {
        let shadow = settings.shadow.as_ref().map(|shadow| {
            let meters = Arc::new(RateMeters::new(&shadow.meters, now));
            LiveShadow::new(shadow.clone(), meters, (None, now), (stats, processor))
        });
        let first = PolicyVersion {
            since: UnixNanos::now(),
            meters: Arc::new(RateMeters::new(&settings.meters, now)),
            counts: PolicyCounts::new(stats, processor, settings.names()),
            shadow,
            settings: settings.clone(),
        };
        let replaced = Replaced { earlier: VecDeque::new(), configured: settings.clone(), ended: None };
        Arc::new(LivePolicies {
            current: ArcSwap::from_pointee(first),
            replaced: Mutex::new(replaced),
            stats: stats.clone(),
            processor: processor.to_owned(),
        })
    }

    pub fn current(&self) -> Guard<Arc<PolicyVersion>> {
        self.current.load()
    }

    /// Goes on by another configuration; a shadow that was given for a while ends.
    pub fn configure(&self, settings: &SamplingSettings, now: UnixNanos) -> u16 {
        let mut replaced = self.replaced.locked();
        replaced.configured = settings.clone();
        self.replace(&mut replaced, settings, None, now)
    }

    /// Goes on by settings that have another shadow than the configuration's, until then.
    pub fn shadow_for(&self, settings: &SamplingSettings, until: UnixNanos, now: UnixNanos) -> u16 {
        self.replace(&mut self.replaced.locked(), settings, Some(until), now)
    }

    /// Ends a shadow whose time is over, whichever shard sees it first.
    pub fn end_shadow(&self, now: UnixNanos) {
        let mut replaced = self.replaced.locked();
        if self.current.load().shadow.as_ref().and_then(|shadow| shadow.until).is_some_and(|until| until <= now) {
            let configured = replaced.configured.clone();
            self.replace(&mut replaced, &configured, None, now);
        }
    }

    /// Puts another set in the present one's place; its number is the next.
    fn replace(
        &self,
        replaced: &mut Replaced,
        settings: &SamplingSettings,
        until: Option<UnixNanos>,
        now: UnixNanos,
    ) -> u16 {
        let old = self.current.load_full();
        let before = &old.settings;
        let mut settings = settings.clone();
        // 0 is no set's number.
        settings.version = before.version.checked_add(1).unwrap_or(1);
        let number = settings.version;
        let (plans, names) = (&settings.meters, &settings.meter_names);
        let shadow = settings.shadow.as_ref().map(|shadow| {
            let (plans, names) = (&shadow.meters, &shadow.meter_names);
            let meters = match &old.shadow {
                Some(old) => old.meters.renewed(&old.settings.meter_names, plans, names, now),
                None => RateMeters::new(plans, now),
            };
            LiveShadow::new(shadow.clone(), Arc::new(meters), (until, now), (&self.stats, &self.processor))
        });
        let next = PolicyVersion {
            since: UnixNanos::now(),
            meters: Arc::new(old.meters.renewed(&before.meter_names, plans, names, now)),
            counts: PolicyCounts::new(&self.stats, &self.processor, settings.names()),
            shadow,
            settings,
        };
        replaced.ended = old.shadow.clone().or(replaced.ended.take());
        replaced.earlier.push_front(old);
        replaced.earlier.truncate(EARLIER_SETS_MAX);
        self.current.store(Arc::new(next));
        number
    }

    /// The set of this number; `None` when it is too long ago.
    pub fn of(&self, version: u16) -> Option<Arc<PolicyVersion>> {
        let current = self.current.load_full();
        if current.settings.version == version {
            return Some(current);
        }
        self.replaced.locked().earlier.iter().find(|set| set.settings.version == version).cloned()
    }

    /// The page of the shadow that is judged, or else of the latest that was; null without any.
    pub fn shadow_page(&self) -> Value {
        match (&self.current.load().shadow, &self.replaced.locked().ended) {
            (Some(shadow), _) => shadow.page(false),
            (None, Some(ended)) => ended.page(true),
            (None, None) => Value::Null,
        }
    }
}

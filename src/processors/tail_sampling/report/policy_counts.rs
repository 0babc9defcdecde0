//! Metrics and volumes of single policies, of one set of them: a set that follows begins its volumes anew, while a policy that
//! keeps its name keeps its counters.

use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};

use crate::core::lock::Locked;
use crate::core::report::stats::{Counter, Stats};
use crate::processors::tail_sampling::engine::MEASURED_EVERY;
use crate::processors::tail_sampling::journal::volume::SampledVolumes;
use crate::processors::tail_sampling::report::counts::ShardCounts;
use crate::processors::tail_sampling::report::metrics::PREFIX;

struct PolicyMetrics {
    name: String,
    sampled: Arc<Counter>,
    not_sampled: Arc<Counter>,
    dropped: Arc<Counter>,
    executions: Arc<Counter>,
    /// Microseconds of all executions, reckoned from the measured ones, and nanoseconds that are not one yet.
    micros: Arc<Counter>,
    // Locked once a step.
    rest_nanos: Mutex<u64>,
}

/// Of one set of policies, in the order of the configuration.
pub struct PolicyCounts {
    policies: Vec<PolicyMetrics>,
    // Written once a step, read by the admin page.
    volumes: Mutex<SampledVolumes>,
}

impl PolicyCounts {
    /// `processor` is the component's id; policy labels are prefixed with its name, as in the Collector (`name.policy`).
    pub fn new(stats: &Stats, processor: &str, policies: Vec<String>) -> Arc<PolicyCounts> {
        let volumes = Mutex::new(SampledVolumes::new(policies.len()));
        let policies = policies.into_iter().map(|name| PolicyMetrics::new(stats, processor, name)).collect();
        Arc::new(PolicyCounts { policies, volumes })
    }

    /// Takes what a shard counted since the last step while it decided by these policies.
    pub fn take(&self, counts: &mut ShardCounts) {
        for (policy, votes) in self.policies.iter().zip(&mut counts.votes) {
            let votes = std::mem::take(votes);
            policy.executions.add(votes.total());
            policy.took(votes.nanos * MEASURED_EVERY);
            policy.sampled.add(votes.sampled);
            policy.not_sampled.add(votes.not_sampled);
            policy.dropped.add(votes.dropped);
        }
        self.volumes().take_from(&mut counts.volumes);
    }

    fn volumes(&self) -> MutexGuard<'_, SampledVolumes> {
        self.volumes.locked()
    }

    /// The page's parts about each policy and about all of them.
    pub fn page(&self) -> (Vec<Value>, Value) {
        let volumes = self.volumes().clone();
        let policies = self.policies.iter().enumerate().map(|(place, policy)| {
            json!({
                "name": policy.name,
                "sampled": policy.sampled.get(),
                "not_sampled": policy.not_sampled.get(),
                "dropped": policy.dropped.get(),
                "volume": volumes.of_policy(place),
            })
        });
        (policies.collect(), volumes.of_all())
    }
}

impl PolicyMetrics {
    fn new(stats: &Stats, processor: &str, name: String) -> PolicyMetrics {
        let label = match processor.split_once('/') {
            Some((_, id)) => format!("{id}.{name}"),
            None => name.clone(),
        };
        let votes = |decision, sampled| {
            let labels = [("policy", label.as_str()), ("decision", decision), ("sampled", sampled)];
            stats.counter(&format!("{PREFIX}count_traces_sampled"), "Votes of each policy.", &labels)
        };
        let help = "How often each policy was asked.";
        let executions = format!("{PREFIX}sampling_policy_execution_count");
        let micros = format!("{PREFIX}sampling_policy_execution_time_sum");
        let spent = "Microseconds spent on each policy, estimated from one decision in 64.";
        PolicyMetrics {
            micros: stats.counter(&micros, spent, &[("policy", &label)]),
            rest_nanos: Mutex::default(),
            sampled: votes("sampled", "true"),
            not_sampled: votes("not_sampled", "false"),
            dropped: votes("dropped", "false"),
            executions: stats.counter(&executions, help, &[("policy", &label)]),
            name,
        }
    }

    fn took(&self, nanos: u64) {
        let mut rest = self.rest_nanos.locked();
        *rest += nanos;
        self.micros.add(*rest / 1000);
        *rest %= 1000;
    }
}

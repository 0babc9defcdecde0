//! `tail_sampling`: holds the spans of a trace until it is complete, then keeps or drops it as a whole.
//!
//! Accepts the Collector's configuration and gives its verdicts. A request is walked once in its sender's task
//! ([`held::admission`]), filed by the shard that owns the trace ([`engine`], [`shard`]), decided from merged bits and sums
//! ([`policies`]) and handed on by [`release`]. Must not know Kubernetes: instance attributes come through
//! the late binding.
//!
//! ```yaml
//! decision_wait: 10s
//! policies:
//!   - {name: errors, type: status_code, status_code: {status_codes: [ERROR]}}
//!   - {name: slow, type: latency, latency: {threshold_ms: 500}}
//!   - {name: some, type: probabilistic, probabilistic: {sampling_percentage: 10}}
//! ```

pub mod advice;
pub mod clock;
pub mod config;
pub mod decided;
pub mod durable;
pub mod engine;
pub mod held;
mod instance_lint;
pub mod journal;
pub mod live;
pub mod policies;
pub mod rehearsal;
pub mod release;
pub mod report;
pub mod shadow;
pub mod shard;
pub mod stage;
pub mod summaries;
mod weight_lint;
pub mod weights;

use std::time::Duration;

use crate::core::data::payload::Signal;
use crate::core::node::Node;
use crate::core::stage::commands::rehearsal::Rehearsal;
use crate::core::stage::consumer::Next;
use crate::core::stage::factory::{
    About, CheckContext, CutValue, ProcessorFactory, ProcessorPlan, Stage, StageContext,
};
use crate::processors::tail_sampling::config::SamplingPlan;
use crate::processors::tail_sampling::rehearsal::RecordedSampling;
use crate::processors::tail_sampling::stage::Sampler;

pub const FACTORY: ProcessorFactory = ProcessorFactory {
    about: About {
        name: "tail_sampling",
        aliases: &[],
        signals: &[Signal::Traces],
        summary: "keeps or drops whole traces by policy, once they are complete",
        example: EXAMPLE,
    },
    check,
};

const EXAMPLE: &str = "decision_wait: 10s
policies:
  - {name: errors, type: status_code, status_code: {status_codes: [ERROR]}}
  - {name: slow, type: latency, latency: {threshold_ms: 500}}
  - {name: some, type: probabilistic, probabilistic: {sampling_percentage: 10}}
";

fn check(cx: &CheckContext<'_>, body: &Node) -> Option<Box<dyn ProcessorPlan>> {
    Some(Box::new(SamplingPlan(config::check(cx, body)?)))
}

impl ProcessorPlan for SamplingPlan {
    fn forgets_senders(&self) -> bool {
        true
    }

    fn build(&self, cx: StageContext, next: Next) -> Stage {
        let sampler = Sampler::new(&self.0, cx, next);
        Stage::Consumer { consumer: sampler.clone(), component: Some(sampler) }
    }

    fn binds_late(&self) -> bool {
        !self.0.asks_for_runs
    }

    fn rehearse(&self) -> Option<Box<dyn Rehearsal>> {
        Some(Box::new(RecordedSampling::new(&self.0)))
    }

    fn cut_within(&self, budget: u64) -> Vec<CutValue> {
        self.0.caches_cut(budget)
    }

    fn longest_wait(&self) -> Duration {
        self.0.decision_wait.saturating_add(release::delivery::BIND_FOR)
    }
}

//! Tail sampling against the recorded verdicts of a real Collector, and against its own promises.

#[path = "sampling/advice.rs"]
mod advice;

#[path = "sampling/behind.rs"]
mod behind;

#[path = "sampling/rig.rs"]
mod rig;

#[path = "sampling/verdicts.rs"]
mod verdicts;

#[path = "sampling/promises.rs"]
mod promises;

#[path = "sampling/settings.rs"]
mod settings;

#[path = "sampling/shadow.rs"]
mod shadow;

#[path = "sampling/spans.rs"]
mod spans;

#[path = "sampling/configuration.rs"]
mod configuration;

#[path = "sampling/decisions.rs"]
mod decisions;

#[path = "sampling/delivery.rs"]
mod delivery;
#[path = "sampling/durable.rs"]
mod durable;

#[path = "sampling/endurance.rs"]
mod endurance;

#[path = "sampling/estimates.rs"]
mod estimates;

#[path = "sampling/journal.rs"]
mod journal;

#[path = "sampling/limits.rs"]
mod limits;

#[path = "sampling/load.rs"]
mod load;

#[path = "sampling/memory.rs"]
mod memory;

#[path = "sampling/metrics.rs"]
mod metrics;

#[path = "sampling/ottl.rs"]
mod ottl;

#[path = "sampling/renewal.rs"]
mod renewal;

#[path = "sampling/summaries.rs"]
mod summaries;

#[path = "sampling/tiers.rs"]
mod tiers;

#[path = "sampling/weights.rs"]
mod weights;

mod support;

#[path = "otlp/w1.rs"]
mod w1;

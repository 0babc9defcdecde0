//! Tail sampling against the recorded verdicts of a real Collector, and against its own promises.

#[path = "sampling/rig.rs"]
mod rig;

#[path = "sampling/verdicts.rs"]
mod verdicts;

#[path = "sampling/promises.rs"]
mod promises;

#[path = "sampling/spans.rs"]
mod spans;

#[path = "sampling/configuration.rs"]
mod configuration;

#[path = "sampling/decisions.rs"]
mod decisions;

#[path = "sampling/load.rs"]
mod load;

#[path = "sampling/memory.rs"]
mod memory;

#[path = "sampling/ottl.rs"]
mod ottl;

#[path = "otlp/w1.rs"]
mod w1;

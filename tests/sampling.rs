//! Tail sampling against the recorded verdicts of a real Collector, and against its own promises.

#[path = "sampling/rig.rs"]
mod rig;

#[path = "sampling/verdicts.rs"]
mod verdicts;

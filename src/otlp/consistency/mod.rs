//! OpenTelemetry's consistent sampling (OTEP 235): thresholds, randomness, and how a span's trace state says them.
//!
//! Shared by whoever samples, so that no two of them disagree. Must not know what is sampled, or why.

pub mod threshold;
pub mod tracestate;

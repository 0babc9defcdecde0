//! What is remembered of decided traces: verdicts for late spans, the latest kept traces, and whether they were whole.

pub mod cache;
pub mod completeness;
pub mod kept_traces;

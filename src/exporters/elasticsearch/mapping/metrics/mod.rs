//! Metrics as documents: points read, grouped, and histograms as values and counts.

pub mod baselines;
pub mod deltas;
pub mod distribution;
pub mod groups;
pub mod points;

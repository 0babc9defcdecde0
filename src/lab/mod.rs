//! The laboratory: what plays applications, clusters and load for the demo, `podgate loadgen`, tests and benches.
//!
//! Nothing here is part of the data path.

pub mod api_double;
pub mod demo;
pub mod loadgen;

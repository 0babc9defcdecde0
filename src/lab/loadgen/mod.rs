//! Load for `podgate loadgen`, tests and benches: generated requests, paced and sent.

pub mod generate;
pub mod latency;
pub mod pace;
pub mod sender;
pub mod worker;

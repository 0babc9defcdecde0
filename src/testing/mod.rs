//! Generators and sinks for tests and benches; compiled for tests and with the feature `testing` only.

pub mod check;
pub mod fault_proxy;
pub mod pods;
pub mod sink;
pub mod stage;
pub mod telemetry;

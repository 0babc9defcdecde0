//! Kafka as the receiver and the exporter see it: a narrow seam to a client library, and the keys that both have.
//!
//! Only `client` knows the library. What is above it is told of records, offsets and faults in words of ours.

pub mod client;
pub mod config;
pub mod probe;

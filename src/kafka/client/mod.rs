//! The client of a Kafka cluster: the seam, and the one library behind it.

pub mod broker;
pub mod fault;
mod partitioner;
pub mod seam;

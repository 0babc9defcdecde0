//! The client of a Kafka cluster: the seam, and the one library behind it.

mod batch;
pub mod broker;
pub mod fault;
mod fetching;
mod library_fault;
mod member;
mod partitioner;
mod reading;
pub mod seam;

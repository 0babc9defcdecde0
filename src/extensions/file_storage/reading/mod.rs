//! The way back from the log to those who had taken what stands in it.

pub mod chosen;
pub mod recovery;
pub mod suspects;

//! Components that hand data on.

pub mod elasticsearch;

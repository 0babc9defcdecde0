//! Components beside the data path.

pub mod admin;
pub mod health_check;

//! Components beside the data path.

pub mod admin;
pub mod authenticators;
pub mod file_storage;
pub mod health_check;

//! What components tell of themselves: metrics, states for `/status`, pages, and the labels they carry.

pub mod labels;
pub mod routes;
pub mod stats;
pub mod status;

//! Elasticsearch: documents for `_bulk`.
//!
//! The mapping engine stands alone: request bytes in, bulk lines out. It opens no connection and knows no retry.

pub mod capability;
pub mod mapping;

//! The nouns every part of podgate shares: payload, origin, budget, stage, component, factory.
//!
//! Core imports nothing of ours, knows no component and no protocol. What two siblings need moves here or one level above.

pub mod backoff;
pub mod build_info;
pub mod data;
pub mod diagnostic;
pub mod error;
pub mod limits;
pub mod lock;
pub mod node;
pub mod offload;
pub mod outside;
pub mod ports;
pub mod report;
pub mod stage;
pub mod time;
pub mod visible;

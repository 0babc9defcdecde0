//! The nouns every part of podgate shares: payload, origin, budget, stage, component, factory.
//!
//! Core imports nothing of ours, knows no component and no protocol. What two siblings need moves here or one level above.

pub mod access;
pub mod aside;
pub mod balance;
pub mod binding;
pub mod budget;
pub mod build_info;
pub mod component;
pub mod consumer;
pub mod diagnostic;
pub mod disk;
pub mod error;
pub mod factory;
pub mod fan_out;
pub mod granted;
pub mod host;
pub mod items;
pub mod labels;
pub mod limits;
pub mod node;
pub mod origin;
pub mod outside;
pub mod payload;
pub mod ports;
pub mod probe;
pub mod replay;
pub mod routes;
pub mod settlement;
pub mod stats;
pub mod status;
pub mod tasks;
pub mod time;
pub mod transform;
pub mod visible;

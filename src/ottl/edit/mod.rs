//! Changes that statements make: editors, the message under change, and values written back to the wire.

pub mod editors;
pub mod encode;
pub mod glob;
pub mod message_edit;
pub mod target;

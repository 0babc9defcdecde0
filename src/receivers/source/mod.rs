//! What receivers share whose source keeps the data until it is taken: files of lines, and the node's journal.

pub mod blocking;
pub mod delivery;
pub mod kept;
pub mod keys;

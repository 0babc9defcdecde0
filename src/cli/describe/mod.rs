//! Commands that print what the binary is: components, manual pages, shell completions.

pub mod completion;
pub mod components;
pub mod man;

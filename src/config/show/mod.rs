//! What is shown of a configuration: findings with a caret, the tree as YAML, and what must stay hidden.

pub mod diagnose;
pub mod hidden;
pub mod mask;
pub mod page;
pub mod print;
pub mod spelling;

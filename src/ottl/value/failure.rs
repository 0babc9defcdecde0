//! Why a text that was checked gives no value of an item.

/// A condition or statement failed on an item; what that means is the error mode's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EvalFailure(pub &'static str);

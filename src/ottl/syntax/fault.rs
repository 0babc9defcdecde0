//! What is wrong with a text, and where.

use std::fmt;

/// A text that cannot be parsed or names something that does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextFault {
    /// Characters before the fault.
    pub at: usize,
    pub message: String,
    /// A Collector has what is named, and podgate has not.
    pub not_built: bool,
}

impl fmt::Display for TextFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at character {}", self.message, self.at + 1)
    }
}

//! A layout, and the names that stand in one.

use crate::ottl::convert::time::layout::chunks::Chunk;

/// A format that was checked.
#[derive(Debug)]
pub struct Layout {
    pub(super) shown: Vec<Chunk>,
    pub(super) ways: Vec<Vec<Chunk>>,
}

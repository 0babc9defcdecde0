//! A layout, and the names that stand in one.

use crate::ottl::convert::time::layout::chunks::Chunk;

/// A format that was checked.
#[derive(Debug)]
pub struct Layout {
    pub(super) shown: Vec<Chunk>,
    pub(super) ways: Vec<Vec<Chunk>>,
}

pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// From Sunday on.
pub(super) const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

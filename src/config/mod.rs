//! The Collector's YAML, read into a tree in which every value knows its place.

pub mod check;
pub mod duration;
pub mod size;

//! From texts to one tree: sources, YAML, expansion and merging, by the Collector's rules.

pub mod expand;
pub mod manifest;
pub mod merge;
pub mod scalar;
pub mod source;
pub mod yaml;

//! The JSON that documents of every mode are made of: attributes, values, trees of dotted names.

pub mod attributes;
pub mod geo;
mod known_keys;
pub mod repeated;
pub mod text;
pub mod tree;
pub mod value;

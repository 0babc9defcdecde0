//! Files as they grow and rotate: what was read of each, by what it is known again, and the lines in it.

pub mod checkpoint;
mod file;
pub mod handover;
mod known;
pub mod lines;
pub mod mark;
pub mod pods;
mod scan;
pub mod tail;
#[cfg(test)]
mod tests;

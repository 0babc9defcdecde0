//! The play behind `podgate demo`: a cast of pods, their true runs, their traffic, and the score.

pub mod asked;
pub mod cast;
pub mod end;
pub mod marks;
pub mod print;
pub mod published;
pub mod screen;
pub mod traffic;
pub mod truth;

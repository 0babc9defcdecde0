//! Pods, containers and their runs, from a watched API server.

pub mod pod;

//! Pods, containers and their runs, from a watched API server.

pub mod ledger;
pub mod pod;
pub mod table;

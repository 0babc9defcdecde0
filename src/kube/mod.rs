//! Pods, containers and their runs, from a watched API server.

pub mod decode;
pub mod ledger;
pub mod pod;
pub mod table;
pub mod watch;

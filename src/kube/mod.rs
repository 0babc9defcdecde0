//! Pods, containers and their runs, and the endpoints of services, from a watched API server.

pub mod audit;
pub mod client;
pub mod decode;
pub mod endpoints;
pub mod hub;
pub mod ledger;
mod link;
pub mod node_logs;
pub mod owners;
pub mod pod;
pub mod probe;
pub mod selection;
pub mod static_pods;
pub mod table;
pub mod watch;
pub mod watch_spec;

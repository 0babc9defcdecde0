//! Single reads: pods asked for anew, owners, namespaces and nodes, by whatever request is allowed.

pub mod fetch;
pub mod fetcher;
pub mod pod_requests;
pub mod related;
pub mod rights;
pub mod single;

//! Sockets, HTTP, gRPC framing, TLS and compression; the only place that sees hyper, h2 and rustls.

pub mod client;
pub mod page_listener;
pub mod pages;

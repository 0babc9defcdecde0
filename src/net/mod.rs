//! Sockets, HTTP, gRPC framing, TLS and compression; the only place that sees hyper, axum, h2 and rustls.

pub mod agreement;
pub mod client;
pub mod compression;
pub mod grpc;
pub mod pages;
pub mod pem;
pub mod server;
pub mod status;

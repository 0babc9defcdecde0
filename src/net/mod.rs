//! Sockets, HTTP, gRPC framing, TLS and compression; the only place that sees hyper, axum, h2 and rustls.

pub mod answer;
mod authority;
pub mod body;
pub mod cause;
pub mod charges;
pub mod client;
pub mod compression;
pub mod connection;
pub mod frames;
pub mod gate;
pub mod grpc;
pub mod guard;
mod half_closed;
pub mod home;
pub mod leftovers;
pub mod limits;
pub mod listen;
pub mod page_listener;
pub mod pages;
pub mod router;
mod seat;
mod sent;
pub mod server;
pub mod shares;
pub mod sniff;
pub mod status;
pub mod tally;

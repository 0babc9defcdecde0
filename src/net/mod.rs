//! Sockets, HTTP, gRPC framing, TLS and compression; the only place that sees hyper, h2 and rustls.

pub mod answer;
pub mod aside;
mod authority;
pub mod body;
pub mod charges;
pub mod client;
pub mod compression;
pub mod connection;
pub mod frames;
pub mod gate;
pub mod grpc;
pub mod guard;
pub mod leftovers;
pub mod limits;
pub mod listen;
pub mod page_listener;
pub mod pages;
pub mod server;
pub mod shares;
pub mod sniff;
pub mod status;
pub mod tally;

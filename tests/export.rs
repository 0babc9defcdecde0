//! The exporters against peers that behave, misbehave and go away: what arrives, what is retried, what is counted.
//!
//! Stock tonic servers are the oracle for what is sent; raw sockets do what no library lets a server do. Every test ends
//! with the balance.

#[path = "export/grpc.rs"]
mod grpc;
#[path = "export/harness.rs"]
mod harness;
#[path = "export/http.rs"]
mod http;
#[path = "export/keys.rs"]
mod keys;
#[path = "export/peers.rs"]
mod peers;
#[path = "export/tls.rs"]
mod tls;

//! The server side: every listener, be it for telemetry or for pages, from the accepted socket to the answer.
//!
//! One connection passes [`accept`], [`admission`], [`seat`] and [`sniff`], under the watch of [`connection`]. Must not know what a
//! request means.

pub mod accept;
pub mod admission;
pub mod answer;
pub mod background;
pub mod body;
pub mod connection;
pub mod half_closed;
pub mod limits;
pub mod listen;
pub mod node_addresses;
pub mod seat;
pub mod sniff;
pub mod state;
pub mod tls;

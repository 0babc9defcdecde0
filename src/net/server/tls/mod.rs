//! TLS of a listener: certificate, key and the authorities of client certificates, renewed from their files while it serves.
//!
//! [`source`] reads and builds, [`watch`] renews and tells, [`names`] is who of those with a certificate is let in, [`handshake`]
//! brings one connection through. What comes out of a connection is the same as on a plain port. Must not know requests.

pub mod handshake;
pub mod names;
pub mod source;
pub mod watch;

//! From a target to an open connection: names, TCP, TLS, and when to dial again.

pub mod dial;
pub mod given;
pub mod proxy;
pub mod redial;
pub mod spawner;
pub mod stream;
pub mod tls;
pub mod tunnel;

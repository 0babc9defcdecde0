//! The process from outside: abused, overloaded, stopped, left by its clients. Short here; the long forms are `make test-abuse`,
//! `make test-handshakes`, `make test-overload` and `make test-stops`, which write what they measured into docs/hardening.md.

#![cfg(feature = "testing")]
#![expect(clippy::unwrap_used, reason = "what a test crate's helpers unwrap ends that test, as it should")]

#[expect(dead_code, reason = "the edge tests use the rest of it")]
#[path = "edge/attacks/abuses.rs"]
mod abuses;
#[path = "edge/attacks/attack.rs"]
mod attack;
#[path = "edge/attacks/bombs.rs"]
mod bombs;
#[path = "edge/harness.rs"]
#[expect(dead_code, reason = "the edge tests use the rest of it")]
mod harness;
#[path = "edge/attacks/socket.rs"]
mod socket;
mod support;

mod edge_process {
    pub mod abandoned;
    pub mod abuse;
    pub mod attacker;
    pub mod gateway;
    pub mod handshakes;
    pub mod health;
    pub mod honest;
    pub mod overload;
    pub mod report;
    pub mod stops;
}

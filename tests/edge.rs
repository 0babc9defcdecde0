//! The edge, inwards: the otlp receiver in process, attacked and conversed with over real sockets.

#![expect(clippy::unwrap_used, reason = "what a test crate's helpers unwrap ends that test, as it should")]

mod edge {
    pub mod abuse;
    #[path = "attacks/abuses.rs"]
    pub mod abuses;
    pub mod asking;
    #[path = "attacks/attack.rs"]
    pub mod attack;
    pub mod auth;
    #[path = "attacks/bombs.rs"]
    pub mod bombs;
    pub mod conformance;
    pub mod golden;
    pub mod harness;
    pub mod health;
    pub mod hoard;
    pub mod life;
    pub mod oracle;
    pub mod pages;
    pub mod pings;
    pub mod refusal;
    pub mod rejects;
    pub mod rules;
    #[path = "attacks/socket.rs"]
    pub mod socket;
    pub mod tls;
}

//! The edge, inwards: the otlp receiver in process, attacked and conversed with over real sockets.

#![expect(clippy::unwrap_used, reason = "what a test crate's helpers unwrap ends that test, as it should")]

mod edge {
    pub mod abuse;
    pub mod abuses;
    pub mod attack;
    pub mod conformance;
    pub mod golden;
    pub mod harness;
    pub mod life;
    pub mod oracle;
    pub mod refusal;
    pub mod rejects;
    pub mod rules;
}

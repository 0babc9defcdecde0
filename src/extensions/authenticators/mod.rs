//! Extensions that check who sends requests, or add credentials to them. One file for each kind.

pub mod bearer;
mod credential_file;
mod digest;
mod report;

//! Extensions that check who sends requests, or add credentials to them. One file for each kind.

mod access_token;
pub mod asking;
pub mod basic;
pub mod bearer;
mod credential_file;
mod digest;
pub mod headers_setter;
mod htpasswd;
pub mod oauth2client;
mod passwords;
mod report;

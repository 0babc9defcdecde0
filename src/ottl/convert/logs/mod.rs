//! Log lines of formats that others laid down: CEF, LEEF, the Common Log Format and the Extended Log Format (contrib
//! processor/transformprocessor, internal/logparsingfuncs).

mod clf;
mod elf;
mod security;

pub use clf::parse_clf;
pub use elf::parse_elf;
pub use security::{parse_cef, parse_leef};

//! Where commands print, and in which form. A closed pipe ends the printing, not the process with a panic.

use std::io::{self, Write};

use crate::telemetry::logging;

/// How a command prints: for a person, or for a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Text,
    Json,
}

pub fn line(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
}

pub fn error_line(text: &str) {
    let mut err = io::stderr().lock();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.write_all(b"\n"));
}

/// Colours only for a person at a terminal who did not set `NO_COLOR`.
pub fn colored() -> bool {
    logging::colored()
}

//! Arguments in, one exit code out. Everything else is in the library.

use std::process::ExitCode;

use clap::Parser;
use podgate::cli::{Cli, dispatch};

// Faster than glibc's on small buffers, and returns memory sooner (ARCHITECTURE.md, dependencies).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // clap exits with 2 on wrong usage by itself.
    ExitCode::from(dispatch(Cli::parse()) as u8)
}

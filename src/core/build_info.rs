//! What this binary was built from and for, as `build.rs` found it.

pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// A commit of git, with `-dirty` where the sources differed from it; `unknown` in development builds and outside of git.
pub const COMMIT: &str = env!("PODGATE_COMMIT");
/// The target triple: `x86_64-unknown-linux-musl`.
pub const TARGET: &str = env!("PODGATE_TARGET");
/// Behind the program's name: `0.1.0 (1a2b3c4d5e6f, x86_64-unknown-linux-musl)`.
pub const LONG: &str =
    concat!(env!("CARGO_PKG_VERSION"), " (", env!("PODGATE_COMMIT"), ", ", env!("PODGATE_TARGET"), ")");

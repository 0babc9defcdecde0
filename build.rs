//! Tells the program what it was built from and for: `--version` and `podgate_build_info` say it. Compiles `proto/` into
//! the names and numbers of the protocol (`build/protocol.rs`), and lays out what is released (`build/layout.rs`).
//!
//! The commit is asked of git in release builds alone: a development build would be made anew by each commit. Whoever builds
//! from an archive, or wants the same bytes from two folders, gives it in PODGATE_COMMIT.

#[path = "build/constants.rs"]
mod constants;
#[path = "build/layout.rs"]
mod layout;
#[path = "build/protocol.rs"]
mod protocol;
#[path = "build/tables.rs"]
mod tables;

use std::error::Error;
use std::path::Path;
use std::process::Command;

fn main() -> Result<(), Box<dyn Error>> {
    say_build();
    for path in ["build.rs", "build", "proto"] {
        say(&format!("rerun-if-changed={path}"));
    }
    let out = std::env::var("OUT_DIR")?;
    if let Some(argument) = layout::argument(Path::new(&out))? {
        say(&format!("rustc-link-arg-bin=podgate={argument}"));
    }
    protocol::generate(Path::new("proto"), Path::new(&out))
}

fn say_build() {
    let release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let given = std::env::var("PODGATE_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = given.or_else(|| release.then(asked).flatten()).unwrap_or_else(|| "unknown".to_owned());
    let target = std::env::var("TARGET").unwrap_or_else(|_| "unknown".to_owned());
    say("rerun-if-env-changed=PODGATE_COMMIT");
    if release {
        // A commit moves HEAD's log, an edit the sources.
        for path in [
            git(&["rev-parse", "--git-path", "logs/HEAD"]).unwrap_or_default(),
            "src".to_owned(),
            "Cargo.lock".to_owned(),
        ] {
            if std::path::Path::new(&path).exists() {
                say(&format!("rerun-if-changed={path}"));
            }
        }
    }
    say(&format!("rustc-env=PODGATE_COMMIT={commit}"));
    say(&format!("rustc-env=PODGATE_TARGET={target}"));
}

/// The commit of the work tree, with `-dirty` where it differs; `None` outside of git's reach.
fn asked() -> Option<String> {
    git(&["describe", "--always", "--dirty", "--exclude=*", "--abbrev=12"])
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok().filter(|output| output.status.success())?;
    let said = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!said.is_empty()).then_some(said)
}

#[allow(clippy::print_stdout, reason = "this is how a build script speaks to cargo")]
fn say(instruction: &str) {
    println!("cargo::{instruction}");
}

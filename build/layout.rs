//! Lays out the released program by what runs: the functions of `build/order.txt` stand side by side, in that order.
//!
//! The kernel brings code into memory in pieces of 64 KiB, and of 24 MB of code a running gateway executes 2: scattered, they
//! kept 13 MB resident (issue 22). A name of another compiler, profile or set of features fits nothing and changes nothing.

use std::error::Error;
use std::fmt::Write;
use std::path::Path;

const ORDER: &str = "build/order.txt";

/// Writes the linker's script to `out` and returns its argument; `None` where the names are of another program or the linker
/// is not the one that comes with the compiler.
pub fn argument(out: &Path) -> Result<Option<String>, Box<dyn Error>> {
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    let recorded = is("PROFILE", "release") && is("TARGET", "x86_64-unknown-linux-gnu");
    let flags = std::env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    if !recorded || std::env::var_os("RUSTC_LINKER").is_some() || flags.contains("link") || flags.contains("-fuse-ld") {
        return Ok(None);
    }
    let script = out.join("order.ld");
    std::fs::write(&script, of(&std::fs::read_to_string(ORDER)?)?)?;
    Ok(Some(format!("-Wl,-T,{}", script.display())))
}

/// A section for each function; what the optimiser moved between units of code has a number behind its name. A star stands
/// for the number of a function that no other has the name of.
fn of(order: &str) -> Result<String, std::fmt::Error> {
    let mut script = String::from("SECTIONS\n{\n  .text.podgate : ALIGN(64)\n  {\n");
    for name in order.lines().filter(|line| !line.starts_with('#')) {
        writeln!(script, "    *(.text.{name} .text.{name}.llvm.*)")?;
    }
    script.push_str("  }\n}\nINSERT BEFORE .text;\n");
    Ok(script)
}

//! Arguments in, one exit code out. Everything else is in the library.

use std::process::ExitCode;

use podgate::cli::command_line::{arguments, dispatch};

// Faster than glibc's on small buffers, and returns memory sooner (ARCHITECTURE.md, dependencies).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Blocks above 4 MiB come from the kernel and go back to it when they are freed. mimalloc would keep them for a second: ten
/// clients whose 63 MiB were refused made 268 MiB resident where tickets held 150 (tests/real/memory.py). A number without
/// its unit is in bytes, which comes to the least size of 64 KiB. Which addresses such blocks get is the kernel's choice, so that
/// the allocator's map of addresses does not grow (.cargo/config.toml).
const LARGE_BLOCKS: (&str, &str) = ("MIMALLOC_ARENA_MAX_OBJECT_SIZE", "4096K");

/// mimalloc reads its options when the program is loaded, so the program is loaded once more with them: same process, same
/// arguments. Whoever set the option knows better; where it cannot be loaded again, memory comes back later.
fn load_with_allocator_options() {
    use std::os::unix::process::CommandExt;
    if std::env::var_os(LARGE_BLOCKS.0).is_some() {
        return;
    }
    let (Ok(program), mut args) = (std::env::current_exe(), std::env::args_os()) else { return };
    let mut again = std::process::Command::new(program);
    if let Some(name) = args.next() {
        again.arg0(name);
    }
    // Returns only when it failed.
    let _ = again.args(args).env(LARGE_BLOCKS.0, LARGE_BLOCKS.1).exec();
}

fn main() -> ExitCode {
    load_with_allocator_options();
    // clap exits with 2 on wrong usage by itself.
    ExitCode::from(dispatch(arguments()) as u8)
}

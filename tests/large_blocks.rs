//! Blocks above 4 MiB, which the allocator takes from the kernel one by one (src/main.rs), leave nothing behind.

use std::fs;
use std::process::Command;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const IS_CHILD: &str = "PODGATE_LARGE_BLOCKS";
const NAME: &str = "blocks_that_come_and_go_do_not_make_the_map_of_addresses_grow";
const BLOCKS: usize = 20_000;
const BLOCK_BYTES: usize = 5 << 20;
/// Without .cargo/config.toml it is several times that.
const GROWTH_MAX_KIB: u64 = 2 << 10;

/// Resident memory of this process.
fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.trim().trim_end_matches("kB").trim().parse().expect("a number")
}

fn come_and_go(blocks: usize) {
    for at in 0..blocks {
        let mut block: Vec<u8> = Vec::with_capacity(BLOCK_BYTES);
        block.push(at as u8);
        std::hint::black_box(&mut block);
    }
}

#[test]
fn blocks_that_come_and_go_do_not_make_the_map_of_addresses_grow() {
    if std::env::var_os(IS_CHILD).is_some() {
        come_and_go(100);
        let before = resident_kib();
        come_and_go(BLOCKS);
        let grown = resident_kib().saturating_sub(before);
        assert!(grown <= GROWTH_MAX_KIB, "{grown} KiB more are resident after {BLOCKS} blocks of {BLOCK_BYTES} bytes");
        return;
    }
    // As the program has it, which is read when a process is loaded.
    let mut child = Command::new(std::env::current_exe().expect("this test"));
    child.args(["--exact", NAME, "--nocapture"]).env(IS_CHILD, "1").env("MIMALLOC_ARENA_MAX_OBJECT_SIZE", "4096K");
    let done = child.output().expect("it runs");
    assert!(
        done.status.success(),
        "{}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
}

//! The simulator: the gateway itself on a paused clock, in a world made of memory, by a seed.
//!
//! **What runs.** `Gateway`, wired from YAML as `podgate run` does, in one thread. What it touches outside of itself
//! (`core/outside/mod.rs`: wall clock, network, disk) is given by the simulation, everything else is the product's own code.
//! Tokio's clock is paused: it jumps to the next timer when nobody has anything to do, so a minute takes milliseconds.
//!
//! **The parts** (`tests/sim/`): `kinds` make scenarios from random numbers; `scenario` is what they are made of;
//! `world` holds network (`net`), clock, disk, next hop (`next_hop`), Elasticsearch (`elastic`), API server (`api`, the
//! sandbox of `kube`), pods and their processes (`client`); `truth` writes down what happened; `oracle` checks the laws
//! after every step and at the end; `run` plays a seed.
//!
//! **To add a kind:** write a function `fn(&mut Rng) -> Scenario` in a file of `tests/sim/kinds/`, append its line to
//! `KINDS`. `Scenario::default()` is a quiet gateway with one sender; set processors (YAML bodies, in order), pods
//! (`PodPlan`: how their processes batch, send and call themselves), `script` (when which `Event` happens), `ids` (how many
//! container.ids may be missing; wrong ones never). To add something that can happen: a variant of `Event` and its line in
//! `Stage::happen`. To add a law: a function in `oracle` that pushes one sentence for a fault.
//!
//! **To play:** `make sim SEEDS=10000` runs many, `KIND=file` those of one kind; a failing one is printed with the command that
//! plays it again, such as `make sim KIND=file SEED=17`; with `PODGATE_SIM_TELL=1` it prints what happened when. Each runs in a process of its own, so that nothing before it can change it.

#![allow(unsafe_code)] // one function in place of the C library's (see `entropy`), and an allocator that counts
#![allow(clippy::print_stdout, clippy::print_stderr)] // what a seed did is its report

#[path = "sim/api.rs"]
mod api;
#[path = "sim/client.rs"]
mod client;
#[path = "sim/clock.rs"]
mod clock;
#[path = "sim/clocks.rs"]
mod clocks;
#[path = "sim/days.rs"]
mod days;
#[path = "sim/disk.rs"]
mod disk;
#[path = "sim/elastic.rs"]
mod elastic;
#[path = "sim/files.rs"]
mod files;
#[path = "sim/kinds.rs"]
mod kinds;
#[path = "sim/memory.rs"]
mod memory;
#[path = "sim/net.rs"]
mod net;
#[path = "sim/next_hop.rs"]
mod next_hop;
#[path = "sim/oracle.rs"]
mod oracle;
#[path = "sim/otlp.rs"]
mod otlp;
#[path = "sim/run.rs"]
mod run;
#[path = "sim/scenario.rs"]
mod scenario;
#[path = "sim/tiers/mod.rs"]
mod tiers;
#[path = "sim/truth.rs"]
mod truth;
#[path = "sim/world.rs"]
mod world;

/// Random bytes of the operating system, in place of the C library's function of this name: keys of hash maps and the
/// order in which `select!` looks follow from the seed with it.
mod entropy {
    use std::cell::Cell;

    thread_local!(static STATE: Cell<u64> = const { Cell::new(0x5eed) });

    /// # Safety
    /// As getrandom(2): `buffer` has room for `length` bytes.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
        for at in 0..length {
            let state = STATE.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            STATE.set(state);
            // SAFETY: within the caller's buffer.
            unsafe { buffer.add(at).write((state >> 56) as u8) };
        }
        isize::try_from(length).unwrap_or(isize::MAX)
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.trim().parse().ok()
}

fn kind() -> Option<String> {
    std::env::var("PODGATE_SIM_KIND").ok().filter(|kind| !kind.is_empty())
}

/// Plays `PODGATE_SIM_SEED` of `PODGATE_SIM_KIND` and says what happened; without them there is nothing to play.
#[test]
fn one_seed() {
    let (Some(seed), Some(kind)) = (number("PODGATE_SIM_SEED"), kind()) else { return };
    let known = kinds::KINDS.iter().find(|known| known.name == kind);
    let report = run::simulate(known.unwrap_or_else(|| panic!("no kind has the name {kind}")), seed);
    let summary = &report.summary;
    assert!(
        report.faults.is_empty(),
        "seed {seed} ({kind}) breaks the law; play it again with `make sim KIND={kind} SEED={seed}`:\n  {}\n  {summary}",
        report.faults.join("\n  ")
    );
    println!("seed {seed} ({kind}): {summary}");
}

#[test]
fn what_was_acknowledged_arrives_or_is_named_whatever_happens() {
    let count = number("PODGATE_SIM_SEEDS").unwrap_or(200);
    let first = number("PODGATE_SIM_FIRST").unwrap_or(0);
    if number("PODGATE_SIM_SEED").is_none() {
        run::many(first..first + count, kind().as_deref());
    }
}

/// Found among ten thousand: an address given on while the API server was silent, two restarts within a second, clocks that
/// were set back twice.
#[test]
fn cases_that_once_broke_the_law_keep_it() {
    if number("PODGATE_SIM_SEED").is_none() && number("PODGATE_SIM_SEEDS").is_none() {
        let cases = [("silent_api", 223), ("silent_api", 300), ("stepped_clock", 234), ("stepped_clock", 288)];
        cases.into_iter().for_each(|(kind, seed)| run::one_of(kind, seed));
    }
}

#[test]
fn two_runs_of_a_seed_take_the_same_course() {
    if number("PODGATE_SIM_SEED").is_none() {
        kinds::KINDS.iter().for_each(|kind| run::twice(kind, 3));
    }
}

/// `PODGATE_TIER_SEEDS` of each kind from `PODGATE_TIER_FIRST` on; the table of docs/scale.md is printed.
#[test]
fn behind_fifty_agents_every_span_arrives_or_is_counted_and_only_traces_that_the_hash_moves_are_torn() {
    if number("PODGATE_SIM_SEED").is_some() {
        return;
    }
    let first = number("PODGATE_TIER_FIRST").unwrap_or(0);
    let broken = tiers::table(first..first + number("PODGATE_TIER_SEEDS").unwrap_or(1));
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Plays `PODGATE_SIM_HOURS` of a busy node; without it there is nothing to play.
#[test]
fn one_node() {
    let (Some(hours), Some(folder)) = (number("PODGATE_SIM_HOURS"), std::env::var_os("PODGATE_SIM_FOLDER")) else {
        return;
    };
    let pods = number("PODGATE_SIM_PODS").unwrap_or(hours * 70);
    let measured = run::paused(days::play(hours, pods, folder.as_ref()));
    for (hour, sizes) in measured.iter().enumerate().filter(|(hour, _)| hour % (measured.len() / 12).max(1) == 0) {
        println!("hour {hour}: {} bytes, {} series", sizes.live_bytes, sizes.series);
    }
    // The doubles' own logs fill up in the first days; before that bytes say nothing about the gateway.
    let slack = if hours >= 240 || pods >= 3_000 { 1 << 20 } else { 64 << 20 };
    let grown = days::grown(&measured, slack);
    assert!(grown.is_empty(), "after {hours} hours and {pods} pods these have grown:\n  {}", grown.join("\n  "));
}

#[test]
fn a_busy_node_does_not_grow_by_the_day() {
    if number("PODGATE_SIM_SEED").is_none() && number("PODGATE_SIM_HOURS").is_none() {
        run::node(number("PODGATE_SIM_DAYS").map_or(4, |days| days * 24), number("PODGATE_SIM_PODS").unwrap_or(800));
    }
}

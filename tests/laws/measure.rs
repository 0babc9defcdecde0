//! Work for each byte, at one size and at another: bytes allocated, and the CPU time of this thread.
//!
//! CPU time is not exact, but a cost that grows with the square of the size stands out by the ratio of the sizes. It is
//! the smallest of several runs, and a run that looks bad is repeated, so that a busy machine does not break the law.
//! The exact count is `make test-laws`: every call of `podgate_law_counted` is one figure of callgrind's.

use std::hint::black_box;

use podgate::telemetry::stdout;
use tokio::time::Instant;

use crate::counting::allocated;
use crate::generate::Generator;

/// The sizes of which the work for each byte is compared; `PODGATE_LAWS=16` makes the larger one 16 MiB.
const SMALL: usize = 4 << 10;
const LARGE: usize = 64 << 10;

/// A law is broken when a byte of the large input costs so many times what a byte of the small one does.
const TIMES_MAX: f64 = 5.0;
/// What a byte may cost in any case, in nanoseconds and in bytes allocated: a byte that is skipped costs next to nothing
/// in a small input that the nearest cache holds, and lists grow by doubling.
const NANOS_FREE: f64 = 6.0;
const BYTES_FREE: f64 = 16.0;
const ALLOCATED_MAX: f64 = 1.5;
const RUNS_MAX: usize = 3;
/// Generators that every run takes, and of how many others it takes one.
const FIRST: usize = 16;
const SHARE: usize = 12;
/// Of the small input in one run, so that the clock's own cost is not what is measured.
const REPEATS: usize = 4;

fn large() -> usize {
    let mebibytes = std::env::var("PODGATE_LAWS").ok().and_then(|text| text.parse::<usize>().ok());
    mebibytes.map_or(LARGE, |mebibytes| mebibytes << 20)
}

/// One way through the program: reads the request's bytes, does its work, says how many bytes it made.
pub type Way<'w> = &'w dyn Fn(&Generator, &[u8]) -> usize;

/// Checks a way on each generator and fails with all that break the law.
pub fn check(name: &str, generators: &[Generator], way: Way<'_>) {
    if let Ok(wanted) = std::env::var("PODGATE_LAWS_COUNT") {
        return count(name, generators, way, &wanted);
    }
    let broken: Vec<String> = taken(generators).filter_map(|generator| broken(name, generator, way)).collect();
    assert!(!generators.is_empty(), "{name}: nothing was generated");
    assert!(broken.is_empty(), "{} of {} break the law:\n{}", broken.len(), generators.len(), broken.join("\n"));
}

/// All generators in the long form; in the short one the first and every twelfth of the rest, so that `make test` stays
/// short. `PODGATE_LAWS_PART` takes another twelfth.
fn taken(generators: &[Generator]) -> impl Iterator<Item = &Generator> {
    let long = std::env::var_os("PODGATE_LAWS").is_some();
    let part = std::env::var("PODGATE_LAWS_PART").ok().and_then(|part| part.parse::<usize>().ok()).unwrap_or(0);
    let mine = move |at: usize| long || at < FIRST || at % SHARE == part % SHARE;
    generators.iter().enumerate().filter(move |(at, _)| mine(*at)).map(|(_, generator)| generator)
}

fn broken(name: &str, generator: &Generator, way: Way<'_>) -> Option<String> {
    let (small, large) = (generator.make(SMALL), generator.make(large()));
    // Patterns make their caches at first use.
    way(generator, &small);
    let little = fastest(RUNS_MAX, REPEATS, &small, || way(generator, &small));
    let limit = TIMES_MAX * little.nanos.max(NANOS_FREE);
    let mut much = fastest(1, 1, &large, || way(generator, &large));
    if much.allocated > ALLOCATED_MAX * little.allocated.max(BYTES_FREE) {
        let (before, after) = (little.allocated, much.allocated);
        return Some(format!("{name}, {}: {before:.1} bytes allocated for each byte, then {after:.1}", generator.name));
    }
    if much.nanos > limit {
        much = fastest(RUNS_MAX, 1, &large, || way(generator, &large));
    }
    let (before, after) = (little.nanos, much.nanos);
    (after > limit).then(|| format!("{name}, {}: {before:.1} ns for each byte, then {after:.1}", generator.name))
}

/// What a byte in or out costs.
struct Cost {
    nanos: f64,
    allocated: f64,
}

/// The fastest of so many runs of so many repetitions.
fn fastest(runs: usize, repeats: usize, body: &[u8], mut work: impl FnMut() -> usize) -> Cost {
    let mut cost = Cost { nanos: f64::MAX, allocated: f64::MAX };
    for _ in 0..runs {
        let (begun, before) = (Instant::now(), cpu_nanos());
        let (asked, made) = allocated(|| (0..repeats).map(|_| black_box(work())).sum::<usize>());
        let wall = begun.elapsed().as_nanos() as f64;
        let spent = before.zip(cpu_nanos()).map_or(wall, |(before, after)| (after - before) as f64).min(wall);
        let bytes = (body.len() * repeats + made) as f64;
        cost.nanos = cost.nanos.min(spent / bytes);
        cost.allocated = cost.allocated.min(asked.bytes as f64 / bytes);
    }
    cost
}

/// The scheduler's account of this thread, which it brings up to date when the thread yields; Linux only.
fn cpu_nanos() -> Option<u64> {
    std::thread::yield_now();
    let account = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    account.split_whitespace().next()?.parse().ok()
}

/// Under callgrind: calls [`podgate_law_counted`] once for each size and prints which call it was. `wanted` is sizes in KiB.
fn count(name: &str, generators: &[Generator], way: Way<'_>, wanted: &str) {
    let sizes: Vec<usize> = wanted.split(',').filter_map(|size| size.parse().ok()).collect();
    let only = std::env::var("PODGATE_LAWS_ONLY").unwrap_or_default();
    for generator in generators.iter().filter(|generator| generator.name.contains(&only)) {
        way(generator, &generator.make(SMALL));
        for size in &sizes {
            let body = generator.make(size << 10);
            let made = counted(way, generator, &body);
            stdout::line(&format!("counted\t{name}\t{}\t{size}\t{}", generator.name, body.len() + made));
        }
    }
}

/// What callgrind counts: see tests/laws/count.py.
#[inline(never)]
fn podgate_law_counted(work: &mut dyn FnMut()) {
    work();
}

fn counted(way: Way<'_>, generator: &Generator, body: &[u8]) -> usize {
    let mut made = 0;
    podgate_law_counted(&mut || made = black_box(way(generator, body)));
    made
}

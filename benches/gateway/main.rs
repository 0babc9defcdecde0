//! `make bench-gateway`: the whole process under an open-loop load, pinned to one core, beside two yardsticks.
//!
//! The process under test runs on core 1, load generator and sink on core 0. Reported: CPU nanoseconds of that process per
//! span, latency from the due time, memory. Beside podgate run a floor program (the same bytes through bare TCP, nothing
//! read) and the obvious pipeline (tonic, prost, ten attributes added to structs; for W5 with a tail sampler over them), in
//! the same run on the same spans. This binary starts itself in the roles of sink, floor and obvious pipeline.
//!
//! It also brings the load, the next hops and the floor of `make bench-versus` (tests/real/versus.py).
//!
//! BENCH_SECONDS (default 10) is the length of a measurement, BENCH_CASES a word that a case's name must hold.

mod bulk_sink;
mod floor;
mod forward;
mod gateway_config;
mod lines;
mod load;
mod measure;
mod obvious;
mod obvious_sampling;
mod process;
mod sink;

use podgate::telemetry::stdout;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let word = |at: usize| words.get(at).map_or("", String::as_str);
    match word(0) {
        "sink" => sink::run(),
        "floor" => floor::forward(word(1)),
        "forward" => forward::run(word(1), word(2)),
        "floor-sink" => floor::sink(),
        "floor-load" => floor::load(&words[1..]),
        "obvious" => obvious::run(word(1)),
        "obvious-sampling" => obvious_sampling::run(word(1)),
        "bulk-sink" => bulk_sink::run(),
        "load" => end(load::run(&words[1..])),
        // cargo passes --bench.
        _ => end(measure::all()),
    }
}

fn end(done: Result<(), String>) {
    if let Err(why) = done {
        stdout::error_line(&why);
        std::process::exit(1);
    }
}

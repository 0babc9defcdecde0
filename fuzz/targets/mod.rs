//! What is fuzzed: one function for each way in, which panics when a promise is broken. Two drivers call them: libFuzzer
//! (fuzz/src/main.rs) and the replay of the corpora in the ordinary tests (tests/edge_fuzz.rs).

pub mod config;
pub mod door;
pub mod inflate;
pub mod json;
pub mod node;
pub mod ottl;
pub mod wire;

/// Must return in well under a second for any input.
pub type Target = fn(&[u8]);

/// Every target under the name of its corpus.
pub const ALL: &[(&str, Target)] = &[
    ("request", wire::request),
    ("item", wire::item),
    ("json", json::text),
    ("json_differential", json::differential),
    ("frames", door::frames),
    ("grpc", door::grpc),
    ("http", door::http),
    ("gzip", inflate::gzip),
    ("zstd", inflate::zstd),
    ("deflate", inflate::deflate),
    ("pack", inflate::pack),
    ("snappy", inflate::snappy),
    ("snappy_framed", inflate::snappy_framed),
    ("yaml", config::yaml),
    ("ottl", ottl::text),
    ("audit", node::audit),
    ("lines", node::line),
    ("journal", node::journal),
];

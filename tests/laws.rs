//! The law of linear work (issue 12): no decoder, walker, editor or mapper does more for a byte of a large request than for
//! a byte of a small one, whatever the request is made of.
//!
//! `make test` compares 4 KiB with 64 KiB by bytes allocated and CPU time on a twelfth of the generators; `make test-laws` takes
//! all of them and 16 MiB, and counts instructions exactly by callgrind.

#![expect(unsafe_code, reason = "implementing GlobalAlloc is unsafe; it only counts")]
#![expect(clippy::unwrap_used, reason = "what a test crate's helpers unwrap ends that test, as it should")]

#[path = "laws/configurations.rs"]
mod configurations;
#[path = "allocations/counting.rs"]
mod counting;
#[path = "laws/documents.rs"]
mod documents;
#[path = "laws/door.rs"]
mod door;
#[path = "laws/exporters.rs"]
mod exporters;
#[path = "laws/generate.rs"]
mod generate;
#[expect(dead_code, reason = "the tests of the edge use the rest of it")]
#[path = "edge/harness.rs"]
mod harness;
#[path = "laws/inflate.rs"]
mod inflate;
#[path = "laws/measure.rs"]
mod measure;
#[path = "laws/node.rs"]
mod node;
#[path = "laws/processors.rs"]
mod processors;
#[expect(dead_code, reason = "the tests of enrichment use the rest of it")]
#[path = "enrich/rig.rs"]
mod rig;
#[path = "sampling/settings.rs"]
mod settings;
#[path = "laws/text.rs"]
mod text;
#[path = "laws/wire.rs"]
mod wire;

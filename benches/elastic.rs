//! What documents for Elasticsearch cost on W1's spans (2.5 documents a span): in each mapping mode, and compressed.
//!
//! Prints the bytes of JSON and nanoseconds of CPU time a span. `cargo bench --bench elastic`; a word after `--` picks
//! rows by name.

use std::hint::black_box;
use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use podgate::core::data::payload::{Envelope, Signal};
use podgate::core::time::UnixNanos;
use podgate::exporters::elasticsearch::mapping::{Bulk, Deltas, Mapper, MappingMode, MappingRequest, MappingSettings};
use podgate::otlp::envelope;

#[path = "support/rows.rs"]
mod rows;
#[path = "../tests/otlp/w1.rs"]
mod w1;

use rows::{COPIES, Rows};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A mapper with what it writes into.
struct Writer {
    mapper: Mapper,
    deltas: Deltas,
    bulk: Bulk,
}

impl Writer {
    fn new(mode: MappingMode, deterministic_ids: bool) -> Writer {
        let settings = MappingSettings { mode, deterministic_ids, ..MappingSettings::default() };
        Writer { mapper: Mapper::new(settings), deltas: Deltas::default(), bulk: Bulk::default() }
    }

    fn write(&mut self, envelope: &Envelope) -> &Bulk {
        self.bulk.clear();
        let request = MappingRequest {
            signal: Signal::Traces,
            envelope,
            mode: None,
            now: UnixNanos(0),
            arrived: UnixNanos(0),
            nonce: 0,
        };
        self.mapper.map(&request, &mut self.deltas, &mut self.bulk);
        &self.bulk
    }
}

fn main() {
    let wire = Bytes::from(w1::wire());
    let envelopes: Vec<Envelope> =
        (0..COPIES).map(|_| envelope::decode(Bytes::copy_from_slice(&wire)).expect("valid")).collect();
    let envelopes = &envelopes;
    let mut rows = Rows::new(w1::SPANS);
    let modes = [
        ("otel", MappingMode::Otel, true),
        ("otel without ids", MappingMode::Otel, false),
        ("ecs", MappingMode::Ecs, true),
        ("none", MappingMode::None, true),
    ];
    for (name, mode, ids) in modes {
        let mut writer = Writer::new(mode, ids);
        let bulk = writer.write(&envelopes[0]);
        assert!(bulk.faulty.is_empty());
        let (bytes, documents) = (bulk.lines.len() / w1::SPANS, bulk.documents.len());
        _ = writeln!(std::io::stdout(), "{name:<40} {bytes:>9} bytes/span  ({documents} documents a request)");
        rows.row(name, move |at| _ = black_box(writer.write(&envelopes[at])));
    }
    for (name, ids) in [("otel, gzip 1", true), ("otel without ids, gzip 1", false)] {
        let mut writer = Writer::new(MappingMode::Otel, ids);
        let mut body = Vec::new();
        rows.row(name, move |at| {
            body.clear();
            let mut gzip = GzEncoder::new(&mut body, Compression::new(1));
            gzip.write_all(&writer.write(&envelopes[at]).lines).expect("memory takes it");
            gzip.finish().expect("memory takes it");
            black_box(&body);
        });
    }
    rows.run();
}

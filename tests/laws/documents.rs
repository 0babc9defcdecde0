//! Elasticsearch documents, for each byte in and out: a document repeats what it shares with its neighbours.

use bytes::Bytes;
use podgate::core::data::payload::Signal;
use podgate::core::time::UnixNanos;
use podgate::exporters::elasticsearch::mapping::{Bulk, Deltas, Mapper, MappingMode, MappingRequest, MappingSettings};
use podgate::otlp::envelope;

use crate::generate::{Generator, every_field, pairs};
use crate::measure::check;

fn map(mode: MappingMode, signal: Signal, body: &[u8]) -> usize {
    let Ok(envelope) = envelope::decode(Bytes::copy_from_slice(body)) else { return 0 };
    let mut mapper = Mapper::new(MappingSettings { mode, ..MappingSettings::default() });
    let (mut deltas, mut bulk) = (Deltas::default(), Bulk::default());
    let (now, arrived) = (UnixNanos(0), UnixNanos(0));
    let request = MappingRequest { signal, envelope: &envelope, mode: None, now, arrived, nonce: 0 };
    mapper.map(&request, &mut deltas, &mut bulk);
    bulk.lines.len()
}

#[test]
fn documents_of_every_mode_are_made_in_linear_work() {
    for mode in MappingMode::ALL {
        for signal in [Signal::Traces, Signal::Logs, Signal::Metrics] {
            let generators: Vec<Generator> = every_field(signal).into_iter().chain(pairs_of(mode, signal)).collect();
            check(mode.name(), &generators, &|generator, body| map(mode, generator.signal, body));
        }
    }
}

/// The two modes that differ most.
fn pairs_of(mode: MappingMode, signal: Signal) -> Vec<Generator> {
    if matches!(mode, MappingMode::Otel | MappingMode::Ecs) { pairs(signal) } else { Vec::new() }
}

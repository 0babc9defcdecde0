//! What exporters make of a request beside its documents: lines for a screen, and what leaves compressed.

use bytes::Bytes;
use podgate::core::data::payload::Signal;
use podgate::core::time::UnixNanos;
use podgate::exporters::debug::page::DebugPage;
use podgate::exporters::debug::text::Detail;
use podgate::exporters::otlp::load_balancing::points;
use podgate::exporters::otlp::load_balancing::ring::Ring;
use podgate::exporters::otlp::load_balancing::route::{MemberOwners, RoutingKey};
use podgate::net::client::compress::Compression;
use podgate::otlp::envelope;
use podgate::otlp::regroup::portion::deal::{Undealt, deal};
use podgate::testing::telemetry;

use crate::generate::{Generator, every_field, pairs};
use crate::measure::check;

/// What is longer than 64 KiB is not shown: of a pair beyond twice that only the smaller things would be, which cost
/// more for each byte than both together.
const PAIR_BYTES_MAX: usize = 100 << 10;

#[test]
fn the_debug_exporter_prints_a_request_in_linear_work() {
    for style in [Detail::Normal, Detail::Detailed] {
        for signal in Signal::ALL {
            let beside = if signal == Signal::Profiles { Vec::new() } else { pairs(signal) };
            let beside = beside.into_iter().map(|pair| {
                let mut shorter = Generator::of(&pair.name.clone(), move |size| pair.make(size.min(PAIR_BYTES_MAX)));
                shorter.signal = signal;
                shorter
            });
            let generators: Vec<Generator> = every_field(signal).into_iter().chain(beside).collect();
            check("debug", &generators, &|generator, body| {
                let mut payload = telemetry::payload(generator.signal, Bytes::new(), UnixNanos(0));
                let Ok(envelope) = envelope::decode(Bytes::copy_from_slice(body)) else { return 0 };
                payload.envelope = envelope;
                let mut page = DebugPage::within(&payload.ticket);
                page.show(&payload, style).unwrap();
                page.text.len()
            });
        }
    }
}

type Make = fn(usize) -> Vec<u8>;

const BODIES: &[(&str, usize, Make)] = &[
    ("zeros in one part", usize::MAX, |size| vec![0; size]),
    ("noise in one part", usize::MAX, noise),
    ("noise in parts of 64 KiB", 64 << 10, noise),
    ("noise in parts of seven bytes", 7, noise),
    ("one byte in parts of one", 1, |size| vec![b'x'; size]),
    ("a short pattern", usize::MAX, |size| b"service.name\x12\x06orders".repeat(size.div_ceil(20))),
];

fn noise(size: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(11);
    (0..size).map(|_| random.u8(..)).collect()
}

#[test]
fn what_leaves_is_compressed_in_linear_work() {
    for compression in [Compression::GZIP, Compression::ZSTD, Compression::Zlib("deflate", 1), Compression::SnappyBlock]
    {
        for (name, part, make) in BODIES {
            let body = Generator::of(name, make);
            check(compression.token().unwrap(), &[body], &|_, body| {
                let parts = body.chunks((*part).min(body.len())).map(Bytes::copy_from_slice).collect();
                compression.apply(parts).unwrap().iter().map(Bytes::len).sum()
            });
        }
    }
}

#[test]
fn a_tier_is_dealt_a_request_in_linear_work_whatever_it_is_routed_by() {
    let ring = Ring::new((0..16).map(|at| format!("10.0.0.{at}:4317")));
    let names = ["f0", "n", "span.name"].map(str::to_owned).to_vec();
    let keys = [RoutingKey::TraceId, RoutingKey::Resource, RoutingKey::StreamId, RoutingKey::Attributes(names)];
    for (key, signal) in
        [(&keys[0], Signal::Traces), (&keys[1], Signal::Logs), (&keys[2], Signal::Metrics), (&keys[3], Signal::Metrics)]
    {
        let generators: Vec<Generator> = every_field(signal).into_iter().chain(pairs(signal)).collect();
        check(&format!("{key:?}"), &generators, &|_, body| {
            let mut payload = telemetry::payload(signal, Bytes::new(), UnixNanos(0));
            let Ok(envelope) = envelope::decode(Bytes::copy_from_slice(body)) else { return 0 };
            payload.envelope = envelope;
            points::cut(&mut payload, key, &ring);
            let mut owners = MemberOwners::new(signal, key, &ring);
            if owners.sole(&payload.envelope).is_some() {
                return envelope::encoded_len(&payload.envelope);
            }
            let all = vec![Undealt::whole(&mut payload)];
            let dealt = deal(&payload, all, |at| owners.of(at)).unwrap();
            dealt.iter().map(|part| envelope::encoded_len(&part.payload.envelope)).sum()
        });
    }
}

//! Bytes that nobody sends on purpose, or only on purpose: nothing panics, nothing reads past a slice, nothing grows
//! out of proportion.

use bytes::Bytes;
use podgate::core::data::payload::{Envelope, Signal};
use podgate::core::time::UnixNanos;
use podgate::exporters::elasticsearch::mapping::{Bulk, Deltas, Mapper, MappingMode, MappingRequest, MappingSettings};
use podgate::otlp::edit::Appender;
use podgate::otlp::regroup::{latest_time, split};
use podgate::otlp::walk::Malformed;
use podgate::otlp::{attributes, envelope, json, span, write};
use proptest::prelude::*;
use prost::Message;

use crate::arbitrary::Arbitrary;

/// Everything that reads wire bytes reads these. What comes out must lie within them, which safe slices guarantee; what
/// is checked is that nothing panics and that what was accepted passes on unharmed.
fn read_everything(bytes: &[u8]) {
    let body = Bytes::copy_from_slice(bytes);
    _ = span::read(bytes);
    _ = attributes::find(bytes, "service.name");
    _ = attributes::attributes(bytes).count();
    if let Ok(mut edit) = Appender::new(bytes) {
        edit.set_if_absent_or_empty("a", "b");
        edit.delete("service.name");
        Appender::new(&edit.finish().unwrap()).unwrap();
    }
    for signal in Signal::ALL {
        _ = span::check_depth(signal, bytes);
        let Ok(read) = envelope::decode(body.clone()) else { continue };
        let again = envelope::encode(&read);
        assert_eq!(envelope::decode(again.clone()).as_ref(), Ok(&read));
        assert!(again.len() <= 2 * bytes.len());
        envelope::count_items(signal, &read);
        let mut places = Vec::new();
        let by_trace = split::by_trace(&read);
        places.extend(by_trace.faulty.iter().copied());
        by_trace.traces().for_each(|(_, spans)| places.extend(spans.map(|span| span.place)));
        assert_eq!(split::pick(&read, &mut places).messages(), read.messages());
        read.groups.iter().for_each(|group| _ = latest_time::latest_time(signal, &group.scopes));
        map_to_documents(signal, &read);
        let mut line = Vec::new();
        match json::from_wire(signal, &read, &mut line) {
            Ok(()) => _ = serde_json::from_slice::<serde::de::IgnoredAny>(&line).unwrap(),
            Err(_) => assert!(line.is_empty()),
        }
    }
}

/// In every mode each line of a bulk body is JSON without a key twice, and every item has a document or a fault.
fn map_to_documents(signal: Signal, read: &Envelope) {
    for mode in MappingMode::ALL {
        let mut bulk = Bulk::default();
        let settings =
            MappingSettings { mode, logs_dynamic_id: true, logs_dynamic_pipeline: true, ..MappingSettings::default() };
        let request =
            MappingRequest { signal, envelope: read, mode: None, now: UnixNanos(0), arrived: UnixNanos(0), nonce: 0 };
        Mapper::new(settings).map(&request, &mut Deltas::default(), &mut bulk);
        let lines: Vec<&[u8]> = bulk.lines.split_inclusive(|byte| *byte == b'\n').collect();
        assert_eq!(lines.len(), 2 * bulk.documents.len());
        for line in lines {
            let text = std::str::from_utf8(line).unwrap();
            serde_json::from_str::<Unique>(text).unwrap_or_else(|why| panic!("{why} in mode {mode:?}: {text}"));
        }
        let mut start = 0;
        for document in &bulk.documents {
            let action = &bulk.lines[start..document.body];
            assert!(action.starts_with(b"{\"create\":{\"_index\":\"") && action.ends_with(b"}}\n"));
            start = document.end;
        }
        assert_eq!(start, bulk.lines.len());
        let documents: u64 = bulk.documents.iter().map(|document| u64::from(document.items)).sum();
        assert_eq!(documents + bulk.faulty.len() as u64, envelope::count_items(signal, read), "mode {mode:?}");
    }
}

/// JSON in which no object has a key twice or an empty one.
struct Unique;

impl<'de> serde::Deserialize<'de> for Unique {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Unique, D::Error> {
        deserializer.deserialize_any(Unique)
    }
}

impl<'de> serde::de::Visitor<'de> for Unique {
    type Value = Unique;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_str<E>(self, _: &str) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_unit<E>(self) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Unique, A::Error> {
        while list.next_element::<Unique>()?.is_some() {}
        Ok(Unique)
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Unique, A::Error> {
        let mut keys = std::collections::HashSet::new();
        while let Some((key, Unique)) = map.next_entry::<String, Unique>()? {
            if key.is_empty() || !keys.insert(key.clone()) {
                return Err(serde::de::Error::custom(format!("the key {key:?} is empty or comes twice")));
            }
        }
        Ok(Unique)
    }
}

fn read_as_json(body: &[u8]) {
    for signal in Signal::ALL {
        if let Ok(wire) = json::to_wire(signal, body) {
            envelope::decode(wire).unwrap();
        }
    }
}

/// A valid request of some signal.
fn some_request(seed: u64) -> (Signal, Vec<u8>) {
    let mut some = Arbitrary::new(seed);
    match seed % 4 {
        0 => (Signal::Traces, some.traces().encode_to_vec()),
        1 => (Signal::Metrics, some.metrics().encode_to_vec()),
        2 => (Signal::Logs, some.logs().encode_to_vec()),
        _ => (Signal::Profiles, some.profiles().encode_to_vec()),
    }
}

/// Cuts the bytes short or flips bits of one of them.
fn damage(bytes: &mut Vec<u8>, rng: &mut fastrand::Rng) {
    if bytes.is_empty() {
        return;
    }
    let at = rng.usize(0..bytes.len());
    match rng.u8(0..3) {
        0 => bytes.truncate(at),
        1 => bytes[at] ^= 1 << rng.u8(0..8),
        _ => bytes[at] = rng.u8(..),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        read_everything(&bytes);
        read_as_json(&bytes);
    }

    #[test]
    fn every_document_of_a_valid_request_is_sound(seed in any::<u64>()) {
        let (signal, bytes) = some_request(seed);
        map_to_documents(signal, &envelope::decode(Bytes::from(bytes)).unwrap());
    }

    #[test]
    fn damaged_requests_are_read_or_refused(seed in any::<u64>()) {
        let (signal, mut bytes) = some_request(seed);
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut line = Vec::new();
        json::from_wire(signal, &envelope::decode(Bytes::from(bytes.clone())).unwrap(), &mut line).unwrap();
        for _ in 0..8 {
            damage(&mut bytes, &mut rng);
            read_everything(&bytes);
            damage(&mut line, &mut rng);
            read_as_json(&line);
        }
    }
}

#[test]
fn a_body_of_empty_groups_does_not_become_gigabytes_of_empty_structs() {
    let mut body = Vec::new();
    for _ in 0..1 << 20 {
        write::bytes(&mut body, 1, b"");
    }
    assert_eq!(envelope::decode(Bytes::from(body)), Err(Malformed::Crowded));
}

/// Findings B1: joined at each repetition, these take minutes in this build, of which the limit leaves a fifth; joined once,
/// seconds.
#[test]
fn a_field_that_comes_again_and_again_is_joined_once() {
    const TIMES: usize = 400_000;
    let part: &[u8] = &[0x0a, 0x02, 0x12, 0x00];
    let repeated = |number: u32| {
        let mut message = Vec::new();
        (0..TIMES).for_each(|_| write::bytes(&mut message, number, part));
        message
    };
    let within = |number: u32, message: &[u8]| {
        let mut outer = Vec::new();
        write::bytes(&mut outer, number, message);
        outer
    };
    let begun = tokio::time::Instant::now();
    let resource = envelope::decode(Bytes::from(within(1, &repeated(1)))).unwrap();
    let scope = envelope::decode(Bytes::from(within(1, &within(2, &repeated(1))))).unwrap();
    let dictionary = envelope::decode(Bytes::from(repeated(2))).unwrap();
    let joined = [
        resource.groups[0].resource.as_deref(),
        scope.groups[0].scopes[0].scope.as_deref(),
        dictionary.dictionary.as_deref(),
    ];
    for bytes in joined {
        assert!(bytes == Some(&part.repeat(TIMES)), "protobuf merges messages by putting them one after the other");
    }
    assert!(begun.elapsed() < std::time::Duration::from_secs(20), "took {:?}", begun.elapsed());
}

#[test]
fn a_group_field_of_another_wire_type_refuses_the_request() {
    for body in [&[0x08, 0x01][..], &[0x0a, 0x02, 0x10, 0x01], &[0x0a, 0x04, 0x12, 0x02, 0x0d, 0x00]] {
        envelope::decode(Bytes::copy_from_slice(body)).unwrap_err();
    }
}

#[test]
fn a_faulty_span_leaves_the_rest_of_its_request_alone() {
    let good = [&[0x0a, 0x10][..], &[7; 16]].concat();
    let mut scope = Vec::new();
    write::bytes(&mut scope, 2, &[0xff]);
    write::bytes(&mut scope, 2, &good);
    let mut group = Vec::new();
    write::bytes(&mut group, 2, &scope);
    let mut body = Vec::new();
    write::bytes(&mut body, 1, &group);
    let read = envelope::decode(Bytes::from(body)).unwrap();
    let by_trace = split::by_trace(&read);
    assert_eq!((by_trace.faulty.len(), by_trace.trace_count()), (1, 1));
}

#[test]
fn many_repeated_json_lists_are_refused_before_they_cost_anything() {
    let body = format!("{{\"resourceSpans\":[{}{{}}]}}", "{\"scopeSpans\":[],\"scopeSpans\":[]},".repeat(1_000));
    let refused = json::to_wire(Signal::Traces, body.as_bytes()).unwrap_err();
    assert!(refused.to_string().contains("scopeSpans"), "{refused}");
}

//! Requests as bytes against requests as structs of `opentelemetry-proto`.

use bytes::Bytes;
use fastrand::Rng;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as ProtoValue;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use podgate::core::data::payload::{Envelope, Payload, Signal};
use podgate::core::time::UnixNanos;
use podgate::otlp::edit::{Appender, WireValue};
use podgate::otlp::envelope;
use podgate::otlp::regroup::split;
use podgate::otlp::regroup::split::ItemPosition;
use podgate::otlp::regroup::{latest_time, portion};
use podgate::otlp::span::{self, StatusCode};
use podgate::testing::telemetry;
use proptest::prelude::*;
use prost::Message;

use crate::arbitrary::Arbitrary;
use crate::spelling;

/// Canonical bytes come back unchanged, in one piece and in chunks.
fn check_identity(bytes: Vec<u8>) {
    let bytes = Bytes::from(bytes);
    let read = envelope::decode(bytes.clone()).unwrap();
    assert_eq!(envelope::encoded_len(&read), bytes.len());
    assert_eq!(envelope::encode(&read), bytes);
    for chunk in [1, 5_000, 1 << 20] {
        let chunks = envelope::encode_chunks(&read, chunk);
        assert_eq!(chunks.concat(), bytes);
        let received = bytes.as_ptr_range();
        let copied = chunks.iter().filter(|chunk| !received.contains(&chunk.as_ptr())).map(Bytes::len).sum::<usize>();
        assert!(copied <= envelope::copied_len(&read), "{copied} bytes copied");
    }
}

#[test]
fn a_long_run_of_items_is_not_copied_on_its_way_out_and_not_counted_as_copied() {
    let span = Span { name: "x".repeat(500), ..Span::default() };
    let scope = ScopeSpans { spans: vec![span; 100], ..ScopeSpans::default() };
    let group = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
    let bytes = ExportTraceServiceRequest { resource_spans: vec![group] }.encode_to_vec();
    check_identity(bytes.clone());
    let mut read = envelope::decode(Bytes::from(bytes.clone())).unwrap();
    assert!(envelope::copied_len(&read) < 100);
    read.groups[0].scopes[0].items = read.items().map(Bytes::copy_from_slice).collect();
    assert_eq!(envelope::copied_len(&read), bytes.len(), "small items of several buffers are joined");
}

/// Other spellings of the same request mean the same after passing through.
fn check_meaning<M: Message + Default + PartialEq + std::fmt::Debug>(request: &M, seed: u64) {
    let respelled = spelling::respell(&request.encode_to_vec(), &spelling::REQUEST, &mut Rng::with_seed(seed));
    let expected = M::decode(respelled.as_slice()).unwrap();
    let passed = envelope::encode(&envelope::decode(Bytes::from(respelled)).unwrap());
    assert_eq!(M::decode(passed).unwrap(), expected);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn canonical_requests_pass_byte_for_byte(seed in any::<u64>()) {
        let mut some = Arbitrary::new(seed);
        check_identity(some.traces().encode_to_vec());
        check_identity(some.logs().encode_to_vec());
        check_identity(some.metrics().encode_to_vec());
        check_identity(some.profiles().encode_to_vec());
    }

    #[test]
    fn any_valid_spelling_of_a_request_keeps_its_meaning(seed in any::<u64>()) {
        let mut some = Arbitrary::new(seed);
        check_meaning::<ExportTraceServiceRequest>(&some.traces(), seed);
        check_meaning::<ExportLogsServiceRequest>(&some.logs(), seed);
        check_meaning::<ExportMetricsServiceRequest>(&some.metrics(), seed);
        let mut profiles = some.profiles();
        profiles.dictionary = None;
        check_meaning::<ExportProfilesServiceRequest>(&profiles, seed);
    }

    #[test]
    fn items_are_counted_as_the_structs_hold_them(seed in any::<u64>()) {
        let mut some = Arbitrary::new(seed);
        let (traces, metrics) = (some.traces(), some.metrics());
        let spans = traces.resource_spans.iter().flat_map(|group| &group.scope_spans).map(|scope| scope.spans.len());
        prop_assert_eq!(envelope::count_items(Signal::Traces, &decoded(&traces)), spans.sum::<usize>() as u64);
        let points: usize = metrics
            .resource_metrics
            .iter()
            .flat_map(|group| &group.scope_metrics)
            .flat_map(|scope| &scope.metrics)
            .map(|metric| points_of(metric.data.as_ref()))
            .sum();
        prop_assert_eq!(envelope::count_items(Signal::Metrics, &decoded(&metrics)), points as u64);
    }

    #[test]
    fn joined_requests_mean_what_both_meant(seed in any::<u64>()) {
        let mut some = Arbitrary::new(seed);
        let (mut first, second) = (some.traces(), some.traces());
        let of = |envelope| {
            let empty = telemetry::payload(Signal::Traces, Bytes::new(), UnixNanos(0));
            Payload { envelope, ..empty }
        };
        let joined = portion::join([of(decoded(&first)), of(decoded(&second))]).unwrap().envelope;
        first.resource_spans.extend(second.resource_spans);
        prop_assert_eq!(ExportTraceServiceRequest::decode(envelope::encode(&joined)).unwrap(), first);
    }

    #[test]
    fn facts_are_the_fields_of_the_span(seed in any::<u64>()) {
        let span = Arbitrary::new(seed).span();
        let bytes = span.encode_to_vec();
        let facts = span::read(&bytes).unwrap();
        prop_assert_eq!(facts.trace_id, span.trace_id.as_slice());
        prop_assert_eq!(facts.span_id, span.span_id.as_slice());
        prop_assert_eq!(facts.trace_state, span.trace_state.as_bytes());
        prop_assert_eq!(facts.name, span.name.as_bytes());
        prop_assert_eq!(facts.is_root, span.parent_span_id.is_empty());
        prop_assert_eq!((facts.start, facts.end), (span.start_time_unix_nano, span.end_time_unix_nano));
        prop_assert_eq!((facts.flags, facts.kind), (span.flags, span.kind as u32));
        let status = match span.status.map_or(0, |status| status.code) {
            1 => StatusCode::Ok,
            2 => StatusCode::Error,
            _ => StatusCode::Unset,
        };
        prop_assert_eq!(facts.status, status);
    }

    #[test]
    fn edits_on_bytes_equal_the_same_edits_on_structs(seed in any::<u64>()) {
        let mut some = Arbitrary::new(seed);
        let mut resource = some.resource();
        let mut edit = Appender::new(&resource.encode_to_vec()).unwrap();
        for _ in 0..some.rng.usize(0..8) {
            edit_both(&mut some, &mut edit, &mut resource);
        }
        prop_assert_eq!(Resource::decode(edit.finish().unwrap()).unwrap(), resource);
    }

    #[test]
    fn splitting_by_trace_and_picking_all_of_it_again_loses_nothing(seed in any::<u64>()) {
        let mut some = Arbitrary::new(seed);
        let mut traces = some.traces();
        let ids: Vec<Vec<u8>> = (0..3).map(|_| (0..16).map(|_| some.rng.u8(1..)).collect()).collect();
        for span in traces.resource_spans.iter_mut().flat_map(|g| &mut g.scope_spans).flat_map(|s| &mut s.spans) {
            span.trace_id = if some.rng.u8(..) < 20 { vec![1, 2] } else { ids[some.rng.usize(0..3)].clone() };
        }
        let whole = decoded(&traces);
        let grouped = split::by_trace(&whole);
        let mut places = grouped.faulty.clone();
        for (id, spans) in grouped.traces() {
            let found: Vec<ItemPosition> = spans.map(|span| span.place).collect();
            prop_assert!(found.is_sorted());
            let mut picks = found.clone();
            let part = ExportTraceServiceRequest::decode(envelope::encode(&split::pick(&whole, &mut picks))).unwrap();
            prop_assert_eq!(spans_of(&part), spans_of(&traces).into_iter().filter(|span| span.trace_id == id.0).collect::<Vec<_>>());
            places.extend(found);
        }
        prop_assert_eq!(places.len(), whole.messages());
        let mut without_empty = traces.clone();
        without_empty.resource_spans.iter_mut().for_each(|group| group.scope_spans.retain(|scope| !scope.spans.is_empty()));
        without_empty.resource_spans.retain(|group| !group.scope_spans.is_empty());
        let back = ExportTraceServiceRequest::decode(envelope::encode(&split::pick(&whole, &mut places))).unwrap();
        prop_assert_eq!(back, without_empty);
    }

    #[test]
    fn the_latest_time_is_the_latest_sensible_one(seed in any::<u64>()) {
        let mut some = Arbitrary::new(seed);
        let sensible = |time: &u64| *time < 4_102_444_800_000_000_000;
        for group in some.traces().resource_spans {
            let bytes = decoded(&ExportTraceServiceRequest { resource_spans: vec![group.clone()] });
            let ends = group.scope_spans.iter().flat_map(|scope| &scope.spans).map(|span| span.end_time_unix_nano);
            let expected = ends.filter(sensible).max().unwrap_or(0);
            prop_assert_eq!(latest_time::latest_time(Signal::Traces, &bytes.groups[0].scopes), UnixNanos(expected));
        }
        for group in some.logs().resource_logs {
            let bytes = decoded(&ExportLogsServiceRequest { resource_logs: vec![group.clone()] });
            let records = group.scope_logs.iter().flat_map(|scope| &scope.log_records);
            let times = records.map(|record| match record.time_unix_nano {
                time if time != 0 && sensible(&time) => time,
                _ => record.observed_time_unix_nano,
            });
            let expected = times.filter(sensible).max().unwrap_or(0);
            prop_assert_eq!(latest_time::latest_time(Signal::Logs, &bytes.groups[0].scopes), UnixNanos(expected));
        }
    }
}

fn decoded(request: &impl Message) -> Envelope {
    envelope::decode(Bytes::from(request.encode_to_vec())).unwrap()
}

fn spans_of(request: &ExportTraceServiceRequest) -> Vec<Span> {
    request.resource_spans.iter().flat_map(|group| &group.scope_spans).flat_map(|scope| scope.spans.clone()).collect()
}

fn points_of(data: Option<&metric::Data>) -> usize {
    match data {
        None => 0,
        Some(metric::Data::Gauge(gauge)) => gauge.data_points.len(),
        Some(metric::Data::Sum(sum)) => sum.data_points.len(),
        Some(metric::Data::Histogram(histogram)) => histogram.data_points.len(),
        Some(metric::Data::ExponentialHistogram(histogram)) => histogram.data_points.len(),
        Some(metric::Data::Summary(summary)) => summary.data_points.len(),
    }
}

/// One random edit, made on the bytes and on the struct.
fn edit_both(some: &mut Arbitrary, edit: &mut Appender, resource: &mut Resource) {
    let key = match some.rng.bool() {
        true => some.text(),
        false => resource.attributes.first().map_or_else(String::new, |attribute| attribute.key.clone()),
    };
    let text = some.text();
    let (value, proto) = match some.rng.u8(0..5) {
        0 => (WireValue::Str(&text), ProtoValue::StringValue(text.clone())),
        1 => (WireValue::Int(-7), ProtoValue::IntValue(-7)),
        2 => (WireValue::Bool(true), ProtoValue::BoolValue(true)),
        3 => (WireValue::Double(1.5), ProtoValue::DoubleValue(1.5)),
        _ => {
            let values = ["x", ""].map(|text| AnyValue { value: Some(ProtoValue::StringValue(text.into())) });
            (WireValue::StrArray(&["x", ""]), ProtoValue::ArrayValue(ArrayValue { values: values.to_vec() }))
        }
    };
    let attribute = KeyValue { key: key.clone(), value: Some(AnyValue { value: Some(proto) }), ..KeyValue::default() };
    let list = &mut resource.attributes;
    match some.rng.u8(0..4) {
        0 => {
            edit.append(&key, value);
            list.push(attribute);
        }
        1 => {
            edit.replace(&key, value);
            list.retain(|old| old.key != key);
            list.push(attribute);
        }
        2 => {
            let there = list.iter().any(|old| old.key == key);
            assert_eq!(edit.delete(&key), there);
            list.retain(|old| old.key != key);
        }
        _ => {
            let old = list.iter().find(|old| old.key == key);
            let empty = old.is_none_or(|old| match old.value.as_ref().and_then(|value| value.value.as_ref()) {
                None => true,
                Some(ProtoValue::StringValue(text)) => text.is_empty(),
                Some(_) => false,
            });
            assert_eq!(edit.set_if_absent_or_empty(&key, value), empty);
            if empty {
                list.retain(|old| old.key != key);
                list.push(attribute);
            }
        }
    }
}

//! Generated traces against the reference decoder: sizes, trees, shares, and traces that go on in another request.

use std::collections::HashMap;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use super::*;

fn stream(mix: Mix) -> TraceStream {
    TraceStream::new(vec![field_resource("shop", &pod_uid(1), "shop-1", "app")], mix, 7)
}

fn spans(bytes: Bytes) -> Vec<Span> {
    let request = ExportTraceServiceRequest::decode(bytes).expect("valid protobuf");
    request.resource_spans.into_iter().flat_map(|group| group.scope_spans).flat_map(|scope| scope.spans).collect()
}

#[test]
fn a_request_of_500_spans_has_567_bytes_a_span_and_twelve_attributes() {
    let bytes = stream(Mix::default()).request(500, UnixNanos::from_secs(1_000));
    assert!((560..=574).contains(&(bytes.len() / 500)), "{} bytes a span", bytes.len() / 500);
    let spans = spans(bytes);
    assert_eq!(spans.len(), 500);
    for span in &spans {
        assert_eq!(span.attributes.len(), 12);
        assert!((1..=2).contains(&span.events.len()));
    }
}

#[test]
fn the_bytes_are_what_the_reference_encoder_would_write() {
    let bytes = stream(Mix::default()).request(40, UnixNanos::from_secs(1_000));
    let decoded = ExportTraceServiceRequest::decode(bytes.clone()).expect("valid protobuf");
    assert_eq!(decoded.encode_to_vec(), bytes);
}

#[test]
fn a_trace_is_a_tree_of_one_root_whose_children_lie_within_their_parents() {
    let spans = spans(stream(Mix::default()).request(100, UnixNanos::from_secs(1_000)));
    for trace in spans.chunks(10) {
        assert!(trace.iter().all(|span| span.trace_id == trace[0].trace_id));
        assert!(trace[0].parent_span_id.is_empty());
        for span in &trace[1..] {
            let parent = trace.iter().find(|other| other.span_id == span.parent_span_id).expect("its parent");
            assert!(parent.start_time_unix_nano <= span.start_time_unix_nano);
            assert!(parent.end_time_unix_nano >= span.end_time_unix_nano);
            assert!(span.start_time_unix_nano <= span.events[0].time_unix_nano);
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_the_mix_its_share_of_failures() {
    let now = UnixNanos::from_secs(1_000);
    let mix = Mix { failed_percent: 20, ..Mix::default() };
    assert_eq!(stream(mix).request(300, now), stream(mix).request(300, now));
    let spans = spans(stream(mix).request(10_000, now));
    let failed = spans.iter().filter(|span| span.status.as_ref().is_some_and(|status| status.code == 2)).count();
    assert!((150..=250).contains(&failed), "{failed} of 1,000 traces");
}

#[test]
fn a_spread_trace_comes_whole_in_two_requests() {
    let mut stream = stream(Mix { spread_percent: 20, ..Mix::default() });
    let requests: Vec<Vec<Span>> = (0..20).map(|_| spans(stream.request(500, UnixNanos::from_secs(1_000)))).collect();
    let mut pieces: HashMap<Vec<u8>, Vec<usize>> = HashMap::new();
    for (number, spans) in requests.iter().enumerate() {
        spans.iter().for_each(|span| pieces.entry(span.trace_id.clone()).or_default().push(number));
    }
    let ended: Vec<&Vec<usize>> = pieces.values().filter(|of| of[0] < 18).collect();
    let torn: Vec<_> = ended.iter().filter(|of| of.len() != 10 || of[9] - of[0] > 1).collect();
    assert!(torn.is_empty(), "{torn:?} of {}", ended.len());
    let spread = ended.iter().filter(|of| of[9] > of[0]).count() * 100 / ended.len();
    assert!((15..=28).contains(&spread), "{spread} %");
}

#[test]
fn traces_that_do_not_fit_go_on_in_the_next_request() {
    let mut stream = stream(Mix { spans_per_trace: 8, ..Mix::default() });
    let first = spans(stream.request(5, UnixNanos::from_secs(9)));
    let second = spans(stream.request(5, UnixNanos::from_secs(9)));
    assert_eq!(first[0].trace_id, second[0].trace_id);
    assert_ne!(first[0].trace_id, second[3].trace_id);
    assert!(second[3].parent_span_id.is_empty());
}

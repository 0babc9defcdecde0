//! Documents for Elasticsearch: what mapping allocates once its buffers have grown.

use bytes::Bytes;
use podgate::core::data::payload::Signal;
use podgate::core::time::UnixNanos;
use podgate::exporters::elasticsearch::delivery::bulk::verdict;
use podgate::exporters::elasticsearch::mapping::{Bulk, Deltas, Mapper, MappingMode, MappingRequest, MappingSettings};
use podgate::exporters::otlp::answer_json::partial_success_json;
use podgate::otlp::envelope;

use crate::{allocations, counting, w1};

/// What each of the five scopes may cost: its destinations and its shared end.
const PER_SCOPE_MAX: usize = 50;

#[test]
fn documents_for_elasticsearch_cost_no_allocation_of_their_own_once_the_buffers_have_grown() {
    let request = envelope::decode(Bytes::from(w1::wire())).unwrap();
    for mode in [MappingMode::Otel, MappingMode::Ecs] {
        let mut mapper = Mapper::new(MappingSettings { mode, ..MappingSettings::default() });
        let (mut deltas, mut bulk) = (Deltas::default(), Bulk::default());
        let mut map = || {
            bulk.clear();
            let request = MappingRequest {
                signal: Signal::Traces,
                envelope: &request,
                mode: None,
                now: UnixNanos(0),
                arrived: UnixNanos(0),
                nonce: 0,
            };
            mapper.map(&request, &mut deltas, &mut bulk);
            bulk.documents.len()
        };
        map();
        let (count, documents) = allocations(map);
        assert_eq!(documents, w1::SPANS * 5 / 2);
        assert!(count <= 5 * PER_SCOPE_MAX, "{count} allocations for {documents} documents, mode {mode:?}");
    }
}

#[test]
fn of_what_an_answer_holds_beside_what_is_used_nothing_is_kept_while_it_is_read() {
    let much = format!("[{}0]", "0,".repeat(500_000));
    let error = format!(r#"{{"root_cause":{much},"type":"t","reason":"r","caused_by":{{"type":{much}}}}}"#);
    for head in ["{\"items\":[", "{ \"items\":["] {
        let answer = format!(r#"{head}{{"create":{{"status":400,"error":{error}}}}}]}}"#);
        let (asked, said) =
            counting::allocated(|| verdict::read(answer.as_bytes(), 1, |_, said| Some(said.status)).unwrap());
        assert_eq!(said, [(0, 400)]);
        assert!(asked.bytes < 4_096, "{} bytes for an answer of {}", asked.bytes, answer.len());
    }
    let refusal = format!(r#"{{"error":{error},"status":400}}"#);
    let (asked, said) = counting::allocated(|| verdict::request_error(refusal.as_bytes()));
    assert_eq!(said, ("t".to_owned(), "r".to_owned()));
    assert!(asked.bytes < 4_096, "{} bytes for a refusal of {}", asked.bytes, refusal.len());
    let partial =
        format!(r#"{{"partialSuccess":{{"rejectedSpans":"3","more":{much},"errorMessage":"bad"}},"x":{much}}}"#);
    let (asked, said) = counting::allocated(|| partial_success_json(partial.as_bytes()));
    assert_eq!((said.rejected, said.message.as_str()), (3, "bad"));
    assert!(asked.bytes < 4_096, "{} bytes for an answer of {}", asked.bytes, partial.len());
}

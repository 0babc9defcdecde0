//! Documents for Elasticsearch: what mapping allocates once its buffers have grown.

use bytes::Bytes;
use podgate::core::data::payload::Signal;
use podgate::core::time::UnixNanos;
use podgate::exporters::elasticsearch::mapping::{Bulk, Deltas, Mapper, MappingMode, MappingRequest, MappingSettings};
use podgate::otlp::envelope;

use crate::{allocations, w1};

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

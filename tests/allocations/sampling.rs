//! Tail sampling at a steady load: requests, resources and parcels may allocate, spans and traces may not.

use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use podgate::core::data::budget::{Budget, Ticket};
use podgate::core::data::origin::Origin;
use podgate::core::data::payload::{Payload, Signal};
use podgate::core::data::settlement::Share;
use podgate::core::time::UnixNanos;
use podgate::otlp::envelope;
use podgate::processors::tail_sampling::engine::{Bounds, Engine};
use podgate::processors::tail_sampling::held::account::ByteAccount;
use podgate::processors::tail_sampling::held::admission::{Admission, AdmittedRequest};
use podgate::processors::tail_sampling::policies::meter::RateMeters;
use serde_json::json;

use crate::load::Load;
use crate::settings::settings;
use crate::{allocations, w1};

/// Requests held at a time, and measured after so many have passed.
const HELD: u64 = 100;
const MEASURED: u64 = 300;

/// Allocations of ingesting, deciding and releasing one request of `wire`, once as much leaves as comes.
fn per_request(wire: Vec<u8>, alone: bool) -> f64 {
    let settings = settings(&json!({
        "decision_wait": "1s",
        "decision_cache": { "sampled_cache_size": 1000, "non_sampled_cache_size": 4000 },
        "policies": [
            { "name": "errors", "type": "status_code", "status_code": { "status_codes": ["ERROR"] } },
            { "name": "slow", "type": "latency", "latency": { "threshold_ms": 60000 } },
            { "name": "user", "type": "string_attribute", "string_attribute": { "key": "enduser.id", "values": ["x"] } },
            { "name": "rate", "type": "rate_limiting", "rate_limiting": { "spans_per_second": 10 } },
            { "name": "some", "type": "probabilistic", "probabilistic": { "sampling_percentage": 20 } },
        ],
    }));
    let load = Load::new(wire, alone);
    let account = ByteAccount::new(1 << 40, &Budget::unlimited());
    let origin = Arc::new(Origin::internal(UnixNanos::default()));
    let mut now = UnixNanos::from_secs(1_760_000_000);
    let meters = Arc::new(RateMeters::new(&settings.meters, now));
    let bounds = Bounds { traces: None, giant_bytes: u64::MAX, spare_bytes: 1 << 30 };
    let clock = (now, tokio::time::Instant::now as fn() -> tokio::time::Instant);
    let mut core = Engine::new(settings.clone(), meters, bounds, RandomState::default(), clock);
    let admission = Admission { leaves: &settings.leaves, account: &account, shards: 1, seed: 1 };
    let (mut total, mut released) = (0, 0);
    for number in 0..HELD + 2 * MEASURED {
        now = now.saturating_add(Duration::from_secs(1) / HELD as u32);
        let envelope = envelope::decode(load.request(number)).expect("a valid request");
        let items = envelope.messages() as u64;
        let share = Share::none();
        let payload =
            Payload { signal: Signal::Traces, envelope, items, origin: origin.clone(), ticket: Ticket::free(), share };
        let (count, spans) = allocations(|| {
            let admitted = admission.read(&payload).expect("memory without limit");
            let incoming = AdmittedRequest {
                envelope: &payload.envelope,
                groups: &admitted.groups,
                links: &admitted.links,
                version: 1,
            };
            core.accept(incoming, &admitted.runs[0], now);
            while core.decide_due(now, 100) {}
            core.tidy(now);
            let mut spans = 0;
            while let Some(parcel) = core.take_parcel() {
                spans += parcel.into_payload(Ticket::free(), now).items;
            }
            spans
        });
        if number >= HELD + MEASURED {
            total += count;
            released += spans;
        }
    }
    assert!(core.invariants());
    let share = released as f64 / (MEASURED * 500) as f64;
    assert!((0.1..0.5).contains(&share) || !alone, "{share} of the spans released");
    total as f64 / MEASURED as f64
}

/// W1's request with every span twice.
fn twice() -> Vec<u8> {
    let mut request = w1::request();
    for scope in request.resource_spans.iter_mut().flat_map(|group| &mut group.scope_spans) {
        scope.spans = scope.spans.iter().flat_map(|span| [span.clone(), span.clone()]).collect();
    }
    prost::Message::encode_to_vec(&request)
}

#[test]
fn neither_spans_nor_traces_allocate_once_sampling_runs_steadily() {
    let usual = per_request(w1::wire(), false);
    let twice = per_request(twice(), false);
    let alone = per_request(w1::wire(), true);
    println!("allocations a request: {usual} of 50 traces with 500 spans, {twice} with 1000, {alone} of 500 traces");
    assert!(usual <= 30.0, "{usual} allocations a request of one resource and five scopes");
    assert!(twice <= usual + 5.0, "{twice} allocations with twice the spans, {usual} with once");
    assert!(alone <= usual + 10.0, "{alone} allocations with ten times the traces, {usual} with once");
}

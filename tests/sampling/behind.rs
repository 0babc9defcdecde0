//! A `probabilistic_sampler` behind weights, proportional 50 %: no threshold contradicts its trace, and the weighted sums still
//! estimate the whole.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::json;

use podgate::core::data::payload::Signal;
use podgate::core::stage::factory::Stage;
use podgate::otlp::consistency::threshold::{of_trace_id, probability};
use podgate::otlp::consistency::tracestate;
use podgate::processors::probabilistic_sampler;
use podgate::testing::check;
use podgate::testing::stage::stage_context;

use crate::promises::seconds;
use crate::rig::Rig;
use crate::spans::{failed, request_of, span};

const TRACES: u64 = 6_000;
/// Standard errors; five sums are checked, so chance alone is beyond in one of 3,000 sets of ids.
const OFF_MAX: f64 = 4.0;

/// What came out behind the second sampler, by trace id: threshold, spans, and whether it failed.
async fn behind(rig: &Rig) -> BTreeMap<Vec<u8>, (u64, u64, bool)> {
    const PATH: &str = "processors::probabilistic_sampler";
    let plan =
        check::sound(PATH, "{mode: proportional, sampling_percentage: 50}", probabilistic_sampler::FACTORY.check);
    let end = std::sync::Arc::new(crate::rig::Sink::default());
    let cx = stage_context(&rig.host, PATH, Signal::Traces);
    let Stage::Consumer { consumer: second, .. } = plan.build(cx, end.clone()) else { panic!("a stage") };
    let mut traces = BTreeMap::new();
    let payloads = std::mem::take(&mut *rig.sink.payloads.lock().expect("not poisoned"));
    for payload in payloads {
        second.consume(payload).await.expect("it refuses nothing");
    }
    for left in end.payloads.lock().expect("not poisoned").iter() {
        let request = podgate::otlp::envelope::encode(&left.envelope);
        let request = ExportTraceServiceRequest::decode(request).expect("a request");
        let spans =
            request.resource_spans.into_iter().flat_map(|group| group.scope_spans).flat_map(|scope| scope.spans);
        for Span { trace_id, trace_state, status, .. } in spans {
            let marks = tracestate::read(trace_state.as_bytes()).expect("a trace state");
            let threshold = marks.threshold.unwrap_or_else(|| panic!("no threshold in {trace_state:?}"));
            let randomness = of_trace_id(&trace_id[..].try_into().expect("sixteen bytes"));
            assert!(threshold <= randomness, "{threshold:x} is above {randomness:x}");
            let known = traces.entry(trace_id).or_insert((threshold, 0, false));
            assert_eq!(known.0, threshold, "one threshold for all spans of a trace");
            known.1 += 1;
            known.2 |= status.is_some_and(|status| status.code == 2);
        }
    }
    traces
}

fn with_outcome(span: Span, is_failed: bool) -> Span {
    if is_failed { failed(span) } else { span }
}

#[tokio::test(start_paused = true)]
async fn a_sampler_behind_finds_no_contradiction_and_sums_stay_right_in_every_stratum() {
    let some = |percent: u64| json!({ "name": format!("some-{percent}"), "type": "probabilistic", "probabilistic": { "sampling_percentage": percent } });
    let carts = json!({ "name": "carts", "type": "string_attribute", "string_attribute": { "key": "service.name", "values": ["cart"] } });
    let rig = Rig::start(&json!({
        "decision_wait": "1s",
        "podgate": { "weights": "th" },
        "policies": [
            { "name": "errors", "type": "status_code", "status_code": { "status_codes": ["ERROR"] } },
            { "name": "some-carts", "type": "and", "and": { "and_sub_policy": [carts, some(40)] } },
            { "name": "rate", "type": "rate_limiting", "rate_limiting": { "spans_per_second": 40, "burst_capacity": 80 } },
            some(10),
        ],
    }))
    .await;
    // Of each trace: spans, whether it failed, whether it is of `cart`.
    let origin = |trace: u64| (1 + trace % 3, trace % 20 == 7, trace % 4 == 1);
    for first in (0..TRACES).step_by(500) {
        for (service, cart) in [("cart", true), ("shop", false)] {
            let of = (first..first + 500).filter(|trace| origin(*trace).2 == cart);
            let spans = of.flat_map(|trace| {
                let (spans, is_failed, _) = origin(trace);
                (0..spans).map(move |number| with_outcome(span(trace, number), is_failed))
            });
            rig.send(&request_of(service, spans.collect())).await.expect("taken");
        }
        seconds(1.0).await;
    }
    seconds(3.0).await;
    let kept = behind(&rig).await;
    let ids: BTreeMap<Vec<u8>, u64> = (0..TRACES).map(|trace| (crate::spans::id(trace), trace)).collect();
    let strata: [(&str, &dyn Fn(u64) -> f64); 5] = [
        ("traces", &|_| 1.0),
        ("spans", &|trace| origin(trace).0 as f64),
        ("errors", &|trace| f64::from(u8::from(origin(trace).1))),
        ("carts without an error", &|trace| f64::from(u8::from(origin(trace).2 && !origin(trace).1))),
        ("shops without an error", &|trace| f64::from(u8::from(!origin(trace).2 && !origin(trace).1))),
    ];
    for (name, value) in strata {
        let truth: f64 = (0..TRACES).map(value).sum();
        let weighed = || kept.iter().map(|(id, (threshold, ..))| (1.0 / probability(*threshold), value(ids[id])));
        let estimate: f64 = weighed().map(|(weight, value)| weight * value).sum();
        let error = weighed().map(|(weight, value)| weight * (weight - 1.0) * value * value).sum::<f64>().sqrt();
        assert!((estimate - truth).abs() <= OFF_MAX * error, "{name}: {estimate:.0} of {truth}, error {error:.0}");
        assert!(error < truth / 4.0, "{name}: an error of {error:.0} shows nothing");
    }
    assert!(kept.len() < TRACES as usize / 3, "{} traces are left", kept.len());
    rig.drain().await;
}

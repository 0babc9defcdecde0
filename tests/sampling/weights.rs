//! Weights on spans: what is read of what came, what is written on what is kept, and what `validate` says of it.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::{Value as Json, json};

use podgate::core::diagnostic::Severity;
use podgate::core::report::routes::PageQuery;
use podgate::otlp::consistency::threshold::of_trace_id;
use podgate::otlp::consistency::tracestate;

use crate::promises::seconds;
use crate::rig::{Rig, checked};
use crate::spans::{failed, hex, id, request, span};

fn config(weights: &str, policies: Json) -> Json {
    json!({ "decision_wait": "1s", "policies": policies, "podgate": { "weights": weights } })
}

fn chance(percent: f64) -> Json {
    json!({ "name": "some", "type": "probabilistic", "probabilistic": { "sampling_percentage": percent } })
}

fn errors() -> Json {
    json!({ "name": "errors", "type": "status_code", "status_code": { "status_codes": ["ERROR"] } })
}

fn randomness(trace: u64) -> u64 {
    of_trace_id(&id(trace).try_into().expect("sixteen bytes"))
}

fn with_state(mut span: Span, state: &str) -> Span {
    span.trace_state = state.to_owned();
    span
}

/// The trace states of the spans that arrived, by trace id in hex.
fn states(rig: &Rig) -> BTreeMap<String, Vec<String>> {
    let mut states: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for span in rig.sink.spans.lock().expect("holds in this test").iter() {
        let facts = podgate::otlp::span::read(span).expect("a span");
        let id: String = facts.trace_id.iter().map(|byte| format!("{byte:02x}")).collect();
        states.entry(id).or_default().push(String::from_utf8_lossy(facts.trace_state).into_owned());
    }
    states
}

#[tokio::test(start_paused = true)]
async fn a_trace_is_kept_by_its_own_randomness_and_its_spans_say_with_what_probability() {
    let rig = Rig::start(&config("auto", json!([errors(), chance(25.0)]))).await;
    for trace in 0..400 {
        let spans = vec![if trace % 10 == 0 { failed(span(trace, 0)) } else { span(trace, 0) }];
        rig.send(&request(spans)).await.expect("holds in this test");
    }
    seconds(3.0).await;
    let states = states(&rig);
    for trace in 0..400 {
        let wanted = match (trace % 10, randomness(trace) >= 3 << 54) {
            (0, _) => Some(vec!["ot=th:0;p:0".to_owned()]),
            (_, true) => Some(vec!["ot=th:c;p:2".to_owned()]),
            (_, false) => None,
        };
        assert_eq!(states.get(&hex(trace)), wanted.as_ref(), "{trace}");
    }
    // Late spans carry what their trace carries.
    let (kept, weight) =
        (1..400).find_map(|trace| Some((trace, states.get(&hex(trace))?[0].clone()))).expect("one is kept");
    rig.send(&request(vec![span(kept, 1)])).await.expect("holds in this test");
    seconds(2.0).await;
    let after = self::states(&rig)[&hex(kept)].clone();
    assert_eq!(after, [weight.clone(), weight]);
    let page = rig.host.routes.ask(&format!("/v1/traces/{}", hex(kept)), &PageQuery::new()).expect("a page").await.body;
    assert_eq!(page["weight"], 4.0, "{page}");
    assert_eq!(page["tree"][1]["randomness"], randomness(kept));
    assert_eq!(rig.host.stats.total("podgate_tail_sampling_weights"), states.len() as u64);
    rig.drain().await;
    rig.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn what_was_sampled_before_is_not_counted_twice() {
    let mut config = config("th", json!([chance(50.0)]));
    config["podgate"]["weight_attributes"] = true.into();
    let rig = Rig::start(&config).await;
    let states_of = [
        "ot=rv:f0000000000000;th:c",
        "ot=rv:f0000000000000;th:4,vendor=1",
        "ot=rv:10000000000000",
        "ot=rv:f0000000000000;p:3",
    ];
    for (trace, state) in (0..).zip(states_of) {
        rig.send(&request(vec![with_state(span(trace, 0), state)])).await.expect("holds in this test");
    }
    seconds(3.0).await;
    let states = states(&rig);
    let state = |trace: u64| states.get(&hex(trace)).map(|states| states[0].as_str());
    assert_eq!(state(0), Some("ot=rv:f0000000000000;th:c"), "half of all is more than the quarter that came");
    assert_eq!(state(1), Some("ot=rv:f0000000000000;th:8,vendor=1"));
    assert_eq!(state(2), None, "`rv` counts before the id");
    assert_eq!(state(3), Some("ot=rv:f0000000000000"), "`p` draws another number: no threshold says both");
    let spans = rig.sink.spans.lock().expect("holds in this test").clone();
    let weight = |trace: u64| {
        let span = spans.iter().find(|span| podgate::otlp::span::read(span).expect("a span").trace_id == id(trace));
        podgate::otlp::attributes::find_in(span?, podgate::otlp::attributes::SPAN, "sampling.weight")
    };
    let double = |value: f64| Some(podgate::otlp::walk::AnyValue::Double(value));
    assert_eq!([weight(0), weight(1), weight(3)], [double(4.0), double(2.0), double(16.0)]);
    rig.drain().await;
    rig.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn a_limit_cuts_a_tick_by_randomness_and_the_cut_is_the_threshold() {
    let limit = json!({ "name": "rate", "type": "rate_limiting", "rate_limiting": { "spans_per_second": 20, "burst_capacity": 20 } });
    let rig = Rig::start(&config("th", json!([limit]))).await;
    let spans = (0..100).map(|trace| span(trace, 0)).collect();
    rig.send(&request(spans)).await.expect("holds in this test");
    seconds(3.0).await;
    let mut order: Vec<u64> = (0..100).collect();
    order.sort_by_key(|trace| std::cmp::Reverse(randomness(*trace)));
    let states = states(&rig);
    assert_eq!(states.len(), 20);
    for trace in &order[..20] {
        let marks = tracestate::read(states[&hex(*trace)][0].as_bytes()).expect("a trace state");
        assert_eq!(marks.threshold, Some(randomness(order[20]) + 1), "who lies above the first that did not fit");
    }
    rig.drain().await;
    rig.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn what_a_limit_decided_outside_of_a_tick_has_no_weight_and_says_nothing_untrue() {
    let limit = json!({ "name": "rate", "type": "rate_limiting", "rate_limiting": { "spans_per_second": 20 } });
    let rig = Rig::start(&config("auto", json!([limit, errors()]))).await;
    rig.send(&request(vec![with_state(span(1, 0), "ot=th:0"), failed(span(2, 0))])).await.expect("holds in this test");
    // Stopped before the wait is over: each is decided for itself.
    rig.drain().await;
    let states = states(&rig);
    assert_eq!(states[&hex(1)], [""], "the threshold that came is no longer true");
    assert_eq!(states[&hex(2)], ["ot=th:0;p:0"], "an error is kept whatever the limit says");
    rig.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn without_weights_spans_leave_as_they_came() {
    let rig = Rig::start(&config("off", json!([chance(100.0)]))).await;
    rig.send(&request(vec![with_state(span(1, 0), "ot=th:4;p:3")])).await.expect("holds in this test");
    seconds(3.0).await;
    assert_eq!(states(&rig)[&hex(1)], ["ot=th:4;p:3"]);
    rig.drain().await;
    rig.assert_settled();
}

#[test]
fn validate_says_what_weights_mean_for_the_policies_beside_them() {
    let found = |config: &Json| -> Vec<(Severity, String, Option<String>)> {
        checked(config).1.into_iter().map(|found| (found.severity, found.message, found.help)).collect()
    };
    assert!(found(&config("off", json!([chance(10.0)]))).is_empty());
    assert!(found(&config("th", json!([errors()]))).is_empty(), "nothing is left to chance");
    let th = found(&config("th", json!([chance(10.0)])));
    assert!(th.len() == 1 && th[0].0 == Severity::Warning && th[0].1.contains("not by a salted hash"), "{th:?}");
    assert_eq!(found(&config("auto", json!([chance(12.5)]))).len(), 1);
    let auto = found(&config("auto", json!([chance(10.0)])));
    assert!(auto.len() == 2 && auto.iter().any(|found| found.1.contains("10 % is no power of two")), "{auto:?}");
    assert!(auto.iter().any(|found| found.2.as_ref().is_some_and(|help| help.contains("use 12.5 %"))), "{auto:?}");
    let not = json!({ "name": "n", "type": "not", "not": { "not_sub_policy": chance(50.0) } });
    let low = found(&config("auto", json!([not])));
    assert!(low.len() == 2 && low.iter().any(|found| found.1.contains("low randomness")), "{low:?}");
    let mut ingest = config("th", json!([chance(10.0)]));
    ingest["sampling_strategy"] = "span-ingest".into();
    let (plan, findings) = checked(&ingest);
    assert!(plan.is_none() && findings.iter().any(|found| found.message.contains("span-ingest")), "{findings:?}");
}

/// What comes of samplers in a row: the second gets what the first kept, as it left.
async fn passed_on(from: &Rig, to: &Rig) {
    let payloads = std::mem::take(&mut *from.sink.payloads.lock().expect("holds in this test"));
    for payload in payloads {
        let bytes = podgate::otlp::envelope::encode(&payload.envelope);
        to.send(&prost::Message::decode(bytes).expect("a request")).await.expect("taken");
    }
}

#[tokio::test(start_paused = true)]
async fn samplers_in_a_row_count_what_the_first_left_out_and_nothing_twice() {
    const TRACES: u64 = 4_000;
    let mut second = config("th", json!([errors(), chance(50.0)]));
    second["podgate"]["weight_attributes"] = true.into();
    let slow = json!({ "name": "slow", "type": "latency", "latency": { "threshold_ms": 5 } });
    let some_slow = json!({ "name": "some-slow", "type": "and", "and": { "and_sub_policy": [slow, chance(30.0)] } });
    let third = config("auto", json!([some_slow]));
    let (first, second, third) = (
        Rig::start(&config("th", json!([errors(), chance(60.0)]))).await,
        Rig::start(&second).await,
        Rig::start(&third).await,
    );
    for from in (0..TRACES).step_by(500) {
        let spans =
            |trace: u64| [span(trace, 0), if trace % 20 == 3 { failed(span(trace, 1)) } else { span(trace, 1) }];
        first.send(&request((from..from + 500).flat_map(spans).collect())).await.expect("taken");
    }
    seconds(3.0).await;
    passed_on(&first, &second).await;
    seconds(3.0).await;
    let failed_traces = states(&second).values().filter(|states| states[0] == "ot=th:0").count() as u64;
    assert_eq!(failed_traces, TRACES / 20, "errors stand for themselves behind both");
    passed_on(&second, &third).await;
    seconds(3.0).await;
    let states = states(&third);
    let cut = podgate::otlp::consistency::threshold::keeping(0.3);
    let threshold = |state: &String| tracestate::read(state.as_bytes()).expect("a trace state").threshold;
    for trace in 0..TRACES {
        // One randomness: the strictest of the three decides, errors or not.
        let found = states.get(&hex(trace)).map(|states| states.iter().map(threshold).collect::<Vec<_>>());
        assert_eq!(found, (randomness(trace) >= cut).then(|| vec![Some(cut); 2]), "{trace}");
    }
    let estimate = states.len() as f64 / 0.3;
    let error = (states.len() as f64 * (1.0 / 0.3) * (1.0 / 0.3 - 1.0)).sqrt();
    assert!((estimate - TRACES as f64).abs() < 4.0 * error, "{estimate:.0} of {TRACES}");
    for rig in [&first, &second, &third] {
        rig.drain().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_senders_write_wrong_costs_neither_the_trace_nor_the_truth() {
    let long =
        format!("ot=th:0,{}", (0..8).map(|at| format!("v{at}={}", "x".repeat(120))).collect::<Vec<_>>().join(","));
    let endless = format!("{long},w={}", "y".repeat(200));
    let longer = long.replace("ot=th:0", "ot=th:8");
    // Randomness of the ids as they are: all above one half.
    let traces: Vec<u64> = (0..).filter(|trace| randomness(*trace) >= 1 << 55).take(9).collect();
    let came_and_left = [
        ("ot=rv:123", "ot=rv:123"),
        ("ot=rv:f0000000000000f;th:4", "ot=rv:f0000000000000f;th:4"),
        ("ot=th:", "ot=th:"),
        ("ot=p:63", "ot=th:8"),
        ("ot=p:-1", "ot=th:8"),
        ("ot=p:99999999999999", "ot=th:8"),
        ("ot=th:0", "ot=th:8"),
        (long.as_str(), longer.as_str()),
        (endless.as_str(), endless.as_str()),
    ];
    let rig = Rig::start(&config("th", json!([chance(50.0)]))).await;
    for (trace, (came, _)) in traces.iter().zip(&came_and_left) {
        rig.send(&request(vec![with_state(span(*trace, 0), came)])).await.expect("taken");
    }
    seconds(3.0).await;
    let states = states(&rig);
    for (trace, (came, left)) in traces.iter().zip(&came_and_left) {
        assert_eq!(states.get(&hex(*trace)), Some(&vec![(*left).to_owned()]), "{came}");
    }
    rig.drain().await;
    rig.assert_settled();
}

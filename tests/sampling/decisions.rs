//! Precedence of votes and the order in which spans come: the Collector's tables as this project's own cases.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::Event;
use serde_json::{Value as Json, json};

use podgate::core::data::payload::Signal;

use crate::rig::Rig;
use crate::spans::{attribute, failed, hex, request, request_of, span, text};
use crate::verdicts;

fn leaf(name: &str, key: &str, invert: bool) -> Json {
    json!({ "name": name, "type": "string_attribute", "string_attribute": { "key": key, "values": ["yes"], "invert_match": invert } })
}

fn nested(name: &str, kind: &str, inner: Json) -> Json {
    let key = format!("{kind}_sub_policy");
    json!({ "name": name, "type": kind, kind: { key: inner } })
}

async fn keeps(config: &Json, marks: &[&str]) -> bool {
    let rig = Rig::start(config).await;
    let mut marked = span(1, 0);
    marked.attributes = marks.iter().map(|mark| text(mark, "yes")).collect();
    rig.send(&request(vec![marked])).await.expect("holds in this test");
    rig.drain().await;
    let kept = rig.sink.by_trace().contains_key(&hex(1));
    rig.assert_settled();
    kept
}

#[tokio::test(start_paused = true)]
async fn votes_combine_in_the_collectors_order() {
    let a = || leaf("a", "a", false);
    let not_b = || leaf("not-b", "b", true);
    let drop_c = || nested("drop-c", "drop", json!([leaf("c", "c", false)]));
    let plain = |policies: Json| json!({ "policies": policies });
    let veto = |policies: Json| json!({ "policies": policies, "podgate": { "invert_match": "veto" } });
    let keep = |policies: Json| json!({ "policies": policies, "podgate": { "default": "keep" } });
    let both = || nested("both", "and", json!([a(), leaf("b", "b", false)]));
    let table: Vec<(&str, Json, &[&str], bool)> = vec![
        ("one yes is enough", plain(json!([a(), leaf("z", "z", false)])), &["a"], true),
        ("no yes drops", plain(json!([a()])), &[], false),
        ("no yes keeps when told so", keep(json!([a()])), &[], true),
        ("a drop beats a yes wherever it stands", plain(json!([a(), drop_c()])), &["a", "c"], false),
        ("a drop that does not match says nothing", plain(json!([a(), drop_c()])), &["a"], true),
        ("a drop beats the default", keep(json!([drop_c()])), &["c"], false),
        ("an inverted match is a plain no", plain(json!([a(), not_b()])), &["a", "b"], true),
        ("an inverted miss is a plain yes", plain(json!([a(), not_b()])), &[], true),
        ("before v0.144 an inverted match vetoed", veto(json!([a(), not_b()])), &["a", "b"], false),
        ("before v0.144 an inverted miss was a weak yes", veto(json!([not_b()])), &[], true),
        ("and a no of another outweighed it", veto(json!([a(), not_b()])), &[], false),
        ("and a yes outweighed nothing less than a veto", veto(json!([a(), not_b()])), &["a"], true),
        ("and wants all", plain(json!([both()])), &["a"], false),
        ("and has all", plain(json!([both()])), &["a", "b"], true),
        ("not swaps", plain(json!([nested("n", "not", a())])), &[], true),
        ("not of and", plain(json!([nested("n", "not", both())])), &["a", "b"], false),
        ("drop in and is no yes", plain(json!([nested("x", "and", json!([a(), drop_c()]))])), &["a", "c"], false),
    ];
    for (name, config, marks, expected) in table {
        assert_eq!(keeps(&config, marks).await, expected, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn trace_flags_keeps_a_trace_with_any_sampled_span() {
    let config = json!({ "policies": [{ "name": "f", "type": "trace_flags" }] });
    for (flags, expected) in [(0, false), (1, true), (2, false), (3, true), (256, false), (257, true)] {
        let rig = Rig::start(&config).await;
        let mut flagged = span(1, 1);
        flagged.flags = flags;
        rig.send(&request(vec![span(1, 0), flagged])).await.expect("holds in this test");
        rig.drain().await;
        assert_eq!(rig.sink.by_trace().contains_key(&hex(1)), expected, "{flags}");
        rig.assert_settled();
    }
}

#[tokio::test(start_paused = true)]
async fn a_condition_that_fails_under_propagate_fails_the_policy_whatever_the_order_of_spans() {
    let config = json!({ "policies": [{ "name": "o", "type": "ottl_condition", "ottl_condition": {
        "error_mode": "propagate", "span": ["HasPrefix(attributes[\"k\"], \"y\")"] } }] });
    let mut matching = span(1, 0);
    matching.attributes = vec![text("k", "yes")];
    for spans in [vec![matching.clone(), span(1, 1)], vec![span(1, 1), matching.clone()]] {
        let rig = Rig::start(&config).await;
        rig.send(&request(spans)).await.expect("holds in this test");
        rig.drain().await;
        assert!(rig.sink.by_trace().is_empty());
        assert_eq!(rig.host.stats.total("otelcol_processor_tail_sampling_sampling_policy_evaluation_error"), 1);
        rig.assert_settled();
    }
}

#[tokio::test(start_paused = true)]
async fn composite_gives_each_sub_policy_its_share_and_asks_no_later_one() {
    let config = json!({ "policies": [{ "name": "c", "type": "composite", "composite": {
        "max_total_spans_per_second": 100, "policy_order": ["a", "rest"],
        "composite_sub_policy": [leaf("a", "a", false), { "name": "rest", "type": "always_sample" }],
        "rate_allocation": [{ "policy": "a", "percent": 20 }] } }] });
    let rig = Rig::start(&config).await;
    let marked = |trace: u64| {
        let mut marked = span(trace, 0);
        marked.attributes = vec![text("a", "yes")];
        marked
    };
    let spans = (0..50).map(marked).chain((50..150).map(|trace| span(trace, 0)));
    rig.send(&request(spans.collect())).await.expect("holds in this test");
    rig.drain().await;
    let kept = rig.sink.by_trace();
    let owned = (0..50).filter(|trace| kept.contains_key(&hex(*trace))).count();
    assert_eq!((owned, kept.len() - owned), (20, 50), "20 % for the first, half for the one without an allocation");
    rig.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn sample_on_first_match_leaves_later_limiters_untouched() {
    let policies = json!([leaf("a", "a", false), { "name": "r", "type": "rate_limiting", "rate_limiting": { "spans_per_second": 1, "burst_capacity": 1 } }]);
    for (first_match, expected) in [(true, true), (false, false)] {
        let rig = Rig::start(&json!({ "policies": policies, "sample_on_first_match": first_match })).await;
        let mut marked = span(1, 0);
        marked.attributes = vec![text("a", "yes")];
        rig.send(&request(vec![marked])).await.expect("holds in this test");
        tokio::time::sleep(Duration::from_millis(100)).await;
        rig.send(&request(vec![span(2, 0)])).await.expect("holds in this test");
        tokio::time::sleep(Duration::from_secs(30) + Duration::from_millis(500)).await;
        assert_eq!(rig.sink.by_trace().contains_key(&hex(2)), expected, "{first_match}");
        rig.drain().await;
        rig.assert_settled();
    }
}

#[tokio::test(start_paused = true)]
async fn spans_are_judged_as_they_come_at_span_ingest() {
    let config = json!({ "sampling_strategy": "span-ingest", "decision_wait": "10s", "policies": [
        { "name": "errors", "type": "status_code", "status_code": { "status_codes": ["ERROR"] } }] });
    let rig = Rig::start(&config).await;
    rig.send(&request(vec![span(1, 0), span(2, 0)])).await.expect("holds in this test");
    rig.send(&request(vec![failed(span(1, 1))])).await.expect("holds in this test");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(rig.sink.by_trace(), [(hex(1), 2)].into(), "at once, with what came before");
    tokio::time::sleep(Duration::from_secs(11)).await;
    rig.send(&request(vec![failed(span(2, 1))])).await.expect("holds in this test");
    rig.drain().await;
    assert_eq!(rig.sink.by_trace(), [(hex(1), 2), (hex(2), 1)].into(), "a no is not final here");
    rig.assert_settled();
}

/// From 32 events on they are asked about with their span as it would be without any, so that none walks all others.
#[tokio::test(start_paused = true)]
async fn events_are_asked_about_with_their_span_however_many_there_are() {
    let condition = "name == \"boom\" and span.name == \"op\"";
    let config = json!({ "decision_wait": "5s", "policies": [
        { "name": "event", "type": "ottl_condition", "ottl_condition": { "spanevent": [condition] } },
    ] });
    let rig = Rig::start(&config).await;
    for (trace, events) in [(1, 1), (2, 31), (3, 32), (4, 50_000)] {
        for (kept, name) in [(true, "op"), (false, "other")] {
            let mut made = span(if kept { trace } else { trace + 100 }, 1);
            made.name = name.to_owned();
            made.events = vec![Event::default(); events - 1];
            made.events.push(Event { name: "boom".to_owned(), ..Event::default() });
            rig.send(&request(vec![made])).await.expect("holds in this test");
        }
    }
    rig.drain().await;
    assert_eq!(rig.sink.by_trace(), [1, 2, 3, 4].map(|trace| (hex(trace), 1)).into());
    rig.assert_settled();
}

/// Policies whose verdict must not depend on the order of spans.
fn orderless() -> Json {
    json!({ "decision_wait": "5s", "policies": [
        nested("both", "and", json!([leaf("a", "a", false), { "name": "l", "type": "latency", "latency": { "threshold_ms": 40, "upper_threshold_ms": 90 } }])),
        nested("gone", "drop", json!([leaf("c", "c", false), nested("n", "not", leaf("d", "d", false))])),
        { "name": "count", "type": "span_count", "span_count": { "min_spans": 4, "max_spans": 5 } },
        { "name": "number", "type": "numeric_attribute", "numeric_attribute": { "key": "n", "min_value": 3, "max_value": 4, "invert_match": true } },
        { "name": "ottl", "type": "ottl_condition", "ottl_condition": { "error_mode": "propagate", "span": ["Len(attributes[\"e\"]) > 2", "attributes[\"b\"] == \"yes\""] } },
        nested("event", "and", json!([leaf("a", "a", false), { "name": "o", "type": "ottl_condition", "ottl_condition": { "spanevent": ["name == \"boom\""] } }])),
        nested("failed", "and", json!([{ "name": "s", "type": "status_code", "status_code": { "status_codes": ["ERROR"] } }, rare("r1"), leaf("c", "c", true)])),
        nested("truth", "and", json!([{ "name": "t", "type": "boolean_attribute", "boolean_attribute": { "key": "t", "value": true } }, rare("r2")])),
        nested("shape", "and", json!([{ "name": "p", "type": "string_attribute", "string_attribute": { "key": "e", "values": ["^x.z$"], "enabled_regex_matching": true } }, rare("r3")])),
        nested("state", "and", json!([{ "name": "ts", "type": "trace_state", "trace_state": { "key": "vendor", "values": ["abc"] } }, rare("r4")])),
        nested("flag", "and", json!([{ "name": "tf", "type": "trace_flags" }, rare("r5")])),
        nested("always", "and", json!([{ "name": "as", "type": "always_sample" }, rare("r6")])),
        nested("resource", "and", json!([{ "name": "rs", "type": "string_attribute", "string_attribute": { "key": "service.name", "values": ["till"] } }, leaf("c", "c", false), rare("r7")])),
    ] })
}

/// One trace in four, another fourth for each name.
fn rare(name: &str) -> Json {
    json!({ "name": name, "type": "probabilistic", "probabilistic": { "sampling_percentage": 25, "hash_salt": name } })
}

fn random_spans(rng: &mut Rng, traces: u64) -> Vec<(u64, Span)> {
    let mut spans = Vec::new();
    for trace in 0..traces {
        for number in 0..rng.u64(1..7) {
            let mut made = span(trace, number);
            made.start_time_unix_nano += rng.u64(0..50) * 1_000_000;
            made.end_time_unix_nano = made.start_time_unix_nano + rng.u64(0..60) * 1_000_000;
            for key in ["a", "b", "c", "d"].into_iter().filter(|_| rng.u8(0..4) == 0) {
                made.attributes.push(text(key, "yes"));
            }
            made.attributes.push(text("e", if rng.u8(0..8) == 0 { "xyz" } else { "ab" }));
            made.attributes.push(attribute("t", Value::BoolValue(rng.u8(0..8) == 0)));
            made.flags = u32::from(rng.u8(0..8) == 0);
            made.trace_state = ["", "vendor=abc", "vendor=xyz"][rng.usize(0..3)].to_owned();
            if rng.u8(0..8) == 0 {
                made = failed(made);
            }
            if rng.u8(0..8) == 0 {
                made.events.push(Event { name: "boom".to_owned(), ..Event::default() });
            }
            made.attributes.push(attribute("n", Value::IntValue(rng.i64(0..9))));
            // The service belongs to the span: which resource it comes with must not depend on the order.
            spans.push((trace, made));
        }
    }
    spans
}

async fn verdict(config: &Json, spans: &[(u64, Span)], rng: &mut Rng) -> BTreeMap<String, u64> {
    let rig = Rig::start(config).await;
    let mut rest = spans;
    let mut sent = 0;
    while !rest.is_empty() {
        let (part, left) = rest.split_at(rng.usize(1..=rest.len().min(40)));
        rest = left;
        sent += part.len() as u64;
        let services = ["shop", "till"];
        let service = |span: &Span| services[usize::from(span.span_id[7] % 2)];
        let requests = part.iter().map(|(_, span)| request_of(service(span), vec![span.clone()]));
        let resource_spans = requests.flat_map(|request| request.resource_spans).collect();
        rig.send(&ExportTraceServiceRequest { resource_spans }).await.expect("holds in this test");
    }
    tokio::time::sleep(Duration::from_secs(8)).await;
    let sheet = rig.host.balance.sheet(Signal::Traces);
    assert_eq!(sheet.received, sheet.delivered + sheet.sampled_out + sheet.held as u64);
    assert_eq!(sheet.received, sent);
    let decided = rig.host.stats.total("otelcol_processor_tail_sampling_global_count_traces_sampled");
    assert_eq!(
        decided,
        rig.host.stats.total("otelcol_processor_tail_sampling_new_trace_id_received"),
        "one decision each"
    );
    rig.drain().await;
    let kept = rig.sink.by_trace();
    rig.assert_settled();
    kept
}

/// Policy types whose verdict may depend on what comes first, as docs/sampling.md says.
const FIRST_COME: &[&str] = &["bytes_limiting", "composite", "rate_limiting"];

#[test]
fn every_policy_type_without_a_limit_is_tried_in_any_order() {
    let config = orderless().to_string();
    let types = podgate::processors::tail_sampling::policies::types();
    let tried = types.clone().filter(|kind| config.contains(&format!("\"type\":\"{kind}\"")));
    assert_eq!(
        tried.collect::<Vec<_>>(),
        types.filter(|kind| !FIRST_COME.contains(kind)).collect::<Vec<_>>(),
        "a policy type is missing from `orderless`"
    );
}

#[tokio::test(start_paused = true)]
async fn neither_order_nor_division_of_spans_nor_the_number_of_shards_changes_a_verdict() {
    let seed =
        std::env::var("PODGATE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    let mut rng = Rng::with_seed(seed);
    let mut spans = random_spans(&mut rng, 120);
    let expected = verdict(&orderless(), &spans, &mut rng).await;
    assert!((10..110).contains(&expected.len()), "PODGATE_SEED={seed}: {} kept", expected.len());
    for round in 0..8 {
        rng.shuffle(&mut spans);
        let mut config = orderless();
        config["num_shards"] = json!(1 + round % 4);
        assert_eq!(verdict(&config, &spans, &mut rng).await, expected, "PODGATE_SEED={seed} round {round}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_whole_corpus_backwards_gives_the_same_verdicts() {
    let config = json!({ "decision_wait": "1s", "policies": [
        { "name": "l", "type": "latency", "latency": { "threshold_ms": 100, "upper_threshold_ms": 1000 } },
        leaf("e", "env", true),
    ] });
    let mut outcomes = Vec::new();
    for backwards in [false, true] {
        let rig = Rig::start(&config).await;
        let mut requests = verdicts::corpus(0);
        if backwards {
            requests.reverse();
            requests.iter_mut().for_each(|request| request.resource_spans.reverse());
        }
        for request in &requests {
            rig.send(request).await.expect("holds in this test");
        }
        rig.drain().await;
        outcomes.push(rig.sink.by_trace());
        rig.assert_settled();
    }
    assert_eq!(outcomes[0], outcomes[1]);
}

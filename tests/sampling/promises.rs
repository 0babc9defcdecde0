//! What the sampler promises beside its verdicts: waits, late spans, limits, shutdown, binding.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value as Json, json};

use podgate::core::data::binding::{BindingOutcome, Evidence, LateBinding, Later};
use podgate::core::data::budget::Budget;
use podgate::core::data::origin::Origin;
use podgate::core::data::payload::{Envelope, Group, Payload, ScopeGroup, Signal};
use podgate::core::data::settlement::Settlement;
use podgate::core::stage::host::Host;
use podgate::core::time::UnixNanos;

use crate::rig::Rig;
use crate::spans::{BASE, failed, hex, request, request_of, span};

pub fn errors(more: Json) -> Json {
    let mut config = json!({
        "decision_wait": "10s",
        "policies": [{ "name": "errors", "type": "status_code", "status_code": { "status_codes": ["ERROR"] } }],
    });
    config.as_object_mut().expect("holds in this test").extend(more.as_object().expect("holds in this test").clone());
    config
}

pub fn everything(more: Json) -> Json {
    let mut config = errors(more);
    config["policies"] = json!([{ "name": "all", "type": "always_sample" }]);
    config
}

pub async fn seconds(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_trace_is_decided_when_its_wait_is_over_and_not_before() {
    let rig = Rig::start(&errors(json!({}))).await;
    rig.send(&request(vec![span(1, 0), span(2, 0)])).await.expect("holds in this test");
    seconds(9.0).await;
    rig.send(&request_of("till", vec![failed(span(1, 1))])).await.expect("holds in this test");
    seconds(0.9).await;
    assert!(rig.sink.by_trace().is_empty());
    seconds(0.3).await;
    assert_eq!(rig.sink.by_trace().get(&hex(1)), Some(&2), "the whole trace goes, from both requests");
    assert_eq!(rig.sink.by_trace().len(), 1);
    rig.drain().await;
    rig.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn the_wait_is_whole_after_any_time_in_which_nothing_came() {
    for idle in [0.0, 0.7, 3.7, 12.3, 4000.0] {
        for wait in [0.3, 1.0, 10.0] {
            let rig = Rig::start(&everything(json!({ "decision_wait": format!("{wait}s") }))).await;
            seconds(idle).await;
            rig.send(&request(vec![span(1, 0)])).await.expect("holds in this test");
            seconds(wait * 0.98).await;
            assert!(rig.sink.by_trace().is_empty(), "decided too early after {idle} s of silence");
            seconds(wait * 0.1).await;
            assert_eq!(rig.sink.by_trace().len(), 1, "{idle}");
            rig.drain().await;
            rig.assert_settled();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn late_spans_follow_the_verdict_whichever_it_was() {
    let rig = Rig::start(&errors(json!({}))).await;
    rig.send(&request(vec![failed(span(1, 0)), span(2, 0)])).await.expect("holds in this test");
    seconds(60.0).await;
    rig.send(&request(vec![span(1, 1), failed(span(2, 1))])).await.expect("holds in this test");
    seconds(1.0).await;
    assert_eq!(rig.sink.by_trace().get(&hex(1)), Some(&2));
    assert_eq!(rig.sink.by_trace().get(&hex(2)), None, "an error that comes after the verdict changes nothing");
    rig.drain().await;
    rig.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn a_root_shortens_the_wait_and_never_lengthens_it() {
    let rig = Rig::start(&everything(json!({ "decision_wait_after_root_received": "2s" }))).await;
    rig.send(&request(vec![span(1, 1), span(2, 1)])).await.expect("holds in this test");
    seconds(1.0).await;
    rig.send(&request(vec![span(1, 0)])).await.expect("holds in this test");
    seconds(2.2).await;
    assert_eq!(rig.sink.by_trace().keys().collect::<Vec<_>>(), [&hex(1)]);
    seconds(5.8).await;
    rig.send(&request(vec![span(2, 0)])).await.expect("holds in this test");
    seconds(1.3).await;
    assert_eq!(rig.sink.by_trace().len(), 2, "due ten seconds after its first span, not two after its root");
    rig.drain().await;
    rig.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn only_a_written_num_traces_binds_and_then_the_oldest_are_decided_early() {
    let rig = Rig::start(&errors(json!({ "num_traces": 100 }))).await;
    for trace in 0..150 {
        rig.send(&request(vec![failed(span(trace, 0))])).await.expect("holds in this test");
    }
    seconds(1.0).await;
    let kept = rig.sink.by_trace();
    assert_eq!(kept.len(), 50);
    assert!((0..50).all(|trace| kept.contains_key(&hex(trace))), "the oldest, and with a verdict");
    rig.drain().await;
    assert_eq!(rig.sink.by_trace().len(), 150);
    rig.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn pressure_decides_early_and_a_full_store_refuses_retryably() {
    let config = errors(json!({ "podgate": { "max_bytes": "8MiB" } }));
    let rig = Rig::start(&config).await;
    let big = |trace: u64| {
        let mut span = failed(span(trace, 0));
        span.name = "x".repeat(20_000);
        span
    };
    for trace in 0..600 {
        rig.send(&request(vec![big(trace)])).await.expect("holds in this test");
        tokio::task::yield_now().await;
    }
    seconds(0.1).await;
    assert!(rig.sink.by_trace().len() > 100, "12 MB do not fit 8 MiB: {}", rig.sink.by_trace().len());
    assert!(rig.gauge("held_bytes") <= 8 << 20, "{}", rig.gauge("held_bytes"));
    rig.drain().await;
    assert_eq!(rig.sink.by_trace().len(), 600, "nothing was lost");
    rig.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn shutdown_decides_what_is_held_or_drops_it_as_configured() {
    let rig = Rig::start(&errors(json!({}))).await;
    rig.send(&request(vec![failed(span(1, 0)), span(2, 0)])).await.expect("holds in this test");
    rig.drain().await;
    assert_eq!(rig.sink.by_trace().len(), 1);
    assert!(rig.send(&request(vec![span(3, 0)])).await.is_err_and(|error| error.is_retryable()));
    rig.assert_settled();

    let rig = Rig::start(&errors(json!({ "drop_pending_traces_on_shutdown": true }))).await;
    rig.send(&request(vec![failed(span(1, 0)), span(2, 0)])).await.expect("holds in this test");
    rig.drain().await;
    rig.drain().await;
    assert_eq!(rig.host.balance.sheet(Signal::Traces).dropped.get("shutdown"), Some(&2));
    rig.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn a_span_that_cannot_be_walked_is_dropped_alone() {
    use prost::Message;
    let rig = Rig::start(&everything(json!({}))).await;
    let good = |number| Bytes::from(span(1, number).encode_to_vec());
    let mut nested = Vec::new();
    for _ in 0..70 {
        let mut list = vec![0x0a];
        podgate::otlp::write::varint(&mut list, nested.len() as u64);
        list.extend_from_slice(&nested);
        nested = vec![0x2a];
        podgate::otlp::write::varint(&mut nested, list.len() as u64);
        nested.extend_from_slice(&list);
    }
    let mut attribute = Vec::new();
    podgate::otlp::write::bytes(&mut attribute, 2, &nested);
    let mut deep = span(1, 7).encode_to_vec();
    podgate::otlp::write::bytes(&mut deep, 9, &attribute);
    let items = vec![
        good(0),
        Bytes::from_static(b"\x0a\x05"),
        good(1),
        Bytes::from_static(b"\x0a\x03abc"),
        Bytes::from(deep),
        good(2),
    ];
    let scopes = vec![ScopeGroup { items: items.into(), ..ScopeGroup::default() }];
    let envelope = Envelope { groups: vec![Group { scopes, ..Group::default() }], dictionary: None };
    let origin = Arc::new(Origin::internal(UnixNanos::now()));
    let (receipt, share) = Settlement::receive(&rig.host.balance, Signal::Traces, 6);
    let ticket = rig.host.budget.take(1000).expect("holds in this test");
    let payload = Payload { signal: Signal::Traces, envelope, items: 6, origin, ticket, share };
    rig.consumer.consume(payload).await.expect("holds in this test");
    assert_eq!(receipt.settlement().losses().iter().map(|loss| loss.items).sum::<u64>(), 3);
    receipt.answer(Ok(()));
    rig.drain().await;
    assert_eq!(rig.sink.by_trace().get(&hex(1)), Some(&3));
    assert_eq!(rig.host.balance.sheet(Signal::Traces).dropped.get("malformed"), Some(&3));
    rig.assert_settled();
}

/// Knows the container from the second question on.
struct Slow {
    asked: std::sync::atomic::AtomicU64,
    last_chances: std::sync::atomic::AtomicU64,
    answers_after: u64,
}

impl LateBinding for Slow {
    fn bytes(&self) -> u64 {
        0
    }

    fn resolve(&self, resource: &Bytes, evidence: Evidence) -> BindingOutcome {
        assert_eq!(evidence.latest, UnixNanos(BASE + 10_000_000));
        self.last_chances.fetch_add(u64::from(evidence.last_chance), std::sync::atomic::Ordering::Relaxed);
        let asked = self.asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if asked < self.answers_after {
            return BindingOutcome::Pending;
        }
        BindingOutcome::Resource([&resource[..], b"\x0a\x00"].concat().into())
    }
}

#[tokio::test(start_paused = true)]
async fn instance_attributes_are_bound_at_release_and_waited_for_at_most_five_seconds() {
    for (answers_after, bound, within) in [(0, true, 0.1), (2, true, 1.0), (1_000_000, false, 4.9)] {
        let slow = Arc::new(Slow { asked: Default::default(), last_chances: Default::default(), answers_after });
        let later = Later::by(slow.clone());
        let rig = Rig::start_with(&everything(json!({ "decision_wait": "1s" })), Budget::unlimited(), later).await;
        rig.send(&request(vec![span(1, 0), span(2, 0), span(2, 1)])).await.expect("holds in this test");
        seconds(1.1 + within).await;
        let payloads: Vec<Payload> =
            rig.sink.payloads.lock().expect("holds in this test").iter().map(Payload::copy).collect();
        assert_eq!(payloads.len(), 1, "{answers_after}");
        let resource = payloads[0].envelope.groups[0].resource.clone().expect("holds in this test");
        assert_eq!(resource.ends_with(b"\x0a\x00"), bound, "{answers_after}");
        let last_chances = slow.last_chances.load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!(last_chances, u64::from(!bound), "who gives up says so, once");
        assert_eq!(payloads[0].envelope.groups.len(), 1, "both traces share their resource again");
        if bound {
            assert_eq!(slow.asked.load(std::sync::atomic::Ordering::Relaxed), answers_after + 1);
        }
        drop(payloads);
        rig.drain().await;
        rig.assert_settled();
    }
}

#[tokio::test(start_paused = true)]
async fn a_trace_above_the_maximum_size_is_dropped_and_so_are_its_later_spans() {
    let rig = Rig::start(&everything(json!({ "maximum_trace_size_bytes": 1000 }))).await;
    for number in 0..100 {
        rig.send(&request(vec![span(1, number)])).await.expect("holds in this test");
    }
    rig.send(&request(vec![span(2, 0)])).await.expect("holds in this test");
    rig.drain().await;
    assert_eq!(rig.sink.by_trace().keys().collect::<Vec<_>>(), [&hex(2)]);
    assert_eq!(rig.host.stats.total("otelcol_processor_tail_sampling_traces_dropped_too_large"), 1);
    rig.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn a_giant_trace_is_decided_early_and_does_not_starve_the_others() {
    let rig = Rig::start(&errors(json!({ "podgate": { "max_bytes": "8MiB" } }))).await;
    rig.send(&request(vec![failed(span(2, 0))])).await.expect("holds in this test");
    for number in 0..3000 {
        let mut part = failed(span(1, number));
        part.name = "x".repeat(5_000);
        rig.send(&request(vec![part])).await.expect("holds in this test");
        seconds(0.0005).await;
    }
    assert!(!rig.sink.by_trace().contains_key(&hex(2)), "the small trace still waits");
    seconds(10.0).await;
    assert_eq!(rig.sink.by_trace(), [(hex(1), 3000), (hex(2), 1)].into());
    rig.drain().await;
    rig.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn the_first_yes_names_the_reason_and_the_page_tells_it() {
    let mut config = errors(json!({}));
    config["policies"]
        .as_array_mut()
        .expect("holds in this test")
        .push(json!({ "name": "all", "type": "always_sample" }));
    let rig = Rig::start(&config).await;
    rig.send(&request(vec![failed(span(1, 0)), span(2, 0)])).await.expect("holds in this test");
    seconds(11.0).await;
    let page = rig.host.routes.find("/v1/sampling").expect("holds in this test");
    let explain = |trace: u64| page(&[("trace_id".to_owned(), hex(trace))].into()).body;
    assert_eq!(explain(1)["reason"], "policy errors");
    assert_eq!(explain(2)["reason"], "policy all");
    let vote = |policy: &str, vote: &str| json!({ "policy": policy, "vote": vote });
    assert_eq!(explain(1)["votes"], json!([vote("errors", "sampled"), vote("all", "sampled")]));
    assert_eq!(explain(2)["votes"], json!([vote("errors", "not_sampled"), vote("all", "sampled")]));
    assert_eq!(page(&[("trace_id".to_owned(), hex(3))].into()).status, 404);
    let all = page(&Default::default()).body;
    assert_eq!(all["samplers"][0]["policies"][0]["sampled"], 1);
    rig.drain().await;
    rig.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn a_held_trace_says_until_when_it_is_held_and_a_dropped_one_who_voted_how() {
    let rig = Rig::start(&errors(json!({}))).await;
    rig.send(&request(vec![span(1, 0), span(1, 1)])).await.expect("holds in this test");
    seconds(4.0).await;
    let ask = async |trace: u64| {
        let query = [("trace_id".to_owned(), hex(trace))].into();
        rig.host.routes.ask("/v1/sampling", &query).expect("a page").await
    };
    let held = ask(1).await;
    assert_eq!((held.status, &held.body["held"], &held.body["spans"]), (200, &json!(true), &json!(2)));
    let left = held.body["decided_within_seconds"].as_f64().expect("a number");
    assert!((5.5..=6.5).contains(&left), "{left} s of a wait of 10 s, 4 s after the first span");
    assert_eq!(ask(2).await.status, 404, "a trace that never came");
    seconds(7.0).await;
    let dropped = ask(1).await.body;
    assert_eq!((&dropped["kept"], &dropped["held"]), (&json!(false), &json!(null)));
    assert_eq!(dropped["votes"], json!([{ "policy": "errors", "vote": "not_sampled" }]));
    rig.drain().await;
    rig.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn a_held_trace_shows_its_spans_as_far_as_they_came_with_names_cut() {
    let rig = Rig::start(&errors(json!({}))).await;
    let mut child = failed(span(1, 1));
    child.parent_span_id = span(1, 0).span_id;
    child.name = "<script>alert(1)</script>".repeat(40);
    rig.send(&request(vec![span(1, 0), child])).await.expect("holds in this test");
    seconds(1.0).await;
    let query = [("id".to_owned(), hex(1))].into();
    let held = rig.host.routes.ask("/v1/traces/{id}", &query).expect("a page").await.body;
    let spans = held["waterfall"].as_array().expect("spans");
    assert_eq!((spans.len(), &held["trace_id"]), (2, &json!(hex(1))));
    let parent = |span: &Json| span["parent_span_id"].as_str().map(str::len);
    let of = |failed: bool| spans.iter().find(|span| span["failed"] == failed).expect("one of each");
    assert_eq!((parent(of(false)), parent(of(true))), (Some(0), Some(16)));
    assert_eq!(of(true)["parent_span_id"], of(false)["span_id"]);
    assert_eq!(of(true)["name"].as_str().map(str::len), Some(120), "a name is cut, not dropped");
    rig.drain().await;
    rig.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn who_has_no_id_is_told_what_was_decided_lately_of_either_outcome_and_what_is_held() {
    let rig = Rig::start(&errors(json!({}))).await;
    for trace in 1..=60 {
        rig.send(&request(vec![span(trace, 0)])).await.expect("holds in this test");
    }
    rig.send(&request(vec![failed(span(61, 0))])).await.expect("holds in this test");
    seconds(11.0).await;
    rig.send(&request(vec![span(70, 0), span(71, 0)])).await.expect("holds in this test");
    seconds(1.0).await;
    let page = rig.host.routes.ask("/v1/traces", &Default::default()).expect("a page").await.body;
    let decided = page["decided"].as_array().expect("decisions");
    let of = |kept: bool| decided.iter().filter(|row| row["kept"] == kept).count();
    assert_eq!((of(true), of(false)), (1, 20), "as many of either as are told, however rare one is");
    let mut held: Vec<&Json> = page["held"].as_array().expect("held").iter().map(|row| &row["trace_id"]).collect();
    held.sort_by_key(|id| id.to_string());
    let mut wanted = [hex(70), hex(71)];
    wanted.sort();
    assert_eq!(held, [&json!(wanted[0]), &json!(wanted[1])]);
    rig.drain().await;
    rig.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn a_held_trace_is_found_by_a_part_of_its_id_and_told_apart_from_others_with_the_same_part() {
    // Enough that a shard compares them in several stretches.
    const HELD: u64 = 70_000;
    let rig = Rig::start(&errors(json!({ "num_shards": 2, "decision_wait": "60s" }))).await;
    let ask = async |part: &str| {
        rig.host.routes.ask(&format!("/v1/traces/{part}"), &Default::default()).expect("a page").await
    };
    rig.send(&request(vec![span(HELD + 1, 0)])).await.expect("taken");
    seconds(61.0).await;
    for first in (0..HELD).step_by(1_000) {
        rig.send(&request((first..first + 1_000).map(|trace| span(trace, 0)).collect())).await.expect("taken");
    }
    seconds(1.0).await;
    for trace in [5_000, HELD / 2, HELD - 2] {
        let page = ask(&hex(trace)[3..25]).await;
        let told = (page.status, &page.body["held"], &page.body["trace_id"]);
        assert_eq!(told, (200, &json!(true), &json!(hex(trace))), "{}", page.body);
        assert_eq!(page.body["waterfall"].as_array().map(Vec::len), Some(1));
    }
    // The id of trace 15 is sixteen times that of trace 0.
    let two = ask(&hex(0)[1..]).await.body;
    let mut both = [hex(0), hex(15)];
    both.sort();
    let mut told: Vec<&str> = two["matches"].as_array().expect("two").iter().filter_map(Json::as_str).collect();
    told.sort_unstable();
    assert_eq!(told, both);
    let several = ask(&hex(1)[..4]).await.body;
    let matches = several["matches"].as_array().expect("several");
    assert!(matches.len() > 1 && matches.contains(&json!(hex(1))), "{several}");
    assert!(matches.iter().all(|id| id.as_str().expect("an id").contains(&hex(1)[..4])));
    let decided = ask(&hex(HELD + 1)[5..25]).await.body;
    assert_eq!((&decided["kept"], &decided["trace_id"]), (&json!(false), &json!(hex(HELD + 1))));
    let nobody = ask("0123456789abcdef0123456789").await;
    assert_eq!(nobody.status, 404, "{}", nobody.body);
    rig.drain().await;
    rig.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn gauges_of_a_processor_in_two_pipelines_are_their_sum_and_forget_who_is_gone() {
    let host = Host::new(Budget::new(1 << 30, 1 << 29));
    let config = errors(json!({}));
    let start = || Rig::start_in(host.clone(), "tail_sampling", &config, Later::default());
    let (one, other) = (start().await, start().await);
    let max = one.gauge("max_bytes");
    one.send(&request(vec![span(1, 0), span(2, 0)])).await.expect("taken");
    seconds(1.0).await;
    let held = one.gauge("held_bytes");
    assert!(held > 0, "what the first holds is told although the second was built later");
    other.send(&request(vec![span(3, 0), span(4, 0)])).await.expect("taken");
    seconds(1.0).await;
    let both = one.gauge("held_bytes");
    assert!((3 * held / 2..3 * held).contains(&both), "{both} of both, {held} of one");
    one.drain().await;
    other.drain().await;
    drop(one);
    assert_eq!((other.gauge("max_bytes"), max % 2), (max / 2, 0));
    other.assert_settled();
}

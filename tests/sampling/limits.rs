//! Limits are one limit each, whatever the number of shards; spans without a trace id are judged alone; and what a
//! configuration probably does not mean is said.

use podgate::core::diagnostic::Severity;
use serde_json::{Value as Json, json};

use crate::promises::seconds;
use crate::rig::{Rig, checked};
use crate::spans::{failed, request, request_of, span};

/// Traces of `spans` spans each, all sent within one second of the clock; how many spans were kept.
async fn kept(config: &Json, traces: u64, spans: u64) -> usize {
    let rig = Rig::start(config).await;
    for trace in 0..traces {
        rig.send(&request((0..spans).map(|number| span(trace, number)).collect())).await.expect("holds in this test");
    }
    seconds(5.0).await;
    let kept = rig.sink.spans.lock().expect("holds in this test").len();
    rig.drain().await;
    rig.assert_settled();
    kept
}

#[tokio::test(start_paused = true)]
async fn a_limit_lets_as_much_pass_through_many_shards_as_through_one() {
    for (kind, body, expected) in [
        ("rate_limiting", json!({ "spans_per_second": 100 }), 200),
        (
            "composite",
            json!({ "max_total_spans_per_second": 100, "composite_sub_policy": [{ "name": "a", "type": "always_sample" }] }),
            100,
        ),
    ] {
        for shards in [1, 32, 64] {
            let config = json!({
                "decision_wait": "1s",
                "num_shards": shards,
                "policies": [{ "name": "limit", "type": kind, kind: body.clone() }],
            });
            assert_eq!(kept(&config, 30, 10).await, expected, "{kind}, {shards} shards");
        }
    }
    let config = |shards: u64| {
        json!({
            "decision_wait": "1s",
            "num_shards": shards,
            "policies": [{ "name": "limit", "type": "bytes_limiting", "bytes_limiting": { "bytes_per_second": 5000 } }],
        })
    };
    let one = kept(&config(1), 30, 10).await;
    assert!(one > 0);
    assert_eq!(kept(&config(32), 30, 10).await, one);
}

#[tokio::test(start_paused = true)]
async fn a_sub_policy_without_a_percentage_has_an_equal_share() {
    for percent in [json!({ "policy": "b", "percent": 0 }), json!({ "policy": "b" })] {
        let named = |name: &str| json!({ "name": name, "type": "string_attribute", "string_attribute": { "key": "service.name", "values": [name] } });
        let rig = Rig::start(&json!({
            "decision_wait": "1s",
            "policies": [{ "name": "c", "type": "composite", "composite": {
                "max_total_spans_per_second": 1000,
                "policy_order": ["a", "b"],
                "composite_sub_policy": [named("a"), named("b")],
                "rate_allocation": [{ "policy": "a", "percent": 50 }, percent],
            } }],
        }))
        .await;
        rig.send(&request_of("a", vec![span(1, 0)])).await.expect("holds in this test");
        rig.send(&request_of("b", vec![span(2, 0)])).await.expect("holds in this test");
        seconds(3.0).await;
        assert_eq!(rig.sink.by_trace().len(), 2);
        rig.drain().await;
        rig.assert_settled();
    }
}

#[tokio::test(start_paused = true)]
async fn spans_without_a_trace_id_are_judged_each_alone() {
    for id in [Vec::new(), vec![0; 16]] {
        let rig = Rig::start(&json!({
            "decision_wait": "1s",
            "num_shards": 4,
            "policies": [{ "name": "errors", "type": "status_code", "status_code": { "status_codes": ["ERROR"] } }],
        }))
        .await;
        let without = |mut span: opentelemetry_proto::tonic::trace::v1::Span| {
            span.trace_id = id.clone();
            span
        };
        let spans = vec![without(span(1, 0)), without(failed(span(1, 1))), without(span(1, 2))];
        rig.send(&request_of("a", spans)).await.expect("holds in this test");
        seconds(3.0).await;
        rig.send(&request_of("b", vec![without(span(2, 0))])).await.expect("holds in this test");
        seconds(3.0).await;
        let kept = rig.sink.spans.lock().expect("holds in this test").len();
        assert_eq!(kept, 1, "the error alone, and nothing that came later");
        rig.drain().await;
        rig.assert_settled();
    }
}

/// The warnings of a configuration that is accepted.
fn warnings(policies: Json, podgate: Json) -> Vec<String> {
    let (plan, findings) = checked(&json!({ "podgate": podgate, "policies": policies }));
    assert!(plan.is_some(), "{findings:?}");
    let warnings = findings.into_iter().filter(|finding| finding.severity == Severity::Warning);
    warnings.map(|finding| format!("{}: {}", finding.path, finding.message)).collect()
}

#[test]
fn what_a_set_of_policies_probably_does_not_mean_is_said() {
    let probes = json!({ "name": "p", "type": "string_attribute",
        "string_attribute": { "key": "url.path", "values": ["/probe"], "invert_match": true } });
    let drops = json!([{ "name": "d", "type": "drop", "drop": { "drop_sub_policy": [probes] } }]);
    let found = |policies: &Json, podgate: Json, words: &str| {
        warnings(policies.clone(), podgate).iter().any(|warning| warning.contains(words))
    };
    assert!(found(&json!([probes]), json!({}), "invert_match"));
    assert!(!found(&json!([probes]), json!({ "invert_match": "plain" }), "invert_match"), "meant so");
    assert!(!found(&drops, json!({}), "invert_match"), "below the top level its meaning never changed");
    assert!(found(&drops, json!({}), "nothing is kept"));
    assert!(!found(&drops, json!({ "default": "keep" }), "nothing is kept"));
    let text = |values: Json| json!([{ "name": "p", "type": "string_attribute", "string_attribute": { "key": "k", "values": values } }]);
    assert!(found(&text(json!([true])), json!({}), "never does"));
    assert!(found(&text(json!(["a", 7])), json!({}), "never does"));
    assert!(warnings(text(json!(["a", "true"])), json!({})).is_empty());
}

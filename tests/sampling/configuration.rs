//! What is accepted as written for the Collector, and what is refused with its place and all at once.

use serde_json::{Value as Json, json};

use podgate::core::diagnostic::Severity;

use crate::rig::checked;

fn policy(kind: &str, body: Json) -> Json {
    json!({ "policies": [{ "name": "p", "type": kind, kind: body }] })
}

#[test]
fn every_fault_has_a_place_a_path_and_words_that_help() {
    let cases: &[(Json, &str, &str)] = &[
        (json!({}), "policies", "required"),
        (json!({ "policies": [] }), "policies", "required"),
        (policy("latancy", json!({})), "policies::0::type", "not a policy type"),
        (json!({ "policies": [{ "type": "always_sample" }] }), "policies::0::name", "required"),
        (policy("status_code", json!({ "status_codes": ["BAD"] })), "status_codes", "not a status code"),
        (policy("status_code", json!({ "status_codes": [] })), "status_codes", "empty"),
        (
            policy("string_attribute", json!({ "key": "k", "values": ["("], "enabled_regex_matching": true })),
            "values",
            "not a regular expression",
        ),
        (policy("string_attribute", json!({ "values": ["a"] })), "key", "required"),
        (policy("numeric_attribute", json!({ "key": "k" })), "min_value", "required"),
        (policy("numeric_attribute", json!({ "key": "k", "min_value": 9, "max_value": 3 })), "max_value", "below"),
        (policy("latency", json!({ "threshold_ms": 9, "upper_threshold_ms": 3 })), "upper_threshold_ms", "below"),
        (policy("rate_limiting", json!({})), "spans_per_second", "required"),
        (policy("rate_limiting", json!({ "spans_per_second": 0 })), "spans_per_second", "keeps nothing"),
        (policy("ottl_condition", json!({ "span": ["nonsense["] })), "span", "at character"),
        (policy("ottl_condition", json!({})), "span", "required"),
        (policy("ottl_condition", json!({ "error_mode": "loud", "span": ["true"] })), "error_mode", "loud"),
        (policy("and", json!({ "and_sub_policy": [] })), "and_sub_policy", "empty"),
        (policy("not", json!({})), "not_sub_policy", "required"),
        (
            policy(
                "composite",
                json!({ "max_total_spans_per_second": 10, "policy_order": ["x"], "composite_sub_policy": [{ "name": "a", "type": "always_sample" }] }),
            ),
            "policy_order",
            "not one of the sub-policies",
        ),
        (policy("latency", json!({ "threshold": 9 })), "threshold", "unknown key"),
        (
            json!({ "policies": [{ "name": "a", "type": "always_sample" }, { "name": "a", "type": "always_sample" }] }),
            "policies::1::name",
            "two policies",
        ),
        (
            json!({ "policies": [{ "name": "a", "type": "always_sample" }], "tail_storage": "x" }),
            "tail_storage",
            "not supported yet",
        ),
        (json!({ "policies": [{ "name": "a", "type": "always_sample" }], "num_shards": 999 }), "num_shards", "999"),
        (
            json!({ "policies": [{ "name": "a", "type": "always_sample" }], "decision_wait": "99h" }),
            "decision_wait",
            "longer",
        ),
        (
            json!({ "policies": [{ "name": "a", "type": "always_sample" }], "podgate": { "max_bytes": "1KiB" } }),
            "max_bytes",
            "too small",
        ),
        (
            json!({ "sampling_strategy": "span-ingest", "policies": [{ "name": "r", "type": "rate_limiting", "rate_limiting": { "spans_per_second": 5 } }] }),
            "policies::0",
            "whole trace",
        ),
    ];
    for (config, path, words) in cases {
        let (plan, findings) = checked(config);
        assert!(plan.is_none(), "{config}");
        let found =
            findings.iter().find(|finding| finding.severity == Severity::Error && finding.message.contains(words));
        let found = found.unwrap_or_else(|| panic!("{config}: no {words:?} in {findings:#?}"));
        assert!(found.path.contains(path), "{} should name {path}", found.path);
        assert!(found.place.is_some_and(|place| place.line > 0), "{config}: {found:?}");
    }
}

#[test]
fn all_faults_come_at_once() {
    let (_, findings) = checked(&json!({
        "decision_wait": "soon",
        "sampling_strategy": "guess",
        "policies": [{ "name": "a", "type": "nothing" }, { "name": "b", "type": "status_code", "status_code": { "status_codes": ["X"] } }],
        "nun_traces": 5,
    }));
    assert_eq!(findings.iter().filter(|finding| finding.severity == Severity::Error).count(), 5, "{findings:#?}");
}

#[test]
fn questions_beyond_the_bits_of_a_trace_are_refused() {
    let many = |count: usize| {
        let policies = (0..count).map(|at| json!({ "name": format!("p{at}"), "type": "string_attribute", "string_attribute": { "key": format!("k{at}"), "values": ["v"] } }));
        json!({ "policies": policies.collect::<Vec<_>>() })
    };
    assert!(checked(&many(256)).0.is_some());
    for (count, words) in [(257, "257 different questions"), (300, "300 different questions"), (1001, "1001 policies")]
    {
        let (plan, findings) = checked(&many(count));
        assert!(plan.is_none());
        let told =
            |limit: &str| findings.iter().any(|told| told.message.contains(words) && told.message.contains(limit));
        assert!(told("at most 256") || told("at most 1000"), "{findings:#?}");
    }
}

#[test]
fn policies_nest_beyond_the_collectors_limits_but_not_without_end() {
    let nest = |depth: usize| {
        (0..depth).fold(
            json!({ "name": "leaf", "type": "always_sample" }),
            |inner, at| json!({ "name": format!("n{at}"), "type": "not", "not": { "not_sub_policy": inner } }),
        )
    };
    assert!(checked(&json!({ "policies": [nest(10)] })).0.is_some());
    assert!(checked(&json!({ "policies": [nest(200)] })).0.is_none());
}

#[test]
fn the_old_meaning_of_invert_match_is_a_switch_with_a_warning() {
    let (plan, findings) = checked(&json!({
        "podgate": { "invert_match": "veto", "default": "keep", "on_pressure": "decide_early" },
        "policies": [{ "name": "a", "type": "always_sample" }],
    }));
    assert!(plan.is_some());
    assert!(findings.iter().any(|finding| finding.severity == Severity::Warning && finding.message.contains("v0.144")));
}

//! Flat lists of statements: one group about one context, as a Collector v0.161 runs them.

use opentelemetry_proto::tonic::resource::v1::Resource;
use serde_json::{Value as Json, json};

use crate::common::{attributes, checked};
use crate::transform::{assert_traces, spans_of};

/// As a Collector v0.161 runs them, beside which these lists were run: all statements on one span, then on the next.
#[test]
fn an_item_meets_all_statements_of_a_flat_list_before_the_next_item() {
    let put = |resource: &mut Option<Resource>, of: Json| {
        resource.as_mut().expect("a resource").attributes.extend(attributes(&of));
    };
    assert_traces(
        "trace_statements: ['set(resource.attributes[\"last\"], span.name)', 'set(span.attributes[\"seen\"], resource.attributes[\"last\"])']",
        |all| {
            spans_of(all).for_each(|span| {
                let name = json!({ "seen": span.name });
                span.attributes.extend(attributes(&name));
            });
            all.resource_spans
                .iter_mut()
                .zip(["b", "c"])
                .for_each(|(group, last)| put(&mut group.resource, json!({ "last": last })));
        },
    );
    assert_traces(
        "trace_statements: ['set(span.attributes[\"from\"], resource.attributes[\"service.name\"])', 'delete_key(resource.attributes, \"service.name\")']",
        |all| {
            for (group, name) in all.resource_spans.iter_mut().zip(["cart", "shop"]) {
                group.resource.as_mut().expect("a resource").attributes.clear();
                // The second span of the first resource finds nothing there any more.
                for (span, from) in group.scope_spans[0].spans.iter_mut().zip([json!(name), Json::Null]) {
                    span.attributes.extend(attributes(&json!({ "from": from })));
                }
            }
        },
    );
    assert_traces(
        "trace_statements: ['append(resource.attributes[\"list\"], \"z\")', 'set(span.name, \"x\")']",
        |all| {
            spans_of(all).for_each(|span| span.name = "x".into());
            let lists = [json!({ "list": ["z", "z"] }), json!({ "list": ["z"] })];
            all.resource_spans.iter_mut().zip(lists).for_each(|(group, list)| put(&mut group.resource, list));
        },
    );
    assert_traces(
        "trace_statements: ['append(resource.attributes[\"list\"], \"z\")', 'set(resource.attributes[\"n\"], 1)']",
        |all| {
            all.resource_spans.iter_mut().for_each(|group| put(&mut group.resource, json!({ "list": ["z"], "n": 1 })));
        },
    );
}

/// Functions and constants that the named context does not know mean the lowest one below it that does.
#[test]
fn what_only_a_lower_context_knows_makes_a_flat_list_about_it() {
    // The first span of the first resource has two events, its other one has none.
    assert_traces(
        "trace_statements: ['append(resource.attributes[\"kinds\"], SPAN_KIND_SERVER)', 'set(scope.version, \"v\")']",
        |all| {
            for (group, kinds) in all.resource_spans.iter_mut().zip([json!([2, 2]), json!([2])]) {
                group.resource.as_mut().expect("a resource").attributes.extend(attributes(&json!({ "kinds": kinds })));
                group.scope_spans[0].scope.as_mut().expect("a scope").version = "v".into();
            }
        },
    );
    assert_traces("trace_statements: ['append(resource.attributes[\"roots\"], IsRootSpan())']", |all| {
        for (group, roots) in all.resource_spans.iter_mut().zip([json!([true, true]), json!([true])]) {
            group.resource.as_mut().expect("a resource").attributes.extend(attributes(&json!({ "roots": roots })));
        }
    });
}

#[test]
fn a_flat_list_that_no_one_context_can_run_is_refused() {
    let cases = [
        ("metric_statements: ['convert_sum_to_gauge()', 'set(datapoint.flags, 1)']", "changes a metric"),
        (
            "trace_statements: ['set(span.name, \"r\") where IsRootSpan()', 'set(spanevent.name, \"e\")']",
            "is asked of a span",
        ),
        ("log_statements: ['set(resource.cache[\"n\"], 1)', 'set(log.body, \"b\")']", "there is no `cache` here"),
        ("log_statements: ['set(log.body, \"b\")', 'set(body, \"c\")']", "does not say whose"),
        ("log_statements: ['set(log.body, \"b\")', 'set(span.name, \"c\")']", "`span` is not part of logs"),
        ("trace_statements: ['set(log.body, \"b\")', 'set(span.name, \"c\")']", "`log` is not part of traces"),
    ];
    for (yaml, expected) in cases {
        let faults = checked(yaml).map(drop).expect_err(yaml);
        assert!(faults.len() == 1 && faults[0].contains(expected), "{yaml}: {faults:?}");
    }
    let faults = checked("log_statements: ['set(log.body, ', 'set(log.body, \"b\")', 'set(log.text, 1)']").map(drop);
    assert_eq!(faults.expect_err("two of three are wrong").len(), 2, "each fault is reported");
}

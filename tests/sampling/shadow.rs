//! Shadow policies: judged on the same traces, without effect, and told by what would become otherwise.

use std::collections::BTreeMap;

use bytes::Bytes;
use fastrand::Rng;
use serde_json::{Value as Json, json};

use podgate::core::report::routes::{Page, PageQuery};

use crate::promises::seconds;
use crate::rig::{Rig, checked};
use crate::spans::{failed, hex, request_of, span};

fn errors() -> Json {
    json!({ "name": "errors", "type": "status_code", "status_code": { "status_codes": ["ERROR"] } })
}

fn service(name: &str) -> Json {
    json!({ "name": name, "type": "string_attribute", "string_attribute": { "key": "service.name", "values": [name] } })
}

fn limited(spans: u64) -> Json {
    json!({ "name": "rate", "type": "rate_limiting", "rate_limiting": { "spans_per_second": spans, "burst_capacity": spans } })
}

fn config(policies: Json, shadow: Option<Json>) -> Json {
    let mut config = json!({ "decision_wait": "1s", "policies": policies });
    if let Some(shadow) = shadow {
        config["podgate"] = json!({ "shadow": { "policies": shadow } });
    }
    config
}

async fn told(rig: &Rig) -> Json {
    let page = rig.host.routes.ask("/v1/sampling", &PageQuery::new()).expect("a page").await.body;
    page["samplers"][0]["shadow"].clone()
}

/// The same traffic for every seed: traces of up to three services over some seconds.
async fn play(rig: &Rig, seed: u64) {
    let mut rng = Rng::with_seed(seed);
    for trace in 0..300 {
        for number in 0..rng.u64(1..4) {
            let made = span(trace, number);
            let made = if rng.u8(0..8) == 0 { failed(made) } else { made };
            let service = ["shop", "cart", "mail"][rng.usize(0..3)];
            rig.send(&request_of(service, vec![made])).await.expect("taken");
        }
        if trace % 60 == 59 {
            seconds(0.7).await;
        }
    }
    seconds(3.0).await;
}

#[tokio::test(start_paused = true)]
async fn a_shadow_of_the_same_policies_changes_nothing_and_differs_in_nothing() {
    let policies = json!([
        errors(),
        { "name": "some", "type": "probabilistic", "probabilistic": { "sampling_percentage": 20 } },
        { "name": "both", "type": "and", "and": { "and_sub_policy": [service("cart"), limited(20)] } },
        { "name": "not", "type": "drop", "drop": { "drop_sub_policy": [service("mail"), errors()] } },
        limited(15),
    ]);
    for (seed, weights) in [(1, "off"), (2, "th"), (3, "auto")] {
        let with = |shadow: Option<Json>| {
            let mut config = config(policies.clone(), shadow);
            config["podgate"]["weights"] = weights.into();
            config
        };
        let alone = Rig::start(&with(None)).await;
        play(&alone, seed).await;
        let rig = Rig::start(&with(Some(policies.clone()))).await;
        play(&rig, seed).await;
        assert_eq!(rig.sink.by_trace(), alone.sink.by_trace(), "seed {seed}: the shadow has no effect");
        let shadow = told(&rig).await;
        let outcomes = &shadow["outcomes"];
        let traces = |outcome: &str| outcomes[outcome]["traces"].as_u64().expect("a count");
        assert_eq!((traces("only_live"), traces("only_shadow")), (0, 0), "seed {seed}: {shadow}");
        assert_eq!(traces("both") + traces("neither"), 300);
        assert_eq!(traces("both"), rig.sink.by_trace().len() as u64);
        assert!(shadow["services"].as_array().is_some_and(Vec::is_empty), "{shadow}");
        alone.drain().await;
        rig.drain().await;
        rig.assert_settled();
    }
}

#[tokio::test(start_paused = true)]
async fn what_would_become_otherwise_is_told_by_service_with_ids_of_both_sides() {
    let shadow = json!([service("cart"), { "name": "no-mail", "type": "drop", "drop": { "drop_sub_policy": [service("mail")] } }]);
    let rig = Rig::start(&config(json!([errors()]), Some(shadow))).await;
    let sent = [
        (1, "shop", failed(span(1, 0))),
        (1, "cart", span(1, 1)),
        (2, "cart", span(2, 0)),
        (2, "cart", span(2, 1)),
        (3, "mail", failed(span(3, 0))),
        (3, "shop", span(3, 1)),
        (4, "shop", span(4, 0)),
    ];
    for (_, service, span) in sent {
        rig.send(&request_of(service, vec![span])).await.expect("taken");
    }
    seconds(3.0).await;
    let kept: BTreeMap<String, u64> = [(hex(1), 2), (hex(3), 2)].into();
    assert_eq!(rig.sink.by_trace(), kept);
    let shadow = told(&rig).await;
    let count = |outcome: &str, what: &str| shadow["outcomes"][outcome][what].as_u64().expect("a count");
    let traces = ["both", "only_live", "only_shadow", "neither"].map(|outcome| count(outcome, "traces"));
    assert_eq!((traces, count("only_live", "spans")), ([1, 1, 1, 1], 2), "{shadow}");
    assert_eq!(shadow["exemplars"], json!({ "only_live": [hex(3)], "only_shadow": [hex(2)] }));
    let services: BTreeMap<&str, [u64; 4]> = shadow["services"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|of| {
            let number = |side: &str, what: &str| of[side][what].as_u64().expect("a count");
            let counts = [
                number("only_live", "traces"),
                number("only_live", "spans"),
                number("only_shadow", "traces"),
                number("only_shadow", "spans"),
            ];
            (of["service"].as_str().expect("a name"), counts)
        })
        .collect();
    assert_eq!(services, BTreeMap::from([("cart", [0, 0, 1, 2]), ("mail", [1, 1, 0, 0]), ("shop", [1, 1, 0, 0])]));
    assert_eq!(shadow["policies"][0]["would_keep_first"]["traces"], 2, "{shadow}");
    assert_eq!((&shadow["policies"][1]["name"], &shadow["policies"][1]["dropped"]), (&"no-mail".into(), &1.into()));
    for (trace, keeps) in [(1, true), (2, true), (3, false), (4, false)] {
        let page =
            rig.host.routes.ask(&format!("/v1/traces/{}", hex(trace)), &PageQuery::new()).expect("a page").await.body;
        assert_eq!(page["shadow_keeps"], keeps, "{page}");
    }
    let metric = |name: &str| rig.host.stats.total(&format!("podgate_tail_sampling_shadow_{name}"));
    assert_eq!((metric("traces"), metric("spans")), (4, 7));
    rig.drain().await;
    rig.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn limits_of_the_shadow_take_nothing_from_those_that_decide() {
    let rig = Rig::start(&config(json!([limited(10)]), Some(json!([limited(5)])))).await;
    for trace in 0..20 {
        rig.send(&request_of("shop", vec![span(trace, 0)])).await.expect("taken");
    }
    seconds(3.0).await;
    assert_eq!(rig.sink.by_trace().len(), 10);
    let shadow = told(&rig).await;
    let traces = |outcome: &str| shadow["outcomes"][outcome]["traces"].as_u64();
    assert_eq!((traces("both"), traces("only_live"), traces("neither")), (Some(5), Some(5), Some(10)), "{shadow}");
    rig.drain().await;
    rig.assert_settled();
}

/// Gives the running sampler these policies.
async fn give(rig: &Rig, time: &str, text: &str) -> Page {
    let query = PageQuery::from([("for".to_owned(), time.to_owned())]);
    rig.host.routes.change("/v1/sampling/shadow", &query, Bytes::from(text.to_owned())).expect("a change").await
}

#[tokio::test(start_paused = true)]
async fn a_shadow_given_to_a_running_sampler_judges_what_is_held_and_ends_by_itself() {
    let rig = Rig::start(&config(json!([errors()]), None)).await;
    assert!(told(&rig).await.is_null());
    rig.send(&request_of("cart", vec![span(1, 0)])).await.expect("taken");
    let text = "- {name: cart, type: string_attribute, string_attribute: {key: service.name, values: [cart]}}\n";
    let page = give(&rig, "5s", text).await;
    assert_eq!((page.status, &page.body["given"][0]["processor"]), (200, &"tail_sampling".into()), "{page:?}");
    rig.send(&request_of("cart", vec![span(2, 0)])).await.expect("taken");
    seconds(3.0).await;
    let traces = |shadow: &Json| shadow["outcomes"]["only_shadow"]["traces"].as_u64();
    let shadow = told(&rig).await;
    assert_eq!((traces(&shadow), &shadow["is_over"]), (Some(2), &false.into()), "{shadow}");
    assert!(rig.sink.by_trace().is_empty());
    seconds(4.0).await;
    rig.send(&request_of("cart", vec![span(3, 0)])).await.expect("taken");
    seconds(3.0).await;
    let shadow = told(&rig).await;
    assert_eq!((traces(&shadow), &shadow["is_over"]), (Some(2), &true.into()), "{shadow}");
    let third = rig.host.routes.ask(&format!("/v1/traces/{}", hex(3)), &PageQuery::new()).expect("a page").await.body;
    assert!(third["shadow_keeps"].is_null() && third["version"] == 3, "{third}");
    rig.drain().await;
    assert_eq!(give(&rig, "5s", text).await.status, 404, "what has ended judges nothing");
    rig.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn a_shadow_that_is_wrong_changes_nothing_and_says_what_is_wrong() {
    let rig = Rig::start(&config(json!([errors()]), None)).await;
    for (time, text, status, said) in [
        ("1m", "- {name: x, type: latencies}", 422, "line 1: E0"),
        ("1m", "policies: []", 422, "policies"),
        ("1m", "{", 422, "E0"),
        ("forever", "- {name: all, type: always_sample}", 400, "10m"),
        ("2d", "- {name: all, type: always_sample}", 400, "up to a day"),
    ] {
        let page = give(&rig, time, text).await;
        let error = page.body["error"].as_str().unwrap_or_default();
        assert!(page.status == status && error.contains(said), "{text}: {page:?}");
    }
    assert!(told(&rig).await.is_null());
    let configured = Rig::start(&config(json!([errors()]), Some(json!([errors()])))).await;
    assert_eq!(give(&configured, "1s", "policies: [{name: all, type: always_sample}]").await.status, 200);
    assert_eq!(told(&configured).await["policies"][0]["name"], "all");
    seconds(3.0).await;
    assert_eq!(told(&configured).await["policies"][0]["name"], "errors", "the configuration's own comes back");
    rig.drain().await;
    configured.drain().await;
}

#[test]
fn faults_of_shadow_policies_are_found_where_they_stand() {
    let findings =
        |config: &Json| checked(config).1.into_iter().map(|found| (found.path, found.message)).collect::<Vec<_>>();
    let wrong = findings(&config(json!([errors()]), Some(json!([{ "name": "x", "type": "latencies" }]))));
    assert!(wrong.iter().any(|(path, _)| path.ends_with("podgate::shadow::policies::0::type")), "{wrong:?}");
    let none = findings(&config(json!([errors()]), Some(json!([]))));
    assert!(none.iter().any(|(path, _)| path.contains("podgate::shadow::policies")), "{none:?}");
    let mut ingest = config(json!([errors()]), Some(json!([errors()])));
    ingest["sampling_strategy"] = "span-ingest".into();
    let ingest = findings(&ingest);
    assert!(ingest.iter().any(|(_, message)| message.contains("shadow policies judge whole traces")), "{ingest:?}");
}

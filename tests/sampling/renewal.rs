//! Policies that change while traces are held: each trace is decided once, by the newest set, and explained by its own.

use std::any::Any;
use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value as Json, json};

use podgate::core::report::routes::PageQuery;

use crate::promises::seconds;
use crate::rig::{Rig, checked};
use crate::spans::{failed, hex, request, request_of, span, text};

fn errors() -> Json {
    json!({ "name": "errors", "type": "status_code", "status_code": { "status_codes": ["ERROR"] } })
}

fn of_service(service: &str) -> Json {
    json!({ "name": "service", "type": "string_attribute", "string_attribute": { "key": "service.name", "values": [service] } })
}

fn with(wait: &str, policies: Json) -> Json {
    json!({ "decision_wait": wait, "policies": policies })
}

/// Whether the sampler goes on with this configuration.
fn renew(rig: &Rig, config: &Json) -> bool {
    let (plan, findings) = checked(config);
    let plan = plan.unwrap_or_else(|| panic!("{findings:#?}"));
    let plan: &dyn Any = &*plan;
    rig.component.reconfigure(plan)
}

async fn page(rig: &Rig, trace: u64) -> Json {
    rig.host.routes.ask(&format!("/v1/traces/{}", hex(trace)), &PageQuery::new()).expect("a page").await.body
}

fn kept(rig: &Rig) -> BTreeMap<String, u64> {
    rig.sink.by_trace()
}

#[tokio::test(start_paused = true)]
async fn held_traces_are_decided_once_by_the_newest_set_and_explained_by_the_one_that_decided() {
    let rig = Rig::start(&with("10s", json!([errors()]))).await;
    rig.send(&request_of("shop", vec![failed(span(1, 0))])).await.expect("taken");
    rig.send(&request_of("cart", vec![span(2, 0)])).await.expect("taken");
    rig.send(&request_of("cart", vec![span(3, 0)])).await.expect("taken");
    seconds(12.0).await;
    assert_eq!(kept(&rig), BTreeMap::from([(hex(1), 1)]));
    for trace in 4..7 {
        rig.send(&request_of("cart", vec![span(trace, 0)])).await.expect("taken");
    }
    rig.send(&request_of("shop", vec![failed(span(7, 0))])).await.expect("taken");
    seconds(5.0).await;
    assert!(renew(&rig, &with("10s", json!([of_service("cart")]))));
    // More of a trace that the first set began to read, read for the second.
    rig.send(&request_of("shop", vec![span(4, 1)])).await.expect("taken");
    rig.send(&request_of("shop", vec![span(7, 1)])).await.expect("taken");
    seconds(8.0).await;
    let wanted = [(hex(1), 1), (hex(4), 2), (hex(5), 1), (hex(6), 1)];
    assert_eq!(kept(&rig), BTreeMap::from(wanted), "what is of `cart`, whichever set its spans were read for");
    // Late spans follow the decision that was made, whatever would be decided now.
    rig.send(&request_of("mail", vec![span(1, 1)])).await.expect("taken");
    rig.send(&request_of("cart", vec![span(2, 1)])).await.expect("taken");
    seconds(1.0).await;
    assert_eq!((kept(&rig)[&hex(1)], kept(&rig).get(&hex(2))), (2, None));
    let (first, second) = (page(&rig, 1).await, page(&rig, 4).await);
    assert_eq!((&first["version"], &first["tree"][0]["policy"]), (&1.into(), &"errors".into()), "{first}");
    assert_eq!(first["reason"], "policy errors");
    assert_eq!((&second["version"], &second["tree"][0]["policy"]), (&2.into(), &"service".into()), "{second}");
    let says = second["tree"][0]["says"].as_str().unwrap_or_default();
    assert!(says.contains("service.name one of [cart]"), "{second}");
    rig.drain().await;
    rig.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn a_set_that_is_no_longer_known_leaves_the_facts_of_its_decisions() {
    let rig = Rig::start(&with("1s", json!([errors()]))).await;
    rig.send(&request(vec![failed(span(1, 0))])).await.expect("taken");
    seconds(3.0).await;
    for round in 0..20 {
        assert!(renew(&rig, &with("1s", json!([of_service(&round.to_string())]))));
    }
    let page = page(&rig, 1).await;
    assert_eq!((&page["version"], &page["kept"], &page["spans"]), (&1.into(), &true.into(), &1.into()));
    assert!(page["tree"].is_null() && page["reason"].is_null(), "{page}");
    rig.drain().await;
    rig.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_changes_counts_from_the_first_span_and_a_root_keeps_what_it_made_shorter() {
    let mut config = with("60s", json!([{ "name": "all", "type": "always_sample" }]));
    config["decision_wait_after_root_received"] = "8s".into();
    let rig = Rig::start(&config).await;
    rig.send(&request(vec![span(1, 1)])).await.expect("taken");
    rig.send(&request(vec![span(2, 0)])).await.expect("taken");
    seconds(4.0).await;
    config["decision_wait"] = "20s".into();
    assert!(renew(&rig, &config));
    rig.send(&request(vec![span(3, 1)])).await.expect("taken");
    seconds(3.0).await;
    assert!(kept(&rig).is_empty());
    seconds(3.0).await;
    assert_eq!(kept(&rig).into_keys().collect::<Vec<_>>(), [hex(2)], "eight seconds after its root");
    seconds(9.0).await;
    assert_eq!(kept(&rig).len(), 1);
    seconds(3.0).await;
    assert_eq!(kept(&rig).len(), 2, "twenty seconds after its first span, not sixty");
    seconds(4.0).await;
    assert_eq!(kept(&rig).len(), 3);
    rig.drain().await;
    rig.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn a_limit_goes_on_by_its_name() {
    let limit = |name: &str| json!({ "name": name, "type": "rate_limiting", "rate_limiting": { "spans_per_second": 1, "burst_capacity": 100 } });
    let rig = Rig::start(&with("1s", json!([limit("a")]))).await;
    let first = (0..90).map(|trace| span(trace, 0)).collect();
    rig.send(&request(first)).await.expect("taken");
    seconds(2.0).await;
    assert_eq!(kept(&rig).len(), 90);
    assert!(renew(&rig, &with("1s", json!([of_service("x"), limit("a")]))));
    rig.send(&request((100..200).map(|trace| span(trace, 0)).collect())).await.expect("taken");
    seconds(2.0).await;
    let after = kept(&rig).len();
    assert!((100..=105).contains(&after), "{after}: ten were left, and one comes each second");
    assert!(renew(&rig, &with("1s", json!([limit("b")]))));
    rig.send(&request((200..300).map(|trace| span(trace, 0)).collect())).await.expect("taken");
    seconds(2.0).await;
    assert_eq!(kept(&rig).len(), after + 100, "another limit begins full");
    rig.drain().await;
    rig.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn what_cannot_change_under_held_traces_is_left_to_another_instance() {
    let config = with("10s", json!([errors()]));
    let rig = Rig::start(&config).await;
    let changed = |key: &str, value: Json| {
        let mut config = config.clone();
        config[key] = value;
        config
    };
    for other in [
        changed("num_shards", 2.into()),
        changed("sampling_strategy", "span-ingest".into()),
        changed("decision_cache", json!({ "sampled_cache_size": 7 })),
        changed("podgate", json!({ "max_bytes": "64MiB" })),
    ] {
        assert!(!renew(&rig, &other), "{other}");
    }
    assert!(!rig.component.reconfigure(&"another plan"));
    for other in [
        changed("num_traces", 7.into()),
        changed("decision_wait", "3s".into()),
        changed("podgate", json!({ "journal_bytes": "1MiB", "weights": "th", "default": "keep" })),
    ] {
        assert!(renew(&rig, &other), "{other}");
    }
    rig.drain().await;
    assert!(!renew(&rig, &config), "nothing changes in what ends");
    rig.assert_settled();
}

/// As many traces as there were: under changes of policies, waits, weights, shadows and the journal, whatever is held then,
/// nothing is lost and nothing comes twice.
#[tokio::test(start_paused = true)]
async fn under_a_hundred_changes_every_span_is_kept_once() {
    let seed =
        std::env::var("PODGATE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    let mut rng = fastrand::Rng::with_seed(seed);
    let sets = [
        json!([{ "name": "all", "type": "always_sample" }]),
        json!([of_service("shop"), { "name": "all", "type": "always_sample" }]),
        json!([errors(), { "name": "not", "type": "not", "not": { "not_sub_policy": errors() } }]),
        json!([{ "name": "ottl", "type": "ottl_condition", "ottl_condition": {
            "error_mode": "ignore", "span": ["resource.attributes[\"service.name\"] == \"shop\""] } }]),
    ];
    let config = |rng: &mut fastrand::Rng| {
        let mut config = with(["1s", "2s", "5s", "20s"][rng.usize(0..4)], sets[rng.usize(0..4)].clone());
        config["num_shards"] = 3.into();
        let weights = ["off", "th", "auto"][rng.usize(0..3)];
        config["podgate"] =
            json!({ "weights": weights, "weight_attributes": rng.bool(), "journal_bytes": rng.u64(0..2) << 20 });
        if rng.bool() {
            config["podgate"]["shadow"] = json!({ "policies": sets[rng.usize(0..4)] });
        }
        config
    };
    let rig = Rig::start(&config(&mut rng)).await;
    let (mut sent, mut trace) = (BTreeMap::new(), 0);
    for _ in 0..100 {
        for _ in 0..rng.usize(0..20) {
            trace += 1;
            let at = if rng.bool() { trace } else { rng.u64(1..=trace) };
            let mut made = span(at, u64::from(rng.bool()));
            made.attributes.push(text("n", "x"));
            *sent.entry(hex(at)).or_insert(0) += 1;
            rig.send(&request(vec![if rng.bool() { failed(made) } else { made }])).await.expect("taken");
        }
        assert!(renew(&rig, &config(&mut rng)), "PODGATE_SEED={seed}");
        tokio::time::sleep(Duration::from_millis(rng.u64(0..700))).await;
    }
    rig.drain().await;
    assert_eq!(kept(&rig), sent, "PODGATE_SEED={seed}");
    rig.assert_settled();
}

/// A source that keeps what it has and is away; traces of one that sends by itself do not wait for it.
#[tokio::test(start_paused = true)]
async fn traces_of_a_live_sender_are_decided_while_another_source_is_away() {
    let rig = Rig::start(&with("10s", json!([errors()]))).await;
    rig.send(&request_of("shop", vec![failed(span(1, 0))])).await.expect("taken");
    let away = rig.host.absences.begin(tokio::time::Instant::now());
    seconds(12.0).await;
    assert_eq!(kept(&rig), BTreeMap::from([(hex(1), 1)]));
    drop(away);
}

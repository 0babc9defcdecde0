//! The advice on waits and sizes, of a running sampler: what was sent is what is told.

use serde_json::{Value as Json, json};

use podgate::core::report::routes::PageQuery;

use crate::promises::seconds;
use crate::rig::Rig;
use crate::spans::{request_of, span};

async fn sizes(rig: &Rig) -> Json {
    let page = rig.host.routes.ask("/v1/sampling", &PageQuery::new()).expect("a page").await.body;
    page["samplers"][0]["sizes"].clone()
}

#[tokio::test(start_paused = true)]
async fn a_sampler_says_how_its_traces_come_and_what_wait_would_cut_how_many() {
    let config =
        json!({ "decision_wait": "10s", "num_shards": 2, "policies": [{ "name": "all", "type": "always_sample" }] });
    let rig = Rig::start(&config).await;
    // A hundred traces a second for twenty seconds; every tenth has a second span three seconds later.
    for second in 0..20u64 {
        let of = |first: u64| (0..100).map(move |number| first * 100 + number);
        let spans = of(second).map(|trace| span(trace, 0)).collect();
        rig.send(&request_of("shop", spans)).await.expect("taken");
        if second >= 3 {
            let spans = of(second - 3).filter(|trace| trace % 10 == 0).map(|trace| span(trace, 1)).collect();
            rig.send(&request_of("cart", spans)).await.expect("taken");
        }
        seconds(1.0).await;
    }
    seconds(12.0).await;
    // Two more of a trace that was decided.
    rig.send(&request_of("cart", vec![span(1999, 1)])).await.expect("taken");
    seconds(2.0).await;
    let sizes = sizes(&rig).await;
    let all = &sizes["all"];
    assert_eq!(
        (&all["traces"], &all["spans"]["p50"], &all["spans"]["p99"]),
        (&2000.into(), &1.into(), &2.into()),
        "{sizes}"
    );
    let spread = |share: &str| all["spread_ms"][share].as_u64().expect("a quantile");
    assert!(spread("p50") == 0 && (3_000..=3_750).contains(&spread("p99")), "{all}");
    let services: Vec<(&str, u64)> = sizes["services"]
        .as_array()
        .expect("services")
        .iter()
        .map(|service| (service["service"].as_str().expect("a name"), service["traces"].as_u64().expect("a count")))
        .collect();
    assert_eq!(services, [("cart", 170), ("shop", 2000)]);
    let wait = &sizes["recommended"]["decision_wait"];
    assert_eq!(wait["seconds"], 5, "{sizes}");
    let cut_by_two = wait["choices"][1]["share_cut"].as_f64().expect("a share");
    assert!((cut_by_two - 171.0 / 2000.0).abs() < 1e-9, "{wait}");
    let traces = sizes["recommended"]["num_traces"][0]["size"].as_f64().expect("a size");
    assert!((600.0..=1900.0).contains(&traces), "some hundred a second for five seconds and a quarter more: {sizes}");
    rig.drain().await;
    rig.assert_settled();
}

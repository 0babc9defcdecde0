//! The journal: every verdict can be derived again from its explanation alone, and says what made it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value as Json, json};

use podgate::core::data::budget::Budget;
use podgate::core::report::routes::{Page, PageQuery};

use crate::promises::seconds;
use crate::rig::Rig;
use crate::spans::{failed, hex, request, span};
use crate::verdicts::{corpus, sets, trace_ids};

/// A vote derived from the facts of a node: its own measured values, or the votes of its parts.
fn derived(node: &Json) -> &'static str {
    let yes = |yes: bool| if yes { "sampled" } else { "not_sampled" };
    let number = |key: &str| node[key].as_i64().unwrap_or_else(|| panic!("{key} in {node}"));
    let flag = |key: &str| node[key].as_bool().unwrap_or_else(|| panic!("{key} in {node}"));
    let parts = || node["of"].as_array().expect("parts").iter().filter(|part| part["vote"] != "not_asked");
    let all = || {
        let mut votes = parts().map(derived);
        match votes.find(|vote| !matches!(*vote, "sampled" | "weakly_sampled")) {
            Some("failed") => "failed",
            Some(_) => "not_sampled",
            None => "sampled",
        }
    };
    match node["type"].as_str().expect("a type") {
        "always_sample" => "sampled",
        "question" => match (node["invert"].as_str().expect("a sense"), flag("found")) {
            ("no", found) => yes(found),
            ("plain", found) => yes(!found),
            (_, true) => "veto",
            (_, false) => "weakly_sampled",
        },
        "latency" => {
            let within = node["up_to"].as_i64().is_none_or(|most| number("millis") <= most);
            yes(number("millis") > number("above") && within)
        }
        "probabilistic" => {
            let (hash, threshold) = (node["hash"].as_u64().expect("a hash"), node["threshold"].as_u64());
            yes(node["share"].as_f64() > Some(0.0) && Some(hash) <= threshold)
        }
        "span_count" => {
            let within = node["max"].as_i64().is_none_or(|most| number("spans") <= most);
            yes(number("spans") >= number("min") && within)
        }
        "rate_limiting" | "bytes_limiting" => yes(flag("granted")),
        "ottl_condition" if flag("failed") => "failed",
        "ottl_condition" => yes(flag("found")),
        "and" => all(),
        "drop" if all() == "sampled" => "dropped",
        "drop" => all(),
        "not" => match parts().map(derived).next().expect("a part") {
            "sampled" | "weakly_sampled" => "not_sampled",
            "not_sampled" | "veto" => "sampled",
            other => other,
        },
        "composite" => {
            for part in parts() {
                match derived(part) {
                    "sampled" | "weakly_sampled" => return yes(part["granted"] == true),
                    "failed" => return "failed",
                    _ => {}
                }
            }
            "not_sampled"
        }
        other => panic!("no rule for {other}"),
    }
}

/// Of the 300 recorded traces one has no id.
const DECIDED: u64 = 299;

/// Whether the trace is kept, from the tree of its explanation alone.
fn kept_by(tree: &[Json], keeps_by_default: bool) -> bool {
    let votes: Vec<(&str, &str)> = tree
        .iter()
        .filter(|node| node["vote"] != "not_asked")
        .map(|node| (node["type"].as_str().expect("a type"), derived(node)))
        .collect();
    for (node, (_, vote)) in tree.iter().filter(|node| node["vote"] != "not_asked").zip(&votes) {
        assert_eq!(node["vote"], *vote, "the vote that was recorded, and the one derived from its facts: {node}");
    }
    let any = |wanted: &str| votes.iter().any(|(_, vote)| *vote == wanted);
    if any("dropped") || any("veto") {
        return false;
    }
    let against = votes.iter().any(|(kind, vote)| *kind != "drop" && *vote == "not_sampled");
    any("sampled") || (any("weakly_sampled") && !against) || keeps_by_default
}

async fn ask(rig: &Rig, id: &str) -> Page {
    rig.host.routes.ask(&format!("/v1/traces/{id}"), &PageQuery::new()).expect("a page").await
}

#[tokio::test(start_paused = true)]
async fn each_recorded_verdict_is_derived_again_from_its_explanation_alone() {
    let (mut sets_asked, mut derived_again) = (0, 0);
    for (name, set) in sets() {
        if name == "span_ingest_drop" {
            continue;
        }
        let config = &set["config"];
        let rig =
            Rig::start_as(&format!("tail_sampling/{name}"), config, Budget::new(1 << 30, 1 << 29), Default::default())
                .await;
        for request in corpus(0) {
            rig.send(&request).await.expect("holds in this test");
        }
        tokio::time::sleep(Duration::from_secs(7)).await;
        let spans: BTreeMap<String, u64> = rig.sink.by_trace();
        let by_default = config["podgate"]["default"] == "keep";
        // Spans without an id are judged each alone, under ids that nobody knows.
        for id in trace_ids().into_iter().filter(|id| id.bytes().any(|digit| digit != b'0')) {
            let page = ask(&rig, &id).await;
            assert_eq!(page.status, 200, "{name} {id}");
            let explained = &page.body;
            assert_eq!(explained["kept"] == true, spans.contains_key(&id), "{name} {id}: {explained}");
            let tree = explained["tree"].as_array().expect("a tree");
            let size = explained["trigger"] == "size";
            let arrival = tree.iter().all(|node| node["vote"] == "not_asked");
            let kept = !size && kept_by(tree, by_default);
            assert!(!arrival || size || config["sampling_strategy"] == "span-ingest", "{name} {id}: {explained}");
            assert_eq!(kept, spans.contains_key(&id), "{name} {id}: {explained}");
            derived_again += 1;
        }
        sets_asked += 1;
        rig.drain().await;
        rig.assert_settled();
    }
    println!("{derived_again} verdicts of {sets_asked} sets");
    assert_eq!(sets_asked, 55);
    assert_eq!(derived_again, 55 * DECIDED, "every trace of every set");
}

fn slow_and_failed(more: Json) -> Json {
    let mut config = json!({
        "decision_wait": "10s",
        "policies": [
            { "name": "errors", "type": "status_code", "status_code": { "status_codes": ["ERROR"] } },
            { "name": "slow", "type": "latency", "latency": { "threshold_ms": 1000 } },
        ],
    });
    let more = more.as_object().expect("a map").clone();
    config.as_object_mut().expect("a map").extend(more);
    config
}

#[tokio::test(start_paused = true)]
async fn a_decision_says_what_was_measured_what_made_it_and_what_came_late() {
    let rig = Rig::start(&slow_and_failed(json!({ "decision_wait_after_root_received": "1s" }))).await;
    let mut child = failed(span(2, 0));
    child.parent_span_id = vec![9; 8];
    rig.send(&request(vec![span(1, 0), child])).await.expect("holds in this test");
    seconds(4.0).await;
    let dropped = ask(&rig, &hex(1)).await.body;
    assert_eq!(
        (&dropped["kept"], &dropped["trigger"], &dropped["root_is_there"]),
        (&json!(false), &json!("root"), &json!(true))
    );
    let says = dropped["tree"][1]["says"].as_str().expect("a sentence");
    assert!(says.starts_with("lasts ") && says.ends_with(" ms, wants more than 1000 ms"), "{says}");
    assert_eq!(dropped["tree"][0]["says"], "has no span with status ERROR");
    seconds(8.0).await;
    rig.send(&request(vec![failed(span(2, 1))])).await.expect("holds in this test");
    seconds(1.0).await;
    let kept = ask(&rig, &hex(2)[..9]).await.body;
    assert_eq!(
        (&kept["kept"], &kept["trigger"], &kept["weight"]),
        (&json!(true), &json!("timeout"), &json!(1.0)),
        "{kept}"
    );
    assert_eq!((&kept["root_is_there"], &kept["orphan_parents"]), (&json!(false), &json!(true)));
    assert_eq!((&kept["late_spans"], &kept["late"][0]["kept"]), (&json!(1), &json!(true)));
    assert!(kept["late"][0]["after_ms"].as_u64().expect("known") >= 1000, "{kept}");
    assert_eq!(kept["services"].as_array().map(Vec::len), Some(1), "{kept}");
    assert_eq!(ask(&rig, "zz").await.status, 400);
    assert_eq!(ask(&rig, "ffffffffffff").await.status, 404);
    rig.drain().await;
    rig.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn all_of_3000_traces_decided_in_one_tick_can_be_asked_about() {
    // Of as many, 512 were known before the journal was a ring of bytes (findings M7).
    let rig = Rig::start(&slow_and_failed(json!({ "decision_wait": "1s" }))).await;
    for part in 0..30 {
        let spans = (0..100).map(|at| span(1 + 100 * part + at, 0)).collect();
        rig.send(&request(spans)).await.expect("holds in this test");
    }
    seconds(3.0).await;
    for trace in 1..=3000 {
        let page = ask(&rig, &hex(trace)).await;
        assert_eq!((page.status, &page.body["kept"]), (200, &json!(false)), "{trace}");
    }
    let sampler = rig.host.routes.find("/v1/sampling").expect("a page")(&PageQuery::new()).body["samplers"][0].clone();
    assert!(sampler["journal"]["bytes"].as_u64() >= Some(3000 * 30), "{}", sampler["journal"]);
    assert_eq!(sampler["volume"]["not_kept"]["traces"], 3000);
    rig.drain().await;
    rig.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn what_only_one_policy_keeps_is_counted_for_it() {
    let mut config = slow_and_failed(json!({ "decision_wait": "1s" }));
    let all = json!({ "name": "all", "type": "always_sample" });
    config["policies"].as_array_mut().expect("a list").push(all);
    let rig = Rig::start(&config).await;
    rig.send(&request(vec![failed(span(1, 0)), span(2, 0), span(2, 1), span(3, 0)])).await.expect("holds in this test");
    seconds(3.0).await;
    let page = rig.host.routes.find("/v1/sampling").expect("a page")(&PageQuery::new()).body;
    let volume = |place: usize, key: &str| page["samplers"][0]["policies"][place]["volume"][key].clone();
    let counts =
        |place: usize, key: &str| (volume(place, key)["traces"].as_u64(), volume(place, key)["spans"].as_u64());
    assert_eq!(
        (counts(0, "won"), counts(0, "only_it")),
        ((Some(1), Some(1)), (Some(0), Some(0))),
        "`all` wanted it too"
    );
    assert_eq!((counts(2, "won"), counts(2, "only_it")), ((Some(2), Some(3)), (Some(2), Some(3))));
    assert_eq!(volume(0, "exemplars")["kept"], hex(1));
    rig.drain().await;
    rig.assert_settled();
}

//! The page of runs: what it shows of a container's life, and how far it goes.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::stage::{UID, pod};
use super::{MadeUp, NOW, enricher};
use crate::core::report::routes::PageQuery;
use crate::core::time::UnixNanos;
use crate::kube::pod::{Container, ContainerKind, Ended, Pod};
use crate::processors::k8s_attributes::report::runs::lanes;

fn ago(seconds: u64) -> UnixNanos {
    NOW.saturating_sub(Duration::from_secs(seconds))
}

fn millis(time: UnixNanos) -> u64 {
    time.0 / 1_000_000
}

fn page(cluster: &Arc<MadeUp>, query: &[(&str, &str)]) -> Value {
    let query: PageQuery = query.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    lanes(&enricher("{}", cluster).0, &query, NOW)
}

#[test]
fn a_lane_has_the_runs_of_a_container_in_the_order_in_which_they_began() {
    let died = Ended {
        id: "run-a-with-a-long-id".into(),
        started: Some(ago(900)),
        finished: Some(ago(61)),
        reason: "OOMKilled".into(),
        exit_code: 137,
    };
    let mut restarted = pod("run-b", 1, ago(60), Some(died));
    let starting = Container { name: "proxy".into(), image: "p:1".into(), kind: ContainerKind::Sidecar };
    restarted.containers.push(starting);
    let page = page(&MadeUp::with([restarted]), &[]);
    assert_eq!((&page["total"], &page["pods"], &page["synced"]), (&json!(2), &json!(1), &json!(true)));
    let (lane, proxy) = (&page["lanes"][0], &page["lanes"][1]);
    assert_eq!((&lane["uid"], &lane["pod"], &lane["container"]), (&json!(UID), &json!("cart-1"), &json!("app")));
    let (first, second) = (&lane["runs"][0], &lane["runs"][1]);
    assert_eq!(
        (&first["id"], &first["reason"], &first["exit_code"]),
        (&json!("run-a-with-a"), &json!("OOMKilled"), &json!(137))
    );
    assert_eq!((&first["from_ms"], &first["ended"]), (&json!(millis(ago(900))), &json!(true)));
    assert_eq!((&second["restart"], &second["from_ms"]), (&json!(1), &json!(millis(ago(60)))));
    assert_eq!((&second["ended"], &second["to_ms"]), (&json!(false), &Value::Null));
    assert_eq!((&proxy["kind"], &proxy["runs"]), (&json!("sidecar"), &json!([])), "no status has come of it");
}

#[test]
fn whatever_a_cluster_holds_a_page_has_no_more_than_two_thousand_lanes_with_short_words() {
    let long = "x".repeat(5_000);
    let many = (0..1_050).map(|number| {
        let mut one = pod("run", 0, ago(60), None);
        one.uid = format!("uid-{number}").into();
        one.name = format!("pod-{number:04}").into();
        one.ips = Vec::new();
        one.containers.push(Container { name: "second".into(), image: "s:1".into(), kind: ContainerKind::Init });
        one.statuses[0].state = crate::kube::pod::RunState::Waiting { reason: long.as_str().into() };
        one
    });
    let cluster = MadeUp::with(many.collect::<Vec<Pod>>());
    let page = page(&cluster, &[]);
    assert_eq!((&page["total"], page["lanes"].as_array().map(Vec::len)), (&json!(2_100), Some(2_000)));
    assert_eq!(page["lanes"][0]["waiting"].as_str().map(str::len), Some(120));
    let none = self::page(&cluster, &[("namespace", "elsewhere")]);
    assert_eq!((&none["total"], &none["lanes"]), (&json!(0), &json!([])));
}

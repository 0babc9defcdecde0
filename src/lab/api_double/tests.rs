//! The API double: the truth first, then the states that a kubelet publishes, in the order of the recordings.

use std::collections::HashSet;

use serde_json::Value;

use super::*;
use crate::kube::decode::{Decoder, Event, Keep};
use crate::kube::pod::{ContainerStatus, Pod, RunState};

/// What a watch from the beginning would have been sent of one container.
fn published(sandbox: &Sandbox, container: &str) -> Vec<ContainerStatus> {
    let mut decoder = Decoder::new(Keep::default());
    let lines: Vec<String> = sandbox.cluster().since(0).map(|event| event.line.clone()).collect();
    let mut found: Vec<ContainerStatus> = Vec::new();
    for line in lines {
        let pod: Option<Pod> = match decoder.line(line.as_bytes()).unwrap() {
            Event::Applied(seen) => Some(seen.pod),
            Event::Deleted { last, .. } => last,
            other => panic!("{other:?}"),
        };
        let status = pod.into_iter().flat_map(|pod| pod.statuses).find(|status| &*status.name == container);
        found.extend(status.filter(|status| found.last() != Some(status)));
    }
    found
}

/// State, restart count, whether the id is the newest run's, whether lastState is the current id.
fn shape(status: &ContainerStatus) -> (&'static str, i64, bool) {
    let state = match &status.state {
        RunState::Unknown => "unknown",
        RunState::Waiting { reason } if reason.is_empty() => "created",
        RunState::Waiting { reason } if &**reason == "CrashLoopBackOff" => "backoff",
        RunState::Waiting { .. } => "waiting",
        RunState::Running { .. } => "running",
        RunState::Terminated(_) => "terminated",
    };
    (state, status.restart_count, status.last.as_ref().is_some_and(|last| last.id == status.id))
}

async fn advance(sandbox: &Sandbox, time: Duration) {
    tokio::time::advance(time).await;
    sandbox.cluster().publish_due(sandbox.clock());
}

#[tokio::test(start_paused = true)]
async fn a_second_restart_is_published_after_the_first_however_quickly_it_follows() {
    for seed in 0..20 {
        let sandbox = Sandbox::new(seed);
        let pod = sandbox.add_pod(PodSpec::deployed("shop", "cart", &["app"]));
        sandbox.set_publish_delay(Duration::ZERO..=Duration::from_secs(3));
        for _ in 0..3 {
            advance(&sandbox, Duration::from_millis(700)).await;
            sandbox.restart_container("shop", &pod.name, "app").expect("it runs");
        }
        advance(&sandbox, Duration::from_secs(10)).await;
        let numbers: Vec<i64> = published(&sandbox, "app").iter().map(|status| status.restart_count).collect();
        assert!(numbers.is_sorted() && numbers.last() == Some(&3), "seed {seed}: {numbers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_is_true_at_once_and_published_late() {
    let sandbox = Sandbox::new(1);
    let pod = sandbox.add_pod(PodSpec::deployed("shop", "cart", &["app", "proxy"]));
    sandbox.set_publish_delay(Duration::from_secs(2)..=Duration::from_secs(3));
    let next = sandbox.restart_container("shop", &pod.name, "app").unwrap();
    assert_eq!(next.number, 1);
    assert_eq!(sandbox.truth().len(), 2, "the next run has not begun yet");
    advance(&sandbox, Duration::from_millis(500)).await;
    let truth = sandbox.truth();
    let runs: Vec<_> = truth.iter().filter(|run| run.container == "app").collect();
    assert_eq!((runs.len(), runs[0].ended.is_some(), runs[1].ended), (2, true, None));
    assert_eq!(runs[1].id, next.id);
    assert_eq!(published(&sandbox, "app").last().map(shape), Some(("running", 0, false)));
    advance(&sandbox, Duration::from_secs(10)).await;
    let shapes: Vec<_> = published(&sandbox, "app").iter().map(shape).collect();
    let expected = [("running", 0, false), ("terminated", 0, false), ("running", 1, false)];
    assert_eq!(shapes, expected);
    let last = published(&sandbox, "app").pop().unwrap();
    assert_eq!((&*last.id, &*last.last.unwrap().id), (&*runs[1].id, &*runs[0].id));
    assert_eq!(published(&sandbox, "proxy").len(), 1, "the neighbour is left alone");
}

#[tokio::test(start_paused = true)]
async fn a_crash_loop_goes_through_the_states_of_the_recording() {
    let sandbox = Sandbox::new(2);
    let pod = sandbox.add_pod(PodSpec::deployed("shop", "cart", &["app"]));
    sandbox.set_publish_delay(Duration::from_secs(1)..=Duration::from_secs(1));
    for _ in 0..2 {
        sandbox.crash_container("shop", &pod.name, "app").unwrap();
        for _ in 0..50 {
            advance(&sandbox, Duration::from_millis(100)).await;
        }
    }
    let shapes: Vec<_> = published(&sandbox, "app").iter().map(shape).collect();
    let expected = [
        ("running", 0, false),
        ("terminated", 0, false),
        ("backoff", 0, true),
        ("created", 1, false),
        ("running", 1, false),
        ("terminated", 1, false),
        ("backoff", 1, true),
        ("created", 2, false),
        ("running", 2, false),
    ];
    assert_eq!(shapes, expected);
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_makes_the_same_cluster() {
    let build = |seed| {
        let sandbox = Sandbox::new(seed);
        let pod = sandbox.add_pod(PodSpec::deployed("shop", "cart", &["app"]));
        (pod, sandbox.truth().into_iter().map(|run| run.id).collect::<Vec<String>>())
    };
    assert_eq!(build(7), build(7));
    assert_ne!(build(7), build(8));
}

#[tokio::test(start_paused = true)]
async fn ids_look_like_the_real_ones_and_do_not_repeat() {
    let sandbox = Sandbox::new(3);
    let mut names = HashSet::new();
    for number in 0..100 {
        let pod = sandbox.add_pod(PodSpec::deployed("shop", &format!("d{}", number % 3), &["app"]));
        assert!(names.insert(pod.name.clone()) && names.insert(pod.ip.clone()) && names.insert(pod.uid.clone()));
        assert_eq!(pod.uid.len(), 36);
    }
    let ids: HashSet<String> = sandbox.truth().into_iter().map(|run| run.id).collect();
    assert_eq!(ids.len(), 100);
    assert!(ids.iter().all(|id| id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())));
}

#[tokio::test(start_paused = true)]
async fn deleted_pods_stay_in_the_truth_with_their_end() {
    let sandbox = Sandbox::new(4);
    let pod = sandbox.add_pod(PodSpec::deployed("shop", "cart", &["app"]));
    sandbox.restart_container("shop", &pod.name, "app");
    sandbox.delete_pod("shop", &pod.name);
    advance(&sandbox, Duration::from_secs(10)).await;
    let truth = sandbox.truth();
    assert!(truth.iter().all(|run| run.ended.is_some()), "{truth:?}");
    assert!(sandbox.restart_container("shop", &pod.name, "app").is_none());
    let last: Value = serde_json::from_str(&sandbox.cluster().since(0).last().unwrap().line).unwrap();
    assert_eq!(last["type"], "DELETED");
    assert!(last["object"]["metadata"]["deletionTimestamp"].is_string());
}

#[tokio::test(start_paused = true)]
async fn a_replica_set_leads_to_its_deployment() {
    let sandbox = Sandbox::new(5);
    let pod = sandbox.add_pod(PodSpec::deployed("shop", "cart", &["app"]));
    let cluster = sandbox.cluster();
    let object = cluster.pod("shop", &pod.name).unwrap();
    let set = object["metadata"]["ownerReferences"][0]["name"].as_str().unwrap();
    assert!(pod.name.starts_with(set));
    let set = cluster.other(&format!("/apis/apps/v1/namespaces/shop/replicasets/{set}")).unwrap();
    assert_eq!(set["metadata"]["ownerReferences"][0]["name"], "cart");
    let deployment = cluster.other("/apis/apps/v1/namespaces/shop/deployments/cart").unwrap();
    assert_eq!(set["metadata"]["ownerReferences"][0]["uid"], deployment["metadata"]["uid"]);
}

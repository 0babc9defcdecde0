//! The node's log folder beside an API server whose statuses come seconds late.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use podgate::kube::hub::{Hub, WatchSpec};
use podgate::lab::api_double::{MadePod, PodSpec, TrueRun};
use tokio::time::{Instant, sleep};

use super::world::{PATIENCE, World, knows, until};

/// As a kubelet: the log first, its link when the container has started.
fn write(root: &Path, run: &TrueRun) {
    let folder = format!("{}_{}_{}", run.namespace, run.pod, run.pod_uid);
    let logs = root.join("pods").join(&folder).join(&run.container);
    std::fs::create_dir_all(&logs).expect("made");
    std::fs::write(logs.join(format!("{}.log", run.number)), "").expect("written");
    let link = format!("{}_{}_{}-{}.log", run.pod, run.namespace, run.container, run.id);
    let target = format!("/var/log/pods/{folder}/{}/{}.log", run.container, run.number);
    symlink(target, root.join("containers").join(link)).expect("linked");
}

fn newest(hub: &Hub, pod: &MadePod) -> Option<(String, bool)> {
    let snapshot = hub.snapshot();
    let ledger = snapshot.by_uid(&pod.uid)?.ledger.container("app")?.clone();
    Some((ledger.newest()?.id.to_string(), ledger.logged))
}

#[tokio::test]
async fn a_new_run_is_known_by_its_link_while_its_status_is_seconds_late() {
    let world = World::new(20).await;
    let root = tempfile::tempdir().expect("a folder");
    for folder in ["pods", "containers"] {
        std::fs::create_dir(root.path().join(folder)).expect("made");
    }
    let pod = world.sandbox.add_pod(PodSpec::deployed("shop", "cart", &["app"]));
    world.sandbox.truth().iter().for_each(|run| write(root.path(), run));
    let spec = WatchSpec { node_logs: Some(root.path().to_owned()), ..world.spec() };
    let hub: Arc<Hub> = Hub::of(&world.host, spec);
    hub.start();
    until(&hub, "the pod and its log", |hub| knows(hub, &pod) && newest(hub, &pod).is_some_and(|(_, logged)| logged))
        .await;
    let freshness = hub.freshness();
    assert!(freshness.logs.is_some_and(|age| age < Duration::from_millis(100)), "{freshness:?}");
    let delay = Duration::from_secs(30);
    world.sandbox.set_publish_delay(delay..=delay);
    world.sandbox.set_restart_gap(Duration::from_millis(100));
    let next = world.sandbox.restart_container("shop", &pod.name, "app").expect("it runs");
    sleep(Duration::from_millis(200)).await;
    let linked = Instant::now();
    write(root.path(), &next);
    until(&hub, "the new run", |hub| newest(hub, &pod) == Some((next.id.clone(), true))).await;
    assert!(linked.elapsed() < delay / 2, "long before its status: {:?}", linked.elapsed());
    assert!(hub.snapshot().by_container_id(&next.id).is_some());
    let board = world.host.status.all();
    let message = &board["k8s/node_logs"].message;
    assert!(message.starts_with("1 containers in "), "{message}");
    hub.drain(Instant::now() + PATIENCE).await;
}

#[tokio::test]
async fn a_folder_that_is_not_mounted_is_said_and_missed_by_nobody() {
    let world = World::new(21).await;
    let pod = world.sandbox.add_pod(PodSpec::deployed("shop", "cart", &["app"]));
    let hub = Hub::of(&world.host, WatchSpec { node_logs: Some("/no/such/folder".into()), ..world.spec() });
    hub.start();
    until(&hub, "the pod", |hub| knows(hub, &pod)).await;
    assert_eq!(hub.freshness().logs, None);
    until(&hub, "the word on the board", |_| world.host.status.all().contains_key("k8s/node_logs")).await;
    let message = world.host.status.all()["k8s/node_logs"].message.clone();
    assert!(message.contains("manifests/components/node-logs"), "{message}");
    hub.drain(Instant::now() + PATIENCE).await;
}

//! The hub against the embedded API server, end to end over loopback: what it sees, what it asks, and how it heals.

use std::sync::Arc;
use std::time::Duration;

use podgate::core::data::budget::Budget;
use podgate::core::stage::host::Host;
use podgate::kube::client::Credentials;
use podgate::kube::hub::{Hub, WatchSpec};
use podgate::kube::owners::Lookup;
use podgate::kube::watch::WatchHealth;
use podgate::lab::api_double::{ApiFault, MadePod, PodSpec, Sandbox};
use tokio::time::{Instant, sleep};

#[path = "kube_watch/credentials.rs"]
mod credentials;
#[path = "kube_watch/logs.rs"]
mod logs;
#[path = "kube_watch/world.rs"]
mod world;

use world::{PATIENCE, World, knows, until};

fn shown_id(hub: &Hub, pod: &MadePod, container: &str) -> Option<String> {
    let snapshot = hub.snapshot();
    let entry = snapshot.by_uid(&pod.uid)?;
    let status = entry.pod.statuses.iter().find(|status| &*status.name == container)?;
    Some(status.id.to_string())
}

fn true_id(sandbox: &Sandbox, pod: &MadePod, container: &str) -> String {
    let mut runs = sandbox.truth().into_iter().filter(|run| run.pod_uid == pod.uid && run.container == container);
    runs.next_back().expect("a run").id
}

#[tokio::test]
async fn pods_are_listed_and_followed_through_restart_and_deletion() {
    let world = World::new(1).await;
    let cart = world.sandbox.add_pod(PodSpec::deployed("shop", "cart", &["app", "proxy"]));
    let elsewhere = PodSpec { node: "node-b".to_owned(), ..PodSpec::deployed("shop", "cart", &["app"]) };
    let elsewhere = world.sandbox.add_pod(elsewhere);
    let hub = world.synced().await;
    assert!(knows(&hub, &cart));
    assert!(!knows(&hub, &elsewhere), "the node filter leaves other nodes' pods out");
    assert_eq!(hub.freshness().state, WatchHealth::Fresh);

    let before = true_id(&world.sandbox, &cart, "app");
    assert_eq!(shown_id(&hub, &cart, "app"), Some(before.clone()));
    world.sandbox.restart_container("shop", &cart.name, "app").unwrap();
    let late = world.sandbox.add_pod(PodSpec::deployed("shop", "late", &["app"]));
    until(&hub, "the new pod", |hub| knows(hub, &late)).await;
    until(&hub, "the new run", |hub| {
        shown_id(hub, &cart, "app").is_some_and(|id| id != before && id == true_id(&world.sandbox, &cart, "app"))
    })
    .await;
    world.sandbox.delete_pod("shop", &late.name);
    until(&hub, "the deletion", |hub| !knows(hub, &late)).await;
    assert!(hub.snapshot().by_uid(&late.uid).is_some(), "deleted pods are found during their grace");
    assert_eq!(world.metric("otelcol_otelsvc_k8s_pod_table_size", None), 1);
    assert_eq!(world.metric("otelcol_otelsvc_k8s_pod_deleted", None), 1);
    hub.drain(Instant::now() + PATIENCE).await;
    hub.drain(Instant::now() + PATIENCE).await;
    assert!(knows(&hub, &cart), "the last snapshot stays readable");
}

#[tokio::test]
async fn one_watch_serves_all_users_of_one_selection() {
    let world = World::new(2).await;
    let (a, b) = (Hub::of(&world.host, world.spec()), Hub::of(&world.host, world.spec()));
    assert!(Arc::ptr_eq(&a, &b));
    let other = Hub::of(&world.host, WatchSpec { node: None, ..world.spec() });
    assert!(!Arc::ptr_eq(&a, &other));
    a.start();
    b.start();
    assert!(a.wait_synced(Instant::now() + PATIENCE).await);
    assert_eq!(world.sandbox.requests().len(), 1, "{:?}", world.sandbox.requests());
    a.drain(Instant::now() + PATIENCE).await;
    // Never started: nothing to end.
    other.drain(Instant::now() + PATIENCE).await;
}

#[tokio::test]
async fn several_namespaces_are_watched_each_by_itself() {
    let world = World::new(3).await;
    let pods: Vec<MadePod> =
        ["a", "b", "c"].iter().map(|name| world.sandbox.add_pod(PodSpec::deployed(name, "web", &["app"]))).collect();
    let hub = Hub::of(&world.host, WatchSpec { namespaces: vec!["a".to_owned(), "b".to_owned()], ..world.spec() });
    hub.start();
    assert!(hub.wait_synced(Instant::now() + PATIENCE).await);
    let known: Vec<bool> = pods.iter().map(|pod| knows(&hub, pod)).collect();
    assert_eq!(known, [true, true, false]);
    world.sandbox.delete_pod("a", &pods[0].name);
    until(&hub, "the deletion", |hub| !knows(hub, &pods[0])).await;
    assert!(knows(&hub, &pods[1]), "a change in one namespace says nothing about the other");
}

/// Fault while it runs, then health: the view must be right again within the promised minute.
async fn heals_from(fault: ApiFault, seed: u64) {
    let world = World::new(seed).await;
    let old = world.sandbox.add_pod(PodSpec::deployed("shop", "cart", &["app"]));
    let hub = world.synced().await;
    world.sandbox.set_fault(Some(fault));
    if matches!(fault, ApiFault::GoneAsEvent | ApiFault::GoneAsStatus) {
        world.sandbox.compact();
    }
    // Reads of single pods have a pace of their own.
    let single = |target: &str| target.contains("/pods/") || target.contains("metadata.name=");
    let watches =
        || -> Vec<_> { world.sandbox.requests().into_iter().filter(|asked| !single(&asked.target)).collect() };
    let (begun, asked_before) = (Instant::now(), watches().len());
    sleep(Duration::from_secs(3)).await;
    let asked = watches().len() - asked_before;
    let took = begun.elapsed();
    assert!(asked as u64 <= took.as_secs() + 1, "{fault:?}: {asked} requests in {took:?}");
    assert!(knows(&hub, &old), "{fault:?}: what was known must be served");
    let new = world.sandbox.add_pod(PodSpec::deployed("shop", "new", &["app"]));
    world.sandbox.delete_pod("shop", &old.name);
    world.sandbox.set_fault(None);
    until(&hub, &format!("fresh after {fault:?}"), |hub| knows(hub, &new) && !knows(hub, &old)).await;
    let requests = watches();
    // A second lies between two when they are sent; on a busy machine the server may notice the first of them late.
    for three in requests.windows(3) {
        let apart = three[2].at - three[0].at;
        assert!(apart >= Duration::from_millis(900), "{fault:?}: {apart:?} between three: {three:?}");
    }
    hub.drain(Instant::now() + PATIENCE).await;
}

#[tokio::test]
async fn the_view_heals_from_every_way_a_server_fails() {
    let refused = |code, seconds: Option<u64>| ApiFault::Status { code, retry_after: seconds.map(Duration::from_secs) };
    let faults = [
        ApiFault::EndAtOnce,
        ApiFault::GoneAsEvent,
        ApiFault::GoneAsStatus,
        ApiFault::ErrorEvent { code: 500 },
        ApiFault::Garbage,
        ApiFault::Truncated,
        ApiFault::NoBookmarks,
        ApiFault::Duplicates,
        ApiFault::Slow,
        refused(401, None),
        refused(403, None),
        refused(429, Some(2)),
        refused(500, None),
        refused(503, Some(1)),
    ];
    let runs = faults.into_iter().zip(100..).map(|(fault, seed)| heals_from(fault, seed));
    futures_util::future::join_all(runs).await;
}

#[tokio::test]
async fn a_server_without_streaming_lists_is_listed_in_pages() {
    let world = World::new(5).await;
    for number in 0..501 {
        world.sandbox.add_pod(PodSpec::deployed("shop", &format!("web{number}"), &["app"]));
    }
    world.sandbox.set_fault(Some(ApiFault::NoStreamingLists));
    let hub = world.synced().await;
    assert_eq!(hub.snapshot().len(), 501);
    let targets: Vec<String> = world.sandbox.requests().into_iter().map(|asked| asked.target).collect();
    assert!(targets[0].contains("sendInitialEvents=true"), "{targets:?}");
    assert!(targets[1].contains("limit=500") && !targets[1].contains("watch=true"), "{targets:?}");
    assert!(targets[2].contains("continue=") && !targets[2].contains("resourceVersion"), "{targets:?}");
    let new = world.sandbox.add_pod(PodSpec::deployed("shop", "new", &["app"]));
    until(&hub, "the new pod", |hub| knows(hub, &new)).await;
    hub.drain(Instant::now() + PATIENCE).await;
}

#[tokio::test]
async fn one_unreadable_object_costs_itself_only() {
    let world = World::new(6).await;
    let pod = world.sandbox.add_pod(PodSpec::deployed("shop", "cart", &["app"]));
    world.sandbox.set_fault(Some(ApiFault::BadObject));
    let hub = world.synced().await;
    assert!(knows(&hub, &pod));
    assert_eq!(hub.snapshot().len(), 1);
    assert_eq!(world.metric("otelcol_otelsvc_k8s_decode_errors", None), 1);
}

#[tokio::test]
async fn a_rotated_token_is_read_again_at_once() {
    let world = World::new(7).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "first").unwrap();
    world.sandbox.require_token(Some("first"));
    let auth = Credentials::TokenFile { url: world.url.clone(), path: path.clone() };
    let hub = Hub::of(&world.host, WatchSpec { auth, ..world.spec() });
    hub.start();
    assert!(hub.wait_synced(Instant::now() + PATIENCE).await);
    std::fs::write(&path, "second").unwrap();
    world.sandbox.require_token(Some("second"));
    world.sandbox.cut_watches();
    let pod = world.sandbox.add_pod(PodSpec::deployed("shop", "cart", &["app"]));
    until(&hub, "the pod behind the new token", |hub| knows(hub, &pod)).await;
    assert!(world.metric("otelcol_otelsvc_k8s_requests", Some("unauthorized")) >= 1);
    hub.drain(Instant::now() + PATIENCE).await;
}

#[tokio::test]
async fn a_missing_right_names_verb_and_cure_on_the_status_board() {
    let world = World::new(8).await;
    world.sandbox.set_fault(Some(ApiFault::Status { code: 403, retry_after: None }));
    let hub = world.hub();
    until(&hub, "the state", |hub| matches!(hub.freshness().state, WatchHealth::Stale(_))).await;
    let board = world.host.status.all();
    let message = &board["k8s"].message;
    assert!(message.contains("no right to watch pods: grant verbs get, list, watch on pods"), "{message}");
    assert!(!hub.synced());
    hub.drain(Instant::now() + PATIENCE).await;
}

#[tokio::test]
async fn answers_of_a_restored_server_count_as_old_until_a_list_says_otherwise() {
    let world = World::new(9).await;
    let pod = world.sandbox.add_pod(PodSpec::deployed("shop", "cart", &["app"]));
    let hub = world.synced().await;
    world.sandbox.restore_older();
    world.sandbox.cut_watches();
    world.sandbox.compact();
    let before = true_id(&world.sandbox, &pod, "app");
    world.sandbox.restart_container("shop", &pod.name, "app").unwrap();
    // The plain watch from the future is silent; what finds out is the refresh of a resource that waits.
    sleep(Duration::from_secs(1)).await;
    hub.refresh(&pod.uid, "shop", &pod.name);
    sleep(Duration::from_millis(300)).await;
    assert_eq!(shown_id(&hub, &pod, "app"), Some(before), "a lower version is older until a list says otherwise");
    hub.drain(Instant::now() + PATIENCE).await;
}

#[tokio::test]
async fn a_refresh_asks_once_for_one_pod_and_shows_what_it_found() {
    let world = World::new(10).await;
    let pod = world.sandbox.add_pod(PodSpec::deployed("shop", "cart", &["app"]));
    let path = format!("/pods/{}?", pod.name);
    let hub = world.synced().await;
    world.sandbox.set_fault(Some(ApiFault::SilentAfterHead));
    sleep(Duration::from_millis(1_500)).await;
    let run = world.sandbox.restart_container("shop", &pod.name, "app").unwrap();
    sleep(Duration::from_millis(700)).await;
    let asked = || world.sandbox.requests().iter().filter(|asked| asked.target.contains(&path)).count();
    let before = asked();
    for _ in 0..100 {
        hub.refresh(&pod.uid, "shop", &pod.name);
    }
    until(&hub, "the new run", |hub| shown_id(hub, &pod, "app").as_deref() == Some(&*run.id)).await;
    assert_eq!(asked(), before + 1);
    world.sandbox.delete_pod("shop", &pod.name);
    sleep(Duration::from_millis(1_100)).await;
    hub.refresh(&pod.uid, "shop", &pod.name);
    until(&hub, "the absence", |hub| !knows(hub, &pod)).await;
    hub.drain(Instant::now() + PATIENCE).await;
}

#[tokio::test]
async fn a_read_that_fails_casts_doubt_on_a_watch_that_looks_alive_until_the_server_answers() {
    let world = World::new(13).await;
    let pod = world.sandbox.add_pod(PodSpec::deployed("shop", "cart", &["app"]));
    let hub = world.synced().await;
    assert_eq!(hub.freshness().doubt, None);
    world.sandbox.set_fault(Some(ApiFault::Status { code: 500, retry_after: None }));
    let asked = Instant::now();
    hub.refresh(&pod.uid, "shop", &pod.name);
    while hub.freshness().doubt.is_none() {
        assert!(asked.elapsed() < PATIENCE, "the failure is not noticed");
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(hub.freshness().state, WatchHealth::Fresh, "the stream goes on, silently");
    world.sandbox.set_fault(None);
    while hub.freshness().doubt.is_some() {
        assert!(asked.elapsed() < PATIENCE, "the read is not repeated");
        sleep(Duration::from_millis(20)).await;
    }
    hub.drain(Instant::now() + PATIENCE).await;
}

#[tokio::test]
async fn a_server_that_says_nothing_proves_nothing_until_a_read_is_answered() {
    let world = World::new(14).await;
    let pod = world.sandbox.add_pod(PodSpec::deployed("shop", "cart", &["app"]));
    let hub = world.synced().await;
    let proved = |hub: &Hub| hub.snapshot().by_uid(&pod.uid).and_then(|entry| entry.proved);
    until(&hub, "the read that finds out whether pods may be read", |hub| proved(hub).is_some()).await;
    world.sandbox.freeze(true);
    sleep(Duration::from_millis(1_500)).await;
    let freshness = hub.freshness();
    assert_eq!(freshness.state, WatchHealth::Fresh);
    assert!(freshness.proof.is_some_and(|age| age >= Duration::from_millis(1_500)), "{freshness:?}");
    let before = proved(&hub);
    hub.refresh(&pod.uid, "shop", &pod.name);
    sleep(Duration::from_millis(300)).await;
    assert_eq!(proved(&hub), before, "nobody has answered");
    world.sandbox.freeze(false);
    until(&hub, "the answer", |hub| proved(hub) > before).await;
    hub.drain(Instant::now() + PATIENCE).await;
}

#[tokio::test]
async fn what_an_outage_held_back_is_not_taken_for_a_slow_kubelet() {
    let world = World::new(17).await;
    let pods = ["cart", "pay", "ship"].map(|name| world.sandbox.add_pod(PodSpec::deployed("shop", name, &["app"])));
    let hub = world.synced().await;
    sleep(Duration::from_millis(5_500)).await;
    world.sandbox.set_fault(Some(ApiFault::Status { code: 503, retry_after: None }));
    for pod in &pods {
        world.sandbox.restart_container("shop", &pod.name, "app").unwrap();
    }
    sleep(Duration::from_secs(4)).await;
    world.sandbox.set_fault(None);
    until(&hub, "the new runs", |hub| {
        pods.iter().all(|pod| shown_id(hub, pod, "app") == Some(true_id(&world.sandbox, pod, "app")))
    })
    .await;
    let freshness = hub.freshness();
    assert!(freshness.delay < Duration::from_secs(2), "{freshness:?}");
    assert!(freshness.doubt.is_some(), "kubelets may still have to tell: {freshness:?}");
    hub.drain(Instant::now() + PATIENCE).await;
}

#[tokio::test]
async fn without_the_right_to_get_pods_are_asked_for_by_a_list_of_one_name_and_else_by_a_stream() {
    for verbs in [&["get"][..], &["get", "list"]] {
        let world = World::new(15).await;
        let pod = world.sandbox.add_pod(PodSpec::deployed("shop", "cart", &["app"]));
        world.sandbox.add_pod(PodSpec::deployed("shop", "other", &["app"]));
        world.sandbox.set_fault(Some(ApiFault::NoRight { verbs }));
        let hub = world.synced().await;
        let proved = |hub: &Hub| hub.snapshot().by_uid(&pod.uid).and_then(|entry| entry.proved);
        let before = Instant::now();
        until(&hub, &format!("a proof without the right to {verbs:?}"), |hub| {
            hub.refresh(&pod.uid, "shop", &pod.name);
            proved(hub) >= Some(before)
        })
        .await;
        let freshness = hub.freshness();
        assert!(!freshness.mute && freshness.doubt.is_none(), "{freshness:?}");
        let board = world.host.status.all();
        assert!(board["k8s/rights"].message.contains("verbs: [get, list]"), "{:?}", board["k8s/rights"]);
        world.sandbox.delete_pod("shop", &pod.name);
        sleep(Duration::from_millis(1_100)).await;
        hub.refresh(&pod.uid, "shop", &pod.name);
        until(&hub, "the absence", |hub| !knows(hub, &pod)).await;
        hub.drain(Instant::now() + PATIENCE).await;
    }
}

/// An expired token is no missing right, whichever request meets it.
#[tokio::test]
async fn a_token_that_expires_on_the_detour_is_not_taken_for_a_missing_right() {
    let world = World::new(18).await;
    let pod = world.sandbox.add_pod(PodSpec::deployed("shop", "cart", &["app"]));
    world.sandbox.set_fault(Some(ApiFault::NoRight { verbs: &["get", "list"] }));
    let hub = world.synced().await;
    let proved = |hub: &Hub| hub.snapshot().by_uid(&pod.uid).and_then(|entry| entry.proved);
    until(&hub, "a proof by a stream", |hub| proved(hub).is_some()).await;
    world.sandbox.set_fault(Some(ApiFault::Status { code: 401, retry_after: None }));
    let unauthorized = || world.metric("otelcol_otelsvc_k8s_requests", Some("unauthorized"));
    let before = unauthorized();
    until(&hub, "reads that meet the 401", |hub| {
        hub.refresh(&pod.uid, "shop", &pod.name);
        unauthorized() > before + 1
    })
    .await;
    assert!(!hub.freshness().mute, "{:?}", hub.freshness());
    hub.drain(Instant::now() + PATIENCE).await;
}

#[tokio::test]
async fn a_right_that_is_denied_for_a_moment_is_asked_for_again() {
    let world = World::new(16).await;
    let pod = world.sandbox.add_pod(PodSpec::deployed("shop", "cart", &["app"]));
    let hub = world.synced().await;
    let proved = |hub: &Hub| hub.snapshot().by_uid(&pod.uid).and_then(|entry| entry.proved);
    until(&hub, "the first read", |hub| proved(hub).is_some()).await;
    // A server that has just started knows nobody's rights yet.
    world.sandbox.set_fault(Some(ApiFault::NoRight { verbs: &["get", "list", "watch"] }));
    sleep(Duration::from_millis(1_100)).await;
    hub.refresh(&pod.uid, "shop", &pod.name);
    until(&hub, "the refusal", |hub| hub.freshness().mute).await;
    world.sandbox.set_fault(None);
    until(&hub, "the right", |hub| !hub.freshness().mute).await;
    assert_eq!(world.host.status.all()["k8s/rights"].state, podgate::core::report::status::State::Ok);
    hub.drain(Instant::now() + PATIENCE).await;
}

#[tokio::test]
async fn owners_namespaces_and_nodes_are_fetched_once_when_asked_for() {
    let world = World::new(11).await;
    let pod = world.sandbox.add_pod(PodSpec::deployed("shop", "cart", &["app"]));
    let hub = world.synced().await;
    let set = hub.snapshot().by_uid(&pod.uid).unwrap().pod.owner.clone().unwrap();
    assert_eq!(hub.owner(&set, "shop"), Lookup::Pending, "the first lookup only asks");
    until(&hub, "replica set", |hub| hub.owner(&set, "shop").known().is_some()).await;
    let deployment = hub.owner(&set, "shop").known().unwrap().owner.clone().unwrap();
    assert_eq!((&*deployment.kind, &*deployment.name), ("Deployment", "cart"));
    until(&hub, "deployment", |hub| hub.owner(&deployment, "shop").known().is_some()).await;
    until(&hub, "namespace", |hub| hub.namespace("shop").known().is_some()).await;
    until(&hub, "node", |hub| hub.node(PodSpec::NODE).known().is_some()).await;
    let labels = hub.node(PodSpec::NODE).known().unwrap().labels.clone();
    assert_eq!(labels, [("name".into(), PodSpec::NODE.into())]);
    for _ in 0..100 {
        hub.owner(&set, "shop");
        hub.namespace("shop");
        hub.namespace("no-such");
    }
    sleep(Duration::from_millis(500)).await;
    hub.namespace("no-such");
    let singles = world.sandbox.requests().iter().filter(|asked| !asked.target.contains("/pods")).count();
    assert_eq!(singles, 5, "{:?}", world.sandbox.requests());
    hub.drain(Instant::now() + PATIENCE).await;
}

#[tokio::test]
async fn many_owners_of_a_kind_are_listed_once_and_do_not_wait_their_turn() {
    let world = World::new(15).await;
    let pods: Vec<MadePod> = (0..40)
        .map(|number| world.sandbox.add_pod(PodSpec::deployed("shop", &format!("web{number}"), &["app"])))
        .collect();
    let hub = world.synced().await;
    let snapshot = hub.snapshot();
    let sets: Vec<_> = pods.iter().map(|pod| snapshot.by_uid(&pod.uid).unwrap().pod.owner.clone().unwrap()).collect();
    let asked = Instant::now();
    let all_known =
        |hub: &Hub| sets.iter().filter(|set| hub.owner(set, "shop").known().is_some()).count() == sets.len();
    until(&hub, "every replica set", all_known).await;
    assert!(asked.elapsed() < Duration::from_secs(6), "at five a second it took eight: {:?}", asked.elapsed());
    let reads = world.sandbox.requests().iter().filter(|asked| asked.target.contains("/replicasets")).count();
    assert!(reads < 20, "{reads} reads of 40 objects");
    hub.drain(Instant::now() + PATIENCE).await;
}

#[tokio::test]
async fn no_server_at_all_leaves_an_empty_view_that_says_so() {
    let host = Host::new(Budget::unlimited());
    let world = World::new(12).await;
    let hub = Hub::of(&host, WatchSpec { auth: Credentials::Url("http://127.0.0.1:1".to_owned()), ..world.spec() });
    hub.start();
    until(&hub, "the state", |hub| matches!(hub.freshness().state, WatchHealth::Stale(_))).await;
    assert!(hub.snapshot().is_empty());
    assert!(!hub.wait_synced(Instant::now() + Duration::from_millis(10)).await);
    assert!(host.status.all()["k8s"].message.contains("not reachable"));
    hub.drain(Instant::now() + PATIENCE).await;
}

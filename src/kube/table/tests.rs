//! The table against recorded streams and against what senders and API servers do at the edges.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::kube::decode::{Decoder, Event, Keep};
use crate::testing::pods;

const GRACE: Duration = Duration::from_secs(120);

fn changes(text: &str) -> Vec<PodChange> {
    let mut decoder = Decoder::new(Keep::default());
    let read = text.lines().filter(|line| !line.is_empty()).filter_map(|line| {
        match decoder.line(line.as_bytes()).expect("a recorded line is readable") {
            Event::Applied(seen) => Some(PodChange::Applied(seen.pod)),
            Event::Deleted { uid, last, .. } => Some(PodChange::Deleted { uid, last }),
            _ => None,
        }
    });
    read.collect()
}

fn at(seconds: u64) -> UnixNanos {
    UnixNanos::from_secs(1_795_241_000 + seconds)
}

fn pod(uid: &str, name: &str, ip: &str, from: u64) -> Pod {
    Pod {
        uid: uid.into(),
        name: name.into(),
        ips: vec![ip.parse().expect("an address")],
        containers: Vec::new(),
        statuses: Vec::new(),
        ..pods::pod(at(from), pods::running("", 0, at(from), None))
    }
}

fn uid(entry: Option<&Arc<PodEntry>>) -> Option<&str> {
    entry.map(|entry| &*entry.pod.uid)
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn of_a_pod_that_is_merely_found_missing_nothing_is_known_after_the_last_word() {
    let mut table = Table::new(GRACE);
    table.apply(PodChange::Applied(pod("a", "shop", "10.0.0.1", 5)), at(5));
    table.heard(at(20));
    table.apply(PodChange::Missing("a".into()), at(60));
    let snapshot = table.snapshot();
    let entry = snapshot.by_uid("a").unwrap();
    assert_eq!((entry.removed_at, entry.known_until), (Some(at(60)), Some(at(20))));
    let holder = |seconds| snapshot.by_ip(ip("10.0.0.1"), at(seconds)).map(|entry| entry.pod.uid.to_string());
    assert_eq!((holder(20).as_deref(), holder(21)), (Some("a"), None), "it may be another pod's since");
    // The event came after all.
    table.apply(PodChange::Deleted { uid: "a".into(), last: Some(pod("a", "shop", "10.0.0.1", 5)) }, at(61));
    let snapshot = table.snapshot();
    assert_eq!(snapshot.by_uid("a").unwrap().known_until, Some(at(61)));
    assert!(snapshot.by_ip(ip("10.0.0.1"), at(60)).is_some());
}

#[test]
fn a_reused_address_belongs_to_whoever_held_it_then() {
    let mut table = Table::new(GRACE);
    table.apply(PodChange::Applied(pod("a", "a", "10.1.0.9", 0)), at(1));
    table.apply(PodChange::Deleted { uid: "a".into(), last: None }, at(50));
    table.apply(PodChange::Applied(pod("b", "b", "10.1.0.9", 60)), at(61));
    let snapshot = table.snapshot();
    let owner = |seconds| uid(snapshot.by_ip(ip("10.1.0.9"), at(seconds))).map(str::to_owned);
    assert_eq!(owner(30), Some("a".to_owned()));
    assert_eq!(owner(55), None, "nobody's between the two");
    assert_eq!(owner(70), Some("b".to_owned()));
    assert_eq!(uid(snapshot.by_ip(ip("::ffff:10.1.0.9"), at(70))), Some("b"));
}

#[test]
fn the_recorded_reuse_of_an_address_ends_with_the_successor_even_after_the_late_deletion() {
    let mut table = Table::new(GRACE);
    for change in changes(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/k8s/06-ip-reuse.jsonl"))) {
        table.apply(change, at(110));
    }
    let snapshot = table.snapshot();
    let owner = snapshot.by_ip(ip("10.1.0.9"), at(300)).expect("the successor holds it");
    assert!(owner.pod.name.ends_with("ccccc"), "{}", owner.pod.name);
}

#[test]
fn an_older_pod_does_not_take_an_address_back() {
    let mut table = Table::new(GRACE);
    table.apply(PodChange::Applied(pod("new", "new", "10.1.0.9", 60)), at(61));
    table.apply(PodChange::Applied(pod("old", "old", "10.1.0.9", 10)), at(62));
    let snapshot = table.snapshot();
    assert_eq!(uid(snapshot.by_ip(ip("10.1.0.9"), at(70))), Some("new"));
    assert_eq!(uid(snapshot.by_name("shop", "old", at(70))), Some("old"));
}

#[test]
fn a_recreated_stateful_pod_keeps_its_own_uid_and_the_name_follows_time() {
    let mut table = Table::new(GRACE);
    for (second, change) in (100..).zip(changes(include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/golden/k8s/07-statefulset-recreate.jsonl"
    )))) {
        table.apply(change, at(second));
    }
    let snapshot = table.snapshot();
    let newest = snapshot.by_name("shop", "db-0", at(900)).expect("known");
    assert_eq!(newest.removed_at, None);
    assert_eq!(snapshot.pods().count(), 2, "the predecessor is in its grace");
}

#[test]
fn a_deleted_pod_stays_for_the_grace_and_leaves_no_key_behind() {
    let mut table = Table::new(GRACE);
    for change in changes(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/k8s/05-delete-grace.jsonl")))
    {
        table.apply(change, at(200));
    }
    let id = table.snapshot().pods().next().and_then(|entry| entry.ledger.ids().next().cloned()).expect("a run");
    table.tick(at(319));
    assert!(table.snapshot().by_container_id(&id).is_some());
    table.tick(at(320));
    let snapshot = table.snapshot();
    assert!(snapshot.is_empty() && snapshot.by_container_id(&id).is_none());
    assert!(snapshot.ips.is_empty() && snapshot.names.is_empty() && snapshot.containers.is_empty());
}

#[test]
fn a_list_removes_what_it_does_not_name() {
    let mut table = Table::new(GRACE);
    table.apply(PodChange::Listed(vec![pod("a", "a", "10.1.0.1", 0), pod("b", "b", "10.1.0.2", 0)]), at(1));
    table.apply(PodChange::Listed(vec![pod("b", "b", "10.1.0.2", 0)]), at(50));
    let snapshot = table.snapshot();
    assert_eq!(snapshot.by_uid("a").and_then(|entry| entry.removed_at), Some(at(50)));
    assert_eq!(snapshot.by_uid("b").and_then(|entry| entry.removed_at), None);
}

#[test]
fn a_pod_that_changes_its_address_gives_the_old_one_up() {
    let mut table = Table::new(GRACE);
    table.apply(PodChange::Applied(pod("a", "a", "10.1.0.1", 0)), at(1));
    table.apply(PodChange::Applied(pod("a", "a", "10.1.0.2", 0)), at(20));
    let snapshot = table.snapshot();
    assert_eq!(uid(snapshot.by_ip(ip("10.1.0.1"), at(10))), Some("a"));
    assert_eq!(uid(snapshot.by_ip(ip("10.1.0.1"), at(30))), None);
    table.apply(PodChange::Deleted { uid: "a".into(), last: None }, at(40));
    table.tick(at(200));
    assert!(table.snapshot().ips.is_empty(), "no claim is left behind");
}

#[test]
fn a_pod_that_comes_back_into_the_selector_is_not_forgotten() {
    let mut table = Table::new(GRACE);
    table.apply(PodChange::Applied(pod("a", "a", "10.1.0.1", 0)), at(1));
    table.apply(PodChange::Deleted { uid: "a".into(), last: None }, at(10));
    table.apply(PodChange::Applied(pod("a", "a", "10.1.0.1", 0)), at(20));
    table.tick(at(500));
    let snapshot = table.snapshot();
    assert_eq!(uid(snapshot.by_uid("a")), Some("a"));
    assert_eq!(uid(snapshot.by_ip(ip("10.1.0.1"), at(400))), Some("a"));
}

#[test]
fn short_container_ids_find_a_pod_when_they_fit_one_run_only() {
    let mut table = Table::new(GRACE);
    let changes = changes(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/k8s/02-restart.jsonl")));
    for change in changes {
        table.apply(change, at(200));
    }
    let snapshot = table.snapshot();
    let entry = snapshot.pods().next().expect("a pod").clone();
    for id in entry.ledger.ids() {
        for form in [id.to_string(), id[..12].to_owned(), format!("containerd://{id}")] {
            assert_eq!(uid(snapshot.by_container_id(&form)), Some(&*entry.pod.uid), "{form}");
        }
        assert!(snapshot.by_container_id(&id[..11]).is_none());
    }
    assert!(snapshot.by_container_id("").is_none());
}

#[test]
fn a_snapshot_does_not_change_when_the_table_does_and_an_idle_table_gives_the_same_one() {
    let mut table = Table::new(GRACE);
    table.apply(PodChange::Applied(pod("a", "a", "10.1.0.1", 0)), at(1));
    let before = table.snapshot();
    assert!(Arc::ptr_eq(&before, &table.snapshot()));
    table.apply(PodChange::Applied(pod("b", "b", "10.1.0.2", 0)), at(2));
    assert!(before.by_uid("b").is_none());
    assert!(table.snapshot().by_uid("b").is_some());
}

#[test]
fn an_address_of_a_node_is_nobodys_whoever_claims_it() {
    let on = |uid: &str, ip_of_pod: &str, host: &str| Pod { host_ips: vec![ip(host)], ..pod(uid, uid, ip_of_pod, 0) };
    let mut table = Table::new(GRACE);
    table.apply(PodChange::Applied(on("a", "10.1.0.1", "192.168.0.7")), at(1));
    // A claim on the node's own address: of another pod, and of one that runs in the node's network.
    table.apply(PodChange::Applied(on("thief", "192.168.0.7", "192.168.0.8")), at(1));
    let host_network = Pod { host_network: true, ..on("agent", "192.168.0.7", "192.168.0.7") };
    table.apply(PodChange::Applied(host_network), at(1));
    let snapshot = table.snapshot();
    assert_eq!(uid(snapshot.by_ip(ip("10.1.0.1"), at(5))), Some("a"));
    assert_eq!(uid(snapshot.by_ip(ip("192.168.0.7"), at(5))), None);
    assert_eq!(uid(snapshot.by_ip(ip("::ffff:192.168.0.7"), at(5))), None);
    assert!(snapshot.is_node_address(ip("192.168.0.8")) && !snapshot.is_node_address(ip("10.1.0.1")));
    // The node is gone with its last pod, and its address was given to a pod.
    for gone in ["a", "agent"] {
        table.apply(PodChange::Deleted { uid: gone.into(), last: None }, at(10));
    }
    assert_eq!(uid(table.snapshot().by_ip(ip("192.168.0.7"), at(20))), Some("thief"));
    table.apply(PodChange::Deleted { uid: "thief".into(), last: None }, at(30));
    table.tick(at(500));
    assert!(table.snapshot().hosts.is_empty());
}

#[test]
fn a_pod_on_a_machine_of_its_own_is_found_by_the_address_that_both_have() {
    let mut table = Table::new(GRACE);
    let fargate = Pod { host_ips: vec![ip("192.168.0.7")], ..pod("a", "a", "192.168.0.7", 0) };
    table.apply(PodChange::Applied(fargate), at(1));
    assert_eq!(uid(table.snapshot().by_ip(ip("192.168.0.7"), at(5))), Some("a"));
}

#[test]
fn a_server_that_renames_a_uid_leaves_no_key_behind() {
    let named = |name: &str, hash: &str| Pod { config_hash: Some(hash.into()), ..pod("a", name, "10.1.0.1", 0) };
    let mut table = Table::new(GRACE);
    table.apply(PodChange::Applied(named("one", "h1")), at(1));
    table.apply(PodChange::Applied(named("two", "h2")), at(2));
    let snapshot = table.snapshot();
    assert_eq!(uid(snapshot.by_name("shop", "one", at(5))), None);
    assert_eq!((uid(snapshot.by_uid("h1")), uid(snapshot.by_uid("h2"))), (None, Some("a")));
    table.apply(PodChange::Deleted { uid: "a".into(), last: None }, at(10));
    table.tick(at(500));
    let snapshot = table.snapshot();
    assert!(snapshot.is_empty() && snapshot.names.is_empty() && snapshot.aliases.is_empty() && snapshot.ips.is_empty());
}

/// An address passes on before the old pod's DELETED event comes, and whoever sends from it connected before that.
#[test]
fn an_address_that_may_have_passed_on_is_nobodys_also_once_its_old_pod_is_gone() {
    let mut table = Table::new(GRACE);
    let old = pod("old", "old", "10.1.0.9", 0);
    let deleting = Pod { deleting: Some(at(40)), ..old.clone() };
    let mut waiting = pod("new", "new", "10.1.0.9", 41);
    let announced = waiting.clone();
    waiting.ips = Vec::new();
    table.apply(PodChange::Applied(old), at(1));
    table.apply(PodChange::Applied(deleting), at(40));
    table.apply(PodChange::Applied(waiting), at(41));
    table.apply(PodChange::Deleted { uid: "old".into(), last: None }, at(44));
    let owner = |table: &mut Table| uid(table.snapshot().by_ip(ip("10.1.0.9"), at(43))).map(str::to_owned);
    assert_eq!(owner(&mut table), None);
    table.apply(PodChange::Applied(announced), at(46));
    assert_eq!(owner(&mut table), Some("new".to_owned()));
}

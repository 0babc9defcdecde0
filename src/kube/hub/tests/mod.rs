//! The pure parts behind the hub: order of versions, tallies, request paths, and late deletions.

#[cfg(test)]
mod recorded;
use super::feed::{Feed, Now, Update};
use super::paths::{ObjectScope, encode};
use super::*;
use crate::core::time::UnixNanos;
use crate::kube::client::Credentials;
use crate::kube::decode::{DecodedPod, Decoder, Event};
use crate::kube::hub::report::PodChanges;
use crate::kube::watch::Ask;

pub(super) fn spec() -> WatchSpec {
    WatchSpec {
        auth: Credentials::None,
        node: Some("node-a".to_owned()),
        namespaces: Vec::new(),
        label_selector: None,
        field_selector: None,
        keep: Keep::default(),
        grace: Duration::from_secs(120),
        pods_file: None,
        node_logs: None,
    }
}

fn seen_on(node: &str, uid: &str, version: u64) -> DecodedPod {
    let json = format!(
        r#"{{"metadata":{{"uid":"{uid}","name":"{uid}","namespace":"shop","resourceVersion":"{version}"}},
        "spec":{{"nodeName":"{node}","hostname":"v{version}"}}}}"#
    );
    Decoder::new(Keep::default()).pod(json.as_bytes()).unwrap()
}

fn seen(uid: &str, version: u64) -> DecodedPod {
    seen_on("node-a", uid, version)
}

/// What the snapshot shows of a pod: the version it came from.
fn shown(feed: &mut Feed, uid: &str) -> Option<String> {
    let snapshot = feed.snapshot();
    let entry = snapshot.by_uid(uid).filter(|entry| entry.removed_at.is_none())?;
    Some(entry.pod.hostname.to_string())
}

/// Some moment.
fn now() -> Now {
    Now { wall: UnixNanos(1_000_000_000_000), at: Instant::now() }
}

#[test]
fn an_answer_older_than_what_the_watch_brought_changes_nothing() {
    let mut feed = Feed::new(Duration::ZERO, 1, &spec());
    feed.apply(Update::Listed { reader: 0, seen: vec![seen("a", 5)] }, now());
    feed.apply(Update::Applied { reader: 0, seen: seen("a", 9) }, now());
    feed.apply(Update::Fetched { seen: seen("a", 7), asked: Instant::now() }, now());
    assert_eq!(shown(&mut feed, "a").as_deref(), Some("v9"));
    feed.apply(Update::Fetched { seen: seen("a", 12), asked: Instant::now() }, now());
    feed.apply(Update::Applied { reader: 0, seen: seen("a", 11) }, now());
    assert_eq!(shown(&mut feed, "a").as_deref(), Some("v12"), "the watch is behind the answer");
    feed.apply(Update::Listed { reader: 0, seen: vec![seen("a", 3)] }, now());
    assert_eq!(shown(&mut feed, "a").as_deref(), Some("v3"), "a list starts the order anew");
    feed.apply(Update::Applied { reader: 0, seen: seen("a", 4) }, now());
    assert_eq!(shown(&mut feed, "a").as_deref(), Some("v4"));
}

#[test]
fn an_answer_may_add_a_pod_only_where_the_watch_will_delete_it() {
    let mut feed = Feed::new(Duration::ZERO, 1, &spec());
    feed.apply(Update::Fetched { seen: seen("early", 5), asked: Instant::now() }, now());
    assert_eq!(shown(&mut feed, "early"), None, "before the first list nothing is known");
    feed.apply(Update::Listed { reader: 0, seen: Vec::new() }, now());
    feed.apply(Update::Fetched { seen: seen("ours", 5), asked: Instant::now() }, now());
    feed.apply(Update::Fetched { seen: seen_on("node-b", "theirs", 5), asked: Instant::now() }, now());
    assert_eq!(shown(&mut feed, "ours").as_deref(), Some("v5"));
    assert_eq!(shown(&mut feed, "theirs"), None);
    let narrowed = WatchSpec { label_selector: Some("app=x".to_owned()), ..spec() };
    let mut feed = Feed::new(Duration::ZERO, 1, &narrowed);
    feed.apply(Update::Listed { reader: 0, seen: Vec::new() }, now());
    feed.apply(Update::Fetched { seen: seen("unknown", 5), asked: Instant::now() }, now());
    assert_eq!(shown(&mut feed, "unknown"), None);
}

#[test]
fn pods_are_counted_as_added_updated_and_deleted() {
    let mut feed = Feed::new(Duration::ZERO, 1, &spec());
    let tally = |added, updated, deleted| PodChanges { added, updated, deleted, delay: None };
    assert_eq!(feed.apply(Update::Listed { reader: 0, seen: vec![seen("a", 1), seen("b", 2)] }, now()), tally(2, 0, 0));
    assert!(feed.is_synced());
    assert_eq!(feed.apply(Update::Applied { reader: 0, seen: seen("a", 3) }, now()), tally(0, 1, 0));
    assert_eq!(feed.apply(Update::Listed { reader: 0, seen: vec![seen("b", 2), seen("c", 4)] }, now()), tally(1, 1, 1));
    let gone = Update::Deleted { reader: 0, uid: "b".into(), last: None, version: "9".to_owned() };
    assert_eq!(feed.apply(gone, now()), tally(0, 0, 1));
    assert_eq!(feed.apply(Update::Absent("c".into()), now()), tally(0, 0, 1));
    assert_eq!(feed.apply(Update::Absent("c".into()), now()), tally(0, 0, 0));
    assert_eq!(feed.len(), 0);
}

#[test]
fn a_list_of_one_namespace_says_nothing_about_the_others() {
    let mut feed = Feed::new(Duration::ZERO, 2, &spec());
    feed.apply(Update::Listed { reader: 0, seen: vec![seen("a", 1)] }, now());
    assert!(!feed.is_synced());
    feed.apply(Update::Listed { reader: 1, seen: vec![seen("b", 1)] }, now());
    assert!(feed.is_synced());
    feed.apply(Update::Listed { reader: 0, seen: Vec::new() }, now());
    assert_eq!((shown(&mut feed, "a"), shown(&mut feed, "b").as_deref()), (None, Some("v1")));
}

#[test]
fn a_successor_keeps_the_address_when_the_finished_pod_is_deleted_late() {
    let path = format!("{}/tests/golden/k8s/06-ip-reuse.jsonl", env!("CARGO_MANIFEST_DIR"));
    let mut decoder = Decoder::new(Keep::default());
    let mut feed = Feed::new(Duration::from_secs(120), 1, &spec());
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let update = match decoder.line(line.as_bytes()).unwrap() {
            Event::Applied(seen) => Update::Applied { reader: 0, seen },
            Event::Deleted { uid, last, version } => Update::Deleted { reader: 0, uid, last, version },
            _ => continue,
        };
        feed.apply(update, Now::read());
    }
    let snapshot = feed.snapshot();
    let holder = snapshot.by_ip("10.1.0.9".parse().unwrap(), UnixNanos::now()).unwrap();
    assert!(holder.pod.name.ends_with("ccccc"), "{}", holder.pod.name);
}

#[test]
fn requests_are_spelled_as_the_api_server_wants_them() {
    let spec = WatchSpec { label_selector: Some("app in (a,b)".to_owned()), ..spec() };
    let selectors = "&fieldSelector=spec.nodeName%3Dnode-a&labelSelector=app%20in%20%28a%2Cb%29";
    let scope = ObjectScope::new(&spec, None);
    let path = |ask: Ask| scope.path(&ask);
    let watch = "watch=true&allowWatchBookmarks=true&timeoutSeconds=90";
    assert_eq!(
        path(Ask::StreamingList { at_least: None, timeout_seconds: 90 }),
        format!(
            "/api/v1/pods?resourceVersion=0&resourceVersionMatch=NotOlderThan&sendInitialEvents=true&{watch}{selectors}"
        )
    );
    assert_eq!(
        path(Ask::Watch { from: "7".to_owned(), timeout_seconds: 90 }),
        format!("/api/v1/pods?resourceVersion=7&{watch}{selectors}")
    );
    assert_eq!(
        path(Ask::List { at_least: Some("7".to_owned()), page: None, limit: 500 }),
        format!("/api/v1/pods?limit=500&resourceVersion=7&resourceVersionMatch=NotOlderThan{selectors}")
    );
    let page = Some("a/b=".to_owned());
    assert_eq!(
        path(Ask::List { at_least: Some("7".to_owned()), page, limit: 500 }),
        format!("/api/v1/pods?limit=500&continue=a%2Fb%3D{selectors}")
    );
    let all = ObjectScope::new(&WatchSpec { node: None, label_selector: None, ..spec }, Some("shop"));
    let everything = Ask::List { at_least: None, page: None, limit: 0 };
    assert_eq!(all.path(&everything), "/api/v1/namespaces/shop/pods?resourceVersion=0");
    assert_eq!(encode("a b/\u{e9}"), "a%20b%2F%C3%A9");
}

/// A pod whose container began its run `number` then.
fn running(version: u64, number: u64, started: u64) -> DecodedPod {
    let json = format!(
        r#"{{"metadata":{{"uid":"a","name":"a","namespace":"shop","resourceVersion":"{version}"}},
        "spec":{{"nodeName":"node-a","containers":[{{"name":"app","image":"app:1"}}]}},
        "status":{{"containerStatuses":[{{"name":"app","restartCount":{number},"containerID":"containerd://run-{number}",
        "state":{{"running":{{"startedAt":"1970-01-01T00:{:02}:{:02}Z"}}}}}}]}}}}"#,
        started / 60,
        started % 60
    );
    Decoder::new(Keep::default()).pod(json.as_bytes()).unwrap()
}

#[test]
fn a_status_took_as_long_as_something_was_heard_without_it_and_silence_is_not_its_fault() {
    let start = Instant::now();
    let at = |seconds: u64| Now { wall: UnixNanos::from_secs(seconds), at: start + Duration::from_secs(seconds) };
    let seconds = |tally: PodChanges| tally.delay.map(|delay| delay.as_secs());
    let mut feed = Feed::new(Duration::ZERO, 1, &spec());
    let listed = Update::Listed { reader: 0, seen: vec![running(1, 0, 100), seen("b", 2)] };
    assert_eq!(seconds(feed.apply(listed, at(200))), None, "a list says nothing of delays");
    // A server that says nothing for a minute: the next run began ten seconds after its last word.
    let late = Update::Applied { reader: 0, seen: running(3, 1, 210) };
    assert_eq!(seconds(feed.apply(late, at(260))), Some(0));
    // Another pod's status came while this one's was still on its way: eight seconds of its kubelet.
    feed.apply(Update::Applied { reader: 0, seen: seen("b", 4) }, at(306));
    let slow = Update::Applied { reader: 0, seen: running(5, 2, 300) };
    assert_eq!(seconds(feed.apply(slow, at(309))), Some(8), "less the second that is not told");
    // A network that stalled for half a minute gives all it held at once.
    feed.apply(Update::Applied { reader: 0, seen: seen("b", 6) }, at(350));
    let held = Update::Applied { reader: 0, seen: running(7, 3, 325) };
    assert_eq!(seconds(feed.apply(held, at(350))), Some(0));
}

#[test]
fn a_start_from_before_the_clock_was_set_says_nothing_of_how_long_a_status_took() {
    let start = Instant::now();
    let at =
        |seconds: u64, wall: u64| Now { wall: UnixNanos::from_secs(wall), at: start + Duration::from_secs(seconds) };
    for (wall, delay) in [(306, Some(5)), (460, None), (306, Some(5))] {
        let mut feed = Feed::new(Duration::ZERO, 1, &spec());
        feed.apply(Update::Listed { reader: 0, seen: vec![seen("b", 2)] }, at(290, 290));
        feed.apply(Update::Applied { reader: 0, seen: seen("b", 4) }, at(304, wall - 2));
        let seen = Update::Applied { reader: 0, seen: running(5, 0, 300) };
        let told = feed.apply(seen, at(306, wall)).delay.map(|delay| delay.as_secs());
        assert_eq!(told, delay, "at {wall} by the wall clock");
    }
}

#[test]
fn an_answer_proves_what_its_pod_was_when_it_was_asked_and_an_older_one_proves_nothing() {
    let mut feed = Feed::new(Duration::ZERO, 1, &spec());
    feed.apply(Update::Listed { reader: 0, seen: vec![seen("a", 5)] }, now());
    let proved = |feed: &mut Feed| feed.snapshot().by_uid("a").and_then(|entry| entry.proved);
    let asked = Instant::now();
    feed.apply(Update::Fetched { seen: seen("a", 4), asked }, now());
    assert_eq!(proved(&mut feed), None, "a server that lies, or a cache");
    feed.apply(Update::Fetched { seen: seen("a", 5), asked }, now());
    assert_eq!(proved(&mut feed), Some(asked));
    feed.apply(Update::Applied { reader: 0, seen: seen("a", 6) }, now());
    assert_eq!(proved(&mut feed), Some(asked), "an event does not take the proof away");
}

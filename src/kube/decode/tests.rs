//! Decoding, against what a real API server sent (recorded in tests/golden/k8s) and against what it never should.

use std::net::IpAddr;
use std::sync::Arc;

use regex::Regex;

use super::*;
use crate::core::time::UnixNanos;
use crate::kube::pod::{ContainerKind, Ended, Phase, Pod, RunState};

fn keep_all() -> Keep {
    Keep { labels: vec![KeepKey::All], annotations: vec![KeepKey::All], ..Keep::default() }
}

fn golden(name: &str) -> String {
    let path = format!("{}/tests/golden/k8s/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

fn events(name: &str) -> Vec<Event> {
    let mut decoder = Decoder::new(keep_all());
    golden(name).lines().map(|line| decoder.line(line.as_bytes()).unwrap()).collect()
}

fn pods(name: &str) -> Vec<Pod> {
    let applied = events(name).into_iter().filter_map(|event| match event {
        Event::Applied(seen) => Some(seen.pod),
        Event::Deleted { last, .. } => last,
        _ => None,
    });
    applied.collect()
}

#[test]
fn every_line_of_every_recorded_stream_is_read() {
    let folder = format!("{}/tests/golden/k8s", env!("CARGO_MANIFEST_DIR"));
    let mut lines = 0;
    for file in std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()) {
        if !file.ends_with(".jsonl") {
            continue;
        }
        for event in events(&file) {
            lines += 1;
            assert!(!matches!(event, Event::Skipped { .. } | Event::Error(_)), "{file}: {event:?}");
        }
    }
    assert!(lines > 60, "only {lines} lines found");
}

#[test]
fn a_recorded_pod_is_read_field_by_field() {
    let pod = &pods("02-restart.jsonl")[0];
    let at = |seconds: u64| UnixNanos::from_secs(1795241100 + seconds);
    assert_eq!(&*pod.uid, "831f20fb-1f5b-4a5e-9970-5f33f7742024");
    assert_eq!((&*pod.namespace, &*pod.name, &*pod.node), ("shop", "cart-7d9c5b6f4d-aaaaa", "node-a"));
    assert_eq!(pod.ips, ["10.1.0.5".parse::<IpAddr>().unwrap(), "fd00::5".parse().unwrap()]);
    assert_eq!((pod.phase, pod.host_network, pod.deleting), (Phase::Running, false, None));
    assert_eq!((pod.created, pod.started), (at(2), Some(at(2))));
    let owner = pod.owner.as_ref().unwrap();
    assert_eq!((&*owner.api_version, &*owner.kind, &*owner.name), ("apps/v1", "ReplicaSet", "cart-7d9c5b6f4d"));
    assert!(pod.labels.iter().any(|(key, value)| &**key == "pod-template-hash" && &**value == "7d9c5b6f4d"));
    let kinds: Vec<_> = pod.containers.iter().map(|container| (&*container.name, container.kind)).collect();
    let expected =
        [("app", ContainerKind::Regular), ("sidecar", ContainerKind::Regular), ("migrate", ContainerKind::Init)];
    assert_eq!(kinds, expected);
    let app = &pod.statuses[0];
    let dead = "e3012100b170121fb6dede356064eefa7121463e8c93a2c90aeef76a0afb3400";
    assert_eq!((&*app.name, &*app.id, app.restart_count), ("app", dead, 0));
    let ended = Ended {
        id: dead.into(),
        started: Some(at(3)),
        finished: Some(at(3)),
        reason: "OOMKilled".into(),
        exit_code: 137,
    };
    assert_eq!((&app.state, &app.last), (&RunState::Terminated(ended), &None));
}

#[test]
fn a_recorded_crash_loop_keeps_the_states_of_the_kubelet() {
    let pods = pods("03-crashloop.jsonl");
    let app = |pod: &Pod| pod.statuses.iter().find(|status| &*status.name == "app").cloned().unwrap();
    let backoff = pods.iter().map(app).find(|app| app.state == RunState::Waiting { reason: "CrashLoopBackOff".into() });
    let backoff = backoff.unwrap();
    assert_eq!(backoff.last.as_ref().unwrap().id, backoff.id, "in CrashLoopBackOff both are the dead run");
    let created = pods.iter().map(app).find(|app| app.state == RunState::Waiting { reason: "".into() }).unwrap();
    assert_ne!(created.last.as_ref().unwrap().id, created.id, "once created, the id is the new run's");
}

#[test]
fn the_end_of_initial_events_is_told_from_other_bookmarks() {
    for file in ["11a-initial-streaming-list.jsonl", "11d-initial-norv.jsonl"] {
        let last = events(file).pop().unwrap();
        assert_eq!(last, Event::Bookmark { version: "266".to_owned(), initial_events_end: true }, "{file}");
    }
    let line = br#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"7"},"spec":{"containers":null}}}"#;
    let event = Decoder::new(Keep::default()).line(line).unwrap();
    assert_eq!(event, Event::Bookmark { version: "7".to_owned(), initial_events_end: false });
}

#[test]
fn an_ephemeral_container_is_marked_as_such() {
    let pods = pods("10-ephemeral-and-image.jsonl");
    let found = pods.iter().flat_map(|pod| &pod.containers).find(|container| &*container.name == "dbg").unwrap();
    assert_eq!(found.kind, ContainerKind::Ephemeral);
}

#[test]
fn error_answers_are_read_as_recorded() {
    let body =
        |file: &str| golden(&format!("http/{file}")).split_once("\n{").map(|(_, json)| format!("{{{json}")).unwrap();
    let forbidden = api_status(body("403-watch-deployments.txt").as_bytes(), 403);
    assert_eq!((forbidden.code, forbidden.reason.as_str()), (403, "Forbidden"));
    assert!(forbidden.message.contains("cannot watch resource \"deployments\""));
    let future = api_status(body("list-rv-future.txt").as_bytes(), 504);
    assert!(future.version_too_large);
    assert_eq!(future.retry_after_seconds, Some(1));
    let plain = api_status(b"upstream connect error", 502);
    assert_eq!((plain.code, plain.reason.as_str()), (502, ""));
}

#[test]
fn an_error_line_is_no_decoding_fault() {
    let line = golden("http/410-watch-old-rv.txt");
    let line = line.lines().find(|line| line.starts_with('{')).unwrap();
    let Event::Error(status) = Decoder::new(Keep::default()).line(line.as_bytes()).unwrap() else { panic!() };
    assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));
}

#[test]
fn nulls_where_values_belong_read_as_empty() {
    let json = br#"{"metadata":{"uid":"u","name":"n","labels":null,"ownerReferences":null,"deletionTimestamp":null},
        "spec":{"containers":null,"hostNetwork":null},
        "status":{"startTime":null,"podIPs":null,"containerStatuses":[{"name":"a","containerID":null,"restartCount":null,
        "lastState":{},"state":{"waiting":{}}},{"name":"b","lastState":null,"state":{"running":{"startedAt":null}}}]}}"#;
    let pod = Decoder::new(keep_all()).pod(json).unwrap().pod;
    assert_eq!(pod.statuses[0].state, RunState::Waiting { reason: "".into() });
    assert_eq!(pod.statuses[1].state, RunState::Running { started: None });
    assert!(pod.containers.is_empty() && pod.ips.is_empty() && pod.started.is_none());
}

#[test]
fn a_bad_object_costs_itself_only_and_its_version_is_rescued() {
    let mut decoder = Decoder::new(Keep::default());
    let cases = [
        (r#"{"type":"ADDED","object":{"metadata":{"uid":"u","resourceVersion":"9"},"spec":"no"}}"#, Some("9")),
        (r#"{"type":"MODIFIED","object":{"metadata":{"name":"n","resourceVersion":"9"}}}"#, Some("9")),
        (r#"{"type":"ADDED","object":[]}"#, None),
    ];
    for (line, expected) in cases {
        match decoder.line(line.as_bytes()) {
            Ok(Event::Skipped { version, .. }) => assert_eq!(version.as_deref(), expected, "{line}"),
            other => panic!("{line}: {other:?}"),
        }
    }
}

#[test]
fn a_deletion_counts_even_when_only_the_identity_can_be_read() {
    let line = br#"{"type":"DELETED","object":{"metadata":{"uid":"u","name":"n","resourceVersion":"9"},"spec":7}}"#;
    let event = Decoder::new(Keep::default()).line(line).unwrap();
    assert_eq!(event, Event::Deleted { uid: "u".into(), last: None, version: "9".to_owned() });
}

#[test]
fn what_is_no_event_is_refused_without_panic() {
    let mut decoder = Decoder::new(Keep::default());
    let deep = format!(r#"{{"type":"ADDED","object":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    for line in ["", "<html>", "{}", "[]", r#"{"type":"TEAPOT","object":{}}"#, r#"{"type":"ADDED"}"#, "\u{0}"] {
        assert!(decoder.line(line.as_bytes()).is_err(), "{line:?}");
    }
    assert!(!matches!(decoder.line(deep.as_bytes()), Ok(Event::Applied(_))));
    assert!(decoder.line(&[0xff, 0xfe, b'{']).is_err());
}

#[test]
fn what_is_no_utf_8_costs_its_text_and_not_the_object_or_the_stream() {
    let json = |name: &[u8]| {
        let mut json = br#"{"metadata":{"uid":"u","name":"n","labels":{"a":""#.to_vec();
        json.extend_from_slice(name);
        json.extend_from_slice(br#""},"annotations":{"b":"c"},"resourceVersion":"9"}}"#);
        json
    };
    let bad = json(&[0xc3, 0x28, 0xff]);
    let pod = Decoder::new(keep_all()).pod(&bad).unwrap().pod;
    assert_eq!(&*pod.labels[0].1, "\u{fffd}(\u{fffd}");
    let mut line = br#"{"type":"ADDED","object":"#.to_vec();
    line.extend_from_slice(&bad);
    line.push(b'}');
    assert!(matches!(Decoder::new(keep_all()).line(&line), Ok(Event::Applied(seen)) if seen.version == "9"));
}

/// What a status may hold when nobody checks it.
#[test]
fn strange_pods_are_read_within_bounds() {
    let statuses = |count: usize| {
        let one = |at: usize| format!(r#"{{"name":"c{at}","containerID":"x://{at:064x}","state":{{"running":{{}}}}}}"#);
        (0..count).map(one).collect::<Vec<_>>().join(",")
    };
    let ips = (0..100).map(|at| format!(r#"{{"ip":"10.0.0.{at}"}}"#)).collect::<Vec<_>>().join(",");
    let long = "x".repeat(1 << 20);
    let pod = |rest: &str| {
        let json = format!(r#"{{"metadata":{{"uid":"u","name":"n","annotations":{{"note":"{long}"}}}},{rest}}}"#);
        Decoder::new(keep_all()).pod(json.as_bytes()).map(|seen| seen.pod)
    };
    let none = pod(r#""spec":{"containers":[]},"status":null"#).unwrap();
    assert!(none.containers.is_empty() && none.statuses.is_empty() && none.annotations[0].1.len() == 1 << 20);
    let many = pod(&format!(r#""status":{{"containerStatuses":[{}],"podIPs":[{ips}]}}"#, statuses(300))).unwrap();
    assert_eq!((many.statuses.len(), many.ips.len()), (300, 16));
    let mut table = crate::kube::table::Table::new(std::time::Duration::ZERO);
    table.apply(crate::kube::table::PodChange::Applied(many), UnixNanos(1));
    assert_eq!(table.snapshot().by_uid("u").unwrap().ledger.containers().len(), 256, "a pod made to hurt");
    for wrong in [r#""status":{"podIPs":"10.0.0.1"}"#, r#""spec":7"#, r#""status":{"containerStatuses":[7]}"#] {
        assert!(pod(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn only_labels_and_annotations_that_are_kept_are_stored() {
    let json = br#"{"metadata":{"uid":"u","name":"n","labels":{"b":"2","a":"1","z/x":"3"},
        "annotations":{"kubernetes.io/config.hash":"h1","note":"x","big":"y"}}}"#;
    let pattern = KeepKey::Pattern(Regex::new("^z/.*$").unwrap());
    let labels = vec![KeepKey::Exact("a".to_owned()), pattern];
    let mut decoder = Decoder::new(Keep { labels, ..Keep::default() });
    let pod = decoder.pod(json).unwrap().pod;
    let shown: Vec<_> = pod.labels.iter().map(|(key, value)| (&**key, &**value)).collect();
    assert_eq!(shown, [("a", "1"), ("z/x", "3")]);
    assert!(pod.annotations.is_empty());
    assert_eq!(pod.config_hash.as_deref(), Some("h1"), "a static pod is known by its hash whatever is kept");
}

#[test]
fn two_users_of_one_watch_keep_the_union() {
    let exact = |key: &str| KeepKey::Exact(key.to_owned());
    let mut keep = Keep { labels: vec![exact("a")], ..Keep::default() };
    keep.join(Keep { labels: vec![exact("a"), exact("b"), KeepKey::All], ..Keep::default() });
    assert_eq!(keep.labels.len(), 3);
}

#[test]
fn native_sidecars_are_told_from_init_containers() {
    let json = br#"{"metadata":{"uid":"u","name":"n"},"spec":{"containers":[{"name":"c"}],
        "initContainers":[{"name":"i"},{"name":"s","restartPolicy":"Always"}]}}"#;
    let pod = Decoder::new(Keep::default()).pod(json).unwrap().pod;
    let kinds: Vec<_> = pod.containers.iter().map(|container| container.kind).collect();
    assert_eq!(kinds, [ContainerKind::Regular, ContainerKind::Init, ContainerKind::Sidecar]);
}

#[test]
fn addresses_have_one_form() {
    let cases = [
        ("10.0.0.1", Some("10.0.0.1")),
        ("::ffff:10.0.0.1", Some("10.0.0.1")),
        ("::FFFF:010.0.0.1", Some("10.0.0.1")),
        ("010.000.0.09", Some("10.0.0.9")),
        ("FD00::0005", Some("fd00::5")),
        ("", None),
        ("10.0.0", None),
        ("10.0.0.256", None),
        ("10.0.0.1.2", None),
        ("a.b.c.d", None),
        ("+1.0.0.1", None),
    ];
    for (text, expected) in cases {
        assert_eq!(text::ip(text), expected.map(|text| text.parse().unwrap()), "{text}");
    }
}

#[test]
fn times_are_read_with_fraction_and_offset() {
    let at = |nanos| Some(UnixNanos(nanos));
    assert_eq!(text::time("1970-01-01T00:00:01Z"), at(1_000_000_000));
    assert_eq!(text::time("1970-01-01T01:00:01.5+01:00"), at(1_500_000_000));
    for bad in ["", "yesterday", "1969-12-31T23:59:59Z", "2026-13-01T00:00:00Z"] {
        assert_eq!(text::time(bad), None, "{bad}");
    }
}

#[test]
fn a_list_is_read_item_by_item_however_it_is_cut() {
    let list = br#"{"kind":"PodList","apiVersion":"v1","note":"items","metadata":{"resourceVersion":"42","continue":"to]k\"en"},
        "items":[ {"a":"}]\"{"} ,{"b":[1,{"c":2}]}, {}], "items2":[{"d":1}]}"#;
    for size in 1..list.len() {
        let mut splitter = ListSplitter::default();
        let mut items = Vec::new();
        for chunk in list.chunks(size) {
            splitter.push(chunk, &mut |piece| match piece {
                Piece::Object(item) => items.push(String::from_utf8(item.to_vec()).unwrap()),
                Piece::TooLarge => panic!(),
            });
        }
        assert_eq!(items, [r#"{"a":"}]\"{"}"#, r#"{"b":[1,{"c":2}]}"#, "{}"], "chunks of {size}");
        let end = ListEnd { version: "42".to_owned(), rest: "to]k\"en".to_owned() };
        assert_eq!(splitter.finish(), Ok(end), "chunks of {size}");
    }
}

#[test]
fn a_list_that_is_cut_off_or_something_else_is_no_list() {
    for text in [r#"{"kind":"PodList","items":[{"a":1}"#, "", "<html></html>", "]]]]", r#"{"kind":"Status"}"#, "[{}]"] {
        let mut splitter = ListSplitter::default();
        splitter.push(text.as_bytes(), &mut |_| {});
        assert!(splitter.finish().is_err(), "{text}");
    }
}

#[test]
fn a_line_over_the_limit_is_passed_over_and_the_next_one_read() {
    let mut lines = LineSplitter::with_limit(8);
    let mut seen = Vec::new();
    for chunk in ["12345", "6789", "0\nab", "c\n\n", "123456789\nlast\nopen"] {
        lines.push(chunk.as_bytes(), &mut |piece| match piece {
            Piece::Object(line) => seen.push(String::from_utf8(line.to_vec()).unwrap()),
            Piece::TooLarge => seen.push("too large".to_owned()),
        });
    }
    assert_eq!(seen, ["too large", "abc", "too large", "last"]);
    assert!(lines.is_cut_off());
}

#[test]
fn strings_that_repeat_are_shared_and_unused_ones_forgotten() {
    let mut strings = Interner::default();
    let kept = strings.share("kept");
    assert!(Arc::ptr_eq(&kept, &strings.share("kept")));
    for number in 0..100_000 {
        strings.share(&number.to_string());
    }
    assert!(strings.known() < 10_000, "{}", strings.known());
    assert!(Arc::ptr_eq(&kept, &strings.share("kept")));
}

/// Prints how long a large list takes (10,000 pods when optimised); the figure is for people, not for passing.
#[test]
fn thousands_of_pods_are_read_from_one_list() {
    let count = if cfg!(debug_assertions) { 1_000 } else { 10_000 };
    let line = golden("02-restart.jsonl").lines().next().unwrap().to_owned();
    let object: serde_json::Value = serde_json::from_str(&line).unwrap();
    let object = object["object"].to_string();
    let mut list = r#"{"kind":"PodList","metadata":{"resourceVersion":"1"},"items":["#.to_owned();
    for number in 0..count {
        let separator = if number == 0 { "" } else { "," };
        list.push_str(separator);
        list.push_str(&object.replacen("831f20fb", &format!("{number:08x}"), 1));
    }
    list.push_str("]}");
    let (mut decoder, mut splitter, mut read) = (Decoder::new(Keep::default()), ListSplitter::default(), Vec::new());
    let begun = tokio::time::Instant::now();
    for chunk in list.as_bytes().chunks(16 << 10) {
        splitter.push(chunk, &mut |piece| {
            let Piece::Object(item) = piece else { panic!() };
            read.push(decoder.pod(item).unwrap());
        });
    }
    println!("{count} pods of {} bytes read in {:?}", object.len(), begun.elapsed());
    assert_eq!(read.len(), count);
    assert!(splitter.finish().is_ok());
}

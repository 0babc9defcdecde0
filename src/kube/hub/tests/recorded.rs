//! Every recorded stream of a real API server (tests/golden/k8s) through watch, decoder, feed, table and ledger.
//!
//! Each is played as the answer to the request it was recorded from, cut into chunks of several sizes, and what the
//! table shows afterwards is compared as text: one line a pod, one run after another.

use std::time::Duration;

use tokio::time::Instant;

use crate::core::time::UnixNanos;
use crate::kube::decode::{Decoder, Keep, LineSplitter, Piece, api_status};
use crate::kube::hub::feed::{Feed, Now, Update};
use crate::kube::hub::tests::spec;
use crate::kube::ledger::{ContainerLedger, PodLedger, Run};
use crate::kube::table::Snapshot;
use crate::kube::watch::{Ask, Effect, Input, Watch, WatchHealth};

/// 2026-11-21T06:05:10Z, just after the last change in the recordings.
const RECORDED_AT: UnixNanos = UnixNanos(1_795_241_110_000_000_000);

fn recorded(name: &str) -> String {
    let path = format!("{}/tests/golden/k8s/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

/// A watch over a recording, with the table behind it.
struct Replay {
    watch: Watch,
    decoder: Decoder,
    feed: Feed,
    now: Instant,
    wall: UnixNanos,
    skipped: usize,
}

impl Replay {
    fn new() -> Replay {
        let now = Instant::now();
        Replay {
            watch: Watch::new(now, fastrand::Rng::with_seed(1)),
            decoder: Decoder::new(Keep::default()),
            feed: Feed::new(Duration::from_secs(120), 1, &spec()),
            now,
            wall: RECORDED_AT,
            skipped: 0,
        }
    }

    /// A watch that listed an empty node at this version and follows it.
    fn following(version: u64) -> Replay {
        let mut replay = Replay::new();
        let mark = format!(
            r#"{{"type":"BOOKMARK","object":{{"metadata":{{"resourceVersion":"{version}","annotations":{{"k8s.io/initial-events-end":"true"}}}}}}}}"#
        );
        assert!(matches!(replay.request(), Ask::StreamingList { .. }));
        replay.give(Input::Opened);
        replay.body(&format!("{mark}\n"), usize::MAX);
        replay.now += Duration::from_secs(60);
        replay.give(Input::Ended);
        let ask = replay.request();
        assert!(matches!(&ask, Ask::Watch { from, .. } if *from == version.to_string()), "{ask:?}");
        replay.give(Input::Opened);
        replay
    }

    fn request(&mut self) -> Ask {
        for _ in 0..10 {
            self.now = self.now.max(self.watch.deadline());
            if let Some(ask) = self.give(Input::Timer) {
                return ask;
            }
        }
        panic!("no request in ten deadlines");
    }

    /// Carries effects out as the reader does; the request among them, if any.
    fn give(&mut self, input: Input) -> Option<Ask> {
        let mut effects = Vec::new();
        self.watch.on(input, self.now, &mut effects);
        let mut asked = None;
        for effect in effects {
            let update = match effect {
                Effect::Applied(seen) => Update::Applied { reader: 0, seen },
                Effect::Deleted { uid, last, version } => Update::Deleted { reader: 0, uid, last, version },
                Effect::Listed(seen) => Update::Listed { reader: 0, seen },
                Effect::Request(ask) => {
                    asked = Some(ask);
                    continue;
                }
                Effect::RenewCredentials | Effect::Report(_) => continue,
            };
            self.wall = self.wall.saturating_add(Duration::from_secs(1));
            self.feed.apply(update, Now { wall: self.wall, at: self.now });
        }
        asked
    }

    /// The body of an open answer in chunks of this size.
    fn body(&mut self, text: &str, chunk: usize) {
        let mut lines = LineSplitter::default();
        for bytes in text.as_bytes().chunks(chunk) {
            let mut read = Vec::new();
            lines.push(bytes, &mut |piece| match piece {
                Piece::Object(line) => read.push(self.decoder.line(line)),
                Piece::TooLarge => panic!("no recorded line is too large"),
            });
            for event in read {
                self.skipped += usize::from(matches!(event, Ok(crate::kube::decode::Event::Skipped { .. })));
                self.give(Input::Event(event.expect("a recorded line is readable")));
            }
        }
        assert!(!lines.is_cut_off());
    }

    /// One line a pod: name, uid, whether it is there, its addresses, and the runs of each container.
    fn shown(&mut self) -> Vec<String> {
        let snapshot = self.feed.snapshot();
        let mut lines: Vec<String> = snapshot
            .pods()
            .map(|entry| {
                let pod = &entry.pod;
                let there = if entry.removed_at.is_some() { "gone" } else { "there" };
                let runs: Vec<String> = entry.ledger.containers().iter().map(runs).collect();
                format!("{} {} {there} {:?}: {}", pod.name, &pod.uid[..6], pod.phase, runs.join(", "))
            })
            .collect();
        lines.sort();
        lines
    }

    fn snapshot(&mut self) -> std::sync::Arc<Snapshot> {
        self.feed.snapshot()
    }
}

/// `app 0:e30121. 1:8d7d9c`: number and id of each run, `.` behind an ended one, `|` before one that unseen ones may
/// precede, `?` behind a container that waits.
fn runs(ledger: &ContainerLedger) -> String {
    let show = |run: &Run| {
        let gap = if run.gap_before { "|" } else { "" };
        let end = if run.end.is_some() { "." } else { "" };
        format!(" {gap}{}:{}{end}", run.restart, &run.id[..6])
    };
    let waits = if ledger.waiting.is_empty() { "" } else { "?" };
    let runs: String = ledger.runs.iter().map(show).collect();
    format!("{}{runs}{waits}", ledger.name)
}

/// Recording, the version it was recorded from, and what is known at its end.
const FOLLOWED: &[(&str, u64, &[&str])] = &[
    (
        "01-pod-start.jsonl",
        202,
        &["cart-7d9c5b6f4d-aaaaa 831f20 there Running: app 0:e30121, sidecar 0:d850d0, migrate 0:cd4796."],
    ),
    (
        "02-restart.jsonl",
        207,
        &["cart-7d9c5b6f4d-aaaaa 831f20 there Running: app 0:e30121. 1:8d7d9c, sidecar 0:d850d0, migrate 0:cd4796."],
    ),
    (
        "03-crashloop.jsonl",
        209,
        &["cart-7d9c5b6f4d-aaaaa 831f20 there Running: app 0:e30121. 1:8d7d9c. 2:bff4af. 3:020e57. 4:a5dee6, \
           sidecar 0:d850d0, migrate 0:cd4796."],
    ),
    (
        "04-restart-jump.jsonl",
        221,
        &["cart-7d9c5b6f4d-aaaaa 831f20 there Running: app |6:92f285. 7:9ddca7, sidecar 0:d850d0, migrate 0:cd4796."],
    ),
    (
        "05-delete-grace.jsonl",
        222,
        &["cart-7d9c5b6f4d-aaaaa 831f20 gone Failed: app |6:92f285. 7:9ddca7., sidecar 0:d850d0., migrate 0:cd4796."],
    ),
    (
        "06-ip-reuse.jsonl",
        226,
        &[
            "cart-7d9c5b6f4d-bbbbb 65519a gone Succeeded: app 0:647bb3., sidecar 0:34aa90., migrate 0:18db71.",
            "cart-7d9c5b6f4d-ccccc d33629 there Running: app 0:0d4745, sidecar 0:1815c3, migrate 0:1be8c6.",
        ],
    ),
    (
        "07-statefulset-recreate.jsonl",
        245,
        &[
            "db-0 b7f750 there Running: app 0:3d4d75, sidecar 0:90adb9, migrate 0:011420.",
            "db-0 ea522d gone Running: app 0:f46833, sidecar 0:198c14, migrate 0:b56972.",
        ],
    ),
    (
        "08-eviction.jsonl",
        253,
        &["cart-7d9c5b6f4d-ccccc d33629 there Failed: app 0:0d4745., sidecar 0:1815c3., migrate 0:1be8c6."],
    ),
    (
        "09-eviction-api.jsonl",
        260,
        &["drain-me 860501 gone Running: app 0:9e1954, sidecar 0:cd479c, migrate 0:f8ee3b."],
    ),
    (
        "10-ephemeral-and-image.jsonl",
        264,
        &["db-0 b7f750 there Running: app 0:3d4d75, sidecar 0:90adb9, migrate 0:011420."],
    ),
    (
        "12-bind-after-create.jsonl",
        267,
        &["late-bound a931a2 gone Running: app 0:dad957, sidecar 0:a558e1, migrate 0:24f076."],
    ),
];

#[test]
fn every_recorded_watch_leaves_the_runs_that_the_recording_tells_of() {
    for (file, from, expected) in FOLLOWED {
        let text = recorded(file);
        for chunk in [1, 700, 16 << 10] {
            let mut replay = Replay::following(*from);
            replay.body(&text, chunk);
            assert_eq!(replay.shown(), *expected, "{file} in chunks of {chunk}");
            assert_eq!(replay.skipped, 0, "{file}");
            // A clean end: the watch goes on from the recording's last version, and nothing was asked meanwhile.
            let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
            let version = last["object"]["metadata"]["resourceVersion"].as_str().unwrap();
            replay.now += Duration::from_secs(60);
            replay.give(Input::Ended);
            let ask = replay.request();
            assert!(matches!(&ask, Ask::Watch { from, .. } if from == version), "{file}: {ask:?}");
        }
    }
}

#[test]
fn all_four_ways_to_begin_a_watch_lead_to_the_same_pods() {
    let expected = [
        "cart-7d9c5b6f4d-ccccc d33629 there Failed: app 0:0d4745., sidecar 0:1815c3., migrate 0:1be8c6.",
        "db-0 b7f750 there Running: app 0:3d4d75, sidecar 0:90adb9, migrate 0:011420.",
    ];
    let ways = [
        "11a-initial-streaming-list.jsonl",
        "11b-initial-streaming-list-rv0.jsonl",
        "11c-initial-rv0.jsonl",
        "11d-initial-norv.jsonl",
    ];
    for file in ways {
        let text = recorded(file);
        let mut asked = Replay::new();
        assert!(matches!(asked.request(), Ask::StreamingList { .. }));
        asked.give(Input::Opened);
        let (objects, mark) = text.trim_end().rsplit_once('\n').unwrap();
        asked.body(&format!("{objects}\n"), 700);
        assert!(asked.shown().is_empty() && !asked.feed.is_synced(), "{file}: half a list is no list");
        asked.body(&format!("{mark}\n"), 700);
        assert_eq!(asked.shown(), expected, "{file} as a list");
        assert!(asked.feed.is_synced());
        assert_eq!(*asked.watch.health(), WatchHealth::Fresh);
        // The same bytes from a server that ignores what it was asked and answers a plain watch.
        let mut plain = Replay::following(200);
        plain.body(&text, 700);
        assert_eq!(plain.shown(), expected, "{file} as a watch");
    }
}

#[test]
fn metadata_only_answers_are_no_pods_with_containers_and_whole_ones_are() {
    for (file, containers) in [("watch-json-partial.jsonl", 0), ("watch-json.jsonl", 3)] {
        let mut replay = Replay::new();
        replay.request();
        replay.give(Input::Opened);
        replay.body(&recorded(file), 700);
        let snapshot = replay.snapshot();
        let entry = snapshot.pods().next().expect("one pod");
        assert_eq!((&*entry.pod.name, entry.ledger.containers().len()), ("db-0", containers), "{file}");
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// The ledger of the only pod of a recording after so many of its lines.
fn after(file: &str, from: u64, lines: usize) -> (Replay, PodLedger) {
    let text: String = recorded(file).lines().take(lines).map(|line| format!("{line}\n")).collect();
    let mut replay = Replay::following(from);
    replay.body(&text, 700);
    let ledger = replay.snapshot().pods().next().map(|entry| (*entry.ledger).clone()).expect("a pod");
    (replay, ledger)
}

#[test]
fn a_pod_that_is_bound_after_its_creation_has_its_address_when_it_is_published_and_no_run_before_it_is_reported() {
    let address = "10.1.0.40".parse().unwrap();
    for (lines, has_address, runs) in [(1, false, 0), (2, false, 0), (3, true, 1), (5, true, 3)] {
        let (mut replay, ledger) = after("12-bind-after-create.jsonl", 267, lines);
        let owner = replay.snapshot().by_ip(address, replay.wall).map(|entry| entry.pod.name.to_string());
        assert_eq!(owner.is_some(), has_address, "after {lines} lines");
        assert_eq!(ledger.ids().count(), runs, "after {lines} lines");
    }
}

#[test]
fn a_drained_pod_keeps_runs_and_address_until_it_is_gone_and_is_then_found_for_its_data_of_before() {
    let address = "fd00::30".parse().unwrap();
    for lines in 1..=3 {
        let (mut replay, _) = after("09-eviction-api.jsonl", 260, lines);
        // The replay's clock is not the recording's: as long as the kubelet may leave it running.
        let deleting = replay.snapshot().pods().find_map(|entry| entry.pod.deleting);
        let at = deleting.map_or(replay.wall, |deleting| replay.wall.min(deleting.saturating_add(SECOND)));
        assert!(replay.snapshot().by_ip(address, at).is_some(), "after {lines} lines");
    }
    let (mut replay, ledger) = after("09-eviction-api.jsonl", 260, 4);
    let (snapshot, gone_at) = (replay.snapshot(), replay.wall);
    let later = gone_at.saturating_add(Duration::from_secs(1));
    let killed = snapshot.pods().find_map(|entry| entry.pod.deleting).expect("it was deleted");
    assert!(snapshot.by_ip(address, killed.saturating_add(SECOND)).is_some());
    assert!(snapshot.by_ip(address, later).is_none(), "nobody's once the pod is gone");
    let id = &ledger.container("app").and_then(ContainerLedger::newest).expect("a run").id;
    assert!(snapshot.by_container_id(id).is_some(), "its last data still comes");
    replay.feed.tick(gone_at.saturating_add(Duration::from_secs(120)));
    assert!(replay.snapshot().is_empty());
}

#[test]
fn an_evicted_pod_lets_go_of_its_address_when_it_is_failed_although_its_object_stays() {
    let address = "10.1.0.9".parse().unwrap();
    let (mut replay, _) = after("08-eviction.jsonl", 253, 2);
    let later = replay.wall.saturating_add(Duration::from_secs(60));
    assert!(replay.snapshot().by_ip(address, later).is_none());
    assert!(replay.snapshot().by_ip(address, UnixNanos(1_795_241_106_500_000_000)).is_some(), "while it ran");
}

/// The bodies of recorded HTTP answers, behind their heads.
fn body(file: &str) -> String {
    let text = recorded(&format!("http/{file}"));
    let begin = text.find('{').unwrap();
    text[begin..].lines().next().unwrap().to_owned()
}

#[test]
fn recorded_refusals_lead_to_the_request_that_helps() {
    let watching = |line: &str| {
        let mut replay = Replay::following(210);
        replay.body(&format!("{line}\n"), 700);
        replay.request()
    };
    for file in ["410-watch-old-rv.txt", "410-watch-nodes.txt"] {
        let ask = watching(&body(file));
        assert!(matches!(&ask, Ask::StreamingList { at_least: Some(at), .. } if at == "210"), "{file}: {ask:?}");
    }
    for (file, code) in
        [("410-list-exact.txt", 410), ("410-list-exact-compacted.txt", 410), ("list-rv-future.txt", 504)]
    {
        let mut replay = Replay::new();
        replay.request();
        replay.give(Input::Refused { status: api_status(body(file).as_bytes(), code), retry_after: None });
        assert!(matches!(replay.request(), Ask::StreamingList { .. }), "{file}");
    }
    let mut replay = Replay::new();
    replay.request();
    let status = api_status(body("watchlist-nomatch.txt").as_bytes(), 422);
    replay.give(Input::Refused { status, retry_after: None });
    assert!(matches!(replay.request(), Ask::List { .. }), "a server without streaming lists is listed in pages");
    let mut replay = Replay::new();
    replay.request();
    let status = api_status(body("403-anonymous.txt").as_bytes(), 403);
    replay.give(Input::Refused { status, retry_after: None });
    assert!(matches!(replay.watch.health(), WatchHealth::Stale(_)), "{:?}", replay.watch.health());
}

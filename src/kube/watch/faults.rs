//! The fault table: every way a server can fail, for five seconds, a minute and ten minutes.
//!
//! A fake server answers with the clock in our hands; the figures stand in docs/kubernetes-watch.md, which this test
//! compares and, with `UPDATE=1`, writes.

use super::tests::{Lab, bookmark, refused, seen, status};
use super::*;
use crate::kube::watch::backoff::SPACING;

/// How a server answers one request, for as long as a fault lasts.
type Answer = fn(&mut Lab, &Ask);

fn open_then(lab: &mut Lab, input: Input) {
    lab.give(Input::Opened);
    lab.give(input);
}

const FAULTS: &[(&str, Answer)] = &[
    ("no connection", |lab, _| drop(lab.give(Input::Failed("connection refused".to_owned())))),
    ("ends at once", |lab, _| open_then(lab, Input::Ended)),
    ("410 as event", |lab, _| open_then(lab, Input::Event(Event::Error(status(410))))),
    ("410 as status", |lab, _| drop(lab.give(refused(410)))),
    ("500 as event", |lab, _| open_then(lab, Input::Event(Event::Error(status(500))))),
    ("error event without code", |lab, _| open_then(lab, Input::Event(Event::Error(status(0))))),
    ("no head", |_, _| {}),
    ("silence after the head", |lab, _| drop(lab.give(Input::Opened))),
    ("garbage", |lab, _| open_then(lab, Input::Garbage("expected value".to_owned()))),
    ("cut off", |lab, _| open_then(lab, Input::Failed("cut off".to_owned()))),
    ("401", |lab, _| drop(lab.give(refused(401)))),
    ("403", |lab, _| drop(lab.give(refused(403)))),
    ("429", |lab, _| drop(lab.give(refused(429)))),
    ("500", |lab, _| drop(lab.give(refused(500)))),
    ("503", |lab, _| drop(lab.give(refused(503)))),
    ("no streaming lists, and lists fail", |lab, ask| {
        let code = if matches!(ask, Ask::StreamingList { .. }) { 422 } else { 500 };
        lab.give(refused(code));
    }),
    ("retry after zero", |lab, _| {
        lab.give(Input::Refused { status: status(429), retry_after: Some(Duration::ZERO) });
    }),
    ("empty pages for ever", |lab, _| {
        lab.give(Input::Opened);
        lab.give(Input::Page(ListEnd { version: "1".to_owned(), rest: "more".to_owned() }));
        lab.give(Input::Ended);
    }),
];

/// Plays a healthy server; true when a complete list or an event went through.
fn healthy(lab: &mut Lab, ask: &Ask) -> bool {
    lab.give(Input::Opened);
    match ask {
        Ask::StreamingList { .. } => {
            lab.give(bookmark("900", true));
        }
        Ask::List { .. } => {
            lab.give(Input::Page(ListEnd { version: "900".to_owned(), rest: String::new() }));
        }
        Ask::Watch { .. } => {
            lab.give(Input::Event(Event::Applied(seen("z", 901))));
        }
    }
    true
}

const DOCUMENT: &str = "docs/kubernetes-watch.md";
const BEGIN: &str = "<!-- faults: written by a test -->\n";
const END: &str = "<!-- end of faults -->\n";

/// What one fault cost: requests while it lasted, and how soon after it a healthy answer was read.
struct Cost {
    requests: usize,
    healed_after: Duration,
}

fn suffer(name: &str, fault: Answer, lasts: Duration, seed: u64) -> Cost {
    let mut lab = Lab::listed_and_settled(seed);
    lab.pass(Duration::from_secs(20));
    lab.give(Input::Failed("reset".to_owned()));
    lab.requests.clear();
    lab.run(lasts, fault);
    assert!(lab.spacing() >= SPACING, "{name} for {lasts:?} (seed {seed}): {:?}", lab.requests);
    let requests = lab.requests.len();
    let healed = lab.now;
    let mut served = None;
    lab.run(Duration::from_secs(120), |lab, ask| {
        if healthy(lab, ask) {
            served.get_or_insert(lab.now);
        }
    });
    let after = served.map(|at| at - healed).unwrap_or_else(|| panic!("{name} for {lasts:?}: never healed"));
    assert!(after <= Duration::from_secs(60), "{name} for {lasts:?}: {after:?}");
    Cost { requests, healed_after: after }
}

#[test]
fn every_fault_costs_at_most_a_request_a_second_and_is_over_within_a_minute_of_healing() {
    let mut table = "| fault | 5 s | 1 min | 10 min |\n| --- | --- | --- | --- |\n".to_owned();
    for (index, (name, fault)) in FAULTS.iter().enumerate() {
        let cells = [5, 60, 600].map(|seconds| {
            let cost = suffer(name, *fault, Duration::from_secs(seconds), index as u64 * 1_000 + seconds);
            format!("{}, {:.1} s", cost.requests, cost.healed_after.as_secs_f64())
        });
        table.push_str(&format!("| {name} | {} |\n", cells.join(" | ")));
    }
    let path = format!("{}/{DOCUMENT}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the place of the table");
    let (written, after) = rest.split_once(END).expect("its end");
    if std::env::var("UPDATE").is_ok_and(|update| update == "1") {
        std::fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
    } else {
        assert_eq!(written, table, "{DOCUMENT} is old: UPDATE=1 cargo test --lib watch::faults");
    }
}

#[test]
fn failures_without_end_settle_at_about_two_requests_a_minute() {
    for (name, fault) in FAULTS.iter().filter(|(name, _)| !name.contains("pages")) {
        let mut lab = Lab::listed_and_settled(3);
        lab.give(Input::Failed("reset".to_owned()));
        lab.requests.clear();
        lab.run(Duration::from_secs(3_600), fault);
        assert!((60..=260).contains(&lab.requests.len()), "{name}: {} requests an hour", lab.requests.len());
    }
}

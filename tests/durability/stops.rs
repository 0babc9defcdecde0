//! Stops and starts: what is left is held on disk and said, and what comes back goes where it belongs.

use std::time::Duration;

use tokio::time::Instant;

use crate::hop::Hop;
use crate::process::{Running, ask, free_port, one_span};
use crate::{Ports, config};

const PLAIN: (&str, &str) = ("", "");

fn eventually(what: &str, mut ready: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !ready() {
        assert!(Instant::now() < until, "twenty seconds passed before: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn ended(gateway: Running) -> String {
    gateway.signal("TERM");
    let (code, log) = gateway.end_within(Duration::from_secs(40));
    assert_eq!(code, Some(0), "nothing was lost: {log}");
    log
}

#[test]
fn what_a_stop_leaves_is_held_on_disk_and_delivered_by_the_next_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ports, hop) = (Ports::free(), free_port());
    let config = config(ports, hop, folder.path(), PLAIN);
    let mut gateway = Running::start(&config);
    gateway.wait_for("everything is ready");
    let answer = ask(ports.http, "POST", "/v1/traces", &one_span("a"));
    assert!(answer.starts_with("HTTP/1.1 200"), "the next hop is down, the disk is not: {answer}");
    let log = ended(gateway);
    assert!(log.contains("held on disk 1"), "the account's line: {log}");
    assert!(!log.contains("stopped with losses") && !log.contains("dropped("), "{log}");
    // Without the exporter that had it, it is held and named.
    let other = config.replace("otlp_grpc", "otlp_grpc/other");
    let mut gateway = Running::start(&other);
    let log = gateway.wait_for("everything is ready");
    const STRANGER: &str = "of a component that this configuration lacks";
    let log = if log.contains(STRANGER) { log } else { gateway.wait_for(STRANGER) };
    assert!(log.contains("taker=\"exporters::otlp_grpc\"") || log.contains("taker=exporters::otlp_grpc"), "{log}");
    ended(gateway);
    // And with it delivered, once.
    let hop = Hop::at(hop);
    let mut gateway = Running::start(&config);
    gateway.wait_for("everything is ready");
    eventually("the span arrives", || hop.seen().len() == 1);
    std::thread::sleep(Duration::from_millis(200));
    ended(gateway);
    let mut gateway = Running::start(&config);
    let log = gateway.wait_for("everything is ready");
    assert!(log.contains("records=0"), "it is settled: {log}");
    ended(gateway);
    assert_eq!(hop.seen().values().sum::<u32>(), 1);
}

#[test]
fn a_second_process_waits_unready_until_the_first_one_has_ended() {
    let folder = tempfile::tempdir().expect("a folder");
    let hop = Hop::at(0);
    let (one, other) = (Ports::free(), Ports::free());
    let mut first = Running::start(&config(one, hop.port, folder.path(), PLAIN));
    first.wait_for("everything is ready");
    let mut second = Running::start(&config(other, hop.port, folder.path(), PLAIN));
    second.wait_for("another process holds the log");
    let ready = ask(other.probes, "GET", "/readyz", "");
    assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
    assert!(ask(other.probes, "GET", "/livez", "").starts_with("HTTP/1.1 200"), "it lives");
    ended(first);
    second.wait_for("everything is ready");
    assert!(ask(other.probes, "GET", "/readyz", "").starts_with("HTTP/1.1 200"));
    ended(second);
    // A stop ends the wait.
    let mut first = Running::start(&config(one, hop.port, folder.path(), PLAIN));
    first.wait_for("everything is ready");
    let mut second = Running::start(&config(other, hop.port, folder.path(), PLAIN));
    second.wait_for("another process holds the log");
    ended(second);
    ended(first);
}

//! A running gateway takes another configuration: nothing that was accepted is lost or comes twice, no trace is decided
//! twice, and what is equal stays - sockets, connections, streams, the pod table, held traces, counters.

#![allow(clippy::print_stderr)] // what a run showed is its report

#[path = "reload/commands.rs"]
mod commands;
#[path = "reload/config.rs"]
mod config;
#[path = "reload/kept.rs"]
mod kept;
#[path = "reload/load.rs"]
mod load;
#[path = "reload/members.rs"]
mod members;
#[path = "reload/panics.rs"]
mod panics;
#[path = "support/process.rs"]
#[allow(dead_code)]
mod process;
#[path = "reload/refused.rs"]
mod refused;
#[path = "reload/sources.rs"]
mod sources;
mod support;
#[path = "reload/twenty.rs"]
mod twenty;
#[path = "reload/waiting.rs"]
mod waiting;

use std::time::Duration;

use config::{Ports, Running, Variant};
use load::{Load, inode_of};
use support::{Sink, eventually};
use tokio::time::Instant;

/// Every trace has so many spans, sent in two requests.
const SPANS_A_TRACE: usize = 50;

/// Reloads under load, wrong files between; what came out is compared with what was accepted.
async fn reloads(count: usize, folder: Option<&std::path::Path>) {
    let sinks = [Sink::start().await, Sink::start().await];
    let ports = Ports::free();
    let text = |number: usize| Variant { number, folder: folder.map(Into::into) }.yaml(&ports, &sinks);
    let mut running = Running::start(&text(0)).await;
    let (inodes, mut health) = (ports.doors().map(inode_of), load::watch_health(ports.grpc).await);
    let load = Load::start(ports);
    let (mut longest, mut applied, mut wrong) = (Duration::ZERO, 0, 0);
    for number in 1..=count {
        tokio::time::sleep(Duration::from_millis(60)).await;
        if number % 10 == 9 {
            assert!(config::plan(&text(number).replace("decision_wait", "decision_weight")).is_err());
            wrong += 1;
        }
        let begun = Instant::now();
        if number % 10 == 5 {
            let held = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
            let address = held.local_addr().expect("bound").to_string();
            let text = text(number).replace(
                "receivers:\n",
                &format!("receivers:\n  otlp/held: {{protocols: {{grpc: {{endpoint: '{address}'}}}}}}\n"),
            );
            let text = text.replace("receivers: [otlp", "receivers: [otlp/held, otlp");
            let error = running.reload(&text).await.expect_err("the port is held");
            assert!(error.contains("cannot listen"), "{error}");
            wrong += 1;
        } else {
            running.reload(&text(number)).await.expect("applied");
            applied += 1;
        }
        longest = longest.max(begun.elapsed());
    }
    let sent = load.end().await;
    let traces = (sent.accepted.len() / SPANS_A_TRACE) as u64;
    eventually("every trace is decided", || running.decisions() >= traces).await;
    assert!(load::is_open(&mut health).await, "the stream that was opened before all reloads still serves");
    assert_eq!(ports.doors().map(inode_of), inodes, "the very sockets listen");
    assert_eq!(running.decisions(), traces, "no trace is decided twice");
    running.drain().await;
    let mut arrived: Vec<u64> =
        sinks.iter().flat_map(|sink| sink.spans()).map(|(_, span)| load::number(&span)).collect();
    arrived.sort_unstable();
    let mut accepted = sent.accepted;
    accepted.sort_unstable();
    let (retries, spans) = (sent.retries, accepted.len());
    eprintln!(
        "{applied} applied, {wrong} wrong, longest {longest:?}, {spans} spans, {traces} traces, {retries} retries"
    );
    assert!(spans > 5_000, "there was load: {spans} spans");
    assert_eq!(arrived.len(), accepted.len(), "as many as were accepted");
    assert!(arrived == accepted, "each accepted span arrives once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_reloads_under_load_lose_and_double_nothing() {
    reloads(100, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_with_a_log_on_disk_lose_and_double_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    reloads(100, Some(folder.path())).await;
}

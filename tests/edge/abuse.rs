//! Abuses in short form: each attack runs beside honest clients on both transports, which must notice nothing, and
//! ends in the cause it is counted under. Limits are shortened by configuration, so that the tests take seconds.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::abuses::{Door, Seen, all};
use super::bombs::probe;
use super::harness::{H2, Running, TRACES, framed, http1, spans};

/// Every wait short, every count small, nothing else different.
pub const SHORT: &str = "\
protocols:
  grpc:
    endpoint: 127.0.0.1:0
    max_recv_msg_size_mib: 8
    podgate: &limits
      first_byte_timeout: 1500ms
      preface_timeout: 1500ms
      head_timeout: 1500ms
      body_grace: 1500ms
      body_timeout: 4s
      write_stall_timeout: 1500ms
      max_connections_per_address: 40
  http:
    endpoint: 127.0.0.1:0
    max_request_body_size: 8MiB
    podgate: *limits
";

fn holds(seen: &Seen, running: &Running) -> bool {
    match seen {
        Seen::Closed(cause) => running.counter_with("podgate_receiver_connections_closed", cause) > 0,
        Seen::Refused(cause) => running.counter_with("podgate_receiver_connections_refused", cause) > 0,
        Seen::BadRequests(reason) => running.counter_with("podgate_receiver_bad_requests", reason) > 0,
        Seen::Answered | Seen::Memory => true,
    }
}

/// An honest client of either transport and a kubelet; panics when anything but success comes back.
async fn honest(running: &Running, pages: SocketAddr) {
    let mut client = H2::connect(running.grpc()).await;
    loop {
        let reply = client.grpc(TRACES, &[], &framed(0, &spans(10))).await.unwrap();
        assert_eq!(reply.grpc_status(), Some(0), "{reply:?}");
        let headers = [("content-type", "application/x-protobuf")];
        let reply = http1(running.http(), "POST", "/v1/traces", &headers, &spans(10)).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        probe(pages).await;
        running.sink.payloads.lock().unwrap().clear();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_abuse_is_contained_while_honest_clients_notice_nothing() {
    let mut rows = String::from(HEAD);
    for abuse in all() {
        let running = Running::start(SHORT).await;
        let (pages, prober) = running.pages().await;
        let (first, second) = match abuse.door {
            Door::Otlp => (running.grpc(), running.http()),
            Door::Pages => (pages, pages),
        };
        let attack = timeout(Duration::from_secs(20), (abuse.attack)(first, second));
        tokio::select! {
            () = honest(&running, pages) => unreachable!(),
            ended = attack => ended.unwrap_or_else(|_| panic!("{}: never ended", abuse.name)),
        }
        let seen = async {
            while !holds(&abuse.seen, &running) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if timeout(Duration::from_secs(5), seen).await.is_err() {
            panic!("{}: not counted; what was: {:?}", abuse.name, running.counted("podgate_receiver_"));
        }
        // Connections are charged for their windows; bodies hardly matter.
        let (peak, hard) = (running.host.budget.peak(), running.host.budget.hard());
        assert!(peak < hard / 4, "{}: took {peak} bytes", abuse.name);
        prober.drain(Instant::now() + Duration::from_secs(5)).await;
        let took = running.drain(Duration::from_secs(10)).await;
        assert!(took < Duration::from_secs(5), "{}: the drain took {took:?}", abuse.name);
        rows.push_str(&format!("| {} | {} | {} |\n", abuse.name, abuse.seen.words(), abuse.limit));
        // The last request of the honest clients may arrive after they stopped waiting for it.
        let used = || {
            running.sink.payloads.lock().unwrap().clear();
            running.host.budget.used()
        };
        let wait = async {
            while used() > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let left = timeout(Duration::from_secs(5), wait).await;
        assert!(left.is_ok(), "{}: {} bytes stay taken", abuse.name, running.host.budget.used());
        running.assert_balance();
    }

    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/hardening.md");
    let written = std::fs::read_to_string(path).unwrap_or_default();
    let measured = written.split_once(MEASURED).map_or("", |(_, measured)| measured);
    let document = format!("{rows}\n{MEASURED}{measured}");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &document).unwrap();
    } else {
        assert!(written == document, "docs/hardening.md is stale; UPDATE=1 rewrites it");
    }
}

/// What follows is written by `make test-abuse`, `test-stops` and `test-overload`.
const MEASURED: &str = "## Measured\n";

const HEAD: &str = "\
# Abuse of the receiver, and what contains it

Written by `cargo test --test edge`; do not edit (`UPDATE=1 cargo test --test edge abuse` rewrites it).
Each attack runs for as long as it lasts beside honest clients of both transports and liveness probes. The run fails when one
honest request is not answered with success or a probe not within a second, when the attack is not counted as stated, when
it takes a quarter of the memory budget, when memory or items stay unaccounted for afterwards, or when the drain that follows
takes five seconds.
Waits are shortened for the run; the limits below are the defaults, with their keys under `protocols.grpc` or
`protocols.http`. What honest clients feel of it is measured further down.

| abuse | counted as | limit |
|---|---|---|
";

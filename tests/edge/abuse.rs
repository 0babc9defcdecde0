//! Abuses in short form: each attack runs beside honest clients on both transports, which must notice nothing, and
//! ends in the cause it is counted under. Limits are shortened by configuration, so that the tests take seconds.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::timeout;

use super::attack;
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

type Attack = fn(SocketAddr, SocketAddr) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// How an abuse must show afterwards.
pub enum Seen {
    /// Connections ended by us under this cause.
    Closed(&'static str),
    /// Connections not let in, under this cause.
    Refused(&'static str),
    /// Requests refused, under this reason.
    BadRequests(&'static str),
    /// The attack itself asserts what it gets.
    Answered,
}

pub struct Abuse {
    pub name: &'static str,
    pub attack: Attack,
    pub seen: Seen,
    /// The limit that contains it: key and default.
    pub limit: &'static str,
}

macro_rules! abuse {
    ($name:literal, $attack:ident, $seen:expr, $limit:literal) => {
        Abuse { name: $name, attack: |grpc, http| Box::pin(attack::$attack(grpc, http)), seen: $seen, limit: $limit }
    };
}

pub fn all() -> Vec<Abuse> {
    slowness().into_iter().chain(floods()).chain(nonsense()).collect()
}

fn slowness() -> Vec<Abuse> {
    use Seen::{BadRequests, Closed};
    vec![
        abuse!("connections that say nothing", silent, Closed("silent"), "podgate.first_byte_timeout, 10 s"),
        abuse!("a preface that drips", slow_preface, Closed("slow_preface"), "podgate.preface_timeout, 5 s"),
        abuse!(
            "an HTTP/1.1 head that drips",
            slow_head,
            Closed("slow_head"),
            "read_header_timeout or podgate.head_timeout, 10 s"
        ),
        abuse!(
            "an HTTP/2 header block that never ends",
            open_header_block,
            Closed("slow_head"),
            "podgate.head_timeout, 10 s"
        ),
        abuse!(
            "an HTTP/1.1 body that drips",
            slow_body_http1,
            BadRequests("too_slow"),
            "podgate.min_body_rate, 4 KiB/s after podgate.body_grace, 10 s; read_timeout, 30 s"
        ),
        abuse!(
            "an HTTP/2 body that drips",
            slow_body_http2,
            BadRequests("too_slow"),
            "podgate.min_body_rate, 4 KiB/s after podgate.body_grace, 10 s; podgate.body_timeout, 30 s"
        ),
        abuse!(
            "answers that are never read",
            slow_reader,
            Closed("write_stall"),
            "write_timeout or podgate.write_stall_timeout, 10 s; nothing more is read meanwhile"
        ),
    ]
}

fn floods() -> Vec<Abuse> {
    use Seen::{Answered, Closed, Refused};
    vec![
        abuse!("a flood of PING", ping_flood, Closed("ping_flood"), "podgate.control_frames_per_second, 200"),
        abuse!(
            "a flood of SETTINGS",
            settings_flood,
            Closed("settings_flood"),
            "podgate.control_frames_per_second, 200"
        ),
        abuse!(
            "a flood of PRIORITY",
            priority_flood,
            Closed("priority_flood"),
            "podgate.control_frames_per_second, 200"
        ),
        abuse!(
            // The HTTP/2 library has a budget of its own for these; which of the two ends the connection is a race.
            "a flood of empty DATA",
            empty_data_flood,
            Answered,
            "podgate.control_frames_per_second, 200, or the budget of h2"
        ),
        abuse!(
            "a flood of CONTINUATION",
            continuation_flood,
            Answered,
            "header list of 16 KiB; podgate.control_frames_per_second, 200"
        ),
        abuse!(
            "rapid reset",
            rapid_reset,
            Answered,
            "20 resets waiting to be accepted (h2); podgate.control_frames_per_second, 200"
        ),
        abuse!("a thousand streams at once", stream_fan_out, Answered, "max_concurrent_streams, 64"),
        abuse!(
            "connection hoarding",
            hoard,
            Refused("connections_per_address_max"),
            "podgate.max_connections_per_address, 256; podgate.max_connections, 2048"
        ),
    ]
}

fn nonsense() -> Vec<Abuse> {
    use Seen::{Answered, BadRequests, Closed};
    vec![
        abuse!(
            "TLS on a plain port",
            tls_hello,
            Closed("tls_on_plain_port"),
            "one log line in ten seconds names peer and cure"
        ),
        abuse!("garbage", garbage, Answered, "closed or answered 400"),
        abuse!(
            "claimed lengths that never come",
            lying_lengths,
            BadRequests("too_slow"),
            "a claim holds at most 256 KiB until bytes come"
        ),
        abuse!("a gzip bomb", bomb, BadRequests("too_large"), "decoded size limit; 100 times the size beyond 8 MiB"),
        abuse!("ten thousand nested lists", deep_nesting, Answered, "64 levels"),
        abuse!("heads of a megabyte", giant_head, Answered, "64 KiB over HTTP/1.1, 16 KiB over HTTP/2"),
        abuse!("a body with two lengths", smuggling, Answered, "refused by the HTTP parser, connection closed"),
    ]
}

impl Seen {
    fn words(&self) -> String {
        match self {
            Seen::Closed(cause) => format!("connection closed, `{cause}`"),
            Seen::Refused(cause) => format!("connection refused, `{cause}`"),
            Seen::BadRequests(reason) => format!("bad request, `{reason}`"),
            Seen::Answered => "answered or cut by the protocol's own rules".to_owned(),
        }
    }

    fn holds(&self, running: &Running) -> bool {
        match self {
            Seen::Closed(cause) => running.counter_with("podgate_receiver_connections_closed", cause) > 0,
            Seen::Refused(cause) => running.counter_with("podgate_receiver_connections_refused", cause) > 0,
            Seen::BadRequests(reason) => running.counter_with("podgate_receiver_bad_requests", reason) > 0,
            Seen::Answered => true,
        }
    }
}

/// An honest client of either transport; panics when anything but success comes back.
async fn honest(running: &Running) {
    let mut client = H2::connect(running.grpc()).await;
    loop {
        let reply = client.grpc(TRACES, &[], &framed(0, &spans(10))).await.unwrap();
        assert_eq!(reply.grpc_status(), Some(0), "{reply:?}");
        let headers = [("content-type", "application/x-protobuf")];
        let reply = http1(running.http(), "POST", "/v1/traces", &headers, &spans(10)).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        running.sink.payloads.lock().unwrap().clear();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_abuse_is_contained_while_honest_clients_notice_nothing() {
    let mut rows = String::from(HEAD);
    for abuse in all() {
        let running = Running::start(SHORT).await;
        let attack = timeout(Duration::from_secs(20), (abuse.attack)(running.grpc(), running.http()));
        tokio::select! {
            () = honest(&running) => unreachable!(),
            ended = attack => ended.unwrap_or_else(|_| panic!("{}: never ended", abuse.name)),
        }
        let seen = async {
            while !abuse.seen.holds(&running) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if timeout(Duration::from_secs(5), seen).await.is_err() {
            let counters = running.host.stats.all();
            let labels: Vec<_> = counters.iter().map(|series| (&series.name, &series.labels)).collect();
            panic!("{}: not counted; there is {labels:?}", abuse.name);
        }
        // Connections are charged for their windows; bodies hardly matter.
        let (peak, hard) = (running.host.budget.peak(), running.host.budget.hard());
        assert!(peak < hard / 4, "{}: took {peak} bytes", abuse.name);
        let took = running.drain(Duration::from_secs(10)).await;
        assert!(took < Duration::from_secs(5), "{}: the drain took {took:?}", abuse.name);
        rows.push_str(&format!("| {} | {} | {} |\n", abuse.name, abuse.seen.words(), abuse.limit));
        running.sink.payloads.lock().unwrap().clear();
        let wait = async {
            while running.host.budget.used() > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let left = timeout(Duration::from_secs(5), wait).await;
        assert!(left.is_ok(), "{}: {} bytes stay taken", abuse.name, running.host.budget.used());
        running.assert_balance();
    }

    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/hardening.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &rows).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(written, rows, "docs/hardening.md is stale; UPDATE=1 rewrites it");
}

const HEAD: &str = "\
# Abuse of the receiver, and what contains it

Written by `cargo test --test edge`; do not edit (`UPDATE=1 cargo test --test edge abuse` rewrites it).
Each attack runs for as long as it lasts beside honest clients of both transports. The run fails when one honest request
is not answered with success, when the attack is not counted as stated, when it takes a quarter of the memory budget,
when memory or items stay unaccounted for afterwards, or when the drain that follows takes five seconds.
Waits are shortened for the run; the limits below are the defaults, with their keys under `protocols.grpc` or
`protocols.http`. Latency of the honest clients is not measured here.

| abuse | counted as | limit |
|---|---|---|
";

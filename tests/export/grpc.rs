//! `otlp_grpc` against stock servers: bytes, statuses, throttling, isolation of a faulty span, queue and drain.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use podgate::core::error::Reason;
use prost::Message;
use tonic::{Code, Status};

use crate::harness::{Peer, eventually, names, request, start, taken};

const QUICK: &str = "retry_on_failure: {initial_interval: 20ms, max_interval: 50ms, max_elapsed_time: 5s}";

fn body(peer: &Peer, more: &str) -> String {
    format!("{{endpoint: '{}', tls: {{insecure: true}}, compression: none, {QUICK}, {more}}}", peer.address)
}

#[tokio::test]
async fn a_stock_server_gets_what_was_received_in_every_compression() {
    for compression in ["none", "gzip"] {
        let peer = Peer::start(|_, _| taken()).await;
        let keys = format!(
            "{{endpoint: '{}', tls: {{insecure: true}}, compression: {compression}, headers: {{X-Tenant: blue}}}}",
            peer.address
        );
        let bench = start("otlp_grpc", &keys).await;
        let sent = request((0..2000).map(|_| "a span with a name of some length"));
        bench.send(&sent).await.unwrap();
        assert_eq!(bench.settled().await.delivered, 2000);
        assert_eq!(peer.requests(), [sent]);
        let headers = peer.headers(0);
        assert_eq!(headers["x-tenant"], "blue");
        assert!(headers["user-agent"].starts_with("podgate/"), "{headers:?}");
        assert_eq!(headers.get("grpc-encoding").map(String::as_str), (compression == "gzip").then_some("gzip"));
        bench.drain(Duration::from_secs(5)).await;
    }
}

#[tokio::test]
async fn retryable_codes_are_tried_again_and_final_ones_are_not() {
    for code in 1..=16 {
        let code = Code::from(code);
        let retryable = [
            Code::Cancelled,
            Code::DeadlineExceeded,
            Code::Aborted,
            Code::OutOfRange,
            Code::Unavailable,
            Code::DataLoss,
        ]
        .contains(&code);
        let peer = Peer::start(move |at, _| if at == 0 { Err(Status::new(code, "no")) } else { taken() }).await;
        let bench = start("otlp_grpc", &body(&peer, "")).await;
        bench.send(&request(["a"])).await.unwrap();
        let sheet = bench.settled().await;
        assert_eq!((sheet.delivered == 1, peer.requests().len()), (retryable, 1 + usize::from(retryable)), "{code:?}");
        bench.drain(Duration::from_secs(5)).await;
    }
}

#[tokio::test]
async fn a_partial_success_is_counted_and_never_sent_again() {
    let peer = Peer::start(|_, _| {
        let partial = ExportTracePartialSuccess { rejected_spans: 2, error_message: "bad ids".to_owned() };
        Ok(tonic::Response::new(ExportTraceServiceResponse { partial_success: Some(partial) }))
    });
    let peer = peer.await;
    let bench = start("otlp_grpc", &body(&peer, "")).await;
    bench.send(&request(["a", "b", "c", "d", "e"])).await.unwrap();
    let sheet = bench.drain(Duration::from_secs(5)).await;
    assert_eq!((sheet.delivered, sheet.dropped["partial_success"], peer.requests().len()), (3, 2, 1));
    assert_eq!(bench.host.stats.total("otelcol_exporter_sent_spans"), 3);
    assert_eq!(bench.host.stats.total("otelcol_exporter_send_failed_spans"), 2);
}

/// `google.rpc.Status` with a RetryInfo of so many milliseconds.
fn throttle(millis: u32) -> Status {
    #[derive(Clone, PartialEq, Message)]
    struct Any {
        #[prost(string, tag = "1")]
        type_url: String,
        #[prost(bytes = "vec", tag = "2")]
        value: Vec<u8>,
    }
    #[derive(Clone, PartialEq, Message)]
    struct Delay {
        #[prost(int64, tag = "1")]
        seconds: i64,
        #[prost(int32, tag = "2")]
        nanos: i32,
    }
    #[derive(Clone, PartialEq, Message)]
    struct RetryInfo {
        #[prost(message, optional, tag = "1")]
        retry_delay: Option<Delay>,
    }
    #[derive(Clone, PartialEq, Message)]
    struct RpcStatus {
        #[prost(int32, tag = "1")]
        code: i32,
        #[prost(message, repeated, tag = "3")]
        details: Vec<Any>,
    }
    let delay = Delay { seconds: i64::from(millis / 1000), nanos: (millis % 1000) as i32 * 1_000_000 };
    let info = RetryInfo { retry_delay: Some(delay) };
    let any = Any { type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(), value: info.encode_to_vec() };
    let status = RpcStatus { code: 8, details: vec![any] };
    Status::with_details(Code::ResourceExhausted, "slow down", status.encode_to_vec().into())
}

#[tokio::test]
async fn a_throttled_exporter_stays_away_as_long_as_asked_with_all_its_requests() {
    let peer = Peer::start(|at, _| if at == 0 { Err(throttle(600)) } else { taken() }).await;
    let bench = start("otlp_grpc", &body(&peer, "")).await;
    bench.send(&request(["a"])).await.unwrap();
    eventually("the first request was throttled", || peer.requests().len() == 1).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    bench.send(&request(["b"])).await.unwrap();
    assert_eq!(bench.settled().await.delivered, 2);
    let times = peer.times();
    let waits: Vec<Duration> = times[1..].iter().map(|at| *at - times[0]).collect();
    assert!(waits.len() == 2 && waits.iter().all(|wait| *wait >= Duration::from_millis(590)), "{waits:?}");
    bench.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn one_poisoned_span_does_not_take_499_good_ones_along() {
    for place in [0, 1, 250, 333, 499] {
        let peer = Peer::start(|_, request| {
            let poisoned = names(request).iter().any(|name| name == "poison");
            if poisoned { Err(Status::invalid_argument("bad span")) } else { taken() }
        });
        let peer = peer.await;
        let bench = start("otlp_grpc", &body(&peer, "")).await;
        bench.send(&request((0..500).map(|at| if at == place { "poison" } else { "good" }))).await.unwrap();
        let sheet = bench.drain(Duration::from_secs(10)).await;
        assert_eq!((sheet.delivered, sheet.dropped["permanent"]), (499, 1), "poison at {place}");
        assert!(peer.requests().len() <= 1 + 10, "{} requests", peer.requests().len());
    }
}

#[tokio::test]
async fn a_fault_of_the_whole_request_is_not_searched_in_its_spans() {
    for code in [Code::Unimplemented, Code::Unauthenticated, Code::PermissionDenied] {
        let peer = Peer::start(move |_, _| Err(Status::new(code, "no"))).await;
        let bench = start("otlp_grpc", &body(&peer, "")).await;
        bench.send(&request(["a"; 100])).await.unwrap();
        let sheet = bench.drain(Duration::from_secs(5)).await;
        assert_eq!((sheet.dropped["permanent"], peer.requests().len()), (100, 1), "{code:?}");
    }
}

#[tokio::test]
async fn a_request_too_large_for_the_peer_is_cut_until_it_fits() {
    let peer = Peer::start(|_, request| {
        let large = request.encoded_len() > 1 << 20;
        if large { Err(Status::resource_exhausted("received message larger than max")) } else { taken() }
    });
    let peer = peer.await;
    let bench = start("otlp_grpc", &body(&peer, "")).await;
    let name = "x".repeat(1000);
    for _ in 0..2 {
        bench.send(&request((0..3000).map(|_| name.as_str()))).await.unwrap();
        bench.settled().await;
    }
    let sheet = bench.drain(Duration::from_secs(5)).await;
    assert_eq!(sheet.delivered, 6000);
    let refused = peer.requests().iter().filter(|request| request.encoded_len() > 1 << 20).count();
    assert_eq!(refused, 2, "3 MB and 1.5 MB once each; the second request is cut before it is sent");
}

#[tokio::test]
async fn what_was_learnt_of_a_peers_limit_never_drops_a_message_untried() {
    let peer = Peer::start(|_, request| {
        let large = request.encoded_len() > 1 << 20;
        if large { Err(Status::resource_exhausted("received message larger than max")) } else { taken() }
    });
    let peer = peer.await;
    let bench = start("otlp_grpc", &body(&peer, "")).await;
    let (small, large, huge) = ("x".repeat(1000), "y".repeat(900_000), "z".repeat(1_200_000));
    bench.send(&request((0..1200).map(|_| small.as_str()))).await.unwrap();
    bench.settled().await;
    bench.send(&request([large.as_str(), huge.as_str()])).await.unwrap();
    let sheet = bench.drain(Duration::from_secs(5)).await;
    assert_eq!((sheet.delivered, sheet.dropped["too_large"]), (1201, 1));
}

#[tokio::test]
async fn what_a_quota_refuses_for_good_is_not_called_too_large() {
    for (said, reason) in [("quota of spans exhausted", "permanent"), ("grpc: message larger than max", "too_large")] {
        let peer = Peer::start(move |_, _| Err(Status::resource_exhausted(said))).await;
        let bench = start("otlp_grpc", &body(&peer, "")).await;
        bench.send(&request(["a"])).await.unwrap();
        let sheet = bench.drain(Duration::from_secs(5)).await;
        assert_eq!((sheet.dropped.get(reason), sheet.dropped_total()), (Some(&1), 1), "{said}: {sheet:?}");
        assert_eq!(peer.requests().len(), 1, "{said}: it is final");
    }
}

#[tokio::test]
async fn apm_servers_codes_are_retried_only_under_its_profile() {
    for (profile, code, delivered) in [
        ("true", Code::ResourceExhausted, 1),
        ("false", Code::ResourceExhausted, 0),
        ("true", Code::Unknown, 1),
        ("false", Code::Unknown, 0),
    ] {
        let peer = Peer::start(move |at, _| if at < 2 { Err(Status::new(code, "busy")) } else { taken() }).await;
        let bench = start("otlp_grpc", &body(&peer, &format!("podgate: {{apm_server: {profile}}}"))).await;
        bench.send(&request(["a"])).await.unwrap();
        assert_eq!(bench.settled().await.delivered, delivered, "{code:?}, apm_server {profile}");
        let off_spec = bench.host.stats.total("podgate_exporter_off_spec_retries");
        assert_eq!(off_spec, if profile == "true" && code == Code::Unknown { 2 } else { 0 });
        bench.drain(Duration::from_secs(5)).await;
    }
}

#[tokio::test]
async fn an_unknown_error_that_stays_is_given_up_after_five_attempts() {
    let peer = Peer::start(|_, _| Err(Status::unknown("no"))).await;
    let bench = start("otlp_grpc", &body(&peer, "podgate: {apm_server: true}")).await;
    bench.send(&request(["a", "b"])).await.unwrap();
    let sheet = bench.settled().await;
    assert_eq!((sheet.dropped["permanent"], peer.requests().len()), (2, 5));
    bench.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn without_a_queue_errors_go_back_to_the_sender_uncounted() {
    for (status, retryable) in [(Code::Unavailable, true), (Code::InvalidArgument, false)] {
        let peer = Peer::start(move |_, _| Err(Status::new(status, "no"))).await;
        let more = "sending_queue: {enabled: false}, podgate: {connections: 2}";
        let keys = body(&peer, more).replace(QUICK, "retry_on_failure: {enabled: false}");
        let bench = start("otlp_grpc", &keys).await;
        let error = bench.send(&request(["a", "b"])).await.unwrap_err();
        assert_eq!(error.is_retryable(), retryable, "{error}");
        let sheet = bench.drain(Duration::from_secs(5)).await;
        let counted = if retryable { sheet.refused } else { sheet.dropped["permanent"] };
        assert_eq!(counted, 2, "counted once, by the receiver: {sheet:?}");
    }
}

#[tokio::test]
async fn without_a_queue_a_poisoned_span_becomes_a_partial_success() {
    let peer = Peer::start(|_, request| {
        let poisoned = names(request).iter().any(|name| name == "poison");
        if poisoned { Err(Status::invalid_argument("bad span")) } else { taken() }
    });
    let peer = peer.await;
    let bench = start("otlp_grpc", &body(&peer, "sending_queue: {enabled: false}")).await;
    bench.send(&request(["a", "b", "poison", "d"])).await.unwrap();
    let sheet = bench.drain(Duration::from_secs(5)).await;
    assert_eq!((sheet.delivered, sheet.dropped["permanent"]), (3, 1));
}

#[tokio::test]
async fn wait_for_result_answers_with_the_next_hops_answer() {
    let peer = Peer::start(|at, _| if at == 0 { Err(Status::invalid_argument("no")) } else { taken() }).await;
    let bench = start("otlp_grpc", &body(&peer, "sending_queue: {wait_for_result: true}")).await;
    assert!(!bench.send(&request(["a"])).await.unwrap_err().is_retryable());
    bench.send(&request(["b"])).await.unwrap();
    let sheet = bench.drain(Duration::from_secs(5)).await;
    assert_eq!((sheet.delivered, sheet.dropped["permanent"]), (1, 1));
}

#[tokio::test]
async fn a_queue_with_a_batch_merges_small_requests() {
    let peer = Peer::start(|_, _| taken()).await;
    let more = "sending_queue: {batch: {min_size: 40, max_size: 50, flush_timeout: 100ms}}";
    let bench = start("otlp_grpc", &body(&peer, more)).await;
    for _ in 0..22 {
        bench.send(&request(["a"; 10])).await.unwrap();
    }
    assert_eq!(bench.drain(Duration::from_secs(5)).await.delivered, 220);
    let sizes: Vec<usize> = peer.requests().iter().map(|request| names(request).len()).collect();
    assert!(sizes.len() <= 6 && sizes.iter().all(|size| *size <= 50), "{sizes:?}");
}

#[tokio::test]
async fn a_dead_target_fills_the_queue_and_the_drain_ends_by_its_deadline_with_every_item_named() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let keys = format!(
        "{{endpoint: '{address}', tls: {{insecure: true}}, sending_queue: {{queue_size: 5, num_consumers: 2}}}}"
    );
    let bench = start("otlp_grpc", &keys).await;
    let mut refused = 0;
    for _ in 0..20 {
        if let Err(error) = bench.send(&request(["a"; 7])).await {
            assert!(error.is_retryable() && error.reason() == Reason::QUEUE_FULL, "{error}");
            refused += 1;
        }
        tokio::task::yield_now().await;
    }
    assert!(refused >= 20 - 5 - 2, "{refused} refused");
    let sheet = bench.drain(Duration::from_millis(700)).await;
    let kept = (20 - refused) * 7;
    assert_eq!((sheet.dropped["shutdown"], sheet.refused), (kept, refused * 7));
    assert_eq!(bench.host.stats.total("otelcol_exporter_enqueue_failed_spans"), refused * 7);
    let late = bench.send(&request(["late"])).await.unwrap_err();
    assert!(late.is_retryable(), "after the drain it refuses");
    bench.drain(Duration::from_millis(10)).await;
}

#[tokio::test]
async fn a_sender_waits_for_room_when_the_queue_blocks() {
    let peer = Peer::start(|_, _| taken()).await;
    let more = "sending_queue: {queue_size: 1, num_consumers: 1, block_on_overflow: true}";
    let bench = start("otlp_grpc", &body(&peer, more)).await;
    for _ in 0..50 {
        bench.send(&request(["a"])).await.expect("there is room in time");
    }
    assert_eq!(bench.drain(Duration::from_secs(5)).await.delivered, 50);
}

#[tokio::test]
async fn a_target_that_comes_back_gets_what_was_kept() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let keys = format!("{{endpoint: '{address}', tls: {{insecure: true}}, {QUICK}}}");
    let bench = start("otlp_grpc", &keys).await;
    bench.send(&request(["a", "b"])).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let peer = Peer::start_on(tokio::net::TcpListener::bind(address).await.unwrap(), |_, _| taken()).await;
    assert_eq!(bench.settled().await.delivered, 2);
    assert_eq!(peer.requests().len(), 1);
    bench.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn refused_credentials_are_explained_where_people_look() {
    for (more, wanted) in [
        ("podgate: {apm_server: true}", "APM Server wants an API key or its secret token and none is configured"),
        ("podgate: {apm_server: true}, headers: {Authorization: 'ApiKey x'}", "needs the privilege event:write"),
        ("headers: {Authorization: 'Bearer x'}", "refuses the configured Authorization header"),
    ] {
        let peer = Peer::start(|_, _| Err(Status::permission_denied("anonymous access not permitted"))).await;
        let bench = start("otlp_grpc", &body(&peer, more)).await;
        bench.send(&request(["a"])).await.unwrap();
        bench.settled().await;
        let status = bench.host.status.all()["exporters::otlp_grpc"].message.clone();
        assert!(status.contains("PERMISSION_DENIED") && status.contains(wanted), "{status}");
        assert!(!status.contains("Bearer x") && !status.contains("ApiKey x"), "{status}");
        bench.drain(Duration::from_secs(5)).await;
    }
}

#[tokio::test]
async fn the_queue_metrics_have_the_collectors_names() {
    let peer = Peer::start(|_, _| taken()).await;
    let bench = start("otlp_grpc", &body(&peer, "sending_queue: {queue_size: 77}")).await;
    bench.send(&request(["a"])).await.unwrap();
    bench.settled().await;
    let all = bench.host.stats.all();
    let names: Vec<&str> = all.iter().map(|series| series.name.as_str()).collect();
    for name in [
        "otelcol_exporter_sent_spans",
        "otelcol_exporter_send_failed_spans",
        "otelcol_exporter_enqueue_failed_spans",
        "otelcol_exporter_queue_size",
        "otelcol_exporter_queue_capacity",
        "otelcol_exporter_in_flight_requests",
        "otelcol_exporter_queue_batch_send_size",
    ] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    bench.drain(Duration::from_secs(5)).await;
}

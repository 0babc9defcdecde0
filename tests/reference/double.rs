//! APM Server's double is what was recorded of APM Server, as far as a sender can see.

use std::net::SocketAddr;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use podgate::core::data::payload::Signal;
use podgate::otlp::json;
use prost::Message;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

use crate::apm_server::ApmServer;
use crate::apm_server::habits::{Conduct, Habits, MESSAGE_BYTES_MAX};
use crate::apm_server::seen;

/// Inputs and answers of APM Server 9.6 (2026-08-20), over HTTP; gRPC answered the same.
const RECORDED: &str = include_str!("../golden/elastic/apm_answers.jsonl");

async fn double(habits: Habits) -> ApmServer {
    let double = ApmServer::at(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("loopback has ports");
    double.behave(habits);
    double
}

/// Status and body over HTTP/1.1.
async fn post(to: SocketAddr, path: &str, headers: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(to).await.expect("it listens");
    let length = body.len();
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream.write_all(body).await.expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an answer");
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let status = std::str::from_utf8(&answer[9..12]).ok().and_then(|text| text.parse().ok()).expect("a status");
    (status, answer[end + 4..].to_vec())
}

fn spans(count: usize, name_bytes: usize) -> ExportTraceServiceRequest {
    let span = Span { trace_id: vec![1; 16], span_id: vec![2; 8], name: "x".repeat(name_bytes), ..Span::default() };
    let scope = ScopeSpans { spans: vec![span; count], ..ScopeSpans::default() };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() }],
    }
}

/// The gRPC code of one request without credentials.
async fn code(to: SocketAddr, request: ExportTraceServiceRequest) -> Code {
    let client = TraceServiceClient::connect(format!("http://{to}")).await.expect("it listens");
    let answer = client.max_encoding_message_size(usize::MAX).export(request).await;
    answer.map_or_else(|status| status.code(), |_| Code::Ok)
}

#[tokio::test]
async fn every_recorded_request_is_answered_as_apm_server_answered_it() {
    let double = double(Habits::default()).await;
    let mut compared = 0;
    for line in RECORDED.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let (signal, path, kind) = match case["signal"].as_str().unwrap() {
            "traces" => (Signal::Traces, "/v1/traces", seen::Signal::Traces),
            "metrics" => (Signal::Metrics, "/v1/metrics", seen::Signal::Metrics),
            _ => (Signal::Logs, "/v1/logs", seen::Signal::Logs),
        };
        let wire = json::to_wire(signal, case["input"].to_string().as_bytes()).unwrap_or_else(|why| panic!("{why}"));
        let (status, body) = post(double.address, path, "", &wire).await;
        let partial = &case["answer"]["partialSuccess"];
        let rejected = partial["rejectedDataPoints"].as_str().map_or(0, |count| count.parse().unwrap());
        assert_eq!((status, body), (200, seen::answer(kind, rejected)), "{}", case["name"]);
        compared += 1;
    }
    assert_eq!(compared, 39);
}

#[tokio::test]
async fn a_grpc_message_above_4_mib_is_refused_like_a_rate_and_http_has_no_limit() {
    let double = double(Habits::default()).await;
    let large = spans(5, 1 << 20);
    assert!(large.encoded_len() > MESSAGE_BYTES_MAX);
    assert_eq!(code(double.address, large.clone()).await, Code::ResourceExhausted);
    assert_eq!(post(double.address, "/v1/traces", "", &large.encode_to_vec()).await.0, 200);
    assert_eq!((double.items().len(), double.largest()), (5, large.encoded_len()));
}

#[tokio::test]
async fn whoever_has_no_credentials_is_refused_in_the_way_of_its_transport() {
    let credentials = vec!["Bearer s3cret".to_owned(), "ApiKey aWQ6a2V5".to_owned()];
    let body = spans(1, 1).encode_to_vec();
    for (anonymous, grpc, http) in [(false, Code::Unauthenticated, 401), (true, Code::PermissionDenied, 500)] {
        let double = double(Habits { credentials: credentials.clone(), anonymous, ..Habits::default() }).await;
        assert_eq!(code(double.address, spans(1, 1)).await, grpc);
        assert_eq!(post(double.address, "/v1/traces", "", &body).await.0, http);
        assert_eq!(post(double.address, "/v1/traces", "authorization: Bearer wrong\r\n", &body).await.0, 401);
        for known in &credentials {
            let header = format!("authorization: {known}\r\n");
            assert_eq!(post(double.address, "/v1/traces", &header, &body).await.0, 200, "{known}");
        }
    }
}

#[tokio::test]
async fn under_load_and_limits_it_answers_with_codes_that_otlp_calls_final() {
    let double = double(Habits::default()).await;
    let body = spans(1, 1).encode_to_vec();
    for (conduct, grpc, http) in
        [(Conduct::Failing, Code::Unknown, 500), (Conduct::Limited, Code::ResourceExhausted, 429)]
    {
        double.conduct(conduct);
        assert_eq!(code(double.address, spans(1, 1)).await, grpc);
        assert_eq!(post(double.address, "/v1/traces", "", &body).await.0, http);
    }
    assert!(double.items().is_empty());
}

#[tokio::test]
async fn hanging_it_never_answers_and_away_nobody_listens() {
    let double = double(Habits { conduct: Conduct::Hanging, ..Habits::default() }).await;
    let patience = Duration::from_millis(300);
    assert!(tokio::time::timeout(patience, code(double.address, spans(1, 1))).await.is_err());
    double.conduct(Conduct::Away);
    let mut refused = false;
    for _ in 0..500 {
        refused = TcpStream::connect(double.address).await.is_err();
        if refused {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(refused);
    double.conduct(Conduct::Well);
    while TcpStream::connect(double.address).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(code(double.address, spans(1, 1)).await, Code::Ok);
}

#[tokio::test]
async fn in_an_outage_of_elasticsearch_it_acknowledges_everything_and_loses_nearly_all() {
    let double = double(Habits { conduct: Conduct::Outage, ..Habits::default() }).await;
    assert_eq!(code(double.address, spans(550, 1)).await, Code::Ok);
    let kept = double.items().iter().filter(|item| item.kept).count();
    assert_eq!((double.items().len(), kept), (550, 10));
}

#[tokio::test]
async fn a_body_of_zstd_is_read_as_protobuf() {
    let double = double(Habits::default()).await;
    let (one, many) = (spans(1, 1).encode_to_vec(), spans(500, 1).encode_to_vec());
    let statuses = async |body: &[u8]| {
        let packed = zstd::encode_all(body, 3).unwrap();
        post(double.address, "/v1/traces", "content-encoding: zstd\r\n", &packed).await.0
    };
    let seen = (statuses(&one).await, statuses(&many).await);
    assert_ne!(seen, (200, 200), "taken as it was meant");
    assert!(double.items().is_empty(), "whatever it answered ({seen:?}), nothing was stored");
}

//! The recorded answers of a real Collector (otelcol 0.161, receiver with max_request_body_size 1 MiB, CORS for one
//! origin), replayed: where podgate answers differently, the difference and its reason stand in the table below.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;

use serde_json::Value;

use super::harness::{BOTH, H2, Reply, Running, framed, gzip, http1};

const YAML: &str = "\
protocols:
  grpc:
    endpoint: 127.0.0.1:0
    max_recv_msg_size_mib: 4
  http:
    endpoint: 127.0.0.1:0
    max_request_body_size: 1MiB
    cors: {allowed_origins: ['http://ok.example'], allowed_headers: [x-a], max_age: 7200}
";

const ONE_SPAN: &str = r#"{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "x"}]}]}]}"#;

/// Name of the case, podgate's answer, and the rule it follows instead.
const DEVIATIONS: &[(&str, &str, &str)] = &include!("deviations.in");

/// Every reason begins with the section it follows: of the OTLP specification, or of what that refers to.
const SECTIONS: &[&str] = &[
    "Failures: ",
    "Bad Data: ",
    "Request size limits (1.11): ",
    "OTLP/HTTP Request: ",
    "OTLP/gRPC Response: ",
    "JSON Protobuf Encoding: ",
    "Common attribute limits: ",
    "gRPC PROTOCOL-HTTP2, ",
    "Fetch standard, CORS protocol: ",
    "RFC 8259",
    "RFC 9110, ",
];

/// Spans about as long as the recorded ones.
fn spans(count: u64) -> Vec<u8> {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use prost::Message;
    let mut request = ExportTraceServiceRequest::decode(&super::harness::spans(count)[..]).unwrap();
    for span in &mut request.resource_spans[0].scope_spans[0].spans {
        span.name += &" and a long name".repeat(30);
    }
    request.encode_to_vec()
}

pub struct Replay {
    pub failures: Vec<String>,
    pub markdown: String,
}

/// Sends every recorded request and compares the answers.
pub async fn replay() -> Replay {
    let recorded = include_str!("../golden/receiver/collector.json");
    let recorded: Value = serde_json::from_str(recorded).unwrap();
    let running = Running::start(YAML).await;
    let default_limits = Running::start(BOTH).await;
    let mut answers = Vec::new();
    for case in recorded["http"].as_array().unwrap() {
        let default_limit = case["name"].as_str().unwrap().ends_with("the default limit");
        let to = if default_limit { default_limits.http() } else { running.http() };
        let ours = http_outcome(&replay_http(to, case).await);
        answers.push(("HTTP", name(case), recorded_http(&case["response"]), ours));
    }
    for case in recorded["http_json"].as_array().unwrap() {
        let body = json_body(case);
        let reply = http1(running.http(), "POST", "/v1/traces", &[("content-type", "application/json")], &body).await;
        answers.push(("JSON", name(case), case["response"]["status"].to_string(), reply.status.to_string()));
    }
    for case in recorded["grpc"].as_array().unwrap() {
        let Some(theirs) = recorded_grpc(case) else { continue };
        let ours = replay_grpc(running.grpc(), case).await;
        answers.push(("gRPC", name(case), theirs, ours));
    }
    compare(answers)
}

fn name(case: &Value) -> String {
    case["name"].as_str().unwrap().to_owned()
}

fn compare(answers: Vec<(&'static str, String, String, String)>) -> Replay {
    let mut known: BTreeMap<&str, (&str, &str)> =
        DEVIATIONS.iter().map(|(name, ours, why)| (*name, (*ours, *why))).collect();
    let mut failures = Vec::new();
    let mut table = String::new();
    let (mut same, total) = (0, answers.len());
    for (door, name, theirs, ours) in answers {
        let case = format!("{door} {name}");
        match known.remove(case.as_str()) {
            None if theirs == ours => same += 1,
            Some((expected, why)) if expected == ours && theirs != ours => {
                writeln!(table, "| {case} | {theirs} | {ours} | {why} |").unwrap();
            }
            known => failures.push(format!("{case}: Collector {theirs:?}, podgate {ours:?}, listed {known:?}")),
        }
    }
    let nameless = DEVIATIONS.iter().filter(|(.., why)| !SECTIONS.iter().any(|section| why.starts_with(section)));
    failures.extend(nameless.map(|(case, ..)| format!("{case}: no section is named")));
    failures.extend(known.keys().map(|case| format!("{case} is listed and was not replayed")));
    let markdown = format!(
        "## Answers of the Collector\n\n{same} of {total} recorded answers of otelcol 0.161 are the same (status, \
         content-type, grpc-status, CORS grant). The others differ on purpose:\n\n\
         | case | Collector | podgate | because |\n|---|---|---|---|\n{table}"
    );
    Replay { failures, markdown }
}

/// Status, type of the body, and whether a page of the origin may read it.
fn http_outcome(reply: &Reply) -> String {
    let content_type = reply.header("content-type").unwrap_or("-").split(';').next().unwrap();
    let granted = if reply.header("access-control-allow-origin").is_some() { ", origin allowed" } else { "" };
    format!("{} {content_type}{granted}", reply.status)
}

fn recorded_http(response: &Value) -> String {
    let headers = response["headers"].as_object().unwrap();
    let headers = headers.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()));
    let status = response["status"].as_u64().unwrap() as u16;
    http_outcome(&Reply { status, headers: headers.collect(), body: Default::default(), trailers: Vec::new() })
}

async fn replay_http(to: SocketAddr, case: &Value) -> Reply {
    let request = &case["request"];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let headers: Vec<(String, String)> =
        request["headers"].as_object().unwrap().iter().map(|(name, value)| (name.clone(), text(value))).collect();
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let body = http_body(case);
    http1(to, &text(&request["method"]), &text(&request["path"]), &headers, &body).await
}

fn http_body(case: &Value) -> Vec<u8> {
    if case["request"]["body_bytes"] == 0 {
        return Vec::new();
    }
    let json = case["request"]["headers"]["content-type"].as_str().is_some_and(|value| value.contains("json"));
    match case["name"].as_str().unwrap() {
        "ok gzip" => gzip(&spans(50)),
        "truncated protobuf" => spans(50)[..1000].to_vec(),
        "garbage protobuf" => vec![0xff; 50],
        "truncated json" => ONE_SPAN.as_bytes()[..ONE_SPAN.len() - 5].to_vec(),
        "json garbage" => b"hello".to_vec(),
        "json array" => b"[]".to_vec(),
        "json empty object" => b"{}".to_vec(),
        "truncated gzip" => gzip(&spans(200))[..500].to_vec(),
        "gzip bomb 20 MB of empty ResourceSpans" => gzip(&[0x0a, 0x00].repeat(10 << 20)),
        name if name.starts_with("gzip bomb") => gzip(&vec![0; 20 << 20]),
        "body 2 MiB over the 1 MiB limit" => vec![0; 2 << 20],
        "double gzip" => gzip(&gzip(&spans(50))),
        _ if json => ONE_SPAN.as_bytes().to_vec(),
        _ => spans(50),
    }
}

fn json_body(case: &Value) -> Vec<u8> {
    let nested = |levels: usize| {
        let value = r#"{"arrayValue":{"values":["#.repeat(levels) + r#"{"stringValue":"x"}"# + &"]}}".repeat(levels);
        ONE_SPAN.replace(r#""x""#, &format!(r#""x", "attributes": [{{"key": "a", "value": {value}}}]"#))
    };
    match case["name"].as_str().unwrap() {
        "deep nesting 200" => nested(200).into_bytes(),
        "deep nesting 5000" => nested(5000).into_bytes(),
        "invalid utf-8" => ONE_SPAN
            .as_bytes()
            .iter()
            .flat_map(|byte| match byte {
                b'x' => vec![0xff, 0xfe],
                byte => vec![*byte],
            })
            .collect(),
        _ => case["body"].as_str().unwrap().as_bytes().to_vec(),
    }
}

/// `HTTP status / grpc-status` of a recorded call; `None` where the recording tool saw nothing.
fn recorded_grpc(case: &Value) -> Option<String> {
    let seen = case["response"]["headers_and_trailers"].get(0)?.as_str()?;
    let status = seen.split(' ').nth(1)?;
    let code = seen.lines().find_map(|line| line.strip_prefix("grpc-status: "))?;
    Some(format!("{status} / {code}"))
}

async fn replay_grpc(to: SocketAddr, case: &Value) -> String {
    let mut headers = vec![("te".to_owned(), "trailers".to_owned())];
    headers.push(("content-type".to_owned(), "application/grpc".to_owned()));
    for (name, value) in case["headers"].as_object().unwrap() {
        headers.retain(|(known, _)| known != name);
        headers.extend(value.as_str().map(|value| (name.clone(), value.to_owned())));
    }
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let method = if case["name"] == "HTTP/2 GET" { "GET" } else { "POST" };
    let body = grpc_body(case["name"].as_str().unwrap());
    let mut client = H2::connect(to).await;
    let reply = client.request(method, case["path"].as_str().unwrap(), &headers, &body).await.unwrap();
    let code = reply.grpc_status().map_or("-".to_owned(), |code| code.to_string());
    format!("{} / {code}", reply.status)
}

fn grpc_body(name: &str) -> Vec<u8> {
    let good = spans(50);
    match name {
        "no message at all" | "HTTP/2 GET" => Vec::new(),
        "ok empty message" => framed(0, b""),
        "truncated protobuf" => framed(0, &good[..1000]),
        "garbage protobuf" => framed(0, &[0xff; 40]),
        "length prefix longer than body" => framed(0, &good)[..105].to_vec(),
        "half a prefix" => vec![0, 0],
        "two messages" => framed(0, &good).repeat(2),
        "prefix says 4 GiB" => [&[0, 0xff, 0xff, 0xff, 0xff][..], &[0; 10]].concat(),
        "compressed flag, no encoding header" | "gzip ok" => framed(1, &gzip(&good)),
        "gzip bomb 20 MB" => framed(1, &gzip(&vec![0; 20 << 20])),
        "bad flag byte 7" => framed(7, &good),
        "content-type application/grpc+json" => framed(0, ONE_SPAN.as_bytes()),
        "invalid utf-8 name" => framed(0, b"\x0a\x0b\x12\x09\x12\x07\x0a\x00\x2a\x03\xff\xfe\xfd"),
        "trace id 3 bytes" => framed(0, b"\x0a\x09\x12\x07\x12\x05\x0a\x03abc"),
        name if name.contains("not ") || name == "unknown encoding" => framed(1, &good),
        _ => framed(0, &good),
    }
}

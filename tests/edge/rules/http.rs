//! The rules over HTTP.

use std::io::Write;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;

use super::{SMALL, always_refuse, always_reject, one_item, two_of_three_bad, with_unknown_fields};
use crate::edge::conformance::{Outcome, want};
use crate::edge::harness::{BOTH, H2, Reply, Running, gzip as gzipped, http1, spans};

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json");
const ONE_SPAN: &str = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","name":"x","future":{"a":[1]}}]}]}]}"#;

async fn post(running: &Running, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    http1(running.http(), "POST", "/v1/traces", headers, body).await
}

async fn answer_to(headers: &[(&str, &str)], body: &[u8]) -> Reply {
    post(&Running::start(BOTH).await, headers, body).await
}

/// More than the Collector takes by default, less than the specification's 64 MiB: one large unknown field.
pub fn big() -> Vec<u8> {
    super::field(15, &vec![b'x'; 60 << 20])
}

/// The body in every encoding beside identity and gzip, with its name.
pub fn encoded(body: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    zlib.write_all(body).unwrap();
    let mut raw = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    raw.write_all(body).unwrap();
    let mut frames = snap::write::FrameEncoder::new(Vec::new());
    frames.write_all(body).unwrap();
    vec![
        ("zstd", zstd::encode_all(body, 1).unwrap()),
        ("deflate", zlib.finish().unwrap()),
        ("deflate", raw.finish().unwrap()),
        ("snappy", snap::raw::Encoder::new().compress_vec(body).unwrap()),
        ("x-snappy-framed", frames.into_inner().unwrap()),
    ]
}

pub async fn identity() -> Outcome {
    let reply = answer_to(&[PROTOBUF, ("content-encoding", "identity")], &spans(1)).await;
    want(reply.status == 200, reply)
}

pub async fn gzip() -> Outcome {
    let running = Running::start(BOTH).await;
    let two_members = [gzipped(&spans(60)), gzipped(&spans(40))].concat();
    let reply = post(&running, &[PROTOBUF, ("content-encoding", "gzip")], &two_members).await;
    want(reply.status == 200 && running.sink.items() == 100, reply)
}

pub async fn other_encodings() -> Outcome {
    let running = Running::start(BOTH).await;
    for (name, body) in encoded(&spans(10)) {
        let reply = post(&running, &[PROTOBUF, ("content-encoding", name)], &body).await;
        want(reply.status == 200, (name, reply))?;
    }
    want(running.sink.items() == 50, running.sink.items())
}

pub async fn too_large() -> Outcome {
    let running = Running::start(SMALL).await;
    let body = vec![0; (1 << 20) + 1];
    let reply = http1(running.http(), "POST", "/custom/traces", &[PROTOBUF], &body).await;
    want(reply.status == 413 && reply.header("retry-after").is_none(), reply)
}

pub async fn too_large_inflated() -> Outcome {
    let running = Running::start(SMALL).await;
    let body = gzipped(&vec![0; (1 << 20) + 1]);
    let headers = [PROTOBUF, ("content-encoding", "gzip")];
    let reply = http1(running.http(), "POST", "/custom/traces", &headers, &body).await;
    want(reply.status == 413 && reply.header("retry-after").is_none(), reply)
}

pub async fn default_limit() -> Outcome {
    let reply = answer_to(&[PROTOBUF], &big()).await;
    want(reply.status == 200, reply)
}

pub async fn short_answers() -> Outcome {
    let running = Running::start(BOTH).await;
    always_reject(&running, "x".repeat(8 << 20));
    let reply = post(&running, &[PROTOBUF], &spans(1)).await;
    want(reply.status == 500 && reply.body.len() < 4096, reply.body.len())
}

pub async fn full_success() -> Outcome {
    let reply = answer_to(&[PROTOBUF], &spans(1)).await;
    want(reply.body.is_empty() && reply.header("content-length") == Some("0"), reply)?;
    let reply = answer_to(&[JSON], ONE_SPAN.as_bytes()).await;
    want(&reply.body[..] == b"{}", reply)
}

pub async fn empty_request() -> Outcome {
    let reply = answer_to(&[PROTOBUF], b"").await;
    want(reply.status == 200, reply)?;
    let reply = answer_to(&[JSON], b"{}").await;
    want(reply.status == 200, reply)
}

pub async fn partial_success() -> Outcome {
    let running = Running::start(BOTH).await;
    let reply = post(&running, &[PROTOBUF], &two_of_three_bad()).await;
    let response = ExportTraceServiceResponse::decode(reply.body.clone()).unwrap();
    let partial = response.partial_success.unwrap_or_default();
    let told = partial.rejected_spans == 2 && !partial.error_message.is_empty();
    want(told && reply.status == 200 && running.sink.items() == 1, (reply, partial))
}

pub async fn final_codes() -> Outcome {
    let running = Running::start(BOTH).await;
    always_reject(&running, "the next hop said no".into());
    type Case<'a> = (&'a [(&'a str, &'a str)], Vec<u8>, u16);
    let cases: [Case<'_>; 4] = [
        (&[PROTOBUF], spans(1), 500),
        (&[PROTOBUF], b"\x07".to_vec(), 400),
        (&[PROTOBUF, ("content-encoding", "br")], spans(1), 415),
        (&[], spans(1), 415),
    ];
    for (headers, body, status) in cases {
        let reply = post(&running, headers, &body).await;
        want(reply.status == status && reply.header("retry-after").is_none(), reply)?;
    }
    Ok(())
}

pub async fn overload() -> Outcome {
    let running = Running::start(BOTH).await;
    always_refuse(&running);
    for (content_type, body) in [(PROTOBUF, spans(1)), (JSON, ONE_SPAN.as_bytes().to_vec())] {
        let reply = post(&running, &[content_type], &body).await;
        let status = reply.rpc_status().unwrap_or_default();
        let same = reply.header("retry-after") == Some("3") && status.retry_seconds() == Some(3);
        want(reply.status == 503 && status.code == 14 && same, (reply, status))?;
    }
    Ok(())
}

pub async fn undecodable() -> Outcome {
    let half = ONE_SPAN.as_bytes()[..40].to_vec();
    for (content_type, body) in [(PROTOBUF, b"\x0a\x05ab".to_vec()), (JSON, half), (JSON, b"[]".to_vec())] {
        let reply = answer_to(&[content_type], &body).await;
        let status = reply.rpc_status().unwrap_or_default();
        want(reply.status == 400 && status.code == 3 && status.has_bad_request(), (reply, status))?;
    }
    let reply = answer_to(&[PROTOBUF, ("content-encoding", "gzip")], b"not gzip").await;
    want(reply.status == 400, reply)
}

pub async fn status_bodies() -> Outcome {
    let running = Running::start(SMALL).await;
    always_refuse(&running);
    for content_type in [PROTOBUF, JSON] {
        let good = if content_type == JSON { ONE_SPAN.as_bytes().to_vec() } else { spans(1) };
        let gzip = ("content-encoding", "br");
        type Case<'a> = (&'a str, &'a str, Vec<(&'a str, &'a str)>, Vec<u8>, u16);
        let cases: [Case<'_>; 6] = [
            ("POST", "/custom/traces", vec![content_type], b"\x07".to_vec(), 400),
            ("POST", "/v1/traces", vec![content_type], good.clone(), 404),
            ("PUT", "/custom/traces", vec![content_type], good.clone(), 405),
            ("POST", "/custom/traces", vec![content_type], vec![b' '; (1 << 20) + 1], 413),
            ("POST", "/custom/traces", vec![content_type, gzip], good.clone(), 415),
            ("POST", "/custom/traces", vec![content_type], good, 503),
        ];
        for (method, path, headers, body, expected) in cases {
            let reply = http1(running.http(), method, path, &headers, &body).await;
            let same = reply.header("content-type") == Some(content_type.1);
            let told = reply.rpc_status().is_some_and(|status| !status.message.is_empty());
            want(reply.status == expected && same && told, (expected, reply))?;
        }
    }
    Ok(())
}

pub async fn content_type() -> Outcome {
    for (sent, body) in [
        ("application/x-protobuf", spans(1)),
        ("Application/X-Protobuf; v=1", spans(1)),
        ("application/json; charset=utf-8", ONE_SPAN.as_bytes().to_vec()),
    ] {
        let reply = answer_to(&[("content-type", sent)], &body).await;
        let essence = sent.split(';').next().unwrap().to_ascii_lowercase();
        want(reply.status == 200 && reply.header("content-type") == Some(&essence), reply)?;
    }
    Ok(())
}

pub async fn both_notations() -> Outcome {
    let running = Running::start(BOTH).await;
    want(post(&running, &[PROTOBUF], &spans(1)).await.status == 200, "protobuf")?;
    want(post(&running, &[JSON], ONE_SPAN.as_bytes()).await.status == 200, "JSON")?;
    want(running.sink.items() == 2, running.sink.items())
}

pub async fn signals() -> Outcome {
    let running = Running::start(BOTH).await;
    for path in ["/v1/traces", "/v1/metrics", "/v1/logs", "/v1development/profiles"] {
        let reply = http1(running.http(), "POST", path, &[PROTOBUF], &one_item()).await;
        want(reply.status == 200, (path, reply))?;
    }
    want(running.sink.payloads.lock().unwrap().len() == 4, "four payloads")
}

pub async fn other_paths() -> Outcome {
    let running = Running::start(SMALL).await;
    let reply = http1(running.http(), "POST", "/custom/traces", &[PROTOBUF], &spans(1)).await;
    want(reply.status == 200, reply)
}

pub async fn either_port() -> Outcome {
    let running = Running::start(BOTH).await;
    for address in [running.grpc(), running.http()] {
        let reply = http1(address, "POST", "/v1/traces", &[PROTOBUF], &spans(1)).await;
        want(reply.status == 200, reply)?;
        let mut client = H2::connect(address).await;
        let reply = client.request("POST", "/v1/traces", &[PROTOBUF], &spans(1)).await.unwrap();
        want(reply.status == 200, reply)?;
    }
    Ok(())
}

pub async fn compressed_answers() -> Outcome {
    let running = Running::start(BOTH).await;
    always_reject(&running, "x".repeat(2000));
    let reply = post(&running, &[PROTOBUF, ("accept-encoding", "gzip")], &spans(1)).await;
    want(reply.header("content-encoding") == Some("gzip") && reply.body.starts_with(&[0x1f, 0x8b]), reply)?;
    let reply = post(&running, &[PROTOBUF], &spans(1)).await;
    want(reply.header("content-encoding").is_none(), reply)
}

pub async fn unknown_fields() -> Outcome {
    let running = Running::start(BOTH).await;
    let reply = post(&running, &[PROTOBUF], &with_unknown_fields()).await;
    want(reply.body.is_empty() && running.sink.items() == 1, reply)?;
    let reply = post(&running, &[JSON], ONE_SPAN.as_bytes()).await;
    want(&reply.body[..] == b"{}", reply)
}

//! The rules over gRPC.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;

use super::{SMALL, always_refuse, always_reject, one_item, two_of_three_bad, with_unknown_fields};
use crate::edge::conformance::{Outcome, want};
use crate::edge::harness::{BOTH, H2, Reply, Running, TRACES, framed, gzip as gzipped, spans};

async fn call(running: &Running, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    H2::connect(running.grpc()).await.grpc(TRACES, headers, body).await.unwrap()
}

/// The answer to one call of a receiver of its own.
async fn answer_to(headers: &[(&str, &str)], body: &[u8]) -> Reply {
    call(&Running::start(BOTH).await, headers, body).await
}

pub async fn identity() -> Outcome {
    let reply = answer_to(&[("grpc-encoding", "identity")], &framed(0, &spans(1))).await;
    want(reply.grpc_status() == Some(0), reply)
}

pub async fn gzip() -> Outcome {
    let running = Running::start(BOTH).await;
    let reply = call(&running, &[("grpc-encoding", "gzip")], &framed(1, &gzipped(&spans(100)))).await;
    want(reply.grpc_status() == Some(0) && running.sink.items() == 100, reply)
}

pub async fn other_encodings() -> Outcome {
    let running = Running::start(BOTH).await;
    for (name, body) in super::http::encoded(&spans(10)) {
        let reply = call(&running, &[("grpc-encoding", name)], &framed(1, &body)).await;
        want(reply.grpc_status() == Some(0), (name, reply))?;
    }
    want(running.sink.items() == 50, running.sink.items())
}

fn is_final_over_limit(reply: &Reply) -> Outcome {
    let status = reply.rpc_status();
    let hinted = status.as_ref().is_none_or(|status| status.retry_seconds().is_some());
    want(reply.grpc_status() == Some(8) && !hinted, reply)
}

pub async fn too_large() -> Outcome {
    let running = Running::start(SMALL).await;
    is_final_over_limit(&call(&running, &[], &framed(0, &vec![0; (1 << 20) + 1])).await)?;
    let mut lying = vec![0];
    lying.extend(u32::MAX.to_be_bytes());
    is_final_over_limit(&call(&running, &[], &lying).await)
}

pub async fn too_large_inflated() -> Outcome {
    let running = Running::start(SMALL).await;
    let body = framed(1, &gzipped(&vec![0; (1 << 20) + 1]));
    is_final_over_limit(&call(&running, &[("grpc-encoding", "gzip")], &body).await)
}

pub async fn default_limit() -> Outcome {
    let reply = answer_to(&[], &framed(0, &super::http::big())).await;
    want(reply.grpc_status() == Some(0), reply)
}

pub async fn short_answers() -> Outcome {
    let running = Running::start(BOTH).await;
    always_reject(&running, "x".repeat(8 << 20));
    let reply = call(&running, &[], &framed(0, &spans(1))).await;
    let bytes: usize = reply.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    want(reply.grpc_status() == Some(13) && bytes < 8192 && reply.body.is_empty(), bytes)
}

pub async fn full_success() -> Outcome {
    let reply = answer_to(&[], &framed(0, &spans(1))).await;
    want(reply.body[..] == [0, 0, 0, 0, 0], reply)
}

pub async fn empty_request() -> Outcome {
    let reply = answer_to(&[], &framed(0, b"")).await;
    want(reply.grpc_status() == Some(0), reply)
}

pub async fn partial_success() -> Outcome {
    let running = Running::start(BOTH).await;
    let reply = call(&running, &[], &framed(0, &two_of_three_bad())).await;
    let response = ExportTraceServiceResponse::decode(&reply.body[5..]).unwrap();
    let partial = response.partial_success.unwrap_or_default();
    let told = partial.rejected_spans == 2 && !partial.error_message.is_empty();
    want(told && reply.grpc_status() == Some(0) && running.sink.items() == 1, (reply, partial))
}

pub async fn final_codes() -> Outcome {
    let running = Running::start(BOTH).await;
    always_reject(&running, "the next hop said no".into());
    type Case<'a> = (&'a [(&'a str, &'a str)], Vec<u8>, u32);
    let cases: [Case<'_>; 3] = [
        (&[], framed(0, &spans(1)), 13),
        (&[], framed(0, b"\x07"), 3),
        (&[("grpc-encoding", "br")], framed(1, b"x"), 12),
    ];
    for (headers, body, code) in cases {
        let reply = call(&running, headers, &body).await;
        let hint = reply.rpc_status().and_then(|status| status.retry_seconds());
        want(reply.grpc_status() == Some(code) && hint.is_none(), reply)?;
    }
    Ok(())
}

pub async fn overload() -> Outcome {
    let running = Running::start(BOTH).await;
    always_refuse(&running);
    let reply = call(&running, &[], &framed(0, &spans(1))).await;
    let status = reply.rpc_status().unwrap_or_default();
    want(reply.grpc_status() == Some(14) && status.retry_seconds() == Some(3), (reply, status))
}

pub async fn undecodable() -> Outcome {
    for body in [framed(0, b"\x0a\x05ab"), framed(7, b""), framed(1, b""), framed(0, b"")[..3].to_vec()] {
        let reply = answer_to(&[], &body).await;
        let status = reply.rpc_status().unwrap_or_default();
        want(reply.grpc_status() == Some(3) && status.has_bad_request(), (body, reply))?;
    }
    Ok(())
}

pub async fn status_bodies() -> Outcome {
    let running = Running::start(BOTH).await;
    always_refuse(&running);
    let mut client = H2::connect(running.grpc()).await;
    for (path, body) in [(TRACES, framed(0, &spans(1))), (TRACES, framed(0, b"\x07")), ("/a.B/C", framed(0, b""))] {
        let reply = client.grpc(path, &[], &body).await.unwrap();
        let status = reply.rpc_status().unwrap_or_default();
        let same = status.code as u32 == reply.grpc_status().unwrap() && !status.message.is_empty();
        want(same && reply.status == 200, reply)?;
    }
    Ok(())
}

pub async fn content_type() -> Outcome {
    for content_type in ["application/grpc", "application/grpc+proto"] {
        let reply = answer_to(&[("content-type", content_type)], &framed(0, &spans(1))).await;
        want(reply.header("content-type") == Some(content_type) && reply.grpc_status() == Some(0), reply)?;
    }
    Ok(())
}

pub async fn signals() -> Outcome {
    let running = Running::start(BOTH).await;
    let mut client = H2::connect(running.grpc()).await;
    for service in [
        "trace.v1.TraceService",
        "metrics.v1.MetricsService",
        "logs.v1.LogsService",
        "profiles.v1development.ProfilesService",
    ] {
        let path = format!("/opentelemetry.proto.collector.{service}/Export");
        let reply = client.grpc(&path, &[], &framed(0, &one_item())).await.unwrap();
        want(reply.grpc_status() == Some(0), (service, reply))?;
    }
    want(running.sink.payloads.lock().unwrap().len() == 4, "four payloads")
}

pub async fn either_port() -> Outcome {
    let running = Running::start(BOTH).await;
    for address in [running.grpc(), running.http()] {
        let reply = H2::connect(address).await.grpc(TRACES, &[], &framed(0, &spans(1))).await.unwrap();
        want(reply.grpc_status() == Some(0), reply)?;
    }
    Ok(())
}

pub async fn unknown_fields() -> Outcome {
    let running = Running::start(BOTH).await;
    let reply = call(&running, &[], &framed(0, &with_unknown_fields())).await;
    want(reply.body[..] == [0; 5] && running.sink.items() == 1, reply)
}

//! `google.rpc.Status`: what every failure body and every gRPC error detail is (OTLP specification, "Failures").
//!
//! Written by hand, because three messages of two fields need no generated code. Which failure gets which code is not
//! decided here.

use bytes::Bytes;

use crate::net::client::grpc::Code;
use crate::otlp::fields::protobuf::{any as any_fields, duration};
use crate::otlp::fields::rpc::{bad_request, bad_request_field_violation, retry_info, status};
use crate::otlp::write;

/// Longer messages are cut: an answer must stay small (OTLP specification, response limits).
const MESSAGE_BYTES_MAX: usize = 1024;
const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";
const BAD_REQUEST: &str = "type.googleapis.com/google.rpc.BadRequest";

/// What a failed request is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub code: Code,
    pub message: String,
    /// Whole seconds, at least one; only on answers that may be retried.
    pub retry_after_seconds: Option<u64>,
}

impl Status {
    pub fn new(code: Code, message: impl Into<String>) -> Status {
        Status { code, message: cut(message.into()), retry_after_seconds: None }
    }

    /// Protobuf, as gRPC details and as the body of application/x-protobuf.
    pub fn to_wire(&self) -> Bytes {
        let mut out = Vec::with_capacity(64 + 2 * self.message.len()); // granted: an answer of ours
        write::key(&mut out, status::CODE, write::VARINT);
        write::varint(&mut out, u64::from(self.code.0));
        write::bytes(&mut out, status::MESSAGE, self.message.as_bytes());
        if let Some((type_url, value)) = self.detail() {
            let mut any = Vec::with_capacity(type_url.len() + value.len() + 8); // granted: an answer of ours
            write::bytes(&mut any, any_fields::TYPE_URL, type_url.as_bytes());
            write::bytes(&mut any, any_fields::VALUE, &value);
            write::bytes(&mut out, status::DETAILS, &any);
        }
        Bytes::from(out)
    }

    fn detail(&self) -> Option<(&'static str, Vec<u8>)> {
        let mut value = Vec::new();
        if let Some(seconds) = self.retry_after_seconds {
            let mut delay = Vec::new();
            write::key(&mut delay, duration::SECONDS, write::VARINT);
            write::varint(&mut delay, seconds);
            write::bytes(&mut value, retry_info::RETRY_DELAY, &delay);
            return Some((RETRY_INFO, value));
        }
        if self.code != Code::INVALID_ARGUMENT {
            return None;
        }
        let mut violation = Vec::new();
        write::bytes(&mut violation, bad_request_field_violation::DESCRIPTION, self.message.as_bytes());
        write::bytes(&mut value, bad_request::FIELD_VIOLATIONS, &violation);
        Some((BAD_REQUEST, value))
    }

    /// The protobuf JSON mapping, the body of application/json.
    pub fn to_json(&self) -> Bytes {
        let mut status = serde_json::json!({ "code": self.code.0, "message": self.message });
        if let Some(seconds) = self.retry_after_seconds {
            status["details"] = serde_json::json!([{ "@type": RETRY_INFO, "retryDelay": format!("{seconds}s") }]);
        } else if self.code == Code::INVALID_ARGUMENT {
            let violations = [serde_json::json!({ "description": self.message })];
            status["details"] = serde_json::json!([{ "@type": BAD_REQUEST, "fieldViolations": violations }]);
        }
        Bytes::from(status.to_string())
    }
}

fn cut(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        let end = (0..=MESSAGE_BYTES_MAX).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
        message.truncate(end);
    }
    message
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[derive(Clone, PartialEq, Message)]
    struct AnyOracle {
        #[prost(string, tag = "1")]
        type_url: String,
        #[prost(bytes = "vec", tag = "2")]
        value: Vec<u8>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct StatusOracle {
        #[prost(int32, tag = "1")]
        code: i32,
        #[prost(string, tag = "2")]
        message: String,
        #[prost(message, repeated, tag = "3")]
        details: Vec<AnyOracle>,
    }

    #[test]
    fn protobuf_reads_back_with_an_independent_decoder() {
        let mut status = Status::new(Code::UNAVAILABLE, "queue is full");
        status.retry_after_seconds = Some(300);
        let read = StatusOracle::decode(status.to_wire()).unwrap();
        assert_eq!((read.code, read.message.as_str()), (14, "queue is full"));
        assert_eq!(read.details[0].type_url, RETRY_INFO);
        // RetryInfo { retry_delay = 1: Duration { seconds = 1: 300 } }
        assert_eq!(read.details[0].value, [0x0a, 0x03, 0x08, 0xac, 0x02]);
        let bad = StatusOracle::decode(Status::new(Code::INVALID_ARGUMENT, "no").to_wire()).unwrap();
        assert_eq!(bad.details[0].type_url, BAD_REQUEST);
        assert_eq!(bad.details[0].value, [0x0a, 0x04, 0x12, 0x02, b'n', b'o']);
    }

    #[test]
    fn json_follows_the_protobuf_mapping() {
        let mut status = Status::new(Code::UNAVAILABLE, "a \"quoted\"\u{1} word");
        status.retry_after_seconds = Some(2);
        let json: serde_json::Value = serde_json::from_slice(&status.to_json()).unwrap();
        assert_eq!(json["details"][0]["retryDelay"], "2s");
        assert_eq!(json["message"], "a \"quoted\"\u{1} word");
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let status = Status::new(Code::INTERNAL, "\u{e4}".repeat(1000) + "x");
        assert_eq!(status.message.len(), 1024);
        assert_eq!(Status::new(Code::INTERNAL, format!("x{}", "\u{e4}".repeat(1000))).message.len(), 1023);
    }
}

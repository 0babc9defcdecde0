//! gRPC unary calls over HTTP/2: one length-prefixed message each way, the status in the trailers.
//!
//! The framing is ours (gRPC over HTTP/2 protocol, PROTOCOL-HTTP2.md): five bytes of prefix, then the message's slices.
//! Which codes may be retried is the caller's business.

use std::borrow::Cow;
use std::time::Duration;

use ::http::header::{CONTENT_TYPE, HeaderName, HeaderValue, TE, USER_AGENT as AGENT};
use ::http::uri::PathAndQuery;
use ::http::{HeaderMap, Method};
use bytes::{BufMut, Bytes, BytesMut};
use tokio::time::Instant;

use crate::net::client::answer::AnswerBounds;
use crate::net::client::chunks::Chunks;
use crate::net::client::compress::{Compression, inflate_answer};
use crate::net::client::failure::CallFailure;
use crate::net::client::http::text;
use crate::net::client::reply::Reply;
use crate::net::client::{Client, ClientCall, USER_AGENT};
use crate::otlp::fields::rpc::code;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");
const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const PREFIX_BYTES: usize = 5;

/// A gRPC status code by its number; servers may send numbers nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(pub u32);

impl Code {
    pub const OK: Code = Code(code::OK);
    pub const CANCELLED: Code = Code(code::CANCELLED);
    pub const UNKNOWN: Code = Code(code::UNKNOWN);
    pub const INVALID_ARGUMENT: Code = Code(code::INVALID_ARGUMENT);
    pub const DEADLINE_EXCEEDED: Code = Code(code::DEADLINE_EXCEEDED);
    pub const NOT_FOUND: Code = Code(code::NOT_FOUND);
    pub const PERMISSION_DENIED: Code = Code(code::PERMISSION_DENIED);
    pub const RESOURCE_EXHAUSTED: Code = Code(code::RESOURCE_EXHAUSTED);
    pub const ABORTED: Code = Code(code::ABORTED);
    pub const OUT_OF_RANGE: Code = Code(code::OUT_OF_RANGE);
    pub const UNIMPLEMENTED: Code = Code(code::UNIMPLEMENTED);
    pub const INTERNAL: Code = Code(code::INTERNAL);
    pub const UNAVAILABLE: Code = Code(code::UNAVAILABLE);
    pub const DATA_LOSS: Code = Code(code::DATA_LOSS);
    pub const UNAUTHENTICATED: Code = Code(code::UNAUTHENTICATED);

    /// The name as the gRPC documentation writes it.
    pub fn name(self) -> &'static str {
        const NAMES: [&str; 17] = [
            "OK",
            "CANCELLED",
            "UNKNOWN",
            "INVALID_ARGUMENT",
            "DEADLINE_EXCEEDED",
            "NOT_FOUND",
            "ALREADY_EXISTS",
            "PERMISSION_DENIED",
            "RESOURCE_EXHAUSTED",
            "FAILED_PRECONDITION",
            "ABORTED",
            "OUT_OF_RANGE",
            "UNIMPLEMENTED",
            "INTERNAL",
            "UNAVAILABLE",
            "DATA_LOSS",
            "UNAUTHENTICATED",
        ];
        NAMES.get(self.0 as usize).copied().unwrap_or("UNKNOWN_CODE")
    }

    /// What an answer without grpc-status means (http-grpc-status-mapping.md).
    fn of_http(status: u16) -> Code {
        match status {
            400 => Code::INTERNAL,
            401 => Code::UNAUTHENTICATED,
            403 => Code::PERMISSION_DENIED,
            404 => Code::UNIMPLEMENTED,
            429 | 502 | 503 | 504 => Code::UNAVAILABLE,
            _ => Code::UNKNOWN,
        }
    }
}

/// A complete answer to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcReply {
    pub code: Code,
    /// The server's words; empty when it has none.
    pub message: String,
    /// `google.rpc.Status` with its details, undecoded.
    pub details: Option<Bytes>,
    /// gRPC's own retry hint (gRFC A6); a negative one means "do not retry" and is none.
    pub pushback: Option<Duration>,
    /// The response message; empty unless `code` is OK.
    pub body: Bytes,
}

pub type GrpcAnswer = Result<GrpcReply, CallFailure>;

/// A method with what is the same for all its calls, made once.
#[derive(Clone, Debug)]
pub struct GrpcMethod {
    path: PathAndQuery,
    headers: HeaderMap,
    compression: Compression,
}

impl GrpcMethod {
    /// `path` is `/package.Service/Method`.
    pub fn new(path: &'static str, compression: Compression, mut headers: HeaderMap) -> GrpcMethod {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.entry(AGENT).or_insert(HeaderValue::from_static(USER_AGENT));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity,gzip"));
        if let Some(token) = compression.token() {
            headers.insert(ENCODING, HeaderValue::from_static(token));
        }
        GrpcMethod { path: PathAndQuery::from_static(path), headers, compression }
    }

    /// The same with headers of one call, which go before its own.
    pub fn with(&self, headers: HeaderMap) -> GrpcMethod {
        let mut method = self.clone();
        replace(&mut method.headers, headers);
        method
    }
}

impl Client {
    /// Calls the method with one message, which `parts` joined are, and reads the answer with its trailers before the
    /// deadline.
    pub async fn grpc_unary(&self, method: &GrpcMethod, parts: Vec<Bytes>, deadline: Instant) -> GrpcAnswer {
        let packed = method.compression.pack(parts).await;
        let packed = packed.map_err(|error| CallFailure::Setup(format!("compression failed: {error}")))?;
        let request = ClientCall {
            method: Method::POST,
            path: method.path.clone(),
            headers: Cow::Borrowed(&method.headers),
            header: Some((TIMEOUT, timeout_value(deadline.saturating_duration_since(Instant::now())))),
            body: frame(packed, method.compression != Compression::None)?,
            states_length: false,
        };
        let bounds = self.answer_bounds();
        let reply = self.exchange(&request, &bounds, deadline).await?;
        read_answer(reply, &bounds)
    }
}

/// Puts `headers` in the place of those of the same names.
pub fn replace(all: &mut HeaderMap, headers: HeaderMap) {
    for name in headers.keys() {
        all.remove(name);
    }
    let mut last = None;
    for (name, value) in headers {
        // A name stands with the first of its values alone.
        last = name.or(last);
        if let Some(name) = &last {
            all.append(name.clone(), value);
        }
    }
}

/// `grpc-timeout` has at most eight digits.
fn timeout_value(left: Duration) -> HeaderValue {
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(left.as_millis().clamp(1, 99_999_999) as u64).as_bytes();
    let mut text = [b'm'; 9];
    text[..digits.len()].copy_from_slice(digits);
    HeaderValue::from_bytes(&text[..=digits.len()]).unwrap_or(HeaderValue::from_static("5S"))
}

fn frame(parts: Vec<Bytes>, compressed: bool) -> Result<Chunks, CallFailure> {
    let size: usize = parts.iter().map(Bytes::len).sum();
    let size =
        u32::try_from(size).map_err(|_| CallFailure::Setup(format!("a message of {size} bytes is beyond gRPC")))?;
    let mut prefix = BytesMut::with_capacity(PREFIX_BYTES); // granted: five bytes
    prefix.put_u8(u8::from(compressed));
    prefix.put_u32(size);
    Ok(Chunks::new(std::iter::once(prefix.freeze()).chain(parts)))
}

fn read_answer(reply: Reply, bounds: &AnswerBounds) -> GrpcAnswer {
    // A call that fails at once has its status in the headers ("trailers-only").
    let status_in = if reply.trailers.contains_key(STATUS) { &reply.trailers } else { &reply.headers };
    let written = text(status_in, &STATUS);
    let (code, message) = match written.parse() {
        Ok(code) => (Code(code), percent_decode(status_in.get(MESSAGE).map_or(&[][..], HeaderValue::as_bytes))),
        Err(_) => {
            let kind = text(&reply.headers, &CONTENT_TYPE);
            let message = format!("the answer is HTTP {} with content type {kind:?}, not gRPC", reply.status);
            (Code::of_http(reply.status), message)
        }
    };
    let body =
        if code == Code::OK { unframe(reply.body, text(&reply.headers, &ENCODING), bounds)? } else { Bytes::new() };
    Ok(GrpcReply {
        code,
        message,
        details: status_in.get(DETAILS).and_then(|value| base64(value.as_bytes())).map(Bytes::from),
        pushback: text(status_in, &PUSHBACK).parse().ok().map(Duration::from_millis),
        body,
    })
}

fn unframe(mut body: Bytes, encoding: &str, bounds: &AnswerBounds) -> Result<Bytes, CallFailure> {
    if body.is_empty() {
        // Some proxies answer OK without any message; the status is what counts.
        return Ok(body);
    }
    if body.len() < PREFIX_BYTES {
        return Err(CallFailure::Malformed("its message ends within the prefix".to_owned()));
    }
    let prefix = body.split_to(PREFIX_BYTES);
    let claimed = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
    if claimed != body.len() {
        return Err(CallFailure::Malformed(format!("its message claims {claimed} bytes and has {}", body.len())));
    }
    match prefix[0] {
        0 => Ok(body),
        1 if encoding.is_empty() || encoding == "identity" => {
            Err(CallFailure::Malformed("its message is marked compressed without a grpc-encoding".to_owned()))
        }
        1 => inflate_answer(encoding, body, bounds),
        flag => Err(CallFailure::Malformed(format!("its compression flag is {flag}"))),
    }
}

/// `grpc-message` is percent-encoded; what is not valid stays as it stands.
fn percent_decode(text: &[u8]) -> String {
    let mut decoded = Vec::with_capacity(text.len()); // granted: a header
    let mut at = 0;
    while at < text.len() {
        let hex = (text[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match hex.and_then(|hex| std::str::from_utf8(hex).ok()).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(text[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// Base64 with or without padding; `None` for anything else.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    let mut decoded = Vec::with_capacity(text.len() * 3 / 4); // granted: a header
    let (mut bits, mut held) = (0u32, 0u32);
    for letter in text {
        let six = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        held = held << 6 | u32::from(six);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            decoded.push((held >> bits) as u8);
            held &= (1 << bits) - 1;
        }
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: AnswerBounds = AnswerBounds { limit: 100, certain: 100, budget: None };

    fn reply(status: u16, headers: &[(&'static str, &'static str)], body: &'static [u8]) -> Reply {
        let mut trailers = HeaderMap::new();
        for (name, value) in headers {
            trailers.insert(*name, HeaderValue::from_static(value));
        }
        Reply { status, headers: HeaderMap::new(), body: Bytes::from_static(body), trailers }
    }

    #[test]
    fn a_status_is_read_with_its_message_details_and_pushback() {
        let headers = [
            ("grpc-status", "14"),
            ("grpc-message", "queue%20full%2"),
            ("grpc-status-details-bin", "CA4SBG1vcmU"),
            ("grpc-retry-pushback-ms", "250"),
        ];
        let understood = read_answer(reply(200, &headers, b""), &BOUNDS).unwrap();
        assert_eq!((understood.code, understood.message.as_str()), (Code::UNAVAILABLE, "queue full%2"));
        assert_eq!(understood.details.as_deref(), Some(&b"\x08\x0e\x12\x04more"[..]));
        assert_eq!(understood.pushback, Some(Duration::from_millis(250)));
    }

    #[test]
    fn an_answer_that_is_not_grpc_gets_the_code_of_its_http_status() {
        for (status, code) in [(404, 12), (401, 16), (403, 7), (503, 14), (500, 2), (200, 2)] {
            let understood = read_answer(reply(status, &[], b"<html>"), &BOUNDS).unwrap();
            assert_eq!(understood.code, Code(code), "{status}");
            assert!(understood.message.contains(&status.to_string()));
        }
    }

    #[test]
    fn a_message_that_is_not_framed_is_malformed_and_never_panics() {
        let ok = [("grpc-status", "0")];
        assert_eq!(read_answer(reply(200, &ok, b"\0\0\0\0\x02ab"), &BOUNDS).unwrap().body, "ab");
        for body in [&b"\0\0\0"[..], b"\0\0\0\0\x03ab", b"\x07\0\0\0\0", b"\x01\0\0\0\x02ab", b"\0\xff\xff\xff\xff"] {
            assert!(read_answer(reply(200, &ok, body), &BOUNDS).is_err(), "{body:?}");
        }
    }

    #[test]
    fn base64_is_read_padded_or_not_and_refused_when_wrong() {
        for (text, bytes) in [("", &b""[..]), ("Zg==", b"f"), ("Zg", b"f"), ("Zm9v", b"foo"), ("-_-_", b"\xfb\xff\xbf")]
        {
            assert_eq!(base64(text.as_bytes()).as_deref(), Some(bytes), "{text}");
        }
        assert_eq!(base64(b"Zm9\n"), None);
    }

    #[test]
    fn the_timeout_header_never_has_more_than_eight_digits() {
        assert_eq!(timeout_value(Duration::from_secs(5)), "5000m");
        assert_eq!(timeout_value(Duration::ZERO), "1m");
        assert_eq!(timeout_value(Duration::MAX), "99999999m");
    }
}

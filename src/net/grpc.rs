//! gRPC's unary framing on the server side: the 5-byte prefix, timeouts, percent-encoded messages, trailers.
//!
//! Ours, because a message must be gathered once into one buffer, and because ready-made servers answer an oversized
//! message with a retryable code (gRPC over HTTP/2 protocol, doc/PROTOCOL-HTTP2.md). It must not know OTLP.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::Stream;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Response};
use http_body::Frame;

use crate::core::data::budget::Ticket;
use crate::net::client::grpc::Code;
use crate::net::compression::Encoding;
use crate::net::server::answer::AnswerBody;
use crate::net::server::body::{BodyError, Gathered, RequestBody};
use crate::net::status::Status;

pub const PREFIX_BYTES: usize = 5;
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// Why a message could not be read off a call.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("the body is not exactly one length-prefixed message")]
    Framing,
    #[error("compressed flag {0} does not exist")]
    Flag(u8),
    #[error("the compressed flag is set without grpc-encoding")]
    NoEncoding,
}

/// One message with its compressed flag.
#[derive(Debug)]
pub struct GrpcMessage {
    pub compressed: bool,
    pub body: Gathered,
}

/// The single message of a unary call, at most `limit` bytes as sent.
pub async fn read_message(body: &mut RequestBody, limit: u64) -> Result<GrpcMessage, FrameError> {
    let mut compressed = false;
    let read = body.gather_framed(|[flag, length @ ..]: [u8; PREFIX_BYTES]| {
        compressed = match flag {
            0 => false,
            1 => true,
            other => return Err(FrameError::Flag(other)),
        };
        let length = u64::from(u32::from_be_bytes(length));
        if length > limit {
            return Err(FrameError::Body(BodyError::TooLarge { limit }));
        }
        Ok(length)
    });
    let body = read.await?.ok_or(FrameError::Framing)?;
    Ok(GrpcMessage { compressed, body })
}

/// As [`read_message`], for a message so short that no ticket pays for it: what asks after our health is read while memory
/// is short, too.
pub async fn read_short_message(body: &mut RequestBody, limit: usize) -> Result<GrpcMessage, FrameError> {
    let _unsent = body.connection().clone().unsent();
    let mut framed = BytesMut::new();
    while let Some(chunk) = body.chunk().await? {
        if framed.len() + chunk.len() > PREFIX_BYTES + limit {
            return Err(FrameError::Body(BodyError::TooLarge { limit: limit as u64 }));
        }
        framed.extend_from_slice(&chunk); // granted: at most `limit` bytes
    }
    let (&[flag, ref length @ ..], message) = framed.split_first_chunk::<PREFIX_BYTES>().ok_or(FrameError::Framing)?;
    let compressed = match flag {
        0 => false,
        1 => true,
        other => return Err(FrameError::Flag(other)),
    };
    if u32::from_be_bytes(*length) as usize != message.len() {
        return Err(FrameError::Framing);
    }
    let bytes = framed.freeze().slice(PREFIX_BYTES..);
    Ok(GrpcMessage { compressed, body: Gathered { bytes, ticket: Ticket::free() } })
}

/// The encoding of compressed messages of this call. The error is the name nobody knows here.
pub fn encoding_of(headers: &HeaderMap) -> Result<Encoding, String> {
    let name = headers.get(GRPC_ENCODING).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let name = name.unwrap_or_default();
    Encoding::parse(&name).ok_or(name)
}

/// `grpc-timeout`: at most eight digits and a unit. The error is the text as sent.
pub fn timeout_of(headers: &HeaderMap) -> Result<Option<Duration>, String> {
    let Some(value) = headers.get("grpc-timeout") else { return Ok(None) };
    let text = String::from_utf8_lossy(value.as_bytes());
    parse_timeout(&text).map(Some).ok_or_else(|| text.into_owned())
}

fn parse_timeout(text: &str) -> Option<Duration> {
    let (unit_at, unit) = text.char_indices().next_back()?;
    let digits = &text[..unit_at];
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    Some(match unit {
        'H' => Duration::from_secs(value * 3600),
        'M' => Duration::from_secs(value * 60),
        'S' => Duration::from_secs(value),
        'm' => Duration::from_millis(value),
        'u' => Duration::from_micros(value),
        'n' => Duration::from_nanos(value),
        _ => return None,
    })
}

/// An answer of several messages, as a stream gives them: [`data`], and [`end`] last.
pub fn streaming(
    frames: impl Stream<Item = Frame<Bytes>> + Send + 'static,
    content_type: HeaderValue,
) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::frames(frames));
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// One message of a stream.
pub fn data(message: &[u8]) -> Frame<Bytes> {
    Frame::data(framed(message))
}

/// The end of a stream that tells why.
pub fn end(status: &Status) -> Frame<Bytes> {
    let mut trailers = HeaderMap::with_capacity(3); // granted: three
    put_status(&mut trailers, status);
    Frame::trailers(trailers)
}

fn framed(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + message.len()); // granted: an answer of ours
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.extend_from_slice(message); // granted: above
    framed.freeze()
}

/// A message and status 0. `content_type` is the request's, which the answer repeats.
pub fn success(message: Bytes, content_type: HeaderValue) -> Response<AnswerBody> {
    let mut trailers = HeaderMap::with_capacity(1); // granted: one
    trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
    let mut response = Response::new(AnswerBody::with_trailers(framed(&message), trailers));
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// Headers that are trailers at once: no message.
pub fn failure(status: &Status, content_type: HeaderValue) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::empty());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    put_status(headers, status);
    if status.code == Code::UNIMPLEMENTED {
        headers.insert(GRPC_ACCEPT_ENCODING, HeaderValue::from_static(Encoding::ACCEPTED));
    }
    response
}

fn put_status(headers: &mut HeaderMap, status: &Status) {
    headers.insert(GRPC_STATUS, HeaderValue::from(status.code.0));
    if let Ok(message) = HeaderValue::try_from(percent_encode(&status.message)) {
        headers.insert(GRPC_MESSAGE, message);
    }
    if let Ok(details) = HeaderValue::try_from(base64(&status.to_wire())) {
        headers.insert(GRPC_DETAILS, details);
    }
}

/// Everything but visible ASCII, and the percent sign itself (PROTOCOL-HTTP2.md, "Status-Message").
fn percent_encode(text: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = String::with_capacity(text.len()); // granted: a header of ours
    for byte in text.bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push(char::from(HEX[usize::from(byte >> 4)]));
            encoded.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    encoded
}

/// Standard alphabet without padding, as binary metadata goes out.
pub fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::with_capacity(bytes.len().div_ceil(3) * 4); // granted: a header of ours
    for chunk in bytes.chunks(3) {
        let joined = chunk.iter().fold(0u32, |joined, byte| joined << 8 | u32::from(*byte));
        let bits = joined << (8 * (3 - chunk.len()));
        for position in 0..=chunk.len() {
            let index = bits >> (18 - 6 * position) & 63;
            encoded.push(char::from(ALPHABET[index as usize]));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_read_as_grpc_writes_them() {
        for (text, expected) in [
            ("10S", Some(Duration::from_secs(10))),
            ("1n", Some(Duration::from_nanos(1))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("250m", Some(Duration::from_millis(250))),
            ("soon", None),
            ("", None),
            ("S", None),
            ("123456789S", None),
            ("+1S", None),
            ("1\u{e4}", None),
        ] {
            assert_eq!(parse_timeout(text), expected, "{text:?}");
        }
    }

    #[test]
    fn messages_are_percent_encoded_and_details_are_base64_without_padding() {
        assert_eq!(percent_encode("50% \u{e4}\n~"), "50%25 %C3%A4%0A~");
        for (bytes, expected) in
            [(&b""[..], ""), (b"f", "Zg"), (b"fo", "Zm8"), (b"foo", "Zm9v"), (b"\xff\xfe\xfd\xfc", "//79/A")]
        {
            assert_eq!(base64(bytes), expected);
        }
    }
}

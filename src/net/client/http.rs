//! Plain HTTP requests: POST and the like, with Retry-After understood in both of its forms.

use std::borrow::Cow;
use std::time::Duration;

use ::http::header::{
    CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER, USER_AGENT as AGENT,
};
use ::http::uri::PathAndQuery;
use ::http::{HeaderMap, Method};
use bytes::Bytes;
use tokio::time::Instant;

use crate::core::time::UnixNanos;
use crate::net::client::answer::AnswerBounds;
use crate::net::client::chunks::Chunks;
use crate::net::client::compress::{Compression, inflate_answer};
use crate::net::client::failure::CallFailure;
use crate::net::client::{Client, ClientCall, USER_AGENT};

/// One request. `parts` are sent one after the other, compressed as asked.
#[derive(Clone, Debug)]
pub struct HttpRequest {
    pub method: Method,
    /// Path with query, beginning with `/`.
    pub path: String,
    pub content_type: &'static str,
    pub headers: HeaderMap,
    pub parts: Vec<Bytes>,
    pub compression: Compression,
    pub deadline: Instant,
}

/// A complete answer, whatever its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpReply {
    pub status: u16,
    pub content_type: String,
    /// Where a redirect leads, as sent; empty when it leads nowhere.
    pub location: String,
    /// How long the peer asks us to stay away.
    pub retry_after: Option<Duration>,
    /// Inflated, within the bounds of the answer; its slices hold the ticket that pays for it.
    pub body: Bytes,
}

pub type HttpAnswer = Result<HttpReply, CallFailure>;

impl Client {
    /// Sends one request and reads the whole answer before the request's deadline.
    pub async fn http(&self, request: HttpRequest) -> HttpAnswer {
        self.http_within(request, &self.answer_bounds()).await
    }

    /// The same with bounds of its own for the answer.
    pub async fn http_within(&self, request: HttpRequest, bounds: &AnswerBounds) -> HttpAnswer {
        let path = PathAndQuery::try_from(request.path.as_str())
            .map_err(|error| CallFailure::Setup(format!("{:?} is not a path: {error}", request.path)))?;
        let packed = request.compression.pack(request.parts).await;
        let packed = packed.map_err(|error| CallFailure::Setup(format!("compression failed: {error}")))?;
        let mut headers = request.headers;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(request.content_type));
        headers.entry(AGENT).or_insert(HeaderValue::from_static(USER_AGENT));
        if let Some(token) = request.compression.token() {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(token));
        }
        let (headers, body) = (Cow::Owned(headers), Chunks::new(packed));
        let call = ClientCall { method: request.method, path, headers, header: None, body, states_length: true };
        let reply = self.exchange(&call, bounds, request.deadline).await?;
        Ok(HttpReply {
            status: reply.status,
            content_type: text(&reply.headers, &CONTENT_TYPE).to_owned(),
            location: text(&reply.headers, &LOCATION).to_owned(),
            retry_after: retry_after(text(&reply.headers, &RETRY_AFTER), UnixNanos::now()),
            body: inflate_answer(text(&reply.headers, &CONTENT_ENCODING), reply.body, bounds)?,
        })
    }
}

/// A header's value, empty when absent or not text.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Retry-After as whole seconds or as an HTTP date (RFC 9110, 10.2.3); a date in the past is zero.
fn retry_after(value: &str, now: UnixNanos) -> Option<Duration> {
    let value = value.trim();
    if value.is_empty() {
        return None;
    }
    if value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit mean "very long"; the caller has its own longest wait.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::from(u32::MAX))));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
    let at = u64::try_from(date.as_nanosecond()).unwrap_or(0);
    Some(UnixNanos(at).since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let now = UnixNanos::from_secs(784_111_777);
        for (value, wanted) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
            ("99999999999999999999", Some(u64::from(u32::MAX))),
            ("soon", None),
            ("-5", None),
            ("", None),
        ] {
            assert_eq!(retry_after(value, now), wanted.map(Duration::from_secs), "{value}");
        }
    }
}

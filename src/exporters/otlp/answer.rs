//! What an OTLP answer says: partial success, retry hints, the server's words. Read with the walker from undecoded bytes.
//!
//! No answer is trusted: whatever cannot be read is as if it were not there, since the status alone decides.

use std::time::Duration;

use crate::otlp::fields::{partial_success as partial_success_fields, protobuf, response as response_fields, rpc};
use crate::otlp::walk::{Field, Fields};

/// How much of a server's message is repeated in logs.
const MESSAGE_CHARS_MAX: usize = 300;

/// `Export*PartialSuccess`: the same shape for every signal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartialSuccess {
    pub rejected: u64,
    pub message: String,
}

/// Reads an `Export*ServiceResponse`.
pub fn partial_success(response: &[u8]) -> PartialSuccess {
    let mut found = PartialSuccess::default();
    for field in fields(find(response, response_fields::PARTIAL_SUCCESS).unwrap_or_default()) {
        match field.number {
            partial_success_fields::REJECTED => {
                found.rejected = field.varint().ok().and_then(|count| i64::try_from(count).ok()).unwrap_or(0) as u64
            }
            partial_success_fields::ERROR_MESSAGE => found.message = clipped(field.bytes().unwrap_or_default()),
            _ => {}
        }
    }
    found
}

/// What is used of a `google.rpc.Status`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RpcStatus {
    pub message: String,
    /// `google.rpc.RetryInfo`: the server asks to be tried again, after this.
    pub retry_after: Option<Duration>,
}

pub fn status(bytes: &[u8]) -> RpcStatus {
    let mut status = RpcStatus::default();
    for field in fields(bytes) {
        let Ok(value) = field.bytes() else { continue };
        match field.number {
            rpc::status::MESSAGE => status.message = clipped(value),
            rpc::status::DETAILS => status.retry_after = status.retry_after.or_else(|| retry_info(value)),
            _ => {}
        }
    }
    status
}

/// The delay of an `Any` that holds a RetryInfo; one without a delay means "at once".
fn retry_info(any: &[u8]) -> Option<Duration> {
    if !find(any, protobuf::any::TYPE_URL)?.ends_with(b"/google.rpc.RetryInfo") {
        return None;
    }
    let delay =
        find(find(any, protobuf::any::VALUE).unwrap_or_default(), rpc::retry_info::RETRY_DELAY).unwrap_or_default();
    let (mut seconds, mut nanos) = (0u64, 0u64);
    for field in fields(delay) {
        let Ok(value) = field.varint() else { continue };
        match field.number {
            protobuf::duration::SECONDS => seconds = value,
            protobuf::duration::NANOS => nanos = value,
            _ => {}
        }
    }
    // A negative number is a huge one here; it means no delay.
    if i64::try_from(seconds).is_err() || nanos > 999_999_999 {
        return Some(Duration::ZERO);
    }
    Some(Duration::from_secs(seconds) + Duration::from_nanos(nanos))
}

/// A server's text for the log: one line, bounded.
pub fn clipped(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(&text[..text.len().min(4 * MESSAGE_CHARS_MAX)]);
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MESSAGE_CHARS_MAX).collect();
    line.trim().to_owned()
}

fn fields(message: &[u8]) -> impl Iterator<Item = Field<'_>> {
    Fields::new(message).map_while(Result::ok)
}

fn find(message: &[u8], number: u32) -> Option<&[u8]> {
    fields(message).find(|field| field.number == number).and_then(|field| field.bytes().ok())
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
    use prost::Message;

    use super::*;

    #[test]
    fn partial_success_is_read_as_the_reference_writes_it() {
        for (rejected, message) in [(0, ""), (3, "bad ids"), (-5, "nonsense"), (i64::MAX, "")] {
            let partial = ExportTracePartialSuccess { rejected_spans: rejected, error_message: message.to_owned() };
            let bytes = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
            let wanted = PartialSuccess { rejected: rejected.max(0) as u64, message: message.to_owned() };
            assert_eq!(partial_success(&bytes), wanted);
        }
        assert_eq!(partial_success(b""), PartialSuccess::default());
        assert_eq!(partial_success(b"\x0a\x00"), PartialSuccess::default());
    }

    #[test]
    fn retry_info_is_found_among_other_details() {
        let retry_info =
            b"\x1a\x33\x0a\x28type.googleapis.com/google.rpc.RetryInfo\x12\x07\x0a\x05\x08\x02\x10\xe8\x07";
        let with = [&b"\x08\x0e\x12\x04full\x1a\x06\x0a\x04a/b."[..], retry_info].concat();
        let wanted = RpcStatus { message: "full".to_owned(), retry_after: Some(Duration::new(2, 1000)) };
        assert_eq!(status(&with), wanted);
        assert_eq!(status(b"\x08\x0e\x12\x04full").retry_after, None);
    }

    #[test]
    fn no_bytes_make_reading_panic() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..5000 {
            let bytes: Vec<u8> = (0..random.usize(0..60)).map(|_| random.u8(..)).collect();
            partial_success(&bytes);
            status(&bytes);
            clipped(&bytes);
        }
    }
}

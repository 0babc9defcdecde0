//! The one table from what can go wrong with a request to what its sender is told, on both transports.
//!
//! OTLP specification 1.11, "OTLP/gRPC Response" and "OTLP/HTTP Response": a sender retries UNAVAILABLE and 503, and
//! gives up on the rest; so a code says less about us than about what the sender should do with its data.

use std::time::Duration;

use http::StatusCode;

use crate::core::budget::OverBudget;
use crate::core::error::{ConsumeError, Reason};
use crate::net::body::BodyError;
use crate::net::client::grpc::Code;
use crate::net::compression::InflateError;
use crate::net::grpc::FrameError;
use crate::net::status::Status;
use crate::otlp::json::TranscodeError;

/// Retry hint where nothing better is known: whole seconds, because Retry-After has no smaller unit.
const RETRY_SECONDS: u64 = 1;

/// Why a request is not answered with success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The bytes are not what they claim to be.
    Undecodable(String),
    TooLarge(String),
    /// No memory now; the sender keeps its data.
    Overloaded(String),
    /// A stage said "not now".
    Refused {
        after: Option<Duration>,
        message: String,
    },
    /// A stage said "never".
    Rejected {
        reason: Reason,
        message: String,
    },
    TooSlow,
    /// The caller's own deadline passed.
    Deadline,
    /// Nobody waits for an answer any more.
    Gone,
    UnknownEncoding(String),
    UnknownMethod(String),
    NotFound(String),
    MethodNotAllowed,
    MediaType(String),
    /// gRPC over HTTP/1.1.
    NeedsHttp2,
    BadTimeout(String),
    /// A cross-origin preflight that the configuration does not allow.
    Origin(String),
    /// A bug of ours.
    Panicked,
}

impl Fault {
    /// gRPC code, HTTP status, and whether the sender may retry. The table.
    fn codes(&self) -> (Code, StatusCode, Retry) {
        use Retry::{Final, May};
        match self {
            Fault::Undecodable(_) | Fault::BadTimeout(_) => (Code::INVALID_ARGUMENT, StatusCode::BAD_REQUEST, Final),
            Fault::TooLarge(_) => (Code::RESOURCE_EXHAUSTED, StatusCode::PAYLOAD_TOO_LARGE, Final),
            Fault::Overloaded(_) | Fault::Refused { .. } => (Code::UNAVAILABLE, StatusCode::SERVICE_UNAVAILABLE, May),
            Fault::Rejected { reason: Reason::MALFORMED, .. } => {
                (Code::INVALID_ARGUMENT, StatusCode::BAD_REQUEST, Final)
            }
            Fault::Rejected { reason: Reason::TOO_LARGE, .. } => {
                (Code::RESOURCE_EXHAUSTED, StatusCode::PAYLOAD_TOO_LARGE, Final)
            }
            Fault::Rejected { .. } | Fault::Panicked => (Code::INTERNAL, StatusCode::INTERNAL_SERVER_ERROR, Final),
            Fault::TooSlow => (Code::DEADLINE_EXCEEDED, StatusCode::REQUEST_TIMEOUT, Final),
            Fault::Deadline => (Code::DEADLINE_EXCEEDED, StatusCode::GATEWAY_TIMEOUT, Final),
            Fault::Gone => (Code::CANCELLED, StatusCode::BAD_REQUEST, Final),
            Fault::UnknownEncoding(_) => (Code::UNIMPLEMENTED, StatusCode::UNSUPPORTED_MEDIA_TYPE, Final),
            Fault::UnknownMethod(_) | Fault::NotFound(_) => (Code::UNIMPLEMENTED, StatusCode::NOT_FOUND, Final),
            Fault::MethodNotAllowed => (Code::UNIMPLEMENTED, StatusCode::METHOD_NOT_ALLOWED, Final),
            Fault::MediaType(_) => (Code::INVALID_ARGUMENT, StatusCode::UNSUPPORTED_MEDIA_TYPE, Final),
            Fault::NeedsHttp2 => (Code::UNIMPLEMENTED, StatusCode::HTTP_VERSION_NOT_SUPPORTED, Final),
            Fault::Origin(_) => (Code::PERMISSION_DENIED, StatusCode::FORBIDDEN, Final),
        }
    }

    pub fn http_status(&self) -> StatusCode {
        self.codes().1
    }

    /// Retry-After and RetryInfo say the same: whole seconds, at least one.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        let (.., Retry::May) = self.codes() else { return None };
        Some(match self {
            Fault::Refused { after: Some(after), .. } => after.as_nanos().div_ceil(1_000_000_000).max(1) as u64,
            _ => RETRY_SECONDS,
        })
    }

    pub fn status(&self) -> Status {
        let mut status = Status::new(self.codes().0, self.message());
        status.retry_after_seconds = self.retry_after_seconds();
        status
    }

    fn message(&self) -> String {
        match self {
            Fault::Undecodable(message)
            | Fault::TooLarge(message)
            | Fault::Overloaded(message)
            | Fault::Refused { message, .. }
            | Fault::Rejected { message, .. }
            | Fault::NotFound(message)
            | Fault::Origin(message) => message.clone(),
            Fault::TooSlow => "the request came too slowly".to_owned(),
            Fault::Deadline => "the caller's deadline passed".to_owned(),
            Fault::Gone => "the request was cancelled".to_owned(),
            Fault::UnknownEncoding(name) => format!("encoding {name:?} is not known here"),
            Fault::UnknownMethod(path) => format!("{path} is not a method of this server"),
            Fault::MethodNotAllowed => "only POST is allowed here".to_owned(),
            Fault::MediaType(found) => {
                format!("content-type {found:?} is not known here; send application/x-protobuf or application/json")
            }
            Fault::NeedsHttp2 => "gRPC needs HTTP/2; set the protocol of the exporter to http/protobuf".to_owned(),
            Fault::BadTimeout(text) => format!("grpc-timeout {text:?} is not a timeout"),
            Fault::Panicked => "internal error".to_owned(),
        }
    }

    /// Label of the metric that counts bad requests; `None` when the sender did nothing wrong.
    pub fn bad_request_reason(&self) -> Option<&'static str> {
        Some(match self {
            Fault::Undecodable(_) => "undecodable",
            Fault::TooLarge(_) => "too_large",
            Fault::TooSlow => "too_slow",
            Fault::Gone => "cancelled",
            Fault::Deadline => "deadline",
            Fault::UnknownEncoding(_) => "unknown_encoding",
            Fault::UnknownMethod(_) => "unknown_method",
            Fault::NotFound(_) => "not_found",
            Fault::MethodNotAllowed => "method_not_allowed",
            Fault::MediaType(_) => "media_type",
            Fault::NeedsHttp2 => "grpc_over_http1",
            Fault::BadTimeout(_) => "bad_timeout",
            Fault::Origin(_) => "origin",
            Fault::Overloaded(_) | Fault::Refused { .. } | Fault::Rejected { .. } | Fault::Panicked => return None,
        })
    }
}

#[derive(Clone, Copy)]
enum Retry {
    May,
    Final,
}

impl From<ConsumeError> for Fault {
    fn from(error: ConsumeError) -> Fault {
        match error {
            ConsumeError::Refused { after, message, .. } => Fault::Refused { after, message },
            ConsumeError::Rejected { reason, message } => Fault::Rejected { reason, message },
        }
    }
}

impl From<OverBudget> for Fault {
    fn from(error: OverBudget) -> Fault {
        Fault::Overloaded(error.to_string())
    }
}

impl From<BodyError> for Fault {
    fn from(error: BodyError) -> Fault {
        match error {
            BodyError::TooLarge { .. } => Fault::TooLarge(error.to_string()),
            BodyError::OverBudget(error) => error.into(),
            BodyError::OverShare(error) => Fault::Overloaded(error.to_string()),
            BodyError::TooSlow => Fault::TooSlow,
            BodyError::Broken => Fault::Gone,
        }
    }
}

impl From<FrameError> for Fault {
    fn from(error: FrameError) -> Fault {
        match error {
            FrameError::Body(error) => error.into(),
            FrameError::Framing | FrameError::Flag(_) | FrameError::NoEncoding => Fault::Undecodable(error.to_string()),
        }
    }
}

impl From<InflateError> for Fault {
    fn from(error: InflateError) -> Fault {
        match error {
            InflateError::TooLarge { .. } | InflateError::Ratio => Fault::TooLarge(error.to_string()),
            InflateError::OverBudget(error) => error.into(),
            InflateError::Corrupt(..) => Fault::Undecodable(error.to_string()),
        }
    }
}

impl From<TranscodeError> for Fault {
    fn from(error: TranscodeError) -> Fault {
        match error {
            TranscodeError::Json(error) => Fault::Undecodable(error.to_string()),
            TranscodeError::OverBudget(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_what_the_specification_says() {
        let refused = |after| Fault::Refused { after, message: String::new() };
        let rejected = |reason| Fault::Rejected { reason, message: String::new() };
        let text = String::new;
        for (fault, grpc, http, retry) in [
            (Fault::Undecodable(text()), Code::INVALID_ARGUMENT, 400, None),
            (Fault::TooLarge(text()), Code::RESOURCE_EXHAUSTED, 413, None),
            (Fault::Overloaded(text()), Code::UNAVAILABLE, 503, Some(1)),
            (refused(None), Code::UNAVAILABLE, 503, Some(1)),
            (refused(Some(Duration::ZERO)), Code::UNAVAILABLE, 503, Some(1)),
            (refused(Some(Duration::from_millis(1001))), Code::UNAVAILABLE, 503, Some(2)),
            (rejected(Reason::PERMANENT), Code::INTERNAL, 500, None),
            (rejected(Reason::MALFORMED), Code::INVALID_ARGUMENT, 400, None),
            (rejected(Reason::TOO_LARGE), Code::RESOURCE_EXHAUSTED, 413, None),
            (Fault::UnknownEncoding(text()), Code::UNIMPLEMENTED, 415, None),
            (Fault::Panicked, Code::INTERNAL, 500, None),
        ] {
            let status = fault.status();
            assert_eq!((status.code, fault.http_status().as_u16()), (grpc, http), "{fault:?}");
            assert_eq!(status.retry_after_seconds, retry, "{fault:?}");
        }
    }
}

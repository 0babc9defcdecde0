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
use crate::otlp::envelope::Unreadable;
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
    /// The signal goes nowhere in this configuration.
    NoPipeline(String),
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
            Fault::UnknownMethod(_) | Fault::NotFound(_) | Fault::NoPipeline(_) => {
                (Code::UNIMPLEMENTED, StatusCode::NOT_FOUND, Final)
            }
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

    pub fn message(&self) -> String {
        match self {
            Fault::Undecodable(message)
            | Fault::TooLarge(message)
            | Fault::Overloaded(message)
            | Fault::Refused { message, .. }
            | Fault::Rejected { message, .. }
            | Fault::NotFound(message)
            | Fault::NoPipeline(message)
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

    /// What it is counted and told as; `None` where the stages behind speak for themselves.
    pub fn kind(&self) -> Option<Kind> {
        Some(match self {
            Fault::Undecodable(_) => Kind::Undecodable,
            Fault::TooLarge(_) => Kind::TooLarge,
            Fault::TooSlow => Kind::TooSlow,
            Fault::Gone => Kind::Cancelled,
            Fault::Deadline => Kind::Deadline,
            Fault::UnknownEncoding(_) => Kind::UnknownEncoding,
            Fault::UnknownMethod(_) => Kind::UnknownMethod,
            Fault::NotFound(_) => Kind::NotFound,
            Fault::NoPipeline(_) => Kind::NoPipeline,
            Fault::MethodNotAllowed => Kind::MethodNotAllowed,
            Fault::MediaType(_) => Kind::MediaType,
            Fault::NeedsHttp2 => Kind::GrpcOverHttp1,
            Fault::BadTimeout(_) => Kind::BadTimeout,
            Fault::Origin(_) => Kind::Origin,
            Fault::Overloaded(_) => Kind::Overloaded,
            Fault::Refused { .. } | Fault::Rejected { .. } | Fault::Panicked => return None,
        })
    }
}

/// Kinds of requests that are not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Undecodable,
    TooLarge,
    TooSlow,
    Cancelled,
    Deadline,
    UnknownEncoding,
    UnknownMethod,
    NotFound,
    NoPipeline,
    MethodNotAllowed,
    MediaType,
    GrpcOverHttp1,
    BadTimeout,
    Origin,
    Overloaded,
}

impl Kind {
    pub const ALL: [Kind; 15] = [
        Kind::Undecodable,
        Kind::TooLarge,
        Kind::TooSlow,
        Kind::Cancelled,
        Kind::Deadline,
        Kind::UnknownEncoding,
        Kind::UnknownMethod,
        Kind::NotFound,
        Kind::NoPipeline,
        Kind::MethodNotAllowed,
        Kind::MediaType,
        Kind::GrpcOverHttp1,
        Kind::BadTimeout,
        Kind::Origin,
        Kind::Overloaded,
    ];

    /// The word in the log.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Undecodable => "undecodable",
            Kind::TooLarge => "too_large",
            Kind::TooSlow => "too_slow",
            Kind::Cancelled => "cancelled",
            Kind::Deadline => "deadline",
            Kind::UnknownEncoding => "unknown_encoding",
            Kind::UnknownMethod => "unknown_method",
            Kind::NotFound => "not_found",
            Kind::NoPipeline => "no_pipeline",
            Kind::MethodNotAllowed => "method_not_allowed",
            Kind::MediaType => "media_type",
            Kind::GrpcOverHttp1 => "grpc_over_http1",
            Kind::BadTimeout => "bad_timeout",
            Kind::Origin => "origin",
            Kind::Overloaded => "overloaded",
        }
    }

    /// Label of the metric that counts bad requests; `None` when the sender did nothing wrong.
    pub fn reason(self) -> Option<&'static str> {
        if self == Kind::Overloaded { None } else { Some(self.name()) }
    }

    /// What the sender's owner, or podgate's, can do; `None` for what needs nobody.
    pub fn cure(self) -> Option<&'static str> {
        Some(match self {
            Kind::Cancelled | Kind::Deadline => return None,
            Kind::Undecodable => {
                "check the exporter: protocol (http/protobuf, http/json or grpc), the path of the signal, ids in hexadecimal"
            }
            Kind::TooLarge => {
                "send smaller batches, or raise max_recv_msg_size_mib (gRPC) or max_request_body_size (HTTP)"
            }
            Kind::TooSlow => {
                "a lost network or a stuck sender; if it is meant, raise podgate.body_timeout or min_body_rate"
            }
            Kind::UnknownEncoding => "set the exporter's compression to gzip or none",
            Kind::UnknownMethod => "this is OTLP/gRPC: check that the client is an OTLP exporter",
            Kind::NotFound => {
                "set OTEL_EXPORTER_OTLP_ENDPOINT to scheme, host and port alone: SDKs add /v1/traces and the like"
            }
            Kind::NoPipeline => {
                "add a pipeline for this signal under service::pipelines, or turn the sender's exporter off"
            }
            Kind::MethodNotAllowed => "OTLP is sent by POST: this is no OTLP exporter, or a proxy changed the request",
            Kind::MediaType => {
                "set the exporter's protocol: content-type is application/x-protobuf or application/json"
            }
            Kind::GrpcOverHttp1 => {
                "a proxy before podgate speaks HTTP/1.1: set the exporter's protocol to http/protobuf"
            }
            Kind::BadTimeout => "the client's grpc-timeout header is malformed",
            Kind::Origin => {
                "add the page's origin (or the header) to protocols::http::cors, allowed_origins or allowed_headers"
            }
            Kind::Overloaded => {
                "memory is short: raise limit_mib of memory_limiter, or look whether the next hop takes data"
            }
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

impl From<Unreadable> for Fault {
    fn from(error: Unreadable) -> Fault {
        match error {
            Unreadable::Malformed(error) => Fault::Undecodable(error.to_string()),
            Unreadable::OverBudget(error) => error.into(),
        }
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

//! The one table from what can go wrong with a request to what its sender is told, on both transports.
//!
//! OTLP specification 1.11, "OTLP/gRPC Response" and "OTLP/HTTP Response": a sender retries UNAVAILABLE and 503, and
//! gives up on the rest; so a code says less about us than about what the sender should do with its data.

use std::time::Duration;

use http::{HeaderValue, StatusCode};

use crate::core::data::budget::OverBudget;
use crate::core::error::{ConsumeError, Reason};
use crate::net::client::grpc::Code;
use crate::net::compression::InflateError;
use crate::net::grpc::FrameError;
use crate::net::server::body::BodyError;
use crate::net::status::Status;
use crate::otlp::envelope::Unreadable;
use crate::otlp::json::TranscodeError;

/// Retry hint where nothing better is known: whole seconds, because Retry-After has no smaller unit.
const RETRY_SECONDS: u64 = 1;

/// Why a request is not answered with success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestFault {
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
    /// No credential, or a wrong one. The challenge is the value of `WWW-Authenticate`.
    Unauthenticated {
        message: String,
        challenge: HeaderValue,
    },
    /// Known, and without the right.
    Forbidden(String),
    /// The authenticator cannot say now.
    AuthUnavailable(String),
    /// A bug of ours.
    Panicked,
}

impl RequestFault {
    /// gRPC code, HTTP status, and whether the sender may retry. The table.
    fn codes(&self) -> (Code, StatusCode, Retry) {
        use Retry::{Final, May};
        match self {
            RequestFault::Undecodable(_) | RequestFault::BadTimeout(_) => {
                (Code::INVALID_ARGUMENT, StatusCode::BAD_REQUEST, Final)
            }
            RequestFault::TooLarge(_) => (Code::RESOURCE_EXHAUSTED, StatusCode::PAYLOAD_TOO_LARGE, Final),
            RequestFault::Overloaded(_) | RequestFault::Refused { .. } | RequestFault::AuthUnavailable(_) => {
                (Code::UNAVAILABLE, StatusCode::SERVICE_UNAVAILABLE, May)
            }
            RequestFault::Rejected { reason: Reason::MALFORMED, .. } => {
                (Code::INVALID_ARGUMENT, StatusCode::BAD_REQUEST, Final)
            }
            RequestFault::Rejected { reason: Reason::TOO_LARGE, .. } => {
                (Code::RESOURCE_EXHAUSTED, StatusCode::PAYLOAD_TOO_LARGE, Final)
            }
            RequestFault::Rejected { .. } | RequestFault::Panicked => {
                (Code::INTERNAL, StatusCode::INTERNAL_SERVER_ERROR, Final)
            }
            RequestFault::TooSlow => (Code::DEADLINE_EXCEEDED, StatusCode::REQUEST_TIMEOUT, Final),
            RequestFault::Deadline => (Code::DEADLINE_EXCEEDED, StatusCode::GATEWAY_TIMEOUT, Final),
            RequestFault::Gone => (Code::CANCELLED, StatusCode::BAD_REQUEST, Final),
            RequestFault::UnknownEncoding(_) => (Code::UNIMPLEMENTED, StatusCode::UNSUPPORTED_MEDIA_TYPE, Final),
            RequestFault::UnknownMethod(_) | RequestFault::NotFound(_) | RequestFault::NoPipeline(_) => {
                (Code::UNIMPLEMENTED, StatusCode::NOT_FOUND, Final)
            }
            RequestFault::MethodNotAllowed => (Code::UNIMPLEMENTED, StatusCode::METHOD_NOT_ALLOWED, Final),
            RequestFault::MediaType(_) => (Code::INVALID_ARGUMENT, StatusCode::UNSUPPORTED_MEDIA_TYPE, Final),
            RequestFault::NeedsHttp2 => (Code::UNIMPLEMENTED, StatusCode::HTTP_VERSION_NOT_SUPPORTED, Final),
            RequestFault::Origin(_) | RequestFault::Forbidden(_) => {
                (Code::PERMISSION_DENIED, StatusCode::FORBIDDEN, Final)
            }
            RequestFault::Unauthenticated { .. } => (Code::UNAUTHENTICATED, StatusCode::UNAUTHORIZED, Final),
        }
    }

    pub fn http_status(&self) -> StatusCode {
        self.codes().1
    }

    /// Retry-After and RetryInfo say the same: whole seconds, at least one.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        let (.., Retry::May) = self.codes() else { return None };
        Some(match self {
            RequestFault::Refused { after: Some(after), .. } => after.as_nanos().div_ceil(1_000_000_000).max(1) as u64,
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
            RequestFault::Undecodable(message)
            | RequestFault::TooLarge(message)
            | RequestFault::Overloaded(message)
            | RequestFault::Refused { message, .. }
            | RequestFault::Rejected { message, .. }
            | RequestFault::NotFound(message)
            | RequestFault::NoPipeline(message)
            | RequestFault::Unauthenticated { message, .. }
            | RequestFault::Forbidden(message)
            | RequestFault::AuthUnavailable(message)
            | RequestFault::Origin(message) => message.clone(),
            RequestFault::TooSlow => "the request came too slowly".to_owned(),
            RequestFault::Deadline => "the caller's deadline passed".to_owned(),
            RequestFault::Gone => "the request was cancelled".to_owned(),
            RequestFault::UnknownEncoding(name) => format!("encoding {name:?} is not known here"),
            RequestFault::UnknownMethod(path) => format!("{path} is not a method of this server"),
            RequestFault::MethodNotAllowed => "only POST is allowed here".to_owned(),
            RequestFault::MediaType(found) => {
                format!("content-type {found:?} is not known here; send application/x-protobuf or application/json")
            }
            RequestFault::NeedsHttp2 => {
                "gRPC needs HTTP/2; set the protocol of the exporter to http/protobuf".to_owned()
            }
            RequestFault::BadTimeout(text) => format!("grpc-timeout {text:?} is not a timeout"),
            RequestFault::Panicked => "internal error".to_owned(),
        }
    }

    /// What it is counted and told as; `None` where the stages behind speak for themselves.
    pub fn kind(&self) -> Option<FaultKind> {
        Some(match self {
            RequestFault::Undecodable(_) => FaultKind::Undecodable,
            RequestFault::TooLarge(_) => FaultKind::TooLarge,
            RequestFault::TooSlow => FaultKind::TooSlow,
            RequestFault::Gone => FaultKind::Cancelled,
            RequestFault::Deadline => FaultKind::Deadline,
            RequestFault::UnknownEncoding(_) => FaultKind::UnknownEncoding,
            RequestFault::UnknownMethod(_) => FaultKind::UnknownMethod,
            RequestFault::NotFound(_) => FaultKind::NotFound,
            RequestFault::NoPipeline(_) => FaultKind::NoPipeline,
            RequestFault::MethodNotAllowed => FaultKind::MethodNotAllowed,
            RequestFault::MediaType(_) => FaultKind::MediaType,
            RequestFault::NeedsHttp2 => FaultKind::GrpcOverHttp1,
            RequestFault::BadTimeout(_) => FaultKind::BadTimeout,
            RequestFault::Origin(_) => FaultKind::Origin,
            RequestFault::Overloaded(_) => FaultKind::Overloaded,
            RequestFault::Unauthenticated { .. } => FaultKind::Unauthenticated,
            RequestFault::Forbidden(_) => FaultKind::Forbidden,
            RequestFault::AuthUnavailable(_) => FaultKind::AuthUnavailable,
            RequestFault::Refused { .. } | RequestFault::Rejected { .. } | RequestFault::Panicked => return None,
        })
    }
}

/// Kinds of requests that are not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
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
    Unauthenticated,
    Forbidden,
    AuthUnavailable,
}

impl FaultKind {
    pub const ALL: [FaultKind; 18] = [
        FaultKind::Undecodable,
        FaultKind::TooLarge,
        FaultKind::TooSlow,
        FaultKind::Cancelled,
        FaultKind::Deadline,
        FaultKind::UnknownEncoding,
        FaultKind::UnknownMethod,
        FaultKind::NotFound,
        FaultKind::NoPipeline,
        FaultKind::MethodNotAllowed,
        FaultKind::MediaType,
        FaultKind::GrpcOverHttp1,
        FaultKind::BadTimeout,
        FaultKind::Origin,
        FaultKind::Overloaded,
        FaultKind::Unauthenticated,
        FaultKind::Forbidden,
        FaultKind::AuthUnavailable,
    ];

    /// The word in the log.
    pub fn name(self) -> &'static str {
        match self {
            FaultKind::Undecodable => "undecodable",
            FaultKind::TooLarge => "too_large",
            FaultKind::TooSlow => "too_slow",
            FaultKind::Cancelled => "cancelled",
            FaultKind::Deadline => "deadline",
            FaultKind::UnknownEncoding => "unknown_encoding",
            FaultKind::UnknownMethod => "unknown_method",
            FaultKind::NotFound => "not_found",
            FaultKind::NoPipeline => "no_pipeline",
            FaultKind::MethodNotAllowed => "method_not_allowed",
            FaultKind::MediaType => "media_type",
            FaultKind::GrpcOverHttp1 => "grpc_over_http1",
            FaultKind::BadTimeout => "bad_timeout",
            FaultKind::Origin => "origin",
            FaultKind::Overloaded => "overloaded",
            FaultKind::Unauthenticated => "unauthenticated",
            FaultKind::Forbidden => "forbidden",
            FaultKind::AuthUnavailable => "auth_unavailable",
        }
    }

    /// Label of the metric that counts bad requests; `None` when the sender did nothing wrong.
    pub fn reason(self) -> Option<&'static str> {
        (self != FaultKind::Overloaded).then(|| self.name())
    }

    /// What the sender's owner, or podgate's, can do; `None` for what needs nobody.
    pub fn cure(self) -> Option<&'static str> {
        Some(match self {
            FaultKind::Cancelled | FaultKind::Deadline => return None,
            FaultKind::Undecodable => {
                "check the exporter: protocol (http/protobuf, http/json or grpc), the path of the signal, ids in hexadecimal"
            }
            FaultKind::TooLarge => {
                "send smaller batches, or raise max_recv_msg_size_mib (gRPC) or max_request_body_size (HTTP)"
            }
            FaultKind::TooSlow => {
                "a lost network or a stuck sender; if it is intended, raise podgate.body_timeout or min_body_rate"
            }
            FaultKind::UnknownEncoding => "set the exporter's compression to gzip or none",
            FaultKind::UnknownMethod => "this is OTLP/gRPC: check that the client is an OTLP exporter",
            FaultKind::NotFound => {
                "set OTEL_EXPORTER_OTLP_ENDPOINT to scheme, host and port alone: SDKs add /v1/traces and the like"
            }
            FaultKind::NoPipeline => {
                "add a pipeline for this signal under service::pipelines, or turn the sender's exporter off"
            }
            FaultKind::MethodNotAllowed => {
                "OTLP is sent by POST: this is no OTLP exporter, or a proxy changed the request"
            }
            FaultKind::MediaType => {
                "set the exporter's protocol: content-type is application/x-protobuf or application/json"
            }
            FaultKind::GrpcOverHttp1 => {
                "a proxy before podgate speaks HTTP/1.1: set the exporter's protocol to http/protobuf"
            }
            FaultKind::BadTimeout => "the client's grpc-timeout header is malformed",
            FaultKind::Origin => {
                "add the page's origin (or the header) to protocols::http::cors, allowed_origins or allowed_headers"
            }
            FaultKind::Unauthenticated => {
                "give the sender's exporter the credential that this receiver's authenticator knows (OTEL_EXPORTER_OTLP_HEADERS)"
            }
            FaultKind::Forbidden => {
                "give the sender's identity the right to write, or give the sender another credential"
            }
            FaultKind::AuthUnavailable => {
                "senders try again; if it lasts, look at the authenticator's own lines, and for senders that try many passwords"
            }
            FaultKind::Overloaded => {
                "memory is short: raise limit_mib of memory_limiter, or check whether the next hop accepts data"
            }
        })
    }
}

#[derive(Clone, Copy)]
enum Retry {
    May,
    Final,
}

impl From<ConsumeError> for RequestFault {
    fn from(error: ConsumeError) -> RequestFault {
        match error {
            ConsumeError::Refused { after, message, .. } => RequestFault::Refused { after, message },
            ConsumeError::Rejected { reason, message } => RequestFault::Rejected { reason, message },
        }
    }
}

impl From<OverBudget> for RequestFault {
    fn from(error: OverBudget) -> RequestFault {
        RequestFault::Overloaded(error.to_string())
    }
}

impl From<Unreadable> for RequestFault {
    fn from(error: Unreadable) -> RequestFault {
        match error {
            Unreadable::Malformed(error) => RequestFault::Undecodable(error.to_string()),
            Unreadable::OverBudget(error) => error.into(),
        }
    }
}

impl From<BodyError> for RequestFault {
    fn from(error: BodyError) -> RequestFault {
        match error {
            BodyError::TooLarge { .. } => RequestFault::TooLarge(error.to_string()),
            BodyError::OverBudget(error) => error.into(),
            BodyError::OverShare(error) => RequestFault::Overloaded(error.to_string()),
            BodyError::TooSlow => RequestFault::TooSlow,
            BodyError::Broken => RequestFault::Gone,
        }
    }
}

impl From<FrameError> for RequestFault {
    fn from(error: FrameError) -> RequestFault {
        match error {
            FrameError::Body(error) => error.into(),
            FrameError::Framing | FrameError::Flag(_) | FrameError::NoEncoding => {
                RequestFault::Undecodable(error.to_string())
            }
        }
    }
}

impl From<InflateError> for RequestFault {
    fn from(error: InflateError) -> RequestFault {
        match error {
            InflateError::TooLarge { .. } | InflateError::Ratio => RequestFault::TooLarge(error.to_string()),
            InflateError::OverBudget(error) => error.into(),
            InflateError::Corrupt(..) => RequestFault::Undecodable(error.to_string()),
        }
    }
}

impl From<TranscodeError> for RequestFault {
    fn from(error: TranscodeError) -> RequestFault {
        match error {
            TranscodeError::Json(error) => RequestFault::Undecodable(error.to_string()),
            TranscodeError::OverBudget(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_what_the_specification_says() {
        let refused = |after| RequestFault::Refused { after, message: String::new() };
        let rejected = |reason| RequestFault::Rejected { reason, message: String::new() };
        let text = String::new;
        for (fault, grpc, http, retry) in [
            (RequestFault::Undecodable(text()), Code::INVALID_ARGUMENT, 400, None),
            (RequestFault::TooLarge(text()), Code::RESOURCE_EXHAUSTED, 413, None),
            (RequestFault::Overloaded(text()), Code::UNAVAILABLE, 503, Some(1)),
            (refused(None), Code::UNAVAILABLE, 503, Some(1)),
            (refused(Some(Duration::ZERO)), Code::UNAVAILABLE, 503, Some(1)),
            (refused(Some(Duration::from_millis(1001))), Code::UNAVAILABLE, 503, Some(2)),
            (rejected(Reason::PERMANENT), Code::INTERNAL, 500, None),
            (rejected(Reason::MALFORMED), Code::INVALID_ARGUMENT, 400, None),
            (rejected(Reason::TOO_LARGE), Code::RESOURCE_EXHAUSTED, 413, None),
            (RequestFault::UnknownEncoding(text()), Code::UNIMPLEMENTED, 415, None),
            (RequestFault::Panicked, Code::INTERNAL, 500, None),
        ] {
            let status = fault.status();
            assert_eq!((status.code, fault.http_status().as_u16()), (grpc, http), "{fault:?}");
            assert_eq!(status.retry_after_seconds, retry, "{fault:?}");
        }
    }
}

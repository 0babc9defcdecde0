//! What the API server is told when its events are not taken, by statuses that its own retry understands.
//!
//! Its webhook client sends again after 429, 500, 503 and 504, after an answer with Retry-After, and after a connection that
//! broke; it gives up on the rest (apiserver, `util/webhook`). So what may succeed later is 503 with Retry-After, and what
//! never will is a status that it does not send again.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Response, StatusCode};

use crate::core::data::budget::OverBudget;
use crate::core::error::{ConsumeError, Reason};
use crate::core::stage::auth::AuthFault;
use crate::net::compression::InflateError;
use crate::net::server::answer::AnswerBody;
use crate::net::server::body::BodyError;

/// What makes an event list smaller.
const SMALLER: &str = "let the API server send less at a time (--audit-webhook-batch-max-size), or cut its events \
    (--audit-webhook-truncate-enabled), or give podgate more memory";

/// Where nothing better is known; Retry-After has no smaller unit.
const RETRY_SECONDS: u64 = 1;

/// Why events are not taken.
#[derive(Clone, Debug)]
pub enum Untaken {
    Bad(String),
    TooLarge(String),
    NotFound(String),
    NotPost,
    Encoding(String),
    Unauthenticated {
        message: String,
        challenge: HeaderValue,
    },
    Forbidden(String),
    /// The sender keeps its events and may send them again.
    Later {
        after: Option<Duration>,
        message: String,
    },
    TooSlow,
    /// Nobody waits for an answer any more.
    Gone,
    Panicked,
}

impl Untaken {
    pub fn later(message: impl Into<String>) -> Untaken {
        Untaken::Later { after: None, message: message.into() }
    }

    /// Of a request that held so many bytes. What needs more than the whole budget never finds room, however often it is sent.
    pub fn over(error: OverBudget, held: u64) -> Untaken {
        let (needed, most) = (held.saturating_add(error.wanted), error.limit);
        if needed <= most {
            return error.into();
        }
        Untaken::TooLarge(format!(
            "the events need {needed} bytes and more, and the whole memory budget is {most}: {SMALLER}"
        ))
    }

    /// The label under which it is counted; a fixed set.
    pub fn reason(&self) -> &'static str {
        match self {
            Untaken::Bad(_) => "undecodable",
            Untaken::TooLarge(_) => "too_large",
            Untaken::NotFound(_) => "not_found",
            Untaken::NotPost => "method",
            Untaken::Encoding(_) => "encoding",
            Untaken::Unauthenticated { .. } => "unauthenticated",
            Untaken::Forbidden(_) => "forbidden",
            Untaken::Later { .. } => "later",
            Untaken::TooSlow => "too_slow",
            Untaken::Gone => "gone",
            Untaken::Panicked => "panic",
        }
    }

    pub const REASONS: [&'static str; 11] = [
        "undecodable",
        "too_large",
        "not_found",
        "method",
        "encoding",
        "unauthenticated",
        "forbidden",
        "later",
        "too_slow",
        "gone",
        "panic",
    ];

    fn status(&self) -> StatusCode {
        match self {
            Untaken::Bad(_) | Untaken::Gone => StatusCode::BAD_REQUEST,
            Untaken::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Untaken::NotFound(_) => StatusCode::NOT_FOUND,
            Untaken::NotPost => StatusCode::METHOD_NOT_ALLOWED,
            Untaken::Encoding(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Untaken::Unauthenticated { .. } => StatusCode::UNAUTHORIZED,
            Untaken::Forbidden(_) => StatusCode::FORBIDDEN,
            Untaken::Later { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Untaken::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Untaken::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// For the sender and for the log.
    pub fn message(&self) -> &str {
        match self {
            Untaken::Bad(message)
            | Untaken::TooLarge(message)
            | Untaken::NotFound(message)
            | Untaken::Encoding(message)
            | Untaken::Unauthenticated { message, .. }
            | Untaken::Forbidden(message)
            | Untaken::Later { message, .. } => message,
            Untaken::NotPost => "events come by POST alone",
            Untaken::TooSlow => "the request came too slowly",
            Untaken::Gone => "the request ended early",
            Untaken::Panicked => "internal error",
        }
    }

    /// As the API server's client reads it: an object of kind Status, whose message stands in the API server's own log.
    pub fn response(&self) -> Response<AnswerBody> {
        let status = self.status();
        let body = serde_json::json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": self.message(), "code": status.as_u16(),
        });
        let mut response = Response::new(AnswerBody::full(Bytes::from(body.to_string())));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match self {
            Untaken::Later { after, .. } => {
                let seconds = after.map_or(RETRY_SECONDS, |after| after.as_secs_f64().ceil().max(1.0) as u64);
                headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
            }
            Untaken::NotPost => drop(headers.insert(ALLOW, HeaderValue::from_static("POST"))),
            Untaken::Unauthenticated { challenge, .. } => drop(headers.insert(WWW_AUTHENTICATE, challenge.clone())),
            _ => {}
        }
        response
    }
}

impl From<BodyError> for Untaken {
    fn from(error: BodyError) -> Untaken {
        match error {
            BodyError::TooLarge { .. } => Untaken::TooLarge(format!("{error}: {SMALLER}")),
            BodyError::OverBudget(_) | BodyError::OverShare(_) => Untaken::later(error.to_string()),
            BodyError::TooSlow => Untaken::TooSlow,
            BodyError::Broken => Untaken::Gone,
        }
    }
}

impl From<InflateError> for Untaken {
    fn from(error: InflateError) -> Untaken {
        match error {
            InflateError::TooLarge { .. } | InflateError::Ratio => Untaken::TooLarge(error.to_string()),
            InflateError::OverBudget(_) => Untaken::later(error.to_string()),
            InflateError::Corrupt(..) => Untaken::Bad(error.to_string()),
        }
    }
}

impl From<OverBudget> for Untaken {
    fn from(error: OverBudget) -> Untaken {
        Untaken::later(error.to_string())
    }
}

impl From<AuthFault> for Untaken {
    fn from(fault: AuthFault) -> Untaken {
        match fault {
            AuthFault::Unauthenticated { message, challenge } => Untaken::Unauthenticated { message, challenge },
            AuthFault::Forbidden(message) => Untaken::Forbidden(message),
            AuthFault::Unavailable(message) => Untaken::later(message),
        }
    }
}

impl From<&ConsumeError> for Untaken {
    fn from(error: &ConsumeError) -> Untaken {
        match error {
            ConsumeError::Refused { after, message, .. } => Untaken::Later { after: *after, message: message.clone() },
            ConsumeError::Rejected { reason: Reason::TOO_LARGE, message } => Untaken::TooLarge(message.clone()),
            // The next hop's last word. With 500 the API server would send the same bytes for ever.
            ConsumeError::Rejected { message, .. } => Untaken::Bad(message.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_succeed_later_asks_to_be_sent_again_and_nothing_else_does() {
        let rejected = ConsumeError::rejected(Reason::PERMANENT, "never");
        let refused = ConsumeError::Refused {
            reason: Reason::QUEUE_FULL,
            after: Some(Duration::from_millis(2_500)),
            message: String::new(),
        };
        for (untaken, status, after) in [
            (Untaken::from(&refused), 503, Some("3")),
            (Untaken::later("no memory"), 503, Some("1")),
            (Untaken::from(&rejected), 400, None),
            (Untaken::Bad(String::new()), 400, None),
            (Untaken::NotPost, 405, None),
        ] {
            let response = untaken.response();
            assert_eq!(response.status().as_u16(), status, "{untaken:?}");
            assert_eq!(response.headers().get(RETRY_AFTER).map(|value| value.to_str().unwrap()), after);
            assert!(Untaken::REASONS.contains(&untaken.reason()));
        }
    }
}

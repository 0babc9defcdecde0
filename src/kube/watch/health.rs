//! How a watch is doing, in words a person can act on.

use std::fmt;

use crate::kube::decode::ApiStatus;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Get,
    List,
    Watch,
}

impl Verb {
    pub fn name(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Watch => "watch",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Nothing was listed yet.
    Starting,
    Fresh,
    /// What is known is served, but may be old.
    Stale(Cause),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// No connection, reset, cut off.
    Unreachable(String),
    /// Connected, but nothing comes.
    Silent,
    EndedEarly,
    Garbage(String),
    Unauthorized,
    Forbidden {
        verb: Verb,
        message: String,
    },
    /// 429 or 503.
    Busy(u16),
    /// Our version is too old; a new list follows.
    Expired,
    Failing {
        code: u16,
        message: String,
    },
}

impl Cause {
    pub fn of(status: &ApiStatus, verb: Verb) -> Cause {
        match status.code {
            401 => Cause::Unauthorized,
            403 => Cause::Forbidden { verb, message: status.message.clone() },
            410 => Cause::Expired,
            429 | 503 => Cause::Busy(status.code),
            code => Cause::Failing { code, message: status.message.clone() },
        }
    }

    /// Fixed vocabulary for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Cause::Unreachable(_) => "unreachable",
            Cause::Silent => "silent",
            Cause::EndedEarly => "ended_early",
            Cause::Garbage(_) => "garbage",
            Cause::Unauthorized => "unauthorized",
            Cause::Forbidden { .. } => "forbidden",
            Cause::Busy(_) => "busy",
            Cause::Expired => "expired",
            Cause::Failing { .. } => "failing",
        }
    }

    /// Others may have been cut off as well, so that they could not tell either.
    pub(super) fn is_outage(&self) -> bool {
        match self {
            Cause::Unreachable(_) | Cause::Silent | Cause::EndedEarly | Cause::Garbage(_) => true,
            Cause::Busy(_) | Cause::Failing { .. } => true,
            Cause::Unauthorized | Cause::Forbidden { .. } | Cause::Expired => false,
        }
    }

    /// Known from one answer; others may be a hiccup and are told at the second failure.
    pub(super) fn is_certain(&self) -> bool {
        matches!(self, Cause::Unauthorized | Cause::Forbidden { .. })
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Unreachable(fault) => write!(f, "API server not reachable: {fault}"),
            Cause::Silent => f.write_str("API server sends neither answers nor bookmarks"),
            Cause::EndedEarly => f.write_str("API server ends watches at once"),
            Cause::Garbage(fault) => write!(f, "answer is not a Kubernetes API server's: {fault}"),
            Cause::Unauthorized => {
                f.write_str("API server does not accept our token (401); it is read again each time")
            }
            Cause::Forbidden { verb, message } => write!(
                f,
                "no right to {} pods: grant verbs get, list, watch on pods to the service account ({message})",
                verb.name()
            ),
            Cause::Busy(code) => write!(f, "API server asks to come back later ({code})"),
            Cause::Expired => f.write_str("version expired, listing again"),
            Cause::Failing { code, message } => write!(f, "API server answers {code}: {message}"),
        }
    }
}

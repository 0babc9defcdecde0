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
pub enum WatchHealth {
    /// Nothing was listed yet.
    Starting,
    Fresh,
    /// What is known is served, but may be old.
    Stale(WatchCause),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchCause {
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

impl WatchCause {
    pub fn of(status: &ApiStatus, verb: Verb) -> WatchCause {
        match status.code {
            401 => WatchCause::Unauthorized,
            403 => WatchCause::Forbidden { verb, message: status.message.clone() },
            410 => WatchCause::Expired,
            429 | 503 => WatchCause::Busy(status.code),
            code => WatchCause::Failing { code, message: status.message.clone() },
        }
    }

    /// Fixed vocabulary for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            WatchCause::Unreachable(_) => "unreachable",
            WatchCause::Silent => "silent",
            WatchCause::EndedEarly => "ended_early",
            WatchCause::Garbage(_) => "garbage",
            WatchCause::Unauthorized => "unauthorized",
            WatchCause::Forbidden { .. } => "forbidden",
            WatchCause::Busy(_) => "busy",
            WatchCause::Expired => "expired",
            WatchCause::Failing { .. } => "failing",
        }
    }

    /// Others may have been cut off as well, so that they could not tell either.
    pub(super) fn is_outage(&self) -> bool {
        match self {
            WatchCause::Unreachable(_) | WatchCause::Silent | WatchCause::EndedEarly | WatchCause::Garbage(_) => true,
            WatchCause::Busy(_) | WatchCause::Failing { .. } => true,
            WatchCause::Unauthorized | WatchCause::Forbidden { .. } | WatchCause::Expired => false,
        }
    }

    /// Known from one answer; others may be a hiccup and are told at the second failure.
    pub(super) fn is_certain(&self) -> bool {
        matches!(self, WatchCause::Unauthorized | WatchCause::Forbidden { .. })
    }
}

impl fmt::Display for WatchCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WatchCause::Unreachable(fault) => write!(f, "API server not reachable: {fault}"),
            WatchCause::Silent => f.write_str("API server sends neither answers nor bookmarks"),
            WatchCause::EndedEarly => f.write_str("API server ends watches at once"),
            WatchCause::Garbage(fault) => write!(f, "answer is not a Kubernetes API server's: {fault}"),
            WatchCause::Unauthorized => {
                f.write_str("API server does not accept our token (401); it is read again each time")
            }
            WatchCause::Forbidden { verb, message } => write!(
                f,
                "no right to {} pods: grant verbs get, list, watch on pods to the service account ({message})",
                verb.name()
            ),
            WatchCause::Busy(code) => write!(f, "API server asks podgate to retry later ({code})"),
            WatchCause::Expired => f.write_str("version expired, listing again"),
            WatchCause::Failing { code, message } => write!(f, "API server answers {code}: {message}"),
        }
    }
}

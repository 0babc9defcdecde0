//! Why no answer came, in words: the code a reader can search for, the cause, and what to do about it.
//!
//! One table for every kind of next hop; an exporter gives the sentences that name its peer and its ports. The code and the
//! causes are the same for all. It must not know who the peer is.

use crate::net::client::failure::CallFailure;
use crate::sending::report::condition::Trouble;

const WITHOUT_ROOM: &str =
    "long answers of many requests at once: see what the peer refuses, lower num_consumers or raise the memory limit";

/// The cures that name the peer, by what went wrong.
#[derive(Clone, Copy, Debug)]
pub struct PeerCures {
    /// Nothing listens.
    pub refused: &'static str,
    pub tls: &'static str,
    pub peer_is_plaintext: &'static str,
    pub peer_is_tls: &'static str,
    /// The peer speaks HTTP/1 where the other was meant: code and cure.
    pub peer_is_http1: (&'static str, &'static str),
    pub deadline: &'static str,
    pub broken: &'static str,
    pub unreadable: &'static str,
}

impl PeerCures {
    /// The trouble of a call that had no answer.
    pub fn no_answer(&self, failure: &CallFailure) -> Trouble {
        let (code, cure) = match failure {
            CallFailure::Resolve { .. } => {
                ("name not resolved", "check the host name; a Service is <name>.<namespace>.svc")
            }
            CallFailure::Refused { .. } => ("connection refused", self.refused),
            CallFailure::Connect { .. } => ("no connection", "check address, routes and NetworkPolicies"),
            CallFailure::ConnectTimeout { .. } => (
                "no connection",
                "packets are dropped between here and there: look for a NetworkPolicy, a firewall or a wrong address",
            ),
            CallFailure::Proxy { .. } => (
                "proxy failed",
                "look at the proxy: it stands in proxy_url, or in HTTPS_PROXY or HTTP_PROXY of podgate's environment, where NO_PROXY lists what is reached without",
            ),
            CallFailure::Tls { .. } => ("TLS failed", self.tls),
            CallFailure::PeerIsPlaintext => ("TLS mismatch", self.peer_is_plaintext),
            CallFailure::PeerIsTls => ("TLS mismatch", self.peer_is_tls),
            CallFailure::PeerIsHttp1 => self.peer_is_http1,
            CallFailure::Setup(_) => {
                ("client setup", "check the files named in the tls block and that podgate may read them")
            }
            CallFailure::NoCredential { .. } => {
                ("no credential", "look at the authenticator's own lines and state; requests wait for it")
            }
            CallFailure::Deadline => ("timeout", self.deadline),
            CallFailure::Broken(_) | CallFailure::NotTaken(_) => ("connection broken", self.broken),
            CallFailure::AnswerWithoutRoom { .. } => ("no memory for the answer", WITHOUT_ROOM),
            CallFailure::AnswerTooLarge { .. } | CallFailure::Malformed(_) => ("answer unreadable", self.unreadable),
        };
        Trouble { code: code.to_owned(), message: failure.to_string(), cure: Some(cure.to_owned()) }
    }
}

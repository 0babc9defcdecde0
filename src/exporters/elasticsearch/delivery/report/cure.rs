//! What went wrong in words: the code a reader can search for, the cause, and what to do about it. Elasticsearch's reasons
//! may quote documents, so they are shown only where that is allowed.

use crate::net::client::failure::CallFailure;
use crate::sending::report::condition::Trouble;
use crate::sending::report::cure::PeerCures;

const CURES: PeerCures = PeerCures {
    refused: "nothing listens there: is Elasticsearch running, and is this its HTTP port (9200)?",
    tls: "check tls.ca_file, server_name_override, the client certificate and the dates of the cluster's certificate",
    peer_is_plaintext: "the cluster does not speak TLS: write http:// in the endpoint",
    peer_is_tls: WANTS_TLS,
    peer_is_http1: ("TLS mismatch", WANTS_TLS),
    deadline: "the cluster is slow or stuck: look at its load, or raise timeout",
    broken: "the cluster or a proxy closed the connection: look at its log and its limits",
    unreadable: "is this Elasticsearch? check the endpoint and any proxy in front of it",
};

const WANTS_TLS: &str = "the cluster wants TLS: write https:// in the endpoint";

/// No answer came.
pub fn no_answer(failure: &CallFailure) -> Trouble {
    CURES.no_answer(failure)
}

/// An answer to the whole request that is no success. `kind`: Elasticsearch's error type.
pub fn status(status: u16, kind: &str, message: &str) -> Trouble {
    let cure = match status {
        401 => Some(
            "Elasticsearch refuses the credentials: check api_key or user and password, and whether the key has expired",
        ),
        403 => Some("the credentials lack privileges: create_doc and auto_configure on the indices are needed"),
        404 | 405 => {
            Some("no _bulk answers there: is the endpoint Elasticsearch itself, and not Kibana or APM Server (8200)?")
        }
        200..=299 => Some("is this Elasticsearch? check the endpoint and any proxy in front of it"),
        300..=399 => Some("the endpoint moved: configure the address it redirects to"),
        406 | 415 => Some("something between podgate and Elasticsearch does not accept NDJSON: check the proxy"),
        407 => Some("a proxy wants credentials"),
        413 => Some(
            "the cluster or a proxy accepts only smaller requests: lower podgate: {bulk_bytes: ...} or raise http.max_content_length",
        ),
        429 => Some("Elasticsearch is overloaded: look at its indexing pressure and write queue"),
        500..=599 => Some("Elasticsearch is starting, has no master or is broken: look at its log"),
        _ => None,
    };
    let message = if kind.is_empty() { message.to_owned() } else { format!("{kind}: {message}") };
    Trouble { code: format!("HTTP {status}"), message, cure: cure.map(str::to_owned) }
}

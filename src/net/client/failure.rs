//! Why no answer came: one variant per cause, because each has another cure. All but `Setup` may pass with time.

use std::time::Duration;

/// A request that got no complete answer. Printed as the second half of "cannot send to X: ...".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallFailure {
    /// The host name has no address.
    #[error("the name {host:?} cannot be resolved: {why}")]
    Resolve { host: String, why: String },
    /// Nobody listens on the port.
    #[error("connection refused by {address}")]
    Refused { address: String },
    /// TCP did not come up for another reason.
    #[error("cannot connect to {address}: {why}")]
    Connect { address: String, why: String },
    #[error("no connection to {address} within {after:?}")]
    ConnectTimeout { address: String, after: Duration },
    /// The proxy is not reached, or does not connect us.
    #[error("the proxy {address}: {why}")]
    Proxy { address: String, why: String },
    /// The handshake failed: an untrusted, expired or wrong certificate, or no common version.
    #[error("TLS handshake failed: {why}")]
    Tls { why: String },
    /// We spoke TLS and the peer did not.
    #[error("the peer does not speak TLS")]
    PeerIsPlaintext,
    /// We spoke plaintext and the peer answered with a TLS alert.
    #[error("the peer speaks TLS")]
    PeerIsTls,
    /// We spoke HTTP/2 and the peer answered in HTTP/1.
    #[error("the peer speaks HTTP/1, not HTTP/2")]
    PeerIsHttp1,
    /// A certificate or key could not be read.
    #[error("{0}")]
    Setup(String),
    /// The authenticator has no credential for the request.
    #[error("the authenticator `{authenticator}` has no credential: {why}")]
    NoCredential { authenticator: String, why: String },
    /// The request's deadline passed; whether the peer took the data is unknown.
    #[error("no answer within the time allowed")]
    Deadline,
    /// The connection ended before the answer; whether the peer took the data is unknown.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The peer says that it did not look at the request (GOAWAY, REFUSED_STREAM).
    #[error("the peer did not accept the request: {0}")]
    NotTaken(String),
    #[error("the answer is larger than {limit} bytes")]
    AnswerTooLarge { limit: usize },
    /// Whether the peer took the data is unknown.
    #[error("the memory budget has no room for more than the first {read} bytes of the answer")]
    AnswerWithoutRoom { read: usize },
    #[error("the answer cannot be read: {0}")]
    Malformed(String),
}

//! What a client is told once: target, TLS, protocol, limits. Plain values; nothing here reads a file or a clock.

use std::time::Duration;

use crate::config::client::{PemSource, TlsKeys};
use crate::config::tls::TlsTerms;
use crate::core::limits::RESPONSE_BYTES_MAX;
use crate::net::client::connect::proxy::Proxy;
use crate::net::client::target::Target;

/// Which HTTP the client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientHttp {
    /// Always HTTP/2: gRPC.
    Http2,
    /// HTTP/1.1 on plaintext; on TLS whatever ALPN agrees on.
    ByAgreement,
}

/// Which of a name's addresses are connected to, as gRPC calls it. Over HTTP/1.1 each new connection goes to the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balancer {
    /// The first that takes a connection.
    PickFirst,
    /// Each, and requests go to each in turn.
    RoundRobin,
}

/// Next hops move and are scaled: by then a name may lead elsewhere.
pub const AGE_MAX: Duration = Duration::from_secs(600);

#[derive(Clone, Debug)]
pub struct ClientSettings {
    pub target: Target,
    /// `None` is plaintext.
    pub tls: Option<TlsSettings>,
    pub speech: ClientHttp,
    /// The proxy that requests go by.
    pub proxy: Option<Proxy>,
    pub balance: Balancer,
    /// A connection older than this is replaced, up to a fifth later, so that those of many nodes do not move together.
    pub age_max: Duration,
    /// HTTP/2 connections kept in parallel; HTTP/1.1 opens as many as there are concurrent requests, up to `http1_max`.
    pub connections: usize,
    pub http1_max: usize,
    /// Name lookup, TCP connect and TLS handshake together, for each attempt.
    pub connect_timeout: Duration,
    /// HTTP/2 pings; off unless configured, because many servers punish frequent ones.
    pub keepalive: Option<Keepalive>,
    /// HTTP/1.1: an unused connection is closed after this.
    pub idle_timeout: Duration,
    /// Cap of an answer's body, also after decompression.
    pub response_bytes_max: usize,
}

impl ClientSettings {
    /// A proxy takes whole requests (RFC 9112, 3.2.2) in place of a tunnel to the target.
    pub fn is_forwarded(&self) -> bool {
        self.proxy.is_some() && self.tls.is_none() && self.speech == ClientHttp::ByAgreement
    }

    /// Where requests go, for people.
    pub fn address(&self) -> String {
        let target = self.target.authority();
        match &self.proxy {
            None => target.to_string(),
            Some(proxy) => format!("{target} by the proxy {}", proxy.target.authority()),
        }
    }

    /// Plaintext, one connection, defaults of the field; callers change what they were configured with.
    pub fn new(target: Target, speech: ClientHttp) -> ClientSettings {
        ClientSettings {
            target,
            tls: None,
            speech,
            proxy: None,
            balance: Balancer::RoundRobin,
            age_max: AGE_MAX,
            connections: 1,
            http1_max: 64,
            connect_timeout: Duration::from_secs(5),
            keepalive: None,
            idle_timeout: Duration::from_secs(90),
            response_bytes_max: RESPONSE_BYTES_MAX,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    pub interval: Duration,
    pub timeout: Duration,
    /// Ping also while no request is in flight.
    pub while_idle: bool,
}

/// Certificates and how strictly the server's is checked. Files are read again at every new connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// Certificates to trust; none means the system's.
    pub ca: Option<PemSource>,
    /// Trust the system's certificates beside `ca`.
    pub with_system_ca: bool,
    pub certificate: Option<PemSource>,
    pub key: Option<PemSource>,
    /// Encrypts without knowing to whom.
    pub skip_verify: bool,
    /// Name to check and to send as SNI in place of the target's host.
    pub server_name: Option<String>,
    pub terms: TlsTerms,
}

impl TlsSettings {
    /// What the keys of a `tls` block say.
    pub fn of(keys: &TlsKeys) -> TlsSettings {
        TlsSettings {
            ca: keys.ca.clone(),
            with_system_ca: keys.with_system_ca,
            certificate: keys.certificate.clone(),
            key: keys.key.clone(),
            skip_verify: keys.insecure_skip_verify,
            server_name: keys.server_name.clone(),
            terms: keys.terms.clone(),
        }
    }
}

//! The receiver's configuration: the Collector's keys, checked with their places, as the values the server runs on.
//!
//! What both doors share (sizes, paths, CORS) stands in [`Protocols`], because both ports answer both protocols; what
//! belongs to one listener stands in [`Door`].

use std::collections::BTreeSet;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};

use crate::config::auth::authenticator;
use crate::config::check::Section;
use crate::config::client::are_few;
use crate::config::server::{self, ServerTlsKeys};
use crate::config::value::address;
use crate::core::data::origin::Transport;
use crate::core::data::payload::Signal;
use crate::core::diagnostic::{Severity, code};
use crate::core::limits::REQUEST_BYTES_MAX;
use crate::core::node::Node;
use crate::core::stage::auth::AuthSide;
use crate::core::stage::factory::CheckContext;
use crate::net::compression::Encoding;
use crate::net::server::limits::{HTTP1_IDLE, ServerLimits};
use crate::net::server::listen::Endpoint;
use crate::receivers::otlp::guard::cors::Cors;

/// One listener.
#[derive(Clone, Debug, PartialEq)]
pub struct Door {
    /// `receivers::otlp::protocols::grpc`
    pub path: String,
    pub endpoint: Endpoint,
    pub limits: ServerLimits,
    pub tls: Option<ServerTlsKeys>,
    /// The id of its authenticator.
    pub auth: Option<String>,
}

/// What holds on every door.
#[derive(Clone, Debug, PartialEq)]
pub struct Protocols {
    pub grpc_bytes_max: u64,
    pub http_bytes_max: u64,
    pub grpc_metadata: bool,
    pub http_metadata: bool,
    /// By [`Signal::index`].
    pub paths: [String; 4],
    pub cors: Option<Cors>,
    pub response_headers: Vec<(HeaderName, HeaderValue)>,
    /// `None` takes every encoding there is.
    pub encodings: Option<Vec<Encoding>>,
    /// Requests with this header share memory by its value, not by pod or address.
    pub tenant_header: Option<HeaderName>,
    /// The authenticators of the protocols, for doors that have none of their own.
    pub grpc_auth: Option<String>,
    pub http_auth: Option<String>,
}

impl Default for Protocols {
    fn default() -> Protocols {
        Protocols {
            grpc_bytes_max: REQUEST_BYTES_MAX,
            http_bytes_max: REQUEST_BYTES_MAX,
            grpc_metadata: false,
            http_metadata: false,
            paths: ["/v1/traces", "/v1/metrics", "/v1/logs", "/v1development/profiles"].map(str::to_owned),
            cors: None,
            response_headers: Vec::new(),
            encodings: None,
            tenant_header: None,
            grpc_auth: None,
            http_auth: None,
        }
    }
}

impl Protocols {
    pub fn include_metadata(&self, transport: Transport) -> bool {
        match transport {
            Transport::Grpc => self.grpc_metadata,
            Transport::Http => self.http_metadata,
            Transport::Internal => false,
        }
    }

    pub fn signal_of(&self, path: &str) -> Option<Signal> {
        Signal::ALL.into_iter().find(|signal| self.paths[signal.index()] == path)
    }

    pub fn decodes(&self, encoding: Encoding) -> bool {
        encoding == Encoding::Identity || self.encodings.as_ref().is_none_or(|allowed| allowed.contains(&encoding))
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct OtlpConfig {
    pub doors: Vec<Door>,
    pub protocols: Protocols,
}

/// Checks the body; `None` after reporting at least one error.
pub fn check(cx: &CheckContext<'_>, node: &Node) -> Option<OtlpConfig> {
    let diagnostics = &cx.checks.diagnostics;
    let errors_before = errors(cx);
    let section = Section::new(node, cx.path.clone(), diagnostics);
    let mut config = OtlpConfig { doors: Vec::new(), protocols: Protocols::default() };
    match section.section("protocols") {
        Some(protocols) => {
            let grpc = protocols.section("grpc").map(|section| check_grpc(cx, section, &mut config.protocols));
            let http = protocols.section("http").map(|section| check_http(cx, section, &mut config.protocols));
            if grpc.is_none() && http.is_none() {
                protocols.missing::<()>("grpc", "at least one of `grpc` and `http`; their bodies may be empty");
            }
            config.doors = [grpc, http].into_iter().flatten().flatten().collect();
            protocols.finish();
        }
        None => {
            section.missing::<()>("protocols", "`protocols:` with at least one of `grpc:` and `http:`");
        }
    }
    section.finish();
    (errors(cx) == errors_before && !config.doors.is_empty()).then_some(config)
}

fn errors(cx: &CheckContext<'_>) -> usize {
    let found = cx.checks.diagnostics.sorted();
    found.iter().filter(|finding| finding.severity == Severity::Error).count()
}

fn check_grpc(cx: &CheckContext<'_>, section: Section<'_>, protocols: &mut Protocols) -> Option<Door> {
    let mut limits = ServerLimits::default();
    let endpoint = check_endpoint(cx, &section, "localhost:4317");
    // Zero means the default, as in the Collector.
    if let Some(mebibytes) = section.u64("max_recv_msg_size_mib").filter(|mebibytes| *mebibytes > 0) {
        match mebibytes.checked_mul(1 << 20).filter(|bytes| *bytes <= u64::from(u32::MAX)) {
            Some(bytes) => protocols.grpc_bytes_max = bytes,
            None => {
                protocols.grpc_bytes_max = u64::from(u32::MAX);
                let message = "this is more than a gRPC message can be: 4 GiB is the limit";
                section.warn("max_recv_msg_size_mib", code::LINT, message, Some("at most 4095 means something"));
            }
        }
    }
    if let Some(streams) = section.u64("max_concurrent_streams").filter(|streams| *streams > 0) {
        limits.streams_max = u32::try_from(streams).unwrap_or(u32::MAX);
    }
    protocols.grpc_metadata = section.bool("include_metadata").unwrap_or_default();
    for key in ["read_buffer_size", "write_buffer_size"] {
        section.without_effect(key, "podgate sizes its buffers by the memory budget");
    }
    if let Some(keepalive) = section.section("keepalive") {
        check_keepalive(keepalive, &mut limits);
    }
    let tls = server::tls(&section);
    let auth = authenticator(&section, cx.checks, AuthSide::Server);
    protocols.grpc_auth.clone_from(&auth);
    section.not_yet(&["middlewares"]);
    check_own_limits(&section, &mut limits, protocols);
    let path = section.path().to_owned();
    section.finish();
    endpoint.map(|endpoint| Door { path, endpoint, limits, tls, auth })
}

fn check_keepalive(section: Section<'_>, limits: &mut ServerLimits) {
    if let Some(parameters) = section.section("server_parameters") {
        limits.idle = nonzero(parameters.duration("max_connection_idle")).or(limits.idle);
        limits.age = nonzero(parameters.duration("max_connection_age")).or(limits.age);
        limits.age_grace = nonzero(parameters.duration("max_connection_age_grace")).unwrap_or(limits.age_grace);
        limits.ping_interval = nonzero(parameters.duration("time")).or(limits.ping_interval);
        limits.ping_timeout = nonzero(parameters.duration("timeout")).unwrap_or(limits.ping_timeout);
        parameters.finish();
    }
    let why = "podgate caps PING frames a second instead (podgate.control_frames_per_second)";
    section.without_effect("enforcement_policy", why);
    section.finish();
}

fn check_http(cx: &CheckContext<'_>, section: Section<'_>, protocols: &mut Protocols) -> Option<Door> {
    let mut limits = ServerLimits { idle: Some(HTTP1_IDLE), ..ServerLimits::default() };
    let endpoint = check_endpoint(cx, &section, "localhost:4318");
    if let Some(bytes) = section.bytes("max_request_body_size").filter(|bytes| *bytes > 0) {
        protocols.http_bytes_max = bytes;
    }
    protocols.http_metadata = section.bool("include_metadata").unwrap_or_default();
    check_paths(&section, protocols);
    limits.head = nonzero(section.duration("read_header_timeout")).unwrap_or(limits.head);
    limits.body = nonzero(section.duration("read_timeout")).unwrap_or(limits.body);
    limits.write_stall = nonzero(section.duration("write_timeout")).unwrap_or(limits.write_stall);
    limits.idle = nonzero(section.duration("idle_timeout")).or(limits.idle);
    limits.keep_alive = section.bool("keep_alives_enabled").unwrap_or(true);
    protocols.response_headers = check_response_headers(&section);
    protocols.encodings = check_encodings(&section);
    protocols.cors = section.section("cors").map(check_cors);
    let tls = server::tls(&section);
    let auth = authenticator(&section, cx.checks, AuthSide::Server);
    protocols.http_auth.clone_from(&auth);
    section.not_yet(&["middlewares"]);
    check_own_limits(&section, &mut limits, protocols);
    let path = section.path().to_owned();
    section.finish();
    endpoint.map(|endpoint| Door { path, endpoint, limits, tls, auth })
}

fn check_paths(section: &Section<'_>, protocols: &mut Protocols) {
    let keys = ["traces_url_path", "metrics_url_path", "logs_url_path", "profiles_url_path"];
    for (key, path) in keys.into_iter().zip(&mut protocols.paths) {
        let Some(text) = section.string(key).filter(|text| !text.is_empty()) else { continue };
        // The Collector puts the missing slash in front.
        let text = if text.starts_with('/') { text } else { format!("/{text}") };
        if text.parse::<http::uri::PathAndQuery>().is_ok_and(|parsed| parsed.query().is_none()) {
            *path = text;
        } else {
            section.invalid::<()>(key, format!("{text:?} is not a path"), "a URL path such as /v1/traces");
        }
    }
    let mut seen = BTreeSet::new();
    for (key, path) in keys.into_iter().zip(&protocols.paths) {
        if !seen.insert(path) {
            section.invalid::<()>(key, format!("{path:?} is the path of another signal"), "a path of its own");
        }
    }
}

fn check_response_headers(section: &Section<'_>) -> Vec<(HeaderName, HeaderValue)> {
    let pairs = section.string_map("response_headers").unwrap_or_default();
    if !are_few(section, "response_headers", pairs.len()) {
        return Vec::new();
    }
    let headers = pairs.into_iter().filter_map(|(name, value)| {
        let header = HeaderName::try_from(&name).ok().zip(HeaderValue::try_from(&value).ok());
        header.or_else(|| section.invalid("response_headers", format!("{name:?} is not a header"), "names and values"))
    });
    headers.collect()
}

fn check_encodings(section: &Section<'_>) -> Option<Vec<Encoding>> {
    let names = section.strings("compression_algorithms")?;
    let encodings = names.iter().filter_map(|name| {
        if name == "lz4" {
            let message = "podgate does not decode lz4: requests that are compressed so are answered with 415";
            section.warn("compression_algorithms", code::IGNORED_KEY, message, None);
            return None;
        }
        Encoding::parse(name).or_else(|| {
            let message = format!("{name:?} is not known here");
            section.invalid("compression_algorithms", message, "gzip, zstd, deflate, zlib, snappy or x-snappy-framed")
        })
    });
    Some(encodings.collect())
}

fn check_cors(section: Section<'_>) -> Cors {
    let lower = |texts: Vec<String>| texts.into_iter().map(|text| text.to_ascii_lowercase());
    let cors = Cors {
        allowed_origins: lower(section.strings("allowed_origins").unwrap_or_default()).collect(),
        allowed_headers: lower(section.strings("allowed_headers").unwrap_or_default()).collect(),
        exposed_headers: section.strings("exposed_headers").unwrap_or_default(),
        max_age_seconds: section.u64("max_age").filter(|seconds| *seconds > 0),
    };
    section.finish();
    cors
}

/// Limits of ours; deleting the block gives a Collector's configuration.
fn check_own_limits(section: &Section<'_>, limits: &mut ServerLimits, protocols: &mut Protocols) {
    let Some(own) = section.section("podgate") else { return };
    let count = |key: &str, default: usize| match own.usize(key) {
        Some(0) => own.invalid(key, "zero would let nothing in", "a number of 1 or more").unwrap_or(default),
        other => other.unwrap_or(default),
    };
    let wait = |key: &str, default: Duration| nonzero(own.duration(key)).unwrap_or(default);
    limits.connections_max = count("max_connections", limits.connections_max);
    limits.connections_per_address_max = count("max_connections_per_address", limits.connections_per_address_max);
    limits.drains_max = count("max_refused_bodies", limits.drains_max);
    let frames = count("control_frames_per_second", limits.control_frames_per_second as usize);
    limits.control_frames_per_second = u32::try_from(frames).unwrap_or(u32::MAX);
    limits.first_byte = wait("first_byte_timeout", limits.first_byte);
    limits.preface = wait("preface_timeout", limits.preface);
    limits.head = wait("head_timeout", limits.head);
    limits.body_grace = wait("body_grace", limits.body_grace);
    limits.body = wait("body_timeout", limits.body);
    limits.body_bytes_per_second = own.bytes("min_body_rate").unwrap_or(limits.body_bytes_per_second);
    limits.write_stall = wait("write_stall_timeout", limits.write_stall);
    if let Some(name) = own.string("tenant_header") {
        match HeaderName::try_from(&name) {
            Ok(header) => protocols.tenant_header = Some(header),
            Err(_) => {
                own.invalid::<()>("tenant_header", format!("{name:?} is not a header"), "a header name");
            }
        }
    }
    own.finish();
}

/// Go reads zero as "no limit"; here it leaves podgate's.
fn nonzero(duration: Option<Duration>) -> Option<Duration> {
    duration.filter(|duration| !duration.is_zero())
}

fn check_endpoint(cx: &CheckContext<'_>, section: &Section<'_>, default: &str) -> Option<Endpoint> {
    let transports = [("tcp", false), ("tcp4", false), ("tcp6", false), ("unix", true)];
    let unix = section.choice("transport", &transports).unwrap_or(false);
    section.string("endpoint");
    let text = section.node("endpoint").and_then(address::text).filter(|text| !text.is_empty());
    let text = text.unwrap_or_else(|| default.to_owned());
    let parsed =
        if unix || text.starts_with("unix:") { Endpoint::parse_unix(&text) } else { Endpoint::parse_tcp(&text) };
    match parsed {
        Ok(endpoint) => {
            address::warn_of_every_interface(section, "endpoint", matches!(endpoint, Endpoint::All { .. }));
            claim(cx, section, &endpoint);
            Some(endpoint)
        }
        Err(why) => section.invalid("endpoint", why, "host:port such as localhost:4317, 0.0.0.0:4317 or :4317"),
    }
}

/// Two listeners on one port are found here and not at start.
fn claim(cx: &CheckContext<'_>, section: &Section<'_>, endpoint: &Endpoint) {
    let Some(fixed) = endpoint.fixed_address() else { return };
    if let Some(other) = cx.checks.claim_address(fixed, section.path(), section.place_of("endpoint")) {
        let message = format!("{endpoint} is already taken by {other}");
        section.error("endpoint", code::CONFLICT, message, Some("give each listener a port of its own"));
    }
}

#[cfg(test)]
mod tests;

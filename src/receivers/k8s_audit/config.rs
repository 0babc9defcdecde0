//! The receiver's keys, checked with their places.

use std::time::Duration;

use crate::config::auth::authenticator;
use crate::config::check::Section;
use crate::config::server::{self, ServerTlsKeys};
use crate::config::value::address;
use crate::core::diagnostic::{Severity, code};
use crate::core::limits::REQUEST_BYTES_MAX;
use crate::core::node::Node;
use crate::core::stage::auth::AuthSide;
use crate::core::stage::factory::CheckContext;
use crate::kube::audit::form::{self, EventForm};
use crate::net::server::limits::ServerLimits;
use crate::net::server::listen::Endpoint;

/// Where the API server finds the receiver when nothing else is said.
const ENDPOINT: &str = "localhost:9880";
const PATH: &str = "/audit";

#[derive(Clone, Debug, PartialEq)]
pub struct AuditConfig {
    pub endpoint: Endpoint,
    pub path: String,
    pub tls: Option<ServerTlsKeys>,
    /// The id of its authenticator.
    pub auth: Option<String>,
    pub bytes_max: u64,
    pub limits: ServerLimits,
    pub form: EventForm,
    pub duplicates_window: usize,
}

/// Checks the body; `None` after reporting at least one error.
pub fn check(cx: &CheckContext<'_>, node: &Node) -> Option<AuditConfig> {
    let errors_before = errors(cx);
    let section = Section::new(node, cx.path.clone(), &cx.checks.diagnostics);
    let endpoint = check_endpoint(cx, &section);
    let path = check_path(&section);
    let tls = server::tls(&section);
    let auth = authenticator(&section, cx.checks, AuthSide::Server);
    let bytes_max = section.bytes("max_request_body_size").filter(|bytes| *bytes > 0).unwrap_or(REQUEST_BYTES_MAX);
    let form = EventForm::check(&section);
    let duplicates_window = form::check_window(&section);
    let idle = section.duration("idle_timeout").filter(|wait| !wait.is_zero()).unwrap_or(Duration::from_secs(300));
    section.finish();
    let limits = ServerLimits { idle: Some(idle), ..ServerLimits::default() };
    let config = AuditConfig { endpoint: endpoint?, path, tls, auth, bytes_max, limits, form, duplicates_window };
    (errors(cx) == errors_before).then_some(config)
}

fn errors(cx: &CheckContext<'_>) -> usize {
    let found = cx.checks.diagnostics.sorted();
    found.iter().filter(|finding| finding.severity == Severity::Error).count()
}

fn check_endpoint(cx: &CheckContext<'_>, section: &Section<'_>) -> Option<Endpoint> {
    section.string("endpoint");
    let text = section.node("endpoint").and_then(address::text).filter(|text| !text.is_empty());
    match Endpoint::parse_tcp(&text.unwrap_or_else(|| ENDPOINT.to_owned())) {
        Ok(endpoint) => {
            address::warn_of_every_interface(section, "endpoint", matches!(endpoint, Endpoint::All { .. }));
            let other = endpoint
                .fixed_address()
                .and_then(|fixed| cx.checks.claim_address(fixed, section.path(), section.place_of("endpoint")));
            if let Some(other) = other {
                let message = format!("{endpoint} is already taken by {other}");
                section.error("endpoint", code::CONFLICT, message, Some("give each listener a port of its own"));
            }
            Some(endpoint)
        }
        Err(why) => section.invalid("endpoint", why, "host:port such as localhost:9880 or 0.0.0.0:9880"),
    }
}

fn check_path(section: &Section<'_>) -> String {
    let Some(text) = section.string("path").filter(|text| !text.is_empty()) else { return PATH.to_owned() };
    let is_path =
        text.starts_with('/') && text.parse::<http::uri::PathAndQuery>().is_ok_and(|parsed| parsed.query().is_none());
    if !is_path {
        section.invalid::<()>("path", format!("{text:?} is not a path"), "a URL path such as /audit");
    }
    text
}

//! `podgate: {target: elasticsearch}`: the name that docs/elastic.md has for where this exporter sends anyway. Written, what
//! Elasticsearch cannot take is an error; the names of other targets are refused with the exporter that has them.

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::config::check::Section;
use crate::config::client::authorization;
use crate::core::diagnostic::code;
use crate::net::client::settings::ClientSettings;

/// The targets of docs/elastic.md, and which exporter has each.
const NAMES: &[(&str, Option<&str>)] = &[
    ("elasticsearch", None),
    ("apm_server", Some("otlp_grpc or otlp_http")),
    ("elastic_agent", Some("otlp_grpc or otlp_http")),
    ("managed_otlp", Some("otlp_http or otlp_grpc")),
];

/// Reads `target` of the `podgate` block; true when it says elasticsearch.
pub fn read(own: &Section<'_>) -> bool {
    match own.choice("target", NAMES) {
        None => false,
        Some(None) => true,
        Some(Some(exporters)) => {
            let message = "this exporter writes documents by _bulk, which this target does not take";
            let help = format!("use {exporters} for it, or write target: elasticsearch (docs/elastic.md)");
            own.error("target", code::CONFLICT, message, Some(&help));
            false
        }
    }
}

/// What Elasticsearch's `_bulk` cannot take.
pub fn check(keys: &Section<'_>, nodes: &[ClientSettings], headers: &HeaderMap) {
    if nodes.iter().any(|node| node.target.path.contains("/_otlp")) {
        let key = if keys.node("endpoint").is_some_and(|node| !node.is_null()) { "endpoint" } else { "endpoints" };
        let message = "below /_otlp Elasticsearch takes OTLP, and this exporter writes documents by _bulk";
        let help = "remove the path, or use otlp_http with podgate: {target: elasticsearch}";
        keys.error(key, code::CONFLICT, message, Some(help));
    }
    // Credentials of keys of their own have their own checks.
    let by_keys = ["api_key", "user"].iter().any(|key| keys.node(key).is_some_and(|node| !node.is_null()));
    if let Some(given) = headers.get(AUTHORIZATION).filter(|_| !by_keys) {
        let known = ["ApiKey", "Basic", "Bearer"];
        authorization(keys, given, Some(&known), "write api_key: <base64 of id:key> instead of the header");
    }
}

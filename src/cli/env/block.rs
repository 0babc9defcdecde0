//! The variables themselves: where podgate is, and who the container is.

use std::fmt::Write as _;

use crate::cli::env::args::{Args, EndpointMode};

/// Both ports take gRPC and HTTP, so one endpoint serves every SDK.
const PORT: u16 = 4317;

/// Without TLS inside of a node or a pod: always http, which an SDK's gRPC exporter reads as "insecure".
pub fn endpoint(args: &Args) -> String {
    match (args.mode, args.ipv6) {
        (EndpointMode::Hostport, false) => format!("http://$(NODE_IP):{PORT}"),
        (EndpointMode::Hostport, true) => format!("http://[$(NODE_IP)]:{PORT}"),
        (EndpointMode::Service, _) => format!("http://{}:{PORT}", args.service),
        (EndpointMode::Sidecar, _) => format!("http://localhost:{PORT}"),
    }
}

/// The `env:` of one container. `attributes` are those that it sets already; they stay in front. `indent` in blanks.
pub fn variables(args: &Args, container: &str, attributes: Option<&str>, indent: usize) -> String {
    let pad = " ".repeat(indent);
    let own = format!("k8s.pod.uid=$(POD_UID),k8s.container.name={}", encoded(container));
    let attributes = match attributes.map(|text| text.trim_end_matches(',')).filter(|text| !text.is_empty()) {
        Some(attributes) => format!("{attributes},{own}"),
        None => own,
    };
    let mut yaml = format!("{pad}env:\n");
    // A variable is known to those that are written below it.
    if args.mode == EndpointMode::Hostport {
        yaml.push_str(&node_ip(indent + 2));
    }
    let _ = write!(
        yaml,
        "{pad}  - name: POD_UID\n{pad}    valueFrom:\n{pad}      fieldRef:\n{pad}        fieldPath: metadata.uid\n\
         {pad}  - name: OTEL_EXPORTER_OTLP_ENDPOINT\n{pad}    value: {}\n\
         {pad}  - name: OTEL_RESOURCE_ATTRIBUTES\n{pad}    value: {}\n",
        quoted(&endpoint(args)),
        quoted(&attributes),
    );
    yaml
}

pub fn node_ip(indent: usize) -> String {
    let pad = " ".repeat(indent);
    format!("{pad}- name: NODE_IP\n{pad}  valueFrom:\n{pad}    fieldRef:\n{pad}      fieldPath: status.hostIP\n")
}

/// A value of OTEL_RESOURCE_ATTRIBUTES: commas, equals signs and percent signs are percent-encoded (OTel resource SDK).
fn encoded(text: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-._~/:".contains(letter);
    let mut out = String::new();
    for letter in text.chars() {
        if plain(letter) {
            out.push(letter);
        } else {
            out.extend(letter.to_string().bytes().map(|byte| format!("%{byte:02X}")));
        }
    }
    out
}

/// YAML in double quotes, which is JSON's own form.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

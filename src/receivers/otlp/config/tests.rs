//! What the check accepts, what it makes of it, and what it says of the rest.

use super::*;
use crate::config::tls::TlsTerms;
use crate::core::diagnostic::Diagnostic;
use crate::core::stage::factory::Checks;
use crate::testing::check as kit;

fn checked(yaml: &str) -> (Option<OtlpConfig>, Vec<Diagnostic>) {
    checked_with(&Checks::default(), yaml)
}

fn checked_with(checks: &Checks, yaml: &str) -> (Option<OtlpConfig>, Vec<Diagnostic>) {
    let config = kit::run(checks, "receivers::otlp", &kit::node(yaml), check);
    (config, checks.diagnostics.sorted())
}

fn accepted(yaml: &str) -> OtlpConfig {
    let (config, found) = checked(yaml);
    config.unwrap_or_else(|| panic!("{yaml}: {found:?}"))
}

#[test]
fn null_bodies_are_defaults_on_loopback() {
    let config = accepted("protocols:\n  grpc:\n  http:\n");
    let endpoints: Vec<String> = config.doors.iter().map(|door| door.endpoint.to_string()).collect();
    assert_eq!(endpoints, ["localhost:4317", "localhost:4318"]);
    assert_eq!(config.protocols, Protocols::default());
    assert_eq!((config.protocols.grpc_bytes_max, config.protocols.http_bytes_max), (64 << 20, 64 << 20));
    assert_eq!(accepted("protocols: {http: {}}").doors.len(), 1);
}

#[test]
fn endpoints_of_the_field_are_accepted() {
    for (written, endpoint) in [
        ("':4317'", ":4317"),
        ("0.0.0.0:4317", "0.0.0.0:4317"),
        ("localhost:4317", "localhost:4317"),
        ("'[::]:4317'", "[::]:4317"),
        ("''", "localhost:4317"),
        ("unix:///run/otlp.sock", "unix:/run/otlp.sock"),
    ] {
        let config = accepted(&format!("protocols: {{grpc: {{endpoint: {written}}}}}"));
        assert_eq!(config.doors[0].endpoint.to_string(), endpoint);
    }
}

#[test]
fn the_collectors_keys_become_limits() {
    let config = accepted(
        "protocols:
  grpc:
    max_recv_msg_size_mib: 20
    max_concurrent_streams: 7
    include_metadata: true
    read_buffer_size: 524288
    keepalive:
      server_parameters: {max_connection_idle: 11s, max_connection_age: 60s, max_connection_age_grace: 5s, time: 30s, timeout: 9s}
      enforcement_policy: {min_time: 10s}
  http:
    endpoint: 127.0.0.1:4318
    max_request_body_size: 1048576
    traces_url_path: custom/traces
    read_header_timeout: 3s
    read_timeout: 20s
    write_timeout: 4s
    idle_timeout: 33s
    keep_alives_enabled: false
    compression_algorithms: ['', gzip]
    response_headers: {X-Served-By: podgate}
    cors: {allowed_origins: ['HTTPS://*.Example'], allowed_headers: [X-A], max_age: 60}
    podgate: {max_connections: 5, min_body_rate: 1KiB, tenant_header: X-Team}
",
    );
    let [grpc, http] = &config.doors[..] else { panic!() };
    assert_eq!((grpc.limits.streams_max, grpc.limits.idle), (7, Some(Duration::from_secs(11))));
    assert_eq!((grpc.limits.age, grpc.limits.age_grace), (Some(Duration::from_secs(60)), Duration::from_secs(5)));
    assert_eq!((http.limits.head, http.limits.body), (Duration::from_secs(3), Duration::from_secs(20)));
    assert_eq!((http.limits.write_stall, http.limits.idle), (Duration::from_secs(4), Some(Duration::from_secs(33))));
    assert_eq!(
        (http.limits.connections_max, http.limits.body_bytes_per_second, http.limits.keep_alive),
        (5, 1024, false)
    );
    let protocols = config.protocols;
    assert_eq!((protocols.grpc_bytes_max, protocols.http_bytes_max), (20 << 20, 1 << 20));
    assert_eq!((protocols.grpc_metadata, protocols.http_metadata), (true, false));
    assert_eq!(protocols.signal_of("/custom/traces"), Some(Signal::Traces));
    assert_eq!(protocols.signal_of("/v1/traces"), None);
    assert!(protocols.decodes(Encoding::Gzip) && !protocols.decodes(Encoding::Zstd));
    assert_eq!(protocols.cors.unwrap().allowed_origins, ["https://*.example"]);
    assert_eq!(protocols.tenant_header.unwrap(), "x-team");
}

#[test]
fn faults_are_found_all_at_once_with_their_keys() {
    let (config, found) = checked(
        "protocols:
  grpc: {endpoint: 'http://x:1', max_recv_msg_size_mib: -1, endpiont: x, tls: {cert_file: a}}
  http: {logs_url_path: /v1/traces, max_request_body_size: big, podgate: {max_connections: 0}}
  thrift:
",
    );
    assert_eq!(config, None);
    let paths: Vec<&str> = found.iter().map(|finding| finding.path.as_str()).collect();
    for path in [
        "receivers::otlp::protocols::grpc::endpoint",
        "receivers::otlp::protocols::grpc::max_recv_msg_size_mib",
        "receivers::otlp::protocols::grpc::endpiont",
        "receivers::otlp::protocols::grpc::tls::key_file",
        "receivers::otlp::protocols::http::logs_url_path",
        "receivers::otlp::protocols::http::max_request_body_size",
        "receivers::otlp::protocols::http::podgate::max_connections",
        "receivers::otlp::protocols::thrift",
    ] {
        assert!(paths.contains(&path), "{path} is missing in {paths:?}");
    }
}

#[test]
fn a_tls_block_is_read_and_null_is_none() {
    let tls = |keys: &str| accepted(&format!("protocols: {{grpc: {{tls: {keys}}}}}")).doors.remove(0).tls;
    assert_eq!(tls("null"), None);
    let read =
        tls("{cert_file: /c, key_pem: text, client_ca_file: /a, min_version: '1.3', reload_interval: 1m}").unwrap();
    assert_eq!(
        (read.terms.with_1_2, read.terms.with_1_3, read.reload_interval),
        (false, true, Duration::from_secs(60))
    );
    assert!(format!("{read:?}").contains("/c") && !format!("{read:?}").contains("text"), "{read:?}");
    let defaults = tls("{cert_file: /c, key_file: /k, min_version: '', client_ca_file: ''}").unwrap();
    assert_eq!((defaults.terms, defaults.client_ca), (TlsTerms::default(), None));
    assert_eq!(defaults.reload_interval, Duration::from_secs(10));
}

#[test]
fn what_is_wrong_in_a_tls_block_is_found_at_once() {
    for (keys, code, path, says) in [
        ("{}", code::MISSING_KEY, "cert_file", "required"),
        ("{cert_file: /c}", code::MISSING_KEY, "key_file", "required"),
        ("{cert_file: /c, cert_pem: x, key_file: /k}", code::INVALID_VALUE, "cert_pem", "beside"),
        ("{cert_file: /c, key_file: /k, min_version: '1.0'}", code::NOT_YET, "min_version", "broken"),
        ("{cert_file: /c, key_file: /k, min_version: '1.4'}", code::INVALID_VALUE, "min_version", "1.4"),
        (
            "{cert_file: /c, key_file: /k, min_version: '1.3', max_version: '1.2'}",
            code::INVALID_VALUE,
            "max_version",
            "below",
        ),
        (
            "{cert_file: /c, key_file: /k, cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]}",
            code::NOT_YET,
            "cipher_suites",
            "CBC",
        ),
        (
            "{cert_file: /c, key_file: /k, max_version: '1.2', cipher_suites: [TLS_AES_128_GCM_SHA256]}",
            code::INVALID_VALUE,
            "cipher_suites",
            "1.2",
        ),
        ("{cert_file: /c, key_file: /k, cipher_suites: [TLS_X]}", code::INVALID_VALUE, "cipher_suites", "TLS_X"),
        ("{cert_file: /c, key_file: /k, curve_preferences: [P521]}", code::NOT_YET, "curve_preferences", "P521"),
        ("{cert_file: /c, key_file: /k, tpm: {enabled: true}}", code::NOT_YET, "tpm", "tpm"),
        ("{cert_file: /c, key_file: /k, cert: /c}", code::UNKNOWN_KEY, "cert", "cert"),
    ] {
        let (config, found) = checked(&format!("protocols: {{http: {{tls: {keys}}}}}"));
        let path = format!("receivers::otlp::protocols::http::tls::{path}");
        let is_it =
            |finding: &Diagnostic| finding.code == code && finding.path == path && finding.message.contains(says);
        assert!(config.is_none() && found.iter().any(is_it), "{keys}: {found:?}");
    }
    let (config, found) = checked("protocols: {http: {tls: {cert_file: /c, key_file: /k, ca_file: /a}}}");
    assert!(config.is_some() && found[0].code == code::IGNORED_KEY, "{found:?}");
}

#[test]
fn at_least_one_protocol_is_required() {
    for yaml in ["{}", "protocols:", "protocols: {}"] {
        let (config, found) = checked(yaml);
        assert_eq!((config, found.len()), (None, 1), "{yaml} {found:?}");
    }
}

#[test]
fn two_listeners_on_one_port_are_found_before_start() {
    let checks = Checks::default();
    assert!(checked_with(&checks, "protocols: {grpc: {endpoint: '0.0.0.0:4317'}}").0.is_some());
    assert!(checked_with(&checks, "protocols: {grpc: {endpoint: '127.0.0.1:4318'}}").0.is_some());
    let (config, found) = checked_with(&checks, "protocols: {http: {endpoint: 'localhost:4317'}}");
    assert_eq!((config, found[0].code), (None, code::CONFLICT));
}

#[test]
fn a_fault_elsewhere_does_not_take_this_receiver_along() {
    let checks = Checks::default();
    assert!(checked_with(&checks, "{}").0.is_none());
    assert!(checked_with(&checks, "protocols: {grpc: {write_buffer_size: 1}}").0.is_some());
}

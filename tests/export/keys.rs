//! What `validate` says about exporters' keys: every fault with its place, nothing ignored in silence.

use crate::harness::checked;

fn findings(name: &str, body: &str) -> String {
    checked(name, body).1.join("\n")
}

#[tokio::test]
async fn bodies_of_the_field_are_accepted_without_a_word() {
    for (name, body) in [
        ("otlp_grpc", "{endpoint: 'example-opentelemetry-collector:4317', tls: {insecure: true}}"),
        ("otlp_grpc", "{endpoint: 'https://apm.example.com:443', headers: {Authorization: 'ApiKey secret'}}"),
        ("otlp_grpc", "{endpoint: 'dns:///gateway:4317', keepalive: {time: 30s, timeout: 5s}, compression: zstd}"),
        (
            "otlp_grpc",
            "{endpoint: 'a:1', sending_queue: {enabled: true, num_consumers: 4, queue_size: 100, sizer: items}}",
        ),
        ("otlp_grpc", "{endpoint: 'a:1', sending_queue: , retry_on_failure: }"),
        ("otlp_grpc", "{endpoint: 'a:1', retry_on_failure: {enabled: true, max_elapsed_time: 0s, multiplier: 2}}"),
        ("otlp_http", "{endpoint: 'http://gateway:4318', compression: none, encoding: proto, timeout: 10s}"),
        ("otlp_http", "{traces_endpoint: 'http://a:4318/v1/traces', logs_endpoint: 'https://b/v1/logs'}"),
        ("otlp_http", "{endpoint: 'https://b', tls: {ca_file: /ca.pem, cert_file: /c.pem, key_file: /k.pem}}"),
        (
            "otlp_http",
            "{endpoint: 'https://b', sending_queue: {batch: {min_size: 10, max_size: 20}, sizer: bytes, queue_size: 1000000}}",
        ),
    ] {
        let (bench, found) = checked(name, body);
        assert!(bench.is_some() && found.is_empty(), "{body}: {found:?}");
    }
}

#[tokio::test]
async fn every_fault_is_an_error_that_names_its_key() {
    for (name, body, wanted) in [
        ("otlp_grpc", "{}", "E0204 exporters::otlp_grpc::endpoint"),
        ("otlp_grpc", "{endpoint: gateway}", "has no port"),
        ("otlp_grpc", "{endpoint: 'http://gateway/path:1'}", "E0203 exporters::otlp_grpc::endpoint"),
        ("otlp_grpc", "{endpoint: 'http://gateway:1/v1/traces'}", "a gRPC endpoint has no path"),
        ("otlp_http", "{}", "E0204 exporters::otlp_http::endpoint"),
        ("otlp_http", "{endpoint: 'gateway:4318'}", "has no scheme"),
        ("otlp_http", "{endpoint: 'ftp://gateway:4318'}", "is not a scheme"),
        ("otlp_grpc", "{endpoint: 'a:1', sending_queue: {storage: '1 2'}}", "is no id"),
        (
            "otlp_grpc",
            "{endpoint: 'a:1', sending_queue: {storage: file_storage, wait_for_result: true}}",
            "with `wait_for_result` the acknowledgement comes after delivery",
        ),
        ("otlp_grpc", "{endpoint: 'a:1', sending_queue: {num_consumers: 0}}", "num_consumers"),
        (
            "otlp_grpc",
            "{endpoint: 'a:1', sending_queue: {queue_sise: 1}}",
            "E0201 exporters::otlp_grpc::sending_queue::queue_sise",
        ),
        (
            "otlp_grpc",
            "{endpoint: 'a:1', sending_queue: {sizer: spans}}",
            "E0203 exporters::otlp_grpc::sending_queue::sizer",
        ),
        ("otlp_grpc", "{endpoint: 'a:1', sending_queue: {batch: {min_size: 9, max_size: 3}}}", "is below `min_size`"),
        (
            "otlp_grpc",
            "{endpoint: 'a:1', sending_queue: {sizer: items, queue_size: 5, batch: {min_size: 9}}}",
            "can never be reached",
        ),
        ("otlp_grpc", "{endpoint: 'a:1', retry_on_failure: {randomization_factor: 2}}", "randomization_factor"),
        ("otlp_grpc", "{endpoint: 'a:1', retry_on_failure: {max_elapsed_time: 1s}}", "nothing is ever retried"),
        ("otlp_grpc", "{endpoint: 'a:1', compression: deflate}", "E0203 exporters::otlp_grpc::compression"),
        ("otlp_grpc", "{endpoint: 'a:1', compression_params: {level: 1}}", "E0201"),
        ("otlp_http", "{endpoint: 'http://a', compression: lz4}", "E0205 exporters::otlp_http::compression"),
        ("otlp_http", "{endpoint: 'http://a', compression_params: {level: 10}}", "10 is no level"),
        ("otlp_http", "{endpoint: 'http://a', compression: snappy, compression_params: {level: 1}}", "1 is no level"),
        ("otlp_grpc", "{endpoint: 'a:1', compression: brotli}", "E0203 exporters::otlp_grpc::compression"),
        ("otlp_grpc", "{endpoint: 'a:1', auth: {}}", "`authenticator` is required"),
        ("otlp_grpc", "{endpoint: 'a:1', headers: {'bad name': x}}", "is not a header name"),
        ("otlp_grpc", "{endpoint: 'a:1', headers: {te: x}}", "set by the exporter itself"),
        ("otlp_grpc", "{endpoint: 'a:1', tls: {cert_file: /c.pem}}", "`cert_file` without `key_file`"),
        ("otlp_grpc", "{endpoint: 'a:1', tls: {min_version: '1.0'}}", "E0205 exporters::otlp_grpc::tls::min_version"),
        ("otlp_grpc", "{endpoint: 'a:1', podgate: {connections: 0}}", "0 connections"),
        ("otlp_grpc", "{endpoint: 'a:1', podgate: {connection_age: 1s}}", "1s is outside"),
        ("otlp_grpc", "{endpoint: 'a:1', balancer_name: grpclb}", "E0203 exporters::otlp_grpc::balancer_name"),
        ("otlp_http", "{endpoint: 'http://a', encoding: json}", "E0205 exporters::otlp_http::encoding"),
        ("otlp_http", "{endpoint: 'http://a', proxy_url: 'proxy:1'}", "E0203 exporters::otlp_http::proxy_url"),
        ("otlp_http", "{endpoint: 'http://a', proxy_url: 'socks5://p'}", "proxies by socks5 are not supported"),
        ("elasticsearch", "{endpoint: 'http://a', proxy_url: 'http://'}", "no usable host and port"),
        ("otlp_grpc", "{endpoint: 'a:1', proxy_url: 'http://p'}", "E0201 exporters::otlp_grpc::proxy_url"),
    ] {
        let found = findings(name, body);
        assert!(found.contains(wanted), "{body}:\n{found}");
    }
}

#[tokio::test]
async fn a_secret_header_value_is_in_no_message() {
    let found = findings("otlp_grpc", "{endpoint: 'a:1', headers: {Authorization: \"hush\\nhush\"}}");
    assert!(found.contains("authorization") || found.contains("Authorization"), "{found}");
    assert!(!found.contains("hush"), "{found}");
}

#[tokio::test]
async fn keys_without_effect_are_said_once() {
    let found =
        findings("otlp_grpc", "{endpoint: 'a:1', balancer_name: pick_first, wait_for_ready: true, user_agent: me}");
    assert_eq!(found.matches("W0402").count(), 2, "{found}");
}

#[tokio::test]
async fn pings_that_are_asked_for_more_often_than_they_are_sent_are_a_warning() {
    for (time, is_told) in [("5s", true), ("0s", true), ("10s", false), ("2m", false)] {
        let found = findings("otlp_grpc", &format!("{{endpoint: 'a:1', keepalive: {{time: {time}}}}}"));
        assert_eq!(
            found.contains("exporters::otlp_grpc::keepalive::time") && found.contains("10s"),
            is_told,
            "{found}"
        );
    }
}

//! The Collector's keys for Elasticsearch: what is taken, what is said about retired ones, and that every fault has its place.

use crate::harness::checked;

fn findings(body: &str) -> Vec<String> {
    let body = if body.contains("endpoint") || body.contains("cloudid") {
        format!("{{{body}}}")
    } else {
        format!("{{endpoint: 'http://es:9200', {body}}}")
    };
    checked("elasticsearch", &body).1
}

#[test]
fn every_key_of_the_collector_that_is_supported_is_taken_without_a_word() {
    for body in [
        "endpoint: 'https://es:9200'",
        "endpoints: ['https://a:9200', 'http://b:9200/prefix']",
        "cloudid: 'x:ZXUuY2xvdWQuZXMuaW8kYWJjJGRlZg=='",
        "user: elastic, password: secret",
        "api_key: aWQ6a2V5",
        "headers: {X-A: b}, timeout: 30s, pipeline: p",
        "tls: {ca_file: /ca.pem, cert_file: /c.pem, key_file: /k.pem}",
        "compression: none",
        "compression: gzip, compression_params: {level: 9}",
        "sending_queue: {enabled: true, num_consumers: 4, queue_size: 100, sizer: items, block_on_overflow: true, wait_for_result: true, batch: {flush_timeout: 5s, min_size: 1000, max_size: 2000, sizer: bytes}}",
        "sending_queue: {enabled: false}",
        "retry: {enabled: true, max_retries: 3, initial_interval: 1s, max_interval: 10s, retry_on_status: [429, 503], retry_on_document_status: [429]}",
        "logs_index: l, metrics_index: m, traces_index: t, logs_dynamic_id: {enabled: true}, traces_dynamic_id: {enabled: true}, logs_dynamic_pipeline: {enabled: true}",
        "logstash_format: {enabled: true, prefix_separator: '.', date_format: '%Y'}",
        "mapping: {allowed_modes: [otel, ecs], ecs_span_events_to_logs: true}",
        "include_source_on_error: true",
        "telemetry: {log_failed_docs_input_rate_limit: 2s}",
        "discover: {on_start: false}",
        "podgate: {dead_letter: {path: /x, max_bytes: 1MiB}, bulk_bytes: 1MiB, parked_bytes: 1MiB, deterministic_ids: false}",
        "podgate: {target: elasticsearch}, headers: {Authorization: 'ApiKey aWQ6a2V5'}",
        "podgate: {target: elasticsearch}, api_key: aWQ6a2V5",
    ] {
        let found = findings(body);
        assert!(found.is_empty(), "{body}: {found:?}");
    }
}

#[test]
fn retired_keys_are_warned_about_with_what_to_do() {
    for (body, wanted) in [
        ("mapping: {mode: ecs}", "documents are not of mode ecs"),
        ("tls: {insecure_skip_verify: true}", "certificates of the next hop are not verified"),
        ("num_workers: 4", "num_consumers"),
        ("flush: {bytes: 5000000}", "sending_queue"),
        ("logs_dynamic_index: {enabled: true}", "routing follows attributes"),
        ("mapping: {dedup: true}", "always made unique"),
        ("retry: {max_requests: 3}", "first attempt"),
        ("user: a, password: b, api_key: c", "API key is sent"),
        ("telemetry: {log_request_body: true}", "level debug"),
    ] {
        let found = findings(body);
        assert_eq!(found.len(), 1, "{body}: {found:?}");
        assert!(found[0].starts_with('W') && found[0].contains(wanted), "{body}: {found:?}");
    }
}

#[test]
fn every_fault_is_an_error_at_its_own_path() {
    for (body, path) in [
        ("bogus: 1", "exporters::elasticsearch::bogus"),
        ("batcher: {enabled: true}", "exporters::elasticsearch::batcher"),
        ("endpoint: 'es:9200'", "exporters::elasticsearch::endpoint"),
        ("endpoint: 'http://a:1', endpoints: ['http://b:1']", "exporters::elasticsearch::endpoints"),
        ("endpoints: ['http://a:1', 'ftp://b']", "exporters::elasticsearch::endpoints"),
        ("cloudid: nonsense", "exporters::elasticsearch::cloudid"),
        ("user: a", "exporters::elasticsearch::user"),
        ("api_key: 'id:key'", "exporters::elasticsearch::api_key"),
        ("auth: {authenticator: 'a b'}", "exporters::elasticsearch::auth::authenticator"),
        ("compression: zstd", "exporters::elasticsearch::compression"),
        ("compression_params: {level: 11}", "exporters::elasticsearch::compression_params::level"),
        ("retry: {retry_on_status: [429, nine]}", "exporters::elasticsearch::retry::retry_on_status"),
        ("retry: {initial_interval: 0s}", "exporters::elasticsearch::retry::initial_interval"),
        ("retry_on_failure: {enabled: true}", "exporters::elasticsearch::retry_on_failure"),
        ("mapping: {mode: nope}", "exporters::elasticsearch::mapping::mode"),
        ("mapping: {allowed_modes: [otel, nope]}", "exporters::elasticsearch::mapping::allowed_modes"),
        ("discover: {on_start: true}", "exporters::elasticsearch::discover"),
        ("timeout: 0s", "exporters::elasticsearch::timeout"),
        ("tls: {cert_file: /x}", "exporters::elasticsearch::tls::cert_file"),
        ("podgate: {dead_letter: {}}", "exporters::elasticsearch::podgate::dead_letter"),
        ("podgate: {bulk_bytes: 1GiB}", "exporters::elasticsearch::podgate::bulk_bytes"),
        ("podgate: {target: apm_server}", "exporters::elasticsearch::podgate::target"),
        ("podgate: {target: elastic}", "exporters::elasticsearch::podgate::target"),
        ("endpoint: 'https://es:9200/_otlp', podgate: {target: elasticsearch}", "exporters::elasticsearch::endpoint"),
        (
            "headers: {Authorization: 'ApiKey id:key'}, podgate: {target: elasticsearch}",
            "exporters::elasticsearch::headers",
        ),
        ("headers: {Authorization: 'token'}, podgate: {target: elasticsearch}", "exporters::elasticsearch::headers"),
        ("api_key: 'id:key', podgate: {target: elasticsearch}", "exporters::elasticsearch::api_key"),
        ("metadata_keys: [a]", "exporters::elasticsearch::metadata_keys"),
    ] {
        let found = findings(body);
        let errors: Vec<&String> = found.iter().filter(|finding| finding.starts_with('E')).collect();
        assert_eq!(errors.len(), 1, "{body}: {found:?}");
        assert!(errors[0].contains(&format!(" {path}")), "{body}: {found:?}");
    }
    let (bench, found) = checked("elasticsearch", "{}");
    assert!(bench.is_none() && found.iter().any(|finding| finding.contains("endpoints")), "{found:?}");
}

#[test]
fn a_target_of_another_exporter_is_refused_with_the_exporter_that_has_it() {
    for target in ["apm_server", "elastic_agent", "managed_otlp"] {
        let found = findings(&format!("podgate: {{target: {target}}}")).join("\n");
        assert!(found.contains("E0207") && found.contains("does not take"), "{target}: {found}");
    }
}

#[test]
fn credentials_stand_in_no_finding() {
    for body in ["api_key: 'id:hunter2'", "user: hunter2", "api_key: \"a\\nhunter2\""] {
        let found = findings(body).join(" ");
        assert!(!found.contains("hunter2"), "{found}");
    }
}

//! Configurations that a Collector starts and podgate refused, and such that podgate took and should not have: found in
//! files of the field, each with the verdict it has now.

#[path = "support/process.rs"]
#[expect(dead_code, reason = "the tests of signals use the rest of it")]
mod process;

#[path = "config_field/negatives.rs"]
mod negatives;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use podgate::cli::sources::{Checked, ConfigArgs, UnsupportedArg, check_with};
use podgate::config::show::diagnose;
use podgate::core::stage::factory::Environment;
use process::{Running, ask, free_port, one_span, text};

const REFUSE: UnsupportedArg = UnsupportedArg::Refuse;
const SKIP: UnsupportedArg = UnsupportedArg::Skip;
const SKIP_ALL: UnsupportedArg = UnsupportedArg::SkipAll;

/// `traces` from `otlp` through `processors` to `exporters`, with the declarations in `yaml` beside those of `otlp` and `nop`.
fn traces(yaml: &str, processors: &str, exporters: &str) -> String {
    let nop = if exporters.contains("nop") { "exporters::nop: \n" } else { "" };
    format!(
        "receivers: {{otlp: {{protocols: {{http: }}}}}}\n{nop}{yaml}\nservice::pipelines::traces:\n  \
         receivers: [otlp]\n  processors: [{processors}]\n  exporters: [{exporters}]\n"
    )
}

fn check(yaml: &str, unsupported: UnsupportedArg, env: &[(&str, &str)]) -> Checked {
    let env: BTreeMap<String, String> =
        env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let args =
        ConfigArgs { config: vec![format!("yaml:{yaml}")], unsupported: Some(unsupported), ..ConfigArgs::default() };
    check_with(&args, Environment::of(move |name| env.get(name).cloned()))
}

/// Whether it would run, and the findings as `code path`.
fn verdict(yaml: &str, unsupported: UnsupportedArg, env: &[(&str, &str)]) -> (bool, Vec<String>) {
    let checked = check(yaml, unsupported, env);
    (checked.plan.is_some(), checked.findings.iter().map(|found| format!("{} {}", found.code, found.path)).collect())
}

fn said(yaml: &str, unsupported: UnsupportedArg) -> String {
    let checked = check(yaml, unsupported, &[]);
    diagnose::render(&checked.findings, &checked.sources, false)
}

#[track_caller]
fn assert_accepted(yaml: &str, env: &[(&str, &str)]) {
    let (runs, found) = verdict(yaml, REFUSE, env);
    assert!(runs && found.is_empty(), "{found:#?}\n{yaml}");
}

#[test]
fn one_text_where_a_list_is_meant_is_split_at_commas_but_not_in_pipelines() {
    for yaml in [
        traces("receivers::otlp::protocols::http::cors::allowed_origins: 'http://localhost:8080'", "", "nop"),
        traces("processors::resource_detection::detectors: env,system", "resource_detection", "nop"),
        traces("exporters::elasticsearch::endpoints: 'http://a:9200,http://b:9200'", "", "elasticsearch"),
        traces(
            "processors::tail_sampling::policies: [{name: a, type: status_code, status_code: {status_codes: ERROR}}]",
            "tail_sampling",
            "nop",
        ),
    ] {
        assert_accepted(&yaml, &[]);
    }
    let yaml = traces("", "", "nop").replace("receivers: [otlp]", "receivers: otlp");
    let (runs, found) = verdict(&yaml, REFUSE, &[]);
    assert!(!runs && found.contains(&"E0202 service::pipelines::traces::receivers".to_owned()), "{found:?}");
}

#[test]
fn addresses_of_both_families_are_taken_as_charts_write_them() {
    for ip in ["fd00::5", "10.0.0.5"] {
        for endpoint in ["'${env:IP}:4317'", "'[${env:IP}]:4317'"] {
            let yaml = format!(
                "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: {endpoint}}}}}}}}}\n\
                 exporters: {{otlp_grpc: {{endpoint: {endpoint}, tls: {{insecure: true}}}}}}\n\
                 extensions: {{health_check: {{endpoint: {}}}}}\n\
                 service:\n  extensions: [health_check]\n  \
                 telemetry: {{metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: '{}', port: 8888}}}}}}}}]}}}}\n  \
                 pipelines: {{traces: {{receivers: [otlp], exporters: [otlp_grpc]}}}}\n",
                endpoint.replace("4317", "13133"),
                endpoint.trim_matches('\'').replace(":4317", ""),
            );
            let endpoint = endpoint.to_owned();
            let (runs, found) = verdict(&yaml, REFUSE, &[("IP", ip)]);
            assert!(runs && found.is_empty(), "{ip} in {endpoint}: {found:#?}");
        }
    }
    let (runs, _) =
        verdict(&traces("receivers::otlp::protocols::http::endpoint: 'fd00::5:4318'", "", "nop"), REFUSE, &[]);
    assert!(!runs, "without a variable it is not plain where the port begins");
}

#[test]
fn what_asks_for_nothing_is_no_fault() {
    for yaml in [
        traces("receivers::otlp::protocols::grpc: {tls: null, auth: null, middlewares: []}", "", "nop"),
        traces(
            "exporters::otlp_http: {endpoint: 'http://a:1', traces_endpoint: '', proxy_url: '', compression_params: {}}",
            "",
            "otlp_http",
        ),
        traces("processors::transform: {profile_statements: []}", "transform", "nop"),
        traces("service::telemetry::logs: {output_paths: [stderr], error_output_paths: [stderr]}", "", "nop"),
        traces("exporters::debug: {verbosity: Detailed}", "", "debug"),
        traces("processors::memory_limiter: {check_interval: 5s, limit_mib: 100}", "memory_limiter", "nop"),
        traces("processors::filter: {logs: {include: {severity_number: {min: INFO}}}}", "filter", "nop"),
        traces("exporters::otlp_grpc: {endpoint: 'dns://10.0.0.1/gateway:4317'}", "", "otlp_grpc"),
        traces("exporters::otlp_grpc: {endpoint: 'passthrough:///gateway:4317'}", "", "otlp_grpc"),
        traces(
            "exporters::elasticsearch: {endpoint: 'http://a:1', sending_queue: {batch: {min_size: 3000000}}}",
            "",
            "elasticsearch",
        ),
    ] {
        assert_accepted(&yaml, &[]);
    }
    for (yaml, finding) in [
        (
            traces("receivers::otlp::protocols::grpc: {max_recv_msg_size_mib: 999999999}", "", "nop"),
            "W0403 receivers::otlp::protocols::grpc::max_recv_msg_size_mib",
        ),
        (
            traces("exporters::otlp_http: {endpoint: 'http://a:1', timeout: 0s}", "", "otlp_http"),
            "W0403 exporters::otlp_http::timeout",
        ),
        (
            traces("receivers::otlp::protocols::http::compression_algorithms: [lz4, gzip]", "", "nop"),
            "W0402 receivers::otlp::protocols::http::compression_algorithms",
        ),
        (traces("processors: {tail_sampling: }", "", "nop"), "W0403 processors::tail_sampling"),
    ] {
        assert_eq!(verdict(&yaml, REFUSE, &[]), (true, vec![finding.to_owned()]), "{yaml}");
    }
    assert!(!verdict(&traces("processors: {tail_sampling: }", "tail_sampling", "nop"), REFUSE, &[]).0);
}

#[test]
fn what_the_collector_has_and_podgate_has_not_is_left_out_on_request() {
    for (declared, processors, exporters) in [
        (
            "processors::transform: {shared_cache: true, trace_statements: ['set(span.name, \"a\")']}",
            "transform",
            "nop",
        ),
        ("exporters::elasticsearch: {endpoint: 'http://a:1', suppress_conflict_errors: true}", "", "elasticsearch"),
        ("exporters::elasticsearch: {endpoint: 'http://a:1', bulk_response_filter_path: [a]}", "", "elasticsearch"),
        ("exporters::otlp_http: {endpoint: 'http://a:1', dialer: {timeout: 5s}}", "", "otlp_http"),
        ("exporters::file: {path: /tmp/a, compression_params: {level: 1}}", "", "file, nop"),
    ] {
        let yaml = traces(declared, processors, exporters);
        let (runs, found) = verdict(&yaml, REFUSE, &[]);
        assert!(!runs && found.iter().all(|found| found.starts_with("E0205")), "{found:?} {yaml}");
        let (runs, found) = verdict(&yaml, SKIP, &[]);
        assert!(runs && found.iter().all(|found| found.starts_with("W0404")), "{found:?} {yaml}");
    }
    let yaml = traces("service::telemetry::metrics::address: ':8888'", "", "nop");
    assert!(!verdict(&yaml, REFUSE, &[]).0 && verdict(&yaml, SKIP, &[]).0);
    assert!(said(&yaml, REFUSE).contains("write readers:"), "the new spelling is named");
}

#[test]
fn foreign_components_that_nothing_misses_are_one_line_each() {
    let extensions = "extensions: {zpages: , pprof: {endpoint: ':1777'}, cgroup_runtime: , k8s_observer: }\n\
                      service::extensions: [zpages, pprof, cgroup_runtime]";
    let yaml = traces(extensions, "", "nop");
    let expected =
        ["zpages", "pprof", "cgroup_runtime", "k8s_observer"].map(|name| format!("W0402 extensions::{name}"));
    for unsupported in [REFUSE, SKIP] {
        assert_eq!(verdict(&yaml, unsupported, &[]), (true, expected.to_vec()));
    }
    let yaml =
        traces("receivers::jaeger: {protocols: {grpc: }}\nexporters::prometheusremotewrite: {endpoint: x}", "", "nop");
    let expected = ["receivers::jaeger", "exporters::prometheusremotewrite"].map(|path| format!("W0403 {path}"));
    let (runs, mut found) = verdict(&yaml, REFUSE, &[]);
    found.sort_by_key(|found| std::cmp::Reverse(found.clone()));
    assert_eq!((runs, found), (true, expected.to_vec()));
    let used = yaml.replace("receivers: [otlp]", "receivers: [otlp, jaeger]");
    assert!(!verdict(&used, REFUSE, &[]).0);
    assert!(said(&used, REFUSE).contains("podgate does not have the Collector's receiver `jaeger`"));
    for foreign in ["kafkametrics", "awsecscontainermetrics", "otlpjsonfile"] {
        let said = said(&used.replace("jaeger", foreign), REFUSE);
        assert!(said.contains("the Collector's receiver") && said.contains("--unsupported=skip"), "{said}");
    }
}

#[test]
fn an_exporter_without_an_endpoint_for_the_signal_is_refused_for_that_pipeline() {
    let yaml = traces("exporters::otlp_http: {metrics_endpoint: 'http://b/v1/metrics'}", "", "otlp_http");
    assert_eq!(verdict(&yaml, REFUSE, &[]), (false, vec!["E0305 service::pipelines::traces::exporters".to_owned()]));
    assert!(said(&yaml, REFUSE).contains("traces_endpoint"));
    assert!(verdict(&yaml.replace("pipelines::traces", "pipelines::metrics"), REFUSE, &[]).0);
}

#[test]
fn an_authenticator_has_to_run_and_to_serve_the_side_that_names_it() {
    let bearer = "extensions: {bearertokenauth: {token: a}, health_check: {endpoint: '127.0.0.1:1'}}";
    let running = format!("{bearer}\nservice::extensions: [bearertokenauth, health_check]");
    let receiver = |id: &str| format!("receivers::otlp::protocols::grpc::auth::authenticator: {id}");
    let exporter =
        |id: &str| format!("exporters::otlp_http: {{endpoint: 'http://a:1', auth: {{authenticator: {id}}}}}");
    assert_accepted(
        &traces(
            &format!("{running}\n{}\n{}", receiver("bearertokenauth"), exporter("bearertokenauth")),
            "",
            "otlp_http",
        ),
        &[],
    );
    let at_receiver = "E0302 receivers::otlp::protocols::grpc::auth::authenticator".to_owned();
    for (declared, id) in [
        (running.as_str(), "health_check"),
        (running.as_str(), "bearertokenauth/other"),
        (bearer, "bearertokenauth"),
        ("", "bearertokenauth"),
    ] {
        let yaml = traces(&format!("{declared}\n{}", receiver(id)), "", "nop");
        let (runs, found) = verdict(&yaml, REFUSE, &[]);
        assert!(!runs && found.contains(&at_receiver), "{id}: {found:?}");
        let yaml = traces(&format!("{declared}\n{}", exporter(id)), "", "otlp_http");
        let (runs, found) = verdict(&yaml, REFUSE, &[]);
        assert!(!runs && found.contains(&"E0302 exporters::otlp_http::auth::authenticator".to_owned()), "{found:?}");
    }
    let cure = said(&traces(&receiver("bearertokenauth"), "", "nop"), REFUSE);
    assert!(cure.contains("name it under `service::extensions`"), "{cure}");
    // Leaving out what podgate lacks never opens a door.
    for yaml in [
        traces(&format!("extensions::oidc: {{}}\nservice::extensions: [oidc]\n{}", receiver("oidc")), "", "nop"),
        traces(&receiver("oidc/a"), "", "nop"),
    ] {
        let (runs, found) = verdict(&yaml, SKIP, &[]);
        assert!(!runs && found.contains(&"W0404 receivers::otlp".to_owned()), "{found:?}");
    }
}

#[test]
fn a_header_of_the_sender_cannot_go_out_behind_what_merges_senders() {
    let yaml = |rule: &str, processors: &str| {
        let declared = format!(
            "extensions::headers_setter::headers: [{{key: X-Scope-OrgID, {rule}}}]\nservice::extensions: [headers_setter]\n\
             processors::batch: {{}}\n\
             exporters::otlphttp: {{endpoint: 'http://a:1', auth: {{authenticator: headers_setter}}}}"
        );
        traces(&declared, processors, "otlphttp")
    };
    let from_sender = "from_context: x-scope-orgid";
    let (runs, found) = verdict(&yaml(from_sender, "batch"), REFUSE, &[]);
    assert!(!runs && found.contains(&"E0207 exporters::otlphttp::auth::authenticator".to_owned()), "{found:?}");
    assert!(said(&yaml(from_sender, "batch"), REFUSE).contains("`batch` in pipeline `traces`"));
    for (rule, processors) in
        [(from_sender, ""), ("value: fixed", "batch"), ("from_context: x-scope-orgid, default_value: none", "batch")]
    {
        assert!(verdict(&yaml(rule, processors), REFUSE, &[]).0, "{rule}");
    }
}

#[test]
fn a_header_of_the_sender_that_an_exporters_own_batch_would_lose_is_told_with_the_cure() {
    let warning = |rule: &str, exporter: &str| {
        let (name, _) = exporter.split_once(':').unwrap();
        let declared = format!(
            "extensions::headers_setter::headers: [{{key: X-Scope-OrgID, {rule}}}]\nservice::extensions: [headers_setter]\n\
             exporters::{exporter}"
        );
        let yaml = traces(&declared, "", name);
        let (runs, found) = verdict(&yaml, REFUSE, &[]);
        assert!(runs, "{found:?}");
        let at = found.iter().any(|found| found.starts_with("W0403") && found.ends_with("auth::authenticator"));
        at.then(|| said(&yaml, REFUSE))
    };
    let auth = "auth: {authenticator: headers_setter}";
    let otlp =
        |batch: &str| format!("otlp_http: {{endpoint: 'http://a:1', {auth}, sending_queue: {{batch: {batch}}}}}");
    let from_sender = "from_context: X-Scope-OrgID";
    let told = warning(from_sender, &otlp("{}")).expect("merged");
    assert!(told.contains("metadata_keys: [x-scope-orgid]") && told.contains("default_value"), "{told}");
    for batch in ["{partition: {metadata_keys: [x-other]}}", "{min_size: 10}"] {
        assert!(warning(from_sender, &otlp(batch)).is_some(), "{batch}");
    }
    let balanced = format!(
        "load_balancing: {{protocol: {{otlp: {{{auth}}}}}, sending_queue: {{batch: {{}}}}, resolver: {{static: {{hostnames: ['a:1']}}}}}}"
    );
    assert!(warning(from_sender, &balanced).is_some());
    assert!(warning(from_sender, &format!("elasticsearch: {{endpoint: 'http://a:1', {auth}}}")).is_some());
    for (rule, exporter) in [
        (from_sender, otlp("{partition: {metadata_keys: [x-scope-orgid]}}")),
        (from_sender, otlp("{enabled: false}")),
        (from_sender, format!("otlp_http: {{endpoint: 'http://a:1', {auth}}}")),
        ("value: fixed", otlp("{}")),
        ("from_context: x-scope-orgid, default_value: none", otlp("{}")),
    ] {
        assert!(warning(rule, &exporter).is_none(), "{rule} {exporter}");
    }
    let identity = warning("from_context: auth.subject", &otlp("{partition: {metadata_keys: [x]}}")).expect("merged");
    assert!(identity.contains("leave out `sending_queue"), "{identity}");
}

#[test]
fn skip_never_leaves_a_pipeline_that_only_prints_or_lost_what_hides_data_without_being_told_so() {
    let with_auth = "exporters::otlp_http: {endpoint: 'http://a:1', auth: {authenticator: x}}\nexporters::debug: ";
    let hiding = "processors::redaction: {allow_all_keys: true, blocked_values: [a]}";
    for (yaml, list) in [
        (traces(with_auth, "", "otlp_http, debug"), "exporters"),
        (traces("connectors::routing: {}\nexporters::debug: ", "", "routing, debug"), "exporters"),
        (
            traces(&format!("{hiding}\nexporters::otlp_http: {{endpoint: 'http://a:1'}}"), "redaction", "otlp_http"),
            "processors",
        ),
    ] {
        let (runs, found) = verdict(&yaml, SKIP, &[]);
        assert!(!runs && found.contains(&format!("E0307 service::pipelines::traces::{list}")), "{found:?}\n{yaml}");
        assert!(said(&yaml, SKIP).contains("--unsupported=skip-all"));
        let (runs, found) = verdict(&yaml, SKIP_ALL, &[]);
        assert!(runs && found.iter().any(|found| found.starts_with("E0307")), "still said, as a warning: {found:?}");
    }
    assert!(verdict(&traces("exporters::debug: ", "", "debug"), SKIP, &[]).0, "who only prints on purpose may");
    // Protecting keys take their component along.
    let ciphers = "exporters::otlp_http/a: {endpoint: 'https://a:1', tls: {cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]}}\nexporters::otlp_http: {endpoint: 'http://a:1'}";
    let (runs, found) = verdict(&traces(ciphers, "", "otlp_http, otlp_http/a"), SKIP, &[]);
    assert!(runs && found.iter().any(|found| found == "W0404 exporters::otlp_http/a"), "{found:?}");
    let tenants = "exporters::elasticsearch: {endpoint: 'http://a:9200', metadata_keys: [tenant]}\nexporters::otlp_http: {endpoint: 'http://a:1'}";
    let (_, found) = verdict(&traces(tenants, "", "otlp_http, elasticsearch"), SKIP, &[]);
    assert!(found.contains(&"W0404 exporters::elasticsearch".to_owned()), "tenants are not merged: {found:?}");
}

#[test]
fn two_listeners_on_one_port_and_two_writers_of_one_file_are_found_before_the_start() {
    let reader =
        "service::telemetry::metrics::readers: [{pull: {exporter: {prometheus: {host: 127.0.0.1, port: 4318}}}}]";
    for (yaml, finding) in [
        (
            traces(
                "extensions::health_check: {endpoint: '0.0.0.0:4318'}\nservice::extensions: [health_check]",
                "",
                "nop",
            ),
            "E0207",
        ),
        (traces("extensions::admin: {endpoint: 'localhost:4318'}\nservice::extensions: [admin]", "", "nop"), "E0207"),
        (traces(reader, "", "nop"), "E0207"),
        (traces("exporters: {file/a: {path: /tmp/x}, file/b: {path: /tmp/x}}", "", "file/a, file/b"), "E0207"),
    ] {
        let (runs, found) = verdict(&yaml, REFUSE, &[]);
        assert!(!runs && found.iter().any(|found| found.starts_with(finding)), "{found:?}\n{yaml}");
    }
    assert_accepted(&traces("exporters: {file/a: {path: /tmp/x}, file/b: {path: /tmp/y}}", "", "file/a, file/b"), &[]);
}

#[test]
fn a_variable_that_is_missing_in_an_address_says_what_came_of_it() {
    let yaml = traces("receivers::otlp::protocols::grpc::endpoint: '${env:TYPO}:4317'", "", "nop");
    let said = said(&yaml, REFUSE);
    assert!(said.contains("\"${env:TYPO}:4317\" reads as \":4317\""), "{said}");
    assert!(said.contains("this listens on every interface"), "{said}");
}

#[test]
fn a_mapping_mode_that_changes_documents_is_said_and_the_default_is_not() {
    let of = |mode: &str| {
        traces(
            &format!("exporters::elasticsearch: {{endpoint: 'http://a:1', mapping: {{mode: {mode}}}}}"),
            "",
            "elasticsearch",
        )
    };
    assert_accepted(&of("otel"), &[]);
    for mode in ["ecs", "raw", "none", "bodymap"] {
        let said = said(&of(mode), REFUSE);
        assert!(said.contains(&format!("documents are not of mode {mode}")), "{said}");
    }
}

fn write(folder: &tempfile::TempDir, yaml: &str) -> String {
    let path = folder.path().join("config.yaml");
    fs::write(&path, yaml).expect("written");
    path.display().to_string()
}

#[test]
fn a_grpc_endpoint_with_http_never_sends_credentials_openly_without_insecure() {
    for (tls, plain) in [("", false), (", tls: {insecure: false}", false), (", tls: {insecure: true}", true)] {
        let next_hop = TcpListener::bind("127.0.0.1:0").expect("a port");
        let (to, http) = (next_hop.local_addr().expect("bound").port(), free_port());
        let folder = tempfile::tempdir().expect("a folder");
        let yaml = traces(
            &format!(
                "receivers::otlp::protocols::http::endpoint: '127.0.0.1:{http}'\nextensions::admin::endpoint: '127.0.0.1:0'\n\
                 service::extensions: [admin]\nservice::telemetry::metrics::level: none\n\
                 exporters::otlp_grpc: {{endpoint: 'http://127.0.0.1:{to}', headers: {{x-key: canary}}{tls}}}"
            ),
            "",
            "otlp_grpc",
        );
        let mut running = Running::start_with(&write(&folder, &yaml), &[], Stdio::null());
        let log = running.wait_for("everything is ready");
        assert_eq!(log.contains("TLS is spoken to this endpoint"), !plain, "{log}");
        ask(http, "POST", "/v1/traces", &one_span("a"));
        let (mut connection, _) = next_hop.accept().expect("a connection");
        connection.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");
        let mut first = [0u8; 3];
        connection.read_exact(&mut first).expect("the first bytes");
        // A TLS record of a handshake, or the preface of HTTP/2.
        let expected: &[u8] = if plain { b"PRI" } else { &[0x16, 3, 1] };
        assert_eq!(first, expected, "{tls}");
    }
}

#[test]
fn a_condition_that_is_left_out_takes_its_statements_with_it() {
    let (http, folder) = (free_port(), tempfile::tempdir().expect("a folder"));
    let out = folder.path().join("out.jsonl");
    let yaml = traces(
        &format!(
            "receivers::otlp::protocols::http::endpoint: '127.0.0.1:{http}'\nextensions::admin::endpoint: '127.0.0.1:0'\n\
             service::extensions: [admin]\nservice::telemetry::metrics::level: none\n\
             processors::transform::trace_statements:\n- context: span\n  conditions: ['IsInCIDR(attributes[\"client.address\"], [\"10.0.0.0/8\"])']\n  \
             statements: ['set(name, \"changed\")']\n- context: span\n  statements: ['set(status.message, \"kept\")']\n\
             exporters::file::path: {}",
            out.display()
        ),
        "transform",
        "file",
    );
    let path = write(&folder, &yaml);
    let mut command = Command::new(env!("CARGO_BIN_EXE_podgate"));
    let child = command.args(["--config", &path, "--unsupported=skip"]).stderr(Stdio::piped()).spawn();
    let mut running = Running::of(child.expect("the binary runs"));
    running.wait_for("everything is ready");
    let answer = ask(http, "POST", "/v1/traces", &one_span("original"));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let written = fs::read_to_string(&out).expect("written when it is answered");
    assert!(written.contains("original") && written.contains("kept"), "{written}");
}

#[test]
fn insecure_skip_verify_is_said_loudly_at_the_check_and_at_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let yaml = traces(
        "receivers::otlp::protocols::http::endpoint: '127.0.0.1:0'\nextensions::admin::endpoint: '127.0.0.1:0'\n\
         service::extensions: [admin]\nservice::telemetry::metrics::level: none\n\
         exporters::otlp_http: {endpoint: 'https://127.0.0.1:1', tls: {insecure_skip_verify: true}}",
        "",
        "otlp_http",
    );
    let path = write(&folder, &yaml);
    let validated = Command::new(env!("CARGO_BIN_EXE_podgate")).args(["validate", "--config", &path]).output();
    let validated = validated.expect("the binary runs");
    assert!(validated.status.success() && text(&validated.stderr).contains("warning[W0406]"), "{validated:?}");
    let mut running = Running::start(&path);
    let log = running.wait_for("everything is ready");
    assert!(log.contains("warn  INSECURE: certificates of the next hop are not verified"), "{log}");
}

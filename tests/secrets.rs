//! No secret of a configuration is seen anywhere: canaries in every place that may hold one, and every way to look.

#[path = "support/process.rs"]
#[expect(dead_code, reason = "the tests of signals use the rest of it")]
mod process;

use std::fs;
use std::process::{Command, Stdio};

use podgate::cli::sources::{ConfigArgs, check_with};
use podgate::config::show::diagnose::render;
use podgate::config::show::print::{Secrets, to_yaml};
use podgate::core::stage::factory::Environment;
use process::{Running, ask, free_port, one_span, text};

/// Part of every canary: no word of the product or of YAML.
const CANARY: &str = "kanari";

/// A sound configuration, with `more` exporters.
fn yaml(folder: &str, ports: [u16; 4], more: &str) -> String {
    let [otlp, admin, health, metrics] = ports;
    format!(
        r#"
receivers:
  otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{otlp}", response_headers: {{x-tenant-key: kanari01}}}}}}}}
processors:
  resource: {{attributes: [{{key: fixed, action: upsert, value: "${{env:CANARY_VALUE}}"}}]}}
  transform:
    trace_statements:
    - set(span.attributes["k"], "${{env:CANARY_VALUE}}") where span.name == "kanari-free"
exporters:
  otlp_http/block:
    endpoint: http://127.0.0.1:1
    headers:
      x-honeycomb-team: kanari02
      "signoz-ingestion-key": 'kanari03' # a comment
      uptrace-dsn: >-
        kanari04
      x-sentry-auth: "kanari05
        kanari06"
  otlp_http/token: {{endpoint: "http://127.0.0.1:1", auth: {{authenticator: bearertokenauth}}}}
  otlp_http/user: {{endpoint: "http://127.0.0.1:1", auth: {{authenticator: basicauth/client}}}}
  otlp_http/flow: {{endpoint: "http://127.0.0.1:1", headers: {{Authorization: ApiKey kanari07, x-any: "${{env:CANARY_HEADER}}"}}}}
  otlp_grpc:
    endpoint: ${{env:CANARY_HOST}}:1
    tls: {{insecure: true}}
    headers:
    - name: x-listed
      value: kanari08
    - {{name: x-file, value: "${{file:{folder}/secret}}"}}
  otlp_grpc/pem:
    endpoint: 127.0.0.1:1
    tls: {{cert_pem: none, key_pem: "kanari10"}}
  load_balancing: {{protocol: {{otlp: {{headers: {{x-any: kanari70}}}}}}, resolver: {{static: {{hostnames: ["127.0.0.1:1"]}}}}}}
  kafka: {{brokers: ["127.0.0.1:1"], auth: {{sasl: {{mechanism: SCRAM-SHA-512, username: ann, password: kanari90}}}}, tls: {{cert_pem: none, key_pem: "kanari91"}}}}
  kafka/old: {{brokers: ["127.0.0.1:1"], auth: {{plain_text: {{username: ann, password: kanari92}}}}}}
  elasticsearch: {{endpoint: "http://127.0.0.1:1", user: elastic, password: kanari11, proxy_url: "http://kanari28:kanari29@127.0.0.1:1"}}
  elasticsearch/key: {{endpoint: "http://127.0.0.1:1", api_key: "${{env:CANARY_HEADER}}"}}
{more}
extensions:
  bearertokenauth: {{token: kanari12}}
  bearertokenauth/several: {{tokens: [kanari13, "kanari14"]}}
  basicauth:
    htpasswd:
      inline: |
        ann:kanari15
  basicauth/client: {{client_auth: {{username: ann, password: kanari16}}}}
  apikeyauth: {{endpoint: "https://127.0.0.1:1", proxy_url: "http://kanari80:kanari81@127.0.0.1:1", headers: {{x-more: kanari25}}, tls: {{cert_pem: none, key_pem: "kanari26"}}, application_privileges: [{{application: a, privileges: [b], resources: [c]}}]}}
  k8s_token_review: {{api_server: "http://127.0.0.1:1", audiences: [podgate]}}
  headers_setter: {{headers: [{{key: x-key, value: kanari17}}]}}
  oauth2client: {{client_id: me, client_secret: kanari18, endpoint_params: {{client_assertion: kanari19}}, token_url: "https://127.0.0.1:1/t"}}
  admin: {{endpoint: "127.0.0.1:{admin}"}}
  health_check: {{endpoint: "127.0.0.1:{health}"}}
service:
  extensions: [admin, health_check, bearertokenauth, bearertokenauth/several, basicauth, basicauth/client, headers_setter, oauth2client, apikeyauth, k8s_token_review]
  telemetry:
    logs: {{level: debug}}
    metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {metrics}}}}}}}}}]}}
  pipelines:
    traces:
      receivers: [otlp]
      processors: [resource, transform]
      exporters: [otlp_http/block, otlp_http/flow, otlp_http/token, otlp_http/user, otlp_grpc, otlp_grpc/pem, load_balancing, kafka, kafka/old, elasticsearch, elasticsearch/key]
"#
    )
    .replace("kanari-free", "free")
}

const ENVIRONMENT: [(&str, &str); 4] = [
    ("CANARY_VALUE", "kanari20-value"),
    ("CANARY_HEADER", "kanari21-header"),
    ("CANARY_HOST", "127.0.0.1"),
    ("CANARY_URL", "https://kanari22:kanari23@h:kanari24/"),
];

fn run(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_podgate")).args(arguments).envs(ENVIRONMENT).output();
    let output = output.expect("the binary runs");
    format!("{}\n{}", text(&output.stdout), text(&output.stderr))
}

fn assert_clean(seen: &str, of: &str) {
    let lines: Vec<&str> = seen.lines().filter(|line| line.to_lowercase().contains(CANARY)).collect();
    assert!(lines.is_empty(), "{of} shows\n{}\nin\n{seen}", lines.join("\n"));
}

#[test]
fn print_config_shows_names_of_secrets_and_never_themselves() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().display().to_string();
    fs::write(folder.path().join("secret"), "kanari30").expect("written");
    let path = folder.path().join("config.yaml");
    fs::write(&path, yaml(&place, [0; 4].map(|_: u16| free_port()), "")).expect("written");
    let seen = run(&["print-config", "--config", &path.to_string_lossy()]);
    assert_clean(&seen, "print-config");
    for word in [
        "x-any: \"${env:CANARY_HEADER}\"",
        "${file:",
        "x-honeycomb-team: \"[redacted]\"",
        "value: \"${env:CANARY_VALUE}\"",
    ] {
        assert!(seen.contains(word), "{word} is not in\n{seen}");
    }
    let shown = run(&["print-config", "--unredacted", "--config", &path.to_string_lossy()]);
    assert!(shown.contains("kanari02") && shown.contains("kanari20-value"), "{shown}");
}

/// Each is a fault or a warning on the line of a canary.
const FAULTY: [&str; 17] = [
    "  otlp_http/a: {endpoint: \"https://user:kanari40@h:notaport/\"}",
    "  otlp_http/b: {endpoint: \"https://user:kanari40@h:1/\", timeout: 5}",
    "  otlp_http/c: {endpoint: \"http://h:1\", headers: {x-any: kanari40}, timeuot: 5s}",
    "  otlp_http/d:\n    headers:\n      x-any: kanari40\n      x-any: kanari41\n    endpoint: http://h:1",
    "  otlp_http/e: {endpoint: \"http://h:1\", headers: {Authorization:ApiKey kanari40}}",
    "  otlp_http/f: {endpoint: \"http://h:1\", headers: {Authorization: [kanari40]}}",
    "  otlp_http/g: {endpoint: \"http://h:1\", headers: \"Authorization=kanari40\"}",
    "  otlp_http/h: {endpoint: \"${env:CANARY_URL}\"}",
    "  otlp_http/p: {endpoint: \"http://h:1\", proxy_url: \"http://user:kanari40@p:notaport\"}",
    "  otlp_http/i: {endpoint: \"http://h:1\", timeout: \"${env:CANARY_VALUE}\", compression: \"${env:CANARY_HEADER}\"}",
    "  otlp_http/j: {endpoint: \"http://h:1\", headers: {x-any: \"kanari40\\n\"}}",
    "  otlp_grpc/k: {endpoint: \"h:1\", tls: {key_pem: kanari40, min_version: \"${env:CANARY_VALUE}\"}}",
    "  elasticsearch/l: {endpoint: \"http://user:kanari40@h:1\", password: kanari41, api_key: kanari42, unknown: 1}",
    "  otlp_http/m: {endpoint: \"http://h:1\", headers: {x: kanari40, \"a b\": kanari41}, ${env:X}: 1}",
    "  otlp_http/n: {endpoint: \"http://h:1\", headers: {x: kanari40",
    "  otlp_http/o:\n    headers:\n      x: kanari40\n     y: kanari41\n",
    "  debug: {verbosity: \"${env:CANARY_VALUE}\", sampling_initial: \"${env:CANARY_HEADER}\"}",
];

#[test]
fn findings_on_a_line_with_a_secret_show_the_line_without_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().display().to_string();
    fs::write(folder.path().join("secret"), "kanari30").expect("written");
    for (at, more) in FAULTY.iter().enumerate() {
        let path = folder.path().join(format!("{at}.yaml"));
        fs::write(&path, yaml(&place, [0; 4].map(|_: u16| free_port()), more)).expect("written");
        for command in ["validate", "print-config"] {
            let seen = run(&[command, "--config", &path.to_string_lossy()]);
            assert_clean(&seen, &format!("{command} of {more}"));
            assert!(seen.contains("error["), "{more} is faulty:\n{seen}");
        }
        let set = "exporters.otlp_http/p.headers.x-any=kanari50";
        let seen = run(&["validate", "--config", &path.to_string_lossy(), "--set", set]);
        assert_clean(&seen, set);
    }
}

#[test]
fn a_running_gateway_shows_no_secret_in_log_pages_or_metrics() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().display().to_string();
    fs::write(folder.path().join("secret"), "kanari30").expect("written");
    let ports = [0; 4].map(|_: u16| free_port());
    let path = folder.path().join("config.yaml");
    let unused = "  otlp_http/unused: {endpoint: 'http://127.0.0.1:1', headers: {Authorization: ApiKey kanari60}}";
    fs::write(&path, yaml(&place, ports, unused)).expect("written");
    let mut running = Running::start_with(&path.to_string_lossy(), &ENVIRONMENT, Stdio::null());
    let mut log = running.wait_for("everything is ready");
    ask(ports[0], "POST", "/v1/traces", &one_span("a"));
    ask(ports[0], "GET", "/nothing", "");
    log += &running.wait_for("next hop is not accepting data");
    for (port, page) in [
        (ports[1], "/"),
        (ports[1], "/v1/balance"),
        (ports[1], "/v1/components"),
        (ports[1], "/v1/elasticsearch"),
        (ports[1], "/v1/flow"),
        (ports[1], "/v1/status"),
        (ports[1], "/v1/config"),
        (ports[2], "/status"),
        (ports[2], "/readyz?verbose"),
        (ports[3], "/metrics"),
    ] {
        assert_clean(&ask(port, "GET", page, ""), page);
    }
    let config = ask(ports[1], "GET", "/v1/config", "");
    for word in ["\"hash\":\"", "uptrace-dsn", "${env:CANARY_HEADER}", "\"findings\":[", "^^^"] {
        assert!(config.contains(word), "{word} is not in {config}");
    }
    running.signal("QUIT");
    log += &running.wait_for("balance: traces: received 1");
    running.signal("TERM");
    log += &running.wait_for("SIGTERM: draining");
    running.signal("TERM");
    log += &running.end().1;
    assert!(log.contains("debug") && log.contains("next hop is not accepting data"), "{log}");
    assert_clean(&log, "the log");
}

/// What variables may hold: credentials in JSON, PEM, passwords of every letter. Each has the word.
const HOSTILE: [&str; 12] = [
    "Kanari0AAAA",
    "{\"private_key\":\"Kanari0AAAA\"}",
    "Kanari0AAAA\"Kanari0BBBB",
    "Kanari0AAAA\\Kanari0BBBB\\",
    "-----BEGIN KEY-----\nKanari0AAAA\nKanari0BBBB\n-----END KEY-----\n",
    "Kanari0AAAA\tKanari0BBBB",
    "Kanari0AAAA\u{85}Kanari0BBBB\u{200b}",
    "[Kanari0AAAA, Kanari0BBBB]",
    "{Kanari0AAAA: Kanari0BBBB}",
    "http://Kanari0AAAA@Kanari0BBBB:99/Kanari0CCCC%zz",
    "a$$Kanari0AAAA \u{e9}, Kanari0BBBB",
    "Kanari0AAAA(",
];

/// Every scalar of the example of all components, one at a time, as a variable that holds what nobody expects there.
#[test]
fn no_value_of_a_variable_is_in_a_finding_whatever_it_holds_and_whatever_key_it_is_under() {
    let text = fs::read_to_string("examples/components.yaml").expect("the example");
    let mut tried = 0;
    for (at, line) in text.lines().enumerate() {
        for (begin, end) in scalars(line) {
            let hostile = HOSTILE[tried % HOSTILE.len()];
            let (before, behind) = (&line[..begin], &line[end..]);
            let put = ["\"${env:KANARI_X}\"", "\"pre${env:KANARI_X}post\""][tried % 2];
            let mut lines: Vec<&str> = text.lines().collect();
            let changed = format!("{before}{put}{behind}");
            lines[at] = &changed;
            let args = ConfigArgs { config: vec![format!("yaml:{}", lines.join("\n"))], ..ConfigArgs::default() };
            let checked = check_with(&args, Environment::of(|name| (name == "KANARI_X").then(|| hostile.to_owned())));
            let of = format!("{changed:?} with {hostile:?}");
            assert_hidden(&render(&checked.findings, &checked.sources, false), &of);
            for found in &checked.findings {
                assert_hidden(&format!("{found:?}"), &of);
            }
            if let Some(tree) = &checked.tree {
                assert_hidden(&to_yaml(tree, Secrets::Redacted), &of);
            }
            tried += 1;
        }
    }
    assert!(tried > 100, "{tried} values");
}

/// No word of it, in whatever spelling.
fn assert_hidden(seen: &str, of: &str) {
    for part in ["Kanari0AAAA", "Kanari0BBBB", "Kanari0CCCC"] {
        let found = seen.to_lowercase().find(&part.to_lowercase());
        assert!(found.is_none(), "{of} shows it in\n{seen}");
    }
}

/// Where plain values behind `key: ` begin and end on a line of block or flow style.
fn scalars(line: &str) -> Vec<(usize, usize)> {
    let code = line.split(" #").next().unwrap_or_default();
    if code.trim_start().starts_with('#') {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (colon, _) in code.match_indices(": ") {
        let begin = colon + 2;
        let end = code[begin..].find([',', '}', ']', '{', '[']).map_or(code.len(), |at| begin + at);
        let value = code[begin..end].trim_end();
        if !value.is_empty() && !value.contains(['"', '\'', '|', '>', '&', '*', ':']) {
            found.push((begin, begin + value.len()));
        }
    }
    found
}

#[test]
fn a_reload_that_is_refused_logs_no_value_of_a_variable() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.yaml");
    let text = |verbosity: &str| {
        format!(
            "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{}'}}}}}}}}\nexporters: {{debug: {{verbosity: {verbosity}}}}}\n\
             extensions: {{admin: {{endpoint: '127.0.0.1:{}'}}}}\n\
             service: {{extensions: [admin], telemetry: {{metrics: {{level: none}}}}, pipelines: {{traces: {{receivers: [otlp], exporters: [debug]}}}}}}\n",
            free_port(),
            free_port()
        )
    };
    fs::write(&path, text("basic")).expect("written");
    let value = "{\"private_key\":\"kanari0AAAA\"}";
    let mut running = Running::start_with(&path.to_string_lossy(), &[("CANARY_JSON", value)], Stdio::null());
    let mut log = running.wait_for("everything is ready");
    fs::write(&path, text("\"${env:CANARY_JSON}\"")).expect("written");
    running.signal("HUP");
    log += &running.wait_for("the one before runs on");
    running.signal("TERM");
    log += &running.end().1;
    assert!(log.contains("cannot be \"${env:CANARY_JSON}\""), "{log}");
    assert_clean(&log, "the log");
}

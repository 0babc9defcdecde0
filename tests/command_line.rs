//! What the binary takes beside flags (variables of the environment, commands about itself), and what its first line and its
//! pages tell a stranger.

#[path = "support/process.rs"]
#[expect(dead_code, reason = "the tests of signals use the rest of it")]
mod process;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};

use process::{Running, ask, free_port, text};

const MINIMAL: &str = "\
receivers: {otlp: {protocols: {http: {endpoint: '127.0.0.1:0'}}}}
exporters: {nop: }
service: {telemetry: {metrics: {level: none}}, pipelines: {traces: {receivers: [otlp], exporters: [nop]}}}
";

fn podgate(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_podgate"));
    program.args(arguments).envs(environment.iter().copied());
    program.output().expect("the binary runs")
}

#[test]
fn an_audit_address_that_is_none_is_told_with_what_to_write() {
    let wrong = podgate(&["rbac", "--audit", "nonsense"], &[]);
    assert_eq!((wrong.status.code(), text(&wrong.stdout)), (Some(2), String::new()));
    assert!(
        text(&wrong.stderr).contains("\"nonsense\" is no address of a webhook; write https://"),
        "{}",
        text(&wrong.stderr)
    );
    let printed = podgate(&["rbac", "--audit", "https://10.96.0.50:9880/audit"], &[]);
    assert_eq!(printed.status.code(), Some(0), "{}", text(&printed.stderr));
    assert!(text(&printed.stdout).contains("server: \"https://10.96.0.50:9880/audit\""));
}

#[test]
fn whatever_is_wrong_with_a_component_is_told_at_once_and_nothing_else() {
    let wrong = "heartbeat_interval: 1h, group_id: '', max_fetch_size: 1, min_fetch_size: 9, initial_offset: sometimes, \
                 brokers: ['::1', 'http://x'], autocommit: {interval: 0s}, error_backoff: {multiplier: 0}";
    let right = "session_timeout: 10s, client_id: c, rack_id: r, group_instance_id: i, max_partition_fetch_size: 5";
    let pipelines = "service: {pipelines: {traces: {receivers: [kafka], exporters: [nop]}}}";
    let config = format!("yaml:{{receivers: {{kafka: {{{wrong}, {right}}}}}, exporters: {{nop: }}, {pipelines}}}");
    let said = text(&podgate(&["validate", "--config", &config], &[]).stderr);
    let told = ["heartbeat_interval", "group_id", "min_fetch_size", "initial_offset", "brokers", "interval"];
    let missing: Vec<&&str> = told.iter().filter(|key| !said.contains(&format!("::{key}\n"))).collect();
    assert!(missing.is_empty() && said.matches("::brokers\n").count() == 2, "{missing:?}: {said}");
    assert!(!said.contains("unknown key"), "{said}");
}

#[test]
fn the_environment_names_the_configuration_where_no_flag_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let (sound, faulty) = (folder.path().join("sound.yaml"), folder.path().join("faulty.yaml"));
    fs::write(&sound, MINIMAL).expect("writable");
    fs::write(&faulty, MINIMAL.replace("[nop]", "[nopp]")).expect("writable");
    let (sound, faulty) = (sound.to_string_lossy(), faulty.to_string_lossy());
    let code = |arguments: &[&str], source: &str| podgate(arguments, &[("PODGATE_CONFIG", source)]).status.code();
    assert_eq!(code(&["validate"], &sound), Some(0));
    assert_eq!(code(&["validate"], &faulty), Some(78));
    assert_eq!(code(&["validate", "--config", &sound], &faulty), Some(0), "the flag goes first");
    assert_eq!(code(&["--config", &sound, "validate"], &faulty), Some(0), "wherever it stands");
    assert_eq!(code(&["components"], &faulty), Some(0), "a command without a configuration is not disturbed");
    assert_eq!(code(&["validate"], ""), Some(2), "set and empty is not set");
    let strange = MINIMAL.replace("{nop: }", "{nop: , pulsar: }").replace("[nop]", "[nop, pulsar]");
    let strange = format!("yaml:{strange}");
    let skipping = |word: &str| podgate(&["validate"], &[("PODGATE_CONFIG", &strange), ("PODGATE_UNSUPPORTED", word)]);
    assert_eq!(skipping("refuse").status.code(), Some(78));
    assert_eq!(skipping("skip-all").status.code(), Some(0), "{}", text(&skipping("skip-all").stderr));
    let wrong = skipping("ignore");
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("refuse, skip or skip-all"), "{}", text(&wrong.stderr));
}

#[test]
fn a_source_that_cannot_be_read_is_placed_in_what_named_it() {
    let told = |arguments: &[&str]| {
        let output = podgate(arguments, &[("PODGATE_CONFIG", "absent/by-variable.yaml")]);
        assert_eq!(output.status.code(), Some(78));
        text(&output.stderr)
    };
    let by_variable = told(&["validate"]);
    assert!(by_variable.contains("PODGATE_CONFIG:1:1") && !by_variable.contains("--config:"), "{by_variable}");
    assert!(by_variable.contains("cannot read absent/by-variable.yaml"), "{by_variable}");
    let by_flag = told(&["validate", "--config", "absent/by-flag.yaml"]);
    assert!(by_flag.contains("--config:1:1") && !by_flag.contains("PODGATE_CONFIG"), "{by_flag}");
}

#[test]
fn podgate_alone_runs_what_the_environment_names_and_explains_itself_otherwise() {
    let alone = podgate(&[], &[("PODGATE_CONFIG", "")]);
    assert_eq!(alone.status.code(), Some(2));
    assert!(text(&alone.stderr).contains("PODGATE_CONFIG for --config"), "{}", text(&alone.stderr));
    let mut program = Command::new(env!("CARGO_BIN_EXE_podgate"));
    program.env("PODGATE_CONFIG", format!("yaml:{MINIMAL}")).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut running = Running::of(program.spawn().expect("the binary runs"));
    running.wait_for("everything is ready");
}

#[test]
fn the_admin_page_is_found_by_the_environment() {
    let admin = format!("127.0.0.1:{}", free_port());
    let output = podgate(&["status"], &[("PODGATE_ADMIN", &admin)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains(&admin), "{}", text(&output.stderr));
}

#[test]
fn the_version_is_a_command_too() {
    assert_eq!(text(&podgate(&["version"], &[]).stdout), text(&podgate(&["--version"], &[]).stdout));
}

#[test]
fn every_command_has_a_help_and_a_manual_page() {
    let help = text(&podgate(&["--help"], &[]).stdout);
    let listed =
        help.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1).take_while(|line| !line.is_empty());
    let named = listed.filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).filter(|name| !name.is_empty());
    let names: Vec<&str> = named.filter(|name| *name != "help").collect();
    assert!(names.len() > 20 && names.contains(&"completion"), "{names:?}");
    for name in names {
        let helped = podgate(&["help", name], &[]);
        assert_eq!(helped.status.code(), Some(0), "{name}: {}", text(&helped.stderr));
        let page = text(&podgate(&["man", name], &[]).stdout);
        assert!(page.contains(&format!(".TH podgate-{name} 1")) && page.contains(".SH SYNOPSIS"), "{name}: {page}");
    }
    let own = text(&podgate(&["man"], &[]).stdout);
    assert!(own.contains(".TH podgate 1") && own.contains("PODGATE_CONFIG") && own.contains("78 wrong"), "{own}");
    assert!(text(&podgate(&["man", "elastic", "setup"], &[]).stdout).contains(".TH podgate-elastic-setup 1"));
    let unknown = podgate(&["man", "nothing"], &[]);
    assert_eq!(unknown.status.code(), Some(2), "{}", text(&unknown.stderr));
}

/// The answer to a browser.
fn browse(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a listener");
    let accept = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8";
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: localhost:{port}\r\naccept: {accept}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn a_start_names_every_port_and_every_page_tells_where_the_others_are() {
    let [health, admin, metrics] = [free_port(), free_port(), free_port()];
    let yaml = format!(
        "yaml:receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:0'}}}}}}}}\n\
         exporters: {{otlp_http/away: {{endpoint: 'http://127.0.0.1:1'}}, debug: {{verbosity: basic}}}}\n\
         extensions: {{health_check: {{endpoint: '127.0.0.1:{health}', path: /old}}, admin: {{endpoint: '127.0.0.1:{admin}'}}}}\n\
         service:\n  extensions: [health_check, admin]\n  \
         telemetry: {{metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {metrics}}}}}}}}}]}}}}\n  \
         pipelines: {{traces: {{receivers: [otlp], exporters: [otlp_http/away, debug]}}}}\n"
    );
    let mut running = Running::start(&yaml);
    let log = running.wait_for("everything is ready");
    let line = log.lines().find(|line| line.contains("everything is ready")).expect("a line");
    for listener in [
        "otlp/http 127.0.0.1:".to_owned(),
        format!("health_check 127.0.0.1:{health}"),
        format!("admin 127.0.0.1:{admin}"),
        format!("metrics 127.0.0.1:{metrics}"),
    ] {
        assert!(line.contains(&listener), "{listener} is not in {line}");
    }
    let status = ask(health, "GET", "/status", "");
    for exporter in ["exporters::otlp_http/away", "exporters::debug"] {
        assert!(
            status.contains(&format!("\"{exporter}\":{{\"message\":\"\",\"state\":\"ok\"}}")),
            "{exporter}: {status}"
        );
    }
    let astray = ask(health, "GET", "/helthz", "");
    assert!(astray.starts_with("HTTP/1.1 404") && astray.contains("/helthz") && astray.contains("/livez"), "{astray}");
    assert!(astray.contains("/old"), "the configured page is named: {astray}");
    let old = ask(health, "GET", "/old", "");
    assert!(["\"status\":\"Server available\"", "upSince", "uptime"].iter().all(|word| old.contains(word)), "{old}");
    let listed = browse(admin, "/v1");
    assert!(listed.starts_with("HTTP/1.1 200") && listed.contains("content-type: text/html"), "{listed}");
    assert!(listed.contains("<a href=\"/v1/balance\">") && !listed.contains("<script"), "{listed}");
    assert!(listed.contains("content-security-policy: default-src 'none'"), "{listed}");
    assert!(browse(admin, "/v1/nothing").starts_with("HTTP/1.1 404"));
    assert!(ask(admin, "GET", "/", "").contains("application/json"), "a program is answered as ever");
}

#[test]
fn a_manifest_that_cannot_be_read_or_has_no_workload_is_told_with_what_to_do() {
    let missing = podgate(&["env", "--for", "/nowhere/deployment.yaml"], &[]);
    let said = text(&missing.stderr);
    assert_eq!(missing.status.code(), Some(2), "{said}");
    assert!(
        said.contains("/nowhere/deployment.yaml: No such file") && said.contains("kubectl get deployment"),
        "{said}"
    );
    let folder = tempfile::tempdir().expect("a folder");
    let service = folder.path().join("service.yaml");
    fs::write(&service, "apiVersion: v1\nkind: Service\nmetadata: {name: shop}\n").expect("writable");
    let unfit = podgate(&["env", "--for", &service.to_string_lossy()], &[]);
    let said = text(&unfit.stderr);
    assert_eq!(unfit.status.code(), Some(78), "{said}");
    assert!(
        said.contains("no Deployment") && said.contains("-> name a file with the application's workload"),
        "{said}"
    );
    assert!(text(&missing.stdout).is_empty() && text(&unfit.stdout).is_empty());
}

/// The recorded folder of format 1, in a folder of its own.
fn recorded_log() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/wal/v1");
    for entry in fs::read_dir(golden).expect("recorded") {
        let path = entry.expect("readable").path();
        fs::copy(&path, folder.path().join(path.file_name().expect("a file"))).expect("copied");
    }
    folder
}

#[test]
fn a_log_on_disk_is_shown_and_damage_is_an_exit_code() {
    let folder = recorded_log();
    let dir = folder.path().to_string_lossy();
    let shown = podgate(&["wal", "inspect", &dir], &[]);
    let lines = text(&shown.stdout);
    assert_eq!(shown.status.code(), Some(0), "{lines}{}", text(&shown.stderr));
    assert!(lines.contains("unsettled: 9 records, 32 items, 2 in doubt"), "{lines}");
    assert!(lines.contains("  traces/1: ") && lines.contains("dead letters"), "{lines}");
    let whole = podgate(&["wal", "verify", &dir], &[]);
    assert!(whole.status.success() && text(&whole.stdout).contains("everything is whole"), "{}", text(&whole.stdout));
    let segment = folder.path().join("0000000000000001.wal");
    let mut bytes = fs::read(&segment).expect("readable");
    bytes[4096 + 100] ^= 1;
    fs::write(&segment, bytes).expect("writable");
    let rotten = podgate(&["wal", "verify", &dir, "--format", "json"], &[]);
    assert_eq!(rotten.status.code(), Some(1));
    let page: serde_json::Value = serde_json::from_slice(&rotten.stdout).expect("JSON");
    assert_eq!((&page["damaged"], &page["files"][0]["lost"]["records"]), (&true.into(), &1.into()), "{page}");
    let empty = tempfile::tempdir().expect("a folder");
    let nothing = podgate(&["wal", "verify", &empty.path().to_string_lossy()], &[]);
    assert_eq!(nothing.status.code(), Some(1), "nothing is not whole");
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("no log is here; name the folder"));
    let nowhere = podgate(&["wal", "verify", "/nowhere/at/all"], &[]);
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(text(&nowhere.stderr).contains("cannot be listed"), "{}", text(&nowhere.stderr));
}

#[test]
fn a_folder_for_the_log_is_made_for_the_user_that_is_named() {
    use std::os::unix::fs::MetadataExt;
    let base = tempfile::tempdir().expect("a folder");
    let mine = fs::metadata(base.path()).expect("readable");
    let dir = base.path().join("a/log");
    let prepare = |owner: &str| podgate(&["wal", "prepare", &dir.to_string_lossy(), "--owner", owner], &[]);
    let own = format!("{}:{}", mine.uid(), mine.gid());
    let done = prepare(&own);
    assert!(done.status.success() && dir.is_dir(), "{}", text(&done.stderr));
    assert!(text(&done.stdout).contains(&own), "{}", text(&done.stdout));
    fs::write(dir.join("0000000000000001.wal"), "x").expect("writable");
    let other = prepare("10001:10002");
    if mine.uid() == 0 {
        let owned = |path: &std::path::Path| fs::metadata(path).map(|about| (about.uid(), about.gid())).expect("there");
        assert!(other.status.success(), "{}", text(&other.stderr));
        assert_eq!(owned(&dir), (10001, 10002));
        assert_eq!(owned(&dir.join("0000000000000001.wal")), (10001, 10002));
    } else {
        let said = text(&other.stderr);
        assert!(other.status.code() == Some(1) && said.contains("as root with the capability CHOWN"), "{said}");
    }
    let wrong = prepare("podgate");
    assert!(text(&wrong.stderr).contains("two numbers, as 10001:10001"), "{}", text(&wrong.stderr));
}

const TRIED: &str = "yaml:{
receivers: {otlp: {protocols: {http: {endpoint: '127.0.0.1:0'}}}},
processors: {
  filter/health: {traces: {span: ['attributes[\"http.route\"] == \"/healthz\"']}},
  transform: {trace_statements: ['set(span.name, \"cart\") where IsMatch(span.name, \"^/cart\")', 'set(resource.attributes[\"team\"], \"shop\")']},
  batch: {timeout: 100ms},
  tail_sampling: {decision_wait: 1h, policies: [{name: errors, type: status_code, status_code: {status_codes: [ERROR]}}]}},
connectors: {forward: },
exporters: {nop: },
service: {telemetry: {metrics: {level: none}}, pipelines: {
  traces: {receivers: [otlp], processors: [filter/health, transform], exporters: [forward]},
  traces/kept: {receivers: [forward], processors: [tail_sampling, batch], exporters: [nop]},
  logs: {receivers: [otlp], exporters: [nop]}}}}";

fn span(trace: u8, name: &str, more: &str) -> String {
    format!(
        r#"{{"traceId":"0af7651916cd43dd8448eb211c8031{trace:02x}","spanId":"00f067aa0ba902{trace:02x}","name":"{name}"{more}}}"#
    )
}

#[test]
fn a_configuration_is_tried_on_recorded_data_stage_by_stage() {
    let spans = [
        span(1, "/cart/7", r#","status":{"code":2}"#),
        span(2, "/cart/8", ""),
        span(3, "GET\\u001b[2J", r#","attributes":[{"key":"http.route","value":{"stringValue":"/healthz"}}]"#),
    ];
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("traces.jsonl");
    let request = |span: &String| format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{span}]}}]}}]}}"#);
    fs::write(&input, spans.each_ref().map(request).join("\n")).expect("writable");
    let input = input.to_string_lossy();
    let tried = podgate(&["try", "--config", TRIED, "--input", &input], &[]);
    assert_eq!(tried.status.code(), Some(0), "{}", text(&tried.stderr));
    let told = text(&tried.stdout);
    for line in [
        "pipeline traces: 3 spans in 3 requests\n",
        "  filter/health: 3 in, 2 out\n    gone: GET\\u{1b}[2J (00f067aa0ba90203)\n",
        "      + resource.attributes[\"team\"].stringValue: \"shop\"\n",
        "      - name: \"/cart/7\"\n      + name: \"cart\"\n",
        "pipeline traces/kept: 2 spans in 2 requests\n",
        "  tail_sampling: 2 in, 1 out\n    gone: cart (00f067aa0ba90202)\n",
        "  batch: 1 in, 1 out, nothing changed\n  to nop: 1 span\n",
    ] {
        assert!(told.contains(line), "{line}\nis not in\n{told}");
    }
    assert!(!told.contains("pipeline logs"), "the input holds none: {told}");
    let json =
        podgate(&["try", "--config", TRIED, "--input", &input, "--pipeline", "traces/kept", "--format", "json"], &[]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("one JSON object");
    assert_eq!(json["pipelines"][0]["stages"][0]["processor"], "tail_sampling");
    assert_eq!((&json["pipelines"][0]["spans"], &json["pipelines"][0]["out"]), (&3.into(), &1.into()), "{json}");
    let logs = podgate(&["try", "--config", TRIED, "--input", &input, "--pipeline", "logs"], &[]);
    assert_eq!(logs.status.code(), Some(2), "{}", text(&logs.stderr));
    fs::write(&*input, "{\"resourceSpans\":[]}\n{\"resource").expect("writable");
    let broken = podgate(&["try", "--config", TRIED, "--input", &input], &[]);
    assert_eq!(broken.status.code(), Some(1));
    assert!(text(&broken.stderr).contains("line "), "{}", text(&broken.stderr));
}

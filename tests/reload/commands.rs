//! The binary, as people and systems have it reload: a signal, a changed file, `podgate reload`.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use serde_json::Value;

use crate::process::{self, ask, free_port, one_span, text};

const SECRET: &str = "canary-of-a-key";

struct Files {
    folder: tempfile::TempDir,
    http: u16,
    admin: u16,
}

impl Files {
    fn new() -> Files {
        let files = Files { folder: tempfile::tempdir().expect("a folder"), http: free_port(), admin: free_port() };
        fs::write(files.at("token"), "a-token-that-nobody-guesses\n").expect("written");
        files
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn yaml(&self, processors: &str, own: &str) -> String {
        let Files { http, admin, .. } = self;
        let token = self.at("token");
        format!(
            "receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{http}'}}}}}}}}
processors: {{batch: {{timeout: 10ms}}}}
exporters: {{debug: , otlp_http/x: {{endpoint: 'http://127.0.0.1:1', headers: {{authorization: {SECRET}}}}}}}
extensions: {{admin: {{endpoint: '127.0.0.1:{admin}', token_file: '{}'}}}}
service:
  extensions: [admin]
  telemetry: {{metrics: {{level: none}}}}
  podgate: {{reload: {{{own}}}}}
  pipelines: {{traces: {{receivers: [otlp], processors: [{processors}], exporters: [debug]}}}}
",
            token.display()
        )
    }

    fn started(&self, config: &Path) -> process::Running {
        let mut running = process::Running::start_with(&config.to_string_lossy(), &[], Stdio::null());
        running.wait_for("everything is ready");
        running
    }

    fn page(&self, path: &str) -> Value {
        let answer = ask(self.admin, "GET", path, "");
        serde_json::from_str(answer.split_once("\r\n\r\n").expect("a head").1).expect("JSON")
    }

    fn reload(&self, token: &Path) -> Output {
        let admin = format!("127.0.0.1:{}", self.admin);
        let mut command = Command::new(env!("CARGO_BIN_EXE_podgate"));
        command.args(["reload", "--admin", &admin, "--token-file"]).arg(token).output().expect("the binary runs")
    }

    fn serves(&self) -> bool {
        ask(self.http, "POST", "/v1/traces", &one_span("a")).starts_with("HTTP/1.1 200")
    }
}

#[test]
fn the_configuration_is_shown_from_the_first_moment_that_the_admin_interface_answers() {
    let files = Files::new();
    let config = files.at("config.yaml");
    let yaml = files.yaml("", "").replace("podgate: {reload: {}}", "podgate: {port_wait: 1m}");
    fs::write(&config, yaml).expect("written");
    // Somebody holds the address of a receiver: the start waits for it, and whoever looks why needs the page.
    let taken = TcpListener::bind(("127.0.0.1", files.http)).expect("a port");
    let mut running = process::Running::start_with(&config.to_string_lossy(), &[], Stdio::null());
    running.wait_for("another process holds the port");
    let page = files.page("/v1/config");
    assert_eq!(page["files_now"]["sound"], true, "{page}");
    drop(taken);
    running.wait_for("everything is ready");
}

#[test]
fn sighup_applies_what_is_sound_and_keeps_what_runs_when_it_is_not() {
    let files = Files::new();
    let config = files.at("config.yaml");
    fs::write(&config, files.yaml("", "")).expect("written");
    let mut running = files.started(&config);
    let before = files.page("/v1/config");
    fs::write(&config, files.yaml("batch", "")).expect("written");
    let now = files.page("/v1/config");
    assert_eq!(now["files_now"]["added"], serde_json::json!(["processors::batch"]), "{now}");
    running.signal("HUP");
    let log = running.wait_for("the new configuration runs");
    assert!(log.contains("processors::batch") && !log.contains(SECRET), "{log}");
    let after = files.page("/v1/config");
    assert_ne!(before["hash"], after["hash"]);
    assert!(!after.to_string().contains(SECRET), "{after}");
    fs::write(&config, files.yaml("batsch", "")).expect("written");
    running.signal("HUP");
    let log = running.wait_for("the configuration is refused and the one before runs on");
    assert!(log.contains("E0302") && log.contains("batsch"), "{log}");
    assert_eq!(files.page("/v1/config")["files_now"]["sound"], false);
    assert!(files.serves());
    let stats = files.page("/v1/stats").to_string();
    for outcome in ["applied", "refused"] {
        assert!(
            stats.contains(&format!("{{\"outcome\":\"{outcome}\"}},\"name\":\"podgate_config_reloads\",\"value\":1.0")),
            "{stats}"
        );
    }
    running.signal("TERM");
    let (code, log) = running.end();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn the_command_prints_findings_and_ends_with_78_when_the_old_one_runs_on() {
    let files = Files::new();
    let config = files.at("config.yaml");
    fs::write(&config, files.yaml("", "")).expect("written");
    let running = files.started(&config);
    let told = |output: &Output| (output.status.code(), text(&output.stdout) + &text(&output.stderr));
    let (code, said) = told(&files.reload(&files.at("token")));
    assert!(code == Some(0) && said.trim().ends_with("the configuration is the one that runs already"), "{said}");
    assert!(!said.contains(SECRET), "{said}");
    fs::write(&config, files.yaml("batch", "")).expect("written");
    let (code, said) = told(&files.reload(&files.at("token")));
    assert!(code == Some(0) && said.contains("added    processors::batch"), "{code:?} {said}");
    fs::write(&config, files.yaml("batsch", "")).expect("written");
    let (code, said) = told(&files.reload(&files.at("token")));
    assert!(code == Some(78) && said.contains("error[E0302]") && said.contains("runs on"), "{code:?} {said}");
    fs::write(files.at("other"), "another-token-than-the-right-one").expect("written");
    let (code, said) = told(&files.reload(&files.at("other")));
    assert!(code == Some(1) && said.contains("token"), "{code:?} {said}");
    let answer = ask(files.admin, "POST", "/v1/reload", "");
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    drop(running);
}

/// Answers each piece that comes with 200, and tells it.
fn answer_all(mut stream: TcpStream, heads: &Sender<String>) {
    let mut bytes = [0; 8192];
    while let Ok(read) = stream.read(&mut bytes) {
        let told = read > 0 && heads.send(text(&bytes[..read])).is_ok();
        if !told || stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").is_err() {
            return;
        }
    }
}

#[test]
fn a_secret_that_a_value_brings_in_is_taken_anew_with_its_file() {
    let files = Files::new();
    let (config, secret) = (files.at("config.yaml"), files.at("secret"));
    fs::write(&secret, "canary-of-the-first").expect("written");
    let brought = format!("\"${{file:{}}}\"", secret.display());
    let hop = TcpListener::bind("127.0.0.1:0").expect("a port");
    let yaml = files
        .yaml("batch", "watch: true, interval: 1s")
        .replace(SECRET, &brought)
        .replace("127.0.0.1:1'", &format!("{}'", hop.local_addr().expect("bound")))
        .replace("exporters: [debug]", "exporters: [otlp_http/x]");
    fs::write(&config, yaml).expect("written");
    let (heads, seen) = channel();
    std::thread::spawn(move || {
        for stream in hop.incoming().flatten() {
            let heads = heads.clone();
            std::thread::spawn(move || answer_all(stream, &heads));
        }
    });
    let arrives = |secret: &str| {
        assert!(files.serves());
        let head = seen.recv_timeout(Duration::from_secs(20)).expect("a request");
        assert!(head.contains(secret), "{head}");
    };
    let mut running = files.started(&config);
    arrives("canary-of-the-first");
    fs::write(&secret, "canary-of-another").expect("written");
    let log = running.wait_for("the new configuration runs");
    assert!(log.contains("exporters::otlp_http/x") && !log.contains("canary-of-"), "{log}");
    arrives("canary-of-another");
    // Nothing else has changed, and a file that is gone leaves what runs.
    fs::remove_file(&secret).expect("removed");
    running.wait_for("the configuration is refused and the one before runs on");
    arrives("canary-of-another");
}

#[test]
fn a_link_that_a_volume_turns_is_followed_without_being_told() {
    let files = Files::new();
    for (version, processors) in [("..1", ""), ("..2", "batch")] {
        fs::create_dir(files.at(version)).expect("made");
        fs::write(files.at(version).join("config.yaml"), files.yaml(processors, "watch: true, interval: 1s"))
            .expect("written");
    }
    symlink("..1", files.at("..data")).expect("linked");
    symlink("..data/config.yaml", files.at("config.yaml")).expect("linked");
    let mut running = files.started(&files.at("config.yaml"));
    symlink("..2", files.at("..new")).expect("linked");
    fs::rename(files.at("..new"), files.at("..data")).expect("turned");
    let log = running.wait_for("the new configuration runs");
    assert!(log.contains("the files of the configuration have changed"), "{log}");
    assert!(files.serves());
}

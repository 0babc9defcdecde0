//! What each signal does to a running process, and with which code it ends (issue 12, item 5).

#[path = "support/process.rs"]
mod process;

use std::fs;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use process::{Running, ask, free_port, one_span};

/// The end of one that does not wait for anything; a guard with room for a busy machine.
const AT_ONCE: Duration = Duration::from_millis(2_500);

struct Gateway {
    running: Running,
    http: u16,
    _folder: tempfile::TempDir,
}

/// A gateway with a queue in front of `next_hop`, which is ready.
fn start(next_hop: u16) -> Gateway {
    let http = free_port();
    let folder = tempfile::tempdir().expect("a folder");
    let yaml = format!(
        "receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{http}'}}}}}}}}\n\
         exporters: {{otlp_http: {{endpoint: 'http://127.0.0.1:{next_hop}', timeout: 20s}}}}\n\
         extensions: {{admin: {{endpoint: '127.0.0.1:0'}}}}\n\
         service:\n  extensions: [admin]\n  telemetry: {{metrics: {{level: none}}}}\n  pipelines:\n    \
         traces: {{receivers: [otlp], exporters: [otlp_http]}}\n"
    );
    let path = folder.path().join("config.yaml");
    fs::write(&path, yaml).expect("writable");
    let mut running = Running::start_with(&path.to_string_lossy(), &[], Stdio::null());
    running.wait_for("everything is ready");
    Gateway { running, http, _folder: folder }
}

fn send(gateway: &Gateway, spans: usize) {
    for _ in 0..spans {
        let answer = ask(gateway.http, "POST", "/v1/traces", &one_span("a"));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

#[test]
fn sighup_of_the_same_configuration_sigusr1_and_sigusr2_change_nothing_and_say_so() {
    let mut gateway = start(free_port());
    gateway.running.signal("HUP");
    gateway.running.wait_for("the configuration is the one that runs already");
    for name in ["USR1", "USR2"] {
        gateway.running.signal(name);
        gateway.running.wait_for(&format!("SIG{name}: does nothing here"));
    }
    gateway.running.signal("TERM");
    let (code, log) = gateway.running.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("balance: nothing was received"), "{log}");
}

#[test]
fn a_second_signal_ends_the_drain_at_once_with_the_balance_and_the_code_of_a_loss() {
    // Takes connections into its backlog and never answers.
    let hanging = TcpListener::bind("127.0.0.1:0").expect("a port");
    for (first, second) in [("TERM", "TERM"), ("INT", "INT"), ("TERM", "INT")] {
        let mut gateway = start(hanging.local_addr().expect("bound").port());
        send(&gateway, 2);
        gateway.running.signal(first);
        gateway.running.wait_for("draining");
        gateway.running.signal(second);
        let (code, log) = gateway.running.end_within(AT_ONCE);
        assert_eq!(code, Some(3), "{log}");
        assert!(log.contains("again: exiting at once"), "{log}");
        assert!(log.contains("balance: traces: received 2, delivered 0, held 2"), "{log}");
    }
}

#[test]
fn a_second_signal_also_ends_a_start_that_does_not_come_to_its_end() {
    let folder = tempfile::tempdir().expect("a folder");
    // Opening it for writing waits for a reader, who never comes.
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().is_ok_and(|status| status.success()));
    let yaml = format!(
        "receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:0'}}}}}}}}\n\
         exporters: {{file: {{path: '{}'}}}}\n\
         extensions: {{admin: {{endpoint: '127.0.0.1:0'}}}}\n\
         service:\n  extensions: [admin]\n  telemetry: {{metrics: {{level: none}}, logs: {{level: debug}}}}\n  \
         pipelines: {{traces: {{receivers: [otlp], exporters: [file]}}}}\n",
        pipe.display()
    );
    let path = folder.path().join("config.yaml");
    fs::write(&path, yaml).expect("writable");
    let mut running = Running::start(&path.to_string_lossy());
    running.wait_for("starting component=exporters::file");
    running.signal("TERM");
    running.wait_for("draining");
    running.signal("TERM");
    let (code, log) = running.end_within(AT_ONCE);
    assert_eq!(code, Some(0), "nothing was received, nothing lost: {log}");
    assert!(log.contains("balance: nothing was received"), "{log}");
}

#[test]
fn a_stop_that_loses_items_has_its_own_exit_code_and_names_them() {
    let mut gateway = start(free_port());
    send(&gateway, 3);
    gateway.running.signal("TERM");
    gateway.running.wait_for("SIGTERM: draining");
    let (code, log) = gateway.running.end_within(Duration::from_secs(25));
    assert_eq!(code, Some(3), "{log}");
    assert!(log.contains("received 3, delivered 0, dropped(shutdown) 3, held 0"), "{log}");
}

#[test]
fn sigquit_tells_what_every_task_waits_for_and_running_goes_on() {
    let hanging = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut gateway = start(hanging.local_addr().expect("bound").port());
    send(&gateway, 2);
    gateway.running.signal("QUIT");
    let told = gateway.running.wait_for("balance: traces: received 2");
    for word in [
        "SIGQUIT: this is what every task waits for",
        "waits for queued requests, or the next hop's answers",
        "waits for a connection to accept",
        "last beat ",
        "component service: ok",
        "held 2",
    ] {
        assert!(told.contains(word), "{word:?} is not in:\n{told}");
    }
    send(&gateway, 1);
    gateway.running.signal("QUIT");
    gateway.running.wait_for("balance: traces: received 3");
}

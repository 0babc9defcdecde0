//! A record that is under way whenever the process dies by itself is put aside, so that it cannot end it for ever, and is sent
//! again by `podgate replay`. Who kills the process from outside says nothing about its records.

use std::process::Command;
use std::time::Duration;

use crate::hop::Hop;
use crate::process::{Running, ask, free_port, one_span, text};
use crate::{Ports, config};

#[test]
fn a_record_under_way_at_three_deaths_of_its_own_is_put_aside_and_replayed_and_kills_count_for_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ports, hop) = (Ports::free(), free_port());
    let log = folder.path().join("log");
    let config = config(ports, hop, &log, ("", ""));
    let again = "handed on again";
    let start = |word: &str| {
        let mut gateway = Running::start(&config);
        (gateway.wait_for(word), gateway)
    };
    let (_, gateway) = start("everything is ready");
    assert!(ask(ports.http, "POST", "/v1/traces", &one_span("a")).starts_with("HTTP/1.1 200"));
    drop(gateway);
    // What Rust ends a process by is SIGABRT, whoever sent it.
    let abort = |gateway: Running| {
        gateway.signal("ABRT");
        assert_eq!(gateway.end_within(Duration::from_secs(30)).0, None, "it dies of the signal");
    };
    // The process survives it by some seconds each time: it only waits for its next hop.
    for _ in 0..2 {
        let (_, gateway) = start(again);
        std::thread::sleep(Duration::from_millis(3_500));
        abort(gateway);
    }
    for kill in 0..5 {
        let (said, gateway) = start(again);
        assert!(said.contains("quarantined=0"), "after {kill} kills: {said}");
        drop(gateway);
    }
    for death in 0..3 {
        let (said, gateway) = start(again);
        assert!(said.contains("quarantined=0"), "after {death} deaths of its own: {said}");
        abort(gateway);
    }
    let (said, gateway) = start("everything is ready");
    assert!(said.contains("quarantined=1") && said.contains("records=0"), "{said}");
    let told = said.lines().find(|line| line.contains("put aside")).expect("a line of its own");
    let command = format!("podgate replay --config FILE --file {}/NUMBER.dead", log.display());
    assert!(told.contains("warn") && told.contains("records=1") && told.contains(&command), "{told}");
    gateway.signal("TERM");
    assert_eq!(gateway.end_within(Duration::from_secs(30)).0, Some(0));
    let files = std::fs::read_dir(&log).expect("a folder").filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let dead: Vec<_> = files.filter(|path| path.extension().is_some_and(|ending| ending == "dead")).collect();
    let [file] = &dead[..] else { panic!("one file of dead letters: {dead:?}") };
    let hop = Hop::at(hop);
    // What is sent again carries the credentials of an authenticator, which the gateway itself did without here.
    let secured = config
        .replace(
            "    tls: {insecure: true}\n",
            "    tls: {insecure: true}\n    auth: {authenticator: bearertokenauth}\n",
        )
        .replace("\nextensions:\n", "\nextensions:\n  bearertokenauth: {token: abc}\n")
        .replace("extensions: [", "extensions: [bearertokenauth, ");
    let replay = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_podgate"));
        command.args(["replay", "--config", &secured, "--timeout", "20", "--file"]).arg(file).args(more);
        let output = command.output().expect("it runs");
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    };
    let (code, said) = replay(&["--exporter", "otlp_grpc/none"]);
    assert!(code == Some(1) && said.contains("otlp_grpc/none"), "{said}");
    let (code, said) = replay(&[]);
    assert!(code == Some(0) && said.contains("1 records with 1 items: 1 delivered, 0 not"), "{said}");
    assert_eq!(hop.seen().len(), 1);
}

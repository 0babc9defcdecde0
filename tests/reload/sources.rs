//! A reload that exchanges the exporter while the next hop is away: what every kind of receiver waits with is handed to the
//! new one, and arrives.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use krafka::testing::FakeBroker;
use krafka::{Kafka, Record};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use prost::Message;
use tokio::task::JoinHandle;

use crate::config::Running;
use crate::support::{drain, eventually, free_port, post, start, text};

/// What each source says, with a number behind it.
const SOURCES: [&str; 5] = ["of-file-", "of-journal-", "of-audit-", "of-otlp-", "of-kafka-"];
const EACH: usize = 6;

/// Prints the entries of a folder once, and follows.
const JOURNALCTL: &str = r#"#!/bin/sh
[ "$1" = --version ] && { echo "systemd 252 (stand-in)"; exit 0; }
after=no
for argument in "$@"; do
    case "$argument" in
    --directory=*) cd "${argument#--directory=}" || exit 1 ;;
    --after-cursor=*) after=yes ;;
    esac
done
[ $after = no ] && cat entries
exec sleep 600
"#;

struct Ports {
    audit: u16,
    http: u16,
    hop: u16,
}

/// All receivers over one exporter. Another `number` is another exporter, under the same name or a second one.
fn yaml(folder: &Path, broker: &FakeBroker, ports: &Ports, number: u64) -> String {
    let (folder, Ports { audit, http, hop }) = (folder.display(), ports);
    let again = "retry_on_failure: {initial_interval: 50ms, max_interval: 100ms}";
    let exporter = if number == 2 { "otlp_grpc/2" } else { "otlp_grpc" };
    format!(
        "receivers:
  file_log: {{include: ['{folder}/*.log'], start_at: beginning, poll_interval: 20ms, {again}}}
  journald: {{journalctl_path: '{folder}/journalctl', directory: '{folder}', start_at: beginning, {again}}}
  k8s_audit: {{endpoint: '127.0.0.1:{audit}'}}
  otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{http}'}}}}}}
  kafka: {{brokers: ['{}'], initial_offset: earliest, logs: {{topics: [lines]}}, max_fetch_wait: 50ms,
    error_backoff: {{enabled: true, initial_interval: 50ms, max_interval: 100ms}}}}
exporters:
  {exporter}: {{endpoint: '127.0.0.1:{hop}', tls: {{insecure: true}}, timeout: {}s, sending_queue: {{wait_for_result: true}},
    retry_on_failure: {{enabled: false}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{logs: {{receivers: [file_log, journald, k8s_audit, otlp, kafka], exporters: [{exporter}]}}}}
",
        broker.bootstrap_servers(),
        1 + number
    )
}

/// A record for each number.
fn request(source: &str) -> Vec<u8> {
    let record = |number: usize| LogRecord { body: Some(text(&format!("{source}{number}."))), ..LogRecord::default() };
    let scope = ScopeLogs { log_records: (0..EACH).map(record).collect(), ..ScopeLogs::default() };
    let group = ResourceLogs { scope_logs: vec![scope], ..ResourceLogs::default() };
    ExportLogsServiceRequest { resource_logs: vec![group] }.encode_to_vec()
}

fn audit_events() -> String {
    let event = |number: usize| {
        format!(
            r#"{{"level":"Metadata","auditID":"of-audit-{number}.","stage":"ResponseComplete","verb":"get",
            "requestURI":"/api/v1/pods","user":{{"username":"u"}},"responseStatus":{{"code":200}},
            "stageTimestamp":"2026-12-01T10:00:00.000000Z"}}"#
        )
    };
    let events: Vec<String> = (0..EACH).map(event).collect();
    format!(r#"{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[{}]}}"#, events.join(","))
}

/// Fills the sources that keep their data.
async fn fill(folder: &Path, broker: &FakeBroker) {
    let lines: Vec<String> = (0..EACH).map(|number| format!("of-file-{number}.\n")).collect();
    fs::write(folder.join("a.log"), lines.concat()).expect("written");
    let entry = |number: usize| {
        format!("__CURSOR=n={number}\n__REALTIME_TIMESTAMP=1796119205000{number:03}\nMESSAGE=of-journal-{number}.\n\n")
    };
    fs::write(folder.join("entries"), (0..EACH).map(entry).collect::<String>()).expect("written");
    let program = folder.join("journalctl");
    fs::write(&program, JOURNALCTL).expect("written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a program");
    broker.create_topic("lines", 1);
    let kafka = Kafka::builder(broker.bootstrap_servers()).connect().await.expect("the broker answers");
    let producer = kafka.producer().metrics_push(false).build().await.expect("a producer");
    let written = producer.send(Record::new("lines", request("of-kafka-")).partition(0)).await;
    assert!(written.is_ok(), "{written:?}");
    producer.close().await.expect("closes");
}

/// A sender that tries again until its data is taken.
#[allow(clippy::disallowed_methods, reason = "a peer, not a part of the gateway")]
fn send(port: u16, path: &'static str, content_type: &'static str, body: Vec<u8>) -> JoinHandle<()> {
    tokio::spawn(async move {
        while post(port, path, content_type, &body).await.0 != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
}

/// How often each text of each source is there.
fn arrived(into: &Path) -> BTreeMap<String, usize> {
    let written = fs::read_to_string(into).unwrap_or_default();
    let texts = SOURCES.iter().flat_map(|source| (0..EACH).map(move |number| format!("{source}{number}.")));
    let mut counts: BTreeMap<String, usize> = texts.map(|text| (text, 0)).collect();
    counts.iter_mut().for_each(|(text, count)| *count = written.matches(&format!("\"{text}\"")).count());
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn what_receivers_wait_with_goes_to_the_exporter_of_a_reload_while_the_next_hop_is_away() {
    let folder = tempfile::tempdir().expect("a folder");
    let (into, broker) = (folder.path().join("out.json"), FakeBroker::start().await.expect("loopback has ports"));
    let ports = Ports { audit: free_port(), http: free_port(), hop: free_port() };
    fill(folder.path(), &broker).await;
    let mut running = Running::start(&yaml(folder.path(), &broker, &ports, 0)).await;
    let senders = [
        send(ports.audit, "/audit?timeout=30s", "application/json", audit_events().into_bytes()),
        send(ports.http, "/v1/logs", "application/x-protobuf", request("of-otlp-")),
    ];
    for number in 1..=3 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        running.reload(&yaml(folder.path(), &broker, &ports, number)).await.expect("another exporter");
    }
    // By then the exporters from before have given the next hop up, and take nothing more.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(arrived(&into).values().all(|count| *count == 0), "nobody was there");
    let hop = start(&format!(
        "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{}'}}}}}}}}\n\
         exporters: {{file: {{path: '{}', append: true}}}}\n\
         service: {{telemetry: {{metrics: {{level: none}}}}, pipelines: {{logs: {{receivers: [otlp], exporters: [file]}}}}}}\n",
        ports.hop,
        into.display()
    ))
    .await;
    eventually("everything has arrived", || arrived(&into).values().all(|count| *count > 0)).await;
    for sender in senders {
        sender.await.expect("its data was taken");
    }
    running.drain().await;
    drain(hop).await;
    let found = arrived(&into);
    let audit_twice = |text: &str| text.starts_with("of-audit-");
    assert!(found.iter().all(|(text, count)| *count == 1 || audit_twice(text)), "{found:?}");
}

//! Log records have no identity of their own. Indexed by a process whose answer never came, they are found to be there by the
//! next one: their ids are made of where they stand in the log.

use std::time::Duration;

use tokio::time::Instant;

use crate::Ports;
use crate::elastic::Elastic;
use crate::kills::End;
use crate::process::{Running, ask};

fn eventually(what: &str, mut ready: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !ready() {
        assert!(Instant::now() < until, "thirty seconds passed before: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn log_records_that_were_indexed_before_a_kill_are_not_indexed_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let ports = Ports::free();
    let end = End::Elastic(Elastic::start());
    let End::Elastic(elastic) = &end else { return };
    let config = end.config(ports, &folder.path().join("log"), ("", "")).replace("traces: {", "logs: {");
    elastic.hang(true);
    let mut gateway = Running::start(&config);
    gateway.wait_for("everything is ready");
    let record = |text: &str| format!(r#"{{"timeUnixNano":"1700000000000000000","body":{{"stringValue":"{text}"}}}}"#);
    let of = |records: [&str; 3]| {
        let records = records.map(record).join(",");
        format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{records}]}}]}}]}}"#)
    };
    // Equal records within a request and in another one: all of them are documents.
    for records in [["a", "a", "b"], ["a", "b", "c"]] {
        assert!(ask(ports.http, "POST", "/v1/logs", &of(records)).starts_with("HTTP/1.1 200"));
    }
    eventually("all are indexed", || elastic.documents() == 6);
    drop(gateway);
    elastic.hang(false);
    let mut gateway = Running::start(&config);
    gateway.wait_for("everything is ready");
    eventually("all came again", || elastic.conflicts() >= 6);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!((elastic.documents(), elastic.conflicts()), (6, 6), "nothing is there twice");
    gateway.signal("TERM");
    assert_eq!(gateway.end_within(Duration::from_secs(30)).0, Some(0));
    let mut gateway = Running::start(&config);
    let log = gateway.wait_for("everything is ready");
    assert!(log.contains("records=0"), "what had arrived is settled: {log}");
}

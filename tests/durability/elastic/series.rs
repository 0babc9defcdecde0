//! Cumulative series in front of Elasticsearch: what a histogram counted since its last point is the same in the next
//! process, whatever ended this one.

use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::Ports;
use crate::elastic::Elastic;
use crate::kills::End;
use crate::process::{Running, ask, free_port};

fn eventually(what: &str, mut ready: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !ready() {
        assert!(Instant::now() < until, "thirty seconds passed before: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as u64
}

/// Two series each of an explicit and an exponential histogram and of a counter, which all stand at `count`.
fn points(start: u64, time: u64, count: u64) -> String {
    let of = |route: &str, more: Value| {
        let mut point = json!({
            "startTimeUnixNano": start.to_string(), "timeUnixNano": time.to_string(),
            "attributes": [{"key": "route", "value": {"stringValue": route}}]
        });
        let fields = more.as_object().expect("an object").clone();
        point.as_object_mut().expect("an object").extend(fields);
        point
    };
    let both = |more: Value| ["/a", "/b"].map(|route| of(route, more.clone()));
    let metric = |name: &str, kind: &str, points: [Value; 2]| json!({"name": name, "unit": "s", kind: {"aggregationTemporality": 2, "isMonotonic": true, "dataPoints": points}});
    let text = count.to_string();
    let explicit = both(json!({"count": text, "sum": count, "bucketCounts": [text, "0"], "explicitBounds": [10.0]}));
    let exponential =
        both(json!({"count": text, "sum": count, "scale": 3, "positive": {"offset": 2, "bucketCounts": [text]}}));
    let mut counter = metric("counter", "sum", both(json!({"asInt": text})));
    counter["unit"] = json!("1");
    let mut explicit = metric("explicit", "histogram", explicit);
    let mut exponential = metric("exponential", "exponentialHistogram", exponential);
    for histogram in [&mut explicit, &mut exponential] {
        let kind = if histogram["histogram"].is_null() { "exponentialHistogram" } else { "histogram" };
        histogram[kind].as_object_mut().expect("an object").remove("isMonotonic");
    }
    json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": [explicit, exponential, counter]}]}]}).to_string()
}

/// What the documents of each histogram and route counted together.
fn counted(documents: &[Value], name: &str, route: &str) -> u64 {
    let of_route = documents.iter().filter(|document| document["attributes"]["route"] == route);
    let counts = of_route.filter_map(|document| document["metrics"][name]["counts"].as_array());
    counts.flatten().filter_map(Value::as_u64).sum()
}

#[test]
fn what_a_histogram_counted_is_indexed_once_and_whole_whenever_the_process_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let ports = Ports::free();
    let end = End::Elastic(Elastic::start());
    let End::Elastic(elastic) = &end else { return };
    let config = end.config(ports, &folder.path().join("log"), ("", "")).replace("traces: {", "metrics: {");
    let admin = free_port();
    let config =
        config.replace("admin: {endpoint: '127.0.0.1:0'}", &format!("admin: {{endpoint: '127.0.0.1:{admin}'}}"));
    let started = || {
        let mut gateway = Running::start(&config);
        gateway.wait_for("everything is ready");
        gateway
    };
    let send = |body: &str| assert!(ask(ports.http, "POST", "/v1/metrics", body).starts_with("HTTP/1.1 200"));
    let mut gateway = started();
    // The exporter has begun when the series do.
    send(
        r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"g","gauge":{"dataPoints":[{"asInt":"1","timeUnixNano":"5000000"}]}}]}]}]}"#,
    );
    eventually("the gauge is there", || elastic.documents() == 1);
    let (start, mut documents) = (now(), 1);
    let mut next = |count: u64| {
        send(&points(start, now(), count));
        // Histograms and counters have units of their own.
        documents += 4;
        eventually("the points are there", || elastic.documents() == documents);
    };
    // Documents are there before their answer is: it has come, and its mark is on disk, as the next start would find it.
    let settled = || {
        eventually("no record of the log is without an end", || {
            let log = folder.path().join("log");
            let told = Command::new(env!("CARGO_BIN_EXE_podgate")).args(["wal", "inspect"]).arg(log).output();
            String::from_utf8_lossy(&told.expect("the binary runs").stdout).contains("unsettled: 0 records")
        });
    };
    next(3);
    next(7);
    // Only what was counted so far comes back.
    settled();
    drop(gateway);
    gateway = started();
    next(12);
    settled();
    // Indexed, and never answered.
    elastic.hang(true);
    next(20);
    next(21);
    drop(gateway);
    elastic.hang(false);
    gateway = started();
    eventually("both came again", || elastic.conflicts() >= 8);
    eventually("they count as delivered", || {
        let answer = ask(admin, "GET", "/v1/balance", "");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
        let sheet = serde_json::from_str::<Value>(body).expect("JSON")["metrics"].clone();
        sheet["delivered"] == 12 && sheet["held"] == 0
    });
    next(40);
    // What was told twice is not sent three times.
    settled();
    drop(gateway);
    gateway = started();
    next(41);
    assert_eq!(elastic.conflicts(), 8, "what came again was there");
    assert_eq!(elastic.changed(), Vec::<(Value, Value)>::new(), "and had the same bytes");
    for name in ["explicit", "exponential"] {
        for route in ["/a", "/b"] {
            assert_eq!(counted(&elastic.points(), name, route), 41, "{name} {route}");
        }
    }
    gateway.signal("TERM");
    assert_eq!(gateway.end_within(Duration::from_secs(30)).0, Some(0));
}

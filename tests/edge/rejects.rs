//! One bad item among good ones: dropped alone and told by partial success, whatever is wrong with it.

use podgate::core::data::payload::Signal;

use super::harness::{BOTH, H2, Running, field, framed, http1};

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const PROFILES: &str = "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export";

fn request(items: &[Vec<u8>]) -> Vec<u8> {
    let items: Vec<u8> = items.iter().flat_map(|item| field(2, item)).collect();
    field(1, &field(2, &items))
}

/// The request goes in over both transports; one item of each must be missing and the answer must say so.
async fn one_is_dropped(signal: Signal, grpc_path: &str, http_path: &str, body: &[u8], what: &str) {
    let running = Running::start(BOTH).await;
    let mut client = H2::connect(running.grpc()).await;
    let reply = client.grpc(grpc_path, &[], &framed(0, body)).await.unwrap();
    assert_eq!(reply.grpc_status(), Some(0), "{what}: {reply:?}");
    // ExportPartialSuccess {rejected = 1, error_message = 2} as field 1 of every response.
    assert!(matches!(reply.body[5..], [0x0a, _, 0x08, 1, 0x12, ..]), "{what}: {reply:?}");
    let reply = http1(running.http(), "POST", http_path, &[PROTOBUF], body).await;
    assert_eq!(reply.status, 200, "{what}: {reply:?}");
    assert!(matches!(reply.body[..], [0x0a, _, 0x08, 1, 0x12, ..]), "{what}: {reply:?}");
    let sheet = running.host.balance.sheet(signal);
    assert_eq!((sheet.received, sheet.delivered, sheet.dropped["malformed"]), (4, 2, 2), "{what}");
}

#[tokio::test]
async fn a_span_with_an_id_of_a_wrong_length_is_dropped_alone() {
    let good = [field(1, &[7; 16]), field(2, &[7; 8])].concat();
    let cases = [
        ("a trace id of 3 bytes", field(1, b"abc")),
        ("a trace id of 17 bytes", field(1, &[7; 17])),
        ("a span id of 16 bytes", field(2, &[7; 16])),
        ("a parent of 7 bytes", field(4, &[7; 7])),
        ("a link to a trace id of 8 bytes", field(13, &field(1, &[7; 8]))),
    ];
    for (what, bad) in cases {
        let body = request(&[bad, good.clone()]);
        one_is_dropped(Signal::Traces, super::harness::TRACES, "/v1/traces", &body, what).await;
    }
}

#[tokio::test]
async fn a_profile_that_cannot_be_walked_is_dropped_alone_whatever_its_length() {
    let good = field(7, &[7; 16]);
    for length in [10, 127, 128, 255, 256, 300, 20_000] {
        let mut bad = field(9, &vec![7; length]);
        // The length of a field that runs past the profile's end.
        bad.extend([0x4a, 0x7f, 1]);
        let body = request(&[bad, good.clone()]);
        one_is_dropped(Signal::Profiles, PROFILES, "/v1development/profiles", &body, &format!("{length} bytes")).await;
    }
}

#[tokio::test]
async fn json_values_nested_too_deeply_cost_their_own_span_only() {
    let span = |levels: usize| {
        let value = r#"{"arrayValue":{"values":["#.repeat(levels) + r#"{"intValue":1}"# + &"]}}".repeat(levels);
        format!(r#"{{"name":"n{levels}","attributes":[{{"key":"a","value":{value}}}]}}"#)
    };
    let running = Running::start(BOTH).await;
    let headers = [("content-type", "application/json")];
    for deep in [65, 66, 200, 5_000] {
        let body = format!(
            r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{},{},{}]}}]}}]}}"#,
            span(64),
            span(deep),
            span(1)
        );
        let reply = http1(running.http(), "POST", "/v1/traces", &headers, body.as_bytes()).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let answer: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(answer["partialSuccess"]["rejectedSpans"], "1", "{deep}: {answer}");
    }
    let sheet = running.host.balance.sheet(Signal::Traces);
    assert_eq!((sheet.received, sheet.delivered, sheet.dropped["malformed"]), (12, 8, 4));
}

async fn json(running: &Running, path: &str, body: &str) -> (u16, serde_json::Value) {
    let reply = http1(running.http(), "POST", path, &[("content-type", "application/json")], body.as_bytes()).await;
    (reply.status, serde_json::from_slice(&reply.body).unwrap())
}

#[tokio::test]
async fn a_log_record_with_an_unusable_id_is_kept_without_it_and_the_others_with_theirs() {
    let running = Running::start(BOTH).await;
    let record = |id: &str| format!(r#"{{"body":{{"stringValue":"x"}},"traceId":"{id}","spanId":"gMEgDJS+EXg="}}"#);
    let records = ["0102030405060708090a0b0c0d0e0f10", "Z6z8LqVvEI+kU1/Ci6mXBQ==", "0102"].map(record).join(",");
    let body = format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{records}]}}]}}]}}"#);
    let (status, answer) = json(&running, "/v1/logs", &body).await;
    assert_eq!((status, &answer["partialSuccess"]["rejectedLogRecords"]), (200, &serde_json::json!("0")), "{answer}");
    let told = answer["partialSuccess"]["errorMessage"].as_str().unwrap().to_owned();
    assert!(told.contains("3 kept without") && told.contains("expected 16 hex digits"), "{told}");
    let record = |id: &[u8]| [field(9, id), field(5, &field(1, b"x"))].concat();
    let body = request(&[record(&[7; 16]), record(b"abc")]);
    let reply = http1(running.http(), "POST", "/v1/logs", &[PROTOBUF], &body).await;
    // No count, and a message: everything was taken.
    assert!(reply.status == 200 && matches!(reply.body[..], [0x0a, _, 0x12, ..]), "{reply:?}");
    assert_eq!(running.sink.items(), 5);
    let sheet = running.host.balance.sheet(Signal::Logs);
    assert!((sheet.received, sheet.delivered) == (5, 5) && sheet.dropped.is_empty(), "{sheet:?}");
    assert_eq!(running.host.stats.total("podgate_receiver_items_without_ids"), 4);
    running.assert_balance();
}

#[tokio::test]
async fn a_span_in_json_with_an_id_that_cannot_be_one_is_dropped_alone_and_its_place_is_told() {
    let running = Running::start(BOTH).await;
    let span = |id: &str| format!(r#"{{"name":"x","traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"{id}"}}"#);
    let body = |ids: &[&str]| {
        let spans = ids.iter().map(|id| span(id)).collect::<Vec<_>>().join(",");
        format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{spans}]}}]}}]}}"#)
    };
    let (status, answer) = json(&running, "/v1/traces", &body(&["0102030405060708", "gMEgDJS+EXg=", ""])).await;
    assert_eq!((status, &answer["partialSuccess"]["rejectedSpans"]), (200, &serde_json::json!("1")), "{answer}");
    let told = answer["partialSuccess"]["errorMessage"].as_str().unwrap().to_owned();
    assert!(told.contains("line 1, column ") && told.contains("expected 16 hex digits"), "{told}");
    let (status, answer) = json(&running, "/v1/traces", &body(&["zz"])).await;
    assert!(status == 400 && answer.to_string().contains("expected 16 hex digits"), "{status} {answer}");
    assert_eq!(running.sink.items(), 2);
    running.assert_balance();
}

#[tokio::test]
async fn a_request_that_holds_nothing_of_its_signal_is_a_success_that_says_what_it_holds() {
    let running = Running::start(BOTH).await;
    for (path, body, words) in [
        ("/v1/logs", r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{}]}]}]}"#, "the path of traces"),
        ("/v1/traces", r#"{"resourceSpans":[{"instrumentationLibrarySpans":[{"spans":[{}]}]}]}"#, "scopeSpans"),
    ] {
        let (status, answer) = json(&running, path, body).await;
        let message = answer["partialSuccess"]["errorMessage"].as_str().unwrap_or_default().to_owned();
        assert!(status == 200 && message.contains(words), "{path}: {status} {answer}");
    }
    assert_eq!(json(&running, "/v1/traces", r#"{"resourceSpans":[]}"#).await, (200, serde_json::json!({})));
    // Field 1000 of the resource's group.
    let scopes = field(2, &field(1, &[7; 16]));
    let old = field(1, &[&[0xc2, 0x3e, scopes.len() as u8][..], &scopes].concat());
    let int_gauge = request(&[[field(1, b"cpu"), field(4, b"")].concat()]);
    for (path, body, words) in [("/v1/traces", old, "field 1000"), ("/v1/metrics", int_gauge, "int_gauge")] {
        let reply = http1(running.http(), "POST", path, &[PROTOBUF], &body).await;
        let said = String::from_utf8_lossy(&reply.body).into_owned();
        assert!(reply.status == 200 && said.contains(words), "{path}: {reply:?}");
    }
}

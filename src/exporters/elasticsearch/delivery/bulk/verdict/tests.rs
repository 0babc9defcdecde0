//! The recorded answers of a real Elasticsearch 8.19 (tests/golden/elastic/es_bulk_*.json) and what each means.

use std::borrow::Cow;

use serde_json::Value;

use super::*;

const RECORDED: [&str; 2] = [
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/elastic/es_bulk_responses.json")),
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/elastic/es_bulk_auth_pressure.json")),
];

use DocumentVerdict::{Blocked, Conflict, FailureStore, Indexed, Later, Never, Present};

/// What a recorded exchange must come to.
enum Wanted {
    Items(&'static [DocumentVerdict]),
    Whole(BulkClass),
}
use Wanted::{Items, Whole};

/// Every recorded exchange by name.
const WANTED: &[(&str, Wanted)] = &[
    ("ok-two", Items(&[Indexed, Indexed])),
    ("ok-filter-path", Items(&[Indexed, Indexed])),
    ("duplicate-id", Items(&[Present])),
    ("duplicate-id-same-request", Items(&[Indexed, Present])),
    ("mixed-errors", Items(&[Never, Never, Never, Never, Indexed, Never, Never])),
    ("mixed-errors-filter-path", Items(&[Never, Indexed])),
    ("field-limit", Items(&[Never])),
    ("bad-json-document", Items(&[Never, Indexed])),
    ("nan-in-document", Items(&[Never, Indexed])),
    ("duplicate-key-in-document", Items(&[Never, Indexed])),
    ("empty-key", Items(&[Never])),
    ("dot-key", Items(&[Never, Never, Never])),
    ("keyword-over-32766-bytes", Items(&[Never])),
    ("otel-timestamp", Items(&[Indexed])),
    ("bad-json-action", Whole(BulkClass::Faulty)),
    ("unknown-action-key", Whole(BulkClass::Faulty)),
    ("id-too-long", Whole(BulkClass::Faulty)),
    ("uppercase-index", Items(&[Never, Indexed])),
    ("missing-index", Whole(BulkClass::Faulty)),
    ("unknown-pipeline", Items(&[Never, Indexed])),
    ("unknown-dynamic-template", Items(&[Never])),
    ("require-data-stream-query", Items(&[Blocked, Never, Indexed])),
    ("require-data-stream-action", Items(&[Blocked])),
    ("unknown-query-parameter", Whole(BulkClass::Faulty)),
    ("no-final-newline", Whole(BulkClass::Faulty)),
    ("empty-body", Whole(BulkClass::Faulty)),
    ("only-newline", Whole(BulkClass::Faulty)),
    ("gzip-ok", Items(&[Indexed])),
    ("gzip-broken", Whole(BulkClass::Faulty)),
    ("gzip-truncated", Whole(BulkClass::Faulty)),
    ("zstd-encoding", Whole(BulkClass::Faulty)),
    ("wrong-content-type", Whole(BulkClass::Hold)),
    ("content-type-json", Items(&[Indexed])),
    ("failure-store-mapping", Items(&[FailureStore, Indexed])),
    ("failure-store-pipeline", Items(&[FailureStore])),
    ("failure-store-duplicate", Items(&[Indexed, Present])),
    ("tsdb-duplicate", Items(&[Indexed, Conflict])),
    ("tsdb-out-of-bounds", Items(&[Never])),
    ("tsdb-no-dimension", Items(&[Never])),
    ("tsdb-own-id", Items(&[Never])),
    ("tsdb-array-dimension", Items(&[Indexed])),
    ("logsdb-own-id", Items(&[Indexed, Present])),
    ("alias-name-in-document", Items(&[FailureStore])),
    ("update-and-delete", Items(&[Never, Never])),
    ("closed-or-blocked", Whole(BulkClass::Hold)),
    ("write-block", Items(&[Indexed])),
    ("no-credentials", Whole(BulkClass::Hold)),
    ("wrong-password", Whole(BulkClass::Hold)),
    ("apikey-wrong", Whole(BulkClass::Hold)),
    ("apikey-malformed", Whole(BulkClass::Hold)),
    ("apikey-create-doc-new-stream", Items(&[Blocked])),
    ("admin-ok", Items(&[Indexed])),
    ("apikey-create-doc-existing-stream", Items(&[Indexed])),
    ("apikey-other-index", Items(&[Indexed, Blocked])),
    ("apikey-index-op", Items(&[Never])),
    ("indexing-pressure", Whole(BulkClass::Later)),
];

fn recorded() -> Vec<Value> {
    let lists = RECORDED.iter().map(|text| serde_json::from_str::<Vec<Value>>(text).unwrap());
    lists.flatten().collect()
}

/// Which documents of a request carry an id; only action lines have an operation.
fn own_ids(request: &Value) -> Vec<bool> {
    let body = request["body"].as_str().unwrap_or_default();
    let lines = body.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let action = |line: Value| {
        let (operation, keys) = line.as_object()?.iter().next().map(|(key, value)| (key.clone(), value.clone()))?;
        ["create", "index", "update", "delete"].contains(&operation.as_str()).then(|| keys.get("_id").is_some())
    };
    lines.filter_map(action).collect()
}

fn verdicts(body: &[u8], own: &[bool], count: usize) -> Result<Vec<DocumentVerdict>, Unusable> {
    let statuses = RetryableStatuses::default();
    let found = read(body, count, |at, said| Some(judge(&said, own.get(at).copied().unwrap_or(false), &statuses)))?;
    assert!(found.iter().enumerate().all(|(at, (place, _))| at == *place));
    Ok(found.into_iter().map(|(_, verdict)| verdict).collect())
}

#[test]
fn every_recorded_exchange_has_its_verdicts() {
    let exchanges = recorded();
    assert_eq!(exchanges.len(), 57);
    for exchange in &exchanges {
        let name = exchange["name"].as_str().unwrap();
        let Some((_, wanted)) = WANTED.iter().find(|(known, _)| *known == name) else {
            assert_eq!(name, "write-queue-full", "an exchange without a verdict");
            continue;
        };
        let status = u16::try_from(exchange["status"].as_u64().unwrap()).unwrap();
        let class = class(status, &RetryableStatuses::default());
        let body = serde_json::to_vec(&exchange["response"]).unwrap();
        match wanted {
            Whole(wanted) => {
                assert_eq!(class, *wanted, "{name}");
                let (kind, reason) = request_error(&body);
                assert!(!kind.is_empty() || !reason.is_empty(), "{name}");
            }
            Items(wanted) => {
                assert_eq!(class, BulkClass::Answered, "{name}");
                let found = verdicts(&body, &own_ids(&exchange["request"]), wanted.len());
                assert_eq!(found.as_deref(), Ok(*wanted), "{name}");
            }
        }
    }
}

#[test]
fn a_full_write_queue_is_repeated_document_by_document() {
    let exchanges = recorded();
    let full = exchanges.iter().find(|exchange| exchange["name"] == "write-queue-full").unwrap();
    let item = serde_json::json!({"items": [{"create": full["example_item"]}, {"create": {"status": 201}}]});
    let found = verdicts(item.to_string().as_bytes(), &[true, true], 2).unwrap();
    assert_eq!(found, [Later, Indexed]);
    assert_eq!(class(429, &RetryableStatuses::default()), BulkClass::Later);
}

#[test]
fn blocks_are_told_by_their_type_whatever_their_status() {
    for (status, kind, wanted) in [
        (403, "cluster_block_exception", Blocked),
        (429, "cluster_block_exception", Blocked),
        (403, "security_exception", Blocked),
        (400, "index_closed_exception", Blocked),
        (403, "other", Blocked),
        (503, "unavailable_shards_exception", Later),
        (429, "circuit_breaking_exception", Later),
        (500, "exception", Never),
        (404, "index_not_found_exception", Blocked),
        (404, "other", Never),
    ] {
        let said = DocumentAnswer { status, error: kind.into(), ..DocumentAnswer::default() };
        assert_eq!(judge(&said, true, &RetryableStatuses::default()), wanted, "{status} {kind}");
    }
    let said = DocumentAnswer { status: 503, error: "x".into(), ..DocumentAnswer::default() };
    assert_eq!(judge(&said, true, &RetryableStatuses::new(vec![429])), Never, "a written list replaces ours");
}

#[test]
fn the_quick_way_and_the_slow_way_read_the_same() {
    let items = [
        r#"{"create":{"status":201}}"#,
        r#"{"create":{"status":400,"error":{"type":"t","reason":"a \"quoted\" \u00e9 ]},{ reason"}}}"#,
        r#"{"create":{"status":201,"failure_store":"used"}}"#,
        r#"{"create":{"status":200}}"#,
        r#"{"create":{"status":409,"error":"text"}}"#,
        r#"{"index":{"status":429,"error":{"type":"busy"}}}"#,
    ];
    let mut random = fastrand::Rng::with_seed(13);
    for _ in 0..500 {
        let picked: Vec<&str> = (0..random.usize(0..12)).map(|_| items[random.usize(0..items.len())]).collect();
        let head = ["", "\"took\":17,", "\"errors\":false,\"took\":0,", "\"ingest_took\":2,"][random.usize(0..4)];
        let quick = format!("{{{head}\"items\":[{}]}}", picked.join(","));
        assert!(elements(quick.as_bytes()).is_some());
        let slow = format!("{{\"took\":1, \"items\":[{}]}}", picked.join(","));
        let own = vec![true; picked.len()];
        let found = verdicts(quick.as_bytes(), &own, picked.len());
        assert!(found.is_ok(), "seed 13: {quick}");
        assert_eq!(found, verdicts(slow.as_bytes(), &own, picked.len()), "seed 13: {quick}");
        assert!(verdicts(quick.as_bytes(), &own, picked.len() + 1).is_err());
        if !picked.is_empty() {
            assert!(verdicts(quick.as_bytes(), &own, picked.len() - 1).is_err());
            let cut = quick.floor_char_boundary(random.usize(0..quick.len() - 1));
            assert!(verdicts(&quick.as_bytes()[..cut], &own, picked.len()).is_err(), "seed 13: cut at {cut}: {quick}");
        }
    }
}

#[test]
fn no_bytes_make_reading_panic() {
    let mut random = fastrand::Rng::with_seed(17);
    let letters = br#"{}[]",:create items status201erroftyp\u0"#;
    for _ in 0..20_000 {
        let mut body = if random.bool() { b"{\"items\":[".to_vec() } else { Vec::new() };
        body.extend((0..random.usize(0..60)).map(|_| letters[random.usize(0..letters.len())]));
        let _ = verdicts(&body, &[], random.usize(0..3));
        request_error(&body);
    }
}

/// What the slow way alone says.
fn slowly(body: &[u8], count: usize) -> Result<Vec<DocumentVerdict>, Unusable> {
    let statuses = RetryableStatuses::default();
    let (found, answers) = whole::read(body, count, &|_, said| Some(judge(&said, false, &statuses)))?;
    if found != count {
        return Err(Unusable("another number".to_owned()));
    }
    Ok(answers.into_iter().map(|(_, verdict)| verdict).collect())
}

#[test]
fn every_spelling_of_an_answer_is_read_and_whatever_is_no_json_is_not() {
    const ONE: &str = r#"{"create":{"status":201}}"#;
    const HEAD: &str = r#"{"took":1,"errors":false,"items":["#;
    let two = |head: &str, between: &str, tail: &str| format!("{head}{ONE}{between}{ONE}{tail}");
    for (body, taken) in [
        (two(HEAD, ",", "]}"), true),
        (two(HEAD, ",", "]}\r\n "), true),
        (two(HEAD, " ,", "]}"), true),
        (two(HEAD, ",\n", "]}"), true),
        (two(HEAD, ",", "\n]}"), true),
        (two(HEAD, ",", "] }"), true),
        (two(&format!("{HEAD} "), ",", " ]}"), true),
        (two(HEAD, ",", "],\"took\":1}"), true),
        (two(r#"{"items":["#, ",", "],\"errors\":false}"), true),
        (two("{\n \"took\" : 1,\n \"items\" : [", ",\n", "\n]\n}\n"), true),
        (two(r#"{"took":1,"error":{"items":[]},"items":["#, ",", "]}"), true),
        (two(r#"{"\u0069tems":["#, ",", "]}"), true),
        (two(HEAD, ",", "]"), false),
        (two(HEAD, ",", ""), false),
        (two(HEAD, ",", "]}}"), false),
        (two(HEAD, ",", "]}\u{c}"), false),
        (two(HEAD, ",", "]garbage"), false),
        (two(HEAD, ",", "]} garbage"), false),
        (two(HEAD, ",", "],}"), false),
        (two(HEAD, "", "]}"), false),
        (two(HEAD, ",,", "]}"), false),
        (two(HEAD, ",", ",]}"), false),
        (two(&format!("{HEAD},"), ",", "]}"), false),
        (two(HEAD, ",", r#"],"items":[{"create":{"status":400}},{"create":{"status":400}}]}"#), false),
        (two(r#"{"took":x1,"items":["#, ",", "]}"), false),
        (two(r#"{"took":,"items":["#, ",", "]}"), false),
        (two(r#"{"took":01,"items":["#, ",", "]}"), false),
        (two(HEAD, &format!(",{ONE},"), "]}"), false),
        (format!("{HEAD}{ONE}]}}"), false),
        (format!("{HEAD}{ONE},null]}}"), false),
        ("{\"took\":1}".to_owned(), false),
    ] {
        let found = verdicts(body.as_bytes(), &[], 2);
        assert_eq!(found.as_deref().ok(), taken.then_some(&[Indexed, Indexed][..]), "{body}: {found:?}");
    }
}

#[test]
fn the_quick_way_never_differs_from_json_however_an_answer_is_spelled_or_damaged() {
    let items = [
        r#"{"create":{"status":201}}"#,
        r#"{"create":{"status":400,"error":{"type":"t","reason":"a ]},{ \"q\""}}}"#,
        r#"{ "create" : {"status":429, "error":"text"} }"#,
    ];
    let seed = 1_412;
    let mut random = fastrand::Rng::with_seed(seed);
    let mut taken = 0;
    for _ in 0..5_000 {
        let count = random.usize(0..5);
        let mut blank =
            |often: usize| if random.usize(0..often) == 0 { [" ", "\n", "\t "][random.usize(0..3)] } else { "" };
        let mut body = format!("{{\"took\":3,{}\"items\":[{}", blank(8), blank(8));
        for at in 0..count {
            let comma = if at > 0 { "," } else { "" };
            body += &format!("{}{comma}{}{}", blank(12), blank(12), items[(at / 2 + count) % 3]);
        }
        body += &format!("{}]{}}}{}", blank(8), blank(8), blank(8));
        let mut bytes = body.into_bytes();
        match random.usize(0..6) {
            0 => bytes.truncate(random.usize(0..bytes.len())),
            1 => {
                bytes.remove(random.usize(0..bytes.len()));
            }
            2 => bytes.insert(random.usize(0..=bytes.len()), b",]}{ x0\""[random.usize(0..8)]),
            _ => {}
        }
        let (found, slow) = (verdicts(&bytes, &[], count), slowly(&bytes, count));
        assert_eq!(found.as_ref().ok(), slow.as_ref().ok(), "seed {seed}: {}", String::from_utf8_lossy(&bytes));
        taken += usize::from(found.is_ok());
    }
    assert!(taken > 2_000, "seed {seed}: only {taken} were read");
}

#[test]
fn of_a_long_reason_the_beginning_is_kept() {
    let reason = format!("x{}", "\u{e9}\\n".repeat(20_000));
    let kind = "k".repeat(500);
    for body in [
        format!(r#"{{"items":[{{"create":{{"status":400,"error":{{"type":"{kind}","reason":"{reason}"}}}}}}]}}"#),
        format!(r#"{{ "items":[{{"create":{{"status":400,"error":{{"type":"{kind}","reason":"{reason}"}}}}}}]}}"#),
    ] {
        let found = read(body.as_bytes(), 1, |_, said| Some(said)).unwrap();
        let (kind, reason) = (&found[0].1.error, &found[0].1.reason);
        assert_eq!(
            (kind.len(), reason.len()),
            (KIND_BYTES_MAX, REASON_BYTES_MAX - 1),
            "a letter of two bytes is not cut"
        );
        assert!(reason.starts_with("x\u{e9}\n\u{e9}"));
        assert!(matches!(reason, Cow::Owned(text) if text.capacity() <= REASON_BYTES_MAX));
    }
    let refused = format!(r#"{{"error":{{"type":"{kind}","reason":"{reason}"}}}}"#);
    let (kind, reason) = request_error(refused.as_bytes());
    assert_eq!((kind.len(), reason.len()), (KIND_BYTES_MAX, REASON_BYTES_MAX - 1));
}

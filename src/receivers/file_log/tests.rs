//! What a Collector's receiver makes of files (filelogreceiver v0.160), beside what this one makes of them.
//!
//! A row of `tests/lines/answers.jsonl` has the keys of a receiver, the path and the text of a file, and the answer: that the
//! configuration is refused, or the records with their resources. What differs on purpose stands in `differences.txt`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::time::{Instant, sleep};

use crate::core::data::budget::Ticket;
use crate::core::data::payload::Signal;
use crate::core::time::UnixNanos;
use crate::otlp::json::{base64, from_wire};
use crate::receivers::file_log::config;
use crate::receivers::file_log::follow::tail::{LogTail, SCAN_EVERY};
use crate::receivers::file_log::looking;
use crate::testing::check::{checked, sound};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lines");
/// Longer than every period after which something goes on as it is.
const SILENCE: Duration = Duration::from_secs(70);

fn rows(path: &Path) -> Vec<Json> {
    let text = fs::read_to_string(path).expect("readable");
    text.lines().map(|line| serde_json::from_str(line).expect("a row")).collect()
}

/// Reasons by the names of rows.
fn differences() -> BTreeMap<String, String> {
    let text = fs::read_to_string(Path::new(FOLDER).join("differences.txt")).expect("readable");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| line.split_once('\t').map(|(reason, name)| (name.to_owned(), reason.to_owned())).expect("a tab"))
        .collect()
}

/// What this receiver makes of a row, in the words of the table.
fn ours(row: &Json) -> Json {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(row["path"].as_str().expect("a path"));
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    let mut text = row["text"].as_str().unwrap_or_default().as_bytes().to_vec();
    if let Some(bytes) = row["bytes"].as_str() {
        base64::decode(&mut text, bytes.as_bytes()).expect("base64");
    }
    fs::write(&path, text).expect("written");
    let mut keys = row["keys"].clone();
    keys["include"] = json!([path]);
    keys["start_at"] = json!("beginning");
    let (config, found) = checked("receivers::file_log", &keys.to_string(), config::check);
    let Some(config) = config else {
        let said: Vec<&str> = found.iter().map(|finding| finding.message.as_str()).collect();
        return json!({"refused": said.join("; ")});
    };
    let mut tail = LogTail::new(Arc::new(config), None, None);
    let (mut now, mut records) = (Duration::ZERO, Vec::new());
    while now < SILENCE {
        if let Some(batch) = tail.round(now, UnixNanos(0), &Ticket::free()).expect("memory") {
            let mut text = Vec::new();
            from_wire(Signal::Logs, &batch.envelope, &mut text).expect("OTLP");
            let text = String::from_utf8(text).expect("UTF-8");
            let text = text.replace(folder.path().to_str().expect("UTF-8"), "/FOLDER");
            let request: Json = serde_json::from_str(&text).expect("JSON");
            records.extend(records_of(&request));
            tail.settle(now);
        }
        now += Duration::from_millis(300);
    }
    Json::Array(records)
}

fn records_of(request: &Json) -> Vec<Json> {
    let groups = request["resourceLogs"].as_array().into_iter().flatten();
    let pairs = groups.flat_map(|group| {
        let scopes = group["scopeLogs"].as_array().into_iter().flatten();
        let records = scopes.flat_map(|scope| scope["logRecords"].as_array().into_iter().flatten());
        let of = |record: &Json| json!([group["resource"]["attributes"], record]);
        records.map(of).collect::<Vec<_>>()
    });
    pairs.collect()
}

/// A value of OTLP/JSON as plain JSON; a double is told from an integer, and maps have no order.
fn plain(value: &Json) -> Json {
    let Some((kind, value)) = value.as_object().and_then(|one| one.iter().next()) else { return Json::Null };
    match kind.as_str() {
        "arrayValue" => value["values"].as_array().into_iter().flatten().map(plain).collect(),
        "kvlistValue" => pairs(&value["values"]),
        "doubleValue" => json!({"double": value.as_f64().map_or(value.to_string(), |number| number.to_string())}),
        "intValue" => json!({"int": value.to_string().trim_matches('"')}),
        _ => value.clone(),
    }
}

fn pairs(list: &Json) -> Json {
    let pairs = list.as_array().into_iter().flatten();
    let map: BTreeMap<String, Json> =
        pairs.map(|pair| (pair["key"].as_str().unwrap_or_default().to_owned(), plain(&pair["value"]))).collect();
    json!(map)
}

/// An answer in one form, whoever gave it.
fn canonical(row: &Json, answer: &Json) -> Json {
    let Some(records) = answer.as_array() else { return json!("refused") };
    let mut records: Vec<Json> = records
        .iter()
        .map(|record| {
            let (resource, record) = (&record[0], &record[1]);
            let text = |key: &str| record[key].as_str().unwrap_or_default().to_owned();
            json!({
                "resource": pairs(resource),
                "body": plain(&record["body"]),
                "attributes": pairs(&record["attributes"]),
                "time": record["timeUnixNano"].to_string().trim_matches('"').replace("null", "0"),
                "severity": record["severityNumber"].as_i64().unwrap_or_default(),
                "severity text": text("severityText"),
                "trace id": text("traceId"),
                "span id": text("spanId"),
                "flags": record["flags"].as_i64().unwrap_or_default(),
            })
        })
        .collect();
    let operators = row["keys"]["operators"].as_array();
    if operators.into_iter().flatten().any(|operator| operator["type"] == "router") {
        // Entries that go several ways come in any order there.
        records.sort_by_key(Json::to_string);
    }
    Json::Array(records)
}

fn name(row: &Json) -> &str {
    row["name"].as_str().expect("a name")
}

/// Rows that come to something else here, each with both answers.
fn differing(rows: &[Json]) -> Vec<(String, String)> {
    let of = |row: &Json| {
        let (theirs, made) = (canonical(row, &row["answer"]), ours(row));
        let own = canonical(row, &made);
        (theirs != own).then(|| {
            let shown = if own == json!("refused") { made } else { own };
            (
                name(row).to_owned(),
                format!("{}\n    keys {}\n    there {theirs}\n    here  {shown}", name(row), row["keys"]),
            )
        })
    };
    rows.iter().filter_map(of).collect()
}

#[test]
fn recorded_answers_of_a_collector_are_ours_or_have_a_reason() {
    let rows = rows(&Path::new(FOLDER).join("answers.jsonl"));
    let (known, differing) = (differences(), differing(&rows));
    let unknown: Vec<&str> =
        differing.iter().filter(|(name, _)| !known.contains_key(name)).map(|(_, shown)| shown.as_str()).collect();
    let found: BTreeSet<&str> = differing.iter().map(|(name, _)| name.as_str()).collect();
    let stale: Vec<&String> = known.keys().filter(|name| !found.contains(name.as_str())).collect();
    assert!(unknown.is_empty(), "{} of {} differ:\n{}", unknown.len(), rows.len(), unknown.join("\n"));
    assert!(stale.is_empty(), "these do not differ, or are not asked: {stale:#?}");
}

/// Rows of a file that the live suite names; every difference is shown.
#[test]
fn what_a_collector_answers_now_is_ours() {
    let Some(path) = std::env::var_os("PODGATE_LINES") else { return };
    let rows = rows(Path::new(&path));
    let differing: Vec<String> = differing(&rows).into_iter().map(|(_, shown)| shown).collect();
    assert!(differing.is_empty(), "{} of {} differ:\n{}", differing.len(), rows.len(), differing.join("\n"));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_leaves_while_the_next_hop_is_away_is_held_open() {
    let folder = tempfile::tempdir().expect("a folder");
    let yaml = format!("include: ['{}/*.log']\nstart_at: beginning\n", folder.path().display());
    let config = Arc::new(sound("receivers::file_log", &yaml, config::check));
    let (log, old) = (folder.path().join("a.log"), folder.path().join("a.old"));
    fs::write(&log, "late\n").expect("written");
    let delivery = async {
        sleep(2 * SCAN_EVERY).await;
        fs::rename(&log, &old).expect("rotated");
        sleep(2 * SCAN_EVERY).await;
        true
    };
    let (mut tail, settled) = looking(delivery, LogTail::new(config, None, None), Instant::now()).await;
    assert!(settled);
    let batch = tail.round(4 * SCAN_EVERY, UnixNanos(7), &Ticket::free()).expect("memory").expect("a batch");
    assert_eq!(batch.records(), 1);
}

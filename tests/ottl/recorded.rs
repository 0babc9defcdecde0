//! The tables of `oracle`, and how what podgate makes is held against them.

use std::collections::BTreeMap;
use std::path::Path;

use podgate::core::data::payload::Signal;
use podgate::otlp::json::{from_wire, to_wire};
use podgate::otlp::walk::Fields;
use podgate::otlp::write;
use serde_json::{Value as Json, json};

const FOLDER: &str = "tests/ottl/oracle";

fn read(file: &str) -> String {
    std::fs::read_to_string(Path::new(FOLDER).join(file)).expect("readable")
}

pub fn rows(file: &str) -> Vec<Vec<Json>> {
    rows_of(&Path::new(FOLDER).join(file))
}

pub fn rows_of(file: &Path) -> Vec<Vec<Json>> {
    let text = std::fs::read_to_string(file).expect("readable");
    text.lines().map(|line| serde_json::from_str(line).expect("a row")).collect()
}

/// Reasons by text, of rows that are not the same here on purpose.
pub fn differences() -> BTreeMap<String, String> {
    let text = read("differences.txt");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| line.split_once('\t').map(|(reason, text)| (text.to_owned(), reason.to_owned())).expect("a tab"))
        .collect()
}

/// A request of one resource and scope, taken apart.
pub struct Request {
    pub resource: Vec<u8>,
    pub scope: Vec<u8>,
    /// `schema_url` of both.
    pub urls: [Vec<u8>; 2],
    pub items: Vec<Vec<u8>>,
}

pub fn field(message: &[u8], number: u32) -> Vec<u8> {
    let found = Fields::new(message).map_while(Result::ok).find(|field| field.number == number);
    found.and_then(|field| field.bytes().ok()).unwrap_or_default().to_vec()
}

pub fn request(signal: Signal) -> (Vec<u8>, Request) {
    let name = match signal {
        Signal::Traces => "traces.json",
        Signal::Metrics => "metrics.json",
        _ => "logs.json",
    };
    let wire = to_wire(signal, read(name).as_bytes()).expect("OTLP/JSON").to_vec();
    let group = field(&wire, 1);
    let scope_group = field(&group, 2);
    let items = Fields::new(&scope_group).map_while(Result::ok).filter(|field| field.number == 2);
    let items = items.filter_map(|field| field.bytes().ok().map(<[u8]>::to_vec)).collect();
    let urls = [field(&group, 3), field(&scope_group, 3)];
    (wire.clone(), Request { resource: field(&group, 1), scope: field(&scope_group, 1), urls, items })
}

/// The request with these parts instead.
pub fn put_together(request: &Request) -> Vec<u8> {
    let mut inner = Vec::new();
    write::bytes(&mut inner, 1, &request.scope);
    request.items.iter().for_each(|item| write::bytes(&mut inner, 2, item));
    write::bytes(&mut inner, 3, &request.urls[1]);
    let mut outer = Vec::new();
    write::bytes(&mut outer, 1, &request.resource);
    write::bytes(&mut outer, 2, &inner);
    write::bytes(&mut outer, 3, &request.urls[0]);
    let mut whole = Vec::new();
    write::bytes(&mut whole, 1, &outer);
    whole
}

/// Attributes by key, and every number a double.
fn canonical(json: &Json) -> Json {
    match json {
        Json::Array(list) if !list.is_empty() && list.iter().all(|one| one.get("key").is_some()) => {
            let pair = |one: &Json| {
                let value = one.get("value").cloned().unwrap_or(json!({}));
                (one["key"].as_str().expect("a text").to_owned(), canonical(&value))
            };
            Json::Object(list.iter().map(pair).collect())
        }
        Json::Array(list) => list.iter().map(canonical).collect(),
        Json::Object(map) => Json::Object(map.iter().map(|(key, value)| (key.clone(), canonical(value))).collect()),
        Json::Number(number) => json!(number.as_f64().expect("a number")),
        other => other.clone(),
    }
}

/// Empty lists, maps and texts say nothing.
fn without_defaults(json: Json) -> Json {
    match json {
        Json::Object(map) => {
            let kept = map.into_iter().map(|(key, value)| (key, without_defaults(value)));
            let says = |(key, value): &(String, Json)| {
                let empty = match value {
                    Json::Array(list) => list.is_empty(),
                    Json::String(text) => text.is_empty() || text == "0",
                    Json::Number(number) => number.as_f64() == Some(0.0),
                    Json::Bool(truth) => !truth,
                    Json::Object(map) => {
                        map.is_empty()
                            && (key == "status"
                                || key == "body"
                                || key == "resource"
                                || key == "scope"
                                || key == "positive"
                                || key == "negative"
                                || key == "attributes")
                    }
                    Json::Null => true,
                };
                !empty || key.ends_with("Value") || key.starts_with("as")
            };
            Json::Object(kept.filter(says).collect())
        }
        Json::Array(list) => list.into_iter().map(without_defaults).collect(),
        other => other,
    }
}

fn patched(json: &mut Json, path: &[Json], value: Option<&Json>) {
    let Some((last, before)) = path.split_last() else {
        *json = canonical(value.expect("a value"));
        return;
    };
    let mut at = json;
    for step in before {
        at = match step {
            Json::String(key) => {
                let map = if at.is_array() {
                    *at = json!({});
                    at.as_object_mut()
                } else {
                    at.as_object_mut()
                };
                map.expect("a map").entry(key.clone()).or_insert(json!({}))
            }
            index => &mut at[index.as_u64().expect("an index") as usize],
        };
    }
    match (last, value) {
        (Json::String(key), Some(value)) => {
            if at.is_array() {
                *at = json!({});
            }
            _ = at.as_object_mut().expect("a map").insert(key.clone(), canonical(value));
        }
        (Json::String(key), None) => _ = at.as_object_mut().and_then(|map| map.remove(key)),
        (index, Some(value)) => {
            let (index, list) = (index.as_u64().expect("an index") as usize, at.as_array_mut().expect("a list"));
            if index == list.len() {
                list.push(Json::Null);
            }
            list[index] = canonical(value);
        }
        (_, None) => unreachable!("elements do not go alone"),
    }
}

pub fn as_json(signal: Signal, wire: &[u8]) -> Json {
    let envelope = podgate::otlp::envelope::decode(wire.to_vec().into()).expect("a request");
    let mut text = Vec::new();
    from_wire(signal, &envelope, &mut text).expect("a request");
    canonical(&serde_json::from_slice(&text).expect("JSON"))
}

/// Both fail, and upstream leaves an empty value where it could not put the new one.
pub fn leaves_nothing(ours: &Json, theirs: &Json, signal: Signal) -> bool {
    let both = ours.get("failed").is_some() && theirs.get("failed").is_some();
    let changes = theirs.get("to").and_then(Json::as_array).cloned().unwrap_or_default();
    fn empty(value: &Json) -> bool {
        value.as_object().is_some_and(|map| map.values().all(empty))
    }
    both && changes.iter().all(|change| change.get(1).is_some_and(|value| empty(&canonical(value))))
        && ours.get("after") == Some(&as_json(signal, &request(signal).0))
}

/// The same, as far as it can be told: the order of keys and the digits of a double are no difference. Of points that a
/// Collector gathers by chance the order is none, of what logarithms make the last digits are none.
pub fn same(ours: &Json, theirs: &Json, signal: Signal, text: &str) -> bool {
    match (ours.get("after"), theirs.get("to")) {
        (Some(after), Some(changes)) => {
            let mut expected = as_json(signal, &request(signal).0);
            for change in changes.as_array().expect("a list") {
                patched(&mut expected, change[0].as_array().expect("a path"), change.get(1));
            }
            let failed = ours.get("failed").is_some() == theirs.get("failed").is_some();
            let told = |json: Json| {
                let mut json = without_defaults(json);
                if text.contains("aggregate_on") {
                    in_order(&mut json);
                }
                if ["percentile", "exponential"].iter().any(|word| text.contains(word)) {
                    rounded(&mut json);
                }
                json
            };
            failed && told(after.clone()) == told(expected)
        }
        (None, Some(_)) => *ours == json!("failed") && theirs.get("failed").is_some(),
        // Messages of other kinds than attributes have no value that could be told.
        _ if theirs.get("other").is_some() => ours.get("other").is_some(),
        _ => numbers(ours) == numbers(theirs),
    }
}

/// Points by what is in them.
fn in_order(json: &mut Json) {
    match json {
        Json::Object(map) => {
            map.values_mut().for_each(in_order);
            if let Some(Json::Array(points)) = map.get_mut("dataPoints") {
                points.sort_by_key(Json::to_string);
            }
        }
        Json::Array(list) => list.iter_mut().for_each(in_order),
        _ => {}
    }
}

/// Twelve digits of each number.
fn rounded(json: &mut Json) {
    match json {
        Json::Object(map) => map.values_mut().for_each(rounded),
        Json::Array(list) => list.iter_mut().for_each(rounded),
        Json::Number(number) => {
            let digits = format!("{:.11e}", number.as_f64().expect("a number"));
            *json = json!(digits);
        }
        _ => {}
    }
}

fn numbers(json: &Json) -> Json {
    match json {
        Json::Object(map) => match map.get("double").and_then(Json::as_str) {
            Some(text) => {
                let number: f64 = text.trim_start_matches('+').parse().expect("a double");
                json!(format!("double {number:e}"))
            }
            None => Json::Object(map.iter().map(|(key, value)| (key.clone(), numbers(value))).collect()),
        },
        Json::Array(list) => list.iter().map(numbers).collect(),
        other => other.clone(),
    }
}

//! What a stage made of items: which are gone, which are new, and what changed in the others. Pure.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde_json::Value;

use crate::cli::ottl::spread;
use crate::core::data::payload::{Envelope, Signal};
use crate::otlp::json::from_wire;

/// Longer names of items are cut.
const NAME_CHARS_MAX: usize = 60;

/// An item with what stands above it, as paths and values in JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemFacts {
    /// What a person knows it by: a span's name and id, a metric's name, a record's body.
    pub name: String,
    /// What stays the same of it: a span's ids, a metric's name. Empty for records, which have no such thing.
    id: String,
    facts: BTreeMap<String, String>,
}

/// One path whose value is another: absent before, or absent now.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueChange {
    pub path: String,
    pub before: Option<String>,
    pub after: Option<String>,
}

/// What became of the items between two places.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct StageEffect {
    pub unchanged: usize,
    /// Items that changed alike stand together, in the order of the first of them.
    pub changed: Vec<(Vec<ValueChange>, Vec<String>)>,
    pub gone: Vec<String>,
    pub new: Vec<String>,
}

/// The items of requests of one signal, in their order. A request that cannot be written as JSON has none.
pub fn items(signal: Signal, envelopes: &[Envelope]) -> Vec<ItemFacts> {
    envelopes.iter().flat_map(|envelope| items_of(signal, envelope)).collect()
}

fn items_of(signal: Signal, envelope: &Envelope) -> Vec<ItemFacts> {
    let mut text = Vec::new();
    if from_wire(signal, envelope, &mut text).is_err() {
        return Vec::new();
    }
    let request: Value = serde_json::from_slice(&text).unwrap_or_default();
    let (groups, scopes, list) = match signal {
        Signal::Traces => ("resourceSpans", "scopeSpans", "spans"),
        Signal::Metrics => ("resourceMetrics", "scopeMetrics", "metrics"),
        Signal::Logs => ("resourceLogs", "scopeLogs", "logRecords"),
        Signal::Profiles => ("resourceProfiles", "scopeProfiles", "profiles"),
    };
    let mut found = Vec::new();
    for group in request[groups].as_array().into_iter().flatten() {
        let mut of_resource = BTreeMap::new();
        spread(&group["resource"], "resource".to_owned(), &mut of_resource);
        for scope in group[scopes].as_array().into_iter().flatten() {
            let mut above = of_resource.clone();
            spread(&scope["scope"], "scope".to_owned(), &mut above);
            let items = scope[list].as_array().into_iter().flatten();
            found.extend(items.map(|item| facts_of(signal, &above, item)));
        }
    }
    found
}

fn facts_of(signal: Signal, above: &BTreeMap<String, String>, item: &Value) -> ItemFacts {
    let text = |key: &str| item[key].as_str().unwrap_or_default();
    let (name, id) = match signal {
        Signal::Traces => {
            let id = format!("{}{}", text("traceId"), text("spanId"));
            (format!("{} ({})", text("name"), text("spanId")), id)
        }
        Signal::Metrics => (text("name").to_owned(), text("name").to_owned()),
        Signal::Logs => match item["body"]["stringValue"].as_str().or(item["eventName"].as_str()) {
            Some(words) => (words.to_owned(), String::new()),
            None => ("a record without a text".to_owned(), String::new()),
        },
        Signal::Profiles => ("a profile".to_owned(), String::new()),
    };
    let mut facts = above.clone();
    let mut own = BTreeMap::new();
    spread(item, String::new(), &mut own);
    facts.extend(own.into_iter().map(|(path, value)| (path.trim_start_matches('.').to_owned(), value)));
    ItemFacts { name: name.chars().take(NAME_CHARS_MAX).collect(), id, facts }
}

/// Compares what went into a stage with what came out of it. A span is the same by its ids and a metric by its name, those
/// of one id in their order; records are the same by their place as long as none is gone or new, and otherwise if nothing
/// of them changed.
pub fn compare(signal: Signal, before: &[ItemFacts], after: &[ItemFacts]) -> StageEffect {
    let by_place = signal != Signal::Traces && before.len() == after.len();
    let mut waiting: HashMap<Key<'_>, VecDeque<(usize, &ItemFacts)>> = HashMap::new();
    for (at, item) in after.iter().enumerate() {
        waiting.entry(Key::of(item, by_place, at)).or_default().push_back((at, item));
    }
    let mut found = StageEffect::default();
    let mut groups: HashMap<Vec<ValueChange>, usize> = HashMap::new();
    for (at, item) in before.iter().enumerate() {
        let met = waiting.get_mut(&Key::of(item, by_place, at)).and_then(VecDeque::pop_front);
        let Some((_, met)) = met else {
            found.gone.push(item.name.clone());
            continue;
        };
        let changes = changes(&item.facts, &met.facts);
        if changes.is_empty() {
            found.unchanged += 1;
            continue;
        }
        let group = *groups.entry(changes.clone()).or_insert(found.changed.len());
        if group == found.changed.len() {
            found.changed.push((changes, Vec::new()));
        }
        if let Some((_, names)) = found.changed.get_mut(group) {
            names.push(item.name.clone());
        }
    }
    let mut left: Vec<(usize, &ItemFacts)> = waiting.into_values().flatten().collect();
    left.sort_by_key(|(at, _)| *at);
    found.new = left.into_iter().map(|(_, item)| item.name.clone()).collect();
    found
}

/// By what an item is found again behind a stage.
#[derive(PartialEq, Eq, Hash)]
enum Key<'a> {
    Place(usize),
    Id(&'a str),
    Whole(Vec<(&'a String, &'a String)>),
}

impl<'a> Key<'a> {
    fn of(item: &'a ItemFacts, by_place: bool, at: usize) -> Key<'a> {
        match (by_place, item.id.is_empty()) {
            (true, _) => Key::Place(at),
            (false, false) => Key::Id(&item.id),
            (false, true) => Key::Whole(item.facts.iter().collect()),
        }
    }
}

fn changes(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<ValueChange> {
    let paths = before.keys().chain(after.keys().filter(|path| !before.contains_key(*path)));
    let changed = paths.filter(|path| before.get(*path) != after.get(*path));
    let mut changes: Vec<ValueChange> = changed
        .map(|path| ValueChange {
            path: path.clone(),
            before: before.get(path).cloned(),
            after: after.get(path).cloned(),
        })
        .collect();
    changes.sort();
    changes
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::otlp::envelope;
    use crate::otlp::json::to_wire;

    fn found(signal: Signal, requests: &[&str]) -> Vec<ItemFacts> {
        let read = |json: &&str| envelope::decode(to_wire(signal, json.as_bytes()).unwrap_or_else(|_| Bytes::new()));
        items(signal, &requests.iter().map(|json| read(json).unwrap_or_default()).collect::<Vec<Envelope>>())
    }

    fn spans(resource: &str, names: &[(&str, &str)]) -> String {
        let span = |(id, name): &(&str, &str)| {
            format!(r#"{{"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"{id}","name":"{name}"}}"#)
        };
        let spans: Vec<String> = names.iter().map(span).collect();
        let attributes = format!(r#"[{{"key":"service.name","value":{{"stringValue":"{resource}"}}}}]"#);
        format!(
            r#"{{"resourceSpans":[{{"resource":{{"attributes":{attributes}}},"scopeSpans":[{{"spans":[{}]}}]}}]}}"#,
            spans.join(",")
        )
    }

    const A: (&str, &str) = ("00f067aa0ba902b7", "GET /a");
    const B: (&str, &str) = ("00f067aa0ba902b8", "GET /b");

    #[test]
    fn spans_are_found_again_by_their_ids_in_any_order_and_those_that_changed_alike_stand_together() {
        let before = found(Signal::Traces, &[&spans("shop", &[A, B])]);
        let after = found(Signal::Traces, &[&spans("cart", &[B]), &spans("cart", &[A])]);
        let seen = compare(Signal::Traces, &before, &after);
        let [(changes, names)] = &seen.changed[..] else { panic!("{seen:?}") };
        assert_eq!(names[..], ["GET /a (00f067aa0ba902b7)", "GET /b (00f067aa0ba902b8)"]);
        let [change] = &changes[..] else { panic!("{changes:?}") };
        assert!(change.path.starts_with("resource.attributes"), "{change:?}");
        assert_eq!(change.before.as_deref(), Some("\"shop\""));
        assert_eq!(change.after.as_deref(), Some("\"cart\""));
        assert!(seen.gone.is_empty() && seen.new.is_empty() && seen.unchanged == 0);
    }

    #[test]
    fn what_is_gone_and_what_is_new_is_named() {
        let before = found(Signal::Traces, &[&spans("shop", &[A, A])]);
        let after = found(Signal::Traces, &[&spans("shop", &[A, B])]);
        let seen = compare(Signal::Traces, &before, &after);
        assert_eq!((seen.unchanged, seen.changed.len()), (1, 0));
        assert_eq!(seen.gone[..], ["GET /a (00f067aa0ba902b7)"]);
        assert_eq!(seen.new[..], ["GET /b (00f067aa0ba902b8)"]);
    }

    #[test]
    fn records_are_found_by_their_place_and_when_some_are_gone_by_what_they_hold() {
        let logs = |bodies: &[&str]| {
            let record = |body: &&str| format!(r#"{{"body":{{"stringValue":"{body}"}}}}"#);
            let records: Vec<String> = bodies.iter().map(record).collect();
            format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{}]}}]}}]}}"#, records.join(","))
        };
        let before = found(Signal::Logs, &[&logs(&["one", "two"])]);
        let changed = compare(Signal::Logs, &before, &found(Signal::Logs, &[&logs(&["one", "2"])]));
        assert_eq!((changed.unchanged, changed.changed.len()), (1, 1));
        let filtered = compare(Signal::Logs, &before, &found(Signal::Logs, &[&logs(&["two"])]));
        assert_eq!((filtered.unchanged, &filtered.gone[..]), (1, &["one".to_owned()][..]));
    }
}

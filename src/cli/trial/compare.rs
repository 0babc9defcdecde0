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
    /// What stays the same of it: a span's ids, a metric's name, a record's times and ids. Empty where it has none.
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
        Signal::Logs => {
            let words = item["body"]["stringValue"].as_str().or(item["eventName"].as_str());
            let parts = ["timeUnixNano", "observedTimeUnixNano", "traceId", "spanId"].map(text);
            let id = if parts.iter().all(|part| part.is_empty()) { String::new() } else { parts.join(" ") };
            (words.unwrap_or("a record without a text").to_owned(), id)
        }
        Signal::Profiles => ("a profile".to_owned(), String::new()),
    };
    let mut facts = above.clone();
    let mut own = BTreeMap::new();
    spread(item, String::new(), &mut own);
    facts.extend(own.into_iter().map(|(path, value)| (path.trim_start_matches('.').to_owned(), value)));
    ItemFacts { name: name.chars().take(NAME_CHARS_MAX).collect(), id, facts }
}

/// Compares what went into a stage with what came out of it, as a diff does: first what is the same as a whole, then what has
/// the same identity (a span's ids, a metric's name, the times and ids of a record), then what stands in the same gap between
/// those and has most of itself in common. What is left is gone or new.
pub fn compare(signal: Signal, before: &[ItemFacts], after: &[ItemFacts]) -> StageEffect {
    let mut pairs = Pairs::new(before, after);
    pairs.by(|item| Some(Key::Whole(&item.facts)));
    pairs.by(|item| Some(Key::Named(item.identity()?, &item.name)));
    pairs.by(|item| Some(Key::Id(item.identity()?)));
    if signal != Signal::Traces {
        pairs.in_gaps();
    }
    let mut found = StageEffect::default();
    let mut groups: HashMap<Vec<ValueChange>, usize> = HashMap::new();
    for (item, met) in before.iter().zip(&pairs.met) {
        let Some(met) = met.and_then(|at| after.get(at)) else {
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
    let left = after.iter().zip(&pairs.taken).filter(|(_, taken)| !**taken);
    found.new = left.map(|(item, _)| item.name.clone()).collect();
    found
}

/// By what an item is found again behind a stage.
#[derive(PartialEq, Eq, Hash)]
enum Key<'a> {
    Whole(&'a BTreeMap<String, String>),
    Named(&'a str, &'a str),
    Id(&'a str),
}

/// Items of a gap are held against each other as far as they are no more pairs than this; else by their place.
const GAP_PAIRS_MAX: usize = 4_096;

/// Which item became which.
struct Pairs<'a> {
    before: &'a [ItemFacts],
    after: &'a [ItemFacts],
    /// For each item in front of the stage its place behind it.
    met: Vec<Option<usize>>,
    taken: Vec<bool>,
}

impl<'a> Pairs<'a> {
    fn new(before: &'a [ItemFacts], after: &'a [ItemFacts]) -> Pairs<'a> {
        Pairs { before, after, met: vec![None; before.len()], taken: vec![false; after.len()] }
    }

    fn pair(&mut self, at: usize, met: usize) {
        if let (Some(place), Some(taken)) = (self.met.get_mut(at), self.taken.get_mut(met)) {
            (*place, *taken) = (Some(met), true);
        }
    }

    /// Pairs what has the same key, in its order.
    fn by(&mut self, key: impl Fn(&'a ItemFacts) -> Option<Key<'a>>) {
        let mut waiting: HashMap<Key<'a>, VecDeque<usize>> = HashMap::new();
        for (at, item) in self.after.iter().enumerate().filter(|(at, _)| self.taken.get(*at) == Some(&false)) {
            if let Some(key) = key(item) {
                waiting.entry(key).or_default().push_back(at);
            }
        }
        for (at, item) in self.before.iter().enumerate() {
            if self.met.get(at) != Some(&None) {
                continue;
            }
            let met = key(item).and_then(|key| waiting.get_mut(&key)?.pop_front());
            if let Some(met) = met {
                self.pair(at, met);
            }
        }
    }

    /// Pairs what stands behind the same paired item.
    fn in_gaps(&mut self) {
        let mut gaps: BTreeMap<Option<usize>, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
        let mut behind = None;
        for (at, met) in self.met.iter().enumerate() {
            match met {
                Some(met) => behind = Some(*met),
                None => gaps.entry(behind).or_default().0.push(at),
            }
        }
        behind = None;
        for (at, taken) in self.taken.iter().enumerate() {
            match taken {
                true => behind = Some(at),
                false => gaps.entry(behind).or_default().1.push(at),
            }
        }
        for (gone, new) in gaps.into_values() {
            let found = self.alike(&gone, &new);
            found.into_iter().for_each(|(at, met)| self.pair(at, met));
        }
    }

    /// Which of the items of one gap are the same: each with the one of those behind it that it has most in common with.
    fn alike(&self, gone: &[usize], new: &[usize]) -> Vec<(usize, usize)> {
        let fits = |at: usize, met: usize| Some((self.before.get(at)?.likeness(self.after.get(met)?)?, met));
        if gone.len().saturating_mul(new.len()) > GAP_PAIRS_MAX {
            let by_place = gone.iter().zip(new).filter(|(at, met)| fits(**at, **met).is_some());
            return by_place.map(|(at, met)| (*at, *met)).collect();
        }
        let mut left = new.to_vec();
        let mut found = Vec::new();
        for at in gone {
            // Of several that fit as well the first.
            let best = left.iter().rev().filter_map(|met| fits(*at, *met)).max_by_key(|(likeness, _)| *likeness);
            if let Some((_, met)) = best {
                left.retain(|other| *other != met);
                found.push((*at, met));
            }
        }
        found
    }
}

impl ItemFacts {
    fn identity(&self) -> Option<&str> {
        if self.id.is_empty() { None } else { Some(&self.id) }
    }

    /// How many of its own facts another item has too; `None` where they are too few for it to be the same, unless neither has
    /// an identity.
    fn likeness(&self, other: &ItemFacts) -> Option<usize> {
        let own = |item: &ItemFacts| item.facts.keys().filter(|path| is_own(path)).count();
        let same =
            self.facts.iter().filter(|(path, value)| is_own(path) && other.facts.get(*path) == Some(*value)).count();
        let nameless = self.identity().is_none() && other.identity().is_none();
        (nameless || 2 * same >= own(self).min(own(other))).then_some(same)
    }
}

/// Whether a path is the item's and not of what stands above it.
fn is_own(path: &str) -> bool {
    !["resource.", "scope."].iter().any(|above| path.starts_with(above))
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

    fn logs(records: &[(&str, &str)]) -> String {
        let record = |(time, body): &(&str, &str)| {
            let time = if time.is_empty() { String::new() } else { format!(r#""timeUnixNano":"{time}","#) };
            format!(r#"{{{time}"body":{{"stringValue":"{body}"}}}}"#)
        };
        let records: Vec<String> = records.iter().map(record).collect();
        format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{}]}}]}}]}}"#, records.join(","))
    }

    #[test]
    fn a_record_that_went_and_one_that_came_are_no_change() {
        let before = found(Signal::Logs, &[&logs(&[("1", "one"), ("2", "two"), ("3", "three")])]);
        let after = found(Signal::Logs, &[&logs(&[("2", "two"), ("3", "THREE"), ("4", "four")])]);
        let seen = compare(Signal::Logs, &before, &after);
        assert_eq!(
            (seen.unchanged, &seen.gone[..], &seen.new[..]),
            (1, &["one".to_owned()][..], &["four".to_owned()][..])
        );
        let [(changes, names)] = &seen.changed[..] else { panic!("{seen:?}") };
        assert_eq!((changes[0].path.as_str(), names[0].as_str()), ("body.stringValue", "three"));
        // In the same place, without a time, the one is the other; with another time and nothing in common it is not.
        let (bare, other) = (found(Signal::Logs, &[&logs(&[("", "a")])]), found(Signal::Logs, &[&logs(&[("", "b")])]));
        assert_eq!(compare(Signal::Logs, &bare, &other).changed.len(), 1);
        let (one, other) = (found(Signal::Logs, &[&logs(&[("1", "a")])]), found(Signal::Logs, &[&logs(&[("2", "b")])]));
        let seen = compare(Signal::Logs, &one, &other);
        assert_eq!((seen.changed.len(), seen.gone.len(), seen.new.len()), (0, 1, 1));
    }

    #[test]
    fn a_metric_with_another_name_is_found_by_what_it_holds_and_a_copy_is_new() {
        let metric =
            |name: &str| format!(r#"{{"name":"{name}","unit":"s","gauge":{{"dataPoints":[{{"asInt":"7"}}]}}}}"#);
        let metrics = |names: &[&str]| {
            let all: Vec<String> = names.iter().map(|name| metric(name)).collect();
            format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{}]}}]}}]}}"#, all.join(","))
        };
        let of = |names: &[&str]| found(Signal::Metrics, &[&metrics(names)]);
        let seen = compare(Signal::Metrics, &of(&["a", "b"]), &of(&["a", "c"]));
        assert_eq!((seen.unchanged, seen.changed.len(), seen.gone.len()), (1, 1, 0));
        let seen = compare(Signal::Metrics, &of(&["a", "b"]), &of(&["a", "b", "c"]));
        assert_eq!((seen.unchanged, &seen.new[..]), (2, &["c".to_owned()][..]));
    }

    #[test]
    fn thousands_that_changed_all_are_compared_by_their_place() {
        let many = |word: &str| -> Vec<ItemFacts> {
            let names: Vec<(String, String)> = (0..5_000).map(|at| (String::new(), format!("{word} {at}"))).collect();
            let records: Vec<(&str, &str)> = names.iter().map(|(time, body)| (time.as_str(), body.as_str())).collect();
            found(Signal::Logs, &[&logs(&records)])
        };
        let seen = compare(Signal::Logs, &many("old"), &many("new"));
        assert_eq!((seen.changed.iter().map(|(_, names)| names.len()).sum::<usize>(), seen.gone.len()), (5_000, 0));
        assert!(seen.changed[7].0.iter().any(|change| change.after.as_deref() == Some("\"new 7\"")));
    }

    #[test]
    fn records_are_found_by_their_place_and_when_some_are_gone_by_what_they_hold() {
        let logs = |bodies: &[&str]| logs(&bodies.iter().map(|body| ("", *body)).collect::<Vec<_>>());
        let before = found(Signal::Logs, &[&logs(&["one", "two"])]);
        let changed = compare(Signal::Logs, &before, &found(Signal::Logs, &[&logs(&["one", "2"])]));
        assert_eq!((changed.unchanged, changed.changed.len()), (1, 1));
        let filtered = compare(Signal::Logs, &before, &found(Signal::Logs, &[&logs(&["two"])]));
        assert_eq!((filtered.unchanged, &filtered.gone[..]), (1, &["one".to_owned()][..]));
    }
}

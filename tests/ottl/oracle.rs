//! Recorded answers of upstream's own package (contrib pkg/ottl and processor/transformprocessor v0.161, Go's regexp), replayed:
//! the same text on the same item must be refused, fail, or come to the same value here.
//!
//! A row of `answers.jsonl` is a context, a kind (`v` value, `c` condition, `s` statement, `u` one whose
//! paths do not say whose they are, `t` a transform's statements), which item,
//! the text, and what came of it; of statements what changed in the request. `patterns.jsonl` are pairs of a pattern and
//! a text with the places of all groups of all matches. What differs stands in `differences.txt` with its reason.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use podgate::config::value::pattern;
use podgate::core::data::payload::Signal;
use podgate::core::time::UnixNanos;
use podgate::otlp::walk::Fields;
use podgate::otlp::write;
use podgate::ottl::{
    Condition, Context, EditTarget, Edits, Item, MadeMetrics, MessageEdit, Points, Statement, Syntax, World, evaluate,
    functions, paths, points_in, points_of,
};
use serde_json::{Value as Json, json};

use super::common::{checked, rig};
use super::recorded::{
    Request, as_json, differences, field, leaves_nothing, put_together, request, rows, rows_of, same,
};

fn context(name: &str) -> (Context, Signal) {
    match name {
        "log" => (Context::Log, Signal::Logs),
        "span" => (Context::Span, Signal::Traces),
        "spanevent" => (Context::SpanEvent, Signal::Traces),
        "metric" => (Context::Metric, Signal::Metrics),
        _ => (Context::DataPoint, Signal::Metrics),
    }
}

/// The time at which the answers were recorded, to the year.
const RECORDED_AT: UnixNanos = UnixNanos(1_796_000_000_000_000_000);

/// What podgate makes of a row, in the words of the table.
fn ours(kind: &str, name: &str, at: usize, text: &str, now: UnixNanos) -> Json {
    if kind == "t" {
        return transformed(name, text);
    }
    let (context, signal) = context(name);
    let syntax = Syntax { context, prefixed: kind != "u", cache: true };
    let refused = |fault: podgate::ottl::TextFault| json!(if fault.not_built { "not built" } else { "refused" });
    let mut request = request(signal).1;
    let item = request.items[at].clone();
    let (points, piece) = match context {
        Context::DataPoint => match points_of(&item) {
            Some((points, holder)) => (points, points_in(&holder).next().unwrap_or_default().to_vec()),
            None => (Points::None, Vec::new()),
        },
        Context::SpanEvent => (Points::None, field(&item, 11)),
        _ => (Points::None, Vec::new()),
    };
    let world = World { now, seed: 1 };
    let about = Item {
        resource: &request.resource,
        scope: &request.scope,
        item: &item,
        piece: &piece,
        points,
        resource_url: &request.urls[0],
        scope_url: &request.urls[1],
        world,
        ..Item::default()
    };
    match kind {
        "v" => match evaluate(text, syntax, &about) {
            Err(fault) => refused(fault),
            Ok(Err(_)) => json!("failed"),
            Ok(Ok(value)) => value,
        },
        "c" => match Condition::parse_as(text, syntax).map(|condition| condition.matches(&about)) {
            Err(fault) => refused(fault),
            Ok(Err(_)) => json!("failed"),
            Ok(Ok(truth)) => json!(truth),
        },
        _ => {
            let statement = match Statement::parse(text, syntax) {
                Ok(statement) => statement,
                Err(fault) => return refused(fault),
            };
            let (failed, changed) = changed(&statement, &about, context);
            request.items[at] = changed.items[0].clone();
            request.items.extend_from_slice(&changed.items[1..]);
            let request = Request { items: request.items, ..changed };
            let after = as_json(signal, &put_together(&request));
            if failed { json!({ "failed": 1, "after": after }) } else { json!({ "after": after }) }
        }
    }
}

/// Whether the statement failed, and what it left of the item and what surrounds it; behind the item stands what it made.
fn changed(statement: &Statement, about: &Item<'_>, context: Context) -> (bool, Request) {
    let draft = |bytes| MessageEdit::new(bytes, Edits::default());
    let mut scene = EditTarget {
        resource: draft(about.resource),
        scope: draft(about.scope),
        item: draft(about.item),
        piece: draft(about.piece),
        points: about.points,
        world: about.world,
        resource_url: draft(about.resource_url),
        scope_url: draft(about.scope_url),
        made: MadeMetrics { left: 1 << 20, ..MadeMetrics::default() },
        ..EditTarget::default()
    };
    let failed = statement.run(&mut scene).is_err();
    let mut item = scene.item.bytes().to_vec();
    if scene.piece.is_changed() {
        item = with_first_piece(&item, context, about.points, scene.piece.bytes());
    }
    let items = std::iter::once(item).chain(std::mem::take(&mut scene.made.list)).collect();
    let urls = [scene.resource_url.bytes().to_vec(), scene.scope_url.bytes().to_vec()];
    let (resource, scope) = (scene.resource.bytes().to_vec(), scene.scope.bytes().to_vec());
    (failed, Request { resource, scope, urls, items })
}

fn with_first_piece(item: &[u8], context: Context, points: Points, piece: &[u8]) -> Vec<u8> {
    let replace = |message: &[u8], number: u32| {
        let (mut out, mut pending, mut from) = (Vec::new(), true, 0);
        let mut fields = Fields::new(message);
        while let Some(Ok(field)) = fields.next() {
            let range = from..fields.position();
            from = range.end;
            if field.number == number && std::mem::take(&mut pending) {
                write::bytes(&mut out, number, piece);
            } else {
                out.extend_from_slice(&message[range]);
            }
        }
        out
    };
    if context == Context::SpanEvent {
        return replace(item, 11);
    }
    let (_, holder) = points_of(item).expect("points");
    let mut out = Vec::new();
    let mut fields = Fields::new(item);
    let mut from = 0;
    while let Some(Ok(field)) = fields.next() {
        let range = from..fields.position();
        from = range.end;
        if field.number == points.field() {
            write::bytes(&mut out, points.field(), &replace(&holder, 1));
        } else {
            out.extend_from_slice(&item[range]);
        }
    }
    out
}

/// The whole processor with these statements, which propagate what fails.
fn transformed(name: &str, list: &str) -> Json {
    let (signal, key) = match name {
        "traces" => (Signal::Traces, "trace_statements"),
        "metrics" => (Signal::Metrics, "metric_statements"),
        _ => (Signal::Logs, "log_statements"),
    };
    let yaml = format!("error_mode: propagate\n{key}: {list}\n");
    if checked(&yaml).is_err() {
        return json!("refused");
    }
    let rig = rig(&yaml, signal);
    let (wire, _) = request(signal);
    match rig.counted(rig.payload(&wire)) {
        Ok((made, _)) => json!({ "after": as_json(signal, &podgate::otlp::envelope::encode(&made.envelope)) }),
        Err(_) => json!("failed"),
    }
}

/// What came of holding rows against podgate.
#[derive(Default)]
struct Compared {
    rows: usize,
    wrong: Vec<String>,
    /// Differences on purpose by their reasons.
    explained: BTreeMap<String, usize>,
    /// Texts whose reasons were needed.
    used: BTreeSet<String>,
}

fn compared(rows: Vec<Vec<Json>>, now: UnixNanos) -> Compared {
    let known = differences();
    let mut found = Compared { rows: rows.len(), ..Compared::default() };
    for row in rows {
        let [name, kind, at, text, theirs] = &row[..] else { panic!("a row of five: {row:?}") };
        let (name, kind, text) = (name.as_str().expect("a"), kind.as_str().expect("b"), text.as_str().expect("c"));
        let signal = match name {
            "traces" => Signal::Traces,
            "metrics" => Signal::Metrics,
            "logs" => Signal::Logs,
            name => context(name).1,
        };
        let ours = ours(kind, name, at.as_u64().expect("d") as usize, text, now);
        if same(&ours, theirs, signal, text) {
            continue;
        }
        let reason = if ours == json!("not built") {
            "not built".to_owned()
        } else if leaves_nothing(&ours, theirs, signal) {
            "a statement that fails changes nothing".to_owned()
        } else if let Some(reason) = known.get(text) {
            found.used.insert(text.to_owned());
            reason.clone()
        } else {
            found.wrong.push(format!("{name} {kind} {at} {text}\n    upstream {theirs}\n    podgate  {ours}"));
            continue;
        };
        *found.explained.entry(reason).or_insert(0) += 1;
    }
    if let Ok(file) = std::env::var("ORACLE_WRONG") {
        std::fs::write(file, found.wrong.join("\n")).expect("writable");
    }
    found
}

impl Compared {
    fn summary(&self) -> String {
        let equal = self.rows - self.wrong.len() - self.explained.values().sum::<usize>();
        format!("{} rows, {equal} as upstream, differences on purpose: {:?}", self.rows, self.explained)
    }

    fn holds(&self) {
        let shown: Vec<String> = self.wrong.iter().take(20).cloned().collect();
        assert!(self.wrong.is_empty(), "{} differ:\n{}", self.wrong.len(), shown.join("\n"));
    }
}

#[test]
fn every_text_comes_to_what_upstreams_package_makes_of_it() {
    let found = compared(rows("answers.jsonl"), RECORDED_AT);
    println!("{}", found.summary());
    let unused: Vec<String> = differences().into_keys().filter(|text| !found.used.contains(text)).collect();
    assert!(unused.is_empty(), "reasons for what does not differ: {unused:?}");
    found.holds();
}

/// Rows that upstream's package answered just now (tests/real/ottl), in the folder that the variable names.
#[test]
fn what_upstream_answers_now_is_answered_here() {
    let Ok(folder) = std::env::var("PODGATE_ORACLE") else { return };
    let found = compared(rows_of(&Path::new(&folder).join("answers.jsonl")), UnixNanos::now());
    println!("{}", found.summary());
    found.holds();
    let (seen, wrong) = patterns_compared(rows_of(&Path::new(&folder).join("patterns.jsonl")));
    assert!(wrong.is_empty(), "of {seen} pairs differ {}:\n{}", wrong.len(), wrong[..wrong.len().min(20)].join("\n"));
    println!("{seen} pairs of patterns and texts");
}

/// Each text with letters taken out, doubled, exchanged with another text's: refused or run, in every context.
#[test]
fn damaged_texts_are_refused_or_run() {
    let texts: Vec<String> =
        rows("answers.jsonl").iter().map(|row| row[3].as_str().expect("a text").to_owned()).collect();
    let seed = 20_251_129;
    let mut random = fastrand::Rng::with_seed(seed);
    let contexts =
        [Context::Log, Context::Span, Context::SpanEvent, Context::Metric, Context::DataPoint, Context::Resource];
    let logs = request(Signal::Logs).1;
    let mut run = 0;
    for text in texts.iter().step_by(2) {
        let mut letters: Vec<char> = text.chars().collect();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(0..=letters.len().saturating_sub(1));
            let other: Vec<char> = texts[random.usize(0..texts.len())].chars().collect();
            match random.u8(0..5) {
                0 if !letters.is_empty() => _ = letters.remove(at),
                1 if !letters.is_empty() => letters.insert(at, letters[at]),
                2 if !other.is_empty() => letters.insert(at.min(letters.len()), other[random.usize(0..other.len())]),
                3 => letters.insert(
                    at.min(letters.len()),
                    ['\u{e9}', '\\', '"', '%', '\u{1f600}', '{', '(', '0'][random.usize(0..8)],
                ),
                _ => letters.extend(other.iter().skip(random.usize(0..=other.len()))),
            }
        }
        let damaged: String = letters.into_iter().collect();
        let syntax = Syntax { context: contexts[random.usize(0..6)], prefixed: random.bool(), cache: true };
        let draft = |bytes| MessageEdit::new(bytes, Edits::default());
        let item = &logs.items[random.usize(0..5)];
        let mut scene = EditTarget {
            resource: draft(&logs.resource),
            item: draft(item),
            piece: draft(item),
            points: Points::Histogram,
            ..EditTarget::default()
        };
        run += usize::from(evaluate(&damaged, syntax, &scene.view()).is_ok());
        if let Ok(condition) = Condition::parse_as(&damaged, syntax) {
            _ = condition.matches(&scene.view());
        }
        if let Ok(statement) = Statement::parse(&damaged, syntax) {
            let failed = statement.run(&mut scene).is_err();
            assert!(!failed || !scene.item.is_changed(), "seed {seed}: {damaged:?} fails half-way");
        }
    }
    for (at, row) in rows("patterns.jsonl").iter().enumerate() {
        let mut letters: Vec<char> = row[0].as_str().expect("a pattern").chars().collect();
        letters.insert(at % (letters.len() + 1), ['\u{e9}', '\\', '[', '(', '{', '?'][at % 6]);
        _ = pattern::compile(&letters.into_iter().collect::<String>());
    }
    assert!(run > 100, "{run} were run");
}

/// docs/ottl.md names every function and path that is built, and every function that is not.
#[test]
fn the_documents_say_what_is_built() {
    let text = std::fs::read_to_string("docs/ottl.md").expect("readable");
    let (built, missing) = text.split_once("## Not built").expect("a section");
    let names = |text: &str, name: &str| text.contains(&format!("`{name}`"));
    let wrong: Vec<String> = functions()
        .into_iter()
        .filter(|(name, is_built)| {
            !names(if *is_built { built } else { missing }, name) || (!is_built && names(built, name))
        })
        .map(|(name, _)| name.to_owned())
        .collect();
    assert!(wrong.is_empty(), "docs/ottl.md does not have right: {}", wrong.join(", "));
    let contexts = [
        Context::Resource,
        Context::Scope,
        Context::Span,
        Context::SpanEvent,
        Context::Metric,
        Context::DataPoint,
        Context::Log,
    ];
    for context in contexts {
        let row = built.lines().find(|line| line.starts_with(&format!("| `{}`", context.name()))).expect("a row");
        let wrong: Vec<&str> = paths(context).filter(|path| !names(row, path)).collect();
        assert!(wrong.is_empty(), "docs/ottl.md does not have the paths of {}: {}", context.name(), wrong.join(", "));
    }
    // Those that a Collector's documents have; a cache belongs to every context.
    let theirs = std::fs::read_to_string("tests/ottl/oracle/paths.txt").expect("readable");
    let wrong: Vec<&str> = theirs
        .lines()
        .filter(|path| {
            let (name, rest) = path.split_once('.').expect("a context");
            let context = contexts.into_iter().find(|context| context.name() == name).expect("a known context");
            let is_built = rest == "cache" || paths(context).any(|known| known == rest);
            !is_built && !names(missing, path)
        })
        .collect();
    assert!(wrong.is_empty(), "neither built nor said to be missing: {}", wrong.join(", "));
}

/// How many pairs there are, and those whose matches are others than those of Go's regexp.
fn patterns_compared(rows: Vec<Vec<Json>>) -> (usize, Vec<String>) {
    let known = differences();
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for row in rows {
        let [pattern, text, theirs] = &row[..] else { panic!("a row of three: {row:?}") };
        let (pattern, text) = (pattern.as_str().expect("a"), text.as_str().expect("b"));
        seen += 1;
        let ours = match pattern::compile(pattern) {
            Err(_) => json!("refused"),
            Ok(regex) => {
                let places = |found: regex::Captures<'_>| -> Vec<i64> {
                    let group = |group: Option<regex::Match<'_>>| match group {
                        Some(group) => [group.start() as i64, group.end() as i64],
                        None => [-1, -1],
                    };
                    found.iter().flat_map(group).collect()
                };
                json!(regex.captures_iter(text).map(places).collect::<Vec<_>>())
            }
        };
        if ours != *theirs && !known.contains_key(pattern) {
            wrong.push(format!("{pattern:?} on {text:?}\n    Go      {theirs}\n    podgate {ours}"));
        }
    }
    (seen, wrong)
}

#[test]
fn every_pattern_matches_what_gos_regexp_matches() {
    let (seen, wrong) = patterns_compared(rows("patterns.jsonl"));
    if let Ok(file) = std::env::var("ORACLE_WRONG") {
        std::fs::write(format!("{file}.patterns"), wrong.join("\n")).expect("writable");
    }
    println!("{seen} pairs, {} differ", wrong.len());
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong[..wrong.len().min(20)].join("\n"));
}

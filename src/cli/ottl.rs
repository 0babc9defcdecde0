//! `podgate ottl`: what a statement or condition does to an item, expression by expression, without a gateway.

use std::collections::BTreeMap;
use std::io::Read;
use std::mem::take;

use clap::Args as ClapArgs;
use serde_json::Value;

use crate::cli::Exit;
use crate::core::data::payload::Signal;
use crate::otlp::envelope;
use crate::otlp::fields::trace::span;
use crate::otlp::fields::{metric_data, request, resource_group, scope_group};
use crate::otlp::json::{from_wire, to_wire};
use crate::otlp::walk::Fields;
use crate::otlp::write;
use crate::ottl::{
    ChangedPieces, Condition, Context, EditTarget, Edits, ExplainedStep, Grammar, MadeMetrics, MessageEdit, Points,
    PointsAround, Statement, Syntax, TextFault, World, explain, points_in, points_of,
};
use crate::telemetry::stdout;

/// Longer inputs are refused.
const INPUT_MAX: u64 = 64 << 20;
/// Bytes of metrics that a statement may make of one item here.
const MADE_MAX: usize = 1 << 20;
/// Items beyond these are run and not shown.
const SHOWN_MAX: usize = 20;

#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The statement or condition
    text: String,
    /// What it is about: resource, scope, span, spanevent, metric, datapoint or log
    #[arg(long)]
    context: String,
    /// A request in OTLP/JSON, as the exporters `file` and `debug` write it; `-` reads it from the standard input.
    /// Without it the text is only checked
    #[arg(long)]
    input: Option<String>,
}

pub fn run(args: &Args) -> Exit {
    let Some(context) = Context::named(&args.context) else {
        stdout::error_line(&format!(
            "there is no context {:?}: resource, scope, span, spanevent, metric, datapoint, log",
            args.context
        ));
        return Exit::Usage;
    };
    // Both ways to write a path are read: with its context and without.
    let syntax = Syntax { context, prefixed: false, cache: true };
    let text = match Text::parse(&args.text, syntax) {
        Ok(text) => text,
        Err(fault) => {
            stdout::error_line(&caret(&args.text, &fault));
            return Exit::Configuration;
        }
    };
    let Some(input) = &args.input else {
        stdout::line(&format!("a {} about a {}", text.name(), context.name()));
        return Exit::Ok;
    };
    let body = match read(input) {
        Ok(body) => body,
        Err(why) => {
            stdout::error_line(&format!("{input}: {why}"));
            return Exit::Failure;
        }
    };
    let signal = match context {
        Context::Metric | Context::DataPoint => Signal::Metrics,
        Context::Log => Signal::Logs,
        Context::Span | Context::SpanEvent => Signal::Traces,
        // What stands above items tells nothing of them: the document's first key does.
        _ => [Signal::Traces, Signal::Metrics, Signal::Logs]
            .into_iter()
            .find(|signal| to_wire(*signal, &body).is_ok_and(|wire| !wire.is_empty()))
            .unwrap_or(Signal::Traces),
    };
    let wire = match to_wire(signal, &body) {
        Ok(wire) => wire,
        Err(fault) => {
            stdout::error_line(&format!("{input} is no request of {}: {fault}", signal.name()));
            return Exit::Failure;
        }
    };
    let seen = each(&wire, context, |at, found| {
        if at < SHOWN_MAX {
            stdout::line(&format!("{} {}", context.name(), at + 1));
            show(&args.text, &text, syntax, signal, &found);
        }
    });
    stdout::line(&format!("{seen} of kind {} in the request", context.name()));
    Exit::Ok
}

enum Text {
    Statement(Box<Statement>),
    Condition(Condition),
}

impl Text {
    /// A text that is neither is told as what it begins like.
    fn parse(text: &str, syntax: Syntax) -> Result<Text, TextFault> {
        let statement = Statement::parse(text, syntax).map(Box::new).map(Text::Statement);
        if statement.is_ok() || text.trim_start().starts_with(|c: char| c.is_ascii_lowercase()) && text.contains('(') {
            let condition = Condition::parse_as(text, syntax).map(Text::Condition);
            return statement.or_else(|fault| condition.map_err(|_| fault));
        }
        Condition::parse_as(text, syntax).map(Text::Condition)
    }

    fn name(&self) -> &'static str {
        match self {
            Text::Statement(_) => "statement",
            Text::Condition(_) => "condition",
        }
    }
}

/// One item with what surrounds it.
struct Found<'a> {
    resource: &'a [u8],
    scope: &'a [u8],
    /// `schema_url` of resource and scope.
    urls: [&'a [u8]; 2],
    item: &'a [u8],
    piece: &'a [u8],
    points: Points,
    /// Which of the item's pieces it is, and the message that holds them where they are points.
    at: usize,
    holder: Option<&'a [u8]>,
}

fn field(message: &[u8], number: u32) -> &[u8] {
    all(message, number).next().unwrap_or_default()
}

fn all(message: &[u8], number: u32) -> impl Iterator<Item = &[u8]> {
    let fields = Fields::new(message).map_while(Result::ok).filter(move |field| field.number == number);
    fields.filter_map(|field| field.bytes().ok())
}

/// Calls `visit` for every item of this context; how many there are.
fn each(wire: &[u8], context: Context, mut visit: impl FnMut(usize, Found<'_>)) -> usize {
    let mut seen = 0;
    let mut next = |found: Found<'_>| {
        visit(seen, found);
        seen += 1;
    };
    let above = |resource, scope, urls| Found {
        resource,
        scope,
        urls,
        item: b"",
        piece: b"",
        points: Points::None,
        at: 0,
        holder: None,
    };
    for group in all(wire, request::RESOURCE_GROUPS) {
        let (resource, url) = (field(group, resource_group::RESOURCE), field(group, resource_group::SCHEMA_URL));
        if context == Context::Resource {
            next(above(resource, b"", [url, b""]));
            continue;
        }
        for message in all(group, resource_group::SCOPE_GROUPS) {
            let (scope, urls) = (field(message, scope_group::SCOPE), [url, field(message, scope_group::SCHEMA_URL)]);
            if context == Context::Scope {
                next(above(resource, scope, urls));
                continue;
            }
            for item in all(message, scope_group::ITEMS) {
                pieces(item, context, &mut |(at, piece), points, holder| {
                    next(Found { item, piece, points, at, holder, ..above(resource, scope, urls) })
                });
            }
        }
    }
    seen
}

type VisitPiece<'v> = dyn FnMut((usize, &[u8]), Points, Option<&[u8]>) + 'v;

/// The item's pieces where they are what it is about, else the item alone.
fn pieces(item: &[u8], context: Context, visit: &mut VisitPiece<'_>) {
    match context {
        Context::SpanEvent => all(item, span::EVENTS).enumerate().for_each(|piece| visit(piece, Points::None, None)),
        Context::DataPoint => {
            if let Some((points, holder)) = points_of(item) {
                points_in(&holder).enumerate().for_each(|piece| visit(piece, points, Some(&holder)));
            }
        }
        _ => visit((0, b""), Points::None, None),
    }
}

fn show(written: &str, text: &Text, syntax: Syntax, signal: Signal, found: &Found<'_>) {
    let draft = |bytes| MessageEdit::new(bytes, Edits::default());
    let none = ChangedPieces::default();
    let mut scene = EditTarget {
        resource: draft(found.resource),
        scope: draft(found.scope),
        resource_url: draft(found.urls[0]),
        scope_url: draft(found.urls[1]),
        item: draft(found.item),
        piece: draft(found.piece),
        at: found.at,
        points: found.points,
        world: World::real(),
        around: found.holder.map(|holder| PointsAround { holder, changed: &none, at: found.at }),
        made: MadeMetrics { left: MADE_MAX, ..MadeMetrics::default() },
        ..EditTarget::default()
    };
    let grammar = if matches!(text, Text::Statement(_)) { Grammar::Statement } else { Grammar::Condition };
    // Of a statement the expressions of its condition come first, and they stand behind its call.
    let behind = written.find(" where ").map_or(usize::MAX, |at| written[..at].chars().count());
    for step in explain(written, grammar, syntax, &scene.view()).unwrap_or_default() {
        let of_condition = grammar == Grammar::Statement && step.depth == 0 && step.at > behind;
        stdout::line(&format!("{}{}", if of_condition { "  where\n" } else { "" }, line(&step)));
    }
    match text {
        Text::Condition(condition) => match condition.matches(&scene.view()) {
            Ok(truth) => stdout::line(&format!("  -> {truth}")),
            Err(failure) => stdout::line(&format!("  -> fails: {failure}")),
        },
        Text::Statement(statement) => {
            let before = flat(signal, &scene);
            match statement.run(&mut scene) {
                Err(failure) => stdout::line(&format!("  -> fails: {failure}")),
                Ok(()) => {
                    let made = take(&mut scene.made.list);
                    if made.is_empty() {
                        return differences(&before, &flat(signal, &scene));
                    }
                    made.iter().for_each(|metric| added(metric));
                }
            }
        }
    }
}

fn line(step: &ExplainedStep) -> String {
    let sign = if step.outcome.is_ok() { "=" } else { "fails:" };
    format!("  {}{} {sign} {}", "  ".repeat(step.depth), step.text, step.shown)
}

/// Everything the statement can change, by path.
fn flat(signal: Signal, scene: &EditTarget<'_>) -> BTreeMap<String, String> {
    let mut inner = Vec::new();
    write::bytes(&mut inner, scope_group::SCOPE, scene.scope.bytes());
    if !scene.item.bytes().is_empty() {
        write::bytes(&mut inner, scope_group::ITEMS, scene.item.bytes());
    }
    // A piece alone, as the only one of its item.
    if scene.piece.is_changed() || !scene.piece.bytes().is_empty() {
        let mut item = Vec::new();
        if signal == Signal::Traces {
            write::bytes(&mut item, span::EVENTS, scene.piece.bytes());
        } else {
            let mut holder = Vec::new();
            write::bytes(&mut holder, metric_data::DATA_POINTS, scene.piece.bytes());
            write::bytes(&mut item, scene.points.field(), &holder);
        }
        write::bytes(&mut inner, scope_group::ITEMS, &item);
    }
    write::bytes(&mut inner, scope_group::SCHEMA_URL, scene.scope_url.bytes());
    let mut group = Vec::new();
    write::bytes(&mut group, resource_group::RESOURCE, scene.resource.bytes());
    write::bytes(&mut group, resource_group::SCOPE_GROUPS, &inner);
    write::bytes(&mut group, resource_group::SCHEMA_URL, scene.resource_url.bytes());
    let mut whole = Vec::new();
    write::bytes(&mut whole, request::RESOURCE_GROUPS, &group);
    let json = envelope::decode(whole.into()).ok().and_then(|envelope| {
        let mut text = Vec::new();
        from_wire(signal, &envelope, &mut text).ok()?;
        serde_json::from_slice(&text).ok()
    });
    let mut lines = BTreeMap::new();
    spread(&json.unwrap_or(Value::Null), String::new(), &mut lines);
    lines
}

/// Every value of a JSON tree by its path; lists of keys and values, as attributes are, by key.
pub fn spread(json: &Value, path: String, lines: &mut BTreeMap<String, String>) {
    match json {
        Value::Object(map) => map.iter().for_each(|(key, value)| spread(value, format!("{path}.{key}"), lines)),
        Value::Array(list) => {
            for (at, value) in list.iter().enumerate() {
                match (value.get("key").and_then(Value::as_str), value.get("value")) {
                    (Some(key), Some(value)) => spread(value, format!("{path}[{key:?}]"), lines),
                    _ => spread(value, format!("{path}[{at}]"), lines),
                }
            }
        }
        other => _ = lines.insert(path, other.to_string()),
    }
}

/// A metric that the statement made beside the one it ran on.
fn added(metric: &[u8]) {
    let draft = |bytes| MessageEdit::new(bytes, Edits::default());
    let scene = EditTarget { item: draft(metric), ..EditTarget::default() };
    stdout::line("  -> makes a metric");
    for (path, value) in flat(Signal::Metrics, &scene) {
        stdout::line(&format!("  + {}: {value}", path.trim_start_matches('.')));
    }
}

fn differences(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) {
    let mut same = true;
    for path in before.keys().chain(after.keys().filter(|path| !before.contains_key(*path))) {
        let (old, new) = (before.get(path), after.get(path));
        if old == new {
            continue;
        }
        same = false;
        let shown = path.trim_start_matches('.');
        old.iter().for_each(|old| stdout::line(&format!("  - {shown}: {old}")));
        new.iter().for_each(|new| stdout::line(&format!("  + {shown}: {new}")));
    }
    if same {
        stdout::line("  -> changes nothing");
    }
}

fn caret(text: &str, fault: &TextFault) -> String {
    format!("{fault}\n  {text}\n  {}^", " ".repeat(fault.at))
}

/// A file, or the standard input for `-`.
pub fn read(input: &str) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    let done = match input {
        "-" => std::io::stdin().take(INPUT_MAX).read_to_end(&mut body),
        path => std::fs::File::open(path).and_then(|file| file.take(INPUT_MAX).read_to_end(&mut body)),
    };
    done.map_err(|error| error.to_string())?;
    if body.len() as u64 == INPUT_MAX { Err(format!("longer than {INPUT_MAX} bytes")) } else { Ok(body) }
}

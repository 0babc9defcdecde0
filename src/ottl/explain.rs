//! What a text makes of an item, step by step: the value of each expression in it, for whoever wonders why a condition was
//! false or what a statement failed on. Evaluates each expression again, so it is for people and not for the data path.

use serde_json::{Value as Json, json};

use crate::ottl::context::Grammar;
use crate::ottl::parse::{self, Compare, Key, Spot, Sum, Tree};
use crate::ottl::value::{Value, hex};
use crate::ottl::{Failure, Fault, Item, Syntax, check, eval, lexer};

/// Texts in messages are cut here.
const SHOWN_MAX: usize = 80;
/// Lists and maps in messages are cut here.
const SHOWN_ELEMENTS: usize = 8;
/// More expressions are not explained.
const STEPS_MAX: usize = 500;

/// One expression of a text and its value.
#[derive(Debug)]
pub struct Step {
    /// How deep it stands in others.
    pub depth: usize,
    /// Characters before it.
    pub at: usize,
    pub text: String,
    /// With its kind: `{"int": "5"}`.
    pub outcome: Result<Json, Failure>,
    /// As a person reads it; the failure where there is one.
    pub shown: String,
}

/// The value of an expression with its kind, for tests against upstream.
pub fn evaluate(text: &str, syntax: Syntax, item: &Item<'_>) -> Result<Result<Json, Failure>, Fault> {
    let tokens = lexer::tokens(text)?;
    let tree = parse::value(&tokens)?;
    let node = check::value(&tree, syntax)?;
    Ok(eval::value(&node, item).and_then(|value| typed(&value, 0)))
}

/// Every expression of the text, outer ones before what they are made of. The target of a statement is one of them.
pub fn explain(text: &str, grammar: Grammar, syntax: Syntax, item: &Item<'_>) -> Result<Vec<Step>, Fault> {
    let tokens = lexer::tokens(text)?;
    let mut steps = Vec::new();
    let mut walk = Walk { syntax, item, steps: &mut steps };
    match grammar {
        Grammar::Condition => walk.spot(&parse::condition(&tokens)?, 0),
        Grammar::Statement => {
            let (call, condition) = parse::statement(&tokens)?;
            if let Some(condition) = &condition {
                walk.spot(condition, 0);
            }
            if let Tree::Call { arguments, .. } = &call.tree {
                arguments.iter().for_each(|argument| walk.spot(argument, 0));
            }
        }
    }
    Ok(steps)
}

/// The innermost expression that fails, or of a statement whose expressions do not, what it was given: its place, and a
/// text about it and the values it met.
pub fn failing(text: &str, grammar: Grammar, syntax: Syntax, item: &Item<'_>) -> Option<(usize, String)> {
    let steps = explain(text, grammar, syntax, item).ok()?;
    let fails = steps.iter().rposition(|step| step.outcome.is_err());
    let below = match fails {
        Some(at) => {
            let depth = steps[at].depth;
            let below = steps[at + 1..].iter().take_while(move |step| step.depth > depth);
            below.filter(|step| step.depth == depth + 1).collect::<Vec<_>>()
        }
        None => steps.iter().filter(|step| step.depth == 0).collect(),
    };
    let met: Vec<String> = below.iter().map(|step| format!("{} is {}", step.text, step.shown)).collect();
    let met = met.join(", ");
    match fails {
        Some(at) => Some((steps[at].at, format!("{}: {}{}", steps[at].text, steps[at].shown, with(&met)))),
        None if met.is_empty() => None,
        None => Some((0, met)),
    }
}

fn with(met: &str) -> String {
    if met.is_empty() { String::new() } else { format!("; {met}") }
}

struct Walk<'s, 'i> {
    syntax: Syntax,
    item: &'i Item<'i>,
    steps: &'s mut Vec<Step>,
}

impl Walk<'_, '_> {
    fn spot(&mut self, spot: &Spot, depth: usize) {
        let below = parts(spot);
        let plain = matches!(
            spot.tree,
            Tree::Nil | Tree::Bool(_) | Tree::Int(_) | Tree::Float(_) | Tree::Text(_) | Tree::Bytes(_)
        );
        // What stands in the text needs no telling.
        if plain || self.steps.len() == STEPS_MAX {
            return;
        }
        if let Tree::Named(_, inner) = &spot.tree {
            return self.spot(inner, depth);
        }
        // The name of a function as an argument is no expression.
        if let Ok(node) = check::value(spot, self.syntax) {
            let value = eval::value(&node, self.item);
            let shown = match &value {
                Ok(value) => shown(value, 0),
                Err(failure) => failure.to_string(),
            };
            let outcome = value.and_then(|value| typed(&value, 0));
            self.steps.push(Step { depth, at: spot.at, text: written(spot), outcome, shown });
            below.iter().for_each(|part| self.spot(part, depth + 1));
        }
    }
}

/// The expressions that this one is made of.
fn parts(spot: &Spot) -> Vec<&Spot> {
    match &spot.tree {
        Tree::List(parts) | Tree::And(parts) | Tree::Or(parts) => parts.iter().collect(),
        Tree::Map(pairs) => pairs.iter().map(|(_, part)| part).collect(),
        Tree::Call { arguments, keys, .. } => arguments.iter().chain(made(keys)).collect(),
        Tree::Path(segments) => segments.iter().flat_map(|segment| made(&segment.keys)).collect(),
        Tree::Compare(_, left, right) | Tree::Sum(_, left, right) => vec![left, right],
        Tree::Not(part) | Tree::Negated(part) | Tree::Named(_, part) => vec![part],
        _ => Vec::new(),
    }
}

fn made(keys: &[Key]) -> impl Iterator<Item = &Spot> {
    keys.iter().filter_map(|key| if let Key::Made(made) = key { Some(&**made) } else { None })
}

/// The expression as it may be written.
fn written(spot: &Spot) -> String {
    let all = |parts: &[Spot], between: &str| parts.iter().map(written).collect::<Vec<_>>().join(between);
    match &spot.tree {
        Tree::Nil => "nil".to_owned(),
        Tree::Bool(truth) => truth.to_string(),
        Tree::Int(number) => number.to_string(),
        Tree::Float(number) => format!("{number:?}"),
        Tree::Text(text) => format!("{text:?}"),
        Tree::Bytes(bytes) => format!("0x{}", hex(bytes)),
        Tree::List(parts) => format!("[{}]", all(parts, ", ")),
        Tree::Map(pairs) => {
            let pairs: Vec<String> = pairs.iter().map(|(key, part)| format!("{key:?}: {}", written(part))).collect();
            format!("{{{}}}", pairs.join(", "))
        }
        Tree::Named(name, part) => format!("{name}={}", written(part)),
        Tree::Enum(name) => name.clone(),
        Tree::Path(segments) => {
            let segments = segments.iter().map(|segment| format!("{}{}", segment.name, written_keys(&segment.keys)));
            segments.collect::<Vec<_>>().join(".")
        }
        Tree::Call { name, arguments, keys } => format!("{name}({}){}", all(arguments, ", "), written_keys(keys)),
        Tree::Compare(how, left, right) => {
            let sign = match how {
                Compare::Equal => "==",
                Compare::NotEqual => "!=",
                Compare::Less => "<",
                Compare::LessOrEqual => "<=",
                Compare::Greater => ">",
                Compare::GreaterOrEqual => ">=",
            };
            format!("{} {sign} {}", written(left), written(right))
        }
        Tree::Sum(how, left, right) => {
            let sign = match how {
                Sum::Add => "+",
                Sum::Subtract => "-",
                Sum::Multiply => "*",
                Sum::Divide => "/",
            };
            format!("{} {sign} {}", written(left), written(right))
        }
        Tree::Negated(part) => format!("-{}", written(part)),
        Tree::And(parts) => all(parts, " and "),
        Tree::Or(parts) => all(parts, " or "),
        Tree::Not(part) => format!("not {}", written(part)),
    }
}

fn written_keys(keys: &[Key]) -> String {
    let key = |key: &Key| match key {
        Key::Name(name) => format!("[{name:?}]"),
        Key::Index(index) => format!("[{index}]"),
        Key::Made(made) => format!("[{}]", written(made)),
    };
    keys.iter().map(key).collect()
}

/// The value as a person reads it, cut where it is long.
fn shown(value: &Value<'_>, depth: usize) -> String {
    match value {
        Value::Nil => "nil".to_owned(),
        Value::Text(text) => {
            let cut: String = text.chars().take(SHOWN_MAX).collect();
            if cut.len() < text.len() { format!("{cut:?}...") } else { format!("{cut:?}") }
        }
        Value::Float(number) => format!("{number:?}"),
        Value::Bytes(bytes) => format!("0x{}", hex(&bytes[..bytes.len().min(SHOWN_MAX)])),
        Value::Id(id) => format!("id {}", hex(id.bytes())),
        Value::Pieces(count) => format!("{count} messages"),
        list if list.is_list() && depth < SHOWN_ELEMENTS => {
            let elements = list.elements().unwrap_or_default();
            let mut all: Vec<String> = elements.iter().take(SHOWN_ELEMENTS).map(|e| shown(e, depth + 1)).collect();
            if elements.len() > SHOWN_ELEMENTS {
                all.push("...".to_owned());
            }
            format!("[{}]", all.join(", "))
        }
        map if map.is_map() && depth < SHOWN_ELEMENTS => {
            let pairs = map.pairs().unwrap_or_default();
            let pair =
                |(key, value): &(std::borrow::Cow<'_, str>, Value<'_>)| format!("{key:?}: {}", shown(value, depth + 1));
            let mut all: Vec<String> = pairs.iter().take(SHOWN_ELEMENTS).map(pair).collect();
            if pairs.len() > SHOWN_ELEMENTS {
                all.push("...".to_owned());
            }
            format!("{{{}}}", all.join(", "))
        }
        Value::Duration(nanos) => crate::ottl::convert::shown_duration(*nanos),
        other => match other.to_text() {
            Ok(text) => text.unwrap_or_default().trim_matches('"').to_owned(),
            Err(failure) => failure.to_string(),
        },
    }
}

/// The value with its kind, whole: numbers as texts, so that none loses a digit.
fn typed(value: &Value<'_>, depth: usize) -> Result<Json, Failure> {
    if depth > crate::ottl::value::DEPTH_MAX {
        return Err(Failure("the value nests too deep"));
    }
    Ok(match value {
        Value::Nil => json!({ "nil": true }),
        Value::Bool(truth) => json!({ "bool": truth }),
        Value::Int(number) => json!({ "int": number.to_string() }),
        Value::Float(number) => json!({ "double": format!("{number:e}") }),
        Value::Text(text) => json!({ "str": text }),
        Value::Bytes(bytes) => json!({ "bytes": hex(bytes) }),
        Value::Id(id) => json!({ "id": hex(id.bytes()) }),
        Value::Time(moment) => {
            let (seconds, nanos) = (moment.whole(1_000_000_000), moment.at().subsec_nanosecond());
            let nanos = if nanos < 0 { nanos + 1_000_000_000 } else { nanos };
            json!({ "time": format!("{seconds}.{nanos:09}"), "offset": moment.offset() })
        }
        Value::Duration(nanos) => json!({ "duration": nanos.to_string() }),
        Value::Pieces(count) => json!({ "other": count }),
        list if list.is_list() => {
            let elements = list.elements().ok_or(Failure("the list has too many elements"))?;
            let elements = elements.iter().map(|element| typed(element, depth + 1)).collect::<Result<Vec<_>, _>>()?;
            json!({ "list": elements })
        }
        map => {
            let pairs = map.pairs().ok_or(Failure("the map has too many entries"))?;
            let pairs = pairs.iter().map(|(key, value)| Ok((key.to_string(), typed(value, depth + 1)?)));
            json!({ "map": pairs.collect::<Result<serde_json::Map<_, _>, Failure>>()? })
        }
    })
}

//! What a text makes of an item, step by step: the value of each expression in it, for whoever wonders why a condition was
//! false or what a statement failed on. Evaluates each expression again, so it is for people and not for the data path.

use serde_json::{Value as Json, json};

use crate::ottl::context::{Grammar, Syntax};
use crate::ottl::item::Item;
use crate::ottl::syntax::fault::TextFault;
use crate::ottl::syntax::literal::Literal;
use crate::ottl::syntax::parse::{Compare, LocatedTree, PathKey, Sum, SyntaxTree};
use crate::ottl::syntax::{lexer, parse};
use crate::ottl::value::failure::EvalFailure;
use crate::ottl::value::{OttlValue, hex};
use crate::ottl::{check, eval};

/// Texts in messages are cut here.
const SHOWN_MAX: usize = 80;
/// Lists and maps in messages are cut here.
const SHOWN_ELEMENTS: usize = 8;
/// More expressions are not explained.
const STEPS_MAX: usize = 500;

/// One expression of a text and its value.
#[derive(Debug)]
pub struct ExplainedStep {
    /// How deep it stands in others.
    pub depth: usize,
    /// Characters before it.
    pub at: usize,
    pub text: String,
    /// With its kind: `{"int": "5"}`.
    pub outcome: Result<Json, EvalFailure>,
    /// As a person reads it; the failure where there is one.
    pub shown: String,
}

/// The value of an expression with its kind, for tests against upstream.
pub fn evaluate(text: &str, syntax: Syntax, item: &Item<'_>) -> Result<Result<Json, EvalFailure>, TextFault> {
    let tokens = lexer::tokens(text)?;
    let tree = parse::value(&tokens)?;
    let node = check::value(&tree, syntax)?;
    Ok(eval::value(&node, item).and_then(|value| typed(&value, 0)))
}

/// Every expression of the text, outer ones before what they are made of. The target of a statement is one of them.
pub fn explain(text: &str, grammar: Grammar, syntax: Syntax, item: &Item<'_>) -> Result<Vec<ExplainedStep>, TextFault> {
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
            if let SyntaxTree::Call { arguments, .. } = &call.tree {
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
    steps: &'s mut Vec<ExplainedStep>,
}

impl Walk<'_, '_> {
    fn spot(&mut self, spot: &LocatedTree, depth: usize) {
        let below = parse::parts(spot);
        // What stands in the text needs no telling.
        if matches!(spot.tree, SyntaxTree::Literal(_)) || self.steps.len() == STEPS_MAX {
            return;
        }
        if let SyntaxTree::Named(_, inner) = &spot.tree {
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
            self.steps.push(ExplainedStep { depth, at: spot.at, text: written(spot), outcome, shown });
            below.iter().for_each(|part| self.spot(part, depth + 1));
        }
    }
}

/// The expression as it may be written.
fn written(spot: &LocatedTree) -> String {
    let all = |parts: &[LocatedTree], between: &str| parts.iter().map(written).collect::<Vec<_>>().join(between);
    match &spot.tree {
        SyntaxTree::Literal(Literal::Nil) => "nil".to_owned(),
        SyntaxTree::Literal(Literal::Bool(truth)) => truth.to_string(),
        SyntaxTree::Literal(Literal::Int(number)) => number.to_string(),
        SyntaxTree::Literal(Literal::Float(number)) => format!("{number:?}"),
        SyntaxTree::Literal(Literal::Text(text)) => format!("{text:?}"),
        SyntaxTree::Literal(Literal::Bytes(bytes)) => format!("0x{}", hex(bytes)),
        SyntaxTree::List(parts) => format!("[{}]", all(parts, ", ")),
        SyntaxTree::Map(pairs) => {
            let pairs: Vec<String> = pairs.iter().map(|(key, part)| format!("{key:?}: {}", written(part))).collect();
            format!("{{{}}}", pairs.join(", "))
        }
        SyntaxTree::Named(name, part) => format!("{name}={}", written(part)),
        SyntaxTree::Enum(name) => name.clone(),
        SyntaxTree::Path(segments) => {
            let segments = segments.iter().map(|segment| format!("{}{}", segment.name, written_keys(&segment.keys)));
            segments.collect::<Vec<_>>().join(".")
        }
        SyntaxTree::Call { name, arguments, keys } => format!("{name}({}){}", all(arguments, ", "), written_keys(keys)),
        SyntaxTree::Compare(how, left, right) => {
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
        SyntaxTree::Sum(how, left, right) => {
            let sign = match how {
                Sum::Add => "+",
                Sum::Subtract => "-",
                Sum::Multiply => "*",
                Sum::Divide => "/",
            };
            format!("{} {sign} {}", written(left), written(right))
        }
        SyntaxTree::Negated(part) => format!("-{}", written(part)),
        SyntaxTree::And(parts) => all(parts, " and "),
        SyntaxTree::Or(parts) => all(parts, " or "),
        SyntaxTree::Not(part) => format!("not {}", written(part)),
    }
}

fn written_keys(keys: &[PathKey]) -> String {
    let key = |key: &PathKey| match key {
        PathKey::Name(name) => format!("[{name:?}]"),
        PathKey::Index(index) => format!("[{index}]"),
        PathKey::Made(made) => format!("[{}]", written(made)),
    };
    keys.iter().map(key).collect()
}

/// The value as a person reads it, cut where it is long.
fn shown(value: &OttlValue<'_>, depth: usize) -> String {
    match value {
        OttlValue::Nil => "nil".to_owned(),
        OttlValue::Text(text) => {
            let cut: String = text.chars().take(SHOWN_MAX).collect();
            if cut.len() < text.len() { format!("{cut:?}...") } else { format!("{cut:?}") }
        }
        OttlValue::Float(number) => format!("{number:?}"),
        OttlValue::Bytes(bytes) => format!("0x{}", hex(&bytes[..bytes.len().min(SHOWN_MAX)])),
        OttlValue::Id(id) => format!("id {}", hex(id.bytes())),
        OttlValue::Pieces(count) => format!("{count} messages"),
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
            let pair = |(key, value): &(std::borrow::Cow<'_, str>, OttlValue<'_>)| {
                format!("{key:?}: {}", shown(value, depth + 1))
            };
            let mut all: Vec<String> = pairs.iter().take(SHOWN_ELEMENTS).map(pair).collect();
            if pairs.len() > SHOWN_ELEMENTS {
                all.push("...".to_owned());
            }
            format!("{{{}}}", all.join(", "))
        }
        OttlValue::Duration(nanos) => crate::ottl::convert::shown_duration(*nanos),
        other => match other.to_text() {
            Ok(text) => text.unwrap_or_default().trim_matches('"').to_owned(),
            Err(failure) => failure.to_string(),
        },
    }
}

/// The value with its kind, whole: numbers as texts, so that none loses a digit.
fn typed(value: &OttlValue<'_>, depth: usize) -> Result<Json, EvalFailure> {
    if depth > crate::ottl::value::DEPTH_MAX {
        return Err(EvalFailure("the value nests too deep"));
    }
    Ok(match value {
        OttlValue::Nil => json!({ "nil": true }),
        OttlValue::Bool(truth) => json!({ "bool": truth }),
        OttlValue::Int(number) => json!({ "int": number.to_string() }),
        OttlValue::Float(number) => json!({ "double": format!("{number:e}") }),
        OttlValue::Text(text) => json!({ "str": text }),
        OttlValue::Bytes(bytes) => json!({ "bytes": hex(bytes) }),
        OttlValue::Id(id) => json!({ "id": hex(id.bytes()) }),
        OttlValue::Time(moment) => {
            let (seconds, nanos) = (moment.whole(1_000_000_000), moment.at().subsec_nanosecond());
            let nanos = if nanos < 0 { nanos + 1_000_000_000 } else { nanos };
            json!({ "time": format!("{seconds}.{nanos:09}"), "offset": moment.offset() })
        }
        OttlValue::Duration(nanos) => json!({ "duration": nanos.to_string() }),
        OttlValue::Pieces(count) => json!({ "other": count }),
        list if list.is_list() => {
            let elements = list.elements().ok_or(EvalFailure("the list has too many elements"))?;
            let elements = elements.iter().map(|element| typed(element, depth + 1)).collect::<Result<Vec<_>, _>>()?;
            json!({ "list": elements })
        }
        map => {
            let pairs = map.pairs().ok_or(EvalFailure("the map has too many entries"))?;
            let pairs = pairs.iter().map(|(key, value)| Ok((key.to_string(), typed(value, depth + 1)?)));
            json!({ "map": pairs.collect::<Result<serde_json::Map<_, _>, EvalFailure>>()? })
        }
    })
}

//! From the parsed tree to what can be evaluated: names resolved, arguments checked, patterns compiled. A name that
//! does not exist, or that podgate does not have, is a fault with its place, never ignored.

mod calls;
mod constants;
pub mod paths;

use crate::ottl::checked::CheckedNode;
use crate::ottl::context::Syntax;
use crate::ottl::syntax::fault::TextFault;
use crate::ottl::syntax::literal::Literal;
use crate::ottl::syntax::parse::{LocatedTree, SyntaxTree};
use constants::constant;

pub use calls::arrange;

/// What a part of the condition must be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Truth,
    Value,
}

/// Checks the value of an argument.
pub fn value(spot: &LocatedTree, syntax: Syntax) -> Result<CheckedNode, TextFault> {
    node(spot, syntax, Wanted::Value)
}

/// Checks a whole condition.
pub fn check(spot: &LocatedTree, syntax: Syntax) -> Result<CheckedNode, TextFault> {
    node(spot, syntax, Wanted::Truth)
}

pub fn fault<T>(at: usize, message: impl Into<String>) -> Result<T, TextFault> {
    Err(TextFault { at, message: message.into(), not_built: false })
}

/// A fault of podgate's, not of the text: a Collector has it.
pub fn not_built<T>(at: usize, message: impl Into<String>) -> Result<T, TextFault> {
    Err(TextFault { at, message: message.into(), not_built: true })
}

fn node(spot: &LocatedTree, syntax: Syntax, wanted: Wanted) -> Result<CheckedNode, TextFault> {
    let truths = |parts: &[LocatedTree]| -> Result<Vec<CheckedNode>, TextFault> {
        parts.iter().map(|part| node(part, syntax, Wanted::Truth)).collect()
    };
    let values = |parts: &[LocatedTree]| -> Result<Vec<CheckedNode>, TextFault> {
        parts.iter().map(|part| node(part, syntax, Wanted::Value)).collect()
    };
    let pair = |left: &LocatedTree, right: &LocatedTree| -> Result<(Box<CheckedNode>, Box<CheckedNode>), TextFault> {
        let (left, right) = (node(left, syntax, Wanted::Value)?, node(right, syntax, Wanted::Value)?);
        Ok((Box::new(left), Box::new(right)))
    };
    let found = match &spot.tree {
        SyntaxTree::And(parts) => joined(truths(parts)?, false),
        SyntaxTree::Or(parts) => joined(truths(parts)?, true),
        SyntaxTree::Not(part) => match node(part, syntax, Wanted::Truth)? {
            CheckedNode::Literal(Literal::Bool(truth)) => CheckedNode::Literal(Literal::Bool(!truth)),
            part => CheckedNode::Not(Box::new(part)),
        },
        SyntaxTree::Compare(how, left, right) => {
            let (left, right) = pair(left, right)?;
            match (left.literal(), right.literal()) {
                (Some(left), Some(right)) => CheckedNode::Literal(Literal::Bool(left.compare(*how, &right))),
                _ => CheckedNode::Compare(*how, left, right),
            }
        }
        SyntaxTree::Literal(truth @ Literal::Bool(_)) => CheckedNode::Literal(truth.clone()),
        SyntaxTree::Call { name, arguments, keys } => calls::call(spot.at, name, arguments, keys, syntax)?,
        SyntaxTree::Named(name, _) => return fault(spot.at, format!("no argument is called `{name}` here")),
        _ if wanted == Wanted::Truth => return fault(spot.at, "this is not a condition; compare it with something"),
        SyntaxTree::Literal(literal) => CheckedNode::Literal(literal.clone()),
        SyntaxTree::List(parts) => CheckedNode::List(values(parts)?),
        SyntaxTree::Map(pairs) => {
            let pair = |(key, part): &(String, LocatedTree)| Ok((key.clone(), node(part, syntax, Wanted::Value)?));
            CheckedNode::Map(pairs.iter().map(pair).collect::<Result<_, TextFault>>()?)
        }
        SyntaxTree::Enum(name) => match constant(name) {
            Some(number) => CheckedNode::Literal(Literal::Int(number)),
            None => return fault(spot.at, format!("`{name}` is no known constant")),
        },
        SyntaxTree::Path(segments) => CheckedNode::Path(crate::ottl::check::paths::resolve(segments, syntax, spot.at)?),
        SyntaxTree::Sum(how, left, right) => {
            for side in [left, right] {
                if matches!(
                    side.tree,
                    SyntaxTree::Literal(Literal::Nil | Literal::Bool(_) | Literal::Text(_) | Literal::Bytes(_))
                        | SyntaxTree::List(_)
                        | SyntaxTree::Map(_)
                ) {
                    return fault(side.at, "sums need numbers, times or durations");
                }
            }
            let (left, right) = pair(left, right)?;
            CheckedNode::Sum(*how, left, right)
        }
        SyntaxTree::Negated(part) => CheckedNode::Negated(Box::new(node(part, syntax, Wanted::Value)?)),
    };
    Ok(found)
}

/// `and`, or `or`, of these. One that is known to decide does so alone, whatever the others come to, as upstream has it.
fn joined(parts: Vec<CheckedNode>, or: bool) -> CheckedNode {
    if parts.iter().any(|part| matches!(part, CheckedNode::Literal(Literal::Bool(truth)) if *truth == or)) {
        return CheckedNode::Literal(Literal::Bool(or));
    }
    let mut left: Vec<CheckedNode> =
        parts.into_iter().filter(|part| !matches!(part, CheckedNode::Literal(Literal::Bool(_)))).collect();
    match (left.len(), or) {
        (0, _) => CheckedNode::Literal(Literal::Bool(!or)),
        (1, _) => left.remove(0),
        (_, true) => CheckedNode::Or(left),
        (_, false) => CheckedNode::And(left),
    }
}

//! Runs a checked condition or argument on one item. Allocates only where a converter makes a text.

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::otlp::walk::Fields;
use crate::ottl::check::{Call, Made, Node};
use crate::ottl::convert::grok::Grok;
use crate::ottl::convert::{Converter, Want, extract, text};
use crate::ottl::encode::{Entry, raw_entries};
use crate::ottl::parse::{Compare, Sum};
use crate::ottl::path::tables::{Part, PointPart};
use crate::ottl::path::{Place, points_in, points_of};
use crate::ottl::value::{Moment, Value};
use crate::ottl::{Failure, Item};

/// The truth of a condition; parts behind the one that decides are not evaluated.
pub fn truth(node: &Node, item: &Item<'_>) -> Result<bool, Failure> {
    match node {
        Node::And(parts) => {
            for part in parts {
                if !truth(part, item)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Node::Or(parts) => {
            for part in parts {
                if truth(part, item)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Node::Not(part) => Ok(!truth(part, item)?),
        Node::Compare(how, left, right) => Ok(value(left, item)?.compare(*how, &value(right, item)?)),
        _ => match value(node, item)? {
            Value::Bool(truth) => Ok(truth),
            _ => Err(Failure("the converter gave no truth value")),
        },
    }
}

pub fn value<'a>(node: &'a Node, item: &Item<'a>) -> Result<Value<'a>, Failure> {
    match node {
        Node::Nil => Ok(Value::Nil),
        Node::Bool(truth) => Ok(Value::Bool(*truth)),
        Node::Int(number) => Ok(Value::Int(*number)),
        Node::Float(number) => Ok(Value::Float(*number)),
        Node::Text(text) => Ok(Value::Text(Cow::Borrowed(text))),
        Node::Bytes(bytes) => Ok(Value::Bytes(Cow::Borrowed(bytes))),
        Node::List(parts) => {
            let values: Result<Vec<Value<'a>>, Failure> = parts.iter().map(|part| value(part, item)).collect();
            values.map(Value::List)
        }
        Node::Path(path) => path.read(item),
        Node::Map(pairs) => {
            // A list of the data fails there too: only maps of it can stand in one that is written out.
            let pair = |(key, part): &'a (String, Node)| match value(part, item)? {
                Value::Array(_) | Value::Time(_) | Value::Duration(_) | Value::Id(_) => {
                    Err(Failure("a map that is written out cannot hold this"))
                }
                made => Ok((Cow::Borrowed(key.as_str()), made)),
            };
            let map: Result<Vec<_>, Failure> = pairs.iter().map(pair).collect();
            map.map(Value::Object)
        }
        Node::Call(call) => keyed(called(call, item)?, &call.keys, item),
        Node::Sum(how, left, right) => sum(*how, &value(left, item)?, &value(right, item)?),
        Node::Negated(part) => match value(part, item)? {
            Value::Int(number) => Ok(Value::Int(number.wrapping_neg())),
            Value::Float(number) => Ok(Value::Float(-number)),
            _ => Err(Failure("a minus needs a number")),
        },
        Node::Compare(..) | Node::And(_) | Node::Or(_) | Node::Not(_) => truth(node, item).map(Value::Bool),
    }
}

/// The keys behind a call: unlike those of a path, each must be there.
fn keyed<'a>(mut made: Value<'a>, keys: &'a [Place], item: &Item<'a>) -> Result<Value<'a>, Failure> {
    for key in keys {
        made = made.at(&key.step(item)?)?.ok_or(Failure("the map has no such key"))?;
    }
    Ok(made)
}

fn called<'a>(call: &'a Call, item: &Item<'a>) -> Result<Value<'a>, Failure> {
    let argument = |at: usize| -> Result<Value<'a>, Failure> {
        let Some((want, node)) = call.arguments.get(at) else { return Ok(Value::Nil) };
        let made = value(node, item)?;
        want.take(made)
    };
    match (call.converter, &call.made) {
        (Converter::IsRootSpan, _) => Ok(Value::Bool(is_root(item))),
        (Converter::HasAttrKeyOnDatapoint, _) => has_attribute(&argument(0)?, None, item).map(Value::Bool),
        (Converter::HasAttrOnDatapoint, _) => has_attribute(&argument(0)?, Some(&argument(1)?), item).map(Value::Bool),
        (Converter::IsMatch, Made::Pattern(pattern)) => {
            // Without a copy where the pattern is known and the value is a text.
            let matches = |target: &Value<'_>| -> Result<bool, Failure> {
                let Value::Text(text) = target else { return Ok(false) };
                match pattern.known() {
                    Some(known) => Ok(known.is_match(text)),
                    None => Ok(pattern.get(item)?.is_match(text)),
                }
            };
            argument(0).and_then(|target| matches(&target)).map(Value::Bool)
        }
        (Converter::ExtractPatterns, Made::Pattern(pattern)) => {
            let pattern = pattern.get(item)?;
            if pattern.capture_names().flatten().next().is_none() {
                return Err(Failure("the pattern has no named group"));
            }
            extract(&pattern, &text(&argument(0)?)?)
        }
        (Converter::ExtractGrokPatterns, Made::Grok(grok)) => grok.extract(&text(&argument(0)?)?),
        (Converter::ExtractGrokPatterns, Made::GrokOf(named_only, definitions)) => {
            let pattern = argument(1)?;
            let grok = Grok::compile(&text(&pattern)?, *named_only, definitions, true);
            grok.map_err(|_| Failure("the text is no pattern of grok"))?.extract(&text(&argument(0)?)?)
        }
        (Converter::Time, Made::Layout(layout, zone)) => {
            let told = argument(0)?;
            let told = text(&told)?;
            let now = moment_of(item);
            let found = if told.is_empty() { None } else { layout.read(&told, zone, &now) };
            found.map(Value::Time).ok_or(Failure("the text is no time of this format"))
        }
        (Converter::FormatTime, Made::Layout(layout, _)) => match argument(0)? {
            Value::Time(moment) => Ok(Value::Text(Cow::Owned(layout.format(&moment)))),
            _ => Err(Failure("expected a time")),
        },
        (Converter::ParseSeverity, Made::Severities(severities)) => severities.of(&argument(0)?),
        (Converter::Now, _) => Ok(Value::Time(moment_of(item))),
        (Converter::Uuid | Converter::UuidV7, _) => Ok(Value::Text(Cow::Owned(uuid(call, item)))),
        (Converter::Coalesce, _) => {
            let Some((_, Node::List(parts))) = call.arguments.first() else { return Ok(Value::Nil) };
            for part in parts {
                let found = value(part, item)?;
                if !found.is_nil() {
                    return Ok(found);
                }
            }
            Ok(Value::Nil)
        }
        _ => applied(call, item),
    }
}

/// The converter on its arguments, each of the kind it must be.
fn applied<'a>(call: &'a Call, item: &Item<'a>) -> Result<Value<'a>, Failure> {
    let mut arguments = Vec::with_capacity(call.arguments.len());
    for (want, node) in &call.arguments {
        // An optional argument that is not given.
        let made = if matches!(node, Node::Nil) { Value::Nil } else { want.take(value(node, item)?)? };
        if let (Node::List(_), Value::List(elements)) = (node, &made)
            && (*want == Want::List || matches!(call.converter, Converter::Sort | Converter::Index))
            && elements.iter().any(is_of_data)
        {
            return Err(Failure("a list that is written out cannot hold maps and lists of the data here"));
        }
        arguments.push(made);
    }
    call.converter.apply(arguments)
}

/// What upstream cannot make a list of that it takes apart.
fn is_of_data(value: &Value<'_>) -> bool {
    value.is_map() || matches!(value, Value::Array(_) | Value::Time(_) | Value::Duration(_) | Value::Id(_))
}

fn moment_of(item: &Item<'_>) -> Moment {
    let nanos = i128::from(item.world.now.0);
    Moment::new(Timestamp::from_nanosecond(nanos).unwrap_or_default(), TimeZone::UTC)
}

/// Version 4, of chance alone, or 7, of the time and chance (RFC 9562).
fn uuid(call: &Call, item: &Item<'_>) -> String {
    // Each call of a text draws numbers of its own.
    let mut random = fastrand::Rng::with_seed(item.world.seed ^ (call.at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut bits = random.u128(..);
    let version = if call.converter == Converter::Uuid {
        4
    } else {
        bits = bits >> 48 | u128::from(item.world.now.0 / 1_000_000) << 80;
        7
    };
    bits = bits & !(0xf << 76) & !(0x3 << 62) | version << 76 | 0x2 << 62;
    let digits = format!("{bits:032x}");
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

/// True when a point of the metric has an attribute of this name and, where one is given, of this text.
fn has_attribute(key: &Value<'_>, wanted: Option<&Value<'_>>, item: &Item<'_>) -> Result<bool, Failure> {
    let key = text(key)?;
    let Some((points, holder)) = points_of(item.item) else { return Ok(false) };
    let Some(Part::Attributes(number)) = PointPart::Attributes.within(points) else { return Ok(false) };
    let has = |point: &[u8]| {
        let mut entries = raw_entries(point, number).map(Entry::read).filter(|entry| *entry.key == *key.as_bytes());
        entries
            .next()
            .is_some_and(|found| wanted.is_none_or(|wanted| Value::of(found.any()).compare(Compare::Equal, wanted)))
    };
    Ok(points_in(&holder).any(has))
}

fn is_root(item: &Item<'_>) -> bool {
    let mut parents = Fields::new(item.item).map_while(Result::ok).filter(|field| field.number == 4);
    parents.all(|field| field.bytes().is_ok_and(|id| id.iter().all(|byte| *byte == 0)))
}

fn sum<'a>(how: Sum, left: &Value<'_>, right: &Value<'_>) -> Result<Value<'a>, Failure> {
    const NO_TIMES: Failure = Failure("times are added and subtracted only");
    match (left, right) {
        // Numbers that do not fit wrap, as Go's do.
        (Value::Int(a), Value::Int(b)) => Ok(Value::Int(match how {
            Sum::Add => a.wrapping_add(*b),
            Sum::Subtract => a.wrapping_sub(*b),
            Sum::Multiply => a.wrapping_mul(*b),
            Sum::Divide if *b == 0 => return Err(Failure("division by zero")),
            Sum::Divide => a.wrapping_div(*b),
        })),
        (Value::Int(_) | Value::Float(_), Value::Int(_) | Value::Float(_)) => {
            let number = |value: &Value<'_>| match value {
                Value::Int(number) => *number as f64,
                Value::Float(number) => *number,
                _ => f64::NAN,
            };
            let (a, b) = (number(left), number(right));
            Ok(Value::Float(match how {
                Sum::Add => a + b,
                Sum::Subtract => a - b,
                Sum::Multiply => a * b,
                Sum::Divide if b == 0.0 => return Err(Failure("division by zero")),
                Sum::Divide => a / b,
            }))
        }
        (Value::Time(a), Value::Time(b)) if how == Sum::Subtract => Ok(Value::Duration(a.since(b))),
        (Value::Time(a), Value::Duration(b)) if how == Sum::Add => a.plus(*b).map(Value::Time),
        (Value::Time(a), Value::Duration(b)) if how == Sum::Subtract => a.plus(b.wrapping_neg()).map(Value::Time),
        (Value::Duration(a), Value::Time(b)) if how == Sum::Add => b.plus(*a).map(Value::Time),
        (Value::Duration(a), Value::Duration(b)) if how == Sum::Add => Ok(Value::Duration(a.wrapping_add(*b))),
        (Value::Duration(a), Value::Duration(b)) if how == Sum::Subtract => Ok(Value::Duration(a.wrapping_sub(*b))),
        (Value::Time(_) | Value::Duration(_), _) => Err(NO_TIMES),
        _ => Err(Failure("sums need numbers")),
    }
}

//! Runs a checked condition or argument on one item. Allocates only where a converter makes a text.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use regex::Regex;

use crate::core::lock::Locked;
use crate::otlp::fields::trace::span;
use crate::otlp::walk::Fields;
use crate::ottl::checked::{CheckedCall, CheckedNode, KeyStep, Made, Path, Pattern, PatternSource};
use crate::ottl::convert::grok::Grok;
use crate::ottl::convert::{ARGUMENTS_MAX, ArgumentKind, Converter, extract, text};
use crate::ottl::edit::encode::{MapItem, raw_entries};
use crate::ottl::item::Item;
use crate::ottl::path::tables::{PathPart, PointPart};
use crate::ottl::path::{bytes, points_in, points_of, state};
use crate::ottl::syntax::literal::Literal;
use crate::ottl::syntax::parse::{Compare, Sum};
use crate::ottl::value::failure::EvalFailure;
use crate::ottl::value::{OttlValue, ValueStep, ZonedTime};

/// The truth of a condition; parts behind the one that decides are not evaluated.
pub fn truth(node: &CheckedNode, item: &Item<'_>) -> Result<bool, EvalFailure> {
    match node {
        CheckedNode::And(parts) => {
            for part in parts {
                if !truth(part, item)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        CheckedNode::Or(parts) => {
            for part in parts {
                if truth(part, item)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        CheckedNode::Not(part) => Ok(!truth(part, item)?),
        CheckedNode::Compare(how, left, right) => Ok(value(left, item)?.compare(*how, &value(right, item)?)),
        _ => match value(node, item)? {
            OttlValue::Bool(truth) => Ok(truth),
            _ => Err(EvalFailure("the converter gave no truth value")),
        },
    }
}

pub fn value<'a>(node: &'a CheckedNode, item: &Item<'a>) -> Result<OttlValue<'a>, EvalFailure> {
    match node {
        CheckedNode::Literal(literal) => Ok(literal.value()),
        CheckedNode::List(parts) => {
            let values: Result<Vec<OttlValue<'a>>, EvalFailure> = parts.iter().map(|part| value(part, item)).collect();
            values.map(OttlValue::List)
        }
        CheckedNode::Path(path) => path.read(item),
        CheckedNode::Map(pairs) => {
            // A list of the data fails there too: only maps of it can stand in one that is written out.
            let pair = |(key, part): &'a (String, CheckedNode)| match value(part, item)? {
                OttlValue::Array(_) | OttlValue::Time(_) | OttlValue::Duration(_) | OttlValue::Id(_) => {
                    Err(EvalFailure("a map that is written out cannot hold this"))
                }
                made => Ok((Cow::Borrowed(key.as_str()), made)),
            };
            let map: Result<Vec<_>, EvalFailure> = pairs.iter().map(pair).collect();
            map.map(OttlValue::Object)
        }
        CheckedNode::Call(call) => keyed(called(call, item)?, &call.keys, item),
        CheckedNode::Sum(how, left, right) => sum(*how, &value(left, item)?, &value(right, item)?),
        CheckedNode::Negated(part) => match value(part, item)? {
            OttlValue::Int(number) => Ok(OttlValue::Int(number.wrapping_neg())),
            OttlValue::Float(number) => Ok(OttlValue::Float(-number)),
            _ => Err(EvalFailure("a minus needs a number")),
        },
        CheckedNode::Compare(..) | CheckedNode::And(_) | CheckedNode::Or(_) | CheckedNode::Not(_) => {
            truth(node, item).map(OttlValue::Bool)
        }
    }
}

/// The keys behind a call: unlike those of a path, each must be there.
fn keyed<'a>(mut made: OttlValue<'a>, keys: &'a [KeyStep], item: &Item<'a>) -> Result<OttlValue<'a>, EvalFailure> {
    for key in keys {
        made = made.at(&key.step(item)?)?.ok_or(EvalFailure("the map has no such key"))?;
    }
    Ok(made)
}

fn called<'a>(call: &'a CheckedCall, item: &Item<'a>) -> Result<OttlValue<'a>, EvalFailure> {
    let argument = |at: usize| -> Result<OttlValue<'a>, EvalFailure> {
        let Some((want, node)) = call.arguments.get(at) else { return Ok(OttlValue::Nil) };
        let made = value(node, item)?;
        want.take(made)
    };
    match (call.converter, &call.made) {
        (Converter::IsRootSpan, _) => Ok(OttlValue::Bool(is_root(item))),
        (Converter::HasAttrKeyOnDatapoint, _) => has_attribute(&argument(0)?, None, item).map(OttlValue::Bool),
        (Converter::HasAttrOnDatapoint, _) => {
            has_attribute(&argument(0)?, Some(&argument(1)?), item).map(OttlValue::Bool)
        }
        (Converter::IsMatch, Made::Pattern(pattern)) => {
            // Without a copy where the pattern is known and the value is a text.
            let matches = |target: &OttlValue<'_>| -> Result<bool, EvalFailure> {
                let OttlValue::Text(text) = target else { return Ok(false) };
                match pattern.known() {
                    Some(known) => Ok(known.is_match(text)),
                    None => Ok(pattern.get(item)?.is_match(text)),
                }
            };
            argument(0).and_then(|target| matches(&target)).map(OttlValue::Bool)
        }
        (Converter::ExtractPatterns, Made::Pattern(pattern)) => {
            let pattern = pattern.get(item)?;
            if pattern.capture_names().flatten().next().is_none() {
                return Err(EvalFailure("the pattern has no named group"));
            }
            extract(&pattern, &text(&argument(0)?)?)
        }
        (Converter::ExtractGrokPatterns, Made::Grok(grok)) => grok.extract(&text(&argument(0)?)?),
        (Converter::ExtractGrokPatterns, Made::GrokOf(named_only, definitions)) => {
            let pattern = argument(1)?;
            let grok = Grok::compile(&text(&pattern)?, *named_only, definitions, true);
            grok.map_err(|_| EvalFailure("the text is not a grok pattern"))?.extract(&text(&argument(0)?)?)
        }
        (Converter::Time, Made::Layout(layout, zone)) => {
            let told = argument(0)?;
            let told = text(&told)?;
            let now = moment_of(item);
            let found = if told.is_empty() { None } else { layout.read(&told, zone, &now) };
            found.map(OttlValue::Time).ok_or(EvalFailure("the text is not a time of this format"))
        }
        (Converter::FormatTime, Made::Layout(layout, _)) => match argument(0)? {
            OttlValue::Time(moment) => Ok(OttlValue::Text(Cow::Owned(layout.format(&moment)))),
            _ => Err(EvalFailure("expected a time")),
        },
        (Converter::ParseSeverity, Made::Severities(severities)) => severities.of(&argument(0)?),
        (Converter::Now, _) => Ok(OttlValue::Time(moment_of(item))),
        (Converter::Uuid | Converter::UuidV7, _) => Ok(OttlValue::Text(Cow::Owned(uuid(call, item)))),
        (Converter::Coalesce, _) => {
            let Some((_, CheckedNode::List(parts))) = call.arguments.first() else { return Ok(OttlValue::Nil) };
            for part in parts {
                let found = value(part, item)?;
                if !found.is_nil() {
                    return Ok(found);
                }
            }
            Ok(OttlValue::Nil)
        }
        _ => applied(call, item),
    }
}

/// The converter on its arguments, each of the kind it must be.
fn applied<'a>(call: &'a CheckedCall, item: &Item<'a>) -> Result<OttlValue<'a>, EvalFailure> {
    let mut arguments = [const { OttlValue::Nil }; ARGUMENTS_MAX];
    for (argument, (want, node)) in arguments.iter_mut().zip(&call.arguments) {
        // An optional argument that is not given.
        let made = if matches!(node, CheckedNode::Literal(Literal::Nil)) {
            OttlValue::Nil
        } else {
            want.take(value(node, item)?)?
        };
        if let (CheckedNode::List(_), OttlValue::List(elements)) = (node, &made)
            && (*want == ArgumentKind::List || matches!(call.converter, Converter::Sort | Converter::Index))
            && elements.iter().any(is_of_data)
        {
            return Err(EvalFailure("a list that is written out cannot hold maps and lists of the data here"));
        }
        *argument = made;
    }
    call.converter.apply(arguments)
}

/// What upstream cannot make a list of that it takes apart.
fn is_of_data(value: &OttlValue<'_>) -> bool {
    value.is_map()
        || matches!(value, OttlValue::Array(_) | OttlValue::Time(_) | OttlValue::Duration(_) | OttlValue::Id(_))
}

fn moment_of(item: &Item<'_>) -> ZonedTime {
    let nanos = i128::from(item.world.now.0);
    ZonedTime::new(Timestamp::from_nanosecond(nanos).unwrap_or_default(), TimeZone::UTC)
}

/// Version 4, of chance alone, or 7, of the time and chance (RFC 9562).
fn uuid(call: &CheckedCall, item: &Item<'_>) -> String {
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
fn has_attribute(key: &OttlValue<'_>, wanted: Option<&OttlValue<'_>>, item: &Item<'_>) -> Result<bool, EvalFailure> {
    let key = text(key)?;
    let Some((points, holder)) = points_of(item.item) else { return Ok(false) };
    let Some(PathPart::Attributes(number)) = PointPart::Attributes.within(points) else { return Ok(false) };
    let has = |point: &[u8]| {
        let mut entries = raw_entries(point, number).map(MapItem::read).filter(|entry| *entry.key == *key.as_bytes());
        entries
            .next()
            .is_some_and(|found| wanted.is_none_or(|wanted| OttlValue::of(found.any()).compare(Compare::Equal, wanted)))
    };
    Ok(points_in(&holder).any(has))
}

fn is_root(item: &Item<'_>) -> bool {
    let mut parents = Fields::new(item.item).map_while(Result::ok).filter(|field| field.number == span::PARENT_SPAN_ID);
    parents.all(|field| field.bytes().is_ok_and(|id| id.iter().all(|byte| *byte == 0)))
}

fn sum<'a>(how: Sum, left: &OttlValue<'_>, right: &OttlValue<'_>) -> Result<OttlValue<'a>, EvalFailure> {
    const NO_TIMES: EvalFailure = EvalFailure("times are added and subtracted only");
    match (left, right) {
        // Numbers that do not fit wrap, as Go's do.
        (OttlValue::Int(a), OttlValue::Int(b)) => Ok(OttlValue::Int(match how {
            Sum::Add => a.wrapping_add(*b),
            Sum::Subtract => a.wrapping_sub(*b),
            Sum::Multiply => a.wrapping_mul(*b),
            Sum::Divide if *b == 0 => return Err(EvalFailure("division by zero")),
            Sum::Divide => a.wrapping_div(*b),
        })),
        (OttlValue::Int(_) | OttlValue::Float(_), OttlValue::Int(_) | OttlValue::Float(_)) => {
            let number = |value: &OttlValue<'_>| match value {
                OttlValue::Int(number) => *number as f64,
                OttlValue::Float(number) => *number,
                _ => f64::NAN,
            };
            let (a, b) = (number(left), number(right));
            Ok(OttlValue::Float(match how {
                Sum::Add => a + b,
                Sum::Subtract => a - b,
                Sum::Multiply => a * b,
                Sum::Divide if b == 0.0 => return Err(EvalFailure("division by zero")),
                Sum::Divide => a / b,
            }))
        }
        (OttlValue::Time(a), OttlValue::Time(b)) if how == Sum::Subtract => Ok(OttlValue::Duration(a.since(b))),
        (OttlValue::Time(a), OttlValue::Duration(b)) if how == Sum::Add => a.plus(*b).map(OttlValue::Time),
        (OttlValue::Time(a), OttlValue::Duration(b)) if how == Sum::Subtract => {
            a.plus(b.wrapping_neg()).map(OttlValue::Time)
        }
        (OttlValue::Duration(a), OttlValue::Time(b)) if how == Sum::Add => b.plus(*a).map(OttlValue::Time),
        (OttlValue::Duration(a), OttlValue::Duration(b)) if how == Sum::Add => {
            Ok(OttlValue::Duration(a.wrapping_add(*b)))
        }
        (OttlValue::Duration(a), OttlValue::Duration(b)) if how == Sum::Subtract => {
            Ok(OttlValue::Duration(a.wrapping_sub(*b)))
        }
        (OttlValue::Time(_) | OttlValue::Duration(_), _) => Err(NO_TIMES),
        _ => Err(EvalFailure("sums need numbers")),
    }
}

impl KeyStep {
    pub fn step<'a>(&'a self, item: &Item<'a>) -> Result<ValueStep<'a>, EvalFailure> {
        match self {
            KeyStep::Known(ValueStep::Name(name)) => Ok(ValueStep::Name(Cow::Borrowed(name))),
            KeyStep::Known(ValueStep::Index(index)) => Ok(ValueStep::Index(*index)),
            KeyStep::Made(node) => match value(node, item)? {
                OttlValue::Text(name) => Ok(ValueStep::Name(name)),
                OttlValue::Int(index) => Ok(ValueStep::Index(index)),
                _ => Err(EvalFailure("a key is a string or a whole number")),
            },
        }
    }
}

impl Path {
    /// What the path names; nil where a map on the way has no such key.
    pub fn read<'a>(&'a self, item: &Item<'a>) -> Result<OttlValue<'a>, EvalFailure> {
        let message = item.message(self.owner);
        if self.part == PathPart::TraceState && !self.keys.is_empty() {
            return state::member(bytes(message, span::TRACE_STATE), &self.keys);
        }
        let mut value = match self.part {
            PathPart::Place => OttlValue::Int(i64::try_from(item.at).unwrap_or(i64::MAX)),
            part => part.read(message, item.points),
        };
        for key in &self.keys {
            match value.at(&key.step(item)?)? {
                Some(found) => value = found,
                None => return Ok(OttlValue::Nil),
            }
        }
        Ok(value)
    }
}

/// Longer patterns of the data are refused: each is compiled for its item.
const MADE_MAX: usize = 1 << 10;

impl Pattern {
    /// The pattern for this item: compiled beforehand where it stands in the text, else for each text that comes, the last
    /// of which is kept.
    pub fn get(&self, item: &Item<'_>) -> Result<Arc<Regex>, EvalFailure> {
        let (node, last) = match &self.kind {
            PatternSource::Known(regex) => return Ok(regex.clone()),
            PatternSource::Made(node, last) => (node, last),
        };
        let OttlValue::Text(text) = value(node, item)? else { return Err(EvalFailure("expected a pattern")) };
        let mut last = last.locked();
        if let Some((known, regex)) = &*last
            && *known == text
        {
            return Ok(regex.clone());
        }
        if text.len() > MADE_MAX {
            return Err(EvalFailure("the pattern is too long"));
        }
        let regex = self.dialect.compile(&text, false).map_err(|_| EvalFailure("the text is no pattern"))?;
        let regex = Arc::new(regex);
        *last = Some((text.into_owned(), regex.clone()));
        Ok(regex)
    }
}

//! Calls of converters: arguments put in their places, looked at as far as they stand in the text, and made into what
//! is needed at run time.

use jiff::tz::TimeZone;

use crate::ottl::check::paths::checked_keys;
use crate::ottl::check::{Wanted, fault, node, not_built};
use crate::ottl::checked::{CheckedCall, CheckedNode, Dialect, Made, Pattern};
use crate::ottl::context::{Syntax, only_in};
use crate::ottl::convert::grok::Grok;
use crate::ottl::convert::time::layout::{Layout, location};
use crate::ottl::convert::{
    ArgumentKind, CASES, CONVERTERS, Converter, IpNetwork, KnownConverter, NOT_BUILT, Parameter, Quotes, Severities,
    knows_encoding,
};
use crate::ottl::syntax::fault::TextFault;
use crate::ottl::syntax::literal::Literal;
use crate::ottl::syntax::parse::{LocatedTree, PathKey, SyntaxTree};
use crate::ottl::value::OttlValue;

/// A name as arguments have it, so that `pairDelimiter` and `pair_delimiter` are one.
fn bare(name: &str) -> String {
    name.chars().filter(|c| *c != '_').map(|c| c.to_ascii_lowercase()).collect()
}

/// `name`, ordered as the function wants it: what stands at its place and what is called by its name.
pub fn arrange<'s>(
    at: usize,
    name: &str,
    arguments: &'s [LocatedTree],
    parameters: &[&str],
) -> Result<Vec<Option<&'s LocatedTree>>, TextFault> {
    let mut ordered: Vec<Option<&LocatedTree>> = vec![None; parameters.len()];
    let mut named = false;
    for (place, argument) in arguments.iter().enumerate() {
        let (slot, spot) = match &argument.tree {
            SyntaxTree::Named(called, spot) => {
                named = true;
                match parameters.iter().position(|parameter| bare(parameter) == bare(called)) {
                    Some(slot) => (slot, &**spot),
                    None => return fault(argument.at, format!("`{name}` has no argument `{called}`")),
                }
            }
            _ if named => return fault(argument.at, "an argument without a name stands behind one with a name"),
            _ => (place, argument),
        };
        match ordered.get_mut(slot) {
            Some(free @ None) => *free = Some(spot),
            Some(_) => return fault(argument.at, format!("`{}` is given twice", parameters[slot])),
            None => {
                return fault(at, format!("`{name}` takes {} arguments, not {}", parameters.len(), arguments.len()));
            }
        }
    }
    Ok(ordered)
}

pub fn call(
    at: usize,
    name: &str,
    arguments: &[LocatedTree],
    keys: &[PathKey],
    syntax: Syntax,
) -> Result<CheckedNode, TextFault> {
    let Some(known) = CONVERTERS.iter().find(|known| known.name == name) else {
        if NOT_BUILT.contains(&name) {
            return not_built(at, format!("podgate has no function `{name}`"));
        }
        let known = CONVERTERS.iter().map(|known| known.name).collect::<Vec<_>>().join(", ");
        return fault(at, format!("there is no converter `{name}`; known are {known}"));
    };
    let parameters: Vec<&str> = known.parameters.iter().map(|parameter| parameter.name).collect();
    let ordered = arrange(at, name, arguments, &parameters)?;
    let fewest = known.parameters.iter().filter(|parameter| !parameter.optional).count();
    let missing =
        known.parameters.iter().zip(&ordered).any(|(parameter, given)| given.is_none() && !parameter.optional);
    if missing {
        let most = if parameters.len() > fewest { format!(" to {}", parameters.len()) } else { String::new() };
        return fault(at, format!("`{name}` takes {fewest}{most} arguments, not {}", arguments.len()));
    }
    asked_of(at, known, syntax)?;
    let mut checked = Vec::with_capacity(parameters.len());
    for (parameter, given) in known.parameters.iter().zip(&ordered) {
        checked.push(match given {
            Some(spot) => argument(parameter, spot, syntax)?,
            None => CheckedNode::NIL,
        });
    }
    validate(known.converter, &checked, &ordered)?;
    let made = make(known.converter, &mut checked, &ordered)?;
    let keys = checked_keys(keys, syntax)?;
    let arguments = known.parameters.iter().map(|parameter| parameter.want).zip(checked).collect();
    Ok(CheckedNode::Call(Box::new(CheckedCall { converter: known.converter, arguments, keys, made, at })))
}

/// Some functions are asked of one kind of item.
fn asked_of(at: usize, known: &KnownConverter, syntax: Syntax) -> Result<(), TextFault> {
    let Some(contexts) = only_in(known.name).filter(|contexts| !contexts.contains(&syntax.context)) else {
        return Ok(());
    };
    let items: Vec<&str> = contexts.iter().map(|context| context.name()).collect();
    fault(at, format!("`{}` is asked of a {}", known.name, items.join(" or ")))
}

fn argument(parameter: &Parameter, spot: &LocatedTree, syntax: Syntax) -> Result<CheckedNode, TextFault> {
    let (name, want) = (parameter.name, parameter.want);
    if want.is_written_list() && !matches!(spot.tree, SyntaxTree::List(_)) {
        return fault(spot.at, format!("`{name}` must be a list such as [\"a\", \"b\"]"));
    }
    let node = node(spot, syntax, Wanted::Value)?;
    match node.literal() {
        Some(literal) => match want.take(literal) {
            Ok(_) => Ok(node),
            Err(failure) => fault(spot.at, format!("`{name}`: {failure}")),
        },
        None if want.is_fixed() => fault(spot.at, format!("`{name}` must be written out")),
        None => Ok(node),
    }
}

fn text(node: Option<&CheckedNode>) -> Option<&str> {
    if let Some(CheckedNode::Literal(Literal::Text(text))) = node { Some(text) } else { None }
}

/// What arguments that are written out must be.
fn validate(converter: Converter, arguments: &[CheckedNode], spots: &[Option<&LocatedTree>]) -> Result<(), TextFault> {
    let place = |at: usize| spots.get(at).copied().flatten().map_or(0, |spot| spot.at);
    let part = |at: usize| text(arguments.get(at));
    let one_letter = |at: usize| match part(at) {
        Some(letter) if letter.chars().count() != 1 => fault(place(at), "a delimiter of fields is one character"),
        _ => Ok(()),
    };
    let literal = arguments.first().and_then(CheckedNode::literal);
    match (converter, &literal) {
        // Of what stands in the text this is known: it is a slip.
        (
            Converter::IsString | Converter::IsInt | Converter::IsDouble | Converter::IsBool | Converter::IsMap,
            Some(value),
        ) if !is_of(converter, value) => {
            return fault(place(0), "this is never of that kind");
        }
        (Converter::TraceId | Converter::SpanId | Converter::ProfileId, Some(value)) => {
            let made = ArgumentKind::BytesLike.take(value.clone()).and_then(|bytes| converter.of(bytes));
            made.map(drop).or_else(|failure| fault(place(0), failure.to_string()))?;
        }
        _ => {}
    }
    match converter {
        Converter::ConvertCase if part(1).is_some_and(|case| !CASES.contains(&case)) => {
            fault(place(1), format!("ConvertCase knows {}", CASES.join(", ")))
        }
        Converter::Sort if part(1).is_some_and(|order| order != "asc" && order != "desc") => {
            fault(place(1), "the order is \"asc\" or \"desc\"")
        }
        Converter::ParseKeyValue | Converter::ToKeyValueString => {
            if part(1) == Some("") || part(2) == Some("") {
                return fault(place(1), "a delimiter is a text that is not empty");
            }
            if part(1).unwrap_or("=") == part(2).unwrap_or(" ") {
                return fault(place(1), "the delimiters are the same");
            }
            Ok(())
        }
        Converter::ParseCsv => {
            one_letter(2)?;
            one_letter(3)?;
            match part(4) {
                Some(mode) if Quotes::named(mode).is_none() => {
                    fault(place(4), "the mode is \"strict\", \"lazyQuotes\" or \"ignoreQuotes\"")
                }
                _ => Ok(()),
            }
        }
        Converter::ParseClf if part(1).is_some_and(|format| format != "clf" && format != "combined") => {
            fault(place(1), "the format is \"clf\" or \"combined\"")
        }
        Converter::Decode if part(1).is_some_and(|encoding| !knows_encoding(encoding)) => {
            not_built(place(1), format!("podgate does not have the encoding {:?}", part(1).unwrap_or_default()))
        }
        Converter::Coalesce => match arguments.first() {
            Some(CheckedNode::List(values)) if values.is_empty() => {
                fault(place(0), "Coalesce wants at least one value")
            }
            _ => Ok(()),
        },
        Converter::IsInCidr => {
            let Some(CheckedNode::List(networks)) = arguments.get(1) else { return Ok(()) };
            let wrong =
                networks.iter().filter_map(|network| text(Some(network))).find(|text| IpNetwork::parse(text).is_none());
            match wrong {
                Some(text) => fault(place(1), format!("{text:?} is no network such as 10.0.0.0/8")),
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

fn is_of(converter: Converter, value: &OttlValue<'_>) -> bool {
    match converter {
        Converter::IsString => matches!(value, OttlValue::Text(_)),
        Converter::IsInt => matches!(value, OttlValue::Int(_)),
        Converter::IsDouble => matches!(value, OttlValue::Float(_)),
        Converter::IsBool => matches!(value, OttlValue::Bool(_)),
        _ => value.is_map(),
    }
}

/// What is made of arguments beforehand; a pattern leaves its place.
fn make(
    converter: Converter,
    arguments: &mut [CheckedNode],
    spots: &[Option<&LocatedTree>],
) -> Result<Made, TextFault> {
    let place = |at: usize| spots.get(at).copied().flatten().map_or(0, |spot| spot.at);
    match converter {
        Converter::IsMatch | Converter::ExtractPatterns => {
            let written =
                arguments.get_mut(1).map_or(CheckedNode::NIL, |node| std::mem::replace(node, CheckedNode::NIL));
            let pattern = Pattern::of(written, Dialect::Regex).or_else(|why| fault(place(1), why))?;
            let nameless = pattern.known().is_some_and(|known| known.capture_names().flatten().next().is_none());
            if converter == Converter::ExtractPatterns && nameless {
                return fault(place(1), "the pattern has no named group such as (?P<name>...)");
            }
            Ok(Made::Pattern(pattern))
        }
        Converter::ExtractGrokPatterns => {
            let named_only = matches!(arguments.get(2), Some(CheckedNode::Literal(Literal::Bool(true))));
            let definitions = match arguments.get(3) {
                Some(CheckedNode::List(texts)) => {
                    texts.iter().filter_map(|node| text(Some(node))).map(str::to_owned).collect()
                }
                _ => Vec::new(),
            };
            match text(arguments.get(1)) {
                Some(pattern) => {
                    let grok = Grok::compile(pattern, named_only, &definitions, false);
                    grok.map(|grok| Made::Grok(Box::new(grok))).or_else(|why| fault(place(1), why))
                }
                None => Ok(Made::GrokOf(named_only, definitions)),
            }
        }
        Converter::Time | Converter::FormatTime => {
            let format = text(arguments.get(1)).unwrap_or_default();
            let layout = Layout::parse(format).or_else(|why| fault(place(1), why))?;
            if let Some(locale) = text(arguments.get(3))
                && !locale.is_empty()
                && !locale.starts_with("en")
            {
                return not_built(place(3), format!("podgate does not read times in the language {locale:?}"));
            }
            let zone = match text(arguments.get(2)) {
                Some(name) => match location(name) {
                    Some(zone) => zone,
                    None => return fault(place(2), format!("there is no location {name:?} in the time zone database")),
                },
                None => TimeZone::UTC,
            };
            Ok(Made::Layout(Box::new(layout), zone))
        }
        Converter::ParseSeverity => {
            let mapping = arguments.get(1).and_then(CheckedNode::literal).unwrap_or(OttlValue::Nil);
            Severities::read(&mapping).map(Made::Severities).or_else(|why| fault(place(1), why))
        }
        _ => Ok(Made::Nothing),
    }
}

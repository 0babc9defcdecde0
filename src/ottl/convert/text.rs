//! Converters from text to text.

use std::borrow::Cow;

use crate::otlp::json::base64;
use crate::ottl::Failure;
use crate::ottl::convert::{Converter, TEXT_MAX, made, text};
use crate::ottl::value::Value;

/// The cases `ConvertCase` knows.
pub const CASES: &[&str] = &["lower", "upper", "snake", "camel"];

/// `None` when the converter is none of these.
pub fn apply<'a>(converter: Converter, first: &Value<'_>, second: &Value<'_>) -> Option<Result<Value<'a>, Failure>> {
    let made = match converter {
        Converter::Concat => concat(first, second),
        Converter::ConvertCase => text(second).and_then(|case| convert_case(first, &case)),
        Converter::ToLowerCase => text(first).map(|text| made(text.to_lowercase())),
        Converter::ToUpperCase => text(first).map(|text| made(text.to_uppercase())),
        Converter::Trim => trim(first, second),
        Converter::TrimPrefix => both(first, second, |text, end| made(text.strip_prefix(end).unwrap_or(text).into())),
        Converter::TrimSuffix => both(first, second, |text, end| made(text.strip_suffix(end).unwrap_or(text).into())),
        Converter::HasPrefix => both(first, second, |text, end| Value::Bool(text.starts_with(end))),
        Converter::HasSuffix => both(first, second, |text, end| Value::Bool(text.ends_with(end))),
        Converter::Split => both(first, second, split),
        Converter::Base64Decode => base64_decode(first),
        _ => return None,
    };
    Some(made)
}

fn both<'a>(
    first: &Value<'_>,
    second: &Value<'_>,
    make: impl FnOnce(&str, &str) -> Value<'a>,
) -> Result<Value<'a>, Failure> {
    Ok(make(&text(first)?, &text(second)?))
}

fn concat<'a>(values: &Value<'_>, between: &Value<'_>) -> Result<Value<'a>, Failure> {
    let values = match values {
        Value::List(values) => Cow::Borrowed(values),
        other => Cow::Owned(other.elements().ok_or(Failure("Concat wants a list of values"))?),
    };
    let parts: Vec<Cow<'_, str>> = values.iter().map(|value| value.to_text().unwrap_or("<nil>".into())).collect();
    let between = text(between)?;
    let length = parts.iter().map(|part| part.len() + between.len()).fold(0usize, usize::saturating_add);
    if length > TEXT_MAX + between.len() {
        return Err(Failure("the text is too long"));
    }
    Ok(made(parts.join(&*between)))
}

fn convert_case<'a>(value: &Value<'_>, case: &str) -> Result<Value<'a>, Failure> {
    let text = text(value)?;
    let converted = match case {
        "lower" => text.to_lowercase(),
        "upper" => text.to_uppercase(),
        "snake" => words(&text).join("_"),
        "camel" => words(&text).iter().map(|word| capital(word)).collect(),
        _ => return Err(Failure("ConvertCase knows lower, upper, snake and camel")),
    };
    Ok(made(converted))
}

/// The words of a text in lower case: they end at signs and before capitals.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = vec![String::new()];
    let mut before = ' ';
    for c in text.chars() {
        let boundary = !c.is_alphanumeric() || (c.is_uppercase() && !before.is_uppercase());
        if boundary && words.last().is_some_and(|word| !word.is_empty()) {
            words.push(String::new());
        }
        if c.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(c.to_lowercase());
        }
        before = c;
    }
    words.retain(|word| !word.is_empty());
    words
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|first| first.to_uppercase().collect::<String>()).unwrap_or_default();
    first + letters.as_str()
}

fn trim<'a>(value: &Value<'_>, of: &Value<'_>) -> Result<Value<'a>, Failure> {
    let text = text(value)?;
    let of = match of {
        Value::Nil => Cow::Borrowed(" "),
        of => self::text(of)?,
    };
    Ok(made(text.trim_matches(|c| of.contains(c)).to_owned()))
}

fn split<'a>(text: &str, by: &str) -> Value<'a> {
    if by.is_empty() {
        return Value::List(text.chars().map(|c| made(c.to_string())).collect());
    }
    Value::List(text.split(by).map(|part| made(part.to_owned())).collect())
}

/// Start and length count bytes, as upstream's do.
pub fn substring<'a>(value: &Value<'_>, start: &Value<'_>, length: &Value<'_>) -> Result<Value<'a>, Failure> {
    let (Value::Int(start), Value::Int(length)) = (start, length) else {
        return Err(Failure("Substring wants a start and a length"));
    };
    let text = text(value)?;
    let range = usize::try_from(*start).ok().zip(usize::try_from(*length).ok());
    let range = range.and_then(|(start, length)| Some(start..start.checked_add(length)?));
    let cut = range.and_then(|range| text.get(range));
    cut.map(|cut| made(cut.to_owned())).ok_or(Failure("the range does not lie in the text"))
}

fn base64_decode<'a>(value: &Value<'_>) -> Result<Value<'a>, Failure> {
    let mut bytes = Vec::new();
    base64::decode(&mut bytes, text(value)?.as_bytes()).ok_or(Failure("the text is not base64"))?;
    String::from_utf8(bytes).map(made).map_err(|_| Failure("the decoded bytes are no text"))
}

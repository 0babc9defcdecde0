//! Converters between kinds of values: numbers, ids, lists, maps and what was parsed of a text.

use std::borrow::Cow;

use serde_json::{Map, Number, Value as Json};

use crate::ottl::Failure;
use crate::ottl::convert::text;
use crate::ottl::parse::Compare;
use crate::ottl::value::Value;

pub fn integer<'a>(value: &Value<'_>) -> Value<'a> {
    match value {
        Value::Int(number) => Value::Int(*number),
        Value::Float(number) => Value::Int(*number as i64),
        Value::Bool(truth) => Value::Int(i64::from(*truth)),
        Value::Text(text) => text.parse().map_or(Value::Nil, Value::Int),
        _ => Value::Nil,
    }
}

pub fn double<'a>(value: &Value<'_>) -> Value<'a> {
    match value {
        Value::Int(number) => Value::Float(*number as f64),
        Value::Float(number) => Value::Float(*number),
        Value::Bool(truth) => Value::Float(f64::from(u8::from(*truth))),
        Value::Text(text) => text.parse().map_or(Value::Nil, Value::Float),
        _ => Value::Nil,
    }
}

pub fn boolean<'a>(value: &Value<'_>) -> Result<Value<'a>, Failure> {
    match value {
        Value::Bool(truth) => Ok(Value::Bool(*truth)),
        Value::Int(number) => Ok(Value::Bool(*number != 0)),
        Value::Float(number) => Ok(Value::Bool(*number != 0.0)),
        Value::Text(text) => match &**text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
            _ => Err(Failure("the text is no boolean")),
        },
        Value::Nil => Ok(Value::Nil),
        _ => Err(Failure("the value is no boolean")),
    }
}

pub fn parse_json<'a>(text: &str) -> Result<Value<'a>, Failure> {
    let mut json: Json = serde_json::from_str(text).map_err(|_| Failure("the text is not JSON"))?;
    if !json.is_object() && !json.is_array() {
        return Err(Failure("the JSON is no object or array"));
    }
    doubles(&mut json);
    Ok(Value::Json(json))
}

/// As upstream's decoder has it: every number of a document is a double. The parser bounds the depth.
fn doubles(json: &mut Json) {
    match json {
        Json::Number(number) => {
            if let Some(double) = number.as_f64().and_then(Number::from_f64) {
                *number = double;
            }
        }
        Json::Array(values) => values.iter_mut().for_each(doubles),
        Json::Object(map) => map.values_mut().for_each(doubles),
        _ => {}
    }
}

/// `k1=v1 k2="v 2"`: pairs in quotes keep their delimiters.
pub fn parse_key_value<'a>(text: &str, delimiter: &Value<'_>, between: &Value<'_>) -> Result<Value<'a>, Failure> {
    let of = |value: &Value<'_>, default: &str| match value {
        Value::Nil => Ok(default.to_owned()),
        Value::Text(text) if !text.is_empty() => Ok(text.clone().into_owned()),
        _ => Err(Failure("a delimiter is a text that is not empty")),
    };
    let (delimiter, between) = (of(delimiter, "=")?, of(between, " ")?);
    if delimiter == between {
        return Err(Failure("the delimiters are the same"));
    }
    if text.is_empty() {
        return Err(Failure("the text is empty"));
    }
    let mut map = Map::new();
    for pair in quoted_split(text, &between) {
        let pair = pair.trim_matches(char::is_whitespace);
        if pair.is_empty() {
            continue;
        }
        let (key, value) = pair.split_once(&delimiter).ok_or(Failure("a pair has no delimiter"))?;
        let bare = |text: &str| {
            let text = text.trim();
            let inside = ['"', '\''].into_iter().find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote));
            inside.unwrap_or(text).to_owned()
        };
        map.insert(bare(key), Json::String(bare(value)));
    }
    Ok(Value::Json(Json::Object(map)))
}

/// Parts between delimiters that stand outside of quotes.
fn quoted_split<'t>(text: &'t str, between: &str) -> Vec<&'t str> {
    let (mut parts, mut from, mut quote) = (Vec::new(), 0, None);
    let mut skip = 0;
    for (at, c) in text.char_indices() {
        if at < skip {
            continue;
        }
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            None if text[at..].starts_with(between) => {
                parts.push(&text[from..at]);
                from = at + between.len();
                skip = from;
            }
            None => {}
        }
    }
    parts.push(&text[from..]);
    parts
}

pub fn parse_int<'a>(text: &str, base: &Value<'_>) -> Result<Value<'a>, Failure> {
    let base =
        if let Value::Int(base @ 2..=36) = base { *base as u32 } else { return Err(Failure("the base is 2 to 36")) };
    i64::from_str_radix(text, base).map(Value::Int).map_err(|_| Failure("the text is no number of this base"))
}

pub fn contains<'a>(list: &Value<'_>, wanted: &Value<'_>) -> Result<Value<'a>, Failure> {
    let elements = list.elements().filter(|_| list.is_list()).ok_or(Failure("expected a list"))?;
    Ok(Value::Bool(elements.iter().any(|element| element.compare(Compare::Equal, wanted))))
}

/// The place of a part in a text or of an element in a list; -1 when it is not there.
pub fn index<'a>(whole: &Value<'_>, wanted: &Value<'_>) -> Result<Value<'a>, Failure> {
    let found = match whole {
        Value::Text(whole) => whole.find(&*text(wanted)?),
        list => {
            let elements = list.elements().filter(|_| list.is_list()).ok_or(Failure("expected a text or a list"))?;
            elements.iter().position(|element| element.compare(Compare::Equal, wanted))
        }
    };
    Ok(Value::Int(found.map_or(-1, |at| at as i64)))
}

pub fn logarithm<'a>(value: &Value<'_>) -> Result<Value<'a>, Failure> {
    match double(value) {
        Value::Float(number) if number > 0.0 => Ok(Value::Float(number.ln())),
        _ => Err(Failure("a logarithm needs a number above zero")),
    }
}

pub fn id(value: Value<'_>, length: usize) -> Result<Value<'_>, Failure> {
    match value {
        Value::Bytes(bytes) if bytes.len() == length => Ok(Value::Bytes(bytes)),
        Value::Text(digits) if digits.len() == 2 * length && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) => {
            let pairs = (0..length).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16));
            let bytes: Result<Vec<u8>, _> = pairs.collect();
            bytes
                .map(|bytes| Value::Bytes(Cow::Owned(bytes)))
                .map_err(|_| Failure("the id has other characters than digits"))
        }
        _ => Err(Failure("the id has another length")),
    }
}

/// Named groups of the first match (contrib func_extract_patterns.go); an empty map when nothing matches.
pub fn extract<'a>(pattern: &regex::Regex, text: &str) -> Value<'a> {
    let mut map = Map::new();
    if let Some(found) = pattern.captures(text) {
        for name in pattern.capture_names().flatten() {
            let group = found.name(name).map_or("", |group| group.as_str());
            map.insert(name.to_owned(), Json::String(group.to_owned()));
        }
    }
    Value::Json(Json::Object(map))
}

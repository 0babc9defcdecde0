//! Converters: functions that make a value of values. Names and meanings are the Collector's (contrib pkg/ottl/ottlfuncs).

use std::borrow::Cow;

use serde_json::Value as Json;

use crate::ottl::Failure;
use crate::ottl::value::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Converter {
    IsString,
    IsInt,
    IsDouble,
    IsBool,
    IsMap,
    IsList,
    Int,
    Double,
    String,
    Bool,
    Concat,
    ConvertCase,
    ToLowerCase,
    ToUpperCase,
    Trim,
    Len,
    HasPrefix,
    HasSuffix,
    Substring,
    Split,
    ParseJson,
    Hex,
    IsRootSpan,
    TraceId,
    SpanId,
}

/// Name, converter, fewest and most arguments.
pub const CONVERTERS: &[(&str, Converter, usize, usize)] = &[
    ("IsString", Converter::IsString, 1, 1),
    ("IsInt", Converter::IsInt, 1, 1),
    ("IsDouble", Converter::IsDouble, 1, 1),
    ("IsBool", Converter::IsBool, 1, 1),
    ("IsMap", Converter::IsMap, 1, 1),
    ("IsList", Converter::IsList, 1, 1),
    ("Int", Converter::Int, 1, 1),
    ("Double", Converter::Double, 1, 1),
    ("String", Converter::String, 1, 1),
    ("Bool", Converter::Bool, 1, 1),
    ("Concat", Converter::Concat, 2, 2),
    ("ConvertCase", Converter::ConvertCase, 2, 2),
    ("ToLowerCase", Converter::ToLowerCase, 1, 1),
    ("ToUpperCase", Converter::ToUpperCase, 1, 1),
    ("Trim", Converter::Trim, 1, 1),
    ("Len", Converter::Len, 1, 1),
    ("HasPrefix", Converter::HasPrefix, 2, 2),
    ("HasSuffix", Converter::HasSuffix, 2, 2),
    ("Substring", Converter::Substring, 3, 3),
    ("Split", Converter::Split, 2, 2),
    ("ParseJSON", Converter::ParseJson, 1, 1),
    ("Hex", Converter::Hex, 1, 1),
    ("IsRootSpan", Converter::IsRootSpan, 0, 0),
    ("TraceID", Converter::TraceId, 1, 1),
    ("SpanID", Converter::SpanId, 1, 1),
];

/// The cases `ConvertCase` knows.
pub const CASES: &[&str] = &["lower", "upper", "snake", "camel"];

/// Texts made by converters do not grow beyond this.
const TEXT_MAX: usize = 1 << 20;

impl Converter {
    pub fn apply<'a>(self, mut arguments: Vec<Value<'a>>) -> Result<Value<'a>, Failure> {
        let second = (arguments.len() == 2).then(|| arguments.pop()).flatten().unwrap_or(Value::Nil);
        let rest = if arguments.len() == 3 { arguments.split_off(1) } else { Vec::new() };
        let first = arguments.pop().unwrap_or(Value::Nil);
        match self {
            Converter::IsString => Ok(Value::Bool(matches!(first, Value::Text(_)))),
            Converter::IsInt => Ok(Value::Bool(matches!(first, Value::Int(_)))),
            Converter::IsDouble => Ok(Value::Bool(matches!(first, Value::Float(_)))),
            Converter::IsBool => Ok(Value::Bool(matches!(first, Value::Bool(_)))),
            Converter::IsMap => Ok(Value::Bool(matches!(first, Value::Map { .. } | Value::Json(Json::Object(_))))),
            Converter::IsList => {
                let list = matches!(first, Value::Array(_) | Value::List(_) | Value::Json(Json::Array(_)));
                Ok(Value::Bool(list))
            }
            Converter::Int => Ok(integer(&first)),
            Converter::Double => Ok(double(&first)),
            Converter::Bool => boolean(&first),
            Converter::String => Ok(own(first.to_text())),
            Converter::Concat => concat(first, &second),
            Converter::ConvertCase => convert_case(&first, &text(&second)?),
            Converter::ToLowerCase => Ok(made(text(&first)?.to_lowercase())),
            Converter::ToUpperCase => Ok(made(text(&first)?.to_uppercase())),
            Converter::Trim => Ok(made(text(&first)?.trim_matches(' ').to_owned())),
            Converter::Len => first.length().map(Value::Int),
            Converter::HasPrefix => Ok(Value::Bool(text(&first)?.starts_with(&*text(&second)?))),
            Converter::HasSuffix => Ok(Value::Bool(text(&first)?.ends_with(&*text(&second)?))),
            Converter::Substring => substring(&first, &rest),
            Converter::Split => split(&first, &text(&second)?),
            Converter::ParseJson => parse_json(&text(&first)?),
            Converter::Hex => Ok(own(first.to_text())),
            // Needs the span itself: see `eval`.
            Converter::IsRootSpan => Err(Failure("IsRootSpan has no arguments")),
            Converter::TraceId => id(first, 16),
            Converter::SpanId => id(first, 8),
        }
    }
}

fn made<'a>(text: String) -> Value<'a> {
    Value::Text(Cow::Owned(text))
}

fn own<'a>(text: Option<Cow<'_, str>>) -> Value<'a> {
    text.map_or(Value::Nil, |text| made(text.into_owned()))
}

pub fn text<'v>(value: &'v Value<'_>) -> Result<Cow<'v, str>, Failure> {
    match value {
        Value::Text(text) => Ok(Cow::Borrowed(text)),
        _ => Err(Failure("expected a string")),
    }
}

fn integer<'a>(value: &Value<'_>) -> Value<'a> {
    match value {
        Value::Int(number) => Value::Int(*number),
        Value::Float(number) => Value::Int(*number as i64),
        Value::Bool(truth) => Value::Int(i64::from(*truth)),
        Value::Text(text) => text.parse().map_or(Value::Nil, Value::Int),
        _ => Value::Nil,
    }
}

fn double<'a>(value: &Value<'_>) -> Value<'a> {
    match value {
        Value::Int(number) => Value::Float(*number as f64),
        Value::Float(number) => Value::Float(*number),
        Value::Bool(truth) => Value::Float(f64::from(u8::from(*truth))),
        Value::Text(text) => text.parse().map_or(Value::Nil, Value::Float),
        _ => Value::Nil,
    }
}

fn boolean<'a>(value: &Value<'_>) -> Result<Value<'a>, Failure> {
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

fn concat<'a>(values: Value<'a>, between: &Value<'_>) -> Result<Value<'a>, Failure> {
    let Value::List(values) = values else { return Err(Failure("Concat wants a list of values")) };
    let parts: Vec<Cow<'_, str>> = values.iter().map(|value| value.to_text().unwrap_or("<nil>".into())).collect();
    let joined = parts.join(&text(between)?);
    if joined.len() > TEXT_MAX { Err(Failure("the text is too long")) } else { Ok(made(joined)) }
}

fn convert_case<'a>(value: &Value<'_>, case: &str) -> Result<Value<'a>, Failure> {
    let text = text(value)?;
    let words = || {
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
    };
    let converted = match case {
        "lower" => text.to_lowercase(),
        "upper" => text.to_uppercase(),
        "snake" => words().join("_"),
        "camel" => {
            let capital = |word: String| {
                let mut letters = word.chars();
                let first = letters.next().map(|first| first.to_uppercase().collect::<String>()).unwrap_or_default();
                first + letters.as_str()
            };
            words().into_iter().map(capital).collect()
        }
        _ => return Err(Failure("ConvertCase knows lower, upper, snake and camel")),
    };
    Ok(made(converted))
}

fn substring<'a>(value: &Value<'_>, rest: &[Value<'_>]) -> Result<Value<'a>, Failure> {
    let [Value::Int(start), Value::Int(length)] = rest else {
        return Err(Failure("Substring wants a start and a length"));
    };
    let text = text(value)?;
    let range = usize::try_from(*start).ok().zip(usize::try_from(*length).ok());
    let range = range.and_then(|(start, length)| Some(start..start.checked_add(length)?));
    let cut = range.and_then(|range| text.get(range));
    cut.map(|cut| made(cut.to_owned())).ok_or(Failure("the range does not lie in the text"))
}

fn split<'a>(value: &Value<'_>, by: &str) -> Result<Value<'a>, Failure> {
    let text = text(value)?;
    if by.is_empty() {
        return Ok(Value::List(text.chars().map(|c| made(c.to_string())).collect()));
    }
    Ok(Value::List(text.split(by).map(|part| made(part.to_owned())).collect()))
}

fn parse_json<'a>(text: &str) -> Result<Value<'a>, Failure> {
    let json: Json = serde_json::from_str(text).map_err(|_| Failure("the text is not JSON"))?;
    if json.is_object() || json.is_array() {
        Ok(Value::Json(json))
    } else {
        Err(Failure("the JSON is no object or array"))
    }
}

fn id<'a>(value: Value<'a>, length: usize) -> Result<Value<'a>, Failure> {
    match value {
        Value::Bytes(bytes) if bytes.len() == length => Ok(Value::Bytes(bytes)),
        Value::Text(digits) if digits.len() == 2 * length && digits.is_ascii() => {
            let pairs = (0..length).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16));
            let bytes: Result<Vec<u8>, _> = pairs.collect();
            bytes
                .map(|bytes| Value::Bytes(Cow::Owned(bytes)))
                .map_err(|_| Failure("the id has other characters than digits"))
        }
        _ => Err(Failure("the id has another length")),
    }
}

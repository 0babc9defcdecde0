//! Converters: functions that make a value of values. Names and meanings are the Collector's (contrib pkg/ottl/ottlfuncs).

mod digest;
mod shape;
mod text;
mod time;

use std::borrow::Cow;

use crate::ottl::Failure;
use crate::ottl::value::Value;

pub use shape::extract;
pub use text::CASES;
pub use time::knows as knows_time_format;

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
    TrimPrefix,
    TrimSuffix,
    Len,
    HasPrefix,
    HasSuffix,
    Substring,
    Split,
    Index,
    ParseJson,
    ParseKeyValue,
    ParseInt,
    Keys,
    Values,
    ContainsValue,
    Coalesce,
    Base64Decode,
    Hex,
    Sha256,
    Sha1,
    Fnv,
    Log,
    IsRootSpan,
    HasAttrKeyOnDatapoint,
    HasAttrOnDatapoint,
    TraceId,
    SpanId,
    Duration,
    Time,
    FormatTime,
    TruncateTime,
    Unix,
    UnixNano,
    UnixMicro,
    UnixMilli,
    UnixSeconds,
    Nanoseconds,
    Microseconds,
    Milliseconds,
    Seconds,
    Minutes,
    Hours,
    Year,
    Month,
    Day,
    Weekday,
    Hour,
    Minute,
    Second,
    Nanosecond,
}

/// A converter as it is called.
pub struct Known {
    pub name: &'static str,
    pub converter: Converter,
    pub fewest: usize,
    pub most: usize,
}

const fn known(name: &'static str, converter: Converter, fewest: usize, most: usize) -> Known {
    Known { name, converter, fewest, most }
}

pub const CONVERTERS: &[Known] = &[
    known("IsString", Converter::IsString, 1, 1),
    known("IsInt", Converter::IsInt, 1, 1),
    known("IsDouble", Converter::IsDouble, 1, 1),
    known("IsBool", Converter::IsBool, 1, 1),
    known("IsMap", Converter::IsMap, 1, 1),
    known("IsList", Converter::IsList, 1, 1),
    known("Int", Converter::Int, 1, 1),
    known("Double", Converter::Double, 1, 1),
    known("String", Converter::String, 1, 1),
    known("Bool", Converter::Bool, 1, 1),
    known("Concat", Converter::Concat, 2, 2),
    known("ConvertCase", Converter::ConvertCase, 2, 2),
    known("ToLowerCase", Converter::ToLowerCase, 1, 1),
    known("ToUpperCase", Converter::ToUpperCase, 1, 1),
    known("Trim", Converter::Trim, 1, 2),
    known("TrimPrefix", Converter::TrimPrefix, 2, 2),
    known("TrimSuffix", Converter::TrimSuffix, 2, 2),
    known("Len", Converter::Len, 1, 1),
    known("HasPrefix", Converter::HasPrefix, 2, 2),
    known("HasSuffix", Converter::HasSuffix, 2, 2),
    known("Substring", Converter::Substring, 3, 3),
    known("Split", Converter::Split, 2, 2),
    known("Index", Converter::Index, 2, 2),
    known("ParseJSON", Converter::ParseJson, 1, 1),
    known("ParseKeyValue", Converter::ParseKeyValue, 1, 3),
    known("ParseInt", Converter::ParseInt, 2, 2),
    known("Keys", Converter::Keys, 1, 1),
    known("Values", Converter::Values, 1, 1),
    known("ContainsValue", Converter::ContainsValue, 2, 2),
    known("Coalesce", Converter::Coalesce, 1, 1),
    known("Base64Decode", Converter::Base64Decode, 1, 1),
    known("Hex", Converter::Hex, 1, 1),
    known("SHA256", Converter::Sha256, 1, 1),
    known("SHA1", Converter::Sha1, 1, 1),
    known("FNV", Converter::Fnv, 1, 1),
    known("Log", Converter::Log, 1, 1),
    known("IsRootSpan", Converter::IsRootSpan, 0, 0),
    known("HasAttrKeyOnDatapoint", Converter::HasAttrKeyOnDatapoint, 1, 1),
    known("HasAttrOnDatapoint", Converter::HasAttrOnDatapoint, 2, 2),
    known("TraceID", Converter::TraceId, 1, 1),
    known("SpanID", Converter::SpanId, 1, 1),
    known("Duration", Converter::Duration, 1, 1),
    known("Time", Converter::Time, 2, 2),
    known("FormatTime", Converter::FormatTime, 2, 2),
    known("TruncateTime", Converter::TruncateTime, 2, 2),
    known("Unix", Converter::Unix, 1, 2),
    known("UnixNano", Converter::UnixNano, 1, 1),
    known("UnixMicro", Converter::UnixMicro, 1, 1),
    known("UnixMilli", Converter::UnixMilli, 1, 1),
    known("UnixSeconds", Converter::UnixSeconds, 1, 1),
    known("Nanoseconds", Converter::Nanoseconds, 1, 1),
    known("Microseconds", Converter::Microseconds, 1, 1),
    known("Milliseconds", Converter::Milliseconds, 1, 1),
    known("Seconds", Converter::Seconds, 1, 1),
    known("Minutes", Converter::Minutes, 1, 1),
    known("Hours", Converter::Hours, 1, 1),
    known("Year", Converter::Year, 1, 1),
    known("Month", Converter::Month, 1, 1),
    known("Day", Converter::Day, 1, 1),
    known("Weekday", Converter::Weekday, 1, 1),
    known("Hour", Converter::Hour, 1, 1),
    known("Minute", Converter::Minute, 1, 1),
    known("Second", Converter::Second, 1, 1),
    known("Nanosecond", Converter::Nanosecond, 1, 1),
];

/// Converters a Collector has (contrib pkg/ottl/ottlfuncs, v0.161) and podgate has not.
pub const NOT_BUILT: &[&str] = &[
    "All",
    "Any",
    "Base64Encode",
    "CommunityID",
    "Decode",
    "DeleteXML",
    "ElementsToAttributes",
    "Filter",
    "Find",
    "Format",
    "GetXML",
    "InsertXML",
    "IsEmpty",
    "IsInCIDR",
    "IsValidLuhn",
    "MapEach",
    "MapKeys",
    "MD5",
    "Murmur3Hash",
    "Murmur3Hash128",
    "Now",
    "ParseCEF",
    "ParseCSV",
    "ParseSeverity",
    "ParseSimplifiedXML",
    "ParseXML",
    "ProfileID",
    "Reduce",
    "RemoveXML",
    "SHA512",
    "SliceToMap",
    "Sort",
    "ToCamelCase",
    "ToKeyValueString",
    "ToSnakeCase",
    "URL",
    "UserAgent",
    "UUID",
    "UUIDv7",
    "When",
    "XXH3",
    "XXH128",
];

/// Texts that functions take or make are no longer than this: some make many values of one text.
pub const TEXT_MAX: usize = 1 << 20;

impl Converter {
    /// Names under which arguments may be given; none where only their order counts.
    pub fn parameters(self) -> &'static [&'static str] {
        match self {
            Converter::ParseKeyValue => &["target", "delimiter", "pair_delimiter"],
            Converter::Trim => &["target", "replacement"],
            Converter::Unix => &["seconds", "nanoseconds"],
            Converter::Concat => &["values", "delimiter"],
            Converter::Split => &["target", "delimiter"],
            _ => &[],
        }
    }

    pub fn apply<'a>(self, arguments: Vec<Value<'a>>) -> Result<Value<'a>, Failure> {
        let mut rest = arguments.into_iter();
        let first = rest.next().unwrap_or(Value::Nil);
        let second = rest.next().unwrap_or(Value::Nil);
        match self {
            Converter::IsString => Ok(Value::Bool(matches!(first, Value::Text(_)))),
            Converter::IsInt => Ok(Value::Bool(matches!(first, Value::Int(_)))),
            Converter::IsDouble => Ok(Value::Bool(matches!(first, Value::Float(_)))),
            Converter::IsBool => Ok(Value::Bool(matches!(first, Value::Bool(_)))),
            Converter::IsMap => Ok(Value::Bool(first.is_map())),
            Converter::IsList => Ok(Value::Bool(first.is_list())),
            Converter::Int => Ok(shape::integer(&first)),
            Converter::Double => Ok(shape::double(&first)),
            Converter::Bool => shape::boolean(&first),
            Converter::String | Converter::Hex => {
                Ok(first.to_text().map_or(Value::Nil, |text| made(text.into_owned())))
            }
            Converter::Len => first.length().map(Value::Int),
            Converter::ParseJson => shape::parse_json(&text(&first)?),
            Converter::ParseKeyValue => {
                let third = rest.next().unwrap_or(Value::Nil);
                shape::parse_key_value(&text(&first)?, &second, &third)
            }
            Converter::ParseInt => shape::parse_int(&text(&first)?, &second),
            Converter::Keys => first.keys().map(Value::List).ok_or(Failure("expected a map")),
            Converter::Values => {
                first.elements().filter(|_| first.is_map()).map(Value::List).ok_or(Failure("expected a map"))
            }
            Converter::ContainsValue => shape::contains(&first, &second),
            Converter::Index => shape::index(&first, &second),
            Converter::Coalesce => {
                let values = first.elements().ok_or(Failure("Coalesce wants a list of values"))?;
                Ok(values.into_iter().find(|value| *value != Value::Nil).unwrap_or(Value::Nil))
            }
            Converter::TraceId => shape::id(first, 16),
            Converter::SpanId => shape::id(first, 8),
            Converter::Sha256 => digest::sha256_text(&text(&first)?),
            Converter::Sha1 => digest::sha1_text(&text(&first)?),
            Converter::Fnv => Ok(Value::Int(digest::fnv(text(&first)?.as_bytes()))),
            Converter::Log => shape::logarithm(&first),
            // They need the item itself: see `eval`.
            Converter::IsRootSpan | Converter::HasAttrKeyOnDatapoint | Converter::HasAttrOnDatapoint => {
                Err(Failure("the function needs an item"))
            }
            Converter::Substring => text::substring(&first, &second, &rest.next().unwrap_or(Value::Nil)),
            other => match text::apply(other, &first, &second) {
                Some(made) => made,
                None => time::apply(other, &first, &second),
            },
        }
    }
}

fn made<'a>(text: String) -> Value<'a> {
    Value::Text(Cow::Owned(text))
}

/// The text that a value is, for a function's argument.
pub fn text<'v>(value: &'v Value<'_>) -> Result<Cow<'v, str>, Failure> {
    match value {
        Value::Text(text) if text.len() > TEXT_MAX => Err(Failure("the text is too long")),
        Value::Text(text) => Ok(Cow::Borrowed(text)),
        _ => Err(Failure("expected a string")),
    }
}

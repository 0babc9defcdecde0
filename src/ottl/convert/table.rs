//! Which converters there are, and what their arguments must be (contrib pkg/ottl/ottlfuncs, v0.161): the names of
//! parameters are the fields of upstream's argument types.

use crate::ottl::Failure;
use crate::ottl::convert::Converter;
use crate::ottl::convert::TEXT_MAX;
use crate::ottl::convert::number;
use crate::ottl::value::Value;

use std::borrow::Cow;

/// What an argument must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    Any,
    Text,
    /// Whatever can be made a text; nil stays nil. The same for the other kinds.
    TextLike,
    Int,
    IntLike,
    FloatLike,
    BoolLike,
    BytesLike,
    Map,
    List,
    Time,
    Span,
    /// A list that is written out, of texts.
    Texts,
    /// A list that is written out, of anything.
    Values,
    /// A list of whatever can be made texts.
    TextLikes,
    /// Written out.
    FixedText,
    FixedBool,
    FixedTexts,
    /// A map that is written out.
    FixedMap,
}

#[derive(Debug)]
pub struct Parameter {
    pub name: &'static str,
    pub want: Want,
    pub optional: bool,
}

/// A converter as it is called.
#[derive(Debug)]
pub struct Known {
    pub name: &'static str,
    pub converter: Converter,
    pub parameters: &'static [Parameter],
}

const fn p(name: &'static str, want: Want) -> Parameter {
    Parameter { name, want, optional: false }
}

const fn o(name: &'static str, want: Want) -> Parameter {
    Parameter { name, want, optional: true }
}

const fn k(name: &'static str, converter: Converter, parameters: &'static [Parameter]) -> Known {
    Known { name, converter, parameters }
}

const NONE: &[Parameter] = &[];
const ANY: &[Parameter] = &[p("target", Want::Any)];
const TEXT: &[Parameter] = &[p("target", Want::Text)];
const MAP: &[Parameter] = &[p("target", Want::Map)];
const TIME: &[Parameter] = &[p("time", Want::Time)];
const SPAN: &[Parameter] = &[p("duration", Want::Span)];
const BYTES: &[Parameter] = &[p("target", Want::BytesLike)];
const PATTERN: Parameter = p("pattern", Want::Text);

pub const CONVERTERS: &[Known] = &[
    k("IsString", Converter::IsString, ANY),
    k("IsInt", Converter::IsInt, ANY),
    k("IsDouble", Converter::IsDouble, ANY),
    k("IsBool", Converter::IsBool, ANY),
    k("IsMap", Converter::IsMap, ANY),
    k("IsList", Converter::IsList, ANY),
    k("IsEmpty", Converter::IsEmpty, ANY),
    k("IsMatch", Converter::IsMatch, &[p("target", Want::TextLike), PATTERN]),
    k("IsRootSpan", Converter::IsRootSpan, NONE),
    k("IsInCIDR", Converter::IsInCidr, &[p("target", Want::Text), p("networks", Want::Texts)]),
    k("IsValidLuhn", Converter::IsValidLuhn, &[p("target", Want::TextLike)]),
    k("HasAttrKeyOnDatapoint", Converter::HasAttrKeyOnDatapoint, &[p("key", Want::Text)]),
    k("HasAttrOnDatapoint", Converter::HasAttrOnDatapoint, &[p("key", Want::Text), p("expectedVal", Want::Text)]),
    k("Int", Converter::Int, &[p("target", Want::IntLike)]),
    k("Double", Converter::Double, &[p("target", Want::FloatLike)]),
    k("Bool", Converter::Bool, &[p("target", Want::BoolLike)]),
    k("String", Converter::String, &[p("target", Want::TextLike)]),
    k("Log", Converter::Log, &[p("target", Want::FloatLike)]),
    k("ParseInt", Converter::ParseInt, &[p("target", Want::Text), p("base", Want::Int)]),
    k("Concat", Converter::Concat, &[p("vals", Want::TextLikes), p("delimiter", Want::Text)]),
    k("Format", Converter::Format, &[p("format", Want::FixedText), p("vals", Want::Values)]),
    k("ConvertCase", Converter::ConvertCase, &[p("target", Want::Text), p("toCase", Want::FixedText)]),
    k("ToLowerCase", Converter::ToLowerCase, TEXT),
    k("ToUpperCase", Converter::ToUpperCase, TEXT),
    k("ToCamelCase", Converter::ToCamelCase, TEXT),
    k("ToSnakeCase", Converter::ToSnakeCase, TEXT),
    k("Trim", Converter::Trim, &[p("target", Want::Text), o("replacement", Want::FixedText)]),
    k("TrimPrefix", Converter::TrimPrefix, &[p("target", Want::Text), p("prefix", Want::Text)]),
    k("TrimSuffix", Converter::TrimSuffix, &[p("target", Want::Text), p("suffix", Want::Text)]),
    k("HasPrefix", Converter::HasPrefix, &[p("target", Want::Text), p("prefix", Want::Text)]),
    k("HasSuffix", Converter::HasSuffix, &[p("target", Want::Text), p("suffix", Want::Text)]),
    k(
        "Substring",
        Converter::Substring,
        &[p("target", Want::Text), p("start", Want::Int), p("length", Want::Int), o("utf8Safe", Want::FixedBool)],
    ),
    k("Split", Converter::Split, &[p("target", Want::Text), p("delimiter", Want::Text)]),
    k("Len", Converter::Len, ANY),
    k("Index", Converter::Index, &[p("target", Want::Any), p("value", Want::Any)]),
    k("ExtractPatterns", Converter::ExtractPatterns, &[p("target", Want::Text), PATTERN]),
    k(
        "ExtractGrokPatterns",
        Converter::ExtractGrokPatterns,
        &[
            p("target", Want::Text),
            PATTERN,
            o("namedCapturesOnly", Want::FixedBool),
            o("patternDefinitions", Want::FixedTexts),
        ],
    ),
    k("ParseJSON", Converter::ParseJson, TEXT),
    k(
        "ParseKeyValue",
        Converter::ParseKeyValue,
        &[p("target", Want::Text), o("delimiter", Want::FixedText), o("pairDelimiter", Want::FixedText)],
    ),
    k(
        "ToKeyValueString",
        Converter::ToKeyValueString,
        &[
            p("target", Want::Map),
            o("delimiter", Want::FixedText),
            o("pairDelimiter", Want::FixedText),
            o("sortOutput", Want::FixedBool),
        ],
    ),
    k(
        "ParseCSV",
        Converter::ParseCsv,
        &[
            p("target", Want::Text),
            p("header", Want::Text),
            o("delimiter", Want::FixedText),
            o("headerDelimiter", Want::FixedText),
            o("mode", Want::FixedText),
        ],
    ),
    k("ParseSeverity", Converter::ParseSeverity, &[p("target", Want::Any), p("mapping", Want::FixedMap)]),
    k("URL", Converter::Url, &[p("URI", Want::Text)]),
    k("Base64Encode", Converter::Base64Encode, &[p("target", Want::Text), o("variant", Want::Text)]),
    k("Decode", Converter::Decode, &[p("target", Want::Any), p("encoding", Want::Text)]),
    // Left in upstream's v0.161 in favour of Decode.
    k("Base64Decode", Converter::Base64Decode, TEXT),
    k("SHA256", Converter::Sha256, TEXT),
    k("SHA512", Converter::Sha512, TEXT),
    k("SHA1", Converter::Sha1, TEXT),
    k("MD5", Converter::Md5, TEXT),
    k("FNV", Converter::Fnv, TEXT),
    k("Hex", Converter::Hex, BYTES),
    k("UUID", Converter::Uuid, NONE),
    k("UUIDv7", Converter::UuidV7, NONE),
    k("Keys", Converter::Keys, MAP),
    k("Values", Converter::Values, MAP),
    k("ContainsValue", Converter::ContainsValue, &[p("target", Want::List), p("item", Want::Any)]),
    k("Coalesce", Converter::Coalesce, &[p("values", Want::Values)]),
    k("Sort", Converter::Sort, &[p("target", Want::Any), o("order", Want::FixedText)]),
    k(
        "SliceToMap",
        Converter::SliceToMap,
        &[p("target", Want::List), o("keyPath", Want::FixedTexts), o("valuePath", Want::FixedTexts)],
    ),
    k("TraceID", Converter::TraceId, BYTES),
    k("SpanID", Converter::SpanId, BYTES),
    k("Now", Converter::Now, NONE),
    k("Duration", Converter::Duration, &[p("duration", Want::Text)]),
    k(
        "Time",
        Converter::Time,
        &[
            p("time", Want::Text),
            p("format", Want::FixedText),
            o("location", Want::FixedText),
            o("locale", Want::FixedText),
        ],
    ),
    k("FormatTime", Converter::FormatTime, &[p("time", Want::Time), p("format", Want::FixedText)]),
    k("TruncateTime", Converter::TruncateTime, &[p("time", Want::Time), p("duration", Want::Span)]),
    k("Unix", Converter::Unix, &[p("seconds", Want::Int), o("nanoseconds", Want::Int)]),
    k("UnixNano", Converter::UnixNano, TIME),
    k("UnixMicro", Converter::UnixMicro, TIME),
    k("UnixMilli", Converter::UnixMilli, TIME),
    k("UnixSeconds", Converter::UnixSeconds, TIME),
    k("Nanoseconds", Converter::Nanoseconds, SPAN),
    k("Microseconds", Converter::Microseconds, SPAN),
    k("Milliseconds", Converter::Milliseconds, SPAN),
    k("Seconds", Converter::Seconds, SPAN),
    k("Minutes", Converter::Minutes, SPAN),
    k("Hours", Converter::Hours, SPAN),
    k("Year", Converter::Year, TIME),
    k("Month", Converter::Month, TIME),
    k("Day", Converter::Day, TIME),
    k("Weekday", Converter::Weekday, TIME),
    k("Hour", Converter::Hour, TIME),
    k("Minute", Converter::Minute, TIME),
    k("Second", Converter::Second, TIME),
    k("Nanosecond", Converter::Nanosecond, TIME),
];

/// Converters a Collector has (contrib pkg/ottl/ottlfuncs and processor/transformprocessor, v0.161) and podgate has not.
pub const NOT_BUILT: &[&str] = &[
    "All",
    "Any",
    "CommunityID",
    "ConvertAttributesToElementsXML",
    "ConvertTextToElementsXML",
    "Filter",
    "Find",
    "GetXML",
    "InsertXML",
    "MapEach",
    "MapKeys",
    "Murmur3Hash",
    "Murmur3Hash128",
    "ParseCEF",
    "ParseLEEF",
    "ParseSimplifiedXML",
    "ParseXML",
    "ProfileID",
    "Reduce",
    "RemoveXML",
    "UserAgent",
    "When",
    "XXH128",
    "XXH3",
];

impl Want {
    /// The value as the function takes it; a failure when it is of another kind.
    pub fn take<'a>(self, value: Value<'a>) -> Result<Value<'a>, Failure> {
        match (self, value) {
            (Want::Any | Want::FixedMap, value) => Ok(value),
            (Want::Text | Want::FixedText, Value::Text(text)) => {
                if text.len() > TEXT_MAX {
                    Err(Failure("the text is too long"))
                } else {
                    Ok(Value::Text(text))
                }
            }
            (Want::Text | Want::FixedText, _) => Err(Failure("expected a string")),
            (Want::TextLike, Value::Text(text)) => Ok(Value::Text(text)),
            (Want::TextLike, value) => {
                let made = value.to_text()?.map(|text| text.into_owned());
                Ok(made.map_or(Value::Nil, |text| Value::Text(Cow::Owned(text))))
            }
            (Want::Int, value @ Value::Int(_)) => Ok(value),
            (Want::Int, _) => Err(Failure("expected a whole number")),
            (Want::IntLike, value) => number::integer(&value),
            (Want::FloatLike, value) => number::double(&value),
            (Want::BoolLike, value) => number::boolean(&value),
            (Want::BytesLike, value) => number::bytes(value),
            (Want::Map, value) if value.is_map() => Ok(value),
            (Want::Map, _) => Err(Failure("expected a map")),
            (Want::List, value) if value.is_list() => Ok(value),
            (Want::List | Want::Texts | Want::FixedTexts | Want::Values, value) if !value.is_list() => {
                Err(Failure("expected a list"))
            }
            (Want::List | Want::Values, value) => Ok(value),
            (Want::Texts | Want::FixedTexts, value) => elements(value, Want::Text),
            (Want::TextLikes, Value::Nil) => Ok(Value::List(Vec::new())),
            (Want::TextLikes, value @ Value::List(_)) => elements(value, Want::TextLike),
            // Elements of the data are texts as they stand there: nil is none.
            (Want::TextLikes, value @ Value::Array(_)) => {
                let elements = value.elements().ok_or(Failure("the list has too many elements"))?;
                let plain = |element: Value<'a>| Ok(Value::Text(Cow::Owned(element.to_plain_text()?.into_owned())));
                elements.into_iter().map(plain).collect::<Result<_, _>>().map(Value::List)
            }
            (Want::TextLikes, _) => Err(Failure("expected a list of values")),
            (Want::Time, value @ Value::Time(_)) | (Want::Span, value @ Value::Duration(_)) => Ok(value),
            (Want::Time, _) => Err(Failure("expected a time")),
            (Want::Span, _) => Err(Failure("expected a duration")),
            (Want::FixedBool, value @ Value::Bool(_)) => Ok(value),
            (Want::FixedBool, _) => Err(Failure("expected true or false")),
        }
    }

    /// Nothing but what stands in the text will do.
    pub fn is_fixed(self) -> bool {
        matches!(self, Want::FixedText | Want::FixedBool | Want::FixedTexts | Want::FixedMap)
    }

    /// The list must stand in the text, whatever is in it.
    pub fn is_written_list(self) -> bool {
        matches!(self, Want::Texts | Want::FixedTexts | Want::Values)
    }
}

fn elements<'a>(value: Value<'a>, want: Want) -> Result<Value<'a>, Failure> {
    let values = match value {
        Value::List(values) => values,
        other => other.elements().ok_or(Failure("the list has too many elements"))?,
    };
    values.into_iter().map(|value| want.take(value)).collect::<Result<_, _>>().map(Value::List)
}

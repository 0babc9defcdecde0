//! Which converters there are, and what their arguments must be (contrib pkg/ottl/ottlfuncs, v0.161): the names of
//! parameters are the fields of upstream's argument types.

use std::borrow::Cow;

use crate::ottl::convert::made::TEXT_MAX;
use crate::ottl::convert::number;
use crate::ottl::value::OttlValue;
use crate::ottl::value::failure::EvalFailure;

/// What an argument must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgumentKind {
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
    pub want: ArgumentKind,
    pub optional: bool,
}

/// A converter as it is called.
#[derive(Debug)]
pub struct KnownConverter {
    pub name: &'static str,
    pub converter: Converter,
    pub parameters: &'static [Parameter],
}

const fn p(name: &'static str, want: ArgumentKind) -> Parameter {
    Parameter { name, want, optional: false }
}

const fn o(name: &'static str, want: ArgumentKind) -> Parameter {
    Parameter { name, want, optional: true }
}

const fn k(name: &'static str, converter: Converter, parameters: &'static [Parameter]) -> KnownConverter {
    KnownConverter { name, converter, parameters }
}

const NONE: &[Parameter] = &[];
const ANY: &[Parameter] = &[p("target", ArgumentKind::Any)];
const TEXT: &[Parameter] = &[p("target", ArgumentKind::Text)];
const MAP: &[Parameter] = &[p("target", ArgumentKind::Map)];
const TIME: &[Parameter] = &[p("time", ArgumentKind::Time)];
const SPAN: &[Parameter] = &[p("duration", ArgumentKind::Span)];
const BYTES: &[Parameter] = &[p("target", ArgumentKind::BytesLike)];
const PATTERN: Parameter = p("pattern", ArgumentKind::Text);

pub const CONVERTERS: &[KnownConverter] = &[
    k("IsString", Converter::IsString, ANY),
    k("IsInt", Converter::IsInt, ANY),
    k("IsDouble", Converter::IsDouble, ANY),
    k("IsBool", Converter::IsBool, ANY),
    k("IsMap", Converter::IsMap, ANY),
    k("IsList", Converter::IsList, ANY),
    k("IsEmpty", Converter::IsEmpty, ANY),
    k("IsMatch", Converter::IsMatch, &[p("target", ArgumentKind::TextLike), PATTERN]),
    k("IsRootSpan", Converter::IsRootSpan, NONE),
    k("IsInCIDR", Converter::IsInCidr, &[p("target", ArgumentKind::Text), p("networks", ArgumentKind::Texts)]),
    k("IsValidLuhn", Converter::IsValidLuhn, &[p("target", ArgumentKind::TextLike)]),
    k("HasAttrKeyOnDatapoint", Converter::HasAttrKeyOnDatapoint, &[p("key", ArgumentKind::Text)]),
    k(
        "HasAttrOnDatapoint",
        Converter::HasAttrOnDatapoint,
        &[p("key", ArgumentKind::Text), p("expectedVal", ArgumentKind::Text)],
    ),
    k("Int", Converter::Int, &[p("target", ArgumentKind::IntLike)]),
    k("Double", Converter::Double, &[p("target", ArgumentKind::FloatLike)]),
    k("Bool", Converter::Bool, &[p("target", ArgumentKind::BoolLike)]),
    k("String", Converter::String, &[p("target", ArgumentKind::TextLike)]),
    k("Log", Converter::Log, &[p("target", ArgumentKind::FloatLike)]),
    k("ParseInt", Converter::ParseInt, &[p("target", ArgumentKind::Text), p("base", ArgumentKind::Int)]),
    k("Concat", Converter::Concat, &[p("vals", ArgumentKind::TextLikes), p("delimiter", ArgumentKind::Text)]),
    k("Format", Converter::Format, &[p("format", ArgumentKind::FixedText), p("vals", ArgumentKind::Values)]),
    k("ConvertCase", Converter::ConvertCase, &[p("target", ArgumentKind::Text), p("toCase", ArgumentKind::FixedText)]),
    k("ToLowerCase", Converter::ToLowerCase, TEXT),
    k("ToUpperCase", Converter::ToUpperCase, TEXT),
    k("ToCamelCase", Converter::ToCamelCase, TEXT),
    k("ToSnakeCase", Converter::ToSnakeCase, TEXT),
    k("Trim", Converter::Trim, &[p("target", ArgumentKind::Text), o("replacement", ArgumentKind::FixedText)]),
    k("TrimPrefix", Converter::TrimPrefix, &[p("target", ArgumentKind::Text), p("prefix", ArgumentKind::Text)]),
    k("TrimSuffix", Converter::TrimSuffix, &[p("target", ArgumentKind::Text), p("suffix", ArgumentKind::Text)]),
    k("HasPrefix", Converter::HasPrefix, &[p("target", ArgumentKind::Text), p("prefix", ArgumentKind::Text)]),
    k("HasSuffix", Converter::HasSuffix, &[p("target", ArgumentKind::Text), p("suffix", ArgumentKind::Text)]),
    k(
        "Substring",
        Converter::Substring,
        &[
            p("target", ArgumentKind::Text),
            p("start", ArgumentKind::Int),
            p("length", ArgumentKind::Int),
            o("utf8Safe", ArgumentKind::FixedBool),
        ],
    ),
    k("Split", Converter::Split, &[p("target", ArgumentKind::Text), p("delimiter", ArgumentKind::Text)]),
    k("Len", Converter::Len, ANY),
    k("Index", Converter::Index, &[p("target", ArgumentKind::Any), p("value", ArgumentKind::Any)]),
    k("ExtractPatterns", Converter::ExtractPatterns, &[p("target", ArgumentKind::Text), PATTERN]),
    k(
        "ExtractGrokPatterns",
        Converter::ExtractGrokPatterns,
        &[
            p("target", ArgumentKind::Text),
            PATTERN,
            o("namedCapturesOnly", ArgumentKind::FixedBool),
            o("patternDefinitions", ArgumentKind::FixedTexts),
        ],
    ),
    k("ParseJSON", Converter::ParseJson, TEXT),
    k(
        "ParseKeyValue",
        Converter::ParseKeyValue,
        &[
            p("target", ArgumentKind::Text),
            o("delimiter", ArgumentKind::FixedText),
            o("pairDelimiter", ArgumentKind::FixedText),
        ],
    ),
    k(
        "ToKeyValueString",
        Converter::ToKeyValueString,
        &[
            p("target", ArgumentKind::Map),
            o("delimiter", ArgumentKind::FixedText),
            o("pairDelimiter", ArgumentKind::FixedText),
            o("sortOutput", ArgumentKind::FixedBool),
        ],
    ),
    k(
        "ParseCSV",
        Converter::ParseCsv,
        &[
            p("target", ArgumentKind::Text),
            p("header", ArgumentKind::Text),
            o("delimiter", ArgumentKind::FixedText),
            o("headerDelimiter", ArgumentKind::FixedText),
            o("mode", ArgumentKind::FixedText),
        ],
    ),
    k(
        "ParseSeverity",
        Converter::ParseSeverity,
        &[p("target", ArgumentKind::Any), p("mapping", ArgumentKind::FixedMap)],
    ),
    k("URL", Converter::Url, &[p("URI", ArgumentKind::Text)]),
    k("Base64Encode", Converter::Base64Encode, &[p("target", ArgumentKind::Text), o("variant", ArgumentKind::Text)]),
    k("Decode", Converter::Decode, &[p("target", ArgumentKind::Any), p("encoding", ArgumentKind::Text)]),
    // Left in upstream's v0.161 in favour of Decode.
    k("Base64Decode", Converter::Base64Decode, TEXT),
    k("SHA256", Converter::Sha256, TEXT),
    k("SHA512", Converter::Sha512, TEXT),
    k("SHA1", Converter::Sha1, TEXT),
    k("MD5", Converter::Md5, TEXT),
    k("FNV", Converter::Fnv, TEXT),
    k("Murmur3Hash", Converter::Murmur3, TEXT),
    k("Murmur3Hash128", Converter::Murmur3Of128, TEXT),
    k("XXH3", Converter::Xxh3, TEXT),
    k("XXH128", Converter::Xxh128, TEXT),
    k(
        "CommunityID",
        Converter::CommunityId,
        &[
            p("sourceIP", ArgumentKind::Text),
            p("sourcePort", ArgumentKind::Int),
            p("destinationIP", ArgumentKind::Text),
            p("destinationPort", ArgumentKind::Int),
            o("protocol", ArgumentKind::Text),
            o("seed", ArgumentKind::Int),
        ],
    ),
    k("ParseCEF", Converter::ParseCef, TEXT),
    k("ParseLEEF", Converter::ParseLeef, TEXT),
    k("ParseELF", Converter::ParseElf, TEXT),
    k("ParseCLF", Converter::ParseClf, &[p("target", ArgumentKind::Text), o("format", ArgumentKind::FixedText)]),
    k("Hex", Converter::Hex, BYTES),
    k("UUID", Converter::Uuid, NONE),
    k("UUIDv7", Converter::UuidV7, NONE),
    k("Keys", Converter::Keys, MAP),
    k("Values", Converter::Values, MAP),
    k("ContainsValue", Converter::ContainsValue, &[p("target", ArgumentKind::List), p("item", ArgumentKind::Any)]),
    k("Coalesce", Converter::Coalesce, &[p("values", ArgumentKind::Values)]),
    k("Sort", Converter::Sort, &[p("target", ArgumentKind::Any), o("order", ArgumentKind::FixedText)]),
    k(
        "SliceToMap",
        Converter::SliceToMap,
        &[
            p("target", ArgumentKind::List),
            o("keyPath", ArgumentKind::FixedTexts),
            o("valuePath", ArgumentKind::FixedTexts),
        ],
    ),
    k("TraceID", Converter::TraceId, BYTES),
    k("SpanID", Converter::SpanId, BYTES),
    k("ProfileID", Converter::ProfileId, BYTES),
    k("Now", Converter::Now, NONE),
    k("Duration", Converter::Duration, &[p("duration", ArgumentKind::Text)]),
    k(
        "Time",
        Converter::Time,
        &[
            p("time", ArgumentKind::Text),
            p("format", ArgumentKind::FixedText),
            o("location", ArgumentKind::FixedText),
            o("locale", ArgumentKind::FixedText),
        ],
    ),
    k("FormatTime", Converter::FormatTime, &[p("time", ArgumentKind::Time), p("format", ArgumentKind::FixedText)]),
    k("TruncateTime", Converter::TruncateTime, &[p("time", ArgumentKind::Time), p("duration", ArgumentKind::Span)]),
    k("Unix", Converter::Unix, &[p("seconds", ArgumentKind::Int), o("nanoseconds", ArgumentKind::Int)]),
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
    "ConvertAttributesToElementsXML",
    "ConvertTextToElementsXML",
    "Filter",
    "Find",
    "GetXML",
    "InsertXML",
    "MapEach",
    "MapKeys",
    "ParseSimplifiedXML",
    "ParseXML",
    "Reduce",
    "RemoveXML",
    "UserAgent",
    "When",
];

impl ArgumentKind {
    /// The value as the function takes it; a failure when it is of another kind.
    pub fn take<'a>(self, value: OttlValue<'a>) -> Result<OttlValue<'a>, EvalFailure> {
        match (self, value) {
            (ArgumentKind::Any | ArgumentKind::FixedMap, value) => Ok(value),
            (ArgumentKind::Text | ArgumentKind::FixedText, OttlValue::Text(text)) => {
                if text.len() > TEXT_MAX {
                    Err(EvalFailure("the text is too long"))
                } else {
                    Ok(OttlValue::Text(text))
                }
            }
            (ArgumentKind::Text | ArgumentKind::FixedText, _) => Err(EvalFailure("expected a string")),
            (ArgumentKind::TextLike, OttlValue::Text(text)) => Ok(OttlValue::Text(text)),
            (ArgumentKind::TextLike, value) => {
                let made = value.to_text()?.map(|text| text.into_owned());
                Ok(made.map_or(OttlValue::Nil, |text| OttlValue::Text(Cow::Owned(text))))
            }
            (ArgumentKind::Int, value @ OttlValue::Int(_)) => Ok(value),
            (ArgumentKind::Int, _) => Err(EvalFailure("expected a whole number")),
            (ArgumentKind::IntLike, value) => number::integer(&value),
            (ArgumentKind::FloatLike, value) => number::double(&value),
            (ArgumentKind::BoolLike, value) => number::boolean(&value),
            (ArgumentKind::BytesLike, value) => number::bytes(value),
            (ArgumentKind::Map, value) if value.is_map() => Ok(value),
            (ArgumentKind::Map, _) => Err(EvalFailure("expected a map")),
            (ArgumentKind::List, value) if value.is_list() => Ok(value),
            (ArgumentKind::List | ArgumentKind::Texts | ArgumentKind::FixedTexts | ArgumentKind::Values, value)
                if !value.is_list() =>
            {
                Err(EvalFailure("expected a list"))
            }
            (ArgumentKind::List | ArgumentKind::Values, value) => Ok(value),
            (ArgumentKind::Texts | ArgumentKind::FixedTexts, value) => elements(value, ArgumentKind::Text),
            (ArgumentKind::TextLikes, OttlValue::Nil) => Ok(OttlValue::List(Vec::new())),
            (ArgumentKind::TextLikes, value @ OttlValue::List(_)) => elements(value, ArgumentKind::TextLike),
            // Elements of the data are texts as they stand there: nil is none.
            (ArgumentKind::TextLikes, value @ OttlValue::Array(_)) => {
                let elements = value.elements().ok_or(EvalFailure("the list has too many elements"))?;
                let plain =
                    |element: OttlValue<'a>| Ok(OttlValue::Text(Cow::Owned(element.to_plain_text()?.into_owned())));
                elements.into_iter().map(plain).collect::<Result<_, _>>().map(OttlValue::List)
            }
            (ArgumentKind::TextLikes, _) => Err(EvalFailure("expected a list of values")),
            (ArgumentKind::Time, value @ OttlValue::Time(_)) | (ArgumentKind::Span, value @ OttlValue::Duration(_)) => {
                Ok(value)
            }
            (ArgumentKind::Time, _) => Err(EvalFailure("expected a time")),
            (ArgumentKind::Span, _) => Err(EvalFailure("expected a duration")),
            (ArgumentKind::FixedBool, value @ OttlValue::Bool(_)) => Ok(value),
            (ArgumentKind::FixedBool, _) => Err(EvalFailure("expected true or false")),
        }
    }

    /// Nothing but what stands in the text will do.
    pub fn is_fixed(self) -> bool {
        matches!(
            self,
            ArgumentKind::FixedText | ArgumentKind::FixedBool | ArgumentKind::FixedTexts | ArgumentKind::FixedMap
        )
    }

    /// The list must stand in the text, whatever is in it.
    pub fn is_written_list(self) -> bool {
        matches!(self, ArgumentKind::Texts | ArgumentKind::FixedTexts | ArgumentKind::Values)
    }
}

fn elements<'a>(value: OttlValue<'a>, want: ArgumentKind) -> Result<OttlValue<'a>, EvalFailure> {
    let values = match value {
        OttlValue::List(values) => values,
        other => other.elements().ok_or(EvalFailure("the list has too many elements"))?,
    };
    values.into_iter().map(|value| want.take(value)).collect::<Result<_, _>>().map(OttlValue::List)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Converter {
    IsString,
    IsInt,
    IsDouble,
    IsBool,
    IsMap,
    IsList,
    IsEmpty,
    IsMatch,
    IsRootSpan,
    IsInCidr,
    IsValidLuhn,
    HasAttrKeyOnDatapoint,
    HasAttrOnDatapoint,
    Int,
    Double,
    Bool,
    String,
    Log,
    ParseInt,
    Concat,
    Format,
    ConvertCase,
    ToLowerCase,
    ToUpperCase,
    ToCamelCase,
    ToSnakeCase,
    Trim,
    TrimPrefix,
    TrimSuffix,
    HasPrefix,
    HasSuffix,
    Substring,
    Split,
    Len,
    Index,
    ExtractPatterns,
    ExtractGrokPatterns,
    ParseJson,
    ParseKeyValue,
    ToKeyValueString,
    ParseCsv,
    ParseSeverity,
    Url,
    Base64Encode,
    Base64Decode,
    Decode,
    Sha256,
    Sha512,
    Sha1,
    Md5,
    Fnv,
    Murmur3,
    Murmur3Of128,
    Xxh3,
    Xxh128,
    CommunityId,
    ParseCef,
    ParseLeef,
    ParseElf,
    ParseClf,
    Hex,
    Uuid,
    UuidV7,
    Keys,
    Values,
    ContainsValue,
    Coalesce,
    Sort,
    SliceToMap,
    TraceId,
    SpanId,
    ProfileId,
    Now,
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

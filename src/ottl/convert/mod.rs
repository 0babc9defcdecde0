//! Converters: functions that make a value of values. Names and meanings are the Collector's (contrib pkg/ottl/ottlfuncs).

mod case;
mod delimited;
mod format;
pub mod grok;
mod hash;
mod lists;
mod logs;
mod made;
mod number;
mod shape;
mod table;
mod text;
pub(crate) mod time;
mod url;

use std::borrow::Cow;

use crate::ottl::convert::made::text_value;
use crate::ottl::value::failure::EvalFailure;
use crate::ottl::value::{OttlValue, hex};

pub use crate::ottl::convert::made::TEXT_MAX;
pub use crate::ottl::convert::table::Converter;
pub use delimited::Quotes;
pub use lists::{IpNetwork, Severities};
pub use number::truncated;
pub use shape::extract;
pub use table::{ArgumentKind, CONVERTERS, KnownConverter, NOT_BUILT, Parameter};
pub use text::{CASES, knows_encoding};
pub use time::shown_duration;

/// Arguments of one call at most; they are handed over without an allocation.
pub const ARGUMENTS_MAX: usize = 6;

const _: () = {
    let mut at = 0;
    while at < CONVERTERS.len() {
        assert!(CONVERTERS[at].parameters.len() <= ARGUMENTS_MAX);
        at += 1;
    }
};

impl Converter {
    /// Of one argument.
    pub fn of<'a>(self, argument: OttlValue<'a>) -> Result<OttlValue<'a>, EvalFailure> {
        let mut arguments = [const { OttlValue::Nil }; ARGUMENTS_MAX];
        arguments[0] = argument;
        self.apply(arguments)
    }

    /// The value of checked arguments, those that are not given being nil. What needs the item, a pattern or a time format
    /// is evaluated in `eval`.
    pub fn apply<'a>(self, arguments: [OttlValue<'a>; ARGUMENTS_MAX]) -> Result<OttlValue<'a>, EvalFailure> {
        let mut rest = arguments.into_iter();
        let first = rest.next().unwrap_or(OttlValue::Nil);
        let second = rest.next().unwrap_or(OttlValue::Nil);
        match self {
            Converter::IsString => Ok(OttlValue::Bool(matches!(first, OttlValue::Text(_)))),
            Converter::IsInt => Ok(OttlValue::Bool(matches!(first, OttlValue::Int(_)))),
            Converter::IsDouble => Ok(OttlValue::Bool(matches!(first, OttlValue::Float(_)))),
            Converter::IsBool => Ok(OttlValue::Bool(matches!(first, OttlValue::Bool(_)))),
            Converter::IsMap => Ok(OttlValue::Bool(first.is_map())),
            Converter::IsList => Ok(OttlValue::Bool(first.is_list() || matches!(first, OttlValue::Pieces(_)))),
            Converter::IsEmpty => Ok(OttlValue::Bool(is_empty(&first))),
            Converter::IsInCidr => lists::is_in_cidr(&text(&first)?, &second).map(OttlValue::Bool),
            Converter::IsValidLuhn => number::is_valid_luhn(&text(&first)?).map(OttlValue::Bool),
            Converter::Int | Converter::Double | Converter::Bool | Converter::String => Ok(first),
            Converter::Log => number::logarithm(&first),
            Converter::Len => first.length().map(OttlValue::Int),
            Converter::Index => lists::index(&first, &second),
            Converter::ContainsValue => lists::contains(&first, &second),
            Converter::Sort => lists::sort(first, optional(&second) == Some("desc")),
            Converter::SliceToMap => lists::slice_to_map(&first, &second, &rest.next().unwrap_or(OttlValue::Nil)),
            Converter::Keys => {
                let pairs = first.pairs().ok_or(EvalFailure("expected a map"))?;
                Ok(OttlValue::List(pairs.into_iter().map(|(key, _)| OttlValue::Text(key)).collect()))
            }
            Converter::Values => {
                let pairs = first.pairs().ok_or(EvalFailure("expected a map"))?;
                Ok(OttlValue::List(pairs.into_iter().map(|(_, value)| value).collect()))
            }
            Converter::TraceId | Converter::ProfileId => shape::id(&first, 16),
            Converter::SpanId => shape::id(&first, 8),
            Converter::Hex => match first {
                OttlValue::Bytes(bytes) => Ok(OttlValue::Text(Cow::Owned(hex(&bytes)))),
                _ => Ok(text_value("")),
            },
            Converter::Format => format::format(&text(&first)?, &second.elements().unwrap_or_default()),
            Converter::ParseJson => shape::parse_json(&text(&first)?),
            Converter::ParseInt => match second {
                OttlValue::Int(base) => number::parse_int(&text(&first)?, base),
                _ => Err(EvalFailure("expected a whole number")),
            },
            Converter::ParseKeyValue => {
                let third = rest.next().unwrap_or(OttlValue::Nil);
                let (delimiter, between) = (optional(&second).unwrap_or("="), optional(&third).unwrap_or(" "));
                delimited::parse_key_value(&text(&first)?, delimiter, between)
            }
            Converter::ToKeyValueString => {
                let (third, sorted) = (rest.next().unwrap_or(OttlValue::Nil), rest.next());
                let (delimiter, between) = (optional(&second).unwrap_or("="), optional(&third).unwrap_or(" "));
                delimited::to_key_value(&first, delimiter, between, matches!(sorted, Some(OttlValue::Bool(true))))
            }
            Converter::ParseCsv => {
                let rest: Vec<OttlValue<'a>> = rest.collect();
                let part = |at: usize| rest.get(at).and_then(optional);
                let letter = |text: Option<&str>| text.and_then(|text| text.chars().next());
                let delimiter = letter(part(0)).unwrap_or(',');
                let both = (delimiter, letter(part(1)).unwrap_or(delimiter));
                let quotes = part(2).and_then(Quotes::named).unwrap_or(Quotes::Strict);
                delimited::parse_csv(&text(&first)?, &text(&second)?, both, quotes)
            }
            Converter::Url => url::parse(&text(&first)?),
            Converter::ParseCef => logs::parse_cef(&text(&first)?),
            Converter::ParseLeef => logs::parse_leef(&text(&first)?),
            Converter::ParseElf => logs::parse_elf(&text(&first)?),
            Converter::ParseClf => logs::parse_clf(&text(&first)?, optional(&second) == Some("combined")),
            _ => self.of_texts(first, second, rest),
        }
    }

    fn of_texts<'a>(
        self,
        first: OttlValue<'a>,
        second: OttlValue<'a>,
        mut rest: impl Iterator<Item = OttlValue<'a>>,
    ) -> Result<OttlValue<'a>, EvalFailure> {
        let owned = |digits: String| Ok(OttlValue::Text(Cow::Owned(digits)));
        let made = |text: String| Ok(OttlValue::Text(Cow::Owned(text)));
        match self {
            Converter::Concat => text::concat(&first, &text(&second)?),
            Converter::ConvertCase => text::convert_case(&text(&first)?, &text(&second)?),
            Converter::ToLowerCase => made(text(&first)?.to_lowercase()),
            Converter::ToUpperCase => made(text(&first)?.to_uppercase()),
            Converter::ToCamelCase => made(case::camel(&text(&first)?)),
            Converter::ToSnakeCase => made(case::snake(&text(&first)?)),
            Converter::Trim => Ok(text::trim(&text(&first)?, optional(&second))),
            Converter::TrimPrefix => {
                let (text, end) = (text(&first)?, text(&second)?);
                Ok(text_value(text.strip_prefix(&*end).unwrap_or(&text)))
            }
            Converter::TrimSuffix => {
                let (text, end) = (text(&first)?, text(&second)?);
                Ok(text_value(text.strip_suffix(&*end).unwrap_or(&text)))
            }
            Converter::HasPrefix => Ok(OttlValue::Bool(text(&first)?.starts_with(&*text(&second)?))),
            Converter::HasSuffix => Ok(OttlValue::Bool(text(&first)?.ends_with(&*text(&second)?))),
            Converter::Split => Ok(text::split(&text(&first)?, &text(&second)?)),
            Converter::Substring => {
                let (length, whole) = (rest.next().unwrap_or(OttlValue::Nil), rest.next());
                let (OttlValue::Int(start), OttlValue::Int(length)) = (second, length) else {
                    return Err(EvalFailure("Substring wants a start and a length"));
                };
                text::substring(&text(&first)?, start, length, matches!(whole, Some(OttlValue::Bool(true))))
            }
            Converter::Base64Encode => text::base64_encode(&text(&first)?, optional(&second).unwrap_or("base64")),
            Converter::Base64Decode => text::decode(&first, "base64"),
            Converter::Decode => text::decode(&first, &text(&second)?),
            Converter::Sha256 => owned(hash::sha256(text(&first)?.as_bytes())),
            Converter::Sha1 => owned(hash::sha1(text(&first)?.as_bytes())),
            Converter::Sha512 => owned(hash::sha512(text(&first)?.as_bytes())),
            Converter::Md5 => owned(hash::md5(text(&first)?.as_bytes())),
            Converter::Fnv => Ok(OttlValue::Int(hash::fnv(text(&first)?.as_bytes()))),
            Converter::Murmur3 => owned(hash::murmur3(text(&first)?.as_bytes())),
            Converter::Murmur3Of128 => owned(hash::murmur3_128(text(&first)?.as_bytes())),
            Converter::Xxh3 => owned(hash::xxh3(text(&first)?.as_bytes())),
            Converter::Xxh128 => owned(hash::xxh128(text(&first)?.as_bytes())),
            Converter::CommunityId => {
                let all: Vec<OttlValue<'a>> = [first, second].into_iter().chain(rest).collect();
                owned(hash::community_id(&all)?)
            }
            // They need the item or what was made of their arguments beforehand: see `eval`.
            Converter::IsRootSpan
            | Converter::HasAttrKeyOnDatapoint
            | Converter::HasAttrOnDatapoint
            | Converter::IsMatch
            | Converter::ExtractPatterns
            | Converter::ExtractGrokPatterns
            | Converter::ParseSeverity
            | Converter::Coalesce
            | Converter::Now
            | Converter::Uuid
            | Converter::UuidV7
            | Converter::Time
            | Converter::FormatTime => Err(EvalFailure("the function needs an item")),
            other => time::apply(other, &first, &second),
        }
    }
}

fn is_empty(value: &OttlValue<'_>) -> bool {
    match value {
        OttlValue::Nil => true,
        // So it is in the Collector, whatever their number; `Len` tells it.
        OttlValue::Pieces(_) => false,
        OttlValue::Bool(truth) => !truth,
        OttlValue::Int(number) | OttlValue::Duration(number) => *number == 0,
        OttlValue::Float(number) => number.to_bits() == 0,
        OttlValue::Id(id) => id.bytes().iter().all(|byte| *byte == 0),
        // The zero of Go's times is the first of January of the year one.
        OttlValue::Time(moment) => moment.whole(1_000_000_000) == -62_135_596_800,
        other => other.length() == Ok(0),
    }
}

fn optional<'v>(value: &'v OttlValue<'_>) -> Option<&'v str> {
    if let OttlValue::Text(text) = value { Some(text) } else { None }
}

/// The text that a value is, for a function's argument.
pub fn text<'v>(value: &'v OttlValue<'_>) -> Result<Cow<'v, str>, EvalFailure> {
    match value {
        OttlValue::Text(text) if text.len() > TEXT_MAX => Err(EvalFailure("the text is too long")),
        OttlValue::Text(text) => Ok(Cow::Borrowed(text)),
        _ => Err(EvalFailure("expected a string")),
    }
}

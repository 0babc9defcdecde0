//! Converters between kinds of values: ids, and maps of what was read in a text.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::config::value::pattern::group_name;
use crate::ottl::convert::made::{object, text_value};
use crate::ottl::value::failure::EvalFailure;
use crate::ottl::value::{ELEMENTS_MAX, IdBytes, OttlValue};

pub fn parse_json<'a>(text: &str) -> Result<OttlValue<'a>, EvalFailure> {
    let Document(value) = serde_json::from_str(text).map_err(|_| EvalFailure("the text is not JSON"))?;
    if value.is_map() || value.is_list() {
        Ok(value)
    } else {
        Err(EvalFailure("the JSON is not an object or an array"))
    }
}

/// A document of JSON: every number is a double, as upstream's decoder has it. The parser bounds the depth.
struct Document(OttlValue<'static>);

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Document, D::Error> {
        deserializer.deserialize_any(Reader).map(Document)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = OttlValue<'static>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<OttlValue<'static>, E> {
        Ok(OttlValue::Nil)
    }

    fn visit_bool<E: Error>(self, truth: bool) -> Result<OttlValue<'static>, E> {
        Ok(OttlValue::Bool(truth))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<OttlValue<'static>, E> {
        Ok(OttlValue::Float(number as f64))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<OttlValue<'static>, E> {
        Ok(OttlValue::Float(number as f64))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<OttlValue<'static>, E> {
        Ok(OttlValue::Float(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<OttlValue<'static>, E> {
        Ok(text_value(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<OttlValue<'static>, A::Error> {
        let mut values = Vec::new();
        while let Some(Document(value)) = list.next_element()? {
            if values.len() == ELEMENTS_MAX {
                return Err(A::Error::custom("too many elements"));
            }
            values.push(value);
        }
        Ok(OttlValue::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<OttlValue<'static>, A::Error> {
        let mut pairs: Vec<(String, OttlValue<'static>)> = Vec::new();
        while let Some((key, Document(value))) = map.next_entry::<String, Document>()? {
            if pairs.len() == ELEMENTS_MAX {
                return Err(A::Error::custom("too many entries"));
            }
            pairs.push((key, value));
        }
        object(pairs).map_err(A::Error::custom)
    }
}

/// So many bytes, or twice as many digits.
pub fn id<'a>(value: &OttlValue<'_>, length: usize) -> Result<OttlValue<'a>, EvalFailure> {
    const WRONG: EvalFailure = EvalFailure("the id has another length");
    let bytes: &[u8] = match value {
        OttlValue::Bytes(bytes) => bytes,
        OttlValue::Text(text) => text.as_bytes(),
        _ => return Err(WRONG),
    };
    if bytes.len() == length {
        return Ok(OttlValue::Id(IdBytes::of(bytes, length)));
    }
    if bytes.len() != 2 * length {
        return Err(WRONG);
    }
    let digit = |c: u8| char::from(c).to_digit(16).ok_or(EvalFailure("the id has other characters than digits"));
    let pairs = bytes.chunks_exact(2).map(|pair| Ok((digit(pair[0])? << 4 | digit(pair[1])?) as u8));
    let made: Vec<u8> = pairs.collect::<Result<_, EvalFailure>>()?;
    Ok(OttlValue::Id(IdBytes::of(&made, length)))
}

/// Named groups of the first match (contrib func_extract_patterns.go), of one name the last; an empty map when nothing
/// matches.
pub fn extract<'a>(pattern: &regex::Regex, text: &str) -> Result<OttlValue<'a>, EvalFailure> {
    let Some(found) = pattern.captures(text) else { return Ok(OttlValue::Object(Vec::new())) };
    let group = |name: &str| {
        let group = found.name(name).map_or("", |group| group.as_str());
        (group_name(name).to_owned(), text_value(group))
    };
    object(pattern.capture_names().flatten().map(group).collect())
}

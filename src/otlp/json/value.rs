//! Any JSON value as a value of OTLP: objects become maps, arrays lists, whole numbers integers.
//!
//! One walk, no tree. What nests deeper than `DEPTH_KEPT` levels is kept as the text it was written in, so that nothing is
//! lost and no depth is met that OTLP refuses.

use crate::core::data::budget::OverBudget;
use crate::core::limits::DEPTH_MAX;
use crate::otlp::draft::Draft;
use crate::otlp::fields::common::{any_value, array_value, key_value, key_value_list};
use crate::otlp::json::number::{Whole, double};
use crate::otlp::json::read::TranscodeError;
use crate::otlp::json::scan::{JsonError, Quoted, Scanner};

/// Objects and arrays around a value that is still a value of its own.
const DEPTH_KEPT: usize = DEPTH_MAX / 2;
/// Text that is not UTF-8 becomes three bytes for each of its.
const REPLACED_BYTES: usize = 3;

type Written<T> = Result<T, TranscodeError>;

/// Reads the next value of `scan` and writes it as an `AnyValue` in field `number`.
pub fn put(scan: &mut Scanner<'_>, draft: &mut Draft, number: u32) -> Written<()> {
    nested(scan, draft, number, 0)
}

/// Writes a string as an `AnyValue` in field `number`.
pub fn put_text(draft: &mut Draft, number: u32, quoted: &Quoted<'_>) -> Result<(), OverBudget> {
    let value = draft.open(number)?;
    put_string(draft, any_value::STRING_VALUE, quoted)?;
    draft.close(&value)
}

/// Writes a string into field `number`. One with an escape that is none of JSON's stays as it was written.
pub fn put_string(draft: &mut Draft, number: u32, quoted: &Quoted<'_>) -> Result<(), OverBudget> {
    let room = REPLACED_BYTES * quoted.raw.len();
    match draft.text(number, room, |out| quoted.push_to(out))? {
        Some(()) => Ok(()),
        None => draft.text(number, room, |out| Quoted { escaped: false, ..*quoted }.push_to(out)).map(drop),
    }
}

fn nested(scan: &mut Scanner<'_>, draft: &mut Draft, number: u32, depth: usize) -> Written<()> {
    let value = draft.open(number)?;
    match scan.peek() {
        Some(b'"') => {
            let quoted = scan.string("a string")?;
            put_string(draft, any_value::STRING_VALUE, &quoted)?;
        }
        Some(b'{' | b'[') if depth >= DEPTH_KEPT => {
            let raw = scan.raw()?;
            put_string(draft, any_value::STRING_VALUE, &Quoted { raw, escaped: false })?;
        }
        Some(b'{') => object(scan, draft, depth)?,
        Some(b'[') => array(scan, draft, depth)?,
        Some(b'-' | b'0'..=b'9') => put_number(scan, draft)?,
        _ if scan.literal("true") => draft.varint(any_value::BOOL_VALUE, 1)?,
        _ if scan.literal("false") => draft.varint(any_value::BOOL_VALUE, 0)?,
        // A value without content, as OTLP says "null".
        _ if scan.literal("null") => {}
        _ => return Err(scan.unexpected("a JSON value").into()),
    }
    Ok(draft.close(&value)?)
}

fn object(scan: &mut Scanner<'_>, draft: &mut Draft, depth: usize) -> Written<()> {
    let map = draft.open(any_value::KVLIST_VALUE)?;
    scan.expect(b'{', "an object")?;
    let mut more = !scan.take(b'}');
    while more {
        let key = scan.string("a key")?;
        scan.expect(b':', "`:`")?;
        let entry = draft.open(key_value_list::VALUES)?;
        put_string(draft, key_value::KEY, &key)?;
        nested(scan, draft, key_value::VALUE, depth + 1)?;
        draft.close(&entry)?;
        more = scan.more(b'}')?;
    }
    Ok(draft.close(&map)?)
}

fn array(scan: &mut Scanner<'_>, draft: &mut Draft, depth: usize) -> Written<()> {
    let list = draft.open(any_value::ARRAY_VALUE)?;
    scan.expect(b'[', "an array")?;
    let mut more = !scan.take(b']');
    while more {
        nested(scan, draft, array_value::VALUES, depth + 1)?;
        more = scan.more(b']')?;
    }
    Ok(draft.close(&list)?)
}

fn put_number(scan: &mut Scanner<'_>, draft: &mut Draft) -> Written<()> {
    let at = scan.position();
    let text = scan.number("a number")?;
    let is_written_whole = !text.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E'));
    if is_written_whole && let Some(whole) = Whole::parse(text).and_then(Whole::signed) {
        return Ok(draft.varint(any_value::INT_VALUE, whole.cast_unsigned())?);
    }
    let bits = double(text).ok_or_else(|| not_a_number(scan, at))?.to_bits();
    Ok(draft.fixed64(any_value::DOUBLE_VALUE, bits)?)
}

fn not_a_number(scan: &Scanner<'_>, at: usize) -> JsonError {
    scan.fault(at, "this is not a number that a double can hold")
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::KeyValue;
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    use prost::Message;

    use super::*;
    use crate::core::data::budget::Ticket;

    fn value(json: &str) -> Result<Option<Value>, String> {
        let mut scan = Scanner::new(json.as_bytes());
        let mut draft = Draft::within(&Ticket::free());
        put(&mut scan, &mut draft, key_value::VALUE).map_err(|fault| fault.to_string())?;
        scan.end().map_err(|fault| fault.to_string())?;
        let bytes = draft.freeze().map_err(|why| why.to_string())?;
        Ok(KeyValue::decode(bytes).expect("protobuf").value.expect("a value").value)
    }

    #[test]
    fn values_of_every_kind_become_values_of_otlp() {
        assert_eq!(value("\"a\\u00e9\""), Ok(Some(Value::StringValue("a\u{e9}".to_owned()))));
        assert_eq!(value("-7"), Ok(Some(Value::IntValue(-7))));
        assert_eq!(value("1.0"), Ok(Some(Value::DoubleValue(1.0))));
        assert_eq!(value("18446744073709551615"), Ok(Some(Value::DoubleValue(18_446_744_073_709_551_615.0))));
        assert_eq!(value("true"), Ok(Some(Value::BoolValue(true))));
        assert_eq!(value("null"), Ok(None));
        let Ok(Some(Value::KvlistValue(map))) = value(r#"{"a": [1, {"b": ""}], "c": {}}"#) else { panic!("a map") };
        let keys: Vec<&str> = map.values.iter().map(|pair| pair.key.as_str()).collect();
        assert_eq!(keys, ["a", "c"]);
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_place() {
        for (json, place) in [("{\"a\" 1}", "column 6"), ("[1,]", "column 4"), ("{\"a\":01}", "column 6"), ("", "end")]
        {
            let fault = value(json).expect_err(json);
            assert!(fault.contains(place), "{json}: {fault}");
        }
    }

    #[test]
    fn what_nests_too_deep_is_kept_as_text() {
        let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
        let mut at = value(&deep).expect("read");
        let mut levels = 0;
        while let Some(Value::ArrayValue(list)) = at {
            at = list.values.into_iter().next().and_then(|value| value.value);
            levels += 1;
        }
        let Some(Value::StringValue(text)) = at else { panic!("text at the end") };
        assert_eq!((levels, text.len()), (DEPTH_KEPT, deep.len() - 2 * DEPTH_KEPT));
    }
}

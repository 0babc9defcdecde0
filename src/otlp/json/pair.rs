//! An attribute as almost all are written: `{"key":"k","value":{"stringValue":"v"}}` without blanks or escapes, or with an
//! `intValue`. It is most of a body, and two looks for the end of a string are all that it needs; any other form is read
//! key by key (`read`), to the same message.

use crate::core::data::granted::Granted;
use crate::otlp::fields::common::{any_value, key_value};
use crate::otlp::json::number::Whole;
use crate::otlp::json::text::plain_run;
use crate::otlp::write;

const KEY: &[u8] = b"{\"key\":\"";
const STRING: &[u8] = b",\"value\":{\"stringValue\":\"";
const INT: &[u8] = b",\"value\":{\"intValue\":";
const END: &[u8] = b"}}";
/// No whole number of 64 bits is longer.
const DIGITS_MAX: usize = 20;

/// An attribute and how many bytes of the text it takes.
pub struct PlainPair<'j> {
    key: &'j [u8],
    value: Value<'j>,
    pub length: usize,
}

enum Value<'j> {
    Text(&'j [u8]),
    Int(i64),
}

impl<'j> PlainPair<'j> {
    /// The attribute at the beginning of the text, if it is written so.
    #[inline]
    pub fn read(text: &'j [u8]) -> Option<PlainPair<'j>> {
        let (key, rest) = string_end(text.strip_prefix(KEY)?)?;
        // An empty key is left out.
        if key.is_empty() {
            return None;
        }
        let (value, rest) = match rest.strip_prefix(STRING) {
            Some(rest) => string_end(rest).map(|(text, rest)| (Value::Text(text), rest))?,
            None => int(rest.strip_prefix(INT)?).map(|(number, rest)| (Value::Int(number), rest))?,
        };
        let rest = rest.strip_prefix(END)?;
        Some(PlainPair { key, value, length: text.len() - rest.len() })
    }

    /// Bytes that it takes as a field, at most.
    #[inline]
    pub fn room(&self) -> usize {
        self.length + 24
    }

    /// Appends it as a field.
    #[inline]
    pub fn write(&self, out: &mut Granted<u8>, number: u32) {
        let out = out.within();
        let value_bytes = match self.value {
            Value::Text(text) => write::field_len(any_value::STRING_VALUE, text.len()),
            Value::Int(number) => 1 + write::varint_len(number as u64),
        };
        let bytes = write::field_len(key_value::KEY, self.key.len()) + write::field_len(key_value::VALUE, value_bytes);
        write::key(out, number, write::LEN);
        write::varint(out, bytes as u64);
        write::bytes(out, key_value::KEY, self.key);
        write::key(out, key_value::VALUE, write::LEN);
        write::varint(out, value_bytes as u64);
        match self.value {
            Value::Text(text) => write::bytes(out, any_value::STRING_VALUE, text),
            Value::Int(number) => {
                write::key(out, any_value::INT_VALUE, write::VARINT);
                write::varint(out, number as u64);
            }
        }
    }
}

/// A string without escapes up to its quote, and what stands behind that.
#[inline]
fn string_end(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (string, rest) = text.split_at(plain_run(text));
    Some((string, rest.strip_prefix(b"\"")?))
}

/// A whole number, in quotes or not.
#[inline]
fn int(text: &[u8]) -> Option<(i64, &[u8])> {
    let (quoted, digits) = match text.strip_prefix(b"\"") {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let within = &digits[..digits.len().min(DIGITS_MAX + 1)];
    let length = within.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b'-'))?;
    let (number, rest) = digits.split_at(length);
    let number = Whole::parse(number)?.signed()?;
    Some((number, if quoted { rest.strip_prefix(b"\"")? } else { rest }))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use crate::core::data::payload::Signal;
    use crate::otlp::json::to_wire;

    fn wire(attributes: &str) -> Result<Bytes, String> {
        let body = format!(r#"{{"resourceSpans":[{{"resource":{{"attributes":[{attributes}]}}}}]}}"#);
        to_wire(Signal::Traces, body.as_bytes()).map_err(|fault| fault.to_string())
    }

    #[test]
    fn an_attribute_becomes_the_same_bytes_in_its_plainest_form_and_in_others() {
        let long = "x".repeat(300);
        for (key, value) in [
            ("k", r#""stringValue":"v""#),
            ("k", r#""stringValue":"""#),
            ("", r#""stringValue":"v""#),
            ("caf\u{e9}", r#""stringValue":"\u0041\"b""#),
            (long.as_str(), r#""stringValue":"v""#),
            ("k", &format!(r#""stringValue":"{long}""#)),
            ("k", r#""intValue":"0""#),
            ("k", r#""intValue":"-9223372036854775808""#),
            ("k", r#""intValue":9223372036854775807"#),
            ("k", r#""intValue":"1e3""#),
            ("k", r#""intValue":1.0"#),
            ("k", r#""intValue":null"#),
            ("k", r#""stringValue":null"#),
            ("k", r#""boolValue":true"#),
            ("k", r#""stringValue":"a","intValue":"1""#),
        ] {
            let plainest = format!(r#"{{"key":"{key}","value":{{{value}}}}}"#);
            let spaced = format!(r#"{{ "key":"{key}","value":{{ {value} }} }}"#);
            assert_eq!(wire(&plainest), wire(&spaced), "{plainest}");
            wire(&plainest).unwrap();
            assert_eq!(wire(&format!("{plainest}, {plainest}")), wire(&format!("{spaced},{spaced}")), "{plainest}");
        }
    }

    #[test]
    fn what_is_wrong_in_an_attribute_is_refused_with_its_place_in_either_form() {
        for value in [
            r#""intValue":"9223372036854775808""#,
            r#""intValue":01"#,
            r#""intValue":"1"#,
            r#""stringValue":"a"#,
            r#""intValue":-"#,
        ] {
            let plainest = wire(&format!(r#"{{"key":"k","value":{{{value}}}}}"#)).unwrap_err();
            assert!(plainest.starts_with("line 1, column "), "{value}: {plainest}");
        }
        assert!(wire(r#"{"key":"k","value":{"stringValue":"v"}"#).is_err());
        assert!(wire(r#"{"key":"k","value":{"stringValue":"v"}},"#).is_err());
    }
}

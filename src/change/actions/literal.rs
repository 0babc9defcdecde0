//! A value of the configuration as an `AnyValue` message, made once when the configuration is checked.

use crate::core::node::{Node, Value};
use crate::otlp::write;

/// The message. The kind is the YAML value's: a quoted number is a string; lists and maps keep their kinds inside.
pub fn any_value(node: &Node) -> Vec<u8> {
    let mut out = Vec::new();
    match &node.value {
        Value::Null => {}
        Value::String(text) => write::bytes(&mut out, 1, text.as_bytes()),
        Value::Bool(on) => out.extend_from_slice(&[2 << 3, u8::from(*on)]),
        Value::Int(number) => {
            write::key(&mut out, 3, write::VARINT);
            write::varint(&mut out, *number as u64);
        }
        Value::Float(number) => {
            write::key(&mut out, 4, write::FIXED64);
            out.extend_from_slice(&number.to_bits().to_le_bytes());
        }
        Value::List(items) => {
            let mut list = Vec::new();
            items.iter().for_each(|item| write::bytes(&mut list, 1, &any_value(item)));
            write::bytes(&mut out, 5, &list);
        }
        Value::Map(entries) => {
            let mut map = Vec::new();
            for entry in entries {
                let mut pair = Vec::new();
                write::bytes(&mut pair, 1, entry.key.as_bytes());
                write::bytes(&mut pair, 2, &any_value(&entry.value));
                write::bytes(&mut map, 1, &pair);
            }
            write::bytes(&mut out, 6, &map);
        }
    }
    out
}

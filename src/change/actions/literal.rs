//! A value of the configuration as an `AnyValue` message, made once when the configuration is checked.

use crate::core::node::{Node, Value};
use crate::otlp::fields::common::{any_value, key_value};
use crate::otlp::fields::value_list::VALUES;
use crate::otlp::write;

/// The message. The kind is the YAML value's: a quoted number is a string; lists and maps keep their kinds inside.
pub fn any_value(node: &Node) -> Vec<u8> {
    let mut out = Vec::new();
    match &node.value {
        Value::Null => {}
        Value::String(text) => write::bytes(&mut out, any_value::STRING_VALUE, text.as_bytes()),
        Value::Bool(on) => out.extend_from_slice(&[2 << 3, u8::from(*on)]),
        Value::Int(number) => {
            write::key(&mut out, any_value::INT_VALUE, write::VARINT);
            write::varint(&mut out, *number as u64);
        }
        Value::Float(number) => {
            write::key(&mut out, any_value::DOUBLE_VALUE, write::FIXED64);
            out.extend_from_slice(&number.to_bits().to_le_bytes());
        }
        Value::List(items) => {
            let mut list = Vec::new();
            items.iter().for_each(|item| write::bytes(&mut list, VALUES, &any_value(item)));
            write::bytes(&mut out, any_value::ARRAY_VALUE, &list);
        }
        Value::Map(entries) => {
            let mut map = Vec::new();
            for entry in entries {
                let mut pair = Vec::new();
                write::bytes(&mut pair, key_value::KEY, entry.key.as_bytes());
                write::bytes(&mut pair, key_value::VALUE, &any_value(&entry.value));
                write::bytes(&mut map, VALUES, &pair);
            }
            write::bytes(&mut out, any_value::KVLIST_VALUE, &map);
        }
    }
    out
}

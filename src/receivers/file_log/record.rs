//! An entry as bytes of OTLP: its record, and the resource that it belongs to.

use std::borrow::Cow;

use crate::core::data::budget::OverBudget;
use crate::core::time::UnixNanos;
use crate::otlp::attributes;
use crate::otlp::draft::Draft;
use crate::otlp::fields::common::{any_value, array_value, key_value, key_value_list};
use crate::otlp::fields::logs::log_record;
use crate::otlp::trace_text::TextIds;
use crate::receivers::file_log::entry::{EntryMap, EntryValue, FileEntry};

type Written = Result<(), OverBudget>;

/// Appends the fields of the entry's record; `lifted` are ids that its body tells, for where it has none.
pub fn write_record(draft: &mut Draft, entry: &FileEntry<'_>, lifted: &TextIds, now: UnixNanos) -> Written {
    if let Some(time) = entry.time {
        draft.fixed64(log_record::TIME_UNIX_NANO, time)?;
    }
    draft.fixed64(log_record::OBSERVED_TIME_UNIX_NANO, now.0)?;
    if let Some(severity) = &entry.severity {
        draft.varint(log_record::SEVERITY_NUMBER, u64::from(severity.number))?;
        draft.bytes(log_record::SEVERITY_TEXT, &readable(&severity.text))?;
    }
    put_value(draft, log_record::BODY, &entry.body)?;
    put_map(draft, log_record::ATTRIBUTES, &entry.attributes)?;
    if let Some(flags) = entry.trace_flags.or(lifted.flags) {
        draft.fixed32(log_record::FLAGS, u32::from(flags))?;
    }
    if let Some(id) = entry.trace_id.as_ref().or(lifted.trace_id.as_ref()) {
        draft.bytes(log_record::TRACE_ID, id)?;
    }
    if let Some(id) = entry.span_id.as_ref().or(lifted.span_id.as_ref()) {
        draft.bytes(log_record::SPAN_ID, id)?;
    }
    Ok(())
}

/// Appends the attributes of the entry's resource.
pub fn write_resource(draft: &mut Draft, entry: &FileEntry<'_>) -> Written {
    for (key, value) in entry.pod.map_or([].as_slice(), |pod| &pod.attributes) {
        draft.text_attribute(attributes::RESOURCE, key, value.as_bytes())?;
    }
    put_map(draft, attributes::RESOURCE, &entry.resource)
}

/// Each pair as a `KeyValue` in field `number`.
fn put_map(draft: &mut Draft, number: u32, map: &EntryMap<'_>) -> Written {
    for (key, value) in map {
        if let EntryValue::Text(bytes) = value {
            draft.text_attribute(number, key, &readable(bytes))?;
            continue;
        }
        let pair = draft.open(number)?;
        draft.bytes(key_value::KEY, key.as_bytes())?;
        put_value(draft, key_value::VALUE, value)?;
        draft.close(&pair)?;
    }
    Ok(())
}

fn put_value(draft: &mut Draft, number: u32, value: &EntryValue<'_>) -> Written {
    if let EntryValue::Text(bytes) = value {
        return draft.text_value(number, &readable(bytes));
    }
    let open = draft.open(number)?;
    match value {
        // Texts are written above.
        EntryValue::Nil | EntryValue::Text(_) => {}
        EntryValue::Int(number) => draft.varint(any_value::INT_VALUE, number.cast_unsigned())?,
        EntryValue::Double(number) => draft.fixed64(any_value::DOUBLE_VALUE, number.to_bits())?,
        EntryValue::Bool(value) => draft.varint(any_value::BOOL_VALUE, u64::from(*value))?,
        EntryValue::Map(map) => {
            let list = draft.open(any_value::KVLIST_VALUE)?;
            put_map(draft, key_value_list::VALUES, map)?;
            draft.close(&list)?;
        }
        EntryValue::List(values) => {
            let list = draft.open(any_value::ARRAY_VALUE)?;
            for value in values {
                put_value(draft, array_value::VALUES, value)?;
            }
            draft.close(&list)?;
        }
    }
    draft.close(&open)
}

/// Bytes that are not UTF-8 become U+FFFD.
fn readable(bytes: &[u8]) -> Cow<'_, [u8]> {
    match std::str::from_utf8(bytes) {
        Ok(_) => Cow::Borrowed(bytes),
        Err(_) => Cow::Owned(String::from_utf8_lossy(bytes).into_owned().into_bytes()), // granted: a line of a file
    }
}

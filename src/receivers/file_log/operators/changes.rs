//! Operators that change an entry and keep nothing.

use std::borrow::Cow;

use crate::core::time::UnixNanos;
use crate::otlp::ids::hex_to_bytes;
use crate::receivers::file_log::entry::{EntryValue, FileEntry};
use crate::receivers::file_log::field::{EntryField, EntryPart};
use crate::receivers::file_log::operators::parsers;
use crate::receivers::file_log::operators::rules::{LineOperator, TraceReading};

/// The error says why the entry is as it was, or nearly so.
pub fn changed(what: &LineOperator, entry: &mut FileEntry<'_>, now: UnixNanos) -> Result<(), String> {
    let absent = |field: &EntryField| format!("{field:?} is not there");
    match what {
        LineOperator::Json { from, to, keeps_ints } => {
            let parsed = parsers::json(text_of(from, entry)?, *keeps_ints)?;
            to.set(entry, parsed)
        }
        LineOperator::Regex { from, to, regex } => {
            let parsed = parsers::groups(regex, text_of(from, entry)?)?;
            to.set(entry, parsed)
        }
        LineOperator::Time { from, reading } => {
            let value = from.get(entry).ok_or_else(|| absent(from))?;
            entry.time = Some(reading.read(value, now)?);
            Ok(())
        }
        LineOperator::Severity(reading) => reading.apply(entry),
        LineOperator::Trace(reading) => trace(reading, entry),
        LineOperator::Move { from, to } => {
            let value = from.take(entry).ok_or_else(|| absent(from))?;
            to.set(entry, value)
        }
        LineOperator::Copy { from, to } => {
            let value = from.get(entry).ok_or_else(|| absent(from))?.clone();
            to.set(entry, value)
        }
        LineOperator::Add { field, value } => field.set(entry, value.clone()),
        LineOperator::Remove(field) => field.take(entry).map(drop).ok_or_else(|| absent(field)),
        LineOperator::Retain(fields) => {
            retain(fields, entry);
            Ok(())
        }
        LineOperator::Noop
        | LineOperator::Container(_)
        | LineOperator::Filter(_)
        | LineOperator::Router { .. }
        | LineOperator::Recombine(_) => Ok(()),
    }
}

fn text_of<'l>(field: &EntryField, entry: &FileEntry<'l>) -> Result<Cow<'l, [u8]>, String> {
    match field.get(entry) {
        Some(EntryValue::Text(text)) => Ok(text.clone()),
        Some(_) => Err("the field is no text".to_owned()),
        None => Err("the field is not there".to_owned()),
    }
}

/// Of each part that is named, only what is named stays; parts that are not named stay whole.
fn retain(fields: &[EntryField], entry: &mut FileEntry<'_>) {
    let kept: Vec<_> = fields.iter().filter_map(|field| Some((field, field.get(entry)?.clone()))).collect();
    let names = |part: EntryPart| fields.iter().any(|field| field.part == part && !field.keys.is_empty());
    if names(EntryPart::Body) {
        entry.body = EntryValue::Nil;
    }
    if names(EntryPart::Attributes) {
        entry.attributes.clear();
    }
    if names(EntryPart::Resource) {
        entry.resource.clear();
    }
    for (field, value) in kept {
        // A field that was read can be set.
        let _ = field.set(entry, value);
    }
}

/// What can be read is set, whatever else cannot.
fn trace(reading: &TraceReading, entry: &mut FileEntry<'_>) -> Result<(), String> {
    let trace_id = id_in(&reading.trace_id, entry);
    let span_id = id_in(&reading.span_id, entry);
    let flags = id_in::<1>(&reading.trace_flags, entry);
    if let Ok(id) = trace_id {
        entry.trace_id = id;
    }
    if let Ok(id) = span_id {
        entry.span_id = id;
    }
    if let Ok(flags) = flags {
        entry.trace_flags = flags.map(|[flags]| flags);
    }
    trace_id.map_err(|()| "the trace id is not 32 hexadecimal digits")?;
    span_id.map_err(|()| "the span id is not 16 hexadecimal digits")?;
    flags.map_err(|()| "the trace flags are not 2 hexadecimal digits")?;
    Ok(())
}

/// An id that is not there is none; what is no id is a fault.
fn id_in<const N: usize>(field: &EntryField, entry: &FileEntry<'_>) -> Result<Option<[u8; N]>, ()> {
    match field.get(entry) {
        None => Ok(None),
        Some(value) if value.as_text() == Some(b"") => Ok(None),
        Some(value) => value.as_text().and_then(hex_to_bytes).map(Some).ok_or(()),
    }
}

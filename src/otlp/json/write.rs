//! Request bytes to one OTLP/JSON line in the form of the Collector's file exporter: lowerCamelCase keys in the order of
//! the .proto files, hex ids, 64-bit integers as strings, zero values left out, bodies and statuses always there.
//!
//! Fields are read where they stand: one walk marks which rows are present, one more per row writes it.

use crate::core::data::payload::{Envelope, Group, ScopeGroup, Signal};
use crate::core::limits::DEPTH_MAX;
use crate::otlp::envelope::count_item;
use crate::otlp::ids::push_hex;
use crate::otlp::json::line::JsonLine;
use crate::otlp::json::schema::{self, FieldKind, FieldSchema, MessageSchema, Presence};
use crate::otlp::json::text;
use crate::otlp::walk::{self, Fields, Malformed, Wire};

/// Appends the request as one JSON object, without a line feed. Text that is not UTF-8 becomes U+FFFD, so the line is
/// valid JSON whatever came in. On an error nothing is appended. Its memory is accounted elsewhere.
pub fn from_wire(signal: Signal, envelope: &Envelope, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let before = out.len();
    let mut line = JsonLine::behind(std::mem::take(out));
    let written = write_request(signal, envelope, &mut line, &mut |_, fault| Err(fault));
    *out = line.into_text();
    if written.is_err() {
        out.truncate(before);
    }
    written
}

/// The same without the items that cannot be written, which is found out in the one walk; returns how many they are, in
/// the unit of the balance. Of a resource or scope that cannot be written all items are left out. Without memory for all
/// of it the line says so.
pub fn readable_from_wire(signal: Signal, envelope: &Envelope, out: &mut JsonLine) -> u64 {
    let (before, mut left_out) = (out.len(), 0);
    let written = write_request(signal, envelope, out, &mut |item, _| {
        left_out += count_item(signal, item);
        Ok(())
    });
    if written.is_err() {
        // A dictionary that cannot be written.
        out.truncate(before);
        return envelope.items().map(|item| count_item(signal, item)).sum();
    }
    left_out
}

/// Told of every item that cannot be written; an error ends the request.
type OnFault<'f> = &'f mut dyn FnMut(&[u8], Malformed) -> Result<(), Malformed>;

fn write_request(
    signal: Signal,
    envelope: &Envelope,
    out: &mut JsonLine,
    on_fault: OnFault<'_>,
) -> Result<(), Malformed> {
    let request = schema::request(signal);
    out.push(b'{');
    if !envelope.groups.is_empty() {
        let groups = &request.fields[0];
        key(out, groups.name);
        out.push(b'[');
        for group in &envelope.groups {
            let before = out.len();
            separate(out);
            // Only its resource: what its scopes hold is settled within.
            if let Err(fault) = write_group(out, inner(groups), group, on_fault)? {
                out.truncate(before);
                group.scopes.iter().flat_map(|scope| &scope.items).try_for_each(|item| on_fault(item, fault))?;
            }
        }
        out.push(b']');
    }
    if let Some(dictionary) = request.fields.get(1) {
        key(out, dictionary.name);
        message(out, inner(dictionary), envelope.dictionary.as_deref().unwrap_or_default(), 0)?;
    }
    out.push(b'}');
    Ok(())
}

/// What cannot be written of itself is given back; an error is the end of the request.
type Written = Result<Result<(), Malformed>, Malformed>;

fn write_group(out: &mut JsonLine, rows: &MessageSchema, group: &Group, on_fault: OnFault<'_>) -> Written {
    let [resource, scopes, url] = rows.fields else { return Ok(Ok(())) };
    out.push(b'{');
    key(out, resource.name);
    if let Err(fault) = message(out, inner(resource), group.resource.as_deref().unwrap_or_default(), 0) {
        return Ok(Err(fault));
    }
    if !group.scopes.is_empty() {
        key(out, scopes.name);
        out.push(b'[');
        for scope in &group.scopes {
            let before = out.len();
            separate(out);
            if let Err(fault) = write_scope(out, inner(scopes), scope, on_fault)? {
                out.truncate(before);
                scope.items.iter().try_for_each(|item| on_fault(item, fault))?;
            }
        }
        out.push(b']');
    }
    write_url(out, url, &group.schema_url);
    out.push(b'}');
    Ok(Ok(()))
}

fn write_scope(out: &mut JsonLine, rows: &MessageSchema, group: &ScopeGroup, on_fault: OnFault<'_>) -> Written {
    let [scope, items, url] = rows.fields else { return Ok(Ok(())) };
    out.push(b'{');
    key(out, scope.name);
    if let Err(fault) = message(out, inner(scope), group.scope.as_deref().unwrap_or_default(), 0) {
        return Ok(Err(fault));
    }
    if !group.items.is_empty() {
        key(out, items.name);
        out.push(b'[');
        for item in &group.items {
            if out.is_refused() {
                break;
            }
            let before = out.len();
            separate(out);
            if let Err(fault) = message(out, inner(items), item, 0) {
                out.truncate(before);
                on_fault(item, fault)?;
            }
        }
        out.push(b']');
    }
    write_url(out, url, &group.schema_url);
    out.push(b'}');
    Ok(Ok(()))
}

fn write_url(out: &mut JsonLine, row: &FieldSchema, url: &[u8]) {
    if !url.is_empty() {
        key(out, row.name);
        out.string(url);
    }
}

/// The message type of a row that holds messages.
fn inner(row: &FieldSchema) -> &'static MessageSchema {
    match row.kind {
        FieldKind::Message(inner) => inner,
        _ => schema::any_value(),
    }
}

fn separate(out: &mut JsonLine) {
    // Strings end with a quote, so an opening bracket at the end is one of ours.
    if !matches!(out.last(), Some(b'{' | b'[')) {
        out.push(b',');
    }
}

fn key(out: &mut JsonLine, name: &str) {
    separate(out);
    out.push(b'"');
    out.add(name.as_bytes());
    out.add(b"\":");
}

/// One message as an object. `depth` is the number of lists and maps around it.
fn message(out: &mut JsonLine, rows: &'static MessageSchema, bytes: &[u8], depth: usize) -> Result<(), Malformed> {
    let depth = depth + usize::from(rows.nests);
    if depth > DEPTH_MAX {
        return Err(Malformed::Depth);
    }
    let mut present = 0u32;
    for field in Fields::new(bytes) {
        let field = field?;
        let Some(row) = rows.row_of_number(field.number) else { continue };
        if rows.oneof & 1 << row != 0 {
            // Of a oneof the last member counts.
            present &= !rows.oneof;
        }
        present |= 1 << row;
    }
    out.push(b'{');
    for (row, field) in rows.fields.iter().enumerate() {
        match (present & 1 << row != 0, field.presence) {
            (true, Presence::Repeated) => list(out, field, bytes, depth)?,
            (true, _) => single(out, field, bytes, depth)?,
            (false, Presence::Always) => {
                key(out, field.name);
                message(out, inner(field), b"", depth)?;
            }
            (false, _) => {}
        }
    }
    out.push(b'}');
    Ok(())
}

/// Every occurrence of a field in its message.
fn occurrences<'a>(bytes: &'a [u8], field: &FieldSchema) -> impl Iterator<Item = Wire<'a>> + use<'a> {
    let number = field.number;
    Fields::new(bytes).filter_map(Result::ok).filter(move |found| found.number == number).map(|found| found.wire)
}

fn single(out: &mut JsonLine, field: &FieldSchema, bytes: &[u8], depth: usize) -> Result<(), Malformed> {
    let Some(last) = occurrences(bytes, field).last() else { return Ok(()) };
    if let FieldKind::Message(inner) = field.kind {
        key(out, field.name);
        let mut parts = occurrences(bytes, field);
        let (first, second) = (parts.next(), parts.next());
        if second.is_none() {
            return message(out, inner, wire_bytes(field, first.unwrap_or(last))?, depth);
        }
        occurrences(bytes, field).try_for_each(|part| wire_bytes(field, part).map(drop))?;
        let parts = occurrences(bytes, field).filter_map(|part| wire_bytes(field, part).ok());
        return out.with_joined(parts, |out, merged| message(out, inner, merged, depth)).unwrap_or(Ok(()));
    }
    if field.presence != Presence::Plain || !is_zero(field, last)? {
        key(out, field.name);
        scalar(out, field, last)?;
    }
    Ok(())
}

fn list(out: &mut JsonLine, field: &FieldSchema, bytes: &[u8], depth: usize) -> Result<(), Malformed> {
    let before = out.len();
    key(out, field.name);
    out.push(b'[');
    let empty = out.len();
    for wire in occurrences(bytes, field) {
        match (field.kind, wire) {
            (FieldKind::Message(inner), _) => {
                separate(out);
                message(out, inner, wire_bytes(field, wire)?, depth)?;
            }
            (FieldKind::String | FieldKind::Bytes | FieldKind::Id(_) | FieldKind::LooseId(_), _) => {
                separate(out);
                scalar(out, field, wire)?;
            }
            (_, Wire::Bytes(packed)) => unpack(out, field, packed)?,
            // Numbers may also come one by one.
            _ => {
                separate(out);
                scalar(out, field, wire)?;
            }
        }
    }
    if out.len() == empty {
        out.truncate(before);
    } else {
        out.push(b']');
    }
    Ok(())
}

fn unpack(out: &mut JsonLine, field: &FieldSchema, mut packed: &[u8]) -> Result<(), Malformed> {
    while !packed.is_empty() {
        let (wire, length) = match field.kind {
            FieldKind::Fixed64 | FieldKind::Sfixed64 | FieldKind::Double => {
                let word = packed.first_chunk().ok_or(Malformed::Length)?;
                (Wire::Fixed64(u64::from_le_bytes(*word)), 8)
            }
            FieldKind::Fixed32 => {
                let word = packed.first_chunk().ok_or(Malformed::Length)?;
                (Wire::Fixed32(u32::from_le_bytes(*word)), 4)
            }
            _ => {
                let (value, length) = walk::read_varint(packed)?;
                (Wire::Varint(value), length)
            }
        };
        separate(out);
        scalar(out, field, wire)?;
        packed = &packed[length..];
    }
    Ok(())
}

fn wire_bytes<'a>(field: &FieldSchema, wire: Wire<'a>) -> Result<&'a [u8], Malformed> {
    walk::Field { number: field.number, wire }.bytes()
}

fn is_zero(field: &FieldSchema, wire: Wire<'_>) -> Result<bool, Malformed> {
    Ok(match wire {
        // As in the Collector, an id of zeros is none.
        Wire::Bytes(bytes) if matches!(field.kind, FieldKind::Id(_) | FieldKind::LooseId(_)) => {
            bytes.iter().all(|byte| *byte == 0)
        }
        Wire::Bytes(bytes) => bytes.is_empty(),
        Wire::Varint(value) | Wire::Fixed64(value) => value == 0,
        Wire::Fixed32(value) => value == 0,
        Wire::Group => return Err(Malformed::Unexpected(field.number)),
    })
}

/// One value that is no message; the wire type must be the one OTLP gives it.
fn scalar(out: &mut JsonLine, field: &FieldSchema, wire: Wire<'_>) -> Result<(), Malformed> {
    let found = walk::Field { number: field.number, wire };
    let quotes: &[u8] =
        if matches!(field.kind, FieldKind::Int64 | FieldKind::Uint64 | FieldKind::Fixed64 | FieldKind::Sfixed64) {
            b"\""
        } else {
            b""
        };
    out.add(quotes);
    match field.kind {
        FieldKind::String => out.string(found.bytes()?),
        FieldKind::Bytes => {
            let bytes = found.bytes()?;
            out.put(bytes.len() / 3 * 4 + 8, |out| text::push_base64(out, bytes));
        }
        FieldKind::Id(_) | FieldKind::LooseId(_) => {
            let id = found.bytes()?;
            out.push(b'"');
            out.put(2 * id.len(), |out| push_hex(out, id));
            out.push(b'"');
        }
        FieldKind::Bool => out.add(if found.varint()? == 0 { b"false" } else { b"true" }),
        FieldKind::Int32 | FieldKind::Enum(_) => {
            let value = i64::from(found.varint()? as i32);
            out.number(|out| text::push_signed(out, value));
        }
        FieldKind::Sint32 => {
            let value = found.varint()? as u32;
            let value = i64::from((value >> 1) as i32 ^ -((value & 1) as i32));
            out.number(|out| text::push_signed(out, value));
        }
        FieldKind::Uint32 => {
            let value = u64::from(found.varint()? as u32);
            out.number(|out| text::push_unsigned(out, value));
        }
        FieldKind::Fixed32 => {
            let value = u64::from(found.fixed32()?);
            out.number(|out| text::push_unsigned(out, value));
        }
        FieldKind::Int64 => {
            let value = found.varint()? as i64;
            out.number(|out| text::push_signed(out, value));
        }
        FieldKind::Uint64 => {
            let value = found.varint()?;
            out.number(|out| text::push_unsigned(out, value));
        }
        FieldKind::Fixed64 => {
            let value = found.fixed64()?;
            out.number(|out| text::push_unsigned(out, value));
        }
        FieldKind::Sfixed64 => {
            let value = found.fixed64()? as i64;
            out.number(|out| text::push_signed(out, value));
        }
        FieldKind::Double => {
            let value = f64::from_bits(found.fixed64()?);
            out.number(|out| text::push_double(out, value));
        }
        FieldKind::Message(_) => return Err(Malformed::Unexpected(field.number)),
    }
    out.add(quotes);
    Ok(())
}

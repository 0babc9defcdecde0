//! Actions on attributes: what `resource` does to resources and `attributes` does to items, in one place.
//!
//! The Collector's rules (contrib internal/coreinternal/attraction, v0.161): actions run in the order written, later ones
//! see what earlier ones did, and one that finds nothing to act on does nothing. Works on the bytes of one message; it
//! must not know whose attributes they are.

mod action;
mod config;
mod literal;
mod resources;
mod text;

use std::ops::Range;

use regex::bytes::{CaptureLocations, Regex};

use crate::change::actions::action::{Action, ActionTarget, ConvertedKind, Source, When};
use crate::core::data::budget::Ticket;
use crate::core::data::origin::Origin;
use crate::otlp::edit::{Appender, WireValue};
use crate::otlp::ids::push_hex;
use crate::otlp::walk::{AnyValue, Malformed};

pub use crate::change::actions::action::Actions;
pub use crate::change::actions::config::{pattern, read};
pub use crate::change::actions::literal::any_value;
pub use crate::change::actions::resources::change_resources;
pub use crate::change::actions::text::{parse_double, push_text};

/// Memory for one message after another: with it, messages cost no allocation each.
#[derive(Debug)]
pub struct Workbench {
    pub edit: Appender,
    scratch: Vec<u8>,
    /// One for each `extract`, in their order.
    captures: Vec<CaptureLocations>,
}

impl Actions {
    /// Memory to work in, which the ticket pays for.
    pub fn workbench(&self, ticket: &Ticket) -> Workbench {
        let patterns = self.list.iter().filter_map(|action| match action {
            Action::Extract { pattern, .. } => Some(pattern.capture_locations()),
            _ => None,
        });
        Workbench { edit: Appender::within(ticket), scratch: Vec::new(), captures: patterns.collect() }
    }

    /// Loads a message that holds its attributes in field `number` and acts on them; true when something changed, which
    /// `bench.edit` then has, or the refusal of what there was no memory for. A message that cannot be walked is left alone.
    pub fn apply(
        &self,
        bench: &mut Workbench,
        message: &[u8],
        number: u32,
        origin: &Origin,
    ) -> Result<bool, Malformed> {
        bench.edit.load(message, number)?;
        let mut extracts = 0;
        for action in &self.list {
            match action {
                Action::Write { when, key, source, default } => {
                    let found = bench.edit.find(key).is_some();
                    if *when == When::Always || found == (*when == When::Present) {
                        write(bench, key, source, default.as_deref(), origin);
                    }
                }
                Action::Delete(target) => target.each(bench, |bench, place| bench.edit.delete_at(place)),
                Action::Hash(target) => target.each(bench, hash),
                Action::Extract { key, pattern, names } => {
                    extract(bench, extracts, key, pattern, names);
                    extracts += 1;
                }
                Action::Convert { key, to } => convert(bench, key, *to),
            }
        }
        Ok(bench.edit.is_changed())
    }
}

fn write(bench: &mut Workbench, key: &str, source: &Source, default: Option<&[u8]>, origin: &Origin) {
    let Workbench { edit, scratch, .. } = bench;
    scratch.clear();
    let found = match source {
        Source::Literal(value) => {
            edit.set(key, WireValue::Any(value));
            return;
        }
        Source::Attribute(from) => {
            if edit.copy(from, key) {
                return;
            }
            false
        }
        Source::Peer => push_address(scratch, origin),
        Source::Header(name) => push_headers(scratch, name, origin),
        Source::Identity(name) => {
            let text = origin.identity.as_ref().and_then(|identity| identity.attribute(name));
            scratch.extend_from_slice(text.unwrap_or_default().as_bytes());
            text.is_some()
        }
        Source::Nothing => false,
    };
    if found {
        edit.set(key, WireValue::Text(scratch));
    } else if let Some(default) = default {
        edit.set(key, WireValue::Any(default));
    }
}

/// An IPv4 address that arrived on an IPv6 socket is written as what it is. False when payloads of several senders were
/// merged.
fn push_address(out: &mut Vec<u8>, origin: &Origin) -> bool {
    use std::io::Write;
    let Some(peer) = origin.peer else { return false };
    // Writing to a vector cannot fail.
    let _ = write!(out, "{}", peer.ip().to_canonical());
    true
}

/// All values of one header, joined as the Collector joins them.
fn push_headers(out: &mut Vec<u8>, name: &str, origin: &Origin) -> bool {
    let mut found = false;
    for (_, value) in origin.headers.iter().filter(|(header, _)| header == name) {
        if found {
            out.push(b';');
        }
        out.extend_from_slice(value.as_bytes());
        found = true;
    }
    found
}

impl ActionTarget {
    /// Calls `act` with every place meant. Places that `act` adds are not visited.
    fn each(&self, bench: &mut Workbench, act: impl Fn(&mut Workbench, usize)) {
        if let Some(place) = self.key.as_deref().and_then(|key| bench.edit.find(key)) {
            act(bench, place);
        }
        let Some(pattern) = &self.pattern else { return };
        for place in 0..bench.edit.places() {
            if bench.edit.key_at(place).is_some_and(|key| pattern.is_match(key)) {
                act(bench, place);
            }
        }
    }
}

/// Replaces a value by the hexadecimal SHA-256 of its text, its byte, or its eight little-endian bytes; of a value that
/// is none of these by an empty string.
fn hash(bench: &mut Workbench, place: usize) {
    let Workbench { edit, scratch, .. } = bench;
    let digest = |bytes: &[u8]| ring::digest::digest(&ring::digest::SHA256, bytes);
    let hashed = match AnyValue::read(edit.message_at(place)) {
        Ok(AnyValue::Str(text)) if !text.is_empty() => Some(digest(text)),
        Ok(AnyValue::Bool(on)) => Some(digest(&[u8::from(on)])),
        Ok(AnyValue::Int(number)) => Some(digest(&number.to_le_bytes())),
        Ok(AnyValue::Double(number)) => Some(digest(&number.to_bits().to_le_bytes())),
        _ => None,
    };
    scratch.clear();
    if let Some(hashed) = hashed {
        push_hex(scratch, hashed.as_ref());
    }
    edit.set_at(place, WireValue::Text(scratch));
}

/// Sets one attribute for each named group. A group that took no part in the match gives an empty string, as in Go.
fn extract(bench: &mut Workbench, at: usize, key: &str, pattern: &Regex, names: &[String]) {
    let Workbench { edit, scratch, captures } = bench;
    let (Some(place), Some(captures)) = (edit.find(key), captures.get_mut(at)) else { return };
    let length = edit.message_at(place).len();
    if !edit.clear_scratch(scratch, length) {
        return;
    }
    let Ok(AnyValue::Str(text)) = AnyValue::read(edit.message_at(place)) else { return };
    scratch.extend_from_slice(text);
    if pattern.captures_read(captures, scratch).is_none() {
        return;
    }
    for (group, name) in names.iter().enumerate() {
        let range: Range<usize> = captures.get(group + 1).map_or(0..0, |(from, to)| from..to);
        edit.set(name, WireValue::Text(scratch.get(range).unwrap_or_default()));
    }
}

/// A number or bool as text takes at most this many bytes.
const NUMBER_BYTES: usize = 32;

/// What cannot be converted stays as it is.
fn convert(bench: &mut Workbench, key: &str, to: ConvertedKind) {
    let Workbench { edit, scratch, .. } = bench;
    let Some(place) = edit.find(key) else { return };
    // As text an unprintable byte becomes six characters, in a list or map.
    let length = if to == ConvertedKind::Text { 6 * edit.message_at(place).len() + NUMBER_BYTES } else { 0 };
    if !edit.clear_scratch(scratch, length) {
        return;
    }
    let Ok(value) = AnyValue::read(edit.message_at(place)) else { return };
    match (to, value) {
        (ConvertedKind::Text, AnyValue::Str(_))
        | (ConvertedKind::Int, AnyValue::Int(_))
        | (ConvertedKind::Double, AnyValue::Double(_)) => {}
        (ConvertedKind::Text, value) => {
            push_text(scratch, value);
            edit.set_at(place, WireValue::Text(scratch));
        }
        (ConvertedKind::Int, AnyValue::Double(number)) => edit.set_at(place, number as i64),
        (ConvertedKind::Int, AnyValue::Bool(on)) => edit.set_at(place, i64::from(on)),
        (ConvertedKind::Int, AnyValue::Str(text)) => {
            if let Some(number) = std::str::from_utf8(text).ok().and_then(|text| text.parse::<i64>().ok()) {
                edit.set_at(place, number);
            }
        }
        (ConvertedKind::Double, AnyValue::Int(number)) => edit.set_at(place, number as f64),
        (ConvertedKind::Double, AnyValue::Bool(on)) => edit.set_at(place, f64::from(u8::from(on))),
        (ConvertedKind::Double, AnyValue::Str(text)) => {
            if let Some(number) = parse_double(text) {
                edit.set_at(place, number);
            }
        }
        (ConvertedKind::Int | ConvertedKind::Double, _) => {}
    }
}

//! One line on its way through the operators: body, attributes, resource, time, severity and ids, as the Collector's entry.
//!
//! Texts are slices of what was read as long as nothing changes them, so a line that no parser takes apart allocates nothing.

use std::borrow::Cow;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use crate::core::data::budget::Ticket;
use crate::otlp::attributes::RESOURCE;
use crate::otlp::draft::Draft;

/// With more keys than these a map is looked through by an index, so that a line takes work for its length and no more.
const LOOKED_THROUGH: usize = 16;

const ATTRIBUTES_USUAL: usize = 8;

/// What a field of an entry holds.
#[derive(Clone, Debug, PartialEq)]
pub enum EntryValue<'l> {
    Nil,
    Text(Cow<'l, [u8]>),
    Int(i64),
    Double(f64),
    Bool(bool),
    Map(EntryMap<'l>),
    List(Vec<EntryValue<'l>>),
}

pub type EntryMap<'l> = Vec<(Cow<'l, str>, EntryValue<'l>)>;

impl<'l> EntryValue<'l> {
    pub fn text(bytes: &'l [u8]) -> EntryValue<'l> {
        EntryValue::Text(Cow::Borrowed(bytes))
    }

    pub fn as_text(&self) -> Option<&[u8]> {
        match self {
            EntryValue::Text(text) => Some(text),
            _ => None,
        }
    }

    /// What it takes in memory, about.
    pub fn bytes(&self) -> usize {
        let own = match self {
            EntryValue::Text(text) => text.len(),
            EntryValue::Map(map) => bytes_of(map),
            EntryValue::List(list) => list.iter().map(EntryValue::bytes).sum(),
            EntryValue::Nil | EntryValue::Int(_) | EntryValue::Double(_) | EntryValue::Bool(_) => 0,
        };
        own + size_of::<EntryValue<'_>>()
    }

    /// As a text, numbers and booleans as they are written.
    pub fn written(&self) -> Option<Cow<'_, [u8]>> {
        Some(match self {
            EntryValue::Text(text) => Cow::Borrowed(text),
            EntryValue::Int(number) => Cow::Owned(number.to_string().into_bytes()),
            EntryValue::Double(number) => Cow::Owned(number.to_string().into_bytes()),
            EntryValue::Bool(value) => Cow::Borrowed(if *value { b"true" } else { b"false" }),
            EntryValue::Nil | EntryValue::Map(_) | EntryValue::List(_) => return None,
        })
    }

    pub fn into_owned(self) -> EntryValue<'static> {
        match self {
            EntryValue::Nil => EntryValue::Nil,
            EntryValue::Text(text) => EntryValue::Text(Cow::Owned(text.into_owned())),
            EntryValue::Int(number) => EntryValue::Int(number),
            EntryValue::Double(number) => EntryValue::Double(number),
            EntryValue::Bool(value) => EntryValue::Bool(value),
            EntryValue::Map(map) => EntryValue::Map(owned(map)),
            EntryValue::List(list) => EntryValue::List(list.into_iter().map(EntryValue::into_owned).collect()),
        }
    }
}

fn bytes_of(map: &EntryMap<'_>) -> usize {
    map.iter().map(|(key, value)| key.len() + size_of::<Cow<'_, str>>() + value.bytes()).sum()
}

fn owned(map: EntryMap<'_>) -> EntryMap<'static> {
    map.into_iter().map(|(key, value)| (Cow::Owned(key.into_owned()), value.into_owned())).collect()
}

/// A severity's number, and the text that it was read from.
#[derive(Clone, Debug, PartialEq)]
pub struct EntrySeverity<'l> {
    pub number: u32,
    pub text: Cow<'l, [u8]>,
}

/// What a file's lines share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodOfFile {
    /// Texts for the resource, in the order in which they are written.
    pub attributes: Vec<(&'static str, String)>,
    /// The same as the bytes of a resource.
    pub written: Vec<u8>,
}

impl PodOfFile {
    pub fn of(attributes: Vec<(&'static str, String)>) -> PodOfFile {
        let mut draft = Draft::within(&Ticket::free());
        for (key, value) in &attributes {
            // A free ticket grants everything.
            let _ = draft.text_attribute(RESOURCE, key, value.as_bytes());
        }
        PodOfFile { written: draft.written().to_vec(), attributes } // granted: one for each file
    }
}

/// A line as an operator meets it.
#[derive(Clone, Debug, PartialEq)]
pub struct FileEntry<'l> {
    pub body: EntryValue<'l>,
    pub attributes: EntryMap<'l>,
    pub resource: EntryMap<'l>,
    /// What its file says of the resource, where no operator asks for it.
    pub pod: Option<&'l PodOfFile>,
    /// Nanoseconds since 1970.
    pub time: Option<u64>,
    pub severity: Option<EntrySeverity<'l>>,
    pub trace_id: Option<[u8; 16]>,
    pub span_id: Option<[u8; 8]>,
    pub trace_flags: Option<u8>,
}

impl<'l> FileEntry<'l> {
    pub fn of(line: &'l [u8]) -> FileEntry<'l> {
        FileEntry {
            body: EntryValue::text(line),
            // granted: one small block for what a file and a runtime say of a line, given back with it
            attributes: Vec::with_capacity(ATTRIBUTES_USUAL),
            resource: Vec::new(),
            pod: None,
            time: None,
            severity: None,
            trace_id: None,
            span_id: None,
            trace_flags: None,
        }
    }

    /// What its values take in memory, about.
    pub fn bytes(&self) -> usize {
        let severity = self.severity.as_ref().map_or(0, |severity| severity.text.len());
        self.body.bytes() + bytes_of(&self.attributes) + bytes_of(&self.resource) + severity
    }

    pub fn into_owned(self) -> FileEntry<'static> {
        let severity = self
            .severity
            .map(|severity| EntrySeverity { number: severity.number, text: Cow::Owned(severity.text.into_owned()) });
        FileEntry {
            body: self.body.into_owned(),
            attributes: owned(self.attributes),
            resource: owned(self.resource),
            // What is kept needs its resource, see `OperatorChain::needs_resource`.
            pod: None,
            time: self.time,
            severity,
            trace_id: self.trace_id,
            span_id: self.span_id,
            trace_flags: self.trace_flags,
        }
    }
}

/// The value under `key`.
pub fn find<'m, 'l>(map: &'m EntryMap<'l>, key: &str) -> Option<&'m EntryValue<'l>> {
    map.iter().find(|(known, _)| known == key).map(|(_, value)| value)
}

/// Sets `key`, in the place of what it held.
pub fn set<'l>(map: &mut EntryMap<'l>, key: Cow<'l, str>, value: EntryValue<'l>) {
    match map.iter_mut().find(|(known, _)| *known == key) {
        Some((_, held)) => *held = value,
        None => map.push((key, value)),
    }
}

/// Sets every pair of `more`, each in the place of what its key held; of equal keys the last one counts.
pub fn merge<'l>(map: &mut EntryMap<'l>, more: EntryMap<'l>) {
    if map.len() + more.len() <= LOOKED_THROUGH {
        more.into_iter().for_each(|(key, value)| set(map, key, value));
        return;
    }
    let known = map.iter().enumerate().map(|(at, (key, _))| (key.clone(), at));
    let mut places: HashMap<Cow<'l, str>, usize, RandomState> = known.collect();
    for (key, value) in more {
        match places.entry(key) {
            Entry::Occupied(place) => {
                if let Some((_, held)) = map.get_mut(*place.get()) {
                    *held = value;
                }
            }
            Entry::Vacant(place) => {
                map.push((place.key().clone(), value));
                place.insert(map.len() - 1);
            }
        }
    }
}

/// Takes `key` out.
pub fn remove<'l>(map: &mut EntryMap<'l>, key: &str) -> Option<EntryValue<'l>> {
    let at = map.iter().position(|(known, _)| known == key)?;
    Some(map.remove(at).1)
}

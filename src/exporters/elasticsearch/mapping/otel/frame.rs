//! What the documents of one scope share, rendered once: `resource`, `scope` and where they go.

use crate::core::items::Items;

use crate::core::payload::{Envelope, Group, ScopeGroup, Signal};
use crate::exporters::elasticsearch::mapping::Bulk;
use crate::exporters::elasticsearch::mapping::attributes::{self, Composites, Repeated};
use crate::exporters::elasticsearch::mapping::otel::{close_object, push_count, push_key, push_text};
use crate::exporters::elasticsearch::mapping::route::{Target, Wanted};
use crate::exporters::elasticsearch::mapping::value::Seen;
use crate::otlp::attributes::{RESOURCE, SCOPE};
use crate::otlp::split::Place;
use crate::otlp::walk::{Fields, Malformed};

/// The items of one scope with their places.
pub struct Scope<'a> {
    items: &'a Items,
    group: u32,
    scope: u32,
}

impl<'a> Scope<'a> {
    pub fn items(&self) -> impl Iterator<Item = (Place, &'a [u8])> + use<'a> {
        let (group, scope) = (self.group, self.scope);
        (0u32..).zip(self.items).map(move |(item, bytes)| (Place { group, scope, item }, bytes))
    }
}

/// Goes through the scopes of an envelope. Where resource or scope cannot be read, their items are faulty.
pub fn each_scope<'a>(
    signal: Signal,
    envelope: &'a Envelope,
    bulk: &mut Bulk,
    mut map: impl FnMut(&Frame<'a>, &Scope<'a>, &mut Bulk, &mut Seen),
) {
    let mut seen = Seen::default();
    for (group, resource) in (0u32..).zip(&envelope.groups) {
        for (scope, items) in (0u32..).zip(&resource.scopes) {
            let place = Scope { items: &items.items, group, scope };
            match Frame::new(resource, items, &mut seen) {
                Ok(frame) => map(&frame, &place, bulk, &mut seen),
                Err(fault) => {
                    seen.reset();
                    place.items().for_each(|(place, bytes)| bulk.fault_all(signal, place, bytes, fault.into()));
                }
            }
        }
    }
}

/// The shared part of a scope's documents.
pub struct Frame<'a> {
    /// `"resource":{...},"scope":{...}`.
    pub tail: Vec<u8>,
    /// What resource and scope say about the destination.
    pub wanted: Wanted<'a>,
    name: &'a [u8],
}

/// A resource or scope as far as documents show it.
#[derive(Default)]
struct Described<'a> {
    name: &'a [u8],
    version: &'a [u8],
    attributes: Repeated<'a>,
    dropped: u64,
}

impl<'a> Frame<'a> {
    pub fn new(group: &'a Group, scope: &'a ScopeGroup, seen: &mut Seen) -> Result<Frame<'a>, Malformed> {
        let resource = group.resource.as_deref().unwrap_or_default();
        let described = scope.scope.as_deref().unwrap_or_default();
        let mut tail = Vec::with_capacity(2 * (resource.len() + described.len()) + 64);
        let resource_wanted = push_described(&mut tail, "resource", read_resource(resource)?, &group.schema_url, seen)?;
        tail.push(b',');
        let scope_facts = read_scope(described)?;
        let name = scope_facts.name;
        let scope_wanted = push_described(&mut tail, "scope", scope_facts, &scope.schema_url, seen)?;
        Ok(Frame { tail, wanted: scope_wanted.or(resource_wanted), name })
    }

    /// Where documents of this kind go when the record itself says nothing.
    pub fn target(&self, kind: &str) -> Target {
        Target::new(kind, self.wanted, self.name)
    }

    /// Where a document goes whose record says something itself.
    pub fn target_for(&self, kind: &str, wanted: Wanted<'_>) -> Target {
        Target::new(kind, wanted.or(self.wanted), self.name)
    }
}

fn read_resource(message: &[u8]) -> Result<Described<'_>, Malformed> {
    let mut resource = Described::default();
    let mut fields = Fields::new(message);
    loop {
        let at = fields;
        let Some(field) = fields.next() else { return Ok(resource) };
        let field = field?;
        match field.number {
            RESOURCE => resource.attributes.note(at, RESOURCE),
            2 => resource.dropped = field.varint()?,
            _ => {}
        }
    }
}

fn read_scope(message: &[u8]) -> Result<Described<'_>, Malformed> {
    let mut scope = Described::default();
    let mut fields = Fields::new(message);
    loop {
        let at = fields;
        let Some(field) = fields.next() else { return Ok(scope) };
        let field = field?;
        match field.number {
            1 => scope.name = field.bytes()?,
            2 => scope.version = field.bytes()?,
            SCOPE => scope.attributes.note(at, SCOPE),
            4 => scope.dropped = field.varint()?,
            _ => {}
        }
    }
}

fn push_described<'a>(
    out: &mut Vec<u8>,
    key: &str,
    described: Described<'a>,
    schema_url: &[u8],
    seen: &mut Seen,
) -> Result<Wanted<'a>, Malformed> {
    push_key(out, key);
    out.push(b'{');
    push_text(out, "schema_url", schema_url);
    push_text(out, "name", described.name);
    push_text(out, "version", described.version);
    let found = attributes::push_attributes(out, &described.attributes, seen, Composites::Json)?;
    push_count(out, "dropped_attributes_count", described.dropped + found.dropped);
    close_object(out);
    Ok(found.wanted)
}

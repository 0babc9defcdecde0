//! One scope of an envelope with its resource, as every mode needs it: described once, its items with their places.

use crate::core::data::items::Items;
use crate::core::data::payload::{Group, ScopeGroup};
use crate::exporters::elasticsearch::mapping::json::repeated::Repeated;
use crate::exporters::elasticsearch::mapping::route::WantedTarget;
use crate::exporters::elasticsearch::mapping::settings::MappingMode;
use crate::otlp::attributes::{RESOURCE, SCOPE};
use crate::otlp::fields::common::instrumentation_scope;
use crate::otlp::fields::resource::resource;
use crate::otlp::regroup::split::ItemPosition;
use crate::otlp::walk::{AnyValue, Attribute, Fields, Malformed};

/// A resource or scope as far as documents show it.
#[derive(Default)]
pub struct Described<'a> {
    pub name: &'a [u8],
    pub version: &'a [u8],
    pub schema_url: &'a [u8],
    pub attributes: Repeated<'a>,
    pub dropped: u64,
}

pub struct MappedScope<'a> {
    pub resource: Described<'a>,
    pub scope: Described<'a>,
    /// What scope and resource say about the destination.
    pub wanted: WantedTarget<'a>,
    /// The scope's own mapping mode, as written.
    pub mode: Option<&'a [u8]>,
    items: ItemsAt<'a>,
    messages: [&'a [u8]; 2],
}

/// Items and where they stand.
#[derive(Clone, Copy)]
pub struct ItemsAt<'a> {
    pub items: &'a Items,
    pub group: u32,
    pub scope: u32,
}

impl<'a> ItemsAt<'a> {
    pub fn iter(self) -> impl Iterator<Item = (ItemPosition, &'a [u8])> + use<'a> {
        let ItemsAt { items, group, scope } = self;
        (0u32..).zip(items.iter()).map(move |(item, bytes)| (ItemPosition { group, scope, item }, bytes))
    }
}

impl<'a> MappedScope<'a> {
    pub fn read(group: &'a Group, scope: &'a ScopeGroup, items: ItemsAt<'a>) -> Result<MappedScope<'a>, Malformed> {
        let messages = [group.resource.as_deref().unwrap_or_default(), scope.scope.as_deref().unwrap_or_default()];
        let mut resource = read_resource(messages[0])?;
        resource.schema_url = &group.schema_url;
        let mut described = read_scope(messages[1])?;
        described.schema_url = &scope.schema_url;
        let (mut general, mut wanted, mut mode) = (WantedTarget::default(), WantedTarget::default(), None);
        for entry in resource.attributes.entries() {
            general.note(&Attribute::read(entry?)?);
        }
        for entry in described.attributes.entries() {
            let attribute = Attribute::read(entry?)?;
            wanted.note(&attribute);
            if attribute.key == MappingMode::SCOPE_ATTRIBUTE.as_bytes() {
                mode = if let AnyValue::Str(name) = attribute.value { Some(name) } else { Some(&b"?"[..]) };
            }
        }
        Ok(MappedScope { resource, scope: described, wanted: wanted.or(general), mode, items, messages })
    }

    /// What a time series is known by beside its point: resource and scope as they came.
    pub fn series(&self) -> [&'a [u8]; 2] {
        self.messages
    }

    pub fn items(&self) -> impl Iterator<Item = (ItemPosition, &'a [u8])> + use<'a> {
        self.items.iter()
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
            resource::DROPPED_ATTRIBUTES_COUNT => resource.dropped = field.varint()?,
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
            instrumentation_scope::NAME => scope.name = field.bytes()?,
            instrumentation_scope::VERSION => scope.version = field.bytes()?,
            SCOPE => scope.attributes.note(at, SCOPE),
            instrumentation_scope::DROPPED_ATTRIBUTES_COUNT => scope.dropped = field.varint()?,
            _ => {}
        }
    }
}

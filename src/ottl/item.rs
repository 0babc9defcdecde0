//! What a condition is asked about: undecoded messages with what surrounds them, the time and chance.

use crate::core::time::UnixNanos;
use crate::otlp::fields::trace::span;
use crate::otlp::walk::Fields;
use crate::ottl::path::tables::Points;

/// Whose part it is, seen from the item in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathOwner {
    Resource,
    Scope,
    /// The span, metric or log record.
    Item,
    /// The span's event or the metric's data point.
    Piece,
    /// What statements remember among themselves.
    Cache,
    /// The schema of the resource's group, and that of the scope's: texts beside the messages.
    ResourceUrl,
    ScopeUrl,
}

/// What functions ask of the world beside the item: the time, and chance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct World {
    pub now: UnixNanos,
    pub seed: u64,
}

impl World {
    pub fn real() -> World {
        World { now: UnixNanos::now(), seed: fastrand::u64(..) }
    }

    /// As it is given, else the real one where it is asked for.
    pub(super) fn or_real(self, asked: bool) -> World {
        if asked && self == World::default() { World::real() } else { self }
    }
}

/// What a condition is asked about, with what surrounds it: undecoded messages, empty where there is none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Item<'a> {
    pub resource: &'a [u8],
    pub scope: &'a [u8],
    /// The span, metric or log record.
    pub item: &'a [u8],
    /// The span's event or the metric's data point.
    pub piece: &'a [u8],
    /// Which of the item's pieces it is, from 0 on.
    pub at: usize,
    /// The kind of data point in `piece`.
    pub points: Points,
    pub cache: &'a [u8],
    /// `schema_url` of resource and scope, which stand beside them on the wire.
    pub resource_url: &'a [u8],
    pub scope_url: &'a [u8],
    pub world: World,
}

impl<'a> Item<'a> {
    /// A span with its surroundings; also a metric or log record.
    pub fn span(span: &'a [u8], scope: &'a [u8], resource: &'a [u8]) -> Item<'a> {
        Item { item: span, scope, resource, ..Item::default() }
    }

    /// The span's events, undecoded.
    pub fn events(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let fields = Fields::new(self.item).map_while(Result::ok).filter(|field| field.number == span::EVENTS);
        fields.filter_map(|field| field.bytes().ok())
    }

    /// The same span, asked about one of its events.
    pub fn with_event(&self, at: usize, event: &'a [u8]) -> Item<'a> {
        Item { piece: event, at, ..*self }
    }

    /// The same metric, asked about one of its points.
    pub fn with_point(&self, point: &'a [u8], points: Points) -> Item<'a> {
        Item { piece: point, points, ..*self }
    }

    pub(super) fn message(&self, owner: PathOwner) -> &'a [u8] {
        match owner {
            PathOwner::Resource => self.resource,
            PathOwner::Scope => self.scope,
            PathOwner::Item => self.item,
            PathOwner::Piece => self.piece,
            PathOwner::Cache => self.cache,
            PathOwner::ResourceUrl => self.resource_url,
            PathOwner::ScopeUrl => self.scope_url,
        }
    }
}

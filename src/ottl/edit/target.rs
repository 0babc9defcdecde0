//! What a statement works on: an item, its piece, and what it shares with its neighbours, all changeable.
//!
//! Resource, scope and cache outlive the item: their edits are handed from item to item by the caller.

use std::ops::Range;

use crate::ottl::edit::message_edit::MessageEdit;
use crate::ottl::item::{Item, PathOwner, World};
use crate::ottl::path::points_in;
use crate::ottl::path::tables::Points;
use crate::ottl::value::failure::EvalFailure;

#[derive(Debug, Default)]
pub struct EditTarget<'a> {
    pub resource: MessageEdit<'a>,
    pub scope: MessageEdit<'a>,
    /// The span, metric or log record.
    pub item: MessageEdit<'a>,
    /// The span's event or the metric's data point, taken out of it.
    pub piece: MessageEdit<'a>,
    /// Which of the item's pieces it is, from 0 on.
    pub at: usize,
    /// The kind of data point in `piece`.
    pub points: Points,
    pub cache: MessageEdit<'a>,
    /// `schema_url` of resource and scope.
    pub resource_url: MessageEdit<'a>,
    pub scope_url: MessageEdit<'a>,
    pub buffers: Buffers,
    pub world: World,
    /// Of the metric whose point is in `piece`; `None` where there is no piece.
    pub around: Option<PointsAround<'a>>,
    pub made: MadeMetrics,
}

/// All points of a metric while statements run on one of them.
#[derive(Clone, Copy, Debug)]
pub struct PointsAround<'a> {
    /// The message that holds them, as it was.
    pub holder: &'a [u8],
    /// Those that statements changed already.
    pub changed: &'a ChangedPieces,
    /// Which of them it is.
    pub at: usize,
}

/// Pieces of an item that statements changed, by their place among its pieces.
#[derive(Debug, Default)]
pub struct ChangedPieces {
    places: Vec<(usize, Range<usize>)>,
    bytes: Vec<u8>,
}

impl ChangedPieces {
    /// Keeps a piece that stands behind those that are kept already.
    pub fn push(&mut self, at: usize, piece: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(piece);
        self.places.push((at, start..self.bytes.len()));
    }

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// For another item; what was allocated stays.
    pub fn clear(&mut self) {
        self.places.clear();
        self.bytes.clear();
    }

    pub fn iter(&self) -> impl Iterator<Item = (usize, &[u8])> {
        self.places.iter().map(|(at, range)| (*at, &self.bytes[range.clone()]))
    }
}

impl PointsAround<'_> {
    /// The points as they are now, `current` in place of the one in hand.
    pub(super) fn each(
        &self,
        current: &[u8],
        mut visit: impl FnMut(&[u8]) -> Result<(), EvalFailure>,
    ) -> Result<(), EvalFailure> {
        let mut changed = self.changed.iter().peekable();
        for (at, point) in points_in(self.holder).enumerate() {
            let new = changed.next_if(|(of, _)| *of == at).map(|(_, point)| point);
            visit(if at == self.at { current } else { new.unwrap_or(point) })?;
        }
        Ok(())
    }
}

/// Metrics that statements make beside the one they run on, and what more of them there may be.
#[derive(Debug, Default)]
pub struct MadeMetrics {
    pub list: Vec<Vec<u8>>,
    /// Bytes that may still be made for the request.
    pub left: usize,
    /// How many times the metric in hand was made of another one.
    pub generation: u8,
}

/// A copy of a copy and so on. Statements run on what they made, so that one without a condition would never end.
const GENERATIONS_MAX: u8 = 8;

pub const TOO_MANY_MADE: EvalFailure = EvalFailure("the metrics that statements made of this request are too many");

impl MadeMetrics {
    /// Bytes that one metric may have now.
    pub(super) fn room(&self) -> Result<usize, EvalFailure> {
        match (self.generation < GENERATIONS_MAX, self.left) {
            (false, _) => Err(EvalFailure("the statement goes on making metrics of what it made: give it a condition")),
            (true, 0) => Err(TOO_MANY_MADE),
            (true, left) => Ok(left),
        }
    }

    /// Keeps a metric; `looked_at` are bytes that were read for it.
    pub(super) fn add(&mut self, metric: Vec<u8>, looked_at: usize) -> Result<(), EvalFailure> {
        match self.left.checked_sub(metric.len().max(looked_at)) {
            Some(left) => self.left = left,
            None => {
                self.end();
                return Err(TOO_MANY_MADE);
            }
        }
        self.list.push(metric);
        Ok(())
    }

    /// From now on none is made.
    pub(super) fn end(&mut self) {
        self.left = 0;
    }
}

impl<'a> EditTarget<'a> {
    /// Everything as it is now.
    pub fn view(&self) -> Item<'_> {
        Item {
            resource: self.resource.bytes(),
            scope: self.scope.bytes(),
            item: self.item.bytes(),
            piece: self.piece.bytes(),
            at: self.at,
            points: self.points,
            cache: self.cache.bytes(),
            resource_url: self.resource_url.bytes(),
            scope_url: self.scope_url.bytes(),
            world: self.world,
        }
    }

    pub fn draft(&mut self, owner: PathOwner) -> &mut MessageEdit<'a> {
        match owner {
            PathOwner::Resource => &mut self.resource,
            PathOwner::Scope => &mut self.scope,
            PathOwner::Item => &mut self.item,
            PathOwner::Piece => &mut self.piece,
            PathOwner::Cache => &mut self.cache,
            PathOwner::ResourceUrl => &mut self.resource_url,
            PathOwner::ScopeUrl => &mut self.scope_url,
        }
    }
}

/// What an edit writes, and the value it is made of: used again from edit to edit.
#[derive(Debug, Default)]
pub struct Buffers {
    pub out: Vec<u8>,
    pub(crate) made: Vec<u8>,
}

/// What most edits take, so that a buffer need not grow towards it.
const EDIT_BYTES: usize = 256;

impl Buffers {
    pub(crate) fn ready(&mut self) {
        self.out.clear();
        self.made.clear();
        self.out.reserve(EDIT_BYTES);
        self.made.reserve(EDIT_BYTES);
    }
}

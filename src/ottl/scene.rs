//! What a statement works on: an item, its piece, and what it shares with its neighbours, all changeable.
//!
//! Resource, scope and cache outlive the item: their edits are handed from item to item by the caller.

use crate::ottl::draft::Draft;
use crate::ottl::path::Owner;
use crate::ottl::path::place::Buffers;
use crate::ottl::path::tables::Points;
use crate::ottl::{Item, World};

#[derive(Debug, Default)]
pub struct Scene<'a> {
    pub resource: Draft<'a>,
    pub scope: Draft<'a>,
    /// The span, metric or log record.
    pub item: Draft<'a>,
    /// The span's event or the metric's data point, taken out of it.
    pub piece: Draft<'a>,
    /// The kind of data point in `piece`.
    pub points: Points,
    pub cache: Draft<'a>,
    pub buffers: Buffers,
    pub world: World,
}

impl<'a> Scene<'a> {
    /// Everything as it is now.
    pub fn view(&self) -> Item<'_> {
        Item {
            resource: self.resource.bytes(),
            scope: self.scope.bytes(),
            item: self.item.bytes(),
            piece: self.piece.bytes(),
            points: self.points,
            cache: self.cache.bytes(),
            world: self.world,
        }
    }

    pub fn draft(&mut self, owner: Owner) -> &mut Draft<'a> {
        match owner {
            Owner::Resource => &mut self.resource,
            Owner::Scope => &mut self.scope,
            Owner::Item => &mut self.item,
            Owner::Piece => &mut self.piece,
            Owner::Cache => &mut self.cache,
        }
    }
}

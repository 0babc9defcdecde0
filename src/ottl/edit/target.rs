//! What a statement works on: an item, its piece, and what it shares with its neighbours, all changeable.
//!
//! Resource, scope and cache outlive the item: their edits are handed from item to item by the caller.

use crate::ottl::edit::message_edit::MessageEdit;
use crate::ottl::item::{Item, PathOwner, World};
use crate::ottl::path::tables::Points;

#[derive(Debug, Default)]
pub struct EditTarget<'a> {
    pub resource: MessageEdit<'a>,
    pub scope: MessageEdit<'a>,
    /// The span, metric or log record.
    pub item: MessageEdit<'a>,
    /// The span's event or the metric's data point, taken out of it.
    pub piece: MessageEdit<'a>,
    /// The kind of data point in `piece`.
    pub points: Points,
    pub cache: MessageEdit<'a>,
    pub buffers: Buffers,
    pub world: World,
}

impl<'a> EditTarget<'a> {
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

    pub fn draft(&mut self, owner: PathOwner) -> &mut MessageEdit<'a> {
        match owner {
            PathOwner::Resource => &mut self.resource,
            PathOwner::Scope => &mut self.scope,
            PathOwner::Item => &mut self.item,
            PathOwner::Piece => &mut self.piece,
            PathOwner::Cache => &mut self.cache,
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

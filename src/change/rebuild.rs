//! The items of a scope with some of them changed or gone: one new buffer, in which the rest stand side by side again.
//!
//! Copying an item costs less than counting a reference to it, and what stands side by side leaves as one slice. Nothing
//! is copied before the first difference. The new buffer is charged before it grows. It must not know what an item is.

use crate::core::data::budget::OverBudget;
use crate::core::data::granted::{Allowance, Granted};
use crate::core::data::items::{Extent, Items};
use crate::core::error::{ConsumeError, Reason};
use crate::otlp::fields::scope_group;
use crate::otlp::write;

/// What becomes of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Stays,
    /// It takes this many bytes now.
    Changes(usize),
    Goes,
}

/// Decides over one item after the other.
pub trait Rebuilder {
    /// An error means that there is no memory for the change.
    fn decide(&mut self, item: &[u8]) -> Result<Fate, OverBudget>;

    /// Adds the new bytes of the item decided last, which changes: as many as were said.
    fn write_to(&self, out: &mut Vec<u8>);
}

/// Field number of items in a scope group.
const ITEM: u32 = scope_group::ITEMS;
/// Key and length of an item take at most this many bytes.
const HEAD_BYTES: usize = 6;

/// The items after the change; `None` when all stay. `expected` is about how many bytes they will be. An error means that
/// there is no memory for it.
pub fn rebuild(
    items: &Items,
    change: &mut impl Rebuilder,
    expected: usize,
    room: &mut Allowance,
) -> Result<Option<Items>, ConsumeError> {
    let mut fresh: Option<Fresh> = None;
    for (at, item) in items.iter().enumerate() {
        let fate = change.decide(item).map_err(no_memory)?;
        let fresh = match (&mut fresh, fate) {
            (Some(fresh), _) => fresh,
            (None, Fate::Stays) => continue,
            (none, _) => {
                let mut begun = Fresh::default();
                begun.bytes.reserve(expected, room).map_err(no_memory)?;
                begun.extents.reserve(items.len(), room).map_err(no_memory)?;
                items.range(0, at).try_for_each(|earlier| begun.keep(earlier, room))?;
                none.insert(begun)
            }
        };
        match fate {
            Fate::Stays => fresh.keep(item, room)?,
            Fate::Changes(length) => change.write_to(fresh.open(length, room)?),
            Fate::Goes => {}
        }
    }
    let Some(fresh) = fresh else { return Ok(None) };
    let bytes = fresh.bytes.freeze(room).map_err(no_memory)?;
    Ok(Some(Items::within(bytes, fresh.extents.finish(room))))
}

fn no_memory(why: OverBudget) -> ConsumeError {
    ConsumeError::refused(Reason::MEMORY, format!("there is no memory for changed items: {why}"))
}

#[derive(Default)]
struct Fresh {
    bytes: Granted<u8>,
    extents: Granted<Extent>,
}

impl Fresh {
    fn keep(&mut self, item: &[u8], room: &mut Allowance) -> Result<(), ConsumeError> {
        self.open(item.len(), room)?.extend_from_slice(item);
        Ok(())
    }

    /// Writes key and length of an item of `length` bytes, which the caller writes next.
    fn open(&mut self, length: usize, room: &mut Allowance) -> Result<&mut Vec<u8>, ConsumeError> {
        self.bytes.reserve(length + HEAD_BYTES, room).map_err(no_memory)?;
        let bytes = self.bytes.within();
        write::key(bytes, ITEM, write::LEN);
        write::varint(bytes, length as u64);
        let from = bytes.len();
        let place = |at: usize| {
            u32::try_from(at).map_err(|_| ConsumeError::rejected(Reason::TOO_LARGE, "changed items exceed 4 GiB"))
        };
        let extent = Extent { from: place(from)?, to: place(from + length)? };
        self.extents.push(extent, room).map_err(no_memory)?;
        Ok(bytes)
    }
}

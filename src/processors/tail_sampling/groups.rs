//! The groups (resource and scopes of one request) that a shard's runs refer to, each with how many runs do.

use std::sync::Arc;

use crate::processors::tail_sampling::admission::HeldGroup;

/// Invariant: a slot is occupied as long as a run in the store names it.
#[derive(Default)]
pub struct Groups {
    slots: Vec<Option<(Arc<HeldGroup>, u32)>>,
    vacant: Vec<u32>,
    scratch: Vec<u32>,
}

/// Slots of the groups of the request being filed; `NOT_YET` until the first run of each.
pub struct Filed(Vec<u32>);

const NOT_YET: u32 = u32::MAX;

impl Groups {
    pub fn begin(&mut self, groups: &[Arc<HeldGroup>]) -> Filed {
        let mut slots = std::mem::take(&mut self.scratch);
        slots.clear();
        slots.resize(groups.len(), NOT_YET);
        Filed(slots)
    }

    /// Counts one more run for a group of the request and returns its slot.
    pub fn file(&mut self, filed: &mut Filed, group: u32, held: &Arc<HeldGroup>) -> u32 {
        let known = filed.0[group as usize];
        if let Some((same, runs)) = self.slots.get_mut(known as usize).and_then(Option::as_mut)
            && Arc::ptr_eq(same, held)
        {
            *runs += 1;
            return known;
        }
        let entry = Some((held.clone(), 1));
        let slot = match self.vacant.pop() {
            Some(slot) => {
                self.slots[slot as usize] = entry;
                slot
            }
            None => {
                self.slots.push(entry);
                (self.slots.len() - 1) as u32
            }
        };
        filed.0[group as usize] = slot;
        slot
    }

    pub fn end(&mut self, filed: Filed) {
        self.scratch = filed.0;
    }

    pub fn get(&self, slot: u32) -> Option<&Arc<HeldGroup>> {
        self.slots.get(slot as usize)?.as_ref().map(|(held, _)| held)
    }

    /// One run less.
    pub fn free(&mut self, slot: u32) {
        let Some(Some((_, runs))) = self.slots.get_mut(slot as usize) else { return };
        *runs -= 1;
        if *runs == 0 {
            self.slots[slot as usize] = None;
            self.vacant.push(slot);
        }
    }

    pub fn footprint(&self) -> u64 {
        (self.slots.capacity() * 16 + self.vacant.capacity() * 4) as u64
    }
}

//! The groups (resource and scopes of one request) that a shard's runs refer to, each with how many runs do.

use std::sync::Arc;

use crate::processors::tail_sampling::held::admission::HeldGroup;
use crate::processors::tail_sampling::held::rereading::GroupBits;

/// A group, the runs that name it, and the number of its service once somebody asked.
struct FiledGroup {
    held: Arc<HeldGroup>,
    runs: u32,
    service: Option<u16>,
    /// What it answers to the questions of this version.
    bits: Option<(u16, GroupBits)>,
}

/// Invariant: a slot is occupied as long as a run in the store names it.
#[derive(Default)]
pub struct HeldGroups {
    slots: Vec<Option<FiledGroup>>,
    vacant: Vec<u32>,
    scratch: Vec<u32>,
}

/// Slots of the groups of the request being filed; `NOT_YET` until the first run of each.
pub struct Filed(Vec<u32>);

const NOT_YET: u32 = u32::MAX;

impl HeldGroups {
    pub fn begin(&mut self, groups: &[Arc<HeldGroup>]) -> Filed {
        let mut slots = std::mem::take(&mut self.scratch);
        slots.clear();
        slots.resize(groups.len(), NOT_YET);
        Filed(slots)
    }

    /// Counts one more run for a group of the request and returns its slot.
    pub fn file(&mut self, filed: &mut Filed, group: u32, held: &Arc<HeldGroup>) -> u32 {
        let known = filed.0[group as usize];
        if let Some(filed) = self.slots.get_mut(known as usize).and_then(Option::as_mut)
            && Arc::ptr_eq(&filed.held, held)
        {
            filed.runs += 1;
            return known;
        }
        let entry = Some(FiledGroup { held: held.clone(), runs: 1, service: None, bits: None });
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
        self.slots.get(slot as usize)?.as_ref().map(|filed| &filed.held)
    }

    /// The number of a group's service, which `number` finds by the resource.
    pub fn service(&mut self, slot: u32, number: impl FnOnce(&[u8]) -> u16) -> Option<u16> {
        let filed = self.slots.get_mut(slot as usize)?.as_mut()?;
        let resource = filed.held.resource.as_deref().unwrap_or_default();
        Some(*filed.service.get_or_insert_with(|| number(resource)))
    }

    /// What a group answers to the questions of a version, which `read` finds where it is not known yet.
    pub fn bits(&mut self, slot: u32, version: u16, read: impl FnOnce(&HeldGroup) -> GroupBits) -> Option<GroupBits> {
        let filed = self.slots.get_mut(slot as usize)?.as_mut()?;
        let known = filed.bits.filter(|(of, _)| *of == version).map(|(_, bits)| bits);
        let bits = known.unwrap_or_else(|| read(&filed.held));
        filed.bits = Some((version, bits));
        Some(bits)
    }

    /// One run less.
    pub fn free(&mut self, slot: u32) {
        let Some(Some(filed)) = self.slots.get_mut(slot as usize) else { return };
        filed.runs -= 1;
        if filed.runs == 0 {
            self.slots[slot as usize] = None;
            self.vacant.push(slot);
        }
    }

    pub fn footprint(&self) -> u64 {
        let places = self.vacant.capacity() + self.scratch.capacity();
        (self.slots.capacity() * size_of::<Option<FiledGroup>>() + places * size_of::<u32>()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::data::budget::Budget;
    use crate::core::data::origin::Origin;
    use crate::core::data::payload::Group;
    use crate::core::time::UnixNanos;
    use crate::processors::tail_sampling::held::account::ByteAccount;

    fn held(account: &Arc<ByteAccount>) -> Arc<HeldGroup> {
        let origin = Arc::new(Origin::internal(UnixNanos(1)));
        Arc::new(HeldGroup::copy(&Group::default(), &origin, UnixNanos(0), account))
    }

    #[test]
    fn a_group_is_held_and_charged_as_long_as_a_run_names_it() {
        let account = ByteAccount::new(1 << 20, &Budget::unlimited());
        let mut groups = HeldGroups::default();
        let request = [held(&account), held(&account)];
        let charged = account.held();
        let mut filed = groups.begin(&request);
        let first = groups.file(&mut filed, 1, &request[1]);
        assert_eq!(groups.file(&mut filed, 1, &request[1]), first);
        groups.end(filed);
        drop(request);
        assert_eq!(account.held(), charged / 2, "of the first no run was filed");
        groups.free(first);
        assert!(groups.get(first).is_some());
        groups.free(first);
        assert!(groups.get(first).is_none());
        assert_eq!(account.held(), 0);
        groups.free(first);
    }

    #[test]
    fn a_slot_that_another_group_took_meanwhile_is_not_mistaken_for_the_requests_own() {
        let account = ByteAccount::new(1 << 20, &Budget::unlimited());
        let mut groups = HeldGroups::default();
        let request = [held(&account), held(&account)];
        let mut filed = groups.begin(&request);
        let first = groups.file(&mut filed, 0, &request[0]);
        // Its trace was decided at once, and the other group took the place.
        groups.free(first);
        assert_eq!(groups.file(&mut filed, 1, &request[1]), first);
        let again = groups.file(&mut filed, 0, &request[0]);
        assert_ne!(again, first);
        assert!(groups.get(again).is_some_and(|held| Arc::ptr_eq(held, &request[0])));
        assert!(groups.get(first).is_some_and(|held| Arc::ptr_eq(held, &request[1])));
    }
}

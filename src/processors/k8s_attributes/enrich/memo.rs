//! Finished resources: a process sends the same bytes with every request, and nearly always they come to the same bytes.
//!
//! Which pod, container and run a resource belongs to is decided for every request anew; only the writing is saved. The key
//! holds all that the new bytes follow from: the resource's own bytes, the attributes of that state of that pod, and what is
//! written of container and run. So resources that are equal byte by byte and come from two pods, or from two runs of one,
//! never share what was written.
//!
//! Memory: at most [`PARTS`] times [`PART_BYTES`], and only for what came twice: resources that come once leave a number of
//! four bytes. It is not on the budget: it is the same for every limit, as pods and bindings are.

use std::hash::BuildHasher;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use foldhash::fast::RandomState;
use lru::LruCache;

use crate::core::lock::Locked;
use crate::processors::k8s_attributes::pod::attributes::PodAttributes;
use crate::processors::k8s_attributes::report::metrics::WriteNotes;
use crate::processors::k8s_attributes::times::moment::WriteMode;
use crate::processors::k8s_attributes::write::ContainerPart;

const PARTS: usize = 16;
/// 4 MiB in all: some 2,500 processes.
const PART_BYTES: usize = 256 << 10;
/// A larger resource is written each time.
const KEPT_BYTES_MAX: usize = 8 << 10;
/// What an entry takes beside the bytes of both resources, roughly.
const ENTRY_BYTES: usize = 320;
/// Pairs of resources that came once, in each part: 64 KiB in all. Of a pair the older one is forgotten, so that few of a
/// node's processes stand in each other's way.
const ONCE: usize = 512;

/// What the new bytes of a resource follow from, beside the configuration.
#[derive(Clone, Copy)]
pub struct MemoKey<'a> {
    pub resource: &'a [u8],
    /// Of one state of one pod: what is worked out for another pod, or differently, is another one.
    pub profile: &'a Arc<PodAttributes>,
    pub overrule: bool,
    pub mode: WriteMode,
    pub container: Option<&'a ContainerPart>,
}

struct Kept {
    resource: Box<[u8]>,
    /// Kept alive, so that no other one is at its address.
    profile: Arc<PodAttributes>,
    overrule: bool,
    mode: WriteMode,
    container: Option<ContainerPart>,
    made: Bytes,
    notes: WriteNotes,
}

impl Kept {
    fn is_of(&self, key: &MemoKey<'_>) -> bool {
        Arc::ptr_eq(&self.profile, key.profile)
            && (self.overrule, self.mode) == (key.overrule, key.mode)
            && self.container.as_ref() == key.container
            && *self.resource == *key.resource
    }

    fn bytes(&self) -> usize {
        self.resource.len() + self.made.len() + ENTRY_BYTES
    }
}

struct Part {
    kept: LruCache<u64, Kept, RandomState>,
    bytes: usize,
    /// Of resources that were written once, by the lowest bits of their number.
    once: Box<[[u32; 2]; ONCE]>,
}

impl Part {
    /// Whether it was written before; it is from now on.
    fn was_written(&mut self, place: MemoPlace) -> bool {
        let mark = (place.0 >> 32) as u32;
        let pair = &mut self.once[place.0 as usize % ONCE];
        if pair.contains(&mark) {
            return true;
        }
        *pair = [mark, pair[0]];
        false
    }
}

pub struct ResourceMemo {
    hasher: RandomState,
    // Each locked for one look or one entry.
    parts: [Mutex<Part>; PARTS],
}

impl Default for ResourceMemo {
    fn default() -> ResourceMemo {
        let part = |_| {
            let kept = LruCache::unbounded_with_hasher(RandomState::default());
            Mutex::new(Part { kept, bytes: 0, once: Box::new([[0; 2]; ONCE]) })
        };
        ResourceMemo { hasher: RandomState::default(), parts: std::array::from_fn(part) }
    }
}

/// The place of a key.
#[derive(Clone, Copy)]
pub struct MemoPlace(u64);

impl ResourceMemo {
    pub fn place(&self, key: &MemoKey<'_>) -> MemoPlace {
        let of_run = key.container.map(ContainerPart::run_id);
        MemoPlace(self.hasher.hash_one((key.resource, Arc::as_ptr(key.profile) as usize, of_run)))
    }

    fn part(&self, place: MemoPlace) -> &Mutex<Part> {
        &self.parts[(place.0 >> 28) as usize % PARTS]
    }

    /// The finished bytes, and what is counted with them.
    pub fn get(&self, place: MemoPlace, key: &MemoKey<'_>) -> Option<(Bytes, WriteNotes)> {
        let mut part = self.part(place).locked();
        let kept = part.kept.get(&place.0).filter(|kept| kept.is_of(key))?;
        Some((kept.made.clone(), kept.notes))
    }

    /// Remembers what was written, if it is the second time.
    pub fn put(&self, place: MemoPlace, key: &MemoKey<'_>, made: &Bytes, notes: WriteNotes) {
        if key.resource.len() + made.len() > KEPT_BYTES_MAX {
            return;
        }
        let mut part = self.part(place).locked();
        if !part.was_written(place) {
            return;
        }
        let kept = Kept {
            resource: key.resource.into(),
            profile: key.profile.clone(),
            overrule: key.overrule,
            mode: key.mode,
            container: key.container.cloned(),
            made: made.clone(),
            notes,
        };
        part.bytes += kept.bytes();
        let replaced = part.kept.put(place.0, kept);
        part.bytes -= replaced.map_or(0, |replaced| replaced.bytes());
        while part.bytes > PART_BYTES {
            let Some((_, gone)) = part.kept.pop_lru() else { break };
            part.bytes -= gone.bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(memo: &ResourceMemo, key: &MemoKey<'_>) -> Option<Bytes> {
        memo.get(memo.place(key), key).map(|(made, _)| made)
    }

    fn put(memo: &ResourceMemo, key: &MemoKey<'_>, made: &Bytes) {
        memo.put(memo.place(key), key, made, WriteNotes::default());
    }

    #[test]
    fn what_was_written_twice_is_remembered_for_that_pod_and_that_run_alone() {
        let memo = ResourceMemo::default();
        let (one, other) = (Arc::<PodAttributes>::default(), Arc::<PodAttributes>::default());
        let part = |id: &str| ContainerPart { id: Some(Arc::from(id)), ..ContainerPart::default() };
        let (first, second) = (part("aaaa"), part("bbbb"));
        let key = MemoKey {
            resource: b"resource",
            profile: &one,
            overrule: false,
            mode: WriteMode::Full,
            container: Some(&first),
        };
        let made = Bytes::from_static(b"made");
        put(&memo, &key, &made);
        assert_eq!(get(&memo, &key), None, "what came once is not kept");
        put(&memo, &key, &made);
        assert_eq!(get(&memo, &key), Some(made));
        for foreign in [
            MemoKey { profile: &other, ..key },
            MemoKey { container: Some(&second), ..key },
            MemoKey { container: None, ..key },
            MemoKey { overrule: true, ..key },
            MemoKey { mode: WriteMode::PodOnly, ..key },
            MemoKey { resource: b"Resource", ..key },
        ] {
            // Even at the same place, as if their numbers were equal.
            assert_eq!(memo.get(memo.place(&key), &foreign).map(|(made, _)| made), None);
            assert_eq!(get(&memo, &foreign), None);
        }
    }

    #[test]
    fn a_nodes_processes_are_remembered_although_all_of_them_take_turns() {
        let (memo, profile) = (ResourceMemo::default(), Arc::<PodAttributes>::default());
        let made = Bytes::from(vec![7; 900]);
        let resources: Vec<Vec<u8>> =
            (0..1_000_u32).map(|number| [&number.to_le_bytes()[..], &[7; 400]].concat()).collect();
        let key =
            |resource| MemoKey { resource, profile: &profile, overrule: false, mode: WriteMode::Full, container: None };
        for _ in 0..2 {
            resources.iter().for_each(|resource| put(&memo, &key(resource.as_slice()), &made));
        }
        let known = resources.iter().filter(|resource| get(&memo, &key(resource.as_slice())).is_some()).count();
        assert!(known > 950, "{known} of 1,000");
    }

    #[test]
    fn its_memory_is_bounded() {
        let memo = ResourceMemo::default();
        let profile = Arc::<PodAttributes>::default();
        let made = Bytes::from(vec![7; 2_000]);
        for number in 0..20_000_u32 {
            let resource = number.to_le_bytes();
            let key = MemoKey {
                resource: &resource,
                profile: &profile,
                overrule: false,
                mode: WriteMode::Full,
                container: None,
            };
            put(&memo, &key, &made);
            put(&memo, &key, &made);
        }
        for part in &memo.parts {
            let part = part.locked();
            let sum: usize = part.kept.iter().map(|(_, kept)| kept.bytes()).sum();
            assert!(sum == part.bytes && sum <= PART_BYTES && part.kept.len() > 10, "{sum} {}", part.bytes);
        }
    }
}

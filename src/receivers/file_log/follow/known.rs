//! Marks by the beginnings that they name, so that a new file is compared with those that it may be and with no others.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::Path;

use crate::receivers::file_log::follow::mark::{BytesDigest, FileId, FileMark, heads_of};

/// Places in a new file at which tails of marks are compared. Beyond them it counts as new: a line may come twice and none
/// is lost.
const PLACES_MAX: usize = 256;

/// Which list a mark stands in, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkPlace {
    /// Of a file that went or was cut, or of an earlier process.
    Departed(usize),
    /// Of a file that is followed.
    Live(usize),
}

/// By the offset of a mark and its tail.
type Tails = BTreeMap<u64, HashMap<BytesDigest, Vec<MarkPlace>>>;

/// The marks at one moment.
#[derive(Debug, Default)]
pub struct KnownMarks {
    by_head: BTreeMap<u64, HashMap<u64, Tails>>,
}

impl KnownMarks {
    pub fn add(&mut self, mark: &FileMark, place: MarkPlace) {
        if mark.offset == 0 {
            return;
        }
        let tails = self.by_head.entry(mark.head.length).or_default().entry(mark.head.digest).or_default();
        // granted: one for each mark
        tails.entry(mark.offset).or_default().entry(mark.tail).or_default().push(place);
    }

    /// The mark whose bytes `file` has, of those that `mark_at` still gives: its own first, then one of a file that went, then
    /// that of a file that is followed.
    pub fn find<'m>(
        &self,
        (file, size): (&File, u64),
        (path, id): (&Path, FileId),
        mark_at: impl Fn(MarkPlace) -> Option<&'m FileMark>,
    ) -> Option<MarkPlace> {
        let heads = heads_of(file, self.by_head.keys().copied().take_while(|length| *length <= size)).ok()?;
        let of_head = |head: &BytesDigest| self.by_head.get(&head.length)?.get(&head.digest);
        let places = heads.iter().rev().filter_map(of_head).flat_map(|tails| tails.range(..=size));
        let mut best: Option<(u8, MarkPlace)> = None;
        for (_, tails) in places.take(PLACES_MAX) {
            let Some(any) = tails.values().flatten().find_map(|place| mark_at(*place)) else { continue };
            let Some(found) = any.tail_in(file).ok().and_then(|tail| tails.get(&tail)) else { continue };
            for place in found {
                let Some(mark) = mark_at(*place).filter(|mark| mark.may_be(path, id)) else { continue };
                let rank = match place {
                    MarkPlace::Departed(_) if mark.id == id => return Some(*place),
                    MarkPlace::Departed(_) => 1,
                    MarkPlace::Live(_) => 2,
                };
                if best.is_none_or(|(known, _)| rank < known) {
                    best = Some((rank, *place));
                }
            }
        }
        best.map(|(_, place)| place)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;

    use super::*;

    #[test]
    fn a_new_file_is_compared_with_few_of_many_that_begin_alike() {
        let folder = tempfile::tempdir().unwrap();
        let banner = "banner ".repeat(300);
        let open = |number: usize| {
            let path = folder.path().join(format!("{number}.log"));
            fs::write(&path, format!("{banner}unique end {number:05} of a file that begins as all others do")).unwrap();
            (File::open(&path).unwrap(), path)
        };
        let id = |number: usize| FileId { device: 1, inode: number as u64 };
        let size = open(0).0.metadata().unwrap().len();
        let mut known = KnownMarks::default();
        let marks: Vec<FileMark> = (0..500)
            .map(|number| {
                let (file, path) = open(number);
                FileMark::at(&file, (&path, id(number)), size, 1_000).unwrap()
            })
            .collect();
        for (at, mark) in marks.iter().enumerate() {
            known.add(mark, MarkPlace::Departed(at));
        }
        let looks = Cell::new(0);
        let mark_at = |place: MarkPlace| {
            looks.set(looks.get() + 1);
            match place {
                MarkPlace::Departed(at) | MarkPlace::Live(at) => marks.get(at),
            }
        };
        let (new, path) = open(500);
        assert_eq!(known.find((&new, size), (&path, id(500)), mark_at), None);
        let (copied, _) = open(7);
        assert_eq!(known.find((&copied, size), (&path, id(501)), mark_at), Some(MarkPlace::Departed(7)));
        assert!(looks.get() < 10, "{} marks were looked at", looks.get());
    }
}

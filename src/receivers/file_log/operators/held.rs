//! What a chain keeps of one file: pieces of an entry that is not whole, and what failed.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::core::time::UnixNanos;
use crate::receivers::file_log::entry::FileEntry;
use crate::receivers::file_log::operators::room::{PaidBytes, PieceRoom};
use crate::receivers::file_log::operators::rules::ChainStep;

/// Where a line begins in its file, and when it was read since the receiver's start.
#[derive(Clone, Copy, Debug)]
pub struct LinePlace {
    pub from: u64,
    pub now: Duration,
    /// The same moment by the calendar.
    pub observed: UnixNanos,
}

/// What a chain keeps of one file.
#[derive(Debug, Default)]
pub struct ChainState {
    pub held: HeldPieces,
    pub room: PieceRoom,
    /// Lines that begin before this went on already; they are read again for the pieces among them that are held.
    pub delivered_to: u64,
    /// Entries that went on in parts, because no memory was left to hold them.
    pub unheld: u64,
    pub failed: u64,
    pub dropped: u64,
    pub last_failure: Option<String>,
}

impl ChainState {
    /// Of a file whose lines were delivered up to a place.
    pub fn from(delivered_to: u64) -> ChainState {
        ChainState { delivered_to, ..ChainState::default() }
    }

    /// Memory for a line that is held; without it the line goes on as it is.
    pub fn pay(&mut self, bytes: usize, place: LinePlace) -> Option<PaidBytes> {
        let paid = self.room.pay(bytes, place.from < self.delivered_to);
        self.unheld += u64::from(paid.is_none());
        paid
    }

    /// Where the first line stands that has not gone on.
    pub fn held_from(&self) -> Option<u64> {
        self.held.begun_at()
    }

    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.held.bytes()
    }
}

pub enum Went<'l> {
    On(FileEntry<'l>),
    To(usize, FileEntry<'l>),
    /// Dropped, or kept for later.
    NoFurther,
}

/// Lines of one entry that is not whole.
#[derive(Debug)]
pub struct HeldLines {
    /// What the entry is but its text.
    pub entry: FileEntry<'static>,
    pub text: Vec<u8>,
    pub lines: usize,
    pub has_edge: bool,
    pub from: u64,
    pub since: Duration,
    /// Gives the memory back with what it is for.
    pub paid: PaidBytes,
}

/// What an entry takes beside its values, and twice its text: a text that grows takes up to twice its length.
const ENTRY_BYTES: usize = 512;

pub fn memory_of(entry: &FileEntry<'_>, text: usize) -> usize {
    ENTRY_BYTES + entry.bytes() + 2 * text
}

/// By step, and by stream.
#[derive(Debug, Default)]
pub struct HeldPieces {
    pub held: BTreeMap<(usize, bool), HeldLines>,
}

impl HeldPieces {
    /// Where the first line stands that has not gone on.
    fn begun_at(&self) -> Option<u64> {
        self.held.values().map(|held| held.from).min()
    }

    /// When the newest line came that a step holds of a stream; `recombine` has but one.
    pub fn since(&self, key: (usize, bool)) -> Option<Duration> {
        self.held.get(&key).map(|held| held.since)
    }

    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.held.values().map(|held| held.text.capacity()).sum()
    }
}

impl ChainState {
    pub fn fail(&mut self, why: String) {
        self.failed += 1;
        self.last_failure = Some(why);
    }

    pub fn drop_entry<'l>(&mut self) -> Went<'l> {
        self.dropped += 1;
        Went::NoFurther
    }
}

impl ChainStep {
    /// What becomes of an entry that the operator fails on.
    pub fn failed<'l>(&self, state: &mut ChainState, entry: FileEntry<'l>, why: String) -> Went<'l> {
        state.fail(why);
        if self.drops_failed { state.drop_entry() } else { Went::On(entry) }
    }
}

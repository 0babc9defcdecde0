//! What is in the log: segments, records with unsettled items, verdicts that are wanted. Pure memory.
//!
//! A record is held while an item of it is unsettled, so memory grows with what is unsettled and not with the log.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::wal::body::{FramePlace, Line, Mark, What};
use crate::wal::format::frame_room;
use crate::wal::ranges::Ranges;

/// A record with unsettled items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordEntry {
    /// `None` while its group is not durable.
    pub place: Option<FramePlace>,
    pub items: u32,
    /// Unsettled items.
    pub left: u32,
    pub pipeline: u16,
    /// Handed to an exporter since the log was opened.
    pub sent: bool,
    /// Was handed to an exporter before that.
    pub doubt: bool,
    pub crashes: u8,
    /// Waits to be read back: its items are nowhere but on disk.
    pub parked: bool,
}

impl RecordEntry {
    /// Of a record with so many items, none of which has an end.
    pub fn of(items: u32, pipeline: u16, place: Option<FramePlace>) -> RecordEntry {
        RecordEntry { place, items, left: items, pipeline, sent: false, doubt: false, crashes: 0, parked: false }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentEntry {
    /// Bytes that it takes in the budget.
    pub bytes: u64,
    /// Unsettled records in it.
    pub live: u64,
    /// Bytes of their frames, and of verdicts that are wanted.
    pub live_bytes: u64,
    /// Its checkpoint is durable.
    pub sealed: bool,
    /// Gone by name, not yet for sure: its folder was not synced.
    pub unlinked: bool,
    /// Not all of it could be read; kept for a person.
    pub damaged: bool,
    /// Of its checksums.
    pub salt: u64,
    pub packing: Packing,
    /// When it was first asked whether it is old enough to be packed.
    pub looked_at: Option<Duration>,
}

impl SegmentEntry {
    /// Of so many bytes, in which nothing is known to be wanted.
    pub fn of(bytes: u64, salt: u64) -> SegmentEntry {
        SegmentEntry {
            bytes,
            live: 0,
            live_bytes: 0,
            sealed: false,
            unlinked: false,
            damaged: false,
            salt,
            packing: Packing::Not,
            looked_at: None,
        }
    }
}

/// Whether a segment is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Packing {
    #[default]
    Not,
    Done,
    /// It would be no smaller.
    Useless,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdicts {
    pub place: Option<FramePlace>,
    /// Unix nanoseconds.
    pub keep_until: u64,
}

/// Unsettled records and items of a pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unsettled {
    pub pipeline: String,
    pub records: u64,
    pub items: u64,
}

/// Names beyond these are counted together; a configuration has a handful.
const PIPELINES_MAX: usize = 1_000;

#[derive(Clone, Debug, Default)]
pub struct LogTable {
    pub entries: BTreeMap<u64, RecordEntry>,
    /// Of records that are settled in part.
    pub partial: BTreeMap<u64, Ranges>,
    pub segments: BTreeMap<u64, SegmentEntry>,
    pub verdicts: BTreeMap<u64, Verdicts>,
    pipelines: Vec<Unsettled>,
}

impl LogTable {
    /// The number of a pipeline's name.
    pub fn pipeline(&mut self, name: &str) -> u16 {
        if let Some(at) = self.pipelines.iter().position(|known| known.pipeline == name) {
            return at as u16;
        }
        if self.pipelines.len() > PIPELINES_MAX {
            return PIPELINES_MAX as u16;
        }
        let name = if self.pipelines.len() == PIPELINES_MAX { "(others)" } else { name };
        self.pipelines.push(Unsettled { pipeline: name.to_owned(), ..Unsettled::default() });
        (self.pipelines.len() - 1) as u16
    }

    /// The number of a pipeline's name, if it was ever heard.
    pub fn number_of(&self, name: &str) -> Option<u16> {
        self.pipelines.iter().position(|known| known.pipeline == name).map(|at| at as u16)
    }

    pub fn by_pipeline(&self) -> impl Iterator<Item = &Unsettled> {
        self.pipelines.iter().filter(|of| of.records > 0)
    }

    /// A record that is new here, or was found again at a later place.
    pub fn insert(&mut self, record: u64, entry: RecordEntry) {
        if self.entries.contains_key(&record) {
            if let Some(place) = entry.place {
                self.place(record, place);
            }
            return;
        }
        if let Some(of) = self.pipelines.get_mut(usize::from(entry.pipeline)) {
            of.records += 1;
            of.items += u64::from(entry.left);
        }
        let place = entry.place;
        self.entries.insert(record, RecordEntry { place: None, ..entry });
        if let Some(place) = place {
            self.place(record, place);
        }
    }

    /// Where a record stands now.
    pub fn place(&mut self, record: u64, place: FramePlace) {
        let Some(entry) = self.entries.get_mut(&record) else { return };
        let before = entry.place.replace(place);
        self.count(before, -1);
        self.count(Some(place), 1);
    }

    fn count(&mut self, place: Option<FramePlace>, by: i64) {
        let Some(place) = place else { return };
        if let Some(segment) = self.segments.get_mut(&place.segment) {
            segment.live = segment.live.saturating_add_signed(by);
        }
        self.weigh(Some(place), by);
    }

    fn weigh(&mut self, place: Option<FramePlace>, by: i64) {
        let Some(place) = place else { return };
        if let Some(segment) = self.segments.get_mut(&place.segment) {
            let room = frame_room(u64::from(place.length)) as i64;
            segment.live_bytes = segment.live_bytes.saturating_add_signed(by * room);
        }
    }

    /// Says what became of items; how many of them were unsettled. Unknown records are settled ones.
    pub fn mark(&mut self, mark: &Mark) -> u32 {
        let Some(entry) = self.entries.get_mut(&mark.record) else { return 0 };
        match mark.what {
            What::Sent => entry.sent = true,
            What::Crashed(times) => (entry.crashes, entry.sent, entry.doubt) = (times, false, true),
            _ => return self.settle(mark.record, mark.from, mark.to),
        }
        0
    }

    fn settle(&mut self, record: u64, from: u32, to: u32) -> u32 {
        let Some(entry) = self.entries.get_mut(&record) else { return 0 };
        let to = to.min(entry.items);
        let fresh = match self.partial.get_mut(&record) {
            Some(ranges) => ranges.add(from, to),
            None if from == 0 && to == entry.items => entry.left,
            None => self.partial.entry(record).or_default().add(from, to),
        };
        entry.left = entry.left.saturating_sub(fresh);
        let (pipeline, left) = (usize::from(entry.pipeline), entry.left);
        if let Some(of) = self.pipelines.get_mut(pipeline) {
            of.items = of.items.saturating_sub(u64::from(fresh));
        }
        if left == 0 {
            self.forget(record);
        }
        fresh
    }

    /// Takes a record out, with what is left of it.
    pub fn forget(&mut self, record: u64) -> Option<RecordEntry> {
        self.partial.remove(&record);
        let entry = self.entries.remove(&record)?;
        if let Some(of) = self.pipelines.get_mut(usize::from(entry.pipeline)) {
            of.records = of.records.saturating_sub(1);
            of.items = of.items.saturating_sub(u64::from(entry.left));
        }
        self.count(entry.place, -1);
        Some(entry)
    }

    pub fn keep_verdicts(&mut self, origin: u64, verdicts: Verdicts) {
        let before = self.verdicts.insert(origin, verdicts).and_then(|before| before.place);
        self.weigh(before, -1);
        self.weigh(verdicts.place, 1);
    }

    pub fn forget_verdict(&mut self, origin: u64) {
        let gone = self.verdicts.remove(&origin).and_then(|of| of.place);
        self.weigh(gone, -1);
    }

    /// Forgets verdicts whose time is over and before which nothing is unsettled; a few at a time, oldest first.
    pub fn forget_verdicts(&mut self, wall: u64) {
        let oldest = self.entries.keys().next().copied().unwrap_or(u64::MAX);
        let over = self.verdicts.iter().take(1_000).filter(|(origin, of)| of.keep_until <= wall && **origin < oldest);
        for origin in over.map(|(origin, _)| *origin).collect::<Vec<_>>() {
            self.forget_verdict(origin);
        }
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.bytes).sum()
    }

    /// Everything durable that is unsettled, for a checkpoint.
    pub fn lines(&self) -> impl Iterator<Item = Line> + '_ {
        let names = self.pipelines.iter().enumerate();
        let names = names.map(|(number, of)| Line::Pipeline { number: number as u16, name: of.pipeline.clone() });
        let verdicts = self.verdicts.iter().filter_map(|(origin, of)| {
            Some(Line::Verdicts { origin: *origin, place: of.place?, keep_until: of.keep_until })
        });
        let records = self.entries.iter().filter_map(|(record, of)| {
            let settled = self.partial.get(record).cloned().unwrap_or_default();
            let RecordEntry { items, pipeline, sent, doubt, crashes, .. } = *of;
            Some(Line::Record { record: *record, place: of.place?, items, pipeline, sent, doubt, crashes, settled })
        });
        names.chain(verdicts).chain(records)
    }

    /// A checkpoint says everything that was known: what stood here before is forgotten, segments stay.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.partial.clear();
        self.verdicts.clear();
        self.pipelines.clear();
        for segment in self.segments.values_mut() {
            (segment.live, segment.live_bytes) = (0, 0);
        }
    }

    /// Takes lines of a checkpoint; `names` are the pipelines that earlier lines of it named.
    pub fn add(&mut self, lines: Vec<Line>, names: &mut BTreeMap<u16, u16>) {
        for line in lines {
            match line {
                Line::Pipeline { number, name } => {
                    names.insert(number, self.pipeline(&name));
                }
                Line::Verdicts { origin, place, keep_until } => {
                    self.keep_verdicts(origin, Verdicts { place: Some(place), keep_until });
                }
                Line::Record { record, place, items, pipeline, sent, doubt, crashes, settled } => {
                    let pipeline = names.get(&pipeline).copied().unwrap_or(u16::MAX);
                    let place = Some(place);
                    let entry = RecordEntry { sent, doubt, crashes, ..RecordEntry::of(items, pipeline, place) };
                    self.insert(record, entry);
                    settled.iter().for_each(|(from, to)| _ = self.settle(record, from, to));
                }
            }
        }
    }

    /// Records and verdicts whose segment is not there: the former with what was unsettled of them.
    pub fn forget_missing(&mut self) -> (u64, u64) {
        let gone = |place: &Option<FramePlace>| place.is_some_and(|place| !self.segments.contains_key(&place.segment));
        let records: Vec<u64> =
            self.entries.iter().filter(|(_, of)| gone(&of.place)).map(|(record, _)| *record).collect();
        let verdicts: Vec<u64> =
            self.verdicts.iter().filter(|(_, of)| gone(&of.place)).map(|(origin, _)| *origin).collect();
        verdicts.iter().for_each(|origin| self.forget_verdict(*origin));
        let items = records.iter().filter_map(|record| self.forget(*record)).map(|of| u64::from(of.left)).sum();
        (records.len() as u64, items)
    }
}

//! What a restart reads back, one frame at a time: records with unsettled items, and verdicts that are wanted.

use std::io;
use std::ops::Bound;

use bytes::Bytes;

use crate::wal::body::{Description, FramePlace};
use crate::wal::disk::LogFile;
use crate::wal::format::Head;
use crate::wal::packed::view::open_segment;
use crate::wal::scan::frame_at;
use crate::wal::writer::{LogTime, LogWriter};

/// A record with unsettled items, as it was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Its name in marks.
    pub record: u64,
    /// `None` when a later version wrote it.
    pub description: Option<Description>,
    pub described: Bytes,
    pub payload: Bytes,
    pub items: u32,
    /// Ranges of items that are unsettled.
    pub left: Vec<(u32, u32)>,
    /// It was handed to an exporter before a crash: it may have arrived.
    pub doubt: bool,
    /// How many crashes it was in flight at.
    pub crashes: u8,
    /// It was parked by this process, and is no earlier one's.
    pub parked: bool,
}

/// Records of a pipeline that wait for being read back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaitingRecords {
    /// Their names in marks and the bytes of each, in the order in which they were appended.
    pub records: Vec<(u64, u32)>,
    /// Where to go on: everything up to this one was looked at.
    pub looked_at: u64,
}

/// Records that one look goes over, so that whoever waits for a group is not held up.
const LOOKED_AT_MAX: usize = 20_000;

/// The file that was read last.
#[derive(Default)]
pub(in crate::wal) struct RecordReader(Option<(u64, Box<dyn LogFile>)>);

impl RecordReader {
    pub fn close(&mut self, number: u64) {
        self.0.take_if(|(of, _)| *of == number);
    }
}

impl LogWriter {
    /// The frame at a place; `Ok(None)` when it is damaged, an error when the disk does not say.
    pub(in crate::wal) fn frame(&mut self, place: FramePlace) -> io::Result<Option<(Head, Vec<u8>)>> {
        let salt = self.table.segments.get(&place.segment).map_or(self.salt, |segment| segment.salt);
        if let Some(active) = self.active.as_mut().filter(|active| active.number == place.segment) {
            return frame_at(&mut *active.medium, salt, place.offset, place.length);
        }
        if self.reader.0.as_ref().is_none_or(|(number, _)| *number != place.segment) {
            let medium = open_segment(&mut *self.disk, place.segment)?;
            self.reader.0 = Some((place.segment, medium));
        }
        match &mut self.reader.0 {
            Some((_, medium)) => frame_at(&mut **medium, salt, place.offset, place.length),
            None => Ok(None),
        }
    }

    /// The first record behind `after` that was there when the log was opened and has unsettled items. Damaged ones are
    /// counted and passed over; those that the disk does not give stay, for another start.
    pub fn recovered_after(&mut self, now: LogTime, after: u64) -> Option<Recovered> {
        let mut after = after;
        while after < self.recovered {
            let range = (Bound::Excluded(after), Bound::Included(self.recovered));
            let (id, place) = self.table.entries.range(range).find_map(|(id, of)| Some((*id, of.place?)))?;
            match self.frame(place) {
                Ok(Some((head, body))) => return Some(self.recover(id, &head, body)),
                Ok(None) => self.lose(now, id),
                Err(_) => self.counts.unread += 1,
            }
            after = id;
        }
        None
    }

    /// Records of a pipeline behind `after` (0 at first) that nobody has in memory: those that were there when the log was
    /// opened, and parked ones. At most `oldest`, behind as many as `newest` of those that were parked last; none of whose
    /// group is not durable.
    pub fn waiting_after(&self, pipeline: &str, after: u64, (newest, oldest): (usize, usize)) -> WaitingRecords {
        let mut waiting = WaitingRecords { records: Vec::new(), looked_at: after };
        let Some(pipeline) = self.table.number_of(pipeline) else { return waiting };
        let behind = (Bound::Excluded(after), Bound::Unbounded);
        for (record, entry) in self.table.entries.range(behind).take(LOOKED_AT_MAX) {
            let Some(place) = entry.place.filter(|_| waiting.records.len() < oldest) else { break };
            waiting.looked_at = *record;
            if entry.pipeline == pipeline && (entry.parked || *record <= self.recovered) {
                waiting.records.push((*record, place.length));
            }
        }
        let behind = (Bound::Excluded(waiting.looked_at), Bound::Unbounded);
        let last = self.table.entries.range(behind).rev().take(LOOKED_AT_MAX);
        let last = last.filter(|(_, entry)| entry.pipeline == pipeline && entry.parked);
        let last = last.filter_map(|(record, entry)| Some((*record, entry.place?.length)));
        // What was parked a moment ago goes first: it would else wait for everything in front of it.
        waiting.records.splice(0..0, last.take(newest));
        waiting
    }

    /// Reads records back, in their order. Damaged ones are counted and left out; those that the disk does not give stay,
    /// for another start.
    pub fn read_back(&mut self, now: LogTime, records: &[u64]) -> Vec<Recovered> {
        let mut found = Vec::with_capacity(records.len());
        for record in records {
            let Some(place) = self.table.entries.get(record).and_then(|entry| entry.place) else { continue };
            match self.frame(place) {
                Ok(Some((head, body))) => found.push(self.recover(*record, &head, body)),
                Ok(None) => self.lose(now, *record),
                Err(_) => self.counts.unread += 1,
            }
            if let Some(entry) = self.table.entries.get_mut(record) {
                entry.parked = false;
            }
        }
        found
    }

    fn recover(&self, record: u64, head: &Head, body: Vec<u8>) -> Recovered {
        let mut described = Bytes::from(body);
        let payload = described.split_off(usize::from(head.described).min(described.len()));
        let entry = self.table.entries.get(&record);
        let items = entry.map_or(head.items, |entry| entry.items);
        Recovered {
            record,
            description: Description::decode(&described),
            described,
            payload,
            items,
            left: match self.table.partial.get(&record) {
                Some(settled) => settled.rest(items),
                None => vec![(0, items)],
            },
            doubt: entry.is_some_and(|entry| entry.doubt),
            crashes: entry.map_or(0, |entry| entry.crashes),
            parked: entry.is_some_and(|entry| entry.parked),
        }
    }

    /// The first batch of verdicts behind `after`, with its name, that was there when the log was opened.
    pub fn verdicts_after(&mut self, after: u64) -> Option<(u64, Bytes)> {
        let mut after = after;
        while after < self.recovered {
            let range = (Bound::Excluded(after), Bound::Included(self.recovered));
            let (origin, place) = self.table.verdicts.range(range).find_map(|(id, of)| Some((*id, of.place?)))?;
            match self.frame(place) {
                // The first eight bytes say until when it is kept.
                Ok(Some((_, body))) if body.len() >= 8 => return Some((origin, Bytes::from(body).slice(8..))),
                Ok(_) => {
                    self.table.forget_verdict(origin);
                    self.counts.verdicts_lost += 1;
                }
                Err(_) => self.counts.unread += 1,
            }
            after = origin;
        }
        None
    }
}

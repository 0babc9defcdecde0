//! What a restart reads back, one frame at a time: records with unsettled items, and verdicts that are wanted.

use std::io;
use std::ops::Bound;

use bytes::Bytes;

use crate::wal::body::{Description, FramePlace};
use crate::wal::disk::LogFile;
use crate::wal::format::{Head, Purpose, file_name};
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
}

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
            let medium = self.disk.open(&file_name(place.segment, Purpose::Log))?;
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

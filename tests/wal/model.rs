//! What a log has promised, kept beside it: every record that was acknowledged, every item of which something was said.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use podgate::wal::body::{Description, Mark, What};
use podgate::wal::disk::Removal;
use podgate::wal::format::{FrameKind, Purpose, file_name, of_file_name};
use podgate::wal::recovery::{Report, open};
use podgate::wal::scan::scan;
use podgate::wal::writer::{Commit, LogRecord, LogTime, LogWriter, Options};

use crate::disk::{Sim, Survives};

/// An item of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    Nothing,
    /// Settled, and nobody knows whether that is on disk.
    Perhaps,
    /// Settled on disk.
    Surely,
}

#[derive(Clone, Debug)]
pub struct Known {
    pub id: u64,
    pub acknowledged: bool,
    pub items: Vec<Said>,
    /// It was said, durably, that it was handed to an exporter in this life.
    pub sent: bool,
    /// ... and that it went to the dead letters.
    pub dead: bool,
}

/// By key: its id, the unsettled items, whether it is in doubt.
type Back = BTreeMap<u64, (u64, Vec<u32>, bool)>;

pub struct Model {
    pub sim: Sim,
    pub random: fastrand::Rng,
    pub now: LogTime,
    pub options: Options,
    pub records: BTreeMap<u64, Known>,
    /// Batches of verdicts that were acknowledged and are wanted for ever.
    pub verdicts: Vec<u64>,
    /// Unlinks that nobody has done yet.
    removals: Vec<Removal>,
    next: u64,
    has_verdicts: bool,
    waiting: Vec<u64>,
    waiting_verdicts: Vec<u64>,
    sent: Vec<u64>,
    pub acknowledged: u64,
    pub copied: u64,
    pub freed: u64,
    pub recovered: u64,
    pub dead_lettered: u64,
    pub packed: u64,
}

pub fn small() -> Options {
    Options { max_bytes: 4 << 20, segment_bytes: 64 << 10, group_bytes: 32 << 10, ..Options::default() }
}

/// The bytes of record `key`: told by its number, so that an altered one is seen.
pub fn payload(key: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(key);
    let length = if random.u8(0..20) == 0 { random.usize(0..30_000) } else { random.usize(0..3_000) };
    let mut bytes = key.to_le_bytes().to_vec();
    bytes.extend(std::iter::repeat_with(|| random.u8(..)).take(length));
    bytes
}

pub fn record(key: u64, items: u32) -> LogRecord {
    let pipeline = format!("traces/{}", key % 3);
    let description = Description { pipeline, arrival: key, peer: b"peer".to_vec(), ..Description::default() };
    let bytes = Bytes::from(payload(key));
    let middle = bytes.len() / 2;
    LogRecord { description, items, payload: vec![bytes.slice(..middle), bytes.slice(middle..)], parked: false }
}

impl Model {
    pub fn new(seed: u64) -> Model {
        let sim = Sim::seeded(seed ^ 0x5eed);
        sim.state().removes_later = seed % 5 < 3;
        Model {
            sim,
            removals: Vec::new(),
            random: fastrand::Rng::with_seed(seed),
            now: LogTime::default(),
            options: Options { pack_after: (!seed.is_multiple_of(4)).then_some(Duration::ZERO), ..small() },
            records: BTreeMap::new(),
            verdicts: Vec::new(),
            next: 1,
            has_verdicts: seed.is_multiple_of(3),
            waiting: Vec::new(),
            waiting_verdicts: Vec::new(),
            sent: Vec::new(),
            acknowledged: 0,
            copied: 0,
            freed: 0,
            recovered: 0,
            dead_lettered: 0,
            packed: 0,
        }
    }

    pub fn append(&mut self, writer: &mut LogWriter) {
        let (key, items) = (self.next, self.random.u32(1..6));
        self.next += 1;
        if let Ok(id) = writer.append(self.now, &record(key, items)) {
            let items = vec![Said::Nothing; items as usize];
            self.records.insert(key, Known { id, acknowledged: false, items, sent: false, dead: false });
            self.waiting.push(key);
        }
    }

    pub fn verdict(&mut self, writer: &mut LogWriter) {
        // Verdicts hold segments that would go, so not every log has some.
        if !self.has_verdicts {
            return;
        }
        let key = self.next;
        self.next += 1;
        if writer.verdicts(self.now, u64::MAX, &key.to_le_bytes()).is_ok() {
            self.waiting_verdicts.push(key);
        }
    }

    /// A record that was acknowledged and has an unsettled item; the oldest half is taken more often.
    fn some_record(&mut self) -> Option<u64> {
        let open = |known: &Known| known.acknowledged && known.items.contains(&Said::Nothing);
        let keys: Vec<u64> = self.records.iter().filter(|(_, known)| open(known)).map(|(key, _)| *key).collect();
        let most = if self.random.bool() { keys.len() } else { keys.len().div_ceil(4) };
        (!keys.is_empty()).then(|| keys[self.random.usize(..most)])
    }

    pub fn settle(&mut self, writer: &mut LogWriter) {
        let Some(key) = self.some_record() else { return };
        let known = self.records.get_mut(&key).expect("chosen");
        let items = known.items.len() as u32;
        let whole = self.random.u8(0..4) != 0;
        let from = if whole { 0 } else { self.random.u32(0..items) };
        let to = if whole { items } else { self.random.u32(from..=items) };
        let what = [What::Delivered, What::SampledOut, What::Dropped(3)][self.random.usize(0..3)];
        writer.mark(self.now, Mark { record: known.id, from, to, what });
        let some = known.items[from as usize..to as usize].iter_mut();
        some.filter(|said| **said == Said::Nothing).for_each(|said| *said = Said::Perhaps);
    }

    pub fn send(&mut self, writer: &mut LogWriter) {
        let Some(key) = self.some_record() else { return };
        writer.settle_whole(self.now, self.records[&key].id, What::Sent);
        self.sent.push(key);
    }

    pub fn dead_letter(&mut self, writer: &mut LogWriter) {
        let Some(key) = self.some_record() else { return };
        let known = self.records.get_mut(&key).expect("chosen");
        if let Ok(true) = writer.dead_letter(self.now, known.id) {
            known.items.iter_mut().filter(|said| **said == Said::Nothing).for_each(|said| *said = Said::Perhaps);
            known.dead = true;
            self.dead_lettered += 1;
        }
    }

    pub fn commit(&mut self, writer: &mut LogWriter) -> Commit {
        let done = writer.commit(self.now);
        self.heard(writer, &done);
        done
    }

    pub fn commit_now_and_then(&mut self, writer: &mut LogWriter) -> Commit {
        if self.random.u8(0..4) == 0 { self.commit(writer) } else { Commit::Nothing }
    }

    pub fn heard(&mut self, writer: &LogWriter, done: &Commit) {
        let durable = *done == Commit::Durable;
        for key in std::mem::take(&mut self.waiting) {
            if durable {
                self.acknowledged += 1;
                self.records.get_mut(&key).expect("appended").acknowledged = true;
            } else {
                self.records.remove(&key);
            }
        }
        let verdicts = std::mem::take(&mut self.waiting_verdicts);
        self.verdicts.extend(verdicts.into_iter().filter(|_| durable));
        if writer.is_settled() {
            for known in self.records.values_mut() {
                known.items.iter_mut().filter(|said| **said == Said::Perhaps).for_each(|said| *said = Said::Surely);
            }
            for key in std::mem::take(&mut self.sent) {
                self.records.get_mut(&key).into_iter().for_each(|known| known.sent = true);
            }
        }
    }

    pub fn tend(&mut self, writer: &mut LogWriter) {
        self.now.mono += Duration::from_millis(300);
        writer.tend(self.now);
        self.removals.extend(writer.removals());
        // Any of them may be run, in any order.
        for at in (0..self.removals.len()).rev() {
            if self.random.bool() {
                self.removals.swap_remove(at)();
            }
        }
        let counts = writer.stats().counts;
        (self.copied, self.freed) = (self.copied.max(counts.copied), self.freed.max(counts.freed));
    }

    /// Compresses a segment, unless none is to be; now and then something happens meanwhile.
    pub fn pack(&mut self, writer: &mut LogWriter) {
        let Some(job) = writer.next_to_pack(self.now) else { return };
        if self.random.bool() {
            self.settle(writer);
            self.commit(writer);
        }
        let done = job.run();
        writer.packed(self.now, done);
        self.now.mono += Duration::from_secs(61);
        self.packed = self.packed.max(writer.stats().counts.packed);
    }

    /// The next hop takes everything.
    pub fn drain(&mut self, writer: &mut LogWriter) {
        for known in self.records.values_mut().filter(|known| known.acknowledged) {
            writer.settle_whole(self.now, known.id, What::Delivered);
            known.items.iter_mut().filter(|said| **said == Said::Nothing).for_each(|said| *said = Said::Perhaps);
        }
        self.commit(writer);
        self.tend(writer);
    }

    /// One random thing.
    pub fn step(&mut self, writer: &mut LogWriter) {
        self.now.mono += Duration::from_millis(1);
        if self.random.u16(0..300) == 0 {
            return self.drain(writer);
        }
        match self.random.u8(0..100) {
            0..34 => self.append(writer),
            34..68 => self.settle(writer),
            68..72 => self.send(writer),
            72..74 => self.verdict(writer),
            74 => self.dead_letter(writer),
            75..78 => self.pack(writer),
            78..94 => _ = self.commit(writer),
            _ => self.tend(writer),
        }
    }

    /// Opens the log and holds what comes back against what was promised; `Err` says what was broken.
    pub fn reopen(&mut self) -> Result<(LogWriter, Report), String> {
        self.reopen_allowing(0)
    }

    /// As [`Model::reopen`], where at most `damaged` records may have been damaged.
    pub fn reopen_allowing(&mut self, damaged: usize) -> Result<(LogWriter, Report), String> {
        // They went with the process.
        self.removals.clear();
        let opened = open(self.sim.boxed(), self.options.clone(), 0x0dd5_a17e, self.now);
        let (mut writer, report) = opened.map_err(|error| format!("does not open: {error}"))?;
        let back = self.read_back(&mut writer)?;
        let mut gone = Vec::new();
        for (key, known) in &mut self.records {
            let left = back.get(key);
            for (at, said) in known.items.iter().enumerate() {
                let there = left.is_some_and(|(_, left, _)| left.contains(&(at as u32)));
                match said {
                    Said::Nothing if known.acknowledged && !there => gone.push(*key),
                    Said::Surely if there => return Err(format!("item {at} of record {key} was settled and is back")),
                    _ => {}
                }
            }
            if known.sent && left.is_some_and(|(_, _, doubt)| !doubt) {
                return Err(format!("record {key} was sent, and is not in doubt"));
            }
        }
        gone.dedup();
        if report.quarantined > 0 {
            // In flight at three crashes: what is not handed out again stands among the dead letters.
            let (dead, all) = (self.dead_letters()?, gone.len());
            gone.retain(|key| self.records.get(key).is_none_or(|known| !dead.contains(&known.id)));
            if (all - gone.len()) as u64 > report.quarantined {
                return Err(format!("more records are dead than were told, {report:?}"));
            }
        }
        if gone.len() > damaged {
            return Err(format!("acknowledged and gone: records {gone:?}, {report:?}"));
        }
        self.check_verdicts(&mut writer)?;
        self.check_dead_letters()?;
        self.begin_again(back);
        Ok((writer, report))
    }

    /// Every record that comes back.
    fn read_back(&mut self, writer: &mut LogWriter) -> Result<Back, String> {
        let mut back = BTreeMap::new();
        let mut after = 0;
        while let Some(found) = writer.recovered_after(self.now, after) {
            after = found.record;
            let key = found.payload.get(..8).map(|eight| u64::from_le_bytes(eight.try_into().expect("eight")));
            let key = key.filter(|key| found.payload == payload(*key)).ok_or("a record is altered")?;
            let description = found.description.ok_or("a description is altered")?;
            if description.arrival != key || key >= self.next {
                return Err(format!("record {key} is invented"));
            }
            let left = found.left.iter().flat_map(|(from, to)| *from..*to).collect();
            if back.insert(key, (found.record, left, found.doubt)).is_some() {
                return Err(format!("record {key} comes back twice"));
            }
        }
        Ok(back)
    }

    fn check_verdicts(&self, writer: &mut LogWriter) -> Result<(), String> {
        let (mut after, mut back) = (0, Vec::new());
        while let Some((origin, body)) = writer.verdicts_after(after) {
            after = origin;
            back.push(u64::from_le_bytes(body[..].try_into().map_err(|_| "a verdict is altered")?));
        }
        match self.verdicts.iter().find(|key| !back.contains(key)) {
            Some(key) => Err(format!("verdict {key} is gone")),
            None => Ok(()),
        }
    }

    /// What was settled for good as a dead letter is in a file of them.
    fn check_dead_letters(&self) -> Result<(), String> {
        let wanted = |known: &Known| known.dead && known.items.iter().all(|said| *said == Said::Surely);
        let mut wanted: Vec<u64> = self.records.values().filter(|known| wanted(known)).map(|known| known.id).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let dead = self.dead_letters()?;
        wanted.retain(|id| !dead.contains(id));
        if wanted.is_empty() { Ok(()) } else { Err(format!("dead letters are gone: {wanted:?}")) }
    }

    /// The records that stand in files of dead letters.
    fn dead_letters(&self) -> Result<BTreeSet<u64>, String> {
        let mut dead = BTreeSet::new();
        for (name, bytes) in self.sim.files() {
            let Some((number, Purpose::DeadLetters)) = of_file_name(&name) else { continue };
            let header = podgate::wal::format::Header::decode(&bytes[..bytes.len().min(4096)]);
            let Ok(header) = header else { continue };
            let mut disk = self.sim.boxed();
            let mut medium = disk.open(&file_name(number, Purpose::DeadLetters)).map_err(|error| error.to_string())?;
            let mut found = |frame: podgate::wal::scan::Found<'_>| {
                if frame.head.kind == FrameKind::Payload {
                    dead.insert(frame.head.origin);
                }
            };
            scan(&mut *medium, header.salt, None, None, &mut found);
        }
        Ok(dead)
    }

    /// What came back is what there is now.
    fn begin_again(&mut self, back: Back) {
        self.waiting.clear();
        self.waiting_verdicts.clear();
        self.sent.clear();
        self.recovered += back.len() as u64;
        // Verdicts that nobody was told of may be there all the same.
        self.records.retain(|key, known| back.contains_key(key) || known.dead);
        for (key, (id, left, _)) in back {
            let items = self.records.get(&key).map_or(5, |known| known.items.len());
            let said = |at: usize| if left.contains(&(at as u32)) { Said::Nothing } else { Said::Surely };
            let items = (0..items.max(left.last().map_or(0, |last| *last as usize + 1))).map(said).collect();
            self.records.insert(key, Known { id, acknowledged: true, items, sent: false, dead: false });
        }
    }

    pub fn survives(&mut self) -> Survives {
        [Survives::Nothing, Survives::Everything, Survives::Some, Survives::Some][self.random.usize(0..4)]
    }
}

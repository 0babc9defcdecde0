//! A disk that does to a log what power cuts and faults do: what was not synced may be gone, by sectors; a file made,
//! or gone, may be back, or not, until its folder was synced; any call may fail; a sync may lie.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use podgate::wal::disk::{LogDisk, LogFile, Removal};

const SECTOR: usize = 512;

/// What a call does instead of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    NoSpace,
    Broken,
    ReadOnly,
    /// A write takes a part of the bytes, as the system may. No fault of other calls.
    Short,
}

impl Fault {
    pub const ALL: [Fault; 4] = [Fault::NoSpace, Fault::Broken, Fault::ReadOnly, Fault::Short];

    fn error(self) -> io::Error {
        io::Error::from_raw_os_error(match self {
            Fault::NoSpace => 28,
            Fault::Broken | Fault::Short => 5,
            Fault::ReadOnly => 30,
        })
    }
}

/// The syncs of a log, by what they are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    Group,
    Seal,
    DeadLetter,
    /// The folder, after a file was made.
    Made,
    /// The folder, after files were unlinked.
    Unlinked,
    /// A compressed segment, before it takes the other one's name.
    Packed,
}

/// How much of what was not synced survives a cut.
#[derive(Clone, Copy, Debug)]
pub enum Survives {
    Nothing,
    Everything,
    Some,
}

#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
}

#[derive(Clone, Debug, Default)]
struct File {
    durable: Vec<u8>,
    live: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Entry {
    Made(String, u64),
    Gone(String),
    Renamed(String, String, u64),
}

#[derive(Debug, Default)]
pub struct State {
    /// Unlinks are left to whoever takes them.
    pub removes_later: bool,
    files: BTreeMap<u64, File>,
    live: BTreeMap<String, u64>,
    durable: BTreeMap<String, u64>,
    pending: Vec<Entry>,
    next: u64,
    locked: bool,
    pub calls: u64,
    pub syncs: u64,
    /// From this call on nothing answers: the power is gone.
    pub cut_at: Option<u64>,
    /// These calls fail, `from..to`.
    pub fail: Option<(std::ops::Range<u64>, Fault)>,
    /// Only calls of this name fail.
    pub fail_only: Option<&'static str>,
    /// These syncs say that they did what they did not.
    pub lies: Option<Sync>,
    /// The sync of this number (from 1) lies.
    pub lie_at: Option<u64>,
    /// Places that no file can be read at any more.
    pub bad: Option<std::ops::Range<u64>>,
    /// What the last lie was about.
    pub lied: Option<Sync>,
    pub was_cut: bool,
    /// What the file system says is free.
    pub free: Option<u64>,
    /// Bytes that all files together may have.
    pub capacity: Option<u64>,
    random: Random,
}

#[derive(Debug)]
struct Random(fastrand::Rng);

impl Default for Random {
    fn default() -> Random {
        Random(fastrand::Rng::with_seed(0))
    }
}

#[derive(Clone, Default)]
pub struct Sim(Arc<Mutex<State>>);

impl Sim {
    pub fn seeded(seed: u64) -> Sim {
        let sim = Sim::default();
        sim.state().random = Random(fastrand::Rng::with_seed(seed));
        sim
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics in here")
    }

    pub fn boxed(&self) -> Box<dyn LogDisk> {
        Box::new(self.clone())
    }

    /// The power goes and comes back.
    pub fn cut(&self, survives: Survives) {
        let mut guard = self.state();
        let State { files, live, durable, pending, random, .. } = &mut *guard;
        for entry in pending.drain(..) {
            let survived = match survives {
                Survives::Nothing => false,
                Survives::Everything => true,
                Survives::Some => random.0.bool(),
            };
            match entry {
                Entry::Made(name, file) if survived => _ = durable.insert(name, file),
                Entry::Gone(name) if survived => _ = durable.remove(&name),
                Entry::Renamed(from, to, file) if survived => {
                    durable.remove(&from);
                    durable.insert(to, file);
                }
                _ => {}
            }
        }
        for file in files.values_mut() {
            file.settle(survives, &mut random.0);
            file.live = file.durable.clone();
        }
        *live = durable.clone();
        files.retain(|number, _| live.values().any(|held| held == number));
        guard.locked = false;
        guard.cut_at = None;
        guard.fail = None;
        guard.was_cut = false;
    }

    /// The files as they stand.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.state();
        state.live.iter().map(|(name, file)| (name.clone(), state.files[file].live.clone())).collect()
    }

    /// Puts files there as if they had always been.
    pub fn put(&self, files: &BTreeMap<String, Vec<u8>>) {
        let mut state = self.state();
        for (name, bytes) in files {
            state.next += 1;
            let number = state.next;
            state.files.insert(number, File { durable: bytes.clone(), live: bytes.clone(), pending: Vec::new() });
            state.live.insert(name.clone(), number);
            state.durable.insert(name.clone(), number);
        }
    }
}

impl State {
    /// Counts a call; whether it may do its work.
    fn call(&mut self, name: &'static str) -> io::Result<Option<Fault>> {
        self.calls += 1;
        if self.was_cut || self.cut_at.is_some_and(|at| self.calls >= at) {
            self.was_cut = true;
            return Err(io::Error::other("the power is gone"));
        }
        let named = self.fail_only.is_none_or(|only| only == name);
        match &self.fail {
            Some((range, Fault::Short)) if range.contains(&self.calls) && named => Ok(Some(Fault::Short)),
            Some((range, fault)) if range.contains(&self.calls) && named => Err(fault.error()),
            _ => Ok(None),
        }
    }

    /// What is free where there is a bound.
    fn left(&self) -> Option<u64> {
        let used: usize = self.live.values().filter_map(|file| self.files.get(file)).map(|file| file.live.len()).sum();
        Some(self.capacity?.saturating_sub(used as u64))
    }

    /// Room for a file that becomes so long.
    fn admit(&self, file: u64, length: usize) -> io::Result<()> {
        let has = self.files.get(&file).map_or(0, |file| file.live.len());
        let fits = self.left().is_none_or(|left| length.saturating_sub(has) as u64 <= left);
        if fits { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
    }

    /// Counts a sync; whether it lies.
    fn lies(&mut self, kind: Sync) -> bool {
        self.syncs += 1;
        let lies = self.lies == Some(kind) || self.lie_at == Some(self.syncs);
        self.lied = if lies { Some(kind) } else { self.lied };
        lies
    }
}

impl File {
    /// What of the pending changes is on the disk now; the rest is forgotten.
    fn settle(&mut self, survives: Survives, random: &mut fastrand::Rng) {
        for change in std::mem::take(&mut self.pending) {
            match (change, survives) {
                (_, Survives::Nothing) => {}
                (Change::Length(length), Survives::Everything) => self.durable.resize(length as usize, 0),
                (Change::Length(length), Survives::Some) => {
                    if random.bool() {
                        self.durable.resize(length as usize, 0);
                    }
                }
                (Change::Write(at, bytes), _) => {
                    let survives = |_: &_| matches!(survives, Survives::Everything) || random.bool();
                    let sectors = bytes.chunks(SECTOR).enumerate().filter(survives);
                    sectors
                        .for_each(|(number, sector)| place(&mut self.durable, at as usize + number * SECTOR, sector));
                }
            }
        }
    }
}

fn place(into: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if into.len() < at + bytes.len() {
        into.resize(at + bytes.len(), 0);
    }
    into[at..at + bytes.len()].copy_from_slice(bytes);
}

impl LogDisk for Sim {
    fn list(&mut self) -> io::Result<Vec<(String, u64)>> {
        let mut state = self.state();
        state.call("list")?;
        Ok(state.live.iter().map(|(name, file)| (name.clone(), state.files[file].live.len() as u64)).collect())
    }

    fn free(&mut self) -> Option<u64> {
        let state = self.state();
        state.free.or_else(|| state.left())
    }

    fn create(&mut self, name: &str) -> io::Result<Box<dyn LogFile>> {
        let mut state = self.state();
        state.call("create")?;
        if state.live.contains_key(name) {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        state.next += 1;
        let number = state.next;
        state.files.insert(number, File::default());
        state.live.insert(name.to_owned(), number);
        state.pending.push(Entry::Made(name.to_owned(), number));
        Ok(Box::new(Handle { sim: self.clone(), file: number, kind: kind_of(name) }))
    }

    fn open(&mut self, name: &str) -> io::Result<Box<dyn LogFile>> {
        let mut state = self.state();
        state.call("open")?;
        let file = state.live.get(name).copied().ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Handle { sim: self.clone(), file, kind: Sync::Group }))
    }

    fn cut(&mut self, name: &str, length: u64) -> io::Result<()> {
        let mut state = self.state();
        state.call("cut")?;
        let number = state.live.get(name).copied().ok_or(io::ErrorKind::NotFound)?;
        let file = state.files.get_mut(&number).expect("named");
        file.live.resize(length as usize, 0);
        file.pending.push(Change::Length(length));
        Ok(())
    }

    fn unlink(&mut self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.call("unlink")?;
        state.live.remove(name).ok_or(io::ErrorKind::NotFound)?;
        state.pending.push(Entry::Gone(name.to_owned()));
        Ok(())
    }

    fn removal(&self, name: &str) -> Option<Removal> {
        let (mut sim, name) = (self.clone(), name.to_owned());
        let later = self.state().removes_later;
        later.then(|| Box::new(move || _ = sim.unlink(&name)) as Removal)
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.call("rename")?;
        let file = state.live.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.live.insert(to.to_owned(), file);
        state.pending.push(Entry::Renamed(from.to_owned(), to.to_owned(), file));
        Ok(())
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        let mut state = self.state();
        state.call("sync_folder")?;
        let kind = match state.pending.last() {
            Some(Entry::Gone(_)) => Sync::Unlinked,
            Some(Entry::Renamed(_, to, _)) if to.ends_with(".new") => Sync::Unlinked,
            _ => Sync::Made,
        };
        if state.lies(kind) {
            return Ok(());
        }
        for entry in std::mem::take(&mut state.pending) {
            match entry {
                Entry::Made(name, file) => _ = state.durable.insert(name, file),
                Entry::Gone(name) => _ = state.durable.remove(&name),
                Entry::Renamed(from, to, file) => {
                    state.durable.remove(&from);
                    state.durable.insert(to, file);
                }
            }
        }
        Ok(())
    }

    fn lock(&mut self) -> io::Result<Option<Box<dyn Send>>> {
        let mut state = self.state();
        state.call("lock")?;
        if std::mem::replace(&mut state.locked, true) {
            return Ok(None);
        }
        Ok(Some(Box::new(Lock(self.clone()))))
    }
}

struct Lock(Sim);

impl Drop for Lock {
    fn drop(&mut self) {
        self.0.state().locked = false;
    }
}

struct Handle {
    sim: Sim,
    file: u64,
    /// What a sync of it is for, a seal's aside.
    kind: Sync,
}

fn kind_of(name: &str) -> Sync {
    match name.rsplit('.').next() {
        Some("dead") => Sync::DeadLetter,
        Some("new") => Sync::Packed,
        _ => Sync::Group,
    }
}

impl LogFile for Handle {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.sim.state();
        let short = state.call("write")? == Some(Fault::Short);
        let taken = if short { bytes.len().div_ceil(2) } else { bytes.len() };
        state.admit(self.file, offset as usize + taken)?;
        let file = state.files.get_mut(&self.file).ok_or(io::ErrorKind::NotFound)?;
        place(&mut file.live, offset as usize, &bytes[..taken]);
        file.pending.push(Change::Write(offset, bytes[..taken].to_vec()));
        Ok(taken)
    }

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut state = self.sim.state();
        state.call("read")?;
        let end = offset + into.len() as u64;
        if state.bad.as_ref().is_some_and(|bad| bad.start < end && offset < bad.end) {
            return Err(Fault::Broken.error());
        }
        let file = state.files.get(&self.file).ok_or(io::ErrorKind::NotFound)?;
        let rest = file.live.get(offset as usize..).unwrap_or_default();
        let taken = rest.len().min(into.len());
        into[..taken].copy_from_slice(&rest[..taken]);
        Ok(taken)
    }

    fn allocate(&mut self, bytes: u64) -> io::Result<()> {
        let mut state = self.sim.state();
        state.call("allocate")?;
        state.admit(self.file, bytes as usize)?;
        let file = state.files.get_mut(&self.file).ok_or(io::ErrorKind::NotFound)?;
        let length = file.live.len().max(bytes as usize);
        file.live.resize(length, 0);
        file.pending.push(Change::Length(length as u64));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.sim.state();
        let answer = state.call("sync");
        let State { files, random, was_cut, .. } = &mut *state;
        let file = files.get_mut(&self.file).ok_or(io::ErrorKind::NotFound)?;
        if let Err(error) = answer {
            // What the kernel could not write it takes for written: no later sync tries it again.
            if !*was_cut {
                file.settle(Survives::Some, &mut random.0);
            }
            return Err(error);
        }
        let sealed = matches!(file.pending.last(), Some(Change::Write(_, bytes)) if ends_with_a_seal(bytes));
        let kind = if sealed && self.kind == Sync::Group { Sync::Seal } else { self.kind };
        if !state.lies(kind) {
            let State { files, random, .. } = &mut *state;
            files.get_mut(&self.file).expect("found").settle(Survives::Everything, &mut random.0);
        }
        Ok(())
    }

    fn length(&mut self) -> io::Result<u64> {
        let mut state = self.sim.state();
        state.call("length")?;
        Ok(state.files.get(&self.file).ok_or(io::ErrorKind::NotFound)?.live.len() as u64)
    }
}

/// A seal is 72 bytes long, and the last ones of what is written.
fn ends_with_a_seal(bytes: &[u8]) -> bool {
    bytes.len().checked_sub(72).is_some_and(|at| bytes[at..].starts_with(b"PGf1") && bytes[at + 46] == 5)
}

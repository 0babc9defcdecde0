//! What a folder holds, for a person: reads, changes nothing, takes no lock. A log that is being written may look torn.

use std::collections::BTreeMap;

use crate::wal::disk::{LogDisk, read_full};
use crate::wal::format::{BLOCK, FrameKind, Header, Purpose, file_name, of_file_name};
use crate::wal::packed::view::open_segment;
use crate::wal::recovery::{OpenError, Report, survey};
use crate::wal::scan::{ScanLoss, scan};
use crate::wal::table::Unsettled;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InspectedFile {
    pub name: String,
    pub bytes: u64,
    /// What the header says, or what is wrong with it.
    pub header: Result<Header, String>,
    /// The following are zero unless the file was read from end to end.
    pub records: u64,
    pub items: u64,
    pub verdicts: u64,
    pub marks: u64,
    pub sealed: bool,
    pub lost: ScanLoss,
    /// Damaged bytes in front of whole frames, and such as are not zero behind the last one.
    pub damaged: u64,
    pub tail: u64,
    pub unreadable: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    pub files: Vec<InspectedFile>,
    /// What a start would find.
    pub report: Report,
    pub unsettled: Vec<Unsettled>,
    pub bytes: u64,
}

impl Inspection {
    /// Whether anything that was written whole is not whole any more. A torn tail is no damage.
    pub fn is_damaged(&self) -> bool {
        let report = &self.report;
        let files = self.files.iter().any(|file| file.unreadable > 0 || file.damaged > 0 || file.lost.frames > 0);
        let lost = report.lost.records + report.damaged + report.missing.0 + report.unreadable;
        files || lost > 0 || !report.unknown.is_empty()
    }
}

/// Reads the log; with `whole` every byte of every file, as `verify` does.
pub fn inspect(disk: &mut dyn LogDisk, whole: bool) -> Result<Inspection, OpenError> {
    let survey = survey(disk)?;
    let failed = |error| OpenError::Disk { what: "listed", error };
    let mut names: BTreeMap<(u64, String), u64> = BTreeMap::new();
    for (name, bytes) in disk.list().map_err(failed)? {
        if let Some((number, _)) = of_file_name(&name) {
            names.insert((number, name), bytes);
        }
    }
    let headers: Vec<Header> = names.keys().filter_map(|(_, name)| header(disk, name).ok()).collect();
    let salt = survey.salt.unwrap_or(0);
    let mut files = Vec::with_capacity(names.len());
    for ((number, name), bytes) in names {
        let mut file = InspectedFile { bytes, header: header(disk, &name), ..empty(name) };
        if whole {
            read(disk, &mut file, number, salt, &headers);
        }
        files.push(file);
    }
    // The torn last group of a crash is told as such by a start; here it is a matter of files before the last.
    let unsettled = survey.table.by_pipeline().cloned().collect();
    let bytes = files.iter().map(|file| file.bytes).sum();
    let mut report = survey.report;
    report.records = survey.table.entries.len() as u64;
    report.items = survey.table.entries.values().map(|entry| u64::from(entry.left)).sum();
    report.in_doubt = survey.table.entries.values().filter(|entry| entry.sent || entry.doubt).count() as u64;
    Ok(Inspection { files, report, unsettled, bytes })
}

fn empty(name: String) -> InspectedFile {
    InspectedFile {
        name,
        bytes: 0,
        header: Err(String::new()),
        records: 0,
        items: 0,
        verdicts: 0,
        marks: 0,
        sealed: false,
        lost: ScanLoss::default(),
        damaged: 0,
        tail: 0,
        unreadable: 0,
    }
}

fn header(disk: &mut dyn LogDisk, name: &str) -> Result<Header, String> {
    let mut block = vec![0u8; BLOCK as usize];
    let mut medium = disk.open(name).map_err(|error| error.to_string())?;
    let read = read_full(&mut *medium, 0, &mut block).map_err(|error| error.to_string())?;
    Header::decode(&block[..read]).map_err(|fault| fault.to_string())
}

fn read(disk: &mut dyn LogDisk, file: &mut InspectedFile, number: u64, salt: u64, headers: &[Header]) {
    let purpose = of_file_name(&file.name).map_or(Purpose::Log, |(_, purpose)| purpose);
    let opened = match purpose {
        Purpose::DeadLetters => disk.open(&file_name(number, purpose)),
        Purpose::Log | Purpose::Packed => open_segment(disk, number),
    };
    let Ok(mut medium) = opened else { return };
    let log = |header: &&Header| header.purpose != Purpose::DeadLetters && header.number > number;
    let next =
        headers.iter().filter(log).min_by_key(|header| header.number).filter(|_| purpose != Purpose::DeadLetters);
    let start = file.header.as_ref().ok().map(Header::totals);
    let limit = next.map(|next| next.first);
    let (mut verdicts, mut marks, mut sealed) = (0, 0, false);
    let scanned = scan(&mut *medium, salt, start, limit, &mut |found| {
        sealed = found.head.kind == FrameKind::Seal;
        match found.head.kind {
            FrameKind::Verdicts => verdicts += 1,
            FrameKind::Settled => marks += found.body.len() as u64 / crate::wal::body::MARK_BYTES as u64,
            _ => {}
        }
    });
    (file.records, file.items, file.verdicts, file.marks) = (scanned.records, scanned.items, verdicts, marks);
    (file.sealed, file.unreadable, file.tail) = (sealed, scanned.unreadable, scanned.tail);
    (file.lost, file.damaged) = (scanned.lost, scanned.damaged);
    let follows = next.is_some_and(|next| file.header.as_ref().is_ok_and(|own| own.boot == next.boot));
    if follows {
        // The same process went on, so the last group was acknowledged and its end is where the next segment begins.
        file.lost.add(scanned.last_lost);
        file.damaged += scanned.last_damaged;
        file.lost.add(next.map(|next| scanned.totals.until(next.totals())).unwrap_or_default());
    } else {
        file.tail += scanned.last_damaged;
    }
}

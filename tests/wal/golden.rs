//! Format 1 as it was recorded (`tests/golden/wal/v1`): later versions have to read it, and docs/wal-format.md to tell it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use podgate::wal::body::{Mark, What};
use podgate::wal::format::{FrameKind, Head, Header};
use podgate::wal::inspect::inspect;
use podgate::wal::recovery::open;
use podgate::wal::writer::{Commit, LogTime, Options};

use crate::disk::{Sim, Survives};
use crate::model::{payload, record, small};

const NOW: LogTime = LogTime { mono: std::time::Duration::ZERO, wall: 0 };

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/wal/v1")
}

fn options() -> Options {
    Options { segment_bytes: 64 << 10, ..small() }
}

/// Two lives: the first is closed in order, the second ends in a crash.
fn make() -> BTreeMap<String, Vec<u8>> {
    let sim = Sim::seeded(1);
    let (mut writer, _) = open(sim.boxed(), options(), 0x601d, NOW).expect("new");
    for key in 1..=12 {
        writer.append(NOW, &record(key, 4)).expect("taken");
        if key % 2 == 0 {
            assert_eq!(writer.commit(NOW), Commit::Durable);
        }
    }
    writer.verdicts(NOW, u64::MAX, b"kept for ever").expect("taken");
    writer.mark(NOW, Mark { record: 1, from: 0, to: 4, what: What::Delivered });
    writer.mark(NOW, Mark { record: 2, from: 1, to: 3, what: What::SampledOut });
    writer.mark(NOW, Mark { record: 3, from: 0, to: 4, what: What::Dropped(9) });
    assert!(writer.dead_letter(NOW, 4).expect("written"));
    writer.settle_whole(NOW, 5, What::Sent);
    writer.close(NOW);
    drop(writer);
    sim.cut(Survives::Everything);
    let (mut writer, _) = open(sim.boxed(), options(), 0, NOW).expect("opens");
    writer.append(NOW, &record(13, 2)).expect("taken");
    assert_eq!(writer.commit(NOW), Commit::Durable);
    writer.settle_whole(NOW, 6, What::Sent);
    writer.settle_whole(NOW, 7, What::Delivered);
    writer.commit(NOW);
    drop(writer);
    sim.cut(Survives::Everything);
    let mut files = sim.files();
    files.retain(|name, _| name != "lock");
    // What was reserved is not kept.
    for bytes in files.values_mut() {
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        bytes.truncate(end.next_multiple_of(4096));
    }
    files
}

fn recorded() -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(root()).expect("recorded by PODGATE_WAL_RECORD=1");
    let files = entries.map(|entry| {
        let path = entry.expect("readable").path();
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        (name, fs::read(path).expect("readable"))
    });
    files.collect()
}

#[test]
fn the_recorded_folder_of_format_1_is_read() {
    if std::env::var_os("PODGATE_WAL_RECORD").is_some() {
        fs::create_dir_all(root()).expect("made");
        for (name, bytes) in make() {
            fs::write(root().join(name), bytes).expect("written");
        }
    }
    let sim = Sim::default();
    sim.put(&recorded());
    let found = inspect(&mut *sim.boxed(), true).expect("read");
    assert!(!found.is_damaged(), "{found:?}");
    let (mut writer, report) = open(sim.boxed(), options(), 0, NOW).expect("opens");
    assert!(!report.clean && report.lost.records == 0 && report.torn == 0, "{report:?}");
    let (mut after, mut back) = (0, Vec::new());
    while let Some(found) = writer.recovered_after(NOW, after) {
        after = found.record;
        let key = u64::from_le_bytes(found.payload[..8].try_into().expect("eight"));
        assert_eq!(found.payload, payload(key));
        let description = found.description.expect("version 1");
        assert_eq!((description.arrival, description.peer.as_slice()), (key, b"peer".as_slice()));
        back.push((key, found.left, found.doubt, found.crashes));
    }
    let whole = |key| (key, vec![(0, 4)], false, 0);
    let half = (2, vec![(0, 1), (3, 4)], false, 0);
    // Five was sent before a stop in order, six before a crash.
    let doubted = [(5, vec![(0, 4)], true, 0), (6, vec![(0, 4)], true, 1)];
    let mut want = vec![half];
    want.extend(doubted);
    want.extend((8..=12).map(whole));
    want.push((13, vec![(0, 2)], false, 0));
    assert_eq!(back, want);
    assert_eq!(writer.verdicts_after(0).map(|(_, body)| body), Some(b"kept for ever".as_slice().into()));
    assert_eq!(recorded().keys().filter(|name| name.ends_with(".dead")).count(), 1);
}

#[test]
fn what_is_written_now_is_what_was_recorded() {
    // A change of these bytes is a change of the format: it takes another version, and another folder beside this one.
    assert_eq!(make(), recorded());
}

/// `(offset, bytes, field)` of a table of the page.
fn rows(section: &str) -> Vec<(usize, usize, String)> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/wal-format.md");
    let page = fs::read_to_string(page).expect("docs/wal-format.md");
    let text = page.split(&format!("\n## {section}\n")).nth(1).expect("the section").split("\n## ").next();
    let cells = text.expect("text").lines().filter_map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        Some((cells.get(1)?.parse().ok()?, cells.get(2)?.parse().ok()?, (*cells.get(3)?).to_owned()))
    });
    cells.collect()
}

fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    bytes[at..at + length].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[test]
fn the_page_on_the_format_tells_where_every_field_stands() {
    let files = recorded();
    let bytes = files.values().next_back().expect("a segment");
    let header = Header::decode(&bytes[..4096]).expect("whole");
    let said = rows("Header");
    assert_eq!(said.len(), 11);
    for (at, length, field) in said {
        let want = match field.as_str() {
            "magic" => number(b"PGWALSEG", 0, 8),
            "version" => 1,
            "purpose" => 0,
            "number" => header.number,
            "previous" => header.previous,
            "first" => header.first,
            "records" => header.records,
            "items" => header.items,
            "salt" => header.salt,
            "boot" => u64::from(header.boot),
            "check" => u64::from(crc32c::crc32c(&bytes[..at])),
            other => panic!("the page names {other}"),
        };
        assert_eq!((number(bytes, at, length), number(bytes, at + 2048, length)), (want, want), "{field}");
    }
    // The first segment begins with a record.
    let bytes = files.values().next().expect("a segment");
    let frame = &bytes[4096..];
    let head = Head::decode(header.salt, frame).expect("whole");
    assert_eq!(head.kind, FrameKind::Payload);
    let mut end = 0;
    for (at, length, field) in rows("Frame") {
        assert_eq!(at, end, "{field} begins where the field in front of it ends");
        end = at + length;
        let want = match field.as_str() {
            "magic" => number(b"PGf1", 0, 4),
            "length" => u64::from(head.length),
            "sequence" => head.sequence,
            "origin" => head.origin,
            "records" => head.records,
            "items so far" => head.total,
            "items" => u64::from(head.items),
            "described" => u64::from(head.described),
            "kind" => head.kind as u64,
            "index" => u64::from(head.index),
            "check of the body" => u64::from(crc32c::crc32c(&frame[56..56 + head.length as usize])),
            "check" => {
                let salted = crc32c::crc32c(&header.salt.to_le_bytes());
                u64::from(crc32c::crc32c_append(salted, &frame[..at]))
            }
            other => panic!("the page names {other}"),
        };
        assert_eq!(number(frame, at, length), want, "{field}");
    }
    assert_eq!(end, 56);
}

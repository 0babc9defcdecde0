//! Segments that were compressed: they give back what they held, rot costs what stood in its block and is counted exactly,
//! and room comes back as long as nobody takes what is in them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use podgate::wal::body::{Description, What};
use podgate::wal::format::{BLOCK, FrameKind, Header, Purpose, of_file_name};
use podgate::wal::inspect;
use podgate::wal::packed::PackedHead;
use podgate::wal::packed::pack::pack;
use podgate::wal::packed::view::open_segment;
use podgate::wal::recovery::{Report, open};
use podgate::wal::scan::scan;
use podgate::wal::writer::{Commit, LogRecord, LogTime, LogWriter, Options};

use crate::disk::{Sim, Survives};
use crate::model;

type Files = BTreeMap<String, Vec<u8>>;

const NOW: LogTime = LogTime { mono: Duration::ZERO, wall: 0 };

fn options() -> Options {
    let pack_after = Some(Duration::from_secs(60));
    Options { max_bytes: 40 << 20, segment_bytes: 512 << 10, pack_after, ..Options::default() }
}

/// Words, as telemetry is; told by its number.
fn record(key: u64) -> LogRecord {
    let mut random = fastrand::Rng::with_seed(key);
    let word = |random: &mut fastrand::Rng| format!("span {} of trace {}; ", random.u16(..900), random.u64(..));
    let text: String = std::iter::repeat_with(|| word(&mut random)).take(400).collect();
    let description = Description { pipeline: "traces".to_owned(), arrival: key, ..Description::default() };
    let payload = vec![Bytes::from([&key.to_le_bytes(), text.as_bytes()].concat())];
    LogRecord { description, items: 3, payload, parked: true }
}

fn append(writer: &mut LogWriter, keys: Range<u64>) -> Vec<u64> {
    let one = |key| {
        let id = writer.append(NOW, &record(key)).expect("taken");
        assert_eq!(writer.commit(NOW), Commit::Durable);
        id
    };
    keys.map(one).collect()
}

/// A few segments, every tenth record settled, the last one as a crash leaves it; the keys that are unsettled.
fn log() -> (Files, Vec<u64>) {
    let sim = Sim::seeded(1);
    let (mut writer, _) = open(sim.boxed(), options(), 99, NOW).expect("opened");
    let ids = append(&mut writer, 1..151);
    ids.iter().step_by(10).for_each(|id| _ = writer.settle_whole(NOW, *id, What::Delivered));
    writer.commit(NOW);
    drop(writer);
    sim.cut(Survives::Everything);
    (sim.files(), (1..151).filter(|key| key % 10 != 1).collect())
}

fn segments(files: &Files) -> Vec<String> {
    files.keys().filter(|name| name.ends_with(".wal")).cloned().collect()
}

/// All segments but the last, packed.
fn packed(files: &Files) -> Files {
    let sim = Sim::default();
    sim.put(files);
    let names = segments(files);
    for name in &names[..names.len() - 1] {
        let mut disk = sim.boxed();
        let (mut from, mut to) = (disk.open(name).expect("there"), disk.create("new").expect("made"));
        let (before, after) = pack(&mut *from, &mut *to).expect("packed");
        assert!(after * 2 < before, "{after} of {before}");
        disk.rename("new", name).expect("renamed");
    }
    sim.files()
}

/// The keys that come back, what was found at the start, and what was found to be damaged afterwards.
fn read(files: &Files) -> (Vec<u64>, Report, u64) {
    let sim = Sim::default();
    sim.put(files);
    let (mut writer, report) = open(sim.boxed(), options(), 99, NOW).expect("opened");
    let (mut keys, mut after) = (Vec::new(), 0);
    while let Some(found) = writer.recovered_after(NOW, after) {
        after = found.record;
        let key = u64::from_le_bytes(found.payload[..8].try_into().expect("eight"));
        assert_eq!(found.payload, record(key).payload[0], "record {key} is altered");
        keys.push(key);
    }
    (keys, report, writer.stats().counts.lost.records)
}

/// Where records stand in the files as they were written.
fn places(files: &Files) -> Vec<(String, Range<u64>, u64)> {
    let sim = Sim::default();
    sim.put(files);
    let mut all = Vec::new();
    for name in segments(files) {
        let (number, _) = of_file_name(&name).expect("a segment");
        let salt = Header::decode(&files[&name][..BLOCK as usize]).expect("whole").salt;
        let mut medium = open_segment(&mut *sim.boxed(), number).expect("there");
        scan(&mut *medium, salt, None, None, &mut |found| {
            if found.head.kind == FrameKind::Payload {
                let key = Description::decode(found.body).expect("ours").arrival;
                all.push((name.clone(), found.offset..found.offset + 56 + u64::from(found.head.length), key));
            }
        });
    }
    all
}

/// The blocks of a packed file: where they stand in it, and what of the old file they hold.
fn blocks(bytes: &[u8]) -> Vec<(Range<usize>, Range<u64>)> {
    let header = Header::decode(&bytes[..BLOCK as usize]).expect("whole");
    assert_eq!(header.purpose, Purpose::Packed);
    let (mut all, mut at) = (Vec::new(), BLOCK as usize);
    while at < bytes.len() {
        let head = PackedHead::decode(header.salt, &bytes[at..]).expect("whole");
        all.push((at..at + 40 + head.length as usize, head.offset..head.offset + u64::from(head.plain)));
        at += head.room() as usize;
    }
    all
}

/// Every checkpoint is gone, so that all segments are scanned.
fn without_checkpoints(files: &Files) -> Files {
    let sim = Sim::default();
    sim.put(files);
    let mut rotten = files.clone();
    for name in segments(files) {
        let salt = Header::decode(&files[&name][..BLOCK as usize]).expect("whole").salt;
        let mut medium = sim.boxed().open(&name).expect("there");
        scan(&mut *medium, salt, None, None, &mut |found| {
            if matches!(found.head.kind, FrameKind::Seal | FrameKind::Checkpoint) {
                rotten.get_mut(&name).expect("named")[found.offset as usize + 9] ^= 1;
            }
        });
    }
    rotten
}

#[test]
fn a_packed_log_gives_back_what_it_held_by_its_checkpoint_and_without_one() {
    let (files, whole) = log();
    assert!(segments(&files).len() >= 3);
    let all = packed(&files);
    let bytes = |files: &Files| files.values().map(Vec::len).sum::<usize>();
    assert!(bytes(&all) * 2 < bytes(&files), "{} of {}", bytes(&all), bytes(&files));
    let (keys, report, damaged) = read(&all);
    assert_eq!((&keys, damaged, report.lost.records, report.damaged), (&whole, 0, 0, 0), "{report:?}");
    let (keys, report, damaged) = read(&packed(&without_checkpoints(&files)));
    assert_eq!((&keys, damaged, report.lost.records), (&whole, 0, 0), "{report:?}");
    assert_eq!(report.scanned, report.segments);
    let sim = Sim::default();
    sim.put(&all);
    let [plain, found] = [&files, &all].map(|files| {
        sim.put(files);
        inspect::inspect(&mut *sim.boxed(), true).expect("read")
    });
    assert!(!found.is_damaged(), "{found:?}");
    let told = |of: &inspect::Inspection| of.files.iter().map(|file| (file.records, file.marks)).collect::<Vec<_>>();
    assert_eq!(told(&plain), told(&found));
}

fn flips() -> u64 {
    std::env::var("PODGATE_WAL_FLIPS").ok().and_then(|text| text.parse::<u64>().ok()).unwrap_or(250) / 5
}

/// The packed segment of the log, rotten by `rot`; what that has to cost.
fn costs(whole: &[u64], all: &Files, places: &[(String, Range<u64>, u64)], name: &str, hit: Range<usize>) -> Vec<u64> {
    let blocks = blocks(&all[name]);
    let gone: Vec<_> = blocks.iter().filter(|(at, _)| at.start < hit.end && hit.start < at.end).collect();
    let touches = |place: &Range<u64>| gone.iter().any(|(_, of)| of.start < place.end && place.start < of.end);
    let lost = places.iter().filter(|(file, place, key)| file == name && touches(place) && whole.contains(key));
    lost.map(|(_, _, key)| *key).collect()
}

#[test]
fn a_flipped_bit_in_a_packed_segment_costs_the_records_of_its_block_and_is_counted_exactly() {
    let (files, whole) = log();
    let places = places(&files);
    let mut random = fastrand::Rng::with_seed(flips());
    let mut cost = 0;
    for all in [packed(&files), packed(&without_checkpoints(&files))] {
        let names = segments(&all);
        for round in 0..flips() {
            let mut rotten = all.clone();
            let name = &names[random.usize(..names.len() - 1)];
            let bytes = rotten.get_mut(name).expect("named");
            let at = random.usize(..bytes.len());
            bytes[at] ^= 1 << random.u8(..8);
            let want = costs(&whole, &all, &places, name, at..at + 1);
            let (keys, report, damaged) = read(&rotten);
            let gone: Vec<u64> = whole.iter().filter(|key| !keys.contains(key)).copied().collect();
            assert_eq!(gone, want, "round {round}, {name} at {at}");
            // Of a record that was settled behind the last checkpoint nobody knows that it was: never too few.
            let most = costs(&(1..151).collect::<Vec<_>>(), &all, &places, name, at..at + 1).len() as u64;
            let told = report.lost.records + damaged;
            let exact = want.len() as u64..=most;
            assert!(exact.contains(&told), "round {round}, {name} at {at}: {told} of {want:?}, {report:?}");
            cost += u64::from(!want.is_empty());
        }
    }
    println!("{} flips, {cost} of them cost a block", 2 * flips());
    assert!(cost > flips(), "most of a packed segment is blocks");
}

#[test]
fn a_packed_segment_that_ends_at_any_byte_costs_what_stood_behind() {
    let (files, whole) = log();
    let (all, places) = (packed(&files), places(&files));
    let name = segments(&all)[1].clone();
    let length = all[&name].len();
    for end in (BLOCK as usize..length).step_by(if flips() > 10_000 { 7 } else { 9_973 }) {
        let mut cut = all.clone();
        cut.get_mut(&name).expect("named").truncate(end);
        let (keys, report, damaged) = read(&cut);
        let want = costs(&whole, &all, &places, &name, end..length);
        assert_eq!(keys.len() + want.len(), whole.len(), "cut at {end}");
        assert_eq!(report.lost.records + damaged, want.len() as u64, "cut at {end}: {report:?}");
    }
}

fn pack_all(writer: &mut LogWriter, now: &mut LogTime) -> u64 {
    let before = writer.stats().counts.packed;
    while let Some(job) = writer.next_to_pack(*now) {
        writer.packed(*now, job.run());
        now.mono += Duration::from_secs(5);
    }
    writer.stats().counts.packed - before
}

#[test]
fn what_is_wanted_for_long_is_packed_and_an_outage_lasts_longer_on_the_same_disk() {
    let sim = Sim::seeded(2);
    let (mut writer, _) = open(sim.boxed(), options(), 1, NOW).expect("new");
    let mut now = NOW;
    let ids = append(&mut writer, 1..151);
    let before = writer.stats();
    assert_eq!(pack_all(&mut writer, &mut now), 0, "nothing is old");
    now.mono += Duration::from_secs(59);
    assert_eq!(pack_all(&mut writer, &mut now), 0, "not yet");
    now.mono += Duration::from_secs(1);
    let packed = pack_all(&mut writer, &mut now);
    let after = writer.stats();
    assert_eq!(packed, before.segments as u64 - 2, "all but the one that is written and the one with the checkpoint");
    assert!(after.bytes * 2 < before.bytes && after.counts.saved == before.bytes - after.bytes, "{before:?} {after:?}");
    // What is in it is read back, and goes with its segment.
    let waiting = writer.waiting_after("traces", 0, (0, 1_000)).records;
    assert_eq!(waiting.len(), 150);
    for (at, found) in writer.read_back(now, &ids).into_iter().enumerate() {
        assert_eq!(found.payload, record(at as u64 + 1).payload[0]);
        writer.settle_whole(now, found.record, What::Delivered);
    }
    writer.commit(now);
    writer.tend(now);
    assert_eq!(writer.stats().segments, 1);
    assert_eq!(sim.files().keys().filter(|name| !name.ends_with(".wal")).count(), 0, "nothing unfinished is left");
}

#[test]
fn with_half_of_the_budget_gone_age_is_no_matter() {
    let sim = Sim::seeded(3);
    let (mut writer, _) = open(sim.boxed(), Options { max_bytes: 8 << 20, ..options() }, 1, NOW).expect("new");
    append(&mut writer, 1..351);
    assert!(writer.stats().bytes > 4 << 20, "{}", writer.stats().bytes);
    let mut now = NOW;
    assert!(pack_all(&mut writer, &mut now) > 0);
    assert!(writer.stats().bytes <= 4 << 20, "{}", writer.stats().bytes);
}

#[test]
fn what_goes_soon_or_would_be_no_smaller_is_left_and_none_is_packed_where_format_1_is_wanted() {
    let mut now = LogTime { mono: Duration::from_secs(100), ..NOW };
    let packs = |settled: bool, pack_after, make: fn(u64) -> LogRecord, now: &mut LogTime| {
        let sim = Sim::seeded(4);
        let (mut writer, _) = open(sim.boxed(), Options { pack_after, ..options() }, 1, NOW).expect("new");
        for key in 1..151 {
            let id = writer.append(NOW, &make(key)).expect("taken");
            assert_eq!(writer.commit(NOW), Commit::Durable);
            if settled && key % 25 != 0 {
                writer.settle_whole(NOW, id, What::Delivered);
            }
        }
        writer.commit(NOW);
        pack_all(&mut writer, now);
        now.mono += Duration::from_secs(60);
        let first = pack_all(&mut writer, now);
        now.mono += Duration::from_secs(600);
        (first, pack_all(&mut writer, now))
    };
    let noise = |key| LogRecord {
        payload: vec![Bytes::from_iter(
            std::iter::repeat_with({
                let mut random = fastrand::Rng::with_seed(key);
                move || random.u8(..)
            })
            .take(8_000),
        )],
        ..model::record(key, 3)
    };
    let minute = Some(Duration::from_secs(60));
    assert_eq!(packs(true, minute, record, &mut now), (0, 0), "few survivors are copied forward");
    assert_eq!(packs(false, minute, noise, &mut now), (0, 0), "noise is no smaller");
    assert_eq!(packs(false, None, record, &mut now), (0, 0), "never");
    let (first, again) = packs(false, minute, record, &mut now);
    assert!(first > 0 && again == 0, "{first}, {again}");
}

#[test]
fn what_a_crash_left_unfinished_goes_at_the_next_start() {
    let (mut files, whole) = log();
    files.insert("0000000000000001.new".to_owned(), vec![7; 9_000]);
    files.insert("someone.new".to_owned(), vec![7; 10]);
    let sim = Sim::default();
    sim.put(&files);
    let (writer, report) = open(sim.boxed(), options(), 99, NOW).expect("opened");
    assert_eq!(report.records as usize, whole.len());
    drop(writer);
    let names: Vec<_> = sim.files().into_keys().filter(|name| name.ends_with(".new")).collect();
    assert_eq!(names, ["someone.new"], "a stranger's file is left");
}

//! Rotten bytes (T3): a log that is cut anywhere, or whose bits are flipped, loses the damaged records alone, and says
//! exactly how many those are.

use std::collections::BTreeMap;

use podgate::wal::body::What;
use podgate::wal::format::{BLOCK, FrameKind};
use podgate::wal::inspect;
use podgate::wal::recovery::{Report, open};
use podgate::wal::scan::scan;
use podgate::wal::writer::{Commit, LogTime, Options};

use crate::disk::{Sim, Survives};
use crate::model::{payload, record};

type Files = BTreeMap<String, Vec<u8>>;

/// A frame of the log under test.
struct Frame {
    file: String,
    from: usize,
    to: usize,
    kind: FrameKind,
    key: u64,
    /// A later group follows.
    followed: bool,
}

fn options() -> Options {
    Options { max_bytes: 4 << 20, segment_bytes: 64 << 10, ..Options::default() }
}

/// Some segments, the last one as a crash leaves it: no checkpoint. With nothing that was not synced, seals do not stand
/// at the ends of files, and everything is scanned.
fn log(survives: Survives) -> (Files, BTreeMap<u64, u64>) {
    let sim = Sim::seeded(1);
    let now = LogTime::default();
    let (mut writer, _) = open(sim.boxed(), options(), 99, now).expect("opened");
    let mut records = BTreeMap::new();
    for key in 1..=100 {
        let id = writer.append(now, &record(key, 3)).expect("taken");
        records.insert(id, key);
        if key % 3 == 0 {
            assert_eq!(writer.commit(now), Commit::Durable);
        }
        if key % 10 == 0 {
            writer.settle_whole(now, id, What::Delivered);
            records.remove(&id);
        }
    }
    assert_eq!(writer.commit(now), Commit::Durable);
    drop(writer);
    sim.cut(survives);
    (sim.files(), records)
}

fn frames(files: &Files) -> Vec<Frame> {
    let sim = Sim::default();
    sim.put(files);
    let mut all = Vec::new();
    for (name, bytes) in files.iter().filter(|(name, _)| name.ends_with(".wal")) {
        let salt = podgate::wal::format::Header::decode(&bytes[..BLOCK as usize]).expect("whole").salt;
        let mut medium = sim.boxed().open(name).expect("there");
        scan(&mut *medium, salt, None, None, &mut |found| {
            let from = found.offset as usize;
            let head = found.head;
            let key = podgate::wal::body::Description::decode(found.body).map_or(0, |of| of.arrival);
            let to = from + 56 + head.length as usize;
            all.push(Frame { file: name.clone(), from, to, kind: head.kind, key, followed: false });
        });
    }
    let last = all.last().map(|frame| (frame.file.clone(), frame.from / BLOCK as usize)).expect("frames");
    let start = all.iter().rposition(|frame| frame.from.is_multiple_of(BLOCK as usize) && frame.file == last.0);
    let start = start.expect("a group begins the file");
    all.iter_mut().take(start).for_each(|frame| frame.followed = true);
    all
}

/// The keys that come back, and what is said of the rest.
fn read(files: &Files) -> (Vec<u64>, Report, u64) {
    let sim = Sim::default();
    sim.put(files);
    let now = LogTime::default();
    let (mut writer, report) = open(sim.boxed(), options(), 99, now).expect("opened");
    let (mut keys, mut after) = (Vec::new(), 0);
    while let Some(found) = writer.recovered_after(now, after) {
        after = found.record;
        let key = u64::from_le_bytes(found.payload[..8].try_into().expect("eight"));
        assert_eq!(found.payload, payload(key), "record {key} is altered");
        keys.push(key);
    }
    (keys, report, writer.stats().counts.lost.records)
}

fn flips() -> u64 {
    std::env::var("PODGATE_WAL_FLIPS").ok().and_then(|text| text.parse().ok()).unwrap_or(500)
}

#[test]
fn a_flipped_bit_costs_the_record_it_hits_and_is_counted_exactly() {
    for survives in [Survives::Everything, Survives::Nothing] {
        let (hits, costs) = flip(survives);
        println!("{} flips, {survives:?}: {hits} hit frames, {costs} cost a record each", flips());
        assert!(costs > flips() / 8, "most of the log is payload");
    }
}

/// How many flips hit a frame, and how many cost a record.
fn flip(survives: Survives) -> (u64, u64) {
    let (files, records) = log(survives);
    let frames = frames(&files);
    let whole: Vec<u64> = records.values().copied().collect();
    assert_eq!(read(&files).0, whole);
    let names: Vec<&String> = files.keys().filter(|name| name.ends_with(".wal")).collect();
    let (mut hits, mut costs) = (0, 0);
    let mut random = fastrand::Rng::with_seed(flips());
    for round in 0..flips() {
        let mut rotten = files.clone();
        let name = names[random.usize(0..names.len())].clone();
        let bytes = rotten.get_mut(&name).expect("named");
        let at = random.usize(0..bytes.len());
        bytes[at] ^= 1 << random.u8(0..8);
        let place = format!("round {round}, {name} at {at}");
        let hit = frames.iter().find(|frame| frame.file == name && (frame.from..frame.to).contains(&at));
        let (keys, report, found_damaged) = read(&rotten);
        let gone: Vec<u64> = whole.iter().filter(|key| !keys.contains(key)).copied().collect();
        let again: Vec<u64> = keys.iter().filter(|key| !whole.contains(key)).copied().collect();
        let told = report.lost.records + report.torn_frames.records + found_damaged;
        let payload = hit.filter(|frame| frame.kind == FrameKind::Payload && whole.contains(&frame.key));
        hits += u64::from(hit.is_some());
        costs += u64::from(payload.is_some());
        match payload {
            Some(frame) => {
                assert_eq!(gone, [frame.key], "{place}");
                // A head that is damaged behind which no later group stands looks like a torn write: bytes are told.
                let exact = frame.followed || at - frame.from >= 56;
                assert!(if exact { told == 1 } else { report.torn > 0 }, "{place}: {report:?}, {found_damaged}");
            }
            None => {
                // Of a record that was settled behind the last checkpoint, a scan cannot tell that nobody needs it.
                let most = u64::from(hit.is_some_and(|frame| frame.kind == FrameKind::Payload));
                assert!(gone.is_empty() && told <= most, "{place}: {report:?}, {found_damaged}");
                let settled = hit.is_some_and(|frame| frame.kind == FrameKind::Settled);
                assert!(again.is_empty() || settled, "{place}: {again:?} came back");
            }
        }
    }
    (hits, costs)
}

#[test]
fn a_log_that_ends_at_any_byte_gives_what_stands_in_front_of_it() {
    let (files, records) = log(Survives::Everything);
    let frames = frames(&files);
    let last = files.keys().rfind(|name| name.ends_with(".wal")).expect("a segment").clone();
    let every = if flips() >= 100_000 { 1 } else { 37 };
    for length in (0..files[&last].len()).step_by(every) {
        let mut cut = files.clone();
        cut.get_mut(&last).expect("named").truncate(length);
        let kept = |key: &u64| {
            frames.iter().any(|frame| {
                frame.kind == FrameKind::Payload && frame.key == *key && (frame.file != last || frame.to <= length)
            })
        };
        let want: Vec<u64> = records.values().filter(|key| kept(key)).copied().collect();
        let (keys, report, damaged) = read(&cut);
        // What was settled at the very end may come back with the mark gone.
        let back: Vec<u64> = keys.iter().filter(|key| **key % 10 != 0).copied().collect();
        assert_eq!(back, want, "cut at {length}");
        assert_eq!(
            (report.lost.records, report.damaged, damaged),
            (0, 0, 0),
            "cut at {length}: a torn tail is no damage"
        );
    }
}

#[test]
fn a_segment_in_the_middle_that_is_cut_or_gone_is_counted_exactly() {
    let (files, records) = log(Survives::Everything);
    let frames = frames(&files);
    let names: Vec<&String> = files.keys().filter(|name| name.ends_with(".wal")).collect();
    assert!(names.len() > 3, "{names:?}");
    let middle = names[1].clone();
    let of = |length: usize| {
        let lost = frames.iter().filter(|frame| frame.file == middle && frame.to > length);
        lost.filter(|frame| frame.kind == FrameKind::Payload && records.values().any(|key| *key == frame.key)).count()
            as u64
    };
    for length in (0..files[&middle].len()).step_by(if flips() >= 100_000 { 1 } else { 397 }) {
        let mut cut = files.clone();
        cut.get_mut(&middle).expect("named").truncate(length);
        let (keys, report, damaged) = read(&cut);
        assert_eq!(report.lost.records + damaged, of(length), "cut at {length}");
        assert_eq!(keys.len() as u64 + of(length), records.len() as u64, "cut at {length}");
    }
    let mut gone = files.clone();
    gone.remove(&middle);
    let (_, report, _) = read(&gone);
    assert_eq!((report.missing.0, report.missing.1), (of(0), 3 * of(0)), "the checkpoint knows them");
}

#[test]
fn without_any_checkpoint_the_loss_is_told_by_the_totals() {
    let (mut files, records) = log(Survives::Everything);
    let frames = frames(&files);
    // Everything is scanned.
    for frame in frames.iter().filter(|frame| matches!(frame.kind, FrameKind::Seal | FrameKind::Checkpoint)) {
        files.get_mut(&frame.file).expect("named")[frame.from + 9] ^= 1;
    }
    let (keys, report, _) = read(&files);
    assert_eq!(keys.len(), records.len());
    assert_eq!((report.lost.records, report.scanned), (0, report.segments), "{report:?}");
    let mut random = fastrand::Rng::with_seed(3);
    for round in 0..flips().min(2_000) {
        let hit = loop {
            let frame = &frames[random.usize(0..frames.len())];
            if frame.followed && frame.kind == FrameKind::Payload && records.values().any(|key| *key == frame.key) {
                break frame;
            }
        };
        let mut rotten = files.clone();
        let at = random.usize(hit.from..hit.to);
        rotten.get_mut(&hit.file).expect("named")[at] ^= 1 << random.u8(0..8);
        let (_, report, _) = read(&rotten);
        assert_eq!((report.lost.records, report.lost.items, report.lost.frames), (1, 3, 1), "round {round}, {at}");
    }
}

#[test]
fn bytes_of_a_payload_that_look_like_a_frame_do_not_become_one() {
    let (files, _) = log(Survives::Everything);
    let frames = frames(&files);
    let sim = Sim::seeded(5);
    let now = LogTime::default();
    let (mut writer, _) = open(sim.boxed(), options(), 7, now).expect("opened");
    // A whole frame of another log, as an attacker may send one, aligned as a frame is.
    let (name, from, to) = frames.iter().map(|frame| (&frame.file, frame.from, frame.to)).next().expect("frames");
    let forged = files[name][from..to].to_vec();
    let mut evil = record(1, 3);
    evil.payload = (0..8).map(|pad| bytes::Bytes::from([vec![0; pad], forged.clone()].concat())).collect();
    writer.append(now, &evil).expect("taken");
    writer.append(now, &record(2, 3)).expect("taken");
    writer.commit(now);
    drop(writer);
    sim.cut(Survives::Nothing);
    let mut rotten = sim.files();
    let (_, bytes) = rotten.iter_mut().find(|(name, _)| name.ends_with(".wal")).expect("a segment");
    // The head of the evil record is gone, so its body is searched for frames.
    bytes[BLOCK as usize + 20] ^= 1;
    let (keys, report, _) = read(&rotten);
    assert_eq!((keys, report.torn_frames.records), (vec![2], 1), "{report:?}");
}

#[test]
fn what_verify_says_is_what_the_bytes_are() {
    let (files, _) = log(Survives::Everything);
    let sim = Sim::default();
    sim.put(&files);
    let found = inspect::inspect(&mut *sim.boxed(), true).expect("read");
    assert!(!found.is_damaged(), "{found:?}");
    let mut rotten = files.clone();
    let frames = frames(&files);
    let hit = frames.iter().find(|frame| frame.kind == FrameKind::Payload).expect("a record");
    rotten.get_mut(&hit.file).expect("named")[hit.to - 1] ^= 1;
    let sim = Sim::default();
    sim.put(&rotten);
    assert!(inspect::inspect(&mut *sim.boxed(), true).expect("read").is_damaged());
    assert_eq!(sim.files(), rotten, "nothing was changed");
}

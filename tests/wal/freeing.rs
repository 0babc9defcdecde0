//! What leaves the log, in which order, and what stays for a person.

use std::time::Duration;

use podgate::wal::body::What;
use podgate::wal::recovery::{OpenError, open};
use podgate::wal::writer::{Commit, LogTime, LogWriter, Options};

use crate::disk::{Sim, Survives};
use crate::model::{payload, record, small};

const NOW: LogTime = LogTime { mono: Duration::ZERO, wall: 1_000 };

fn append(writer: &mut LogWriter, key: u64) -> u64 {
    let id = writer.append(NOW, &record(key, 3)).expect("taken");
    assert_eq!(writer.commit(NOW), Commit::Durable);
    id
}

#[test]
fn one_record_that_nobody_takes_pins_no_disk() {
    let sim = Sim::seeded(1);
    let (mut writer, _) = open(sim.boxed(), small(), 1, NOW).expect("new");
    let held = append(&mut writer, 1);
    writer.settle_whole(NOW, held, What::Sent);
    writer.mark(NOW, podgate::wal::body::Mark { record: held, from: 1, to: 2, what: What::Delivered });
    let mut most = 0;
    for key in 2..3_000 {
        let id = append(&mut writer, key);
        writer.settle_whole(NOW, id, What::Delivered);
        writer.tend(NOW);
        most = most.max(writer.stats().segments);
    }
    let counts = writer.stats().counts;
    assert!(most <= 7 && counts.freed > 60 && counts.copied > 5, "{most} segments at once, {counts:?}");
    drop(writer);
    sim.cut(Survives::Nothing);
    let (mut writer, _) = open(sim.boxed(), small(), 1, NOW).expect("opens");
    let back = writer.recovered_after(NOW, 0).expect("it is there");
    assert_eq!((back.record, back.left.as_slice(), back.doubt), (held, [(0, 1), (2, 3)].as_slice(), true));
    assert_eq!(back.payload, payload(1));
}

/// A disk smaller than one segment, records that settle at once, and verdicts that are wanted for a minute: a sampler with
/// a log on a small volume.
#[test]
fn a_disk_smaller_than_a_segment_takes_all_records_that_settle() {
    for (seed, capacity) in [(6, 24 << 20), (7, 32 << 20)] {
        let sim = Sim::seeded(seed);
        sim.state().capacity = Some(capacity);
        let options = Options { max_bytes: 2 << 30, segment_bytes: 64 << 20, ..small() };
        let (mut writer, _) = open(sim.boxed(), options, 1, NOW).expect("new");
        let (mut now, mut taken, mut in_a_row, mut longest) = (NOW, 0u32, 0u32, 0u32);
        for key in 1..12_000u64 {
            now = LogTime { mono: now.mono + Duration::from_millis(10), wall: now.wall + 10_000_000 };
            let appended = writer.append(now, &record(key, 3));
            let verdicts = writer.verdicts(now, now.wall + 60_000_000_000, &key.to_le_bytes().repeat(20));
            let durable = writer.commit(now) == Commit::Durable;
            match appended {
                Ok(id) if durable => {
                    (taken, in_a_row) = (taken + 1, 0);
                    writer.settle_whole(now, id, What::Delivered);
                }
                _ => in_a_row += 1,
            }
            longest = longest.max(in_a_row);
            _ = verdicts;
            if key % 25 == 0 {
                writer.tend(now);
                writer.removals().into_iter().for_each(|removal| removal());
            }
        }
        println!(
            "seed {seed}, {capacity} bytes: {taken} taken, {longest} refused in a row at most, {:?}",
            writer.stats().counts
        );
        assert_eq!((taken, longest), (11_999, 0), "seed {seed}, {capacity} bytes: taken, and refused in a row");
        drop(writer);
        sim.cut(Survives::Some);
        let (writer, report) = open(sim.boxed(), small(), 2, now).expect("opens after a cut");
        assert_eq!((report.lost.records, report.damaged, writer.is_settled()), (0, 0, true), "seed {seed}: {report:?}");
    }
}

#[test]
fn segments_go_in_any_order_and_what_they_settled_stays_settled() {
    let sim = Sim::seeded(2);
    let (mut writer, _) = open(sim.boxed(), small(), 1, NOW).expect("new");
    // A third of the first segments' records is held, which is too much to be copied.
    let held: Vec<u64> = (0..60).map(|key| append(&mut writer, key + 1)).collect();
    let first = writer.stats().segments;
    for id in held.iter().skip(1).step_by(2) {
        writer.settle_whole(NOW, *id, What::Delivered);
    }
    for key in 100..1_000 {
        let id = append(&mut writer, key);
        writer.settle_whole(NOW, id, What::Delivered);
    }
    writer.commit(NOW);
    assert!(writer.stats().segments <= first + 2, "{} of {first}", writer.stats().segments);
    drop(writer);
    sim.cut(Survives::Nothing);
    let (mut writer, _) = open(sim.boxed(), small(), 1, NOW).expect("opens");
    let (mut after, mut back) = (0, Vec::new());
    while let Some(found) = writer.recovered_after(NOW, after) {
        after = found.record;
        back.push(after);
    }
    let want: Vec<u64> = held.iter().step_by(2).copied().collect();
    assert_eq!(back, want);
}

#[test]
fn verdicts_go_when_their_time_is_over_and_nothing_in_front_of_them_is_unsettled() {
    let sim = Sim::seeded(3);
    let (mut writer, _) = open(sim.boxed(), small(), 1, NOW).expect("new");
    let waiting = append(&mut writer, 1);
    writer.verdicts(NOW, 500, b"over, and wanted by the record in front").expect("taken");
    writer.verdicts(NOW, 5_000, b"not over").expect("taken");
    assert_eq!(writer.commit(NOW), Commit::Durable);
    let reopened = |writer: LogWriter| {
        drop(writer);
        sim.cut(Survives::Nothing);
        let (mut writer, _) = open(sim.boxed(), small(), 1, NOW).expect("opens");
        let (mut after, mut count) = (0, 0);
        while let Some((origin, _)) = writer.verdicts_after(after) {
            (after, count) = (origin, count + 1);
        }
        (writer, count)
    };
    writer.tend(NOW);
    let (mut writer, both) = reopened(writer);
    assert_eq!(both, 2);
    writer.settle_whole(NOW, waiting, What::Delivered);
    writer.commit(NOW);
    writer.tend(NOW);
    writer.close(NOW);
    let (mut writer, one) = reopened(writer);
    assert_eq!(one, 1);
    writer.tend(LogTime { wall: 6_000, ..NOW });
    writer.close(NOW);
    assert_eq!(reopened(writer).1, 0);
}

// A block that the disk does not give costs what stood in it; the segment is kept, and nothing else is lost.
#[test]
fn a_block_that_the_disk_does_not_give_costs_its_records_and_keeps_its_file() {
    let sim = Sim::seeded(4);
    let (mut writer, _) = open(sim.boxed(), small(), 1, NOW).expect("new");
    let ids: Vec<u64> = (1..=6).map(|key| append(&mut writer, key)).collect();
    drop(writer);
    sim.cut(Survives::Nothing);
    sim.state().bad = Some(8_192..8_200);
    let refused = open(sim.boxed(), small(), 1, NOW).err();
    assert!(matches!(refused, Some(OpenError::Unreadable { .. })), "it may answer another time: {refused:?}");
    let salvage = Options { salvage: true, ..small() };
    let (mut writer, report) = open(sim.boxed(), salvage.clone(), 1, NOW).expect("opens without it");
    assert!(report.unreadable > 0 && report.records == 5, "{report:?}");
    let fresh = append(&mut writer, 7);
    assert!(!ids.contains(&fresh));
    for id in ids.iter().chain([&fresh]) {
        writer.settle_whole(NOW, *id, What::Delivered);
    }
    writer.commit(NOW);
    writer.tend(NOW);
    assert!(sim.files().contains_key("0000000000000001.wal"), "it is kept for a person");
    assert_eq!(writer.unsettled(), 0);
}

#[test]
fn marks_wait_for_the_group_that_is_gathered_and_for_nothing_without_one() {
    let sim = Sim::seeded(3);
    let (mut writer, _) = open(sim.boxed(), small(), 1, NOW).expect("new");
    let first = append(&mut writer, 1);
    let at = |millis| LogTime { mono: Duration::from_millis(millis), ..NOW };
    let second = writer.append(at(10), &record(2, 3)).expect("taken");
    writer.settle_whole(at(11), first, What::Delivered);
    assert_eq!(writer.due_in(at(12)), Some(Duration::from_millis(3)), "with the group, which is due after 5 ms");
    assert_eq!(writer.commit(at(15)), Commit::Durable);
    assert!(writer.is_settled(), "one sync for both");
    writer.settle_whole(at(20), second, What::Delivered);
    assert_eq!(writer.due_in(at(20)), Some(Duration::from_millis(1)), "by themselves they are due sooner");
}

#[test]
fn what_others_were_to_unlink_and_did_not_is_gone_with_the_next_start() {
    let sim = Sim::seeded(4);
    sim.state().removes_later = true;
    let (mut writer, _) = open(sim.boxed(), small(), 1, NOW).expect("new");
    let files = |end: &str| -> Vec<String> {
        let listed = sim.boxed().list().expect("listed");
        listed.into_iter().map(|(name, _)| name).filter(|name| name.ends_with(end)).collect()
    };
    for key in 1..200 {
        let id = append(&mut writer, key);
        writer.settle_whole(NOW, id, What::Delivered);
        writer.commit(NOW);
    }
    let (segments, aside) = (writer.stats().segments, files(".new"));
    assert!(!aside.is_empty() && files(".wal").len() == segments, "{aside:?} have lost their names, {segments} count");
    assert_eq!(writer.removals().len(), aside.len().min(16), "whoever waits for a group waits for no unlink");
    drop(writer);
    sim.cut(Survives::Everything);
    open(sim.boxed(), small(), 1, NOW).map(drop).expect("opens");
    assert!(files(".new").iter().all(|name| !aside.contains(name)));
}

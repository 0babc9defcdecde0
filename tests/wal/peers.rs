//! What other logs lost or stopped by, one test each. Project and issue stand above it.

use podgate::wal::body::{Mark, What};
use podgate::wal::format::{Header, Purpose, file_name};
use podgate::wal::recovery::{OpenError, open};
use podgate::wal::writer::{Blame, Commit, LogTime, Options, Refusal};

use crate::disk::{Fault, Sim, Survives};
use crate::model::{Model, record, small};

const NOW: LogTime = LogTime { mono: std::time::Duration::ZERO, wall: 0 };

// opentelemetry-collector #15677: tries that failed were deleted from the queue at shutdown.
#[test]
fn a_stop_deletes_nothing() {
    let mut model = Model::new(1);
    let (mut writer, _) = model.reopen().expect("new");
    (0..20).for_each(|_| model.append(&mut writer));
    model.commit(&mut writer);
    model.send(&mut writer);
    let done = writer.close(model.now);
    model.heard(&writer, &done);
    drop(writer);
    model.sim.cut(Survives::Everything);
    let (_, report) = model.reopen().expect("all twenty are back");
    assert_eq!((report.records, report.clean, report.scanned), (20, true, 0));
}

// opentelemetry-collector #15324: the first hours of an outage were missing. However long it lasts, the oldest is kept.
#[test]
fn the_oldest_record_of_a_long_outage_is_kept() {
    let mut model = Model::new(2);
    let (mut writer, _) = model.reopen().expect("new");
    while writer.stats().can_write {
        model.append(&mut writer);
        model.commit(&mut writer);
        model.tend(&mut writer);
    }
    drop(writer);
    model.sim.cut(Survives::Nothing);
    let (mut writer, _) = model.reopen().expect("nothing is lost");
    assert_eq!(writer.recovered_after(model.now, 0).expect("some").record, 1);
}

// opentelemetry-collector #8115: files that nobody needed filled the disk.
#[test]
fn files_that_were_made_in_vain_go_away() {
    let mut model = Model::new(3);
    for _ in 0..30 {
        let (mut writer, _) = model.reopen().expect("opens");
        model.append(&mut writer);
        model.commit(&mut writer);
        model.drain(&mut writer);
        // The next start finds a file that was begun and never written.
        drop(writer);
        model.sim.cut(Survives::Everything);
        let number = 1_000 + model.random.u64(0..1_000_000);
        model.sim.put(&[(file_name(number, Purpose::Log), vec![0; 65_536])].into());
    }
    let (mut writer, _) = model.reopen().expect("opens");
    model.append(&mut writer);
    model.commit(&mut writer);
    model.drain(&mut writer);
    let files = model.sim.files();
    assert!(files.len() <= 4, "{:?}", files.keys());
}

// opentelemetry-collector-contrib #35899: a damaged file, and nothing started until a person deleted it.
// opentelemetry-collector #5894: a damaged page ended the process at its start.
// vector #18130, #16525: a damaged record, and the topology did not build.
// fluent-bit #11847: damaged chunks, and nothing was collected any more.
#[test]
fn a_log_of_rubbish_opens_takes_and_is_left_for_a_person() {
    let sim = Sim::default();
    let mut random = fastrand::Rng::with_seed(4);
    let rubbish: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(70_000).collect();
    let name = file_name(5, Purpose::Log);
    sim.put(&[(name.clone(), rubbish.clone())].into());
    let (mut writer, report) = open(sim.boxed(), small(), 1, NOW).expect("opens");
    assert_eq!(report.unknown, [name.as_str()]);
    writer.append(NOW, &record(1, 1)).expect("taken");
    assert_eq!(writer.commit(NOW), Commit::Durable);
    assert_eq!(sim.files()[&name], rubbish);
}

// vector PR #25570: a file was unlinked before the ledger said so, and every start crashed on its absence.
#[test]
fn a_segment_that_is_gone_already_stops_no_start() {
    let mut model = Model::new(5);
    let (mut writer, _) = model.reopen().expect("new");
    for _ in 0..100 {
        model.append(&mut writer);
        model.commit(&mut writer);
    }
    drop(writer);
    model.sim.cut(Survives::Everything);
    podgate::wal::disk::LogDisk::unlink(&mut model.sim.clone(), &file_name(1, Purpose::Log)).expect("there");
    let (mut writer, report) = open(model.sim.boxed(), model.options.clone(), 1, NOW).expect("opens");
    assert!(report.missing.0 > 0, "and says what went with it: {report:?}");
    writer.append(NOW, &record(1, 1)).expect("taken");
    assert_eq!(writer.commit(NOW), Commit::Durable);
}

// vector #16231, #16463: the last record stood behind the ledger's end, and the reader waited for ever.
#[test]
fn what_was_written_after_the_last_checkpoint_is_read() {
    let mut model = Model::new(6);
    let (mut writer, _) = model.reopen().expect("new");
    model.append(&mut writer);
    model.commit(&mut writer);
    drop(writer.close(model.now));
    drop(writer);
    model.sim.cut(Survives::Everything);
    let (mut writer, report) = model.reopen().expect("closed in order");
    assert!(report.clean);
    model.append(&mut writer);
    model.commit(&mut writer);
    drop(writer);
    model.sim.cut(Survives::Nothing);
    let (_, report) = model.reopen().expect("both are back");
    assert_eq!((report.records, report.clean, report.scanned), (2, false, 1));
}

// vector #25795: a record above the limit tore the topology down.
#[test]
fn a_record_above_the_limit_is_refused_for_good_and_the_next_one_is_taken() {
    let options = Options { record_bytes: 1_000_000, max_bytes: 100 << 20, ..small() };
    let sim = Sim::default();
    let (mut writer, _) = open(sim.boxed(), options, 1, NOW).expect("new");
    let mut large = record(1, 1);
    large.payload = vec![vec![0; 1_000_001].into()];
    let refused = writer.append(NOW, &large).expect_err("too large");
    assert!(refused.is_final() && matches!(refused, Refusal::TooLarge { .. }), "{refused}");
    // As large as may be, in a segment of its own.
    large.payload = vec![vec![0; 990_000].into()];
    writer.append(NOW, &large).expect("taken");
    assert_eq!(writer.commit(NOW), Commit::Durable);
    writer.append(NOW, &record(2, 1)).expect("taken");
    assert_eq!(writer.commit(NOW), Commit::Durable);
}

// otel-arrow #2490: the cursor was saved in front of what it spoke of. There is none here: a mark counts once it is durable.
#[test]
fn a_mark_that_was_not_written_settles_nothing() {
    let mut model = Model::new(7);
    let (mut writer, _) = model.reopen().expect("new");
    model.append(&mut writer);
    model.commit(&mut writer);
    model.settle(&mut writer);
    assert!(!writer.is_settled());
    drop(writer);
    model.sim.cut(Survives::Everything);
    let (_, report) = model.reopen().expect("it is back");
    assert_eq!(report.records, 1);
}

// otel-arrow #2219: a private mapping lost what was written through it. #2041: chmod is refused on some file systems.
#[test]
fn the_log_maps_no_memory_and_changes_no_mode() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/wal");
    let mut read = 0;
    for folder in [root.clone(), root.join("writer")] {
        for entry in std::fs::read_dir(folder).expect("the room") {
            let path = entry.expect("readable").path();
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            read += 1;
            for word in ["mmap", "memmap", "set_permissions", "chmod("] {
                assert!(!text.contains(word), "{} has {word}", path.display());
            }
        }
    }
    assert!(read > 12, "{read} files");
}

// opentelemetry-collector-contrib #39670, #45747: tries inside the exporter ended before the queue heard of the items. What
// has no verdict of its own stays.
#[test]
fn an_item_without_its_own_verdict_comes_back_and_the_others_do_not() {
    let sim = Sim::default();
    let (mut writer, _) = open(sim.boxed(), small(), 1, NOW).expect("new");
    let id = writer.append(NOW, &record(1, 5)).expect("taken");
    writer.commit(NOW);
    writer.mark(NOW, Mark { record: id, from: 0, to: 2, what: What::Delivered });
    writer.mark(NOW, Mark { record: id, from: 3, to: 4, what: What::Dropped(1) });
    assert_eq!(writer.commit(NOW), Commit::Durable);
    drop(writer);
    sim.cut(Survives::Nothing);
    let (mut writer, report) = open(sim.boxed(), small(), 1, NOW).expect("opens");
    assert_eq!(writer.recovered_after(NOW, 0).expect("there").left, [(2, 3), (4, 5)]);
    assert_eq!((report.records, report.items), (1, 2));
}

// otel-arrow #3733: what was lost at a start was not counted. `rot.rs` counts it for every byte; here by name.
#[test]
fn what_a_start_could_not_read_is_told_by_records_and_items() {
    let sim = Sim::default();
    let (mut writer, _) = open(sim.boxed(), small(), 1, NOW).expect("new");
    for key in 1..=3 {
        writer.append(NOW, &record(key, 4)).expect("taken");
        assert_eq!(writer.commit(NOW), Commit::Durable);
    }
    drop(writer);
    sim.cut(Survives::Nothing);
    let mut files = sim.files();
    let (_, bytes) = files.iter_mut().find(|(name, _)| name.ends_with(".wal")).expect("a segment");
    bytes[4096 + 60] ^= 1;
    let rotten = Sim::default();
    rotten.put(&files);
    let (_, report) = open(rotten.boxed(), small(), 1, NOW).expect("opens");
    assert_eq!((report.lost.records, report.lost.items, report.records), (1, 4, 2), "{report:?}");
}

// nats-io/nats-server #7564: acknowledged before the sync. #6888: forgotten after a crash although every write was synced.
#[test]
fn nothing_is_acknowledged_before_the_sync_and_the_name_is_synced_too() {
    let mut model = Model::new(8);
    let (mut writer, _) = model.reopen().expect("new");
    model.append(&mut writer);
    let syncs = model.sim.state().syncs;
    assert_eq!(model.commit(&mut writer), Commit::Durable);
    assert_eq!(model.sim.state().syncs - syncs, 1 + 1, "the folder, and the data");
    drop(writer);
    model.sim.cut(Survives::Nothing);
    assert_eq!(model.reopen().expect("it is there").1.records, 1);
}

// vector (docs): an error of the disk ends the process. Fluent Bit #11847: the pod looks healthy and collects nothing.
#[test]
fn a_disk_that_became_read_only_is_told_and_ends_nothing() {
    let mut model = Model::new(9);
    let (mut writer, _) = model.reopen().expect("new");
    model.append(&mut writer);
    model.commit(&mut writer);
    model.sim.state().fail = Some((0..u64::MAX, Fault::ReadOnly));
    model.append(&mut writer);
    assert!(matches!(model.commit(&mut writer), Commit::Refused(Refusal::CannotWrite { .. })));
    assert!(!writer.stats().can_write, "readiness asks this");
    model.drain(&mut writer);
    assert!(matches!(writer.close(model.now), Commit::Nothing | Commit::Refused(_)));
}

// A record that ends the process whenever it is met (R5 of the rules; the Collector's queue puts it back each start).
#[test]
fn a_record_in_flight_at_three_crashes_goes_to_the_dead_letters() {
    let mut model = Model::new(10);
    let (mut writer, _) = model.reopen().expect("new");
    model.append(&mut writer);
    model.append(&mut writer);
    model.commit(&mut writer);
    for crash in 1..=3 {
        writer.settle_whole(model.now, 1, What::Sent);
        writer.commit(model.now);
        drop(writer);
        model.sim.cut(Survives::Nothing);
        let report;
        (writer, report) = open(model.sim.boxed(), model.options.clone(), 1, model.now).expect("opens");
        let back = writer.recovered_after(model.now, 0).expect("there");
        if crash < 3 {
            assert_eq!((back.record, back.crashes, back.doubt, report.quarantined), (1, crash, true, 0));
        } else {
            assert_eq!((back.record, back.crashes, report.quarantined), (2, 0, 1), "the other one is untouched");
        }
    }
    assert_eq!(model.sim.files().keys().filter(|name| name.ends_with(".dead")).count(), 1);
    // A stop in order is no crash.
    writer.mark(model.now, Mark { record: 2, from: 0, to: u32::MAX, what: What::Sent });
    writer.close(model.now);
    drop(writer);
    let (mut writer, report) = open(model.sim.boxed(), model.options.clone(), 1, model.now).expect("opens");
    assert_eq!(writer.recovered_after(model.now, 0).map(|back| (back.crashes, back.doubt)), Some((0, true)));
    assert_eq!(report.in_doubt, 1);
    // Where it is known how the process ended, that counts: a kill is no death of its own, and a panic may close the log in order.
    for (blame, in_order, crashes) in [(Blame::Never, false, 0), (Blame::Always, true, 1), (Blame::Always, false, 2)] {
        writer.settle_whole(model.now, 2, What::Sent);
        writer.commit(model.now);
        if in_order {
            writer.close(model.now);
        }
        drop(writer);
        model.sim.cut(Survives::Nothing);
        let options = Options { blame, ..model.options.clone() };
        writer = open(model.sim.boxed(), options, 1, model.now).expect("opens").0;
        let back = writer.recovered_after(model.now, 0).map(|back| (back.crashes, back.doubt));
        assert_eq!(back, Some((crashes, true)), "{blame:?}, in order: {in_order}");
    }
}

#[test]
fn a_newer_format_is_refused_with_its_name_and_left_untouched() {
    let mut newer =
        Header { purpose: Purpose::Log, number: 1, previous: 0, first: 1, records: 0, items: 0, salt: 1, boot: 1 }
            .encode();
    for at in [0, 2048] {
        newer[at + 8..at + 12].copy_from_slice(&3u32.to_le_bytes());
        let check = crc32c::crc32c(&newer[at..at + 124]);
        newer[at + 124..at + 128].copy_from_slice(&check.to_le_bytes());
    }
    let sim = Sim::default();
    sim.put(&[(file_name(1, Purpose::Log), newer)].into());
    let before = sim.files();
    let refused = open(sim.boxed(), small(), 1, NOW).err().expect("refused");
    assert!(matches!(&refused, OpenError::Newer { .. }));
    assert!(refused.to_string().contains("format 3") && refused.to_string().contains("0000000000000001.wal"));
    assert_eq!(sim.files(), before);
}

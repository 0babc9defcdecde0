//! Every fault at every call (T5): whatever the disk answers, whoever sends hears a refusal it may retry, nothing that was
//! acknowledged is lost, and the log takes again by itself.

use std::ops::Range;
use std::time::Duration;

use podgate::wal::body::What;
use podgate::wal::recovery::open;
use podgate::wal::writer::{Commit, Refusal};

use crate::disk::{Fault, Survives};
use crate::model::{Model, record};

/// One life in which calls `range` of it fail. How many calls it made.
fn live(seed: u64, range: Range<u64>, fault: Option<Fault>) -> Result<u64, String> {
    let mut model = Model::new(seed);
    let (mut writer, _) = model.reopen()?;
    let calls = model.sim.state().calls;
    model.sim.state().fail = fault.map(|fault| (calls + range.start..calls + range.end, fault));
    for _ in 0..160 {
        model.step(&mut writer);
        if let Commit::Refused(refusal) = model.commit_now_and_then(&mut writer)
            && refusal.is_final()
        {
            return Err(format!("a fault of the disk is refused for good: {refusal}"));
        }
    }
    let made = model.sim.state().calls - calls;
    model.sim.state().fail = None;
    // A second of the virtual clock.
    (0..4).for_each(|_| model.tend(&mut writer));
    model.append(&mut writer);
    match model.commit(&mut writer) {
        Commit::Durable => {}
        other => return Err(format!("it does not take again: {other:?}, {:?}", writer.stats().why_not)),
    }
    drop(writer);
    model.sim.cut(Survives::Some);
    model.reopen()?;
    Ok(made)
}

fn every() -> usize {
    if std::env::var_os("PODGATE_WAL_CUTS").is_some() { 1 } else { 9 }
}

#[test]
fn every_fault_at_every_call_is_refused_retryably_and_loses_nothing() {
    let mut runs = 0;
    for seed in [3, 4] {
        let made = live(seed, 0..0, None).expect("a sound disk");
        for fault in Fault::ALL {
            for length in [1, 2, 25] {
                for from in (1..made).step_by(every()) {
                    let told = |broken| panic!("seed {seed}, {fault:?} at calls {from} and {length} on: {broken}");
                    live(seed, from..from + length, Some(fault)).unwrap_or_else(told);
                    runs += 1;
                }
            }
        }
    }
    println!("{runs} runs");
}

#[test]
fn a_fault_while_the_log_is_opened_loses_nothing_and_ends_nothing() {
    for seed in 0..6 {
        let mut model = Model::new(seed);
        let (mut writer, _) = model.reopen().expect("new");
        (0..200).for_each(|_| model.step(&mut writer));
        model.commit(&mut writer);
        drop(writer);
        for fault in Fault::ALL {
            for at in 1..40 {
                model.sim.cut(Survives::Some);
                let calls = model.sim.state().calls;
                model.sim.state().fail = Some((calls + at..calls + at + 3, fault));
                drop(open(model.sim.boxed(), model.options.clone(), 1, model.now));
                model.sim.state().fail = None;
                model.sim.cut(Survives::Some);
                // Who was in flight when the log was opened is counted once for each start.
                let back = model.reopen();
                drop(back.unwrap_or_else(|broken| panic!("seed {seed}, {fault:?} at call {at}: {broken}")));
            }
        }
    }
}

#[test]
fn after_a_sync_that_failed_the_group_is_written_again_elsewhere_and_the_file_is_never_written_again() {
    let mut model = Model::new(2);
    let (mut writer, _) = model.reopen().expect("new");
    model.append(&mut writer);
    assert_eq!(model.commit(&mut writer), Commit::Durable);
    let calls = model.sim.state().calls;
    let before = model.sim.files();
    // Write, then sync.
    model.sim.state().fail = Some((calls + 2..calls + 3, Fault::Broken));
    model.append(&mut writer);
    assert_eq!(model.commit(&mut writer), Commit::Durable, "in a new segment");
    assert_eq!((writer.stats().segments, writer.stats().counts.syncs_failed), (2, 1));
    let first = before.keys().find(|name| name.ends_with("1.wal")).expect("the first segment");
    let then = model.sim.files()[first].clone();
    for _ in 0..20 {
        model.append(&mut writer);
        model.commit(&mut writer);
    }
    assert_eq!(model.sim.files()[first], then);
    drop(writer);
    model.sim.cut(Survives::Some);
    let (_, report) = model.reopen().expect("nothing is lost");
    assert_eq!((report.lost.records, report.damaged), (0, 0), "{report:?}");
}

#[test]
fn nothing_is_acknowledged_while_no_sync_succeeds_and_a_second_later_it_is() {
    let mut model = Model::new(5);
    let (mut writer, _) = model.reopen().expect("new");
    model.append(&mut writer);
    assert_eq!(model.commit(&mut writer), Commit::Durable);
    model.sim.state().fail = Some((0..u64::MAX, Fault::Broken));
    model.sim.state().fail_only = Some("sync");
    model.append(&mut writer);
    assert!(matches!(model.commit(&mut writer), Commit::Refused(Refusal::CannotWrite { .. })));
    assert!(matches!(writer.append(model.now, &record(900, 1)), Err(Refusal::CannotWrite { .. })));
    let stats = writer.stats();
    assert!(!stats.can_write && stats.why_not.is_some_and(|why| why.contains("cannot write")));
    for _ in 0..100 {
        model.tend(&mut writer);
    }
    let files = model.sim.files().len();
    assert!(files <= 3, "{files} files: trying must not fill the disk");
    model.sim.state().fail = None;
    (0..4).for_each(|_| model.tend(&mut writer));
    assert!(writer.stats().can_write);
    model.append(&mut writer);
    assert_eq!(model.commit(&mut writer), Commit::Durable);
}

#[test]
fn it_refuses_at_95_percent_of_its_budget_and_takes_again_at_85() {
    let mut model = Model::new(6);
    let (mut writer, _) = model.reopen().expect("new");
    let max = model.options.max_bytes;
    let full = loop {
        model.append(&mut writer);
        model.commit(&mut writer);
        if let Err(refusal) = writer.append(model.now, &record(1, 1)) {
            break refusal;
        }
        writer.commit(model.now);
    };
    assert!(matches!(full, Refusal::Full { .. }) && !full.is_final(), "{full}");
    let bytes = writer.stats().bytes;
    assert!(bytes > max / 100 * 93 && bytes < max / 100 * 96, "{bytes} of {max}");
    assert!(!writer.stats().can_write);
    // What settles is still written, and frees whole segments until there is room.
    while writer.append(model.now, &record(1, 1)).is_err() {
        assert!(writer.stats().bytes >= max / 100 * 85 - 40_000, "it took too long: {}", writer.stats().bytes);
        let oldest = model.records.iter().next().map(|(key, known)| (*key, known.id)).expect("some are left");
        model.records.remove(&oldest.0);
        writer.settle_whole(model.now, oldest.1, What::Delivered);
        model.now.mono += Duration::from_millis(60);
        model.commit(&mut writer);
        // The records that the test itself appended go too.
        let own: Vec<u64> = (oldest.1..oldest.1 + 4).collect();
        own.iter().filter(|id| !model.records.values().any(|known| known.id == **id)).for_each(|id| {
            writer.settle_whole(model.now, *id, What::Delivered);
        });
    }
    assert!(writer.stats().bytes < max / 100 * 85 + 70_000, "{}", writer.stats().bytes);
}

#[test]
fn on_a_full_disk_what_settles_is_still_written_and_frees_room() {
    let mut model = Model::new(7);
    let (mut writer, _) = model.reopen().expect("new");
    for _ in 0..150 {
        model.append(&mut writer);
        model.commit(&mut writer);
    }
    let before = writer.stats();
    // No file can be made or enlarged; what was reserved is there.
    model.sim.state().fail = Some((0..u64::MAX, Fault::NoSpace));
    model.sim.state().fail_only = Some("allocate");
    while let Commit::Durable = {
        model.append(&mut writer);
        model.commit(&mut writer)
    } {}
    for _ in 0..100 {
        model.settle(&mut writer);
    }
    model.drain(&mut writer);
    let after = writer.stats();
    assert!(writer.is_settled() && after.segments < before.segments / 2, "{before:?}, {after:?}");
    drop(writer);
    model.sim.cut(Survives::Some);
    model.reopen().expect("nothing that was settled is back");
}

#[test]
fn what_is_free_on_the_disk_bounds_how_long_it_lasts_and_what_is_reserved_is_left_to_others() {
    let mut model = Model::new(8);
    model.options.reserve = 1 << 20;
    let (mut writer, _) = model.reopen().expect("new");
    let lasts = |model: &mut Model, writer: &mut podgate::wal::writer::LogWriter, free: u64| {
        model.sim.state().free = Some(free);
        for _ in 0..40 {
            model.append(writer);
            model.commit(writer);
            model.now.mono += Duration::from_secs(1);
            writer.tend(model.now);
        }
        writer.stats().lasts.expect("it grows").as_secs_f64()
    };
    let budget = lasts(&mut model, &mut writer, 1 << 40);
    let disk = lasts(&mut model, &mut writer, (1 << 20) + (64 << 10));
    assert!(disk < budget / 4.0, "the budget lasts {budget} s, the disk {disk} s");
    // Somebody else fills the disk: what is reserved is not touched, and it goes on when there is more.
    model.sim.state().free = Some((1 << 20) - 1);
    writer.tend(model.now);
    let refusal = writer.append(model.now, &record(1, 1)).expect_err("reserved");
    assert!(matches!(refusal, Refusal::Reserved { .. }) && !refusal.is_final(), "{refusal}");
    assert!(writer.stats().why_not.is_some_and(|why| why.contains("reserved")));
    model.sim.state().free = Some(2 << 20);
    writer.tend(model.now);
    writer.append(model.now, &record(1, 1)).expect("there is room");
}

//! Power cuts by seeds (T2): nothing acknowledged is lost, nothing settled comes back, whatever was in flight.

use podgate::wal::writer::Commit;

use crate::disk::{Sim, Survives, Sync};
use crate::model::Model;

fn seeds() -> u64 {
    std::env::var("PODGATE_WAL_CUTS").ok().and_then(|text| text.parse().ok()).unwrap_or(200)
}

/// What many lives came to.
#[derive(Debug, Default)]
struct Tally {
    cuts: u64,
    acknowledged: u64,
    recovered: u64,
    copied: u64,
    freed: u64,
    dead_lettered: u64,
    packed: u64,
}

/// A few lives of one log, each ended by a power cut.
fn live(seed: u64, prepare: impl Fn(&Sim), tally: &mut Tally) -> Result<(), String> {
    let mut model = Model::new(seed);
    prepare(&model.sim);
    for _ in 0..3 {
        let (mut writer, _) = model.reopen()?;
        let calls = model.sim.state().calls;
        let soon = model.random.u8(0..4) == 0;
        let last = calls + model.random.u64(1..if soon { 30 } else { 900 });
        model.sim.state().cut_at = Some(last);
        for _ in 0..2_000 {
            model.step(&mut writer);
            if model.sim.state().was_cut {
                break;
            }
            if model.random.u16(0..600) == 0 {
                let done = writer.close(model.now);
                model.heard(&writer, &done);
                break;
            }
        }
        drop(writer);
        let survives = model.survives();
        model.sim.cut(survives);
        tally.cuts += 1;
        // A cut while the log is being opened is a cut like others.
        if model.random.bool() {
            let calls = model.sim.state().calls;
            let soon = model.random.u64(1..60);
            model.sim.state().cut_at = Some(calls + soon);
            drop(podgate::wal::recovery::open(model.sim.boxed(), model.options.clone(), 1, model.now));
            let survives = model.survives();
            model.sim.cut(survives);
            tally.cuts += 1;
        }
    }
    let (_, report) = model.reopen()?;
    if report.lost.records + report.damaged > 0 || !report.unknown.is_empty() {
        return Err(format!("a power cut is told as damage: {report:?}"));
    }
    tally.acknowledged += model.acknowledged;
    tally.recovered += model.recovered;
    tally.copied += model.copied;
    tally.freed += model.freed;
    tally.dead_lettered += model.dead_lettered;
    tally.packed += model.packed;
    Ok(())
}

#[test]
fn no_power_cut_loses_what_was_acknowledged_or_brings_back_what_was_settled() {
    let mut tally = Tally::default();
    let first = std::env::var("PODGATE_WAL_FIRST").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    for seed in first..first + seeds() {
        if let Err(broken) = live(seed, |_| {}, &mut tally) {
            panic!("seed {seed} (PODGATE_WAL_FIRST={seed} PODGATE_WAL_CUTS=1): {broken}");
        }
    }
    println!("{} seeds: {tally:?}", seeds());
    if seeds() >= 100 {
        let all = tally.copied > 0 && tally.freed > 100 && tally.dead_lettered > 0 && tally.packed > 50;
        assert!(all, "not everything was met: {tally:?}");
    }
}

#[test]
fn a_disk_that_leaves_out_any_one_kind_of_sync_is_found() {
    for kind in [Sync::Group, Sync::Made, Sync::Unlinked, Sync::Seal, Sync::DeadLetter, Sync::Packed] {
        let found = (0..2_000).find_map(|seed| {
            let lies = |sim: &Sim| sim.state().lies = Some(kind);
            let broken = live(seed, lies, &mut Tally::default()).err()?;
            // To be told of damage is not yet a loss.
            (!broken.contains("told as damage")).then_some((seed, broken))
        });
        let (seed, broken) = found.unwrap_or_else(|| panic!("nobody notices when {kind:?} is left out"));
        println!("{kind:?} is left out: seed {seed}, {broken}");
    }
}

#[test]
fn a_disk_that_lies_at_the_nth_sync_is_found_when_the_power_goes_after_the_acknowledgement() {
    let (mut data, mut names) = (0, 0);
    for nth in 1..150 {
        let mut model = Model::new(11);
        model.sim.state().lie_at = Some(nth);
        let (mut writer, _) = model.reopen().expect("new");
        for _ in 0..1_000 {
            model.append(&mut writer);
            assert_eq!(model.commit(&mut writer), Commit::Durable, "a lie is heard by nobody");
            if model.sim.state().lied.is_some() {
                break;
            }
        }
        drop(writer);
        let lied = model.sim.state().lied.expect("every number comes");
        model.sim.cut(Survives::Nothing);
        let found = model.reopen().is_err();
        match lied {
            Sync::Group => data += 1,
            Sync::Made => names += 1,
            // Without a seal everything is scanned: nothing is lost by that alone.
            _ => continue,
        }
        assert!(found, "the sync {nth} ({lied:?}) was left out and nobody noticed");
    }
    println!("found: {data} of the data, {names} of the folder");
    assert!(data > 50 && names > 2, "{data} of the data, {names} of the folder");
}

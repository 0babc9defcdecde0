//! What one instance leaves to the next: files that were rotated away and not read to their end.

use super::*;

/// A world whose rotated files have names that the patterns do not find.
fn world() -> World {
    let mut world = World::new("");
    let yaml = yaml(&world, "*.log", "");
    world.reload(&yaml);
    world
}

fn yaml(world: &World, pattern: &str, more: &str) -> String {
    format!("include: ['{}/{pattern}']\nstart_at: beginning\n{more}", world.folder.path().display())
}

#[test]
fn lines_of_rotated_files_are_found_once_through_reloads_and_refusals() {
    for seed in 0..60 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut world, mut written, mut rotations) = (world(), Vec::new(), 0);
        world.write("a.log", "first\n");
        written.push("first".to_owned());
        world.round(true);
        for _ in 0..120 {
            match random.u32(0..10) {
                0..=4 => {
                    let line = format!("seed {seed} line {:05}", written.len());
                    world.write("a.log", &format!("{line}\n"));
                    written.push(line);
                }
                5 => world.round(false),
                6 => world.round(true),
                // No scan has seen the new name, or one has: the next reload may come at once.
                7 if world.tail.files() > 0 && world.path("a.log").exists() => {
                    // Files that nobody has met are nobody's.
                    world.now += Duration::from_secs(1);
                    world.round(random.bool());
                    rotations += 1;
                    fs::rename(world.path("a.log"), world.path(&format!("a.{rotations}"))).unwrap();
                }
                8 => {
                    let yaml = yaml(&world, "*.log", &format!("attributes: {{r: '{}'}}\n", random.u32(..)));
                    world.reload(&yaml);
                }
                _ => world.now += Duration::from_millis(random.u64(0..2_000)),
            }
        }
        world.rest();
        let mut counts: BTreeMap<&str, usize> = written.iter().map(|line| (line.as_str(), 0)).collect();
        for line in &world.found {
            *counts.get_mut(line.as_str()).unwrap() += 1;
        }
        let wrong: Vec<_> = counts.iter().filter(|(_, count)| **count != 1).collect();
        assert!(wrong.is_empty(), "seed {seed}, {rotations} rotations: {wrong:?}");
    }
}

#[test]
fn a_removed_file_goes_on_with_the_attributes_of_the_new_configuration_and_what_it_no_longer_names_is_told_of() {
    let mut world = world();
    world.write("a.log", "one\n");
    world.write("b.log", "two\n");
    world.round(false);
    for name in ["a.log", "b.log"] {
        fs::remove_file(world.path(name)).unwrap();
    }
    let yaml = yaml(&world, "a*.log", "include_file_path: true\n");
    world.reload(&yaml);
    let said = world.tail.counts.said.concat();
    assert!(said.contains("4 bytes of 1 files") && said.contains("does not name them"), "{said}");
    let batch = world.tail.round(world.now, UnixNanos(7), &Ticket::free()).unwrap().unwrap();
    let records: Vec<LogRecord> = batch.envelope.items().map(|item| LogRecord::decode(item).unwrap()).collect();
    let keys: Vec<&str> = records[0].attributes.iter().map(|pair| pair.key.as_str()).collect();
    assert_eq!(records.len(), 1);
    assert!(keys.contains(&"log.file.path"), "{keys:?}");
}

#[test]
fn files_that_are_handed_on_are_closed_when_nobody_takes_them() {
    let mut world = world();
    world.write("a.log", "one\n");
    world.round(false);
    let next = LogTail::new(world.config.clone(), None, None);
    let mut left = std::mem::replace(&mut world.tail, next).into_handover();
    assert_eq!((left.files.len(), left.marks.len()), (1, 0));
    left.close();
    assert_eq!((left.files.len(), left.marks.len()), (0, 0), "nothing of it is read");
}

//! Folders that are away for a while, and files that are too many.

use super::*;

#[test]
fn files_of_a_folder_that_was_away_for_long_go_on_where_they_were() {
    let mut world = World::new("");
    let (folder, away) = (world.path("volume"), world.path("elsewhere"));
    fs::create_dir(&folder).unwrap();
    world.config = Arc::new(config_of(&format!("include: ['{}/*.log']\nstart_at: beginning\n", folder.display())));
    world.restart();
    world.write("volume/a.log", "one\n");
    world.rest();
    fs::rename(&folder, &away).unwrap();
    for _ in 0..3 {
        world.rest();
        world.now += Duration::from_secs(400);
    }
    world.restart();
    for _ in 0..3 {
        world.rest();
        world.now += Duration::from_secs(400);
    }
    fs::rename(&away, &folder).unwrap();
    world.write("volume/a.log", "two\n");
    world.rest();
    assert_eq!(world.found, ["one", "two"]);
}

#[test]
fn files_that_are_too_many_are_named_until_they_are_read() {
    let mut world = World::new("max_concurrent_files: 2\n");
    for name in ["a.log", "b.log", "c.log"] {
        world.write(name, &format!("of {name}\n"));
    }
    world.round(true);
    let said = world.tail.counts.said.last().cloned().unwrap_or_default();
    assert!(said.contains("1 files") && said.contains("c.log") && said.contains("max_concurrent_files"), "{said}");
    assert_eq!(world.tail.unread_files(), 1);
    world.rest();
    assert_eq!(world.tail.counts.said.len(), 1, "it is said once: {:?}", world.tail.counts.said);
    fs::remove_file(world.path("a.log")).unwrap();
    world.rest();
    assert_eq!((world.tail.unread_files(), world.found.len()), (0, 3));
}

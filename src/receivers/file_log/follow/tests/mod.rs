//! Schedules of writing, rotation by three kinds, restarts and refusals: every line is found once.

mod audit;
mod away;
mod handover;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message;

use super::checkpoint::CheckpointFile;
use super::tail::LogTail;
use crate::core::data::budget::{Budget, Ticket};
use crate::core::time::UnixNanos;
use crate::receivers::file_log::config::{self, FileLogConfig};
use crate::testing::check::sound;

fn config_of(yaml: &str) -> FileLogConfig {
    sound("receivers::file_log", yaml, config::check)
}

struct World {
    folder: tempfile::TempDir,
    config: Arc<FileLogConfig>,
    tail: LogTail,
    now: Duration,
    found: Vec<String>,
}

impl World {
    fn new(more: &str) -> World {
        let folder = tempfile::tempdir().unwrap();
        let yaml = format!("include: ['{}/*.log*']\nstart_at: beginning\n{more}", folder.path().display());
        let config = Arc::new(config_of(&yaml));
        let checkpoints = CheckpointFile::within(folder.path(), "file_log");
        let tail = LogTail::new(config.clone(), Some(checkpoints), None);
        World { folder, config, tail, now: Duration::ZERO, found: Vec::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        append(&self.path(name), text);
    }

    /// One round; what is not settled is read again.
    fn round(&mut self, settles: bool) {
        let ticket = Ticket::free();
        let batch = self.tail.round(self.now, UnixNanos(7), &ticket).unwrap();
        match batch {
            Some(batch) if settles => {
                self.found.extend(batch.envelope.items().map(body));
                self.tail.settle(self.now);
            }
            Some(_) => self.tail.rewind(),
            None => {}
        }
        self.now += Duration::from_millis(300);
    }

    fn restart(&mut self) {
        self.now = Duration::ZERO;
        self.tail =
            LogTail::new(self.config.clone(), Some(CheckpointFile::within(self.folder.path(), "file_log")), None);
    }

    /// Another configuration takes over.
    fn reload(&mut self, yaml: &str) {
        self.now = Duration::ZERO;
        self.config = Arc::new(config_of(yaml));
        let checkpoints = CheckpointFile::within(self.folder.path(), "file_log");
        let next = LogTail::new(self.config.clone(), Some(checkpoints), None);
        let before = std::mem::replace(&mut self.tail, next).into_handover();
        let checkpoints = CheckpointFile::within(self.folder.path(), "file_log");
        self.tail = LogTail::new(self.config.clone(), Some(checkpoints), Some(before));
    }

    fn rest(&mut self) {
        for _ in 0..40 {
            self.round(true);
        }
    }
}

fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn body(record: &[u8]) -> String {
    let record = LogRecord::decode(record).unwrap();
    match record.body.and_then(|body| body.value) {
        Some(Value::StringValue(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn lines_are_found_once_through_rotations_restarts_and_refusals() {
    for seed in 0..60 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut world = World::new("poll_interval: 100ms\n");
        let (mut written, mut rotations) = (Vec::new(), 0);
        for step in 0..120 {
            match random.u32(0..10) {
                0..=5 => {
                    let line = format!("seed {seed} line {:05} {}", written.len(), "x".repeat(random.usize(1..80)));
                    world.write("a.log", &format!("{line}\n"));
                    written.push(line);
                }
                6 => world.round(random.bool()),
                7 => world.round(true),
                8 if step % 3 == 0 => {
                    // Nothing is lost where what was written is read before the file is cut or its copy packed.
                    rotations += 1;
                    rotate(&mut world, &mut random, rotations);
                }
                _ => world.restart(),
            }
        }
        world.rest();
        // Order is that of each file; a copy is read a moment after the file that it was made of goes on.
        world.found.sort();
        assert_eq!(world.found, written, "seed {seed}");
    }
}

fn rotate(world: &mut World, random: &mut fastrand::Rng, number: usize) {
    let (from, to) = (world.path("a.log"), world.path(&format!("a.log.{number}")));
    if !from.exists() {
        return;
    }
    match random.u32(0..3) {
        // By rename: what was not read yet is read under the other name.
        0 => fs::rename(&from, &to).unwrap(),
        // By a copy and a cut: the copy has what was not read.
        1 => {
            fs::copy(&from, &to).unwrap();
            OpenOptions::new().write(true).open(&from).unwrap().set_len(0).unwrap();
        }
        // By a rename, and by packing what was read.
        _ => {
            world.rest();
            fs::rename(&from, &to).unwrap();
            world.rest();
            fs::rename(&to, world.path(&format!("a.log.{number}.gz"))).unwrap();
        }
    }
    for _ in 0..10 {
        world.round(true);
    }
}

#[test]
fn a_rotated_file_that_nobody_read_is_met_by_the_first_look_of_a_process() {
    let mut world = World::new("");
    world.write("a.log", "one\n");
    world.round(true);
    world.write("a.log.1", "rotated\n");
    let written = UNIX_EPOCH + Duration::from_secs(1_796_000_000);
    OpenOptions::new().write(true).open(world.path("a.log.1")).unwrap().set_modified(written).unwrap();
    world.restart();
    let observed = UnixNanos(1_796_000_002 * 1_000_000_000);
    let batch = world.tail.round(Duration::ZERO, observed, &Ticket::free()).unwrap();
    assert_eq!(
        batch.map(|batch| batch.envelope.items().map(body).collect::<Vec<_>>()),
        Some(vec!["rotated".to_owned()])
    );
}

#[test]
fn a_deleted_file_is_read_to_its_end_and_then_forgotten() {
    let mut world = World::new("");
    world.write("a.log", "one\n");
    world.round(true);
    world.write("a.log", "two\n");
    fs::remove_file(world.path("a.log")).unwrap();
    world.rest();
    assert_eq!((world.found.as_slice(), world.tail.files()), (["one", "two"].map(str::to_owned).as_slice(), 0));
}

#[test]
fn a_file_that_was_there_before_begins_at_its_end_unless_it_is_known() {
    let mut world = World::new("");
    world.config = Arc::new(FileLogConfig { starts_at_end: true, ..(*world.config).clone() });
    world.write("a.log", "old\n");
    world.restart();
    world.round(true);
    world.write("a.log", "new\n");
    world.write("b.log", "first of another\n");
    world.rest();
    world.restart();
    world.write("a.log", "newer\n");
    world.rest();
    assert_eq!(world.found, ["new", "first of another", "newer"]);
}

#[test]
fn files_that_did_not_change_for_long_are_not_begun() {
    let mut world = World::new("exclude_older_than: 1h\n");
    world.write("old.log", "old\n");
    world.write("new.log", "new\n");
    let written = UNIX_EPOCH + Duration::from_secs(1_796_000_000);
    let file = OpenOptions::new().write(true).open(world.path("old.log")).unwrap();
    file.set_modified(written).unwrap();
    let file = OpenOptions::new().write(true).open(world.path("new.log")).unwrap();
    file.set_modified(written + Duration::from_secs(3_600)).unwrap();
    let observed = UnixNanos((1_796_000_000 + 3_601) * 1_000_000_000);
    let batch = world.tail.round(Duration::ZERO, observed, &Ticket::free()).unwrap().unwrap();
    assert_eq!(batch.envelope.items().map(body).collect::<Vec<_>>(), ["new"]);
}

#[test]
fn a_line_without_an_end_waits_and_then_goes_on_as_it_is() {
    let mut world = World::new("force_flush_period: 2s\n");
    world.write("a.log", "whole\nbegun");
    world.round(true);
    world.round(true);
    assert_eq!(world.found, ["whole"]);
    world.write("a.log", " and ended\nlast");
    world.rest();
    assert_eq!(world.found, ["whole", "begun and ended", "last"]);
}

#[test]
fn long_lines_come_in_pieces_and_many_files_share_one_buffer() {
    let mut world = World::new("max_log_size: 100000\n");
    world.write("a.log", &format!("{}\n", "y".repeat(250_000)));
    for number in 0..500 {
        world.write(&format!("f{number}.log"), &format!("file {number}\n"));
    }
    world.rest();
    let lengths: Vec<usize> = world.found.iter().map(String::len).filter(|length| *length > 100).collect();
    assert_eq!((lengths, world.found.len()), (vec![100_000, 100_000, 50_000], 503));
    assert!(world.tail.held_bytes() == 0 && world.tail.files() == 501);
}

#[test]
fn pieces_of_a_runtime_are_joined_by_stream_and_are_not_read_before_they_are_whole() {
    let mut world = World::new("operators: [{type: container}]\n");
    let at = "2026-12-01T10:00:00.000000001Z";
    world.write("a.log", &format!("{at} stdout P one \n{at} stderr P other \n"));
    world.round(true);
    world.restart();
    world.round(true);
    world.write("a.log", &format!("{at} stdout F line\n{at} stderr F stream\n"));
    world.rest();
    assert_eq!(world.found, ["one line", "other stream"]);
}

#[test]
fn what_no_memory_is_there_for_is_read_later() {
    let mut world = World::new("");
    let lines: Vec<String> = (0..2_000).map(|number| format!("line {number:06}")).collect();
    world.write("a.log", &(lines.join("\n") + "\n"));
    let budget = Budget::new(30_000, 30_000);
    let ticket = budget.take(0).unwrap();
    assert!(world.tail.round(Duration::ZERO, UnixNanos(7), &ticket).is_err());
    assert!(budget.peak() <= 30_000);
    world.rest();
    assert_eq!(world.found, lines);
}

#[test]
fn operators_make_records_of_lines() {
    let operators = r#"
operators:
  - {type: router, routes: [{expr: "body matches '^[{]'", output: json}], default: plain}
  - id: json
    type: json_parser
    timestamp: {parse_from: attributes.ts, layout_type: epoch, layout: s}
    severity: {parse_from: attributes.level}
    output: ids
  - {id: plain, type: regex_parser, regex: '^(?P<level>\w+) (?P<text>.*)$', on_error: drop}
  - {type: severity_parser, parse_from: attributes.level}
  - {id: ids, type: trace_parser, trace_id: {parse_from: attributes.trace_id}, span_id: {parse_from: attributes.span_id}}
  - {type: move, from: attributes.text, to: body, if: 'attributes.text != nil'}
  - {type: add, field: 'resource["service.name"]', value: shop}
  - {type: filter, expr: 'attributes.drop == true'}
"#;
    let mut world = World::new(operators);
    let id = "0af7651916cd43dd8448eb211c80319c";
    let json = format!(
        r#"{{"ts":1796119205,"level":"warn","text":"of json","trace_id":"{id}","span_id":"b7ad6b7169203331"}}"#
    );
    world.write("a.log", &format!("{json}\nERROR it broke\n{{\"drop\":true,\"level\":\"info\",\"ts\":1}}\n???\n"));
    let batch = world.tail.round(Duration::ZERO, UnixNanos(7), &Ticket::free()).unwrap().unwrap();
    let records: Vec<LogRecord> = batch.envelope.items().map(|item| LogRecord::decode(item).unwrap()).collect();
    let facts: BTreeMap<usize, (i32, u64, usize)> = records
        .iter()
        .enumerate()
        .map(|(at, record)| (at, (record.severity_number, record.time_unix_nano, record.trace_id.len())))
        .collect();
    assert_eq!(facts[&0], (13, 1_796_119_205_000_000_000, 16));
    assert_eq!((facts[&1], facts.len()), ((17, 0, 0), 2));
    assert_eq!(batch.envelope.groups.len(), 1);
    assert_eq!(batch.envelope.items().map(body).collect::<Vec<_>>(), ["of json", "it broke"]);
    assert_eq!((world.tail.counts.dropped, world.tail.counts.failed), (2, 1));
}

#[test]
fn ids_in_the_text_of_a_line_become_the_record_s_own_where_it_has_none() {
    let (id, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let text = format!("level=info trace_id={id} span_id={span}\nplain\n{{\"trace.id\":\"{id}\"}}\n");
    for (more, lengths) in [("podgate: {trace_ids: true}", [(16, 8), (0, 0), (16, 0)]), ("", [(0, 0); 3])] {
        let mut world = World::new(more);
        world.write("a.log", &text);
        let batch = world.tail.round(Duration::ZERO, UnixNanos(7), &Ticket::free()).unwrap().unwrap();
        let records = batch.envelope.items().map(|item| LogRecord::decode(item).unwrap());
        let found: Vec<_> = records.map(|record| (record.trace_id.len(), record.span_id.len())).collect();
        assert_eq!(found, lengths, "{more}");
    }
}

#[test]
fn entries_of_several_lines_are_one_record() {
    let recombine = "operators: [{type: recombine, combine_field: body, is_first_entry: \"body matches '^[0-9]'\"}]\n";
    let mut world = World::new(recombine);
    world.write("a.log", "1 begins\n  goes on\n2 begins\n");
    world.round(true);
    assert_eq!(world.found, ["1 begins\ngoes on"]);
    world.rest();
    assert_eq!(world.found, ["1 begins\ngoes on", "2 begins"]);
}

const AT: &str = "2026-12-01T10:00:00.000000001Z";

#[test]
fn a_piece_that_never_becomes_whole_goes_on_after_a_while_and_doubles_nothing() {
    for rests in [true, false] {
        let mut world = World::new("operators: [{type: container}]\n");
        world.write("a.log", &format!("{AT} stderr P half\n{AT} stdout F one\n{AT} stdout F two\n"));
        world.round(true);
        assert_eq!(world.found, ["one", "two"]);
        if rests {
            world.rest();
            assert_eq!(world.found, ["one", "two", "half"]);
        }
        world.restart();
        world.write("a.log", &format!("{AT} stdout F three\n"));
        world.rest();
        world.restart();
        world.rest();
        world.found.sort();
        assert_eq!(world.found, ["half", "one", "three", "two"], "after a rest: {rests}");
    }
}

#[test]
fn pieces_go_on_where_the_line_was_begun_before_a_restart() {
    let mut world = World::new("operators: [{type: container}]\n");
    world.write("a.log", &format!("{AT} stdout F zero\n{AT} stderr P half \n{AT} stdout F one\n{AT} stdout P be\n"));
    world.round(true);
    world.restart();
    world.round(true);
    world.write("a.log", &format!("{AT} stdout F gun\n{AT} stderr F whole\n"));
    world.rest();
    assert_eq!(world.found, ["zero", "one", "begun", "half whole"]);
}

#[test]
fn held_pieces_take_no_more_than_their_part_of_the_budget() {
    let mut world = World::new("operators: [{type: container}]\n");
    let piece = "x".repeat(16_000);
    for file in 0..12 {
        let lines: Vec<String> = (0..50).map(|_| format!("{AT} stdout P {piece}\n")).collect();
        world.write(&format!("{file}.log"), &lines.concat());
    }
    let budget = Budget::new(8 << 20, 8 << 20);
    let mut bytes = 0;
    for _ in 0..60 {
        let ticket = budget.take(0).unwrap();
        if let Some(batch) = world.tail.round(world.now, UnixNanos(7), &ticket).unwrap() {
            bytes += batch.envelope.items().map(|item| body(item).len()).sum::<usize>();
            world.tail.settle(world.now);
        }
        drop(ticket);
        let held = world.tail.held_bytes();
        assert!(held <= 2 << 20, "{held} bytes are held");
        assert!(budget.used() >= held as u64, "{held} bytes are held, and {} are paid for", budget.used());
        world.now += Duration::from_millis(300);
    }
    assert_eq!((bytes, budget.used()), (12 * 50 * 16_000, 0));
}

#[test]
fn a_file_that_was_cut_and_has_grown_past_its_old_end_is_read_from_its_beginning() {
    let mut world = World::new("");
    let banner = format!("{}\n", "#".repeat(1_100));
    world.write("a.log", &format!("{banner}first 1\nfirst 2\n"));
    world.round(true);
    let second: Vec<String> = (0..30).map(|number| format!("second {number:03}")).collect();
    fs::write(world.path("a.log"), format!("{banner}{}\n", second.join("\n"))).unwrap();
    world.rest();
    assert_eq!(world.found.get(4..), Some(second.as_slice()));
}

#[test]
fn files_that_begin_alike_are_no_copies_while_both_are_there() {
    let mut world = World::new("");
    let same: Vec<String> = (0..100).map(|step| format!("step {step} done, all is well\n")).collect();
    world.write("a.log", &same.concat());
    world.write("job.log", "start\n");
    world.rest();
    world.write("b.log", &format!("{}b differs\n", same.concat()));
    world.write("job.log.err", "start\nboom\n");
    world.rest();
    assert_eq!(world.found.len(), 101 + 101 + 2);
}

#[test]
fn a_copy_is_known_when_its_file_is_cut_a_moment_later() {
    let mut world = World::new("");
    let lines: Vec<String> = (0..100).map(|step| format!("step {step} done, all is well\n")).collect();
    world.write("a.log", &lines.concat());
    world.rest();
    fs::copy(world.path("a.log"), world.path("old-a.log")).unwrap();
    for _ in 0..8 {
        world.round(true);
    }
    fs::write(world.path("a.log"), "").unwrap();
    world.write("a.log", "new\n");
    world.rest();
    assert_eq!((world.found.len(), world.found.last().unwrap().as_str()), (101, "new"));
}

#[test]
fn files_that_go_while_a_batch_waits_are_read_later() {
    let mut world = World::new("");
    world.write("a.log", "one\n");
    world.round(true);
    world.write("a.log", "two\n");
    let ticket = Ticket::free();
    let batch = world.tail.round(world.now, UnixNanos(7), &ticket).unwrap().unwrap();
    // The next hop is away for a quarter of an hour; the file is rotated out of the pattern again and again.
    for rotation in 0..300 {
        world.write("a.log", &format!("late {rotation:03}\n"));
        world.now += Duration::from_secs(3);
        world.tail.look(world.now, UnixNanos(7));
        fs::rename(world.path("a.log"), world.path(&format!("{rotation}.old"))).unwrap();
    }
    world.found.extend(batch.envelope.items().map(body));
    world.tail.settle(world.now);
    world.rest();
    world.rest();
    let late = (0..300).map(|rotation| format!("late {rotation:03}"));
    let expected: Vec<String> = ["one".to_owned(), "two".to_owned()].into_iter().chain(late).collect();
    world.found.sort_by_key(|line| (line.starts_with("late"), line.clone()));
    assert_eq!(world.found, expected);
    assert_eq!((world.tail.files(), world.tail.counts.unopened), (0, 0));
}

#[test]
fn a_file_that_goes_before_there_was_room_for_it_is_counted_and_named() {
    let mut world = World::new("max_concurrent_files: 2\n");
    for name in ["a.log", "b.log", "c.log"] {
        world.write(name, &format!("{name}\n"));
    }
    world.rest();
    fs::remove_file(world.path("c.log")).unwrap();
    world.rest();
    assert_eq!((world.found.len(), world.tail.counts.unopened), (2, 1));
    assert!(world.tail.counts.said.iter().any(|said| said.contains("c.log went before it was opened")));
}

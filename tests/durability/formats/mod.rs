//! A log that another version left (T14): recorded folders of each format, with records of a queue and of a sampler, read
//! by the real binary, which delivers every span that has no end and no other; and what it writes where the older version
//! is to read it again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use podgate::core::data::origin::{Origin, Transport};
use podgate::core::data::payload::Signal;
use podgate::core::time::UnixNanos;
use podgate::extensions::file_storage::entry;
use podgate::wal::body::{Mark, What};
use podgate::wal::disk::LogDisk;
use podgate::wal::files::LogFolder;
use podgate::wal::format::{Header, Purpose, of_file_name};
use podgate::wal::packed::pack::pack;
use podgate::wal::recovery::open;
use podgate::wal::writer::{LogRecord, LogTime, LogWriter, Options};

use crate::hop::Hop;
use crate::process::Running;
use crate::producer::{ids, request, trace_id, trace_of};
use crate::{Ports, config};

const QUEUE: &str = "exporters::otlp_grpc";
const SAMPLER: &str = "processors::tail_sampling/traces";
const KEEP_ALL: (&str, &str) =
    ("tail_sampling: {decision_wait: 1s, policies: [{name: all, type: always_sample}]}", "tail_sampling");
const NOW: LogTime = LogTime { mono: Duration::ZERO, wall: 0 };

fn golden(format: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/wal/v{format}-gateway"))
}

fn append(writer: &mut LogWriter, taker: &str, first: u64, spans: u64) -> u64 {
    let arrived = UnixNanos(1_700_000_000_000_000_000 + first);
    let origin = Origin::new(None, 0, arrived, arrived, Transport::Http);
    let description = entry::describe(taker, Signal::Traces, &origin);
    let payload = vec![Bytes::from(request(first, spans))];
    let id = writer.append(NOW, &LogRecord { description, items: spans as u32, payload, parked: false });
    let id = id.expect("taken");
    writer.commit(NOW);
    id
}

/// Two lives, the second of which ends in a crash. What has no end and is to be kept are spans 1, 3 to 5, 101 to 105,
/// 201 to 205 and 301 to 305.
fn record(folder: &Path) {
    std::fs::create_dir_all(folder).expect("made");
    let options = Options { pack_after: None, max_bytes: 4 << 20, ..Options::default() };
    let opened = || open(Box::new(LogFolder::at(folder)), options.clone(), 0x601d, NOW).expect("opens").0;
    let mut writer = opened();
    let queued = append(&mut writer, QUEUE, 0, 5);
    writer.mark(NOW, Mark { record: queued, from: 1, to: 2, what: What::Delivered });
    append(&mut writer, SAMPLER, 100, 10);
    let mut verdicts = vec![1];
    for (first, kept) in [(100, 1), (105, 0)] {
        verdicts.extend_from_slice(&trace_id(trace_of(first + 1)));
        verdicts.push(kept);
        verdicts.extend_from_slice(&1_700_000_001_000_000_000u64.to_le_bytes());
    }
    writer.verdicts(NOW, 1_700_000_300_000_000_000, &entry::named(SAMPLER, &verdicts)).expect("taken");
    let gone = append(&mut writer, QUEUE, 400, 5);
    writer.settle_whole(NOW, gone, What::Delivered);
    writer.close(NOW);
    drop(writer);
    let mut writer = opened();
    append(&mut writer, SAMPLER, 200, 5);
    append(&mut writer, QUEUE, 300, 5);
    drop(writer);
    std::fs::remove_file(folder.join("lock")).expect("made by the log");
    for name in segments(folder) {
        // What was reserved is not kept.
        let bytes = std::fs::read(folder.join(&name)).expect("read");
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        std::fs::write(folder.join(&name), &bytes[..end.next_multiple_of(4_096)]).expect("written");
    }
}

fn segments(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).expect("a folder").flatten();
    let mut names: Vec<String> = names.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| of_file_name(name).is_some());
    names.sort();
    names
}

fn purposes(folder: &Path) -> Vec<Purpose> {
    let header = |name: &String| {
        let bytes = std::fs::read(folder.join(name)).expect("read");
        Header::decode(&bytes[..bytes.len().min(4_096)]).expect("whole").purpose
    };
    segments(folder).iter().map(header).collect()
}

/// Both folders anew: in the second one the first segment is compressed.
fn record_both() {
    for format in [1, 2] {
        _ = std::fs::remove_dir_all(golden(format));
        std::fs::create_dir_all(golden(format)).expect("made");
    }
    record(&golden(1));
    let names = segments(&golden(1));
    let (mut old, mut new) = (LogFolder::at(&golden(1)), LogFolder::at(&golden(2)));
    let (mut from, mut to) = (old.open(&names[0]).expect("opened"), new.create(&names[0]).expect("made"));
    pack(&mut *from, &mut *to).expect("packed");
    for name in &names[1..] {
        std::fs::copy(golden(1).join(name), golden(2).join(name)).expect("copied");
    }
}

/// A copy of the recorded folder, which a gateway may write to.
fn copied(format: u32) -> (tempfile::TempDir, PathBuf) {
    static RECORDED: std::sync::Once = std::sync::Once::new();
    if std::env::var_os("PODGATE_WAL_RECORD").is_some() {
        RECORDED.call_once(record_both);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    std::fs::create_dir(&log).expect("made");
    for name in segments(&golden(format)) {
        std::fs::copy(golden(format).join(&name), log.join(&name)).expect("copied");
    }
    (folder, log)
}

#[test]
fn recorded_logs_of_every_format_are_delivered_and_an_older_version_could_read_what_is_left() {
    for format in [1, 2] {
        let (_folder, log) = copied(format);
        assert_eq!(purposes(&log).contains(&Purpose::Packed), format == 2);
        let (ports, hop) = (Ports::free(), Hop::at(0));
        let config =
            config(ports, hop.port, &log, KEEP_ALL).replace("max_bytes: 1GiB", "max_bytes: 1GiB, compression: none");
        let mut gateway = Running::start(&config);
        gateway.wait_for("everything is ready");
        let whole = [(100, 5), (200, 5), (300, 5)].into_iter().flat_map(|(first, spans)| ids(first, spans));
        let want: BTreeSet<u64> = [1, 3, 4, 5].into_iter().chain(whole).collect();
        let until = Instant::now() + Duration::from_secs(30);
        while hop.seen().len() < want.len() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        // Marks and the time of verdicts are looked at a few times a second.
        std::thread::sleep(Duration::from_secs(1));
        gateway.signal("TERM");
        let (code, said) = gateway.end_within(Duration::from_secs(30));
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(hop.seen().keys().copied().collect::<BTreeSet<_>>(), want, "format {format}");
        assert!(hop.seen().values().all(|times| *times == 1), "format {format}: {:?}", hop.seen());
        // Everything has an end, and nothing but format 1 is written.
        assert!(purposes(&log).iter().all(|purpose| *purpose == Purpose::Log), "{:?}", purposes(&log));
        let (writer, report) = open(Box::new(LogFolder::at(&log)), Options::default(), 1, NOW).expect("opens");
        assert_eq!((report.records, report.lost.records, report.clean), (0, 0, true), "{report:?}");
        drop(writer);
    }
}

#[test]
fn a_log_of_a_later_format_is_refused_with_what_to_do_and_left_untouched() {
    let (_folder, log) = copied(1);
    let name = segments(&log)[0].clone();
    let mut later = std::fs::read(log.join(&name)).expect("read");
    for at in [0, 2048] {
        later[at + 8] = 3;
        let check = crc32c::crc32c(&later[at..at + 124]).to_le_bytes();
        later[at + 124..at + 128].copy_from_slice(&check);
    }
    std::fs::write(log.join(&name), &later).expect("written");
    let before: Vec<Vec<u8>> = segments(&log).iter().map(|name| std::fs::read(log.join(name)).expect("read")).collect();
    let (code, said) = Running::start(&config(Ports::free(), 1, &log, KEEP_ALL)).end_within(Duration::from_secs(30));
    assert_ne!(code, Some(0));
    assert!(
        said.contains("format 3") && said.contains(&name) && said.contains("run the version that wrote it"),
        "{said}"
    );
    let after: Vec<Vec<u8>> = segments(&log).iter().map(|name| std::fs::read(log.join(name)).expect("read")).collect();
    assert_eq!(before, after, "nothing was changed");
}

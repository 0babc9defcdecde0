//! Keeps every segment that a log ever had, and reads what was written, in its order.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;

use podgate::wal::body::Description;
use podgate::wal::disk::{LogDisk, read_full};
use podgate::wal::files::LogFolder;
use podgate::wal::format::{FrameKind, Head, Header, Purpose, of_file_name};
use podgate::wal::scan::{frame_at, scan};

/// Links what it sees, every few milliseconds. A segment lives for longer than that: it is unlinked when the next one was
/// begun and what it holds is settled.
pub struct Keeper {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
    side: PathBuf,
}

impl Keeper {
    /// Of the log in `folder`; `side` is a folder of the same file system.
    pub fn of(folder: &Path, side: PathBuf) -> Keeper {
        std::fs::create_dir_all(&side).expect("made");
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, folder, into) = (stop.clone(), folder.to_owned(), side.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                link(&folder, &into);
                std::thread::sleep(Duration::from_millis(5));
            }
            link(&folder, &into);
        });
        Keeper { stop, thread, side }
    }

    /// What was written by the sampler of this name; its gateway has ended.
    pub fn end(self, sampler: &str) -> Written {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("it does not panic");
        Written::read(&self.side, sampler)
    }
}

fn link(folder: &Path, side: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !matches!(of_file_name(&name), Some((_, Purpose::Log))) {
            continue;
        }
        // A file that was made in vain gives its number to the next one.
        let Ok(inode) = entry.metadata().map(|about| about.ino()) else { continue };
        let place = side.join(format!("{inode:016x}"));
        std::fs::create_dir_all(&place).expect("made");
        if !place.join(&name).exists() {
            _ = std::fs::hard_link(entry.path(), place.join(&name));
        }
    }
}

/// A request of the sampler.
#[derive(Clone)]
pub struct Record {
    pub sequence: u64,
    pub arrival: u64,
    pub payload: Bytes,
}

#[derive(Default)]
pub struct Written {
    pub records: Vec<Record>,
    pub verdicts: Vec<Verdict>,
}

/// What the log says of a trace.
#[derive(Clone, Copy)]
pub struct Verdict {
    pub sequence: u64,
    pub trace: [u8; 16],
    pub kept: bool,
    pub decided_at: u64,
}

enum Frame {
    Record(Record),
    Verdicts(Bytes),
}

impl Written {
    fn read(side: &Path, sampler: &str) -> Written {
        let mut segments = Vec::new();
        for place in std::fs::read_dir(side).expect("a folder").flatten() {
            let mut disk = LogFolder::at(&place.path());
            for (name, _) in disk.list().expect("listed") {
                let Some((number, _)) = of_file_name(&name) else { continue };
                let mut block = vec![0; 4096];
                let mut medium = disk.open(&name).expect("opened");
                let read = read_full(&mut *medium, 0, &mut block).expect("read");
                if let Ok(header) = Header::decode(&block[..read]) {
                    segments.push((header.boot, number, header, medium));
                }
            }
        }
        segments.sort_by_key(|(boot, number, ..)| (*boot, *number));
        let mut frames: BTreeMap<u64, Frame> = BTreeMap::new();
        for (_, _, header, mut medium) in segments {
            let mut places = Vec::new();
            scan(&mut *medium, header.salt, Some(header.totals()), None, &mut |found| {
                places.push((found.offset, found.head));
            });
            if !places.is_empty() {
                // Groups that failed and were written again here.
                _ = frames.split_off(&header.first);
            }
            for (offset, head) in places {
                // What was copied forward stands in an earlier segment.
                let wanted = matches!(head.kind, FrameKind::Payload | FrameKind::Verdicts);
                if !wanted || head.origin != head.sequence {
                    continue;
                }
                let frame = frame_at(&mut *medium, header.salt, offset, head.length).expect("read").expect("whole");
                if let Some(frame) = known(&head, Bytes::from(frame.1), sampler) {
                    frames.insert(head.sequence, frame);
                }
            }
        }
        let mut written = Written::default();
        for (sequence, frame) in frames {
            match frame {
                Frame::Record(record) => written.records.push(record),
                Frame::Verdicts(body) => written.verdicts.extend(verdicts(sequence, &body, sampler)),
            }
        }
        written
    }
}

/// Until when they are kept, who logged them, a version, then 25 bytes for each (docs/wal-format.md).
fn verdicts(sequence: u64, body: &[u8], sampler: &str) -> Vec<Verdict> {
    let lines = body[9..].strip_prefix(sampler.as_bytes()).expect("the only sampler").strip_prefix(&[1]);
    let verdict = |line: &[u8]| Verdict {
        sequence,
        trace: line[..16].try_into().expect("sixteen"),
        kept: line[16] == 1,
        decided_at: u64::from_le_bytes(line[17..].try_into().expect("eight")),
    };
    lines.expect("version 1").chunks_exact(25).map(verdict).collect()
}

/// What a frame holds; `None` for a record of another pipeline.
fn known(head: &Head, mut body: Bytes, sampler: &str) -> Option<Frame> {
    if head.kind != FrameKind::Payload {
        return Some(Frame::Verdicts(body));
    }
    let description = Description::decode(&body.split_to(usize::from(head.described))).expect("known");
    let record = Record { sequence: head.sequence, arrival: description.arrival, payload: body };
    (description.pipeline == sampler).then_some(Frame::Record(record))
}

//! The real binary over a disk that is slow or fails: an acknowledgement means that `fdatasync` has returned.
//!
//! kill -9 alone shows nothing of this, because the page cache survives it. The disk's calls are those of a preloaded library
//! that `cc` makes of tests/durability/disk.c.

use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use prost::Message;
use tokio::time::Instant;

use crate::hop::Hop;
use crate::process::{Running, ask, free_port};
use crate::producer::{ids, post, request};
use crate::{Ports, config};

const EIO: i64 = 5;
const ENOSPC: i64 = 28;
/// gRPC's.
const UNAVAILABLE: i32 = 14;

/// What the disk does.
#[derive(Clone, Copy, Default)]
struct Rule {
    sync_takes_ms: i64,
    sync_fails: i64,
    write_fails: i64,
}

/// A gateway over such a disk; its next hop is down.
struct Faulty {
    gateway: Running,
    rule: std::fs::File,
    ports: Ports,
    hop: u16,
    config: String,
    folder: tempfile::TempDir,
}

fn library(folder: &Path) -> PathBuf {
    let library = folder.join("disk.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/durability/disk.c");
    let made =
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).args([&library, &source]).arg("-ldl").status();
    assert!(made.is_ok_and(|status| status.success()), "cc makes the library");
    library
}

impl Faulty {
    fn start() -> Faulty {
        Faulty::that_promises("group")
    }

    fn that_promises(durability: &str) -> Faulty {
        let folder = tempfile::tempdir().expect("a folder");
        let (ports, hop) = (Ports::free(), free_port());
        let config = config(ports, hop, &folder.path().join("log"), ("", ""))
            .replace("max_bytes: 1GiB", &format!("max_bytes: 1GiB, durability: {durability}"));
        let path = folder.path().join("rule");
        std::fs::write(&path, [0; 24]).expect("written");
        let rule = std::fs::OpenOptions::new().write(true).open(&path).expect("opened");
        let library = library(folder.path());
        let environment =
            [("LD_PRELOAD", library.to_str().expect("text")), ("DISK_FILE", path.to_str().expect("text"))];
        let mut gateway = Running::start_with(&config, &environment, Stdio::null());
        gateway.wait_for("everything is ready");
        Faulty { gateway, rule, ports, hop, config, folder }
    }

    fn set(&self, rule: Rule) {
        let numbers = [rule.sync_takes_ms, rule.sync_fails, rule.write_fails];
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_ne_bytes()).collect();
        self.rule.write_all_at(&bytes, 0).expect("written");
    }

    /// The status of one span, and how long it took.
    fn send(&self, first: u64) -> (Option<u16>, Duration) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.ports.http)).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
        let sent = Instant::now();
        (post(&mut stream, &request(first, 1)), sent.elapsed())
    }

    /// What a gRPC client hears of one span: 0 for success, and whether it is told when to try again.
    fn send_by_grpc(&self, first: u64) -> (i32, bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let request = ExportTraceServiceRequest::decode(&request(first, 1)[..]).expect("a request");
        runtime.block_on(async {
            let endpoint = format!("http://127.0.0.1:{}", self.ports.grpc);
            let mut client = TraceServiceClient::connect(endpoint).await.expect("it listens");
            match client.export(request).await {
                Ok(_) => (0, false),
                // The details hold a google.rpc.RetryInfo.
                Err(status) => (status.code() as i32, String::from_utf8_lossy(status.details()).contains("RetryInfo")),
            }
        })
    }

    fn probe(&self, path: &str) -> String {
        ask(self.ports.probes, "GET", path, "")
    }

    fn newest_segment(&self) -> String {
        let names = std::fs::read_dir(self.folder.path().join("log")).expect("a folder");
        let names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.filter(|name| name.ends_with(".wal")).max().unwrap_or_default()
    }

    /// kill -9, and a start on a sound disk: what was acknowledged arrives, however the disk had behaved.
    fn delivers_after_a_kill(self, acknowledged: &[u64]) {
        let Faulty { gateway, hop, config, folder: _folder, .. } = self;
        drop(gateway);
        let hop = Hop::at(hop);
        let mut gateway = Running::start(&config);
        gateway.wait_for("everything is ready");
        let until = Instant::now() + Duration::from_secs(20);
        while !acknowledged.iter().all(|first| ids(*first, 1).all(|id| hop.seen().contains_key(&id))) {
            assert!(Instant::now() < until, "acknowledged and lost: {:?}", hop.seen());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn no_answer_comes_before_fdatasync_has_returned() {
    let faulty = Faulty::start();
    assert_eq!(faulty.send(0).0, Some(200));
    faulty.set(Rule { sync_takes_ms: 2_000, ..Rule::default() });
    for first in [5, 10] {
        let (status, took) = faulty.send(first);
        assert_eq!(status, Some(200));
        assert!(took >= Duration::from_secs(2), "answered after {took:?}, before its sync");
    }
    faulty.set(Rule::default());
    faulty.delivers_after_a_kill(&[0, 5, 10]);
}

#[test]
fn with_page_cache_nobody_waits_for_the_disk_and_a_kill_loses_nothing() {
    let faulty = Faulty::that_promises("page_cache");
    faulty.set(Rule { sync_takes_ms: 5_000, sync_fails: EIO, ..Rule::default() });
    for first in [0, 5] {
        let (status, took) = faulty.send(first);
        assert!(status == Some(200) && took < Duration::from_secs(3), "{status:?} after {took:?}");
    }
    faulty.set(Rule::default());
    faulty.delivers_after_a_kill(&[0, 5]);
}

#[test]
fn with_durability_off_nothing_is_written_and_the_queue_is_in_memory() {
    let faulty = Faulty::that_promises("off");
    assert_eq!(faulty.send(0).0, Some(200));
    assert!(!faulty.folder.path().join("log").exists(), "no log is made");
}

/// The disk fails; the sender is refused retryably, the process lives and says so, and the next segment works.
fn refuses_and_goes_on(rule: Rule) {
    let faulty = Faulty::start();
    assert_eq!(faulty.send(0).0, Some(200));
    let segment = faulty.newest_segment();
    faulty.set(rule);
    assert_eq!(faulty.send(5).0, Some(503), "not on disk");
    assert_eq!(faulty.send(10).0, Some(503), "not on disk either");
    assert_eq!(faulty.send_by_grpc(20), (UNAVAILABLE, true), "over gRPC as well, and when to try again");
    let ready = faulty.probe("/readyz");
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("cannot write"), "{ready}");
    assert!(faulty.probe("/livez").starts_with("HTTP/1.1 200"), "it lives");
    faulty.set(Rule::default());
    let since = Instant::now();
    while faulty.send(15).0 != Some(200) {
        assert!(since.elapsed() < Duration::from_secs(5), "the disk works again");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(since.elapsed() < Duration::from_secs(2), "taken again after {:?}", since.elapsed());
    assert!(faulty.newest_segment() > segment, "a file that failed is not written again");
    assert_eq!(faulty.send_by_grpc(25), (0, false));
    faulty.delivers_after_a_kill(&[0, 15, 25]);
}

#[test]
fn a_sync_that_fails_refuses_retryably_and_the_next_segment_works() {
    refuses_and_goes_on(Rule { sync_fails: EIO, ..Rule::default() });
}

#[test]
fn a_full_disk_refuses_retryably_and_is_written_again_when_there_is_room() {
    refuses_and_goes_on(Rule { write_fails: ENOSPC, ..Rule::default() });
}

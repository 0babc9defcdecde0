//! A next hop that is down for longer than memory lasts: what comes is kept on disk, memory stays within its budget, and
//! all of it arrives when the next hop is back, without live data waiting for it.
//!
//! Ten seconds in `make test`; `PODGATE_OUTAGE=600` for ten minutes.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::hop::Hop;
use crate::kills::{missing, number};
use crate::process::{Running, ask, free_port};
use crate::producer::{Acknowledged, Load, Producer, ids, post, request};
use crate::{Ports, config};

/// The memory limit; the log's table of an outage of ten minutes needs 18 MB of it.
fn limit_mib(seconds: u64) -> u64 {
    if seconds > 60 { 128 } else { 48 }
}

fn page(admin: u16, path: &str) -> Value {
    let answer = ask(admin, "GET", path, "");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
    serde_json::from_str(body).expect("JSON")
}

/// The most that was seen of each while the next hop was down.
#[derive(Debug, Default)]
struct Most {
    budget: u64,
    resident: u64,
    disk: u64,
    waiting: u64,
    /// Segments that were compressed, and the bytes that this made room for.
    compressed: u64,
    saved: u64,
    refused: u64,
    lasts: Option<u64>,
}

impl Most {
    fn look(&mut self, admin: u16) {
        let (status, storage) = (page(admin, "/v1/status"), page(admin, "/v1/storage"));
        let number = |value: &Value| value.as_u64().unwrap_or(0);
        self.budget = self.budget.max(number(&status["budget"]["used_bytes"]));
        self.resident = self.resident.max(number(&status["rss_bytes"]));
        self.disk = self.disk.max(number(&storage[0]["bytes"]));
        self.waiting = self.waiting.max(number(&storage[0]["waiting_records"]));
        self.compressed = self.compressed.max(number(&storage[0]["compressed_segments"]));
        self.saved = self.saved.max(number(&storage[0]["bytes_saved"]));
        self.refused = self.refused.max(number(&storage[0]["refused"]));
        self.lasts = storage[0]["lasts_seconds"].as_u64().or(self.lasts);
    }
}

/// What a busy machine may make of it: `parked.rs` shows in paused time that live data goes first.
const LIVE_WITHIN: Duration = Duration::from_secs(180);

#[test]
fn an_outage_lasts_as_long_as_the_disk_and_memory_stays_within_its_budget() {
    outage("queue", "", "");
}

#[test]
fn an_outage_behind_a_sampler_lasts_as_long_as_the_disk() {
    let sampler = "tail_sampling: {decision_wait: 1s, policies: [{name: all, type: always_sample}]}";
    outage("sampler", &format!(", {sampler}"), ", tail_sampling");
}

fn outage(name: &str, sampler: &str, list: &str) {
    let seconds = number("PODGATE_OUTAGE", 10);
    let limit_mib = limit_mib(seconds);
    let folder = tempfile::tempdir().expect("a folder");
    let (ports, hop, admin) = (Ports::free(), free_port(), free_port());
    let (section, list) =
        (format!("memory_limiter: {{limit_mib: {limit_mib}}}{sampler}"), format!("memory_limiter{list}"));
    let config = config(ports, hop, &folder.path().join("log"), (&section, &list))
        .replace("admin: {endpoint: '127.0.0.1:0'}", &format!("admin: {{endpoint: '127.0.0.1:{admin}'}}"))
        .replace("max_bytes: 1GiB", "max_bytes: 16GiB");
    let mut gateway = Running::start(&config);
    gateway.wait_for("everything is ready");
    let load = Load { every: Duration::from_millis(20), pad: if seconds > 60 { 500 } else { 2_000 }, splits: false };
    let producers: Vec<Producer> = (1..=4).map(|number| Producer::with(number, ports.http, load)).collect();
    let (began, mut most) = (Instant::now(), Most::default());
    let enough = 2 * (limit_mib << 20);
    // A loaded machine takes longer for as much.
    while began.elapsed() < Duration::from_secs(seconds)
        || most.disk + most.saved < enough && began.elapsed() < Duration::from_secs(seconds + 60)
    {
        std::thread::sleep(Duration::from_millis(250));
        most.look(admin);
    }
    let log = gateway.wait_for("kept on disk alone");
    assert!(log.contains("the rest lasts"), "the line says how long: {log}");
    let (hop, lasted) = (Hop::at(hop), began.elapsed());
    let delays = live_delays(ports.http, &hop);
    let acknowledged: Vec<Acknowledged> = producers.into_iter().flat_map(Producer::end).collect();
    let spans: u64 = acknowledged.iter().map(|request| request.spans).sum();
    let until = Instant::now() + Duration::from_secs(30 + seconds);
    // The gateway is asked, because the next hop could not go on while its spans are counted.
    let is_open = || {
        let sheet = page(admin, "/v1/balance")["traces"].clone();
        sheet["held"].as_i64() != Some(0) || sheet["on_disk"].as_u64() != Some(0)
    };
    while is_open() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(100));
    }
    let caught_up = began.elapsed() - lasted;
    let last = page(admin, "/v1/balance")["traces"].clone();
    gateway.signal("TERM");
    let (code, log) = gateway.end_within(Duration::from_secs(30));
    assert_eq!(code, Some(0), "{log}");
    let lost = missing(&hop, &acknowledged);
    let twice = hop.seen().values().filter(|times| **times > 1).count();
    eprintln!(
        "{name}, an outage of {lasted:.0?}: {spans} spans acknowledged, {lost} lost, {twice} twice; at most {} MiB of the budget, \
         {} MiB resident, {} MiB on disk and {} MiB less by {} compressed segments, {} records on disk alone, which lasted \
         {:?} s more; all there {caught_up:?} after its end, live spans within {:?} to {:?} meanwhile",
        most.budget >> 20,
        most.resident >> 20,
        most.disk >> 20,
        most.saved >> 20,
        most.compressed,
        most.waiting,
        most.lasts,
        delays[0],
        delays[9],
    );
    assert_eq!(lost, 0, "acknowledged and lost: {last}\n{log}");
    let repeated = acknowledged.iter().filter(|request| request.sent > 1).count();
    assert!(twice <= repeated * 50, "nothing comes twice: {twice}");
    assert!(most.budget <= limit_mib << 20, "{most:?}");
    assert!(most.disk + most.saved >= enough, "the disk held many times what memory may: {most:?}");
    assert!(most.lasts.is_some() && most.refused == 0, "{most:?}");
    assert!(seconds <= 120 || most.compressed > 0, "what waits for a minute is compressed: {most:?}");
    assert!(delays[9] < LIVE_WITHIN, "live data waited: {delays:?}");
}

/// A sampler's record stands on disk until the last of its spans has its end, so kept spans that wait in memory hold up the
/// records that they came in. Those that memory has no room for are parked in records of their own, and hold up none; their
/// segments go when a tenth of them is wanted. What it all takes is printed.
#[test]
fn what_a_sampler_keeps_of_an_outage_comes_after_its_end_and_nothing_else_does() {
    let seconds = number("PODGATE_OUTAGE", 10).min(120);
    let folder = tempfile::tempdir().expect("a folder");
    let (ports, hop, admin) = (Ports::free(), free_port(), free_port());
    let sampler = "memory_limiter: {limit_mib: 48}, tail_sampling: {decision_wait: 1s, policies: [
        {name: tenth, type: probabilistic, probabilistic: {sampling_percentage: 10}}]}";
    let config = config(ports, hop, &folder.path().join("log"), (sampler, "memory_limiter, tail_sampling"))
        .replace("admin: {endpoint: '127.0.0.1:0'}", &format!("admin: {{endpoint: '127.0.0.1:{admin}'}}"))
        .replace("max_bytes: 1GiB", "max_bytes: 16GiB, compression: none");
    let mut gateway = Running::start(&config);
    gateway.wait_for("everything is ready");
    let load = Load { every: Duration::from_millis(20), pad: 2_000, splits: false };
    let producers: Vec<Producer> = (1..=4).map(|number| Producer::with(number, ports.http, load)).collect();
    let (began, mut most) = (Instant::now(), Most::default());
    while began.elapsed() < Duration::from_secs(seconds) {
        std::thread::sleep(Duration::from_millis(250));
        most.look(admin);
    }
    let acknowledged: Vec<Acknowledged> = producers.into_iter().flat_map(Producer::end).collect();
    // Decided by then, and told.
    std::thread::sleep(Duration::from_secs(4));
    let (sheet, storage) = (page(admin, "/v1/balance")["traces"].clone(), page(admin, "/v1/storage"));
    let spans: u64 = acknowledged.iter().map(|request| request.spans).sum();
    let kept = spans.saturating_sub(sheet["sampled_out"].as_u64().expect("a number"));
    let bytes = |spans: u64| spans * request(0, 50).len() as u64 / 50 + spans * load.pad as u64;
    let (came, waits, disk) = (bytes(spans), bytes(kept), storage[0]["bytes"].as_u64().expect("a number"));
    let records: u64 =
        storage[0]["unsettled"].as_array().into_iter().flatten().filter_map(|of| of["records"].as_u64()).sum();
    eprintln!(
        "one in ten kept, {seconds} s without the next hop: {} MiB came, {} MiB of them wait, {} MiB on disk at the end and {} MiB at \
         most, {} records unsettled; at most {} MiB of the budget",
        came >> 20,
        waits >> 20,
        disk >> 20,
        most.disk >> 20,
        records,
        most.budget >> 20,
    );
    // What waits stands there twice where it was parked; a segment was begun, and verdicts are there.
    assert!(disk <= came + waits + (128 << 20), "{disk} of {came}");
    let hop = Hop::at(hop);
    let until = Instant::now() + Duration::from_secs(60 + seconds);
    while page(admin, "/v1/storage")[0]["unsettled"] != serde_json::json!([]) {
        assert!(Instant::now() < until, "records are left: {}", page(admin, "/v1/storage"));
        std::thread::sleep(Duration::from_millis(100));
    }
    let came = hop.seen().len() as u64;
    assert_eq!(came, kept, "what was kept, and nothing else");
    gateway.signal("TERM");
    assert_eq!(gateway.end_within(Duration::from_secs(30)).0, Some(0));
}

/// How long spans take that are sent one after the other beside the backlog, the shortest first.
fn live_delays(http: u16, hop: &Hop) -> Vec<Duration> {
    let mut delays = Vec::new();
    for probe in 0..10 {
        // One of its own for each: a connection that waits for a slow one before it may be closed as idle.
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", http)).expect("it listens");
        let (sent, first) = (Instant::now(), 9 << 40 | probe);
        assert_eq!(post(&mut stream, &request(first, 1)), Some(200));
        while !ids(first, 1).all(|id| hop.seen().contains_key(&id)) {
            assert!(sent.elapsed() < LIVE_WITHIN, "live data waits for what is on disk");
            std::thread::sleep(Duration::from_millis(5));
        }
        delays.push(sent.elapsed());
    }
    delays.sort_unstable();
    delays
}

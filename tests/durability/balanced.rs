//! A balancer with a log on disk: what it acknowledged arrives whoever is a member by then, and a member that is away takes
//! disk and keeps nobody waiting.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use crate::hop::Hop;
use crate::kills::{End, judged};
use crate::process::{Running, free_port};
use crate::producer::{Acknowledged, Load, Producer};
use crate::{Ports, config};

/// A gateway whose `load_balancing` keeps a log, over members at these ports.
pub fn balanced(ports: Ports, members: &[u16], folder: &Path, processors: (&str, &str)) -> String {
    let members: Vec<String> = members.iter().map(|port| format!("'127.0.0.1:{port}'")).collect();
    let exporter = format!(
        "  load_balancing:
    retry_on_failure: {{initial_interval: 100ms, max_interval: 500ms}}
    sending_queue: {{storage: file_storage, queue_size: 100}}
    protocol: {{otlp: {{tls: {{insecure: true}}}}}}
    resolver: {{static: {{hostnames: [{}]}}}}
",
        members.join(", ")
    );
    let otlp = config(ports, 1, folder, processors);
    let (from, to) = (otlp.find("  otlp_grpc:").expect("an exporter"), otlp.find("extensions:\n").expect("a section"));
    otlp.replace(&otlp[from..to], &exporter).replace("exporters: [otlp_grpc]", "exporters: [load_balancing]")
}

/// How often each span came, to any of them.
pub fn seen(hops: &[Hop]) -> HashMap<u64, u32> {
    let mut all = HashMap::new();
    for (id, times) in hops.iter().flat_map(|hop| hop.seen().clone()) {
        *all.entry(id).or_default() += times;
    }
    all
}

fn until(what: &str, seconds: u64, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(seconds);
    while !holds() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_member_that_never_comes_keeps_nobody_waiting_and_its_part_goes_to_whoever_is_left_after_a_kill() {
    let (folder, ports, away) = (tempfile::tempdir().expect("a folder"), Ports::free(), free_port());
    let end = End::Balanced(vec![Hop::at(0), Hop::at(0)]);
    let End::Balanced(hops) = &end else { unreachable!("made so") };
    let log = folder.path().join("log");
    let memory = ("memory_limiter: {limit_mib: 48}", "memory_limiter");
    let with = |members: &[u16]| balanced(ports, members, &log, memory);
    let mut gateway = Running::start(&with(&[hops[0].port, away, hops[1].port]));
    gateway.wait_for("everything is ready");
    let load = Load { every: Duration::from_millis(10), pad: 2_000, splits: false };
    let producers: Vec<Producer> = (1..=2).map(|number| Producer::with(number, ports.http, load)).collect();
    // Several times what the memory holds.
    let begun = Instant::now();
    let mut halves = Vec::new();
    while begun.elapsed() < Duration::from_secs(8) {
        std::thread::sleep(Duration::from_secs(2));
        halves.push(seen(hops).len());
    }
    let acknowledged: Vec<Acknowledged> = producers.into_iter().flat_map(Producer::end).collect();
    let spans: u64 = acknowledged.iter().map(|request| request.spans).sum();
    let repeated = acknowledged.iter().filter(|request| request.sent > 1).count();
    assert_eq!(repeated, 0, "of {} requests; the disk has room", acknowledged.len());
    // A trace of three is the absent one's; live data of the others goes on to the last moment.
    until("two thirds arrive meanwhile", 20, || seen(hops).len() as u64 > spans / 2);
    assert!(halves.windows(2).all(|pair| pair[0] < pair[1]), "{halves:?} of {spans}");
    assert!((seen(hops).len() as u64) < spans, "somebody took what was the absent member's");
    drop(gateway);
    let mut gateway = Running::start(&with(&[hops[1].port, hops[0].port]));
    gateway.wait_for("everything is ready");
    until("the rest arrives", 60, || judged(&end.seen(), &acknowledged, None).missing == 0);
    gateway.signal("TERM");
    let (code, said) = gateway.end_within(Duration::from_secs(30));
    assert_eq!(code, Some(0), "{said}");
    let twice = seen(hops).values().filter(|times| **times > 1).count() as u64;
    eprintln!("a member away: {spans} spans acknowledged, {halves:?} of the others meanwhile, {twice} came twice");
    assert!(twice * 20 < spans, "{twice} of {spans}: only what was on its way when it was killed");
}

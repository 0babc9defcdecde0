//! Kinds about next hops and disks, without pods.

use std::time::Duration;

use fastrand::Rng;

use super::{any_way, bystanders, habits, honest, millis, moment, port, restless, seconds};
use crate::client::Habits;
use crate::disk::Health;
use crate::net::Way;
use crate::next_hop::Manner;
use crate::scenario::{Event, Exporter, Scenario};

fn exporter(rng: &mut Rng) -> Exporter {
    if rng.bool() { Exporter::Grpc } else { Exporter::Http }
}

fn retry(rng: &mut Rng) -> String {
    let interval = rng.u64(200..=2_000);
    format!("retry_on_failure: {{initial_interval: {interval}ms, max_interval: 5s, max_elapsed_time: 120s}}")
}

/// Any pipeline without a sampler before a next hop that says what it takes: everything arrives once.
pub fn plain(rng: &mut Rng) -> Scenario {
    let queue = rng.bool();
    let mut processors = bystanders(rng);
    let batch = rng.u8(0..3) == 0;
    if batch {
        processors.push(("batch".to_owned(), format!("{{timeout: {}ms}}", rng.u64(50..=2_000))));
    }
    let sending = if queue { retry(rng) } else { format!("sending_queue: {{enabled: false}}, {}", retry(rng)) };
    let mut scenario = Scenario {
        processors,
        exporter: exporter(rng),
        sending,
        stored: queue || batch,
        timeout: millis(rng, 2_000..=6_000),
        senders: (0..rng.usize(1..=4)).map(|_| habits(rng)).collect(),
        length: seconds(rng, 10..=40),
        ..Scenario::default()
    };
    restless(rng, &mut scenario, honest);
    scenario
}

/// B5: a stop while the next hop needs seconds for each request, but answers.
pub fn slow_drain(rng: &mut Rng) -> Scenario {
    let consumers = rng.u64(1..=4);
    let timeout = seconds(rng, 5..=10);
    let slow = millis(rng, 500..=timeout.as_millis() as u64 - 500);
    // All of it fits into the drain's deadline.
    let rounds = (18_000 / slow.as_millis() as u64).clamp(1, 6);
    Scenario {
        processors: bystanders(rng),
        exporter: exporter(rng),
        sending: format!("sending_queue: {{num_consumers: {consumers}}}, {}", retry(rng)),
        timeout,
        senders: vec![habits(rng)],
        length: Duration::from_secs(5),
        recovery: Duration::from_secs(20),
        before_drain: vec![Event::Hop(Manner::Slow(slow))],
        burst: usize::try_from(consumers * rng.u64(1..=rounds)).unwrap_or(1),
        ..Scenario::default()
    }
}

/// B7: without a queue the caller's deadline ends its call, whatever its transport.
pub fn abandoned(rng: &mut Rng) -> Scenario {
    let impatient = |rng: &mut Rng| Habits {
        deadline: millis(rng, 500..=2_000),
        repeats: seconds(rng, 5..=20),
        pause: millis(rng, 100..=1_000),
        ..habits(rng)
    };
    let mut scenario = Scenario {
        processors: bystanders(rng),
        exporter: exporter(rng),
        sending: format!("sending_queue: {{enabled: false}}, {}", retry(rng)),
        stored: false,
        senders: (0..rng.usize(1..=3)).map(|_| impatient(rng)).collect(),
        length: Duration::from_secs(25),
        ..Scenario::default()
    };
    let (when, down) = (millis(rng, 500..=5_000), port(scenario.exporter));
    let what = match rng.u8(0..3) {
        0 => Event::Hop(Manner::Refuses { after: None }),
        _ => Event::Way(down, Way::Refused),
    };
    scenario.at(when, what);
    let back = when + seconds(rng, 3..=10);
    scenario.at(back, Event::Way(down, Way::Open));
    scenario.at(back, Event::Hop(Manner::Answers));
    scenario
}

/// B8: a file exporter whose disk fails now and then.
pub fn file(rng: &mut Rng) -> Scenario {
    let rotation = "rotation: {max_megabytes: 1, max_backups: 100}";
    let flush = format!("flush_interval: {}ms", rng.u64(50..=1_000));
    let mut sender = Habits { batch: millis(rng, 20..=80), items: rng.usize(200..=600), ..habits(rng) };
    sender.repeats = Duration::from_secs(30);
    let mut scenario = Scenario {
        processors: bystanders(rng),
        exporter: Exporter::File,
        sending: format!("{rotation}, {flush}"),
        senders: vec![sender],
        length: seconds(rng, 2..=4),
        recovery: Duration::from_secs(10),
        ..Scenario::default()
    };
    for _ in 0..rng.usize(1..=3) {
        let when = moment(rng, &scenario);
        let what = if rng.bool() { Health::NoHandles } else { Health::Full(rng.u64(0..100_000)) };
        scenario.at(when, Event::Disk(what));
        let lasts = millis(rng, 50..=1_000);
        scenario.at(when + lasts, Event::Disk(Health::Well));
    }
    scenario
}

/// A next hop that is late, mute, lying, cut off or reset, behind anything: at least once, or named.
pub fn rough(rng: &mut Rng) -> Scenario {
    let mut scenario = plain(rng);
    restless(rng, &mut scenario, |rng| match rng.u8(0..6) {
        0 => Manner::Mute,
        1 => Manner::Slow(seconds(rng, 1..=8)),
        2 => Manner::Partial(rng.usize(1..=3)),
        3 => Manner::Lies,
        4 => Manner::Garbage,
        _ => Manner::Exhausted,
    });
    let port = port(scenario.exporter);
    for _ in 0..rng.usize(0..4) {
        let (when, way) = (moment(rng, &scenario), any_way(rng));
        scenario.at(when, Event::Way(port, way));
    }
    for _ in 0..rng.usize(0..4) {
        let when = moment(rng, &scenario);
        scenario.at(when, Event::Reset(port));
    }
    scenario
}

//! The kinds of simulation. To add one: a function that fills a [`Scenario`] from random numbers, and its line in [`KINDS`].
//!
//! A kind scripts what the world does; what must hold is the oracle's. Keep the script's faults such that the gateway can
//! know better: a rule that is broken by luck alone is no rule.

use std::time::Duration;

use fastrand::Rng;
use podgate::core::data::payload::Signal;

use crate::client::Habits;
use crate::net::Way;
use crate::next_hop::{Manner, NextHop};
use crate::scenario::{Event, Exporter, Scenario};

#[path = "kinds/elastic.rs"]
mod elastic;
#[path = "kinds/hops.rs"]
mod hops;
#[path = "kinds/pods.rs"]
mod pods;

pub struct Kind {
    pub name: &'static str,
    /// Laws that the gateway is known to break here; they are checked with `STRICT=1` only. Empty is the aim.
    pub open: &'static [&'static str],
    pub make: fn(&mut Rng) -> Scenario,
}

/// Each has seeds of its own, so that a recorded one keeps its meaning when others are added. Names are one word.
pub const KINDS: &[Kind] = &[
    Kind { name: "plain", open: &[], make: hops::plain },
    Kind { name: "slow_drain", open: &[], make: hops::slow_drain },
    Kind { name: "abandoned_calls", open: &[], make: hops::abandoned },
    Kind { name: "file", open: &[], make: hops::file },
    Kind { name: "rough_next_hop", open: &[], make: hops::rough },
    Kind { name: "restarts", open: &[], make: pods::restarts },
    Kind { name: "silent_api", open: &[], make: pods::silent_api },
    Kind { name: "rough_api", open: &[], make: pods::rough_api },
    Kind { name: "held_back", open: &[], make: pods::held_back },
    Kind { name: "stepped_clock", open: &[], make: pods::stepped_clock },
    Kind { name: "between", open: &[], make: pods::between },
    Kind { name: "blocked_elastic", open: &[], make: elastic::blocked },
    Kind { name: "twins", open: &[], make: elastic::twins },
    Kind { name: "lost_answers", open: &[], make: elastic::lost_answers },
];

pub fn seconds(rng: &mut Rng, range: std::ops::RangeInclusive<u64>) -> Duration {
    Duration::from_secs(rng.u64(range))
}

pub fn millis(rng: &mut Rng, range: std::ops::RangeInclusive<u64>) -> Duration {
    Duration::from_millis(rng.u64(range))
}

/// A moment within the first part of the script.
pub fn moment(rng: &mut Rng, scenario: &Scenario) -> Duration {
    scenario.length.mul_f64(rng.f64())
}

pub fn signal(rng: &mut Rng) -> Signal {
    [Signal::Traces, Signal::Metrics, Signal::Logs][rng.usize(0..3)]
}

/// Any sender.
pub fn habits(rng: &mut Rng) -> Habits {
    Habits {
        signal: signal(rng),
        grpc: rng.bool(),
        batch: millis(rng, 250..=8_000),
        items: rng.usize(1..=8),
        renews: rng.u8(0..4) == 0,
        deadline: millis(rng, 2_000..=10_000),
        repeats: if rng.bool() { seconds(rng, 5..=60) } else { Duration::ZERO },
        pause: millis(rng, 200..=5_000),
        ..Habits::default()
    }
}

/// Processors that change nothing an oracle looks at, in any order.
pub fn bystanders(rng: &mut Rng) -> Vec<(String, String)> {
    let all = [
        ("resource", "{attributes: [{key: deployment.environment.name, value: test, action: upsert}]}"),
        ("attributes", "{actions: [{key: team, value: shop, action: insert}]}"),
        ("filter", "{traces: {span: ['name == \"nothing\"']}, logs: {log_record: ['severity_text == \"nothing\"']}}"),
        ("transform", "{trace_statements: ['set(span.attributes[\"seen\"], \"yes\")']}"),
    ];
    let mut picked: Vec<(String, String)> =
        all.iter().filter(|_| rng.bool()).map(|(id, body)| ((*id).to_owned(), (*body).to_owned())).collect();
    rng.shuffle(&mut picked);
    picked
}

/// The exporter's port.
pub fn port(exporter: Exporter) -> u16 {
    match exporter {
        Exporter::Grpc => NextHop::GRPC,
        Exporter::Elastic => crate::elastic::PORT,
        _ => NextHop::HTTP,
    }
}

/// Manners of a next hop that takes nothing it does not acknowledge.
pub fn honest(rng: &mut Rng) -> Manner {
    match rng.u8(0..5) {
        0 => Manner::Refuses { after: Some(rng.u64(1..=4)) },
        1 => Manner::Refuses { after: None },
        2 => Manner::Slow(millis(rng, 10..=1_500)),
        _ => Manner::Answers,
    }
}

pub fn any_way(rng: &mut Rng) -> Way {
    [Way::Open, Way::Refused, Way::Silent][rng.usize(0..3)]
}

/// Changes how the next hop is, a few times.
pub fn restless(rng: &mut Rng, scenario: &mut Scenario, manner: fn(&mut Rng) -> Manner) {
    for _ in 0..rng.usize(0..6) {
        let (when, what) = (moment(rng, scenario), manner(rng));
        scenario.at(when, Event::Hop(what));
    }
}

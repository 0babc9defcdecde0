//! Kinds about Elasticsearch: blocked indices, busy shards, lost answers, equal records.

use std::time::Duration;

use fastrand::Rng;
use podgate::core::data::payload::Signal;

use super::{bystanders, habits, millis, moment, seconds};
use crate::client::Habits;
use crate::elastic::Verdicts;
use crate::scenario::{Event, Exporter, Scenario};

fn documents(rng: &mut Rng) -> Scenario {
    Scenario {
        processors: bystanders(rng),
        exporter: Exporter::Elastic,
        senders: (0..rng.usize(1..=3)).map(|_| habits(rng)).collect(),
        timeout: seconds(rng, 2..=6),
        length: seconds(rng, 10..=40),
        recovery: Duration::from_secs(120),
        ..Scenario::default()
    }
}

/// H4, H5: blocked for a while, busy, or away; with a queue or without.
pub fn blocked(rng: &mut Rng) -> Scenario {
    let mut scenario = documents(rng);
    if rng.u8(0..3) == 0 {
        scenario.sending = "sending_queue: {enabled: false}".to_owned();
        scenario.stored = false;
    }
    for _ in 0..rng.usize(1..=3) {
        let when = moment(rng, &scenario);
        let what = match rng.u8(0..4) {
            0 => Verdicts::Busy(rng.usize(2..=5)),
            1 => Verdicts::Unavailable,
            _ => Verdicts::Blocked,
        };
        scenario.at(when, Event::Elastic(what));
        let lasts = seconds(rng, 1..=15);
        scenario.at(when + lasts, Event::Elastic(Verdicts::Takes));
    }
    scenario
}

/// H6: log records of different requests that cannot be told apart.
pub fn twins(rng: &mut Rng) -> Scenario {
    let twin = Habits {
        signal: Signal::Logs,
        twin: Some("GET /healthz 200"),
        batch: millis(rng, 100..=400),
        repeats: Duration::ZERO,
        ..habits(rng)
    };
    Scenario { senders: vec![twin.clone(), twin], ..documents(rng) }
}

/// Answers are lost on the way; documents with ids of their own are there once all the same.
pub fn lost_answers(rng: &mut Rng) -> Scenario {
    let mut scenario = documents(rng);
    for _ in 0..rng.usize(1..=3) {
        let when = moment(rng, &scenario);
        scenario.at(when, Event::Elastic(Verdicts::LostAnswer));
        let lasts = seconds(rng, 1..=5);
        scenario.at(when + lasts, Event::Elastic(Verdicts::Takes));
    }
    scenario
}

//! From what the play knows to what the screen shows: the truth of the sandbox beside what the receiving end counted.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;

use crate::core::time::UnixNanos;
use crate::lab::api_double::TrueRun;
use crate::lab::demo::cast::Member;
use crate::lab::demo::end::{Arrived, DemoScore, RunTally, Slot};
use crate::lab::demo::marks::Given;
use crate::lab::demo::print;
use crate::lab::demo::screen::scene::{Amiss, DemoScene, Lane, LatestRestart, Pair, RunBar};
use crate::lab::demo::truth::Runs;

/// What the scene is made of.
pub struct SceneFacts<'a> {
    pub members: &'a [Member],
    pub truth: &'a [TrueRun],
    pub runs: &'a Runs,
    pub seen: &'a Arrived,
    /// The sampler's page, `/v1/sampling`.
    pub sampling: &'a Value,
    pub figures: Figures,
    /// The latest restart: place of the member, and the run that began.
    pub restart: Option<(usize, &'a TrueRun)>,
    pub since_start: Duration,
    pub now: UnixNanos,
    pub endpoint: &'a str,
    pub ending: bool,
}

/// What is measured now and then.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub spans_per_second: f64,
    pub cpu_share: f64,
    pub rss_bytes: u64,
}

pub fn scene(facts: &SceneFacts<'_>) -> DemoScene {
    let numbers: HashMap<u32, &TrueRun> = facts.truth.iter().map(|run| (facts.runs.number(&run.id), run)).collect();
    let traces = print::traces(facts.sampling);
    let policies = traces["by_policy"].as_object().into_iter().flatten();
    let guests = facts.seen.guests.iter().map(|(name, guest)| print::guest_text(name, guest)).collect::<Vec<_>>();
    DemoScene {
        since_start: facts.since_start,
        now: facts.now,
        lanes: facts.members.iter().map(|member| lane(member, facts, &numbers)).collect(),
        restart: facts.restart.map(|(lane, run)| LatestRestart { lane, truth: run.number, at: run.started }),
        pair: pair(facts.seen, &numbers),
        podgate: facts.seen.podgate,
        hint: facts.seen.collector,
        spans_per_second: facts.figures.spans_per_second,
        cpu_share: facts.figures.cpu_share,
        rss_bytes: facts.figures.rss_bytes,
        kept: traces["kept"].as_u64().unwrap_or(0),
        dropped: traces["dropped"].as_u64().unwrap_or(0),
        by_policy: policies.map(|(name, count)| (name.clone(), count.as_u64().unwrap_or(0))).collect(),
        endpoint: facts.endpoint.to_owned(),
        guests: (!guests.is_empty()).then(|| guests.join(", ")),
        ending: facts.ending,
    }
}

fn lane(member: &Member, facts: &SceneFacts<'_>, numbers: &HashMap<u32, &TrueRun>) -> Lane {
    let of_member = |run: &TrueRun| run.pod_uid == member.pod.uid && run.container == member.container;
    let runs = facts.truth.iter().filter(|run| of_member(run)).map(|run| RunBar {
        number: run.number,
        started: run.started,
        ended: run.ended,
    });
    let mut lane = Lane {
        service: member.service.to_owned(),
        pod: member.pod.name.clone(),
        runs: runs.collect(),
        ..Lane::default()
    };
    for (number, tally) in &facts.seen.by_run {
        if let Some(run) = numbers.get(number).filter(|run| of_member(run)) {
            add(&mut lane, run, tally, numbers);
        }
    }
    lane
}

fn add(lane: &mut Lane, run: &TrueRun, tally: &RunTally, numbers: &HashMap<u32, &TrueRun>) {
    for (sum, score) in [(&mut lane.podgate, tally.podgate), (&mut lane.hint, tally.collector)] {
        sum.right += score.right;
        sum.wrong += score.wrong;
        sum.missing += score.missing;
    }
    for (slot, seen) in &tally.slots {
        let mark = lane.marks.0.entry(*slot).or_default();
        // Which wrong run podgate would have named is not kept: there is none.
        mark.podgate = mark.podgate.max(given(&seen.podgate, run.number, -1));
        mark.hint = mark.hint.max(given(&seen.collector, run.number, named(seen, numbers)));
    }
}

fn named(slot: &Slot, numbers: &HashMap<u32, &TrueRun>) -> i64 {
    numbers.get(&slot.named).map_or(-1, |run| run.number)
}

fn given(score: &DemoScore, right: i64, wrong: i64) -> Given {
    match score {
        DemoScore { wrong: 1.., .. } => Given::Wrong(wrong),
        DemoScore { right: 1.., .. } => Given::Right(right),
        DemoScore { missing: 1.., .. } => Given::Missing,
        _ => Given::Nothing,
    }
}

/// The latest span that the hint gets wrong and podgate right, with what is wrong with the run that the hint names.
fn pair(seen: &Arrived, numbers: &HashMap<u32, &TrueRun>) -> Option<Pair> {
    let contrast = seen.contrast.as_ref()?;
    let (truth, named) = (numbers.get(&contrast.stamp.run)?, numbers.get(&contrast.stamp.named)?);
    let why = match named.ended {
        Some(ended) if ended <= contrast.at => Amiss::DeadFor(contrast.at.since(ended)),
        _ => Amiss::BornLater(named.started.since(contrast.at)),
    };
    Some(Pair { service: contrast.service.clone(), podgate: truth.id.clone(), hint: named.id.clone(), why })
}

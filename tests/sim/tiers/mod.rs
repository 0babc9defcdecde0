//! Two tiers: fifty agents with `load_balancing`, five to nine gateways behind a name, faults by a seed (issue 20).
//!
//! The agents are the product's own exporters, each in a world of its own with one clock and one network. A gateway is a
//! server that takes spans and knows of each by which answer its agent heard. `book` holds what happened and the laws.

pub mod agents;
pub mod book;
pub mod fleet;
pub mod kinds;

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use tokio::time::{Instant, sleep, sleep_until};

use crate::clock::Clock;
use crate::tiers::agents::Agents;
use crate::tiers::book::{Book, Course};
use crate::tiers::fleet::Fleet;
use crate::tiers::kinds::TierKind;

/// Spans are made for so long; what was queued then has the longest retry interval and more to arrive.
const MADE_FOR: Duration = Duration::from_secs(60);
const QUIET_MAX: Duration = Duration::from_secs(150);
const DRAIN: Duration = Duration::from_secs(5);

/// Plays a seed of a kind; what came of it, and every law that it broke.
pub fn play(kind: &TierKind, seed: u64) -> (Course, Vec<String>) {
    fastrand::seed(seed);
    let mut rng = Rng::with_seed(seed);
    crate::run::paused(async {
        let _wall = Clock::start().stand_in();
        let book = Book::default();
        let mut fleet = Fleet::new(&book, (kind.gateways)(&mut rng));
        let mut script = (kind.script)(&mut rng, fleet.published());
        script.sort_by_key(|(when, _)| *when);
        let mut agents = Agents::start(&book, &fleet, &mut rng).await;
        let begun = Instant::now();
        for (when, event) in &script {
            sleep_until(begun + *when).await;
            fleet.happen(*event);
        }
        sleep_until(begun + MADE_FOR).await;
        fleet.mend();
        let mut faults = Vec::new();
        let quiet_by = Instant::now() + QUIET_MAX;
        while !agents.are_quiet() && Instant::now() < quiet_by {
            sleep(Duration::from_secs(1)).await;
        }
        if !agents.are_quiet() {
            faults.push(format!("trapped: {} spans are held {QUIET_MAX:?} after everything was mended", agents.held()));
        }
        let sheets = agents.drain(DRAIN).await;
        let course = book.judge(&sheets, &mut faults);
        (course, faults)
    })
}

/// Plays seeds of every kind and prints what came of them as the table of docs/scale.md; all broken laws.
pub fn table(seeds: std::ops::Range<u64>) -> Vec<String> {
    let (mut rows, mut broken) = (BTreeMap::new(), Vec::new());
    for kind in kinds::KINDS {
        for seed in seeds.clone() {
            let (course, faults) = play(kind, seed);
            println!("{} {seed}: {course:?}", kind.name);
            broken.extend(faults.into_iter().map(|fault| format!("{} {seed}: {fault}", kind.name)));
            rows.entry(kind.name).or_insert_with(Course::default).add(&course);
        }
    }
    println!("{}", Course::HEAD);
    for kind in kinds::KINDS {
        println!("{}", rows[kind.name].row(kind.name));
    }
    broken
}

//! APM Server well and in every recorded failure, while containers restart: container.id in what arrives is the truth, nothing
//! that podgate acknowledged is lost on its side, or it is named in the last line of its log.

use std::time::Duration;

use tokio::time::sleep;

use crate::apm_server::habits::{Conduct, Habits};
use crate::apm_server::seen::Signal;
use crate::restarts::play;
use crate::world::{Score, World};

/// The next attempt comes soon, so that the test does.
const HASTE: [&str; 2] = ["exporters.otlp.retry_on_failure.initial_interval=500ms", "exporters.otlp.timeout=1s"];

/// What came of one failure.
struct Outcome {
    score: Score,
    log: String,
    /// Items of each kind that the last line of the log names as dropped, by what was not configured.
    named: u64,
}

/// The containers restart while it fails for some seconds, at least until podgate has `said` so and something was sent;
/// then it is well again.
async fn during(seed: u64, habits: Habits, said: &str) -> Outcome {
    let mut world = World::new(seed, &HASTE).await;
    let well = Habits { conduct: Conduct::Well, ..habits.clone() };
    let is_away = habits.conduct == Conduct::Away;
    world.apm.behave(habits);
    tokio::join!(play(&world), async {
        sleep(Duration::from_secs(4)).await;
        // Where nobody listens nothing is answered.
        let answered = || is_away || !world.apm.answers().is_empty();
        world.until(said, |log| log.contains(said) && answered()).await;
        world.apm.behave(well);
    });
    let (_, log) = world.end();
    let balance = log.lines().rfind(|line| line.contains("balance:")).unwrap_or_default();
    let named = numbers(balance, "dropped(permanent) ").sum();
    Outcome { score: world.score(), log, named }
}

fn conduct(conduct: Conduct) -> Habits {
    Habits { conduct, ..Habits::default() }
}

/// The numbers behind each of these words.
fn numbers<'a>(line: &'a str, words: &'a str) -> impl Iterator<Item = u64> + 'a {
    line.split(words).skip(1).filter_map(|rest| {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn in_every_recorded_failure_containers_are_right_and_what_was_acknowledged_arrives_or_is_named() {
    let stranger = Habits { credentials: vec!["Bearer s3cret".to_owned()], anonymous: true, ..Habits::default() };
    // The last column is what the log says of it.
    let cases = [
        ("well", conduct(Conduct::Well), "everything is ready"),
        ("overloaded", conduct(Conduct::Failing), "code=UNKNOWN"),
        ("rate limit", conduct(Conduct::Limited), "code=RESOURCE_EXHAUSTED"),
        ("silent", conduct(Conduct::Hanging), "code=timeout"),
        ("restarting", conduct(Conduct::Away), "code=\"connection refused\""),
        ("Elasticsearch away", conduct(Conduct::Outage), "everything is ready"),
        ("no credentials", stranger, "APM Server wants an API key or its secret token and none is configured"),
    ];
    let played = cases.iter().zip(31..).map(|((_, habits, said), seed)| during(seed, habits.clone(), said));
    let outcomes = futures_util::future::join_all(played).await;
    for ((name, _, said), Outcome { score, log, named }) in cases.iter().zip(&outcomes) {
        assert_eq!(score.sum(|tally| tally.wrong), 0, "{name}: {score:?}\n{log}");
        assert!(log.contains(said), "{name}: {said}\n{log}");
        let gone = score.sum(|tally| tally.not_arrived);
        if *name == "no credentials" {
            // The balance names what was never acknowledged to its application too.
            assert!(gone > 0 && *named >= gone, "{name}: {gone} of {named} {score:?}\n{log}");
            continue;
        }
        assert_eq!((gone, *named), (0, 0), "{name}: {score:?}\n{log}");
        for signal in [Signal::Traces, Signal::Metrics, Signal::Logs] {
            let tally = score.0[&signal];
            assert!(tally.right >= 4, "{name}: at least one of each pod, on however busy a machine: {score:?}\n{log}");
        }
        let lost_there = score.sum(|tally| tally.lost_there);
        assert_eq!(lost_there > 0, *name == "Elasticsearch away", "{name}: {score:?}");
    }
}

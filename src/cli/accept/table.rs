//! The result as a person reads it, and as one JSON object. Pure.

use serde_json::{Value, json};

use crate::cli::accept::score::AcceptReport;
use crate::cli::ask::table;

/// Digits of an id that are shown.
const SHOWN: usize = 12;

pub fn text(report: &AcceptReport) -> Vec<String> {
    let heads = ["", "right", "wrong", "missing", "unknown", "lost"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for (signal, score) in &report.signals {
        let numbers = [score.right, score.wrong, score.missing, score.unknown, score.lost];
        rows.push([signal.name().to_owned()].into_iter().chain(numbers.iter().map(u64::to_string)).collect());
    }
    let mut lines = table(&rows, true);
    lines.push(format!("{} runs of {} pods, {} of them after a restart", report.runs, report.pods, report.restarted));
    if report.given_up > 0 {
        lines.push(format!("{} items were given up by their senders, whom nobody answered in time", report.given_up));
    }
    for wrong in &report.wrong {
        let (given, truth) = (front(&wrong.given), front(&wrong.truth));
        lines.push(format!(
            "wrong: {} {} of run {} of {} came as {given} where {truth} made them",
            wrong.items, wrong.signal, wrong.restart, wrong.pod
        ));
    }
    let faults = report.faults();
    match faults.is_empty() {
        true => lines.push("passed: nothing is wrong, and everything that was accepted has arrived".to_owned()),
        false => lines.extend(faults.iter().map(|fault| format!("NOT passed: {fault}"))),
    }
    lines
}

pub fn json(report: &AcceptReport) -> Value {
    let faults = report.faults();
    let signals: serde_json::Map<String, Value> =
        report.signals.iter().map(|(signal, score)| (signal.name().to_owned(), json!(score))).collect();
    json!({
        "passed": faults.is_empty(),
        "faults": faults,
        "signals": signals,
        "runs": report.runs,
        "runs_after_a_restart": report.restarted,
        "pods": report.pods,
        "given_up": report.given_up,
        "wrong": report.wrong,
    })
}

/// What came instead of a result.
pub fn failed(why: &str) -> Value {
    json!({"passed": false, "faults": [why]})
}

fn front(id: &str) -> String {
    id.chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::cli::accept::note::SignalCounts;
    use crate::cli::accept::score::{Truth, score};
    use crate::cli::accept::tally::ArrivalTally;
    use crate::core::data::payload::Signal;

    fn report(given: &str) -> AcceptReport {
        let id = "9b27".repeat(16);
        let accepted = SignalCounts { traces: 40, metrics: 8, logs: 1200 };
        let (pod, restart) = ("crashing-x2x4z".to_owned(), 1);
        let truth = Truth { id: Some(id.clone()), pod, restart, accepted, given_up: SignalCounts::default() };
        let mut tally = ArrivalTally::default();
        tally.add("n", Signal::Traces, given, 40);
        tally.add("n", Signal::Metrics, &id, 8);
        tally.add("n", Signal::Logs, &id, 1_195);
        tally.add("n", Signal::Logs, "", 5);
        score(&tally, &BTreeMap::from([("n".to_owned(), truth)]))
    }

    #[test]
    fn a_table_has_a_row_for_each_signal_and_ends_with_the_verdict() {
        assert_eq!(
            text(&report(&"9b27".repeat(16))),
            [
                "         right  wrong  missing  unknown  lost",
                "traces      40      0        0        0     0",
                "metrics      8      0        0        0     0",
                "logs      1195      0        5        0     0",
                "1 runs of 1 pods, 1 of them after a restart",
                "passed: nothing is wrong, and everything that was accepted has arrived",
            ]
        );
        assert_eq!(json(&report(&"9b27".repeat(16)))["passed"], true);
    }

    #[test]
    fn a_wrong_id_is_shown_beside_the_true_one_and_the_verdict_says_so() {
        let report = report(&"4f1c".repeat(16));
        let lines = text(&report).join("\n");
        assert!(
            lines.contains(
                "wrong: 40 traces of run 1 of crashing-x2x4z came as 4f1c4f1c4f1c where 9b279b279b27 made them"
            ),
            "{lines}"
        );
        assert!(lines.ends_with("NOT passed: traces: 40 items have the container.id of another run"), "{lines}");
        let json = json(&report);
        assert_eq!((&json["passed"], &json["signals"]["traces"]["wrong"]), (&json!(false), &json!(40)));
    }
}

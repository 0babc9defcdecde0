//! The comparison: what arrived, against which container each run really was. Pure.

use std::collections::BTreeMap;

use crate::cli::accept::note::{SIGNALS, SignalCounts};
use crate::cli::accept::tally::ArrivalTally;
use crate::core::data::payload::Signal;

/// Wrong kinds that are shown; the rest is counted.
const EXAMPLES_MAX: usize = 5;

/// One run of a sender's container, as the kubelet told its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Truth {
    /// Bare container id; `None` when two witnesses name different ones.
    pub id: Option<String>,
    pub pod: String,
    /// How many runs the container had before.
    pub restart: u64,
    pub accepted: SignalCounts,
    pub given_up: SignalCounts,
}

/// Items of one signal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct SignalScore {
    pub right: u64,
    /// With the id of another container, or of another run.
    pub wrong: u64,
    /// Without container.id.
    pub missing: u64,
    /// Of runs whose container nobody told: neither right nor wrong can be said.
    pub unknown: u64,
    /// Answered with success, and not arrived.
    pub lost: u64,
}

/// Items that were given another container's id.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Wrong {
    pub signal: &'static str,
    pub pod: String,
    pub restart: u64,
    pub given: String,
    pub truth: String,
    pub items: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcceptReport {
    pub signals: BTreeMap<Signal, SignalScore>,
    /// Runs whose truth is known, and how many of them came after a restart.
    pub runs: u64,
    pub restarted: u64,
    pub pods: u64,
    /// Runs of which two witnesses disagree.
    pub disputed: u64,
    pub wrong: Vec<Wrong>,
    pub given_up: u64,
    pub beyond: u64,
}

/// `truths` by nonce.
pub fn score(tally: &ArrivalTally, truths: &BTreeMap<String, Truth>) -> AcceptReport {
    let mut report = AcceptReport {
        signals: SIGNALS.map(|signal| (signal, SignalScore::default())).into(),
        runs: truths.values().filter(|truth| truth.id.is_some()).count() as u64,
        restarted: truths.values().filter(|truth| truth.id.is_some() && truth.restart > 0).count() as u64,
        disputed: truths.values().filter(|truth| truth.id.is_none()).count() as u64,
        beyond: tally.beyond,
        ..AcceptReport::default()
    };
    let mut pods: Vec<&str> = truths.values().map(|truth| truth.pod.as_str()).collect();
    pods.sort_unstable();
    pods.dedup();
    report.pods = pods.len() as u64;
    let mut arrived: BTreeMap<&str, SignalCounts> = BTreeMap::new();
    for (nonce, signal, given, items) in tally.entries() {
        arrived.entry(nonce).or_default().add(signal, items);
        let truth = truths.get(nonce);
        let score = report.signals.entry(signal).or_default();
        match (given, truth.and_then(|truth| truth.id.as_deref())) {
            ("", _) => score.missing += items,
            (_, None) => score.unknown += items,
            (given, Some(id)) if given == id => score.right += items,
            (given, Some(id)) => {
                score.wrong += items;
                if report.wrong.len() < EXAMPLES_MAX {
                    let (pod, restart) = truth.map_or(("", 0), |truth| (truth.pod.as_str(), truth.restart));
                    report.wrong.push(Wrong {
                        signal: signal.name(),
                        pod: pod.to_owned(),
                        restart,
                        given: given.to_owned(),
                        truth: id.to_owned(),
                        items,
                    });
                }
            }
        }
    }
    for (nonce, truth) in truths {
        let came = arrived.get(nonce.as_str()).copied().unwrap_or_default();
        for signal in SIGNALS {
            // What arrived twice, because an answer was lost on its way, is no loss.
            let lost = truth.accepted.of(signal).saturating_sub(came.of(signal));
            report.signals.entry(signal).or_default().lost += lost;
            report.given_up += truth.given_up.of(signal);
        }
    }
    report
}

impl AcceptReport {
    /// Everything that was answered with success has arrived.
    pub fn is_complete(&self) -> bool {
        self.signals.values().all(|score| score.lost == 0)
    }

    /// Why this is no proof, a sentence each; empty when it is one.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (signal, score) in &self.signals {
            let name = signal.name();
            if score.wrong > 0 {
                faults.push(format!("{name}: {} items have the container.id of another run", score.wrong));
            }
            if score.lost > 0 {
                faults.push(format!("{name}: {} items were answered with success and did not arrive", score.lost));
            }
            if score.right == 0 && score.wrong == 0 {
                faults.push(format!(
                    "{name}: no item came with a container.id whose truth is known, so nothing is proved"
                ));
            }
        }
        if self.restarted == 0 {
            faults.push(
                "no container restarted, so nothing is proved about restarts; give a longer --duration".to_owned(),
            );
        }
        if self.disputed > 0 {
            faults.push(format!(
                "of {} runs the pod's status and the process's own cgroup name different containers",
                self.disputed
            ));
        }
        if self.beyond > 0 {
            faults.push(format!("{} items are of more kinds than the sink tells apart", self.beyond));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truths() -> BTreeMap<String, Truth> {
        let run = |id: &str, restart, accepted| Truth {
            id: (!id.is_empty()).then(|| id.to_owned()),
            pod: "crashing-1".to_owned(),
            restart,
            accepted: SignalCounts { traces: accepted, metrics: accepted, logs: accepted },
            given_up: SignalCounts::default(),
        };
        [("n0", run("dead", 0, 5)), ("n1", run("alive", 1, 5)), ("n2", run("", 2, 0))]
            .map(|(nonce, truth)| (nonce.to_owned(), truth))
            .into()
    }

    fn tally(entries: &[(&str, Signal, &str, u64)]) -> ArrivalTally {
        let mut tally = ArrivalTally::default();
        entries.iter().for_each(|(nonce, signal, id, items)| tally.add(nonce, *signal, id, *items));
        tally
    }

    /// Everything as it should be.
    fn sound() -> Vec<(&'static str, Signal, &'static str, u64)> {
        SIGNALS.iter().flat_map(|signal| [("n0", *signal, "dead", 5), ("n1", *signal, "alive", 5)]).collect()
    }

    #[test]
    fn items_with_the_id_of_their_own_run_are_right_and_the_report_has_no_fault() {
        let mut truths = truths();
        truths.remove("n2");
        let report = score(&tally(&sound()), &truths);
        assert!(
            report.signals.values().all(|score| *score == SignalScore { right: 10, ..SignalScore::default() }),
            "{report:?}"
        );
        assert_eq!((report.runs, report.restarted, report.pods), (2, 1, 1));
        assert!(report.is_complete() && report.faults().is_empty(), "{:?}", report.faults());
    }

    #[test]
    fn the_id_of_the_run_before_or_of_nobody_is_wrong_and_a_fault() {
        for given in ["dead", "4f1c", "alive-and-more"] {
            let mut entries = sound();
            entries[1] = ("n1", Signal::Traces, given, 5);
            let report = score(&tally(&entries), &truths());
            let traces = report.signals[&Signal::Traces];
            assert_eq!((traces.right, traces.wrong), (5, 5), "{given}");
            assert_eq!(report.signals[&Signal::Logs].wrong, 0, "each signal by itself");
            assert_eq!((report.wrong[0].given.as_str(), report.wrong[0].truth.as_str()), (given, "alive"));
            assert!(
                report.faults().iter().any(|fault| fault.starts_with("traces: 5 items have")),
                "{:?}",
                report.faults()
            );
        }
    }

    #[test]
    fn what_has_no_id_is_missing_and_what_has_no_truth_is_unknown_and_neither_is_guessed() {
        let mut entries = sound();
        entries.push(("n1", Signal::Logs, "", 3));
        entries.push(("never-seen", Signal::Logs, "alive", 2));
        entries.push(("n2", Signal::Logs, "alive", 1));
        entries.push(("never-seen", Signal::Logs, "", 4));
        let report = score(&tally(&entries), &truths());
        let logs = report.signals[&Signal::Logs];
        assert_eq!(logs, SignalScore { right: 10, missing: 7, unknown: 3, ..SignalScore::default() });
        assert_eq!(report.disputed, 1, "two witnesses that disagree are none");
    }

    #[test]
    fn what_was_accepted_and_did_not_come_is_lost_and_what_came_twice_is_not() {
        let mut entries = sound();
        entries[0].3 = 2;
        entries[1].3 = 9;
        let report = score(&tally(&entries), &truths());
        assert_eq!(report.signals[&Signal::Traces].lost, 3);
        assert!(!report.is_complete() && report.faults().iter().any(|fault| fault.contains("3 items were answered")));
    }

    #[test]
    fn nothing_proved_is_a_fault() {
        let faults = score(&ArrivalTally::default(), &BTreeMap::new()).faults();
        assert_eq!(faults.len(), 4, "three signals and the restarts: {faults:?}");
        let mut one_run = truths();
        one_run.retain(|nonce, _| nonce == "n0");
        let entries: Vec<_> = SIGNALS.iter().map(|signal| ("n0", *signal, "dead", 5)).collect();
        let faults = score(&tally(&entries), &one_run).faults();
        assert!(faults.len() == 1 && faults[0].contains("no container restarted"), "{faults:?}");
    }
}

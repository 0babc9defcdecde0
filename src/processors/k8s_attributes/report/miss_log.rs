//! One log line now and then about a resource whose pod or run is not found: which rules were tried, with what values.
//!
//! All misses are counted; a line is a sample, so that neither a flood of them nor a single one goes unexplained.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::core::time::UnixNanos;
use crate::kube::ledger::Absence;
use crate::kube::table::PodEntry;
use crate::processors::k8s_attributes::association::{Attempt, Tried};

/// At most one line of each kind in this time.
const SPACING_NANOS: u64 = 10_000_000_000;
/// Characters of a sender's text that are shown.
const SHOWN_MAX: usize = 80;

/// When the last lines were written.
#[derive(Debug, Default)]
pub struct MissLog {
    pod: AtomicU64,
    run: AtomicU64,
}

fn is_due(last: &AtomicU64, now: UnixNanos) -> bool {
    let before = last.load(Ordering::Relaxed);
    // A clock that was set back must not silence the log until it has caught up.
    (now.0 < before || now.0 - before >= SPACING_NANOS)
        && last.compare_exchange(before, now.0, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}

impl MissLog {
    /// No rule found a pod. `attempts` is asked for the line only.
    pub fn pod(&self, service: &str, now: UnixNanos, attempts: impl FnOnce() -> Vec<Attempt>) {
        if is_due(&self.pod, now) {
            let tried: Vec<String> = attempts().iter().map(told).collect();
            tracing::info!(
                service = %shown(service),
                rules = %tried.join("; "),
                "no pod found for a resource; further cases are only counted for a while"
            );
        }
    }

    /// The pod is known, and no container id could be given.
    pub fn run(&self, entry: &PodEntry, claimed: Option<&str>, absence: Absence, now: UnixNanos) {
        if !is_due(&self.run, now) {
            return;
        }
        let pod = &entry.pod;
        let names: Vec<&str> = pod.containers.iter().map(|container| &*container.name).take(16).collect();
        tracing::info!(
            pod = %format_args!("{}/{}", pod.namespace, pod.name),
            uid = %pod.uid,
            container = %shown(claimed.unwrap_or("")),
            reason = absence.name(),
            candidates = %names.join(","),
            "no container.id for a resource; `podgate explain resource --uid` tells more"
        );
    }
}

/// `k8s.pod.uid="x": value, but no pod`.
fn told(attempt: &Attempt) -> String {
    let values = attempt.values.iter().map(|(name, value)| match value {
        Some(value) => format!("{name}={:?}", shown(value)),
        None => name.clone(),
    });
    format!("{}: {}", values.collect::<Vec<_>>().join("+"), attempt.tried.outcome())
}

/// Bounded and on one line.
fn shown(text: &str) -> String {
    text.chars().take(SHOWN_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl Tried {
    /// In words, for logs and explain.
    pub fn outcome(self) -> &'static str {
        match self {
            Tried::Absent => "no value",
            Tried::Miss => "value, but no pod",
            Tried::Refused => "an address of a node or proxy: nobody's",
            Tried::Hit => "pod found",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_rules_and_values_on_one_line() {
        let attempt = |value: Option<&str>, tried| Attempt {
            rule: 0,
            values: vec![("k8s.pod.uid".to_owned(), value.map(str::to_owned))],
            tried,
        };
        assert_eq!(told(&attempt(None, Tried::Absent)), "k8s.pod.uid: no value");
        let long = format!("a\n{}", "b".repeat(500));
        let line = told(&attempt(Some(&long), Tried::Miss));
        assert!(line.starts_with("k8s.pod.uid=\"a b") && line.ends_with("no pod") && line.len() < 130, "{line}");
    }

    #[test]
    fn lines_come_at_most_every_ten_seconds() {
        let misses = MissLog::default();
        let mut lines = 0;
        for tenth in 0..=300u64 {
            let now = UnixNanos(1_000_000_000_000 + tenth * 100_000_000);
            misses.pod("s", now, || {
                lines += 1;
                Vec::new()
            });
        }
        assert_eq!(lines, 4, "at 0, 10, 20 and 30 seconds");
    }
}

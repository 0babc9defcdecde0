//! The same schedules with the node's log folder beside late, lost and cut off statuses.

use super::*;
use crate::kube::node_logs::{ContainerLogs, LogChange, LoggedRun};

/// From a change of the folder to the table.
pub(super) const LAG: u64 = 30 * MILLI;

/// What a kubelet shows of these lives, and when: the log before each start, the link after it, links of two runs at most.
pub(super) fn changes(lives: &[Life], rng: &mut Rng) -> Vec<(u64, LogChange)> {
    let mut shown: Vec<LoggedRun> = Vec::new();
    let mut changes = Vec::new();
    for (number, life) in lives.iter().enumerate() {
        let (from, to) = (life.start - rng.u64(20 * MILLI..60 * MILLI), life.start + rng.u64(MILLI..20 * MILLI));
        changes.push((from + rng.u64(0..LAG), change(&shown, false)));
        let number = i64::try_from(number).expect("small");
        shown.push(LoggedRun { number, id: life.id.as_str().into(), from: UnixNanos(from), to: UnixNanos(to) });
        shown.drain(..shown.len().saturating_sub(2));
        changes.push((to + rng.u64(0..LAG), change(&shown, true)));
    }
    changes
}

fn change(runs: &[LoggedRun], complete: bool) -> LogChange {
    let logs = ContainerLogs { runs: runs.to_vec(), complete };
    LogChange { pod: UID.into(), container: "app".into(), logs: Some(logs) }
}

#[test]
fn no_answer_is_wrong_and_few_are_missing_where_the_node_tells_of_its_runs() {
    check(Rules { logged: true, ..PLAIN }, 80);
}

#[test]
fn the_nodes_word_stands_for_statuses_that_take_a_minute() {
    check(Rules { logged: true, delay_max: 60 * SECOND, spacing_min: 1_200 * MILLI, ..PLAIN }, 70);
}

#[test]
fn the_nodes_word_stands_for_a_watch_that_is_cut_off() {
    check(Rules { logged: true, outages: true, ..PLAIN }, 70);
}

#[test]
fn the_nodes_word_tells_of_runs_of_which_no_status_ever_tells_the_end() {
    check(Rules { logged: true, restarts_all: true, ..PLAIN }, 70);
}

#[test]
fn no_answer_is_wrong_when_all_containers_of_the_pod_are_removed_and_begin_anew() {
    check(Rules { restarts_all: true, ..PLAIN }, 40);
}

//! `podgate sampling`: what a running gateway's samplers kept and dropped, and what they hold.

mod advice;
pub mod policies;

use serde_json::Value;

use crate::cli::Exit;
use crate::cli::ask::admin::AdminArgs;
use crate::cli::ask::{entries, mebibytes, show, table, text};

pub fn run(args: &AdminArgs) -> Exit {
    show(args, "/v1/sampling", told, |_| Exit::Ok)
}

fn told(page: &Value) -> Vec<String> {
    page["samplers"].as_array().into_iter().flatten().flat_map(of_sampler).collect()
}

fn of_sampler(sampler: &Value) -> Vec<String> {
    let (traces, held) = (&sampler["traces"], &sampler["held"]);
    let count = |of: &Value| of.as_u64().unwrap_or(0);
    let dropped = count(&traces["not_sampled"]) + count(&traces["dropped"]);
    let mut lines = vec![
        format!("{} in {}:", text(&sampler["processor"]), text(&sampler["pipeline"])),
        format!(
            "  traces: {} seen, {} kept, {dropped} dropped; {} held now ({:.1} of {:.1} MiB)",
            count(&traces["new"]),
            count(&traces["sampled"]),
            count(&held["traces"]),
            mebibytes(&held["bytes"]),
            mebibytes(&held["max_bytes"]),
        ),
    ];
    let mut rows = vec![Vec::from(["  votes", "keep", "do not", "drop"].map(str::to_owned))];
    for policy in sampler["policies"].as_array().into_iter().flatten() {
        let mut row = vec![format!("  policy {}", text(&policy["name"]))];
        row.extend(["sampled", "not_sampled", "dropped"].map(|vote| count(&policy[vote]).to_string()));
        rows.push(row);
    }
    lines.extend(table(&rows, true));
    let (fragments, late) = (&sampler["fragments"], &sampler["late"]);
    lines.push(format!(
        "  decided without a root {}, with a parent that never came {}; late spans kept {}, dropped {}",
        count(&fragments["no_root"]),
        count(&fragments["orphan_parent"]),
        count(&late["kept"]),
        count(&late["dropped"]),
    ));
    let early: Vec<String> = entries(&sampler["early"])
        .filter(|(_, decisions)| count(decisions) > 0)
        .map(|(why, decisions)| format!("{why} {decisions}"))
        .collect();
    if !early.is_empty() {
        lines.push(format!("  decided early: {}", early.join(", ")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_sampler_is_told_by_its_counts_and_its_policies_votes() {
        let page = json!({"samplers": [{
            "processor": "tail_sampling", "pipeline": "traces",
            "traces": {"new": 12, "sampled": 4, "not_sampled": 5, "dropped": 1},
            "held": {"traces": 2, "bytes": 1 << 20, "max_bytes": 64 << 20},
            "policies": [{"name": "failed", "sampled": 3, "not_sampled": 7, "dropped": 0}],
            "fragments": {"no_root": 1, "orphan_parent": 0}, "late": {"kept": 0, "dropped": 6}, "early": {"size": 2, "memory": 0},
        }]});
        let lines = told(&page).join("\n");
        for part in [
            "12 seen, 4 kept, 6 dropped; 2 held now (1.0 of 64.0 MiB)",
            "policy failed     3       7     0",
            "late spans kept 0, dropped 6",
            "decided early: size 2",
        ] {
            assert!(lines.contains(part), "{part}:\n{lines}");
        }
    }
}

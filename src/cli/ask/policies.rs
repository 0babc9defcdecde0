//! `podgate explain sampling`: what each policy does to the traffic, in sentences, from the page `/v1/sampling`. Pure.

use serde_json::Value;

use crate::cli::ask::{age, mebibytes, text};
use crate::core::time::UnixNanos;

pub fn told(page: &Value) -> Vec<String> {
    let samplers = page["samplers"].as_array().into_iter().flatten();
    samplers.flat_map(|sampler| of_sampler(sampler, UnixNanos::now())).collect()
}

fn of_sampler(sampler: &Value, now: UnixNanos) -> Vec<String> {
    let volume = &sampler["volume"];
    let mut lines = vec![
        format!("{} in {}:", text(&sampler["processor"]), text(&sampler["pipeline"])),
        format!("  kept {}; not kept {}", amount(&volume["kept"]), amount(&volume["not_kept"])),
    ];
    for policy in sampler["policies"].as_array().into_iter().flatten() {
        of_policy(policy, &mut lines);
    }
    if let Some(id) = volume["no_policy_exemplar"].as_str() {
        lines.push(format!("  no policy voted for it; for example trace {id}"));
    }
    let journal = &sampler["journal"];
    let since = journal["oldest_decision_at_unix_nano"].as_u64().map(UnixNanos);
    let reach = since.map_or_else(|| "nothing yet".to_owned(), |since| age(now.since(since).as_secs()));
    lines.push(format!("  the journal has {:.1} MiB and reaches back {reach}", mebibytes(&journal["bytes"])));
    lines
}

fn amount(volume: &Value) -> String {
    let count = |key: &str| volume[key].as_u64().unwrap_or(0);
    format!("{} traces, {} spans, {:.1} MiB", count("traces"), count("spans"), mebibytes(&volume["bytes"]))
}

fn of_policy(policy: &Value, lines: &mut Vec<String>) {
    let volume = &policy["volume"];
    let count = |value: &Value| value.as_u64().unwrap_or(0);
    let votes = ["sampled", "not_sampled", "dropped"].map(|vote| count(&policy[vote]));
    let share = volume["share_of_bytes"].as_f64().unwrap_or(0.0) * 100.0;
    lines.push(format!(
        "  policy {}: asked {} times, for keeping {}, for dropping {}; decides over {share:.1} % of all bytes",
        text(&policy["name"]),
        votes.iter().sum::<u64>(),
        votes[0],
        votes[2],
    ));
    let outcomes = [
        ("won", "is the first policy that keeps them", "kept"),
        ("only_it", "of these no other policy keeps", ""),
        ("dropped", "drops", "dropped"),
    ];
    for (key, words, exemplar) in outcomes {
        if count(&volume[key]["traces"]) > 0 {
            let example = volume["exemplars"][exemplar].as_str();
            let example = example.map_or_else(String::new, |id| format!(", for example trace {id}"));
            lines.push(format!("    {words} {}{example}", amount(&volume[key])));
        }
    }
    if votes[0] + votes[2] == 0 && votes[1] > 0 {
        lines.push("    it has not kept any trace yet".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_policy_is_told_by_what_it_keeps_and_what_would_be_gone_without_it() {
        let mib = 1 << 20;
        let amount = |traces: u64| json!({"traces": traces, "spans": 10 * traces, "bytes": traces * mib});
        let volume = |won: u64, only: u64, share: f64| {
            json!({"won": amount(won), "only_it": amount(only), "dropped": amount(0),
                "share_of_bytes": share, "exemplars": {"kept": "ab", "dropped": null}})
        };
        let sampler = json!({
            "processor": "tail_sampling", "pipeline": "traces",
            "volume": {"kept": amount(3), "not_kept": amount(7), "no_policy_exemplar": "cd"},
            "policies": [
                {"name": "failed", "sampled": 3, "not_sampled": 7, "dropped": 0, "volume": volume(3, 2, 0.3)},
                {"name": "idle", "sampled": 0, "not_sampled": 10, "dropped": 0, "volume": volume(0, 0, 0.0)}],
            "journal": {"bytes": mib, "oldest_decision_at_unix_nano": 1_000_000_000u64},
        });
        let said = [
            "tail_sampling in traces:",
            "  kept 3 traces, 30 spans, 3.0 MiB; not kept 7 traces, 70 spans, 7.0 MiB",
            "  policy failed: asked 10 times, for keeping 3, for dropping 0; decides over 30.0 % of all bytes",
            "    is the first policy that keeps them 3 traces, 30 spans, 3.0 MiB, for example trace ab",
            "    of these no other policy keeps 2 traces, 20 spans, 2.0 MiB",
            "  policy idle: asked 10 times, for keeping 0, for dropping 0; decides over 0.0 % of all bytes",
            "    it has not kept any trace yet",
            "  no policy voted for it; for example trace cd",
            "  the journal has 1.0 MiB and reaches back 1 min 1 s",
        ];
        assert_eq!(of_sampler(&sampler, UnixNanos::from_secs(62)), said);
    }
}

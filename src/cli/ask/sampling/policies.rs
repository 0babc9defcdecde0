//! `podgate explain sampling`: what each policy does to the traffic, in sentences, from the page `/v1/sampling`. Pure.

use serde_json::Value;

use crate::cli::ask::sampling::advice;
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
    lines.extend(advice::told(&sampler["sizes"]));
    of_shadow(&sampler["shadow"], &mut lines);
    let journal = &sampler["journal"];
    if journal.is_null() {
        return lines;
    }
    let since = journal["oldest_decision_at_unix_nano"].as_u64().map(UnixNanos);
    let reach = since.map_or_else(|| "nothing yet".to_owned(), |since| age(now.since(since).as_secs()));
    lines.push(format!("  the journal has {:.1} MiB and reaches back {reach}", mebibytes(&journal["bytes"])));
    lines
}

/// Services whose differences are told, the largest.
const SERVICES_TOLD: usize = 10;

/// What the shadow policies would have kept, against what was kept.
fn of_shadow(shadow: &Value, lines: &mut Vec<String>) {
    if shadow.is_null() {
        return;
    }
    let outcomes = &shadow["outcomes"];
    let state = if shadow["is_over"] == true { "were judged" } else { "are judged" };
    lines.push(format!("  shadow policies {state} beside these, without effect:"));
    lines.push(format!("    both keep {}; both leave {}", amount(&outcomes["both"]), amount(&outcomes["neither"])));
    for (side, words) in [("only_live", "the shadow would lose"), ("only_shadow", "the shadow would add")] {
        let exemplars = shadow["exemplars"][side].as_array().into_iter().flatten().filter_map(Value::as_str);
        let example =
            exemplars.collect::<Vec<_>>().last().map_or_else(String::new, |id| format!(", for example trace {id}"));
        lines.push(format!("    {words} {}{example}", amount(&outcomes[side])));
    }
    let mut services: Vec<&Value> = shadow["services"].as_array().into_iter().flatten().collect();
    let spans = |service: &Value, side: &str| service[side]["spans"].as_u64().unwrap_or(0);
    services.sort_by_key(|service| std::cmp::Reverse(spans(service, "only_live") + spans(service, "only_shadow")));
    for service in services.iter().take(SERVICES_TOLD) {
        let (lost, gained) = (amount(&service["only_live"]), amount(&service["only_shadow"]));
        lines.push(format!("    of {}: would lose {lost}; would add {gained}", text(&service["service"])));
    }
    if services.len() > SERVICES_TOLD {
        lines.push(format!("    and of {} more services: page /v1/sampling", services.len() - SERVICES_TOLD));
    }
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
        ("won", "is the first policy that keeps", "kept"),
        ("only_it", "is the only policy that keeps", ""),
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
    fn what_a_shadow_would_lose_and_add_is_told_with_its_services() {
        let amount = |traces: u64| json!({"traces": traces, "spans": 2 * traces, "bytes": 0});
        let shadow = json!({
            "is_over": false,
            "outcomes": {"both": amount(1), "neither": amount(2), "only_live": amount(3), "only_shadow": amount(4)},
            "exemplars": {"only_live": ["aa", "ab"], "only_shadow": []},
            "services": [
                {"service": "few", "only_live": amount(1), "only_shadow": amount(0)},
                {"service": "many", "only_live": amount(2), "only_shadow": amount(4)}],
        });
        let mut lines = Vec::new();
        of_shadow(&shadow, &mut lines);
        let said = [
            "  shadow policies are judged beside these, without effect:",
            "    both keep 1 traces, 2 spans, 0.0 MiB; both leave 2 traces, 4 spans, 0.0 MiB",
            "    the shadow would lose 3 traces, 6 spans, 0.0 MiB, for example trace ab",
            "    the shadow would add 4 traces, 8 spans, 0.0 MiB",
            "    of many: would lose 2 traces, 4 spans, 0.0 MiB; would add 4 traces, 8 spans, 0.0 MiB",
            "    of few: would lose 1 traces, 2 spans, 0.0 MiB; would add 0 traces, 0 spans, 0.0 MiB",
        ];
        assert_eq!(lines, said);
    }

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
            "    is the first policy that keeps 3 traces, 30 spans, 3.0 MiB, for example trace ab",
            "    is the only policy that keeps 2 traces, 20 spans, 2.0 MiB",
            "  policy idle: asked 10 times, for keeping 0, for dropping 0; decides over 0.0 % of all bytes",
            "    it has not kept any trace yet",
            "  no policy voted for it; for example trace cd",
            "  the journal has 1.0 MiB and reaches back 1 min 1 s",
        ];
        assert_eq!(of_sampler(&sampler, UnixNanos::from_secs(62)), said);
    }
}

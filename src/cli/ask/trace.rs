//! `podgate explain trace`: a decision as a person reads it, from the page `/v1/traces/{id}`. Pure.

use serde_json::Value;

use crate::cli::ask::text;
use crate::core::time::UnixNanos;

/// Digits of a whole id.
pub const DIGITS: usize = 32;

/// As [`told`], for who asked by a part of the id.
pub fn told_with_id(page: &Value) -> Vec<String> {
    let id = page["trace_id"].as_str().map(|id| format!("trace {id}"));
    id.into_iter().chain(told(page)).collect()
}

pub fn told(page: &Value) -> Vec<String> {
    if let Some(matches) = page["matches"].as_array() {
        let mut lines = vec!["several traces have these digits in their id; ask for one of them:".to_owned()];
        lines.extend(matches.iter().map(|id| format!("  {}", text(id))));
        lines.extend((page["more"] == true).then(|| "  and others".to_owned()));
        return lines;
    }
    if page["held"] == true {
        return vec![held(page)];
    }
    let mut lines = Vec::new();
    if page["forgotten"] == true {
        lines.push("its decision is no longer in the journal; these spans followed it:".to_owned());
    } else {
        decided(page, &mut lines);
    }
    for late in page["late"].as_array().into_iter().flatten() {
        lines.push(late_spans(late));
    }
    let earlier = page["earlier"].as_array().map_or(&[][..], Vec::as_slice);
    for decision in earlier {
        lines.push(format!("decided before, at {}: {}", at(decision, "decided_at_unix_nano"), outcome(decision)));
    }
    lines
}

fn at(page: &Value, key: &str) -> String {
    UnixNanos(page[key].as_u64().unwrap_or(0)).timestamp().to_string()
}

fn held(page: &Value) -> String {
    let root = if page["root_is_there"] == true { "its root is there" } else { "its root has not come yet" };
    format!(
        "held: {} spans since {}, {root}; it is decided by {} at the latest, in {:.1} s",
        page["spans"],
        at(page, "first_span_at_unix_nano"),
        at(page, "decided_at_latest_unix_nano"),
        page["decided_within_seconds"].as_f64().unwrap_or(0.0),
    )
}

/// `kept: policy errors`
fn outcome(page: &Value) -> String {
    let word = if page["kept"] == true { "kept" } else { "dropped" };
    format!("{word}: {}", text(&page["reason"]))
}

fn decided(page: &Value, lines: &mut Vec<String>) {
    lines.push(format!(
        "{}; {} spans were there when it was decided, at {}",
        outcome(page),
        page["spans"],
        at(page, "decided_at_unix_nano")
    ));
    lines.push(format!("  decided because {}", trigger(text(&page["trigger"]))));
    let services = page["services"].as_array().into_iter().flatten().map(text).collect::<Vec<_>>().join(", ");
    let more = if page["more_services"] == true { " and others" } else { "" };
    lines.push(format!("  {} bytes, {} ms, of {services}{more}", page["bytes"], page["duration_ms"]));
    lines.extend(completeness(page).map(|words| format!("  not whole: {words}")));
    if page["kept"] == true {
        lines.push(match page["weight"].as_f64() {
            Some(weight) => format!("  stands for {} of its kind", plain(weight)),
            None => "  how many of its kind it stands for is unknown: not chance alone decided".to_owned(),
        });
    }
    for node in page["tree"].as_array().into_iter().flatten() {
        tell_policy(node, 1, lines);
    }
}

/// At most three decimals, without zeros at the end.
fn plain(number: f64) -> String {
    let text = format!("{number:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn trigger(name: &str) -> &str {
    match name {
        "timeout" => "its wait (decision_wait) was over",
        "root" => "its root had come (decision_wait_after_root_received)",
        "arrival" => "spans of it came (sampling_strategy: span-ingest)",
        "size" => "it grew beyond maximum_trace_size_bytes",
        "memory" => "memory was short (podgate.max_bytes), before its wait was over",
        "num_traces" => "too many traces were held (num_traces), before its wait was over",
        "giant_trace" => "it held more than an eighth of podgate.max_bytes, before its wait was over",
        "shutdown" => "podgate was stopped, before its wait was over",
        other => other,
    }
}

fn completeness(page: &Value) -> Option<&'static str> {
    match (page["root_is_there"] == true, page["orphan_parents"] == true) {
        (true, false) => None,
        (false, false) => Some("its root was not there"),
        (true, true) => Some("parents of some spans were not there"),
        (false, true) => Some("its root and parents of some spans were not there"),
    }
}

/// A policy and its parts, each deeper by two blanks.
fn tell_policy(node: &Value, depth: usize, lines: &mut Vec<String>) {
    let mut said: Vec<String> = node["says"].as_str().map(str::to_owned).into_iter().collect();
    if let (Some(spans), Some(granted)) = (node["spans_per_second"].as_u64(), node["granted"].as_bool()) {
        let fits = if granted { "fits" } else { "does not fit" };
        said.push(format!("{fits} into its {spans} spans a second"));
    }
    let said = if said.is_empty() { String::new() } else { format!(" - {}", said.join("; ")) };
    // A single question says itself what it is.
    let kind = node["type"].as_str().filter(|kind| *kind != "question");
    let kind = kind.map_or_else(String::new, |kind| format!(" ({kind})"));
    let blanks = "  ".repeat(depth);
    lines.push(format!("{blanks}policy {}{kind}: {}{said}", text(&node["policy"]), vote(text(&node["vote"]))));
    node["of"].as_array().into_iter().flatten().for_each(|part| tell_policy(part, depth + 1, lines));
}

fn vote(name: &str) -> &str {
    match name {
        "sampled" => "keep",
        "not_sampled" => "no vote for it",
        "dropped" => "drop",
        "veto" => "against it, by invert_match",
        "weakly_sampled" => "keep unless another is against it, by invert_match",
        "failed" => "could not be evaluated, so it was skipped",
        "not_asked" => "not asked: it was decided before",
        other => other,
    }
}

fn late_spans(late: &Value) -> String {
    let followed = if late["kept"] == true { "handed on" } else { "dropped" };
    let after = match late["after_ms"].as_u64() {
        Some(millis) => format!(", {:.1} s after the decision", millis as f64 / 1000.0),
        None => String::new(),
    };
    format!("late: {} spans came at {}{after}, and were {followed} as decided", late["spans"], at(late, "at_unix_nano"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_decision_is_told_with_what_each_policy_measured() {
        let page = json!({
            "kept": false, "reason": "no policy voted for it", "trigger": "memory", "spans": 9, "bytes": 4100,
            "duration_ms": 812, "services": ["cart", "shop"], "more_services": true, "root_is_there": false,
            "orphan_parents": null, "decided_at_unix_nano": 1_000_000_000u64, "weight": null,
            "tree": [
                {"policy": "both", "type": "and", "vote": "not_sampled", "of": [
                    {"policy": "slow", "type": "latency", "vote": "not_sampled", "says": "lasts 812 ms, wants more than 1000 ms"},
                    {"policy": "some", "type": "probabilistic", "vote": "not_asked"}]},
                {"policy": "share", "type": "composite", "vote": "not_sampled", "of": [
                    {"policy": "all", "type": "always_sample", "vote": "sampled", "says": "wants every trace",
                     "spans_per_second": 10, "granted": false}]}],
            "late": [{"at_unix_nano": 2_000_000_000u64, "kept": false, "spans": 2, "after_ms": null}],
            "earlier": [{"kept": true, "reason": "policy slow", "decided_at_unix_nano": 0}],
        });
        let said = [
            "dropped: no policy voted for it; 9 spans were there when it was decided, at 1970-01-01T00:00:01Z",
            "  decided because memory was short (podgate.max_bytes), before its wait was over",
            "  4100 bytes, 812 ms, of cart, shop and others",
            "  not whole: its root was not there",
            "  policy both (and): no vote for it",
            "    policy slow (latency): no vote for it - lasts 812 ms, wants more than 1000 ms",
            "    policy some (probabilistic): not asked: it was decided before",
            "  policy share (composite): no vote for it",
            "    policy all (always_sample): keep - wants every trace; does not fit into its 10 spans a second",
            "late: 2 spans came at 1970-01-01T00:00:02Z, and were dropped as decided",
            "decided before, at 1970-01-01T00:00:00Z: kept: policy slow",
        ];
        assert_eq!(told(&page), said);
    }

    #[test]
    fn a_kept_trace_says_how_many_it_stands_for_or_why_nobody_knows() {
        let mut page = json!({"kept": true, "reason": "policy some", "weight": 10.0000001});
        assert!(told(&page).contains(&"  stands for 10 of its kind".to_owned()));
        page["weight"] = Value::Null;
        assert!(told(&page).join("\n").contains("unknown: not chance alone decided"));
    }

    #[test]
    fn a_held_trace_is_told_with_the_end_of_its_wait() {
        let page = json!({"held": true, "spans": 3, "root_is_there": false,
            "first_span_at_unix_nano": 1_000_000_000u64, "decided_at_latest_unix_nano": 11_000_000_000u64,
            "decided_within_seconds": 9.5});
        let said = "held: 3 spans since 1970-01-01T00:00:01Z, its root has not come yet; it is decided by \
                    1970-01-01T00:00:11Z at the latest, in 9.5 s";
        assert_eq!(told(&page), [said]);
    }

    #[test]
    fn a_part_that_several_ids_have_is_answered_with_the_ids() {
        let lines = told(&json!({"matches": ["aa11", "bb11"], "more": true}));
        assert_eq!(lines[1..], ["  aa11", "  bb11", "  and others"]);
        let late =
            json!({"forgotten": true, "late": [{"at_unix_nano": 0, "kept": true, "spans": 1, "after_ms": 3100}]});
        let lines = told(&late);
        assert!(lines[0].contains("no longer in the journal") && lines[1].contains("3.1 s after"), "{lines:?}");
    }
}

//! `podgate explain`: why a resource gets its pod and container.id. What of it asks the sampler stands in `trace` and
//! `policies`.

use clap::{Args as ClapArgs, Subcommand};
use serde_json::Value;

use crate::cli::Exit;
use crate::cli::ask::admin::{AdminArgs, escaped};
use crate::cli::ask::sampling::policies;
use crate::cli::ask::{show, text, trace};
use crate::telemetry::stdout::Format;

#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    subject: Subject,
}

#[derive(Debug, Subcommand)]
enum Subject {
    /// Which rules were tried, the pod, the runs of its containers and what is remembered of them
    #[command(alias = "pod")]
    Resource(Resource),
    /// Why a trace was kept or dropped: each policy with what it measured, or until when the trace is held
    Trace(Trace),
    /// What each policy keeps and drops: votes, traces, spans, bytes, and what would be gone without it
    Sampling(AdminArgs),
}

#[derive(Debug, ClapArgs)]
#[group(required = true, multiple = false)]
struct Key {
    /// The pod's name
    #[arg(value_name = "[NAMESPACE/]NAME")]
    pod: Option<String>,
    /// The pod's uid (k8s.pod.uid)
    #[arg(long)]
    uid: Option<String>,
    /// An address of the pod
    #[arg(long)]
    ip: Option<String>,
    /// A container id, whole or its first twelve digits
    #[arg(long)]
    container: Option<String>,
}

#[derive(Debug, ClapArgs)]
struct Resource {
    #[command(flatten)]
    key: Key,
    #[command(flatten)]
    admin: AdminArgs,
    /// Print the page as it is (--format json)
    #[arg(long)]
    json: bool,
}

#[derive(Debug, ClapArgs)]
struct Trace {
    /// The id's 32 hex digits, or from 4 on that follow each other in it
    id: String,
    #[command(flatten)]
    admin: AdminArgs,
}

pub fn run(args: &Args) -> Exit {
    match &args.subject {
        Subject::Resource(resource) => {
            let mut admin = resource.admin.clone();
            if resource.json {
                admin.format = Format::Json;
            }
            show(&admin, &format!("/v1/explain?{}", query(&resource.key)), told, |_| Exit::Ok)
        }
        Subject::Trace(trace) => {
            // A slash would ask for another page.
            let path = format!("/v1/traces/{}", escaped(&trace.id).replace('/', "%2F"));
            let told = if trace.id.len() < trace::DIGITS { trace::told_with_id } else { trace::told };
            show(&trace.admin, &path, told, |_| Exit::Ok)
        }
        Subject::Sampling(admin) => show(admin, "/v1/sampling", policies::told, |_| Exit::Ok),
    }
}

fn query(key: &Key) -> String {
    let pairs = [("pod", &key.pod), ("uid", &key.uid), ("ip", &key.ip), ("container", &key.container)];
    let given = pairs.into_iter().find_map(|(name, value)| value.as_ref().map(|value| (name, value)));
    given.map_or_else(String::new, |(name, value)| format!("{name}={}", escaped(value)))
}

/// The page as a person reads it.
fn told(page: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    let none = serde_json::Map::new();
    for (processor, answer) in page["processors"].as_object().unwrap_or(&none) {
        lines.push(format!("{processor}:"));
        for rule in answer["rules"].as_array().into_iter().flatten() {
            lines.push(format!("  rule {:<40} {}{}", text(&rule["rule"]), text(&rule["result"]), values(rule)));
        }
        if let Some(why) = answer["why_not"].as_str() {
            lines.push(format!("  not found: {why}"));
        }
        tell_pod(&answer["pod"], &mut lines);
    }
    if lines.is_empty() {
        lines.push("no k8s_attributes processor runs there".to_owned());
    }
    lines
}

fn tell_pod(pod: &Value, lines: &mut Vec<String>) {
    if pod.is_null() {
        return;
    }
    let summary = &pod["summary"];
    let (namespace, name) = (text(&summary["namespace"]), text(&summary["name"]));
    lines.push(format!("  pod {namespace}/{name} on {}, seen {}", text(&summary["node"]), text(&pod["seen_at"])));
    for container in pod["containers"].as_array().into_iter().flatten() {
        lines.push(format!("  container {} ({})", text(&container["name"]), text(&container["kind"])));
        container["runs"].as_array().into_iter().flatten().for_each(|run| tell_run(run, lines));
        let data = &container["last_data"];
        if !data.is_null() {
            lines.push(format!(
                "    last data: run {} until {}, by {}",
                text(&data["run"]),
                text(&data["until"]),
                text(&data["evidence"])
            ));
        }
        tell_bindings(&container["bindings"], lines);
        let without = &container["last_without_id"];
        if !without.is_null() {
            lines.push(format!(
                "    last data without an id: {} at {}",
                text(&without["reason"]),
                text(&without["at"])
            ));
        }
    }
}

/// ` (k8s.pod.uid = x)`: what the resource had for the rule.
fn values(rule: &Value) -> String {
    let given = rule["values"].as_object().into_iter().flatten();
    let shown: Vec<String> =
        given.filter_map(|(source, value)| Some(format!("{source} = {}", value.as_str()?))).collect();
    if shown.is_empty() { String::new() } else { format!(" ({})", shown.join(", ")) }
}

fn tell_bindings(bindings: &Value, lines: &mut Vec<String>) {
    for (what, plural) in [("identities", "processes known by identity"), ("connections", "connections")] {
        for (run, count) in bindings[what].as_object().into_iter().flatten() {
            lines.push(format!("    bound to run {run}: {count} {plural}"));
        }
    }
}

fn tell_run(run: &Value, lines: &mut Vec<String>) {
    if run["unseen_runs_before"] == true {
        lines.push("    (runs that nobody saw may be here)".to_owned());
    }
    let started = run["started"]["from"].as_str().unwrap_or("not yet");
    let ended = match run["ended"]["to"].as_str() {
        Some(ended) => format!("ended before {ended} {}", text(&run["reason"])),
        None => "open".to_owned(),
    };
    lines.push(format!(
        "    run {:>3} {} started {started}, {ended}",
        run["restart_count"],
        text(&run["container_id"])
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_types_cannot_change_the_question() {
        let none = || Key { pod: None, uid: None, ip: None, container: None };
        assert_eq!(query(&Key { uid: Some("a&b=c d".to_owned()), ..none() }), "uid=a%26b%3Dc%20d");
        assert_eq!(query(&Key { ip: Some("fd00::5".to_owned()), ..none() }), "ip=fd00::5");
        assert_eq!(query(&Key { pod: Some("shop/cart-1".to_owned()), ..none() }), "pod=shop/cart-1");
    }

    #[test]
    fn an_answer_reads_as_rules_then_runs() {
        let page = serde_json::json!({"processors": {"k8s_attributes": {
            "rules": [{"rule": "k8s.pod.uid", "result": "pod found", "values": {"k8s.pod.uid": "u"}}],
            "pod": {"summary": {"namespace": "shop", "name": "cart-1", "node": "n"}, "seen_at": "t",
                "containers": [{"name": "app", "kind": "regular", "runs": [
                    {"restart_count": 1, "container_id": "abc", "unseen_runs_before": true, "started": {"from": "s"}}],
                    "last_data": {"run": "abc", "until": "t", "evidence": "times of the items"},
                    "bindings": {"identities": {"abc": 2}},
                    "last_without_id": {"reason": "gap", "at": "t"}}]}}}});
        let lines = told(&page);
        assert!(
            lines[1].contains("pod found (k8s.pod.uid = u)")
                && lines[4].contains("nobody saw")
                && lines[5].contains("open"),
            "{lines:?}"
        );
        let told = lines[6..].join("\n");
        assert!(told.contains("by times of the items") && told.contains("bound to run abc: 2 processes"), "{told}");
        assert!(told.contains("without an id: gap"), "{told}");
    }

    #[test]
    fn a_page_that_says_nothing_is_said_so() {
        assert_eq!(told(&serde_json::json!({})), ["no k8s_attributes processor runs there"]);
    }
}

//! `podgate explain resource`: why a resource gets its pod and container.id, asked of a running gateway's admin page.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use clap::{Args as ClapArgs, Subcommand};
use serde_json::Value;

use crate::cli::{Exit, out};

/// A page is at most as long as a thousand pods.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
const TIMEOUT: Duration = Duration::from_secs(5);

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
}

#[derive(Debug, ClapArgs)]
#[group(required = true, multiple = false)]
struct Key {
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
    /// Where the gateway's admin extension listens
    #[arg(long, default_value = "127.0.0.1:13134")]
    admin: String,
    /// Print the page as it is
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Exit {
    let Subject::Resource(resource) = &args.subject;
    let path = format!("/v1/explain?{}", query(&resource.key));
    let page = match get(&resource.admin, &path) {
        Ok(page) => page,
        Err(fault) => {
            out::error_line(&format!("no answer from the admin page at {}: {fault}", resource.admin));
            return Exit::Failure;
        }
    };
    if resource.json {
        out::line(&page.to_string());
    } else {
        told(&page).iter().for_each(|line| out::line(line));
    }
    Exit::Ok
}

fn query(key: &Key) -> String {
    let pairs = [("uid", &key.uid), ("ip", &key.ip), ("container", &key.container)];
    let given = pairs.into_iter().find_map(|(name, value)| value.as_ref().map(|value| (name, value)));
    given.map_or_else(String::new, |(name, value)| format!("{name}={}", escaped(value)))
}

fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// One GET over HTTP/1.0, which ends with the connection.
fn get(admin: &str, path: &str) -> Result<Value, String> {
    let fault = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(admin).map_err(fault)?;
    stream.set_read_timeout(Some(TIMEOUT)).map_err(fault)?;
    stream.set_write_timeout(Some(TIMEOUT)).map_err(fault)?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {admin}\r\nConnection: close\r\n\r\n").map_err(fault)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).map_err(fault)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("the answer is no HTTP")?;
    let status = head.lines().next().unwrap_or_default();
    if !status.contains(" 200") {
        return Err(format!("{status}: {}", body.trim()));
    }
    serde_json::from_str(body.trim()).map_err(|error| error.to_string())
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
        lines.push("    (runs that nobody saw may lie here)".to_owned());
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

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_types_cannot_change_the_question() {
        let key = Key { uid: Some("a&b=c d".to_owned()), ip: None, container: None };
        assert_eq!(query(&key), "uid=a%26b%3Dc%20d");
        let key = Key { uid: None, ip: Some("fd00::5".to_owned()), container: None };
        assert_eq!(query(&key), "ip=fd00::5");
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

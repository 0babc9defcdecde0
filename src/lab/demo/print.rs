//! Everything the demo says, for people or as one JSON object a line. The only place of the demo that prints.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::lab::api_double::TrueRun;
use crate::lab::demo::cast::Cast;
use crate::lab::demo::end::{Arrived, DemoScore, Guest};
use crate::lab::demo::traffic::{Doors, Sent};
use crate::telemetry::stdout;
use crate::telemetry::stdout::Format;

/// Attributes of the example, most telling first.
const SHOWN: [&str; 9] = [
    "service.name",
    "k8s.pod.name",
    "k8s.container.name",
    "container.id",
    "k8s.deployment.name",
    "k8s.node.name",
    "k8s.pod.start_time",
    "k8s.container.restart_count",
    "container.image.name",
];

/// The state at one moment.
pub struct DemoState<'a> {
    pub since_start: Duration,
    pub seen: &'a Arrived,
    pub sent: &'a Sent,
    /// Spans accepted a second since the last moment.
    pub rate: f64,
    /// The sampler's page, `/v1/sampling`.
    pub sampling: &'a Value,
    pub rss_bytes: u64,
    pub cpu_seconds: f64,
    /// Share of one core since the last moment.
    pub cpu_share: f64,
}

pub struct Printer {
    format: Format,
    /// A screen shows what happens; lines come before it and after it.
    pub silent: bool,
}

impl Printer {
    pub fn new(format: Format) -> Printer {
        Printer { format, silent: false }
    }

    pub fn opening(&self, cast: &Cast, doors: &Doors, admin: &str) {
        let guest = &cast.guest;
        if self.format == Format::Json {
            let value = json!({ "event": "start", "otlp_grpc": doors.grpc, "otlp_http": doors.http, "admin": admin,
                "guest_pod_uid": guest.uid });
            return stdout::line(&value.to_string());
        }
        stdout::line(&format!(
            "podgate demo: 8 pods, {} containers that send, an API server double that publishes statuses 1 to 3 s late.\n\
             Every application says k8s.container.restart_count=0 for ever, as its manifest does; the proxies say nothing.\n\n\
             Send your own application's traces here too; it plays the pod {}:\n\
             \x20 OTEL_EXPORTER_OTLP_ENDPOINT={} OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf \\\n\
             \x20 OTEL_RESOURCE_ATTRIBUTES=k8s.pod.uid={},k8s.container.name=app \\\n\
             \x20 opentelemetry-instrument flask run\n\
             gRPC: {}   why a resource got its attributes: curl 'http://{admin}/v1/explain?uid={}'\n",
            cast.members.len(),
            guest.name,
            doors.http,
            guest.uid,
            doors.grpc,
            guest.uid,
        ));
    }

    pub fn restarted(&self, service: &str, before: &TrueRun, after: &TrueRun) {
        if self.silent {
            return;
        }
        match self.format {
            Format::Json => stdout::line(
                &json!({ "event": "restart", "service": service, "pod": after.pod, "hint": 0, "truth": after.number,
                    "container_id_before": before.id, "container_id_after": after.id })
                .to_string(),
            ),
            Format::Text => {
                stdout::line(&format!("{service} restarted: hint says run 0, truth is run {}", after.number));
            }
        }
    }

    /// Nothing is sent any more, and the end follows.
    pub fn ending(&self, after: Duration) {
        if matches!(self.format, Format::Text) && !self.silent {
            let seconds = after.as_secs_f64();
            stdout::line(&format!("the last traces are decided within {seconds} s; Ctrl-C ends at once"));
        }
    }

    pub fn moment(&self, moment: &DemoState<'_>) {
        if self.silent {
            return;
        }
        match self.format {
            Format::Json => stdout::line(&moment.json().to_string()),
            Format::Text => stdout::line(&moment.text()),
        }
    }

    /// The last lines; the very last is the summary or the balance.
    pub fn summary(&self, last: &DemoState<'_>, account: &DemoBalance) {
        match self.format {
            Format::Json => Printer::summary_json(last, account),
            Format::Text => Printer::summary_text(last, account),
        }
    }

    fn summary_json(last: &DemoState<'_>, account: &DemoBalance) {
        let comparison = json!({ "event": "comparison", "container_id": last.seen.podgate,
            "collector_rule": last.seen.collector, "resources_without_container_id": account.missing });
        stdout::line(&comparison.to_string());
        let summary = json!({
            "summary": true,
            "container_id": last.seen.podgate,
            "traces": traces(last.sampling),
            "balance": account.sheets,
            "rss_bytes": last.rss_bytes,
            "cpu_seconds": last.cpu_seconds,
        });
        stdout::line(&summary.to_string());
    }

    fn summary_text(last: &DemoState<'_>, account: &DemoBalance) {
        stdout::line(&format!("\ncontainer.id by podgate:          {}", score(&last.seen.podgate)));
        stdout::line(&format!("container.id by Collector's rule: {}", score(&last.seen.collector)));
        if !account.missing.is_empty() {
            let reasons = account.missing.iter().map(|(reason, resources)| format!("{reason} {resources}"));
            let reasons = reasons.collect::<Vec<_>>().join(", ");
            stdout::line(&format!(
                "resources left without a container.id (the run could not be determined): {reasons}"
            ));
        }
        if let Some((written, truth)) = &last.seen.wrong_example {
            stdout::line(&format!("a wrong one: {written} where the truth is {truth}; please report this"));
        }
        if let Some(why) = &last.sent.last_failure {
            stdout::line(&format!("{} spans were not accepted; the latest answer: {why}", last.sent.unhappy));
        }
        stdout::line(&account.line);
    }
}

/// What became of everything, once the gateway has drained.
pub struct DemoBalance {
    /// The balance for people.
    pub line: String,
    /// The balance for machines.
    pub sheets: Value,
    /// Resources that were given no container.id, by podgate's own reason.
    pub missing: BTreeMap<String, u64>,
}

impl DemoState<'_> {
    fn text(&self) -> String {
        let seen = self.seen;
        let traces = traces(self.sampling);
        let by_policy = traces["by_policy"].as_object().into_iter().flatten();
        let by_policy: Vec<String> = by_policy.map(|(name, count)| format!("{name} {count}")).collect();
        let mut lines = vec![
            format!(
                "{:>4} s  {:.0} spans/s in; traces kept {} ({}), dropped {}; CPU {:.0} % of a core, {:.1} MiB (all of this demo)",
                self.since_start.as_secs(),
                self.rate,
                traces["kept"],
                by_policy.join(", "),
                traces["dropped"],
                self.cpu_share * 100.0,
                self.rss_bytes as f64 / f64::from(1 << 20),
            ),
            format!("        container.id  podgate: {}", score(&seen.podgate)),
            format!("        Collector's rule (hint obeyed, else newest): {}", score(&seen.collector)),
        ];
        if !seen.example.is_empty() {
            lines.push(format!("        e.g. {}", example(&seen.example)));
        }
        if !seen.guests.is_empty() {
            let guests = seen.guests.iter().map(|(name, guest)| guest_text(name, guest)).collect::<Vec<_>>();
            lines.push(format!("        yours: {}", guests.join(", ")));
        }
        lines.join("\n")
    }

    fn json(&self) -> Value {
        let example: serde_json::Map<String, Value> =
            self.seen.example.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
        json!({
            "seconds": self.since_start.as_secs_f64(),
            "spans_per_second": self.rate,
            "container_id": self.seen.podgate,
            "collector_rule": self.seen.collector,
            "traces": traces(self.sampling),
            "example": example,
            "yours": self.seen.guests,
            "rss_bytes": self.rss_bytes,
            "cpu_seconds": self.cpu_seconds,
        })
    }
}

pub fn guest_text(service: &str, guest: &Guest) -> String {
    match &guest.container_id {
        Some(id) => format!("{service} {} spans, {}", guest.spans, shorten("container.id", id)),
        None => format!("{service} {} spans, no container.id (is OTEL_RESOURCE_ATTRIBUTES set as above?)", guest.spans),
    }
}

fn score(score: &DemoScore) -> String {
    format!("{} right, {} wrong, {} missing", score.right, score.wrong, score.missing)
}

fn example(attributes: &[(String, String)]) -> String {
    let find = |key: &&str| attributes.iter().find(|(name, _)| name == key);
    let shown: Vec<String> = SHOWN.iter().filter_map(find).map(|(key, value)| shorten(key, value)).collect();
    shown.join(" ")
}

/// A container id in full would fill the line.
fn shorten(key: &str, value: &str) -> String {
    match value.get(..12) {
        Some(head) if key == "container.id" => format!("{key}={head}..."),
        _ => format!("{key}={value}"),
    }
}

/// Kept and dropped traces, and how many each policy wanted; a trace can please several policies.
pub fn traces(sampling: &Value) -> Value {
    let sampler = &sampling["samplers"][0];
    let count = |name: &str| sampler["traces"][name].as_u64().unwrap_or(0);
    let policies = sampler["policies"].as_array().into_iter().flatten();
    let by_policy: serde_json::Map<String, Value> =
        policies.filter_map(|policy| Some((policy["name"].as_str()?.to_owned(), policy["sampled"].clone()))).collect();
    json!({ "kept": count("sampled"), "dropped": count("not_sampled") + count("dropped"), "by_policy": by_policy })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_are_read_from_the_samplers_page() {
        let page = json!({ "samplers": [{
            "policies": [{ "name": "failed", "sampled": 3 }, { "name": "slow", "sampled": 2 }],
            "traces": { "sampled": 4, "not_sampled": 6, "dropped": 1 },
        }]});
        assert_eq!(traces(&page), json!({ "kept": 4, "dropped": 7, "by_policy": { "failed": 3, "slow": 2 } }));
        assert_eq!(traces(&Value::Null), json!({ "kept": 0, "dropped": 0, "by_policy": {} }));
    }
}

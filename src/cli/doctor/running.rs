//! What a running gateway's pages tell of its health: components, memory against what comes in, and whether connections
//! show their pods. Pure: pages in, findings out.

use serde_json::Value;

use crate::cli::ask::{age, entries, mebibytes, text};
use crate::core::stage::commands::probe::{Finding, ProbeHealth};

/// A store this full has no room for a rate that doubles.
const FULL_SHARE: f64 = 0.8;
/// So few connections say nothing about a network.
const CONNECTIONS_MIN: u64 = 3;

/// The pages of one moment, `Null` where the gateway has none.
#[derive(Clone, Debug, Default)]
pub struct FetchedPages {
    pub status: Value,
    pub balance: Value,
    pub sampling: Value,
    pub peers: Value,
    pub pods: Value,
    pub storage: Value,
}

/// `seconds` lie between the two looks.
pub fn judge(before: &FetchedPages, now: &FetchedPages, seconds: f64) -> Vec<Finding> {
    let mut findings = vec![Finding::new(
        ProbeHealth::Good,
        "gateway",
        format!(
            "podgate {} runs here, up {}",
            text(&now.status["version"]),
            age(now.status["uptime_seconds"].as_u64().unwrap_or(0))
        ),
    )];
    findings.extend(components(&now.status));
    findings.extend(rates(&before.balance, &now.balance, seconds));
    findings.push(budget(&now.status["budget"]));
    findings.extend(now.sampling["samplers"].as_array().into_iter().flatten().map(sampler));
    findings.extend(now.storage.as_array().into_iter().flatten().map(storage));
    findings.extend(pods(&now.pods));
    findings.extend(connections(&now.peers));
    findings
}

fn components(status: &Value) -> Vec<Finding> {
    let troubled = entries(&status["components"]).filter(|(_, report)| report["state"] != "ok");
    let troubled = troubled.map(|(name, report)| {
        let message = format!("{name} is {}: {}", text(&report["state"]), text(&report["message"]));
        Finding::new(ProbeHealth::Bad, "component", message)
    });
    troubled.collect()
}

/// What flows, and what was lost.
fn rates(before: &Value, now: &Value, seconds: f64) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (signal, sheet) in entries(now) {
        let count = |sheet: &Value, entry: &str| sheet[entry].as_f64().unwrap_or(0.0);
        let received = count(sheet, "received");
        if received + count(sheet, "copied") == 0.0 {
            continue;
        }
        let rate = (received - count(&before[signal], "received")).max(0.0) / seconds.max(f64::MIN_POSITIVE);
        let lost: Vec<String> = entries(&sheet["dropped"])
            .filter(|(_, items)| items.as_u64().unwrap_or(0) > 0)
            .map(|(reason, items)| format!("{items} dropped({reason})"))
            .collect();
        let flow = format!("{signal}: {received:.0} received since the start, {rate:.0} a second now");
        findings.push(match lost.is_empty() {
            true => Finding::new(ProbeHealth::Good, "flow", flow),
            false => Finding::new(ProbeHealth::Doubtful, "flow", format!("{flow}; {}", lost.join(", ")))
                .with_help("podgate balance tells where every item went"),
        });
    }
    if findings.is_empty() {
        let message = "nothing was received since the start";
        findings.push(Finding::new(ProbeHealth::Doubtful, "flow", message).with_help(
            "set OTEL_EXPORTER_OTLP_ENDPOINT in an application (podgate env prints it); a NetworkPolicy may be in the way",
        ));
    }
    findings
}

fn budget(budget: &Value) -> Finding {
    let (used, hard) = (mebibytes(&budget["used_bytes"]), mebibytes(&budget["hard_bytes"]));
    let refused = budget["refused"].as_u64().unwrap_or(0);
    let message = format!("{used:.1} of {hard:.1} MiB of the budget in use");
    match (refused, used > hard * FULL_SHARE) {
        (0, false) => Finding::new(ProbeHealth::Good, "memory", message),
        (0, true) => Finding::new(ProbeHealth::Doubtful, "memory", message)
            .with_help("raise the memory limit, or find the next hop that is too slow"),
        (refused, _) => Finding::new(
            ProbeHealth::Bad,
            "memory",
            format!("{message}; {refused} claims were refused since the start"),
        )
        .with_help("senders were asked to retry later: raise the memory limit, or shorten decision_wait"),
    }
}

/// A log on disk: what waits in it, and how long it takes more.
fn storage(log: &Value) -> Finding {
    let waiting = log["waiting_records"].as_u64().unwrap_or(0);
    let mut message = format!(
        "{} holds {:.1} of {:.1} MiB",
        text(&log["storage"]),
        mebibytes(&log["bytes"]),
        mebibytes(&log["max_bytes"])
    );
    if waiting > 0 {
        message.push_str(&format!(", {waiting} records on disk alone"));
    }
    let lasts = log["lasts_seconds"].as_u64().filter(|_| waiting > 0);
    message.extend(lasts.map(|seconds| format!("; at the present rate the rest lasts {}", age(seconds))));
    match text(&log["state"]) {
        "ok" if waiting == 0 => Finding::new(ProbeHealth::Good, "disk", message),
        "ok" => Finding::new(ProbeHealth::Doubtful, "disk", message)
            .with_help("a next hop takes less than comes in: look at the exporters above, or at its own capacity"),
        state => Finding::new(ProbeHealth::Bad, "disk", format!("{message}: {state}"))
            .with_help("senders are refused until there is room: free some, or raise max_bytes"),
    }
}

/// What a sampler holds is the rate times `decision_wait`, so its room says how far the rate may grow.
fn sampler(sampler: &Value) -> Finding {
    let held = &sampler["held"];
    let (used, max) = (held["bytes"].as_f64().unwrap_or(0.0), held["max_bytes"].as_f64().unwrap_or(0.0));
    let name = format!("{} in {}", text(&sampler["processor"]), text(&sampler["pipeline"]));
    let message = format!(
        "{name} holds {} traces, {:.1} of {:.1} MiB",
        held["traces"],
        mebibytes(&held["bytes"]),
        mebibytes(&held["max_bytes"])
    );
    if used <= 0.0 || max <= 0.0 {
        return Finding::new(ProbeHealth::Good, "sampling", message);
    }
    let message = format!("{message}: room for {:.1} times this rate", max / used);
    match used > max * FULL_SHARE {
        false => Finding::new(ProbeHealth::Good, "sampling", message),
        true => Finding::new(ProbeHealth::Doubtful, "sampling", message)
            .with_help("traces are decided early when it is full: raise the memory limit or shorten decision_wait"),
    }
}

fn pods(page: &Value) -> Vec<Finding> {
    let of = |(processor, answer): (&String, &Value)| match answer["synced"] == true {
        true => Finding::new(ProbeHealth::Good, "pods", format!("{processor} knows {} pods", answer["total"])),
        false => Finding::new(ProbeHealth::Bad, "pods", format!("{processor} has no list of pods yet")).with_help(
            "the API server is not reached, or lists are not allowed; podgate's log and podgate status tell which",
        ),
    };
    entries(&page["processors"]).map(of).collect()
}

/// Behind masquerading every connection comes from the node, and a rule `connection` finds no pod.
fn connections(peers: &Value) -> Option<Finding> {
    let count = |key: &str| peers[key].as_u64().unwrap_or(0);
    let (all, of_pods, of_node) = (count("connections"), count("of_pods"), count("of_node"));
    if all == 0 {
        return None;
    }
    let message =
        format!("of {all} open connections {of_pods} come from the address of a pod, {of_node} from the node's own");
    Some(match all < CONNECTIONS_MIN || of_pods * 2 >= all {
        true => Finding::new(ProbeHealth::Good, "connections", message),
        false => Finding::new(ProbeHealth::Doubtful, "connections", message).with_help(
            "the network may hide pods behind the node (masquerading): the rule `connection` finds none then, so let \
             applications say k8s.pod.uid (podgate env)",
        ),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pages() -> FetchedPages {
        FetchedPages {
            status: json!({"version": "0.1.0", "uptime_seconds": 60, "budget": {"used_bytes": 1 << 20, "hard_bytes": 100 << 20, "refused": 0},
                "components": {"exporters::otlp_grpc": {"state": "ok", "message": ""}}}),
            balance: json!({"traces": {"received": 1_000, "copied": 0, "dropped": {"filter": 0}}}),
            sampling: json!({"samplers": [{"processor": "tail_sampling", "pipeline": "traces",
                "held": {"traces": 10, "bytes": 4 << 20, "max_bytes": 40 << 20}}]}),
            peers: json!({"connections": 10, "of_pods": 9, "of_node": 1, "others": 0}),
            pods: json!({"processors": {"k8s_attributes": {"total": 12, "synced": true}}}),
            storage: json!([{"storage": "extensions::file_storage", "state": "ok", "bytes": 3 << 20, "max_bytes": 2_048u64 << 20,
                "waiting_records": 0, "lasts_seconds": 7_200}]),
        }
    }

    fn finding(before: &FetchedPages, now: &FetchedPages, subject: &str) -> Finding {
        let findings = judge(before, now, 2.0);
        findings.into_iter().find(|finding| finding.subject == subject).unwrap_or_else(|| panic!("{subject}"))
    }

    #[test]
    fn a_healthy_gateway_gives_no_cause_for_doubt() {
        let findings = judge(&pages(), &pages(), 2.0);
        assert!(findings.iter().all(|finding| finding.health == ProbeHealth::Good), "{findings:?}");
        assert!(finding(&pages(), &pages(), "sampling").message.contains("room for 10.0 times this rate"));
    }

    #[test]
    fn rates_are_between_two_looks_and_drops_are_named() {
        let mut now = pages();
        now.balance = json!({"traces": {"received": 3_000, "copied": 0, "dropped": {"filter": 5, "nop": 0}}});
        let flow = finding(&pages(), &now, "flow");
        assert_eq!(
            (flow.health, flow.message.as_str()),
            (ProbeHealth::Doubtful, "traces: 3000 received since the start, 1000 a second now; 5 dropped(filter)")
        );
        now.balance = json!({});
        assert!(finding(&pages(), &now, "flow").message.contains("nothing was received"));
    }

    #[test]
    fn a_full_budget_a_degraded_component_and_a_missing_list_are_told() {
        let mut now = pages();
        now.status["budget"] = json!({"used_bytes": 99, "hard_bytes": 100, "refused": 0});
        assert_eq!(finding(&pages(), &now, "memory").health, ProbeHealth::Doubtful);
        now.status["budget"]["refused"] = json!(7);
        assert_eq!(finding(&pages(), &now, "memory").health, ProbeHealth::Bad);
        now.status["components"]["exporters::otlp_grpc"] =
            json!({"state": "degraded", "message": "connection refused"});
        assert!(finding(&pages(), &now, "component").message.ends_with("degraded: connection refused"));
        now.pods["processors"]["k8s_attributes"]["synced"] = json!(false);
        assert_eq!(finding(&pages(), &now, "pods").health, ProbeHealth::Bad);
        now.sampling["samplers"][0]["held"]["bytes"] = json!(39 << 20);
        assert_eq!(finding(&pages(), &now, "sampling").health, ProbeHealth::Doubtful);
    }

    #[test]
    fn a_log_that_takes_more_than_leaves_says_how_long_it_lasts_and_one_that_cannot_write_is_bad() {
        let mut now = pages();
        assert_eq!(finding(&pages(), &now, "disk").message, "extensions::file_storage holds 3.0 of 2048.0 MiB");
        now.storage[0]["waiting_records"] = json!(40);
        let disk = finding(&pages(), &now, "disk");
        assert!(disk.message.contains("40 records on disk alone; at the present rate the rest lasts"), "{disk:?}");
        assert_eq!(disk.health, ProbeHealth::Doubtful);
        now.storage[0]["state"] = json!("cannot write: no space left on device");
        let disk = finding(&pages(), &now, "disk");
        assert!(disk.health == ProbeHealth::Bad && disk.message.ends_with("no space left on device"), "{disk:?}");
    }

    #[test]
    fn masquerading_shows_in_where_connections_come_from() {
        let mut now = pages();
        now.peers = json!({"connections": 10, "of_pods": 0, "of_node": 10, "others": 0});
        let finding = finding(&pages(), &now, "connections");
        assert!(
            finding.health == ProbeHealth::Doubtful && finding.help.is_some_and(|help| help.contains("masquerading"))
        );
        now.peers = json!({"connections": 1, "of_pods": 0, "of_node": 1, "others": 0});
        assert!(
            judge(&pages(), &now, 2.0).iter().all(|finding| finding.health == ProbeHealth::Good),
            "one says nothing"
        );
    }
}

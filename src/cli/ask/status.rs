//! `podgate status`: age, memory, listeners and the state of every component of a running gateway.

use serde_json::Value;

use crate::cli::Exit;
use crate::cli::ask::admin::AdminArgs;
use crate::cli::ask::{age, entries, mebibytes, show, table, text};

pub fn run(args: &AdminArgs) -> Exit {
    show(args, "/v1/status", told, judged)
}

/// Something works with less than it should, or ends.
fn judged(page: &Value) -> Exit {
    let fine = entries(&page["components"]).all(|(_, report)| report["state"] == "ok");
    if fine && page["state"] == "ok" { Exit::Ok } else { Exit::Failure }
}

fn told(page: &Value) -> Vec<String> {
    let uptime = page["uptime_seconds"].as_u64().unwrap_or(0);
    let busy = page["cpu_seconds"].as_f64().unwrap_or(0.0) / (uptime.max(1)) as f64 * 100.0;
    let budget = &page["budget"];
    let mut lines = vec![
        format!("podgate {}: {}, up {}", text(&page["version"]), text(&page["state"]), age(uptime)),
        format!(
            "memory {:.1} MiB resident; budget {:.1} of {:.1} MiB in use, {} claims refused; CPU {busy:.1} % of a core since the start",
            mebibytes(&page["rss_bytes"]),
            mebibytes(&budget["used_bytes"]),
            mebibytes(&budget["hard_bytes"]),
            budget["refused"],
        ),
        String::new(),
    ];
    let rows = entries(&page["components"]).filter(|(name, _)| *name != "service");
    let rows = rows.map(|(name, report)| {
        vec![text(&report["state"]).to_owned(), name.clone(), text(&report["message"]).to_owned()]
    });
    lines.extend(table(&rows.collect::<Vec<_>>(), false));
    lines.push(String::new());
    let listeners =
        entries(&page["listeners"]).map(|(name, at)| vec!["listens".to_owned(), name.clone(), text(at).to_owned()]);
    lines.extend(table(&listeners.collect::<Vec<_>>(), false));
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_degraded_is_told_and_is_the_exit_code() {
        let mut page = json!({
            "version": "0.1.0", "state": "ok", "uptime_seconds": 7_300, "cpu_seconds": 73.0, "rss_bytes": 10 << 20,
            "budget": {"used_bytes": 1 << 20, "hard_bytes": 150 << 20, "refused": 0},
            "listeners": {"receivers::otlp::protocols::grpc": "127.0.0.1:4317"},
            "components": {"service": {"state": "ok", "message": ""}, "exporters::otlp_grpc": {"state": "ok", "message": ""}},
        });
        assert_eq!(judged(&page), Exit::Ok);
        page["components"]["exporters::otlp_grpc"] = json!({"state": "degraded", "message": "connection refused"});
        assert_eq!(judged(&page), Exit::Failure);
        let lines = told(&page).join("\n");
        for part in ["up 2 h 1 min", "10.0 MiB resident", "1.0 of 150.0 MiB", "CPU 1.0 %", "127.0.0.1:4317"] {
            assert!(lines.contains(part), "{part}: {lines}");
        }
        assert!(lines.contains("degraded  exporters::otlp_grpc  connection refused"), "{lines}");
        assert_eq!(judged(&Value::Null), Exit::Failure, "an answer of another program is no good state");
        assert!(!told(&Value::Null).is_empty());
    }
}

//! `podgate top`: what flows through a running gateway at this moment, from two looks at its pages.

use std::io::IsTerminal;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cli::Exit;
use crate::cli::ask::admin::{self, AdminArgs, AdminFault};
use crate::cli::ask::{entries, mebibytes, table, text};
use crate::config::value::duration;
use crate::telemetry::stdout;
use crate::telemetry::stdout::Format;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Between two looks
    #[arg(long, value_parser = duration::parse, default_value = "2s")]
    interval: Duration,
    /// End after so many; until Ctrl-C when not given
    #[arg(long, short = 'n')]
    count: Option<u32>,
    #[command(flatten)]
    admin: AdminArgs,
}

/// One look.
struct Look {
    status: Value,
    balance: Value,
    at: Instant,
}

const FLOWS: [&str; 5] = ["received", "delivered", "sampled_out", "refused", "dropped"];

pub fn run(args: &Args) -> Exit {
    let shown = watch(args);
    shown.map_or_else(
        |fault| {
            stdout::error_line(&fault.to_string());
            Exit::Failure
        },
        |()| Exit::Ok,
    )
}

fn watch(args: &Args) -> Result<(), AdminFault> {
    // At a terminal one picture that changes; else one after the other.
    let picture = std::io::stdout().is_terminal() && args.admin.format == Format::Text && args.count != Some(1);
    let mut before = look(&args.admin)?;
    let mut left = args.count;
    while left != Some(0) {
        std::thread::sleep(args.interval);
        let now = look(&args.admin)?;
        let seconds = now.at.duration_since(before.at).as_secs_f64();
        let flows = flows(&before.balance, &now.balance, seconds);
        let busy = share(&before.status, &now.status, seconds);
        match args.admin.format {
            Format::Json => {
                stdout::line(&json!({ "flows": flows, "cpu_share": busy, "status": now.status }).to_string())
            }
            Format::Text => {
                let home = if picture { "\x1b[H\x1b[2J" } else { "" };
                stdout::line(&format!("{home}{}", told(&now.status, &flows, busy).join("\n")));
            }
        }
        before = now;
        left = left.map(|left| left - 1);
    }
    Ok(())
}

fn look(admin: &AdminArgs) -> Result<Look, AdminFault> {
    Ok(Look {
        status: admin::get(admin, "/v1/status")?,
        balance: admin::get(admin, "/v1/balance")?,
        at: Instant::now(),
    })
}

/// Items a second by signal, and what is held; signals that never saw an item are left out.
fn flows(before: &Value, now: &Value, seconds: f64) -> Value {
    let sum = |sheet: &Value, entry: &str| match &sheet[entry] {
        Value::Object(reasons) => reasons.values().filter_map(Value::as_f64).sum(),
        number => number.as_f64().unwrap_or(0.0),
    };
    let mut all = serde_json::Map::new();
    for (signal, sheet) in entries(now).filter(|(_, sheet)| sum(sheet, "received") + sum(sheet, "copied") > 0.0) {
        let rate = |entry: &str| {
            let grown = (sum(sheet, entry) - sum(&before[signal], entry)).max(0.0);
            (entry.to_owned(), Value::from((grown / seconds.max(f64::MIN_POSITIVE)).round() as u64))
        };
        let mut row: serde_json::Map<String, Value> = FLOWS.into_iter().map(rate).collect();
        row.insert("held".to_owned(), sheet["held"].clone());
        all.insert(signal.clone(), row.into());
    }
    all.into()
}

/// Of one core.
fn share(before: &Value, now: &Value, seconds: f64) -> f64 {
    let cpu = |status: &Value| status["cpu_seconds"].as_f64().unwrap_or(0.0);
    ((cpu(now) - cpu(before)).max(0.0) / seconds.max(f64::MIN_POSITIVE) * 1_000.0).round() / 1_000.0
}

fn told(status: &Value, flows: &Value, busy: f64) -> Vec<String> {
    let budget = &status["budget"];
    let mut lines = vec![format!(
        "podgate {}: {}; CPU {:.1} % of a core, {:.1} MiB resident, budget {:.1} of {:.1} MiB",
        text(&status["version"]),
        text(&status["state"]),
        busy * 100.0,
        mebibytes(&status["rss_bytes"]),
        mebibytes(&budget["used_bytes"]),
        mebibytes(&budget["hard_bytes"]),
    )];
    let mut rows = vec![vec!["items a second".to_owned()]];
    rows[0].extend(FLOWS.map(str::to_owned));
    rows[0].push("held".to_owned());
    for (signal, flow) in entries(flows) {
        let mut row = vec![signal.clone()];
        row.extend(FLOWS.iter().chain(&["held"]).map(|entry| flow[*entry].to_string()));
        rows.push(row);
    }
    if rows.len() == 1 {
        lines.push("nothing was received yet".to_owned());
        return lines;
    }
    lines.extend(table(&rows, true));
    let troubled = entries(&status["components"]).filter(|(_, report)| report["state"] != "ok");
    lines.extend(
        troubled.map(|(name, report)| format!("{} {name}: {}", text(&report["state"]), text(&report["message"]))),
    );
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_what_grew_between_two_looks_and_held_is_now() {
        let sheet = |received: u64, dropped: u64| {
            json!({"traces": {"received": received, "copied": 0, "delivered": received - dropped, "sampled_out": 0,
                "refused": 0, "held": 7, "dropped": {"filter": dropped, "nop": 0}}})
        };
        let flows = flows(&sheet(100, 0), &sheet(300, 20), 2.0);
        assert_eq!((&flows["traces"]["received"], &flows["traces"]["dropped"]), (&json!(100), &json!(10)));
        assert_eq!(flows["traces"]["held"], 7);
        let status = json!({"version": "0.1.0", "state": "ok", "components": {"exporters::x": {"state": "degraded", "message": "away"}}});
        let lines = told(&status, &flows, 0.03).join("\n");
        assert!(lines.contains("CPU 3.0 %") && lines.contains("degraded exporters::x: away"), "{lines}");
        assert_eq!(told(&status, &json!({}), 0.0)[1], "nothing was received yet");
    }

    #[test]
    fn after_a_restart_between_two_looks_no_rate_is_negative() {
        let sheet = |received: u64| json!({"logs": {"received": received, "copied": 0, "dropped": {}}});
        assert_eq!(flows(&sheet(500), &sheet(3), 1.0)["logs"]["received"], 0);
        assert_eq!(share(&json!({"cpu_seconds": 9.0}), &json!({"cpu_seconds": 0.1}), 1.0), 0.0);
    }
}

//! `podgate balance`: where every item went, of a running gateway.

use serde_json::Value;

use crate::cli::Exit;
use crate::cli::ask::admin::AdminArgs;
use crate::cli::ask::{entries, show, table};

const ENTRIES: [&str; 7] = ["received", "copied", "delivered", "sampled_out", "refused", "on_disk", "held"];

pub fn run(args: &AdminArgs) -> Exit {
    show(args, "/v1/balance", told, |_| Exit::Ok)
}

fn told(page: &Value) -> Vec<String> {
    let seen: Vec<(&String, &Value)> = entries(page).filter(|(_, sheet)| has_seen_items(sheet)).collect();
    if seen.is_empty() {
        return vec!["nothing was received".to_owned()];
    }
    let mut head = vec!["signal".to_owned()];
    head.extend(ENTRIES.map(str::to_owned));
    let mut reasons: Vec<&String> =
        seen.iter().flat_map(|(_, sheet)| entries(&sheet["dropped"])).map(|(name, _)| name).collect();
    reasons.sort();
    reasons.dedup();
    head.extend(reasons.iter().map(|reason| format!("dropped({reason})")));
    let mut rows = vec![head];
    for (signal, sheet) in seen {
        let mut row = vec![signal.clone()];
        row.extend(ENTRIES.map(|entry| number(&sheet[entry])));
        row.extend(reasons.iter().map(|reason| number(&sheet["dropped"][reason.as_str()])));
        rows.push(row);
    }
    table(&rows, true)
}

fn has_seen_items(sheet: &Value) -> bool {
    ["received", "copied"].iter().any(|entry| sheet[*entry].as_u64().unwrap_or(0) > 0)
}

fn number(value: &Value) -> String {
    value.as_i64().unwrap_or(0).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_signal_that_saw_items_is_a_row_and_every_reason_a_column() {
        let page = json!({
            "traces": {"received": 10, "copied": 0, "delivered": 7, "sampled_out": 1, "refused": 0, "on_disk": 3, "held": 1, "dropped": {"filter": 1}},
            "logs": {"received": 2, "copied": 0, "delivered": 0, "sampled_out": 0, "refused": 0, "held": 0, "dropped": {"nop": 2}},
            "metrics": {"received": 0, "copied": 0, "delivered": 0, "sampled_out": 0, "refused": 0, "held": 0, "dropped": {}},
        });
        let lines = told(&page);
        let words: Vec<Vec<&str>> = lines.iter().map(|line| line.split_whitespace().collect()).collect();
        let head = [
            "signal",
            "received",
            "copied",
            "delivered",
            "sampled_out",
            "refused",
            "on_disk",
            "held",
            "dropped(filter)",
            "dropped(nop)",
        ];
        assert_eq!(words[0], head);
        assert_eq!(words[1], ["logs", "2", "0", "0", "0", "0", "0", "0", "0", "2"]);
        assert_eq!(words[2], ["traces", "10", "0", "7", "1", "0", "3", "1", "1", "0"]);
        assert_eq!(told(&json!({})), ["nothing was received"]);
    }
}

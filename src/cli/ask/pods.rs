//! `podgate pods`: the pods a running gateway knows, with the newest run of each container.

use serde_json::Value;

use crate::cli::Exit;
use crate::cli::ask::admin::{self, AdminArgs};
use crate::cli::ask::{entries, show, table, text};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Of this namespace only
    #[arg(long, short)]
    namespace: Option<String>,
    #[command(flatten)]
    admin: AdminArgs,
}

pub fn run(args: &Args) -> Exit {
    let namespace = args.namespace.as_deref().map(|name| format!("?namespace={}", admin::escaped(name)));
    show(&args.admin, &format!("/v1/pods{}", namespace.unwrap_or_default()), told, |_| Exit::Ok)
}

fn told(page: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for (processor, answer) in entries(&page["processors"]) {
        let state =
            if answer["synced"] == true { "the list is complete" } else { "the first list has not arrived yet" };
        lines.push(format!("{processor}: {} pods, {state}", answer["total"]));
        let mut rows: Vec<Vec<String>> =
            vec![["POD", "CONTAINER", "RESTARTS", "CONTAINER.ID", "NODE", "STATE"].map(str::to_owned).into()];
        rows.extend(answer["pods"].as_array().into_iter().flatten().flat_map(of_pod));
        lines.extend(table(&rows, false));
    }
    lines
}

fn of_pod(pod: &Value) -> Vec<Vec<String>> {
    let state = if pod["deleted_at"].is_null() { text(&pod["phase"]) } else { "deleted" };
    let row = |container: &Value| {
        let id = text(&container["container_id"]);
        let restarts = container["restart_count"].as_i64().map_or("-".to_owned(), |count| count.to_string());
        let waiting = container["waiting"].as_str().filter(|reason| !reason.is_empty());
        vec![
            format!("{}/{}", text(&pod["namespace"]), text(&pod["name"])),
            text(&container["name"]).to_owned(),
            restarts,
            id.get(..12).unwrap_or(id).to_owned(),
            text(&pod["node"]).to_owned(),
            waiting.map_or(state.to_owned(), |reason| format!("{state}, {reason}")),
        ]
    };
    pod["containers"].as_array().into_iter().flatten().map(row).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_container_is_a_row_with_its_newest_run() {
        let page = json!({"processors": {"k8s_attributes": {"total": 1, "synced": true, "pods": [{
        "namespace": "shop", "name": "cart-1", "node": "n1", "phase": "Running", "deleted_at": null,
        "containers": [
            {"name": "app", "container_id": "9b27aaaaaaaaaaaaaaaa", "restart_count": 2, "waiting": ""},
            {"name": "init", "container_id": null, "restart_count": null, "waiting": "PodInitializing"},
        ]}]}}});
        let lines = told(&page);
        assert_eq!(lines[0], "k8s_attributes: 1 pods, the list is complete");
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&lines[2]), ["shop/cart-1", "app", "2", "9b27aaaaaaaa", "n1", "Running"]);
        assert_eq!(words(&lines[3]), ["shop/cart-1", "init", "-", "-", "n1", "Running,", "PodInitializing"]);
    }
}

//! `podgate reload`: tells a running gateway to read its configuration again, and prints what came of it.

use std::path::PathBuf;

use serde_json::Value;

use crate::cli::Exit;
use crate::cli::ask::admin::{self, AdminArgs};
use crate::cli::ask::text;
use crate::telemetry::stdout;
use crate::telemetry::stdout::Format;

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub admin: AdminArgs,
    /// The file that `token_file` of the admin extension names: whoever reads it may reload
    #[arg(long, env = "PODGATE_ADMIN_TOKEN_FILE", value_name = "FILE")]
    pub token_file: PathBuf,
}

pub fn run(args: &Args) -> Exit {
    let answer = admin::token(&args.token_file)
        .and_then(|token| admin::post(&args.admin, "/v1/reload", &token, "").map_err(|fault| fault.to_string()));
    let page = match answer {
        Ok(page) => page,
        Err(why) => {
            stdout::error_line(&why);
            return Exit::Failure;
        }
    };
    match args.admin.format {
        Format::Json => stdout::line(&page.to_string()),
        Format::Text => told(&page).iter().for_each(|line| stdout::line(line)),
    }
    judged(&page)
}

fn judged(page: &Value) -> Exit {
    match text(&page["outcome"]) {
        "applied" | "unchanged" => Exit::Ok,
        "refused" | "failed" => Exit::Configuration,
        _ => Exit::Failure,
    }
}

fn told(page: &Value) -> Vec<String> {
    let mut lines: Vec<String> = text(&page["findings"]).lines().map(str::to_owned).collect();
    lines.push(match text(&page["outcome"]) {
        "applied" => "the new configuration runs".to_owned(),
        "unchanged" => "the configuration is the one that runs already".to_owned(),
        _ => "the configuration before runs on".to_owned(),
    });
    for key in ["added", "removed", "changed"] {
        let paths = page[key].as_array().into_iter().flatten();
        lines.extend(paths.map(|path| format!("  {key:<8} {}", text(path))));
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_outcome_is_told_with_its_findings_and_judged_by_the_exit_code() {
        let page =
            json!({"outcome": "applied", "findings": "", "added": ["exporters::debug"], "changed": [], "removed": []});
        assert_eq!(told(&page), ["the new configuration runs", "  added    exporters::debug"]);
        let outcomes =
            ["applied", "unchanged", "refused", "failed", "odd"].map(|outcome| judged(&json!({"outcome": outcome})));
        assert_eq!(outcomes, [Exit::Ok, Exit::Ok, Exit::Configuration, Exit::Configuration, Exit::Failure]);
        let page = json!({"outcome": "refused", "findings": "error[E0201]: unknown key\n"});
        assert_eq!(told(&page), ["error[E0201]: unknown key", "the configuration before runs on"]);
    }
}

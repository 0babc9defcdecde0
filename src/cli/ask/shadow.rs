//! `podgate shadow`: gives a running gateway's samplers other policies for a while, without effect on what is kept.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use serde_json::Value;

use crate::cli::Exit;
use crate::cli::ask::admin::{self, AdminArgs};
use crate::cli::ask::{age, text};
use crate::telemetry::stdout;
use crate::telemetry::stdout::Format;

#[derive(Debug, ClapArgs)]
pub struct Args {
    /// YAML: a list of tail_sampling policies, or a map with the key policies
    #[arg(long, value_name = "FILE")]
    pub policies: PathBuf,
    /// How long they are judged beside the others: up to a day
    #[arg(long = "for", value_name = "TIME", default_value = "10m")]
    pub time: String,
    /// Only for this sampler: tail_sampling/name
    #[arg(long, value_name = "ID")]
    pub processor: Option<String>,
    /// The file with the token, the same as the admin extension's token_file
    #[arg(long, env = "PODGATE_ADMIN_TOKEN_FILE", value_name = "FILE")]
    pub token_file: PathBuf,
    #[command(flatten)]
    pub admin: AdminArgs,
}

pub fn run(args: &Args) -> Exit {
    match give(args) {
        Ok(page) => {
            match args.admin.format {
                Format::Json => stdout::line(&page.to_string()),
                Format::Text => told(&page).iter().for_each(|line| stdout::line(line)),
            }
            Exit::Ok
        }
        Err(why) => {
            stdout::error_line(&why);
            Exit::Failure
        }
    }
}

fn give(args: &Args) -> Result<Value, String> {
    let read = |file: &PathBuf| std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()));
    let (policies, token) = (read(&args.policies)?, admin::token(&args.token_file)?);
    let mut path = format!("/v1/sampling/shadow?for={}", admin::escaped(&args.time));
    if let Some(processor) = &args.processor {
        path.push_str(&format!("&processor={}", admin::escaped(processor)));
    }
    admin::post(&args.admin, &path, &token, &policies).map_err(|fault| fault.to_string())
}

fn told(page: &Value) -> Vec<String> {
    let time = age(page["for_seconds"].as_u64().unwrap_or(0));
    let given = page["given"].as_array().into_iter().flatten();
    let mut lines: Vec<String> = given
        .map(|given| {
            let (processor, pipeline) = (text(&given["processor"]), text(&given["pipeline"]));
            format!("{processor} in {pipeline} judges them for {time}, without effect on what is kept")
        })
        .collect();
    lines.push("what would become otherwise: podgate explain sampling".to_owned());
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn who_was_given_the_policies_and_for_how_long_is_told() {
        let given = json!([{ "processor": "tail_sampling", "pipeline": "traces", "version": 2 }]);
        let lines = told(&json!({ "given": given, "for_seconds": 600 }));
        assert_eq!(lines[0], "tail_sampling in traces judges them for 10 min, without effect on what is kept");
    }
}

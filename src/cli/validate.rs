//! `podgate validate`: the whole build step without I/O. What it accepts, `run` starts.

use crate::cli::sources::{self, ConfigArgs};
use crate::cli::{Exit, out};

pub fn run(args: &ConfigArgs) -> Exit {
    if let Err(exit) = sources::require_config(args) {
        return exit;
    }
    let checked = sources::check(args);
    checked.report();
    let Some(plan) = checked.plan else { return Exit::Configuration };
    let pipelines: Vec<&str> = plan.pipelines.iter().map(|pipeline| pipeline.name.as_str()).collect();
    out::line(&format!("configuration is valid: {} pipeline(s): {}", pipelines.len(), pipelines.join(", ")));
    Exit::Ok
}

//! `podgate validate`: the whole build step without I/O. What it accepts, `run` starts.

use serde_json::json;

use crate::cli::Exit;
use crate::cli::sources::{self, Checked, ConfigArgs};
use crate::config::show::diagnose;
use crate::core::stage::component::ComponentId;
use crate::pipeline::plan::Plan;
use crate::telemetry::stdout;
use crate::telemetry::stdout::Format;

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Text for people, or one JSON object for machines
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
}

pub fn run(args: &Args) -> Exit {
    let checked = match sources::named(&args.config, sources::check_before_deploying) {
        Ok(checked) => checked,
        Err(exit) => return exit,
    };
    match args.format {
        Format::Json => stdout::line(&as_json(&checked).to_string()),
        Format::Text => {
            checked.report();
            checked.plan.iter().flat_map(told).for_each(|line| stdout::line(&line));
        }
    }
    if checked.plan.is_some() { Exit::Ok } else { Exit::Configuration }
}

/// A line that counts them, and one for each pipeline: what it does to data, stage by stage.
fn told(plan: &Plan) -> Vec<String> {
    let names: Vec<&str> = plan.pipelines.iter().map(|pipeline| pipeline.name.as_str()).collect();
    let mut lines = vec![format!("configuration is valid: {} pipeline(s): {}", names.len(), names.join(", "))];
    lines.extend(plan.pipelines.iter().map(|pipeline| {
        let ends = if pipeline.drops_everything { "  (everything is dropped)" } else { "" };
        let listed = |ids: &[ComponentId]| ids.iter().map(ComponentId::to_string).collect::<Vec<_>>().join(", ");
        let stages = pipeline.processors.iter().map(|id| format!("{id} > ")).collect::<String>();
        let (name, from, to) = (&pipeline.name, listed(&pipeline.receivers), listed(&pipeline.exporters));
        format!("  {name}: {from} > {stages}{to}{ends}")
    }));
    lines
}

fn as_json(checked: &Checked) -> serde_json::Value {
    let ids = |ids: &[ComponentId]| ids.iter().map(ComponentId::to_string).collect::<Vec<_>>();
    let pipelines = checked.plan.iter().flat_map(|plan| &plan.pipelines).map(|pipeline| {
        json!({
            "name": pipeline.name,
            "signal": pipeline.signal.name(),
            "receivers": ids(&pipeline.receivers),
            "processors": ids(&pipeline.processors),
            "exporters": ids(&pipeline.exporters),
            "drops_everything": pipeline.drops_everything,
        })
    });
    json!({
        "valid": checked.plan.is_some(),
        "findings": diagnose::as_json(&checked.findings, &checked.sources),
        "pipelines": pipelines.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(exporters: &str) -> Checked {
        let text = format!(
            "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: 127.0.0.1:0}}}}}}}}\nprocessors: {{batch: }}\n\
             exporters: {{nop: , debug: }}\n\
             service: {{pipelines: {{logs: {{receivers: [otlp], processors: [batch], exporters: [{exporters}]}}}}}}\n"
        );
        let config = vec![format!("yaml:{text}")];
        sources::check(&ConfigArgs { config, ..ConfigArgs::default() })
    }

    #[test]
    fn each_pipeline_is_a_line_and_one_that_drops_everything_says_so() {
        let lines = |exporters| checked(exporters).plan.iter().flat_map(told).collect::<Vec<_>>();
        assert_eq!(lines("nop")[1], "  logs: otlp > batch > nop  (everything is dropped)");
        assert_eq!(lines("nop, debug")[1], "  logs: otlp > batch > nop, debug");
    }

    #[test]
    fn machines_read_findings_with_their_places() {
        let page = as_json(&checked("nope"));
        let mut findings = page["findings"].as_array().into_iter().flatten();
        let finding = findings.find(|finding| finding["severity"] == "error").unwrap_or_else(|| panic!("{page}"));
        assert_eq!(
            (&page["valid"], &finding["severity"], &finding["file"]),
            (&json!(false), &json!("error"), &json!("yaml"))
        );
        assert_eq!((&finding["line"], finding["code"].as_str().map(|code| &code[..1])), (&json!(4), Some("E")));
        let page = as_json(&checked("nop"));
        assert_eq!((&page["valid"], &page["pipelines"][0]["drops_everything"]), (&json!(true), &json!(true)));
    }
}

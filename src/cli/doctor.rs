//! `podgate doctor`: what the components of a configuration find out about the world they are to work with.

use crate::cli::sources::{self, ConfigArgs};
use crate::cli::{Exit, out, run};
use crate::core::probe::{Finding, Health, Probe, Report};
use crate::pipeline::plan::Plan;

pub fn run(args: &ConfigArgs) -> Exit {
    if let Err(exit) = sources::require_config(args) {
        return exit;
    }
    let checked = sources::check(args);
    checked.report();
    let Some(plan) = checked.plan else { return Exit::Configuration };
    out::line("configuration: valid");
    match run::to_end(ask(&plan)) {
        Err(exit) => exit,
        Ok(Some(Health::Bad)) => Exit::Failure,
        Ok(Some(_)) => Exit::Ok,
        Ok(None) => {
            out::line("no component of this configuration has anything to ask");
            Exit::Ok
        }
    }
}

async fn ask(plan: &Plan) -> Option<Health> {
    let mut worst = None;
    for (path, probe) in probes(plan) {
        out::line(&format!("{path}:"));
        let Report { findings, .. } = probe.ask().await;
        findings.iter().flat_map(told).for_each(|line| out::line(&line));
        worst = worst.max(findings.iter().map(|finding| finding.health).max());
    }
    worst
}

/// Every probe that the plan's components contribute, with the component's path.
pub fn probes(plan: &Plan) -> impl Iterator<Item = (String, Box<dyn Probe>)> {
    plan.exporters.iter().filter_map(|(id, exporter)| Some((format!("exporters::{id}"), exporter.probe()?)))
}

/// A finding as a person reads it.
pub fn told(finding: &Finding) -> Vec<String> {
    let mark = match finding.health {
        Health::Good => "ok  ",
        Health::Doubtful => "warn",
        Health::Bad => "FAIL",
    };
    let mut lines = vec![format!("  {mark} {:<12} {}", finding.subject, finding.message)];
    lines.extend(finding.help.iter().map(|help| format!("       {:<12} -> {help}", "")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_and_its_cure_another() {
        let finding = Finding::new(Health::Bad, "templates", "none");
        assert_eq!(told(&finding), ["  FAIL templates    none"]);
        assert_eq!(told(&finding.with_help("make one"))[1].trim(), "-> make one");
    }
}

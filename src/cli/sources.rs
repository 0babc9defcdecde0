//! `--config` and its companions, and the way from them to a checked plan: the same for run, validate and demo.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use clap::{Args, ValueEnum};

use crate::cli::Exit;
use crate::config::document;
use crate::config::read::manifest;
use crate::config::read::source::{FLAG, read_file};
use crate::config::show::diagnose;
use crate::config::{self, PlacedText, Sources};
use crate::core::diagnostic::{Diagnostic, code};
use crate::core::node::Node;
use crate::core::stage::factory::{Checks, Environment, FeatureGates};
use crate::pipeline::plan::{self, Plan, Unsupported};
use crate::pipeline::waits;
use crate::telemetry::limits::{self, Machine};
use crate::telemetry::stdout;

#[derive(Clone, Debug, Default, Args)]
pub struct ConfigArgs {
    /// Configuration: a path, file:PATH, env:NAME or yaml:TEXT; repeat to merge, later wins (maps join, lists replace).
    /// Without it the environment's PODGATE_CONFIG, which is one source.
    /// A manifest is read for its ConfigMap or OpenTelemetryCollector; of several, MANIFEST#KEY is one
    #[arg(long, short, value_name = "SOURCE")]
    pub config: Vec<String>,
    /// Set one value after all files: --set processors.batch.timeout=2s
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// What to do with components podgate does not have; refuse, unless PODGATE_UNSUPPORTED says otherwise
    #[arg(long, value_enum)]
    pub unsupported: Option<UnsupportedArg>,
    /// The Collector's feature gates: usetracestate of its tail sampling is known, others have no effect
    #[arg(long, value_name = "GATES", value_delimiter = ',')]
    pub feature_gates: Vec<String>,
    /// Texts that a command brings by an option of its own, behind all values that are set.
    #[arg(skip)]
    pub placed: Vec<PlacedText>,
    /// The environment, not a flag, named the configuration.
    #[arg(skip)]
    pub by_variable: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum UnsupportedArg {
    /// Refuse to start and say where they are
    #[default]
    Refuse,
    /// Leave them out, and pipelines without receiver or exporter, one warning each
    Skip,
    /// As skip, and also what hides data, and pipelines that then only print
    SkipAll,
}

/// A configuration after the whole check, sound or not.
pub struct Checked {
    pub plan: Option<Plan>,
    pub tree: Option<Node>,
    pub sources: Sources,
    /// In order, without what must not be shown; of very many the first ([`crate::core::diagnostic::FINDINGS_MAX`]).
    pub findings: Vec<Diagnostic>,
    /// Fixed addresses that are to be listened on, with the path of the component.
    pub listeners: Vec<(SocketAddr, String)>,
}

/// Loads and checks; reads files and the environment, opens nothing.
pub fn check(args: &ConfigArgs) -> Checked {
    check_with(args, Environment::default())
}

/// The checked configuration of a command that needs one. What is missing or wrong is said before the exit code comes back.
pub fn named(args: &ConfigArgs, check: impl Fn(&ConfigArgs) -> Checked) -> Result<Checked, Exit> {
    require_config(args)?;
    Ok(check(args))
}

/// The plan of a sound configuration, as [`named`]; warnings are not said.
pub fn planned(args: &ConfigArgs) -> Result<Plan, Exit> {
    let mut checked = named(args, check)?;
    checked.plan.take().ok_or_else(|| {
        checked.report();
        Exit::Configuration
    })
}

/// As [`check`], where variables that are not set are those of the pod spec in a manifest that is read. Nothing is started
/// with them: what only the cluster knows is a stand-in.
pub fn check_before_deploying(args: &ConfigArgs) -> Checked {
    let path = |config: &String| config.strip_prefix("file:").unwrap_or(config).to_owned();
    let read =
        |path: String| read_file(&path).or_else(|_| read_file(path.rsplit_once('#').map_or("", |(path, _)| path)));
    let texts = args.config.iter().map(path).filter_map(|path| read(path).ok());
    let given: BTreeMap<String, String> =
        texts.filter_map(|text| manifest::objects(&text)).flat_map(|objects| manifest::environment(&objects)).collect();
    check_with(args, Environment::of(move |name| std::env::var(name).ok().or_else(|| given.get(name).cloned())))
}

/// As [`check`], with another environment.
pub fn check_with(args: &ConfigArgs, environment: Environment) -> Checked {
    let checks = Checks { environment, gates: FeatureGates::of(&args.feature_gates), ..Checks::default() };
    let env = |name: &str| checks.environment.variable(name);
    let named_by = if args.by_variable { CONFIG_VARIABLE } else { FLAG };
    let (sources, tree) =
        config::load_named((named_by, &args.config), (&args.set, &args.placed), &env, &checks.diagnostics);
    let unsupported = match args.unsupported.unwrap_or_default() {
        UnsupportedArg::Refuse => Unsupported::Refuse,
        UnsupportedArg::Skip => Unsupported::Skip,
        UnsupportedArg::SkipAll => Unsupported::SkipAll,
    };
    let plan = tree.as_ref().and_then(|tree| {
        let document = document::read(tree, &checks.diagnostics);
        plan::plan(document, unsupported, &checks)
    });
    if let Some(plan) = &plan {
        let (budget, _) = limits::of(plan.memory_limit, Machine::look());
        waits::check_within(&plan.processors, budget, &checks.diagnostics);
    }
    for gate in checks.gates.without_effect() {
        checks.diagnostics.push(
            Diagnostic::warning(code::IGNORED_KEY, None)
                .at("--feature-gates".to_owned())
                .says(format!("feature gate `{gate}` has no effect: no component of the configuration has it here")),
        );
    }
    let findings = sources.hidden.clean(checks.diagnostics.first());
    let plan = plan.filter(|_| !checks.diagnostics.has_errors());
    let listeners = checks.listeners.take().into_iter().map(|(address, path, _)| (address, path)).collect();
    Checked { plan, tree, sources, findings, listeners }
}

impl ConfigArgs {
    pub fn is_given(&self) -> bool {
        !(self.config.is_empty() && self.set.is_empty() && self.feature_gates.is_empty()) || self.unsupported.is_some()
    }

    /// As the Collector takes them, the flags may stand before the subcommand: `podgate --config F validate`.
    pub fn or(self, before: ConfigArgs) -> ConfigArgs {
        ConfigArgs {
            config: [before.config, self.config].concat(),
            set: [before.set, self.set].concat(),
            placed: [before.placed, self.placed].concat(),
            unsupported: self.unsupported.or(before.unsupported),
            feature_gates: [before.feature_gates, self.feature_gates].concat(),
            by_variable: self.by_variable || before.by_variable,
        }
    }
}

/// What the environment says where the flags say nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvironmentSources {
    config: Option<String>,
    unsupported: Option<UnsupportedArg>,
}

pub const CONFIG_VARIABLE: &str = "PODGATE_CONFIG";
const UNSUPPORTED_VARIABLE: &str = "PODGATE_UNSUPPORTED";

impl EnvironmentSources {
    /// Reads the variables by `named`; empty ones are not set. The error is a sentence for a person.
    pub fn read(named: impl Fn(&str) -> Option<String>) -> Result<EnvironmentSources, String> {
        let given = |name| named(name).filter(|value| !value.is_empty());
        let unsupported = given(UNSUPPORTED_VARIABLE).map(|value| {
            UnsupportedArg::from_str(&value, false).map_err(|_| {
                format!("{UNSUPPORTED_VARIABLE} is {value:?} in the environment: write refuse, skip or skip-all, or unset it")
            })
        });
        Ok(EnvironmentSources { config: given(CONFIG_VARIABLE), unsupported: unsupported.transpose()? })
    }

    /// The arguments, with what only the environment says.
    pub fn complete(&self, args: ConfigArgs) -> ConfigArgs {
        let unsupported = args.unsupported.or(self.unsupported);
        match &self.config {
            Some(config) if args.config.is_empty() => {
                ConfigArgs { config: vec![config.clone()], unsupported, by_variable: true, ..args }
            }
            _ => ConfigArgs { unsupported, ..args },
        }
    }
}

impl Checked {
    /// Prints every finding to standard error.
    pub fn report(&self) {
        if !self.findings.is_empty() {
            stdout::error_line(diagnose::render(&self.findings, &self.sources, stdout::colored()).trim_end());
        }
    }
}

/// The usage answer when no configuration was named.
pub fn require_config(args: &ConfigArgs) -> Result<(), Exit> {
    if args.config.is_empty() {
        stdout::error_line(
            "no configuration: give --config FILE (see examples/) or set PODGATE_CONFIG, or try `podgate demo`",
        );
        return Err(Exit::Usage);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_go_before_the_environment() {
        let read = |config: &'static str, unsupported: &'static str| {
            EnvironmentSources::read(move |name| {
                Some(if name == CONFIG_VARIABLE { config } else { unsupported }.to_owned())
            })
        };
        let surroundings = read("a.yaml", "skip").expect("sound");
        let bare = surroundings.complete(ConfigArgs::default());
        assert_eq!((bare.config, bare.unsupported), (vec!["a.yaml".to_owned()], Some(UnsupportedArg::Skip)));
        let args = ConfigArgs {
            config: vec!["b.yaml".to_owned()],
            unsupported: Some(UnsupportedArg::Refuse),
            ..ConfigArgs::default()
        };
        let flagged = surroundings.complete(args);
        assert_eq!((flagged.config, flagged.unsupported), (vec!["b.yaml".to_owned()], Some(UnsupportedArg::Refuse)));
        assert_eq!(read("", ""), Ok(EnvironmentSources::default()), "set and empty is not set");
        let fault = read("a.yaml", "ignore").expect_err("no such word");
        assert!(fault.contains("\"ignore\"") && fault.contains("skip-all"), "{fault}");
    }
}

//! The command line: what a person types, one file per subcommand. Prints through `out`; exit codes in one place.

pub mod components;
pub mod demo;
pub mod doctor;
pub mod elastic;
pub mod explain;
pub mod loadgen;
pub mod out;
pub mod print_config;
pub mod replay;
pub mod run;
pub mod sources;
pub mod validate;

use clap::{Parser, Subcommand};

/// OTLP gateway for Kubernetes nodes: names the right run of the right container, samples whole traces, delivers.
///
/// Reads OpenTelemetry Collector YAML. With --config alone it runs.
#[derive(Debug, Parser)]
#[command(name = "podgate", version, args_conflicts_with_subcommands = true, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 fine, 1 failure while running, 2 wrong usage, 78 wrong configuration.\n\n\
    Try it without anything else installed:  podgate demo\n\
    See what your application sends:         podgate --config examples/local.yaml")]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: sources::ConfigArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway (the default when only --config is given)
    Run(sources::ConfigArgs),
    /// Check a configuration completely, without opening a socket
    Validate(sources::ConfigArgs),
    /// List the components, their old names and the signals they take
    Components(components::Args),
    /// Tell why a resource gets its pod and container.id, from a running gateway
    Explain(explain::Args),
    /// Ask the world around a configuration whether it will work: versions, templates, privileges
    Doctor(sources::ConfigArgs),
    /// Index templates and lifecycle for Elasticsearch
    Elastic(elastic::Args),
    /// Print the configuration after expansion and merge, secrets redacted
    PrintConfig(print_config::Args),
    /// Send the documents of an Elasticsearch exporter's dead-letter file again
    Replay(replay::Args),
    /// Show the main job on this machine, judged by an end that knows the truth
    Demo(demo::Args),
    /// Send generated traces to an OTLP endpoint and say what became of them
    Loadgen(loadgen::Args),
}

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Ok = 0,
    Failure = 1,
    Usage = 2,
    Configuration = 78,
}

/// Runs what was asked for.
pub fn dispatch(cli: Cli) -> Exit {
    match cli.command {
        None => run::run(&cli.run),
        Some(Command::Run(args)) => run::run(&args),
        Some(Command::Validate(args)) => validate::run(&args),
        Some(Command::Components(args)) => components::run(&args),
        Some(Command::Explain(args)) => explain::run(&args),
        Some(Command::Doctor(args)) => doctor::run(&args),
        Some(Command::Elastic(args)) => elastic::run(&args),
        Some(Command::PrintConfig(args)) => print_config::run(&args),
        Some(Command::Replay(args)) => replay::run(&args),
        Some(Command::Demo(args)) => demo::run(&args),
        Some(Command::Loadgen(args)) => loadgen::run(&args),
    }
}

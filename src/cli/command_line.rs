//! What a person types: the subcommands, where each is run, and what stands before them.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::cli::{
    Exit, accept, ask, demo, describe, doctor, elastic, env, loadgen, ottl, print_config, rbac, replay, run, sources,
    trial, validate, wal, what_if,
};
use crate::core::build_info;
use crate::core::outside::root::become_within;
use crate::telemetry::stdout;

/// OTLP gateway for Kubernetes nodes: names the right run of the right container, samples whole traces, delivers.
///
/// Reads OpenTelemetry Collector YAML. With --config alone it runs.
#[derive(Debug, Parser)]
#[command(name = "podgate", version = build_info::LONG, arg_required_else_help = true)]
#[command(
    after_help = "Exit codes: 0 fine, 1 failure while running, 2 wrong usage, 3 items lost at a stop,\n78 wrong configuration.\n\n\
    Try it without anything else installed:  podgate demo\n\
    What a running gateway does:             podgate status, balance, pods, sampling, top, explain\n\
    See what your application sends:         podgate --config examples/local.yaml\n\n\
    Environment, where the flag is not given: PODGATE_CONFIG for --config (one source),\n\
    PODGATE_UNSUPPORTED for --unsupported, PODGATE_ADMIN for --admin,\n\
    PODGATE_ADMIN_TOKEN_FILE for --token-file"
)]
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
    Validate(validate::Args),
    /// List the components, their old names and the signals they take
    Components(describe::components::Args),
    /// Print the variables an application's pod needs, a Kustomize patch or an Instrumentation resource
    Env(env::args::Args),
    /// Age, memory, listeners and state of a running gateway
    Status(ask::admin::AdminArgs),
    /// Where every item went, of a running gateway
    Balance(ask::admin::AdminArgs),
    /// The pods a running gateway knows, with the newest run of each container
    Pods(ask::pods::Args),
    /// What a running gateway's samplers kept, dropped and hold
    Sampling(ask::admin::AdminArgs),
    /// Judge other sampling policies on a running gateway's traces, without effect on what is kept
    Shadow(ask::shadow::Args),
    /// Judge other sampling policies on recorded traces
    WhatIf(what_if::Args),
    /// What flows through a running gateway at this moment
    Top(ask::top::Args),
    /// Tell why a resource gets its pod and container.id, or why a trace was kept or dropped, from a running gateway
    Explain(ask::explain::Args),
    /// Have a running gateway read its configuration again, and say what changed; a faulty one changes nothing (exit 78)
    Reload(ask::reload::Args),
    /// Ask the world around a configuration whether it will work, and a running gateway whether it does
    Doctor(doctor::Args),
    /// Prove on a cluster that every container.id is right: deploys podgate beside containers that restart, scores, cleans up
    Accept(accept::Args),
    /// Print the least role of the Kubernetes API that a configuration needs, and its binding
    Rbac(rbac::Args),
    /// Show what an OTTL statement or condition makes of items, expression by expression
    Ottl(ottl::Args),
    /// Show what each processor of a configuration makes of recorded data
    Try(trial::Args),
    /// Index templates and lifecycle for Elasticsearch
    Elastic(elastic::Args),
    /// Print the configuration after expansion and merge, secrets redacted
    PrintConfig(print_config::Args),
    /// Send the documents of an Elasticsearch exporter's dead-letter file again
    Replay(replay::Args),
    /// Show what a log on disk holds, and whether it is whole
    Wal(wal::Args),
    /// Show the main job on this machine, judged by an end that knows the truth
    Demo(demo::Args),
    /// Send generated traces to an OTLP endpoint and say what became of them
    Loadgen(loadgen::Args),
    /// Print the completions of a shell: podgate completion bash > /etc/bash_completion.d/podgate
    Completion(describe::completion::Args),
    /// Print a manual page: podgate man > podgate.1, podgate man validate > podgate-validate.1
    Man(describe::man::Args),
    /// Print version, commit and target, as --version does
    Version,
    /// Become a program below another root folder: so the receiver journald starts the node's journalctl
    #[command(hide = true)]
    InRoot(InRootArgs),
}

#[derive(Clone, Debug, clap::Args)]
struct InRootArgs {
    root: PathBuf,
    /// Its path below the root folder
    program: OsString,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

impl InRootArgs {
    fn run(&self) -> Exit {
        let why = become_within(&self.root, &self.program, &self.arguments);
        let (program, root) = (self.program.display(), self.root.display());
        stdout::error_line(&format!("{program} cannot be started below {root}: {why}"));
        Exit::NoProgram
    }
}

impl Command {
    fn takes_configuration(&self) -> bool {
        use Command::*;
        matches!(
            self,
            Run(_) | Validate(_) | Doctor(_) | Rbac(_) | PrintConfig(_) | Replay(_) | Elastic(_) | WhatIf(_) | Try(_)
        )
    }
}

/// The arguments of this process; ends it with a message where they are wrong. Without any, the environment may name a
/// configuration to run.
pub fn arguments() -> Cli {
    let named = std::env::var_os(sources::CONFIG_VARIABLE).is_some_and(|source| !source.is_empty());
    let matches = Cli::command().arg_required_else_help(!named).get_matches();
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// Runs what was asked for. What stands before the subcommand counts as if it stood behind it.
pub fn dispatch(cli: Cli) -> Exit {
    let before = cli.run;
    if let Some(command) = &cli.command
        && !command.takes_configuration()
        && before.is_given()
    {
        stdout::error_line("this command takes no configuration: remove --config and the options that go with it");
        return Exit::Usage;
    }
    let surroundings = match sources::EnvironmentSources::read(|name| std::env::var(name).ok()) {
        Ok(surroundings) => surroundings,
        Err(why) => {
            stdout::error_line(&why);
            return Exit::Usage;
        }
    };
    let whole = |args: sources::ConfigArgs| surroundings.complete(args.or(before));
    let Some(command) = cli.command else { return run::run(&whole(sources::ConfigArgs::default())) };
    match command {
        Command::Run(args) => run::run(&whole(args)),
        Command::Validate(args) => validate::run(&validate::Args { config: whole(args.config), ..args }),
        Command::Doctor(args) => doctor::run(&doctor::Args { config: whole(args.config), ..args }),
        Command::Rbac(args) => rbac::run(&rbac::Args { config: whole(args.config), ..args }),
        Command::PrintConfig(args) => print_config::run(&print_config::Args { config: whole(args.config), ..args }),
        Command::Replay(args) => replay::run(&replay::Args { config: whole(args.config), ..args }),
        Command::WhatIf(args) => what_if::run(&what_if::Args { config: whole(args.config), ..args }),
        Command::Try(args) => trial::run(&trial::Args { config: whole(args.config), ..args }),
        Command::Elastic(args) => elastic::run(&args.configured(whole)),
        Command::Components(args) => describe::components::run(&args),
        Command::Env(args) => env::run(&args),
        Command::Accept(args) => accept::run(&args),
        Command::Status(args) => ask::status::run(&args),
        Command::Balance(args) => ask::balance::run(&args),
        Command::Pods(args) => ask::pods::run(&args),
        Command::Sampling(args) => ask::sampling::run(&args),
        Command::Shadow(args) => ask::shadow::run(&args),
        Command::Top(args) => ask::top::run(&args),
        Command::Explain(args) => ask::explain::run(&args),
        Command::Reload(args) => ask::reload::run(&args),
        Command::Ottl(args) => ottl::run(&args),
        Command::Wal(args) => wal::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Loadgen(args) => loadgen::run(&args),
        Command::Completion(args) => describe::completion::run(&args, Cli::command()),
        Command::Man(args) => describe::man::run(&args, Cli::command()),
        Command::InRoot(args) => args.run(),
        Command::Version => {
            stdout::line(&format!("podgate {}", build_info::LONG));
            Exit::Ok
        }
    }
}

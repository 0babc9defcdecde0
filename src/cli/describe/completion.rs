//! `podgate completion`: what a shell needs to complete commands, flags and their values, made from the commands themselves.

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::cli::{Cli, Exit};
use crate::telemetry::stdout;

#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Args {
    /// bash, elvish, fish, powershell or zsh
    #[arg(value_enum)]
    pub shell: Shell,
}

pub fn run(args: &Args) -> Exit {
    let mut script = Vec::new();
    generate(args.shell, &mut Cli::command(), "podgate", &mut script);
    stdout::line(String::from_utf8_lossy(&script).trim_end());
    Exit::Ok
}

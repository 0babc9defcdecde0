//! `podgate completion`: what a shell needs to complete commands, flags and their values, made from the commands themselves.

use clap_complete::{Shell, generate};

use crate::cli::Exit;
use crate::telemetry::stdout;

#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Args {
    /// bash, elvish, fish, powershell or zsh
    #[arg(value_enum)]
    pub shell: Shell,
}

/// `whole` is podgate's command line, with all of its commands.
pub fn run(args: &Args, mut whole: clap::Command) -> Exit {
    let mut script = Vec::new();
    generate(args.shell, &mut whole, "podgate", &mut script);
    stdout::line(String::from_utf8_lossy(&script).trim_end());
    Exit::Ok
}

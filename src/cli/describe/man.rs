//! `podgate man`: manual pages in roff, made from the commands themselves.

use clap_mangen::Man;

use crate::cli::Exit;
use crate::telemetry::stdout;

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The page of one command, such as validate or `elastic setup`; without it podgate's own
    pub command: Vec<String>,
}

/// `whole` is podgate's command line, with all of its commands.
pub fn run(args: &Args, mut whole: clap::Command) -> Exit {
    // Names of pages are made of the path to the command: podgate-elastic-setup.
    whole.build();
    let Some(command) = find(&whole, &args.command) else {
        let asked = args.command.join(" ");
        stdout::error_line(&format!("there is no command `{asked}`: podgate --help lists them"));
        return Exit::Usage;
    };
    let mut page = Vec::new();
    let name = command.get_display_name().unwrap_or(command.get_name()).replace(' ', "-");
    // A write into memory does not fail.
    let _ = Man::new(command.clone()).title(name).render(&mut page);
    stdout::line(String::from_utf8_lossy(&page).trim_end());
    Exit::Ok
}

fn find<'a>(from: &'a clap::Command, path: &[String]) -> Option<&'a clap::Command> {
    path.iter().try_fold(from, |command, name| command.find_subcommand(name))
}

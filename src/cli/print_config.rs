//! `podgate print-config`: what the gateway would run with, after expansion and merge, and without what is left out.

use clap::Args as ClapArgs;

use crate::cli::Exit;
use crate::cli::sources::{self, ConfigArgs, UnsupportedArg};
use crate::config::show::print;
use crate::pipeline::left;
use crate::telemetry::stdout;

#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Print secrets as they are
    #[arg(long)]
    pub unredacted: bool,
}

pub fn run(args: &Args) -> Exit {
    let checked = match sources::named(&args.config, sources::check_before_deploying) {
        Ok(checked) => checked,
        Err(exit) => return exit,
    };
    checked.report();
    let left = match args.config.unsupported.unwrap_or_default() {
        UnsupportedArg::Refuse => checked.tree,
        UnsupportedArg::Skip | UnsupportedArg::SkipAll => checked.tree.as_ref().map(left::without_unsupported),
    };
    if let Some(tree) = &left {
        stdout::line(
            print::to_yaml(tree, if args.unredacted { print::Secrets::Shown } else { print::Secrets::Redacted })
                .trim_end(),
        );
    }
    if checked.plan.is_some() { Exit::Ok } else { Exit::Configuration }
}

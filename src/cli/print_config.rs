//! `podgate print-config`: what the gateway would run with, after expansion and merge.

use clap::Args as ClapArgs;

use crate::cli::sources::{self, ConfigArgs};
use crate::cli::{Exit, out};
use crate::config::print;

#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print secrets as they are
    #[arg(long)]
    unredacted: bool,
}

pub fn run(args: &Args) -> Exit {
    if let Err(exit) = sources::require_config(&args.config) {
        return exit;
    }
    let checked = sources::check(&args.config);
    checked.report();
    if let Some(tree) = &checked.tree {
        out::line(
            print::to_yaml(tree, if args.unredacted { print::Secrets::Shown } else { print::Secrets::Redacted })
                .trim_end(),
        );
    }
    if checked.plan.is_some() { Exit::Ok } else { Exit::Configuration }
}

//! `podgate accept`: the proof on a cluster. Deploys podgate, containers that crash and a Deployment that rolls, lets them send traces,
//! metrics and logs, and scores every container.id that podgate gave against the one that the kubelet told.
//!
//! The same image plays all parts: podgate, its next hop (`accept sink`) and the applications (`accept sender`). What is
//! made, what is true and what is right are pure (`objects`, `pods`, `score`, `table`); `play` and `cluster` are the shell.

mod batch;
mod cluster;
mod note;
mod objects;
mod play;
mod pods;
mod score;
mod sender;
mod sink;
mod table;
mod tally;

use clap::Subcommand;

use crate::cli::Exit;

#[derive(Clone, Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    #[command(subcommand)]
    part: Option<PartArg>,
    #[command(flatten)]
    play: play::PlayArgs,
}

/// What the pods of a run are started with.
#[derive(Clone, Debug, Subcommand)]
enum PartArg {
    /// An application, in a pod of a run
    #[command(hide = true)]
    Sender(sender::Args),
    /// The next hop, in a pod of a run
    #[command(hide = true)]
    Sink(sink::Args),
}

pub fn run(args: &Args) -> Exit {
    match &args.part {
        Some(PartArg::Sender(args)) => sender::run(args),
        Some(PartArg::Sink(args)) => sink::run(args),
        None => play::run(&args.play),
    }
}

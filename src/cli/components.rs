//! `podgate components`: what there is, under which names, for which signals.

use clap::Args as ClapArgs;

use crate::cli::{Exit, out};
use crate::core::component::Kind;
use crate::core::factory::About;
use crate::registry;

#[derive(Debug, ClapArgs)]
pub struct Args {
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

pub fn run(args: &Args) -> Exit {
    match args.format {
        Format::Text => text(),
        Format::Json => out::line(&registry::as_json().to_string()),
    }
    Exit::Ok
}

fn text() {
    for kind in Kind::ALL {
        let of_kind: Vec<&About> =
            registry::about().into_iter().filter(|(of, _)| *of == kind).map(|(_, about)| about).collect();
        if of_kind.is_empty() {
            continue;
        }
        out::line(&format!("{}:", kind.section()));
        for about in of_kind {
            let aliases: Vec<&str> = about.aliases.iter().map(|alias| alias.name).collect();
            let names = if aliases.is_empty() {
                about.name.to_owned()
            } else {
                format!("{} ({})", about.name, aliases.join(", "))
            };
            out::line(&format!("  {names:<32} {:<30} {}", registry::signals(kind, about).join(","), about.summary));
        }
    }
}

//! `podgate components`: what there is, under which names, for which signals.

use clap::Args as ClapArgs;

use crate::cli::Exit;
use crate::core::stage::component::Kind;
use crate::core::stage::factory::About;
use crate::registry;
use crate::telemetry::stdout;

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
        Format::Json => stdout::line(&registry::as_json().to_string()),
    }
    Exit::Ok
}

fn text() {
    lines().iter().for_each(|line| stdout::line(line));
}

/// The columns of all sections are as wide as the longest of them needs.
fn lines() -> Vec<String> {
    let all = registry::about();
    let width = |cell: &dyn Fn(Kind, &About) -> String| {
        all.iter().map(|(kind, about)| cell(*kind, about).chars().count()).max().unwrap_or(0)
    };
    let (names, signals) = (width(&|_, about| names(about)), width(&|kind, about| signals(kind, about)));
    let mut lines = Vec::new();
    for kind in Kind::ALL {
        let of_kind = all.iter().filter(|(of, _)| *of == kind).map(|(_, about)| about);
        let of_kind: Vec<String> = of_kind
            .map(|about| {
                format!("  {:<names$}  {:<signals$}  {}", self::names(about), self::signals(kind, about), about.summary)
            })
            .collect();
        if !of_kind.is_empty() {
            lines.push(format!("{}:", kind.section()));
            lines.extend(of_kind);
        }
    }
    lines
}

/// `otlp_grpc (otlp)`: the name and its old spellings.
fn names(about: &About) -> String {
    let aliases: Vec<&str> = about.aliases.iter().map(|alias| alias.name).collect();
    if aliases.is_empty() { about.name.to_owned() } else { format!("{} ({})", about.name, aliases.join(", ")) }
}

fn signals(kind: Kind, about: &About) -> String {
    registry::signals(kind, about).join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_begins_at_one_place() {
        let lines = lines();
        for (_, about) in registry::about() {
            let line = lines.iter().find(|line| line.ends_with(about.summary)).expect("a line for each");
            let place = |line: &String, text: &str| line.len() - text.len();
            assert_eq!(place(line, about.summary), place(&lines[1], registry::about()[0].1.summary), "{line}");
        }
    }
}

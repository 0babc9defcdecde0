//! Questions to a running gateway's admin page: `status`, `balance`, `pods`, `sampling`, `top`, `explain`, and what changes
//! something there: `shadow`. Each fetches pages, and a pure function makes of them what a person reads.

pub mod admin;
pub mod balance;
pub mod explain;
pub mod locked;
pub mod pods;
pub mod reload;
pub mod sampling;
pub mod shadow;
pub mod status;
pub mod top;
pub mod trace;

use serde_json::Value;

use crate::cli::Exit;
use crate::cli::ask::admin::AdminArgs;
use crate::telemetry::stdout;
use crate::telemetry::stdout::Format;

/// Asks for one page and prints it, or what is made of it; `exit` judges it.
fn show(args: &AdminArgs, path: &str, text: impl Fn(&Value) -> Vec<String>, exit: impl Fn(&Value) -> Exit) -> Exit {
    let page = match admin::get(args, path) {
        Ok(page) => page,
        Err(fault) => {
            stdout::error_line(&fault.to_string());
            return Exit::Failure;
        }
    };
    match args.format {
        Format::Json => stdout::line(&page.to_string()),
        Format::Text => text(&page).iter().for_each(|line| stdout::line(line)),
    }
    exit(&page)
}

/// Rows with their columns one under the other; all but the first are right-aligned when `numbers`.
pub fn table(rows: &[Vec<String>], numbers: bool) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let length = |text: &String| text.chars().count();
    let widths: Vec<usize> =
        (0..columns).map(|at| rows.iter().filter_map(|row| row.get(at)).map(length).max().unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(at, (cell, width))| match numbers && at > 0 {
            true => format!("{cell:>width$}"),
            false => format!("{cell:<width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

/// The entries of a map in the order of its keys; none for anything else.
pub fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

pub fn mebibytes(bytes: &Value) -> f64 {
    bytes.as_f64().unwrap_or(0.0) / f64::from(1 << 20)
}

/// `3 d 4 h`, `12 min`, `8 s`: the two largest units.
pub fn age(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let first = units.iter().position(|(size, _)| seconds >= *size).unwrap_or(3);
    let mut left = seconds;
    let parts = units[first..].iter().take(2).filter_map(|(size, name)| {
        let count = left / size;
        left %= size;
        (count > 0).then(|| format!("{count} {name}"))
    });
    let parts = parts.collect::<Vec<_>>().join(" ");
    if parts.is_empty() { "0 s".to_owned() } else { parts }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_told_in_their_two_largest_units() {
        for (seconds, told) in [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3_725, "1 h 2 min"), (90_000, "1 d 1 h")] {
            assert_eq!(age(seconds), told);
        }
    }

    #[test]
    fn columns_stand_one_under_the_other() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["bcd".to_owned(), "100".to_owned()]];
        assert_eq!(table(&rows, true), ["a      1", "bcd  100"]);
        assert_eq!(table(&rows, false), ["a    1", "bcd  100"]);
    }
}

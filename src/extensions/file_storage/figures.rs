//! The log's figures in words. Pure.

use crate::wal::writer::stats::LogStats;

/// Items without an end.
pub fn items(stats: &LogStats) -> u64 {
    stats.unsettled.iter().map(|of| of.items).sum()
}

/// The log in one line, for `/status` and `podgate status`.
pub fn told(stats: &LogStats, waiting: u64) -> String {
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let lasts = lasts(stats).map_or_else(String::new, |lasts| format!("; {lasts}"));
    let waiting = if waiting > 0 { format!(", {waiting} of them on disk alone") } else { String::new() };
    let (bytes, max) = (mebibytes(stats.bytes), mebibytes(stats.max_bytes));
    let (records, items) = (stats.records, items(stats));
    format!("{bytes:.1} of {max:.1} MiB, {records} records with {items} items without an end{waiting}{lasts}")
}

/// How long the disk takes more, where the log grows.
pub fn lasts(stats: &LogStats) -> Option<String> {
    let seconds = stats.lasts?.as_secs();
    let (count, unit) = if seconds < 120 { (seconds, "s") } else { (seconds / 60, "min") };
    Some(format!("at the present rate the rest lasts {count} {unit}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::wal::table::Unsettled;

    #[test]
    fn one_line_says_what_the_disk_holds_and_how_long_it_lasts() {
        let unsettled = Unsettled { pipeline: "t".to_owned(), records: 3, items: 40 };
        let mut stats = LogStats {
            bytes: 12 << 20,
            max_bytes: 2 << 30,
            records: 3,
            unsettled: vec![unsettled],
            ..LogStats::default()
        };
        assert_eq!(told(&stats, 0), "12.0 of 2048.0 MiB, 3 records with 40 items without an end");
        assert!(told(&stats, 2).ends_with("without an end, 2 of them on disk alone"));
        stats.lasts = Some(Duration::from_secs(7_300));
        assert!(told(&stats, 0).ends_with("; at the present rate the rest lasts 121 min"));
    }
}

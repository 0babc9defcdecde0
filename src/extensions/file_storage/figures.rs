//! The log's figures in words. Pure.

use crate::wal::writer::stats::LogStats;

/// Items without an end.
pub fn items(stats: &LogStats) -> u64 {
    stats.unsettled.iter().map(|of| of.items).sum()
}

/// The log in one line, for `/status` and `podgate status`.
pub fn told(stats: &LogStats) -> String {
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let lasts = stats
        .lasts
        .map_or_else(String::new, |lasts| format!("; at the present rate the rest lasts {} min", lasts.as_secs() / 60));
    let (bytes, max) = (mebibytes(stats.bytes), mebibytes(stats.max_bytes));
    let (records, items) = (stats.records, items(stats));
    format!("{bytes:.1} of {max:.1} MiB, {records} records with {items} items without an end{lasts}")
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
        assert_eq!(told(&stats), "12.0 of 2048.0 MiB, 3 records with 40 items without an end");
        stats.lasts = Some(Duration::from_secs(7_300));
        assert!(told(&stats).ends_with("; at the present rate the rest lasts 121 min"));
    }
}

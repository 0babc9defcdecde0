//! Durations as Go's `time.ParseDuration` reads them.

use std::time::Duration;

/// Parses `1h2m3.5s`, `250ms`, `10us`, `0`. Negative durations are refused with a sentence, as is a number without unit.
pub fn parse(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if text == "0" || text == "+0" {
        return Ok(Duration::ZERO);
    }
    if text.starts_with('-') {
        return Err(format!("{text:?} is negative"));
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return Err("the duration is empty".to_owned());
    }
    let mut nanos: f64 = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| format!("{text:?} is not a duration"))?;
        rest = &rest[digits..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let scale = match &rest[..unit_end] {
            "ns" => 1.0,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            "" => return Err(format!("{text:?} has no unit")),
            other => return Err(format!("{other:?} in {text:?} is not a unit")),
        };
        nanos += number * scale;
        rest = &rest[unit_end..];
    }
    if nanos > i64::MAX as f64 {
        return Err(format!("{text:?} is longer than 292 years"));
    }
    Ok(Duration::from_nanos(nanos as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_go_reads_them() {
        for (text, nanos) in [
            ("5s", 5_000_000_000u64),
            ("1m30s", 90_000_000_000),
            ("1.5h", 5_400_000_000_000),
            ("250ms", 250_000_000),
            ("0", 0),
            ("3us", 3_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
        for text in ["", "5", "-1s", "5x", "s", "1..2s", "900000000h"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}

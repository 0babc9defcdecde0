//! Sizes in bytes: an integer, or a number with a decimal or binary unit.

/// Parses `1048576`, `64MiB`, `64Mi`, `1.5GiB`, `20MB`, `10k`.
pub fn parse(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..split].parse().map_err(|_| format!("{text:?} is not a size"))?;
    let unit = text[split..].trim().to_ascii_lowercase();
    let scale: u64 = match unit.strip_suffix('b').unwrap_or(&unit) {
        "" => 1,
        "k" => 1_000,
        "m" => 1_000_000,
        "g" => 1_000_000_000,
        "t" => 1_000_000_000_000,
        "ki" => 1 << 10,
        "mi" => 1 << 20,
        "gi" => 1 << 30,
        "ti" => 1 << 40,
        _ => return Err(format!("{unit:?} in {text:?} is not a unit")),
    };
    let bytes = number * scale as f64;
    if bytes > i64::MAX as f64 {
        return Err(format!("{text:?} is too large"));
    }
    Ok(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_decimal_and_binary_units() {
        for (text, bytes) in [
            ("10", 10u64),
            ("64MiB", 64 << 20),
            ("1Gi", 1 << 30),
            ("20MB", 20_000_000),
            ("1.5KiB", 1536),
            ("5 kB", 5000),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "-5", "5 parsecs"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}

//! Names that Prometheus can read (data model: `[a-zA-Z_][a-zA-Z0-9_]*`), made of names of OpenTelemetry.

/// The label of an attribute's key: every other character is an underscore, and none begins with a digit or with the two
/// underscores that Prometheus keeps for itself.
pub fn name(key: &str) -> String {
    let plain: String = key.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).collect();
    match plain.as_bytes() {
        [] => "_".to_owned(),
        // The Collector's translation.
        [first, ..] if first.is_ascii_digit() => format!("key_{plain}"),
        [b'_', b'_', ..] => format!("key{plain}"),
        _ => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_becomes_a_name_that_prometheus_reads() {
        for (key, label) in [
            ("service.name", "service_name"),
            ("3scale.id", "key_3scale_id"),
            ("", "_"),
            ("__name__", "key__name__"),
            ("\u{e9}t\u{e9}", "_t_"),
        ] {
            assert_eq!(name(key), label);
        }
    }
}

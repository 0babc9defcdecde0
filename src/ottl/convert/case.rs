//! Cases of names, letter for letter as upstream's package has them (iancoleman/strcase): ASCII only, other letters pass.

/// `JSONData` becomes `json_data`: words end where the kind of character changes, and a run of capitals is a word.
pub fn snake(text: &str) -> String {
    let text = text.trim();
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len() + 4);
    for (at, c) in bytes.iter().copied().enumerate() {
        let lower = c.to_ascii_lowercase();
        if let Some(next) = bytes.get(at + 1).copied() {
            let (cap, low, digit) = (c.is_ascii_uppercase(), c.is_ascii_lowercase(), c.is_ascii_digit());
            let (next_cap, next_low) = (next.is_ascii_uppercase(), next.is_ascii_lowercase());
            let next_digit = next.is_ascii_digit();
            let changes = (cap && (next_low || next_digit))
                || (low && (next_cap || next_digit))
                || (digit && (next_cap || next_low));
            if changes {
                if cap && next_low && at > 0 && bytes[at - 1].is_ascii_uppercase() {
                    out.push(b'_');
                }
                out.push(lower);
                if low || digit || next_digit {
                    out.push(b'_');
                }
                continue;
            }
        }
        out.push(if b" _-.".contains(&c) { b'_' } else { lower });
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// `some_name` becomes `SomeName`: signs go, and what follows one or a digit is a capital.
pub fn camel(text: &str) -> String {
    let text = text.trim();
    let mut out = String::with_capacity(text.len());
    let (mut capital, mut before_is_capital) = (true, false);
    for c in text.bytes() {
        let is_capital = c.is_ascii_uppercase();
        let c = match (capital, before_is_capital && is_capital) {
            (true, _) => c.to_ascii_uppercase(),
            (false, true) => c.to_ascii_lowercase(),
            _ => c,
        };
        before_is_capital = is_capital;
        if c.is_ascii_alphabetic() {
            out.push(char::from(c));
            capital = false;
        } else if c.is_ascii_digit() {
            out.push(char::from(c));
            capital = true;
        } else {
            capital = b"_ -.".contains(&c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_capitals_are_words() {
        for (text, expected) in [
            ("CPUUtilizationMetric", "cpu_utilization_metric"),
            ("HTTPServerName", "http_server_name"),
            ("JSONData", "json_data"),
            ("fooBar", "foo_bar"),
            ("foo.bar baz-qux", "foo_bar_baz_qux"),
            ("abc123def", "abc_123_def"),
        ] {
            assert_eq!(snake(text), expected);
        }
        for (text, expected) in [("foo_bar", "FooBar"), ("ID", "Id"), ("CONSTANT_CASE", "ConstantCase"), ("a1b", "A1B")]
        {
            assert_eq!(camel(text), expected);
        }
    }
}

//! Numbers of JSON text, exact: 64-bit integers never pass through a float.

/// Whether `text` is a number of JSON's grammar (RFC 8259 section 6).
pub fn is_number(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let (mantissa, exponent) = split_at(text, |byte| matches!(byte, b'e' | b'E'));
    let (whole, fraction) = split_at(mantissa, |byte| byte == b'.');
    let whole_fits = is_digits(whole) && (whole == b"0" || whole[0] != b'0');
    let exponent_fits = exponent.is_none_or(|exponent| {
        is_digits(exponent.strip_prefix(b"+").or(exponent.strip_prefix(b"-")).unwrap_or(exponent))
    });
    whole_fits && fraction.is_none_or(is_digits) && exponent_fits
}

fn is_digits(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

/// The text before the first byte that matches, and after it if there is one.
fn split_at(text: &[u8], matches: impl Fn(u8) -> bool) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|byte| matches(*byte)) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

/// Sign and magnitude of a JSON number that is a whole number of at most 64 bits, `1e3` and `1.0` included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole {
    pub negative: bool,
    pub magnitude: u64,
}

impl Whole {
    pub fn parse(text: &[u8]) -> Option<Whole> {
        if !is_number(text) {
            return None;
        }
        let (negative, digits) = match text.strip_prefix(b"-") {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let (mantissa, exponent) = split_at(digits, |byte| matches!(byte, b'e' | b'E'));
        let (whole, fraction) = split_at(mantissa, |byte| byte == b'.');
        let exponent = exponent.map_or(0, read_exponent);
        let magnitude = scale(whole, fraction.unwrap_or_default(), exponent)?;
        Some(Whole { negative: negative && magnitude != 0, magnitude })
    }

    pub fn unsigned(self) -> Option<u64> {
        (!self.negative).then_some(self.magnitude)
    }

    pub fn signed(self) -> Option<i64> {
        if self.negative { 0i64.checked_sub_unsigned(self.magnitude) } else { i64::try_from(self.magnitude).ok() }
    }
}

/// Saturates: beyond a few dozen every exponent means zero or too large anyway.
fn read_exponent(text: &[u8]) -> i64 {
    let (sign, digits) = match text.strip_prefix(b"-") {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix(b"+").unwrap_or(text)),
    };
    let size = digits.iter().fold(0i64, |sum, digit| (sum * 10 + i64::from(digit - b'0')).min(1 << 40));
    sign * size
}

/// The number `whole.fraction * 10^exponent`; None when it is not whole or has more than 64 bits.
fn scale(whole: &[u8], fraction: &[u8], exponent: i64) -> Option<u64> {
    let before_point = whole.len() as i64 + exponent;
    let mut value = 0u64;
    let mut read = 0i64;
    for digit in whole.iter().chain(fraction) {
        if read < before_point {
            value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
        } else if *digit != b'0' {
            return None;
        }
        read += 1;
    }
    if value == 0 {
        return Some(0);
    }
    for _ in read..before_point {
        value = value.checked_mul(10)?;
    }
    Some(value)
}

/// A JSON number as a double; None when it is out of range.
pub fn double(text: &[u8]) -> Option<f64> {
    if !is_number(text) {
        return None;
    }
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    value.is_finite().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_read_exactly_in_every_notation() {
        let cases: &[(&str, Option<i64>, Option<u64>)] = &[
            ("0", Some(0), Some(0)),
            ("-0", Some(0), Some(0)),
            ("1e3", Some(1000), Some(1000)),
            ("1.0", Some(1), Some(1)),
            ("1.50e1", Some(15), Some(15)),
            ("1500e-2", Some(15), Some(15)),
            ("0e999999999999999999999", Some(0), Some(0)),
            ("-9223372036854775808", Some(i64::MIN), None),
            ("-9223372036854775809", None, None),
            ("18446744073709551615", None, Some(u64::MAX)),
            ("18446744073709551616", None, None),
            ("1760000000000000001", Some(1_760_000_000_000_000_001), Some(1_760_000_000_000_000_001)),
            ("1.5", None, None),
            ("15e-1", None, None),
            ("1e400", None, None),
            ("1e-400", None, None),
            ("", None, None),
            ("-", None, None),
            ("01", None, None),
            ("1.", None, None),
            (".5", None, None),
            ("1e", None, None),
            ("+1", None, None),
            ("1_0", None, None),
            (" 1", None, None),
        ];
        for (text, signed, unsigned) in cases {
            let whole = Whole::parse(text.as_bytes());
            assert_eq!(whole.and_then(Whole::signed), *signed, "{text}");
            assert_eq!(whole.and_then(Whole::unsigned), *unsigned, "{text}");
        }
    }

    #[test]
    fn doubles_read_like_the_standard_library_and_refuse_what_overflows() {
        assert_eq!(double(b"-2.5e-3"), Some(-0.0025));
        assert_eq!(double(b"1e999"), None);
        assert_eq!(double(b"NaN"), None);
        assert_eq!(double(b"inf"), None);
    }
}

//! JSON text out of bytes: strings, numbers, base64. The output is valid JSON whatever the input bytes are.
//! Granted: whoever calls has made room for what is written.

use crate::otlp::json::base64;

const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// Length of the run at the head of `bytes` that stands in a JSON string as it is: no quote, backslash or control byte.
/// Looks at eight bytes at a time; the lowest hit of each comparison is exact.
#[inline]
pub fn plain_run(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let control = word.wrapping_sub(LOW_BITS * 0x20) & !word;
        let hits = (control | zero_bytes(word ^ (LOW_BITS * 0x22)) | zero_bytes(word ^ (LOW_BITS * 0x5c))) & HIGH_BITS;
        if hits != 0 {
            return index * 8 + hits.trailing_zeros() as usize / 8;
        }
    }
    let done = words.len() * 8;
    done + rest.iter().position(|byte| matches!(byte, 0..0x20 | b'"' | b'\\')).unwrap_or(rest.len())
}

/// High bit of every byte that is zero; exact for the lowest one.
#[inline]
fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(LOW_BITS) & !word
}

/// A quoted JSON string; bytes that are not UTF-8 become U+FFFD.
#[inline]
pub fn push_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    push_escaped(out, text);
    out.push(b'"');
}

/// The inside of a JSON string.
#[inline]
pub fn push_escaped(out: &mut Vec<u8>, text: &[u8]) {
    if is_plain_ascii(text) {
        out.extend_from_slice(text);
    } else {
        push_any(out, text);
    }
}

/// Whether the text stands in a JSON string as it is and needs no check for UTF-8: most does.
#[inline]
fn is_plain_ascii(text: &[u8]) -> bool {
    let special = |word: u64| {
        word | word.wrapping_sub(LOW_BITS * 0x20)
            | zero_bytes(word ^ (LOW_BITS * 0x22))
            | zero_bytes(word ^ (LOW_BITS * 0x5c))
    };
    let mut hits = 0;
    // What is left of the last word is looked at together with bytes before it.
    let last = match (text.last_chunk::<8>(), text.first_chunk::<4>(), text.last_chunk::<4>()) {
        (Some(last), _, _) => {
            for word in text.as_chunks::<8>().0 {
                hits |= special(u64::from_le_bytes(*word));
            }
            u64::from_le_bytes(*last)
        }
        (None, Some(first), Some(last)) => {
            u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last))
        }
        _ => text.iter().fold(LOW_BITS * 0x20, |word, byte| word << 8 | u64::from(*byte)),
    };
    (hits | special(last)) & HIGH_BITS == 0
}

fn push_any(out: &mut Vec<u8>, text: &[u8]) {
    match std::str::from_utf8(text) {
        Ok(text) => escape(out, text.as_bytes()),
        Err(_) => {
            for chunk in text.utf8_chunks() {
                escape(out, chunk.valid().as_bytes());
                if !chunk.invalid().is_empty() {
                    out.extend_from_slice("\u{fffd}".as_bytes());
                }
            }
        }
    }
}

#[inline]
fn escape(out: &mut Vec<u8>, mut text: &[u8]) {
    loop {
        let plain = plain_run(text);
        out.extend_from_slice(&text[..plain]);
        let Some(special) = text.get(plain) else { return };
        push_escape(out, *special);
        text = &text[plain + 1..];
    }
}

#[cold]
fn push_escape(out: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        _ => {
            out.extend_from_slice(b"\\u00");
            out.push(DIGITS[usize::from(byte >> 4)]);
            out.push(DIGITS[usize::from(byte & 15)]);
        }
    }
}

#[inline]
pub fn push_unsigned(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

#[inline]
pub fn push_signed(out: &mut Vec<u8>, number: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// The shortest decimal that reads back as the same number, without `.0`. Only for finite numbers.
#[inline]
fn push_finite(out: &mut Vec<u8>, number: f64) {
    debug_assert!(number.is_finite());
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(number);
    out.extend_from_slice(text.strip_suffix(".0").unwrap_or(text).as_bytes());
}

/// A double as protobuf's JSON mapping has it: a number, or one of three strings.
#[inline]
pub fn push_double(out: &mut Vec<u8>, number: f64) {
    if number.is_finite() {
        push_finite(out, number);
    } else if number.is_nan() {
        out.extend_from_slice(b"\"NaN\"");
    } else if number > 0.0 {
        out.extend_from_slice(b"\"Infinity\"");
    } else {
        out.extend_from_slice(b"\"-Infinity\"");
    }
}

/// A quoted base64 string.
pub fn push_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    base64::encode(out, bytes);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_bytes_the_string_is_valid_json_for_the_same_text() {
        let mut state = 7u64;
        for length in 0..200 {
            let bytes: Vec<u8> = (0..length)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let byte = (state >> 33) as u8;
                    if length % 3 == 0 { byte } else { byte & 0x7f }
                })
                .collect();
            let mut out = Vec::new();
            push_string(&mut out, &bytes);
            let back: String = serde_json::from_slice(&out).unwrap();
            assert_eq!(back, String::from_utf8_lossy(&bytes), "seed 7, length {length}");
        }
    }

    #[test]
    fn the_plain_run_ends_before_the_first_special_byte() {
        for special in [0x00, 0x1f, b'"', b'\\'] {
            for at in 0..40 {
                let mut bytes = vec![b'\x7f'; 40];
                bytes[at] = special;
                assert_eq!(plain_run(&bytes), at, "{special} at {at}");
                assert_eq!(plain_run(&bytes[..at]), at);
            }
        }
    }

    #[test]
    fn plain_text_is_told_from_text_that_needs_work_at_every_place() {
        for special in [0x00, 0x1f, b'"', b'\\', 0x80, 0xff] {
            for length in 1..30 {
                for at in 0..length {
                    let mut text = vec![b'~'; length];
                    assert!(is_plain_ascii(&text));
                    text[at] = special;
                    assert!(!is_plain_ascii(&text), "{special} at {at} of {length}");
                }
            }
        }
        assert!(is_plain_ascii(b" !#[]\x7f"));
    }

    #[test]
    fn doubles_are_numbers_or_the_three_names() {
        let cases =
            [(5.0, "5"), (5.5, "5.5"), (-0.0, "-0"), (f64::NAN, "\"NaN\""), (f64::NEG_INFINITY, "\"-Infinity\"")];
        for (number, text) in cases {
            let mut out = Vec::new();
            push_double(&mut out, number);
            assert_eq!(out, text.as_bytes());
        }
    }
}

//! Base64 as protobuf's JSON mapping wants it: written in the standard alphabet with padding, read in either alphabet
//! with or without padding (RFC 4648 sections 4 and 5).
//! Granted: whoever calls has made room for what is written.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Appends the text of `bytes`.
pub fn encode(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().enumerate().fold(0u32, |word, (index, byte)| word | u32::from(*byte) << (16 - 8 * index));
        for digit in 0..4 {
            let padding = digit > chunk.len();
            let sextet = (word >> (18 - 6 * digit)) & 63;
            out.push(if padding { b'=' } else { ALPHABET[sextet as usize] });
        }
    }
}

/// Appends the bytes of `text`; None when it is not base64 (nothing useful is appended then).
pub fn decode(out: &mut Vec<u8>, text: &[u8]) -> Option<()> {
    let digits = text.strip_suffix(b"==").or(text.strip_suffix(b"=")).unwrap_or(text);
    if digits.len() % 4 == 1 || (digits.len() != text.len() && !text.len().is_multiple_of(4)) {
        return None;
    }
    out.reserve(digits.len() / 4 * 3 + 2);
    for chunk in digits.chunks(4) {
        let mut word = 0u32;
        for (index, digit) in chunk.iter().enumerate() {
            word |= u32::from(sextet(*digit)?) << (18 - 6 * index);
        }
        out.extend_from_slice(&word.to_be_bytes()[1..chunk.len()]);
    }
    Some(())
}

fn sextet(digit: u8) -> Option<u8> {
    match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_rfc_4648_read_and_write() {
        let vectors =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")];
        for (bytes, text) in vectors {
            let mut out = Vec::new();
            encode(&mut out, bytes.as_bytes());
            assert_eq!(out, text.as_bytes());
            for text in [text, text.trim_end_matches('=')] {
                let mut out = Vec::new();
                assert_eq!(decode(&mut out, text.as_bytes()), Some(()));
                assert_eq!(out, bytes.as_bytes());
            }
        }
    }

    #[test]
    fn every_byte_survives_in_both_alphabets() {
        let bytes: Vec<u8> = (0..=255).collect();
        let mut text = Vec::new();
        encode(&mut text, &bytes);
        let url: Vec<u8> = text
            .iter()
            .map(|digit| match digit {
                b'+' => b'-',
                b'/' => b'_',
                other => *other,
            })
            .collect();
        for text in [text, url] {
            let mut back = Vec::new();
            assert_eq!(decode(&mut back, &text), Some(()));
            assert_eq!(back, bytes);
        }
    }

    #[test]
    fn what_is_not_base64_is_refused() {
        for text in ["!!", "A", "AAAAA", "Zg=", "Z===", "Zg==Zg==", "Zm9v="] {
            assert_eq!(decode(&mut Vec::new(), text.as_bytes()), None, "{text}");
        }
    }
}

//! Trace and span ids: sixteen and eight bytes, written as lower-case hex, read in either case.
//! Granted: whoever calls has made room for two digits of each byte.

use std::fmt;

/// A W3C trace id. All zeros is invalid.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId(pub [u8; 16]);

/// A W3C span id. All zeros is invalid.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId(pub [u8; 8]);

impl TraceId {
    /// From the wire: exactly sixteen bytes, not all zero.
    #[inline]
    pub fn from_wire(bytes: &[u8]) -> Option<TraceId> {
        let id: [u8; 16] = bytes.try_into().ok()?;
        (id != [0; 16]).then_some(TraceId(id))
    }
}

impl SpanId {
    /// From the wire: exactly eight bytes, not all zero.
    #[inline]
    pub fn from_wire(bytes: &[u8]) -> Option<SpanId> {
        let id: [u8; 8] = bytes.try_into().ok()?;
        (id != [0; 8]).then_some(SpanId(id))
    }
}

/// `2 * N` hex digits in either case to bytes.
pub fn hex_to_bytes<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = (high << 4 | low) as u8;
    }
    Some(bytes)
}

/// The two digits of each byte.
const HEX: [[u8; 2]; 256] = {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [DIGITS[byte >> 4], DIGITS[byte & 15]];
        byte += 1;
    }
    pairs
};

/// Appends the bytes as lower-case hex digits.
#[inline]
pub fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    let (eights, rest) = bytes.as_chunks::<8>();
    for eight in eights {
        out.extend_from_slice(eight.map(|byte| HEX[usize::from(byte)]).as_flattened());
    }
    for byte in rest {
        out.extend_from_slice(&HEX[usize::from(*byte)]);
    }
}

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_reads_in_either_case_and_prints_lower() {
        let id = TraceId(hex_to_bytes(b"5B8EFFF798038103d269b633813fc60c").expect("valid"));
        assert_eq!(id.to_string(), "5b8efff798038103d269b633813fc60c");
        let mut out = Vec::new();
        push_hex(&mut out, &id.0);
        assert_eq!(out, id.to_string().as_bytes());
    }

    #[test]
    fn wrong_length_bad_digits_and_zeros_are_no_id() {
        for text in [
            "",
            "12",
            "5b8efff798038103d269b633813fc60",
            "5b8efff798038103d269b633813fc60g",
            "5b8efff798038103d269b633813f+60c",
        ] {
            assert_eq!(hex_to_bytes::<16>(text.as_bytes()), None, "{text}");
        }
        assert_eq!(TraceId::from_wire(&[0; 16]), None);
        assert_eq!(SpanId::from_wire(&[1; 7]), None);
    }
}

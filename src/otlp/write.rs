//! Writing protobuf: varints, keys and length-delimited fields into a growing buffer, and their exact sizes.
//!
//! The counterpart of the walker and as small: it knows the wire format and no message of OTLP.
//! Granted: whoever calls has made room for what is written.

/// Wire type of varints.
pub const VARINT: u8 = 0;
/// Wire type of eight little-endian bytes.
pub const FIXED64: u8 = 1;
/// Wire type of a length and that many bytes.
pub const LEN: u8 = 2;
/// Wire type of four little-endian bytes.
pub const FIXED32: u8 = 5;

/// Bytes that `value` takes as a varint, 1 to 10.
#[inline]
pub fn varint_len(value: u64) -> usize {
    // 9/64 of the bit length, rounded up, is the number of groups of seven bits.
    ((64 - (value | 1).leading_zeros() as usize) * 9 + 64) / 64
}

#[inline]
pub fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The key of a field: number and wire type.
#[inline]
pub fn key(out: &mut Vec<u8>, number: u32, wire_type: u8) {
    varint(out, u64::from(number) << 3 | u64::from(wire_type));
}

/// Bytes of a length-delimited field with `length` bytes inside.
#[inline]
pub fn field_len(number: u32, length: usize) -> usize {
    varint_len(u64::from(number) << 3) + varint_len(length as u64) + length
}

/// A length-delimited field: string, bytes or message.
#[inline]
pub fn bytes(out: &mut Vec<u8>, number: u32, value: &[u8]) {
    key(out, number, LEN);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::walk::read_varint;

    #[test]
    fn a_varint_is_as_long_as_said_and_reads_back() {
        for shift in 0..64 {
            for value in [(1u64 << shift) - 1, 1 << shift, (1 << shift) | 1, u64::MAX >> shift] {
                let mut out = Vec::new();
                varint(&mut out, value);
                assert_eq!(out.len(), varint_len(value), "{value}");
                assert_eq!(read_varint(&out), Ok((value, out.len())));
            }
        }
    }
}

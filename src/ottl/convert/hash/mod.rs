//! Digests for redaction, which hide values from readers and protect nothing else, and short hashes that tell values apart.

mod flow;
mod murmur;

use md5::{Digest, Md5};
use ring::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA512, digest};
use twox_hash::{XxHash3_64, XxHash3_128};

use crate::ottl::value::hex;

pub use flow::community_id;
pub use murmur::{murmur3, murmur3_128};

pub fn sha1(bytes: &[u8]) -> String {
    of(&SHA1_FOR_LEGACY_USE_ONLY, bytes)
}

pub fn sha256(bytes: &[u8]) -> String {
    of(&SHA256, bytes)
}

pub fn sha512(bytes: &[u8]) -> String {
    of(&SHA512, bytes)
}

pub fn md5(bytes: &[u8]) -> String {
    hex(&Md5::digest(bytes))
}

/// In lower-case hexadecimal digits.
fn of(algorithm: &'static Algorithm, bytes: &[u8]) -> String {
    hex(digest(algorithm, bytes).as_ref())
}

/// In hexadecimal digits, the highest first.
pub fn xxh3(bytes: &[u8]) -> String {
    format!("{:016x}", XxHash3_64::oneshot(bytes))
}

pub fn xxh128(bytes: &[u8]) -> String {
    format!("{:032x}", XxHash3_128::oneshot(bytes))
}

/// FNV-1a of 64 bits, as a signed number.
pub fn fnv(bytes: &[u8]) -> i64 {
    let hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    hash as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors of FIPS 180-4's examples, of RFC 1321 and of contrib's end-to-end tests.
    #[test]
    fn digests_are_those_of_the_standards() {
        assert_eq!(sha1(b"abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(sha256(b"pass"), "d74ff0ee8da3b9806b18c877dbf29bbde50b5bd8e4dad7a3a725000feb82e8f1");
        assert_eq!(
            sha512(b"abc"),
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
             2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
        );
        assert_eq!(md5(b"message digest"), "f96b697d7cb7938d525a2f31aaf161d0");
        assert_eq!(fnv(b"pass"), 266_877_920_130_663_416);
    }

    /// Values of a Collector v0.161.
    #[test]
    fn short_hashes_are_those_of_a_collector() {
        assert_eq!(xxh3(b"hello world"), "d447b1ea40e6988b");
        assert_eq!(xxh128(b"hello world"), "df8d09e93f874900a99b8775cc15b6c7");
        assert_eq!(murmur3(b"Hello World"), "ce837619");
        assert_eq!(murmur3_128(b"Hello World"), "dbc2a0c1ab26631a27b4c09fcf1fe683");
    }
}

//! Digests for redaction: SHA-256 and SHA-1 (FIPS 180-4) and FNV-1a, written out, because no library here offers them
//! to this layer. They hide values from readers and protect nothing else.

use crate::ottl::Failure;
use crate::ottl::convert::made;
use crate::ottl::value::Value;

const BLOCK: usize = 64;

const SHA256_START: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

#[rustfmt::skip]
const SHA256_ROUNDS: [u32; 64] = [
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
];

/// As lower-case hex digits.
pub fn sha256_text<'a>(text: &str) -> Result<Value<'a>, Failure> {
    Ok(made(hex(&sha256(text.as_bytes()))))
}

pub fn sha1_text<'a>(text: &str) -> Result<Value<'a>, Failure> {
    Ok(made(hex(&sha1(text.as_bytes()))))
}

fn hex(words: &[u32]) -> String {
    words.iter().map(|word| format!("{word:08x}")).collect()
}

fn sha256(bytes: &[u8]) -> [u32; 8] {
    let mut state = SHA256_START;
    for_each_block(bytes, |words| {
        let mut schedule = [0u32; 64];
        schedule[..16].copy_from_slice(words);
        for at in 16..64 {
            let (near, far) = (schedule[at - 15], schedule[at - 2]);
            let near = near.rotate_right(7) ^ near.rotate_right(18) ^ (near >> 3);
            let far = far.rotate_right(17) ^ far.rotate_right(19) ^ (far >> 10);
            schedule[at] = schedule[at - 16].wrapping_add(near).wrapping_add(schedule[at - 7]).wrapping_add(far);
        }
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = state;
        for (round, word) in SHA256_ROUNDS.iter().zip(schedule) {
            let mixed = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
            let choice = (e & f) ^ (!e & g);
            let one = h.wrapping_add(mixed).wrapping_add(choice).wrapping_add(*round).wrapping_add(word);
            let mixed = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
            let two = mixed.wrapping_add((a & b) ^ (a & c) ^ (b & c));
            (h, g, f, e, d, c, b, a) = (g, f, e, d.wrapping_add(one), c, b, a, one.wrapping_add(two));
        }
        let added = [a, b, c, d, e, f, g, h];
        state.iter_mut().zip(added).for_each(|(word, added)| *word = word.wrapping_add(added));
    });
    state
}

fn sha1(bytes: &[u8]) -> [u32; 5] {
    let mut state = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0u32];
    for_each_block(bytes, |words| {
        let mut schedule = [0u32; 80];
        schedule[..16].copy_from_slice(words);
        for at in 16..80 {
            let word = schedule[at - 3] ^ schedule[at - 8] ^ schedule[at - 14] ^ schedule[at - 16];
            schedule[at] = word.rotate_left(1);
        }
        let [mut a, mut b, mut c, mut d, mut e] = state;
        for (at, word) in schedule.iter().enumerate() {
            let (choice, round) = match at / 20 {
                0 => ((b & c) | (!b & d), 0x5a82_7999),
                1 => (b ^ c ^ d, 0x6ed9_eba1),
                2 => ((b & c) | (b & d) | (c & d), 0x8f1b_bcdc),
                _ => (b ^ c ^ d, 0xca62_c1d6u32),
            };
            let next = a.rotate_left(5).wrapping_add(choice).wrapping_add(e).wrapping_add(round).wrapping_add(*word);
            (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
        }
        state.iter_mut().zip([a, b, c, d, e]).for_each(|(word, added)| *word = word.wrapping_add(added));
    });
    state
}

/// Each block of the padded message as sixteen words.
fn for_each_block(bytes: &[u8], mut visit: impl FnMut(&[u32; 16])) {
    let whole = bytes.len() / BLOCK * BLOCK;
    let mut tail = bytes[whole..].to_vec();
    tail.push(0x80);
    while tail.len() % BLOCK != BLOCK - 8 {
        tail.push(0);
    }
    tail.extend_from_slice(&(bytes.len() as u64 * 8).to_be_bytes());
    for block in bytes[..whole].chunks_exact(BLOCK).chain(tail.chunks_exact(BLOCK)) {
        let mut words = [0u32; 16];
        for (word, four) in words.iter_mut().zip(block.chunks_exact(4)) {
            *word = four.iter().fold(0, |word, byte| word << 8 | u32::from(*byte));
        }
        visit(&words);
    }
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

    /// Vectors of FIPS 180-4's examples and of contrib's end-to-end tests.
    #[test]
    fn digests_are_those_of_the_standards() {
        let long = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
        for (text, sha256_digits, sha1_digits) in [
            (
                "",
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                "da39a3ee5e6b4b0d3255bfef95601890afd80709",
            ),
            (
                "abc",
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                "a9993e364706816aba3e25717850c26c9cd0d89d",
            ),
            (
                long,
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
                "84983e441c3bd26ebaae4aa1f95129e5e54670f1",
            ),
            (
                "pass",
                "d74ff0ee8da3b9806b18c877dbf29bbde50b5bd8e4dad7a3a725000feb82e8f1",
                "9d4e1e23bd5b727046a9e3b4b7db57bd8d6ee684",
            ),
        ] {
            assert_eq!(hex(&sha256(text.as_bytes())), sha256_digits, "{text}");
            assert_eq!(hex(&sha1(text.as_bytes())), sha1_digits, "{text}");
        }
        assert_eq!(fnv(b"pass"), 266_877_920_130_663_416);
    }
}

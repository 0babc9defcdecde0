//! MurmurHash3 (Austin Appleby, public domain), with seed 0: 32 bits, and 128 bits as made for 64-bit machines.

use crate::ottl::value::hex;

/// As hexadecimal digits, the lowest byte first.
pub fn murmur3(bytes: &[u8]) -> String {
    const C1: u32 = 0xcc9e_2d51;
    const C2: u32 = 0x1b87_3593;
    let mix = |word: u32| word.wrapping_mul(C1).rotate_left(15).wrapping_mul(C2);
    let mut hash = 0u32;
    for chunk in bytes.chunks(4) {
        let word = chunk.iter().rev().fold(0u32, |word, byte| word << 8 | u32::from(*byte));
        hash ^= mix(word);
        if chunk.len() == 4 {
            hash = hash.rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
        }
    }
    hash ^= bytes.len() as u32;
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    hex(&(hash ^ hash >> 16).to_le_bytes())
}

const C1: u64 = 0x87c3_7b91_1142_53d5;
const C2: u64 = 0x4cf5_ad43_2745_937f;

fn first_half(word: u64) -> u64 {
    word.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2)
}

fn second_half(word: u64) -> u64 {
    word.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1)
}

fn finished(mut word: u64) -> u64 {
    word = (word ^ word >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    word = (word ^ word >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    word ^ word >> 33
}

/// As hexadecimal digits, of each half the lowest byte first.
pub fn murmur3_128(bytes: &[u8]) -> String {
    let (mut one, mut two) = (0u64, 0u64);
    for chunk in bytes.chunks(16) {
        let word = |part: &[u8]| part.iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
        let (low, high) = chunk.split_at(chunk.len().min(8));
        one ^= first_half(word(low));
        if chunk.len() < 16 {
            two ^= second_half(word(high));
            break;
        }
        one = one.rotate_left(27).wrapping_add(two).wrapping_mul(5).wrapping_add(0x52dc_e729);
        two ^= second_half(word(high));
        two = two.rotate_left(31).wrapping_add(one).wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    one ^= bytes.len() as u64;
    two ^= bytes.len() as u64;
    one = one.wrapping_add(two);
    two = two.wrapping_add(one);
    one = finished(one);
    two = finished(two);
    one = one.wrapping_add(two);
    two = two.wrapping_add(one);
    format!("{}{}", hex(&one.to_le_bytes()), hex(&two.to_le_bytes()))
}

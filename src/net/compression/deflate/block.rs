//! Blocks of deflate (RFC 1951 3.2.3): stored, with the fixed codes, or with codes of their own, whichever is shortest.

use std::sync::LazyLock;

use crate::net::compression::deflate::bits::BitWriter;
use crate::net::compression::deflate::codes::{HuffmanCode, SYMBOLS_MAX, codes, lengths};

const END: usize = 256;
const FIRST_LENGTH: usize = 257;
/// Thirty, and two that never come.
const DISTANCES: usize = 32;
const CODE_BITS_MAX: usize = 15;
/// Blocks of fewer tokens have the fixed codes: making codes would cost more than the block.
const OWN_CODES_MIN: usize = 512;
/// The most bytes that a stored block has.
const STORED_MAX: usize = 0xffff;
/// In which order the lengths of the codes of lengths stand (RFC 1951 3.2.7).
const LENGTHS_ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// A byte as it is, or a repeat: the symbols of its length and its distance with the bits behind their codes.
#[derive(Clone, Copy)]
pub struct DeflateToken(u32);

impl DeflateToken {
    pub const LENGTH_MIN: usize = 3;
    pub const LENGTH_MAX: usize = 258;
    const REPEAT: u32 = 1 << 31;

    #[inline]
    pub fn literal(byte: u8) -> DeflateToken {
        DeflateToken(u32::from(byte))
    }

    /// `length` is within its bounds, `distance` 1 to 32768.
    #[inline]
    pub fn repeat(length: usize, distance: usize) -> DeflateToken {
        let (length, length_extra) = LENGTHS[(length - DeflateToken::LENGTH_MIN) & 0xff];
        let less_1 = (distance - 1) as u32;
        // The two highest bits are the symbol's, the others stand behind its code.
        let below = less_1.max(2).ilog2() - 1;
        let (distance, distance_extra) = (2 * below + (less_1 >> below), less_1 & ((1 << below) - 1));
        DeflateToken(
            DeflateToken::REPEAT
                | u32::from(length) << 24
                | u32::from(length_extra) << 18
                | distance << 13
                | distance_extra,
        )
    }

    #[inline]
    fn is_repeat(self) -> bool {
        self.0 >= DeflateToken::REPEAT
    }

    #[inline]
    fn byte(self) -> usize {
        (self.0 & 0xff) as usize
    }

    /// The symbol of the length, less `FIRST_LENGTH`.
    #[inline]
    fn length(self) -> usize {
        (self.0 >> 24 & 0x1f) as usize
    }

    #[inline]
    fn length_extra(self) -> u32 {
        self.0 >> 18 & 0x1f
    }

    #[inline]
    fn distance(self) -> usize {
        (self.0 >> 13 & 0x1f) as usize
    }

    #[inline]
    fn distance_extra(self) -> u32 {
        self.0 & 0x1fff
    }
}

/// Of each length less 3 its symbol less `FIRST_LENGTH`, and what stands behind the code (RFC 1951 3.2.5).
const LENGTHS: [(u8, u8); 256] = {
    let mut lengths = [(0, 0); 256];
    let mut less_3 = 0;
    while less_3 < 255 {
        let below = if less_3 < 8 { 0 } else { (less_3 as u32).ilog2() - 2 };
        lengths[less_3] = (4 * below as u8 + (less_3 >> below) as u8, (less_3 & ((1 << below) - 1)) as u8);
        less_3 += 1;
    }
    lengths[255] = (28, 0);
    lengths
};

/// Bits behind the code of each length and each distance; symbols that never come have none.
const LENGTH_BITS: [u8; 32] =
    [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0, 0, 0, 0];
const DISTANCE_BITS: [u8; 32] =
    [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 0, 0];

type Literals<T> = [T; SYMBOLS_MAX];
type Distances<T> = [T; DISTANCES];

/// The codes of a block.
struct Codes {
    literals: Literals<HuffmanCode>,
    distances: Distances<HuffmanCode>,
}

static FIXED: LazyLock<Codes> = LazyLock::new(|| {
    let length = |symbol| match symbol {
        0..144 => 8,
        144..256 => 9,
        256..280 => 7,
        _ => 8,
    };
    Codes { literals: codes(&std::array::from_fn(length)), distances: codes(&[5; DISTANCES]) }
});

/// Counts of one block.
pub struct BlockWriter {
    literals: Literals<u32>,
    distances: Distances<u32>,
}

impl Default for BlockWriter {
    fn default() -> BlockWriter {
        BlockWriter { literals: [0; SYMBOLS_MAX], distances: [0; DISTANCES] }
    }
}

impl BlockWriter {
    /// Appends a block of these tokens, which stand for `source`; without it the block cannot be stored.
    pub fn write(&mut self, tokens: &[DeflateToken], source: Option<&[u8]>, bits: &mut BitWriter) {
        let extra_bits = self.count(tokens);
        let own = (tokens.len() >= OWN_CODES_MIN).then(|| OwnCodes::new(self));
        let own_bits = own.as_ref().map_or(usize::MAX, |own| own.head.bits() + self.bits(&own.codes) + extra_bits);
        let fixed_bits = self.bits(&FIXED) + extra_bits;
        if let Some(source) = source.filter(|source| stored_bits(source) < own_bits.min(fixed_bits)) {
            return store(source, bits);
        }
        bits.push(0, 1);
        match own {
            Some(own) if own_bits < fixed_bits => {
                bits.push(2, 2);
                own.head.write(bits);
                push_tokens(&own.codes, tokens, bits);
            }
            _ => {
                bits.push(1, 2);
                push_tokens(&FIXED, tokens, bits);
            }
        }
    }

    /// An empty last block.
    pub fn end(&self, bits: &mut BitWriter) {
        bits.push(1, 1);
        bits.push(1, 2);
        push_code(FIXED.literals[END], bits);
    }

    /// Counts the symbols; returns the bits behind their codes.
    fn count(&mut self, tokens: &[DeflateToken]) -> usize {
        self.literals.fill(0);
        self.distances.fill(0);
        self.literals[END] = 1;
        let mut extra_bits = 0;
        for token in tokens {
            if token.is_repeat() {
                let (length, distance) = (token.length(), token.distance());
                self.literals[FIRST_LENGTH + length] += 1;
                self.distances[distance] += 1;
                extra_bits += usize::from(LENGTH_BITS[length] + DISTANCE_BITS[distance]);
            } else {
                self.literals[token.byte()] += 1;
            }
        }
        extra_bits
    }

    /// Bits of all codes of the block.
    fn bits(&self, codes: &Codes) -> usize {
        let of = |counts: &[u32], codes: &[HuffmanCode]| -> usize {
            counts.iter().zip(codes).map(|(count, code)| *count as usize * usize::from(code.length)).sum()
        };
        of(&self.literals, &codes.literals) + of(&self.distances, &codes.distances)
    }
}

/// An upper bound.
fn stored_bits(source: &[u8]) -> usize {
    (source.len() + 8 * source.len().div_ceil(STORED_MAX)) * 8
}

fn store(source: &[u8], bits: &mut BitWriter) {
    for part in source.chunks(STORED_MAX) {
        bits.push(0, 3);
        bits.align();
        let length = part.len() as u16;
        bits.push_bytes(&length.to_le_bytes());
        bits.push_bytes(&(!length).to_le_bytes());
        bits.push_bytes(part);
    }
}

#[inline]
fn push_code(code: HuffmanCode, bits: &mut BitWriter) {
    bits.push(u32::from(code.bits), u32::from(code.length));
}

fn push_tokens(codes: &Codes, tokens: &[DeflateToken], out: &mut BitWriter) {
    // Here for as long as it is written to: its bits stay in registers.
    let mut bits = std::mem::take(out);
    for token in tokens {
        if token.is_repeat() {
            let (length, distance) = (token.length(), token.distance());
            push_coded(codes.literals[FIRST_LENGTH + length], token.length_extra(), LENGTH_BITS[length], &mut bits);
            push_coded(codes.distances[distance], token.distance_extra(), DISTANCE_BITS[distance], &mut bits);
        } else {
            push_code(codes.literals[token.byte()], &mut bits);
        }
    }
    push_code(codes.literals[END], &mut bits);
    *out = bits;
}

/// A code of 15 bits, and 13 behind it at most.
#[inline]
fn push_coded(code: HuffmanCode, extra: u32, extra_bits: u8, bits: &mut BitWriter) {
    bits.push(u32::from(code.bits) | extra << code.length, u32::from(code.length + extra_bits));
}

/// Codes made for one block, and how they are told.
struct OwnCodes {
    head: Head,
    codes: Codes,
}

impl OwnCodes {
    fn new(counts: &BlockWriter) -> OwnCodes {
        let literals = lengths(&counts.literals, CODE_BITS_MAX);
        let distances = lengths(&counts.distances, CODE_BITS_MAX);
        let codes = Codes { literals: codes(&literals), distances: codes(&distances) };
        OwnCodes { head: Head::new(&literals, &distances), codes }
    }
}

/// What stands before the tokens of a block with codes of its own: their lengths, in a code of their own (RFC 1951 3.2.7).
struct Head {
    /// How many lengths of each alphabet are told.
    literals: usize,
    distances: usize,
    /// Symbols of the code of lengths, with what stands behind them.
    runs: Vec<(u8, u8)>,
    lengths: [u8; 19],
    /// How many of `lengths` are told.
    told: usize,
}

impl Head {
    fn new(literals: &Literals<u8>, distances: &Distances<u8>) -> Head {
        let told = |lengths: &[u8], least: usize| {
            lengths.iter().rposition(|length| *length > 0).map_or(least, |last| least.max(last + 1))
        };
        let (literals_told, distances_told) = (told(literals, FIRST_LENGTH), told(distances, 1));
        let mut all = [0; SYMBOLS_MAX + DISTANCES];
        all[..literals_told].copy_from_slice(&literals[..literals_told]);
        all[literals_told..literals_told + distances_told].copy_from_slice(&distances[..distances_told]);
        let runs = runs(&all[..literals_told + distances_told]);
        let mut counts = [0u32; 19];
        runs.iter().for_each(|(symbol, _)| counts[usize::from(*symbol)] += 1);
        let of_lengths = lengths(&counts, 7);
        let told = LENGTHS_ORDER.iter().rposition(|symbol| of_lengths[*symbol] > 0).map_or(4, |last| 4.max(last + 1));
        Head { literals: literals_told, distances: distances_told, runs, lengths: of_lengths, told }
    }

    fn bits(&self) -> usize {
        let run =
            |(symbol, _): &(u8, u8)| usize::from(self.lengths[usize::from(*symbol)]) + extra_bits(*symbol) as usize;
        14 + 3 * self.told + self.runs.iter().map(run).sum::<usize>()
    }

    fn write(&self, bits: &mut BitWriter) {
        bits.push((self.literals - FIRST_LENGTH) as u32, 5);
        bits.push((self.distances - 1) as u32, 5);
        bits.push((self.told - 4) as u32, 4);
        for symbol in &LENGTHS_ORDER[..self.told] {
            bits.push(u32::from(self.lengths[*symbol]), 3);
        }
        let codes = codes(&self.lengths);
        for (symbol, extra) in &self.runs {
            push_code(codes[usize::from(*symbol)], bits);
            bits.push(u32::from(*extra), extra_bits(*symbol));
        }
    }
}

/// Bits behind a symbol of the code of lengths.
fn extra_bits(symbol: u8) -> u32 {
    match symbol {
        16 => 2,
        17 => 3,
        18 => 7,
        _ => 0,
    }
}

/// Lengths as symbols: 16 repeats the last one 3 to 6 times, 17 is 3 to 10 zeros, 18 is 11 to 138.
fn runs(lengths: &[u8]) -> Vec<(u8, u8)> {
    let mut runs = Vec::with_capacity(lengths.len()); // granted: 316 of two bytes
    let mut rest = lengths;
    while let Some(length) = rest.first() {
        let alike = rest.iter().take_while(|other| *other == length).count();
        let (run, taken) = match (length, alike) {
            (0, 11..) => (Some((18, alike.min(138) - 11)), alike.min(138)),
            (0, 3..) => (Some((17, alike - 3)), alike),
            // The length itself, and then its repeats.
            (1.., 4..) => (Some((16, (alike - 1).min(6) - 3)), (alike - 1).min(6) + 1),
            _ => (None, 1),
        };
        if run.is_none_or(|(symbol, _)| symbol == 16) {
            runs.push((*length, 0)); // granted: within its capacity
        }
        if let Some((symbol, extra)) = run {
            runs.push((symbol, extra as u8)); // granted: see above
        }
        rest = &rest[taken..];
    }
    runs
}

//! Blocks of deflate (RFC 1951 3.2.3): stored, with the fixed codes, or with codes of their own, whichever is shortest.

use std::sync::LazyLock;

use crate::net::compression::deflate::bits::BitWriter;
use crate::net::compression::deflate::codes::{HuffmanCode, SYMBOLS_MAX, codes, lengths};

const END: usize = 256;
const FIRST_LENGTH: usize = 257;
/// Thirty, and two that never come.
const DISTANCES: usize = 32;
const CODE_BITS_MAX: usize = 15;
/// Bytes as they are and repeats of one block.
const SYMBOLS_OF_BLOCK: usize = 16 << 10;
const SEQUENCES_MAX: usize = 8 << 10;
/// Lengths of repeats.
const LENGTH_MIN: usize = 3;
pub const LENGTH_MAX: usize = 258;
/// Blocks of fewer tokens have the fixed codes: making codes would cost more than the block.
const OWN_CODES_MIN: usize = 512;
/// The most bytes that a stored block has.
const STORED_MAX: usize = 0xffff;
/// In which order the lengths of the codes of lengths stand (RFC 1951 3.2.7).
const LENGTHS_ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// Bytes as they are and behind them a repeat, whose length is 0 where there is none.
#[derive(Clone, Copy)]
struct Sequence {
    literals: u16,
    length: u16,
    /// The symbols of the repeat's length and distance with the bits behind their codes.
    repeat: Repeat,
}

#[derive(Clone, Copy)]
struct Repeat(u32);

impl Repeat {
    /// `length` is within its bounds, `distance` 1 to 32768.
    #[inline]
    fn of(length: usize, distance: usize) -> Repeat {
        let (length, length_extra) = LENGTHS[(length - LENGTH_MIN) & 0xff];
        let less_1 = (distance - 1) as u32;
        // The two highest bits are the symbol's, the others stand behind its code.
        let below = less_1.max(2).ilog2() - 1;
        let (distance, distance_extra) = (2 * below + (less_1 >> below), less_1 & ((1 << below) - 1));
        Repeat(u32::from(length) << 24 | u32::from(length_extra) << 18 | distance << 13 | distance_extra)
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

/// One block while it grows: what it is made of, and how often each symbol comes.
pub struct Block {
    sequences: Vec<Sequence>,
    /// Bytes as they are, and repeats.
    symbols: usize,
    literals: Literals<u32>,
    distances: Distances<u32>,
    /// Behind the codes.
    extra_bits: usize,
}

impl Block {
    pub fn new() -> Block {
        let sequences = Vec::with_capacity(SEQUENCES_MAX); // granted: the compressor
        let mut block =
            Block { sequences, symbols: 0, literals: [0; SYMBOLS_MAX], distances: [0; DISTANCES], extra_bits: 0 };
        block.clear();
        block
    }

    fn clear(&mut self) {
        self.sequences.clear();
        (self.symbols, self.extra_bits) = (0, 0);
        self.literals.fill(0);
        self.distances.fill(0);
        self.literals[END] = 1;
    }

    /// How many symbols it has room for, however they come.
    #[inline]
    pub fn left(&self) -> usize {
        (SYMBOLS_OF_BLOCK - self.symbols).min(SEQUENCES_MAX - self.sequences.len())
    }

    /// Appends bytes as they are and a repeat behind them, for which there is room: `left` is asked before. The repeat
    /// becomes pieces that the format knows, none of which is shorter than it allows; its length may be 0.
    #[inline]
    pub fn push(&mut self, literals: &[u8], mut length: usize, distance: usize) {
        for byte in literals {
            self.literals[usize::from(*byte)] += 1;
        }
        self.symbols += literals.len();
        let mut before = literals.len() as u16;
        if length == 0 {
            self.sequences.push(Sequence { literals: before, length: 0, repeat: Repeat(0) }); // granted: within its capacity
        }
        while length > 0 {
            let most = length.min(LENGTH_MAX);
            let piece = if (1..LENGTH_MIN).contains(&(length - most)) { most - LENGTH_MIN } else { most };
            let repeat = Repeat::of(piece, distance);
            self.count(repeat);
            self.sequences.push(Sequence { literals: before, length: piece as u16, repeat }); // granted: see above
            (before, length) = (0, length - piece);
        }
    }

    #[inline]
    fn count(&mut self, repeat: Repeat) {
        let (length, distance) = (repeat.length(), repeat.distance());
        self.symbols += 1;
        self.literals[FIRST_LENGTH + length] += 1;
        self.distances[distance] += 1;
        self.extra_bits += usize::from(LENGTH_BITS[length] + DISTANCE_BITS[distance]);
    }

    /// Writes the block, which stands for `source`, and begins anew. An empty one leaves nothing.
    pub fn write(&mut self, source: &[u8], bits: &mut BitWriter) {
        if self.symbols == 0 {
            return;
        }
        let own = (self.symbols >= OWN_CODES_MIN).then(|| OwnCodes::new(self));
        let own_bits = own.as_ref().map_or(usize::MAX, |own| own.head.bits() + self.bits(&own.codes));
        let fixed_bits = self.bits(&FIXED);
        if stored_bits(source) < own_bits.min(fixed_bits) {
            store(source, bits);
        } else {
            bits.push(0, 1);
            match own {
                Some(own) if own_bits < fixed_bits => {
                    bits.push(2, 2);
                    own.head.write(bits);
                    push_sequences(&own.codes, &self.sequences, source, bits);
                }
                _ => {
                    bits.push(1, 2);
                    push_sequences(&FIXED, &self.sequences, source, bits);
                }
            }
        }
        self.clear();
    }

    /// Bits of all codes of the block, and those behind them.
    fn bits(&self, codes: &Codes) -> usize {
        let of = |counts: &[u32], codes: &[HuffmanCode]| -> usize {
            counts.iter().zip(codes).map(|(count, code)| *count as usize * usize::from(code.length)).sum()
        };
        of(&self.literals, &codes.literals) + of(&self.distances, &codes.distances) + self.extra_bits
    }
}

/// An empty last block.
pub fn end(bits: &mut BitWriter) {
    bits.push(1, 1);
    bits.push(1, 2);
    push_code(FIXED.literals[END], bits);
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

fn push_sequences(codes: &Codes, sequences: &[Sequence], source: &[u8], out: &mut BitWriter) {
    // Here for as long as it is written to: its bits stay in registers.
    let mut bits = std::mem::take(out);
    let mut at = 0;
    for Sequence { literals, length, repeat } in sequences {
        let behind = at + usize::from(*literals);
        // Three codes of 15 bits at most.
        for three in source[at..behind].chunks(3) {
            for byte in three {
                let code = codes.literals[usize::from(*byte)];
                bits.add(u32::from(code.bits), u32::from(code.length));
            }
            bits.spill();
        }
        at = behind + usize::from(*length);
        if *length > 0 {
            let (length, distance) = (repeat.length(), repeat.distance());
            // Two codes of 15 bits at most, with 5 and 13 behind them: no spill between.
            add_coded(codes.literals[FIRST_LENGTH + length], repeat.length_extra(), LENGTH_BITS[length], &mut bits);
            add_coded(codes.distances[distance], repeat.distance_extra(), DISTANCE_BITS[distance], &mut bits);
            bits.spill();
        }
    }
    push_code(codes.literals[END], &mut bits);
    *out = bits;
}

#[inline(always)]
fn add_coded(code: HuffmanCode, extra: u32, extra_bits: u8, bits: &mut BitWriter) {
    bits.add(u32::from(code.bits) | extra << code.length, u32::from(code.length + extra_bits));
}

/// Codes made for one block, and how they are told.
struct OwnCodes {
    head: Head,
    codes: Codes,
}

impl OwnCodes {
    fn new(counts: &Block) -> OwnCodes {
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

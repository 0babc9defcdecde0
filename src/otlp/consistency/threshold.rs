//! Thresholds and randomness of OpenTelemetry's consistent sampling: 56 bits, an item is kept when its randomness is not
//! below the threshold (OTEP 235; contrib pkg/sampling, v0.161).

/// One more than the largest randomness; the threshold of what is never kept.
pub const NEVER: u64 = 1 << 56;
/// The threshold of what is always kept.
pub const ALWAYS: u64 = 0;
/// Randomness that passes every threshold but `NEVER`.
pub const HIGHEST: u64 = NEVER - 1;
/// Hexadecimal digits of 56 bits.
pub const DIGITS: usize = 14;

const HASH_BUCKETS_LOG2: u32 = 14;
const HASH_BUCKETS: u64 = 1 << HASH_BUCKETS_LOG2;

/// The threshold that keeps this share, rounded to `precision` significant hexadecimal digits, which leading zeros and
/// `f`s do not count to; `None` outside of [2^-56, 1].
pub fn of_probability(share: f64, precision: usize) -> Option<u64> {
    if !(1.0 / NEVER as f64..=1.0).contains(&share) {
        return None;
    }
    if share == 1.0 {
        return Some(ALWAYS);
    }
    let extra = |part: f64| usize::try_from(-exponent(part) / 4).unwrap_or(0);
    let precision = (precision + extra(share).max(extra(1.0 - share))).min(DIGITS);
    let threshold = NEVER - (share * NEVER as f64).round() as u64;
    let shift = 4 * (DIGITS - precision);
    if shift == 0 {
        return Some(threshold);
    }
    Some((threshold + (1 << (shift - 1))) >> shift << shift)
}

/// The threshold that keeps this share as exactly as 56 bits can say, rather a hair less than more: the inverse of what
/// keeps a tenth is then not below ten, which readers that cut weights to whole numbers would make nine.
pub fn keeping(share: f64) -> u64 {
    if share >= 1.0 {
        return ALWAYS;
    }
    // The cast takes what is not a number, and what is negative, for nothing.
    NEVER - (share * NEVER as f64) as u64
}

/// The share that a threshold keeps.
pub fn probability(threshold: u64) -> f64 {
    NEVER.saturating_sub(threshold) as f64 / NEVER as f64
}

/// The exponent e of x = f * 2^e with f in [0.5, 1), for normal x; 0 for 0.
fn exponent(x: f64) -> i64 {
    if x == 0.0 { 0 } else { (x.to_bits() >> 52 & 0x7ff) as i64 - 1022 }
}

/// The threshold of `hash_seed` mode: 14 bits, the share cut to whole buckets in 32-bit arithmetic as ever; `None` when
/// no bucket is left.
pub fn of_buckets(percentage: f32) -> Option<u64> {
    let buckets = (percentage * (HASH_BUCKETS as f32 / 100.0)) as u64;
    (buckets > 0).then(|| (HASH_BUCKETS - buckets.min(HASH_BUCKETS)) << 42)
}

/// Randomness of `hash_seed` mode: its upper 14 bits tell what the hash always told, the others fill the 56.
pub fn hashed(bytes: &[u8], seed: u32) -> u64 {
    let hash = seed
        .to_le_bytes()
        .iter()
        .chain(bytes)
        .fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    let bucket = u64::from(hash) & (HASH_BUCKETS - 1);
    let unused = u64::from(hash >> (32 - HASH_BUCKETS_LOG2));
    (HASH_BUCKETS - 1 - bucket) << 42 | (unused ^ unused << 10) << 14 | bucket
}

/// Randomness of a trace id: its last seven bytes (W3C Trace Context 2).
pub fn of_trace_id(id: &[u8; 16]) -> u64 {
    id[9..].iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// `rv`: exactly 14 digits.
pub fn read_randomness(text: &[u8]) -> Option<u64> {
    if text.len() == DIGITS { hex(text) } else { None }
}

/// `th`: 1 to 14 digits, zeros at the end left out.
pub fn read_threshold(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > DIGITS {
        return None;
    }
    hex(text).map(|value| value << (4 * (DIGITS - text.len())))
}

fn hex(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0, |value, digit| Some(value << 4 | u64::from(char::from(*digit).to_digit(16)?)))
}

/// Appends 14 digits.
pub fn push_randomness(out: &mut Vec<u8>, value: u64) {
    for at in (0..DIGITS).rev() {
        out.push(b"0123456789abcdef"[(value >> (4 * at) & 15) as usize]);
    }
}

/// Appends the digits without the zeros at the end; `0` for what is always kept.
pub fn push_threshold(out: &mut Vec<u8>, value: u64) {
    let start = out.len();
    push_randomness(out, value);
    while out.len() > start + 1 && out.last() == Some(&b'0') {
        out.pop();
    }
}

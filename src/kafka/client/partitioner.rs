//! Which partition a record goes to: by its key as the Collector's exporter does by default, so that the spans of a trace
//! meet in one partition whichever of the two wrote them; without a key to one after the other.
//!
//! The Collector's default is the hash of its former client (Sarama): FNV-1a of 32 bits, taken as a signed number.

use std::sync::atomic::{AtomicUsize, Ordering};

/// FNV-1a of 32 bits.
const OFFSET: u32 = 0x811c_9dc5;
const PRIME: u32 = 0x0100_0193;

/// The partition of a key among `count`.
pub fn partition_of(key: &[u8], count: usize) -> i32 {
    let hash = key.iter().fold(OFFSET, |state, byte| (state ^ u32::from(*byte)).wrapping_mul(PRIME));
    let count = i32::try_from(count).unwrap_or(i32::MAX).max(1);
    (hash.cast_signed() % count).abs()
}

/// BatchRecords without a key take turns.
#[derive(Debug, Default)]
pub struct PartitionTurns(AtomicUsize);

impl PartitionTurns {
    pub fn next(&self, count: usize) -> i32 {
        let turn = self.0.fetch_add(1, Ordering::Relaxed);
        i32::try_from(turn % count.max(1)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv_1a_and_a_negative_remainder_loses_its_sign() {
        // Of the reference: FNV-1a("") and FNV-1a("foobar") as signed numbers are -2128831035 and -1080231576.
        assert_eq!(partition_of(b"", 6), 2_128_831_035 % 6);
        assert_eq!(partition_of(b"foobar", 7), 1_080_231_576 % 7);
        assert!((0..1000_u32).all(|key| (0..6).contains(&partition_of(&key.to_be_bytes(), 6))));
        assert_eq!(partition_of(b"any", 0), 0);
    }

    #[test]
    fn records_without_a_key_take_turns() {
        let turns = PartitionTurns::default();
        assert_eq!([(); 4].map(|()| turns.next(3)), [0, 1, 2, 0]);
        assert_eq!(turns.next(0), 0);
    }
}

//! Trace ids as they are filed: what stands in for one that a span lacks, and which shard owns a trace.

/// How the stand-ins of missing trace ids begin. A sender that writes it into an id of its own gains nothing by it.
const STAND_IN: [u8; 8] = *b"\xd6no id\x9a\x17";

/// The id under which a span without a trace id is filed, so that it is judged alone: spans of different traces, and of
/// different services, would else be one trace for ever (issue 13, L1). It is not written anywhere.
pub(super) fn stand_in(seed: u64, number: u32) -> [u8; 16] {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&STAND_IN);
    let mixed = (seed ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    id[8..].copy_from_slice(&mixed.to_be_bytes());
    id
}

/// Whether an id stands in for one that a span lacks; no other gateway has a part of such a trace.
pub fn is_stand_in(trace_id: &[u8; 16]) -> bool {
    trace_id.starts_with(&STAND_IN)
}

/// The id as policies see it: what stands in for a missing one is zeros again, as in the Collector.
pub fn as_sent(trace_id: &[u8; 16]) -> [u8; 16] {
    if is_stand_in(trace_id) { [0; 16] } else { *trace_id }
}

/// Which of `shards` shards owns a trace: the finaliser of splitmix64 over the id's right half.
pub fn shard_of(trace_id: &[u8; 16], shards: usize) -> usize {
    if shards == 1 {
        return 0;
    }
    let mut x = trace_id[8..].iter().fold(0u64, |x, byte| x << 8 | u64::from(*byte));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ (x >> 31)) % shards as u64) as usize
}

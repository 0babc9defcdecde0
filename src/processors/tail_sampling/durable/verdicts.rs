//! Verdicts as they stand on disk: version 1, then 25 bytes for each trace. Pure bytes.

use bytes::Bytes;

use crate::core::time::UnixNanos;
use crate::processors::tail_sampling::policies::decision::{Decision, Why};

/// A trace that was decided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoggedVerdict {
    pub trace_id: [u8; 16],
    pub decision: Decision,
    pub decided_at: UnixNanos,
}

const VERSION: u8 = 1;
/// Id, kept, when.
const BYTES: usize = 16 + 1 + 8;

/// Why a trace was decided so and what it stands for is told by the process that decided it, and is not kept.
pub fn encode(verdicts: &[LoggedVerdict]) -> Bytes {
    let mut bytes = Vec::with_capacity(1 + verdicts.len() * BYTES);
    bytes.push(VERSION);
    for verdict in verdicts {
        bytes.extend_from_slice(&verdict.trace_id);
        bytes.push(u8::from(verdict.decision.kept));
        bytes.extend_from_slice(&verdict.decided_at.0.to_le_bytes());
    }
    Bytes::from(bytes)
}

/// Nothing for bytes of a later version.
pub fn decode(bytes: &[u8]) -> Vec<LoggedVerdict> {
    let Some((&VERSION, lines)) = bytes.split_first() else { return Vec::new() };
    let verdict = |line: &[u8]| {
        let (trace_id, rest) = line.split_first_chunk::<16>()?;
        let (kept, rest) = rest.split_first()?;
        let at = rest.first_chunk::<8>()?;
        let decision = Decision { kept: *kept == 1, why: Why::NoMatch };
        Some(LoggedVerdict { trace_id: *trace_id, decision, decided_at: UnixNanos(u64::from_le_bytes(*at)) })
    };
    lines.chunks_exact(BYTES).filter_map(verdict).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_read_back_but_for_their_reason_and_no_cut_of_them_panics() {
        let verdict = |id, kept| LoggedVerdict {
            trace_id: [id; 16],
            decision: Decision { kept, why: Why::NoMatch },
            decided_at: UnixNanos(u64::from(id)),
        };
        let all = [verdict(1, true), verdict(2, false)];
        let bytes = encode(&all);
        assert_eq!(decode(&bytes), all);
        for end in 0..bytes.len() {
            assert!(decode(&bytes[..end]).len() < 2, "cut at {end}");
        }
        assert_eq!(decode(&[2, 0, 0]), []);
    }
}

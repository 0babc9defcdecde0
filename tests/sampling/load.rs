//! W1's request again and again with new trace ids: 500 spans in 50 traces of ten, or each span a trace of its own.

use bytes::Bytes;
use podgate::otlp::envelope;

/// Copies of one request, each with ids of its own.
pub struct Load {
    wire: Vec<u8>,
    /// Where the trace ids stand.
    ids: Vec<usize>,
}

impl Load {
    /// `wire` is an encoded request whose spans begin with their trace id; `alone` makes each span a trace of its own.
    pub fn new(mut wire: Vec<u8>, alone: bool) -> Load {
        let whole = Bytes::from(wire.clone());
        let base = whole.as_ptr() as usize;
        let decoded = envelope::decode(whole.clone()).expect("a valid request");
        let ids: Vec<usize> = decoded.items().map(|span| span.as_ptr() as usize - base + 2).collect();
        let own = if alone { &ids[..] } else { &[] };
        for (number, at) in (1u64..).zip(own) {
            let salt = number.wrapping_mul(0xff51_afd7_ed55_8ccd).to_be_bytes();
            wire[*at..*at + 8].iter_mut().zip(salt).for_each(|(byte, salt)| *byte ^= salt);
        }
        Load { wire, ids }
    }

    pub fn request(&self, number: u64) -> Bytes {
        let mut wire = self.wire.clone();
        let salt = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
        for at in &self.ids {
            wire[at + 8..at + 16].iter_mut().zip(salt).for_each(|(byte, salt)| *byte ^= salt);
        }
        Bytes::from(wire)
    }
}

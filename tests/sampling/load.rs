//! W1's request again and again with new trace ids: 500 spans in 50 traces of ten.

use bytes::Bytes;
use podgate::otlp::envelope;

/// Copies of one request, each with ids of its own.
pub struct Load {
    wire: Vec<u8>,
    /// Where the trace ids stand.
    ids: Vec<usize>,
}

impl Load {
    /// `wire` is an encoded request whose spans begin with their trace id.
    pub fn new(wire: Vec<u8>) -> Load {
        let whole = Bytes::from(wire.clone());
        let base = whole.as_ptr() as usize;
        let decoded = envelope::decode(whole.clone()).expect("a valid request");
        let ids = decoded.items().map(|span| span.as_ptr() as usize - base + 2).collect();
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

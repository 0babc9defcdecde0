//! Pieces of an item, the events of a span or the points of a metric, as bytes.

use crate::otlp::walk::Fields;
use crate::otlp::write;
use crate::ottl::{ChangedPieces, places};

/// The content of one length-delimited field.
pub fn content(field: &[u8]) -> &[u8] {
    Fields::new(field).next().and_then(Result::ok).and_then(|field| field.bytes().ok()).unwrap_or_default()
}

/// Appends the pieces in this field of the message, in their order, those that changed as they are now.
pub fn put_pieces(out: &mut Vec<u8>, (message, number): (&[u8], u32), changed: &ChangedPieces) {
    let mut changed = changed.iter().peekable();
    for (at, (_, range)) in places(message).filter(|(found, _)| *found == number).enumerate() {
        match changed.next_if(|(of, _)| *of == at) {
            Some((_, piece)) => write::bytes(out, number, piece),
            None => out.extend_from_slice(&message[range]),
        }
    }
}

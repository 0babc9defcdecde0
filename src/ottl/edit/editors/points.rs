//! Data points as editors of whole metrics take them: bytes of one kind that become points of another.

use crate::otlp::fields::metric_data::{POINT_START_TIME_UNIX_NANO as START, POINT_TIME_UNIX_NANO as TIME};
use crate::otlp::fields::metrics::number_data_point as number_point;
use crate::otlp::walk::{Fields, Wire};
use crate::otlp::write;
use crate::ottl::edit::message_edit::places;
use crate::ottl::edit::target::TOO_MANY_MADE;
use crate::ottl::path::tables::{PathPart, PointPart, Points};
use crate::ottl::path::{POINTS, last};
use crate::ottl::value::failure::EvalFailure;

/// The field of such points that holds their attributes.
pub fn attributes_of(points: Points) -> u32 {
    match PointPart::Attributes.within(points) {
        Some(PathPart::Attributes(number)) => number,
        _ => number_point::ATTRIBUTES,
    }
}

/// The point without these fields, and with other bytes at its end.
pub fn replaced(point: &[u8], gone: &[u32], with: &[u8]) -> Vec<u8> {
    let mut new = Vec::with_capacity(point.len() + with.len());
    for (_, range) in places(point).filter(|(number, _)| !gone.contains(number)) {
        new.extend_from_slice(&point[range]);
    }
    new.extend_from_slice(with);
    new
}

/// Appends what points of every kind share, attributes and times, as fields of a number's point.
pub fn put_shared(out: &mut Vec<u8>, point: &[u8], from: Points) {
    let attributes = attributes_of(from);
    for field in Fields::new(point).map_while(Result::ok) {
        match (field.number, field.wire) {
            (START | TIME, Wire::Fixed64(word)) => put_word(out, field.number, word),
            (number, _) if number == attributes => {
                if let Ok(attribute) = field.bytes() {
                    write::bytes(out, number_point::ATTRIBUTES, attribute);
                }
            }
            _ => {}
        }
    }
}

/// A field of eight bytes.
pub fn put_word(out: &mut Vec<u8>, number: u32, word: u64) {
    write::key(out, number, write::FIXED64);
    out.extend_from_slice(&word.to_le_bytes());
}

/// Words of eight bytes, side by side.
pub fn put_words(out: &mut Vec<u8>, number: u32, words: impl ExactSizeIterator<Item = u64>) {
    write::key(out, number, write::LEN);
    write::varint(out, 8 * words.len() as u64);
    words.for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
}

/// A double that may be absent.
pub fn double(point: &[u8], number: u32) -> Option<f64> {
    match last(point, number)?.wire {
        Wire::Fixed64(bits) => Some(f64::from_bits(bits)),
        _ => None,
    }
}

/// Points that are made one after the other, no more bytes of them than there is room for.
#[derive(Debug)]
pub struct PointList {
    bytes: Vec<u8>,
    room: usize,
    count: usize,
}

impl PointList {
    pub fn within(room: usize) -> PointList {
        PointList { bytes: Vec::new(), room, count: 0 }
    }

    pub fn push(&mut self, point: &[u8]) -> Result<(), EvalFailure> {
        if self.bytes.len() + point.len() > self.room {
            return Err(TOO_MANY_MADE);
        }
        write::bytes(&mut self.bytes, POINTS, point);
        self.count += 1;
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The message that holds them, up to what else stands in it.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

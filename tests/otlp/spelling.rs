//! Other valid spellings of one protobuf request: fields in another order, a resource in two parts, unknown fields.

use fastrand::Rng;
use podgate::otlp::walk::{Fields, Wire};
use podgate::otlp::write;

/// Which fields of a level are messages of the envelope: their number and what is inside.
pub struct Level {
    /// A message field that may be split in two parts, for protobuf merges them: resource or scope.
    pub splits: Option<u32>,
    pub inner: Option<(u32, &'static Level)>,
}

pub const REQUEST: Level = Level { splits: None, inner: Some((1, &RESOURCE_GROUP)) };
const RESOURCE_GROUP: Level = Level { splits: Some(1), inner: Some((2, &SCOPE_GROUP)) };
const SCOPE_GROUP: Level = Level { splits: Some(1), inner: None };

/// The same request as another encoder might have written it. Order among fields of one number is kept.
pub fn respell(message: &[u8], level: &Level, rng: &mut Rng) -> Vec<u8> {
    let mut fields: Vec<(u32, Vec<u8>)> = Vec::new();
    for field in Fields::new(message) {
        let field = field.unwrap();
        let Wire::Bytes(bytes) = field.wire else { panic!("envelopes hold only length-delimited fields") };
        if level.splits == Some(field.number) {
            let at = split_point(bytes, rng);
            fields.push((field.number, bytes[..at].to_vec()));
            fields.push((field.number, bytes[at..].to_vec()));
            continue;
        }
        match level.inner {
            Some((number, inner)) if number == field.number => fields.push((number, respell(bytes, inner, rng))),
            _ => fields.push((field.number, bytes.to_vec())),
        }
    }
    // A random merge of the per-number queues keeps each queue's order.
    let mut out = Vec::new();
    while !fields.is_empty() {
        let picked = fields[rng.usize(0..fields.len())].0;
        let first = fields.iter().position(|(number, _)| *number == picked).unwrap();
        let (number, bytes) = fields.remove(first);
        write::bytes(&mut out, number, &bytes);
        if rng.u8(..) < 40 {
            write::bytes(&mut out, 900 + rng.u32(0..100), b"from a later version");
        }
    }
    out
}

/// A boundary between two fields of a message.
fn split_point(message: &[u8], rng: &mut Rng) -> usize {
    let mut points = vec![0];
    let mut fields = Fields::new(message);
    while fields.next().is_some() {
        points.push(fields.position());
    }
    points[rng.usize(0..points.len())]
}

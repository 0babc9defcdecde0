//! Do all parents of a kept trace's spans belong to it? A trace with orphans passed through another node as well.
//!
//! Looked at for kept traces only, where the spans are in hand anyway, and for no more than a thousand spans a trace.

use crate::otlp::walk::Fields;

const SPANS_MAX: usize = 1000;

/// Ids of one trace at a time; reused.
#[derive(Default)]
pub struct Scratch {
    ids: Vec<u64>,
    parents: Vec<u64>,
}

impl Scratch {
    pub fn begin(&mut self) {
        self.ids.clear();
        self.parents.clear();
    }

    /// Reads a span's own id and its parent's; they stand before all that is long.
    pub fn note(&mut self, span: &[u8]) {
        if self.ids.len() > SPANS_MAX {
            return;
        }
        let id_of = |bytes: &[u8]| <[u8; 8]>::try_from(bytes).map_or(0, u64::from_ne_bytes);
        for field in Fields::new(span).map_while(Result::ok) {
            match field.number {
                1 | 3 => {}
                2 => self.ids.push(field.bytes().map_or(0, id_of)),
                4 => self.parents.push(field.bytes().map_or(0, id_of)),
                _ => break,
            }
        }
    }

    pub fn has_orphans(&mut self) -> bool {
        if self.ids.len() > SPANS_MAX {
            return false;
        }
        self.ids.sort_unstable();
        self.parents.iter().any(|parent| *parent != 0 && self.ids.binary_search(parent).is_err())
    }
}

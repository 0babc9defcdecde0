//! Do all parents of a kept trace's spans belong to it? A trace with orphans passed through another node as well.
//!
//! Looked at for kept traces only, where the spans are in hand anyway, and for no more than a thousand spans a trace.

use crate::otlp::fields::short_key;
use crate::otlp::fields::trace::span;
use crate::otlp::walk::Fields;
use crate::otlp::write;

const SPANS_MAX: usize = 1000;

/// Keys of the fields that stand first, in the order in which every encoder writes them.
const TRACE_ID: u8 = short_key(span::TRACE_ID, write::LEN);
const SPAN_ID: u8 = short_key(span::SPAN_ID, write::LEN);
const TRACE_STATE: u8 = short_key(span::TRACE_STATE, write::LEN);
const PARENT: u8 = short_key(span::PARENT_SPAN_ID, write::LEN);

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
        let mut fields = Fields::new(span);
        fields.next_of(TRACE_ID);
        if let Some(id) = fields.next_of(SPAN_ID) {
            self.ids.push(id_of(id));
        }
        fields.next_of(TRACE_STATE);
        if let Some(parent) = fields.next_of(PARENT) {
            self.parents.push(id_of(parent));
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

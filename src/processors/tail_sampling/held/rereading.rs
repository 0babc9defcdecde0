//! Held spans read again, for other questions than those they were read for when they came.
//!
//! Each question gets the answer it would have got at admission. What a group's messages cost to read is paid once for each
//! group and set of policies, never for each trace: one resource may stand above ten thousand of them.

use crate::otlp::walk::Malformed;
use crate::ottl::Item;
use crate::processors::tail_sampling::held::admission::HeldGroup;
use crate::processors::tail_sampling::policies::predicates::{LeafBits, Leaves, SampledSpan};

/// What a group answers for all of its spans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupBits {
    bits: LeafBits,
    /// Its spans are too small for what conditions would walk of the messages above them.
    too_much: bool,
}

impl GroupBits {
    pub fn of(leaves: &Leaves, held: &HeldGroup) -> GroupBits {
        let resource = held.resource.as_deref().unwrap_or_default();
        let is_too_much = |message: &[u8]| leaves.is_too_much(held.came.spans, held.came.bytes, message);
        let scopes = || held.scopes.iter().map(|scope| scope.scope.as_deref().unwrap_or_default());
        GroupBits {
            // It was read when it came, so it can be read.
            bits: leaves.read_resource(resource).unwrap_or_default(),
            too_much: is_too_much(resource) || scopes().any(is_too_much),
        }
    }

    /// The bits of some spans of one of the group's scopes, and how many evaluations failed.
    pub fn with_spans<'s>(
        self,
        leaves: &Leaves,
        (held, scope): (&HeldGroup, u32),
        spans: impl Iterator<Item = &'s [u8]>,
    ) -> (LeafBits, u64) {
        let resource = held.resource.as_deref().unwrap_or_default();
        let about = held.scopes.get(scope as usize).and_then(|scope| scope.scope.as_deref()).unwrap_or_default();
        let (mut bits, mut failures) = (self.bits, 0);
        for span in spans {
            let mut facts = SampledSpan::default();
            let read: Result<(), Malformed> = leaves.read_span(span, &mut facts);
            if read.is_err() || (leaves.has_conditions() && self.too_much) {
                failures += 1;
            } else if leaves.has_conditions() {
                failures += leaves.evaluate(&Item::span(span, about, resource), &mut facts.bits);
            }
            bits.merge(&facts.bits);
        }
        (bits, failures)
    }
}

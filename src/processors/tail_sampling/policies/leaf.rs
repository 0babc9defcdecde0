//! A rule that is one bit: did any span or resource of the trace match?

use crate::config::check::Section;
use crate::core::diagnostic::code;
use crate::processors::tail_sampling::policies::decision::{TraceSummary, Vote};
use crate::processors::tail_sampling::policies::predicates::LeafId;
use crate::processors::tail_sampling::policies::{InvertMeaning, PolicyCheck};

/// What a match of the bit means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sense {
    Plain,
    Inverted(InvertMeaning),
}

#[derive(Clone, Copy, Debug)]
pub struct Leaf {
    pub leaf: LeafId,
    pub sense: Sense,
}

impl Leaf {
    pub fn plain(leaf: LeafId) -> Leaf {
        Leaf { leaf, sense: Sense::Plain }
    }

    /// `invert` is the policy's `invert_match`; the old meaning holds at the top level only, as it did in the Collector.
    pub fn with_invert(leaf: LeafId, invert: Option<bool>, meaning: InvertMeaning, depth: usize) -> Leaf {
        let meaning = if depth == 0 { meaning } else { InvertMeaning::Plain };
        let sense = if invert == Some(true) { Sense::Inverted(meaning) } else { Sense::Plain };
        Leaf { leaf, sense }
    }

    /// Says once for each policy that the meaning of a top-level `invert_match` changed.
    pub fn lint_invert(section: &Section<'_>, invert: Option<bool>, cx: &PolicyCheck<'_>, depth: usize) {
        if invert != Some(true) || depth > 0 || cx.invert_chosen {
            return;
        }
        let message = "since v0.144 `invert_match` at the top level keeps every trace without a match; before, a match dropped the trace \
                       whatever other policies said";
        let help = "use a drop policy to drop what matches; podgate: {invert_match: plain} says that this is meant, veto that the old meaning is";
        section.warn("invert_match", code::LINT, message, Some(help));
    }

    pub fn vote(&self, summary: &TraceSummary) -> Vote {
        match (self.sense, summary.bits.has(self.leaf)) {
            (Sense::Plain, true) | (Sense::Inverted(InvertMeaning::Plain), false) => Vote::Sampled,
            (Sense::Plain, false) | (Sense::Inverted(InvertMeaning::Plain), true) => Vote::NotSampled,
            (Sense::Inverted(InvertMeaning::Veto), true) => Vote::Veto,
            (Sense::Inverted(InvertMeaning::Veto), false) => Vote::WeaklySampled,
        }
    }
}

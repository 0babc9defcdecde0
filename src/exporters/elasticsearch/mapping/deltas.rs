//! What cumulative histograms stood at, so that the difference to the point before can be written: Elasticsearch's
//! histogram field holds what came in since then.
//!
//! Bounded; a series whose state was dropped begins anew. One instance serves everything that one exporter sends.

/// The state of cumulative series.
#[derive(Debug)]
pub struct Deltas {
    /// Series remembered at once; the one longest unused is forgotten first.
    pub series_max: usize,
}

impl Default for Deltas {
    fn default() -> Deltas {
        Deltas { series_max: 10_000 }
    }
}

//! Late binding: the run's attributes are written when the sampler decides, seconds later and knowing more.

use std::sync::Arc;

use bytes::Bytes;

use super::bindings::Times;
use super::enrich::{Enricher, Mode, Moment, Outcome, Subject};
use super::steady::Steady;
use crate::core::binding::{Bound, Evidence, LateBinding};
use crate::core::origin::Origin;
use crate::core::time::UnixNanos;

pub struct Late {
    pub enricher: Arc<Enricher>,
    pub steady: Arc<Steady>,
}

impl LateBinding for Late {
    fn resolve(&self, origin: &Origin, resource: &Bytes, evidence: Evidence, now: UnixNanos) -> Bound {
        let moment = Moment::new(&self.enricher, &self.steady, now, Mode::RunOnly);
        // What stays unknown then is counted with its reason.
        let moment = Moment { give_up: evidence.last_chance, ..moment };
        let latest = evidence.latest;
        let times = || (latest.0 > 0).then_some(Times::at(latest));
        match self.enricher.enrich(&Subject { resource, origin, times: &times }, &moment) {
            Outcome::Unchanged => Bound::Unchanged,
            Outcome::Changed(bytes) => Bound::Resource(bytes),
            Outcome::Pending { .. } => Bound::Pending,
        }
    }
}

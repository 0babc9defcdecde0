//! Late binding: the run's attributes are written when the sampler decides, seconds later and knowing more.
//!
//! Made at arrival for one resource and carried by its group. It holds the pod that was found then, as it was then: no
//! second search, whatever becomes of the resource's attributes, of the connection or of the pod.

use std::sync::Arc;

use bytes::Bytes;

use super::bindings::Times;
use super::enrich::{Enricher, Outcome};
use super::moment::{KnownPod, Mode, Moment, Subject};
use super::steady::Steady;
use crate::core::binding::{Bound, Evidence, LateBinding};
use crate::core::budget::Ticket;
use crate::core::origin::Origin;

/// What all bindings of one processor share.
pub struct Binder {
    pub enricher: Arc<Enricher>,
    pub steady: Arc<Steady>,
}

pub struct Late {
    pub binder: Arc<Binder>,
    pub origin: Arc<Origin>,
    /// `None` when the pod was not known at arrival: it may be by now.
    pub known: Option<KnownPod>,
}

impl LateBinding for Late {
    fn resolve(&self, resource: &Bytes, evidence: Evidence) -> Bound {
        let Binder { enricher, steady } = &*self.binder;
        // What stays unknown then is counted with its reason.
        let moment = Moment { give_up: evidence.last_chance, ..Moment::new(enricher, steady, Mode::RunOnly) };
        let latest = evidence.latest;
        let times = || (latest.0 > 0).then_some(Times::at(latest));
        // Whoever asks charges what it gets: the sampler decides so that memory comes free.
        let ticket = Ticket::free();
        let subject = Subject { resource, origin: &self.origin, times: &times, ticket: &ticket };
        let known = self.known.as_ref().map(|known| known.at(&moment));
        match enricher.enrich_known(&subject, &moment, known) {
            Outcome::Unchanged | Outcome::Refused(_) => Bound::Unchanged,
            Outcome::Changed(bytes) => Bound::Resource(bytes),
            Outcome::Pending { .. } => Bound::Pending,
        }
    }

    fn bytes(&self) -> u64 {
        size_of::<Late>() as u64
    }
}

//! Late binding: the run's attributes are written when the sampler decides, seconds later and knowing more.
//!
//! Made at arrival for one resource and carried by its group. It holds the pod that was found then, as it was then: no
//! second search, whatever becomes of the resource's attributes, of the connection or of the pod.

use std::sync::Arc;

use bytes::Bytes;

use super::bindings::Times;
use super::enrich::{EnrichOutcome, Enricher};
use crate::core::data::binding::{BindingOutcome, Evidence, LateBinding};
use crate::core::data::budget::Ticket;
use crate::core::data::origin::Origin;
use crate::processors::k8s_attributes::times::clock_steps::ClockSteps;
use crate::processors::k8s_attributes::times::moment::{ArrivalMoment, KnownPod, Subject, WriteMode};

/// What all bindings of one processor share.
pub struct Binder {
    pub enricher: Arc<Enricher>,
    pub steady: Arc<ClockSteps>,
}

pub struct Late {
    pub binder: Arc<Binder>,
    pub origin: Arc<Origin>,
    /// `None` when the pod was not known at arrival: it may be by now.
    pub known: Option<KnownPod>,
}

impl LateBinding for Late {
    fn resolve(&self, resource: &Bytes, evidence: Evidence) -> BindingOutcome {
        let Binder { enricher, steady } = &*self.binder;
        // What stays unknown then is counted with its reason.
        let moment = ArrivalMoment { give_up: evidence.last_chance, ..enricher.moment(steady, WriteMode::RunOnly) };
        let latest = evidence.latest;
        let times = || (latest.0 > 0).then_some(Times::at(latest));
        // Whoever asks charges what it gets: the sampler decides so that memory comes free.
        let ticket = Ticket::free();
        let subject = Subject { resource, origin: &self.origin, times: &times, ticket: &ticket };
        let known = self.known.as_ref().map(|known| known.at(&moment));
        match enricher.enrich_known(&subject, &moment, known) {
            EnrichOutcome::Unchanged | EnrichOutcome::Refused(_) => BindingOutcome::Unchanged,
            EnrichOutcome::Changed(bytes) => BindingOutcome::Resource(bytes),
            EnrichOutcome::Pending { .. } => BindingOutcome::Pending,
        }
    }

    fn bytes(&self) -> u64 {
        size_of::<Late>() as u64
    }
}

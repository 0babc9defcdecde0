//! How often podgate would have been right, wherever somebody knows: a resource that tells its own container.id is resolved
//! once more without it, and the two are compared.
//!
//! Nothing that is emitted rests on it: it has bindings of its own, asks nobody and waits for nothing.

use super::{Case, Enricher};
use crate::processors::k8s_attributes::bindings::BindingAnswer;
use crate::processors::k8s_attributes::container::Unchosen;
use crate::processors::k8s_attributes::facts::Known;
use crate::processors::k8s_attributes::report::metrics::{IdEvidence, Scored};
use crate::processors::k8s_attributes::times::moment::ArrivalMoment;
use crate::processors::k8s_attributes::write::Instance;

impl Enricher {
    /// Counts one resource that tells its container.id, once its run is settled; `found` is that run.
    pub(super) fn score(&self, case: &Case<'_>, found: Option<&Instance<'_>>) {
        if case.facts.container_id().is_none() {
            return;
        }
        let scored = match found {
            Some(Instance { run, found: IdEvidence::Given }) => self.blind_answer(case, &run.id),
            // Nobody here knows a run of that id, so there is no truth to compare with.
            _ => Scored::Unknown,
        };
        self.counters.scored(scored);
    }

    /// What the resource would have got without its container.id.
    fn blind_answer(&self, case: &Case<'_>, truth: &str) -> Scored {
        let facts = case.facts.without(Known::ContainerId);
        // Its rules are counted once, with all that it says.
        let moment = ArrivalMoment { again: true, ..case.moment.clone() };
        let blind = Case { subject: case.subject, facts: &facts, moment: &moment };
        let Ok(located) = self.locate(&blind) else { return Scored::Missing };
        let pod = &located.pod;
        let chosen = match self.choice(&blind, pod, &self.horizon(pod, None, &moment)) {
            Ok(chosen) => chosen,
            Err(Unchosen::Missing(_)) => return Scored::Missing,
            Err(Unchosen::Unsettled) => return Scored::Waiting,
        };
        let Some(ledger) = chosen.ledger else { return Scored::Waiting };
        let horizon = self.horizon(pod, Some(ledger), &moment);
        let times = || (case.subject.times)().map(|times| times.of_pod(pod.entry.pod.created));
        match self.blind.resolve(ledger, &self.sighting(&blind, pod, &chosen), &horizon, &times) {
            BindingAnswer::Found { run, .. } if *run.id == *truth => Scored::Right,
            BindingAnswer::Found { .. } => Scored::Wrong,
            BindingAnswer::Missing(_) => Scored::Missing,
            BindingAnswer::Pending { .. } => Scored::Waiting,
        }
    }
}

//! The container and the run of one resource whose pod is known, or that they may be known a little later.

use std::time::Duration;

use super::{Case, Enricher, RETRY_SPACING};
use crate::core::time::UnixNanos;
use crate::kube::ledger::{Absence, ContainerLedger};
use crate::processors::k8s_attributes::bindings::{BindingAnswer, Horizon, Sighting};
use crate::processors::k8s_attributes::config::{Field, HOLD_MAX, Hint};
use crate::processors::k8s_attributes::container::{Choice, Chosen, Unchosen};
use crate::processors::k8s_attributes::enrich::step::ResolveStep;
use crate::processors::k8s_attributes::report::metrics::IdEvidence;
use crate::processors::k8s_attributes::roles;
use crate::processors::k8s_attributes::times::moment::{ArrivalMoment, KnownPod, WriteMode};
use crate::processors::k8s_attributes::write::Instance;

impl Enricher {
    pub(super) fn choose<'a>(&self, case: &Case<'_>, pod: &'a KnownPod) -> ResolveStep<Chosen<'a>> {
        let moment = case.moment;
        let horizon = self.horizon(pod, None, moment);
        match self.choice(case, pod, &horizon) {
            Ok(chosen) => ResolveStep::Done(Ok(chosen)),
            Err(Unchosen::Missing(absence)) => ResolveStep::Done(Err(absence)),
            Err(Unchosen::Unsettled) if moment.mode == WriteMode::PodOnly => ResolveStep::NotAsked,
            Err(Unchosen::Unsettled) if moment.give_up || horizon.stale => {
                ResolveStep::Done(Err(Absence::ContainerNameMissing))
            }
            Err(Unchosen::Unsettled) => {
                let known = &pod.entry.pod;
                self.cluster.refresh(&known.uid, &known.namespace, &known.name);
                ResolveStep::Wait(moment.now.saturating_add(RETRY_SPACING))
            }
        }
    }

    /// The container, as far as it can be told now; nobody is asked for more.
    pub(super) fn choice<'a>(
        &self,
        case: &Case<'_>,
        pod: &'a KnownPod,
        horizon: &Horizon,
    ) -> Result<Chosen<'a>, Unchosen> {
        let origin = case.subject.origin;
        let made_at = || (case.subject.times)().map_or(origin.arrived_at, |times| times.last);
        let is_known = |at: UnixNanos| {
            let ours = if horizon.apart { origin.arrived_at } else { at };
            ours <= horizon.known_until
        };
        let own = &self.config.own;
        let choice = Choice { repair: own.repair, relays: &own.relays, made_at: &made_at, is_known: &is_known };
        choice.of(&pod.entry, case.facts)
    }

    /// The run that made the resource, when it is wanted now.
    pub(super) fn run<'a>(&self, case: &Case<'_>, pod: &'a KnownPod, chosen: &Chosen<'a>) -> ResolveStep<Instance<'a>> {
        if !self.config.extract.has(Field::ContainerId) {
            return ResolveStep::NotAsked;
        }
        if let Some(run) = chosen.named_run {
            return match case.moment.mode {
                WriteMode::PodOnly => ResolveStep::NotAsked,
                WriteMode::Full | WriteMode::RunOnly => {
                    ResolveStep::Done(Ok(Instance { run, found: IdEvidence::Given }))
                }
            };
        }
        let sighting = self.sighting(case, pod, chosen);
        if case.moment.mode == WriteMode::PodOnly {
            self.bindings.note(&sighting);
            return ResolveStep::NotAsked;
        }
        let Some(ledger) = chosen.ledger else {
            // Reported by no status yet: the same as a ledger without runs.
            let empty = ContainerLedger::unreported(&chosen.container.name, chosen.container.kind);
            return match self.ask(case, pod, &empty, &sighting) {
                ResolveStep::Wait(retry_at) => ResolveStep::Wait(retry_at),
                _ => ResolveStep::Done(Err(Absence::NoStatus)),
            };
        };
        self.ask(case, pod, ledger, &sighting)
    }

    fn ask<'a>(
        &self,
        case: &Case<'_>,
        known: &KnownPod,
        ledger: &'a ContainerLedger,
        sighting: &Sighting<'_>,
    ) -> ResolveStep<Instance<'a>> {
        let horizon = self.horizon(known, Some(ledger), case.moment);
        let pod = &known.entry.pod;
        let times = || (case.subject.times)().map(|times| times.of_pod(pod.created));
        match self.bindings.resolve(ledger, sighting, &horizon, &times) {
            BindingAnswer::Found { run, how } => ResolveStep::Done(Ok(Instance { run, found: IdEvidence::By(how) })),
            BindingAnswer::Missing(absence) => self.unknown(sighting, absence, case),
            BindingAnswer::Pending { absence, until } if case.moment.give_up => {
                // Old enough, but nothing came that could have told of another run. Where something did, a status is awaited:
                // of a process that began later than its run.
                let unproved = until > horizon.known_until;
                let old_enough = unproved && until.saturating_add(self.budget(case.moment)) <= case.moment.now;
                let absence = match (case.moment.no_room, old_enough) {
                    (true, _) => Absence::HoldFull,
                    (false, true) => Absence::Stale,
                    (false, false) => absence,
                };
                self.unknown(sighting, absence, case)
            }
            BindingAnswer::Pending { until, .. } => match horizon.witnessed {
                // Known a moment later than it happens, and nobody has to be asked.
                Some(known) => {
                    ResolveStep::Wait(until.saturating_add(case.moment.now.since(known)).max(case.moment.now))
                }
                None => ResolveStep::Wait(self.retry_at(until, known, case.moment)),
            },
        }
    }

    /// Evidence that is old enough lacks a proof that is young enough: the pod is asked for. A read that is made before
    /// could not prove enough.
    fn retry_at(&self, until: UnixNanos, known: &KnownPod, moment: &ArrivalMoment) -> UnixNanos {
        let due = until.saturating_add(self.budget(moment));
        if due <= moment.now {
            let pod = &known.entry.pod;
            self.cluster.refresh(&pod.uid, &pod.namespace, &pod.name);
        }
        due.max(moment.now.saturating_add(RETRY_SPACING))
    }

    /// How old evidence must be before every run that began until then counts as known: what was configured, or what
    /// statuses were seen to take, if that is longer.
    fn budget(&self, moment: &ArrivalMoment) -> Duration {
        let seen = moment.touch.delay;
        // Starts are told in whole seconds: what certainly took this long may have taken a second more.
        let seen = if seen > self.freshness { seen + Duration::from_secs(1) } else { seen };
        if self.freshness.is_zero() { self.freshness } else { self.freshness.max(seen.min(HOLD_MAX)) }
    }

    fn unknown<'a>(&self, sighting: &Sighting<'_>, absence: Absence, case: &Case<'_>) -> ResolveStep<Instance<'a>> {
        self.bindings.note_absence(sighting, absence, case.moment.now);
        ResolveStep::Done(Err(absence))
    }

    pub(super) fn sighting<'a>(&self, case: &Case<'a>, known: &'a KnownPod, chosen: &Chosen<'a>) -> Sighting<'a> {
        let (origin, facts, pod) = (case.subject.origin, case.facts, &known.entry.pod);
        let own = &self.config.own;
        // Opened from an address of the pod, which is no other pod's, and by no container that carries others' data.
        let peer = origin.peer.map(|peer| peer.ip().to_canonical());
        let from_pod = !pod.host_network && peer.is_some_and(|peer| pod.ips.contains(&peer));
        let dated = origin.connection != 0 && origin.accepted_at.0 > 0;
        let direct = dated && from_pod && !roles::is_behind_proxy(pod, chosen.container, &own.relays);
        let trusts = own.hint == Hint::Trust;
        Sighting {
            pod_uid: &pod.uid,
            container: &chosen.container.name,
            identity: facts.identity(&pod.uid),
            connection: direct.then_some((origin.connection, origin.accepted_at)),
            began: facts.process_began(),
            arrived_at: origin.arrived_at,
            trusted_number: if trusts { facts.restart_count() } else { None },
        }
    }

    pub(super) fn horizon(
        &self,
        known: &KnownPod,
        ledger: Option<&ContainerLedger>,
        moment: &ArrivalMoment,
    ) -> Horizon {
        // No run begins in a pod that is gone: an end that was told proves what any later word would. Of one that was
        // merely found missing nobody will ever know more.
        let told = known.entry.removed_at.is_some() && known.entry.known_until >= known.entry.removed_at;
        let lost = known.entry.known_until.filter(|_| !told);
        let in_touch = lost.unwrap_or(if told { moment.now } else { known.in_touch.min(moment.now) });
        let budget = self.budget(moment);
        let witnessed = moment.logs().filter(|_| ledger.is_some_and(|ledger| ledger.logged));
        Horizon {
            known_until: in_touch.saturating_sub(budget),
            seen_at: known.entry.seen_at,
            witnessed,
            stale: (moment.touch.cut_off || lost.is_some())
                && witnessed.is_none()
                && moment.now.since(in_touch) > budget,
            clock: moment.clock,
            is_new: !known.entry.from_start,
            // What this node's folder shows runs on this node.
            apart: witnessed.is_none() && self.is_apart(known, moment),
        }
    }

    /// True for a pod of another machine, whose clock may be ahead of ours or behind it.
    fn is_apart(&self, known: &KnownPod, moment: &ArrivalMoment) -> bool {
        let node = &known.entry.pod.node;
        if node.is_empty() || self.freshness.is_zero() {
            return false;
        }
        match &self.config.own.node {
            Some(own) => **own != **node,
            // Of a watch of one node it is the likeliest that it is ours.
            None => moment.snapshot.has_nodes(),
        }
    }
}

//! One resource in, its new bytes out: pod found, container chosen, run resolved, attributes appended.
//!
//! The one place where association, bindings and attributes meet; the stage calls it at arrival, the sampler's late
//! binding at the decision. It never waits: what may be known a little later is an answer of its own.

mod memo;
mod run;
mod score;
mod step;
mod written;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::association::{Association, Seeker, Tried};
use super::bindings::{Bindings, ClockStretches};
use super::cluster::Cluster;
use super::config::{Config, Field, OnConflict};
use super::facts::{Known, ResourceFacts};
use super::strangers::{Sign, Strangers};
use super::write::ContainerPart;
use crate::core::data::budget::{OverBudget, Ticket};
use crate::core::data::origin::Origin;
use crate::core::time::UnixNanos;
use crate::kube::ledger::{Absence, FRESHNESS};
use crate::kube::table::PodEntry;
use crate::otlp::attributes::RESOURCE;
use crate::otlp::edit::Appender;
use crate::processors::k8s_attributes::enrich::memo::ResourceMemo;
use crate::processors::k8s_attributes::enrich::step::ResolveStep;
use crate::processors::k8s_attributes::pod::attribute_cache::AttributeCache;
use crate::processors::k8s_attributes::pod::attributes;
use crate::processors::k8s_attributes::pod::attributes::PodAttributes;
use crate::processors::k8s_attributes::report::metrics::Counters;
use crate::processors::k8s_attributes::report::miss_log::MissLog;
use crate::processors::k8s_attributes::times::clock_steps::ClockSteps;
use crate::processors::k8s_attributes::times::moment::{ArrivalMoment, KnownPod, Subject, Whose, WriteMode};

/// A resource that waits is looked at again this often, beside every change of the cluster.
const RETRY_SPACING: Duration = Duration::from_millis(100);

/// What one processor knows and remembers, shared by its stages in all pipelines.
pub struct Enricher {
    pub config: Config,
    pub association: Association,
    pub cluster: Arc<dyn Cluster>,
    pub bindings: Bindings,
    /// What was found out of processes that tell their container.id, without it; emitted data never rests on it.
    blind: Bindings,
    pub profiles: AttributeCache,
    memo: ResourceMemo,
    pub counters: Counters,
    pub misses: MissLog,
    pub strangers: Strangers,
    /// How old evidence must be, at the least, before every run that began until then counts as known.
    pub freshness: Duration,
}

/// What became of a resource.
#[derive(Clone, Debug, PartialEq)]
pub enum EnrichOutcome {
    Unchanged,
    Changed(Bytes),
    /// Ask again when the cluster changed, at the latest at this time.
    Pending {
        retry_at: UnixNanos,
    },
    /// There is no memory for the new bytes.
    Refused(OverBudget),
}

impl EnrichOutcome {
    fn of(made: Result<Bytes, OverBudget>) -> EnrichOutcome {
        made.map_or_else(EnrichOutcome::Refused, EnrichOutcome::Changed)
    }
}

/// One resource at one moment.
#[derive(Clone, Copy)]
struct Case<'a> {
    subject: &'a Subject<'a>,
    facts: &'a ResourceFacts<'a>,
    moment: &'a ArrivalMoment,
}

impl Case<'_> {
    /// The resource's bytes, to be edited; `None` when they cannot be walked.
    fn edit(&self, ticket: &Ticket) -> Option<Appender> {
        let mut edit = Appender::within(ticket);
        edit.load(self.subject.resource, RESOURCE).is_ok().then_some(edit)
    }
}

/// The pod's part of the way.
struct Located {
    pod: KnownPod,
    /// The resource's claim to be another pod gives way to the address.
    overrule: bool,
    /// Nothing names it but an address or a name, which another pod may have got.
    passed_on: bool,
    /// Found at the decision and not at the arrival: none of its attributes is there.
    is_late: bool,
}

/// Why no pod is taken.
enum Lost {
    /// No rule finds one. The sign is of what a pod that is announced late would be found by.
    NoPod { hope: Option<Sign> },
    /// The resource names a pod that is not known, and another one is at its address.
    Conflict { hope: Option<Sign> },
}

impl Enricher {
    pub fn new(config: Config, cluster: Arc<dyn Cluster>, counters: Counters) -> Enricher {
        Enricher {
            association: Association::new(config.rules.clone()),
            bindings: Bindings::default(),
            blind: Bindings::default(),
            profiles: AttributeCache::default(),
            memo: ResourceMemo::default(),
            // No status of a pods file is still on its way: there is nothing to wait for.
            freshness: if config.own.pods_file.is_some() { Duration::ZERO } else { config.own.hold.max(FRESHNESS) },
            cluster,
            counters,
            misses: MissLog::default(),
            strangers: Strangers::default(),
            config,
        }
    }

    /// The moment of a request, or of a decision, told to what forgets by age.
    pub fn moment(&self, steady: &ClockSteps, mode: WriteMode) -> ArrivalMoment {
        let moment = ArrivalMoment::new(&*self.cluster, steady, mode);
        for bindings in [&self.bindings, &self.blind] {
            if bindings.tell_time(moment.touch.at) {
                bindings.forget(moment.snapshot.pods().map(|entry| &*entry.pod.uid));
            }
        }
        moment
    }

    /// Enriches one resource.
    #[cfg(test)]
    pub fn enrich(&self, subject: &Subject<'_>, moment: &ArrivalMoment) -> EnrichOutcome {
        self.enrich_at_arrival(subject, moment).0
    }

    /// Enriches one resource and tells whose it is, for what is bound later.
    pub fn enrich_at_arrival(&self, subject: &Subject<'_>, moment: &ArrivalMoment) -> (EnrichOutcome, Whose) {
        let Ok(facts) = ResourceFacts::read(subject.resource) else {
            self.counters.malformed.add(1);
            return (EnrichOutcome::Unchanged, Whose::Nobodys);
        };
        let case = Case { subject, facts: &facts, moment };
        if self.config.passthrough {
            return (pass_through(&case), Whose::Nobodys);
        }
        match self.locate(&case) {
            // Whose the address or the name is the decision knows better, if the server answers by then.
            Ok(located) if located.passed_on && moment.mode == WriteMode::PodOnly && moment.touch.silent => {
                (EnrichOutcome::Unchanged, Whose::Unknown)
            }
            Ok(located) => self.enrich_located(&case, &located),
            // Before the first list nothing can be found: wait for it.
            Err(Lost::NoPod { .. }) if moment.starting && !moment.give_up => (self.retry(moment), Whose::Unknown),
            Err(Lost::NoPod { hope } | Lost::Conflict { hope }) if self.may_come(&case, hope) => {
                (self.retry(moment), Whose::Unknown)
            }
            Err(Lost::NoPod { .. }) => (self.without_pod(&case), Whose::Unknown),
            // The claimed pod may be announced by the decision.
            Err(Lost::Conflict { hope: Some(_) }) if moment.mode == WriteMode::PodOnly => {
                (EnrichOutcome::Unchanged, Whose::Unknown)
            }
            Err(Lost::Conflict { .. }) => {
                self.count_absence(moment, Absence::Conflict);
                (EnrichOutcome::Unchanged, Whose::Nobodys)
            }
        }
    }

    /// At the decision: `known` is the pod that was found at arrival, as it is known now.
    pub fn enrich_known(
        &self,
        subject: &Subject<'_>,
        moment: &ArrivalMoment,
        known: Option<KnownPod>,
    ) -> EnrichOutcome {
        let Ok(facts) = ResourceFacts::read(subject.resource) else { return EnrichOutcome::Unchanged };
        let case = Case { subject, facts: &facts, moment };
        let located = match known {
            Some(pod) => Ok(Located { pod, overrule: false, passed_on: false, is_late: false }),
            None => self.locate(&case).map(|located| Located { is_late: true, ..located }),
        };
        match located {
            Ok(located) => self.enrich_located(&case, &located).0,
            Err(Lost::NoPod { hope } | Lost::Conflict { hope }) if self.may_come(&case, hope) => self.retry(moment),
            Err(lost) => {
                let absence = match lost {
                    Lost::NoPod { .. } => Absence::PodNotFound,
                    Lost::Conflict { .. } => Absence::Conflict,
                };
                self.counters.absent(absence);
                EnrichOutcome::Unchanged
            }
        }
    }

    fn retry(&self, moment: &ArrivalMoment) -> EnrichOutcome {
        EnrichOutcome::Pending { retry_at: moment.now.saturating_add(RETRY_SPACING) }
    }

    /// The first data of a pod comes before the pod is announced, or before its address is. Nobody is waited for in vain a
    /// second time.
    fn may_come(&self, case: &Case<'_>, hope: Option<Sign>) -> bool {
        let (moment, now) = (case.moment, Instant::now());
        let Some(sign) = hope else { return false };
        if moment.give_up {
            // Room that was refused was no wait.
            if moment.now >= case.subject.origin.arrived_at.saturating_add(self.config.own.hold) {
                self.strangers.add(sign, now);
            }
            return false;
        }
        let hears = self.cluster.synced() && !moment.touch.cut_off;
        let young = moment.now < case.subject.origin.arrived_at.saturating_add(self.freshness);
        let waits = match moment.mode {
            WriteMode::Full => true,
            WriteMode::PodOnly => false,
            WriteMode::RunOnly => young,
        };
        waits && hears && !self.freshness.is_zero() && !self.strangers.knows(sign, now)
    }

    /// Finds the pod and settles a contradiction between claim and address.
    fn locate(&self, case: &Case<'_>) -> Result<Located, Lost> {
        let Case { subject, facts, moment } = *case;
        let made_at = || (subject.times)().map(|times| times.last);
        let seeker = self.seeker(facts, subject.origin, &made_at, moment.clock);
        let counted = moment.mode != WriteMode::RunOnly && !moment.again;
        // At most 64 rules.
        let mut missed = 0u64;
        let mut tried = |rule: usize, tried: Tried| {
            missed |= u64::from(tried == Tried::Miss) << rule.min(63);
            match tried {
                Tried::Hit if counted => self.counters.rule_hit(rule),
                Tried::Miss if counted => self.counters.rule_miss(rule),
                Tried::Refused if counted => self.counters.rule_refused(rule),
                _ => {}
            }
        };
        let Some((entry, rule)) = self.association.find(&seeker, &moment.snapshot, self, &mut tried) else {
            let mut rules = (0..64).filter(|rule| (missed >> rule) & 1 == 1);
            let hope =
                rules.find_map(|rule| self.strangers.sign_if(|sign| self.association.hopes(rule, &seeker, sign)));
            return Err(Lost::NoPod { hope });
        };
        let located = |entry: Arc<PodEntry>, overrule| {
            let in_touch = moment.in_touch(&entry);
            Located { pod: KnownPod { entry, in_touch }, overrule, passed_on: false, is_late: false }
        };
        if seeker.is_disproven(&entry, &moment.snapshot) {
            return self.disproven(entry, &seeker, counted, case).map(|(entry, overrule)| located(entry, overrule));
        }
        let Some(claimed) = facts.text(Known::PodUid) else {
            let passed_on = self.association.is_passed_on(rule) && seeker.proven_uid().is_none();
            // It was about to go when we last heard: address and name may be its successor's by now.
            if passed_on && moment.touch.silent && entry.pod.deleting.is_some() {
                let hope = self.strangers.sign_if(|sign| self.association.hopes(rule, &seeker, sign));
                return Err(Lost::NoPod { hope });
            }
            return Ok(Located { passed_on, ..located(entry, false) });
        };
        let found_is_claimed = is_named(&entry, claimed);
        let at_address = if found_is_claimed {
            // Found by what it claims: is somebody else at the other end of the connection?
            seeker.peer_pod(&moment.snapshot).cloned()
        } else {
            Some(entry.clone())
        };
        let Some(other) = at_address.filter(|other| !is_named(other, claimed)) else {
            return Ok(located(entry, false));
        };
        if counted {
            self.counters.identity_conflict.add(1);
        }
        match self.config.own.on_conflict {
            OnConflict::Keep if found_is_claimed => Ok(located(entry, false)),
            OnConflict::Replace => Ok(located(other, true)),
            OnConflict::Keep => Err(Lost::Conflict { hope: Some(self.strangers.sign(claimed)) }),
            OnConflict::Refuse => Err(Lost::Conflict { hope: None }),
        }
    }

    /// `entry` is what the rules found, and the sender's token is another pod's. What a token proves weighs more than what a
    /// resource says of itself, unless the configuration says that claims stand.
    fn disproven(
        &self,
        entry: Arc<PodEntry>,
        seeker: &Seeker<'_>,
        counted: bool,
        case: &Case<'_>,
    ) -> Result<(Arc<PodEntry>, bool), Lost> {
        if counted {
            self.counters.identity_conflict.add(1);
        }
        let own = &self.config.own;
        if own.on_conflict == OnConflict::Keep && own.claims_stand {
            return Ok((entry, false));
        }
        let sender = seeker.peer_pod(&case.moment.snapshot).filter(|_| own.on_conflict == OnConflict::Replace);
        match sender {
            Some(sender) => Ok((sender.clone(), case.facts.text(Known::PodUid).is_some())),
            None => Err(Lost::Conflict { hope: None }),
        }
    }

    fn without_pod(&self, case: &Case<'_>) -> EnrichOutcome {
        let names = (case.facts.text(Known::NamespaceName), case.facts.text(Known::NodeName));
        let found = attributes::without_pod(&self.config.extract, &*self.cluster, names.0, names.1);
        if found.incomplete && !case.moment.give_up {
            return self.retry(case.moment);
        }
        self.counters.lookup_miss.add(1);
        // A pod that is reported between arrival and decision is found then.
        if case.moment.mode == WriteMode::Full {
            self.counters.absent(Absence::PodNotFound);
            self.misses.pod(case.facts.text(Known::ServiceName).unwrap_or(""), case.moment.now, || {
                let seeker = self.seeker(case.facts, case.subject.origin, &|| None, case.moment.clock);
                self.association.attempts(&seeker, &case.moment.snapshot, self)
            });
        }
        if found.values.is_empty() {
            return EnrichOutcome::Unchanged;
        }
        let Some(mut edit) = case.edit(case.subject.ticket) else { return EnrichOutcome::Unchanged };
        for (key, value) in &found.values {
            edit.set_if_absent_or_empty(key, &**value);
        }
        EnrichOutcome::of(edit.take())
    }

    fn enrich_located(&self, case: &Case<'_>, located: &Located) -> (EnrichOutcome, Whose) {
        let (moment, entry) = (case.moment, &located.pod.entry);
        let profile = self.profile(entry, moment.now);
        if profile.ignored {
            return (EnrichOutcome::Unchanged, Whose::Nobodys);
        }
        if profile.incomplete && moment.mode != WriteMode::RunOnly && !moment.give_up {
            let retry_at = moment.now.saturating_add(RETRY_SPACING);
            return (EnrichOutcome::Pending { retry_at }, Whose::Pods(located.pod.clone()));
        }
        let whose = || Whose::Pods(located.pod.clone());
        let chosen = self.choose(case, &located.pod);
        let run = match &chosen {
            ResolveStep::Done(Ok(chosen)) => self.run(case, &located.pod, chosen),
            ResolveStep::Done(Err(absence)) => ResolveStep::Done(Err(*absence)),
            ResolveStep::NotAsked => ResolveStep::NotAsked,
            ResolveStep::Wait(retry_at) => ResolveStep::Wait(*retry_at),
        };
        let resolved = match run {
            ResolveStep::Done(resolved) => Some(resolved),
            ResolveStep::NotAsked => None,
            ResolveStep::Wait(retry_at) => return (EnrichOutcome::Pending { retry_at }, whose()),
        };
        if let Some(Err(absence)) = &resolved
            && self.count_absence(moment, *absence)
        {
            self.misses.run(entry, case.facts.text(Known::ContainerName), *absence, moment.now);
        }
        if let Some(resolved) = &resolved {
            self.score(case, resolved.as_ref().ok());
        }
        let mode = if moment.mode == WriteMode::RunOnly && located.is_late { WriteMode::Full } else { moment.mode };
        let part = match &chosen {
            ResolveStep::Done(Ok(chosen)) => {
                Some(ContainerPart::new(chosen, resolved.as_ref().and_then(|run| run.as_ref().ok())))
            }
            _ => None,
        };
        match self.written(case, located, &profile, (mode, part.as_ref())) {
            Some(outcome) => (outcome, whose()),
            None => (EnrichOutcome::Unchanged, Whose::Nobodys),
        }
    }

    /// True when it is counted now.
    fn count_absence(&self, moment: &ArrivalMoment, absence: Absence) -> bool {
        // What concerns the pod is counted at arrival, what concerns the run when the run is asked for.
        let of_pod =
            matches!(absence, Absence::ContainerNameUnknown | Absence::ContainerNameMissing | Absence::Conflict);
        let counts = match moment.mode {
            WriteMode::Full => true,
            WriteMode::PodOnly => of_pod,
            WriteMode::RunOnly => !of_pod,
        };
        if counts {
            self.counters.absent(absence);
        }
        counts
    }

    /// The pod's attributes, worked out once per state of the pod.
    pub fn profile(&self, entry: &Arc<PodEntry>, now: UnixNanos) -> Arc<PodAttributes> {
        let generation = || self.cluster.generation();
        self.profiles.get(entry, now, &generation, || attributes::gather(&entry.pod, &self.config, &*self.cluster))
    }

    pub fn seeker<'a>(
        &'a self,
        facts: &'a ResourceFacts<'a>,
        origin: &'a Origin,
        made_at: &'a dyn Fn() -> Option<UnixNanos>,
        clock: ClockStretches,
    ) -> Seeker<'a> {
        let own = &self.config.own;
        Seeker { facts, origin, proxies: &own.proxies, relays: &own.relays, made_at, clock }
    }

    /// The label of the rule that finds the resource's pod, asked again for a log line; nothing is counted.
    pub fn matched_rule(&self, subject: &Subject<'_>, moment: &ArrivalMoment) -> &str {
        let Ok(facts) = ResourceFacts::read(subject.resource) else { return "" };
        let made_at = || (subject.times)().map(|times| times.last);
        let seeker = self.seeker(&facts, subject.origin, &made_at, moment.clock);
        let found = self.association.find(&seeker, &moment.snapshot, self, &mut |_, _| {});
        found.map_or("", |(_, rule)| self.rule_label(rule))
    }

    /// The rule's label, for logs and explain.
    pub fn rule_label(&self, rule: usize) -> &str {
        self.association.rules().get(rule).map_or("", |rule| rule.label.as_str())
    }
}

/// The agent's half of agent and gateway: the address is all it knows.
fn pass_through(case: &Case<'_>) -> EnrichOutcome {
    let peer = case.subject.origin.peer.filter(|_| case.facts.text(Known::PodIp).is_none());
    let (Some(peer), Some(mut edit)) = (peer, case.edit(case.subject.ticket)) else { return EnrichOutcome::Unchanged };
    edit.set_if_absent_or_empty(Field::PodIp.name(), &peer.ip().to_canonical().to_string());
    EnrichOutcome::of(edit.take())
}

fn write_pod(edit: &mut Appender, profile: &PodAttributes, located: &Located) {
    if located.overrule {
        edit.replace(Field::PodUid.name(), &*located.pod.entry.pod.uid);
    }
    for (key, value) in &profile.values {
        edit.set_if_absent_or_empty(key, &**value);
    }
}

/// By its uid, or by the hash under which a static pod's containers know themselves.
fn is_named(entry: &PodEntry, claimed: &str) -> bool {
    *entry.pod.uid == *claimed || entry.pod.config_hash.as_deref() == Some(claimed)
}

impl super::association::PodLookup for Enricher {
    fn value(&self, entry: &Arc<PodEntry>, name: &str) -> Option<String> {
        let always = match name {
            "k8s.pod.name" => Some(&entry.pod.name),
            "k8s.namespace.name" => Some(&entry.pod.namespace),
            "k8s.node.name" => Some(&entry.pod.node),
            _ => None,
        };
        if let Some(value) = always {
            return Some(value.to_string());
        }
        self.profile(entry, entry.seen_at).value(name).map(|value| value.to_string())
    }
}

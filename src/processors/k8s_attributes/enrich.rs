//! One resource in, its new bytes out: pod found, container chosen, run resolved, attributes appended.
//!
//! The one place where association, bindings and attributes meet; the stage calls it at arrival, the sampler's late
//! binding at the decision. It never waits: what may be known a little later is an answer of its own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::association::{Association, Seeker, Tried};
use super::bindings::{Bindings, Clock, Horizon, Sighting, Times, Verdict};
use super::cluster::Cluster;
use super::config::{Config, Field, Hint, OnConflict};
use super::container::{self, Chosen};
use super::counters::{Counters, Found};
use super::facts::{Facts, Known};
use super::misses::Misses;
use super::pod_attributes::{self, PodAttributes};
use super::profiles::Profiles;
use super::steady::Steady;
use super::write::{Instance, Writing};
use crate::core::origin::Origin;
use crate::core::time::UnixNanos;
use crate::kube::ledger::{Absence, ContainerLedger, FRESHNESS};
use crate::kube::table::{Entry, Snapshot};
use crate::otlp::edit::Appender;

/// A resource that waits is looked at again this often, beside every change of the cluster.
const RETRY_SPACING: Duration = Duration::from_millis(100);

/// Data waits for the first list only this long after the start.
const STARTING: Duration = Duration::from_secs(10);

/// What one processor knows and remembers, shared by its stages in all pipelines.
pub struct Enricher {
    pub config: Config,
    pub association: Association,
    pub cluster: Arc<dyn Cluster>,
    pub bindings: Bindings,
    pub profiles: Profiles,
    pub counters: Counters,
    pub misses: Misses,
    /// How old evidence must be before every run that began until then counts as known.
    pub freshness: Duration,
}

/// Which attributes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// All of them, now.
    Full,
    /// The pod's and the container's; the run's follow at the decision.
    PodOnly,
    /// The run's, at the decision.
    RunOnly,
}

/// The moment at which a resource is looked at.
#[derive(Clone)]
pub struct Moment {
    pub snapshot: Arc<Snapshot>,
    pub now: UnixNanos,
    /// The snapshot shows everything that the API server knew at this time.
    pub in_touch: UnixNanos,
    pub clock: Clock,
    /// The first list may come any moment. Soon after the start it no longer does, and data must not wait for it.
    pub starting: bool,
    pub mode: Mode,
    /// Not the first time: its rules were counted before.
    pub again: bool,
    /// The last chance: what is pending counts as missing.
    pub give_up: bool,
}

impl Moment {
    pub fn new(enricher: &Enricher, steady: &Steady, now: UnixNanos, mode: Mode) -> Moment {
        Moment {
            snapshot: enricher.cluster.snapshot(),
            now,
            in_touch: enricher.cluster.in_touch(now),
            clock: steady.look(steady.wall()),
            starting: steady.age() < STARTING && !enricher.cluster.synced(),
            mode,
            again: false,
            give_up: false,
        }
    }
}

/// What became of a resource.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Unchanged,
    Changed(Bytes),
    /// Ask again when the cluster changed, at the latest at this time.
    Pending {
        retry_at: UnixNanos,
    },
}

/// A resource with where it came from. `times` tells when its items were made, when that is needed.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    pub resource: &'a [u8],
    pub origin: &'a Origin,
    pub times: &'a dyn Fn() -> Option<Times>,
}

/// The run that was found, or why none was.
type Resolved<'a> = Result<Instance<'a>, Absence>;

/// One resource at one moment.
#[derive(Clone, Copy)]
struct Case<'a> {
    subject: &'a Subject<'a>,
    facts: &'a Facts<'a>,
    moment: &'a Moment,
}

/// The pod's part of the way.
struct Located {
    entry: Arc<Entry>,
    /// The resource's claim to be another pod gives way to the address.
    overrule: bool,
}

impl Enricher {
    pub fn new(config: Config, cluster: Arc<dyn Cluster>, counters: Counters) -> Enricher {
        Enricher {
            association: Association::new(config.rules.clone()),
            bindings: Bindings::default(),
            profiles: Profiles::default(),
            // No status of a pods file is still on its way: there is nothing to wait for.
            freshness: if config.own.pods_file.is_some() { Duration::ZERO } else { config.own.hold.max(FRESHNESS) },
            cluster,
            counters,
            misses: Misses::default(),
            config,
        }
    }

    /// Enriches one resource.
    pub fn enrich(&self, subject: &Subject<'_>, moment: &Moment) -> Outcome {
        let Ok(facts) = Facts::read(subject.resource) else {
            self.counters.malformed.add(1);
            return Outcome::Unchanged;
        };
        let case = Case { subject, facts: &facts, moment };
        if self.config.passthrough {
            return pass_through(&case);
        }
        let late = moment.mode == Mode::RunOnly;
        match self.locate(&case) {
            Ok(Some(located)) => self.enrich_located(&case, &located),
            // Before the first list nothing can be found: wait for it.
            Ok(None) if moment.starting && !moment.give_up && !late => {
                Outcome::Pending { retry_at: moment.now.saturating_add(RETRY_SPACING) }
            }
            Ok(None) if late => {
                self.counters.absent(Absence::PodNotFound);
                Outcome::Unchanged
            }
            Ok(None) => self.without_pod(&case),
            Err(absence) => {
                self.count_absence(moment, absence);
                Outcome::Unchanged
            }
        }
    }

    /// Finds the pod and settles a contradiction between claim and address.
    fn locate(&self, case: &Case<'_>) -> Result<Option<Located>, Absence> {
        let Case { subject, facts, moment } = *case;
        let made_at = || (subject.times)().map(|times| times.last);
        let seeker = self.seeker(facts, subject.origin, &made_at);
        let counted = moment.mode != Mode::RunOnly && !moment.again;
        let mut tried = |rule: usize, tried: Tried| match tried {
            Tried::Hit if counted => self.counters.rule_hit(rule),
            Tried::Miss if counted => self.counters.rule_miss(rule),
            Tried::Refused if counted => self.counters.rule_refused(rule),
            _ => {}
        };
        let Some((entry, _)) = self.association.find(&seeker, &moment.snapshot, self, &mut tried) else {
            return Ok(None);
        };
        let Some(claimed) = facts.text(Known::PodUid) else {
            return Ok(Some(Located { entry, overrule: false }));
        };
        let found_is_claimed = is_named(&entry, claimed);
        let at_address = if found_is_claimed {
            // Found by what it claims: is somebody else at the other end of the connection?
            seeker.peer_pod(&moment.snapshot).cloned()
        } else {
            Some(entry.clone())
        };
        let Some(other) = at_address.filter(|other| !is_named(other, claimed)) else {
            return Ok(Some(Located { entry, overrule: false }));
        };
        if counted {
            self.counters.identity_conflict.add(1);
        }
        match self.config.own.on_conflict {
            OnConflict::Keep if found_is_claimed => Ok(Some(Located { entry, overrule: false })),
            OnConflict::Replace => Ok(Some(Located { entry: other, overrule: true })),
            OnConflict::Keep | OnConflict::Refuse => Err(Absence::Conflict),
        }
    }

    fn without_pod(&self, case: &Case<'_>) -> Outcome {
        self.counters.lookup_miss.add(1);
        // A pod that is reported between arrival and decision is found then.
        if case.moment.mode == Mode::Full {
            self.counters.absent(Absence::PodNotFound);
            self.misses.pod(case.facts.text(Known::ServiceName).unwrap_or(""), case.moment.now, || {
                let seeker = self.seeker(case.facts, case.subject.origin, &|| None);
                self.association.attempts(&seeker, &case.moment.snapshot, self)
            });
        }
        let names = (case.facts.text(Known::NamespaceName), case.facts.text(Known::NodeName));
        let values = pod_attributes::without_pod(&self.config.extract, &*self.cluster, names.0, names.1);
        if values.is_empty() {
            return Outcome::Unchanged;
        }
        let Ok(mut edit) = Appender::new(case.subject.resource) else { return Outcome::Unchanged };
        for (key, value) in &values {
            edit.set_if_absent_or_empty(key, &**value);
        }
        Outcome::Changed(edit.finish())
    }

    fn enrich_located(&self, case: &Case<'_>, located: &Located) -> Outcome {
        let moment = case.moment;
        let profile = self.profile(&located.entry, moment.now);
        if profile.ignored {
            return Outcome::Unchanged;
        }
        let chosen = container::choose(&located.entry, case.facts, self.config.own.repair);
        let run = match &chosen {
            Ok(chosen) => self.run(case, &located.entry, chosen),
            Err(absence) => Step::Done(Err(*absence)),
        };
        let resolved = match run {
            Step::Done(resolved) => Some(resolved),
            Step::NotAsked => None,
            Step::Wait(retry_at) => return Outcome::Pending { retry_at },
        };
        if let Some(Err(absence)) = &resolved
            && self.count_absence(moment, *absence)
        {
            self.misses.run(&located.entry, case.facts.text(Known::ContainerName), *absence, moment.now);
        }
        let Ok(mut edit) = Appender::new(case.subject.resource) else { return Outcome::Unchanged };
        // At the decision the pod's attributes are there, unless the pod was reported since the arrival.
        let reported_since = || profile.values.first().is_some_and(|(key, _)| case.facts.named(key).is_none());
        let mode = if moment.mode == Mode::RunOnly && reported_since() { Mode::Full } else { moment.mode };
        if mode != Mode::RunOnly {
            write_pod(&mut edit, &profile, located);
        }
        if let Ok(chosen) = &chosen {
            let writing = Writing { config: &self.config, counters: &self.counters, facts: case.facts, mode };
            writing.container(&mut edit, chosen, &located.entry, resolved.as_ref().and_then(|run| run.as_ref().ok()));
        }
        Outcome::Changed(edit.finish())
    }

    /// The run that made the resource, when it is wanted now.
    fn run<'a>(&self, case: &Case<'_>, entry: &'a Entry, chosen: &Chosen<'a>) -> Step<'a> {
        if !self.config.extract.has(Field::ContainerId) {
            return Step::NotAsked;
        }
        if let Some(run) = chosen.named_run {
            return match case.moment.mode {
                Mode::PodOnly => Step::NotAsked,
                Mode::Full | Mode::RunOnly => Step::Done(Ok(Instance { run, found: Found::Given })),
            };
        }
        let sighting = self.sighting(case, entry, chosen);
        if case.moment.mode == Mode::PodOnly {
            self.bindings.note(&sighting);
            return Step::NotAsked;
        }
        let Some(ledger) = chosen.ledger else {
            // Reported by no status yet: the same as a ledger without runs.
            let empty = ContainerLedger::unreported(&chosen.container.name, chosen.container.kind);
            return match self.ask(case, entry, &empty, &sighting) {
                Step::Wait(retry_at) => Step::Wait(retry_at),
                _ => Step::Done(Err(Absence::NoStatus)),
            };
        };
        self.ask(case, entry, ledger, &sighting)
    }

    fn ask<'a>(
        &self,
        case: &Case<'_>,
        entry: &Entry,
        ledger: &'a ContainerLedger,
        sighting: &Sighting<'_>,
    ) -> Step<'a> {
        let horizon = self.horizon(entry, case.moment);
        let times = || (case.subject.times)().map(|times| times.of_pod(entry.pod.created));
        match self.bindings.resolve(ledger, sighting, &horizon, &times) {
            Verdict::Found { run, how } => Step::Done(Ok(Instance { run, found: Found::By(how) })),
            Verdict::Missing(absence) => self.unknown(sighting, absence, case),
            Verdict::Pending { absence, .. } if case.moment.give_up => self.unknown(sighting, absence, case),
            Verdict::Pending { until, .. } => {
                let pod = &entry.pod;
                self.cluster.refresh(&pod.uid, &pod.namespace, &pod.name);
                Step::Wait(until.saturating_add(self.freshness).max(case.moment.now.saturating_add(RETRY_SPACING)))
            }
        }
    }

    fn unknown<'a>(&self, sighting: &Sighting<'_>, absence: Absence, case: &Case<'_>) -> Step<'a> {
        self.bindings.note_absence(sighting, absence, case.moment.now);
        Step::Done(Err(absence))
    }

    fn sighting<'a>(&self, case: &Case<'a>, entry: &'a Entry, chosen: &Chosen<'a>) -> Sighting<'a> {
        let (origin, facts) = (case.subject.origin, case.facts);
        let known = origin.connection != 0 && origin.accepted_at.0 > 0;
        let own = known && !container::is_behind_proxy(&entry.pod, chosen.container);
        let trusts = self.config.own.hint == Hint::Trust;
        Sighting {
            pod_uid: &entry.pod.uid,
            container: &chosen.container.name,
            identity: facts.identity(&entry.pod.uid),
            connection: own.then_some((origin.connection, origin.accepted_at)),
            began: facts.process_began(),
            arrived_at: origin.arrived_at,
            trusted_number: if trusts { facts.restart_count() } else { None },
        }
    }

    fn horizon(&self, entry: &Entry, moment: &Moment) -> Horizon {
        let in_touch = moment.in_touch.min(moment.now);
        Horizon {
            known_until: in_touch.saturating_sub(self.freshness),
            seen_at: entry.seen_at,
            stale: moment.now.since(in_touch) > self.freshness,
            clock: moment.clock,
        }
    }

    /// True when it is counted now.
    fn count_absence(&self, moment: &Moment, absence: Absence) -> bool {
        // What concerns the pod is counted at arrival, what concerns the run when the run is asked for.
        let of_pod =
            matches!(absence, Absence::ContainerNameUnknown | Absence::ContainerNameMissing | Absence::Conflict);
        let counts = match moment.mode {
            Mode::Full => true,
            Mode::PodOnly => of_pod,
            Mode::RunOnly => !of_pod,
        };
        if counts {
            self.counters.absent(absence);
        }
        counts
    }

    /// The pod's attributes, worked out once per state of the pod.
    pub fn profile(&self, entry: &Arc<Entry>, now: UnixNanos) -> Arc<PodAttributes> {
        self.profiles.get(entry, now, || pod_attributes::gather(&entry.pod, &self.config, &*self.cluster))
    }

    pub fn seeker<'a>(
        &'a self,
        facts: &'a Facts<'a>,
        origin: &'a Origin,
        made_at: &'a dyn Fn() -> Option<UnixNanos>,
    ) -> Seeker<'a> {
        Seeker { facts, origin, proxies: &self.config.own.proxies, made_at }
    }

    /// The label of the rule that finds the resource's pod, asked again for a log line; nothing is counted.
    pub fn matched_rule(&self, subject: &Subject<'_>, moment: &Moment) -> &str {
        let Ok(facts) = Facts::read(subject.resource) else { return "" };
        let made_at = || (subject.times)().map(|times| times.last);
        let seeker = self.seeker(&facts, subject.origin, &made_at);
        let found = self.association.find(&seeker, &moment.snapshot, self, &mut |_, _| {});
        found.map_or("", |(_, rule)| self.rule_label(rule))
    }

    /// The rule's label, for logs and explain.
    pub fn rule_label(&self, rule: usize) -> &str {
        self.association.rules().get(rule).map_or("", |rule| rule.label.as_str())
    }
}

/// The agent's half of agent and gateway: the address is all it knows.
fn pass_through(case: &Case<'_>) -> Outcome {
    let peer = case.subject.origin.peer.filter(|_| case.facts.text(Known::PodIp).is_none());
    let (Some(peer), Ok(mut edit)) = (peer, Appender::new(case.subject.resource)) else { return Outcome::Unchanged };
    edit.set_if_absent_or_empty(Field::PodIp.name(), &peer.ip().to_canonical().to_string());
    Outcome::Changed(edit.finish())
}

fn write_pod(edit: &mut Appender, profile: &PodAttributes, located: &Located) {
    if located.overrule {
        edit.replace(Field::PodUid.name(), &*located.entry.pod.uid);
    }
    for (key, value) in &profile.values {
        edit.set_if_absent_or_empty(key, &**value);
    }
}

enum Step<'a> {
    Done(Resolved<'a>),
    NotAsked,
    Wait(UnixNanos),
}

/// By its uid, or by the hash under which a static pod's containers know themselves.
fn is_named(entry: &Entry, claimed: &str) -> bool {
    *entry.pod.uid == *claimed || entry.pod.config_hash.as_deref() == Some(claimed)
}

impl super::association::PodAttributes for Enricher {
    fn value(&self, entry: &Arc<Entry>, name: &str) -> Option<String> {
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

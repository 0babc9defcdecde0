//! Which run a process belongs to, remembered by what names the process: its identity, its connection, its stream.
//!
//! The ledger answers for a moment; a process stays what it is. A random instance id names one process for its whole
//! life, a direct connection cannot outlive the process that opened it, and a stream of data without a gap cannot
//! cross a restart. So the dangerous moment, the first sight of a process whose run may not be published yet, comes once
//! per process; after it a lookup answers. Pure: times are arguments. It knows no bytes and no Kubernetes watch.
//! Invariant: a binding names a run only after the ledger left no other candidate.

mod aged;
mod clock;
mod store;
#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio::time::Instant;

pub use self::clock::{ClockStretches, ShownTimes};
use self::store::{BindingKeys, BindingStore, BoundConnection, BoundRun};
pub use self::store::{ContainerStream, Remembered};
use super::facts::ProcessIdentity;
use crate::core::time::UnixNanos;
use crate::kube::ledger::{Absence, Confidence, ContainerLedger, Resolution, Run, RunQuery};

/// Two items this close together are from one run: a kubelet never restarts a container that fast.
const CONTINUOUS: Duration = Duration::from_millis(100);
/// Item times may be this much ahead of their arrival before they count as nonsense.
const AHEAD_MAX: Duration = Duration::from_secs(1);
/// The same for items of another machine, whose clock may be ahead.
const AHEAD_MAX_APART: Duration = Duration::from_secs(60);
/// How far the clocks of two machines may differ where a time of one must be compared with a time of the other.
const APART_MAX: Duration = Duration::from_secs(10);

/// One resource that wants to know its run.
#[derive(Clone, Copy, Debug)]
pub struct Sighting<'a> {
    pub pod_uid: &'a str,
    pub container: &'a str,
    pub identity: Option<ProcessIdentity<'a>>,
    /// The process-wide number and the accept time of the connection; `None` when there is none, or when it is known
    /// to belong to a proxy.
    pub connection: Option<(u64, UnixNanos)>,
    /// When the process says it began.
    pub began: Option<UnixNanos>,
    pub arrived_at: UnixNanos,
    /// The sender's restart count, where the configuration trusts it.
    pub trusted_number: Option<i64>,
}

/// Earliest and latest time of items of the resource; all were made by one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    pub first: UnixNanos,
    pub last: UnixNanos,
    /// Start of cumulative metric points: the process lived then. A counter may be made long after the process began, so it
    /// says nothing of that.
    pub counting_since: Option<UnixNanos>,
}

impl Times {
    pub fn between(first: UnixNanos, last: UnixNanos) -> Times {
        Times { first, last, counting_since: None }
    }

    pub fn at(time: UnixNanos) -> Times {
        Times::between(time, time)
    }

    /// What both say of one process.
    pub fn join(self, other: Times) -> Times {
        Times {
            first: self.first.min(other.first),
            last: self.last.max(other.last),
            counting_since: self.counting_since.into_iter().chain(other.counting_since).min(),
        }
    }

    /// Starts from before the pod (a host's boot, a counter kept on disk) are no process's of it.
    pub fn of_pod(self, created: UnixNanos) -> Times {
        Times { counting_since: self.counting_since.filter(|since| *since >= created), ..self }
    }

    /// The process lived from then to `last`.
    pub fn alive_from(self) -> UnixNanos {
        self.counting_since.map_or(self.first, |since| since.min(self.first))
    }
}

/// How far the ledger can be believed at this moment.
#[derive(Clone, Copy, Debug)]
pub struct Horizon {
    /// Every run that began at or before this time is in the ledger.
    pub known_until: UnixNanos,
    /// The pod was last seen then.
    pub seen_at: UnixNanos,
    /// Every run that began at or before this time is in the ledger and none is on its way, as the node itself shows.
    pub witnessed: Option<UnixNanos>,
    /// The watch is cut off: waiting a little will not help.
    pub stale: bool,
    /// How far times can be compared with each other.
    pub clock: ClockStretches,
    /// The pod came after we began to look: nothing of it was made before.
    pub is_new: bool,
    /// The pod's node has a clock of its own: times of items and of runs are comparable with each other, and neither with
    /// arrival, accept time and what is known.
    pub apart: bool,
}

/// The answer for one resource.
#[derive(Clone, Debug, PartialEq)]
pub enum BindingAnswer<'a> {
    Found {
        run: &'a Run,
        how: How,
    },
    Missing(Absence),
    /// May be known at `until`, or with the next status.
    Pending {
        absence: Absence,
        until: UnixNanos,
    },
}

/// What an answer rests on; the outcome label of the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Bound before, or by start time, or by a later status.
    Confirmed,
    /// On age alone.
    Unconfirmed,
    /// An earlier answer for this process turned out wrong; this is the right one.
    Corrected,
}

/// The evidence that left one run only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// Data without a pause since data whose run is certain.
    Continuity,
    /// When the process says it began.
    Start,
    /// Since when its metrics count.
    CountingSince,
    /// When its items were made.
    ItemTimes,
    /// When its connection was accepted.
    Connection,
    /// Nothing but the arrival.
    Arrival,
}

impl Basis {
    /// As explain shows it.
    pub fn name(self) -> &'static str {
        match self {
            Basis::Continuity => "data without a pause",
            Basis::Start => "process.creation.time",
            Basis::CountingSince => "start of cumulative metrics",
            Basis::ItemTimes => "times of the items",
            Basis::Connection => "accept time of the connection",
            Basis::Arrival => "arrival",
        }
    }
}

/// The remembered processes of one processor.
pub struct Bindings {
    store: BindingStore,
}

impl Default for Bindings {
    fn default() -> Bindings {
        Bindings { store: BindingStore::new() }
    }
}

impl Bindings {
    /// The run of a sighting. `times` is asked only when the answer depends on it.
    pub fn resolve<'l>(
        &self,
        ledger: &'l ContainerLedger,
        sighting: &Sighting<'_>,
        horizon: &Horizon,
        times: &dyn Fn() -> Option<Times>,
    ) -> BindingAnswer<'l> {
        let keys = self.store.keys(sighting);
        let connection = sighting.connection.map(|(number, at)| (number, at, self.store.connection(number, &keys)));
        let mut case = Case { bindings: self, ledger, sighting, horizon, keys, corrected: false };
        let direct = connection.filter(|(_, _, known)| !known.shared);
        if let Some(run) = case.bound(&direct, times) {
            let how = if case.corrected { case.settled(How::Confirmed) } else { How::Confirmed };
            return BindingAnswer::Found { run, how };
        }
        // The connection may just have been found out to be a relay's.
        let direct = direct.filter(|(number, ..)| !self.store.connection(*number, &case.keys).shared);
        let ahead_max = if horizon.apart { AHEAD_MAX_APART } else { AHEAD_MAX };
        let times = times().filter(|times| times.last <= sighting.arrived_at.saturating_add(ahead_max));
        case.first_sight(direct.map(|(number, at, _)| (number, at)), times)
    }

    /// Once for each request: what was not used for hours is forgotten. True when it is time to tell which pods are there.
    pub fn tell_time(&self, now: Instant) -> bool {
        self.store.tell_time(now)
    }

    /// Forgets what other pods than these left behind.
    pub fn forget<'p>(&self, there: impl Iterator<Item = &'p str>) {
        self.store.forget(there);
    }

    /// Tells of a connection that carries this stream, so that a relay is recognised before it matters.
    pub fn note(&self, sighting: &Sighting<'_>) {
        if let Some((number, _)) = sighting.connection {
            self.store.connection(number, &self.store.keys(sighting));
        }
    }

    /// What is remembered of a container's data, for explain.
    pub fn of_stream(&self, pod_uid: &str, container: &str) -> Option<ContainerStream> {
        self.store.stream(pod_uid, container)
    }

    /// The bound processes of a container, for explain.
    pub fn remembered(&self, pod_uid: &str, container: &str) -> Remembered {
        self.store.remembered(pod_uid, container)
    }

    /// What a container's data got in place of a run, the last time that it got none.
    pub fn absence(&self, pod_uid: &str, container: &str) -> Option<(Absence, UnixNanos)> {
        self.store.absence(pod_uid, container)
    }

    /// What the stream's data got in place of a run.
    pub fn note_absence(&self, sighting: &Sighting<'_>, absence: Absence, now: UnixNanos) {
        self.store.note_absence(self.store.keys(sighting).stream, absence, now);
    }
}

struct Case<'a, 'l> {
    bindings: &'a Bindings,
    ledger: &'l ContainerLedger,
    sighting: &'a Sighting<'a>,
    horizon: &'a Horizon,
    keys: BindingKeys,
    corrected: bool,
}

impl<'l> Case<'_, 'l> {
    /// By identity, else by connection. A binding that the ledger contradicts shows that the thing does not name a
    /// process: a fixed instance id, or a relay's connection.
    fn bound(
        &mut self,
        direct: &Option<(u64, UnixNanos, BoundConnection)>,
        times: &dyn Fn() -> Option<Times>,
    ) -> Option<&'l Run> {
        let store = &self.bindings.store;
        if let Some(identity) = self.keys.identity {
            let bound = store.identity(identity)?;
            if bound.void {
                self.keys.identity = None;
            } else if let Some(run) = self.still_fits(&bound, times) {
                return Some(run);
            } else {
                self.contradicted(bound.unconfirmed);
                store.void_identity(identity);
                self.keys.identity = None;
            }
        }
        let (number, _, connection) = direct.as_ref()?;
        let bound = connection.bound.as_ref()?;
        if let Some(run) = self.still_fits(bound, times) {
            return Some(run);
        }
        let unconfirmed = bound.unconfirmed;
        self.contradicted(unconfirmed);
        self.bindings.store.share_connection(*number);
        None
    }

    /// An answer given on age alone was wrong. The right one may have to wait, so the debt is remembered.
    fn contradicted(&mut self, unconfirmed: bool) {
        // Identity and connection of one process are one wrong answer.
        if unconfirmed && !self.corrected {
            self.corrected = true;
            self.bindings.store.owe_correction(self.keys.stream);
        }
    }

    fn settled(&self, how: How) -> How {
        if self.bindings.store.pay_correction(self.keys.stream) { How::Corrected } else { how }
    }

    fn still_fits(&self, bound: &BoundRun, times: &dyn Fn() -> Option<Times>) -> Option<&'l Run> {
        let run = self.ledger.run(&bound.run)?;
        // Data of a run that has ended: still right when it was made before the end.
        (run.end.is_none() || times().is_none_or(|times| made_before_end(run, times))).then_some(run)
    }

    /// A process that was never seen: what is known of it must leave one run only.
    fn first_sight(&mut self, direct: Option<(u64, UnixNanos)>, times: Option<Times>) -> BindingAnswer<'l> {
        let clock = self.horizon.clock;
        // What our clock did says nothing of times that another machine's clock told.
        let told = |times: &Times| self.horizon.apart || (!clock.unsteady && clock.tells(*times));
        let comparable = times.filter(told);
        if let Some((run, how)) = comparable.and_then(|times| self.continues(times)) {
            return self.bind(run, how, direct, (times, Basis::Continuity));
        }
        if self.horizon.clock.unsteady {
            return self.pending(Absence::AwaitingStatus, direct, times);
        }
        let mut resolution = self.ask(direct.map(|(_, at)| at), times);
        let mut direct = direct;
        if let (Resolution::Missing(_), Some((number, _)), Some(_)) = (&resolution, direct, times) {
            // Accepted in one run and made in another: somebody relays, so the connection says nothing.
            self.bindings.store.share_connection(number);
            direct = None;
            resolution = self.ask(None, times);
        }
        match resolution {
            Resolution::Found { run, confidence } => {
                let how = match confidence {
                    Confidence::Confirmed => How::Confirmed,
                    Confidence::Unconfirmed => How::Unconfirmed,
                };
                let basis = self.basis(direct.is_some(), times);
                self.bind(run, how, direct, (times, basis))
            }
            Resolution::Missing(absence) => BindingAnswer::Missing(absence),
            Resolution::Pending(absence) => self.pending(absence, direct, times),
        }
    }

    /// The time in which the stream's run was certainly alive is so close that no restart fits between. A container has
    /// one run at a time, so a process that lived then is of that run.
    fn continues(&self, times: Times) -> Option<(&'l Run, How)> {
        let certain = self.bindings.store.stream_by_key(self.keys.stream)?;
        // A process that tells its own start does not inherit what was accepted on age.
        if certain.unconfirmed && self.sighting.began.is_some() {
            return None;
        }
        let lived_until = if times.counting_since.is_some() { times.last } else { times.first };
        let after = certain.since.saturating_sub(CONTINUOUS) <= lived_until;
        let before = times.alive_from() <= certain.until.saturating_add(CONTINUOUS);
        let run = self.ledger.run(&certain.run).filter(|_| after && before)?;
        let how = if certain.unconfirmed { How::Unconfirmed } else { How::Confirmed };
        made_before_end(run, times).then_some((run, how))
    }

    fn ask(&self, accepted_at: Option<UnixNanos>, times: Option<Times>) -> Resolution<'l> {
        let arrived = self.sighting.arrived_at;
        if self.horizon.apart {
            return self.ask_apart(accepted_at, times);
        }
        let (first, last) = match (times, accepted_at) {
            (Some(times), _) => (times.alive_from(), times.last),
            (None, Some(accepted)) => (accepted, accepted),
            // Nothing but the arrival: the data was made before it, and how long before is not known.
            (None, None) => (arrived, UnixNanos(0)),
        };
        let first = accepted_at.map_or(first, |accepted| accepted.min(first));
        let clock = self.horizon.clock;
        let began = self.sighting.began;
        let began_tells = began.is_none_or(|began| clock.tells(Times::at(began)));
        if !began_tells || !clock.tells(Times::between(first, last.max(first))) {
            // What nothing dates but its arrival may be older than all that came twice.
            let dated = last.0 > 0;
            let between = Times::between(first, last.max(first));
            return if dated { self.ask_doubled(between) } else { Resolution::Missing(Absence::Ambiguous) };
        }
        let query = RunQuery {
            alive_from: first,
            alive_to: last,
            began,
            horizon: self.horizon.known_until,
            witnessed: self.horizon.witnessed,
            seen_at: self.horizon.seen_at,
            trusted_number: self.sighting.trusted_number,
            ours: None,
            slack: Duration::ZERO,
        };
        self.ledger.resolve(&query)
    }

    /// The evidence is of a time that came twice. A run that began before both and goes on is right either way, and so is
    /// the only one there ever was, and the one in which all evidence lies that came but once as long as the pod lives;
    /// once every run that began before the arrival must be published.
    fn ask_doubled(&self, evidence: Times) -> Resolution<'l> {
        let ambiguous = Resolution::Missing(Absence::Ambiguous);
        let Some((from, _)) = self.horizon.clock.doubled else { return ambiguous };
        let only = |run: &Run| self.ledger.runs.len() == 1 && !run.gap_before;
        let right = |run: &Run| run.start.hi < from || only(run) || self.is_of_fresh(run, evidence);
        let lasting = self.ledger.newest().filter(|run| run.end.is_none() && right(run));
        let known = self.horizon.known_until.max(self.horizon.witnessed.unwrap_or(UnixNanos(0)));
        match lasting {
            Some(_) if self.sighting.arrived_at > known => Resolution::Pending(Absence::Ambiguous),
            Some(run) => Resolution::Found { run, confidence: Confidence::Unconfirmed },
            None => ambiguous,
        }
    }

    /// Evidence and begin of the run are of times that the clock has shown once since the pod is there.
    fn is_of_fresh(&self, run: &Run, evidence: Times) -> bool {
        let clock = self.horizon.clock;
        let began = self.sighting.began.unwrap_or(evidence.first);
        let fresh = |at: UnixNanos| clock.is_fresh(at);
        let all = fresh(run.start.lo) && fresh(evidence.first) && fresh(evidence.last) && fresh(began);
        // The first run began at a later time than this, so that the clock had not been set back yet.
        let earlier = self.ledger.runs.first().is_some_and(|first| {
            first.restart == 0 && !first.gap_before && first.start.is_known() && evidence.last < first.start.lo
        });
        all && run.start.hi <= began.min(evidence.first) && (self.horizon.is_new || earlier)
    }

    /// The process was alive when its connection was accepted, or had been by the arrival: from then on by our clock its run
    /// must be published. Which run it is, its own times tell, by the clock that the runs' times come from.
    fn ask_apart(&self, accepted_at: Option<UnixNanos>, times: Option<Times>) -> Resolution<'l> {
        let ours = accepted_at.unwrap_or(self.sighting.arrived_at);
        // Without times of its own the process is dated by our clock alone.
        if times.is_none() && !self.horizon.clock.tells(Times::at(ours)) {
            return Resolution::Missing(Absence::Ambiguous);
        }
        let (alive_from, alive_to, slack) = match (times, accepted_at) {
            (Some(times), _) => (times.alive_from(), times.last, Duration::ZERO),
            (None, Some(accepted)) => (accepted, accepted, APART_MAX),
            (None, None) => (ours, UnixNanos(0), APART_MAX),
        };
        self.ledger.resolve(&RunQuery {
            alive_from,
            alive_to,
            began: self.sighting.began,
            horizon: self.horizon.known_until,
            witnessed: self.horizon.witnessed,
            seen_at: self.horizon.seen_at,
            trusted_number: self.sighting.trusted_number,
            ours: Some(ours),
            slack,
        })
    }

    fn pending(&self, absence: Absence, direct: Option<(u64, UnixNanos)>, times: Option<Times>) -> BindingAnswer<'l> {
        if self.horizon.stale {
            return BindingAnswer::Missing(Absence::Stale);
        }
        let accepted = direct.map(|(_, at)| at);
        if self.horizon.apart || absence == Absence::Ambiguous {
            let accepted = accepted.filter(|_| absence != Absence::Ambiguous);
            return BindingAnswer::Pending { absence, until: accepted.unwrap_or(self.sighting.arrived_at) };
        }
        let first = times.map_or(self.sighting.arrived_at, Times::alive_from);
        let until = [accepted, self.sighting.began].into_iter().flatten().fold(first, UnixNanos::min);
        BindingAnswer::Pending { absence, until }
    }

    /// The strongest of what there was.
    fn basis(&self, direct: bool, times: Option<Times>) -> Basis {
        match times {
            _ if self.sighting.began.is_some() => Basis::Start,
            Some(Times { counting_since: Some(_), .. }) => Basis::CountingSince,
            Some(_) => Basis::ItemTimes,
            None if direct => Basis::Connection,
            None => Basis::Arrival,
        }
    }

    fn bind(
        &self,
        run: &'l Run,
        how: How,
        direct: Option<(u64, UnixNanos)>,
        (times, basis): (Option<Times>, Basis),
    ) -> BindingAnswer<'l> {
        let store = &self.bindings.store;
        let stream = self.keys.stream;
        let bound = BoundRun { run: run.id.clone(), stream, unconfirmed: how == How::Unconfirmed, void: false };
        if let Some(identity) = self.keys.identity {
            store.bind_identity(identity, bound.clone());
        }
        if let Some((number, _)) = direct {
            store.bind_connection(number, bound);
        }
        if let Some(times) = times {
            let unconfirmed = how == How::Unconfirmed;
            let (since, until) = (times.alive_from(), times.last);
            store.extend_stream(stream, ContainerStream { run: run.id.clone(), since, until, basis, unconfirmed });
        }
        BindingAnswer::Found { run, how: self.settled(how) }
    }
}

fn made_before_end(run: &Run, times: Times) -> bool {
    run.end.is_none_or(|end| times.last <= end.hi.saturating_add(CONTINUOUS))
}

//! Tests of the whole processor over a made-up cluster.

mod addresses;
mod delays;
mod extraction;
mod golden;
mod lanes;
mod late;
mod proof;
mod scores;
mod stage;
mod upstream;
mod who;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use super::bindings::{ClockStretches, Times};
use super::cluster::{Cluster, Touch};
use super::config::{self, Config};
use super::enrich::{EnrichOutcome, Enricher};
use crate::core::data::budget::Ticket;
use crate::core::data::origin::{Origin, Transport};
use crate::core::diagnostic::Diagnostic;
use crate::core::report::stats::Stats;
use crate::core::stage::factory::{Checks, Environment};
use crate::core::time::UnixNanos;
use crate::kube::decode::{Decoder, Related};
use crate::kube::owners::Lookup;
use crate::kube::pod::{Owner, Pod};
use crate::kube::table::{PodChange, Snapshot, Table};
use crate::otlp::attributes::attributes;
use crate::otlp::edit::Appender;
use crate::otlp::walk::AnyValue;
use crate::processors::k8s_attributes::report::metrics::Counters;
use crate::processors::k8s_attributes::times::moment::{ArrivalMoment, Subject, Whose, WriteMode};
use crate::testing::check;

/// The time at which the tests happen: 2026-11-21T06:05:00Z and a little.
pub const NOW: UnixNanos = UnixNanos(1_795_241_200_000_000_000);

/// A cluster that is what the test says.
pub struct MadeUp {
    table: Mutex<Table>,
    namespaces: HashMap<String, Arc<Related>>,
    nodes: HashMap<String, Arc<Related>>,
    owners: HashMap<String, Arc<Related>>,
    pub in_touch: Mutex<Option<UnixNanos>>,
    proved: Mutex<Option<UnixNanos>>,
    delay: Mutex<Duration>,
    asking: Mutex<bool>,
    watches_logs: Mutex<bool>,
    pub synced: Mutex<bool>,
    pub refreshed: Mutex<Vec<String>>,
    changed: watch::Sender<u64>,
}

impl Default for MadeUp {
    fn default() -> MadeUp {
        MadeUp {
            table: Mutex::new(Table::new(Duration::from_secs(120))),
            namespaces: HashMap::new(),
            nodes: HashMap::new(),
            owners: HashMap::new(),
            in_touch: Mutex::default(),
            proved: Mutex::default(),
            delay: Mutex::default(),
            asking: Mutex::default(),
            watches_logs: Mutex::default(),
            synced: Mutex::new(true),
            refreshed: Mutex::default(),
            changed: watch::Sender::new(0),
        }
    }
}

impl MadeUp {
    pub fn with(pods: impl IntoIterator<Item = Pod>) -> Arc<MadeUp> {
        let cluster = MadeUp::default();
        for pod in pods {
            cluster.apply(PodChange::Applied(pod), NOW.saturating_sub(Duration::from_secs(60)));
        }
        Arc::new(cluster)
    }

    pub fn apply(&self, change: PodChange, now: UnixNanos) {
        self.table.lock().expect("not poisoned").apply(change, now);
        self.changed.send_modify(|generation| *generation += 1);
    }

    /// The watch brought something that proves what was so then.
    pub fn hear(&self, at: UnixNanos) {
        self.table.lock().expect("not poisoned").heard(at);
        self.set_proved(Some(at));
    }

    /// No stream is followed since then; `None`: one is.
    pub fn set_silent(&self, since: Option<UnixNanos>) {
        *self.in_touch.lock().expect("not poisoned") = since;
    }

    /// The last proof of contact, without the connection being known to be lost.
    pub fn set_proved(&self, at: Option<UnixNanos>) {
        *self.proved.lock().expect("not poisoned") = at;
    }

    /// The node's log folder is mounted.
    pub fn watch_logs(&self) {
        *self.watches_logs.lock().expect("not poisoned") = true;
    }

    fn look_up(&self, objects: &HashMap<String, Arc<Related>>, key: &str) -> Lookup {
        match objects.get(key) {
            _ if *self.asking.lock().expect("not poisoned") => Lookup::Pending,
            Some(object) => Lookup::Known(object.clone()),
            None => Lookup::Unknown,
        }
    }

    /// Whether owners, namespaces and nodes are still on their way.
    pub fn set_asking(&self, asking: bool) {
        *self.asking.lock().expect("not poisoned") = asking;
        self.changed.send_modify(|generation| *generation += 1);
    }

    /// How long statuses lately took.
    pub fn set_delay(&self, delay: Duration) {
        *self.delay.lock().expect("not poisoned") = delay;
    }

    pub fn tick(&self, now: UnixNanos) {
        self.table.lock().expect("not poisoned").tick(now);
    }

    pub fn set_synced(&self, synced: bool) {
        *self.synced.lock().expect("not poisoned") = synced;
        self.changed.send_modify(|generation| *generation += 1);
    }
}

impl Cluster for MadeUp {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.table.lock().expect("not poisoned").snapshot()
    }

    fn namespace(&self, name: &str) -> Lookup {
        self.look_up(&self.namespaces, name)
    }

    fn node(&self, name: &str) -> Lookup {
        self.look_up(&self.nodes, name)
    }

    fn owner(&self, _namespace: &str, owner: &Owner) -> Lookup {
        self.look_up(&self.owners, &owner.uid)
    }

    fn refresh(&self, uid: &str, _namespace: &str, _name: &str) {
        self.refreshed.lock().expect("not poisoned").push(uid.to_owned());
    }

    fn touch(&self, now: UnixNanos) -> Touch {
        let cut_off_at = *self.in_touch.lock().expect("not poisoned");
        let proved = cut_off_at.or(*self.proved.lock().expect("not poisoned")).unwrap_or(now);
        let delay = *self.delay.lock().expect("not poisoned");
        let watched = *self.watches_logs.lock().expect("not poisoned");
        let logs = watched.then(|| now.saturating_sub(Duration::from_millis(30)));
        let silent = cut_off_at.is_some();
        Touch { proved, cut_off: silent, silent, delay, logs, ..Touch::full(now) }
    }

    fn synced(&self) -> bool {
        *self.synced.lock().expect("not poisoned")
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn generation(&self) -> u64 {
        *self.changed.borrow()
    }
}

/// Checks a body; the findings say what was wrong.
pub fn checked(body: &str) -> (Option<Config>, Vec<Diagnostic>) {
    checked_in(Environment::of(|_| None), body)
}

/// As [`checked`], with these environment variables.
pub fn checked_in(environment: Environment, body: &str) -> (Option<Config>, Vec<Diagnostic>) {
    let checks = Checks { environment, ..Checks::default() };
    let config = check::run(&checks, "processors::k8s_attributes", &check::node(body), config::check);
    (config, checks.diagnostics.sorted())
}

pub fn config(body: &str) -> Config {
    let (config, findings) = checked(body);
    config.unwrap_or_else(|| panic!("{findings:?}"))
}

pub fn enricher(body: &str, cluster: &Arc<MadeUp>) -> (Enricher, Stats) {
    let config = config(body);
    let stats = Stats::default();
    let counters = Counters::new(&stats, "k8s_attributes", &config.rules);
    (Enricher::new(config, cluster.clone(), counters), stats)
}

/// A value as the tests write it.
pub type Attributes = BTreeMap<String, String>;

pub fn resource(pairs: &[(&str, &str)]) -> Bytes {
    let mut edit = Appender::new(b"").expect("empty is valid");
    for (key, value) in pairs {
        edit.append(key, *value);
    }
    edit.finish().expect("unlimited")
}

/// Numbers in digits, lists in brackets; a key that comes twice fails the test.
pub fn read(resource: &[u8]) -> Attributes {
    let mut read = Attributes::new();
    for attribute in attributes(resource) {
        let attribute = attribute.expect("valid");
        let key = String::from_utf8(attribute.key.to_vec()).expect("UTF-8");
        let before = read.insert(key.clone(), text(&attribute.value));
        assert!(before.is_none(), "{key} is there twice");
    }
    read
}

fn text(value: &AnyValue<'_>) -> String {
    match value {
        AnyValue::Str(text) => String::from_utf8(text.to_vec()).expect("UTF-8"),
        AnyValue::Int(number) => number.to_string(),
        AnyValue::Array(array) => {
            let values = crate::otlp::walk::Fields::new(array).map(|field| {
                let field = field.expect("valid");
                text(&AnyValue::read(field.bytes().expect("a value")).expect("valid"))
            });
            format!("[{}]", values.collect::<Vec<_>>().join(","))
        }
        other => format!("{other:?}"),
    }
}

pub fn origin(peer: Option<&str>, connection: u64, accepted_at: UnixNanos) -> Origin {
    let peer = peer.map(|peer| std::net::SocketAddr::new(peer.parse().expect("an address"), 40_000));
    Origin::new(peer, connection, accepted_at, NOW, Transport::Grpc)
}

pub fn moment(enricher: &Enricher, now: UnixNanos, mode: WriteMode) -> ArrivalMoment {
    ArrivalMoment {
        snapshot: enricher.cluster.snapshot(),
        now,
        touch: enricher.cluster.touch(now),
        clock: ClockStretches::default(),
        starting: false,
        mode,
        again: false,
        give_up: false,
        no_room: false,
    }
}

/// Enriches at [`NOW`] data that was made `age` before; what waits gives `None`.
pub fn enriched(enricher: &Enricher, resource: &[u8], origin: &Origin, age: Duration) -> Option<Attributes> {
    enriched_at(enricher, resource, origin, age, NOW)
}

/// The same at a later time.
pub fn enriched_at(
    enricher: &Enricher,
    resource: &[u8],
    origin: &Origin,
    age: Duration,
    now: UnixNanos,
) -> Option<Attributes> {
    let made = NOW.saturating_sub(age);
    let times = || Some(Times::at(made));
    let subject = Subject { resource, origin, times: &times, ticket: &Ticket::free() };
    match enricher.enrich_at_arrival(&subject, &moment(enricher, now, WriteMode::Full)) {
        // What waits for a pod in vain goes on without one.
        (EnrichOutcome::Pending { .. }, Whose::Unknown) => {
            let last = ArrivalMoment { give_up: true, ..moment(enricher, now, WriteMode::Full) };
            match enricher.enrich(&subject, &last) {
                EnrichOutcome::Changed(bytes) => Some(read(&bytes)),
                _ => Some(read(resource)),
            }
        }
        (EnrichOutcome::Pending { .. }, _) => None,
        (EnrichOutcome::Refused(why), _) => panic!("{why}"),
        (EnrichOutcome::Unchanged, _) => Some(read(resource)),
        (EnrichOutcome::Changed(bytes), _) => Some(read(&bytes)),
    }
}

pub fn decoded(json: &serde_json::Value, keep: crate::kube::decode::Keep) -> Pod {
    Decoder::new(keep).pod(json.to_string().as_bytes()).expect("a pod").pod
}

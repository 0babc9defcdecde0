//! The cluster itself, pure: pods, the true runs of their containers, what is published of them, and the event log.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::objects;
use crate::core::time::UnixNanos;
use crate::kube::pod::Owner;
use crate::lab::api_double::played::{PlayedContainer, PlayedPod, PlayedRun, PublishedState};
use crate::lab::api_double::spec::{MadePod, PodSpec, TrueRun};

/// Events a watch may start behind.
const LOG_MAX: usize = 1_000;
/// Runs of deleted pods that the truth remembers.
const PAST_RUNS_MAX: usize = 1_000;

pub type PlayedClock = (Instant, UnixNanos);

pub struct PlayedCluster {
    pub delay: RangeInclusive<Duration>,
    /// Between the end of a run and the start of the next.
    pub restart_gap: Duration,
    random: fastrand::Rng,
    pods: BTreeMap<(String, String), PlayedPod>,
    /// Other objects by path: namespaces, nodes, ReplicaSets, Deployments.
    others: BTreeMap<String, Value>,
    version: u64,
    /// Watches from before this version get 410.
    oldest: u64,
    log: VecDeque<Logged>,
    due: Vec<Due>,
    past: VecDeque<TrueRun>,
    addresses: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartKind {
    /// Terminated, then running.
    Plain,
    /// Terminated, CrashLoopBackOff, created, then running.
    CrashLoop,
}

/// One container.
pub struct ContainerSpot<'a> {
    pub namespace: &'a str,
    pub pod: &'a str,
    pub container: &'a str,
}

#[derive(Clone)]
pub struct Logged {
    pub version: u64,
    pub node: String,
    pub namespace: String,
    pub name: String,
    pub line: String,
}

/// A status that will be published.
struct Due {
    at: Instant,
    pod: (String, String),
    uid: String,
    container: String,
    shown: PublishedState,
}

impl PlayedCluster {
    pub fn new(random: fastrand::Rng) -> PlayedCluster {
        let mut cluster = PlayedCluster {
            delay: Duration::ZERO..=Duration::ZERO,
            restart_gap: Duration::from_millis(500),
            random,
            pods: BTreeMap::new(),
            others: BTreeMap::new(),
            version: 100,
            oldest: 0,
            log: VecDeque::new(),
            due: Vec::new(),
            past: VecDeque::new(),
            addresses: 0,
        };
        cluster.know("Node", "/api/v1/nodes", PodSpec::NODE);
        cluster
    }

    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn add_pod(&mut self, spec: PodSpec, clock: PlayedClock) -> MadePod {
        let node = if spec.node.is_empty() { PodSpec::NODE.to_owned() } else { spec.node };
        self.know("Namespace", "/api/v1/namespaces", &spec.namespace);
        self.know("Node", "/api/v1/nodes", &node);
        let mut labels = spec.labels;
        let (owner, name) = self.owned(&spec.namespace, spec.owner, spec.name, &mut labels);
        let containers = spec.containers.into_iter().map(|(name, image)| PlayedContainer {
            name,
            image,
            runs: vec![PlayedRun { id: self.hex(64), number: 0, started: clock.1, ended: None, begins: clock.0 }],
            shown: PublishedState::Nothing,
        });
        let containers: Vec<PlayedContainer> = containers.collect();
        let ip = match (spec.host_network, spec.ip) {
            (true, _) => "10.0.0.1".to_owned(),
            (false, Some(ip)) => ip,
            (false, None) => self.address(),
        };
        let pod = PlayedPod {
            uid: self.uuid(),
            namespace: spec.namespace,
            name,
            node,
            ip,
            host_network: spec.host_network,
            labels,
            annotations: spec.annotations,
            owner,
            created: clock.1,
            deleting: None,
            phase: "Pending",
            containers,
            version: 0,
        };
        let made = MadePod {
            uid: pod.uid.clone(),
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            ip: pod.ip.clone(),
        };
        let key = (pod.namespace.clone(), pod.name.clone());
        let names: Vec<String> = pod.containers.iter().map(|container| container.name.clone()).collect();
        self.pods.insert(key.clone(), pod);
        self.record(&key, "ADDED");
        let at = clock.0 + self.draw_delay();
        for container in names {
            self.due.push(Due {
                at,
                pod: key.clone(),
                uid: made.uid.clone(),
                container,
                shown: PublishedState::Running(0),
            });
        }
        self.publish_due(clock);
        made
    }

    /// Owner reference and name of a new pod; a Deployment's pods belong to its ReplicaSet.
    fn owned(
        &mut self,
        namespace: &str,
        owner: Option<(String, String)>,
        name: String,
        labels: &mut BTreeMap<String, String>,
    ) -> (Option<Owner>, String) {
        let Some((kind, owner_name)) = owner else {
            return (None, if name.is_empty() { format!("pod-{}", self.hex(5)) } else { name });
        };
        let folder = |resource: &str| format!("/apis/apps/v1/namespaces/{namespace}/{resource}");
        let (kind, owner_name) = if kind == "Deployment" {
            let deployment_uid = self.know("Deployment", &folder("deployments"), &owner_name);
            // One ReplicaSet per Deployment: the hash follows from its name.
            let hash = fastrand::Rng::with_seed(owner_name.bytes().fold(7, |hash, byte| hash * 31 + u64::from(byte)))
                .u64(0x10_0000_0000..0x100_0000_0000);
            let (hash, set) = (format!("{hash:x}"), format!("{owner_name}-{hash:x}"));
            labels.insert("pod-template-hash".to_owned(), hash);
            self.know("ReplicaSet", &folder("replicasets"), &set);
            if let Some(object) = self.others.get_mut(&format!("{}/{set}", folder("replicasets"))) {
                object["metadata"]["ownerReferences"] = json!([{
                    "apiVersion": "apps/v1", "kind": "Deployment", "name": owner_name,
                    "uid": deployment_uid, "controller": true,
                }]);
            }
            ("ReplicaSet".to_owned(), set)
        } else {
            (kind, owner_name)
        };
        let resource = crate::kube::owners::plural(&kind);
        let uid = self.know(&kind, &folder(&resource), &owner_name);
        let name = if name.is_empty() { format!("{owner_name}-{}", self.hex(5)) } else { name };
        let owner = Owner {
            api_version: "apps/v1".into(),
            kind: kind.as_str().into(),
            name: owner_name.as_str().into(),
            uid: uid.as_str().into(),
        };
        (Some(owner), name)
    }

    /// Makes an object of metadata only unless it exists; its uid.
    fn know(&mut self, kind: &str, folder: &str, name: &str) -> String {
        let path = format!("{folder}/{name}");
        if !self.others.contains_key(&path) {
            let object = objects::related(kind, name, &self.uuid(), json!({ "name": name }));
            self.others.insert(path.clone(), object);
        }
        let uid = self.others.get(&path).and_then(|object| object["metadata"]["uid"].as_str());
        uid.unwrap_or_default().to_owned()
    }

    /// The list at a path, when there is any object in it.
    pub fn others(&self, path: &str) -> Option<Value> {
        let folder = format!("{path}/");
        let below = self.others.range(folder.clone()..).take_while(|(path, _)| path.starts_with(&folder));
        let items: Vec<&Value> =
            below.filter(|(path, _)| !path[folder.len()..].contains('/')).map(|(_, item)| item).collect();
        let metadata = json!({ "resourceVersion": self.version().to_string() });
        (!items.is_empty()).then(|| json!({ "kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items }))
    }

    pub fn other(&self, path: &str) -> Option<&Value> {
        self.others.get(path)
    }

    pub fn restart(&mut self, spot: &ContainerSpot<'_>, how: RestartKind, clock: PlayedClock) -> Option<TrueRun> {
        let key = (spot.namespace.to_owned(), spot.pod.to_owned());
        let (id, gap) = (self.hex(64), self.restart_gap);
        let delays = [self.draw_delay(), self.draw_delay()];
        let pod = self.pods.get_mut(&key)?;
        let uid = pod.uid.clone();
        let found = pod.containers.iter_mut().find(|found| found.name == spot.container)?;
        let number = found.runs.len();
        let last = found.runs.last_mut().filter(|run| run.ended.is_none() && run.begins <= clock.0)?;
        last.ended = Some(clock.1);
        let (started, begins) = (clock.1.saturating_add(gap), clock.0 + gap);
        let next = PlayedRun { id, number: last.number + 1, started, ended: None, begins };
        found.runs.push(next);
        // A kubelet never publishes out of order, what it has not told of earlier restarts included.
        let owed =
            self.due.iter().filter(|due| due.pod == key && due.container == spot.container).map(|due| due.at).max();
        let after_owed = owed.map_or(clock.0, |owed| owed + Duration::from_millis(1));
        let ended = (clock.0 + delays[0]).max(after_owed);
        let running = (clock.0 + gap + delays[1]).max(ended + Duration::from_millis(1));
        let mut steps =
            vec![(ended, PublishedState::Terminated(number - 1)), (running, PublishedState::Running(number))];
        if how == RestartKind::CrashLoop {
            let between = running - ended;
            steps.insert(1, (ended + between / 3, PublishedState::BackOff(number - 1)));
            steps.insert(2, (ended + between * 2 / 3, PublishedState::Created(number)));
        }
        for (at, shown) in steps {
            self.due.push(Due { at, pod: key.clone(), uid: uid.clone(), container: spot.container.to_owned(), shown });
        }
        self.publish_due(clock);
        let pod = self.pods.get(&key)?;
        let container = pod.containers.iter().find(|found| found.name == spot.container)?;
        container.runs.last().map(|run| true_run(pod, container, run))
    }

    pub fn delete(&mut self, namespace: &str, pod: &str, clock: PlayedClock) {
        let key = (namespace.to_owned(), pod.to_owned());
        self.due.retain(|due| due.pod != key);
        let Some(pod) = self.pods.get_mut(&key) else { return };
        pod.deleting = Some(clock.1);
        for container in &mut pod.containers {
            end(container, clock);
            container.shown = PublishedState::Terminated(container.runs.len().saturating_sub(1));
        }
        self.record(&key, "DELETED");
        let Some(pod) = self.pods.remove(&key) else { return };
        for container in &pod.containers {
            let begun = container.runs.iter().filter(|run| run.begins <= clock.0);
            self.past.extend(begun.map(|run| true_run(&pod, container, run)));
        }
        while self.past.len() > PAST_RUNS_MAX {
            self.past.pop_front();
        }
    }

    pub fn truth(&self, clock: PlayedClock) -> Vec<TrueRun> {
        let mut runs: Vec<TrueRun> = self.past.iter().cloned().collect();
        for pod in self.pods.values() {
            for container in &pod.containers {
                let begun = container.runs.iter().filter(|run| run.begins <= clock.0);
                runs.extend(begun.map(|run| true_run(pod, container, run)));
            }
        }
        runs.sort_by_key(|run| run.started);
        runs
    }

    pub fn latest_run(&self, pod_uid: &str, container: &str) -> Option<TrueRun> {
        let pod = self.pods.values().find(|pod| pod.uid == pod_uid)?;
        let container = pod.containers.iter().find(|found| found.name == container)?;
        container.runs.last().map(|run| true_run(pod, container, run))
    }

    pub fn next_due(&self) -> Option<Instant> {
        self.due.iter().map(|due| due.at).min()
    }

    pub fn publish_due(&mut self, clock: PlayedClock) {
        let mut ready: Vec<Due> = self.due.extract_if(.., |due| due.at <= clock.0).collect();
        ready.sort_by_key(|due| due.at);
        let mut ready = ready.into_iter().peekable();
        while let Some(due) = ready.next() {
            let Some(pod) = self.pods.get_mut(&due.pod).filter(|pod| pod.uid == due.uid) else { continue };
            if let Some(container) = pod.containers.iter_mut().find(|found| found.name == due.container) {
                container.shown = due.shown;
            }
            pod.phase = "Running";
            // Containers that change together are published together.
            if ready.peek().is_none_or(|next| (next.at, &next.uid) != (due.at, &due.uid)) {
                self.record(&due.pod, "MODIFIED");
            }
        }
    }

    /// Gives the pod the next version and logs the event.
    fn record(&mut self, key: &(String, String), kind: &'static str) {
        self.version += 1;
        let version = self.version;
        let Some(pod) = self.pods.get_mut(key) else { return };
        pod.version = version;
        let line = json!({ "type": kind, "object": objects::pod(pod, version) }).to_string();
        let (node, namespace, name) = (pod.node.clone(), pod.namespace.clone(), pod.name.clone());
        let logged = Logged { version, node, namespace, name, line };
        self.log.push_back(logged);
        if self.log.len() > LOG_MAX {
            self.oldest = self.log.pop_front().map_or(self.oldest, |first| first.version);
        }
    }

    pub fn compact(&mut self) {
        self.version += 1;
        self.oldest = self.version;
        self.log.clear();
    }

    pub fn restore_older(&mut self) {
        self.version = 1;
        self.oldest = 0;
        self.log.clear();
        for (version, pod) in (2..).zip(self.pods.values_mut()) {
            pod.version = version;
            self.version = version;
        }
    }

    pub fn is_too_old(&self, version: u64) -> bool {
        version < self.oldest
    }

    /// Events after `version`, oldest first.
    pub fn since(&self, version: u64) -> impl Iterator<Item = &Logged> {
        self.log.iter().filter(move |logged| logged.version > version)
    }

    /// Objects in the order of namespace and name.
    pub fn pods(&self) -> impl Iterator<Item = (&PlayedPod, Value)> {
        self.pods.values().map(|pod| (pod, objects::pod(pod, pod.version)))
    }

    pub fn pod(&self, namespace: &str, name: &str) -> Option<Value> {
        let pod = self.pods.get(&(namespace.to_owned(), name.to_owned()))?;
        Some(objects::pod(pod, pod.version))
    }

    fn draw_delay(&mut self) -> Duration {
        let (low, high) = (*self.delay.start(), *self.delay.end());
        low + high.saturating_sub(low).mul_f64(self.random.f64())
    }

    fn address(&mut self) -> String {
        self.addresses += 1;
        let [_, a, b, c] = (self.addresses + 1).to_be_bytes();
        format!("10.{}.{b}.{c}", 100 + (a & 63))
    }

    fn hex(&mut self, digits: usize) -> String {
        (0..digits).map(|_| char::from(b"0123456789abcdef"[self.random.usize(..16)])).collect()
    }

    fn uuid(&mut self) -> String {
        let hex = self.hex(32);
        format!("{}-{}-4{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
    }
}

/// By the node's clock it may end before it began.
fn end(container: &mut PlayedContainer, clock: PlayedClock) {
    if let Some(run) = container.runs.last_mut() {
        let end = if run.begins <= clock.0 { clock.1 } else { run.started };
        run.ended = run.ended.or(Some(end));
    }
}

fn true_run(pod: &PlayedPod, container: &PlayedContainer, run: &PlayedRun) -> TrueRun {
    TrueRun {
        pod_uid: pod.uid.clone(),
        namespace: pod.namespace.clone(),
        pod: pod.name.clone(),
        container: container.name.clone(),
        id: run.id.clone(),
        number: run.number,
        started: run.started,
        ended: run.ended,
    }
}

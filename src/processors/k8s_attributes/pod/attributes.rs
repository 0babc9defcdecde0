//! The attributes that are the same for every resource of a pod: from its metadata, namespace, node and owners.
//!
//! They are worked out once per state of the pod and then appended as they are. Container and run have their own file.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::core::time::UnixNanos;
use crate::kube::decode::Related;
use crate::kube::owners::Lookup;
use crate::kube::pod::{Owner, Pod};
use crate::processors::k8s_attributes::cluster::Cluster;
use crate::processors::k8s_attributes::config::{Config, Extract, Field, FromObject, KeyRule};

pub const OPT_OUT: &str = "opentelemetry.io/k8s-processor.ignore";
pub const OTEL_ANNOTATION: &str = "resource.opentelemetry.io/";
pub const POD_TEMPLATE_HASH: &str = "pod-template-hash";
pub const APP_NAME: &str = "app.kubernetes.io/name";
pub const APP_INSTANCE: &str = "app.kubernetes.io/instance";
pub const APP_VERSION: &str = "app.kubernetes.io/version";

/// Minutes since 1970 have eight digits from 1989 to 2160.
const MINUTE_DIGITS: usize = 8;
/// Between the minute that a job is named after and its pod: late starts, retries and clocks included.
const SCHEDULED_WITHIN: Duration = Duration::from_secs(400 * 24 * 3_600);

/// What is appended to every resource of one pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodAttributes {
    /// The pod asked to be left alone, or the configuration excludes it.
    pub ignored: bool,
    /// Keys and values, each key once, no empty value.
    pub values: Vec<(Arc<str>, Arc<str>)>,
    /// Something is on its way from the API server: work it out again when it is there.
    pub incomplete: bool,
    /// Objects that could not be read, as people name them: `namespace shop`.
    pub lacking: Vec<String>,
    /// Took something from other objects, which change without the pod changing.
    pub borrowed: bool,
}

impl PodAttributes {
    pub fn value(&self, name: &str) -> Option<&Arc<str>> {
        self.values.iter().find(|(key, _)| **key == *name).map(|(_, value)| value)
    }
}

/// Collects while remembering what could not be answered.
struct Gathering<'a> {
    pod: &'a Pod,
    cluster: &'a dyn Cluster,
    // Ordered, and a later rule of the same name replaces an earlier one, as in the Collector.
    values: BTreeMap<String, Arc<str>>,
    incomplete: bool,
    lacking: Vec<String>,
    borrowed: bool,
}

pub fn gather(pod: &Pod, config: &Config, cluster: &dyn Cluster) -> PodAttributes {
    if is_ignored(pod, config) {
        return PodAttributes { ignored: true, ..PodAttributes::default() };
    }
    let mut gathering =
        Gathering { pod, cluster, values: BTreeMap::new(), incomplete: false, lacking: Vec::new(), borrowed: false };
    for field in &config.extract.fields {
        if let Some(value) = gathering.field(*field).filter(|value| !value.is_empty()) {
            gathering.values.insert(field.name().to_owned(), value);
        }
    }
    gathering.rules(&config.extract.labels, Part::Labels);
    gathering.rules(&config.extract.annotations, Part::Annotations);
    if config.extract.otel_annotations {
        gathering.otel_annotations();
    }
    PodAttributes {
        ignored: false,
        values: gathering.values.into_iter().map(|(key, value)| (Arc::from(key), value)).collect(),
        incomplete: gathering.incomplete,
        lacking: gathering.lacking,
        borrowed: gathering.borrowed,
    }
}

fn is_ignored(pod: &Pod, config: &Config) -> bool {
    let opted_out = value_of(&pod.annotations, OPT_OUT).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    opted_out || config.exclude.iter().any(|name| name.is_match(&pod.name))
}

fn value_of<'p>(pairs: &'p [(Arc<str>, Arc<str>)], key: &str) -> Option<&'p Arc<str>> {
    pairs.iter().find(|(known, _)| **known == *key).map(|(_, value)| value)
}

/// A label that a chart rendered empty is none.
fn filled<'p>(pairs: &'p [(Arc<str>, Arc<str>)], key: &str) -> Option<&'p Arc<str>> {
    value_of(pairs, key).filter(|value| !value.is_empty())
}

#[derive(Clone, Copy)]
enum Part {
    Labels,
    Annotations,
}

impl Gathering<'_> {
    fn field(&mut self, field: Field) -> Option<Arc<str>> {
        let pod = self.pod;
        match field {
            Field::PodName => Some(pod.name.clone()),
            Field::PodUid => Some(pod.uid.clone()),
            Field::PodIp => pod.ips.first().map(|ip| Arc::from(ip.to_string())),
            Field::PodStartTime => rfc3339(pod.created),
            // Kubernetes gives a pod without spec.hostname its own name.
            Field::PodHostname if pod.hostname.is_empty() && !pod.host_network => Some(pod.name.clone()),
            Field::PodHostname => Some(pod.hostname.clone()),
            Field::NamespaceName | Field::ServiceNamespace => Some(pod.namespace.clone()),
            Field::NodeName => Some(pod.node.clone()),
            Field::NodeUid => self.node().map(|node| node.uid.clone()),
            Field::ClusterUid => self.namespace("kube-system").map(|namespace| namespace.uid.clone()),
            Field::DeploymentName => self.deployment_name(),
            Field::DeploymentUid => self.controller_of("ReplicaSet", "Deployment").map(|owner| owner.uid),
            Field::ReplicaSetName => self.owner("ReplicaSet").map(|owner| owner.name),
            Field::ReplicaSetUid => self.owner("ReplicaSet").map(|owner| owner.uid),
            Field::StatefulSetName => self.owner("StatefulSet").map(|owner| owner.name),
            Field::StatefulSetUid => self.owner("StatefulSet").map(|owner| owner.uid),
            Field::DaemonSetName => self.owner("DaemonSet").map(|owner| owner.name),
            Field::DaemonSetUid => self.owner("DaemonSet").map(|owner| owner.uid),
            Field::JobName => self.owner("Job").map(|owner| owner.name),
            Field::JobUid => self.owner("Job").map(|owner| owner.uid),
            Field::CronJobName => self.cron_job_name(),
            Field::CronJobUid => self.controller_of("Job", "CronJob").map(|owner| owner.uid),
            Field::ServiceName => self.service_name(),
            // Needs no container; the image's, which does, is written where the pod has no label.
            Field::ServiceVersion => filled(&pod.labels, APP_VERSION).cloned(),
            // Written with the container or the run.
            _ => None,
        }
    }

    fn owner(&self, kind: &str) -> Option<Owner> {
        self.pod.owner.clone().filter(|owner| *owner.kind == *kind)
    }

    fn node(&mut self) -> Option<Arc<Related>> {
        let name = self.pod.node.clone();
        if name.is_empty() {
            return None;
        }
        let found = self.cluster.node(&name);
        self.borrow(found, || format!("node {name}"))
    }

    fn borrow(&mut self, found: Lookup, what: impl Fn() -> String) -> Option<Arc<Related>> {
        self.borrowed = true;
        self.incomplete |= found == Lookup::Pending;
        let object = found.known();
        if object.is_none() && !self.lacking.contains(&what()) {
            self.lacking.push(what());
        }
        object
    }

    fn namespace(&mut self, name: &str) -> Option<Arc<Related>> {
        let found = self.cluster.namespace(name);
        self.borrow(found, || format!("namespace {name}"))
    }

    fn related_owner(&mut self, owner: &Owner) -> Option<Arc<Related>> {
        let found = self.cluster.owner(&self.pod.namespace, owner);
        self.borrow(found, || format!("{} {}", owner.kind, owner.name))
    }

    /// The controller of the pod's own controller.
    fn controller_of(&mut self, kind: &str, above: &str) -> Option<Owner> {
        let owner = self.owner(kind)?;
        let related = self.related_owner(&owner)?;
        related.owner.clone().filter(|owner| *owner.kind == *above)
    }

    /// The replica set's name without the pod's own template hash: exact, and no API call. Names near the length limit
    /// are cut by Kubernetes, and only then the replica set itself is asked.
    fn deployment_name(&mut self) -> Option<Arc<str>> {
        let replica_set = self.owner("ReplicaSet")?;
        let hash = value_of(&self.pod.labels, POD_TEMPLATE_HASH)?;
        let cut = replica_set.name.strip_suffix(&**hash).and_then(|name| name.strip_suffix('-'));
        match cut {
            Some(name) => Some(Arc::from(name)),
            None => self.controller_of("ReplicaSet", "Deployment").map(|owner| owner.name),
        }
    }

    /// The job's name without the minute it was scheduled for, as its controller writes it (`<name>-<minutes since 1970>`)
    /// and the Collector reads it. A number that is no such minute (a date that a person wrote) asks the job itself.
    fn cron_job_name(&mut self) -> Option<Arc<str>> {
        let job = self.owner("Job")?;
        let scheduled = job.name.rsplit_once('-').filter(|(name, minute)| {
            let digits = minute.len() == MINUTE_DIGITS && minute.bytes().all(|byte| byte.is_ascii_digit());
            let at = minute.parse().ok().filter(|_| digits).map(|minutes: u64| UnixNanos::from_secs(minutes * 60));
            let near = |at: UnixNanos| at.since(self.pod.created).max(self.pod.created.since(at)) < SCHEDULED_WITHIN;
            !name.is_empty() && at.is_some_and(near)
        });
        match scheduled {
            Some((name, _)) => Some(Arc::from(name)),
            None => self.controller_of("Job", "CronJob").map(|owner| owner.name),
        }
    }

    /// From the nearest to the most deliberate: pod, controller, deployment or cron job, the two labels that applications
    /// are named by (semantic conventions, service attributes on Kubernetes). The annotation comes with its rule.
    fn service_name(&mut self) -> Option<Arc<str>> {
        let labels = &self.pod.labels;
        if let Some(named) = filled(labels, APP_INSTANCE).or_else(|| filled(labels, APP_NAME)) {
            return Some(named.clone());
        }
        let above = match self.pod.owner.as_ref().map(|owner| &*owner.kind) {
            Some("ReplicaSet") => self.deployment_name(),
            Some("Job") => self.cron_job_name(),
            _ => None,
        };
        let known = ["ReplicaSet", "DaemonSet", "StatefulSet", "Job"];
        let controller = self.pod.owner.as_ref().filter(|owner| known.contains(&&*owner.kind));
        above.or_else(|| controller.map(|owner| owner.name.clone())).or_else(|| Some(self.pod.name.clone()))
    }

    fn rules(&mut self, rules: &[KeyRule], part: Part) {
        for rule in rules {
            for (key, value) in self.pairs(rule.from, part) {
                for name in rule.names_for(&key).filter(|name| !name.is_empty() && !value.is_empty()) {
                    self.values.insert(name, value.clone());
                }
            }
        }
    }

    fn pairs(&mut self, from: FromObject, part: Part) -> Vec<(Arc<str>, Arc<str>)> {
        if let FromObject::Pod = from {
            return match part {
                Part::Labels => self.pod.labels.clone(),
                Part::Annotations => self.pod.annotations.clone(),
            };
        }
        let related = self.object(from);
        related.map_or_else(Vec::new, |related| match part {
            Part::Labels => related.labels.clone(),
            Part::Annotations => related.annotations.clone(),
        })
    }

    fn object(&mut self, from: FromObject) -> Option<Arc<Related>> {
        let owner = match from {
            FromObject::Pod => None,
            FromObject::Namespace => {
                let namespace = self.pod.namespace.clone();
                return self.namespace(&namespace);
            }
            FromObject::Node => return self.node(),
            FromObject::ReplicaSet => self.owner("ReplicaSet"),
            FromObject::StatefulSet => self.owner("StatefulSet"),
            FromObject::DaemonSet => self.owner("DaemonSet"),
            FromObject::Job => self.owner("Job"),
            FromObject::Deployment => self.controller_of("ReplicaSet", "Deployment"),
            FromObject::CronJob => self.controller_of("Job", "CronJob"),
        };
        self.related_owner(&owner?)
    }

    /// `resource.opentelemetry.io/service.name: cart` names the attribute itself, so it wins over every rule.
    fn otel_annotations(&mut self) {
        for (key, value) in &self.pod.annotations {
            let name = key.strip_prefix(OTEL_ANNOTATION).filter(|name| !name.is_empty());
            if let Some(name) = name.filter(|_| !value.is_empty()) {
                self.values.insert(name.to_owned(), value.clone());
            }
        }
    }
}

fn rfc3339(time: UnixNanos) -> Option<Arc<str>> {
    let time = jiff::Timestamp::from_nanosecond(i128::from(time.0)).ok().filter(|_| time.0 > 0)?;
    Some(Arc::from(time.to_string()))
}

/// What a resource without a pod can still be given.
pub struct Podless {
    pub values: Vec<(String, Arc<str>)>,
    /// The node or the namespace is on its way from the API server.
    pub incomplete: bool,
}

/// Attributes of nodes and namespaces that a resource without a pod can still be given, by what it names itself.
pub fn without_pod(extract: &Extract, cluster: &dyn Cluster, namespace: Option<&str>, node: Option<&str>) -> Podless {
    let (mut values, mut incomplete) = (Vec::new(), false);
    let mut known = |found: Lookup| {
        incomplete |= found == Lookup::Pending;
        found.known()
    };
    let wants = |from: FromObject| extract.labels.iter().chain(&extract.annotations).any(|rule| rule.from == from);
    let wants_node = extract.has(Field::NodeUid) || wants(FromObject::Node);
    if let Some(node) = node.filter(|_| wants_node).and_then(|name| known(cluster.node(name))) {
        if extract.has(Field::NodeUid) {
            values.push((Field::NodeUid.name().to_owned(), node.uid.clone()));
        }
        ruled(&mut values, extract, FromObject::Node, &node);
    }
    let wanted = namespace.filter(|_| wants(FromObject::Namespace));
    if let Some(namespace) = wanted.and_then(|name| known(cluster.namespace(name))) {
        ruled(&mut values, extract, FromObject::Namespace, &namespace);
    }
    Podless { values, incomplete }
}

fn ruled(values: &mut Vec<(String, Arc<str>)>, extract: &Extract, from: FromObject, related: &Related) {
    for (rules, pairs) in [(&extract.labels, &related.labels), (&extract.annotations, &related.annotations)] {
        for rule in rules.iter().filter(|rule| rule.from == from) {
            let filled = pairs.iter().filter(|(_, value)| !value.is_empty());
            let named = filled.flat_map(|(key, value)| rule.names_for(key).map(|name| (name, value.clone())));
            values.extend(named.filter(|(name, _)| !name.is_empty()));
        }
    }
}

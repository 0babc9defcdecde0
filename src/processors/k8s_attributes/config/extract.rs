//! `extract`: which attributes are written, from metadata by name and from labels and annotations by rule.

use regex::Regex;

use crate::config::check::{Section, nearest};
use crate::core::diagnostic::{Diagnostic, code};
use crate::core::node::Node;

/// What is written.
#[derive(Clone, Debug, Default)]
pub struct Extract {
    /// No field twice, in the order in which they are written.
    pub fields: Vec<Field>,
    pub labels: Vec<KeyRule>,
    pub annotations: Vec<KeyRule>,
    /// Pod annotations under `resource.opentelemetry.io/` become attributes.
    pub otel_annotations: bool,
}

impl Extract {
    pub fn has(&self, field: Field) -> bool {
        self.fields.contains(&field)
    }
}

macro_rules! fields {
    ($($variant:ident = $name:literal,)*) => {
        /// A metadata attribute that can be asked for, in the order in which they are written.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Field { $($variant,)* }

        impl Field {
            const ALL: &[(&str, Field)] = &[$(($name, Field::$variant),)*];

            pub fn name(self) -> &'static str {
                match self { $(Field::$variant => $name,)* }
            }
        }
    };
}

fields! {
    PodName = "k8s.pod.name",
    PodUid = "k8s.pod.uid",
    PodIp = "k8s.pod.ip",
    PodStartTime = "k8s.pod.start_time",
    PodHostname = "k8s.pod.hostname",
    NamespaceName = "k8s.namespace.name",
    NodeName = "k8s.node.name",
    DeploymentName = "k8s.deployment.name",
    DeploymentUid = "k8s.deployment.uid",
    ReplicaSetName = "k8s.replicaset.name",
    ReplicaSetUid = "k8s.replicaset.uid",
    StatefulSetName = "k8s.statefulset.name",
    StatefulSetUid = "k8s.statefulset.uid",
    DaemonSetName = "k8s.daemonset.name",
    DaemonSetUid = "k8s.daemonset.uid",
    JobName = "k8s.job.name",
    JobUid = "k8s.job.uid",
    CronJobName = "k8s.cronjob.name",
    CronJobUid = "k8s.cronjob.uid",
    NodeUid = "k8s.node.uid",
    ClusterUid = "k8s.cluster.uid",
    ContainerName = "k8s.container.name",
    ContainerId = "container.id",
    ImageName = "container.image.name",
    ImageTag = "container.image.tag",
    ImageTags = "container.image.tags",
    RepoDigests = "container.image.repo_digests",
    ServiceNamespace = "service.namespace",
    ServiceName = "service.name",
    ServiceVersion = "service.version",
    ServiceInstanceId = "service.instance.id",
}

/// What the Collector writes unasked, with the tag in both generations (Elastic maps the older one only), and the
/// attribute that podgate exists for.
const DEFAULTS: [Field; 11] = [
    Field::PodName,
    Field::PodUid,
    Field::PodStartTime,
    Field::NamespaceName,
    Field::NodeName,
    Field::DeploymentName,
    Field::ContainerName,
    Field::ContainerId,
    Field::ImageName,
    Field::ImageTag,
    Field::ImageTags,
];

/// The object a label or annotation is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromObject {
    Pod,
    Namespace,
    Node,
    Deployment,
    StatefulSet,
    DaemonSet,
    ReplicaSet,
    Job,
    CronJob,
}

const FROM: [(&str, FromObject); 9] = [
    ("pod", FromObject::Pod),
    ("namespace", FromObject::Namespace),
    ("node", FromObject::Node),
    ("deployment", FromObject::Deployment),
    ("statefulset", FromObject::StatefulSet),
    ("daemonset", FromObject::DaemonSet),
    ("replicaset", FromObject::ReplicaSet),
    ("job", FromObject::Job),
    ("cronjob", FromObject::CronJob),
];

impl FromObject {
    /// As the configuration writes it.
    pub fn name(self) -> &'static str {
        FROM.iter().find(|(_, from)| *from == self).map_or("", |(name, _)| name)
    }
}

/// One entry of `labels` or `annotations`.
#[derive(Clone, Debug)]
pub struct KeyRule {
    pub from: FromObject,
    pub wanted: KeyWanted,
    /// Attribute name; with captures (`$1`) when the key is a pattern. Empty: `k8s.<from>.label.<key>`.
    pub tag_name: String,
    /// `k8s.pod.label.` and so on.
    pub prefix: String,
    /// `k8s.pod.labels.`: what pods, namespaces and nodes had before v0.161. `None` where it is not wanted, or never was.
    pub older_prefix: Option<String>,
}

/// Under which of the two generations' names labels and annotations without `tag_name` are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Generation {
    /// `k8s.pod.label.app`, as the Collector since v0.161.
    #[default]
    New,
    /// `k8s.pod.labels.app`, as before.
    Old,
    Both,
}

#[derive(Clone, Debug)]
pub enum KeyWanted {
    Exact(String),
    /// Anchored at both ends.
    Pattern(Regex),
}

impl KeyRule {
    /// Every attribute name for a key that this rule wants.
    pub fn names_for(&self, key: &str) -> impl Iterator<Item = String> {
        let name = self.attribute_for(key);
        let older = self.older_prefix.as_ref().filter(|_| name.is_some()).map(|prefix| format!("{prefix}{key}"));
        name.filter(|_| !self.prefix.is_empty() || !self.tag_name.is_empty()).into_iter().chain(older)
    }

    /// The name of the newer generation; `None` for every key that this rule does not want.
    fn attribute_for(&self, key: &str) -> Option<String> {
        let named = |key: &str| format!("{}{key}", self.prefix);
        match &self.wanted {
            KeyWanted::Exact(wanted) if wanted != key => None,
            KeyWanted::Exact(_) if self.tag_name.is_empty() => Some(named(key)),
            KeyWanted::Exact(_) => Some(self.tag_name.clone()),
            KeyWanted::Pattern(pattern) => {
                let captures = pattern.captures(key)?;
                if self.tag_name.is_empty() {
                    return Some(named(key));
                }
                let mut name = String::new();
                captures.expand(&self.tag_name, &mut name);
                Some(name)
            }
        }
    }
}

/// `generation`: `None` when the configuration does not choose.
pub(super) fn read(body: &Section<'_>, generation: Option<Generation>) -> Extract {
    let Some(section) = body.section("extract") else {
        return Extract { fields: sorted(DEFAULTS.to_vec()), ..Extract::default() };
    };
    if section.node("deployment_name_from_replicaset").is_some() {
        retired_deployment_name(&section);
    }
    let (chosen, generation) = (generation.is_some(), generation.unwrap_or_default());
    let extract = Extract {
        fields: fields(&section),
        labels: key_rules(&section, "label", generation),
        annotations: key_rules(&section, "annotation", generation),
        otel_annotations: section.bool("otel_annotations").unwrap_or(false),
    };
    let renamed = |rule: &&KeyRule| {
        rule.tag_name.is_empty() && matches!(rule.from, FromObject::Pod | FromObject::Namespace | FromObject::Node)
    };
    for (key, rules) in [("labels", &extract.labels), ("annotations", &extract.annotations)] {
        if let Some(rule) = rules.iter().find(renamed).filter(|_| !chosen) {
            let old = rule.prefix.replacen(".label.", ".labels.", 1).replacen(".annotation.", ".annotations.", 1);
            let message = format!(
                "without `tag_name` the attributes are {}<key> since v0.161; before they were {old}<key>",
                rule.prefix
            );
            let help = "write tag_name, or podgate: {label_names: old | both | new}";
            section.warn(key, code::LINT, message, Some(help));
        }
    }
    section.finish();
    extract
}

fn retired_deployment_name(section: &Section<'_>) {
    section.error(
        "deployment_name_from_replicaset",
        code::RETIRED,
        "`deployment_name_from_replicaset` was removed in v0.160",
        Some("remove the key: the deployment's name is always taken from the replica set's, exactly"),
    );
}

fn sorted(mut fields: Vec<Field>) -> Vec<Field> {
    fields.sort_unstable();
    fields.dedup();
    fields
}

fn fields(section: &Section<'_>) -> Vec<Field> {
    let Some(items) = section.list("metadata") else { return sorted(DEFAULTS.to_vec()) };
    let path = section.child_path("metadata");
    let mut fields = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let name = crate::config::check::text_of(item).unwrap_or_default();
        match Field::ALL.iter().find(|(known, _)| *known == name) {
            Some((_, field)) => fields.push(*field),
            None => unknown_field(section, item, format!("{path}::{at}"), &name),
        }
    }
    // Whoever asks for the tag in one generation gets both: Elastic reads the older, the conventions name the newer.
    if fields.contains(&Field::ImageTag) || fields.contains(&Field::ImageTags) {
        fields.extend([Field::ImageTag, Field::ImageTags]);
    }
    sorted(fields)
}

fn unknown_field(section: &Section<'_>, item: &Node, path: String, name: &str) {
    let nearest = nearest(name, Field::ALL.iter().map(|(known, _)| *known));
    let expected = match nearest {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => {
            let names: Vec<&str> = Field::ALL.iter().map(|(known, _)| *known).collect();
            format!("expected one of {}", names.join(", "))
        }
    };
    section.diagnostics().push(
        Diagnostic::error(code::INVALID_VALUE, item.place)
            .at(path)
            .says(format!("{name:?} is not a metadata attribute"))
            .expected(expected),
    );
}

/// `what`: label or annotation.
fn key_rules(section: &Section<'_>, what: &str, generation: Generation) -> Vec<KeyRule> {
    let key = format!("{what}s");
    let path = section.child_path(&key);
    let items = section.list(&key).unwrap_or_default();
    let read = items.iter().enumerate().filter_map(|(at, item)| {
        let rule = Section::new(item, format!("{path}::{at}"), section.diagnostics());
        let read = key_rule(&rule, what, generation);
        rule.finish();
        read
    });
    read.collect()
}

fn key_rule(rule: &Section<'_>, what: &str, generation: Generation) -> Option<KeyRule> {
    let tag_name = rule.string("tag_name").unwrap_or_default();
    let from = match rule.node("from") {
        Some(_) => rule.choice("from", &FROM),
        None => Some(FromObject::Pod),
    };
    if rule.node("regex").is_some() {
        rule.error(
            "regex",
            code::RETIRED,
            "`regex` on the value was removed in v0.122",
            Some("extract the whole value and cut it with a transform processor"),
        );
    }
    let key = rule.string("key").filter(|key| !key.is_empty());
    let pattern = rule.string("key_regex").filter(|pattern| !pattern.is_empty());
    let wanted = match (key, pattern) {
        (Some(_), Some(_)) => rule.invalid("key_regex", "`key` and `key_regex` exclude each other", "one of the two"),
        (Some(key), None) => Some(KeyWanted::Exact(key)),
        (None, Some(pattern)) => {
            super::regex(rule, "key_regex", &pattern)?;
            super::regex(rule, "key_regex", &format!("^(?:{pattern})$")).map(KeyWanted::Pattern)
        }
        (None, None) => rule.missing("key", "the key of a label or annotation, or key_regex"),
    };
    let (from, wanted) = (from?, wanted?);
    let object = FROM.iter().find(|(_, known)| *known == from).map_or("pod", |(name, _)| *name);
    let had_another = matches!(from, FromObject::Pod | FromObject::Namespace | FromObject::Node);
    let older = had_another && generation != Generation::New && tag_name.is_empty();
    let newer = !(older && generation == Generation::Old);
    Some(KeyRule {
        from,
        wanted,
        tag_name,
        prefix: if newer { format!("k8s.{object}.{what}.") } else { String::new() },
        older_prefix: older.then(|| format!("k8s.{object}.{what}s.")),
    })
}

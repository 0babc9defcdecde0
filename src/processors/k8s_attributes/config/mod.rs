//! The configuration of `k8s_attributes`, from the Collector's YAML to what the stage needs.
//!
//! Every fault is reported with its place; what passes here builds and starts. Keys of podgate alone stand in the
//! `podgate:` block.

mod association;
mod extract;
mod filter;
mod lint;
mod range;
mod rights;
#[cfg(test)]
mod tests;

use std::time::Duration;

use regex::Regex;

pub use association::{AssociationRule, AssociationSource};
pub use extract::{Extract, Field, FromObject, Generation, KeyRule, KeyWanted};
pub use filter::WatchScope;
pub use range::Range;

use crate::config::check::Section;
use crate::config::value::pattern::compile;
use crate::core::diagnostic::code;
use crate::core::node::{Node, Place};
use crate::core::stage::factory::CheckContext;

/// What the processor does, checked and with defaults filled in.
#[derive(Clone, Debug)]
pub struct Config {
    pub auth: ApiAuth,
    /// Only writes the sender's address as `k8s.pod.ip`; asks no API server.
    pub passthrough: bool,
    /// Hold the start until the first list is there, at most this long; then serve without it.
    pub wait_for_metadata: Option<Duration>,
    /// How long a deleted pod is still found, and where that is written.
    pub grace: Option<(Duration, Place)>,
    pub extract: Extract,
    pub rules: Vec<AssociationRule>,
    pub filter: WatchScope,
    /// Pods with a matching name get nothing.
    pub exclude: Vec<Regex>,
    pub own: Own,
}

/// How the API server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiAuth {
    ServiceAccount,
    KubeConfig { context: Option<String> },
    None,
}

/// The `podgate:` block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    /// A PodList as `kubectl get pods -o yaml` prints it, in place of an API server.
    pub pods_file: Option<String>,
    /// Address of an API server that asks for no credentials (`kubectl proxy`), in place of `auth_type`.
    pub api_server: Option<String>,
    pub on_conflict: OnConflict,
    /// `on_conflict: keep` is written: claims stand against a token, too.
    pub claims_stand: bool,
    pub restart_count: RestartCount,
    pub hint: Hint,
    /// How long data of a run that is not known yet may wait for its status.
    pub hold: Duration,
    /// Replace a container.id that no run of the pod has (a sandbox's), and a container name the pod does not have.
    pub repair: bool,
    /// Addresses of relays: whose data comes from them cannot be told by the address.
    pub proxies: Vec<Range>,
    /// Containers that pass on what others made, beside the well-known ones: their names, or their images' last parts.
    pub relays: Vec<String>,
    /// The node that podgate runs on, where it is known: only its clock is ours.
    pub node: Option<String>,
    /// Names of labels and annotations without `tag_name`.
    /// `None` when the configuration does not choose.
    pub generation: Option<Generation>,
    pub node_logs: NodeLogs,
}

/// Where the node's log folder is, whose file names tell of runs before the API server does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeLogs {
    /// `/var/log`, when pods of one node are watched and it is there.
    Auto,
    At(String),
    Off,
}

/// What happens when the resource names another pod than the one found by address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnConflict {
    /// The resource's claim stands; an unknown claim gets nothing.
    Keep,
    /// The pod at the address is meant; its uid replaces the claimed one.
    Replace,
    /// Neither is believed; nothing is added.
    Refuse,
}

/// What happens to `k8s.container.restart_count` once the run is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartCount {
    /// A number that differs from the run's is replaced.
    Repair,
    /// Left as sent; a difference is counted.
    Keep,
    /// Left as sent and not looked at.
    Off,
}

/// What the sender's restart count may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// Compared and counted; never selects.
    Verify,
    /// Selects among runs that nothing else tells apart.
    Trust,
    /// Not looked at.
    Ignore,
}

const DEFAULT_EXCLUDE: [&str; 2] = ["jaeger-agent", "jaeger-collector"];
/// A deleted pod is found for this long, and for the pipeline's longest wait and this margin for data on its way.
const GRACE: Duration = Duration::from_secs(120);
const GRACE_MARGIN: Duration = Duration::from_secs(30);
const HOLD: Duration = crate::kube::ledger::FRESHNESS;
pub const HOLD_MAX: Duration = Duration::from_secs(30);
const WAIT_FOR_METADATA: Duration = Duration::from_secs(10);

impl Config {
    /// How long a deleted pod is found in a pipeline that holds data for up to `wait`.
    pub fn remembers_for(&self, wait: Duration) -> Duration {
        match self.grace {
            Some((grace, _)) => grace,
            None => GRACE.max(wait.saturating_add(GRACE_MARGIN)),
        }
    }
}

pub fn check(cx: &CheckContext<'_>, node: &Node) -> Option<Config> {
    let diagnostics = &cx.checks.diagnostics;
    let body = Section::new(node, cx.path.clone(), diagnostics);
    let faults_before = error_count(cx);
    let wait = body.bool("wait_for_metadata").unwrap_or(false);
    let wait_timeout = body.duration("wait_for_metadata_timeout").unwrap_or(WAIT_FOR_METADATA);
    let filter = filter::read(cx, &body);
    let own = Own { node: own_node(cx, &filter), ..own(&body) };
    let config = Config {
        auth: auth(&body),
        passthrough: body.bool("passthrough").unwrap_or(false),
        wait_for_metadata: wait.then_some(wait_timeout),
        grace: body.duration("pod_delete_grace_period").map(|grace| (grace, body.place_of("pod_delete_grace_period"))),
        extract: extract::read(&body, own.generation),
        rules: association::read(&body),
        filter,
        exclude: exclude(&body),
        own,
    };
    for key in ["kube_api_qps", "kube_api_burst"] {
        let _ = body.f64(key);
        body.without_effect(key, "a watch never sends more than one request a second");
    }
    let _ = body.duration("watch_sync_period");
    body.without_effect("watch_sync_period", "nothing is resolved once and kept, so nothing needs resyncing");
    lint::lint(&body, &config);
    body.finish();
    (error_count(cx) == faults_before).then_some(config)
}

fn error_count(cx: &CheckContext<'_>) -> usize {
    let found = cx.checks.diagnostics.sorted();
    found.iter().filter(|finding| finding.severity == crate::core::diagnostic::Severity::Error).count()
}

fn auth(body: &Section<'_>) -> ApiAuth {
    let context = body.string("context");
    let choices = [("serviceAccount", 0), ("kubeConfig", 1), ("none", 2)];
    let auth = match body.choice("auth_type", &choices) {
        Some(1) => ApiAuth::KubeConfig { context: context.clone().filter(|context| !context.is_empty()) },
        Some(2) => ApiAuth::None,
        _ => ApiAuth::ServiceAccount,
    };
    if context.is_some() && !matches!(auth, ApiAuth::KubeConfig { .. }) {
        body.warn("context", code::LINT, "`context` is read with `auth_type: kubeConfig` only", None);
    }
    auth
}

fn exclude(body: &Section<'_>) -> Vec<Regex> {
    let Some(section) = body.section("exclude") else {
        return DEFAULT_EXCLUDE.iter().filter_map(|name| Regex::new(name).ok()).collect();
    };
    let mut names = Vec::new();
    for (at, item) in section.list("pods").unwrap_or_default().iter().enumerate() {
        let pod = Section::new(item, format!("{}::{at}", section.child_path("pods")), section.diagnostics());
        let Some(name) = pod.string("name") else {
            pod.missing::<()>("name", "a regular expression on the pod name");
            pod.finish();
            continue;
        };
        names.extend(regex(&pod, "name", &name));
        pod.finish();
    }
    section.finish();
    names
}

/// Compiles a pattern or reports why it cannot be.
fn regex(section: &Section<'_>, key: &str, pattern: &str) -> Option<Regex> {
    match compile(pattern) {
        Ok(regex) => Some(regex),
        Err(why) => {
            section.invalid(key, format!("{pattern:?} is not a regular expression: {why}"), "a regular expression")
        }
    }
}

fn own(body: &Section<'_>) -> Own {
    let mut own = Own {
        pods_file: None,
        api_server: None,
        on_conflict: OnConflict::Keep,
        claims_stand: false,
        restart_count: RestartCount::Repair,
        hint: Hint::Verify,
        hold: HOLD,
        repair: true,
        proxies: Vec::new(),
        relays: Vec::new(),
        node: None,
        generation: None,
        node_logs: NodeLogs::Auto,
    };
    let Some(section) = body.section("podgate") else { return own };
    own.pods_file = section.string("pods_file").filter(|file| !file.is_empty());
    own.api_server = section.string("api_server").filter(|url| !url.is_empty());
    if own.api_server.as_ref().is_some_and(|url| !url.starts_with("http://") && !url.starts_with("https://")) {
        section.invalid::<()>("api_server", "it is not a URL", "http://127.0.0.1:8001, as kubectl proxy prints it");
    }
    let conflicts = [("keep", OnConflict::Keep), ("replace", OnConflict::Replace), ("refuse", OnConflict::Refuse)];
    let written = section.choice("on_conflict", &conflicts);
    own.on_conflict = written.unwrap_or(own.on_conflict);
    own.claims_stand = written == Some(OnConflict::Keep);
    let counts = [("repair", RestartCount::Repair), ("keep", RestartCount::Keep), ("off", RestartCount::Off)];
    own.restart_count = section.choice("restart_count", &counts).unwrap_or(own.restart_count);
    let hints = [("verify", Hint::Verify), ("trust", Hint::Trust), ("ignore", Hint::Ignore)];
    own.hint = section.choice("hint", &hints).unwrap_or(own.hint);
    own.repair = section.bool("repair").unwrap_or(own.repair);
    own.proxies = proxies(&section);
    own.relays = relays(&section);
    let generations = [("new", Generation::New), ("old", Generation::Old), ("both", Generation::Both)];
    own.generation = section.choice("label_names", &generations);
    own.node_logs = match section.string("node_logs").as_deref() {
        None | Some("auto" | "") => NodeLogs::Auto,
        Some("off") => NodeLogs::Off,
        Some(path) if path.starts_with('/') => NodeLogs::At(path.to_owned()),
        Some(path) => {
            section.invalid::<()>(
                "node_logs",
                format!("{path:?} is no absolute path"),
                "auto, off, or a path: /var/log",
            );
            NodeLogs::Auto
        }
    };
    if let Some(hold) = section.duration("hold") {
        own.hold = hold;
        if hold > HOLD_MAX {
            section.invalid::<()>("hold", "a sender does not wait that long", "at most 30s");
        }
    }
    section.finish();
    own
}

/// Names that are compared with every container of a pod.
const RELAYS_MAX: usize = 64;

fn relays(section: &Section<'_>) -> Vec<String> {
    let names = section.strings("relays").unwrap_or_default();
    if names.len() > RELAYS_MAX {
        section.invalid::<()>("relays", format!("{} names", names.len()), "at most 64 names");
    }
    if names.iter().any(|name| name.is_empty() || name.contains(['/', ':', '@'])) {
        let expected = "a container's name, or the last part of an image's name without its tag: `router`";
        section.invalid::<()>("relays", "an empty name, or one with `/`, `:` or `@`", expected);
    }
    names
}

/// Variables in which manifests put the node's name by the downward API.
const NODE_VARIABLES: [&str; 4] = ["OTEL_K8S_NODE_NAME", "K8S_NODE_NAME", "KUBE_NODE_NAME", "NODE_NAME"];

/// The node of the filter, else what the environment says.
fn own_node(cx: &CheckContext<'_>, filter: &WatchScope) -> Option<String> {
    let said = || NODE_VARIABLES.iter().find_map(|variable| cx.checks.environment.variable(variable));
    filter.node.clone().or_else(said).filter(|node| !node.is_empty())
}

/// Ranges that are looked through for every address.
const PROXIES_MAX: usize = 64;

fn proxies(section: &Section<'_>) -> Vec<Range> {
    let texts = section.strings("proxies").unwrap_or_default();
    if texts.len() > PROXIES_MAX {
        section.invalid::<()>("proxies", format!("{} ranges", texts.len()), "at most 64 ranges");
    }
    let read = texts.iter().map(|text| {
        let range = Range::parse(text);
        range.or_else(|| section.invalid("proxies", format!("{text:?} is no range"), "10.244.0.1 or 10.244.0.0/24"))
    });
    read.flatten().collect()
}

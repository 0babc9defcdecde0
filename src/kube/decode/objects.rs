//! From borrowed JSON shapes to the types the rest works with.

use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::raw;
use super::text::{Interner, Text, ip, time};
use crate::kube::decode::event::{ApiStatus, DecodedPod, Event, Keep, KeepKey, Undecodable, WatchedObject, kept};
use crate::kube::pod::{Container, ContainerKind, ContainerStatus, Ended, Owner, Phase, Pod, RunState, bare_id};

/// Annotations that carry the uid by which a static pod's containers know themselves.
const CONFIG_HASHES: [&str; 2] = ["kubernetes.io/config.hash", "kubernetes.io/config.mirror"];
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// Labels or annotations, sorted by key.
pub type Meta = Vec<(Arc<str>, Arc<str>)>;

/// A namespace, node or owner, as far as attributes need it.
#[derive(Clone, Debug, PartialEq)]
pub struct Related {
    pub uid: Arc<str>,
    pub name: Arc<str>,
    /// The owner with `controller: true`, if any.
    pub owner: Option<Owner>,
    /// Only those a rule asks for.
    pub labels: Meta,
    pub annotations: Meta,
}

pub(super) fn pod(raw: raw::RawPod<'_>, keep: &Keep, strings: &mut Interner) -> Result<DecodedPod, Undecodable> {
    let raw::RawPod { metadata, spec, status } = raw;
    if metadata.uid.is_empty() || metadata.name.is_empty() {
        return Err(Undecodable("pod without uid or name".to_owned()));
    }
    let (annotations, config_hash) = annotations_of(metadata.annotations, &keep.annotations, strings)?;
    let pod = Pod {
        uid: strings.own(metadata.uid.as_str()),
        namespace: strings.share(metadata.namespace.as_str()),
        name: strings.own(metadata.name.as_str()),
        node: strings.share(spec.node_name.as_str()),
        hostname: strings.own(spec.hostname.as_str()),
        host_network: spec.host_network,
        ips: ips(&status.pod_ips, &status.pod_ip),
        host_ips: ips(&status.host_ips, &status.host_ip),
        phase: phase(status.phase.as_str()),
        created: time(metadata.creation_timestamp.as_str()).unwrap_or_default(),
        started: time(status.start_time.as_str()),
        deleting: time(metadata.deletion_timestamp.as_str()),
        owner: controller(&metadata.owner_references, strings),
        config_hash,
        labels: pairs(metadata.labels, &keep.labels, &[], strings)?,
        annotations,
        containers: containers(&spec, strings),
        statuses: statuses(&status, strings),
    };
    Ok(DecodedPod { pod, version: metadata.resource_version.as_str().to_owned() })
}

pub(super) fn related(raw: raw::RawObject<'_>, keep: &Keep, strings: &mut Interner) -> Result<Related, Undecodable> {
    let metadata = raw.metadata;
    if metadata.uid.is_empty() || metadata.name.is_empty() {
        return Err(Undecodable("object without uid or name".to_owned()));
    }
    Ok(Related {
        uid: strings.own(metadata.uid.as_str()),
        name: strings.own(metadata.name.as_str()),
        owner: controller(&metadata.owner_references, strings),
        labels: pairs(metadata.labels, &keep.related_labels, &[], strings)?,
        annotations: pairs(metadata.annotations, &keep.related_annotations, &[], strings)?,
    })
}

pub(super) fn bookmark<O: WatchedObject>(json: &[u8]) -> Result<Event<O>, Undecodable> {
    let raw: raw::RawObject<'_> = serde_json::from_slice(json)?;
    let mut strings = Interner::default();
    let marks = pairs(raw.metadata.annotations, &[], &[INITIAL_EVENTS_END], &mut strings)?;
    let initial_events_end = marks.iter().any(|(_, value)| &**value == "true");
    Ok(Event::Bookmark { version: raw.metadata.resource_version.as_str().to_owned(), initial_events_end })
}

pub(super) fn version_of(json: &[u8]) -> Option<String> {
    let raw: raw::VersionOnly<'_> = serde_json::from_slice(json).ok()?;
    let version = raw.metadata.resource_version.as_str();
    (!version.is_empty()).then(|| version.to_owned())
}

pub(super) fn identity_of(json: &[u8]) -> Option<(String, String)> {
    let raw: raw::VersionOnly<'_> = serde_json::from_slice(json).ok()?;
    let uid = raw.metadata.uid.as_str();
    (!uid.is_empty()).then(|| (uid.to_owned(), raw.metadata.resource_version.as_str().to_owned()))
}

pub(super) fn api_status(json: &[u8], code: u16) -> ApiStatus {
    let Ok(raw) = serde_json::from_slice::<raw::RawStatus<'_>>(json) else {
        return ApiStatus { code, ..ApiStatus::default() };
    };
    if raw.kind.as_str() != "Status" {
        return ApiStatus { code, ..ApiStatus::default() };
    }
    ApiStatus {
        code: if raw.code == 0 { code } else { raw.code },
        reason: clipped(raw.reason.as_str()),
        message: clipped(raw.message.as_str()),
        retry_after_seconds: raw.details.retry_after_seconds,
        version_too_large: raw.details.causes.iter().any(|cause| cause.reason.as_str() == "ResourceVersionTooLarge")
            || raw.message.as_str().contains("Too large resource version"),
    }
}

/// Texts of a server end up in logs and status: one line, bounded.
fn clipped(text: &str) -> String {
    const CHARS_MAX: usize = 300;
    text.chars().take(CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn phase(text: &str) -> Phase {
    match text {
        "Pending" => Phase::Pending,
        "Running" => Phase::Running,
        "Succeeded" => Phase::Succeeded,
        "Failed" => Phase::Failed,
        _ => Phase::Unknown,
    }
}

/// The most addresses of one pod that are kept; a pod has one of each family.
const IPS_MAX: usize = 16;

fn ips(all: &[raw::PodIp<'_>], single: &Text<'_>) -> Vec<std::net::IpAddr> {
    let mut ips = Vec::with_capacity(all.len().clamp(usize::from(!single.is_empty()), IPS_MAX));
    let all = all.iter().map(|entry| entry.ip.as_str()).chain([single.as_str()]);
    for found in all.filter_map(ip).take(IPS_MAX) {
        if !ips.contains(&found) {
            ips.push(found);
        }
    }
    ips
}

fn controller(owners: &[raw::OwnerReference<'_>], strings: &mut Interner) -> Option<Owner> {
    let owner = owners.iter().find(|owner| owner.controller)?;
    Some(Owner {
        api_version: strings.share(owner.api_version.as_str()),
        kind: strings.share(owner.kind.as_str()),
        name: strings.share(owner.name.as_str()),
        uid: strings.share(owner.uid.as_str()),
    })
}

fn containers(spec: &raw::Spec<'_>, strings: &mut Interner) -> Vec<Container> {
    let init_kind = |container: &raw::RawContainer<'_>| match container.restart_policy.as_str() {
        "Always" => ContainerKind::Sidecar,
        _ => ContainerKind::Init,
    };
    let all = spec.containers.iter().map(|container| (container, ContainerKind::Regular));
    let all = all.chain(spec.init_containers.iter().map(|container| (container, init_kind(container))));
    let all = all.chain(spec.ephemeral_containers.iter().map(|container| (container, ContainerKind::Ephemeral)));
    let made = all.map(|(container, kind)| Container {
        name: strings.share(container.name.as_str()),
        image: strings.share(container.image.as_str()),
        kind,
    });
    made.collect()
}

fn statuses(status: &raw::RawPodStatus<'_>, strings: &mut Interner) -> Vec<ContainerStatus> {
    let all = status.container_statuses.iter().chain(&status.init_container_statuses);
    let all = all.chain(&status.ephemeral_container_statuses);
    let made = all.map(|entry| ContainerStatus {
        name: strings.share(entry.name.as_str()),
        id: strings.own(bare_id(entry.container_id.as_str())),
        restart_count: entry.restart_count,
        image: strings.share(entry.image.as_str()),
        image_id: strings.share(entry.image_id.as_str()),
        state: run_state(&entry.state, strings),
        last: entry.last_state.terminated.as_ref().map(|ended| self::ended(ended, strings)),
    });
    made.collect()
}

/// The API server accepts several states at once; the dead one wins, because nothing may be credited to it.
fn run_state(state: &raw::State<'_>, strings: &mut Interner) -> RunState {
    if let Some(terminated) = &state.terminated {
        return RunState::Terminated(ended(terminated, strings));
    }
    if let Some(running) = &state.running {
        return RunState::Running { started: time(running.started_at.as_str()) };
    }
    match &state.waiting {
        Some(waiting) => RunState::Waiting { reason: strings.share(waiting.reason.as_str()) },
        None => RunState::Unknown,
    }
}

fn ended(terminated: &raw::Terminated<'_>, strings: &mut Interner) -> Ended {
    Ended {
        id: strings.own(bare_id(terminated.container_id.as_str())),
        started: time(terminated.started_at.as_str()),
        finished: time(terminated.finished_at.as_str()),
        reason: strings.share(terminated.reason.as_str()),
        exit_code: terminated.exit_code,
    }
}

/// Kept annotations, and the config hash whether it is kept or not.
fn annotations_of(
    raw: Option<&RawValue>,
    keys: &[KeepKey],
    strings: &mut Interner,
) -> Result<(Meta, Option<Arc<str>>), Undecodable> {
    let mut found = pairs(raw, keys, &CONFIG_HASHES, strings)?;
    let mut config_hash = None;
    for name in CONFIG_HASHES {
        let value = found.iter().find(|(key, value)| &**key == name && !value.is_empty());
        config_hash = config_hash.or_else(|| value.map(|(_, value)| value.clone()));
    }
    found.retain(|(key, _)| kept(keys, key));
    Ok((found, config_hash))
}

/// Reads the entries of a string map whose key is kept or in `also`; the others are skipped without being stored.
fn pairs(raw: Option<&RawValue>, keys: &[KeepKey], also: &[&str], strings: &mut Interner) -> Result<Meta, Undecodable> {
    let Some(raw) = raw else { return Ok(Meta::new()) };
    if keys.is_empty() && !also.iter().any(|key| raw.get().contains(key)) {
        return Ok(Meta::new());
    }
    let mut json = serde_json::Deserializer::from_str(raw.get());
    let mut pairs = Pairs { keys, also, strings }.deserialize(&mut json)?;
    pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
    pairs.dedup_by(|(a, _), (b, _)| a == b);
    Ok(pairs)
}

struct Pairs<'k> {
    keys: &'k [KeepKey],
    also: &'k [&'k str],
    strings: &'k mut Interner,
}

impl<'de> DeserializeSeed<'de> for Pairs<'_> {
    type Value = Meta;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Meta, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Pairs<'_> {
    type Value = Meta;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Meta, A::Error> {
        let mut found = Meta::new();
        while let Some(key) = map.next_key::<Text<'de>>()? {
            if !self.also.contains(&key.as_str()) && !kept(self.keys, key.as_str()) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value = map.next_value::<Text<'de>>()?;
            found.push((self.strings.share(key.as_str()), self.strings.share(value.as_str())));
        }
        Ok(found)
    }
}

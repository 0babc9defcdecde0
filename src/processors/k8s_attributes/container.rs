//! Which container of the pod, and what its image says: by name, by a run's id, or because there is only one.

use std::sync::Arc;

use super::facts::{Facts, Known};
use crate::kube::ledger::{Absence, ContainerLedger, Run};
use crate::kube::pod::{Container, ContainerKind, Pod};
use crate::kube::table::Entry;

/// Sidecars that carry other containers' data: never the sole candidate, and their connections belong to nobody.
const PROXIES: [&str; 11] = [
    "istio-proxy",
    "ztunnel",
    "linkerd-proxy",
    "envoy",
    "envoy-sidecar",
    "consul-dataplane",
    "kuma-sidecar",
    "kgateway-proxy",
    "otc-container",
    "otel-collector",
    "opentelemetry-collector",
];

/// Those whose pods, when nothing else runs in them, send what others made.
const RELAYS: [&str; 4] = ["ztunnel", "otc-container", "otel-collector", "opentelemetry-collector"];

/// The container a resource belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Chosen<'a> {
    pub container: &'a Container,
    /// Absent until the kubelet has reported the container.
    pub ledger: Option<&'a ContainerLedger>,
    /// The run that the resource's own container.id names.
    pub named_run: Option<&'a Run>,
    /// The resource gave another name, which no container of the pod has.
    pub renamed: bool,
}

/// `repair`: an unknown name is taken for a slip when there is only one container it can mean.
pub fn choose<'a>(entry: &'a Entry, facts: &Facts<'_>, repair: bool) -> Result<Chosen<'a>, Absence> {
    let pod = &entry.pod;
    if let Some((ledger, run)) = claimed_run(entry, facts)
        && let Some(container) = by_name(pod, &ledger.name)
    {
        return Ok(Chosen { container, ledger: Some(ledger), named_run: Some(run), renamed: false });
    }
    let name = facts.text(Known::ContainerName);
    let named = name.and_then(|name| by_name(pod, name));
    let (container, renamed) = match (named, name) {
        (Some(container), _) => (container, false),
        (None, Some(_)) if !repair => return Err(Absence::ContainerNameUnknown),
        (None, Some(_)) => (only_one(pod).ok_or(Absence::ContainerNameUnknown)?, true),
        (None, None) => (only_one(pod).ok_or(Absence::ContainerNameMissing)?, false),
    };
    Ok(Chosen { container, ledger: entry.ledger.container(&container.name), named_run: None, renamed })
}

/// Shortened ids count from twelve characters on, as the container tools print them.
fn claimed_run<'a>(entry: &'a Entry, facts: &Facts<'_>) -> Option<(&'a ContainerLedger, &'a Run)> {
    let id = facts.container_id().filter(|id| id.len() >= 12)?;
    entry.ledger.by_id(id)
}

fn by_name<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    pod.containers.iter().find(|container| *container.name == *name)
}

/// The only regular container; init and ephemeral ones are meant only when named.
fn only_one(pod: &Pod) -> Option<&Container> {
    let mut candidates = pod.containers.iter().filter(|container| may_be_meant(container));
    let first = candidates.next()?;
    if candidates.next().is_some() { None } else { Some(first) }
}

fn may_be_meant(container: &Container) -> bool {
    let lives_with_the_pod = matches!(container.kind, ContainerKind::Regular | ContainerKind::Sidecar);
    lives_with_the_pod && !is_proxy(container)
}

fn is_proxy(container: &Container) -> bool {
    PROXIES.contains(&&*container.name)
}

/// True for a pod that is there to forward (a collector, a node's mesh proxy, with or without a proxy of its own): the
/// data it sends is others'. A gateway's proxy is not: the spans it sends are its own.
pub fn only_forwards(pod: &Pod) -> bool {
    let living = || pod.containers.iter().filter(|c| matches!(c.kind, ContainerKind::Regular | ContainerKind::Sidecar));
    living().any(|container| RELAYS.contains(&&*container.name)) && living().all(is_proxy)
}

/// True when another container of the pod may have opened the connection on behalf of this one.
pub fn is_behind_proxy(pod: &Pod, container: &Container) -> bool {
    pod.containers.iter().any(|other| is_proxy(other) && other.name != container.name)
}

/// An image reference taken apart: `registry:5000/team/app:1.2@sha256:...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image<'a> {
    pub name: &'a str,
    /// `latest` when neither tag nor digest is given.
    pub tag: Option<&'a str>,
    pub digest: Option<&'a str>,
}

impl<'a> Image<'a> {
    /// `None` for an empty reference.
    pub fn parse(reference: &'a str) -> Option<Image<'a>> {
        let (rest, digest) = match reference.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (reference, None),
        };
        // A colon before the last slash belongs to the registry's port.
        let path = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match rest[path..].rfind(':') {
            Some(colon) => (&rest[..path + colon], Some(&rest[path + colon + 1..])),
            None => (rest, None),
        };
        let tag = tag.filter(|tag| !tag.is_empty()).or(digest.is_none().then_some("latest"));
        (!name.is_empty()).then_some(Image { name, tag, digest })
    }

    /// `service.version` by image (semantic conventions): tag@digest, else the one there is.
    pub fn version(&self) -> Option<String> {
        match (self.tag, self.digest) {
            (Some(tag), Some(digest)) => Some(format!("{tag}@{digest}")),
            (tag, digest) => tag.or(digest).map(str::to_owned),
        }
    }
}

/// The digest under which the registry knows the image (`repo@sha256:...`); a local image id is none.
pub fn repo_digest(image_id: &str) -> Option<&str> {
    let bare = crate::kube::pod::bare_id(image_id);
    bare.contains("@sha256:").then_some(bare)
}

/// The image that the run was started from; without a known run only when all known runs agree with the spec.
pub fn image_of(chosen: &Chosen<'_>, run: Option<&Run>) -> Option<Arc<str>> {
    let spec = &chosen.container.image;
    match run {
        Some(run) if run.image.is_empty() => Some(spec.clone()),
        Some(run) => Some(run.image.clone()),
        None => {
            let runs = chosen.ledger.map_or(&[][..], |ledger| &ledger.runs);
            runs.iter().all(|run| run.image.is_empty() || run.image == *spec).then(|| spec.clone())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_references_are_taken_apart_at_the_right_colons() {
        let check = |reference, name, tag, digest| {
            assert_eq!(Image::parse(reference), Some(Image { name, tag, digest }), "{reference}");
        };
        check("app", "app", Some("latest"), None);
        check("app:1.2", "app", Some("1.2"), None);
        check("registry:5000/team/app", "registry:5000/team/app", Some("latest"), None);
        check("registry:5000/team/app:1.2", "registry:5000/team/app", Some("1.2"), None);
        check("app@sha256:ab", "app", None, Some("sha256:ab"));
        check("r:5000/app:1@sha256:ab", "r:5000/app", Some("1"), Some("sha256:ab"));
        assert_eq!(Image::parse(""), None);
        assert_eq!(Image::parse(":1"), None);
    }

    #[test]
    fn a_version_is_tag_and_digest_or_what_there_is() {
        let version = |reference| Image::parse(reference).and_then(|image| image.version());
        assert_eq!(version("app:1@sha256:ab").as_deref(), Some("1@sha256:ab"));
        assert_eq!(version("app@sha256:ab").as_deref(), Some("sha256:ab"));
        assert_eq!(version("app").as_deref(), Some("latest"));
    }

    #[test]
    fn only_registry_digests_are_repo_digests() {
        assert_eq!(repo_digest("docker-pullable://r/app@sha256:ab"), Some("r/app@sha256:ab"));
        assert_eq!(repo_digest("sha256:ab"), None);
        assert_eq!(repo_digest(""), None);
    }
}

//! Which container of the pod, and what its image says: by name, by a run's id, or because only one can be meant.

use std::sync::Arc;

use super::facts::{Known, ResourceFacts};
use super::roles::{ContainerRole, living};
use crate::core::time::UnixNanos;
use crate::kube::ledger::{Absence, ContainerLedger, Run};
use crate::kube::pod::{Container, ContainerKind, Pod};
use crate::kube::table::PodEntry;

/// SDKs that are proxies: their spans are theirs, whatever else runs in the pod.
const MESH_SDKS: [&str; 3] = ["envoy", "linkerd", "linkerd-proxy"];

/// How much the times of one node may differ between a process and the kubelet.
const SLIP: std::time::Duration = std::time::Duration::from_millis(100);

/// Data of an init container comes at most this much after its pod's work began.
const INIT_LATE_MAX: std::time::Duration = std::time::Duration::from_secs(600);

/// The container a resource belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Chosen<'a> {
    pub container: &'a Container,
    /// Absent until the kubelet has reported the container.
    pub ledger: Option<&'a ContainerLedger>,
    /// The run that the resource's own container.id names.
    pub named_run: Option<&'a Run>,
    /// The resource gave another name, and this one takes its place.
    pub renamed: bool,
}

/// Why there is no container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unchosen {
    Missing(Absence),
    /// The pod is beginning, and what runs in it now is not known yet.
    Unsettled,
}

/// What the choice may rest on beside the resource.
pub struct Choice<'a> {
    /// An unknown name is taken for a slip when there is only one container it can mean.
    pub repair: bool,
    /// Further names of relays.
    pub relays: &'a [String],
    /// When the resource's items were made, by the node's clock; the arrival where they do not say.
    pub made_at: &'a dyn Fn() -> UnixNanos,
    /// Every run that began until then is in the ledger, as far as data made at a time goes.
    pub is_known: &'a dyn Fn(UnixNanos) -> bool,
}

impl Choice<'_> {
    pub fn of<'a>(&self, entry: &'a PodEntry, facts: &ResourceFacts<'_>) -> Result<Chosen<'a>, Unchosen> {
        let pod = &entry.pod;
        let name = facts.text(Known::ContainerName);
        if let Some((ledger, run)) = claimed_run(entry, facts)
            && let Some(container) = by_name(pod, &ledger.name)
        {
            let renamed = self.repair && name.is_some_and(|name| *name != *container.name);
            return Ok(Chosen { container, ledger: Some(ledger), named_run: Some(run), renamed });
        }
        let (container, renamed) = match (name.and_then(|name| by_name(pod, name)), name) {
            (Some(container), _) => (container, false),
            (None, Some(_)) if !self.repair => return Err(Unchosen::Missing(Absence::ContainerNameUnknown)),
            (None, Some(_)) => (self.only_one(pod).ok_or(Unchosen::Missing(Absence::ContainerNameUnknown))?, true),
            (None, None) => (self.unnamed(entry, facts)?, false),
        };
        Ok(Chosen { container, ledger: entry.ledger.container(&container.name), named_run: None, renamed })
    }

    fn unnamed<'a>(&self, entry: &'a PodEntry, facts: &ResourceFacts<'_>) -> Result<&'a Container, Unchosen> {
        let missing = Unchosen::Missing(Absence::ContainerNameMissing);
        if facts.text(Known::SdkName).is_some_and(|sdk| MESH_SDKS.contains(&sdk)) {
            return self.mesh_proxy(&entry.pod).ok_or(missing);
        }
        let main = self.only_one(&entry.pod);
        if !entry.pod.containers.iter().any(|container| container.kind == ContainerKind::Init) {
            return main.ok_or(missing);
        }
        self.beside_init(entry, main)
    }

    fn mesh_proxy<'a>(&self, pod: &'a Pod) -> Option<&'a Container> {
        let proxy = living(pod).find(|container| ContainerRole::of(container, self.relays) == ContainerRole::Mesh);
        proxy.or_else(|| only(living(pod)))
    }

    /// The only container that works; in a pod without one, the only one that sends at all.
    fn only_one<'a>(&self, pod: &'a Pod) -> Option<&'a Container> {
        let mut workers =
            living(pod).filter(|container| ContainerRole::of(container, self.relays) == ContainerRole::Worker);
        match (workers.next(), workers.next()) {
            (Some(worker), None) => Some(worker),
            (Some(_), Some(_)) => None,
            (None, _) => {
                only(living(pod).filter(|container| ContainerRole::of(container, self.relays) != ContainerRole::Helper))
            }
        }
    }

    /// Init containers send too: until the pod's work has begun, and of what was made before that, the sender is whichever
    /// container lived then.
    fn beside_init<'a>(&self, entry: &'a PodEntry, main: Option<&'a Container>) -> Result<&'a Container, Unchosen> {
        let missing = Unchosen::Missing(Absence::ContainerNameMissing);
        let runs =
            |container: &Container| entry.ledger.container(&container.name).map_or(&[][..], |ledger| &ledger.runs[..]);
        let init = || entry.pod.containers.iter().filter(|container| container.kind == ContainerKind::Init);
        let is_open = |container: &Container| runs(container).last().is_some_and(|run| run.end.is_none());
        // A regular container runs only when all of these have ended.
        let init_runs = init().any(is_open) && !main.is_some_and(is_open);
        let began = main.and_then(|main| runs(main).first()).filter(|run| !run.gap_before).map(|run| run.start.lo);
        let works = !init_runs && main.is_some_and(|main| !runs(main).is_empty());
        if works {
            let Some(began) = began.filter(|began| entry.seen_at.since(*began) < INIT_LATE_MAX) else {
                return main.ok_or(missing);
            };
            if (self.made_at)().saturating_add(SLIP) >= began {
                return main.ok_or(missing);
            }
        }
        let made_at = (self.made_at)();
        if !(self.is_known)(made_at) {
            return Err(Unchosen::Unsettled);
        }
        let lived = |container: &&Container| {
            runs(container).iter().any(|run| {
                let end = run.end.map(|end| end.hi.saturating_add(SLIP));
                run.start.lo <= made_at.saturating_add(SLIP) && end.is_none_or(|end| made_at <= end)
            })
        };
        only(init().chain(main).filter(lived)).ok_or(missing)
    }
}

fn only<'a>(mut containers: impl Iterator<Item = &'a Container>) -> Option<&'a Container> {
    let first = containers.next()?;
    if containers.next().is_some() { None } else { Some(first) }
}

/// Shortened ids count from twelve characters on, as the container tools print them.
fn claimed_run<'a>(entry: &'a PodEntry, facts: &ResourceFacts<'_>) -> Option<(&'a ContainerLedger, &'a Run)> {
    let id = facts.container_id().filter(|id| id.len() >= 12)?;
    entry.ledger.by_id(id)
}

fn by_name<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    pod.containers.iter().find(|container| *container.name == *name)
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

//! Writing what is known of container and run: absent attributes are added, claims that are proven wrong are repaired.

use std::sync::Arc;

use super::config::{Config, Field, Hint, RestartCount};
use super::container::{Chosen, Image, image_of, repo_digest};
use super::facts::{Known, ResourceFacts};
use crate::kube::ledger::Run;
use crate::kube::table::PodEntry;
use crate::otlp::edit::Appender;
use crate::processors::k8s_attributes::report::metrics::{IdEvidence, WriteNotes};
use crate::processors::k8s_attributes::times::moment::WriteMode;

const RESTART_COUNT: &str = "k8s.container.restart_count";

/// A run and what the choice rests on.
#[derive(Clone, Copy, Debug)]
pub struct Instance<'a> {
    pub run: &'a Run,
    pub found: IdEvidence,
}

/// What is written of container and run: all that it follows from, beside the resource, the pod and the configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContainerPart {
    pub name: Arc<str>,
    /// The name takes the place of the one that the resource gave.
    pub renamed: bool,
    pub image: Option<Arc<str>>,
    /// Of the run, when it is known and wanted.
    pub id: Option<Arc<str>>,
    pub restart: i64,
    pub image_id: Option<Arc<str>>,
    pub found: Option<IdEvidence>,
}

impl ContainerPart {
    pub fn new(chosen: &Chosen<'_>, instance: Option<&Instance<'_>>) -> ContainerPart {
        let run = instance.map(|instance| instance.run);
        ContainerPart {
            name: chosen.container.name.clone(),
            renamed: chosen.renamed,
            image: image_of(chosen, run),
            id: run.map(|run| run.id.clone()),
            restart: run.map_or(-1, |run| run.restart),
            image_id: run.map(|run| run.image_id.clone()),
            found: instance.map(|instance| instance.found),
        }
    }

    pub fn run_id(&self) -> Option<&str> {
        self.id.as_deref()
    }
}

pub struct Writing<'a> {
    pub config: &'a Config,
    pub facts: &'a ResourceFacts<'a>,
    pub mode: WriteMode,
}

impl Writing<'_> {
    /// Container and run, as far as they are known.
    pub fn container(&self, edit: &mut Appender, part: &ContainerPart, entry: &PodEntry) -> WriteNotes {
        let mut notes = WriteNotes::default();
        // At the decision they are there, unless what ran in a beginning pod was not known at arrival.
        if self.mode != WriteMode::RunOnly || self.facts.text(Known::ContainerName).is_none() {
            notes.repaired_name = self.names(edit, part, entry);
        }
        if self.mode == WriteMode::PodOnly {
            return notes;
        }
        if let (Some(id), Some(found)) = (&part.id, part.found) {
            self.id(edit, id, found, &mut notes);
            notes.hint_conflict = self.restart_count(edit, part.restart);
        }
        self.image(edit, part);
        notes
    }

    fn wants(&self, field: Field) -> bool {
        self.config.extract.has(field)
    }

    /// True when the name that the resource gave was replaced.
    fn names(&self, edit: &mut Appender, part: &ContainerPart, entry: &PodEntry) -> bool {
        let name = &*part.name;
        if part.renamed {
            edit.replace(Field::ContainerName.name(), name);
        } else if self.wants(Field::ContainerName) {
            edit.set_if_absent_or_empty(Field::ContainerName.name(), name);
        }
        if self.wants(Field::ServiceInstanceId) {
            let pod = &entry.pod;
            let id = format!("{}.{}.{name}", pod.namespace, pod.name);
            edit.set_if_absent_or_empty(Field::ServiceInstanceId.name(), &id);
        }
        part.renamed
    }

    fn id(&self, edit: &mut Appender, id: &str, found: IdEvidence, notes: &mut WriteNotes) {
        let claimed = self.facts.text(Known::ContainerId);
        let found = match claimed {
            None => {
                edit.set_if_absent_or_empty(Field::ContainerId.name(), id);
                found
            }
            Some(claimed) if *claimed == *id => IdEvidence::Given,
            // Named by the sender with its scheme or shortened: one spelling for all.
            Some(_) if found == IdEvidence::Given => {
                edit.replace(Field::ContainerId.name(), id);
                IdEvidence::Given
            }
            Some(_) if self.config.own.repair => {
                edit.replace(Field::ContainerId.name(), id);
                notes.repaired_id = true;
                found
            }
            Some(_) => IdEvidence::KeptUnknown,
        };
        notes.found = Some(found);
    }

    /// The sender cannot know its restart count. A number that names another run is counted, and replaced by the true
    /// one. True when it names another.
    fn restart_count(&self, edit: &mut Appender, restart: i64) -> bool {
        let own = &self.config.own;
        if own.hint == Hint::Ignore || own.restart_count == RestartCount::Off || restart < 0 {
            return false;
        }
        if self.facts.value(Known::RestartCount).is_none() || self.facts.restart_count() == Some(restart) {
            return false;
        }
        if own.restart_count == RestartCount::Repair {
            edit.replace(RESTART_COUNT, restart);
        }
        true
    }

    fn image(&self, edit: &mut Appender, part: &ContainerPart) {
        let Some(image) = part.image.as_deref().and_then(Image::parse) else { return };
        if self.wants(Field::ImageName) {
            edit.set_if_absent_or_empty(Field::ImageName.name(), image.name);
        }
        if let Some(tag) = image.tag.filter(|_| self.wants(Field::ImageTag)) {
            edit.set_if_absent_or_empty(Field::ImageTag.name(), tag);
            edit.set_if_absent_or_empty(Field::ImageTags.name(), &[tag][..]);
        }
        if self.wants(Field::RepoDigests)
            && let Some(digest) = part.image_id.as_deref().and_then(repo_digest)
        {
            edit.set_if_absent_or_empty(Field::RepoDigests.name(), &[digest][..]);
        }
        // The pod's label, written with the pod, wins.
        if self.wants(Field::ServiceVersion)
            && let Some(version) = image.version()
        {
            edit.set_if_absent_or_empty(Field::ServiceVersion.name(), &version);
        }
    }
}

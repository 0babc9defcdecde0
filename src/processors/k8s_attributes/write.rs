//! Writing what is known of container and run: absent attributes are added, claims that are proven wrong are repaired.

use super::config::{Config, Field, Hint, RestartCount};
use super::container::{Chosen, Image, image_of, repo_digest};
use super::facts::{Known, ResourceFacts};
use crate::kube::ledger::Run;
use crate::kube::table::PodEntry;
use crate::otlp::edit::Appender;
use crate::processors::k8s_attributes::report::metrics::{Counters, IdEvidence};
use crate::processors::k8s_attributes::times::moment::WriteMode;

const RESTART_COUNT: &str = "k8s.container.restart_count";

/// A run and what the choice rests on.
#[derive(Clone, Copy, Debug)]
pub struct Instance<'a> {
    pub run: &'a Run,
    pub found: IdEvidence,
}

pub struct Writing<'a> {
    pub config: &'a Config,
    pub counters: &'a Counters,
    pub facts: &'a ResourceFacts<'a>,
    pub mode: WriteMode,
}

impl Writing<'_> {
    /// Container and run; `instance` is `None` when the run is not known or not asked for.
    pub fn container(
        &self,
        edit: &mut Appender,
        chosen: &Chosen<'_>,
        entry: &PodEntry,
        instance: Option<&Instance<'_>>,
    ) {
        // At the decision they are there, unless what ran in a beginning pod was not known at arrival.
        if self.mode != WriteMode::RunOnly || self.facts.text(Known::ContainerName).is_none() {
            self.names(edit, chosen, entry);
        }
        if self.mode == WriteMode::PodOnly {
            return;
        }
        if let Some(instance) = instance {
            self.id(edit, instance);
            self.restart_count(edit, instance.run);
        }
        self.image(edit, chosen, instance.map(|instance| instance.run));
    }

    fn wants(&self, field: Field) -> bool {
        self.config.extract.has(field)
    }

    fn names(&self, edit: &mut Appender, chosen: &Chosen<'_>, entry: &PodEntry) {
        let name = &*chosen.container.name;
        if chosen.renamed {
            edit.replace(Field::ContainerName.name(), name);
            self.counters.repaired_name.add(1);
        } else if self.wants(Field::ContainerName) {
            edit.set_if_absent_or_empty(Field::ContainerName.name(), name);
        }
        if self.wants(Field::ServiceInstanceId) {
            let pod = &entry.pod;
            let id = format!("{}.{}.{name}", pod.namespace, pod.name);
            edit.set_if_absent_or_empty(Field::ServiceInstanceId.name(), &id);
        }
    }

    fn id(&self, edit: &mut Appender, instance: &Instance<'_>) {
        let run = instance.run;
        let claimed = self.facts.text(Known::ContainerId);
        let found = match claimed {
            None => {
                edit.set_if_absent_or_empty(Field::ContainerId.name(), &*run.id);
                instance.found
            }
            Some(claimed) if *claimed == *run.id => IdEvidence::Given,
            // Named by the sender with its scheme or shortened: one spelling for all.
            Some(_) if instance.found == IdEvidence::Given => {
                edit.replace(Field::ContainerId.name(), &*run.id);
                IdEvidence::Given
            }
            Some(_) if self.config.own.repair => {
                edit.replace(Field::ContainerId.name(), &*run.id);
                self.counters.repaired_id.add(1);
                instance.found
            }
            Some(_) => IdEvidence::KeptUnknown,
        };
        self.counters.found(found);
    }

    /// The sender cannot know its restart count. A number that names another run is counted, and replaced by the true
    /// one.
    fn restart_count(&self, edit: &mut Appender, run: &Run) {
        let own = &self.config.own;
        if own.hint == Hint::Ignore || own.restart_count == RestartCount::Off || run.restart < 0 {
            return;
        }
        if self.facts.value(Known::RestartCount).is_none() || self.facts.restart_count() == Some(run.restart) {
            return;
        }
        self.counters.hint_conflict.add(1);
        if own.restart_count == RestartCount::Repair {
            edit.replace(RESTART_COUNT, run.restart);
        }
    }

    fn image(&self, edit: &mut Appender, chosen: &Chosen<'_>, run: Option<&Run>) {
        let image = image_of(chosen, run);
        let Some(image) = image.as_deref().and_then(Image::parse) else { return };
        if self.wants(Field::ImageName) {
            edit.set_if_absent_or_empty(Field::ImageName.name(), image.name);
        }
        if let Some(tag) = image.tag.filter(|_| self.wants(Field::ImageTag)) {
            edit.set_if_absent_or_empty(Field::ImageTag.name(), tag);
            edit.set_if_absent_or_empty(Field::ImageTags.name(), &[tag][..]);
        }
        if self.wants(Field::RepoDigests)
            && let Some(digest) = run.and_then(|run| repo_digest(&run.image_id))
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

//! The bytes of a resource with what is known of its pod, container and run: those that were written before, or new ones.

use std::sync::Arc;

use bytes::Bytes;

use super::memo::MemoKey;
use super::{Case, EnrichOutcome, Enricher, Located, write_pod};
use crate::core::data::budget::{OverBudget, Ticket};
use crate::processors::k8s_attributes::pod::attributes::PodAttributes;
use crate::processors::k8s_attributes::report::metrics::WriteNotes;
use crate::processors::k8s_attributes::times::moment::{Subject, WriteMode};
use crate::processors::k8s_attributes::write::{ContainerPart, Writing};

impl Enricher {
    /// The resource with what is known of its pod, container and run: remembered, or written; `None` when its bytes cannot
    /// be walked.
    pub(super) fn written(
        &self,
        case: &Case<'_>,
        located: &Located,
        profile: &Arc<PodAttributes>,
        (mode, part): (WriteMode, Option<&ContainerPart>),
    ) -> Option<EnrichOutcome> {
        let Subject { resource, ticket, .. } = *case.subject;
        let key = MemoKey { resource, profile, overrule: located.overrule, mode, container: part };
        let place = self.memo.place(&key);
        if let Some((made, notes)) = self.memo.get(place, &key) {
            // Every unit test that meets a resource again checks it.
            if cfg!(test) {
                let anew = self.write(case, located, &key, &Ticket::free());
                assert!(anew == Some((Ok(made.clone()), notes)), "what is remembered is what would be written");
            }
            // The payload pays for them too: it may outlive what is remembered.
            if let Err(why) = ticket.grow(made.len() as u64) {
                return Some(EnrichOutcome::Refused(why));
            }
            self.counters.wrote(notes);
            return Some(EnrichOutcome::Changed(made));
        }
        let (made, notes) = self.write(case, located, &key, ticket)?;
        self.counters.wrote(notes);
        if let Ok(made) = &made {
            self.memo.put(place, &key, made, notes);
        }
        Some(EnrichOutcome::of(made))
    }

    fn write(
        &self,
        case: &Case<'_>,
        located: &Located,
        key: &MemoKey<'_>,
        ticket: &Ticket,
    ) -> Option<(Result<Bytes, OverBudget>, WriteNotes)> {
        let mut edit = case.edit(ticket)?;
        if key.mode != WriteMode::RunOnly {
            write_pod(&mut edit, key.profile, located);
        }
        let writing = Writing { config: &self.config, facts: case.facts, mode: key.mode };
        let entry = &located.pod.entry;
        let notes = key.container.map(|part| writing.container(&mut edit, part, entry)).unwrap_or_default();
        Some((edit.take(), notes))
    }
}

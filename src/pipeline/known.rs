//! Declared components by their names, as references to them are resolved: one look for each, whatever the number.

use std::collections::HashMap;

use crate::core::data::payload::Signal;
use crate::core::stage::component::{ComponentId, Kind};

/// A declared component as the rest of the check sees it, sound or not.
pub struct Known {
    pub kind: Kind,
    /// As written.
    pub written: ComponentId,
    /// Under the current name.
    pub id: ComponentId,
    pub signals: &'static [Signal],
}

#[derive(Default)]
pub struct KnownComponents {
    all: Vec<Known>,
    /// Under both names; the first that has it.
    by_name: HashMap<(Kind, ComponentId), usize>,
}

impl KnownComponents {
    pub fn add(&mut self, known: Known) {
        for name in [&known.written, &known.id] {
            self.by_name.entry((known.kind, name.clone())).or_insert(self.all.len());
        }
        self.all.push(known);
    }

    /// By its written or its current name.
    pub fn find(&self, kind: Kind, name: &ComponentId) -> Option<&Known> {
        self.find_any(&[kind], name)
    }

    /// Of one of these kinds; of several the one that was declared first.
    pub fn find_any(&self, kinds: &[Kind], name: &ComponentId) -> Option<&Known> {
        let found = kinds.iter().filter_map(|kind| self.by_name.get(&(*kind, name.clone())));
        found.min().map(|at| &self.all[*at])
    }

    /// Of these kinds, as written, in the order declared.
    pub fn written<'a>(&'a self, kinds: &'a [Kind]) -> impl Iterator<Item = String> + 'a {
        self.all.iter().filter(|known| kinds.contains(&known.kind)).map(|known| known.written.to_string())
    }
}

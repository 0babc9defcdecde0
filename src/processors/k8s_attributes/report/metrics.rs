//! What the processor counts: every rule's hits and misses, every container id by what it rests on or why it is absent.
//!
//! Labels come from the configuration and from fixed vocabularies, never from data.

use std::sync::Arc;

use crate::core::report::stats::{Counter, Stats};
use crate::kube::ledger::Absence;
use crate::processors::k8s_attributes::bindings::How;
use crate::processors::k8s_attributes::config::AssociationRule;

pub struct Counters {
    /// Per rule: hits, misses, refused addresses.
    rules: Vec<[Arc<Counter>; 3]>,
    found: Vec<(IdEvidence, Arc<Counter>)>,
    absent: Vec<(Absence, Arc<Counter>)>,
    scored: [Arc<Counter>; Scored::ALL.len()],
    /// No rule found a pod; the Collector's name for it.
    pub lookup_miss: Arc<Counter>,
    pub hint_conflict: Arc<Counter>,
    pub identity_conflict: Arc<Counter>,
    pub repaired_id: Arc<Counter>,
    pub repaired_name: Arc<Counter>,
    pub held: Arc<Counter>,
    pub malformed: Arc<Counter>,
}

/// What a container id rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdEvidence {
    /// The resource named a run of its pod itself.
    Given,
    By(How),
    /// The resource named an unknown run and was left alone.
    KeptUnknown,
}

impl IdEvidence {
    const ALL: [IdEvidence; 5] = [
        IdEvidence::Given,
        IdEvidence::By(How::Confirmed),
        IdEvidence::By(How::Unconfirmed),
        IdEvidence::By(How::Corrected),
        IdEvidence::KeptUnknown,
    ];

    pub fn name(self) -> &'static str {
        match self {
            IdEvidence::Given => "given",
            IdEvidence::By(How::Confirmed) => "confirmed",
            IdEvidence::By(How::Unconfirmed) => "unconfirmed",
            IdEvidence::By(How::Corrected) => "corrected",
            IdEvidence::KeptUnknown => "kept_unknown",
        }
    }
}

/// What is to be counted of what was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteNotes {
    pub repaired_name: bool,
    pub repaired_id: bool,
    pub hint_conflict: bool,
    pub found: Option<IdEvidence>,
}

/// What podgate would have made of a resource that tells its own container.id, had it not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scored {
    Right,
    Wrong,
    /// It would have got none.
    Missing,
    /// It would have waited, and may have been right a little later.
    Waiting,
    /// No run of that id is known here: not compared.
    Unknown,
}

impl Scored {
    const ALL: [Scored; 5] = [Scored::Right, Scored::Wrong, Scored::Missing, Scored::Waiting, Scored::Unknown];

    fn name(self) -> &'static str {
        match self {
            Scored::Right => "right",
            Scored::Wrong => "wrong",
            Scored::Missing => "missing",
            Scored::Waiting => "waiting",
            Scored::Unknown => "unknown",
        }
    }
}

const CONTAINER_ID: &str = "podgate_k8s_container_id_resources";
const CONTAINER_ID_HELP: &str = "Resources by what their container.id rests on, or why it is missing.";

impl Counters {
    pub fn new(stats: &Stats, processor: &str, rules: &[AssociationRule]) -> Counters {
        let own = |name: &str, help| stats.counter(name, help, &[("processor", processor)]);
        let rule = |rule: &AssociationRule, result| {
            let labels = [("processor", processor), ("rule", rule.label.as_str()), ("result", result)];
            stats.counter(
                "podgate_k8s_association",
                "Resources for which an association rule was tried, by result.",
                &labels,
            )
        };
        let outcome = |outcome, reason| {
            let labels = [("processor", processor), ("outcome", outcome), ("reason", reason)];
            stats.counter(CONTAINER_ID, CONTAINER_ID_HELP, &labels)
        };
        let scored = |scored: Scored| {
            let labels = [("processor", processor), ("outcome", scored.name())];
            let help = "Resources with a container.id of their own, by what podgate would have written.";
            stats.counter("podgate_k8s_self_scored", help, &labels)
        };
        Counters {
            rules: rules
                .iter()
                .map(|entry| [rule(entry, "hit"), rule(entry, "miss"), rule(entry, "refused")])
                .collect(),
            found: IdEvidence::ALL.map(|found| (found, outcome(found.name(), ""))).into(),
            absent: Absence::ALL.map(|absence| (absence, outcome("missing", absence.name()))).into(),
            scored: Scored::ALL.map(scored),
            lookup_miss: own("otelcol_otelsvc_k8s_ip_lookup_miss", "Resources for which no pod was found."),
            hint_conflict: own(
                "podgate_k8s_restart_hint_conflict",
                "Resources whose restart count names another run than the one that made them.",
            ),
            identity_conflict: own(
                "podgate_k8s_identity_conflict",
                "Resources that name another pod than the one at their address.",
            ),
            repaired_id: own("podgate_k8s_container_id_repaired", "Claimed container ids that were replaced."),
            repaired_name: own(
                "podgate_k8s_container_name_repaired",
                "Claimed container names that no container of the pod has, replaced by the only one it has.",
            ),
            held: own("podgate_k8s_held_resources", "Resources that waited for the status of a new run."),
            malformed: own("podgate_k8s_malformed_resources", "Resources that cannot be read."),
        }
    }

    pub fn rule_hit(&self, rule: usize) {
        if let Some([hit, ..]) = self.rules.get(rule) {
            hit.add(1);
        }
    }

    pub fn rule_miss(&self, rule: usize) {
        if let Some([_, miss, _]) = self.rules.get(rule) {
            miss.add(1);
        }
    }

    pub fn rule_refused(&self, rule: usize) {
        if let Some([.., refused]) = self.rules.get(rule) {
            refused.add(1);
        }
    }

    /// Counts what was written of a container and its run.
    pub fn wrote(&self, notes: WriteNotes) {
        let flags = [
            (notes.repaired_name, &self.repaired_name),
            (notes.repaired_id, &self.repaired_id),
            (notes.hint_conflict, &self.hint_conflict),
        ];
        flags.iter().filter(|(is_set, _)| *is_set).for_each(|(_, counter)| counter.add(1));
        if let Some(found) = notes.found {
            self.found(found);
        }
    }

    fn found(&self, found: IdEvidence) {
        if let Some((_, counter)) = self.found.iter().find(|(known, _)| *known == found) {
            counter.add(1);
        }
    }

    pub fn scored(&self, scored: Scored) {
        self.scored[scored as usize].add(1);
    }

    pub fn absent(&self, absence: Absence) {
        if let Some((_, counter)) = self.absent.iter().find(|(known, _)| *known == absence) {
            counter.add(1);
        }
    }
}

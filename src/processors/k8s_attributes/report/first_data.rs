//! One log line for the first data of each service and pod, so that a newcomer sees at once what was found and why not.
//! That there is data at all is the receiver's line.

use std::hash::BuildHasher;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use foldhash::HashSet;
use foldhash::fast::RandomState;

use crate::core::limits::FIRST_DATA_LINES_MAX;
use crate::core::lock::Locked;
use crate::processors::k8s_attributes::config::Field;
use crate::processors::k8s_attributes::enrich::Enricher;
use crate::processors::k8s_attributes::facts::{Known, ResourceFacts};
use crate::processors::k8s_attributes::times::moment::{ArrivalMoment, Subject, WriteMode};

/// Resources and (service, pod) pairs remembered before it stops looking.
const KEYS_MAX: usize = 16 * FIRST_DATA_LINES_MAX;

pub struct FirstResources {
    pipeline: String,
    /// Exporters of the pipeline, as they are written.
    next_hop: String,
    hasher: RandomState,
    // Written until it is full, then never asked again.
    seen: Mutex<HashSet<u64>>,
    lines: AtomicUsize,
    full: AtomicBool,
}

impl FirstResources {
    pub fn new(pipeline: String, next_hop: String) -> FirstResources {
        FirstResources {
            pipeline,
            next_hop,
            hasher: RandomState::default(),
            seen: Mutex::default(),
            lines: AtomicUsize::new(0),
            full: AtomicBool::new(false),
        }
    }

    /// A resource as it came (`subject`) and as it leaves this stage. A process sends the same bytes every time, so what was seen
    /// costs one hash.
    pub fn see(&self, subject: &Subject<'_>, leaves: &[u8], enricher: &Enricher, moment: &ArrivalMoment) {
        if self.full.load(Ordering::Relaxed) || enricher.config.passthrough {
            return;
        }
        if !self.is_new(self.hasher.hash_one(subject.resource)) {
            return;
        }
        let Ok(facts) = ResourceFacts::read(leaves) else { return };
        let service = facts.text(Known::ServiceName).unwrap_or("");
        let Some(pod) = facts.text(Known::PodUid).or(facts.text(Known::PodName)) else { return };
        if !self.is_new(self.hasher.hash_one((service, pod))) {
            return;
        }
        if self.lines.fetch_add(1, Ordering::Relaxed) >= FIRST_DATA_LINES_MAX {
            self.full.store(true, Ordering::Relaxed);
            return;
        }
        let asked = enricher.config.extract.has(Field::ContainerId);
        let container_id = facts.container_id().unwrap_or(match moment.mode {
            _ if !asked => "not asked for",
            WriteMode::PodOnly => "bound when the trace is decided",
            WriteMode::Full | WriteMode::RunOnly => "none; `podgate explain resource --uid` tells why",
        });
        tracing::info!(
            pipeline = %self.pipeline,
            service,
            pod,
            namespace = facts.text(Known::NamespaceName).unwrap_or(""),
            container = facts.text(Known::ContainerName).unwrap_or(""),
            rule = enricher.matched_rule(subject, moment),
            container_id,
            next_hop = %self.next_hop,
            "pod of a service found"
        );
    }

    fn is_new(&self, key: u64) -> bool {
        let mut seen = self.seen.locked();
        if seen.len() >= KEYS_MAX {
            self.full.store(true, Ordering::Relaxed);
            return false;
        }
        seen.insert(key)
    }
}

//! The members at one moment: who owns what, and the exporter to each. Replaced as a whole when members come or go.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::exporters::otlp::load_balancing::ring::Ring;
use crate::sending::Sending;

/// The way to one member: an exporter with a queue of its own.
pub struct MemberExporter {
    /// `host:port`
    pub endpoint: String,
    /// The exporter's id in metrics, as the Collector has it: `otlp_grpc/10.0.0.5:4317`.
    pub label: String,
    pub exporter: Arc<Sending>,
}

/// In the order of the ring.
#[derive(Default)]
pub struct Members {
    pub ring: Ring,
    pub each: Vec<Arc<MemberExporter>>,
}

/// What a new list of endpoints means.
pub struct Change {
    pub members: Members,
    /// Made for it and not started.
    pub come: Vec<Arc<MemberExporter>>,
    /// Not in it any more.
    pub gone: Vec<Arc<MemberExporter>>,
}

impl Members {
    /// The members of `endpoints`; those that are known stay as they are, those that cannot be made are left out. `None` when
    /// nothing changes.
    pub fn with(&self, endpoints: Vec<String>, make: impl Fn(&str) -> Option<Arc<MemberExporter>>) -> Option<Change> {
        let mut ring = Ring::new(endpoints);
        if ring == self.ring {
            return None;
        }
        let mut known: BTreeMap<&str, &Arc<MemberExporter>> =
            self.each.iter().map(|member| (member.endpoint.as_str(), member)).collect();
        let (mut each, mut come) = (Vec::new(), Vec::new());
        for endpoint in ring.members() {
            let Some(member) = known.remove(endpoint.as_str()).cloned().or_else(|| {
                let made = make(endpoint)?;
                come.push(made.clone()); // granted: as many as resolvers give, see ENDPOINTS_MAX
                Some(made)
            }) else {
                continue;
            };
            each.push(member); // granted: the same
        }
        if each.len() < ring.members().len() {
            ring = Ring::new(each.iter().map(|member| member.endpoint.clone()));
        }
        let gone = known.into_values().cloned().collect();
        Some(Change { members: Members { ring, each }, come, gone })
    }
}

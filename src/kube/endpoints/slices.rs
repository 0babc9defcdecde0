//! The endpoints of one service, from a watch of its EndpointSlices: pure, events in and a list out.
//!
//! An endpoint counts while it is ready (or serving, where that is all that is said) and does not terminate. A pod that has
//! an address of each family counts once, by IPv4 where it has one: two would be two members for one gateway.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use crate::kube::decode::{EndpointSlice, ServiceEndpoint};
use crate::kube::watch::{Effect, WatchCause, WatchHealth};

/// Slices of one service; more than a fleet's gateways need.
const SLICES_MAX: usize = 64;

/// What is known of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceState {
    /// In a fixed order; `None` until the first list.
    pub usable: Option<Vec<ServiceEndpoint>>,
    /// Why what is known may be old, as a sentence's end.
    pub trouble: Option<String>,
}

/// The slices of one service.
#[derive(Debug, Default)]
pub struct ServiceSlices {
    slices: BTreeMap<Arc<str>, Vec<ServiceEndpoint>>,
    is_listed: bool,
    trouble: Option<String>,
}

impl ServiceSlices {
    /// Takes in what the watch found; what has nothing to do with slices changes nothing.
    pub fn apply(&mut self, effect: Effect<EndpointSlice>) {
        match effect {
            Effect::Applied(slice) => self.insert(slice),
            Effect::Deleted { uid, .. } => drop(self.slices.remove(&uid)),
            Effect::Listed(slices) => {
                self.slices.clear();
                self.is_listed = true;
                slices.into_iter().for_each(|slice| self.insert(slice));
            }
            Effect::Report(health) => self.trouble = trouble(&health),
            Effect::RenewCredentials | Effect::Request(_) => {}
        }
    }

    fn insert(&mut self, slice: EndpointSlice) {
        if self.slices.len() < SLICES_MAX || self.slices.contains_key(&slice.uid) {
            self.slices.insert(slice.uid, slice.endpoints);
        }
    }

    pub fn state(&self) -> ServiceState {
        let trouble = self.trouble.clone();
        ServiceState { usable: self.is_listed.then(|| self.usable()), trouble }
    }

    /// Each pod once, in order of its uid. One that any slice calls terminating gets nothing new.
    fn usable(&self) -> Vec<ServiceEndpoint> {
        let is_ipv6 = |endpoint: &ServiceEndpoint| endpoint.address.parse::<Ipv4Addr>().is_err();
        let name = |endpoint: &ServiceEndpoint| match endpoint.pod.is_empty() {
            true => endpoint.address.clone(),
            false => endpoint.pod.clone(),
        };
        let mut all: Vec<(String, bool, &ServiceEndpoint)> =
            self.slices.values().flatten().map(|endpoint| (name(endpoint), is_ipv6(endpoint), endpoint)).collect();
        all.sort_unstable();
        let of_one = all.chunk_by(|one, other| one.0 == other.0);
        let usable = of_one.filter(|same| !same.iter().any(|(_, _, endpoint)| endpoint.terminating));
        let usable = usable.filter_map(|same| same.iter().map(|(_, _, endpoint)| *endpoint).find(|one| one.ready));
        usable.cloned().collect()
    }
}

fn trouble(health: &WatchHealth) -> Option<String> {
    match health {
        WatchHealth::Starting | WatchHealth::Fresh => None,
        WatchHealth::Stale(WatchCause::Forbidden { verb, message }) => Some(format!(
            "no right to {} endpointslices: grant get, list and watch on endpointslices of discovery.k8s.io, as \
             `podgate rbac` prints it ({message})",
            verb.name()
        )),
        WatchHealth::Stale(cause) => Some(cause.to_string()),
    }
}

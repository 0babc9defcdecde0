//! `k8s_attributes`: which pod and which run of which container made each resource.
//!
//! The Collector's processor of this name, with rules that are tried until a pod is found and with a ledger of runs in
//! place of the newest container id. It writes attributes and never drops, delays the rest of a request for one
//! resource, or guesses: a container.id that cannot be known is left out and counted with its reason.
//!
//! ```yaml
//! k8s_attributes:
//!   auth_type: serviceAccount
//!   filter: {node_from_env_var: OTEL_K8S_NODE_NAME}
//!   extract:
//!     metadata: [k8s.namespace.name, k8s.pod.name, k8s.pod.uid, k8s.node.name, k8s.container.name, container.id]
//!     labels: [{tag_name: app, key: app.kubernetes.io/name, from: pod}]
//!   pod_association:
//!     - sources: [{from: resource_attribute, name: k8s.pod.uid}]
//!     - sources: [{from: resource_attribute, name: k8s.pod.ip}]
//!     - sources: [{from: connection}]
//! ```

mod association;
mod bindings;
mod cluster;
mod config;
mod container;
mod enrich;
mod facts;
mod hold;
mod hub_cluster;
mod late;
mod peers;
mod plan;
mod pod;
mod report;
mod roles;
mod stage;
mod strangers;
#[cfg(test)]
mod tests;
mod times;
mod write;

pub use plan::FACTORY;

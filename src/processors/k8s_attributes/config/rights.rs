//! What a configuration reads of the Kubernetes API: pods always, other objects only for attributes that come from them.

use super::{Config, Field, FromObject};
use crate::core::stage::commands::access::Access;

const WATCH: &[&str] = &["get", "list", "watch"];
/// Single objects, and lists where many of a kind are wanted at once.
const READ: &[&str] = &["get", "list"];

/// A resource of the API, the metadata that needs it, and the objects of label and annotation rules that do.
struct Needs {
    group: &'static str,
    resource: &'static str,
    fields: &'static [Field],
    from: &'static [FromObject],
}

const NEEDS: [Needs; 8] = [
    Needs { group: "", resource: "namespaces", fields: &[Field::ClusterUid], from: &[FromObject::Namespace] },
    Needs { group: "", resource: "nodes", fields: &[Field::NodeUid], from: &[FromObject::Node] },
    Needs {
        group: "apps",
        resource: "replicasets",
        fields: &[Field::DeploymentUid],
        from: &[FromObject::ReplicaSet, FromObject::Deployment],
    },
    Needs { group: "apps", resource: "deployments", fields: &[], from: &[FromObject::Deployment] },
    Needs { group: "apps", resource: "statefulsets", fields: &[], from: &[FromObject::StatefulSet] },
    Needs { group: "apps", resource: "daemonsets", fields: &[], from: &[FromObject::DaemonSet] },
    Needs {
        group: "batch",
        resource: "jobs",
        fields: &[Field::CronJobUid],
        from: &[FromObject::Job, FromObject::CronJob],
    },
    Needs { group: "batch", resource: "cronjobs", fields: &[], from: &[FromObject::CronJob] },
];

impl Config {
    /// The rights without which something of it would stay empty; none where no API server is asked.
    pub fn rights(&self) -> Vec<Access> {
        if self.passthrough || self.own.pods_file.is_some() {
            return Vec::new();
        }
        let namespaces = &self.filter.namespaces;
        let pods = Access {
            group: "",
            resource: "pods",
            verbs: WATCH,
            namespaces: namespaces.clone(),
            reason: "the watch, and reads of single pods that prove which run is there".to_owned(),
        };
        let others = NEEDS.iter().filter_map(|needs| {
            let reason = self.reason(needs)?;
            let cluster_wide = matches!(needs.resource, "namespaces" | "nodes");
            let namespaces = if cluster_wide { Vec::new() } else { namespaces.clone() };
            Some(Access { group: needs.group, resource: needs.resource, verbs: READ, namespaces, reason })
        });
        [pods].into_iter().chain(others).collect()
    }

    /// True when attributes come from other objects than the pod.
    pub fn borrows(&self) -> bool {
        let by_name = [Field::DeploymentName, Field::CronJobName, Field::ServiceName];
        by_name.iter().any(|field| self.extract.has(*field)) || self.rights().len() > 1
    }

    fn reason(&self, needs: &Needs) -> Option<String> {
        let rules = || self.extract.labels.iter().chain(&self.extract.annotations);
        let fields = needs.fields.iter().filter(|field| self.extract.has(**field)).map(|field| field.name().to_owned());
        let from = needs.from.iter().filter(|from| rules().any(|rule| rule.from == **from));
        let from = from.map(|from| format!("labels or annotations from: {}", from.name()));
        let reasons: Vec<String> = fields.chain(from).collect();
        (!reasons.is_empty()).then(|| reasons.join(", "))
    }
}

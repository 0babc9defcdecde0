//! Who plays: eight pods of three deployments and a guest, and what each container says of itself.

use std::sync::Arc;

use bytes::Bytes;

use crate::lab::api_double::{MadePod, PodSpec, Sandbox};
use crate::lab::loadgen::generate::resource;
use crate::lab::loadgen::sender::LoadProtocol;

pub const NAMESPACE: &str = "shop";

/// One container that sends spans.
#[derive(Clone, Debug)]
pub struct Member {
    pub service: &'static str,
    pub tier: Tier,
    pub pod: MadePod,
    pub container: &'static str,
    /// Says `k8s.container.restart_count=0` for ever, as manifests do that cannot know better.
    pub says_zero: bool,
    pub protocol: LoadProtocol,
}

/// The place in a request's way through the shop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    Front,
    Checkout,
    Proxy,
    Payments,
}

struct Deployment {
    name: &'static str,
    pods: usize,
    containers: &'static [Part],
}

/// What a container plays.
struct Part {
    service: &'static str,
    container: &'static str,
    tier: Tier,
}

const DEPLOYMENTS: &[Deployment] = &[
    Deployment {
        name: "frontend",
        pods: 3,
        containers: &[Part { service: "frontend", container: "app", tier: Tier::Front }],
    },
    Deployment {
        name: "checkout",
        pods: 2,
        containers: &[
            Part { service: "checkout", container: "app", tier: Tier::Checkout },
            Part { service: "checkout-proxy", container: "proxy", tier: Tier::Proxy },
        ],
    },
    Deployment {
        name: "payments",
        pods: 2,
        containers: &[Part { service: "payments", container: "app", tier: Tier::Payments }],
    },
];

pub struct Cast {
    pub members: Vec<Member>,
    /// A pod for the application of whoever watches: nobody else sends for it.
    pub guest: MadePod,
}

impl Cast {
    /// Makes the pods in the sandbox.
    pub fn raise(sandbox: &Arc<Sandbox>) -> Cast {
        let mut members = Vec::new();
        for Deployment { name, pods, containers } in DEPLOYMENTS {
            let names: Vec<&str> = containers.iter().map(|part| part.container).collect();
            for number in 0..*pods {
                let pod = sandbox.add_pod(PodSpec::deployed(NAMESPACE, name, &names));
                let protocol = if number % 2 == 0 { LoadProtocol::Grpc } else { LoadProtocol::Http };
                members.extend(containers.iter().map(|part| Member {
                    service: part.service,
                    tier: part.tier,
                    pod: pod.clone(),
                    container: part.container,
                    says_zero: part.tier != Tier::Proxy,
                    protocol,
                }));
            }
        }
        let guest = sandbox.add_pod(PodSpec::deployed(NAMESPACE, "guest", &["app"]));
        Cast { members, guest }
    }
}

impl Member {
    /// What its SDK would send: identity from the downward API, a container name, at best a constant restart count.
    pub fn resource(&self) -> Bytes {
        let mut attributes = vec![
            ("service.name", self.service),
            ("service.namespace", NAMESPACE),
            ("service.version", "1.4.2"),
            ("deployment.environment.name", "demo"),
            ("k8s.pod.uid", self.pod.uid.as_str()),
            ("k8s.pod.name", self.pod.name.as_str()),
            ("k8s.namespace.name", NAMESPACE),
            ("k8s.container.name", self.container),
        ];
        if self.says_zero {
            attributes.push(("k8s.container.restart_count", "0"));
        }
        resource(&attributes)
    }
}

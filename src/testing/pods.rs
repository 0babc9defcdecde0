//! Pods under test: one of a workload `cart`, whose fields a test replaces where they matter to it.

use crate::core::time::UnixNanos;
use crate::kube::pod::{Container, ContainerKind, ContainerStatus, Ended, Phase, Pod, RunState};

/// The pod's.
pub const UID: &str = "8461c26d-fa60-490f-8b41-96a0b4d346d9";

/// A running pod of one container `app` in this state, created and started at `from`, without an owner.
pub fn pod(from: UnixNanos, status: ContainerStatus) -> Pod {
    Pod {
        uid: UID.into(),
        namespace: "shop".into(),
        name: "cart-1".into(),
        node: "node-a".into(),
        hostname: "".into(),
        host_network: false,
        host_ips: Vec::new(),
        ips: vec!["10.1.0.5".parse().expect("an address")],
        phase: Phase::Running,
        created: from,
        started: Some(from),
        deleting: None,
        owner: None,
        config_hash: None,
        labels: Vec::new(),
        annotations: Vec::new(),
        containers: vec![Container { name: "app".into(), image: "app:1".into(), kind: ContainerKind::Regular }],
        statuses: vec![status],
    }
}

/// The status of `app` in any state; `id` is the run's `container.id`.
pub fn status(id: &str, restart_count: i64, state: RunState, last: Option<Ended>) -> ContainerStatus {
    ContainerStatus {
        name: "app".into(),
        id: id.into(),
        restart_count,
        image: "app:1".into(),
        image_id: "".into(),
        state,
        last,
    }
}

/// As [`status`], of a run that goes on since `started`.
pub fn running(id: &str, restart_count: i64, started: UnixNanos, last: Option<Ended>) -> ContainerStatus {
    status(id, restart_count, RunState::Running { started: Some(started) }, last)
}

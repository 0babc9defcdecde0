//! The Collector's figures of a load balancer (loadbalancingexporter, `otelcol_loadbalancer_*`).

use std::sync::Arc;

use crate::core::report::stats::{Counter, Gauge, Stats};

pub struct BalancerMetrics {
    /// Members now.
    pub backends: Arc<Gauge>,
    /// Lists that were not as the one before.
    pub backend_updates: Arc<Counter>,
    pub resolved: Arc<Counter>,
    pub unresolved: Arc<Counter>,
    /// Items that another member got than the one that owned them first.
    pub moved: Arc<Counter>,
}

impl BalancerMetrics {
    /// `exporter` is the component's id, `resolver` the kind of what names the members.
    pub fn new(stats: &Stats, exporter: &str, resolver: &str) -> BalancerMetrics {
        let resolutions = |success| {
            stats.counter(
                "otelcol_loadbalancer_num_resolutions",
                "Times the resolver was asked.",
                &[("exporter", exporter), ("resolver", resolver), ("success", success)],
            )
        };
        BalancerMetrics {
            backends: stats.gauge(
                "otelcol_loadbalancer_num_backends",
                "Members that items are sent to now.",
                &[("exporter", exporter), ("resolver", resolver)],
            ),
            backend_updates: stats.counter(
                "otelcol_loadbalancer_num_backend_updates",
                "Times the list of members changed.",
                &[("exporter", exporter), ("resolver", resolver)],
            ),
            resolved: resolutions("true"),
            unresolved: resolutions("false"),
            moved: stats.counter(
                "podgate_load_balancing_moved",
                "Items that waited for a member that is gone and were given to another.",
                &[("exporter", exporter)],
            ),
        }
    }
}

//! `--unsupported=skip`: a Collector's configuration minus what podgate does not have, one warning for each thing left out.
//!
//! Unknown components go, keys that are not supported yet go, and pipelines that end up without receiver or exporter
//! go. A key that protects (tls, auth) is never merely left out: its component goes as a whole.

use std::collections::BTreeSet;

use crate::config::document::{Declared, Document, Named};
use crate::core::component::{ComponentId, Kind};
use crate::core::diagnostic::{Diagnostic, Diagnostics, Severity, code};
use crate::core::factory::{CheckContext, Checks};
use crate::core::node::{Node, Place, Value};
use crate::registry::{self, Match};

/// Component types of the Collector distributions that podgate does not have, so that a message can tell a foreign
/// component from a slip of the pen. Read from the distributions' lists of 2026-08.
const COLLECTORS: &[(Kind, &[&str])] = &[
    (
        Kind::Receiver,
        &[
            "prometheus",
            "jaeger",
            "zipkin",
            "file_log",
            "filelog",
            "kubelet_stats",
            "kubeletstats",
            "host_metrics",
            "hostmetrics",
            "receiver_creator",
            "k8s_cluster",
            "k8s_objects",
            "k8sobjects",
            "k8s_events",
            "journald",
            "statsd",
            "kafka",
            "opencensus",
            "fluentforward",
            "fluent_forward",
            "nginx",
            "redis",
            "postgresql",
            "docker_stats",
            "httpcheck",
            "http_check",
            "carbon",
            "signalfx",
            "syslog",
            "tcp_log",
            "tcplog",
            "udplog",
            "nop",
            "splunk_hec",
            "awsxray",
            "datadog",
            "loki",
            "webhookevent",
        ],
    ),
    (
        Kind::Processor,
        &[
            "span",
            "metricstransform",
            "metrics_transform",
            "groupbyattrs",
            "groupbytrace",
            "group_by_attrs",
            "group_by_trace",
            "redaction",
            "cumulative_to_delta",
            "cumulativetodelta",
            "deltatocumulative",
            "deltatorate",
            "metric_start_time",
            "metricstarttime",
            "gen_ai_normalizer",
            "elasticapm",
            "elastictrace",
            "log_dedup",
            "logdedup",
            "interval",
            "sumologic",
            "geoip",
            "remotetap",
            "logstransform",
            "metricsgeneration",
            "schema",
            "isolationforest",
            "dns_lookup",
            "unroll",
            "coralogix",
        ],
    ),
    (
        Kind::Exporter,
        &[
            "elasticsearch",
            "prometheus",
            "prometheusremotewrite",
            "prometheus_remote_write",
            "load_balancing",
            "loadbalancing",
            "kafka",
            "opensearch",
            "signalfx",
            "splunk_hec",
            "coralogix",
            "logzio",
            "awsemf",
            "awsxray",
            "datadog",
            "zipkin",
            "jaeger",
            "loki",
            "googlecloud",
            "googlemanagedprometheus",
            "sapm",
            "azuremonitor",
            "clickhouse",
            "influxdb",
            "sumologic",
            "otelarrow",
            "rabbitmq",
            "pulsar",
        ],
    ),
    (
        Kind::Connector,
        &[
            "span_metrics",
            "spanmetrics",
            "service_graph",
            "servicegraph",
            "routing",
            "count",
            "sum",
            "elasticapm",
            "failover",
            "exceptions",
            "grafanacloud",
            "signaltometrics",
            "roundrobin",
            "datadog",
        ],
    ),
    (
        Kind::Extension,
        &[
            "zpages",
            "pprof",
            "file_storage",
            "headers_setter",
            "k8s_observer",
            "k8s_leader_elector",
            "opamp",
            "memory_ballast",
            "bearertokenauth",
            "basicauth",
            "basic_auth",
            "bearer_token_auth",
            "oauth2client",
            "oidc",
            "sigv4auth",
            "health_check_v2",
            "healthcheckv2",
            "host_observer",
            "docker_observer",
            "http_forwarder",
            "memory_limiter",
            "storage",
            "apikeyauth",
            "ack",
            "cgroupruntime",
            "smartagent",
            "googleclientauth",
            "remotetap",
            "jaegerremotesampling",
            "encoding",
            "k8s_leader_election",
        ],
    ),
];

/// True for a component type that a Collector distribution has.
pub fn is_collectors(kind: Kind, component_type: &str) -> bool {
    COLLECTORS.iter().any(|(of, names)| *of == kind && names.contains(&component_type))
}

/// The document without what podgate does not have.
pub fn without(mut document: Document, diagnostics: &Diagnostics) -> Document {
    diagnostics.soften(code::NOT_YET);
    let declared: BTreeSet<(Kind, ComponentId)> =
        document.components.iter().map(|declared| (declared.kind, declared.id.clone())).collect();
    let mut gone: BTreeSet<(Kind, ComponentId)> = BTreeSet::new();
    for declared in &mut document.components {
        if let Some(why) = trim(declared, diagnostics) {
            warn(diagnostics, declared.place, path_of(declared), format!("left out: {why}"));
            gone.insert((declared.kind, declared.id.clone()));
        }
    }
    document.components.retain(|declared| !gone.contains(&(declared.kind, declared.id.clone())));
    let is_gone = |kinds: &[Kind], named: &Named| kinds.iter().any(|kind| gone.contains(&(*kind, named.id.clone())));
    document.extensions.retain(|named| !is_gone(&[Kind::Extension], named));
    for pipeline in &mut document.pipelines {
        pipeline.receivers.retain(|named| !is_gone(&[Kind::Receiver, Kind::Connector], named));
        pipeline.processors.retain(|named| !is_gone(&[Kind::Processor], named));
        pipeline.exporters.retain(|named| !is_gone(&[Kind::Exporter, Kind::Connector], named));
    }
    for pipeline in &mut document.pipelines {
        let path = format!("service::pipelines::{}", pipeline.name);
        let foreign = Foreign { declared: &declared, path, diagnostics };
        foreign.leave_out(&[Kind::Receiver, Kind::Connector], &mut pipeline.receivers);
        foreign.leave_out(&[Kind::Processor], &mut pipeline.processors);
        foreign.leave_out(&[Kind::Exporter, Kind::Connector], &mut pipeline.exporters);
    }
    drop_emptied(&mut document, diagnostics);
    document
}

/// References to components that podgate does not have and that nobody declared: an overlay read without its base.
struct Foreign<'a> {
    declared: &'a BTreeSet<(Kind, ComponentId)>,
    path: String,
    diagnostics: &'a Diagnostics,
}

impl Foreign<'_> {
    fn leave_out(&self, kinds: &[Kind], names: &mut Vec<Named>) {
        names.retain(|named| {
            let known = |kind: &Kind| {
                let abouts = registry::about().into_iter().filter(|(of, _)| of == kind).map(|(_, about)| about);
                self.declared.contains(&(*kind, named.id.clone()))
                    || registry::find(abouts, &named.id.component_type).is_some()
            };
            let keep = kinds.iter().any(known);
            if !keep {
                let message = format!("left out: `{}` is not declared, and podgate does not have it", named.id);
                warn(self.diagnostics, named.place, self.path.clone(), message);
            }
            keep
        });
    }
}

/// A pipeline without an end goes; so may then the connector it shared with another one, hence the loop.
fn drop_emptied(document: &mut Document, diagnostics: &Diagnostics) {
    loop {
        let before = document.pipelines.len();
        document.pipelines.retain(|pipeline| {
            let missing = match (pipeline.receivers.is_empty(), pipeline.exporters.is_empty()) {
                (false, false) => return true,
                (true, false) => "receiver",
                (false, true) => "exporter",
                (true, true) => "receiver and no exporter",
            };
            let path = format!("service::pipelines::{}", pipeline.name);
            warn(diagnostics, pipeline.place, path, format!("pipeline left out: it has no {missing} left"));
            false
        });
        let connectors: Vec<ComponentId> = document
            .components
            .iter()
            .filter(|declared| declared.kind == Kind::Connector)
            .map(|declared| declared.id.clone())
            .collect();
        for id in connectors {
            let feeds = document.pipelines.iter().any(|pipeline| pipeline.receivers.iter().any(|named| named.id == id));
            let is_fed =
                document.pipelines.iter().any(|pipeline| pipeline.exporters.iter().any(|named| named.id == id));
            if feeds != is_fed {
                for pipeline in &mut document.pipelines {
                    pipeline.receivers.retain(|named| named.id != id);
                    pipeline.exporters.retain(|named| named.id != id);
                }
            }
        }
        if document.pipelines.len() == before
            && document
                .pipelines
                .iter()
                .all(|pipeline| !pipeline.receivers.is_empty() && !pipeline.exporters.is_empty())
        {
            return;
        }
    }
}

/// Removes keys that are not supported yet; the reason when the whole component has to go.
fn trim(declared: &mut Declared, diagnostics: &Diagnostics) -> Option<String> {
    let component_type = declared.id.component_type.clone();
    let kind = declared.kind;
    let abouts = registry::about().into_iter().filter(|(of, _)| *of == kind).map(|(_, about)| about);
    let Some(Match::Name(at) | Match::Alias(at, _)) = registry::find(abouts, &component_type) else {
        return Some(format!("podgate does not have the {} `{component_type}`", kind.name()));
    };
    // The last first, so that places in lists stay right.
    for finding in not_yet(declared, at).into_iter().rev() {
        let key = finding.path.rsplit("::").next().unwrap_or_default().to_owned();
        if matches!(key.as_str(), "tls" | "auth") {
            return Some(format!("its `{key}` is not supported yet, and it must not run without"));
        }
        let inside = finding.path.strip_prefix(&format!("{}::", path_of(declared))).unwrap_or_default().to_owned();
        let keys: Vec<&str> = inside.split("::").collect();
        if inside.is_empty() || !remove(&mut declared.body, &keys) {
            return Some(finding.message);
        }
        diagnostics.push(Diagnostic {
            code: code::SKIPPED,
            severity: Severity::Warning,
            message: match key.parse::<usize>() {
                Ok(_) => format!("left out: {}", finding.message),
                Err(_) => format!("`{key}` left out: it is not supported yet"),
            },
            expected: None,
            help: None,
            ..finding
        });
    }
    None
}

/// The component's findings that something is not supported yet, from a check of its own.
fn not_yet(declared: &Declared, at: usize) -> Vec<Diagnostic> {
    let checks = Checks::default();
    let cx = CheckContext { id: &declared.id, path: path_of(declared), place: declared.place, checks: &checks };
    match declared.kind {
        Kind::Receiver => drop((registry::RECEIVERS[at].check)(&cx, &declared.body)),
        Kind::Processor => drop((registry::PROCESSORS[at].check)(&cx, &declared.body)),
        Kind::Exporter => drop((registry::EXPORTERS[at].check)(&cx, &declared.body)),
        Kind::Connector => drop((registry::CONNECTORS[at].check)(&cx, &declared.body)),
        Kind::Extension => drop((registry::EXTENSIONS[at].check)(&cx, &declared.body)),
    }
    checks.diagnostics.sorted().into_iter().filter(|finding| finding.code == code::NOT_YET).collect()
}

/// Removes the value at a path of keys and list positions; false when there is none.
fn remove(node: &mut Node, keys: &[&str]) -> bool {
    let Some((first, rest)) = keys.split_first() else { return false };
    match &mut node.value {
        Value::Map(entries) => {
            let Some(at) = entries.iter().position(|entry| entry.key == *first) else { return false };
            if rest.is_empty() {
                entries.remove(at);
                return true;
            }
            remove(&mut entries[at].value, rest)
        }
        Value::List(items) => {
            let Some(at) = first.parse::<usize>().ok().filter(|at| *at < items.len()) else { return false };
            if rest.is_empty() {
                items.remove(at);
                return true;
            }
            remove(&mut items[at], rest)
        }
        _ => false,
    }
}

fn path_of(declared: &Declared) -> String {
    format!("{}::{}", declared.kind.section(), declared.id)
}

fn warn(diagnostics: &Diagnostics, place: Place, path: String, message: String) {
    diagnostics.push(Diagnostic {
        code: code::SKIPPED,
        severity: Severity::Warning,
        place: Some(place),
        path,
        message,
        expected: None,
        help: None,
    });
}

//! Names of the semantic conventions and what the Elastic Common Schema calls them: the tables of the Collector's
//! exporter.

/// What becomes of an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rename {
    Keep,
    Drop,
    To(&'static str),
    /// Under both names, unless the other one is taken by an attribute.
    Also(&'static str),
}

/// What attributes are called, and all those names.
macro_rules! names {
    ($of:ident, $all:ident: $($($key:literal)|+ => $to:literal,)+) => {
        fn $of(key: &[u8]) -> Option<&'static str> {
            match key {
                $($($key)|+ => Some($to),)+
                _ => None,
            }
        }

        const $all: &[&str] = &[$($to),+];
    };
}

names! { resource_name, RESOURCE:
    b"service.instance.id" => "service.node.name",
    b"deployment.environment" | b"deployment.environment.name" => "service.environment",
    b"telemetry.sdk.language" => "service.language.name",
    b"telemetry.sdk.version" => "service.language.version",
    b"cloud.platform" => "cloud.service.name",
    b"container.image.tags" => "container.image.tag",
    b"host.arch" => "host.architecture",
    b"process.parent_pid" => "process.parent.pid",
    b"process.executable.name" => "process.title",
    b"process.executable.path" => "process.executable",
    b"process.command_line" => "process.args",
    b"process.runtime.name" => "service.runtime.name",
    b"process.runtime.version" => "service.runtime.version",
    b"os.name" => "host.os.name",
    b"os.type" => "host.os.platform",
    b"os.description" => "host.os.full",
    b"os.version" => "host.os.version",
    b"client.address" => "client.ip",
    b"source.address" => "source.ip",
    b"faas.instance" => "faas.id",
    b"faas.trigger" => "faas.trigger.type",
    b"k8s.deployment.name" => "kubernetes.deployment.name",
    b"k8s.namespace.name" => "kubernetes.namespace",
    b"k8s.node.name" => "kubernetes.node.name",
    b"k8s.pod.name" => "kubernetes.pod.name",
    b"k8s.pod.uid" => "kubernetes.pod.uid",
    b"k8s.job.name" => "kubernetes.job.name",
    b"k8s.cronjob.name" => "kubernetes.cronjob.name",
    b"k8s.statefulset.name" => "kubernetes.statefulset.name",
    b"k8s.replicaset.name" => "kubernetes.replicaset.name",
    b"k8s.daemonset.name" => "kubernetes.daemonset.name",
    b"k8s.container.name" => "kubernetes.container.name",
    b"k8s.cluster.name" => "orchestrator.cluster.name",
}

names! { span_name, SPAN:
    b"db.system" => "span.db.type",
    b"db.namespace" => "span.db.instance",
    b"db.query.text" => "span.db.statement",
    b"http.response.body.size" => "http.response.encoded_body_size",
}

names! { event_name, EVENT:
    b"exception.type" => "error.exception.type",
    b"exception.message" => "error.exception.message",
    b"exception.stacktrace" => "error.stack_trace",
}

names! { record_name, RECORD:
    b"event.name" => "event.action",
    b"exception.message" => "error.message",
    b"exception.stacktrace" => "error.stacktrace",
    b"exception.type" => "error.type",
    b"exception.escaped" => "event.error.exception.handled",
    b"http.response.body.size" => "http.response.encoded_body_size",
}

const HOST_NAME: &str = "host.hostname";

/// Attributes of a resource.
pub fn of_resource(key: &[u8]) -> Rename {
    match key {
        b"telemetry.sdk.name" | b"telemetry.distro.name" | b"telemetry.distro.version" => Rename::Drop,
        b"host.name" => Rename::Also(HOST_NAME),
        _ => to(resource_name(key)),
    }
}

/// Attributes of a span.
pub fn of_span(key: &[u8]) -> Rename {
    to(span_name(key))
}

/// Attributes of an event of a span.
pub fn of_event(key: &[u8]) -> Rename {
    match key {
        // Elasticsearch works `error.grouping_name` out by itself and takes it from nobody.
        b"exception.escaped" | b"error.grouping_name" => Rename::Drop,
        _ => to(event_name(key)),
    }
}

/// Attributes of a log record.
pub fn of_record(key: &[u8]) -> Rename {
    to(record_name(key))
}

/// Attributes of a data point.
pub fn of_nothing(_: &[u8]) -> Rename {
    Rename::Keep
}

fn to(name: Option<&'static str>) -> Rename {
    name.map_or(Rename::Keep, Rename::To)
}

/// The schema's name for something: its value stays as it is in a document, and what lies below such a path has no field.
pub fn is_fixed(path: &[u8]) -> bool {
    path == HOST_NAME.as_bytes() || holds(RESOURCE, path)
}

pub fn is_fixed_in_span(path: &[u8]) -> bool {
    is_fixed(path) || holds(SPAN, path)
}

pub fn is_fixed_in_event(path: &[u8]) -> bool {
    is_fixed(path) || holds(EVENT, path)
}

pub fn is_fixed_in_record(path: &[u8]) -> bool {
    is_fixed(path) || holds(RECORD, path)
}

fn holds(names: &[&str], path: &[u8]) -> bool {
    names.iter().any(|name| name.as_bytes() == path)
}

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

/// Attributes of a resource.
pub fn of_resource(key: &[u8]) -> Rename {
    let name = match key {
        b"telemetry.sdk.name" | b"telemetry.distro.name" | b"telemetry.distro.version" => return Rename::Drop,
        b"host.name" => return Rename::Also("host.hostname"),
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
        _ => return of_kubernetes(key),
    };
    Rename::To(name)
}

fn of_kubernetes(key: &[u8]) -> Rename {
    let name = match key {
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
        _ => return Rename::Keep,
    };
    Rename::To(name)
}

/// Attributes of a span.
pub fn of_span(key: &[u8]) -> Rename {
    match key {
        b"db.system" => Rename::To("span.db.type"),
        b"db.namespace" => Rename::To("span.db.instance"),
        b"db.query.text" => Rename::To("span.db.statement"),
        b"http.response.body.size" => Rename::To("http.response.encoded_body_size"),
        _ => Rename::Keep,
    }
}

/// Attributes of an event of a span.
pub fn of_event(key: &[u8]) -> Rename {
    match key {
        b"exception.type" => Rename::To("error.exception.type"),
        b"exception.message" => Rename::To("error.exception.message"),
        b"exception.stacktrace" => Rename::To("error.stack_trace"),
        b"exception.escaped" => Rename::Drop,
        _ => Rename::Keep,
    }
}

/// Attributes of a log record.
pub fn of_record(key: &[u8]) -> Rename {
    match key {
        b"event.name" => Rename::To("event.action"),
        b"exception.message" => Rename::To("error.message"),
        b"exception.stacktrace" => Rename::To("error.stacktrace"),
        b"exception.type" => Rename::To("error.type"),
        b"exception.escaped" => Rename::To("event.error.exception.handled"),
        b"http.response.body.size" => Rename::To("http.response.encoded_body_size"),
        _ => Rename::Keep,
    }
}

/// Attributes of a data point.
pub fn of_nothing(_: &[u8]) -> Rename {
    Rename::Keep
}

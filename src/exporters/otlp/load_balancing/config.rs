//! The keys of `load_balancing`, the Collector's (loadbalancingexporter v0.160): what is routed by, who the members are, and
//! how each is spoken to.

use std::time::Duration;

use crate::config::check::Section;
use crate::core::data::payload::Signal;
use crate::core::node::{Entry, Node, Value};
use crate::core::stage::factory::CheckContext;
use crate::exporters::otlp::config::{OtlpSettings, grpc};
use crate::exporters::otlp::load_balancing::limits::{ENDPOINTS_MAX, OTLP_PORT};
use crate::exporters::otlp::load_balancing::resolver::k8s::ServiceResolver;
use crate::exporters::otlp::load_balancing::route::RoutingKey;
use crate::net::client::target::Target;

/// What stands beside `protocol` holds for every member, unless it is said there.
const FOR_EACH: [&str; 3] = ["timeout", "retry_on_failure", "sending_queue"];

/// Checked settings.
#[derive(Clone, Debug)]
pub struct BalancerSettings {
    /// `None`: by trace, metrics by service.
    pub key: Option<RoutingKey>,
    pub resolver: ResolverSettings,
    /// With a target that is replaced by each member's, and a queue in memory.
    pub member: OtlpSettings,
    /// The id of the log on disk in which the balancer keeps what it divides.
    pub storage: Option<String>,
}

/// Who names the members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResolverSettings {
    /// `host:port` of each.
    Static(Vec<String>),
    /// Every address of a name.
    Dns { hostname: String, port: u16, interval: Duration, timeout: Duration },
    /// Every endpoint of a service.
    K8s(ServiceResolver),
}

impl BalancerSettings {
    /// What items of a signal are routed by.
    pub fn key_of(&self, signal: Signal) -> RoutingKey {
        let default = if signal == Signal::Metrics { RoutingKey::Service } else { RoutingKey::TraceId };
        self.key.clone().unwrap_or(default)
    }

    /// Why a signal's items cannot be routed by the key that is configured.
    pub fn unfit(&self, signal: Signal) -> Option<String> {
        let key = self.key_of(signal);
        let fits = match key {
            RoutingKey::TraceId => signal != Signal::Metrics,
            RoutingKey::Metric | RoutingKey::StreamId => signal == Signal::Metrics,
            RoutingKey::Service | RoutingKey::Resource | RoutingKey::Attributes(_) => true,
        };
        (!fits).then(|| format!("`routing_key` is {:?}, which {} do not have", name_of(&key), signal.name()))
    }
}

type MakeKey = fn() -> RoutingKey;

const KEYS: &[(&str, MakeKey)] = &[
    ("traceID", || RoutingKey::TraceId),
    ("service", || RoutingKey::Service),
    ("resource", || RoutingKey::Resource),
    ("metric", || RoutingKey::Metric),
    ("streamID", || RoutingKey::StreamId),
    ("attributes", || RoutingKey::Attributes(Vec::new())),
];

fn name_of(key: &RoutingKey) -> &'static str {
    let same = |made: RoutingKey| std::mem::discriminant(&made) == std::mem::discriminant(key);
    KEYS.iter().find(|(_, make)| same(make())).map_or("", |(name, _)| *name)
}

/// Checks a body; `None` after at least one error.
pub fn check(cx: &CheckContext<'_>, node: &Node) -> Option<BalancerSettings> {
    let keys = Section::new(node, cx.path.clone(), &cx.checks.diagnostics);
    let key = routing_key(&keys);
    let resolver = resolver(&keys);
    let member = member(cx, &keys);
    keys.finish();
    let mut member = member?;
    // A member comes and goes, and with it whoever could take up its queue: the balancer keeps what it divides.
    let storage = member.sending.queue.as_mut().and_then(|queue| queue.storage.take());
    Some(BalancerSettings { key: key?, resolver: resolver?, member, storage })
}

/// `Some(None)` where nothing is written.
fn routing_key(keys: &Section<'_>) -> Option<Option<RoutingKey>> {
    let names = keys.strings("routing_attributes").unwrap_or_default();
    let written = keys.node("routing_key").is_some_and(|node| !node.is_null());
    let key = keys.choice("routing_key", KEYS).map(|make| make());
    match key {
        Some(RoutingKey::Attributes(_)) if names.is_empty() => {
            keys.missing("routing_attributes", "the names of the attributes, such as [service.name, session.id]")
        }
        Some(RoutingKey::Attributes(_)) => Some(Some(RoutingKey::Attributes(names))),
        key => {
            if !names.is_empty() {
                keys.without_effect("routing_attributes", "`routing_key` is not `attributes`");
            }
            (key.is_some() || !written).then_some(key)
        }
    }
}

fn resolver(keys: &Section<'_>) -> Option<ResolverSettings> {
    const EXPECTED: &str = "one of static {hostnames: [...]}, dns {hostname: ...} and k8s {service: ...}";
    let Some(keys) = keys.section("resolver") else { return keys.missing("resolver", EXPECTED) };
    keys.not_yet(&["aws_cloud_map"]);
    let is_refused = keys.node("aws_cloud_map").is_some();
    type Read = fn(&Section<'_>) -> Option<ResolverSettings>;
    let kinds: [(&str, Read); 3] = [
        ("static", hostnames),
        ("dns", dns_of),
        ("k8s", |keys| ServiceResolver::check(keys).map(ResolverSettings::K8s)),
    ];
    let written: Vec<_> = kinds.iter().filter_map(|(key, read)| Some((*key, read, keys.section(key)?))).collect();
    let found = match written.len() {
        0 if is_refused => None,
        0 => keys.missing("static", EXPECTED),
        1 => written.into_iter().next().and_then(|(_, read, section)| {
            let found = read(&section);
            section.finish();
            found
        }),
        _ => {
            let last = written.last().map_or("dns", |(key, ..)| *key);
            keys.invalid(last, "two resolvers name the members", EXPECTED)
        }
    };
    keys.finish();
    found
}

fn hostnames(keys: &Section<'_>) -> Option<ResolverSettings> {
    const EXPECTED: &str = "host or host:port of each member, such as [gateway-0:4317, gateway-1:4317]";
    let written = keys.strings("hostnames").unwrap_or_default();
    if written.is_empty() {
        return keys.missing("hostnames", EXPECTED);
    }
    if written.len() > ENDPOINTS_MAX {
        return keys.invalid("hostnames", format!("{} members", written.len()), "at most 1024 of them");
    }
    let read = written.iter().map(|host| with_port(host, OTLP_PORT));
    match read.collect::<Result<Vec<_>, _>>() {
        Ok(hosts) => Some(ResolverSettings::Static(hosts)),
        Err(why) => keys.invalid("hostnames", why, EXPECTED),
    }
}

/// `host:port`, however it was written.
fn with_port(host: &str, port: u16) -> Result<String, String> {
    let bare = !host.contains("://") && (!host.contains(':') || host.ends_with(']'));
    let text = if bare { format!("{host}:{port}") } else { host.to_owned() };
    let target = Target::parse(&text, None)?;
    Ok(target.authority().to_string())
}

fn dns_of(keys: &Section<'_>) -> Option<ResolverSettings> {
    let port = match keys.string("port") {
        None => Some(OTLP_PORT),
        Some(text) => match text.parse::<u16>() {
            Ok(port @ 1..) => Some(port),
            _ => keys.invalid("port", format!("{text:?} is no port"), "a number from 1 to 65535"),
        },
    };
    let interval = positive(keys, "interval", Duration::from_secs(5));
    let timeout = positive(keys, "timeout", Duration::from_secs(1));
    let Some(hostname) = keys.string("hostname").filter(|name| !name.is_empty()) else {
        return keys.missing("hostname", "a name that has the address of every member, such as a headless Service's");
    };
    if let Err(why) = with_port(&hostname, OTLP_PORT) {
        return keys.invalid("hostname", why, "a name without a port");
    }
    Some(ResolverSettings::Dns { hostname, port: port?, interval: interval?, timeout: timeout? })
}

fn positive(keys: &Section<'_>, key: &str, default: Duration) -> Option<Duration> {
    match keys.duration(key) {
        Some(Duration::ZERO) => keys.invalid(key, format!("`{key}` is 0"), "a duration such as 5s"),
        written => Some(written.unwrap_or(default)),
    }
}

/// `protocol: {otlp: ...}`: an `otlp_grpc` exporter without an endpoint.
fn member(cx: &CheckContext<'_>, keys: &Section<'_>) -> Option<OtlpSettings> {
    let outer: Vec<Entry> = FOR_EACH.iter().filter_map(|key| entry(keys, key)).collect();
    let protocol = keys.section("protocol");
    let otlp = protocol.as_ref().and_then(|protocol| protocol.section("otlp"));
    let (body, place, path) = match &otlp {
        Some(otlp) => (otlp.entries(), otlp.place(), otlp.path().to_owned()),
        None => (&[][..], keys.place(), keys.child_path("protocol::otlp")),
    };
    if let Some(otlp) = &otlp {
        otlp.without_effect("endpoint", "the resolver names the members");
        outer.iter().filter(|entry| otlp.node(&entry.key).is_some()).for_each(|entry| {
            keys.without_effect(&entry.key, "`protocol::otlp` has a key of its own for it");
        });
    }
    let is_own = |entry: &&Entry| body.iter().all(|own| own.key != entry.key);
    let mut entries: Vec<Entry> = body.iter().filter(|entry| entry.key != "endpoint").cloned().collect();
    entries.extend(outer.iter().filter(is_own).cloned()); // granted: the configuration's own keys
    // Stands for every member's in the check.
    let target = Node::new(Value::String(format!("localhost:{OTLP_PORT}")), place);
    entries.push(Entry { key: "endpoint".to_owned(), key_place: place, value: target });
    let node = Node::new(Value::Map(entries), place);
    let settings = grpc(&CheckContext { id: cx.id, path, place, checks: cx.checks }, &node);
    protocol.into_iter().for_each(Section::finish);
    settings
}

fn entry(keys: &Section<'_>, key: &str) -> Option<Entry> {
    let value = keys.node(key)?.clone();
    Some(Entry { key: key.to_owned(), key_place: keys.place_of(key), value })
}

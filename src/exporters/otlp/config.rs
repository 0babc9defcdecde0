//! The keys of `otlp_grpc` and `otlp_http`, checked into what builds them. Names and defaults are the Collector's
//! (configgrpc, confighttp); keys of ours stand in the `podgate` block.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::HeaderMap;

use crate::config::auth::authenticator;
use crate::config::check::Section;
use crate::config::client::{CompressionKey, TlsKeys, compression, headers, tls};
use crate::config::value::address;
use crate::core::data::payload::Signal;
use crate::core::diagnostic::code;
use crate::core::node::{Node, Value};
use crate::core::stage::auth::AuthSide;
use crate::core::stage::factory::{CheckContext, Checks};
use crate::exporters::otlp::preset::{Beside, Preset};
use crate::net::client::compress::Compression;
use crate::net::client::connect::proxy::{Proxy, proxy_for};
use crate::net::client::settings::{AGE_MAX, Balancer, ClientHttp, ClientSettings, Keepalive, TlsSettings};
use crate::net::client::target::{Scheme, Target};
use crate::sending::config::SendingSettings;

const AGES: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_secs(86_400);
/// More often, a next hop ends the connection (grpc-go refuses to send more often, too).
const PING_EVERY_MIN: Duration = Duration::from_secs(10);
const NO_TIMEOUT: Duration = Duration::from_secs(3_600);
/// APM Server's port; its habits are expected there unless the configuration says otherwise.
const APM_SERVER_PORT: u16 = 8200;

/// A checked OTLP exporter.
#[derive(Clone, Debug)]
pub struct OtlpSettings {
    /// One for gRPC and for HTTP with one endpoint; else the endpoint of each signal.
    pub clients: Vec<ClientSettings>,
    /// Which client and path serve a signal; `None` when it has no endpoint.
    pub routes: [Option<Route>; 4],
    pub compression: Compression,
    pub headers: HeaderMap,
    /// The id of the authenticator.
    pub auth: Option<String>,
    pub preset: Preset,
    pub sending: SendingSettings,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub client: usize,
    /// HTTP only; gRPC paths are fixed.
    pub path: String,
}

/// What both exporters have in common.
struct Common {
    tls: TlsKeys,
    headers: HeaderMap,
    auth: Option<String>,
    compression: Compression,
    sending: SendingSettings,
    connections: usize,
    age_max: Duration,
    /// As written; else it is guessed from the port.
    preset: Option<Preset>,
}

fn common(keys: &Section<'_>, checks: &Checks, timeout: Duration, is_grpc: bool) -> Common {
    keys.not_yet(&["middlewares"]);
    let auth = authenticator(keys, checks, AuthSide::Client);
    let own = keys.section("podgate");
    let (mut connections, mut age_max, mut preset) = (1, AGE_MAX, None);
    if let Some(own) = own {
        connections = own.usize("connections").unwrap_or(1);
        if !(1..=64).contains(&connections) {
            own.invalid::<()>("connections", format!("{connections} connections"), "a number from 1 to 64");
        }
        age_max = own.duration("connection_age").unwrap_or(AGE_MAX);
        if !AGES.contains(&age_max) {
            own.invalid::<()>("connection_age", format!("{age_max:?} is outside"), "a duration from 10s to 24h");
        }
        preset = Preset::read(&own);
        own.finish();
    }
    let compression = compressed(keys, is_grpc);
    let sending = SendingSettings::check(keys, checks, preset.unwrap_or_default().timeout(timeout));
    let sending = within(keys, sending);
    Common { tls: tls(keys), headers: headers(keys), auth, compression, sending, connections, age_max, preset }
}

/// gRPC's snappy is the framed form under the plain name, HTTP's a block, as the Collector has them.
fn compressed(keys: &Section<'_>, is_grpc: bool) -> Compression {
    let written = compression(keys, is_grpc);
    let level = written.level.unwrap_or(1);
    let deflate = u32::try_from(level).unwrap_or(1);
    match written.kind {
        CompressionKey::None => Compression::None,
        CompressionKey::Gzip => Compression::Gzip(deflate),
        CompressionKey::Zstd => Compression::Zstd(level),
        CompressionKey::Zlib => Compression::Zlib("zlib", deflate),
        CompressionKey::Deflate => Compression::Zlib("deflate", deflate),
        CompressionKey::Snappy if is_grpc => Compression::SnappyFramed("snappy"),
        CompressionKey::Snappy => Compression::SnappyBlock,
        CompressionKey::SnappyFramed => Compression::SnappyFramed("x-snappy-framed"),
    }
}

/// No timeout in the Collector; every wait of ours has an end.
fn within(keys: &Section<'_>, sending: SendingSettings) -> SendingSettings {
    if !sending.timeout.is_zero() {
        return sending;
    }
    let message = "`timeout: 0` waits without end in the Collector; here an attempt ends after an hour";
    keys.warn("timeout", code::LINT, message, Some("write the time that an answer may take, such as 30s"));
    SendingSettings { timeout: NO_TIMEOUT, ..sending }
}

/// Without the key it is round_robin; an empty name is what gRPC does by itself.
const BALANCERS: &[(&str, Balancer)] =
    &[("round_robin", Balancer::RoundRobin), ("pick_first", Balancer::PickFirst), ("", Balancer::PickFirst)];

/// Checks an `otlp_grpc` body.
pub fn grpc(cx: &CheckContext<'_>, node: &Node) -> Option<OtlpSettings> {
    let keys = Section::new(node, cx.path.clone(), &cx.checks.diagnostics);
    let common = common(&keys, cx.checks, Duration::from_secs(5), true);
    keys.not_yet(&["authority", "dialer"]);
    for (key, why) in [
        ("wait_for_ready", "requests wait for a connection within their timeout, then are retried"),
        ("read_buffer_size", "buffers grow as needed"),
        ("write_buffer_size", "slices are written as they are"),
        ("user_agent", "requests say podgate"),
    ] {
        keys.without_effect(key, why);
    }
    let balance = keys.choice("balancer_name", BALANCERS).unwrap_or(Balancer::RoundRobin);
    let keepalive = keys.section("keepalive").map(|keys| {
        let interval = keys.duration("time").unwrap_or(PING_EVERY_MIN);
        if interval < PING_EVERY_MIN {
            keys.warn(
                "time",
                code::LINT,
                "pings are 10s apart at least: this is taken as 10s",
                Some("write 10s or more"),
            );
        }
        let read = Keepalive {
            interval: interval.max(PING_EVERY_MIN),
            timeout: keys.duration("timeout").unwrap_or(Duration::from_secs(20)),
            while_idle: keys.bool("permit_without_stream").unwrap_or(false),
        };
        keys.finish();
        read
    });
    let target = endpoint(&keys, "endpoint", None);
    if keys.node("endpoint").is_none_or(Node::is_null) {
        keys.missing::<()>("endpoint", "host:port of an OTLP/gRPC receiver, such as gateway:4317");
    }
    if target.as_ref().is_some_and(|target| target.scheme == Scheme::Http) && !common.tls.insecure {
        let message =
            "TLS is spoken to this endpoint all the same: a gRPC exporter sends plainly only by tls: {insecure: true}";
        keys.warn("endpoint", code::LINT, message, Some("add tls: {insecure: true}, or leave out `http://`"));
    }
    if target.as_ref().is_some_and(|target| !target.path.trim_matches('/').is_empty()) {
        keys.invalid::<()>("endpoint", "a gRPC endpoint has no path", "host:port");
    }
    let checked = target.map(|target| {
        let wanted = client(target, ClientHttp::Http2, &common);
        let proxy = proxy_of(&keys, cx.checks, &wanted);
        let clients = vec![ClientSettings { keepalive, balance, proxy, ..wanted }];
        let routes = std::array::from_fn(|_| Some(Route { client: 0, path: String::new() }));
        settings(&keys, common, clients, routes)
    });
    keys.finish();
    checked
}

const PATHS: [(&str, &str); 4] = [
    ("traces_endpoint", "/v1/traces"),
    ("metrics_endpoint", "/v1/metrics"),
    ("logs_endpoint", "/v1/logs"),
    ("profiles_endpoint", "/v1development/profiles"),
];

/// Checks an `otlp_http` body.
pub fn http(cx: &CheckContext<'_>, node: &Node) -> Option<OtlpSettings> {
    let keys = Section::new(node, cx.path.clone(), &cx.checks.diagnostics);
    let common = common(&keys, cx.checks, Duration::from_secs(30), false);
    keys.not_yet(&["dialer", "cookies", "force_attempt_http2", "http2_read_idle_timeout"]);
    for key in
        ["read_buffer_size", "write_buffer_size", "max_idle_conns", "max_idle_conns_per_host", "http2_ping_timeout"]
    {
        keys.without_effect(key, "buffers and idle connections are sized as needed");
    }
    let http1_max = keys.usize("max_conns_per_host").filter(|max| *max > 0).unwrap_or(64);
    let idle_timeout = keys.duration("idle_conn_timeout").filter(|idle| !idle.is_zero());
    keys.without_effect("disable_keep_alives", "connections are kept and reused");
    if keys.string("encoding").is_some_and(|encoding| encoding == "json") {
        keys.error("encoding", code::NOT_YET, "`encoding: json` is not supported yet", Some("use proto, the default"));
    } else {
        keys.choice("encoding", &[("proto", ())]);
    }
    let base = endpoint(&keys, "endpoint", Some(url_port));
    let own = PATHS.map(|(key, _)| endpoint(&keys, key, Some(url_port)));
    let written =
        |key| keys.node(key).is_some_and(|node| !node.is_null() && node.value != Value::String(String::new()));
    if !written("endpoint") && !PATHS.iter().any(|(key, _)| written(key)) {
        keys.missing::<()>("endpoint", "the URL of an OTLP/HTTP receiver, such as http://gateway:4318");
    }
    let (mut clients, mut routes) = (Vec::new(), [None, None, None, None]);
    for signal in Signal::ALL {
        let at = signal.index();
        let (target, path) = match (&own[at], &base) {
            (Some(target), _) => (target, if target.path.is_empty() { "/".to_owned() } else { target.path.clone() }),
            (None, Some(base)) => (base, format!("{}{}", base.path.trim_end_matches('/'), PATHS[at].1)),
            (None, None) => continue,
        };
        let wanted = client(target.clone(), ClientHttp::ByAgreement, &common);
        let same = |known: &ClientSettings| {
            known.target.authority() == target.authority() && known.target.scheme == target.scheme
        };
        let known = clients.iter().position(same).unwrap_or_else(|| {
            let proxy = proxy_of(&keys, cx.checks, &wanted);
            let idle_timeout = idle_timeout.unwrap_or(Duration::from_secs(90));
            clients.push(ClientSettings { http1_max, idle_timeout, proxy, ..wanted });
            clients.len() - 1
        });
        routes[at] = Some(Route { client: known, path });
    }
    let checked = (!clients.is_empty()).then(|| settings(&keys, common, clients, routes));
    keys.finish();
    checked
}

fn settings(
    keys: &Section<'_>,
    common: Common,
    clients: Vec<ClientSettings>,
    routes: [Option<Route>; 4],
) -> OtlpSettings {
    let at_its_port = clients.iter().any(|client| client.target.port == APM_SERVER_PORT);
    let guess = if at_its_port { Preset::ApmServer } else { Preset::Any };
    let preset = common.preset.unwrap_or(guess);
    let speech = clients.first().map_or(ClientHttp::ByAgreement, |client| client.speech);
    let targets: Vec<&Target> = clients.iter().map(|client| &client.target).collect();
    let beside = Beside {
        headers: &common.headers,
        compression: common.compression,
        targets: &targets,
        plaintext: clients.iter().any(|client| client.tls.is_none()),
        speech,
        endless: common.sending.timeout == NO_TIMEOUT,
    };
    preset.check(keys, common.preset.is_some(), &beside);
    let mut sending = common.sending;
    sending.request_bytes_max = sending.request_bytes_max.min(preset.bytes_max(speech));
    OtlpSettings {
        clients,
        routes,
        compression: common.compression,
        headers: common.headers,
        auth: common.auth,
        preset,
        sending,
    }
}

fn url_port(scheme: Scheme) -> u16 {
    if scheme == Scheme::Https { 443 } else { 80 }
}

/// An endpoint key, `None` when absent or wrong (then reported).
fn endpoint(keys: &Section<'_>, key: &str, default_port: Option<fn(Scheme) -> u16>) -> Option<Target> {
    let text = keys.string(key).filter(|text| !text.is_empty() || key == "endpoint")?;
    let text = keys.node(key).and_then(address::text).unwrap_or(text);
    let expected =
        if default_port.is_some() { "a URL such as http://gateway:4318" } else { "host:port, such as gateway:4317" };
    match Target::parse(&text, default_port) {
        Ok(target) if default_port.is_some() && target.scheme == Scheme::Unstated => {
            keys.invalid(key, format!("{text:?} has no scheme"), "http:// or https:// before the host")
        }
        Ok(target) => Some(target),
        Err(why) => keys.invalid(key, why, expected),
    }
}

fn proxy_of(keys: &Section<'_>, checks: &Checks, client: &ClientSettings) -> Option<Proxy> {
    proxy_for(keys, &checks.environment, &client.target, (client.speech == ClientHttp::Http2, client.tls.is_some()))
}

fn client(target: Target, speech: ClientHttp, common: &Common) -> ClientSettings {
    let keys = &common.tls;
    let plaintext = match target.scheme {
        // gRPC's scheme says nothing of TLS in the Collector: `insecure` alone does.
        Scheme::Http => speech != ClientHttp::Http2 || (keys.insecure && keys.ca.is_none()),
        Scheme::Https => false,
        // The Collector verifies even with `insecure` when a CA is given.
        Scheme::Unstated => keys.insecure && keys.ca.is_none(),
    };
    ClientSettings {
        tls: (!plaintext).then(|| TlsSettings::of(keys)),
        connections: common.connections,
        age_max: common.age_max,
        // Leaves time for the request itself, and names the cause better than a request's timeout would.
        connect_timeout: Duration::from_secs(5).min(common.sending.timeout.mul_f64(0.8)),
        ..ClientSettings::new(target, speech)
    }
}

//! `load_balancing`: whole traces to one member each, through members that come, go and refuse; nothing trapped, nothing lost.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use podgate::core::outside::{BoxSocket, GivenListener, Network, Outside, PendingIo};
use tokio::net::TcpStream;

use crate::harness::{Bench, Peer, checked, checked_within, eventually, taken};

/// The kernel's sockets, and one name whose addresses the test says.
#[derive(Default)]
struct Names(Mutex<Vec<SocketAddr>>);

impl Names {
    fn are(&self, peers: &[&Peer]) {
        *self.0.lock().expect("not poisoned") = peers.iter().map(|peer| peer.address).collect();
    }
}

impl Network for Names {
    fn listen(&self, _: SocketAddr) -> std::io::Result<Box<dyn GivenListener>> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    fn connect<'a>(&'a self, host: &'a str, port: u16) -> PendingIo<'a, BoxSocket> {
        Box::pin(async move { Ok(Box::new(TcpStream::connect((host, port)).await?) as BoxSocket) })
    }

    fn look_up<'a>(&'a self, _: &'a str, _: u16) -> PendingIo<'a, Vec<SocketAddr>> {
        Box::pin(async move { Ok(self.0.lock().expect("not poisoned").clone()) })
    }
}

/// A started balancer over the members that `names` says; `more` are further keys.
async fn balancer(names: &Arc<Names>, more: &str) -> Bench {
    let outside = Outside { network: Some(names.clone()), ..Outside::default() };
    let queue = "retry_on_failure: {initial_interval: 20ms, max_interval: 100ms}";
    let body = format!(
        "{{protocol: {{otlp: {{tls: {{insecure: true}}, compression: none, {queue}}}}}, \
         resolver: {{dns: {{hostname: gateway, interval: 20ms}}}}{more}}}"
    );
    let (bench, findings) = checked_within("load_balancing", &body, outside);
    let bench = bench.unwrap_or_else(|| panic!("{findings:?}"));
    bench.exporter.start().await.expect("it starts");
    bench
}

/// Spans of so many traces, `rounds` times one of each, so that traces stand mixed.
pub fn traces(first: u64, count: u64, rounds: u64) -> ExportTraceServiceRequest {
    let span = |trace: u64, round: u64| Span {
        trace_id: u128::from(trace).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes().to_vec(),
        span_id: (trace * 1_000 + round + 1).to_be_bytes().to_vec(),
        name: format!("{trace}/{round}"),
        ..Span::default()
    };
    let spans = (0..rounds).flat_map(|round| (first..first + count).map(move |trace| span(trace, round))).collect();
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] }
}

/// The names of the spans that a peer has, each with how often it came.
pub fn at(peer: &Peer) -> BTreeMap<String, u64> {
    let mut seen = BTreeMap::new();
    for request in peer.requests() {
        crate::harness::names(&request).into_iter().for_each(|name| *seen.entry(name).or_default() += 1);
    }
    seen
}

fn trace_of(name: &str) -> u64 {
    name.split('/').next().and_then(|trace| trace.parse().ok()).expect("a span of this test")
}

pub fn traces_at(peer: &Peer) -> BTreeSet<u64> {
    at(peer).keys().map(|name| trace_of(name)).collect()
}

#[tokio::test]
async fn all_spans_of_a_trace_arrive_at_one_member_and_each_member_gets_its_share() {
    let peers =
        [Peer::start(|_, _| taken()).await, Peer::start(|_, _| taken()).await, Peer::start(|_, _| taken()).await];
    let names = Arc::new(Names::default());
    names.are(&[&peers[0], &peers[1], &peers[2]]);
    let bench = balancer(&names, "").await;
    for part in 0..10 {
        bench.send(&traces(part * 30, 30, 4)).await.expect("taken");
    }
    let sheet = bench.settled().await;
    assert_eq!((sheet.received, sheet.delivered), (1_200, 1_200), "{sheet:?}");
    let each: Vec<BTreeSet<u64>> = peers.iter().map(traces_at).collect();
    assert_eq!(each.iter().map(BTreeSet::len).sum::<usize>(), 300, "no trace is at two members");
    assert!(each.iter().all(|traces| (60..140).contains(&traces.len())), "{:?}", each.iter().map(BTreeSet::len));
    for peer in &peers {
        assert!(at(peer).values().all(|times| *times == 1));
    }
    bench.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn what_waits_for_a_member_that_is_gone_moves_to_the_others_whole_and_once() {
    let refusing = Peer::start(|_, _| Err(tonic::Status::unavailable("going away"))).await;
    let (one, two) = (Peer::start(|_, _| taken()).await, Peer::start(|_, _| taken()).await);
    let names = Arc::new(Names::default());
    names.are(&[&refusing, &one, &two]);
    let bench = balancer(&names, "").await;
    for part in 0..20 {
        bench.send(&traces(part * 20, 20, 3)).await.expect("queued");
    }
    eventually("the member was tried", || !refusing.requests().is_empty()).await;
    let before = (traces_at(&one), traces_at(&two));
    names.are(&[&one, &two]);
    let sheet = bench.settled().await;
    assert_eq!((sheet.received, sheet.delivered), (1_200, 1_200), "{sheet:?}");
    let (first, second) = (at(&one), at(&two));
    assert!(first.values().chain(second.values()).all(|times| *times == 1));
    let (first, second) = (traces_at(&one), traces_at(&two));
    assert_eq!((first.len() + second.len(), first.intersection(&second).count()), (400, 0));
    assert!(before.0.is_subset(&first) && before.1.is_subset(&second), "what others own stays where it was");
    let moved = bench.host.stats.total("podgate_load_balancing_moved");
    assert!(moved > 0 && moved % 3 == 0, "{moved} items moved, traces whole");
    bench.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_member_that_comes_takes_over_its_share_and_nothing_else_moves() {
    let peers =
        [Peer::start(|_, _| taken()).await, Peer::start(|_, _| taken()).await, Peer::start(|_, _| taken()).await];
    let names = Arc::new(Names::default());
    names.are(&[&peers[0], &peers[1]]);
    let bench = balancer(&names, "").await;
    bench.send(&traces(0, 300, 1)).await.expect("taken");
    bench.settled().await;
    let before: Vec<BTreeSet<u64>> = peers.iter().map(traces_at).collect();
    names.are(&[&peers[0], &peers[1], &peers[2]]);
    let backends = || {
        bench.host.stats.all().iter().any(|series| {
            series.name == "otelcol_loadbalancer_num_backends"
                && matches!(&series.metric, podgate::core::report::stats::Metric::Gauge(gauge) if gauge.get() == 3)
        })
    };
    eventually("three members are known", backends).await;
    bench.send(&traces(0, 300, 1)).await.expect("taken");
    bench.settled().await;
    let after: Vec<BTreeSet<u64>> = peers.iter().map(traces_at).collect();
    assert_eq!((&before[0], &before[1]), (&after[0], &after[1]), "the old members got nothing that was another's");
    assert!((60..140).contains(&after[2].len()), "{}", after[2].len());
    bench.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn while_nobody_answers_for_the_name_the_known_members_stay_and_without_any_senders_are_told_to_come_again() {
    let names = Arc::new(Names::default());
    let bench = balancer(&names, "").await;
    let error = bench.send(&traces(0, 5, 1)).await.expect_err("nobody is known");
    assert!(error.is_retryable() && error.to_string().contains("no member is known"), "{error}");
    let peer = Peer::start(|_, _| taken()).await;
    names.are(&[&peer]);
    eventually("the member is known", || bench.host.status.all()["exporters::load_balancing"].message.is_empty()).await;
    names.are(&[]);
    eventually("the name is empty", || !bench.host.status.all()["exporters::load_balancing"].message.is_empty()).await;
    bench.send(&traces(0, 5, 1)).await.expect("taken");
    let sheet = bench.settled().await;
    assert_eq!((sheet.delivered, sheet.refused), (5, 5), "{sheet:?}");
    bench.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn when_a_queue_is_full_nothing_that_was_refused_is_lost() {
    let (slow, fast) =
        (Peer::start(|_, _| Err(tonic::Status::unavailable("later"))).await, Peer::start(|_, _| taken()).await);
    let names = Arc::new(Names::default());
    names.are(&[&slow, &fast]);
    let bench = balancer(&names, ", sending_queue: {queue_size: 1, num_consumers: 1}").await;
    let mut refused = 0;
    for part in 0..6 {
        refused += u64::from(bench.send(&traces(part * 20, 20, 1)).await.is_err());
    }
    assert!(refused > 0, "a queue of one request is full soon");
    names.are(&[&fast]);
    let sheet = bench.settled().await;
    assert_eq!(sheet.received, 120);
    // What was refused comes again, and what its request brought to the other member comes twice: counted, never lost.
    assert_eq!(sheet.delivered + sheet.refused, sheet.received, "{sheet:?}");
    let arrived = traces_at(&fast).len() as u64;
    assert!(arrived >= sheet.delivered, "{arrived} of {}", sheet.delivered);
    bench.drain(Duration::from_secs(5)).await;
}

#[test]
fn keys_are_the_collectors_and_what_has_no_effect_or_is_not_there_yet_says_so() {
    let otlp = "protocol: {otlp: {tls: {insecure: true}}}";
    let fixed = "resolver: {static: {hostnames: [a, 'b:1', '[::1]:2', 'dns:///c:3']}}";
    for (body, wanted) in [
        (format!("{{{otlp}, {fixed}}}"), &[][..]),
        (format!("{{{otlp}, {fixed}, routing_key: service, timeout: 3s, sending_queue: {{queue_size: 5}}}}"), &[]),
        (format!("{{{otlp}, {fixed}, routing_key: attributes, routing_attributes: [a.b, span.name]}}"), &[]),
        ("{resolver: {dns: {hostname: gateway, port: '4317', interval: 10s, timeout: 2s}}}".to_owned(), &[]),
        (format!("{{{otlp}}}"), &["E0204 exporters::load_balancing::resolver"]),
        (format!("{{{otlp}, resolver: {{}}}}"), &["E0204 exporters::load_balancing::resolver::static"]),
        (format!("{{{otlp}, {fixed}, routing_key: streamID}}"), &[]),
        (format!("{{{otlp}, resolver: {{k8s: {{service: gateway, ports: [4317, 9]}}}}}}"), &[]),
        ("{resolver: {k8s: {service: a.b.svc.cluster.local, return_hostnames: true}}}".to_owned(), &[]),
        (
            "{resolver: {k8s: {service: a, timeout: 1m}}}".to_owned(),
            &["W0402 exporters::load_balancing::resolver::k8s::timeout"],
        ),
        ("{resolver: {k8s: {}}}".to_owned(), &["E0204 exporters::load_balancing::resolver::k8s::service"]),
        (
            "{resolver: {k8s: {service: a.b.c}}}".to_owned(),
            &["E0203 exporters::load_balancing::resolver::k8s::service"],
        ),
        (
            "{resolver: {k8s: {service: a, ports: [0]}}}".to_owned(),
            &["E0203 exporters::load_balancing::resolver::k8s::ports"],
        ),
        (
            "{resolver: {k8s: {service: a}, dns: {hostname: b}}}".to_owned(),
            &["E0203 exporters::load_balancing::resolver::k8s"],
        ),
        (
            format!("{{{otlp}, resolver: {{aws_cloud_map: {{namespace: a}}}}}}"),
            &["E0205 exporters::load_balancing::resolver::aws_cloud_map"],
        ),
        (format!("{{{otlp}, {fixed}, routing_key: span}}"), &["E0203 exporters::load_balancing::routing_key"]),
        (
            format!("{{{otlp}, {fixed}, routing_key: attributes}}"),
            &["E0204 exporters::load_balancing::routing_attributes"],
        ),
        (
            format!("{{protocol: {{otlp: {{endpoint: 'x:1', timeout: 1s}}}}, {fixed}, timeout: 3s}}"),
            &["W0402 exporters::load_balancing::protocol::otlp::endpoint", "W0402 exporters::load_balancing::timeout"],
        ),
        (
            format!("{{{otlp}, {fixed}, sending_queue: {{storage: file_storage, wait_for_result: true}}}}"),
            &["E0203 exporters::load_balancing::protocol::otlp::sending_queue::storage"],
        ),
        (
            format!("{{protocol: {{otlp: {{tsl: 1}}}}, {fixed}}}"),
            &["E0201 exporters::load_balancing::protocol::otlp::tsl"],
        ),
        (
            "{resolver: {static: {hostnames: ['a b']}}}".to_owned(),
            &["E0203 exporters::load_balancing::resolver::static::hostnames"],
        ),
        (
            "{resolver: {static: {hostnames: []}}}".to_owned(),
            &["E0204 exporters::load_balancing::resolver::static::hostnames"],
        ),
    ] {
        let (bench, findings) = checked("load_balancing", &body);
        let found: Vec<&str> = findings.iter().map(|finding| finding.split(": ").next().unwrap_or_default()).collect();
        assert_eq!(found, wanted, "{body}: {findings:#?}");
        assert!(bench.is_some() || wanted.iter().any(|finding| finding.starts_with('E')), "{body}");
    }
}

/// A span of each service for each user, in one request of a group for each service.
fn of_services(services: u32, users: u32) -> ExportTraceServiceRequest {
    let attribute = |key: &str, value: String| {
        let value = Some(AnyValue { value: Some(Value::StringValue(value)) });
        KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
    };
    let group = |service: u32| {
        let span = |user: u32| Span {
            trace_id: u128::from(service * 1_000 + user + 1).to_be_bytes().to_vec(),
            span_id: u64::from(user + 1).to_be_bytes().to_vec(),
            name: format!("{service}/{user}"),
            attributes: vec![attribute("user", format!("u{user}"))],
            ..Span::default()
        };
        let attributes = vec![attribute("service.name", format!("s{service}"))];
        let scope_spans = vec![ScopeSpans { spans: (0..users).map(span).collect(), ..ScopeSpans::default() }];
        ResourceSpans {
            resource: Some(Resource { attributes, ..Resource::default() }),
            scope_spans,
            ..ResourceSpans::default()
        }
    };
    ExportTraceServiceRequest { resource_spans: (0..services).map(group).collect() }
}

#[tokio::test]
async fn each_service_or_each_value_of_an_attribute_has_one_member_whatever_request_it_comes_with() {
    let by_user = ", routing_key: attributes, routing_attributes: [user]";
    for (key, part) in [(", routing_key: service", 0), (", routing_key: resource", 0), (by_user, 1)] {
        let peers = [Peer::start(|_, _| taken()).await, Peer::start(|_, _| taken()).await];
        let names = Arc::new(Names::default());
        names.are(&[&peers[0], &peers[1]]);
        let bench = balancer(&names, key).await;
        for users in [12, 20] {
            bench.send(&of_services(20, users)).await.expect("taken");
        }
        let sheet = bench.settled().await;
        assert_eq!((sheet.received, sheet.delivered), (640, 640), "{sheet:?}");
        let keys = |peer: &Peer| -> BTreeSet<String> {
            at(peer).keys().filter_map(|name| name.split('/').nth(part).map(str::to_owned)).collect()
        };
        let (one, other) = (keys(&peers[0]), keys(&peers[1]));
        assert_eq!((one.intersection(&other).count(), one.len() + other.len()), (0, 20), "{key}");
        assert!(one.len().min(other.len()) > 2, "{key}: {} and {}", one.len(), other.len());
        bench.drain(Duration::from_secs(5)).await;
    }
}

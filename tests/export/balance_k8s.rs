//! `load_balancing` with the resolver `k8s`: members come and go as EndpointSlices say, beside an API server that the test plays.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use podgate::core::outside::{BoxSocket, GivenListener, Network, Outside, PendingIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::balance::{at, traces, traces_at};
use crate::harness::{Bench, Peer, checked_within, eventually, taken};

/// What the API server says of the service: its slice, or the status by which it refuses to tell.
#[derive(Clone, Debug)]
enum Said {
    Slice(String),
    Refuses(u16),
}

/// An API server that knows one EndpointSlice, and the network in which its endpoints are the peers of a test.
struct Cluster {
    said: watch::Sender<Said>,
    hosts: Mutex<BTreeMap<String, SocketAddr>>,
    asked: Arc<Mutex<Vec<String>>>,
    server: JoinHandle<()>,
}

/// `(peer's number, ready, terminating)`
type Condition = (usize, bool, bool);

fn slice(endpoints: &[Condition]) -> Said {
    let endpoint = |(number, ready, terminating): &Condition| {
        format!(
            r#"{{"addresses":["10.0.0.{number}"],"conditions":{{"ready":{ready},"serving":true,"terminating":{terminating}}},
               "targetRef":{{"kind":"Pod","uid":"pod-{number}"}}}}"#
        )
    };
    let endpoints: Vec<String> = endpoints.iter().map(endpoint).collect();
    Said::Slice(endpoints.join(",").replace('\n', " "))
}

impl Cluster {
    #[expect(clippy::disallowed_methods, reason = "the test owns this server and aborts it on drop")]
    async fn new(said: Said) -> Arc<Cluster> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
        let address = listener.local_addr().expect("bound");
        let (said, asked) = (watch::Sender::new(said), Arc::new(Mutex::default()));
        let (told, paths) = (said.clone(), asked.clone());
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, told.subscribe(), paths.clone()));
            }
        });
        let hosts = Mutex::new(BTreeMap::from([("api".to_owned(), address)]));
        Arc::new(Cluster { said, hosts, asked, server })
    }

    fn are(&self, peers: &[&Peer]) {
        let mut hosts = self.hosts.lock().expect("not poisoned");
        hosts.extend(peers.iter().enumerate().map(|(number, peer)| (format!("10.0.0.{number}"), peer.address)));
    }

    fn says(&self, said: Said) {
        self.said.send_replace(said);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// One request: the slice as a watch that begins with it, and every change.
async fn answer(mut stream: TcpStream, mut said: watch::Receiver<Said>, asked: Arc<Mutex<Vec<String>>>) {
    let mut head = vec![0; 16 << 10];
    let read = stream.read(&mut head).await.unwrap_or_default();
    let head = String::from_utf8_lossy(&head[..read]).into_owned();
    asked.lock().expect("not poisoned").push(head.lines().next().unwrap_or_default().to_owned());
    let (mut is_first, mut version) = (true, 10);
    loop {
        let now = said.borrow_and_update().clone();
        let mut lines = String::new();
        match now {
            Said::Refuses(status) if is_first => {
                let body = format!(r#"{{"kind":"Status","code":{status},"message":"endpointslices is forbidden"}}"#);
                let head =
                    format!("HTTP/1.1 {status} No\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
                let _ = stream.write_all((head + &body).as_bytes()).await;
                return;
            }
            Said::Refuses(_) => return,
            Said::Slice(endpoints) => {
                version += 1;
                let kind = if is_first { "ADDED" } else { "MODIFIED" };
                let metadata = format!(r#"{{"name":"gateway-x","uid":"s-1","resourceVersion":"{version}"}}"#);
                lines += &format!(
                    "{{\"type\":\"{kind}\",\"object\":{{\"metadata\":{metadata},\"endpoints\":[{endpoints}]}}}}\n"
                );
            }
        }
        if is_first {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
            lines += "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"11\",\"annotations\":\
                      {\"k8s.io/initial-events-end\":\"true\"}}}}\n";
        }
        is_first = false;
        if stream.write_all(format!("{:x}\r\n{lines}\r\n", lines.len()).as_bytes()).await.is_err()
            || said.changed().await.is_err()
        {
            return;
        }
    }
}

impl Network for Cluster {
    fn listen(&self, _: SocketAddr) -> std::io::Result<Box<dyn GivenListener>> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    fn connect<'a>(&'a self, host: &'a str, _: u16) -> PendingIo<'a, BoxSocket> {
        Box::pin(async move {
            let known = self.hosts.lock().expect("not poisoned").get(host).copied();
            let address = known.ok_or(std::io::ErrorKind::NotFound)?;
            Ok(Box::new(TcpStream::connect(address).await?) as BoxSocket)
        })
    }
}

async fn balancer(cluster: &Arc<Cluster>) -> Bench {
    let outside = Outside { network: Some(cluster.clone()), ..Outside::default() };
    let queue = "retry_on_failure: {initial_interval: 20ms, max_interval: 100ms}";
    let body = format!(
        "{{protocol: {{otlp: {{tls: {{insecure: true}}, compression: none, {queue}}}}}, resolver: \
         {{k8s: {{service: gateway.otel, podgate: {{api_server: 'http://api:80'}}}}}}}}"
    );
    let (bench, findings) = checked_within("load_balancing", &body, outside);
    let bench = bench.unwrap_or_else(|| panic!("{findings:?}"));
    bench.exporter.start().await.expect("it starts");
    bench
}

fn message(bench: &Bench) -> Option<String> {
    bench.host.status.all().get("exporters::load_balancing").map(|status| status.message.clone())
}

async fn members(bench: &Bench, count: i64) {
    let known = || {
        bench.host.stats.all().iter().any(|series| {
            series.name == "otelcol_loadbalancer_num_backends"
                && matches!(&series.metric, podgate::core::report::stats::Metric::Gauge(gauge) if gauge.get() == count)
        })
    };
    eventually(&format!("{count} members are known"), known).await;
}

#[tokio::test]
async fn a_pod_that_terminates_gets_nothing_new_what_waited_for_it_moves_and_one_that_is_ready_gets_its_share() {
    let refusing = Peer::start(|_, _| Err(tonic::Status::unavailable("going away"))).await;
    let (one, two) = (Peer::start(|_, _| taken()).await, Peer::start(|_, _| taken()).await);
    let cluster = Cluster::new(slice(&[(0, true, false), (1, true, false), (2, false, false)])).await;
    cluster.are(&[&refusing, &one, &two]);
    let bench = balancer(&cluster).await;
    members(&bench, 2).await;
    for part in 0..10 {
        bench.send(&traces(part * 20, 20, 3)).await.expect("queued");
    }
    eventually("the first one was tried", || !refusing.requests().is_empty()).await;
    assert!(two.requests().is_empty(), "one that is not ready gets nothing");
    cluster.says(slice(&[(0, true, true), (1, true, false), (2, true, false)]));
    let sheet = bench.settled().await;
    assert_eq!((sheet.received, sheet.delivered), (600, 600), "{sheet:?}");
    let tried = refusing.requests().len();
    for part in 10..20 {
        bench.send(&traces(part * 20, 20, 3)).await.expect("queued");
    }
    let sheet = bench.settled().await;
    assert_eq!((sheet.received, sheet.delivered), (1_200, 1_200), "{sheet:?}");
    assert_eq!(refusing.requests().len(), tried, "nothing new goes to one that terminates");
    assert!(at(&one).values().chain(at(&two).values()).all(|times| *times == 1), "every span once");
    let (first, second): (BTreeSet<u64>, BTreeSet<u64>) = (traces_at(&one), traces_at(&two));
    assert_eq!((first.len() + second.len(), first.intersection(&second).count()), (400, 0), "traces are whole");
    assert!(second.len() > 100, "{} of 400", second.len());
    let asked = cluster.asked.lock().expect("not poisoned").first().cloned().unwrap_or_default();
    assert!(asked.contains("/apis/discovery.k8s.io/v1/namespaces/otel/endpointslices?"), "{asked}");
    assert!(asked.contains("labelSelector=kubernetes.io%2Fservice-name%3Dgateway"), "{asked}");
    bench.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_right_that_is_missing_is_told_and_the_members_that_are_known_stay() {
    let peer = Peer::start(|_, _| taken()).await;
    let cluster = Cluster::new(Said::Refuses(403)).await;
    cluster.are(&[&peer]);
    let bench = balancer(&cluster).await;
    eventually("the right is named", || message(&bench).is_some_and(|said| said.contains("endpointslices"))).await;
    let error = bench.send(&traces(0, 5, 1)).await.expect_err("nobody is known");
    assert!(error.is_retryable() && error.to_string().contains("no member is known"), "{error}");
    cluster.says(slice(&[(0, true, false)]));
    members(&bench, 1).await;
    cluster.says(slice(&[(0, false, false)]));
    eventually("nobody is ready", || message(&bench).is_some_and(|said| said.contains("1 stay as they were"))).await;
    bench.send(&traces(5, 5, 1)).await.expect("taken");
    let sheet = bench.settled().await;
    assert_eq!((sheet.delivered, sheet.refused), (5, 5), "{sheet:?}");
    bench.drain(Duration::from_secs(5)).await;
}

//! The way by a proxy: tunnels and forwarded requests, its credentials, its refusals, and what goes without it. The next
//! hop's name leads nowhere on this machine, so that nothing can arrive but by the proxy.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::cluster::Cluster;
use crate::harness::{Bench, Peer, checked_in, request, start, start_in, taken};
use crate::http::{HttpPeer, answer, ok};
use crate::tls::{file, terminator};

/// `user:p@ss` in base64.
const CREDENTIALS: &str = "proxy-authorization: basic dxnlcjpwqhnz";
const QUICK: &str = "retry_on_failure: {initial_interval: 20ms, max_interval: 50ms, max_elapsed_time: 600ms}";

/// What the proxy does with CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Opens,
    Refuses(&'static str),
    Silent,
    Closes,
    /// A head without end.
    Endless,
}

/// A proxy whose tunnels all end at one address.
struct Tunnels {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Tunnels {
    async fn start(to: SocketAddr, way: Way) -> Tunnels {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
        let address = listener.local_addr().expect("bound");
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let seen = heads.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                open.spawn(serve(client, to, way, seen.clone()));
            }
        });
        Tunnels { address, heads, _tasks: tasks }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("not poisoned").clone()
    }
}

async fn serve(mut client: TcpStream, to: SocketAddr, way: Way, heads: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = client.read_u8().await else { return };
        head.push(byte);
    }
    heads.lock().expect("not poisoned").push(String::from_utf8_lossy(&head).to_lowercase());
    match way {
        Way::Opens => {
            let mut server = TcpStream::connect(to).await.expect("the next hop listens");
            let _ = client.write_all(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n").await;
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        }
        Way::Refuses(line) => {
            let _ = client.write_all(format!("HTTP/1.1 {line}\r\ncontent-length: 0\r\n\r\n").as_bytes()).await;
        }
        Way::Silent => drop(client.read_u8().await),
        Way::Closes => {}
        Way::Endless => {
            let _ = client.write_all(b"HTTP/1.1 200 OK\r\n").await;
            while client.write_all(b"x: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n").await.is_ok() {}
        }
    }
}

fn variables(list: Vec<(&'static str, String)>) -> &'static [(&'static str, String)] {
    Box::leak(list.into_boxed_slice())
}

async fn delivered(bench: &Bench) -> u64 {
    bench.send(&request(["a", "b"])).await.expect("accepted");
    let sheet = bench.settled().await;
    bench.drain(Duration::from_secs(2)).await;
    sheet.delivered
}

#[tokio::test]
async fn grpc_goes_through_a_tunnel_of_the_environments_proxy_whether_it_is_tls_or_not() {
    let hop = Peer::start(|_, _| taken()).await;
    let (secured, _tls) = terminator(hop.address, false).await;
    let trusted = format!("{{ca_file: '{}', server_name_override: localhost}}", file("ca.pem"));
    for (to, tls) in [(hop.address, "{insecure: true}"), (secured, trusted.as_str())] {
        let proxy = Tunnels::start(to, Way::Opens).await;
        let url = format!("http://user:p%40ss@{}", proxy.address);
        let keys = format!("{{endpoint: 'hop.invalid:4317', tls: {tls}, {QUICK}}}");
        let bench = start_in("otlp_grpc", &keys, variables(vec![("HTTPS_PROXY", url)])).await;
        assert_eq!(delivered(&bench).await, 2, "{tls}");
        let heads = proxy.heads();
        assert_eq!(heads.len(), 1);
        assert!(heads[0].starts_with("connect hop.invalid:4317 http/1.1\r\nhost: hop.invalid:4317\r\n"), "{heads:?}");
        assert!(heads[0].contains(CREDENTIALS), "{heads:?}");
    }
}

#[tokio::test]
async fn plain_http_is_forwarded_by_the_proxy_and_its_407_is_no_answer_of_the_next_hop() {
    let proxy = HttpPeer::start(|at, _| if at == 0 { answer(407, "", b"who?") } else { ok() }).await;
    let url = format!("user:p%40ss@{}", proxy.address);
    let keys = format!("{{endpoint: 'http://hop.invalid/otlp', compression: none, {QUICK}}}");
    let bench = start_in("otlp_http", &keys, variables(vec![("http_proxy", url)])).await;
    assert_eq!(delivered(&bench).await, 2);
    let seen = proxy.seen();
    assert_eq!(seen.len(), 2);
    assert!(seen[1].head.starts_with("post http://hop.invalid:80/otlp/v1/traces http/1.1\r\n"), "{}", seen[1].head);
    assert!(
        seen[1].head.contains("host: hop.invalid:80\r\n") && seen[1].head.contains(CREDENTIALS),
        "{}",
        seen[1].head
    );
}

#[tokio::test]
async fn proxy_url_is_used_for_https_too_and_nothing_excepts_it() {
    let hop = Peer::start(|_, _| taken()).await;
    let (secured, _tls) = terminator(hop.address, false).await;
    let proxy = Tunnels::start(secured, Way::Opens).await;
    // The proxy itself behind TLS, with the same authority.
    let (outer, _outer) = terminator(proxy.address, false).await;
    for url in [format!("http://{}", proxy.address), format!("https://localhost:{}", outer.port())] {
        let keys = format!(
            "{{endpoint: 'https://localhost:1', proxy_url: '{url}', tls: {{ca_file: '{}'}}, {QUICK}}}",
            file("ca.pem")
        );
        let bench = start_in("otlp_http", &keys, variables(vec![("NO_PROXY", "*".to_owned())])).await;
        // The hop speaks gRPC and answers a plain POST as such: what matters is that it was reached, and answered for good.
        bench.send(&request(["a"])).await.expect("accepted");
        let sheet = bench.settled().await;
        let status = bench.host.status.all().get("exporters::otlp_http").map(|report| report.message.clone());
        assert_eq!(sheet.dropped.get("permanent"), Some(&1), "{url}: {sheet:?} {status:?}");
    }
    assert_eq!(proxy.heads().len(), 2, "{:?}", proxy.heads());
}

#[tokio::test]
async fn bulk_requests_go_by_proxy_url() {
    let proxy = Cluster::start(|_, _| crate::cluster::Whole::Items, |_, _| crate::cluster::Says::Fine).await;
    let keys = format!("{{endpoint: 'http://es.invalid:9200', proxy_url: 'http://{}'}}", proxy.address);
    let bench = start("elasticsearch", &keys).await;
    assert_eq!(delivered(&bench).await, 2);
}

#[tokio::test]
async fn what_a_proxy_refuses_is_tried_again_then_counted_and_never_goes_around_it() {
    let hop = Peer::start(|_, _| taken()).await;
    let ways = [
        Way::Refuses("407 Proxy Authentication Required"),
        Way::Refuses("403 Forbidden"),
        Way::Refuses("2000 Odd"),
        Way::Silent,
        Way::Closes,
        Way::Endless,
    ];
    for way in ways {
        let proxy = Tunnels::start(hop.address, way).await;
        // The target can be reached directly, and must not be.
        let keys = format!(
            "{{endpoint: 'http://{}', proxy_url: 'http://{}', timeout: 300ms, {QUICK}}}",
            hop.address, proxy.address
        );
        let https = keys.replacen("http://", "https://", 1);
        let bench = start("otlp_http", &https).await;
        bench.send(&request(["a"])).await.expect("accepted");
        let sheet = bench.settled().await;
        assert_eq!(sheet.dropped["retries_exhausted"], 1, "{way:?}: {sheet:?}");
        assert!(proxy.heads().len() > 1, "{way:?} is tried again");
        bench.drain(Duration::from_secs(2)).await;
    }
    assert!(hop.requests().is_empty());
}

#[tokio::test]
async fn the_own_machine_and_what_no_proxy_lists_go_directly() {
    let hop = Peer::start(|_, _| taken()).await;
    let nobody = || "http://127.0.0.1:1".to_owned();
    for variables_of in [vec![("HTTPS_PROXY", nobody())], vec![("HTTPS_PROXY", nobody()), ("NO_PROXY", "*".to_owned())]]
    {
        let keys = format!("{{endpoint: '{}', tls: {{insecure: true}}, {QUICK}}}", hop.address);
        let bench = start_in("otlp_grpc", &keys, variables(variables_of)).await;
        assert_eq!(delivered(&bench).await, 2);
    }
}

#[tokio::test]
async fn a_broken_proxy_variable_is_an_error_that_shows_no_password() {
    for (name, url) in [("HTTPS_PROXY", "socks5://u:SECRET@p:1"), ("https_proxy", "http://u:SECRET@p:x")] {
        let found = checked_in("otlp_grpc", "{endpoint: 'hop:4317'}", variables(vec![(name, url.to_owned())])).1;
        assert!(
            found[0].starts_with(&format!("E0203 exporters::otlp_grpc::endpoint: the environment's {name}")),
            "{found:?}"
        );
        assert!(!found.concat().contains("SECRET"), "{found:?}");
    }
}

//! Probes beside connections that want their places, over real sockets.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::*;
use crate::core::data::budget::Budget;
use crate::net::server::listen::BoundAddresses;

async fn started(endpoint: &str) -> (Arc<Host>, Arc<dyn Component>, SocketAddr) {
    let host = Host::new(Budget::unlimited());
    let plan = Plan { endpoint: endpoint.to_owned(), path: "/health".to_owned(), lock: PageLock::default() };
    let id = crate::core::stage::component::ComponentId::parse("health_check").unwrap();
    let path = "extensions::health_check".to_owned();
    let component = plan.build(BuildContext { id, path: path.clone(), host: host.clone() });
    component.start().await.unwrap();
    let address = host.shared(BoundAddresses::KEY, || Arc::new(BoundAddresses::default())).get(&path).unwrap();
    (host, component, address)
}

async fn connect(source: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(IpAddr::from(source), 0)).unwrap();
    socket.connect(to).await.unwrap()
}

async fn ask(mut stream: TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

const PROBE: &str = "GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

async fn probe(to: SocketAddr) -> String {
    ask(connect([127, 0, 0, 1], to).await, PROBE).await
}

/// More than there are places, from one address (the attacker may even share the probe's) and from many.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn liveness_answers_within_a_second_beside_any_number_of_half_open_connections() {
    let (_host, component, address) = started("0.0.0.0:0").await;
    let to = SocketAddr::new([127, 0, 0, 1].into(), address.port());
    for sources in [1, 40] {
        let mut held = Vec::new();
        for number in 0..400u32 {
            let mut stream = connect([127, 0, 0, (number % sources) as u8 + 1], to).await;
            // Half a head: such a connection was served for ten seconds, or until it ended by itself.
            let _ = stream.write_all(b"GET /livez HTTP/1.1\r\nx: ").await;
            held.push(stream);
            if number % 20 == 0 {
                let answer = timeout(Duration::from_secs(1), probe(to)).await.expect("within the kubelet's second");
                assert!(answer.starts_with("HTTP/1.1 200"), "{number} {answer}");
            }
        }
    }
    component.drain(Instant::now() + Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_name_that_is_not_loopbacks_is_refused_there_and_only_there() {
    for (endpoint, evil) in [("127.0.0.1:0", "HTTP/1.1 403"), ("0.0.0.0:0", "HTTP/1.1 200")] {
        let (_host, component, address) = started(endpoint).await;
        let to = SocketAddr::new([127, 0, 0, 1].into(), address.port());
        for (host, status) in [("evil.example", evil), ("localhost:1", "HTTP/1.1 200"), ("127.0.0.1", "HTTP/1.1 200")] {
            let request = format!("GET /health HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
            let answer = ask(TcpStream::connect(to).await.unwrap(), &request).await;
            assert!(answer.starts_with(status), "{endpoint} {host}: {answer}");
            let has_age = answer.contains("\"upSince\":\"20") && answer.contains("\"uptime\":\"");
            assert_eq!(has_age, status.ends_with("200"), "{answer}");
            assert_eq!(answer.contains("evil.example"), status.ends_with("403"), "the refusal names what was asked");
        }
        component.drain(Instant::now() + Duration::from_secs(5)).await;
    }
}

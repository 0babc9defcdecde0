//! TLS of the receiver's ports: both protocols inside, clients that must show a certificate, versions, mix-ups, renewal under
//! traffic, and what silence in the handshake costs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use podgate::core::report::status::State;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::harness::{H2, Running, TRACES, framed, spans};

pub fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tls").join(name)
}

/// Both ports with one `tls` block.
pub fn secured(tls: &str) -> String {
    let door = format!("{{endpoint: '127.0.0.1:0', tls: {{{tls}}}}}");
    format!("protocols: {{grpc: {door}, http: {door}}}")
}

pub fn pair() -> String {
    format!("cert_file: {}, key_file: {}", file("server.pem").display(), file("server.key").display())
}

/// A client that trusts these authorities, a blank between each.
#[derive(Clone, Copy)]
pub struct Client {
    pub authority: &'static str,
    pub certificate: Option<(&'static str, &'static str)>,
    pub versions: &'static [&'static SupportedProtocolVersion],
    pub protocol: &'static [u8],
}

pub const ANY: Client =
    Client { authority: "ca.pem", certificate: None, versions: rustls::ALL_VERSIONS, protocol: b"http/1.1" };

impl Client {
    pub async fn connect(&self, to: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
        self.over(TcpStream::connect(to).await?).await
    }

    pub async fn over(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = rustls::RootCertStore::empty();
        for authority in self.authority.split(' ') {
            roots.add(CertificateDer::from_pem_file(file(authority)).unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(self.versions).unwrap();
        let builder = builder.with_root_certificates(roots);
        let mut config = match self.certificate {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = vec![CertificateDer::from_pem_file(file(certificate)).unwrap()];
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(file(key)).unwrap()).unwrap()
            }
        };
        config.alpn_protocols = vec![self.protocol.to_vec()];
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
    }

    /// The status line of a request over HTTP/1.1; an error where the handshake or the connection failed.
    async fn post(&self, to: SocketAddr, count: u64) -> std::io::Result<String> {
        let mut stream = self.connect(to).await?;
        let body = spans(count);
        let head = format!(
            "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-protobuf\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(&body).await?;
        let mut answer = Vec::new();
        // Some clients' libraries end without a word of TLS; what was said counts.
        let read = timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await.expect("an end in time");
        if answer.is_empty() {
            read?;
        }
        Ok(String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned())
    }
}

const ONLY_1_2: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
const ONLY_1_3: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

const OK: &str = "HTTP/1.1 200 OK";

#[tokio::test]
async fn both_ports_take_both_protocols_inside_tls() {
    let running = Running::start(&secured(&pair())).await;
    for address in [running.grpc(), running.http()] {
        assert_eq!(ANY.post(address, 3).await.unwrap(), OK);
        let stream = Client { protocol: b"h2", ..ANY }.connect(address).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let mut h2 = H2::over(stream).await;
        let headers = [("content-type", "application/grpc"), ("te", "trailers")];
        let reply = h2.request("POST", TRACES, &headers, &framed(0, &spans(2))).await.unwrap();
        assert_eq!(reply.grpc_status(), Some(0), "{reply:?}");
    }
    assert_eq!(running.sink.items(), 10);
    running.drain(Duration::from_secs(2)).await;
    running.assert_balance();
}

#[tokio::test]
async fn a_large_request_and_a_pem_in_the_configuration_pass() {
    let text = |name| std::fs::read_to_string(file(name)).unwrap();
    let inline = format!("cert_pem: {:?}, key_pem: {:?}", text("server.pem"), text("server.key"));
    let running = Running::start(&secured(&inline)).await;
    assert_eq!(ANY.post(running.http(), 50_000).await.unwrap(), OK);
    assert_eq!(running.sink.items(), 50_000);
}

#[tokio::test]
async fn with_client_ca_file_only_clients_with_a_certificate_of_it_are_heard() {
    let running = Running::start(&secured(&format!("{}, client_ca_file: {}", pair(), file("ca.pem").display()))).await;
    let known = Client { certificate: Some(("client.pem", "client.key")), ..ANY };
    let strange = Client { certificate: Some(("second-server.pem", "second-server.key")), ..ANY };
    assert_eq!(known.post(running.http(), 1).await.unwrap(), OK);
    for client in [ANY, strange, Client { versions: ONLY_1_2, ..ANY }] {
        assert!(client.post(running.http(), 1).await.is_err());
    }
    assert_eq!(running.sink.items(), 1);
    eventually(|| running.counter_with("podgate_receiver_connections_closed", "tls_handshake") == 3).await;
}

#[tokio::test]
async fn versions_and_suites_are_those_that_are_written() {
    let (old, new) = (ONLY_1_2, ONLY_1_3);
    for (keys, with_old, with_new) in [
        ("", true, true),
        (", min_version: '1.3'", false, true),
        (", max_version: '1.2'", true, false),
        (
            ", cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]",
            true,
            true,
        ),
        (", curve_preferences: [P384]", true, true),
    ] {
        let running = Running::start(&secured(&format!("{}{keys}", pair()))).await;
        for (versions, expected) in [(old, with_old), (new, with_new)] {
            let connected = Client { versions, ..ANY }.connect(running.http()).await;
            assert_eq!(connected.is_ok(), expected, "{keys} {versions:?} {connected:?}");
            let Ok(connected) = connected else { continue };
            let session = connected.get_ref().1;
            let suite = format!("{:?}", session.negotiated_cipher_suite().unwrap().suite());
            assert!(versions == new || !keys.contains("cipher") || suite.contains("AES_128_GCM"), "{keys}: {suite}");
            let group = format!("{:?}", session.negotiated_key_exchange_group().unwrap().name());
            assert!(!keys.contains("P384") || group == "secp384r1", "{keys}: {group}");
        }
    }
}

#[tokio::test]
async fn a_plain_client_of_a_tls_port_is_told_so_and_counted() {
    let running = Running::start(&secured(&pair())).await;
    let mut plain = TcpStream::connect(running.http()).await.unwrap();
    plain.write_all(b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    let _ = timeout(Duration::from_secs(5), plain.read_to_string(&mut answer)).await.expect("an end in time");
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("https://"), "{answer}");
    let mut h2 = TcpStream::connect(running.grpc()).await.unwrap();
    h2.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let _ = timeout(Duration::from_secs(5), h2.read(&mut [0; 64])).await.expect("an end in time");
    eventually(|| running.counter_with("podgate_receiver_connections_closed", "plain_on_tls_port") == 2).await;
    assert_eq!(running.sink.items(), 0);
}

#[tokio::test]
async fn who_begins_a_handshake_and_says_no_more_is_let_go_in_time() {
    let keys = secured(&pair()).replace("127.0.0.1:0'", "127.0.0.1:0', podgate: {preface_timeout: 300ms}");
    let running = Running::start(&keys).await;
    let mut silent = TcpStream::connect(running.grpc()).await.unwrap();
    silent.write_all(b"\x16\x03\x01\x02\x00").await.unwrap();
    assert_eq!(timeout(Duration::from_secs(5), silent.read(&mut [0; 8])).await.expect("an end in time").unwrap(), 0);
    eventually(|| running.counter_with("podgate_receiver_connections_closed", "slow_preface") == 1).await;
    assert_eq!(running.host.budget.used(), 0, "a session that never was holds nothing");
}

#[tokio::test]
async fn a_renewed_pair_is_taken_and_one_that_does_not_belong_together_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    let put = |from: &str, to: &Path| std::fs::copy(file(from), to).map(drop).unwrap();
    put("server.pem", &certificate);
    put("server.key", &key);
    let keys = format!("cert_file: {}, key_file: {}, reload_interval: 1s", certificate.display(), key.display());
    let running = Running::start(&secured(&keys)).await;
    let status = || running.host.status.all()["receivers::otlp::protocols::http::tls"].clone();
    eventually(|| running.host.status.all().contains_key("receivers::otlp::protocols::http::tls")).await;
    assert!(status().message.contains("valid until 2126"), "{:?}", status());
    let mut old = ANY.connect(running.http()).await.unwrap();
    // Half of the pair: the one that belongs together stays.
    put("second-server.pem", &certificate);
    eventually(|| running.counter_with("podgate_tls_certificate_renewals", "unusable") == 2).await;
    assert_eq!(status().state, State::Degraded);
    assert!(status().message.contains("do not match"), "{:?}", status());
    assert_eq!(ANY.post(running.http(), 1).await.unwrap(), OK);
    put("second-server.key", &key);
    eventually(|| running.counter_with("podgate_tls_certificate_renewals", "renewed") == 2).await;
    assert_eq!(status().state, State::Ok);
    let other = Client { authority: "second-ca.pem", ..ANY };
    assert_eq!(other.post(running.http(), 1).await.unwrap(), OK);
    assert!(ANY.post(running.http(), 1).await.is_err(), "the old authority did not sign the new certificate");
    // A connection from before goes on.
    old.write_all(b"GET /v1/traces HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    let _ = timeout(Duration::from_secs(5), old.read_to_string(&mut answer)).await.expect("an end in time");
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    // One that has ended is served, and told of.
    put("expired-server.pem", &certificate);
    eventually(|| status().state == State::Degraded).await;
    assert!(status().message.contains("ended at 2021"), "{:?}", status());
    running.drain(Duration::from_secs(2)).await;
}

#[tokio::test]
async fn a_reload_has_the_files_looked_at_without_a_wait() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    let put = |from: &str, to: &Path| std::fs::copy(file(from), to).map(drop).unwrap();
    put("server.pem", &certificate);
    put("server.key", &key);
    let keys = format!("cert_file: {}, key_file: {}, reload_interval: 1h", certificate.display(), key.display());
    let running = Running::start(&secured(&keys)).await;
    put("second-server.pem", &certificate);
    put("second-server.key", &key);
    running.host.reloads.send_modify(|count| *count += 1);
    eventually(|| running.counter_with("podgate_tls_certificate_renewals", "renewed") == 2).await;
    running.drain(Duration::from_secs(2)).await;
}

#[tokio::test]
async fn of_those_with_a_certificate_only_listed_names_are_let_in() {
    let with = |name: &'static str| Client { certificate: Some((name, "clients/client.key")), ..ANY };
    let (shop, bank, nameless) = (with("clients/shop.pem"), with("clients/bank.pem"), with("clients/nameless.pem"));
    let asked = format!("{}, client_ca_file: {}", pair(), file("clients/ca.pem").display());
    for (names, expected) in [
        ("'spiffe://cluster.local/ns/shop/*'", [true, false, false]),
        ("'spiffe://cluster.local/*'", [true, true, false]),
        ("'spiffe://cluster.local/ns/bank/sa/web', web.shop", [true, true, false]),
        ("ops@shop.example", [true, false, false]),
        // A common name is no name, and a name of another kind is another name.
        ("nameless, 'https://cluster.local/*'", [false, false, false]),
    ] {
        let running = Running::start(&secured(&format!("{asked}, podgate: {{client_names: [{names}]}}"))).await;
        for versions in [ONLY_1_2, ONLY_1_3] {
            for (client, expected) in [shop, bank, nameless].into_iter().zip(expected) {
                let answer = Client { versions, ..client }.post(running.http(), 1).await;
                assert_eq!(answer.is_ok_and(|line| line == OK), expected, "{names} {:?}", client.certificate);
            }
            assert!(
                Client { versions, ..ANY }.post(running.grpc(), 1).await.is_err(),
                "{names}: no certificate at all"
            );
        }
        let refused = 2 * (1 + expected.iter().filter(|let_in| !**let_in).count() as u64);
        eventually(|| running.counter_with("podgate_receiver_connections_closed", "tls_handshake") == refused).await;
    }
    let running = Running::start(&secured(&asked)).await;
    assert_eq!(nameless.post(running.http(), 1).await.unwrap(), OK, "without a list the authority is enough");
}

#[tokio::test]
async fn an_authority_of_clients_that_is_exchanged_is_the_one_that_counts() {
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("ca.crt");
    std::fs::copy(file("ca.pem"), &authority).unwrap();
    let keys = format!("{}, client_ca_file: {}, reload_interval: 1h", pair(), authority.display());
    let running = Running::start(&secured(&keys)).await;
    let old = Client { certificate: Some(("client.pem", "client.key")), ..ANY };
    let new = Client { certificate: Some(("clients/shop.pem", "clients/client.key")), ..ANY };
    assert!(old.post(running.http(), 1).await.is_ok() && new.post(running.http(), 1).await.is_err());
    std::fs::copy(file("clients/ca.pem"), &authority).unwrap();
    running.host.reloads.send_modify(|count| *count += 1);
    eventually(|| running.counter_with("podgate_tls_certificate_renewals", "renewed") == 2).await;
    assert!(old.post(running.http(), 1).await.is_err() && new.post(running.http(), 1).await.is_ok());
}

/// As the kubelet turns a mounted secret: a link is put in the place of another in one step.
fn turn(folder: &Path, to: &str) {
    let next = folder.join("..data_tmp");
    std::os::unix::fs::symlink(folder.join(to), &next).unwrap();
    std::fs::rename(next, folder.join("..data")).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_rotations_under_load_fail_no_request() {
    let folder = tempfile::tempdir().unwrap();
    for (name, certificate, key) in
        [("first", "server.pem", "server.key"), ("second", "second-server.pem", "second-server.key")]
    {
        let pair = folder.path().join(name);
        std::fs::create_dir(&pair).unwrap();
        std::fs::copy(file(certificate), pair.join("tls.crt")).unwrap();
        std::fs::copy(file(key), pair.join("tls.key")).unwrap();
    }
    turn(folder.path(), "first");
    let data = folder.path().join("..data");
    let (certificate, key) = (data.join("tls.crt"), data.join("tls.key"));
    let keys = format!("cert_file: {}, key_file: {}, reload_interval: 1h", certificate.display(), key.display());
    let running = Running::start(&secured(&keys)).await;
    let over = std::sync::atomic::AtomicBool::new(false);
    let going_on = || !over.load(std::sync::atomic::Ordering::Relaxed);
    let client = Client { authority: "ca.pem second-ca.pem", ..ANY };
    // New connections meet each certificate, and one that is open is not cut.
    let by_connections = async {
        let mut sent = 0;
        while going_on() {
            assert_eq!(client.post(running.http(), 1).await.unwrap(), OK, "request {sent}");
            sent += 1;
        }
        sent
    };
    let by_one = async {
        let stream = Client { protocol: b"h2", ..client }.connect(running.grpc()).await.unwrap();
        let (mut h2, mut sent) = (H2::over(stream).await, 0);
        while going_on() {
            let reply = h2.grpc(TRACES, &[], &framed(0, &spans(1))).await.unwrap();
            assert_eq!(reply.grpc_status(), Some(0), "request {sent}: {reply:?}");
            sent += 1;
        }
        sent
    };
    let rotations = async {
        for round in 1..=rounds() {
            turn(folder.path(), if round % 2 == 1 { "second" } else { "first" });
            running.host.reloads.send_modify(|count| *count += 1);
            eventually(|| running.counter_with("podgate_tls_certificate_renewals", "renewed") == 2 * round).await;
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    };
    let (by_connections, by_one, ()) = tokio::join!(by_connections, by_one, rotations);
    println!("{} rotations, {by_connections} new connections and {by_one} requests of one, all accepted", rounds());
    assert!(by_connections >= rounds() / 4 && by_one >= rounds() / 4, "{by_connections} {by_one}");
    assert_eq!(running.sink.items(), by_connections + by_one);
    assert_eq!(running.counter_with("podgate_tls_certificate_renewals", "unusable"), 0);
    assert_eq!(running.counter_with("podgate_receiver_connections_closed", "tls_handshake"), 0);
    running.drain(Duration::from_secs(2)).await;
    running.assert_balance();
}

/// `PODGATE_ROTATIONS=10000` for more.
fn rounds() -> u64 {
    std::env::var("PODGATE_ROTATIONS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(100)
}

/// Waits until it is so, for ten seconds at most.
async fn eventually(is_so: impl Fn() -> bool) {
    for _ in 0..400 {
        if is_so() {
            return;
        }
        sleep(Duration::from_millis(25)).await;
    }
    assert!(is_so(), "after ten seconds it is still not so");
}

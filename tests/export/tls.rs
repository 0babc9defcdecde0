//! TLS to the next hop: authorities, names, client certificates, renewal, ALPN, and the mix-ups.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::harness::{Bench, Peer, eventually, request, start, taken};

pub fn file(name: &str) -> String {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tls").join(name).display().to_string()
}

/// TLS in front of `real`; asks for a client certificate when `mutual`.
pub async fn terminator(real: SocketAddr, mutual: bool) -> (SocketAddr, JoinSet<()>) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let builder = builder.expect("ring has them");
    let authority = CertificateDer::from_pem_file(file("ca.pem")).expect("a certificate");
    let verified = if mutual {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(authority).expect("usable");
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        builder.with_client_cert_verifier(verifier.expect("roots are there"))
    } else {
        builder.with_no_client_auth()
    };
    let chain = vec![CertificateDer::from_pem_file(file("server.pem")).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_file(file("server.key")).expect("a key");
    let mut config = verified.with_single_cert(chain, key).expect("they belong together");
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
    let address = listener.local_addr().expect("bound");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((client, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            connections.spawn(async move {
                let Ok(mut client) = acceptor.accept(client).await else { return };
                let mut server = TcpStream::connect(real).await.expect("the peer listens");
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (address, tasks)
}

const SUITES: &str = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256";
const ONCE: &str = "retry_on_failure: {enabled: false}, timeout: 2s";

async fn outcome(bench: &Bench) -> (u64, String) {
    bench.send(&request(["a"])).await.expect("accepted");
    let delivered = bench.settled().await.delivered;
    let status = bench.host.status.all();
    bench.drain(Duration::from_secs(2)).await;
    (delivered, status.values().map(|report| report.message.clone()).collect())
}

#[tokio::test]
async fn a_server_of_a_known_authority_is_trusted_and_others_are_not() {
    let peer = Peer::start(|_, _| taken()).await;
    let (address, _tasks) = terminator(peer.address, false).await;
    let port = address.port();
    for (host, tls, delivered) in [
        ("localhost", format!("ca_file: {}", file("ca.pem")), 1),
        ("127.0.0.1", format!("ca_file: {}, min_version: '1.3'", file("ca.pem")), 1),
        ("localhost", format!("ca_file: {}, max_version: '1.2', cipher_suites: [{SUITES}]", file("ca.pem")), 1),
        ("localhost", format!("ca_file: {}, curve_preferences: [P384, P256]", file("ca.pem")), 1),
        ("localhost", "insecure_skip_verify: true".to_owned(), 1),
        ("localhost", format!("ca_file: {}, server_name_override: other.example", file("ca.pem")), 0),
        ("localhost", format!("ca_file: {}", file("client.pem")), 0),
    ] {
        let keys = format!("{{endpoint: '{host}:{port}', tls: {{{tls}}}, {ONCE}}}");
        let bench = start("otlp_grpc", &keys).await;
        let (got, status) = outcome(&bench).await;
        assert_eq!(got, delivered, "{tls}: {status}");
        assert!(delivered == 1 || status.contains("server_name_override"), "{status}");
    }
}

#[tokio::test]
async fn http_speaks_http2_over_tls_when_the_server_agrees() {
    let peer = Peer::start(|_, _| taken()).await;
    let (address, _tasks) = terminator(peer.address, false).await;
    let keys =
        format!("{{endpoint: 'https://localhost:{}', tls: {{ca_file: {}}}, {ONCE}}}", address.port(), file("ca.pem"));
    // A stock gRPC server answers this path with HTTP 200 and a gRPC status: it spoke HTTP/2 and took nothing.
    let bench = start("otlp_http", &keys).await;
    let (delivered, status) = outcome(&bench).await;
    assert_eq!(delivered, 0);
    assert!(status.contains("application/grpc") && status.contains("check port and path"), "{status}");
}

#[tokio::test]
async fn a_client_certificate_is_shown_and_a_renewed_one_is_read_again() {
    let peer = Peer::start(|_, _| taken()).await;
    let (address, _tasks) = terminator(peer.address, true).await;
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = (directory.path().join("tls.crt"), directory.path().join("tls.key"));
    // First the server's own pair, which is not valid for a client; then the client's.
    std::fs::copy(file("server.pem"), &certificate).unwrap();
    std::fs::copy(file("server.key"), &key).unwrap();
    let retry = "retry_on_failure: {initial_interval: 50ms, max_interval: 50ms, max_elapsed_time: 20s}";
    let keys = format!(
        "{{endpoint: 'localhost:{}', tls: {{ca_file: {}, cert_file: {}, key_file: {}}}, {retry}}}",
        address.port(),
        file("ca.pem"),
        certificate.display(),
        key.display()
    );
    let bench = start("otlp_grpc", &keys).await;
    bench.send(&request(["a"])).await.unwrap();
    eventually("the wrong certificate is refused", || !bench.host.status.all().is_empty()).await;
    assert_eq!(bench.sheet().delivered, 0);
    std::fs::copy(file("client.pem"), &certificate).unwrap();
    std::fs::copy(file("client.key"), &key).unwrap();
    assert_eq!(bench.settled().await.delivered, 1);
    bench.drain(Duration::from_secs(2)).await;
}

#[tokio::test]
async fn plaintext_and_tls_mixed_up_are_named_with_their_cure() {
    let peer = Peer::start(|_, _| taken()).await;
    let (address, _tasks) = terminator(peer.address, false).await;
    for (keys, cure) in [
        (format!("{{endpoint: 'localhost:{}', {ONCE}}}", peer.address.port()), "set tls: {insecure: true}"),
        (
            format!("{{endpoint: 'localhost:{}', tls: {{insecure: true}}, {ONCE}}}", address.port()),
            "remove tls.insecure",
        ),
    ] {
        let bench = start("otlp_grpc", &keys).await;
        let (delivered, status) = outcome(&bench).await;
        assert!(delivered == 0 && status.contains(cure), "{status}");
    }
}

#[tokio::test]
async fn a_missing_ca_file_is_named_and_tried_again() {
    let keys = format!("{{endpoint: 'localhost:1', tls: {{ca_file: /nonexistent/ca.pem}}, {ONCE}}}");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let bench = start("otlp_grpc", &keys.replace("localhost:1'", &format!("localhost:{port}'"))).await;
    let (_, status) = outcome(&bench).await;
    assert!(status.contains("/nonexistent/ca.pem"), "{status}");
}

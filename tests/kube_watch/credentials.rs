//! Credentials of the watch: kubeconfig contexts, tokens and authorities that change, and certificates of another time.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use podgate::kube::client::Credentials;
use podgate::kube::hub::{Hub, WatchSpec};
use podgate::kube::watch::WatchHealth;
use podgate::lab::api_double::{MadePod, PodSpec};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use crate::world::{PATIENCE, World, knows, until};

/// A kubeconfig of these contexts (name, server, token), the first of which is current.
fn kubeconfig(contexts: &[(&str, &str, &str)], authority: Option<&Path>) -> String {
    let authority = authority.map_or(String::new(), |file| format!(", certificate-authority: {}", file.display()));
    let rows = |row: &dyn Fn(&(&str, &str, &str)) -> String| contexts.iter().map(row).collect::<String>();
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: {}\nclusters:\n{}users:\n{}contexts:\n{}",
        contexts[0].0,
        rows(&|(name, server, _)| format!("- {{name: {name}, cluster: {{server: '{server}'{authority}}}}}\n")),
        rows(&|(name, _, token)| format!("- {{name: {name}, user: {{token: '{token}'}}}}\n")),
        rows(&|(name, ..)| format!("- {{name: {name}, context: {{cluster: {name}, user: {name}}}}}\n")),
    )
}

fn hub(world: &World, file: &Path, context: Option<&str>) -> Arc<Hub> {
    let auth = Credentials::KubeConfig { context: context.map(str::to_owned), file: Some(file.to_path_buf()) };
    let hub = Hub::of(&world.host, WatchSpec { auth, ..world.spec() });
    hub.start();
    hub
}

fn pod(world: &World, name: &str) -> MadePod {
    world.sandbox.add_pod(PodSpec::deployed("shop", name, &["app"]))
}

#[tokio::test]
async fn the_context_that_is_named_is_used_and_else_the_current_one() {
    let (current, other) = (World::new(31).await, World::new(32).await);
    current.sandbox.require_token(Some("of-current"));
    other.sandbox.require_token(Some("of-other"));
    let (here, there) = (pod(&current, "here"), pod(&other, "there"));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config");
    let text = kubeconfig(&[("current", &current.url, "of-current"), ("other", &other.url, "of-other")], None);
    std::fs::write(&file, text).expect("written");
    for (context, expected) in [(None, &here), (Some("current"), &here), (Some("other"), &there)] {
        // A host of its own, so that each watch starts anew.
        let world = World::new(33).await;
        let hub = hub(&world, &file, context);
        assert!(hub.wait_synced(Instant::now() + PATIENCE).await, "{context:?}: {:?}", hub.freshness());
        assert!(knows(&hub, expected), "{context:?}");
        assert_eq!(hub.snapshot().len(), 1, "{context:?}");
        hub.drain(Instant::now() + PATIENCE).await;
    }
}

#[tokio::test]
async fn a_context_that_is_missing_is_named_on_the_status_board_and_found_when_it_is_written() {
    let world = World::new(34).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config");
    std::fs::write(&file, kubeconfig(&[("one", &world.url, "t")], None)).expect("written");
    let hub = hub(&world, &file, Some("two"));
    until(&hub, "the state", |hub| matches!(hub.freshness().state, WatchHealth::Stale(_))).await;
    let message = world.host.status.all()["k8s"].message.clone();
    assert!(message.contains("two"), "{message}");
    std::fs::write(&file, kubeconfig(&[("one", &world.url, "t"), ("two", &world.url, "t")], None)).expect("written");
    until(&hub, "the first list", Hub::synced).await;
    hub.drain(Instant::now() + PATIENCE).await;
}

#[tokio::test]
async fn a_token_that_changed_in_a_kubeconfig_is_read_again_after_the_first_401() {
    let world = World::new(35).await;
    world.sandbox.require_token(Some("first"));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config");
    std::fs::write(&file, kubeconfig(&[("one", &world.url, "first")], None)).expect("written");
    let hub = hub(&world, &file, None);
    assert!(hub.wait_synced(Instant::now() + PATIENCE).await);
    world.sandbox.require_token(Some("second"));
    world.sandbox.cut_watches();
    until(&hub, "the refusal", |_| world.metric("otelcol_otelsvc_k8s_requests", Some("unauthorized")) >= 1).await;
    std::fs::write(&file, kubeconfig(&[("one", &world.url, "second")], None)).expect("written");
    let new = pod(&world, "new");
    until(&hub, "the pod behind the new token", |hub| knows(hub, &new)).await;
    hub.drain(Instant::now() + PATIENCE).await;
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tls").join(name)
}

fn acceptor(certificate: &str, key: &str) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let chain = vec![CertificateDer::from_pem_file(golden(certificate)).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_file(golden(key)).expect("a key");
    let config = builder.expect("ring has them").with_no_client_auth().with_single_cert(chain, key);
    TlsAcceptor::from(Arc::new(config.expect("they belong together")))
}

/// One connection: TLS here, plain to the server behind; ends with either.
async fn terminated(acceptor: TlsAcceptor, client: TcpStream, real: SocketAddr) {
    let Ok(mut client) = acceptor.accept(client).await else { return };
    let Ok(mut server) = TcpStream::connect(real).await else { return };
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}

/// TLS in front of a sandbox, with a certificate that can be swapped. Swapping ends the connections there are.
struct Front {
    address: SocketAddr,
    acceptor: Arc<Mutex<TlsAcceptor>>,
    connections: Arc<Mutex<JoinSet<()>>>,
    _accepting: JoinSet<()>,
}

impl Front {
    async fn new(world: &World, certificate: &str, key: &str) -> Front {
        let real: SocketAddr = world.url.trim_start_matches("http://").parse().expect("an address");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
        let address = listener.local_addr().expect("bound");
        let current = Arc::new(Mutex::new(acceptor(certificate, key)));
        let connections: Arc<Mutex<JoinSet<()>>> = Arc::default();
        let mut accepting = JoinSet::new();
        let (acceptor, open) = (current.clone(), connections.clone());
        accepting.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let acceptor = acceptor.lock().expect("not poisoned").clone();
                open.lock().expect("not poisoned").spawn(terminated(acceptor, client, real));
            }
        });
        Front { address, acceptor: current, connections, _accepting: accepting }
    }

    fn swap(&self, certificate: &str, key: &str) {
        *self.acceptor.lock().expect("not poisoned") = acceptor(certificate, key);
        self.connections.lock().expect("not poisoned").abort_all();
    }

    fn url(&self) -> String {
        format!("https://{}", self.address)
    }
}

#[tokio::test]
async fn an_authority_that_was_swapped_is_trusted_once_its_file_says_so() {
    let world = World::new(36).await;
    let front = Front::new(&world, "server.pem", "server.key").await;
    let folder = tempfile::tempdir().expect("a folder");
    let (file, authority) = (folder.path().join("config"), folder.path().join("ca.crt"));
    std::fs::copy(golden("ca.pem"), &authority).expect("copied");
    std::fs::write(&file, kubeconfig(&[("one", &front.url(), "t")], Some(&authority))).expect("written");
    let hub = hub(&world, &file, None);
    assert!(hub.wait_synced(Instant::now() + PATIENCE).await, "{:?}", hub.freshness());
    front.swap("second-server.pem", "second-server.key");
    let new = pod(&world, "new");
    until(&hub, "the refusal of the unknown authority", |hub| matches!(hub.freshness().state, WatchHealth::Stale(_)))
        .await;
    assert!(!knows(&hub, &new), "a server that nobody vouches for is not believed");
    std::fs::copy(golden("second-ca.pem"), &authority).expect("copied");
    until(&hub, "the pod behind the new authority", |hub| knows(hub, &new)).await;
    hub.drain(Instant::now() + PATIENCE).await;
}

#[tokio::test]
async fn certificates_of_another_time_are_refused_with_a_reason_and_the_watch_heals_with_the_right_one() {
    for (seed, certificate, reason) in
        [(37, "expired-server.pem", "expired"), (38, "future-server.pem", "not valid yet")]
    {
        let world = World::new(seed).await;
        let old = pod(&world, "old");
        let front = Front::new(&world, certificate, "second-server.key").await;
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("config");
        let authority = golden("second-ca.pem");
        std::fs::write(&file, kubeconfig(&[("one", &front.url(), "t")], Some(&authority))).expect("written");
        let hub = hub(&world, &file, None);
        until(&hub, "the state", |hub| matches!(hub.freshness().state, WatchHealth::Stale(_))).await;
        let message = world.host.status.all()["k8s"].message.clone();
        assert!(message.contains(reason), "{certificate}: {message}");
        assert!(hub.snapshot().is_empty() && !hub.synced());
        assert!(world.sandbox.requests().is_empty(), "nothing is said to a server like that");
        front.swap("second-server.pem", "second-server.key");
        until(&hub, "the list", |hub| knows(hub, &old)).await;
        hub.drain(Instant::now() + Duration::from_secs(5)).await;
    }
}

//! New connections in TLS, a thousand a second, beside honest clients on plain ports: what a handshake costs, and what the
//! others feel of it. Short here; `make test-handshakes` writes the figures into docs/hardening.md.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_rustls::TlsConnector;

use super::gateway::{ATTACKER, HONEST, Process, is_long, setting};
use super::honest::{Clients, Felt};
use super::report;
use crate::support::free_ports;

/// The promise: p99 beside them over p99 alone, where anybody feels it.
const RATIO_MAX: f64 = 2.0;
const FLOOR_MILLIS: f64 = 2.0;
/// Under way at a time; more are late and not begun.
const AT_ONCE: usize = 256;
const DONE_SO_FAR: &str = "done so far: ";

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tls").join(name)
}

/// A process that shakes hands for as long as it lives.
struct Shaker {
    child: Child,
    /// What it told last.
    done: Arc<AtomicU64>,
}

impl Shaker {
    fn start(port: u16, rate: u64) -> Shaker {
        let mut command = ATTACKER.command(&std::env::current_exe().unwrap());
        let role = ["--exact", "edge_process::handshakes::handshakes_role", "--ignored", "--nocapture"];
        let environment = [("PODGATE_SHAKE_PORT", u64::from(port)), ("PODGATE_SHAKE_RATE", rate)];
        command.args(role).envs(environment.map(|(name, value)| (name, value.to_string())));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (told, done) = (BufReader::new(child.stdout.take().unwrap()), Arc::<AtomicU64>::default());
        let last = done.clone();
        std::thread::spawn(move || {
            for line in told.lines().map_while(Result::ok) {
                if let Some(count) = line.strip_prefix(DONE_SO_FAR).and_then(|count| count.parse().ok()) {
                    last.store(count, Ordering::Relaxed);
                }
            }
        });
        Shaker { child, done }
    }

    /// Handshakes that were done.
    fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }
}

impl Drop for Shaker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Not a test: what [`Shaker::start`] runs in the other process.
#[test]
#[ignore = "a role, started by the test of handshakes"]
fn handshakes_role() {
    let to = SocketAddr::from(([127, 0, 0, 1], u16::try_from(setting("PODGATE_SHAKE_PORT", 0)).unwrap()));
    let every = Duration::from_nanos(1_000_000_000 / setting("PODGATE_SHAKE_RATE", 1).max(1));
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file("ca.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    // Each is a whole one.
    config.resumption = rustls::client::Resumption::disabled();
    let (connector, done) = (TlsConnector::from(Arc::new(config)), Arc::new(AtomicU64::new(0)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async move {
        let (mut due, mut open) = (interval(every), JoinSet::new());
        // One that the machine's other work holds up is slower, and never comes in bursts.
        due.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut told = 0;
        loop {
            due.tick().await;
            while open.try_join_next().is_some() {}
            if open.len() < AT_ONCE {
                open.spawn(shake(connector.clone(), to, done.clone()));
            }
            told += 1;
            if told % 20 == 0 {
                let _ = writeln!(std::io::stdout(), "{DONE_SO_FAR}{}", done.load(Ordering::Relaxed));
            }
        }
    });
}

async fn shake(connector: TlsConnector, to: SocketAddr, done: Arc<AtomicU64>) {
    let shaken = timeout(Duration::from_secs(5), async {
        let stream = TcpStream::connect(to).await.ok()?;
        connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.ok()
    });
    if let Ok(Some(_)) = shaken.await {
        done.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn handshakes_leave_honest_requests_alone() {
    let (seconds, rate) = (setting("PODGATE_SHAKE_SECONDS", 2), setting("PODGATE_SHAKES", 50));
    if is_long() {
        HONEST.take();
    }
    let [port] = free_ports();
    let rest = format!(
        "receivers::otlp/locked::protocols::http: {{endpoint: '127.0.0.1:{port}', tls: {{cert_file: '{}', key_file: '{}'}}}}\n\
         processors:\n  memory_limiter: {{check_interval: 1s, limit_mib: 256}}\nexporters:\n  nop:\nservice:\n  \
         telemetry: {{metrics: {{level: none}}}}\n  extensions: [health_check]\n  pipelines:\n    \
         traces: {{receivers: [otlp, otlp/locked], processors: [memory_limiter], exporters: [nop]}}\n",
        file("server.pem").display(),
        file("server.key").display()
    );
    let process = Process::start("", &rest).await;
    let mut clients = Clients::connect(&process).await;
    clients.send(Duration::from_millis(500)).await;
    let how_long = Duration::from_secs(seconds);
    let idle = process.cpu();
    let mut before = clients.send(how_long).await;
    let idle = process.cpu() - idle;
    let shaker = Shaker::start(port, rate);
    sleep(Duration::from_secs(1)).await;
    let (busy, done) = (process.cpu(), shaker.done());
    let mut during = clients.send(how_long).await;
    let (busy, done) = (process.cpu() - busy, shaker.done() - done);
    drop(shaker);
    assert_eq!((before.refused, during.refused, during.put_off), (0, 0, 0), "honest requests refused");
    assert!(done > 0, "nobody shook hands");
    let each = busy.saturating_sub(idle).as_secs_f64() * 1e3 / done as f64;
    let cell = |felt: &mut Felt| format!("{:.2} / {:.2}", felt.percentile(50), felt.percentile(99));
    let keeps = during.percentile(99) <= (before.percentile(99) * RATIO_MAX).max(FLOOR_MILLIS);
    let body = format!(
        "`make test-handshakes S={seconds}`, {}.\nHonest load as beside the abuses, on plain ports; beside it {rate} new \
         connections a second in TLS 1.3 (P-256, none resumed) on a third port for {seconds} s. Gateway on one core, the clients on the other.\n\n\
         | handshakes a second | honest p50 / p99 before, ms | during, ms | within twice (or 2 ms) | CPU a handshake, ms | peak MiB |\n\
         |---|---|---|---|---|---|\n| {} | {} | {} | {} | {each:.2} | {:.0} |\n",
        report::circumstances(),
        done / seconds,
        cell(&mut before),
        cell(&mut during),
        if keeps { "yes" } else { "no" },
        process.peak_mib()
    );
    assert_eq!(process.stop().await.code, Some(0));
    println!("{body}");
    report::write("Handshakes", &body);
}

//! T9: ten times more than the back end takes, from a hundred tenants of whom one asks for half of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use podgate::testing::fault_proxy::{FaultProxy, ProxyFault};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

use super::gateway::{Process, is_long, setting};
use super::report;
use crate::harness::{BOTH, Running, parse_http1, spans};

const TENANTS: usize = 100;
/// Bytes a second that reach the back end on each of the exporter's connections.
const CAPACITY: u64 = 256 << 10;
const MODEST_PER_SECOND: u64 = 5;
const BODY_BYTES: u64 = 20 << 10;

/// What became of one tenant's requests.
#[derive(Default)]
struct Account {
    accepted: AtomicU64,
    refused: AtomicU64,
    /// Refusals without a hint, and answers that are neither.
    wrong: AtomicU64,
}

/// Sends a request whenever one is due, on one connection.
async fn tenant(
    number: usize,
    to: std::net::SocketAddr,
    body: Arc<Vec<u8>>,
    account: Arc<Account>,
    counts: Arc<AtomicBool>,
) {
    let per_second = if number == 0 { MODEST_PER_SECOND * TENANTS as u64 } else { MODEST_PER_SECOND };
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: t\r\nx-tenant: t{number}\r\ncontent-type: application/x-protobuf\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(to).await.unwrap();
    let mut answer = vec![0; 4096];
    sleep(Duration::from_millis(fastrand::u64(0..1000 / MODEST_PER_SECOND))).await;
    let mut due = interval(Duration::from_micros(1_000_000 / per_second));
    due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
        let read =
            timeout(Duration::from_secs(20), stream.read(&mut answer)).await.expect("an answer in time").unwrap();
        assert!(read > 0, "tenant {number} lost its connection");
        let reply = parse_http1(&answer[..read]);
        let hint = reply.header("retry-after").and_then(|after| after.parse::<u64>().ok());
        let counter = match (reply.status, hint) {
            (200, _) => &account.accepted,
            (503 | 429, Some(1..))
                if reply.rpc_status().is_some_and(|status| status.retry_seconds() == hint.map(|hint| hint as i64)) =>
            {
                &account.refused
            }
            _ => &account.wrong,
        };
        if counts.load(Ordering::Relaxed) || std::ptr::eq(counter, &account.wrong) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Jain's index: 1 when all have the same, 1/n when one has all.
fn jain(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    sum * sum / (shares.len() as f64 * shares.iter().map(|share| share * share).sum::<f64>())
}

/// The back end: takes everything, as fast as the proxy before it lets it come.
async fn back_end() -> (Running, FaultProxy, JoinSet<()>) {
    let running = Running::start(BOTH).await;
    let proxy = FaultProxy::start(running.grpc()).await.unwrap();
    proxy.set(ProxyFault::Throttle(CAPACITY));
    let sink = running.sink.clone();
    let mut emptying = JoinSet::new();
    emptying.spawn(async move {
        loop {
            sleep(Duration::from_millis(100)).await;
            sink.payloads.lock().unwrap().clear();
        }
    });
    (running, proxy, emptying)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_tenfold_overload_memory_holds_refusals_are_retryable_and_the_modest_get_the_same() {
    let long = if is_long() { (256, 60) } else { (64, 8) };
    let (limit_mib, seconds) = (setting("PODGATE_OVERLOAD_MIB", long.0), setting("PODGATE_OVERLOAD_SECONDS", long.1));
    let (_back_end, proxy, _emptying) = back_end().await;
    let rest = format!(
        "processors:\n  memory_limiter: {{check_interval: 1s, limit_mib: {limit_mib}}}\nexporters:\n  otlp:\n    \
         endpoint: http://{}\n    tls: {{insecure: true}}\n    timeout: 60s\n    \
         sending_queue: {{queue_size: 100000, num_consumers: 8}}\nservice:\n  telemetry: {{metrics: {{level: none}}}}\n  \
         pipelines:\n    traces: {{receivers: [otlp], processors: [memory_limiter], exporters: [otlp]}}\n",
        proxy.address()
    );
    let process = Process::start(", podgate: {tenant_header: x-tenant}", &rest).await;
    let body = Arc::new(spans(BODY_BYTES / 50));
    let counts = Arc::<AtomicBool>::default();
    let accounts: Vec<Arc<Account>> = (0..TENANTS).map(|_| Arc::default()).collect();
    let mut tenants = JoinSet::new();
    for (number, account) in accounts.iter().enumerate() {
        tenants.spawn(tenant(number, process.http, body.clone(), account.clone(), counts.clone()));
    }
    // Until memory is short and the shares have settled.
    sleep(Duration::from_secs(seconds)).await;
    counts.store(true, Ordering::Relaxed);
    sleep(Duration::from_secs(seconds)).await;
    counts.store(false, Ordering::Relaxed);
    if let Some(Err(error)) = tenants.try_join_next() {
        panic!("a tenant ended: {error}");
    }
    tenants.shutdown().await;
    let peak = process.peak_mib();
    let of = |account: &Account, counter: fn(&Account) -> &AtomicU64| counter(account).load(Ordering::Relaxed);
    let sum = |counter: fn(&Account) -> &AtomicU64| accounts.iter().map(|account| of(account, counter)).sum::<u64>();
    let (accepted, refused, wrong) = (sum(|a| &a.accepted), sum(|a| &a.refused), sum(|a| &a.wrong));
    let modest: Vec<f64> = accounts[1..].iter().map(|account| of(account, |a| &a.accepted) as f64).collect();
    let index = jain(&modest);
    let greedy = of(&accounts[0], |a| &a.accepted);
    // Once memory is short, what is accepted is what the back end takes.
    let offered = (accepted + refused) as f64 / accepted.max(1) as f64;
    let text = format!(
        "{offered:.1} times what the back end takes; {accepted} requests accepted, {refused} refused, of which {wrong} without \
         a hint; the modest got {:.0} each with a Jain index of {index:.3}, the greedy {greedy} for a hundred times their \
         asking; peak {peak:.0} MiB of {limit_mib} ({:.0} %)",
        modest.iter().sum::<f64>() / modest.len() as f64,
        peak / limit_mib as f64 * 100.0
    );
    println!("{text}");
    assert_eq!(wrong, 0, "{text}");
    assert!(refused > accepted, "no overload: {text}");
    assert!(index >= 0.95, "{text}");
    assert!(peak <= 0.95 * limit_mib as f64 || !is_long(), "{text}");
    let ended = process.stop().await;
    assert_eq!(ended.items("received"), ended.items("delivered") + ended.items("refused") + ended.items("dropped"));
    let how =
        format!("{TENANTS} tenants told apart by a header, one connection each, {seconds} s after as many to settle");
    report::write(
        "Overload",
        &format!("`make test-overload S={seconds}`, {}.\n{how}: {text}.", report::circumstances()),
    );
}

//! Clients over HTTP/1.1 that close their socket while their request waits for the next hop: place and file descriptor are
//! free at once, nothing is tried again for them, and every item is in the account.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::gateway::Process;
use crate::harness::spans;

/// As many as there are places for one address, so that one which is kept shows at once.
const CLIENTS: u64 = 8;
const ROUNDS: u64 = 3;
const SPANS: u64 = 10;
/// Of the exporter, for one attempt.
const TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    /// 503, which is to be tried again.
    Refuses,
    /// Reads and never answers.
    Hangs,
    Takes,
}

/// A next hop over HTTP/1.1 that counts what is tried.
struct Hop {
    port: u16,
    mood: watch::Sender<Mood>,
    attempts: Arc<AtomicU64>,
    taken: Arc<AtomicU64>,
    _accepting: JoinSet<()>,
}

impl Hop {
    async fn start(mood: Mood) -> Hop {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (mood, seen) = watch::channel(mood);
        let (attempts, taken) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let (counts, mut accepting) = ((attempts.clone(), taken.clone()), JoinSet::new());
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, seen.clone(), counts.clone()));
            }
        });
        Hop { port, mood, attempts, taken, _accepting: accepting }
    }

    fn attempts(&self) -> u64 {
        self.attempts.load(Ordering::Relaxed)
    }
}

async fn serve(mut stream: TcpStream, mood: watch::Receiver<Mood>, counts: (Arc<AtomicU64>, Arc<AtomicU64>)) {
    let mut buffer = vec![0; 64 << 10];
    // Requests are small and come one by one: each is a head and, soon after, its body.
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        if !buffer[..read].starts_with(b"POST ") {
            continue;
        }
        counts.0.fetch_add(1, Ordering::Relaxed);
        let status = match *mood.borrow() {
            Mood::Hangs => continue,
            Mood::Refuses => "503 Service Unavailable",
            Mood::Takes => {
                counts.1.fetch_add(1, Ordering::Relaxed);
                "200 OK"
            }
        };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn gateway(hop: &Hop) -> Process {
    let rest = format!(
        "exporters:\n  otlp_http:\n    endpoint: http://127.0.0.1:{}\n    timeout: {}s\n    compression: none\n    \
         sending_queue: {{enabled: false}}\n    \
         retry_on_failure: {{initial_interval: 100ms, max_interval: 100ms, max_elapsed_time: 300s}}\n\
         service:\n  telemetry: {{metrics: {{level: none}}}}\n  pipelines:\n    \
         traces: {{receivers: [otlp], exporters: [otlp_http]}}\n",
        hop.port,
        TIMEOUT.as_secs()
    );
    Process::start(&format!(", podgate: {{max_connections_per_address: {CLIENTS}}}"), &rest).await
}

/// A request whose answer is never awaited.
async fn ask(process: &Process) -> TcpStream {
    let body = spans(SPANS);
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: t\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(process.http).await.unwrap();
    stream.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
    stream
}

async fn until(what: &str, most: Duration, condition: impl Fn() -> bool) -> Duration {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < most, "{what}: not within {most:?}");
        sleep(Duration::from_millis(10)).await;
    }
    begun.elapsed()
}

/// All rounds of clients that come, wait and go.
async fn come_and_go(process: &Process, hop: &Hop) {
    for round in 1..=ROUNDS {
        let before = hop.attempts();
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            clients.push(ask(process).await);
        }
        // The next hop was asked for each of them, so none was refused its place.
        until("asked", Duration::from_secs(10), || hop.attempts() >= before + CLIENTS).await;
        // Some were asked for twice before the last one was accepted.
        let all_in = || process.connections(process.http.port()) == CLIENTS as usize;
        until(&format!("all have a place, round {round}"), Duration::from_secs(10), all_in).await;
        drop(clients);
        let places = || process.connections(process.http.port()) == 0;
        until("file descriptors are free", TIMEOUT / 2, places).await;
        // A place is given back right behind its socket; on a busy machine a new client may come between the two.
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_closes_its_socket_frees_its_place_at_once_and_is_not_tried_again_for() {
    let hop = Hop::start(Mood::Refuses).await;
    let process = gateway(&hop).await;
    come_and_go(&process, &hop).await;
    let (attempts, settled) = (hop.attempts(), Instant::now());
    sleep(Duration::from_millis(1_500)).await;
    // One a client that was about to begin; ten a second each if they went on.
    let more = hop.attempts() - attempts;
    assert!(more <= CLIENTS, "{more} attempts in the {:?} after everybody had gone", settled.elapsed());
    hop.mood.send_replace(Mood::Takes);
    sleep(Duration::from_millis(500)).await;
    assert_eq!(hop.taken.load(Ordering::Relaxed), 0, "delivered for nobody");
    let ended = process.stop().await;
    let all = ROUNDS * CLIENTS * SPANS;
    assert_eq!((ended.items("received"), ended.items("refused")), (all, all), "{}", ended.log);
    assert_eq!(ended.code, Some(0), "{}", ended.log);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_hangs_outlives_its_client_by_its_own_timeout_at_most_and_keeps_no_place() {
    let hop = Hop::start(Mood::Hangs).await;
    let process = gateway(&hop).await;
    come_and_go(&process, &hop).await;
    let to_hop = || process.connections_to(hop.port) == 0;
    until("the attempts end", TIMEOUT + Duration::from_secs(2), to_hop).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(hop.attempts(), ROUNDS * CLIENTS, "one for each client, and no other");
    let ended = process.stop().await;
    let all = ROUNDS * CLIENTS * SPANS;
    assert_eq!((ended.items("received"), ended.items("refused")), (all, all), "{}", ended.log);
}

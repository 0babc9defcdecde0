//! T4: stopped again and again, under load, with a silent connection and a stuck stream open, whatever the back end does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use podgate::testing::fault_proxy::{FaultProxy, ProxyFault};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::gateway::{Ended, Process, setting};
use super::report;
use crate::harness::{H2, TRACES, framed, spans};
use crate::support::Sink;

const STOP_MAX: Duration = Duration::from_secs(5);
/// A next hop that hangs is given up when the requests on the wire have had the exporter's `timeout`, five seconds here.
const STOP_MAX_HANGING: Duration = Duration::from_secs(8);
const SPANS: u64 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BackEnd {
    Up,
    Down,
    Hanging,
}

/// Sends until the gateway takes no more; counts the spans it took.
async fn load(process: &Process, acked: Arc<AtomicU64>, over: Arc<AtomicBool>) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    for _ in 0..4 {
        let (acked, over, grpc) = (acked.clone(), over.clone(), process.grpc);
        clients.spawn(async move {
            let mut client = H2::connect(grpc).await;
            let body = framed(0, &spans(SPANS));
            while !over.load(Ordering::Relaxed) {
                match timeout(Duration::from_secs(15), client.grpc(TRACES, &[], &body)).await {
                    Ok(Ok(reply)) if reply.grpc_status() == Some(0) => _ = acked.fetch_add(SPANS, Ordering::Relaxed),
                    Ok(Ok(_)) => sleep(Duration::from_millis(5)).await,
                    _ => return,
                }
                sleep(Duration::from_millis(1)).await;
            }
        });
    }
    clients
}

/// Connections that would hold up a server which waits for its clients.
async fn dead_weight(process: &Process) -> (TcpStream, TcpStream, H2, h2::SendStream<bytes::Bytes>) {
    let silent = TcpStream::connect(process.grpc).await.unwrap();
    let mut half = TcpStream::connect(process.http).await.unwrap();
    half.write_all(b"POST /v1/traces HTTP/1.1\r\nhost: t\r\ncontent-length: 100\r\n\r\nx").await.unwrap();
    let client = H2::connect(process.grpc).await;
    let request = http::Request::post(format!("http://t{TRACES}")).header("content-type", "application/grpc");
    let mut send = client.send.clone().ready().await.unwrap();
    let (_response, mut stream) = send.send_request(request.body(()).unwrap(), false).unwrap();
    stream.send_data(vec![0, 0, 0, 1, 0, 7].into(), false).unwrap();
    (silent, half, client, stream)
}

async fn stop(back_end: BackEnd, queued: bool) -> (Ended, u64, u64) {
    let sink = Sink::start().await;
    let proxy = FaultProxy::start(sink.address).await.unwrap();
    if back_end == BackEnd::Down {
        proxy.set(ProxyFault::Reset);
    }
    let rest = format!(
        "exporters:\n  otlp:\n    endpoint: http://{}\n    tls: {{insecure: true}}\n    sending_queue: {{enabled: {queued}}}\n\
         service:\n  telemetry: {{metrics: {{level: none}}}}\n  pipelines:\n    traces: {{receivers: [otlp], exporters: [otlp]}}\n",
        proxy.address()
    );
    let process = Process::start("", &rest).await;
    let (acked, over) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
    let mut clients = load(&process, acked.clone(), over.clone()).await;
    let _weight = dead_weight(&process).await;
    sleep(Duration::from_millis(fastrand::u64(50..200))).await;
    if back_end == BackEnd::Hanging {
        proxy.set(ProxyFault::HalfOpen);
        sleep(Duration::from_millis(fastrand::u64(0..100))).await;
    }
    let ended = process.stop().await;
    over.store(true, Ordering::Relaxed);
    while clients.join_next().await.is_some() {}
    let spans = sink.spans().len() as u64;
    (ended, acked.load(Ordering::Relaxed), spans)
}

fn check(back_end: BackEnd, ended: &Ended, acked: u64, arrived: u64) {
    let Ended { code, took, log, .. } = ended;
    let lost = ended.items("dropped(shutdown)") > 0;
    assert_eq!(*code, Some(if lost { 3 } else { 0 }), "{log}");
    let most = if back_end == BackEnd::Hanging { STOP_MAX_HANGING } else { STOP_MAX };
    assert!(*took < most, "took {took:?}\n{log}");
    let (received, delivered) = (ended.items("received"), ended.items("delivered"));
    let (refused, dropped) = (ended.items("refused"), ended.items("dropped"));
    assert_eq!(received, delivered + refused + dropped, "{log}");
    assert_eq!(ended.balance.get("held"), Some(&0).filter(|_| received > 0), "{log}");
    assert!(acked <= delivered + dropped, "{acked} were acknowledged, {:?}", ended.balance);
    if back_end == BackEnd::Up {
        assert_eq!(dropped, 0, "lost with a back end that is there: {log}");
        assert_eq!(arrived, delivered, "what counts as delivered has arrived, once");
        assert!(acked > 0 && arrived >= acked, "{acked} acknowledged, {arrived} arrived");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_stop_is_quick_and_names_what_it_loses() {
    let stops = setting("PODGATE_STOPS", 10);
    let mut rows = String::from(
        "| back end | stops | longest | received | delivered | refused | dropped, named |\n|---|---|---|---|---|---|---|\n",
    );
    let mut sums = [(); 3].map(|()| (0, Duration::ZERO, [0u64; 4]));
    for number in 0..stops {
        let kind = number as usize % 3;
        let back_end = [BackEnd::Up, BackEnd::Down, BackEnd::Hanging][kind];
        let queued = number / 3 % 2 == 0;
        let (ended, acked, arrived) = stop(back_end, queued).await;
        check(back_end, &ended, acked, arrived);
        let (count, longest, items) = &mut sums[kind];
        *count += 1;
        *longest = ended.took.max(*longest);
        for (sum, entry) in items.iter_mut().zip(["received", "delivered", "refused", "dropped"]) {
            *sum += ended.items(entry);
        }
    }
    for (name, (count, longest, items)) in ["up", "down (connections reset)", "hanging"].iter().zip(sums) {
        let [received, delivered, refused, dropped] = items;
        rows.push_str(&format!(
            "| {name} | {count} | {:.1} s | {received} | {delivered} | {refused} | {dropped} |\n",
            longest.as_secs_f64()
        ));
    }
    let how = "SIGTERM under the load of four clients, with a silent connection, a half-sent HTTP/1.1 body and a half-sent \
               gRPC message open; half of the stops with a sending_queue. Each exited with 3 where the stop lost items and with 0 \
               elsewhere, in under five seconds, or eight where the back end hangs, and its \
               final line added up; with the back end up nothing was dropped and every delivered span had arrived once.";
    report::write("Stops", &format!("`make test-stops N={stops}`, {}.\n{how}\n\n{rows}", report::circumstances()));
}

//! The load generator against small servers that answer by script.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Parser;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::*;
use crate::net::pages::page;
use crate::net::pages::page::PageResponse;
use crate::otlp::envelope;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn args(words: &[&str]) -> Args {
    Line::parse_from([&["loadgen"], words].concat()).args
}

/// A receiver that answers with these statuses in turn; returns its URL and the spans it saw.
async fn receiver(statuses: &'static [u16]) -> (String, Arc<Mutex<Vec<u64>>>, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (stop, stopped) = watch::channel(false);
    let (spans, turn) = (seen.clone(), Arc::new(AtomicU64::new(0)));
    let answer: page::PageFn = Arc::new(move |request| {
        let body = envelope::decode(request.body).expect("an envelope");
        spans.lock().expect("unpoisoned").push(body.messages() as u64);
        let status = statuses[turn.fetch_add(1, Ordering::Relaxed) as usize % statuses.len()];
        Box::pin(std::future::ready(PageResponse::text(status, "")))
    });
    JoinSetGuard::spawn(page::serve(listener, answer, stopped));
    (url, seen, stop)
}

/// Test servers end with the runtime.
struct JoinSetGuard;

impl JoinSetGuard {
    #[expect(clippy::disallowed_methods, reason = "a test's peer lives as long as its runtime")]
    fn spawn(server: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(server);
    }
}

async fn report(args: &Args) -> Report {
    let sender = LoadSender::new(args.endpoint.as_deref().expect("given"), args.protocol, Compression::None, 1);
    load(args, Arc::new(sender.expect("a usable endpoint"))).await
}

#[tokio::test]
async fn every_span_sent_is_counted_under_the_answer_it_got() {
    let (url, seen, _stop) = receiver(&[200, 503, 400]).await;
    let words = ["--protocol", "http", "--endpoint", &url, "--rate", "6000", "--spans-per-request", "100"];
    let args = args(&[&words[..], &["--duration", "400ms", "--workers", "4"]].concat());
    let report = report(&args).await;
    let tally = &report.tally;
    let received: u64 = seen.lock().expect("unpoisoned").iter().sum();
    assert!(received > 0);
    assert_eq!(tally.accepted_spans + tally.refused_spans + tally.rejected_spans, received);
    assert_eq!(tally.failed_spans, 0, "{:?}", tally.last_failure);
    assert!(tally.accepted_spans > 0 && tally.refused_spans > 0 && tally.rejected_spans > 0);
    assert_eq!(tally.latency.count() * 100, received);
    assert_eq!(report.json()["spans"]["accepted"], tally.accepted_spans);
}

#[tokio::test]
async fn the_rate_is_told_of_the_whole_time_and_not_until_the_last_request_alone() {
    let (url, _seen, _stop) = receiver(&[200]).await;
    let words = ["--protocol", "http", "--endpoint", &url, "--rate", "200", "--spans-per-request", "100"];
    let report = report(&args(&[&words[..], &["--duration", "1s"]].concat())).await;
    assert_eq!(report.tally.accepted_spans, 200, "the second and last request is due after half of the second");
    assert!(report.took >= Duration::from_secs(1), "{:?}", report.took);
    assert!(report.text(&url).contains("200 spans accepted in 1."), "{}", report.text(&url));
}

#[tokio::test]
async fn an_endpoint_where_nobody_listens_counts_as_failed_with_the_reason() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let endpoint = listener.local_addr().expect("bound").to_string();
    drop(listener);
    let args = args(&["--endpoint", &endpoint, "--duration", "100ms", "--rate", "10000"]);
    let report = report(&args).await;
    assert_eq!(report.tally.accepted_spans, 0);
    assert!(report.tally.failed_spans > 0);
    assert!(report.tally.last_failure.is_some_and(|why| why.contains("refused")));
}

#[test]
fn what_cannot_be_meant_is_refused_on_the_command_line() {
    for words in [["--spans-per-trace", "0"], ["--workers", "0"], ["--duration", "soon"], ["--failed-percent", "101"]] {
        assert!(Line::try_parse_from([&["loadgen"], &words[..]].concat()).is_err(), "{words:?}");
    }
}

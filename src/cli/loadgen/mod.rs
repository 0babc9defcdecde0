//! `podgate loadgen`: sends generated traces to any OTLP endpoint at a steady rate and says what became of them.
//!
//! Open loop: requests are due at fixed times whether or not earlier ones were answered, and latency counts from the due
//! time, so that a slow receiver cannot hide behind a waiting sender. Knows nothing of the gateway it loads.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::cli::{Exit, run};
use crate::config::value::duration;
use crate::lab::loadgen::generate::{Mix, TraceStream, field_resource, pod_uid};
use crate::lab::loadgen::pace::{Pace, Paced};
use crate::lab::loadgen::sender::{LoadProtocol, LoadSender};
use crate::lab::loadgen::worker::LoadTally;
use crate::net::client::compress::Compression;
use crate::telemetry::stdout::{self, Format};

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where to send; 127.0.0.1 and the protocol's usual port when not given
    #[arg(long, value_name = "HOST:PORT|URL")]
    pub endpoint: Option<String>,
    /// OTLP over gRPC or over HTTP with protobuf bodies
    #[arg(long, value_enum, default_value = "grpc")]
    pub protocol: LoadProtocol,
    /// Spans per second; 0 sends as fast as the workers are answered
    #[arg(long, default_value_t = 1_000)]
    pub rate: u32,
    /// Spans in each trace
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub spans_per_trace: u32,
    /// Spans in each request
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub spans_per_request: u32,
    /// Services that send, each with its own pod
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub services: u32,
    /// Requests in flight at most
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub workers: u32,
    /// Connections that the workers share (gRPC; over HTTP each worker has its own)
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub connections: u32,
    /// Compression of the requests
    #[arg(long, value_enum, default_value = "none")]
    pub compression: CompressionArg,
    /// Of 100 traces, how many hold a failed span
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub failed_percent: u8,
    /// Of 100 traces, how many take 1.2 s in place of 20 to 90 ms
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub slow_percent: u8,
    /// Of 100 traces, how many come in two requests
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub spread_percent: u8,
    /// Cut bodies into pieces of this size, each an HTTP/2 frame of its own (16384 is grpc-go's); 0 does not
    #[arg(long, default_value_t = 0, hide = true)]
    pub frame_bytes: usize,
    /// How long to send (30s, 5m)
    #[arg(long, default_value = "30s", value_parser = duration::parse)]
    pub duration: Duration,
    /// The same seed sends the same traces
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// One line for people, or one JSON object
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum CompressionArg {
    None,
    Gzip,
    Zstd,
}

impl From<CompressionArg> for Compression {
    fn from(arg: CompressionArg) -> Compression {
        match arg {
            CompressionArg::None => Compression::None,
            CompressionArg::Gzip => Compression::GZIP,
            CompressionArg::Zstd => Compression::ZSTD,
        }
    }
}

pub fn run(args: &Args) -> Exit {
    let endpoint = args.endpoint.clone().unwrap_or_else(|| args.protocol.default_endpoint().to_owned());
    let sender = match LoadSender::new(&endpoint, args.protocol, args.compression.into(), args.connections as usize) {
        Ok(sender) => sender.in_pieces(args.frame_bytes),
        Err(why) => {
            stdout::error_line(&format!("--endpoint: {why}"));
            return Exit::Usage;
        }
    };
    let runtime = match run::runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            stdout::error_line(&format!("cannot start threads: {error}"));
            return Exit::Failure;
        }
    };
    let report = runtime.block_on(load(args, Arc::new(sender)));
    runtime.shutdown_background();
    match args.format {
        Format::Text => stdout::line(&report.text(&endpoint)),
        Format::Json => stdout::line(&report.json().to_string()),
    }
    if report.tally.accepted_spans == 0 {
        if let Some(why) = &report.tally.last_failure {
            stdout::error_line(&format!("nothing was accepted; the last answer: {why}"));
        }
        return Exit::Failure;
    }
    Exit::Ok
}

/// What was sent and answered.
struct Report {
    tally: LoadTally,
    sent_bytes: u64,
    unsent_spans: u64,
    took: Duration,
}

async fn load(args: &Args, sender: Arc<LoadSender>) -> Report {
    let resources = (0..args.services as usize).map(|number| {
        let service = format!("service-{number}");
        field_resource(&service, &pod_uid(number), &format!("{service}-0"), "app")
    });
    let mix = Mix {
        spans_per_trace: args.spans_per_trace,
        failed_percent: args.failed_percent,
        slow_percent: args.slow_percent,
        spread_percent: args.spread_percent,
    };
    let stream = TraceStream::new(resources.collect(), mix, args.seed);
    let started = Instant::now();
    let pace = Pace { spans_per_request: args.spans_per_request, rate: args.rate, until: started + args.duration };
    let (pacer, due) = crate::lab::loadgen::pace::start(pace, stream, args.workers as usize);
    let tally = crate::lab::loadgen::worker::run(due, sender.clone(), args.workers as usize).await;
    // The last request is due before the time is over; a rate is of all of it.
    let took = started.elapsed().max(args.duration);
    sender.close().await;
    let paced = pacer.join().unwrap_or(Paced { bytes: 0, unsent_spans: 0 });
    Report { tally, sent_bytes: paced.bytes, unsent_spans: paced.unsent_spans, took }
}

impl Report {
    fn text(&self, endpoint: &str) -> String {
        let Report { tally, sent_bytes, unsent_spans, took } = self;
        let seconds = took.as_secs_f64();
        let rate = tally.accepted_spans as f64 / seconds.max(f64::MIN_POSITIVE);
        let lines = [
            format!("{endpoint}: {} spans accepted in {seconds:.1} s ({rate:.0}/s)", tally.accepted_spans),
            format!(
                "refused {} (retryable), rejected {}, failed {}, not sent in time {unsent_spans}; {:.1} MB",
                tally.refused_spans,
                tally.rejected_spans,
                tally.failed_spans,
                *sent_bytes as f64 / 1e6
            ),
            format!(
                "latency from the due time over {} requests: p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms",
                tally.latency.count(),
                tally.latency.quantile(0.5).as_secs_f64() * 1e3,
                tally.latency.quantile(0.99).as_secs_f64() * 1e3,
                tally.latency.longest().as_secs_f64() * 1e3
            ),
        ];
        lines.join("\n")
    }

    fn json(&self) -> serde_json::Value {
        let tally = &self.tally;
        serde_json::json!({
            "seconds": self.took.as_secs_f64(),
            "spans": {
                "accepted": tally.accepted_spans,
                "refused": tally.refused_spans,
                "rejected": tally.rejected_spans,
                "failed": tally.failed_spans,
                "unsent": self.unsent_spans,
            },
            "requests": tally.latency.count(),
            "bytes": self.sent_bytes,
            "latency_us": {
                "p50": tally.latency.quantile(0.5).as_micros() as u64,
                "p99": tally.latency.quantile(0.99).as_micros() as u64,
                "max": tally.latency.longest().as_micros() as u64,
            },
            "last_failure": tally.last_failure,
        })
    }
}

#[cfg(test)]
mod tests;

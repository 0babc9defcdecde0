//! Makes requests and hands each out when it is due, on a thread of its own.
//!
//! A thread, because tokio's timers turn once a millisecond and would put that into every latency; and because making
//! 500 spans must not delay the answers being read. When the workers fall behind, the bounded queue holds the thread
//! back, but due times stay where they were.

use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::core::time::UnixNanos;
use crate::lab::loadgen::generate::TraceStream;

/// Requests made ahead of the workers at most.
const AHEAD_MAX: usize = 32;

#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub spans_per_request: u32,
    /// Spans per second; 0 is as fast as they are taken.
    pub rate: u32,
    pub until: Instant,
}

/// A request with the moment from which its latency counts.
pub struct Due {
    pub at: Instant,
    pub spans: u64,
    pub body: Bytes,
}

/// What the pacer did, when it ended.
#[derive(Clone, Copy, Debug)]
pub struct Paced {
    pub bytes: u64,
    /// Spans whose due time came while the workers were behind, up to the end.
    pub unsent_spans: u64,
}

/// Starts the thread; it ends at `pace.until` or when nobody takes requests any more.
pub fn start(pace: Pace, stream: TraceStream, workers: usize) -> (JoinHandle<Paced>, mpsc::Receiver<Due>) {
    let (give, take) = mpsc::channel(AHEAD_MAX.min(workers.max(1)));
    let thread = std::thread::spawn(move || run(pace, stream, &give));
    (thread, take)
}

fn run(pace: Pace, mut stream: TraceStream, give: &mpsc::Sender<Due>) -> Paced {
    let started = Instant::now();
    let interval = match pace.rate {
        0 => Duration::ZERO,
        rate => Duration::from_secs_f64(f64::from(pace.spans_per_request) / f64::from(rate)),
    };
    let mut paced = Paced { bytes: 0, unsent_spans: 0 };
    for number in 0u32.. {
        let mut at = started + interval * number;
        if interval.is_zero() {
            at = Instant::now();
        }
        if at >= pace.until {
            break;
        }
        let now = Instant::now();
        if now >= pace.until {
            let left = (pace.until - at).as_secs_f64() / interval.as_secs_f64().max(f64::MIN_POSITIVE);
            paced.unsent_spans = left.ceil() as u64 * u64::from(pace.spans_per_request);
            break;
        }
        let body = stream.request(pace.spans_per_request, UnixNanos::now());
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        paced.bytes += body.len() as u64;
        if give.blocking_send(Due { at, spans: u64::from(pace.spans_per_request), body }).is_err() {
            break;
        }
    }
    paced
}

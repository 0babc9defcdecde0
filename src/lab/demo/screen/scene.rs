//! What the screen shows at one moment, as plain values: made by the play, drawn by `draw`.

use std::time::Duration;

use crate::core::time::UnixNanos;
use crate::lab::demo::end::DemoScore;
use crate::lab::demo::marks::SpanMarks;

/// The smallest window the screen is made for, in columns and rows.
pub const SMALLEST: (u16, u16) = (80, 24);

#[derive(Clone, Debug, Default)]
pub struct DemoScene {
    pub since_start: Duration,
    /// The right edge of the lanes.
    pub now: UnixNanos,
    pub lanes: Vec<Lane>,
    pub restart: Option<LatestRestart>,
    pub pair: Option<Pair>,
    /// Spans by how their container.id compares with the truth, all lanes together.
    pub podgate: DemoScore,
    pub hint: DemoScore,
    pub spans_per_second: f64,
    /// Of one core, all of the demo.
    pub cpu_share: f64,
    pub rss_bytes: u64,
    pub kept: u64,
    pub dropped: u64,
    pub by_policy: Vec<(String, u64)>,
    /// Where an application of the watcher sends to.
    pub endpoint: String,
    /// The watcher's applications, one line.
    pub guests: Option<String>,
    /// Nothing is sent any more.
    pub ending: bool,
}

/// One container that sends.
#[derive(Clone, Debug, Default)]
pub struct Lane {
    pub service: String,
    pub pod: String,
    pub runs: Vec<RunBar>,
    pub marks: SpanMarks,
    pub podgate: DemoScore,
    pub hint: DemoScore,
}

/// One run of a container as it really was.
#[derive(Clone, Debug)]
pub struct RunBar {
    /// Its restart count.
    pub number: i64,
    pub started: UnixNanos,
    pub ended: Option<UnixNanos>,
}

/// The latest restart.
#[derive(Clone, Debug)]
pub struct LatestRestart {
    /// Place in `lanes`.
    pub lane: usize,
    /// The number of the run that began.
    pub truth: i64,
    pub at: UnixNanos,
}

/// One span that the hint gets wrong and podgate right.
#[derive(Clone, Debug)]
pub struct Pair {
    pub service: String,
    pub podgate: String,
    pub hint: String,
    pub why: Amiss,
}

/// What is wrong with the run that the hint names, at the time of the span.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amiss {
    DeadFor(Duration),
    BornLater(Duration),
}

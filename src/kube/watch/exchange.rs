//! What passes between the watch and its shell: requests and effects out, answers and time in.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::kube::decode::{ApiStatus, DecodedPod, Event, ListEnd, WatchedObject};
use crate::kube::watch::health::{Verb, WatchHealth};

/// A request to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A watch that begins with all objects and marks their end (sendInitialEvents). `at_least`: not older than this.
    StreamingList {
        at_least: Option<String>,
        timeout_seconds: u32,
    },
    /// One page of a list; `page` is the continue token. `limit` 0 asks for everything at once.
    List {
        at_least: Option<String>,
        page: Option<String>,
        limit: u32,
    },
    Watch {
        from: String,
        timeout_seconds: u32,
    },
}

impl Ask {
    pub fn verb(&self) -> Verb {
        match self {
            Ask::List { .. } => Verb::List,
            Ask::StreamingList { .. } | Ask::Watch { .. } => Verb::Watch,
        }
    }
}

/// What the shell saw. Inputs that do not fit the state are ignored.
#[derive(Debug)]
pub enum Input<O: WatchedObject = DecodedPod> {
    /// The answer's head, status 200.
    Opened,
    /// Any other status; `retry_after` from the header.
    Refused { status: ApiStatus, retry_after: Option<Duration> },
    /// A line of a watch.
    Event(Event<O>),
    /// An item of a page.
    Item(O),
    /// The end of a page.
    Page(ListEnd),
    /// A body that is not what an API server sends.
    Garbage(String),
    /// The body of a watch ended as it should.
    Ended,
    /// No connection, a reset, a body cut off.
    Failed(String),
    /// The deadline passed.
    Timer,
}

/// What the shell is to do, in order. A request under way is dropped when [`Watch::is_waiting`](super::Watch::is_waiting) afterwards.
#[derive(Debug, PartialEq)]
pub enum Effect<O: WatchedObject = DecodedPod> {
    /// Read token, CA and kubeconfig again before the next request.
    RenewCredentials,
    Request(Ask),
    Applied(O),
    Deleted {
        uid: Arc<str>,
        last: Option<O::Last>,
        version: String,
    },
    /// A complete list.
    Listed(Vec<O>),
    /// Emitted on change only.
    Report(WatchHealth),
}

/// What came before the server was reached again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Requests failed.
    Failures,
    /// The stream was open, and nothing came.
    Silence,
}

/// When the watch last heard what; all on the monotonic clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heard {
    pub event: Option<Instant>,
    pub bookmark: Option<Instant>,
    pub listed: Option<Instant>,
    /// A request was answered after something else: what could not be told meanwhile is still on its way.
    pub reached_again: Option<(Instant, After)>,
    /// A list whose version was not the one we had: the server heard of its store. The same version again proves only that
    /// the server itself lives.
    pub listed_anew: Option<Instant>,
    /// Events, and bookmarks of another version.
    pub told: Told,
    /// The last time without a stream.
    pub lapse: Option<Lapse>,
}

/// A time in which no stream was followed: what happened in it is told behind it.
#[derive(Clone, Copy, Debug)]
pub struct Lapse {
    since: Instant,
    /// All of it has been told by then; `None` while no stream is open.
    until: Option<Instant>,
}

impl Lapse {
    /// One that began at `since`, unless one goes on since before.
    pub fn begun(before: Option<Lapse>, since: Instant) -> Option<Lapse> {
        before
            .filter(|lapse| lapse.until.is_none_or(|until| since < until))
            .map_or(Some(Lapse { since, until: None }), |lapse| {
                Some(Lapse { since: lapse.since.min(since), until: None })
            })
    }

    /// A stream is open again, and what was missed has come at `until`.
    pub fn over(before: Option<Lapse>, until: Instant) -> Option<Lapse> {
        before.map(|lapse| Lapse { until: lapse.until.or(Some(until)), ..lapse })
    }

    fn holds(&self, now: Instant) -> bool {
        self.since <= now && self.until.is_none_or(|until| now < until)
    }
}

/// What was held back together comes within this time.
pub const BURST: Duration = Duration::from_secs(1);

/// When a stream told something. After a silence the first words may have been held back, by a server or a network that
/// stalled: that they came proves nothing of what was written behind them, until what was held back with them has come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told {
    /// When the first word after the last silence came.
    since: Option<Instant>,
    latest: Option<Instant>,
    /// The last word before that silence.
    before: Option<Instant>,
}

impl Told {
    pub fn add(&mut self, now: Instant) {
        if self.latest.is_none_or(|latest| now.saturating_duration_since(latest) >= BURST) {
            (self.before, self.since) = (self.latest, Some(now));
        }
        self.latest = Some(now);
    }

    /// Everything that was written until then has come.
    pub fn proof(&self, now: Instant) -> Option<Instant> {
        let over = self.since.is_some_and(|since| now.saturating_duration_since(since) >= BURST);
        if over { self.latest } else { self.before }
    }

    /// When the last word came.
    pub fn latest(&self) -> Option<Instant> {
        self.latest
    }
}

impl Heard {
    /// The latest sign of life.
    pub fn latest(&self) -> Option<Instant> {
        self.event.max(self.bookmark).max(self.listed)
    }

    /// Something may have happened that a stream would have told, and none was open.
    pub fn lapsed(&self, now: Instant) -> bool {
        self.lapse.is_some_and(|lapse| lapse.holds(now))
    }

    /// The latest word of the server that came from its store.
    pub fn of_store(&self) -> Option<Instant> {
        self.told.latest().max(self.listed_anew)
    }

    /// Everything that the store knew then has reached us.
    pub fn proof(&self, now: Instant) -> Option<Instant> {
        self.told.proof(now).max(self.listed_anew)
    }
}

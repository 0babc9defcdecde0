//! The facts of one connection that its I/O, its requests and its owner share.
//!
//! Counters only: who closes the connection and when is decided in `server`; what the bytes mean is not known here.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::core::lock::Locked;
use crate::core::time::UnixNanos;
use crate::net::server::admission::connection_memory::MemoryCharge;
use crate::net::server::connection::cause::CloseCause;

static NEXT_NUMBER: AtomicU64 = AtomicU64::new(1);

/// One accepted connection.
#[derive(Debug)]
pub struct Connection {
    /// `None` for unix sockets.
    pub peer: Option<SocketAddr>,
    /// Process-wide, beginning with 1.
    pub number: u64,
    pub accepted_at: UnixNanos,
    opened: Instant,
    open_requests: AtomicUsize,
    /// Of those, the ones whose body is being read.
    unsent: AtomicUsize,
    requests: AtomicU64,
    last_active_millis: AtomicU64,
    drains: AtomicUsize,
    /// Streams that have been answered and go on, without anything to say for hours.
    streams: AtomicUsize,
    resets_provoked: AtomicU64,
    /// The client speaks HTTP/1.0, which knows no interim answers.
    is_old: AtomicBool,
    /// The next answer over HTTP/1.1 tells the client that it is the last one.
    ends_with_answer: AtomicBool,
    pub(crate) close_asked: Notify,
    // Memory for open requests; locked when the first one opens and the last one ends.
    lease: Mutex<Option<MemoryCharge>>,
    // Written once, when the connection is closed by us.
    cause: Mutex<Option<CloseCause>>,
}

impl Connection {
    pub fn new(peer: Option<SocketAddr>, accepted_at: UnixNanos) -> Arc<Connection> {
        Arc::new(Connection {
            peer,
            number: NEXT_NUMBER.fetch_add(1, Ordering::Relaxed),
            accepted_at,
            opened: Instant::now(),
            open_requests: AtomicUsize::new(0),
            unsent: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
            last_active_millis: AtomicU64::new(0),
            drains: AtomicUsize::new(0),
            streams: AtomicUsize::new(0),
            resets_provoked: AtomicU64::new(0),
            is_old: AtomicBool::new(false),
            ends_with_answer: AtomicBool::new(false),
            close_asked: Notify::new(),
            lease: Mutex::new(None),
            cause: Mutex::new(None),
        })
    }

    pub fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    /// Requests that have not been answered, and refused bodies still being read.
    pub fn open_requests(&self) -> usize {
        self.open_requests.load(Ordering::Relaxed)
    }

    /// Requests since the connection was opened.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// A place among the connection's streams, whose quiet is not idleness; `None` when there are `max` of them.
    pub fn stream(self: &Arc<Connection>, max: usize) -> Option<OpenStream> {
        let taken = self.streams.fetch_add(1, Ordering::Relaxed);
        let stream = OpenStream { connection: self.clone() };
        (taken < max).then_some(stream)
    }

    pub(crate) fn open_streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }

    /// Time since the last request ended, or since the connection was opened.
    pub fn idle(&self) -> Duration {
        let last = Duration::from_millis(self.last_active_millis.load(Ordering::Relaxed));
        self.age().saturating_sub(last)
    }

    pub(crate) fn request(self: &Arc<Connection>) -> OpenRequest {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.hold()
    }

    pub(crate) fn hold(self: &Arc<Connection>) -> OpenRequest {
        self.open_requests.fetch_add(1, Ordering::Relaxed);
        OpenRequest { connection: self.clone() }
    }

    /// The memory that open requests need: taken with the first, given back with the last. False when there is none.
    pub(crate) fn lease(&self, take: impl FnOnce() -> Option<MemoryCharge>) -> bool {
        let mut lease = self.lease.locked();
        if lease.is_none() {
            *lease = take();
        }
        lease.is_some()
    }

    fn end_lease(&self) {
        let mut lease = self.lease.locked();
        // A request that opened meanwhile counts on it.
        let ended = if self.open_requests() == 0 { lease.take() } else { None };
        drop(lease);
        drop(ended);
    }

    /// Over HTTP/1.1 nothing but an answer can tell a client that the connection ends: one that is closed between two
    /// requests may break the next, which is under way.
    pub(crate) fn end_with_answer(&self) {
        self.ends_with_answer.store(true, Ordering::Relaxed);
    }

    pub(crate) fn mark_old(&self) {
        self.is_old.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_old(&self) -> bool {
        self.is_old.load(Ordering::Relaxed)
    }

    /// Counts a body as being read.
    pub(crate) fn unsent(self: &Arc<Connection>) -> Unsent {
        self.unsent.fetch_add(1, Ordering::Relaxed);
        Unsent { connection: self.clone() }
    }

    /// True when every open request waits for its own client's bytes.
    pub(crate) fn is_unsent(&self) -> bool {
        self.unsent.load(Ordering::Relaxed) >= self.open_requests()
    }

    /// A place among the bodies that are read and thrown away; `None` when there are `max` of them.
    pub(crate) fn drain(self: &Arc<Connection>, max: usize) -> Option<Drain> {
        let taken = self.drains.fetch_add(1, Ordering::Relaxed);
        let drain = Drain { request: self.hold(), _unsent: self.unsent() };
        (taken < max).then_some(drain)
    }

    /// The client may answer an early end of its request with a reset: one more of them is not its fault.
    pub(crate) fn provoke_reset(&self) {
        self.resets_provoked.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn forgive_reset(&self) -> bool {
        self.resets_provoked
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |provoked| provoked.checked_sub(1))
            .is_ok()
    }

    /// Asks the connection to end after its open requests: GOAWAY or `connection: close`.
    pub fn ask_close(&self, cause: CloseCause) {
        self.set_cause(cause);
        self.close_asked.notify_one();
    }

    /// Remembers why the connection ends; the first cause stays.
    pub(crate) fn set_cause(&self, cause: CloseCause) {
        self.cause.locked().get_or_insert(cause);
    }

    pub fn cause(&self) -> Option<CloseCause> {
        *self.cause.locked()
    }
}

/// Counts a request as open while it lives.
#[derive(Debug)]
pub struct OpenRequest {
    connection: Arc<Connection>,
}

impl OpenRequest {
    /// Its answer tells the client that the connection ends.
    pub(crate) fn ends_connection(&self) -> bool {
        self.connection.ends_with_answer.load(Ordering::Relaxed)
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let now = u64::try_from(self.connection.age().as_millis()).unwrap_or(u64::MAX);
        self.connection.last_active_millis.store(now, Ordering::Relaxed);
        if self.connection.open_requests.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.connection.end_lease();
        }
    }
}

/// Counts a stream as going on while it lives; unlike a request it holds none of the connection's memory.
#[derive(Debug)]
pub struct OpenStream {
    connection: Arc<Connection>,
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let now = u64::try_from(self.connection.age().as_millis()).unwrap_or(u64::MAX);
        self.connection.last_active_millis.store(now, Ordering::Relaxed);
        self.connection.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A body that has not come whole, while it lives.
#[derive(Debug)]
pub(crate) struct Unsent {
    connection: Arc<Connection>,
}

impl Drop for Unsent {
    fn drop(&mut self) {
        self.connection.unsent.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A refused body being read; keeps its connection open like a request.
#[derive(Debug)]
pub(crate) struct Drain {
    request: OpenRequest,
    _unsent: Unsent,
}

impl Drop for Drain {
    fn drop(&mut self) {
        self.request.connection.drains.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn idle_time_counts_from_the_end_of_the_last_request() {
        let connection = Connection::new(None, UnixNanos(0));
        let request = connection.request();
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!((connection.open_requests(), connection.idle()), (1, Duration::from_secs(5)));
        drop(request);
        assert_eq!((connection.open_requests(), connection.idle()), (0, Duration::ZERO));
    }

    #[tokio::test]
    async fn a_lease_lasts_from_the_first_open_request_to_the_last_refused_body() {
        let budget = crate::core::data::budget::Budget::new(1 << 20, 1 << 20);
        let charges = Arc::new(crate::net::server::admission::connection_memory::Charges::default());
        let connection = Connection::new(None, UnixNanos(0));
        let take = || charges.take(&budget, 1_000);
        let first = connection.request();
        assert!(connection.lease(take));
        let second = connection.request();
        assert!(connection.lease(|| None), "one lease serves them all");
        drop(first);
        let drain = connection.drain(1);
        drop(second);
        assert_eq!(budget.used(), 1_000);
        drop(drain);
        assert_eq!(budget.used(), 0);
        let _third = connection.request();
        assert!(!connection.lease(|| None), "no memory is no lease");
    }

    #[tokio::test]
    async fn drains_are_bounded_and_given_back() {
        let connection = Connection::new(None, UnixNanos(0));
        let first = connection.drain(1);
        assert!(first.is_some() && connection.drain(1).is_none());
        drop(first);
        assert!(connection.drain(1).is_some());
        assert_eq!(connection.open_requests(), 0);
    }

    #[tokio::test]
    async fn only_provoked_resets_are_forgiven_and_the_first_cause_stays() {
        let connection = Connection::new(None, UnixNanos(0));
        connection.provoke_reset();
        assert!(connection.forgive_reset() && !connection.forgive_reset());
        connection.ask_close(CloseCause::Age);
        connection.ask_close(CloseCause::Idle);
        assert_eq!(connection.cause(), Some(CloseCause::Age));
    }
}

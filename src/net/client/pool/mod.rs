//! The connections of one client: HTTP/2 lanes shared by all requests, HTTP/1.1 connections lent to one request at a time.
//!
//! A lane leads to one of the addresses of the name, as far as there are lanes, and requests take the lanes in turn. A lane is
//! dialled by the first request that needs it while others wait; after a failure nobody dials before the backoff
//! allows it. A connection on which two requests in a row timed out is replaced: the peer may be gone without a word. One
//! that has grown old is replaced by one to where the name leads now, if there is any: next hops move and are scaled.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::client::conn::http1;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};

use crate::core::lock::Locked;
use crate::core::outside::Outside;
use crate::net::client::chunks::Outgoing;
use crate::net::client::connect::dial::{ADDRESSES_MAX, DialContext, Dialed, DialedSender, Resolved, dial};
use crate::net::client::connect::redial::Redial;
use crate::net::client::connect::spawner::Spawner;
use crate::net::client::connect::stream::FirstBytes;
use crate::net::client::connect::tls::TlsSource;
use crate::net::client::connect::tunnel;
use crate::net::client::failure::CallFailure;
use crate::net::client::http2;
use crate::net::client::settings::{Balancer, ClientHttp, ClientSettings};

const TIMEOUTS_BEFORE_REPLACEMENT: u32 = 2;
/// The request that finds it old waits RENEWED_WITHIN for the new one, and then uses the old one.
const RENEWED_WITHIN: Duration = Duration::from_secs(1);
/// If there is no new one, the old one is used for RENEWED_AGAIN.
const RENEWED_AGAIN: Duration = Duration::from_secs(60);

pub struct Pool {
    settings: ClientSettings,
    outside: Outside,
    tls: Option<TlsSource>,
    proxy_tls: Option<TlsSource>,
    spawner: Spawner,
    lanes: Vec<Lane>,
    /// How many of them are used: one for each address, and no fewer than `connections`.
    used: AtomicUsize,
    turn: AtomicUsize,
    /// With which address it begins: drawn, so that not all podgates meet at the first one.
    offset: usize,
    // Waiting HTTP/1.1 connections with the time of their last use; locked to push and pop only.
    idle: Mutex<Vec<Idle>>,
    http1_permits: Semaphore,
    /// The peer speaks HTTP/1.1: known from the start on plaintext, learnt by ALPN on TLS.
    http1: AtomicBool,
    redial: Mutex<Redial>,
}

#[derive(Default)]
struct Lane {
    // Locked to read or replace the connection, never across an await.
    live: Mutex<Option<Arc<Live>>>,
    // Held while dialling, so that one request dials and the rest wait for it.
    dialling: tokio::sync::Mutex<()>,
}

/// An HTTP/1.1 connection that nobody uses.
struct Idle {
    sender: http1::SendRequest<Outgoing>,
    first: FirstBytes,
    old_at: Instant,
    used: Instant,
}

impl Idle {
    fn is_good(&self, now: Instant, timeout: Duration) -> bool {
        !self.sender.is_closed() && now < self.old_at && now.saturating_duration_since(self.used) < timeout
    }
}

/// When a connection that is opened now has grown old.
fn old_at(age_max: Duration) -> Instant {
    Instant::now() + age_max + age_max.mul_f64(fastrand::f64() / 5.0)
}

/// One HTTP/2 connection and how it has been doing.
pub struct Live {
    pub sender: http2::Http2Sender,
    first: FirstBytes,
    // Locked once a request.
    old_at: Mutex<Instant>,
    answered: AtomicBool,
    timeouts_in_a_row: AtomicU32,
}

/// A connection a request may use now.
pub enum Lent<'a> {
    Http1 { sender: http1::SendRequest<Outgoing>, first: FirstBytes, old_at: Instant, _permit: SemaphorePermit<'a> },
    Http2 { lane: usize, live: Arc<Live> },
}

impl Lent<'_> {
    pub fn first_bytes(&self) -> &FirstBytes {
        match self {
            Lent::Http1 { first, .. } => first,
            Lent::Http2 { live, .. } => &live.first,
        }
    }
}

impl Pool {
    pub fn new(settings: ClientSettings, outside: Outside) -> Pool {
        let alpn: &[&[u8]] = if settings.speech == ClientHttp::Http2 { &[b"h2"] } else { &[b"h2", b"http/1.1"] };
        let lanes = match settings.balance {
            Balancer::PickFirst => settings.connections.max(1),
            Balancer::RoundRobin => settings.connections.max(ADDRESSES_MAX),
        };
        Pool {
            tls: settings.tls.clone().map(|tls| TlsSource::new(tls, alpn)),
            proxy_tls: tunnel::tls(&settings),
            spawner: Spawner::default(),
            lanes: (0..lanes).map(|_| Lane::default()).collect(),
            used: AtomicUsize::new(settings.connections.max(1)),
            turn: AtomicUsize::new(0),
            offset: fastrand::usize(..1 << 16),
            idle: Mutex::default(),
            http1_permits: Semaphore::new(settings.http1_max.max(1)),
            http1: AtomicBool::new(settings.speech == ClientHttp::ByAgreement && settings.tls.is_none()),
            redial: Mutex::default(),
            settings,
            outside,
        }
    }

    pub fn settings(&self) -> &ClientSettings {
        &self.settings
    }

    /// A connection, dialled when there is none. The caller bounds the wait.
    pub async fn lend(&self) -> Result<Lent<'_>, CallFailure> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        if !self.http1.load(Ordering::Relaxed)
            && let Some(lent) = self.lend_lane(turn % self.used()).await?
        {
            return Ok(lent);
        }
        self.lend_http1(turn).await
    }

    /// Whether the next request finds a connection that is up.
    pub fn is_ready(&self) -> bool {
        if self.http1.load(Ordering::Relaxed) {
            return !self.idle.locked().is_empty();
        }
        self.lanes
            .iter()
            .take(self.used())
            .all(|lane| lane.live.locked().as_ref().is_some_and(|live| !live.sender.is_closed()))
    }

    /// Waits until there is a connection, or none can be had, which the next request will be told.
    pub async fn ready(&self) {
        if let Ok(Lent::Http1 { sender, first, old_at, _permit }) = self.lend().await {
            self.idle.locked().push(Idle { sender, first, old_at, used: Instant::now() });
        }
    }

    fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed).clamp(1, self.lanes.len())
    }

    /// `None` when the peer turned out to speak HTTP/1.1.
    async fn lend_lane(&self, at: usize) -> Result<Option<Lent<'_>>, CallFailure> {
        let lane = &self.lanes[at];
        if let Some(live) = self.usable(lane) {
            let live = self.renewed(at, live).await;
            return Ok(Some(Lent::Http2 { lane: at, live }));
        }
        let other = (0..self.used()).filter(|other| *other != at);
        let other = other.filter_map(|other| Some((other, self.usable(&self.lanes[other])?))).next();
        // While another address takes requests nobody waits for this one but the request that dials it.
        if let Some((other, live)) = other {
            let dialled = match lane.dialling.try_lock() {
                Ok(_dialling) => self.dial_briefly(at).await,
                Err(_) => None,
            };
            let (lane, live) = dialled.map_or((other, live), |dialled| (at, dialled));
            return Ok(Some(Lent::Http2 { lane, live }));
        }
        let _dialling = lane.dialling.lock().await;
        if let Some(live) = self.usable(lane) {
            return Ok(Some(Lent::Http2 { lane: at, live }));
        }
        let Dialed { sender, first, found } = self.dial(at).await?;
        match sender {
            DialedSender::Http2(sender) => {
                let live = self.seat(at, Live::new(sender, first, self.grows_old(found)), found);
                Ok(Some(Lent::Http2 { lane: at, live }))
            }
            DialedSender::Http1(sender) => {
                self.http1.store(true, Ordering::Relaxed);
                let old_at = old_at(self.settings.age_max);
                self.idle.locked().push(Idle { sender, first, old_at, used: Instant::now() });
                Ok(None)
            }
        }
    }

    /// Puts a connection into its lane, and has as many lanes as the name has addresses.
    fn seat(&self, at: usize, live: Arc<Live>, found: Resolved) -> Arc<Live> {
        *self.lanes[at].live.locked() = Some(live.clone());
        if self.settings.balance == Balancer::RoundRobin {
            let used = found.addresses.max(self.settings.connections).clamp(1, self.lanes.len());
            self.used.store(used, Ordering::Relaxed);
            // What is under way on connections to addresses that are gone ends there.
            self.lanes.iter().skip(used).for_each(|lane| *lane.live.locked() = None);
        }
        live
    }

    /// A connection to an address whose turn it was not is looked at again soon.
    fn grows_old(&self, found: Resolved) -> Instant {
        if found.in_turn { old_at(self.settings.age_max) } else { Instant::now() + RENEWED_AGAIN }
    }

    /// A connection for a lane whose requests may go elsewhere meanwhile.
    async fn dial_briefly(&self, at: usize) -> Option<Arc<Live>> {
        match timeout(RENEWED_WITHIN, self.dial(at)).await {
            Ok(Ok(Dialed { sender: DialedSender::Http2(sender), first, found })) => {
                Some(self.seat(at, Live::new(sender, first, self.grows_old(found)), found))
            }
            Ok(_) => None,
            Err(_) => {
                let address = self.settings.target.authority().to_string();
                let cause = CallFailure::ConnectTimeout { address, after: RENEWED_WITHIN };
                self.redial.locked().failed(Instant::now(), cause, fastrand::f64());
                None
            }
        }
    }

    /// The same connection, or in place of an old one a new one. Requests under way on the old one finish there; nobody but
    /// the one that dials waits.
    async fn renewed(&self, at: usize, live: Arc<Live>) -> Arc<Live> {
        let now = Instant::now();
        if now < *live.old_at.locked() {
            return live;
        }
        let Ok(_dialling) = self.lanes[at].dialling.try_lock() else { return live };
        *live.old_at.locked() = now + RENEWED_AGAIN;
        // That there is none says nothing about the connection there is, which goes on.
        match timeout(RENEWED_WITHIN, self.dial_anyway(at)).await {
            Ok(Ok(Dialed { sender: DialedSender::Http2(sender), first, found })) => {
                self.seat(at, Live::new(sender, first, self.grows_old(found)), found)
            }
            _ => live,
        }
    }

    fn usable(&self, lane: &Lane) -> Option<Arc<Live>> {
        let mut slot = lane.live.locked();
        let live = slot.as_ref()?;
        if !live.sender.is_closed() {
            return Some(live.clone());
        }
        self.blame_if_unused(live);
        *slot = None;
        None
    }

    /// A connection that came up and ended without one answer is as good as none: the next one waits for the backoff.
    fn blame_if_unused(&self, live: &Live) {
        if !live.answered.load(Ordering::Relaxed) {
            let cause = live.first.mix_up(true).unwrap_or_else(closed_unused);
            self.redial.locked().failed(Instant::now(), cause, fastrand::f64());
        }
    }

    async fn lend_http1(&self, turn: usize) -> Result<Lent<'_>, CallFailure> {
        // The semaphore lives as long as the pool and is never closed.
        let permit = self.http1_permits.acquire().await.map_err(|_| CallFailure::Broken("pool closed".to_owned()))?;
        loop {
            let Some(mut idle) = self.idle.locked().pop() else { break };
            if idle.is_good(Instant::now(), self.settings.idle_timeout) && idle.sender.ready().await.is_ok() {
                let Idle { sender, first, old_at, .. } = idle;
                return Ok(Lent::Http1 { sender, first, old_at, _permit: permit });
            }
        }
        let Dialed { sender, first, .. } = self.dial(turn).await?;
        match sender {
            DialedSender::Http1(sender) => {
                Ok(Lent::Http1 { sender, first, old_at: old_at(self.settings.age_max), _permit: permit })
            }
            DialedSender::Http2(_) => {
                // The peer was upgraded meanwhile: the next request asks for a lane.
                self.http1.store(false, Ordering::Relaxed);
                Err(CallFailure::NotTaken("the peer changed to HTTP/2".to_owned()))
            }
        }
    }

    async fn dial(&self, turn: usize) -> Result<Dialed, CallFailure> {
        if let Some(cause) = self.redial.locked().too_early(Instant::now()) {
            return Err(cause);
        }
        self.dial_anyway(turn).await.inspect_err(|cause| {
            self.redial.locked().failed(Instant::now(), cause.clone(), fastrand::f64());
        })
    }

    async fn dial_anyway(&self, turn: usize) -> Result<Dialed, CallFailure> {
        let network = self.outside.network.as_deref();
        let line =
            DialContext { tls: self.tls.as_ref(), proxy_tls: self.proxy_tls.as_ref(), network, spawner: &self.spawner };
        dial(&self.settings, line, turn.wrapping_add(self.offset)).await
    }

    /// An answer arrived completely: the connection is good and, when HTTP/1.1, free again.
    pub fn give_back(&self, lent: Lent<'_>) {
        match lent {
            Lent::Http1 { sender, first, old_at, .. } => {
                let now = Instant::now();
                let mut idle = self.idle.locked();
                idle.retain(|idle| idle.is_good(now, self.settings.idle_timeout));
                idle.push(Idle { sender, first, old_at, used: now });
                drop(idle);
                self.redial.locked().worked();
            }
            Lent::Http2 { live, .. } => {
                live.timeouts_in_a_row.store(0, Ordering::Relaxed);
                if !live.answered.swap(true, Ordering::Relaxed) {
                    self.redial.locked().worked();
                }
            }
        }
    }

    /// The request's deadline passed on a lane of this pool.
    pub fn timed_out(&self, lane: usize, live: &Arc<Live>) {
        if live.timeouts_in_a_row.fetch_add(1, Ordering::Relaxed) + 1 >= TIMEOUTS_BEFORE_REPLACEMENT {
            self.retire(lane, live);
        }
    }

    /// No new requests on this connection; those under way finish.
    pub fn retire(&self, lane: usize, live: &Arc<Live>) {
        let mut slot = self.lanes[lane].live.locked();
        if slot.as_ref().is_some_and(|current| Arc::ptr_eq(current, live)) {
            *slot = None;
            self.blame_if_unused(live);
        }
    }

    /// Closes every connection and waits for their tasks.
    pub async fn close(&self) {
        self.lanes.iter().for_each(|lane| *lane.live.locked() = None);
        self.idle.locked().clear();
        self.spawner.end().await;
    }
}

impl Live {
    fn new(sender: http2::Http2Sender, first: FirstBytes, old_at: Instant) -> Arc<Live> {
        Arc::new(Live {
            sender,
            first,
            old_at: Mutex::new(old_at),
            answered: AtomicBool::new(false),
            timeouts_in_a_row: AtomicU32::new(0),
        })
    }
}

fn closed_unused() -> CallFailure {
    CallFailure::Broken("the peer closed the connection before its first answer".to_owned())
}

#[cfg(test)]
mod tests;

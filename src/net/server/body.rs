//! A request's body: gathered into one buffer under the budget and a minimal rate, or read and thrown away.
//!
//! A claimed length alone holds nothing: ticket and buffer begin small and double as bytes arrive. A refused body is
//! still read, because h2 counts late DATA of an unread one as our error and HTTP/1.1 clients would see a broken pipe
//! in place of the answer. It must not know what the bytes mean.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, sleep_until, timeout};

use crate::core::data::budget::{OverBudget, Ticket};
use crate::core::limits::{REQUEST_BYTES_MAX, TICKET_START_BYTES};
use crate::net::server::admission::fair_share::{OverShare, Tenant, pressure};
use crate::net::server::connection::cause::CloseCause;
use crate::net::server::connection::facts::Connection;
use crate::net::server::limits::ServerLimits;
use crate::net::server::state::Server;

/// A body of unknown length begins with a buffer of this size.
const UNKNOWN_START_BYTES: u64 = 16 << 10;
/// A shorter body is copied into memory of its own. The chunk it came in is a slice of the connection's read buffer, which
/// would stay whole with it: up to 64 KiB held for some hundred bytes on the ticket.
const UNCOPIED_MIN_BYTES: u64 = 64 << 10;
/// A body of stated length gets addresses for so much of it with its first bytes. A usual request (500 spans, 283 KB) is
/// longer than the first ticket, and growing from one to the other copied most of it a second time.
const AHEAD_FIRST_BYTES: u64 = 4 << 20;
/// A body longer than this gets addresses for all of its claim, up to the other.
const AHEAD_FROM_BYTES: u64 = 1 << 20;
const AHEAD_MAX_BYTES: u64 = REQUEST_BYTES_MAX;
/// How often a body that has used up its grace is looked at.
const RATE_TICK: Duration = Duration::from_secs(1);

/// Why a body could not be gathered.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("the request is larger than the limit of {limit} bytes")]
    TooLarge { limit: u64 },
    #[error(transparent)]
    OverBudget(#[from] OverBudget),
    #[error(transparent)]
    OverShare(#[from] OverShare),
    #[error("the body came too slowly")]
    TooSlow,
    /// The client went away or broke the protocol; nobody waits for an answer.
    #[error("the body ended early")]
    Broken,
}

/// The body of one request, not read yet.
pub struct RequestBody {
    incoming: Incoming,
    connection: Arc<Connection>,
    server: Arc<Server>,
    begun: Instant,
    received: u64,
    /// Whose memory the body takes.
    tenant: Tenant,
}

impl RequestBody {
    pub(crate) fn new(incoming: Incoming, connection: Arc<Connection>, server: Arc<Server>) -> RequestBody {
        let tenant = connection.peer.map_or(Tenant::Local, |peer| Tenant::Address(peer.ip()));
        RequestBody { incoming, connection, server, begun: Instant::now(), received: 0, tenant }
    }

    /// Knows the sender better than by its address.
    pub fn set_tenant(&mut self, name: Arc<str>) {
        self.tenant = Tenant::Name(name);
    }

    /// A buffer for a body that states `expected` bytes, or may have so many, if its tenant has not had more than its share.
    fn buffer(&self, start: u64, expected: Expected) -> Result<Buffer, BodyError> {
        let now = self.begun.saturating_duration_since(self.server.opened);
        self.server.shares.admit(&self.tenant, start, pressure(&self.server.budget), now)?;
        Ok(Buffer::new(&self.server, start, expected)?)
    }

    /// A whole body; what it is longer than it began counts as its tenant's too.
    fn finish(&self, buffer: Buffer, start: u64) -> Gathered {
        let more = buffer.len().saturating_sub(start);
        if more > 0 {
            let now = self.begun.saturating_duration_since(self.server.opened);
            self.server.shares.add(&self.tenant, more, now);
        }
        buffer.finish()
    }

    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// The length the client states, when it does.
    pub fn claimed(&self) -> Option<u64> {
        self.incoming.size_hint().exact()
    }

    /// True when nothing is left to read.
    pub fn is_over(&self) -> bool {
        self.incoming.is_end_stream()
    }

    /// The next bytes, `None` at the end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, BodyError> {
        let limits = &self.server.limits;
        let mut look = self.begun + limits.body_grace;
        loop {
            let frame = tokio::select! {
                biased;
                frame = self.incoming.frame() => frame,
                () = sleep_until(look) => {
                    if is_too_slow(limits, self.begun.elapsed(), self.received) {
                        return Err(BodyError::TooSlow);
                    }
                    look = Instant::now() + RATE_TICK;
                    continue;
                }
            };
            match frame {
                None => return Ok(None),
                Some(Err(_)) => return Err(BodyError::Broken),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) if bytes.is_empty() => continue,
                    Ok(bytes) => {
                        self.received += bytes.len() as u64;
                        return Ok(Some(bytes));
                    }
                    // Trailers of a request mean nothing here.
                    Err(_) => continue,
                },
            }
        }
    }

    /// Reads everything. `limit` in bytes as sent.
    pub async fn gather(&mut self, limit: u64) -> Result<Gathered, BodyError> {
        let _unsent = self.connection.unsent();
        let claimed = self.claimed();
        if claimed.is_some_and(|claimed| claimed > limit) {
            return Err(BodyError::TooLarge { limit });
        }
        let start = claimed.unwrap_or(UNKNOWN_START_BYTES).min(TICKET_START_BYTES);
        let mut buffer = self.buffer(start, claimed.map_or(Expected::AtMost(limit), Expected::Stated))?;
        while let Some(chunk) = self.chunk().await? {
            if buffer.len() + chunk.len() as u64 > limit {
                return Err(BodyError::TooLarge { limit });
            }
            buffer.append(chunk)?;
        }
        Ok(self.finish(buffer, start))
    }

    /// Reads a body that begins with a head of `N` bytes which tells the length of the rest. `length_of` may refuse.
    /// `Ok(None)`: the body ended before its head or its stated length, or went on after it.
    pub async fn gather_framed<const N: usize, E: From<BodyError>>(
        &mut self,
        length_of: impl FnOnce([u8; N]) -> Result<u64, E>,
    ) -> Result<Option<Gathered>, E> {
        let _unsent = self.connection.unsent();
        let mut head = [0u8; N];
        let mut filled = 0;
        let mut first = Bytes::new();
        while filled < N {
            let Some(mut chunk) = self.chunk().await? else { return Ok(None) };
            let taken = chunk.len().min(N - filled);
            chunk.copy_to_slice(&mut head[filled..filled + taken]);
            filled += taken;
            first = chunk;
        }
        let length = length_of(head)?;
        let start = length.min(TICKET_START_BYTES);
        let mut buffer = self.buffer(start, Expected::Stated(length))?;
        if !first.is_empty() {
            buffer.append(first).map_err(BodyError::from)?;
        }
        while let Some(chunk) = self.chunk().await? {
            if buffer.len() + chunk.len() as u64 > length {
                return Ok(None);
            }
            buffer.append(chunk).map_err(BodyError::from)?;
        }
        Ok((buffer.len() == length).then(|| self.finish(buffer, start)))
    }

    /// Reads the rest and throws it away, after the answer, without holding memory; bounded in bytes, time and number.
    pub fn discard(mut self, limit: u64) {
        if self.is_over() {
            return;
        }
        self.connection.provoke_reset();
        let Some(place) = self.connection.drain(self.server.limits.drains_max) else {
            return self.connection.ask_close(CloseCause::DrainsMax);
        };
        let server = self.server.clone();
        server.leftovers.clone().add(async move {
            let _place = place;
            let left = limit.saturating_sub(self.received);
            let _ = timeout(server.limits.drain, throw_away(&mut self.incoming, left)).await;
        });
    }
}

async fn throw_away(incoming: &mut Incoming, mut left: u64) {
    while let Some(Ok(frame)) = incoming.frame().await {
        let length = frame.data_ref().map_or(0, |bytes| bytes.len() as u64);
        if length > left {
            return;
        }
        left -= length;
    }
}

/// After the grace a body must have come at the minimal rate on average, and it must end in time.
fn is_too_slow(limits: &ServerLimits, elapsed: Duration, received: u64) -> bool {
    let owed = elapsed.saturating_sub(limits.body_grace).as_secs_f64() * limits.body_bytes_per_second as f64;
    let rate_missed = elapsed >= limits.body_grace && (received as f64) < owed.max(1.0);
    rate_missed || elapsed >= limits.body
}

/// A whole body with the memory it holds.
#[derive(Debug)]
pub struct Gathered {
    pub bytes: Bytes,
    pub ticket: Ticket,
}

/// How long a body will be.
#[derive(Clone, Copy)]
enum Expected {
    Stated(u64),
    AtMost(u64),
}

/// Invariant: the ticket covers every byte that is written; addresses may be reserved further ahead.
struct Buffer {
    ticket: Ticket,
    /// The only chunk, when it is the whole body and long: then nothing is copied.
    whole: Option<Bytes>,
    bytes: BytesMut,
    granted: u64,
    expected: u64,
    /// Addresses to begin with.
    ahead: u64,
}

impl Buffer {
    fn new(server: &Server, start: u64, expected: Expected) -> Result<Buffer, OverBudget> {
        Ok(Buffer::within(server.budget.take(start)?, start, expected))
    }

    fn within(ticket: Ticket, start: u64, expected: Expected) -> Buffer {
        let (expected, ahead) = match expected {
            Expected::Stated(length) => (length, length.min(AHEAD_FIRST_BYTES)),
            Expected::AtMost(length) => (length, 0),
        };
        Buffer { ticket, whole: None, bytes: BytesMut::new(), granted: start, expected, ahead }
    }

    fn len(&self) -> u64 {
        (self.bytes.len() + self.whole.as_ref().map_or(0, Bytes::len)) as u64
    }

    fn append(&mut self, chunk: Bytes) -> Result<(), OverBudget> {
        let length = self.len() + chunk.len() as u64;
        if length > self.granted {
            let granted = (self.granted * 2).min(self.expected).max(length);
            self.ticket.grow(granted - self.granted)?;
            self.granted = granted;
        }
        if self.len() == 0 && length == self.expected && length >= UNCOPIED_MIN_BYTES {
            self.whole = Some(chunk);
            return Ok(());
        }
        if let Some(whole) = self.whole.take() {
            self.reserve();
            self.bytes.extend_from_slice(&whole); // granted: the ticket has grown for it
        }
        self.reserve();
        self.bytes.extend_from_slice(&chunk); // granted: the ticket has grown for it
        Ok(())
    }

    fn reserve(&mut self) {
        // Growing a long body would copy all of it each time. Addresses for the rest of it cost nothing before they are
        // written; that so much came already shows that the claim is meant.
        let ahead = if self.granted > AHEAD_FROM_BYTES { self.expected.min(AHEAD_MAX_BYTES) } else { self.ahead };
        let granted = usize::try_from(self.granted.max(ahead)).unwrap_or(usize::MAX);
        if self.bytes.capacity() < granted {
            self.bytes.reserve(granted - self.bytes.len()); // granted: the ticket has grown for it, or addresses alone
        }
    }

    fn finish(self) -> Gathered {
        let length = self.len();
        self.ticket.shrink_to(length);
        Gathered { bytes: self.whole.unwrap_or_else(|| self.bytes.freeze()), ticket: self.ticket }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_owes_bytes_only_after_its_grace_and_ends_in_any_case() {
        let limits = ServerLimits::default();
        for (seconds, received, too_slow) in [
            (9, 0, false),
            (10, 0, true),
            (10, 1, false),
            (12, 8 << 10, false),
            (12, (8 << 10) - 1, true),
            (29, 1 << 30, false),
            (30, 1 << 30, true),
        ] {
            assert_eq!(is_too_slow(&limits, Duration::from_secs(seconds), received), too_slow, "{seconds} {received}");
        }
    }

    fn buffer(expected: u64) -> Buffer {
        let granted = expected.min(TICKET_START_BYTES);
        let ticket = crate::core::data::budget::Budget::unlimited().take(granted).unwrap();
        Buffer::within(ticket, granted, Expected::Stated(expected))
    }

    #[test]
    fn a_usual_request_in_frames_is_copied_once() {
        // 500 spans; frames of 64 KiB.
        let mut buffer = buffer(283 << 10);
        let mut places = std::collections::BTreeSet::new();
        for length in [64, 64, 64, 64, 27] {
            buffer.append(Bytes::from(vec![7; length << 10])).unwrap();
            places.insert(buffer.bytes.as_ptr() as usize);
        }
        assert_eq!((places.len(), buffer.ticket.bytes()), (1, 283 << 10));
        assert!(buffer.bytes.capacity() < 300 << 10, "no more than was stated");
        let unknown = Buffer::within(
            crate::core::data::budget::Budget::unlimited().take(0).unwrap(),
            0,
            Expected::AtMost(1 << 26),
        );
        assert_eq!(unknown.ahead, 0, "what states no length has no addresses ahead");
    }

    #[test]
    fn a_short_body_does_not_keep_the_buffer_it_came_in_and_a_long_one_is_not_copied() {
        for (length, copied) in [(600, true), (64 << 10, false)] {
            let chunk = Bytes::from(vec![7; 128 << 10]).slice(..length);
            let mut buffer = buffer(length as u64);
            buffer.append(chunk.clone()).unwrap();
            let gathered = buffer.finish();
            assert_eq!(gathered.bytes, chunk);
            assert_eq!(gathered.bytes.as_ptr() != chunk.as_ptr(), copied, "{length}");
        }
    }

    #[test]
    fn a_long_body_stays_where_it_is_while_it_grows_and_its_ticket_follows_what_came() {
        let chunk = Bytes::from(vec![7; 100 << 10]);
        let mut buffer = buffer(100 * chunk.len() as u64);
        let mut places = std::collections::BTreeSet::new();
        for count in 1..=100 {
            buffer.append(chunk.clone()).unwrap();
            assert!(buffer.ticket.bytes() <= 2 * count * chunk.len() as u64 + TICKET_START_BYTES, "{count}");
            if count > 20 {
                places.insert(buffer.bytes.as_ptr() as usize);
            }
        }
        assert_eq!((places.len(), buffer.finish().bytes.len()), (1, 100 * chunk.len()));
    }
}

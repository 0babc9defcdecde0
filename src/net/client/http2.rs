//! Requests over HTTP/2, on the h2 crate itself: head and body of a request leave in one write.
//!
//! hyper's client asks for capacity before it hands over a body, and h2 grants none to a stream whose head is still
//! unsent: two writes, two wake-ups of the peer and a task for each request. A body here is one payload that is in memory
//! anyway, so it is handed over at once and h2 sends of it what the peer's window allows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ::http::{HeaderMap, Request, Response};
use bytes::{Buf, Bytes, BytesMut};
use h2::{Ping, PingPong, RecvStream};
use tokio::time::{sleep, timeout};

use crate::net::client::Reply;
use crate::net::client::chunks::Chunks;
use crate::net::client::dial::Spawner;
use crate::net::client::failure::Failure;
use crate::net::client::settings::Keepalive;
use crate::net::client::stream::Stream;

/// What we let the peer send before we read: answers are small, so this is generous.
const WINDOW: u32 = 1 << 20;
const FRAME: u32 = 1 << 20;
const HEADERS_BYTES_MAX: u32 = 64 << 10;

/// The sending half of one connection.
#[derive(Clone)]
pub struct Sender {
    requests: h2::client::SendRequest<Chunks>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    closed: AtomicBool,
    /// Requests without a whole answer yet.
    in_flight: AtomicUsize,
}

/// Marks the connection as closed when its task ends, however it ends.
struct Open(Arc<State>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Relaxed);
    }
}

/// Counts a request while it lives: its caller may stop waiting at any time.
struct InFlight(Arc<State>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Greets the peer; its own greeting is not waited for.
pub async fn shake_hands(stream: Stream, keepalive: Option<Keepalive>, spawner: &Spawner) -> Result<Sender, Failure> {
    let mut builder = h2::client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(WINDOW)
        .initial_connection_window_size(4 * WINDOW)
        .max_frame_size(FRAME)
        .max_header_list_size(HEADERS_BYTES_MAX);
    let (requests, mut connection) = builder.handshake(stream).await.map_err(|error| classify(&error))?;
    let state = Arc::<State>::default();
    let open = Open(state.clone());
    let pings = connection.ping_pong();
    spawner.spawn(async move {
        let silent = async {
            match keepalive.zip(pings) {
                Some((rule, pings)) => keep_alive(pings, rule, &open.0).await,
                None => std::future::pending().await,
            }
        };
        // Requests on the connection get its error; there is nobody else to tell.
        tokio::select! {
            _ = connection => {}
            () = silent => {}
        }
    });
    Ok(Sender { requests, state })
}

/// Ends when a ping was not answered in time.
async fn keep_alive(mut pings: PingPong, rule: Keepalive, state: &State) {
    loop {
        sleep(rule.interval).await;
        if !rule.while_idle && state.in_flight.load(Ordering::Relaxed) == 0 {
            continue;
        }
        if !matches!(timeout(rule.timeout, pings.ping(Ping::opaque())).await, Ok(Ok(_))) {
            return;
        }
    }
}

impl Sender {
    pub fn is_closed(&self) -> bool {
        self.state.closed.load(Ordering::Relaxed)
    }

    /// Sends one request and reads its whole answer, with at most `limit` bytes of body. The caller bounds the wait; a
    /// call that is dropped resets its stream.
    pub async fn exchange(&self, head: Request<()>, body: Chunks, limit: usize) -> Result<Reply, Failure> {
        self.state.in_flight.fetch_add(1, Ordering::Relaxed);
        let _in_flight = InFlight(self.state.clone());
        // Until the body is handed over nothing has left.
        let unsent = |error: h2::Error| Failure::NotTaken(error.to_string());
        let mut requests = self.requests.clone().ready().await.map_err(unsent)?;
        let whole = !body.has_remaining();
        let (response, mut stream) = requests.send_request(head, whole).map_err(unsent)?;
        if !whole {
            stream.send_data(body, true).map_err(unsent)?;
        }
        read(response.await.map_err(|error| classify(&error))?, limit).await
    }
}

async fn read(response: Response<RecvStream>, limit: usize) -> Result<Reply, Failure> {
    let (head, mut body) = response.into_parts();
    let mut gathered = BytesMut::new();
    while let Some(bytes) = body.data().await {
        let bytes: Bytes = bytes.map_err(|error| classify(&error))?;
        if gathered.len() + bytes.len() > limit {
            return Err(Failure::AnswerTooLarge { limit });
        }
        gathered.extend_from_slice(&bytes);
        // Fails only when the stream is gone, which the next read tells.
        let _ = body.flow_control().release_capacity(bytes.len());
    }
    let trailers: Option<HeaderMap> = body.trailers().await.map_err(|error| classify(&error))?;
    let (status, trailers) = (head.status.as_u16(), trailers.unwrap_or_default());
    Ok(Reply { status, headers: head.headers, body: gathered.freeze(), trailers })
}

/// Whether the peer can have seen the request, and why it ended.
fn classify(error: &h2::Error) -> Failure {
    let graceful = error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR);
    if graceful || error.reason() == Some(h2::Reason::REFUSED_STREAM) {
        return Failure::NotTaken(error.to_string());
    }
    Failure::Broken(error.to_string())
}

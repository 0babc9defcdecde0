//! Requests over HTTP/2, on the h2 crate itself: head and body of a request leave in one write.
//!
//! hyper's client asks for capacity before it hands over a body, and h2 grants none to a stream whose head is still
//! unsent: two writes, two wake-ups of the peer and a task for each request. A body here is one payload that is in memory
//! anyway, so it is handed over at once and h2 sends of it what the peer's window allows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ::http::{HeaderMap, Request, Response};
use bytes::{Buf, Bytes};
use h2::{Ping, PingPong, RecvStream};
use tokio::time::{sleep, timeout};

use crate::net::client::answer::AnswerBounds;
use crate::net::client::chunks::Chunks;
use crate::net::client::connect::spawner::Spawner;
use crate::net::client::connect::stream::ClientStream;
use crate::net::client::failure::CallFailure;
use crate::net::client::reply::Reply;
use crate::net::client::settings::Keepalive;

/// What we let the peer send before we read: answers are small, so this is generous.
const WINDOW: u32 = 1 << 20;
const FRAME: u32 = 1 << 20;
const HEADERS_BYTES_MAX: u32 = 64 << 10;

/// The sending half of one connection.
#[derive(Clone)]
pub struct Http2Sender {
    requests: h2::client::SendRequest<Chunks>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Ended, or about to: the peer has said goodbye, or takes nothing more.
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
pub async fn shake_hands(
    stream: ClientStream,
    keepalive: Option<Keepalive>,
    spawner: &Spawner,
) -> Result<Http2Sender, CallFailure> {
    let mut builder = h2::client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(WINDOW)
        .initial_connection_window_size(4 * WINDOW)
        .max_frame_size(FRAME)
        // Until the peer has said how many it takes at a time: what is beyond that it refuses.
        .initial_max_send_streams(1)
        .max_header_list_size(HEADERS_BYTES_MAX);
    let (requests, mut connection) =
        builder.handshake(stream).await.map_err(|error| CallFailure::Broken(error.to_string()))?;
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
    Ok(Http2Sender { requests, state })
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

impl Http2Sender {
    /// Whether new requests need another connection.
    pub fn is_closed(&self) -> bool {
        self.state.closed.load(Ordering::Relaxed)
    }

    /// Sends one request and reads its whole answer, with a body within `bounds`. The caller bounds the wait; a
    /// call that is dropped resets its stream.
    pub(super) async fn exchange(
        &self,
        head: Request<()>,
        body: Chunks,
        bounds: &AnswerBounds,
    ) -> Result<Reply, CallFailure> {
        self.state.in_flight.fetch_add(1, Ordering::Relaxed);
        let _in_flight = InFlight(self.state.clone());
        // Until the body is handed over nothing has left.
        let unsent = |error: h2::Error| {
            self.state.closed.store(true, Ordering::Relaxed);
            CallFailure::NotTaken(error.to_string())
        };
        let mut requests = self.requests.clone().ready().await.map_err(unsent)?;
        let whole = !body.has_remaining();
        let (response, mut stream) = requests.send_request(head, whole).map_err(unsent)?;
        if !whole {
            stream.send_data(body, true).map_err(unsent)?;
        }
        match response.await {
            Ok(response) => read(response, bounds).await.map_err(|cause| self.ended(cause)),
            Err(error) => Err(self.ended(Cause::Http2(error))),
        }
    }

    /// Whether the peer can have seen the request, and why it ended.
    fn ended(&self, cause: Cause) -> CallFailure {
        let error = match cause {
            Cause::Bounds(failure) => return failure,
            Cause::Http2(error) => error,
        };
        let goodbye = error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR);
        if goodbye {
            self.state.closed.store(true, Ordering::Relaxed);
        }
        match goodbye || error.reason() == Some(h2::Reason::REFUSED_STREAM) {
            true => CallFailure::NotTaken(error.to_string()),
            false => CallFailure::Broken(error.to_string()),
        }
    }
}

/// Why there is no whole answer.
enum Cause {
    /// More bytes than are read.
    Bounds(CallFailure),
    Http2(h2::Error),
}

async fn read(response: Response<RecvStream>, bounds: &AnswerBounds) -> Result<Reply, Cause> {
    let (head, mut body) = response.into_parts();
    let mut gathered = bounds.body();
    while let Some(bytes) = body.data().await {
        let bytes: Bytes = bytes.map_err(Cause::Http2)?;
        gathered.push(&bytes).map_err(Cause::Bounds)?;
        // Fails only when the stream is gone, which the next read tells.
        let _ = body.flow_control().release_capacity(bytes.len());
    }
    let trailers: Option<HeaderMap> = body.trailers().await.map_err(Cause::Http2)?;
    let (status, trailers) = (head.status.as_u16(), trailers.unwrap_or_default());
    Ok(Reply { status, headers: head.headers, body: gathered.finish(), trailers })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::BytesMut;
    use futures_util::future::join_all;
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::net::client::connect::stream::{ByteTransport, FirstBytes};

    /// A client and the server's end of its connection.
    async fn connected(keepalive: Option<Keepalive>) -> (Http2Sender, TcpStream, Spawner) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
        let spawner = Spawner::default();
        let stream = ClientStream::Plain(ByteTransport::Tcp(client.unwrap()), FirstBytes::default());
        (shake_hands(stream, keepalive, &spawner).await.unwrap(), server.unwrap().0, spawner)
    }

    /// Answers each request with its body, at most so many; afterwards it takes no more.
    async fn echo(socket: TcpStream, mut requests: usize) {
        let mut builder = h2::server::Builder::new();
        builder.max_concurrent_streams(2).initial_window_size(1 << 10);
        let mut connection: h2::server::Connection<_, Bytes> = builder.handshake(socket).await.unwrap();
        let mut answers = tokio::task::JoinSet::new();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            answers.spawn(async move {
                let (mut body, mut gathered) = (request.into_body(), BytesMut::new());
                while let Some(Ok(bytes)) = body.data().await {
                    gathered.extend_from_slice(&bytes); // granted: the limit of an answer
                    body.flow_control().release_capacity(bytes.len()).unwrap();
                }
                let mut stream = respond.send_response(Response::new(()), false).unwrap();
                stream.send_data(gathered.freeze(), true).unwrap();
            });
            requests -= 1;
            if requests == 0 {
                connection.graceful_shutdown();
            }
        }
    }

    async fn ask(sender: &Http2Sender, body: &Bytes) -> Result<Bytes, CallFailure> {
        let head = Request::post("http://here/").body(()).unwrap();
        sender
            .exchange(head, Chunks::new([body.clone()]), &AnswerBounds::new(1 << 20, None))
            .await
            .map(|reply| reply.body)
    }

    #[tokio::test]
    async fn requests_beyond_the_peers_streams_and_windows_wait_and_all_are_answered() {
        let (sender, socket, _spawner) = connected(None).await;
        let bodies: Vec<Bytes> = (0..20u8).map(|number| Bytes::from(vec![number; 10_000])).collect();
        let answers = join_all(bodies.iter().map(|body| ask(&sender, body)));
        let answers = tokio::select! {
            answers = answers => answers,
            () = echo(socket, usize::MAX) => panic!("the connection ended"),
        };
        assert_eq!(answers.into_iter().map(Result::unwrap).collect::<Vec<_>>(), bodies);
        assert_eq!(sender.state.in_flight.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn what_comes_after_a_goodbye_was_not_taken_and_the_connection_closes() {
        let (sender, socket, _spawner) = connected(None).await;
        let body = Bytes::from_static(b"data");
        let (answer, ()) = tokio::join!(ask(&sender, &body), echo(socket, 1));
        assert_eq!(answer.unwrap(), body);
        let refused = ask(&sender, &body).await.unwrap_err();
        assert!(matches!(refused, CallFailure::NotTaken(_)), "{refused:?}");
        while !sender.is_closed() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_call_that_is_dropped_is_no_longer_in_flight_and_the_connection_goes_on() {
        let (sender, socket, _spawner) = connected(None).await;
        let body = Bytes::from(vec![7; 100_000]);
        {
            let call = ask(&sender, &body);
            assert!(timeout(Duration::from_millis(20), call).await.is_err(), "nobody answers yet");
        }
        assert_eq!(sender.state.in_flight.load(Ordering::Relaxed), 0);
        let answer = tokio::select! {
            answer = ask(&sender, &body) => answer,
            () = echo(socket, usize::MAX) => panic!("the connection ended"),
        };
        assert_eq!(answer.unwrap(), body);
    }

    #[tokio::test]
    async fn a_peer_that_answers_no_ping_loses_its_connection() {
        let rule =
            Keepalive { interval: Duration::from_millis(10), timeout: Duration::from_millis(50), while_idle: true };
        let (sender, mut socket, _spawner) = connected(Some(rule)).await;
        let mut seen = Vec::new();
        socket.read_to_end(&mut seen).await.unwrap();
        assert!(seen.windows(4).any(|frame| frame == [8, 6, 0, 0]), "a ping was sent");
        while !sender.is_closed() {
            tokio::task::yield_now().await;
        }
    }
}

//! Attacks by what a request makes of its bytes: work that grows with their square, memory that grows with their number;
//! and control frames in exchange for answers, as many as answers allow.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::attack::{AT_ONCE, PROTOBUF, call_head, connect, flood, frame, post, raw, until_stream_ends};
use super::harness::{Reply, TRACES, field, framed, gzip, spans};
use super::socket::Socket;

/// Bodies of 1 MiB that are about a kilobyte of gzip.
const REPEATED_TIMES: usize = 1 << 18;
/// Below the limit of the short form.
const GROWING_BYTES: usize = 15 << 19;

/// One field again and again, of which each repetition is merged into the one before.
fn repeated(field_number: u8, value: &[u8]) -> Vec<u8> {
    field(field_number, value).repeat(REPEATED_TIMES)
}

/// Taken, or refused with a hint while memory is short; never more than that.
fn assert_served(reply: &Reply) {
    let hint = reply.header("retry-after").is_some()
        || reply.rpc_status().is_some_and(|status| status.retry_seconds().is_some());
    let served = reply.status == 200 && reply.grpc_status().unwrap_or(0) == 0;
    assert!(served || hint && (reply.status == 503 || reply.grpc_status() == Some(14)), "{reply:?}");
}

async fn over_both(grpc: SocketAddr, http: SocketAddr, body: &[u8]) {
    let zipped = gzip(body);
    let mut client = connect(grpc).await;
    let reply = client.grpc(TRACES, &[("grpc-encoding", "gzip")], &framed(1, &zipped)).await.unwrap();
    assert_served(&reply);
    assert_served(&post(http, &[PROTOBUF[0], ("content-encoding", "gzip")], &zipped).await);
}

/// `resource`, `scope` and, as profiles have it, `dictionary`.
pub async fn merge_bomb(grpc: SocketAddr, http: SocketAddr) {
    let empty_attribute = field(1, &[]);
    let resource = field(1, &repeated(1, &empty_attribute));
    let scope = field(1, &field(2, &repeated(1, &field(3, &[]))));
    let dictionary = repeated(2, &empty_attribute);
    for body in [resource, scope, dictionary] {
        over_both(grpc, http, &body).await;
    }
}

/// Groups of 75 bytes, each with a resource and a span of its own: nothing is wrong with them.
pub async fn small_groups(grpc: SocketAddr, http: SocketAddr) {
    let value = field(1, b"orders");
    let attribute = [field(1, b"service.name"), field(2, &value)].concat();
    let span = [field(1, &[7; 16]), field(2, &[7; 8]), field(5, b"s")].concat();
    let group = [field(1, &field(1, &attribute)), field(2, &field(2, &span))].concat();
    let group = field(1, &group);
    over_both(grpc, http, &group.repeat(GROWING_BYTES / group.len())).await;
}

/// HEADERS, DATA and HEADERS of an answer.
const FRAMES_PER_ANSWER: usize = 3;
const CALLS: u32 = 300;

/// Calls with two frames for each frame of their answers, which is what such clients are allowed, and then more.
async fn react(grpc: SocketAddr, reaction: &[u8]) {
    let mut stream = raw(grpc).await;
    let mut call = Vec::new();
    for id in (1..).step_by(2).take(CALLS as usize) {
        call.clear();
        call.extend(frame(1, 4, id, &call_head()));
        call.extend(frame(0, 1, id, &framed(0, &spans(1))));
        stream.write_all(&call).await.unwrap();
        until_stream_ends(&mut stream, id).await;
        stream.write_all(&reaction.repeat(2 * FRAMES_PER_ANSWER)).await.unwrap();
    }
    flood(stream, reaction.repeat(100), AT_ONCE).await;
}

pub async fn reacting_pings(grpc: SocketAddr, _http: SocketAddr) {
    react(grpc, &frame(6, 0, 0, &[1; 8])).await;
}

pub async fn reacting_settings(grpc: SocketAddr, _http: SocketAddr) {
    react(grpc, &frame(4, 0, 0, &[])).await;
}

const HALF_OPEN: u32 = 300;
const HELD: Duration = Duration::from_secs(1);

/// Half-sent heads on a page listener, more than it has places, from twenty addresses; a probe must be answered in time.
pub async fn half_open_pages(pages: SocketAddr, _same: SocketAddr) {
    let mut held = Vec::new();
    for number in 0..HALF_OPEN {
        let source = IpAddr::from([127, 0, 1, (number % 20) as u8 + 1]);
        let mut stream = Socket::from(source, pages, None).await.unwrap();
        let _ = stream.write_all(b"GET /livez HTTP/1.1\r\nx: ").await;
        held.push(stream);
    }
    probe(pages).await;
    sleep(HELD).await;
    probe(pages).await;
}

/// A liveness probe as a kubelet sends it, from the node's own address.
pub async fn probe(pages: SocketAddr) {
    let asked = async {
        let mut stream = tokio::net::TcpStream::connect((IpAddr::from([127, 0, 0, 1]), pages.port())).await?;
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = timeout(Duration::from_secs(1), asked).await.expect("a probe is answered within a second").unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
}

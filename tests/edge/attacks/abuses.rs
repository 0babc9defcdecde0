//! The abuses: what each does, how it must show, and the limit that contains it.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;

use super::{attack, bombs};

/// Takes two addresses: of gRPC and HTTP, or twice that of the pages.
pub type Attack = fn(SocketAddr, SocketAddr) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// How an abuse must show afterwards.
pub enum Seen {
    /// Connections ended by us under this cause.
    Closed(&'static str),
    /// Connections not let in, under this cause.
    Refused(&'static str),
    /// Requests refused, under this reason.
    BadRequests(&'static str),
    /// The attack itself asserts what it gets.
    Answered,
    /// The same; it takes what memory there is, so honest requests may be put off, which no other abuse may bring about.
    Memory,
}

/// Which listeners an abuse is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    Otlp,
    /// Probes; metrics and admin stand on the same stack.
    Pages,
}

pub struct Abuse {
    pub name: &'static str,
    pub attack: Attack,
    pub door: Door,
    pub seen: Seen,
    /// The limit that contains it: key and default.
    pub limit: &'static str,
}

macro_rules! abuse {
    ($name:literal, $attack:ident, $seen:expr, $limit:literal) => {
        abuse!($name, attack::$attack, Door::Otlp, $seen, $limit)
    };
    ($name:literal, $module:ident::$attack:ident, $door:expr, $seen:expr, $limit:literal) => {
        Abuse {
            name: $name,
            attack: |grpc, http| Box::pin($module::$attack(grpc, http)),
            door: $door,
            seen: $seen,
            limit: $limit,
        }
    };
}

pub fn all() -> Vec<Abuse> {
    slowness().into_iter().chain(floods()).chain(nonsense()).chain(bombs()).collect()
}

fn slowness() -> Vec<Abuse> {
    use Seen::{BadRequests, Closed};
    vec![
        abuse!("connections that say nothing", silent, Closed("silent"), "podgate.first_byte_timeout, 10 s"),
        abuse!("a preface that drips", slow_preface, Closed("slow_preface"), "podgate.preface_timeout, 5 s"),
        abuse!(
            "an HTTP/1.1 head that drips",
            slow_head,
            Closed("slow_head"),
            "read_header_timeout or podgate.head_timeout, 10 s"
        ),
        abuse!(
            "an HTTP/2 header block that never ends",
            open_header_block,
            Closed("slow_head"),
            "podgate.head_timeout, 10 s"
        ),
        abuse!(
            "an HTTP/1.1 body that drips",
            slow_body_http1,
            BadRequests("too_slow"),
            "podgate.min_body_rate, 4 KiB/s after podgate.body_grace, 10 s; read_timeout, 30 s"
        ),
        abuse!(
            "an HTTP/2 body that drips",
            slow_body_http2,
            BadRequests("too_slow"),
            "podgate.min_body_rate, 4 KiB/s after podgate.body_grace, 10 s; podgate.body_timeout, 30 s"
        ),
        abuse!(
            "answers that are never read",
            slow_reader,
            Closed("write_stall"),
            "write_timeout or podgate.write_stall_timeout, 10 s; nothing more is read meanwhile"
        ),
    ]
}

fn floods() -> Vec<Abuse> {
    use Seen::{Answered, Closed, Refused};
    vec![
        abuse!(
            "a flood of PING",
            ping_flood,
            Closed("ping_flood"),
            "podgate.control_frames_per_second, 200, and two for each frame of an answer"
        ),
        abuse!(
            "a flood of SETTINGS",
            settings_flood,
            Closed("settings_flood"),
            "podgate.control_frames_per_second, 200, and two for each frame of an answer"
        ),
        abuse!(
            "a flood of PRIORITY",
            priority_flood,
            Closed("priority_flood"),
            "podgate.control_frames_per_second, 200"
        ),
        abuse!(
            // The HTTP/2 library has a budget of its own for these; which of the two ends the connection is a race.
            "a flood of empty DATA",
            empty_data_flood,
            Answered,
            "podgate.control_frames_per_second, 200, or the budget of h2"
        ),
        abuse!(
            "a flood of CONTINUATION",
            continuation_flood,
            Answered,
            "header list of 16 KiB; podgate.control_frames_per_second, 200"
        ),
        abuse!(
            "rapid reset",
            rapid_reset,
            Answered,
            "20 resets waiting to be accepted (h2); podgate.control_frames_per_second, 200"
        ),
        abuse!("a thousand streams at once", stream_fan_out, Answered, "max_concurrent_streams, 64"),
        abuse!(
            "connection hoarding",
            hoard,
            Refused("connections_per_address_max"),
            "podgate.max_connections_per_address, 256; podgate.max_connections, 2048; where their memory is full, unused ones of whoever has most end for others"
        ),
    ]
}

fn nonsense() -> Vec<Abuse> {
    use Seen::{Answered, BadRequests, Closed};
    vec![
        abuse!(
            "TLS on a plain port",
            tls_hello,
            Closed("tls_on_plain_port"),
            "one log line in ten seconds names peer and cure"
        ),
        abuse!("garbage", garbage, Answered, "closed or answered 400"),
        abuse!(
            "claimed lengths that never come",
            lying_lengths,
            BadRequests("too_slow"),
            "a claim holds at most 256 KiB until bytes come"
        ),
        abuse!("a gzip bomb", bomb, BadRequests("too_large"), "decoded size limit; 100 times the size beyond 8 MiB"),
        abuse!("ten thousand nested lists", deep_nesting, Answered, "64 levels"),
        abuse!("heads of a megabyte", giant_head, Answered, "64 KiB over HTTP/1.1, 16 KiB over HTTP/2"),
        abuse!("a body with two lengths", smuggling, Answered, "refused by the HTTP parser, connection closed"),
    ]
}

fn bombs() -> Vec<Abuse> {
    use Seen::{Answered, Closed, Memory};
    vec![
        abuse!(
            "resource, scope or dictionary in 262,144 parts, a kilobyte of gzip",
            bombs::merge_bomb,
            Door::Otlp,
            Answered,
            "parts are joined once: work grows with the bytes, not with their square"
        ),
        abuse!(
            "8 MB of groups of 75 bytes, 27 KB of gzip",
            bombs::small_groups,
            Door::Otlp,
            Memory,
            "lists are paid for by capacity before they are made; without room 503 with a hint"
        ),
        abuse!(
            "calls with two PING for each frame of an answer, then more",
            bombs::reacting_pings,
            Door::Otlp,
            Closed("ping_flood"),
            "two for each frame of an answer, then GOAWAY with ENHANCE_YOUR_CALM"
        ),
        abuse!(
            "calls with two SETTINGS for each frame of an answer, then more",
            bombs::reacting_settings,
            Door::Otlp,
            Closed("settings_flood"),
            "two for each frame of an answer, then GOAWAY with ENHANCE_YOUR_CALM"
        ),
        abuse!(
            "half-sent heads on the liveness port, from twenty addresses",
            bombs::half_open_pages,
            Door::Pages,
            Closed("evicted"),
            "256 places, 32 of an address, an eighth for the node's own; 2 s for a head; the oldest gives way"
        ),
    ]
}

impl Seen {
    pub fn words(&self) -> String {
        match self {
            Seen::Closed(cause) => format!("connection closed, `{cause}`"),
            Seen::Refused(cause) => format!("connection refused, `{cause}`"),
            Seen::BadRequests(reason) => format!("bad request, `{reason}`"),
            Seen::Memory => "taken, or put off while memory is short".to_owned(),
            Seen::Answered => "answered or cut by the protocol's own rules".to_owned(),
        }
    }
}

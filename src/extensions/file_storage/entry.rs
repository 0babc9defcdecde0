//! A payload as a record and back: where it came from as the record's description, its request as the record's bytes.
//!
//! Pure. What late binding would have known of the sender goes along; the number of a connection does not, because a number
//! of the process before would be another sender's in this one.

use std::net::SocketAddr;

use bytes::Bytes;

use crate::core::data::origin::{Origin, Transport};
use crate::core::data::payload::Signal;
use crate::core::time::UnixNanos;
use crate::wal::body::Description;

/// The version of what is in `more`.
const VERSION: u8 = 1;

/// Who took it, and where it came from.
pub fn describe(taker: &str, signal: Signal, origin: &Origin) -> Description {
    let mut more = vec![
        VERSION,
        match origin.transport {
            Transport::Grpc => 0,
            Transport::Http => 1,
            Transport::Internal => 2,
        },
    ];
    for text in origin.headers.iter().flat_map(|(name, value)| [name, value]) {
        more.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
        more.extend_from_slice(text.as_bytes());
    }
    Description {
        pipeline: taker.to_owned(),
        signal: signal.index() as u8,
        arrival: origin.arrived_at.0,
        accepted: origin.accepted_at.0,
        connection: origin.connection,
        peer: origin.peer.map(|peer| peer.to_string().into_bytes()).unwrap_or_default(),
        tenant: Vec::new(),
        more,
    }
}

/// The signal and the origin of a record; `None` for what no version wrote.
pub fn origin_of(description: &Description) -> Option<(Signal, Origin)> {
    let signal = Signal::ALL.get(usize::from(description.signal))?;
    let peer = match description.peer.as_slice() {
        [] => None,
        text => Some(std::str::from_utf8(text).ok()?.parse::<SocketAddr>().ok()?),
    };
    let mut rest = description.more.strip_prefix(&[VERSION])?;
    let (transport, texts) = rest.split_first()?;
    rest = texts;
    let transport = match transport {
        0 => Transport::Grpc,
        1 => Transport::Http,
        _ => Transport::Internal,
    };
    let (accepted, arrived) = (UnixNanos(description.accepted), UnixNanos(description.arrival));
    let mut origin = Origin::new(peer, 0, accepted, arrived, transport);
    while !rest.is_empty() {
        origin.headers.push((text(&mut rest)?, text(&mut rest)?));
    }
    Some((*signal, origin))
}

fn text(rest: &mut &[u8]) -> Option<String> {
    let (length, tail) = rest.split_first_chunk::<4>()?;
    let (text, tail) = tail.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    *rest = tail;
    String::from_utf8(text.to_vec()).ok()
}

/// Verdicts with the name of who logged them, of which 255 bytes are told apart.
pub fn named(taker: &str, body: &[u8]) -> Bytes {
    let name = short(taker);
    let mut named = Vec::with_capacity(1 + name.len() + body.len());
    named.push(name.len() as u8);
    named.extend_from_slice(name);
    named.extend_from_slice(body);
    Bytes::from(named)
}

/// Who logged verdicts, and these.
pub fn of_named(named: Bytes) -> Option<(Bytes, Bytes)> {
    let length = 1 + usize::from(*named.first()?);
    (length <= named.len()).then(|| (named.slice(1..length), named.slice(length..)))
}

/// The part of a taker's name that stands with verdicts.
pub fn short(taker: &str) -> &[u8] {
    &taker.as_bytes()[..taker.len().min(255)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_told_apart_by_who_logged_them() {
        for name in ["", "processors::tail_sampling/traces"] {
            let named = named(name, b"body");
            let (taker, body) = of_named(named.clone()).expect("whole");
            assert_eq!((&taker[..], &body[..]), (name.as_bytes(), &b"body"[..]));
            assert_eq!(of_named(named.slice(..name.len())), None);
        }
    }

    #[test]
    fn where_a_payload_came_from_is_read_back_but_for_the_number_of_its_connection() {
        let peer = "[2001:db8::7]:4711".parse().expect("an address");
        let mut origin = Origin::new(Some(peer), 9, UnixNanos(5), UnixNanos(7), Transport::Http);
        origin.headers = vec![("mode".to_owned(), "otel".to_owned()), (String::new(), "\u{e9}".to_owned())];
        let described = describe("exporters::otlp_grpc/apm", Signal::Logs, &origin);
        assert_eq!((described.pipeline.as_str(), described.connection), ("exporters::otlp_grpc/apm", 9));
        let (signal, back) = origin_of(&described).expect("read");
        assert_eq!(signal, Signal::Logs);
        assert_eq!((back.peer, back.connection, back.transport), (Some(peer), 0, Transport::Http));
        assert_eq!((back.accepted_at, back.arrived_at), (origin.accepted_at, origin.arrived_at));
        assert_eq!(back.headers, origin.headers);
        for end in 0..described.more.len() {
            let cut = Description { more: described.more[..end].to_vec(), ..described.clone() };
            let read = origin_of(&cut).map_or(0, |(_, origin)| origin.headers.len());
            assert!(read < 2, "cut at {end}");
        }
    }
}

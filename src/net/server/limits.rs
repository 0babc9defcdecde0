//! What one listener grants its clients: every wait, size and count of the server side, with its default and reason.
//!
//! Plain values; the receiver's configuration fills them and `server`, `connection`, `guard` and `body` obey.

use std::time::Duration;

/// A connection of HTTP/1.1 without requests is kept for so long unless told otherwise. SDKs send metrics once a minute
/// (`OTEL_METRIC_EXPORT_INTERVAL`): a server that closes after a minute too breaks the request that comes at that moment.
pub const HTTP1_IDLE: Duration = Duration::from_secs(300);

/// Limits of one listener's connections and requests.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerLimits {
    /// Open connections, all addresses together.
    pub connections_max: usize,
    /// Open connections of one address. A pod needs a few; pods on the host network share the node's address.
    pub connections_per_address_max: usize,
    /// Wait for the first byte of a new connection.
    pub first_byte: Duration,
    /// From the first byte to a recognisable protocol (hyper has no HTTP/2 handshake timeout).
    pub preface: Duration,
    /// From the first to the last byte of a head.
    pub head: Duration,
    /// A body may be slower than `body_bytes_per_second` for so long.
    pub body_grace: Duration,
    pub body_bytes_per_second: u64,
    /// Longest time a body may take, whatever its rate.
    pub body: Duration,
    /// Longest time the client may leave bytes of ours unread.
    pub write_stall: Duration,
    /// A connection without requests is closed after this time; `None` keeps it.
    pub idle: Option<Duration>,
    /// A connection is asked to end after this age, give or take a tenth, so that clients spread again.
    pub age: Option<Duration>,
    /// Time for the open requests of a connection that was asked to end.
    pub age_grace: Duration,
    pub ping_interval: Option<Duration>,
    pub ping_timeout: Duration,
    pub streams_max: u32,
    pub header_list_bytes: u32,
    /// PING, SETTINGS, RST_STREAM, PRIORITY, empty DATA and CONTINUATION frames a second, each; of WINDOW_UPDATE a
    /// hundred times as many. Beyond that two PING, SETTINGS or WINDOW_UPDATE for each HEADERS and DATA frame sent.
    pub control_frames_per_second: u32,
    pub keep_alive: bool,
    /// Longest head and largest piece of a body over HTTP/1.1; what each such connection is charged.
    pub http1_buffer_bytes: u64,
    /// Refused bodies read and thrown away at the same time on one connection; beyond that it is asked to end.
    pub drains_max: usize,
    /// Longest time for reading one refused body.
    pub drain: Duration,
}

impl ServerLimits {
    /// Of a listener for pages (probes, metrics, admin): clients are few, requests short, and nobody may keep others out.
    pub fn of_pages() -> ServerLimits {
        let short = Duration::from_secs(2);
        ServerLimits {
            connections_max: 256,
            connections_per_address_max: 32,
            first_byte: short,
            preface: short,
            head: short,
            body_grace: short,
            body: Duration::from_secs(5),
            write_stall: Duration::from_secs(5),
            idle: Some(Duration::from_secs(120)),
            age: None,
            streams_max: 16,
            http1_buffer_bytes: Windows::HTTP1_LEAST_BYTES,
            drain: short,
            ..ServerLimits::default()
        }
    }
}

impl Default for ServerLimits {
    fn default() -> ServerLimits {
        ServerLimits {
            connections_max: 2_048,
            connections_per_address_max: 256,
            first_byte: Duration::from_secs(10),
            preface: Duration::from_secs(5),
            head: Duration::from_secs(10),
            body_grace: Duration::from_secs(10),
            body_bytes_per_second: 4 << 10,
            body: Duration::from_secs(30),
            write_stall: Duration::from_secs(10),
            idle: None,
            age: Some(Duration::from_secs(3600)),
            age_grace: Duration::from_secs(30),
            ping_interval: Some(Duration::from_secs(30)),
            ping_timeout: Duration::from_secs(10),
            streams_max: 64,
            header_list_bytes: 16 << 10,
            control_frames_per_second: 200,
            keep_alive: true,
            http1_buffer_bytes: Windows::HTTP1_BYTES,
            drains_max: 64,
            drain: Duration::from_secs(5),
        }
    }
}

/// HTTP/2 flow control of one connection, and what it costs the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    pub connection: u32,
    pub stream: u32,
    pub frame: u32,
}

impl Windows {
    /// HTTP/2 begins with 65,535 whatever a server would like.
    const SMALLEST: u64 = 64 << 10;
    const LARGEST: u64 = 4 << 20;
    const SMALL_FRAME: u32 = 16 << 10;
    /// Beyond this a longer frame spares nothing: reading 282 KB in one costs a tenth more than in three, because the
    /// bytes have left the cache when they are walked.
    const LARGE_FRAME: u32 = 128 << 10;
    /// What a connection that says nothing holds: task, h2's state, header tables, first buffers.
    const IDLE_BYTES: u64 = 24 << 10;
    /// HTTP/1.1 has no window: hyper's read buffer is all it may fill unasked.
    const HTTP1_BYTES: u64 = 64 << 10;
    /// The least hyper reads with: for a connection that is only told that there is no memory.
    pub const HTTP1_LEAST_BYTES: u64 = 8 << 10;
    /// A connection's task lets others run after TURN_BYTES: what h2 holds of them is taken before it reads on.
    pub const TURN_BYTES: usize = 128 << 10;

    /// What a connection gets where memory is short.
    pub const LEAST: Windows =
        Windows { connection: Windows::SMALLEST as u32, stream: Windows::SMALLEST as u32, frame: Windows::SMALL_FRAME };

    /// A fair part of what connections may take, and no more than what is left of it; large frames where they are at
    /// most an eighth of the window.
    pub fn of(fair: u64, left: u64) -> Windows {
        // A frame comes on top of the window.
        let window = fair.min(left / 9 * 8).clamp(Windows::SMALLEST, Windows::LARGEST) as u32;
        let frame = if window / 8 >= Windows::LARGE_FRAME { Windows::LARGE_FRAME } else { Windows::SMALL_FRAME };
        Windows { connection: window, stream: window, frame }
    }

    /// Held while the connection is open: a client may leave one frame half sent at any time.
    pub fn idle(self) -> u64 {
        Windows::IDLE_BYTES + u64::from(self.frame)
    }

    /// Held while a request is open: h2 buffers up to its window before anyone polls, and one frame is being read.
    pub fn lease(self) -> u64 {
        u64::from(self.connection) + u64::from(self.frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_shrink_with_the_fair_part_and_with_what_is_left_and_frames_with_them() {
        let mib = 1 << 20;
        let large = Windows { connection: 4 << 20, stream: 4 << 20, frame: 128 << 10 };
        assert_eq!(Windows::of(128 * mib, 128 * mib), large);
        assert_eq!(Windows::of(2 * mib, 128 * mib), Windows { connection: 2 << 20, stream: 2 << 20, frame: 128 << 10 });
        assert_eq!(Windows::of(mib, 128 * mib), Windows { connection: 1 << 20, stream: 1 << 20, frame: 128 << 10 });
        assert_eq!(Windows::of(mib / 2, 128 * mib).frame, 16 << 10);
        assert!((2 * mib..=3 * mib).contains(&Windows::of(128 * mib, 3 * mib).lease()));
        let smallest = Windows::of(128 * mib, 0);
        assert_eq!((smallest.idle(), smallest.lease()), (40 << 10, (64 << 10) + (16 << 10)));
        assert_eq!(Windows::of(0, 0).connection, 64 << 10);
    }
}

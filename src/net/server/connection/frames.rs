//! Counts HTTP/2 frames that cost the server work and carry nothing: the caps hyper has no setting for.
//!
//! A pure reader of the 9-byte frame headers (RFC 9113, section 4.1) in the client's byte stream. It knows neither
//! sockets nor the contents of frames; what it refuses, `guard` turns into a closed connection.

use crate::net::server::connection::authority::SocketAuthority;
use crate::net::server::connection::cause::CloseCause;

/// `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n` (RFC 9113, section 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const HEADER_BYTES: usize = 9;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITISED: u8 = 0x20;

/// WINDOW_UPDATE frames allowed for each other control frame.
const WINDOW_UPDATES_FACTOR: u32 = 100;

/// Control frames with which a client may react to one HEADERS or DATA frame of ours, beyond what a second allows anyway:
/// gRPC's bandwidth estimators send a PING with each answer, and some a SETTINGS or WINDOW_UPDATE with it.
const REACTIONS_PER_FRAME: u32 = 2;
/// Reactions that may still come at most. A client with a PING on its way for each of its streams owes far fewer.
const REACTIONS_MAX: u32 = 10_000;

/// A kind of frame of which a client sent too many within a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flood {
    #[error("too many PING frames a second")]
    Ping,
    #[error("too many SETTINGS frames a second")]
    Settings,
    #[error("too many RST_STREAM frames a second")]
    Reset,
    #[error("too many PRIORITY frames a second")]
    Priority,
    #[error("too many empty DATA frames a second")]
    EmptyData,
    #[error("too many CONTINUATION frames a second")]
    Continuation,
    #[error("too many WINDOW_UPDATE frames a second")]
    WindowUpdate,
}

impl Flood {
    /// What a connection closed for it is counted as.
    pub fn cause(self) -> CloseCause {
        match self {
            Flood::Ping => CloseCause::PingFlood,
            Flood::Settings => CloseCause::SettingsFlood,
            Flood::Reset => CloseCause::ResetFlood,
            Flood::Priority => CloseCause::PriorityFlood,
            Flood::EmptyData => CloseCause::EmptyDataFlood,
            Flood::Continuation => CloseCause::ContinuationFlood,
            Flood::WindowUpdate => CloseCause::WindowUpdateFlood,
        }
    }
}

/// Reads frame headers out of the client's bytes, however they are cut.
///
/// Invariant: at most one of `preface_left` and `payload_left` is above zero.
#[derive(Debug)]
pub struct FrameMeter {
    preface_left: usize,
    payload_left: usize,
    header: [u8; HEADER_BYTES],
    header_filled: usize,
    /// A header block has begun and its END_HEADERS has not come.
    block_open: bool,
    frames_per_second_max: u32,
    second: u64,
    counts: [u32; 7],
    /// Reactions to what was sent that have not come yet.
    reactions: u32,
    last_stream: u32,
    /// The payload to come belongs to a header block.
    of_block: bool,
    /// Of a connection over a unix socket.
    authority: Option<SocketAuthority>,
}

impl FrameMeter {
    pub fn new(frames_per_second_max: u32) -> FrameMeter {
        FrameMeter {
            preface_left: PREFACE.len(),
            payload_left: 0,
            header: [0; HEADER_BYTES],
            header_filled: 0,
            block_open: false,
            frames_per_second_max,
            second: 0,
            counts: [0; 7],
            reactions: 0,
            last_stream: 0,
            of_block: false,
            authority: None,
        }
    }

    /// The client came over a unix socket, whose path it may send as authority.
    pub fn local(self) -> FrameMeter {
        FrameMeter { authority: Some(SocketAuthority::default()), ..self }
    }

    /// True while the client owes the rest of a header block or of a frame header.
    pub fn owes_head(&self) -> bool {
        self.block_open || self.header_filled > 0 || self.preface_left > 0
    }

    /// So many HEADERS and DATA frames went out: the client may react to each.
    pub fn sent(&mut self, frames: u32) {
        let more = frames.saturating_mul(REACTIONS_PER_FRAME);
        self.reactions = self.reactions.saturating_add(more).min(REACTIONS_MAX);
    }

    /// The last stream the client opened.
    pub fn last_stream(&self) -> u32 {
        self.last_stream
    }

    /// Takes the next bytes of the stream. `second` is any clock that counts seconds; `resets_forgiven` takes one reset
    /// that the server itself provoked by answering early, and says whether there was one.
    pub fn read(&mut self, mut bytes: &mut [u8], second: u64, resets_forgiven: impl Fn() -> bool) -> Result<(), Flood> {
        if second != self.second {
            self.second = second;
            self.counts = [0; 7];
        }
        while !bytes.is_empty() {
            let skipped = bytes.len().min(self.preface_left + self.payload_left);
            if skipped > 0 {
                let of_preface = skipped.min(self.preface_left);
                self.preface_left -= of_preface;
                self.payload_left -= skipped - of_preface;
                let (passed, rest) = bytes.split_at_mut(skipped);
                if self.of_block
                    && let Some(authority) = &mut self.authority
                {
                    authority.mend(&mut passed[of_preface..]);
                }
                bytes = rest;
                continue;
            }
            let taken = bytes.len().min(HEADER_BYTES - self.header_filled);
            self.header[self.header_filled..self.header_filled + taken].copy_from_slice(&bytes[..taken]);
            self.header_filled += taken;
            bytes = &mut bytes[taken..];
            if self.header_filled == HEADER_BYTES {
                self.header_filled = 0;
                self.frame(&resets_forgiven)?;
            }
        }
        Ok(())
    }

    fn frame(&mut self, resets_forgiven: &impl Fn() -> bool) -> Result<(), Flood> {
        let [a, b, c, kind, flags, stream @ ..] = self.header;
        self.payload_left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        self.of_block = matches!(kind, HEADERS | CONTINUATION);
        match (&mut self.authority, kind) {
            (Some(authority), HEADERS) => {
                authority.begin(self.payload_left, flags & PADDED != 0, flags & PRIORITISED != 0);
            }
            (Some(authority), CONTINUATION) => authority.go_on(self.payload_left),
            _ => {}
        }
        match kind {
            // An empty last frame is how most clients end a request.
            DATA if self.payload_left == 0 && flags & END_STREAM == 0 => self.count(Flood::EmptyData),
            HEADERS => {
                self.block_open = flags & END_HEADERS == 0;
                self.last_stream = self.last_stream.max(u32::from_be_bytes(stream) & 0x7fff_ffff);
                Ok(())
            }
            CONTINUATION => {
                self.block_open = flags & END_HEADERS == 0;
                self.count(Flood::Continuation)
            }
            PRIORITY => self.count(Flood::Priority),
            RST_STREAM if resets_forgiven() => Ok(()),
            RST_STREAM => self.count(Flood::Reset),
            SETTINGS => self.count(Flood::Settings),
            PING => self.count(Flood::Ping),
            WINDOW_UPDATE => self.count(Flood::WindowUpdate),
            _ => Ok(()),
        }
    }

    fn count(&mut self, kind: Flood) -> Result<(), Flood> {
        let count = &mut self.counts[kind as usize];
        *count += 1;
        let max = match kind {
            // One for each answer is within a client's rights.
            Flood::WindowUpdate => self.frames_per_second_max.saturating_mul(WINDOW_UPDATES_FACTOR),
            _ => self.frames_per_second_max,
        };
        if *count <= max {
            return Ok(());
        }
        let reacts = matches!(kind, Flood::Ping | Flood::Settings | Flood::WindowUpdate);
        match self.reactions.checked_sub(1).filter(|_| reacts) {
            Some(left) => self.reactions = left,
            None => return Err(kind),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let mut bytes = vec![(payload >> 16) as u8, (payload >> 8) as u8, payload as u8, kind, flags, 0, 0, 0, 1];
        bytes.resize(HEADER_BYTES + payload, 0x06);
        bytes
    }

    fn read(meter: &mut FrameMeter, bytes: &[u8], second: u64, forgiven: impl Fn() -> bool) -> Result<(), Flood> {
        let mut seen = bytes.to_vec();
        let read = meter.read(&mut seen, second, forgiven);
        assert_eq!(seen, bytes, "a counter changes nothing");
        read
    }

    fn preface() -> FrameMeter {
        let mut meter = FrameMeter::new(10);
        read(&mut meter, PREFACE, 1, || false).unwrap();
        meter
    }

    #[test]
    fn each_kind_has_its_own_count_and_a_new_second_forgives() {
        for (kind, flood) in [
            (PING, Flood::Ping),
            (SETTINGS, Flood::Settings),
            (RST_STREAM, Flood::Reset),
            (PRIORITY, Flood::Priority),
            (CONTINUATION, Flood::Continuation),
            (DATA, Flood::EmptyData),
        ] {
            let mut meter = preface();
            let ten = frame(kind, 0, 0).repeat(10);
            read(&mut meter, &ten, 1, || false).unwrap();
            read(&mut meter, &frame(PING + 30, 0, 0), 1, || false).unwrap();
            read(&mut meter, &ten, 2, || false).unwrap();
            assert_eq!(read(&mut meter, &frame(kind, 0, 0), 2, || false), Err(flood));
        }
    }

    #[test]
    fn frames_are_found_however_the_bytes_are_cut() {
        let mut stream = PREFACE.to_vec();
        for _ in 0..11 {
            stream.extend(frame(DATA, 0, 300));
            stream.extend(frame(PING, 0, 8));
        }
        for cut in 1..stream.len() {
            let mut meter = FrameMeter::new(10);
            let answers: Vec<_> = stream.chunks(cut).map(|chunk| read(&mut meter, chunk, 1, || false)).collect();
            assert!(answers.contains(&Err(Flood::Ping)), "cut {cut}");
        }
        let mut meter = FrameMeter::new(11);
        read(&mut meter, &stream, 1, || false).unwrap();
        assert!(!meter.owes_head());
    }

    #[test]
    fn window_updates_may_come_with_every_answer_and_not_without_end() {
        let mut meter = preface();
        let update = frame(WINDOW_UPDATE, 0, 4);
        read(&mut meter, &update.repeat(1_000), 1, || false).unwrap();
        assert_eq!(read(&mut meter, &update, 1, || false), Err(Flood::WindowUpdate));
    }

    /// What grpc-go's bandwidth estimator does at 2,000 answers a second: HEADERS, DATA and trailers each time. What is
    /// forgiven is at its bound after two seconds, so a minute stands for an hour.
    #[test]
    fn a_client_that_pings_once_per_answer_is_never_cut() {
        let (ping, ack) = (frame(PING, 0, 8), frame(SETTINGS, 1, 0));
        for (per_second, seconds) in [(2_000, 60), (50_000, 2)] {
            let mut meter = FrameMeter::new(200);
            read(&mut meter, PREFACE, 0, || false).unwrap();
            read(&mut meter, &ack, 0, || false).unwrap();
            let mut seen = ping.clone();
            for second in 0..seconds {
                for _ in 0..per_second {
                    meter.sent(3);
                    meter.read(&mut seen, second, || false).unwrap();
                }
            }
        }
    }

    #[test]
    fn answers_forgive_no_more_than_reactions_to_them_and_only_so_many() {
        for (sent, forgiven) in [(0, 0), (50, 100), (u32::MAX, 10_000)] {
            let mut meter = preface();
            meter.sent(sent);
            read(&mut meter, &frame(PING, 0, 8).repeat(10 + forgiven), 1, || false).unwrap();
            assert_eq!(read(&mut meter, &frame(PING, 0, 8), 1, || false), Err(Flood::Ping), "{sent} sent");
        }
        let mut meter = preface();
        meter.sent(1_000);
        read(&mut meter, &frame(SETTINGS, 0, 0).repeat(2_010), 1, || false).unwrap();
        assert_eq!(read(&mut meter, &frame(SETTINGS, 0, 0), 1, || false), Err(Flood::Settings));
        let mut meter = preface();
        meter.sent(1_000);
        let priorities = frame(PRIORITY, 0, 5).repeat(11);
        assert_eq!(read(&mut meter, &priorities, 1, || false), Err(Flood::Priority), "no answer calls for them");
    }

    #[test]
    fn an_empty_data_frame_that_ends_a_request_costs_nothing() {
        let mut meter = preface();
        read(&mut meter, &frame(DATA, END_STREAM, 0).repeat(1000), 1, || false).unwrap();
    }

    #[test]
    fn resets_that_an_early_answer_provoked_are_forgiven() {
        let mut meter = preface();
        read(&mut meter, &frame(RST_STREAM, 0, 4).repeat(1000), 1, || true).unwrap();
        assert!(read(&mut meter, &frame(RST_STREAM, 0, 4).repeat(11), 1, || false).is_err());
    }

    #[test]
    fn an_unfinished_header_block_is_owed() {
        let mut meter = preface();
        read(&mut meter, &frame(HEADERS, 0, 5), 1, || false).unwrap();
        assert!(meter.owes_head());
        read(&mut meter, &frame(CONTINUATION, END_HEADERS, 5), 1, || false).unwrap();
        assert!(!meter.owes_head());
    }

    #[test]
    fn only_header_blocks_of_local_connections_have_their_authority_mended() {
        let literal = b"@\n:authority\x0ctmp%2Fd.sock";
        let mut stream = PREFACE.to_vec();
        for kind in [HEADERS, CONTINUATION, DATA] {
            let mut one = frame(kind, END_HEADERS, literal.len());
            one[HEADER_BYTES..].copy_from_slice(literal);
            stream.extend(one);
        }
        let signs = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'%').count();
        for (meter, left) in [(FrameMeter::new(10), 3), (FrameMeter::new(10).local(), 1)] {
            let (mut meter, mut seen) = (meter, stream.clone());
            seen.chunks_mut(7).for_each(|piece| meter.read(piece, 1, || false).unwrap());
            assert_eq!(signs(&seen), left);
        }
    }
}

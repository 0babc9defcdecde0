//! Reads the frame headers of what the server sends: how many answers a client has to react to, and where a frame ends.
//!
//! Pure, like `frames`. It exists because a client's PING and WINDOW_UPDATE frames are judged against what it was sent.

use crate::net::server::connection::frames::{DATA, HEADER_BYTES, HEADERS};

/// GOAWAY frame type and error code (RFC 9113, sections 6.8 and 7).
const GOAWAY: u8 = 7;
const ENHANCE_YOUR_CALM: u32 = 0xb;

/// Reads frame headers out of the server's bytes, however they are cut.
#[derive(Debug, Default)]
pub struct SentFrames {
    payload_left: usize,
    header: [u8; HEADER_BYTES],
    header_filled: usize,
}

impl SentFrames {
    /// Takes the next bytes that went out. Returns how many HEADERS and DATA frames began among them.
    pub fn wrote(&mut self, mut bytes: &[u8]) -> u32 {
        let mut answers = 0;
        while !bytes.is_empty() {
            let skipped = bytes.len().min(self.payload_left);
            self.payload_left -= skipped;
            bytes = &bytes[skipped..];
            let taken = bytes.len().min(HEADER_BYTES - self.header_filled);
            self.header[self.header_filled..self.header_filled + taken].copy_from_slice(&bytes[..taken]);
            self.header_filled += taken;
            bytes = &bytes[taken..];
            if self.header_filled == HEADER_BYTES {
                self.header_filled = 0;
                let [a, b, c, kind, ..] = self.header;
                self.payload_left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                answers += u32::from(matches!(kind, DATA | HEADERS));
            }
        }
        answers
    }

    /// True when a frame of our own may be put behind what went out.
    pub fn is_at_border(&self) -> bool {
        self.payload_left == 0 && self.header_filled == 0
    }
}

/// The last frame to a client that floods: gRPC clients slow down their PINGs when they read it.
pub fn calm_down(last_stream: u32, words: &str) -> Vec<u8> {
    let length = 8 + words.len();
    let mut frame = vec![(length >> 16) as u8, (length >> 8) as u8, length as u8, GOAWAY, 0, 0, 0, 0, 0];
    frame.extend_from_slice(&last_stream.to_be_bytes()); // granted: a frame of ours
    frame.extend_from_slice(&ENHANCE_YOUR_CALM.to_be_bytes()); // granted: a frame of ours
    frame.extend_from_slice(words.as_bytes()); // granted: a frame of ours
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_and_borders_are_found_however_the_bytes_are_cut() {
        let mut stream = Vec::new();
        for (kind, payload) in [(4u8, 12usize), (HEADERS, 40), (DATA, 300), (HEADERS, 9), (6, 8), (DATA, 0)] {
            stream.extend([0, (payload >> 8) as u8, payload as u8, kind, 0, 0, 0, 0, 1]);
            stream.resize(stream.len() + payload, 1);
        }
        for cut in 1..stream.len() {
            let mut sent = SentFrames::default();
            let answers: u32 = stream.chunks(cut).map(|chunk| sent.wrote(chunk)).sum();
            assert_eq!((answers, sent.is_at_border()), (4, true), "cut {cut}");
            assert!(sent.wrote(&stream[..5]) == 0 && !sent.is_at_border());
        }
    }

    #[test]
    fn the_farewell_is_a_goaway_with_its_reason() {
        let frame = calm_down(7, "ping_flood");
        let expected = [&[0, 0, 18, 7, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 11][..], b"ping_flood"].concat();
        assert_eq!(frame, expected);
    }
}

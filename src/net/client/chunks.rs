//! A request body in pieces: the slices of the payload go to the socket side by side (writev), not joined into one buffer.
//!
//! Pieces below `JOIN_BELOW` are copied together first, because a socket call per few hundred bytes costs more than the copy.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};

/// Pieces smaller than this are joined with their neighbours.
const JOIN_BELOW: usize = 4 << 10;
/// A joined piece grows no further than this, so that a huge message of small items is not held twice.
const JOIN_MAX: usize = 64 << 10;

/// Bytes in order, in as few pieces as is cheap.
#[derive(Clone, Debug, Default)]
pub struct Chunks {
    pieces: VecDeque<Bytes>,
    remaining: usize,
}

impl Chunks {
    pub fn new(parts: impl IntoIterator<Item = Bytes>) -> Chunks {
        let mut chunks = Chunks::default();
        let mut joined = BytesMut::new();
        for part in parts {
            chunks.remaining += part.len();
            if part.len() < JOIN_BELOW && joined.len() + part.len() <= JOIN_MAX {
                joined.extend_from_slice(&part); // granted: by the transport's working_bytes
                continue;
            }
            if !joined.is_empty() {
                chunks.pieces.push_back(joined.split().freeze());
            }
            if part.len() < JOIN_BELOW {
                joined.extend_from_slice(&part); // granted: by the transport's working_bytes
            } else {
                chunks.pieces.push_back(part);
            }
        }
        if !joined.is_empty() {
            chunks.pieces.push_back(joined.freeze());
        }
        chunks
    }
}

impl Buf for Chunks {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(piece);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.remaining, "advance beyond the end of a request body");
        self.remaining -= count;
        while let Some(piece) = self.pieces.front_mut() {
            if count < piece.len() {
                piece.advance(count);
                return;
            }
            count -= piece.len();
            self.pieces.pop_front();
        }
    }
}

/// A body that is one frame of [`Chunks`]; hyper cuts it into frames of the peer's size.
#[derive(Debug, Default)]
pub struct Outgoing(Option<Chunks>);

impl Outgoing {
    pub fn new(chunks: Chunks) -> Outgoing {
        Outgoing((chunks.remaining > 0).then_some(chunks))
    }
}

impl Body for Outgoing {
    type Data = Chunks;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Chunks>, Infallible>>> {
        Poll::Ready(self.0.take().map(|chunks| Ok(Frame::data(chunks))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |chunks| chunks.remaining as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_come_out_as_they_went_in_and_small_pieces_are_joined() {
        let mut random = fastrand::Rng::with_seed(7);
        for round in 0..200 {
            let parts: Vec<Bytes> = (0..random.usize(0..40))
                .map(|_| {
                    Bytes::from(vec![
                        random.u8(..);
                        if random.bool() { random.usize(0..900) } else { random.usize(0..20_000) }
                    ])
                })
                .collect();
            let wanted = parts.concat();
            let mut chunks = Chunks::new(parts.clone());
            assert_eq!(chunks.remaining(), wanted.len(), "seed 7, round {round}");
            let mut got = Vec::new();
            while chunks.has_remaining() {
                let mut slices = [IoSlice::new(&[]); 4];
                assert!(chunks.chunks_vectored(&mut slices) > 0);
                let step = random.usize(1..=chunks.chunk().len());
                got.extend_from_slice(&chunks.chunk()[..step]);
                chunks.advance(step);
            }
            assert_eq!(got, wanted, "seed 7, round {round}");
        }
        let small = Chunks::new((0..100).map(|_| Bytes::from_static(&[1; 100])));
        assert_eq!(small.pieces.len(), 1);
    }

    #[test]
    fn a_large_piece_is_not_copied() {
        let large = Bytes::from(vec![3; JOIN_BELOW]);
        let at = large.as_ptr();
        let chunks = Chunks::new([Bytes::from_static(b"head"), large]);
        assert_eq!(chunks.pieces[1].as_ptr(), at);
    }
}

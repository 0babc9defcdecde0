//! A line of JSON being written: its memory is paid for before it grows.
//!
//! Writers need not ask after each byte: once there is no memory nothing more is written, and whoever wants the line is told.

use crate::core::data::budget::{OverBudget, Ticket};
use crate::core::data::granted::{Allowance, Granted, list_bytes};
use crate::otlp::json::text;

/// Of a long string so much is written at a time: each byte of it may become six.
const PIECE_BYTES: usize = 4 << 10;
const ESCAPED_MAX: usize = 6;
/// A number takes at most this many characters.
const NUMBER_BYTES: usize = 32;

/// The line and what pays for it; both end together.
pub struct JsonLine {
    text: Granted<u8>,
    room: Allowance,
    refused: Option<OverBudget>,
}

impl JsonLine {
    /// An empty line in memory that this ticket pays for, until the line is dropped.
    pub fn within(ticket: &Ticket) -> JsonLine {
        JsonLine { text: Granted::new(), room: Allowance::working(ticket), refused: None }
    }

    /// Goes on behind `text`, in memory that is accounted elsewhere.
    pub fn behind(text: Vec<u8>) -> JsonLine {
        JsonLine { text: Granted::of(text), room: Allowance::working(&Ticket::free()), refused: None }
    }

    /// The text, unless there was no memory for all of it.
    pub fn text(&self) -> Result<&[u8], OverBudget> {
        self.refused.map_or(Ok(&self.text), Err)
    }

    /// True when there is no memory for more: what is written now is left out.
    pub fn is_refused(&self) -> bool {
        self.refused.is_some()
    }

    /// The text in memory that is accounted elsewhere.
    pub fn into_text(mut self) -> Vec<u8> {
        std::mem::take(self.text.within())
    }

    pub fn len(&self) -> usize {
        self.text.len()
    }

    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    pub fn last(&self) -> Option<&u8> {
        self.text.last()
    }

    pub fn truncate(&mut self, length: usize) {
        self.text.truncate(length);
    }

    pub fn push(&mut self, byte: u8) {
        self.put(1, |out| out.push(byte)); // granted: by `put`
    }

    pub fn add(&mut self, bytes: &[u8]) {
        self.put(bytes.len(), |out| out.extend_from_slice(bytes)); // granted: by `put`
    }

    /// A quoted string; see [`text::push_string`].
    pub fn string(&mut self, mut string: &[u8]) {
        self.push(b'"'); // granted: by `put`
        while !string.is_empty() {
            let (piece, rest) = string.split_at(piece(string));
            self.put(ESCAPED_MAX * piece.len(), |out| text::push_escaped(out, piece));
            string = rest;
        }
        self.push(b'"'); // granted: by `put`
    }

    /// Something short, such as a number.
    pub fn number(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.put(NUMBER_BYTES, write);
    }

    /// Writes at most so many bytes.
    #[inline]
    pub fn put(&mut self, bytes: usize, write: impl FnOnce(&mut Vec<u8>)) {
        if self.refused.is_some() {
            return;
        }
        match self.text.reserve(bytes, &mut self.room) {
            Ok(()) => write(self.text.within()),
            Err(why) => self.refused = Some(why),
        }
    }

    /// Gives `work` the parts joined; nothing without memory for that.
    pub fn with_joined<'p, T>(
        &mut self,
        parts: impl Iterator<Item = &'p [u8]>,
        work: impl FnOnce(&mut JsonLine, &[u8]) -> T,
    ) -> Option<T> {
        let mut joined = Granted::new();
        for part in parts {
            if let Err(why) = joined.extend(part, &mut self.room) {
                self.refused = Some(why);
                return None;
            }
        }
        let done = work(self, &joined);
        self.room.give(list_bytes::<u8>(joined.capacity()));
        Some(done)
    }
}

/// Length of the next piece: where a string is cut no character is, nor what might have been one.
fn piece(string: &[u8]) -> usize {
    let is_inside = |at: usize| string.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
    let end = string.len().min(PIECE_BYTES);
    (end.saturating_sub(3)..=end).rev().find(|at| *at > 0 && !is_inside(*at)).unwrap_or(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::data::budget::Budget;

    #[test]
    fn a_string_written_in_pieces_is_the_string_written_at_once() {
        let mut random = fastrand::Rng::with_seed(7);
        for round in 0..300 {
            let length = random.usize(4_000..9_000);
            let mut string: Vec<u8> = match round % 3 {
                0 => "\u{e9}\u{20ac}\u{1f600}x".bytes().cycle().skip(round).take(length).collect(),
                1 => (0..length).map(|_| random.u8(..)).collect(),
                _ => vec![0x80 | random.u8(..0x40); length],
            };
            string.truncate(length);
            let (mut whole, mut line) = (Vec::new(), JsonLine::behind(Vec::new()));
            text::push_string(&mut whole, &string);
            line.string(&string);
            assert!(line.into_text() == whole, "round {round}");
        }
    }

    #[test]
    fn a_line_takes_no_more_than_its_ticket_has_and_gives_it_back() {
        let budget = Budget::new(100_000, 100_000);
        let ticket = budget.take(0).expect("fits");
        let mut line = JsonLine::within(&ticket);
        while !line.is_refused() {
            line.string(&[b'x'; 1_000]);
        }
        assert!(line.text().is_err() && line.len() <= 116_000 && budget.used() <= 100_000);
        drop(line);
        assert_eq!(budget.used(), 0);
    }
}

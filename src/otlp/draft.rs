//! A message being written whose nested lengths are not known yet, in memory that its ticket has paid for.
//!
//! A nested message is opened, written and closed; its length takes its shortest form, so what it holds moves by a few bytes
//! when it closes. Below some levels the length is padded instead, so that no byte is moved at each of them.

use bytes::Bytes;

use crate::core::data::budget::{OverBudget, Ticket};
use crate::core::data::granted::{Allowance, Granted};
use crate::otlp::fields::common::{any_value, key_value};
use crate::otlp::write;

/// Bytes of a padded length: enough for any message.
const PADDED_LENGTH: usize = 5;
/// Nested messages from which lengths are padded: a value in a map is three of them.
const PADDED_FROM: usize = 8;
/// What a field needs beside its text.
const FIELD_BYTES: usize = 24;

/// The message so far.
#[derive(Debug)]
pub struct Draft {
    out: Granted<u8>,
    room: Allowance,
    open: usize,
}

/// A nested message that is not closed yet.
#[derive(Debug)]
#[must_use]
pub struct OpenMessage {
    body: usize,
    padded: bool,
}

impl Draft {
    /// What is written stays on the ticket.
    pub fn within(ticket: &Ticket) -> Draft {
        Draft { out: Granted::new(), room: Allowance::of(ticket), open: 0 }
    }

    pub fn len(&self) -> usize {
        self.out.len()
    }

    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Takes back what was written behind `length`, while nothing is open.
    pub fn truncate(&mut self, length: usize) {
        self.out.truncate(length);
        self.open = 0;
    }

    pub fn open(&mut self, number: u32) -> Result<OpenMessage, OverBudget> {
        let padded = self.open >= PADDED_FROM;
        self.open += 1;
        self.out.reserve(FIELD_BYTES, &mut self.room)?;
        write::key(self.out.within(), number, write::LEN);
        let body = self.out.len() + if padded { PADDED_LENGTH } else { 1 };
        self.out.within().resize(body, 0);
        Ok(OpenMessage { body, padded })
    }

    pub fn close(&mut self, message: &OpenMessage) -> Result<(), OverBudget> {
        self.open = self.open.saturating_sub(1);
        self.out.reserve(PADDED_LENGTH, &mut self.room)?;
        let (body, end) = (message.body, self.out.len());
        let length = end - body;
        let (width, have) =
            if message.padded { (PADDED_LENGTH, PADDED_LENGTH) } else { (write::varint_len(length as u64), 1) };
        if width > have {
            self.out.within().resize(end + width - have, 0);
            self.out.copy_within(body..end, body + width - have);
        }
        for index in 0..width {
            let more = if index + 1 < width { 0x80 } else { 0 };
            self.out[body - have + index] = (length >> (7 * index)) as u8 & 0x7f | more;
        }
        Ok(())
    }

    /// Where the body of a closed message stands, by where its key began.
    pub fn body_of(&self, start: usize) -> Option<usize> {
        let (_, key) = crate::otlp::walk::read_varint(self.out.get(start..)?).ok()?;
        let (_, length) = crate::otlp::walk::read_varint(self.out.get(start + key..)?).ok()?;
        Some(start + key + length)
    }

    pub fn bytes(&mut self, number: u32, value: &[u8]) -> Result<(), OverBudget> {
        self.out.reserve(value.len() + FIELD_BYTES, &mut self.room)?;
        write::bytes(self.out.within(), number, value);
        Ok(())
    }

    pub fn varint(&mut self, number: u32, value: u64) -> Result<(), OverBudget> {
        self.out.reserve(FIELD_BYTES, &mut self.room)?;
        write::key(self.out.within(), number, write::VARINT);
        write::varint(self.out.within(), value);
        Ok(())
    }

    pub fn fixed64(&mut self, number: u32, value: u64) -> Result<(), OverBudget> {
        self.out.reserve(FIELD_BYTES, &mut self.room)?;
        write::key(self.out.within(), number, write::FIXED64);
        self.out.extend(&value.to_le_bytes(), &mut self.room)
    }

    pub fn fixed32(&mut self, number: u32, value: u32) -> Result<(), OverBudget> {
        self.out.reserve(FIELD_BYTES, &mut self.room)?;
        write::key(self.out.within(), number, write::FIXED32);
        self.out.extend(&value.to_le_bytes(), &mut self.room)
    }

    /// What was written so far.
    pub fn written(&self) -> &[u8] {
        &self.out
    }

    /// Text of at most `bytes` bytes that `put` writes; `None` takes back the field.
    pub fn text(
        &mut self,
        number: u32,
        bytes: usize,
        put: impl FnOnce(&mut Vec<u8>) -> Option<()>,
    ) -> Result<Option<()>, OverBudget> {
        let start = self.out.len();
        let message = self.open(number)?;
        self.out.reserve(bytes, &mut self.room)?;
        let put = put(self.out.within());
        self.close(&message)?;
        if put.is_none() {
            self.out.truncate(start);
        }
        Ok(put)
    }

    /// An attribute with a text. Its lengths are known, so nothing of it moves.
    pub fn text_attribute(&mut self, number: u32, key: &str, value: &[u8]) -> Result<(), OverBudget> {
        let inner = write::field_len(any_value::STRING_VALUE, value.len());
        let pair = write::field_len(key_value::KEY, key.len()) + write::field_len(key_value::VALUE, inner);
        self.out.reserve(pair + FIELD_BYTES, &mut self.room)?;
        let out = self.out.within();
        write::key(out, number, write::LEN);
        write::varint(out, pair as u64);
        write::bytes(out, key_value::KEY, key.as_bytes());
        write::key(out, key_value::VALUE, write::LEN);
        write::varint(out, inner as u64);
        write::bytes(out, any_value::STRING_VALUE, value);
        Ok(())
    }

    /// A value that is a text.
    pub fn text_value(&mut self, number: u32, value: &[u8]) -> Result<(), OverBudget> {
        let inner = write::field_len(any_value::STRING_VALUE, value.len());
        self.out.reserve(inner + 2 * FIELD_BYTES, &mut self.room)?;
        let out = self.out.within();
        write::key(out, number, write::LEN);
        write::varint(out, inner as u64);
        write::bytes(out, any_value::STRING_VALUE, value);
        Ok(())
    }

    /// An attribute with a whole number.
    pub fn int_attribute(&mut self, number: u32, key: &str, value: i64) -> Result<(), OverBudget> {
        let attribute = self.open(number)?;
        self.bytes(key_value::KEY, key.as_bytes())?;
        let inner = self.open(key_value::VALUE)?;
        self.varint(any_value::INT_VALUE, value.cast_unsigned())?;
        self.close(&inner)?;
        self.close(&attribute)
    }

    /// What was written, in memory that stays on the ticket.
    pub fn freeze(mut self) -> Result<Bytes, OverBudget> {
        self.out.freeze(&mut self.room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::data::budget::Budget;
    use crate::otlp::walk::Fields;

    /// The lengths of what is nested under field 1, from the outside in.
    fn lengths(mut bytes: &[u8]) -> Vec<usize> {
        let mut found = Vec::new();
        while let Some(Ok(field)) = Fields::new(bytes).next() {
            if field.number != 1 {
                break;
            }
            bytes = field.bytes().unwrap();
            found.push(bytes.len());
        }
        found
    }

    #[test]
    fn nested_messages_read_back_at_every_depth_and_length() {
        for (depth, text) in [(1, 3), (3, 127), (3, 128), (9, 300), (12, 20_000), (64, 1)] {
            let mut draft = Draft::within(&Ticket::free());
            let open: Vec<OpenMessage> = (0..depth).map(|_| draft.open(1).unwrap()).collect();
            draft.bytes(2, &vec![b'x'; text]).unwrap();
            for message in open.iter().rev() {
                draft.close(message).unwrap();
            }
            let bytes = draft.freeze().unwrap();
            let found = lengths(&bytes);
            assert_eq!(found.len(), depth, "{depth} levels around {text} bytes");
            assert_eq!(found.last(), Some(&write::field_len(2, text)));
        }
    }

    #[test]
    fn what_is_written_is_paid_for_and_a_ticket_without_room_refuses_it() {
        let budget = Budget::new(4_000, 4_000);
        let ticket = budget.take(0).unwrap();
        let mut draft = Draft::within(&ticket);
        while draft.bytes(1, &[7; 100]).is_ok() {}
        assert!(draft.len() <= 4_000 && budget.used() <= 4_000);
        drop((draft, ticket));
        assert_eq!(budget.used(), 0);
    }
}

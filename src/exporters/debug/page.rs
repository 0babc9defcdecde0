//! A request's lines, made head by head and item by item, so that no more than one of them is a tree of values at a time.
//!
//! A tree takes a hundred times the bytes it was read from and more; what the ticket pays for is the tree of one item and
//! the text so far.

use serde_json::Value;

use crate::core::data::budget::{OverBudget, Ticket};
use crate::core::data::granted::Allowance;
use crate::core::data::payload::{Envelope, Group, Payload, ScopeGroup, Signal};
use crate::exporters::debug::text::{self, Detail};
use crate::otlp::json::from_wire;
use crate::otlp::regroup::split::{without_items, without_scopes};

/// What is longer on the wire is not shown: nobody reads it by eye, and its tree would be tens of megabytes.
const SHOWN_BYTES_MAX: usize = 64 << 10;
/// A tree takes at most so many bytes for each on the wire: two bytes are an empty attribute, which becomes an object in
/// a map of its own, whose smallest node is 640 bytes.
const TREE_PER_BYTE: usize = 400;

/// Text of a usual piece: its lines without what it holds, and what each byte of it becomes.
const HEAD_BYTES: usize = 1 << 10;
const TEXT_PER_BYTE: usize = 8;

/// The request as text, in memory that its ticket pays for until the page is dropped.
pub struct DebugPage {
    pub text: String,
    room: Allowance,
    /// So much of the text's capacity.
    paid: usize,
}

impl DebugPage {
    pub fn within(ticket: &Ticket) -> DebugPage {
        DebugPage { text: String::new(), room: Allowance::working(ticket), paid: 0 }
    }

    /// Every head and item in order.
    pub fn show(&mut self, payload: &Payload, style: Detail) -> Result<(), OverBudget> {
        let signal = payload.signal;
        let words = text::words(signal);
        for (at, group) in payload.envelope.groups.iter().enumerate() {
            let head = without_scopes(group);
            let length = head.resource.as_ref().map_or(0, |resource| resource.len()) + head.schema_url.len();
            self.piece(signal, head, length, |request, out| {
                text::group(signal, style, at, &request[words.groups][0], out);
            })?;
            for (at, scope) in group.scopes.iter().enumerate() {
                self.scope(signal, style, at, scope)?;
            }
        }
        Ok(())
    }

    fn scope(&mut self, signal: Signal, style: Detail, at: usize, scope: &ScopeGroup) -> Result<(), OverBudget> {
        let words = text::words(signal);
        let head = without_items(scope);
        let length = head.scope.as_ref().map_or(0, |scope| scope.len()) + head.schema_url.len();
        self.piece(signal, around(head), length, |request, out| {
            text::scope(signal, style, at, &request[words.groups][0][words.scopes][0], out);
        })?;
        for at in 0..scope.items.len() {
            let mut alone = ScopeGroup::default();
            alone.items.extend_from(&scope.items, at..at + 1);
            let length = alone.items.byte_len();
            self.piece(signal, around(alone), length, |request, out| {
                let item = &request[words.groups][0][words.scopes][0][words.items][0];
                text::item(signal, style, at, item, out);
            })?;
        }
        Ok(())
    }

    /// Adds the lines of a head or an item, which takes `length` bytes on the wire.
    fn piece(
        &mut self,
        signal: Signal,
        group: Group,
        length: usize,
        lines: impl FnOnce(&Value, &mut String),
    ) -> Result<(), OverBudget> {
        if length > SHOWN_BYTES_MAX {
            text::instead(format_args!("{length} bytes are too many to be shown"), &mut self.text);
            return Ok(());
        }
        self.make_room(HEAD_BYTES + TEXT_PER_BYTE * length)?;
        let tree = length * TREE_PER_BYTE;
        self.room.take(tree)?;
        match tree_of(signal, group) {
            Ok(request) => lines(&request, &mut self.text),
            Err(fault) => text::instead(format_args!("cannot be shown: {fault}"), &mut self.text),
        }
        self.room.give(tree);
        // Seldom more than there was room for, and then by one piece.
        let grown = self.text.capacity().saturating_sub(self.paid);
        self.room.take(grown)?;
        self.paid += grown;
        Ok(())
    }

    /// Room for so much more text; while it moves, the old memory and the new are both paid for.
    fn make_room(&mut self, bytes: usize) -> Result<(), OverBudget> {
        let (length, before) = (self.text.len(), self.text.capacity());
        if before - length >= bytes {
            return Ok(());
        }
        let capacity = (length + bytes).max(before + before / 2);
        self.room.take(capacity)?;
        self.text.reserve_exact(capacity - length); // granted: above
        self.room.give(self.paid);
        self.paid = capacity;
        Ok(())
    }
}

fn around(scope: ScopeGroup) -> Group {
    Group { scopes: vec![scope], ..Group::default() }
}

fn tree_of(signal: Signal, group: Group) -> Result<Value, String> {
    let (envelope, mut json) = (Envelope { groups: vec![group], dictionary: None }, Vec::new());
    from_wire(signal, &envelope, &mut json).map_err(|fault| fault.to_string())?;
    serde_json::from_slice(&json).map_err(|error| error.to_string())
}

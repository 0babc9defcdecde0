//! Cuts a body that arrives in chunks into watch lines or list items, holding one object at a time.
//!
//! Both are bounded: an object larger than the limit is passed over and reported, and what follows it is read normally.

use super::raw;
use super::text::Text;
use crate::kube::decode::event::Undecodable;

/// etcd takes objects of 1.5 MiB; JSON may need a few bytes for one of theirs.
const OBJECT_BYTES_MAX: usize = 8 << 20;
/// A list without its items: kind, metadata with the continue token.
const FRAME_BYTES_MAX: usize = 64 << 10;
/// What a buffer may keep between objects.
const BUFFER_KEPT_BYTES: usize = 64 << 10;

/// Open braces and brackets where the items of a list begin: those of the list and of `items`.
const ITEMS_DEPTH: usize = 2;

/// What a splitter found.
#[derive(Debug, PartialEq)]
pub enum Piece<'a> {
    Object(&'a [u8]),
    /// An object over the limit was passed over.
    TooLarge,
}

/// Lines of a watch.
#[derive(Debug)]
pub struct LineSplitter {
    held: Vec<u8>,
    skipping: bool,
    bytes_max: usize,
}

impl Default for LineSplitter {
    fn default() -> LineSplitter {
        LineSplitter::with_limit(OBJECT_BYTES_MAX)
    }
}

impl LineSplitter {
    pub fn with_limit(bytes_max: usize) -> LineSplitter {
        LineSplitter { held: Vec::new(), skipping: false, bytes_max }
    }

    /// Hands each line that `chunk` completes to `take`, without its newline; empty lines are passed over.
    pub fn push(&mut self, chunk: &[u8], take: &mut dyn FnMut(Piece<'_>)) {
        let mut rest = chunk;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(end);
            rest = &after[1..];
            self.complete(line, take);
        }
        if self.skipping || self.held.len() + rest.len() > self.bytes_max {
            self.skipping = true;
            self.held = Vec::new();
        } else {
            self.held.extend_from_slice(rest);
        }
    }

    fn complete(&mut self, line: &[u8], take: &mut dyn FnMut(Piece<'_>)) {
        if std::mem::take(&mut self.skipping) || self.held.len() + line.len() > self.bytes_max {
            take(Piece::TooLarge);
        } else if self.held.is_empty() {
            if !line.trim_ascii().is_empty() {
                take(Piece::Object(line));
            }
        } else {
            self.held.extend_from_slice(line);
            take(Piece::Object(&self.held));
        }
        empty(&mut self.held);
    }

    /// True when the body ended within a line.
    pub fn is_cut_off(&self) -> bool {
        self.skipping || !self.held.trim_ascii().is_empty()
    }
}

fn empty(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.shrink_to(BUFFER_KEPT_BYTES);
}

/// The frame of a list that was read to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListEnd {
    pub version: String,
    /// Token of the next page; empty on the last one.
    pub rest: String,
}

/// Items of a JSON list, one at a time, however the body is cut into chunks.
///
/// Invariant: `depth` counts open braces and brackets outside strings; at `ITEMS_DEPTH` inside `items`, a brace begins
/// an item.
#[derive(Debug)]
pub struct ListSplitter {
    depth: usize,
    string: StringState,
    in_items: bool,
    // The last string at depth 1, and whether a colon made it the key of what follows.
    word: Vec<u8>,
    is_key: bool,
    // Everything but the items.
    frame: Vec<u8>,
    item: Vec<u8>,
    item_skipped: bool,
    broken: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum StringState {
    Outside,
    Inside,
    Escaped,
}

impl Default for ListSplitter {
    fn default() -> ListSplitter {
        ListSplitter {
            depth: 0,
            string: StringState::Outside,
            in_items: false,
            word: Vec::new(),
            is_key: false,
            frame: Vec::new(),
            item: Vec::new(),
            item_skipped: false,
            broken: false,
        }
    }
}

impl ListSplitter {
    const WORD_BYTES_MAX: usize = 16;

    /// Hands each item that `chunk` completes to `take`.
    pub fn push(&mut self, chunk: &[u8], take: &mut dyn FnMut(Piece<'_>)) {
        let mut rest = chunk;
        while let Some(byte) = rest.first() {
            if self.in_items && (self.depth > ITEMS_DEPTH || *byte == b'{') {
                let (taken, closed) = self.scan_item(rest);
                let (piece, after) = rest.split_at(taken);
                self.take_item(piece, closed, take);
                rest = after;
            } else {
                self.frame_byte(*byte);
                rest = &rest[1..];
            }
        }
    }

    /// How much of `bytes` belongs to the item under way, and whether it ends there.
    fn scan_item(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let found = match self.string {
                StringState::Outside => rest.iter().position(|byte| matches!(byte, b'"' | b'{' | b'}' | b'[' | b']')),
                StringState::Inside => rest.iter().position(|byte| matches!(byte, b'"' | b'\\')),
                StringState::Escaped => Some(0),
            };
            let Some(found) = found else { return (bytes.len(), false) };
            at += found + 1;
            match (self.string, rest[found]) {
                (StringState::Outside, b'"') | (StringState::Escaped, _) => self.string = StringState::Inside,
                (StringState::Outside, b'{' | b'[') => self.depth += 1,
                (StringState::Outside, _) => {
                    self.depth -= 1;
                    if self.depth == ITEMS_DEPTH {
                        return (at, true);
                    }
                }
                (StringState::Inside, b'"') => self.string = StringState::Outside,
                (StringState::Inside, _) => self.string = StringState::Escaped,
            }
        }
        (bytes.len(), false)
    }

    /// An item that lies whole in one chunk is handed on without a copy.
    fn take_item(&mut self, piece: &[u8], closed: bool, take: &mut dyn FnMut(Piece<'_>)) {
        self.item_skipped |= self.item.len() + piece.len() > OBJECT_BYTES_MAX;
        let whole = closed && self.item.is_empty();
        if !whole && !self.item_skipped {
            self.item.extend_from_slice(piece);
        }
        if closed {
            take(match (std::mem::take(&mut self.item_skipped), whole) {
                (true, _) => Piece::TooLarge,
                (false, true) => Piece::Object(piece),
                (false, false) => Piece::Object(&self.item),
            });
            empty(&mut self.item);
        }
    }

    /// A byte outside of items.
    fn frame_byte(&mut self, byte: u8) {
        if !self.in_items || byte == b']' {
            self.broken |= self.frame.len() >= FRAME_BYTES_MAX;
            if !self.broken {
                self.frame.push(byte);
            }
        }
        if self.string == StringState::Outside {
            self.outside_string(byte);
        } else {
            self.inside_string(byte);
        }
    }

    fn inside_string(&mut self, byte: u8) {
        self.string = match (self.string, byte) {
            (StringState::Inside, b'\\') => StringState::Escaped,
            (StringState::Inside, b'"') => StringState::Outside,
            _ => StringState::Inside,
        };
        if self.depth == 1 && self.string == StringState::Inside && self.word.len() < ListSplitter::WORD_BYTES_MAX {
            self.word.push(byte);
        }
    }

    fn outside_string(&mut self, byte: u8) {
        match byte {
            b'"' => {
                self.string = StringState::Inside;
                if self.depth == 1 {
                    self.word.clear();
                    self.is_key = false;
                }
            }
            b':' if self.depth == 1 => self.is_key = true,
            b',' if self.depth == 1 => self.is_key = false,
            b'{' | b'[' => {
                if self.depth == 1 && byte == b'[' && self.is_key && self.word == b"items" {
                    self.in_items = true;
                }
                self.depth += 1;
            }
            b'}' | b']' => self.close(),
            _ => {}
        }
    }

    fn close(&mut self) {
        self.broken |= self.depth == 0;
        self.depth = self.depth.saturating_sub(1);
        if self.depth < ITEMS_DEPTH {
            self.in_items = false;
        }
    }

    /// Reads the frame after the last chunk. Fails when the body ended early or is no list.
    pub fn finish(self) -> Result<ListEnd, Undecodable> {
        if self.broken || self.depth != 0 || self.frame.is_empty() {
            return Err(Undecodable("list is cut off or not a JSON object".to_owned()));
        }
        let frame: raw::ListFrame<'_> = serde_json::from_slice(&self.frame)?;
        if !frame.kind.as_str().ends_with("List") {
            return Err(Undecodable("answer is not a list".to_owned()));
        }
        let text = |text: &Text<'_>| text.as_str().to_owned();
        Ok(ListEnd { version: text(&frame.metadata.resource_version), rest: text(&frame.metadata.rest) })
    }
}

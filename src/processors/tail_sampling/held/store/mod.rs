//! Held spans: bytes in append-only chunks, freed chunk by chunk, accounted to the byte.
//!
//! Spans of one trace, request and scope that arrive together form a run, in the form in which they came; the runs of a trace are chained backwards
//! through their headers, so a trace costs no index per span and is freed by touching its runs only. Empty chunks are
//! kept for a while: memory fresh from the system costs a page fault for every four kilobytes, more than the copy itself.
//! Knows nothing of policies, votes or time.

use crate::otlp::fields::{scope_group, short_key};
use crate::otlp::walk::Fields;
use crate::otlp::write;

/// Runs above this get a chunk of their own, so that one large span does not leave half a chunk unused.
const LARGE_RUN_BYTES: usize = 32 << 10;
const CHUNK_BYTES: usize = 256 << 10;
/// Empty chunks kept for reuse whatever the limit.
const SPARE_CHUNKS_MIN: usize = 4;
const HEADER_BYTES: usize = 28;

/// The place of a run; [`RunAt::NONE`] ends a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunAt {
    chunk: u32,
    offset: u32,
}

impl RunAt {
    pub const NONE: RunAt = RunAt { chunk: u32::MAX, offset: u32::MAX };

    pub fn is_none(self) -> bool {
        self == RunAt::NONE
    }
}

/// What stands before the spans of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunHeader {
    /// The run stored before this one in the same trace.
    pub previous: RunAt,
    /// Place of the trace in its table.
    pub owner: u32,
    pub group: u32,
    pub scope: u32,
    pub spans: u32,
    /// A span of it has a trace state.
    pub has_states: bool,
    /// Bytes of the run without this header.
    pub length: u32,
}

struct Chunk {
    bytes: Vec<u8>,
    /// Bytes of runs not yet freed, headers included.
    live: usize,
    /// True while `sparse` names it.
    listed: bool,
}

impl Chunk {
    fn is_sparse(&self) -> bool {
        self.live * 2 < self.bytes.len()
    }
}

/// Chunks of one shard. Invariant: `live` is the sum of all chunks' live bytes, `capacity` the sum of their allocations
/// and of the spare ones.
#[derive(Default)]
pub struct SpanStore {
    chunks: Vec<Option<Chunk>>,
    vacant: Vec<u32>,
    current: Option<u32>,
    spare: Vec<Vec<u8>>,
    spare_max: usize,
    /// The fewest spare chunks since they were last thinned out: so many the load did not need.
    idle: usize,
    /// Chunks that fell below a half, so that none has to be searched for; some may be gone or full again.
    sparse: Vec<u32>,
    live: u64,
    capacity: u64,
}

/// Bytes that a run of `wire` bytes will take.
pub fn run_cost(wire: u64) -> u64 {
    wire + HEADER_BYTES as u64
}

impl SpanStore {
    /// `spare_bytes` bounds the empty chunks that are kept for reuse.
    pub fn new(spare_bytes: u64) -> SpanStore {
        let chunks = usize::try_from(spare_bytes).unwrap_or(usize::MAX) / CHUNK_BYTES;
        SpanStore { spare_max: chunks.max(SPARE_CHUNKS_MIN), ..SpanStore::default() }
    }

    /// Bytes allocated, used or not.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Bytes of the chunks and of the lists of them.
    pub fn footprint(&self) -> u64 {
        let numbers = (self.vacant.capacity() + self.sparse.capacity()) * size_of::<u32>();
        let chunks = self.chunks.capacity() * size_of::<Option<Chunk>>();
        self.capacity + (chunks + self.spare.capacity() * size_of::<Vec<u8>>() + numbers) as u64
    }

    /// Bytes of runs not yet freed.
    pub fn live(&self) -> u64 {
        self.live
    }

    /// Takes a run in: `write` appends its spans, which take `length` bytes.
    pub fn append(&mut self, header: RunHeader, length: usize, write: impl FnOnce(&mut Vec<u8>)) -> RunAt {
        let (at, chunk) = self.place_for(HEADER_BYTES + length);
        let start = chunk.bytes.len();
        write_header(&mut chunk.bytes, &RunHeader { length: length as u32, ..header });
        write(&mut chunk.bytes);
        let written = HEADER_BYTES + length;
        debug_assert_eq!(chunk.bytes.len() - start, written, "the caller's sum of bytes is exact");
        // A chunk is walked by the lengths in its headers, so these must hold whatever was written.
        chunk.bytes.resize(start + written, 0);
        chunk.live += written;
        self.live += written as u64;
        RunAt { chunk: at, offset: start as u32 }
    }

    fn place_for(&mut self, needed: usize) -> (u32, &mut Chunk) {
        let fits = |chunk: &Option<Chunk>| {
            chunk.as_ref().is_some_and(|chunk| chunk.bytes.capacity() - chunk.bytes.len() >= needed)
        };
        let at = match self.current {
            _ if needed > LARGE_RUN_BYTES => self.open(Vec::with_capacity(needed)),
            Some(current) if fits(&self.chunks[current as usize]) => current,
            _ => {
                let bytes = self.spare.pop();
                if bytes.is_some() {
                    self.capacity -= CHUNK_BYTES as u64;
                }
                self.idle = self.idle.min(self.spare.len());
                let opened = self.open(bytes.unwrap_or_else(|| Vec::with_capacity(CHUNK_BYTES)));
                self.current = Some(opened);
                opened
            }
        };
        let chunk = self.chunks[at as usize].as_mut().expect("the chunk was just found or opened");
        (at, chunk)
    }

    fn open(&mut self, bytes: Vec<u8>) -> u32 {
        self.capacity += bytes.capacity() as u64;
        let chunk = Some(Chunk { bytes, live: 0, listed: false });
        match self.vacant.pop() {
            Some(at) => {
                self.chunks[at as usize] = chunk;
                at
            }
            None => {
                self.chunks.push(chunk);
                (self.chunks.len() - 1) as u32
            }
        }
    }

    fn bytes_at(&self, at: RunAt) -> &[u8] {
        let chunk = self.chunks[at.chunk as usize].as_ref().expect("a run that was not freed keeps its chunk");
        &chunk.bytes[at.offset as usize..]
    }

    pub fn header(&self, at: RunAt) -> RunHeader {
        read_header(self.bytes_at(at))
    }

    /// The spans of a run as fields of a scope group, as they arrived.
    pub fn wire(&self, at: RunAt) -> &[u8] {
        let bytes = self.bytes_at(at);
        let header = read_header(bytes);
        &bytes[HEADER_BYTES..HEADER_BYTES + header.length as usize]
    }

    /// The spans of a run in the order they came.
    pub fn spans(&self, at: RunAt) -> impl Iterator<Item = &[u8]> {
        spans_of(self.wire(at))
    }

    /// Gives a run's bytes back and returns its header; its chunk goes when it was the last.
    pub fn free(&mut self, at: RunAt) -> RunHeader {
        let header = self.header(at);
        let size = HEADER_BYTES + header.length as usize;
        self.live -= size as u64;
        let chunk = self.chunks[at.chunk as usize].as_mut().expect("a run that was not freed keeps its chunk");
        chunk.live -= size;
        if chunk.live == 0 {
            self.retire(at.chunk);
        } else if !chunk.listed && chunk.is_sparse() {
            chunk.listed = true;
            self.list(at.chunk);
        }
        header
    }

    fn list(&mut self, at: u32) {
        if self.sparse.len() > 2 * self.chunks.len() {
            // Most of these were freed in the meantime, as chunks usually are.
            let chunks = &self.chunks;
            self.sparse.retain(|at| chunks[*at as usize].as_ref().is_some_and(|chunk| chunk.listed));
        }
        self.sparse.push(at);
    }

    fn retire(&mut self, at: u32) {
        if self.current == Some(at) {
            let chunk = self.chunks[at as usize].as_mut().expect("the current chunk exists");
            chunk.bytes.clear();
            return;
        }
        let chunk = self.chunks[at as usize].take().expect("a chunk is retired once");
        self.vacant.push(at);
        if chunk.bytes.capacity() == CHUNK_BYTES && self.spare.len() < self.spare_max {
            let mut bytes = chunk.bytes;
            bytes.clear();
            self.spare.push(bytes);
        } else {
            self.capacity -= chunk.bytes.capacity() as u64;
        }
    }

    /// Gives back half of the spare chunks that nothing needed since the last call.
    pub fn thin_out(&mut self) {
        let surplus = self.idle.div_ceil(2).min(self.spare.len().saturating_sub(SPARE_CHUNKS_MIN));
        self.drop_spare(surplus);
        self.idle = self.spare.len();
    }

    /// Gives back spare chunks of about `bytes`; returns how many bytes they had.
    pub fn shed(&mut self, bytes: u64) -> u64 {
        let chunks = bytes.div_ceil(CHUNK_BYTES as u64).min(self.spare.len() as u64) as usize;
        self.drop_spare(chunks);
        self.idle = self.idle.min(self.spare.len());
        (chunks * CHUNK_BYTES) as u64
    }

    fn drop_spare(&mut self, chunks: usize) {
        self.spare.truncate(self.spare.len() - chunks);
        self.capacity -= (chunks * CHUNK_BYTES) as u64;
    }

    /// A chunk whose live share is below a half, when unused bytes are more than an eighth of what is live.
    pub fn sparse_chunk(&mut self) -> Option<u32> {
        let spare = (self.spare.len() * CHUNK_BYTES) as u64;
        let slack = self.capacity.saturating_sub(self.live + spare + CHUNK_BYTES as u64);
        if slack <= self.live / 8 {
            return None;
        }
        while let Some(at) = self.sparse.pop() {
            let Some(chunk) = self.chunks[at as usize].as_mut().filter(|chunk| chunk.listed) else { continue };
            chunk.listed = false;
            if self.current != Some(at) && chunk.is_sparse() {
                return Some(at);
            }
        }
        None
    }

    /// The owners of all runs ever written to a chunk, freed or not, each once.
    pub fn owners(&self, chunk: u32) -> Vec<u32> {
        let Some(chunk) = self.chunks[chunk as usize].as_ref() else { return Vec::new() };
        let mut owners = Vec::new();
        let mut rest = &chunk.bytes[..];
        while rest.len() >= HEADER_BYTES {
            let header = read_header(rest);
            if owners.last() != Some(&header.owner) {
                owners.push(header.owner);
            }
            rest = &rest[HEADER_BYTES + header.length as usize..];
        }
        owners.sort_unstable();
        owners.dedup();
        owners
    }

    /// Moves the runs of one trace out of `chunk`; `last` heads the trace's chain, of which at most `steps` links are
    /// followed. Returns the chain's new head.
    pub fn move_out(&mut self, chunk: u32, last: RunAt, steps: &mut usize) -> RunAt {
        let mut head = last;
        let mut follower = RunAt::NONE;
        let mut at = last;
        while !at.is_none() && *steps > 0 {
            *steps -= 1;
            let header = self.header(at);
            let mut here = at;
            if at.chunk == chunk {
                here = self.copy_run(at);
                match follower.is_none() {
                    true => head = here,
                    false => self.set_previous(follower, here),
                }
                self.free(at);
            }
            follower = here;
            at = header.previous;
        }
        head
    }

    fn copy_run(&mut self, at: RunAt) -> RunAt {
        let size = HEADER_BYTES + self.header(at).length as usize;
        let source = self.chunks[at.chunk as usize].as_mut().expect("a run that was not freed keeps its chunk");
        // The source is taken out for the copy, because it and the target live in the same list.
        let bytes = std::mem::take(&mut source.bytes);
        let offset = at.offset as usize;
        let (place, target) = self.place_for(size);
        let start = target.bytes.len();
        target.bytes.extend_from_slice(&bytes[offset..offset + size]);
        target.live += size;
        self.live += size as u64;
        if let Some(source) = self.chunks[at.chunk as usize].as_mut() {
            source.bytes = bytes;
        }
        RunAt { chunk: place, offset: start as u32 }
    }

    fn set_previous(&mut self, at: RunAt, previous: RunAt) {
        let chunk = self.chunks[at.chunk as usize].as_mut().expect("a run that was not freed keeps its chunk");
        let offset = at.offset as usize;
        chunk.bytes[offset..offset + 4].copy_from_slice(&previous.chunk.to_le_bytes());
        chunk.bytes[offset + 4..offset + 8].copy_from_slice(&previous.offset.to_le_bytes());
    }

    /// Checks the struct's invariant; for tests.
    pub fn invariants(&self) -> bool {
        let chunks = || self.chunks.iter().flatten();
        let spare = (self.spare.len() * CHUNK_BYTES) as u64;
        let capacity = chunks().map(|chunk| chunk.bytes.capacity() as u64).sum::<u64>() + spare;
        chunks().map(|chunk| chunk.live as u64).sum::<u64>() == self.live && capacity == self.capacity
    }
}

/// The bit of the word for the scope that says so.
const HAS_STATES: u32 = 1 << 31;

fn write_header(bytes: &mut Vec<u8>, header: &RunHeader) {
    let RunHeader { previous, owner, group, scope, spans, has_states, length } = *header;
    // A request has fewer scopes than this bit is worth.
    let scope = scope | if has_states { HAS_STATES } else { 0 };
    let mut raw = [0u8; HEADER_BYTES];
    let words = [previous.chunk, previous.offset, owner, group, scope, spans, length];
    for (place, word) in raw.chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    bytes.extend_from_slice(&raw);
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[4 * at], bytes[4 * at + 1], bytes[4 * at + 2], bytes[4 * at + 3]])
}

fn read_header(bytes: &[u8]) -> RunHeader {
    let bytes = &bytes[..HEADER_BYTES];
    RunHeader {
        previous: RunAt { chunk: word(bytes, 0), offset: word(bytes, 1) },
        owner: word(bytes, 2),
        group: word(bytes, 3),
        scope: word(bytes, 4) & !HAS_STATES,
        has_states: word(bytes, 4) & HAS_STATES != 0,
        spans: word(bytes, 5),
        length: word(bytes, 6),
    }
}

/// The spans in a run's bytes.
pub fn spans_of(wire: &[u8]) -> impl Iterator<Item = &[u8]> {
    const SPANS: u8 = short_key(scope_group::ITEMS, write::LEN);
    let mut fields = Fields::new(wire);
    std::iter::from_fn(move || match fields.next_of(SPANS) {
        Some(span) => Some(span),
        None => fields.next()?.ok()?.bytes().ok(),
    })
}

#[cfg(test)]
mod tests;

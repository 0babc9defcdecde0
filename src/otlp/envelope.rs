//! Request bytes to envelope and back: resources, scopes and items become slices of the receive buffer, nothing is copied.
//!
//! The four OTLP export requests share one shape (`core::payload::Envelope`), so one hand-written walk reads them all.
//! It is not generated, because a repeated resource or scope must be merged (for messages that is concatenation) where
//! generated code for `bytes` fields keeps the last. Unknown fields at group level are dropped; everything inside
//! resources, scopes and items passes untouched and unread.

use bytes::{Bytes, BytesMut};

use crate::core::items::{Extent, Items};
use crate::core::payload::{Envelope, Group, ScopeGroup, Signal};
use crate::otlp::walk::{Fields, Malformed};
use crate::otlp::write;

/// Items that arrived side by side leave as one slice of the receive buffer in `encode_chunks` when they are at least this
/// long together; copying less costs less than another entry of a vectored write.
const SLICED_BYTES: usize = 4 << 10;
/// What the envelope itself may take beyond a multiple of the body: a 64 MiB body of empty groups would otherwise
/// become gigabytes of empty structs.
const STRUCTURE_BYTES_FREE: usize = 1 << 20;
const STRUCTURE_PER_BODY_BYTE: usize = 4;
/// The key of an item: field 2, length-delimited.
const ITEM: u8 = 2 << 3 | write::LEN;

/// Reads an export request without looking into its items.
pub fn decode(body: Bytes) -> Result<Envelope, Malformed> {
    decode_kept(body, |_| true)
}

/// Reads an export request and keeps the items of which `keep` is true. Each is asked about as soon as it is found, while
/// the cache holds it and the bytes behind it are on their way.
pub fn decode_kept(body: Bytes, keep: impl FnMut(&[u8]) -> bool) -> Result<Envelope, Malformed> {
    // Places are 32 bits wide; no configuration takes a body near that.
    u32::try_from(body.len()).map_err(|_| Malformed::Length)?;
    let left = body.len().saturating_mul(STRUCTURE_PER_BODY_BYTE).saturating_add(STRUCTURE_BYTES_FREE);
    let mut reading = Reading { body, left, keep };
    reading.envelope()
}

/// A request being read.
struct Reading<F> {
    body: Bytes,
    /// What is left for the envelope's own structs, in bytes.
    left: usize,
    keep: F,
}

impl<F: FnMut(&[u8]) -> bool> Reading<F> {
    fn envelope(&mut self) -> Result<Envelope, Malformed> {
        let body = self.body.clone();
        let mut envelope = Envelope::default();
        for field in Fields::new(&body) {
            let field = field?;
            match field.number {
                1 => {
                    self.take_room(size_of::<Group>())?;
                    envelope.groups.push(self.group(&body, field.bytes()?)?);
                }
                // Only profiles have a dictionary; of another type this is a field from the future, to be ignored.
                2 => {
                    if let Ok(dictionary) = field.bytes() {
                        merge(&mut envelope.dictionary, body.slice_ref(dictionary));
                    }
                }
                _ => {}
            }
        }
        Ok(envelope)
    }

    fn group(&mut self, body: &Bytes, message: &[u8]) -> Result<Group, Malformed> {
        let mut group = Group::default();
        for field in Fields::new(message) {
            let field = field?;
            match field.number {
                1 => merge(&mut group.resource, body.slice_ref(field.bytes()?)),
                2 => {
                    self.take_room(size_of::<ScopeGroup>())?;
                    group.scopes.push(self.scope(body.slice_ref(field.bytes()?))?);
                }
                3 => group.schema_url = body.slice_ref(field.bytes()?),
                _ => {}
            }
        }
        Ok(group)
    }

    fn scope(&mut self, message: Bytes) -> Result<ScopeGroup, Malformed> {
        let mut scope = ScopeGroup::default();
        let mut places = Vec::new();
        let mut fields = Fields::new(&message);
        loop {
            while let Some(item) = fields.next_of(ITEM) {
                self.item(item, &fields, &mut places)?;
            }
            let Some(field) = fields.next() else { break };
            let field = field?;
            match field.number {
                1 => merge(&mut scope.scope, message.slice_ref(field.bytes()?)),
                2 => self.item(field.bytes()?, &fields, &mut places)?,
                3 => scope.schema_url = message.slice_ref(field.bytes()?),
                _ => {}
            }
        }
        scope.items = Items::within(message, places);
        Ok(scope)
    }

    #[inline(always)]
    fn item(&mut self, item: &[u8], fields: &Fields<'_>, places: &mut Vec<Extent>) -> Result<(), Malformed> {
        if places.is_empty() {
            // Items of one scope are about as long as the first; the floor bounds what a lie can reserve.
            places.reserve(1 + fields.left() / (item.len().max(size_of::<Bytes>()) + 2));
        }
        self.take_room(size_of::<Extent>())?;
        if (self.keep)(item) {
            let to = fields.position();
            // Both fit: the whole body's length does.
            places.push(Extent { from: (to - item.len()) as u32, to: to as u32 });
        }
        Ok(())
    }

    #[inline]
    fn take_room(&mut self, bytes: usize) -> Result<(), Malformed> {
        self.left = self.left.checked_sub(bytes).ok_or(Malformed::Crowded)?;
        Ok(())
    }
}

/// Protobuf's merge of a message field that comes twice: its bytes one after the other.
fn merge(field: &mut Option<Bytes>, more: Bytes) {
    *field = Some(match field.take() {
        None => more,
        Some(first) => {
            let mut both = BytesMut::with_capacity(first.len() + more.len());
            both.extend_from_slice(&first);
            both.extend_from_slice(&more);
            both.freeze()
        }
    });
}

/// Length of `encode`'s result.
pub fn encoded_len(envelope: &Envelope) -> usize {
    let groups: usize = envelope.groups.iter().map(|group| write::field_len(1, group_len(group))).sum();
    groups + optional_len(2, envelope.dictionary.as_ref())
}

/// How much of the envelope `encode_chunks` copies, at most: everything but scopes whose items leave as one slice.
pub fn copied_len(envelope: &Envelope) -> usize {
    let scopes = envelope.groups.iter().flat_map(|group| &group.scopes);
    encoded_len(envelope) - scopes.map(sliced_len).sum::<usize>()
}

/// Bytes of the scope's items when all of them leave as one slice of the buffer they arrived in, else 0.
fn sliced_len(scope: &ScopeGroup) -> usize {
    let Some(stretch) = scope.items.stretch(0, scope.items.len()) else { return 0 };
    let first = scope.items.first().map_or(0, |item| write::field_len(2, item.len()) - item.len());
    let alone: usize = scope.items.iter().map(|item| write::field_len(2, item.len())).sum();
    if first + stretch.len() == alone && stretch.len() >= SLICED_BYTES { stretch.len() } else { 0 }
}

fn group_len(group: &Group) -> usize {
    let scopes: usize = group.scopes.iter().map(|scope| write::field_len(2, scope_len(scope))).sum();
    optional_len(1, group.resource.as_ref()) + scopes + url_len(&group.schema_url)
}

fn scope_len(scope: &ScopeGroup) -> usize {
    let items: usize = scope.items.iter().map(|item| write::field_len(2, item.len())).sum();
    optional_len(1, scope.scope.as_ref()) + items + url_len(&scope.schema_url)
}

fn optional_len(number: u32, field: Option<&Bytes>) -> usize {
    field.map_or(0, |bytes| write::field_len(number, bytes.len()))
}

fn url_len(schema_url: &Bytes) -> usize {
    if schema_url.is_empty() { 0 } else { write::field_len(3, schema_url.len()) }
}

/// The request as one buffer of exactly the needed size. What came in canonical form leaves byte for byte.
pub fn encode(envelope: &Envelope) -> Bytes {
    let mut chunks = Chunks { ready: Vec::new(), open: Vec::with_capacity(encoded_len(envelope)), limits: None };
    chunks.envelope(envelope);
    Bytes::from(chunks.open)
}

/// The request as buffers for a vectored write: long runs of items as slices of the buffer they arrived in, everything
/// else copied into buffers of about `chunk` bytes.
pub fn encode_chunks(envelope: &Envelope, chunk: usize) -> Vec<Bytes> {
    let chunk = chunk.max(SLICED_BYTES);
    let first = Vec::with_capacity(chunk.min(encoded_len(envelope)));
    let mut chunks = Chunks { ready: Vec::new(), open: first, limits: Some(chunk) };
    chunks.envelope(envelope);
    chunks.close();
    chunks.ready
}

/// Writes an envelope into one buffer, or into several when `limits` says how long one may get.
struct Chunks {
    ready: Vec<Bytes>,
    open: Vec<u8>,
    limits: Option<usize>,
}

impl Chunks {
    fn envelope(&mut self, envelope: &Envelope) {
        for group in &envelope.groups {
            self.head(1, group_len(group));
            self.optional(1, group.resource.as_ref());
            for scope in &group.scopes {
                self.head(2, scope_len(scope));
                self.optional(1, scope.scope.as_ref());
                scope.items.runs(
                    |length| write::field_len(2, length) - length,
                    |run| {
                        self.head(2, run.first);
                        self.bytes(&run.bytes);
                    },
                );
                self.url(&scope.schema_url);
            }
            self.url(&group.schema_url);
        }
        self.optional(2, envelope.dictionary.as_ref());
    }

    #[inline]
    fn head(&mut self, number: u32, length: usize) {
        write::key(&mut self.open, number, write::LEN);
        write::varint(&mut self.open, length as u64);
    }

    #[inline]
    fn field(&mut self, number: u32, value: &Bytes) {
        self.head(number, value.len());
        self.bytes(value);
    }

    #[inline]
    fn bytes(&mut self, value: &Bytes) {
        match self.limits {
            Some(_) if value.len() >= SLICED_BYTES => {
                self.close();
                self.ready.push(value.clone());
            }
            Some(chunk) if self.open.len() + value.len() > chunk => {
                self.close();
                self.open = Vec::with_capacity(chunk);
                self.open.extend_from_slice(value);
            }
            _ => self.open.extend_from_slice(value),
        }
    }

    fn optional(&mut self, number: u32, value: Option<&Bytes>) {
        if let Some(value) = value {
            self.field(number, value);
        }
    }

    fn url(&mut self, schema_url: &Bytes) {
        if !schema_url.is_empty() {
            self.field(3, schema_url);
        }
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.ready.push(Bytes::from(std::mem::take(&mut self.open)));
        }
    }
}

/// Items in the unit of the balance: spans, log records, metric data points, profiles.
pub fn count_items(signal: Signal, envelope: &Envelope) -> u64 {
    match signal {
        Signal::Metrics => envelope.items().map(data_points).sum(),
        Signal::Traces | Signal::Logs | Signal::Profiles => envelope.messages() as u64,
    }
}

/// What one item message counts for: 1, or the data points of a metric.
pub fn count_item(signal: Signal, item: &[u8]) -> u64 {
    match signal {
        Signal::Metrics => data_points(item),
        Signal::Traces | Signal::Logs | Signal::Profiles => 1,
    }
}

/// Data points of one metric: gauge 5, sum 7, histogram 9, exponential histogram 10, summary 11; the points are field 1
/// of each. A metric that cannot be walked counts 1, so that dropping it shows in the balance.
fn data_points(metric: &[u8]) -> u64 {
    count_points(metric).unwrap_or(1)
}

fn count_points(metric: &[u8]) -> Result<u64, Malformed> {
    let mut points = 0;
    for field in Fields::new(metric) {
        let field = field?;
        if !matches!(field.number, 5 | 7 | 9 | 10 | 11) {
            continue;
        }
        for inner in Fields::new(field.bytes()?) {
            points += u64::from(inner?.number == 1);
        }
    }
    Ok(points)
}

/// Joins two requests of one signal; equal resources that meet stay as they are. Profiles requests are not joined: items
/// refer to their own request's dictionary.
pub fn append(into: &mut Envelope, from: Envelope) {
    debug_assert!(into.dictionary.is_none() && from.dictionary.is_none(), "profiles requests are never merged");
    if into.groups.is_empty() {
        *into = from;
    } else {
        into.groups.extend(from.groups);
    }
}

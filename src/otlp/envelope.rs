//! Request bytes to envelope and back: resources, scopes and items become slices of the receive buffer, nothing is copied.
//!
//! The four OTLP export requests share one shape (`core::payload::Envelope`), so one hand-written walk reads them all.
//! It is not generated, because a repeated resource or scope must be merged (for messages that is concatenation) where
//! generated code for `bytes` fields keeps the last. Unknown fields at group level are dropped; everything inside
//! resources, scopes and items passes untouched and unread.

use bytes::Bytes;

use crate::core::data::budget::{OverBudget, Ticket};
use crate::core::data::granted::{Allowance, Granted};
use crate::core::data::items::{Extent, Items};
use crate::core::data::payload::{Envelope, Group, ScopeGroup, Signal};
use crate::otlp::fields::{metric_data, request, resource_group, scope_group, short_key};
use crate::otlp::walk::{Fields, Malformed};
use crate::otlp::write;

/// Items that arrived side by side leave as one slice of the receive buffer in `encode_chunks` when they are at least this
/// long together; copying less costs less than another entry of a vectored write.
const SLICED_BYTES: usize = 4 << 10;
/// What the envelope itself may take beyond a multiple of the body: a 64 MiB body of empty groups would otherwise
/// become gigabytes of empty structs.
const STRUCTURE_BYTES_FREE: usize = 1 << 20;
const STRUCTURE_PER_BODY_BYTE: usize = 4;
/// The key of an item.
const ITEM: u8 = short_key(scope_group::ITEMS, write::LEN);

/// Where the schema's address stands in a resource group and in a scope group.
const SCHEMA_URL: u32 = resource_group::SCHEMA_URL;
const _: () = assert!(SCHEMA_URL == scope_group::SCHEMA_URL);

/// Why a request cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// There is no memory for its lists.
    #[error(transparent)]
    OverBudget(#[from] OverBudget),
}

/// Reads an export request without looking into its items. Its memory is accounted elsewhere.
pub fn decode(body: Bytes) -> Result<Envelope, Malformed> {
    decode_within(body, &Ticket::free(), |_| true).map_err(|why| match why {
        Unreadable::Malformed(malformed) => malformed,
        // Not of a budget without limit.
        Unreadable::OverBudget(_) => Malformed::Crowded,
    })
}

/// Reads an export request and keeps the items of which `keep` is true. Each is asked about as soon as it is found, while
/// the cache holds it and the bytes behind it are on their way. The ticket has paid for every list before it is made.
pub fn decode_within(body: Bytes, ticket: &Ticket, keep: impl FnMut(&[u8]) -> bool) -> Result<Envelope, Unreadable> {
    // Places are 32 bits wide; no configuration takes a body near that.
    u32::try_from(body.len()).map_err(|_| Malformed::Length)?;
    let left = body.len().saturating_mul(STRUCTURE_PER_BODY_BYTE).saturating_add(STRUCTURE_BYTES_FREE);
    let mut reading = Reading { body, left, room: Allowance::of(ticket), keep };
    reading.envelope()
}

/// A request being read.
struct Reading<F> {
    body: Bytes,
    /// What is left for the envelope's own structs, in bytes.
    left: usize,
    room: Allowance,
    keep: F,
}

impl<F: FnMut(&[u8]) -> bool> Reading<F> {
    fn envelope(&mut self) -> Result<Envelope, Unreadable> {
        let body = self.body.clone();
        let (mut groups, mut dictionary) = (Granted::new(), Singular::default());
        groups.reserve(self.count::<Group>(&body, request::RESOURCE_GROUPS)?, &mut self.room)?;
        for field in Fields::new(&body) {
            let field = field?;
            match field.number {
                request::RESOURCE_GROUPS => {
                    let group = self.group(&body, field.bytes()?)?;
                    groups.push(group, &mut self.room)?;
                }
                // Only profiles have a dictionary; of another type this is a field from the future, to be ignored.
                request::DICTIONARY => {
                    if let Ok(part) = field.bytes() {
                        dictionary.add(part);
                    }
                }
                _ => {}
            }
        }
        let dictionary = dictionary.whole(&body, &body, request::DICTIONARY, &mut self.room)?;
        Ok(Envelope { groups: groups.finish(&mut self.room), dictionary })
    }

    fn group(&mut self, body: &Bytes, message: &[u8]) -> Result<Group, Unreadable> {
        let mut group = Group::default();
        let (mut scopes, mut resource) = (Granted::new(), Singular::default());
        scopes.reserve(self.count::<ScopeGroup>(message, resource_group::SCOPE_GROUPS)?, &mut self.room)?;
        for field in Fields::new(message) {
            let field = field?;
            match field.number {
                resource_group::RESOURCE => resource.add(field.bytes()?),
                resource_group::SCOPE_GROUPS => {
                    let scope = self.scope(body.slice_ref(field.bytes()?))?;
                    scopes.push(scope, &mut self.room)?;
                }
                resource_group::SCHEMA_URL => group.schema_url = body.slice_ref(field.bytes()?),
                _ => {}
            }
        }
        group.resource = resource.whole(body, message, resource_group::RESOURCE, &mut self.room)?;
        group.scopes = scopes.finish(&mut self.room);
        Ok(group)
    }

    /// How many structs of this kind the message's fields of a number become: a list of just that length is made once and
    /// never moves. Groups and scopes are few or small, so that looking at their heads twice costs little.
    fn count<T>(&mut self, message: &[u8], number: u32) -> Result<usize, Malformed> {
        let fields = Fields::new(message).map_while(Result::ok).filter(|field| field.number == number);
        let count = fields.count();
        self.left = self.left.checked_sub(count * size_of::<T>()).ok_or(Malformed::Crowded)?;
        Ok(count)
    }

    fn scope(&mut self, message: Bytes) -> Result<ScopeGroup, Unreadable> {
        let mut scope = ScopeGroup::default();
        let (mut head, mut places, mut wire) = (Singular::default(), Granted::new(), 0);
        let mut fields = Fields::new(&message);
        loop {
            while let Some(item) = fields.next_of(ITEM) {
                wire += self.item(item, &fields, &mut places)?;
            }
            let Some(field) = fields.next() else { break };
            let field = field?;
            match field.number {
                scope_group::SCOPE => head.add(field.bytes()?),
                scope_group::ITEMS => wire += self.item(field.bytes()?, &fields, &mut places)?,
                scope_group::SCHEMA_URL => scope.schema_url = message.slice_ref(field.bytes()?),
                _ => {}
            }
        }
        scope.scope = head.whole(&message, &message, scope_group::SCOPE, &mut self.room)?;
        // Shortest keys and lengths are no longer than those that came.
        scope.items = Items::within_measured(message, places.finish(&mut self.room), wire as u32);
        Ok(scope)
    }

    /// Notes an item; what it takes on the wire, nothing when it is not kept.
    #[inline(always)]
    fn item(&mut self, item: &[u8], fields: &Fields<'_>, places: &mut Granted<Extent>) -> Result<usize, Unreadable> {
        self.left = self.left.checked_sub(size_of::<Extent>()).ok_or(Malformed::Crowded)?;
        if !(self.keep)(item) {
            return Ok(0);
        }
        if places.is_empty() {
            // Items of one scope are about as long as the first; the floor bounds what a lie can reserve.
            let expected = 1 + fields.left() / (item.len().max(size_of::<Bytes>()) + 2);
            places.reserve(expected, &mut self.room)?;
        }
        let to = fields.position();
        // Both fit: the whole body's length does.
        places.push(Extent { from: (to - item.len()) as u32, to: to as u32 }, &mut self.room)?;
        Ok(write::field_len(scope_group::ITEMS, item.len()))
    }
}

/// A message field that should come once. Protobuf merges one that comes again, which is its bytes one after the other;
/// they are joined once, when the message around them has been read, because joining at each repetition would copy the
/// first part as often as there are parts (issue 12: a request of 1 KB of gzip took seconds).
#[derive(Default)]
struct Singular<'a> {
    first: Option<&'a [u8]>,
    repeated: bool,
}

impl<'a> Singular<'a> {
    #[inline]
    fn add(&mut self, part: &'a [u8]) {
        self.repeated = self.first.is_some();
        self.first = self.first.or(Some(part));
    }

    /// The field's bytes: a slice of `buffer`, or a copy of exactly their length when they stood in several places.
    /// `message` is what the parts were found in, under `number`.
    fn whole(
        self,
        buffer: &Bytes,
        message: &[u8],
        number: u32,
        room: &mut Allowance,
    ) -> Result<Option<Bytes>, OverBudget> {
        if !self.repeated {
            return Ok(self.first.map(|part| buffer.slice_ref(part)));
        }
        let parts = || {
            Fields::new(message).flatten().filter(move |field| field.number == number).flat_map(|field| field.bytes())
        };
        let mut joined = Granted::new();
        joined.reserve(parts().map(<[u8]>::len).sum(), room)?;
        parts().try_for_each(|part| joined.extend(part, room))?;
        joined.freeze(room).map(Some)
    }
}

/// Length of `encode`'s result.
pub fn encoded_len(envelope: &Envelope) -> usize {
    let groups: usize =
        envelope.groups.iter().map(|group| write::field_len(request::RESOURCE_GROUPS, group_len(group))).sum();
    groups + optional_len(request::DICTIONARY, envelope.dictionary.as_ref())
}

/// How much of the envelope `encode_chunks` copies, at most: everything but scopes whose items leave as one slice.
pub fn copied_len(envelope: &Envelope) -> usize {
    let scopes = envelope.groups.iter().flat_map(|group| &group.scopes);
    encoded_len(envelope) - scopes.map(sliced_len).sum::<usize>()
}

/// Bytes of the scope's items when all of them leave as one slice of the buffer they arrived in, else 0.
fn sliced_len(scope: &ScopeGroup) -> usize {
    let Some(stretch) = scope.items.stretch(0, scope.items.len()) else { return 0 };
    let first = scope.items.first().map_or(0, |item| write::field_len(scope_group::ITEMS, item.len()) - item.len());
    let alone = items_len(scope);
    if first + stretch.len() == alone && stretch.len() >= SLICED_BYTES { stretch.len() } else { 0 }
}

fn group_len(group: &Group) -> usize {
    let scopes: usize =
        group.scopes.iter().map(|scope| write::field_len(resource_group::SCOPE_GROUPS, scope_len(scope))).sum();
    optional_len(resource_group::RESOURCE, group.resource.as_ref()) + scopes + url_len(&group.schema_url)
}

fn scope_len(scope: &ScopeGroup) -> usize {
    optional_len(scope_group::SCOPE, scope.scope.as_ref()) + items_len(scope) + url_len(&scope.schema_url)
}

/// The scope's items on the wire, each with its key and length.
fn items_len(scope: &ScopeGroup) -> usize {
    scope.items.wire_len(|length| write::field_len(scope_group::ITEMS, length) - length)
}

fn optional_len(number: u32, field: Option<&Bytes>) -> usize {
    field.map_or(0, |bytes| write::field_len(number, bytes.len()))
}

fn url_len(schema_url: &Bytes) -> usize {
    if schema_url.is_empty() { 0 } else { write::field_len(SCHEMA_URL, schema_url.len()) }
}

/// The request as one buffer of exactly the needed size. What came in canonical form leaves byte for byte.
pub fn encode(envelope: &Envelope) -> Bytes {
    // granted: by the caller, see encoded_len
    let mut chunks = Chunks { ready: Vec::new(), open: Vec::with_capacity(encoded_len(envelope)), limits: None };
    chunks.envelope(envelope);
    Bytes::from(chunks.open)
}

/// The request as buffers for a vectored write: long runs of items as slices of the buffer they arrived in, everything
/// else copied into buffers of about `chunk` bytes.
pub fn encode_chunks(envelope: &Envelope, chunk: usize) -> Vec<Bytes> {
    let chunk = chunk.max(SLICED_BYTES);
    let first = Vec::with_capacity(chunk.min(encoded_len(envelope))); // granted: by the transport's working_bytes
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
            self.head(request::RESOURCE_GROUPS, group_len(group));
            self.optional(resource_group::RESOURCE, group.resource.as_ref());
            for scope in &group.scopes {
                self.head(resource_group::SCOPE_GROUPS, scope_len(scope));
                self.optional(scope_group::SCOPE, scope.scope.as_ref());
                scope.items.runs(
                    |length| write::field_len(scope_group::ITEMS, length) - length,
                    |run| {
                        self.head(scope_group::ITEMS, run.first);
                        self.bytes(&run.bytes);
                    },
                );
                self.url(&scope.schema_url);
            }
            self.url(&group.schema_url);
        }
        self.optional(request::DICTIONARY, envelope.dictionary.as_ref());
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
                self.open = Vec::with_capacity(chunk); // granted: by the transport's working_bytes
                self.open.extend_from_slice(value); // granted: above
            }
            _ => self.open.extend_from_slice(value), // granted: by the caller
        }
    }

    fn optional(&mut self, number: u32, value: Option<&Bytes>) {
        if let Some(value) = value {
            self.field(number, value);
        }
    }

    fn url(&mut self, schema_url: &Bytes) {
        if !schema_url.is_empty() {
            self.field(SCHEMA_URL, schema_url);
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

/// Data points of one metric. A metric that cannot be walked counts 1, so that dropping it shows in the balance.
fn data_points(metric: &[u8]) -> u64 {
    count_points(metric).unwrap_or(1)
}

fn count_points(metric: &[u8]) -> Result<u64, Malformed> {
    let mut points = 0;
    for field in Fields::new(metric) {
        let field = field?;
        if !metric_data::is_data(field.number) {
            continue;
        }
        for inner in Fields::new(field.bytes()?) {
            points += u64::from(inner?.number == metric_data::DATA_POINTS);
        }
    }
    Ok(points)
}

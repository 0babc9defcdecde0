//! The facts of a span that decisions need, read in one pass over its top-level fields (opentelemetry-proto trace.v1).
//!
//! Attributes, events and links are skipped by their length, never entered; the status is read. What must be asked of
//! attributes goes through `attributes`, and how deep they nest through `depth`.

use crate::otlp::fields::short_key;
use crate::otlp::fields::trace::{span, span_kind, status, status_code};
use crate::otlp::walk::{Fields, Malformed};
use crate::otlp::write;

/// `Status.code` of a span; a number this version does not know reads as unset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum StatusCode {
    #[default]
    Unset,
    Ok,
    Error,
}

/// Span kinds by number, as the Collector shows them to people (pdata, ptrace.SpanKind).
pub const KIND_WORDS: [&str; 6] = ["Unspecified", "Internal", "Server", "Client", "Producer", "Consumer"];
const _: () = assert!(KIND_WORDS.len() == span_kind::NAMES.len(), "a new kind needs its word");

/// What stands in a span's own fields; slices of its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpanFacts<'a> {
    /// As sent: callers that need an id use `TraceId::from_wire`, which refuses wrong lengths and zeros.
    pub trace_id: &'a [u8],
    pub span_id: &'a [u8],
    /// No parent, or one of zeros only.
    pub is_root: bool,
    /// Nanoseconds since the epoch, as sent.
    pub start: u64,
    /// Nanoseconds since the epoch, as sent; may lie before `start`.
    pub end: u64,
    pub status: StatusCode,
    pub trace_state: &'a [u8],
    pub flags: u32,
    pub name: &'a [u8],
    pub kind: u32,
}

/// Reads a span's own fields; of a field that comes twice the last counts, as everywhere in protobuf.
#[inline]
pub fn read(message: &[u8]) -> Result<SpanFacts<'_>, Malformed> {
    let mut facts = SpanFacts { is_root: true, ..SpanFacts::default() };
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next() {
        let field = field?;
        match field.number {
            span::TRACE_ID => facts.trace_id = field.bytes()?,
            span::SPAN_ID => facts.span_id = field.bytes()?,
            span::TRACE_STATE => facts.trace_state = field.bytes()?,
            span::PARENT_SPAN_ID => facts.is_root = field.bytes()?.iter().all(|byte| *byte == 0),
            span::NAME => facts.name = field.bytes()?,
            span::KIND => facts.kind = field.varint()? as u32,
            span::START_TIME_UNIX_NANO => facts.start = field.fixed64()?,
            span::END_TIME_UNIX_NANO => facts.end = field.fixed64()?,
            // Attributes, events and links: right wire type, not entered.
            number @ (span::ATTRIBUTES | span::EVENTS | span::LINKS) => {
                field.bytes()?;
                fields.skip_run(short_key(number, write::LEN));
            }
            span::STATUS => read_status(field.bytes()?, &mut facts.status)?,
            span::FLAGS => facts.flags = field.fixed32()?,
            _ => {}
        }
    }
    Ok(facts)
}

/// A status that comes twice is merged: a second one without a code leaves the first one's.
fn read_status(message: &[u8], read: &mut StatusCode) -> Result<(), Malformed> {
    for field in Fields::new(message) {
        let field = field?;
        if field.number == status::CODE {
            *read = match field.varint()? {
                code if code == u64::from(status_code::OK) => StatusCode::Ok,
                code if code == u64::from(status_code::ERROR) => StatusCode::Error,
                _ => StatusCode::Unset,
            };
        }
    }
    Ok(())
}

pub use crate::otlp::depth::check_depth;

//! Spans, their events and links, and log records, read from the wire as far as documents show them.

use crate::exporters::elasticsearch::mapping::json::repeated::Repeated;
use crate::otlp::fields::logs::log_record;
use crate::otlp::fields::short_key;
use crate::otlp::fields::trace::{span, span_event, span_link, status};
use crate::otlp::walk::{Fields, Malformed};
use crate::otlp::write::{FIXED64, LEN, VARINT};

/// The largest number of Elasticsearch's type `long`, which refuses a larger one with its document.
pub const LONG_MAX: u64 = i64::MAX as u64;

#[derive(Default)]
pub struct Span<'a> {
    pub trace_id: &'a [u8],
    pub span_id: &'a [u8],
    pub trace_state: &'a [u8],
    pub parent_span_id: &'a [u8],
    pub name: &'a [u8],
    pub kind: u64,
    pub start: u64,
    pub end: u64,
    pub attributes: Repeated<'a>,
    pub dropped_attributes: u64,
    pub events: Repeated<'a>,
    pub dropped_events: u64,
    pub links: Repeated<'a>,
    pub dropped_links: u64,
    pub status_message: &'a [u8],
    pub status_code: u64,
}

/// An event or a link of a span.
#[derive(Default)]
pub struct SpanPart<'a> {
    pub time: u64,
    pub name: &'a [u8],
    pub trace_id: &'a [u8],
    pub span_id: &'a [u8],
    pub trace_state: &'a [u8],
    pub attributes: Repeated<'a>,
    pub dropped: u64,
}

#[derive(Default)]
pub struct Record<'a> {
    pub time: u64,
    pub observed: u64,
    pub severity_number: u64,
    pub severity_text: &'a [u8],
    pub body: &'a [u8],
    pub attributes: Repeated<'a>,
    pub dropped: u64,
    pub flags: u32,
    pub trace_id: &'a [u8],
    pub span_id: &'a [u8],
    pub event_name: &'a [u8],
}

impl<'a> Span<'a> {
    pub fn read(message: &'a [u8]) -> Result<Span<'a>, Malformed> {
        let mut span = Span::default();
        let mut fields = Fields::new(message);
        span.read_head(&mut fields);
        loop {
            span.attributes.note_run(&mut fields, span::ATTRIBUTES);
            span.events.note_run(&mut fields, span::EVENTS);
            let at = fields;
            let Some(field) = fields.next() else { return Ok(span) };
            let field = field?;
            match field.number {
                span::TRACE_ID => span.trace_id = field.bytes()?,
                span::SPAN_ID => span.span_id = field.bytes()?,
                span::TRACE_STATE => span.trace_state = field.bytes()?,
                span::PARENT_SPAN_ID => span.parent_span_id = field.bytes()?,
                span::NAME => span.name = field.bytes()?,
                span::KIND => span.kind = field.varint()?,
                span::START_TIME_UNIX_NANO => span.start = field.fixed64()?,
                span::END_TIME_UNIX_NANO => span.end = field.fixed64()?,
                span::ATTRIBUTES => span.attributes.note(at, span::ATTRIBUTES),
                span::DROPPED_ATTRIBUTES_COUNT => span.dropped_attributes = field.varint()?,
                span::EVENTS => span.events.note(at, span::EVENTS),
                span::DROPPED_EVENTS_COUNT => span.dropped_events = field.varint()?,
                span::LINKS => span.links.note(at, span::LINKS),
                span::DROPPED_LINKS_COUNT => span.dropped_links = field.varint()?,
                span::STATUS => span.read_status(field.bytes()?)?,
                _ => {}
            }
        }
    }

    /// What stands before the attributes, in the order in which every encoder writes it; whatever comes in another order or
    /// shape is left to the loop over all fields.
    #[inline(always)]
    fn read_head(&mut self, fields: &mut Fields<'a>) {
        self.trace_id = fields.next_of(short_key(span::TRACE_ID, LEN)).unwrap_or_default();
        self.span_id = fields.next_of(short_key(span::SPAN_ID, LEN)).unwrap_or_default();
        self.trace_state = fields.next_of(short_key(span::TRACE_STATE, LEN)).unwrap_or_default();
        self.parent_span_id = fields.next_of(short_key(span::PARENT_SPAN_ID, LEN)).unwrap_or_default();
        self.name = fields.next_of(short_key(span::NAME, LEN)).unwrap_or_default();
        self.kind = fields.next_small_of(short_key(span::KIND, VARINT)).map_or(0, u64::from);
        self.start = fields.next_fixed64_of(short_key(span::START_TIME_UNIX_NANO, FIXED64)).unwrap_or_default();
        self.end = fields.next_fixed64_of(short_key(span::END_TIME_UNIX_NANO, FIXED64)).unwrap_or_default();
    }

    fn read_status(&mut self, message: &'a [u8]) -> Result<(), Malformed> {
        for field in Fields::new(message) {
            let field = field?;
            match field.number {
                status::MESSAGE => self.status_message = field.bytes()?,
                status::CODE => self.status_code = field.varint()?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Nanoseconds, as many as a field of type `long` takes. A span that ends before it starts would otherwise last 584
    /// years.
    pub fn duration(&self) -> u64 {
        self.end.saturating_sub(self.start).min(LONG_MAX)
    }
}

impl<'a> SpanPart<'a> {
    pub fn read_event(message: &'a [u8]) -> Result<SpanPart<'a>, Malformed> {
        let mut event = SpanPart::default();
        let mut fields = Fields::new(message);
        event.time = fields.next_fixed64_of(short_key(span_event::TIME_UNIX_NANO, FIXED64)).unwrap_or_default();
        event.name = fields.next_of(short_key(span_event::NAME, LEN)).unwrap_or_default();
        loop {
            event.attributes.note_run(&mut fields, span_event::ATTRIBUTES);
            let at = fields;
            let Some(field) = fields.next() else { return Ok(event) };
            let field = field?;
            match field.number {
                span_event::TIME_UNIX_NANO => event.time = field.fixed64()?,
                span_event::NAME => event.name = field.bytes()?,
                span_event::ATTRIBUTES => event.attributes.note(at, span_event::ATTRIBUTES),
                span_event::DROPPED_ATTRIBUTES_COUNT => event.dropped = field.varint()?,
                _ => {}
            }
        }
    }

    pub fn read_link(message: &'a [u8]) -> Result<SpanPart<'a>, Malformed> {
        let mut link = SpanPart::default();
        let mut fields = Fields::new(message);
        loop {
            let at = fields;
            let Some(field) = fields.next() else { return Ok(link) };
            let field = field?;
            match field.number {
                span_link::TRACE_ID => link.trace_id = field.bytes()?,
                span_link::SPAN_ID => link.span_id = field.bytes()?,
                span_link::TRACE_STATE => link.trace_state = field.bytes()?,
                span_link::ATTRIBUTES => link.attributes.note(at, span_link::ATTRIBUTES),
                span_link::DROPPED_ATTRIBUTES_COUNT => link.dropped = field.varint()?,
                _ => {}
            }
        }
    }
}

impl<'a> Record<'a> {
    pub fn read(message: &'a [u8]) -> Result<Record<'a>, Malformed> {
        let mut record = Record::default();
        let mut fields = Fields::new(message);
        loop {
            record.attributes.note_run(&mut fields, log_record::ATTRIBUTES);
            let at = fields;
            let Some(field) = fields.next() else { return Ok(record) };
            let field = field?;
            match field.number {
                log_record::TIME_UNIX_NANO => record.time = field.fixed64()?,
                log_record::SEVERITY_NUMBER => record.severity_number = field.varint()?,
                log_record::SEVERITY_TEXT => record.severity_text = field.bytes()?,
                log_record::BODY => record.body = field.bytes()?,
                log_record::ATTRIBUTES => record.attributes.note(at, log_record::ATTRIBUTES),
                log_record::DROPPED_ATTRIBUTES_COUNT => record.dropped = field.varint()?,
                log_record::FLAGS => record.flags = field.fixed32()?,
                log_record::TRACE_ID => record.trace_id = field.bytes()?,
                log_record::SPAN_ID => record.span_id = field.bytes()?,
                log_record::OBSERVED_TIME_UNIX_NANO => record.observed = field.fixed64()?,
                log_record::EVENT_NAME => record.event_name = field.bytes()?,
                _ => {}
            }
        }
    }

    /// When it happened, else when it was seen.
    pub fn timestamp(&self) -> u64 {
        if self.time == 0 { self.observed } else { self.time }
    }
}

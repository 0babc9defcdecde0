//! Spans, their events and links, and log records, read from the wire as far as documents show them.

use crate::exporters::elasticsearch::mapping::json::attributes::Repeated;
use crate::otlp::walk::{Fields, Malformed};

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
        loop {
            let at = fields;
            let Some(field) = fields.next() else { return Ok(span) };
            let field = field?;
            match field.number {
                1 => span.trace_id = field.bytes()?,
                2 => span.span_id = field.bytes()?,
                3 => span.trace_state = field.bytes()?,
                4 => span.parent_span_id = field.bytes()?,
                5 => span.name = field.bytes()?,
                6 => span.kind = field.varint()?,
                7 => span.start = field.fixed64()?,
                8 => span.end = field.fixed64()?,
                9 => span.attributes.note(at, 9),
                10 => span.dropped_attributes = field.varint()?,
                11 => span.events.note(at, 11),
                12 => span.dropped_events = field.varint()?,
                13 => span.links.note(at, 13),
                14 => span.dropped_links = field.varint()?,
                15 => span.read_status(field.bytes()?)?,
                _ => {}
            }
        }
    }

    fn read_status(&mut self, message: &'a [u8]) -> Result<(), Malformed> {
        for field in Fields::new(message) {
            let field = field?;
            match field.number {
                2 => self.status_message = field.bytes()?,
                3 => self.status_code = field.varint()?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Nanoseconds. A span that ends before it starts would otherwise last 584 years, which no field takes.
    pub fn duration(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}

impl<'a> SpanPart<'a> {
    pub fn read_event(message: &'a [u8]) -> Result<SpanPart<'a>, Malformed> {
        let mut event = SpanPart::default();
        let mut fields = Fields::new(message);
        loop {
            let at = fields;
            let Some(field) = fields.next() else { return Ok(event) };
            let field = field?;
            match field.number {
                1 => event.time = field.fixed64()?,
                2 => event.name = field.bytes()?,
                3 => event.attributes.note(at, 3),
                4 => event.dropped = field.varint()?,
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
                1 => link.trace_id = field.bytes()?,
                2 => link.span_id = field.bytes()?,
                3 => link.trace_state = field.bytes()?,
                4 => link.attributes.note(at, 4),
                5 => link.dropped = field.varint()?,
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
            let at = fields;
            let Some(field) = fields.next() else { return Ok(record) };
            let field = field?;
            match field.number {
                1 => record.time = field.fixed64()?,
                2 => record.severity_number = field.varint()?,
                3 => record.severity_text = field.bytes()?,
                5 => record.body = field.bytes()?,
                6 => record.attributes.note(at, 6),
                7 => record.dropped = field.varint()?,
                8 => record.flags = field.fixed32()?,
                9 => record.trace_id = field.bytes()?,
                10 => record.span_id = field.bytes()?,
                11 => record.observed = field.fixed64()?,
                12 => record.event_name = field.bytes()?,
                _ => {}
            }
        }
    }

    /// When it happened, else when it was seen.
    pub fn timestamp(&self) -> u64 {
        if self.time == 0 { self.observed } else { self.time }
    }
}

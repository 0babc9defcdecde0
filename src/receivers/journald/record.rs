//! An entry of the journal as a log record: the body is the map of its fields that a Collector's receiver makes of
//! `journalctl --output=json` (stanza v0.160, `operator/input/journald`), so that this one can take its place.

use bytes::Bytes;

use crate::core::data::budget::{OverBudget, Ticket};
use crate::core::data::granted::{Allowance, Granted};
use crate::core::data::items::{Extent, Items};
use crate::core::data::payload::{Envelope, Group, ScopeGroup};
use crate::core::time::UnixNanos;
use crate::otlp::attributes;
use crate::otlp::draft::Draft;
use crate::otlp::fields::common::{any_value, array_value, key_value, key_value_list};
use crate::otlp::fields::logs::log_record;
use crate::otlp::fields::scope_group;
use crate::receivers::journald::export::{ExportField, ExportReader};

/// A batch ends with the entry that reaches one of these.
const BATCH_BYTES: usize = 1 << 20;
const BATCH_RECORDS: u64 = 8_192;
/// Bytes of an entry that become lists of numbers, which take eleven times as much; further values of bytes are left out.
const NUMBERS_MAX: usize = 64 << 10;
/// systemd's cursors have about 150.
const CURSOR_BYTES_MAX: usize = 512;

const CURSOR: &[u8] = b"__CURSOR";
const TIME: &[u8] = b"__REALTIME_TIMESTAMP";
const MESSAGE: &[u8] = b"MESSAGE";
const PRIORITY: &[u8] = b"PRIORITY";

/// Severity numbers and texts of the priorities 0 to 7: the numbers are those of the Collector's
/// `convert_to_semantic_conventions`, the texts syslog's.
const SEVERITIES: [(u64, &str); 8] = [
    (21, "emerg"),
    (19, "alert"),
    (18, "crit"),
    (17, "err"),
    (13, "warning"),
    (10, "notice"),
    (9, "info"),
    (5, "debug"),
];

/// What every record gets.
#[derive(Clone, Debug, Default)]
pub struct RecordRule {
    /// Attributes of every record.
    pub attributes: Vec<(String, String)>,
    /// The attributes of the resource, written.
    pub resource: Bytes,
    /// A message of bytes is a text, in which what is not UTF-8 becomes U+FFFD.
    pub messages_as_text: bool,
}

/// The records of one request.
pub struct JournalBatch {
    draft: Draft,
    extents: Granted<Extent>,
    room: Allowance,
    records: u64,
    /// Of the last entry.
    cursor: Option<String>,
    /// Values of bytes that were left out.
    left_out: u64,
}

/// A batch that is made, with what it leads to.
pub struct ReadBatch {
    pub envelope: Envelope,
    pub records: u64,
    pub ticket: Ticket,
    pub cursor: Option<String>,
}

impl JournalBatch {
    pub fn within(ticket: &Ticket) -> JournalBatch {
        let (draft, room) = (Draft::within(ticket), Allowance::of(ticket));
        JournalBatch { draft, extents: Granted::new(), room, records: 0, cursor: None, left_out: 0 }
    }

    pub fn is_full(&self) -> bool {
        self.draft.len() >= BATCH_BYTES || self.records >= BATCH_RECORDS
    }

    pub fn records(&self) -> u64 {
        self.records
    }

    pub fn take_left_out(&mut self) -> u64 {
        std::mem::take(&mut self.left_out)
    }

    /// Adds the entry that is whole. Without memory the batch stays as it was.
    pub fn add(&mut self, entry: &ExportReader, rule: &RecordRule, observed: UnixNanos) -> Result<(), OverBudget> {
        let (start, before) = (self.draft.len(), self.left_out);
        let added = self.write(entry, rule, observed);
        if added.is_err() {
            self.draft.truncate(start);
            self.left_out = before;
        }
        added
    }

    fn write(&mut self, entry: &ExportReader, rule: &RecordRule, observed: UnixNanos) -> Result<(), OverBudget> {
        let start = self.draft.len();
        let record = self.draft.open(scope_group::ITEMS)?;
        let facts = EntryFacts::of(entry);
        if let Some(time) = facts.time {
            self.draft.fixed64(log_record::TIME_UNIX_NANO, time)?;
        }
        self.draft.fixed64(log_record::OBSERVED_TIME_UNIX_NANO, observed.0)?;
        if let Some((number, text)) = facts.severity {
            self.draft.varint(log_record::SEVERITY_NUMBER, number)?;
            self.draft.bytes(log_record::SEVERITY_TEXT, text.as_bytes())?;
        }
        self.left_out += write_body(&mut self.draft, entry, rule)?;
        for (key, value) in &rule.attributes {
            self.draft.text_attribute(attributes::LOG_RECORD, key, value.as_bytes())?;
        }
        self.draft.close(&record)?;
        let to = self.draft.len();
        let from = self.draft.body_of(start).unwrap_or(to);
        // A batch is far from 4 GiB.
        let extent = Extent { from: u32::try_from(from).unwrap_or(0), to: u32::try_from(to).unwrap_or(0) };
        self.extents.push(extent, &mut self.room)?;
        self.records += 1;
        self.cursor = facts.cursor.map(str::to_owned).or(self.cursor.take());
        Ok(())
    }

    /// The batch with its envelope made.
    pub fn finish(mut self, rule: &RecordRule) -> Result<ReadBatch, OverBudget> {
        let ticket = self.room.ticket().clone();
        let items = Items::within(self.draft.freeze()?, self.extents.finish(&mut self.room));
        let scopes = vec![ScopeGroup { items, ..ScopeGroup::default() }];
        let group = Group { resource: Some(rule.resource.clone()), scopes, ..Group::default() };
        let envelope = Envelope { groups: vec![group], ..Envelope::default() };
        Ok(ReadBatch { envelope, records: self.records, ticket, cursor: self.cursor })
    }
}

/// What an entry says beside its body.
#[derive(Debug, Default, PartialEq, Eq)]
struct EntryFacts<'e> {
    cursor: Option<&'e str>,
    /// Nanoseconds since 1970.
    time: Option<u64>,
    severity: Option<(u64, &'static str)>,
}

impl<'e> EntryFacts<'e> {
    fn of(entry: &'e ExportReader) -> EntryFacts<'e> {
        let mut facts = EntryFacts::default();
        for (name, value) in entry.fields() {
            let Some(value) = value else { continue };
            match name {
                CURSOR => facts.cursor = cursor(value),
                TIME => facts.time = micros(value).and_then(|micros| micros.checked_mul(1_000)),
                PRIORITY => facts.severity = severity(value),
                _ => {}
            }
        }
        facts
    }
}

/// A cursor as it may stand on a command line and in a file.
pub fn cursor(text: &[u8]) -> Option<&str> {
    let is_plain = !text.is_empty() && text.len() <= CURSOR_BYTES_MAX && text.iter().all(u8::is_ascii_graphic);
    std::str::from_utf8(text).ok().filter(|_| is_plain)
}

fn micros(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn severity(priority: &[u8]) -> Option<(u64, &'static str)> {
    let [digit @ b'0'..=b'7'] = priority else { return None };
    SEVERITIES.get(usize::from(digit - b'0')).copied()
}

/// Writes the map of the fields, in the order of their names; how many values of bytes were left out. The time stands in the
/// record's own field and a name that comes several times has a list, as in a Collector.
fn write_body(draft: &mut Draft, entry: &ExportReader, rule: &RecordRule) -> Result<u64, OverBudget> {
    let mut fields: Vec<ExportField<'_>> = entry.fields().filter(|(name, _)| *name != TIME).collect();
    // Stable, so that values of one name keep their order.
    fields.sort_by_key(|(name, _)| *name);
    let mut writer = ValueWriter { messages_as_text: rule.messages_as_text, numbers: NUMBERS_MAX, left_out: 0 };
    let body = draft.open(log_record::BODY)?;
    let map = draft.open(any_value::KVLIST_VALUE)?;
    for same in fields.chunk_by(|one, other| one.0 == other.0) {
        let Some((name, first)) = same.first() else { continue };
        let pair = draft.open(key_value_list::VALUES)?;
        draft.bytes(key_value::KEY, String::from_utf8_lossy(name).as_bytes())?;
        if same.len() == 1 {
            writer.write(draft, key_value::VALUE, (name, *first))?;
        } else {
            let value = draft.open(key_value::VALUE)?;
            let list = draft.open(any_value::ARRAY_VALUE)?;
            for (_, one) in same {
                writer.write(draft, array_value::VALUES, (name, *one))?;
            }
            draft.close(&list)?;
            draft.close(&value)?;
        }
        draft.close(&pair)?;
    }
    draft.close(&map)?;
    draft.close(&body)?;
    Ok(writer.left_out)
}

/// Writes the values of one entry.
struct ValueWriter {
    messages_as_text: bool,
    /// Bytes that may still become numbers.
    numbers: usize,
    left_out: u64,
}

impl ValueWriter {
    /// A text; a list of numbers for what is none; nothing for what is left out.
    fn write(&mut self, draft: &mut Draft, number: u32, (name, value): ExportField<'_>) -> Result<(), OverBudget> {
        if let Some(text) = value.filter(|value| is_printable(value)) {
            return draft.text_value(number, text);
        }
        if let Some(bytes) = value.filter(|_| self.messages_as_text && name == MESSAGE) {
            return draft.text_value(number, String::from_utf8_lossy(bytes).as_bytes());
        }
        let open = draft.open(number)?;
        let numbers = value.filter(|bytes| bytes.len() <= self.numbers);
        if let Some(bytes) = numbers {
            self.numbers -= bytes.len();
            let list = draft.open(any_value::ARRAY_VALUE)?;
            for byte in bytes {
                let one = draft.open(array_value::VALUES)?;
                draft.fixed64(any_value::DOUBLE_VALUE, f64::from(*byte).to_bits())?;
                draft.close(&one)?;
            }
            draft.close(&list)?;
        }
        self.left_out += u64::from(value.is_some() && numbers.is_none());
        draft.close(&open)
    }
}

/// What journalctl's JSON has as a text: UTF-8 without control characters but tab and newline, and without characters that
/// Unicode keeps out of texts (systemd, `utf8_is_printable` in `src/basic/utf8.c`).
fn is_printable(value: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(value) else { return false };
    let is_kept = |letter: char| {
        let number = u32::from(letter);
        let is_control = letter.is_control() && letter != '\t' && letter != '\n';
        !is_control && !(0xfdd0..=0xfdef).contains(&number) && number & 0xfffe != 0xfffe
    };
    text.chars().all(is_kept)
}

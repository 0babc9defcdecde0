//! Records of one round, in one buffer, grouped by their resources.

use std::borrow::Cow;

use bytes::Bytes;

use crate::core::data::budget::{OverBudget, Ticket};
use crate::core::data::granted::{Allowance, Granted};
use crate::core::data::items::{Extent, Items};
use crate::core::data::payload::{Envelope, Group, ScopeGroup};
use crate::core::time::UnixNanos;
use crate::otlp::attributes;
use crate::otlp::draft::{Draft, OpenMessage};
use crate::otlp::fields::scope_group;
use crate::otlp::trace_text::TextIds;
use crate::receivers::file_log::audit::{AuditLine, AuditLines, AuditRule};
use crate::receivers::file_log::config::FileLogConfig;
use crate::receivers::file_log::entry::{EntryValue, FileEntry, PodOfFile};
use crate::receivers::file_log::operators::{ChainState, LinePlace};
use crate::receivers::file_log::record::{write_record, write_resource};

/// A batch ends with the line that reaches this.
const BATCH_BYTES: usize = 1 << 20;
const BATCH_RECORDS: usize = 8_192;
/// Lines that were read, whether or not they became records: a round ends.
const BATCH_LINES: u64 = 65_536;

/// The records of each resource.
type ByResource = Vec<(Vec<u8>, Granted<Extent>)>;

pub struct LineBatch {
    draft: Draft,
    /// The resource of the record at hand.
    resource: Draft,
    groups: ByResource,
    room: Allowance,
    pub observed: UnixNanos,
    /// Lines are audit events; it is lent by who follows the files.
    pub audit: Option<AuditLines>,
    scope: Option<Bytes>,
    records: usize,
    pub lines: u64,
    /// What was made of it.
    pub envelope: Envelope,
}

impl LineBatch {
    pub fn within(ticket: &Ticket, observed: UnixNanos) -> LineBatch {
        LineBatch {
            draft: Draft::within(ticket),
            resource: Draft::within(ticket),
            groups: Vec::new(),
            room: Allowance::of(ticket),
            observed,
            audit: None,
            scope: None,
            records: 0,
            lines: 0,
            envelope: Envelope::default(),
        }
    }

    pub fn is_full(&self) -> bool {
        self.draft.len() >= BATCH_BYTES || self.records >= BATCH_RECORDS || self.lines >= BATCH_LINES
    }

    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    pub fn records(&self) -> u64 {
        self.records as u64
    }

    /// A line of a file, through the operators.
    pub fn line<'l>(
        &mut self,
        config: &FileLogConfig,
        (text, facts): (&'l [u8], &'l [(&'static str, String)]),
        (pod, place): (&'l PodOfFile, LinePlace),
        state: &mut ChainState,
    ) -> Result<(), OverBudget> {
        self.lines += 1;
        if text.is_empty() {
            // As in the Collector an empty line is no record.
            return Ok(());
        }
        if let Some(rule) = &config.audit {
            return if place.from < state.delivered_to {
                Ok(())
            } else {
                self.event(rule, (text, facts), config, state)
            };
        }
        let mut entry = FileEntry::of(text);
        let of_file = facts.iter().map(|(key, value)| (Cow::Borrowed(*key), EntryValue::text(value.as_bytes())));
        entry.attributes.extend(of_file); // granted: a few facts of a file, given back with the line
        let mut over = None;
        // It was delivered before; of such a line only pieces that are held count.
        let is_known = place.from < state.delivered_to;
        config.chain.process(state, entry, (pod, place), &mut |entry| {
            if !is_known {
                over = over.or(self.push(entry, config).err());
            }
        });
        over.map_or(Ok(()), Err)
    }

    /// A line that is an audit event. One that is none becomes a record of its text.
    fn event(
        &mut self,
        rule: &AuditRule,
        (text, facts): (&[u8], &[(&'static str, String)]),
        config: &FileLogConfig,
        state: &mut ChainState,
    ) -> Result<(), OverBudget> {
        self.scope.get_or_insert_with(|| rule.scope.clone());
        let Some(audit) = &mut self.audit else { return Ok(()) };
        let start = self.draft.len();
        let mut record = self.draft.open(scope_group::ITEMS)?;
        match audit.write(&mut self.draft, text, self.observed)? {
            AuditLine::Written => {}
            AuditLine::Duplicate => {
                self.draft.truncate(start);
                return Ok(());
            }
            AuditLine::NoEvent(why) => {
                state.fail(why);
                self.draft.truncate(start);
                record = self.draft.open(scope_group::ITEMS)?;
                write_record(&mut self.draft, &FileEntry::of(text), &TextIds::default(), self.observed)?;
            }
        }
        for (key, value) in facts {
            self.draft.text_attribute(attributes::LOG_RECORD, key, value.as_bytes())?;
        }
        in_group_of(&rule.resource, &mut self.groups, &mut self.room)?;
        self.end_record((start, &record), config)
    }

    /// Writes a record.
    pub fn push(&mut self, entry: &FileEntry<'_>, config: &FileLogConfig) -> Result<(), OverBudget> {
        let resource = match entry.pod {
            // What the file says is written already.
            Some(pod) if config.resource.is_empty() => pod.written.as_slice(),
            _ => {
                self.resource.truncate(0);
                write_resource(&mut self.resource, entry)?;
                for (key, value) in &config.resource {
                    self.resource.text_attribute(attributes::RESOURCE, key, value.as_bytes())?;
                }
                self.resource.written()
            }
        };
        in_group_of(resource, &mut self.groups, &mut self.room)?;
        let start = self.draft.len();
        let record = self.draft.open(scope_group::ITEMS)?;
        let lifted = match entry.body.as_text() {
            Some(text) if config.lifts_ids && entry.trace_id.is_none() => TextIds::read(text),
            _ => TextIds::default(),
        };
        write_record(&mut self.draft, entry, &lifted, self.observed)?;
        self.end_record((start, &record), config)
    }

    /// The record that began at `start`, into the last group.
    fn end_record(&mut self, (start, record): (usize, &OpenMessage), config: &FileLogConfig) -> Result<(), OverBudget> {
        for (key, value) in &config.attributes {
            self.draft.text_attribute(attributes::LOG_RECORD, key, value.as_bytes())?;
        }
        self.draft.close(record)?;
        let to = self.draft.len();
        let from = self.draft.body_of(start).unwrap_or(to);
        // A batch is far from 4 GiB.
        let extent = Extent { from: u32::try_from(from).unwrap_or(0), to: u32::try_from(to).unwrap_or(0) };
        if let Some((_, extents)) = self.groups.last_mut() {
            extents.push(extent, &mut self.room)?;
        }
        self.records += 1;
        Ok(())
    }

    /// The batch with its envelope made.
    pub fn finish(mut self) -> Result<LineBatch, OverBudget> {
        let ticket = self.room.ticket().clone();
        let draft = std::mem::replace(&mut self.draft, Draft::within(&ticket));
        let buffer = draft.freeze()?;
        for (resource, extents) in std::mem::take(&mut self.groups) {
            let items = Items::within(buffer.clone(), extents.finish(&mut self.room));
            let scope = ScopeGroup { scope: self.scope.clone(), items, ..ScopeGroup::default() };
            // granted: the group was paid for with its resource
            let group = Group { resource: Some(resource.into()), scopes: vec![scope], ..Group::default() };
            self.envelope.groups.push(group);
        }
        Ok(self)
    }
}

/// Lets the last group be that of the resource.
fn in_group_of(resource: &[u8], groups: &mut ByResource, room: &mut Allowance) -> Result<(), OverBudget> {
    if groups.last().is_none_or(|(known, _)| known != resource) {
        room.take(resource.len() + size_of::<(Vec<u8>, Granted<Extent>)>())?;
        groups.push((resource.to_vec(), Granted::new())); // granted: the line above
    }
    Ok(())
}

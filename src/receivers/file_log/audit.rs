//! Lines of the API server's log backend, which is a file of audit events, as the records that its webhook's events become.

use bytes::Bytes;

use crate::config::check::Section;
use crate::core::data::budget::{OverBudget, Ticket};
use crate::core::time::UnixNanos;
use crate::kube::audit::event::write_record;
use crate::kube::audit::form::{EventForm, check_window};
use crate::kube::audit::recent::{Claim, RecentEvents};
use crate::kube::audit::surroundings;
use crate::otlp::attributes;
use crate::otlp::draft::Draft;
use crate::otlp::json::{Scanner, TranscodeError};

/// Lines are audit events.
#[derive(Clone, Debug)]
pub struct AuditRule {
    pub form: EventForm,
    duplicates_window: usize,
    /// Of all records.
    pub resource: Vec<u8>,
    pub scope: Bytes,
}

impl AuditRule {
    /// `more`: texts that the resource gets.
    pub fn check(keys: Section<'_>, more: &[(String, String)]) -> AuditRule {
        let (form, duplicates_window) = (EventForm::check(&keys), check_window(&keys));
        keys.finish();
        let (resource, scope) = surroundings();
        let mut draft = Draft::within(&Ticket::free());
        for (key, value) in more {
            // A free ticket grants everything.
            let _ = draft.text_attribute(attributes::RESOURCE, key, value.as_bytes());
        }
        let resource = [&resource, draft.written()].concat(); // granted: one of a configuration
        AuditRule { form, duplicates_window, resource, scope }
    }
}

/// What became of a line.
#[derive(Debug, PartialEq, Eq)]
pub enum AuditLine {
    Written,
    /// The same event was read before.
    Duplicate,
    NoEvent(String),
}

/// The events of one receiver: which were read lately, and what is counted of them.
pub struct AuditLines {
    form: EventForm,
    recent: RecentEvents,
    pub duplicates: u64,
    pub truncated: u64,
}

impl AuditLines {
    pub fn new(rule: &AuditRule) -> AuditLines {
        let recent = RecentEvents::new(rule.duplicates_window);
        AuditLines { form: rule.form.clone(), recent, duplicates: 0, truncated: 0 }
    }

    /// Appends the fields of the line's record to the draft. What was written of another line has to be taken back.
    pub fn write(&mut self, draft: &mut Draft, line: &[u8], now: UnixNanos) -> Result<AuditLine, OverBudget> {
        let mut scan = Scanner::new(line);
        let read = write_record(&mut scan, draft, &self.form, now);
        let marks = match read.and_then(|marks| Ok(scan.end().map(|()| marks)?)) {
            Ok(marks) => marks,
            Err(TranscodeError::Json(why)) => return Ok(AuditLine::NoEvent(format!("this is no audit event: {why}"))),
            Err(TranscodeError::OverBudget(over)) => return Err(over),
        };
        // What is under way is in this batch: there is one at a time.
        if marks.key.is_some_and(|key| self.recent.claim(key) != Claim::New) {
            self.duplicates += 1;
            return Ok(AuditLine::Duplicate);
        }
        self.truncated += u64::from(marks.truncated);
        Ok(AuditLine::Written)
    }

    /// What was read has its end, or is read again.
    pub fn settle(&mut self, delivered: bool) {
        self.recent.settle_all(delivered);
    }
}

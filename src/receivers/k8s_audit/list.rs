//! A request's body: an `EventList` of audit.k8s.io/v1, read in one walk into log records of one buffer.

use bytes::Bytes;

use crate::core::data::budget::{OverBudget, Ticket};
use crate::core::data::granted::{Allowance, Granted};
use crate::core::data::items::{Extent, Items};
use crate::core::data::payload::{Envelope, Group, ScopeGroup};
use crate::core::time::UnixNanos;
use crate::kube::audit::event::{EventMarks, fields, text, write_record};
use crate::kube::audit::form::EventForm;
use crate::otlp::draft::Draft;
use crate::otlp::fields::scope_group;
use crate::otlp::json::{JsonError, Quoted, Scanner, TranscodeError};

const API_VERSION: &[u8] = b"audit.k8s.io/v1";
const EVENT_LIST: &[u8] = b"EventList";
/// Longest text of a sender's in an answer.
const SHOWN_CHARS: usize = 100;

/// The events of one request, in order.
#[derive(Debug)]
pub struct EventList {
    pub records: Items,
    /// One for each record.
    pub marks: Vec<EventMarks>,
}

/// Why a body is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadList {
    #[error("the body is not JSON: {0}")]
    Json(JsonError),
    #[error("{0}")]
    Other(String),
    #[error("{over}")]
    OverBudget {
        over: OverBudget,
        /// What the request held by then.
        held: u64,
    },
}

impl From<JsonError> for BadList {
    fn from(error: JsonError) -> BadList {
        BadList::Json(error)
    }
}

/// Reads a body; what the records take stays on the ticket.
pub fn read(body: &[u8], form: &EventForm, now: UnixNanos, ticket: &Ticket) -> Result<EventList, BadList> {
    let mut scan = Scanner::new(body);
    // Asked while all of it is held: what is not kept goes back with its list.
    let lacking = |over| BadList::OverBudget { over, held: ticket.bytes() };
    let mut room = Allowance::of(ticket);
    let mut reading = Reading { draft: Draft::within(ticket), extents: Granted::new(), marks: Granted::new() };
    let (mut kind, mut version, mut listed) = (None, None, false);
    fields(&mut scan, |scan, key| match key.raw {
        b"kind" => {
            kind = text(scan)?;
            Ok(())
        }
        b"apiVersion" => {
            version = text(scan)?;
            Ok(())
        }
        b"items" => {
            listed = true;
            reading.items(scan, &mut room, form, now)
        }
        _ => Ok(scan.skip()?),
    })
    .map_err(|why| match why {
        TranscodeError::Json(why) => BadList::Json(why),
        TranscodeError::OverBudget(over) => lacking(over),
    })?;
    scan.end()?;
    accepts("kind", kind, EVENT_LIST)?;
    accepts("apiVersion", version, API_VERSION)?;
    if !listed {
        return Err(BadList::Other("the body has no `items`: expected an EventList of audit.k8s.io/v1".to_owned()));
    }
    let (extents, marks) = (reading.extents.finish(&mut room), reading.marks.finish(&mut room));
    Ok(EventList { records: Items::within(reading.draft.freeze().map_err(lacking)?, extents), marks })
}

/// A list without kind is taken for what it looks like.
fn accepts(key: &str, found: Option<Quoted<'_>>, expected: &[u8]) -> Result<(), BadList> {
    let Some(found) = found.filter(|found| found.raw != expected) else { return Ok(()) };
    let found: String = String::from_utf8_lossy(found.raw).chars().take(SHOWN_CHARS).collect();
    let expected = String::from_utf8_lossy(expected);
    Err(BadList::Other(format!("`{key}` is {found:?}: expected {expected}")))
}

struct Reading {
    draft: Draft,
    extents: Granted<Extent>,
    marks: Granted<EventMarks>,
}

impl Reading {
    fn items(
        &mut self,
        scan: &mut Scanner<'_>,
        room: &mut Allowance,
        form: &EventForm,
        now: UnixNanos,
    ) -> Result<(), TranscodeError> {
        if scan.literal("null") {
            return Ok(());
        }
        scan.expect(b'[', "an array of events")?;
        let mut more = !scan.take(b']');
        while more {
            let start = self.draft.len();
            let record = self.draft.open(scope_group::ITEMS)?;
            let marks = write_record(scan, &mut self.draft, form, now)?;
            self.draft.close(&record)?;
            let extent = self.draft.body_of(start).and_then(|from| {
                Some(Extent { from: u32::try_from(from).ok()?, to: u32::try_from(self.draft.len()).ok()? })
            });
            let Some(extent) = extent else {
                return Err(scan.fault(scan.position(), "the events are more than 4 GiB as log records").into());
            };
            self.extents.push(extent, room)?;
            self.marks.push(marks, room)?;
            more = scan.more(b']')?;
        }
        Ok(())
    }
}

/// Records under the receiver's scope and the API server's resource.
pub fn envelope(records: Items, resource: Bytes, scope: Bytes) -> Envelope {
    let scope = ScopeGroup { scope: Some(scope), items: records, schema_url: Bytes::new() };
    // granted: one group with one scope
    let group = Group { resource: Some(resource), scopes: vec![scope], ..Group::default() };
    Envelope { groups: vec![group], dictionary: None }
}

//! Lines for one bulk request, and which part of the envelope each document speaks of.

use crate::core::data::payload::Signal;
use crate::exporters::elasticsearch::mapping::fault::MappingFault;
use crate::exporters::elasticsearch::mapping::route::{DocumentTarget, Naming};
use crate::otlp::envelope;
use crate::otlp::regroup::split::ItemPosition;

/// Lines for one `_bulk` request and which part of the envelope each document speaks of.
#[derive(Debug, Default)]
pub struct Bulk {
    /// Action line and document line of every document, each ended by a line feed.
    pub lines: Vec<u8>,
    pub documents: Vec<MappedDocument>,
    /// Items (for metrics data points) that could not be mapped, and why; they have no document. Together with the
    /// documents' items they are all that came in.
    pub faulty: Vec<(ItemPosition, MappingFault)>,
    /// Values that no index can store as what they are, and that were written as text instead: times outside of
    /// `work::DATE_NANOS_MAX`, maps and lists below `json::value::LEVELS_MAX`.
    pub as_text: u64,
}

/// One document; it begins where the one before ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappedDocument {
    /// Offset in `Bulk::lines` of the document line, behind the action line.
    pub body: usize,
    /// Offset in `Bulk::lines` behind the document's last line feed.
    pub end: usize,
    /// The item it comes from; for metrics that of its first data point.
    pub place: ItemPosition,
    /// Items that are delivered with it: 1 for a span or a record, the points of a metrics document, 0 for an event of a
    /// span, whose span has its own document.
    pub items: u32,
    /// The action line carries an `_id`: a conflict then means that the document is there already.
    pub own_id: bool,
}

/// The head of a document that is being written.
#[derive(Clone, Copy, Debug)]
pub struct DocumentHead {
    body: usize,
    own_id: bool,
}

/// How long a bulk was before an item.
#[derive(Clone, Copy)]
pub struct BulkMark {
    pub(super) lines: usize,
    documents: usize,
}

impl Bulk {
    pub fn clear(&mut self) {
        self.lines.clear();
        self.documents.clear();
        self.faulty.clear();
        self.as_text = 0;
    }

    /// Empties the lists, and gives back what they have beyond this many.
    pub fn shed(&mut self, most: usize) {
        self.documents.clear();
        self.faulty.clear();
        self.documents.shrink_to(most);
        self.faulty.shrink_to(most);
    }

    /// Notes an item message without documents, once for each item it counts for.
    pub(super) fn fault_all(&mut self, signal: Signal, place: ItemPosition, bytes: &[u8], fault: MappingFault) {
        let items = envelope::count_item(signal, bytes);
        self.faulty.extend((0..items).map(|_| (place, fault)));
    }

    pub(super) fn mark(&self) -> BulkMark {
        BulkMark { lines: self.lines.len(), documents: self.documents.len() }
    }

    /// Takes back what an item wrote and notes why.
    pub(super) fn reject(&mut self, mark: BulkMark, place: ItemPosition, fault: MappingFault) {
        self.lines.truncate(mark.lines);
        self.documents.truncate(mark.documents);
        self.faulty.push((place, fault));
    }

    /// Writes the action line and opens the document.
    #[inline]
    pub(super) fn begin_document(&mut self, target: &DocumentTarget, naming: &Naming<'_>) -> DocumentHead {
        let own_id = target.push_action(&mut self.lines, naming);
        self.open_document(own_id)
    }

    /// Opens a document whose action line is written.
    #[inline]
    pub(super) fn open_document(&mut self, own_id: bool) -> DocumentHead {
        let body = self.lines.len();
        self.lines.push(b'{');
        DocumentHead { body, own_id }
    }

    #[inline]
    pub(super) fn end_document(&mut self, place: ItemPosition, items: u32, head: DocumentHead) {
        let DocumentHead { body, own_id } = head;
        self.documents.push(MappedDocument { body, end: self.lines.len(), place, items, own_id });
    }
}

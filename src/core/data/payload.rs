//! One request in flight, undecoded: the envelope holds resources, scopes and items as slices of the receive buffer.
//!
//! All four OTLP export requests have this one shape and the same field numbers (opentelemetry-proto, collector/*/v1),
//! so one type serves every signal and nothing behind the receiver decodes what it does not read.

use std::sync::Arc;

use bytes::Bytes;

use crate::core::data::binding::Later;
use crate::core::data::budget::Ticket;
use crate::core::data::granted::list_bytes;
use crate::core::data::items::Items;
use crate::core::data::origin::Origin;
use crate::core::data::settlement::Share;

/// The kind of telemetry a payload carries; a payload never mixes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    Traces,
    Metrics,
    Logs,
    Profiles,
}

impl Signal {
    pub const ALL: [Signal; 4] = [Signal::Traces, Signal::Metrics, Signal::Logs, Signal::Profiles];

    /// The Collector's name of the pipeline type.
    pub fn name(self) -> &'static str {
        match self {
            Signal::Traces => "traces",
            Signal::Metrics => "metrics",
            Signal::Logs => "logs",
            Signal::Profiles => "profiles",
        }
    }

    /// What one item is called in metric names (`otelcol_receiver_accepted_spans`).
    pub fn items_name(self) -> &'static str {
        match self {
            Signal::Traces => "spans",
            Signal::Metrics => "metric_points",
            Signal::Logs => "log_records",
            Signal::Profiles => "samples",
        }
    }

    pub fn index(self) -> usize {
        self as usize
    }

    pub fn parse(name: &str) -> Option<Signal> {
        Signal::ALL.into_iter().find(|signal| signal.name() == name)
    }
}

/// `Export*ServiceRequest`: repeated groups = 1, dictionary = 2 (profiles only).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    pub groups: Vec<Group>,
    /// `ProfilesDictionary`, opaque; ties a profiles request together, so such a request is never split or merged.
    pub dictionary: Option<Bytes>,
}

/// `ResourceSpans` and its siblings: resource = 1, repeated scope groups = 2, `schema_url` = 3.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    pub resource: Option<Bytes>,
    pub scopes: Vec<ScopeGroup>,
    pub schema_url: Bytes,
    /// Attributes that are written when the group's traces are decided; not on the wire.
    pub later: Later,
}

/// `ScopeSpans` and its siblings: scope = 1, repeated items = 2, `schema_url` = 3.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScopeGroup {
    pub scope: Option<Bytes>,
    pub items: Items,
    pub schema_url: Bytes,
}

impl Envelope {
    pub fn items(&self) -> impl Iterator<Item = &[u8]> {
        self.groups.iter().flat_map(|group| group.scopes.iter()).flat_map(|scope| scope.items.iter())
    }

    /// Memory of the lists, free space and what each block costs beside its bytes included: what a copy of the envelope takes.
    pub fn structure_bytes(&self) -> u64 {
        let of_scopes = |group: &Group| {
            let lists: usize = group.scopes.iter().map(|scope| scope.items.structure_bytes()).sum();
            list_bytes::<ScopeGroup>(group.scopes.capacity()) + lists
        };
        (list_bytes::<Group>(self.groups.capacity()) + self.groups.iter().map(of_scopes).sum::<usize>()) as u64
    }

    /// Repeated item messages (spans, records, metrics, profiles), not data points.
    pub fn messages(&self) -> usize {
        self.groups.iter().flat_map(|group| group.scopes.iter()).map(|scope| scope.items.len()).sum()
    }
}

/// One request in flight. It holds its ticket from its first byte to its end; dropping it gives the memory back.
#[derive(Debug)]
pub struct Payload {
    pub signal: Signal,
    pub envelope: Envelope,
    /// Spans, log records, metric data points or profiles: the unit in which the balance counts.
    pub items: u64,
    pub origin: Arc<Origin>,
    /// Copying a payload shares the ticket: branches of a fan-out hold the same bytes.
    pub ticket: Ticket,
    /// Who answers for the items. Dropping it gives them back to whoever called: end it, or hand it on.
    pub share: Share,
}

impl Payload {
    /// The same bytes, answering for nothing: of each item there is one share, and it is not copied.
    pub fn copy(&self) -> Payload {
        Payload {
            signal: self.signal,
            envelope: self.envelope.clone(),
            items: self.items,
            origin: self.origin.clone(),
            ticket: self.ticket.clone(),
            share: Share::none(),
        }
    }
}

//! Metrics cut between their data points, so that every message has one owner: for routing keys that are the points'.
//!
//! A point's bytes are copied and never decoded; of a metric only what stands around the points is written again, once for
//! each owner. A metric that cannot be walked stays whole.

use bytes::Bytes;

use crate::core::data::budget::Ticket;
use crate::core::data::granted::{SHARED_BYTES, list_bytes};
use crate::core::data::items::Items;
use crate::core::data::payload::{Payload, Signal};
use crate::exporters::otlp::load_balancing::metric::MetricPoints;
use crate::exporters::otlp::load_balancing::ring::Ring;
use crate::exporters::otlp::load_balancing::route::{MemberOwners, RoutingKey};
use crate::otlp::fields::metric_data;
use crate::otlp::regroup::portion::deal::Dealing;
use crate::otlp::walk::Fields;
use crate::otlp::write;

/// Key and length of one field take at most this many bytes.
const HEAD_BYTES: usize = 16;
/// What stands around the points is copied for each owner: to this many times the metric's length. One for which that is not
/// enough, as with a description of a megabyte, stays whole.
const COPIES_MAX: usize = 16;

/// Cuts every metric of a payload whose points have several owners. Items of one request change their order then.
pub fn cut(payload: &mut Payload, by: &RoutingKey, ring: &Ring) {
    if payload.signal != Signal::Metrics || !by.tells_points_apart() || ring.members().len() < 2 {
        return;
    }
    let working = payload.ticket.budget().overdraw(list_bytes::<u32>(ring.members().len()) as u64);
    let known = vec![0; ring.members().len()]; // granted: above
    let owners = MemberOwners::new(payload.signal, by, ring);
    let mut cutter = Cutter { owners, known, pieces: Vec::new(), working };
    let mut is_cut = false;
    for group_number in 0..payload.envelope.groups.len() {
        let scopes = payload.envelope.groups.get(group_number).map_or(0, |group| group.scopes.len());
        for scope_number in 0..scopes {
            let made = cutter.scope(payload, group_number, scope_number);
            let group = payload.envelope.groups.get_mut(group_number);
            let scope = group.and_then(|group| group.scopes.get_mut(scope_number));
            if let (Some(made), Some(scope)) = (made, scope) {
                (scope.items, is_cut) = (made, true);
            }
        }
    }
    if is_cut {
        payload.share.forget_positions();
    }
}

struct Cutter<'a> {
    owners: MemberOwners<'a>,
    /// For each member the number of its piece and one more; 0: none.
    known: Vec<u32>,
    pieces: Vec<Piece>,
    working: Ticket,
}

/// The points of one metric that one member owns.
struct Piece {
    member: usize,
    points: Vec<u8>,
}

impl Cutter<'_> {
    /// The items of one scope, where any of them is cut.
    fn scope(&mut self, payload: &Payload, group_number: usize, scope_number: usize) -> Option<Items> {
        let group = payload.envelope.groups.get(group_number)?;
        let scope = group.scopes.get(scope_number)?;
        let mut made: Option<Items> = None;
        for (at, bytes) in scope.items.iter().enumerate() {
            self.owners.enter(&Dealing { message: 0, group_number, scope_number, group, scope, bytes });
            let metric = MetricPoints::read(bytes).filter(|metric| self.deal(metric, bytes));
            if let Some(metric) = &metric {
                let into = made.get_or_insert_with(|| {
                    let mut before = Items::new();
                    (0..at).for_each(|before_it| before.push_from(&scope.items, before_it));
                    before
                });
                let frame = MetricFrame::of(bytes, metric);
                for piece in &self.pieces {
                    let bytes = frame.around(&piece.points);
                    payload.ticket.grow_anyway((bytes.len() + SHARED_BYTES) as u64);
                    into.push(bytes);
                }
            } else if let Some(into) = &mut made {
                into.push_from(&scope.items, at);
            }
        }
        let made = made?;
        payload.ticket.grow_anyway(made.structure_bytes() as u64);
        Some(made)
    }

    /// Sorts the points by their owners into pieces; false when one member owns all, or there are none.
    fn deal(&mut self, metric: &MetricPoints<'_>, message: &[u8]) -> bool {
        for piece in self.pieces.drain(..) {
            if let Some(known) = self.known.get_mut(piece.member) {
                *known = 0;
            }
        }
        let mut points = metric.points();
        let Some(first) = points.next().and_then(|point| self.owners.of_point(metric, point)) else { return false };
        if points.all(|point| self.owners.of_point(metric, point) == Some(first)) {
            return false;
        }
        // Every point's bytes once, and what lists have beyond them.
        let before = self.working.bytes();
        self.working.grow_anyway(2 * message.len() as u64);
        for point in metric.points() {
            let Some(member) = self.owners.of_point(metric, point) else { return false };
            let Some(known) = self.known.get_mut(member) else { return false };
            if *known == 0 {
                self.working.grow_anyway(list_bytes::<Piece>(2) as u64);
                self.pieces.push(Piece { member, points: Vec::new() }); // granted: above
                *known = u32::try_from(self.pieces.len()).unwrap_or(u32::MAX);
            }
            let piece = self.pieces.get_mut((*known as usize).wrapping_sub(1));
            piece.into_iter().for_each(|piece| write::bytes(&mut piece.points, metric_data::DATA_POINTS, point));
        }
        self.working.give_back(self.working.bytes().saturating_sub(before));
        let points: usize = self.pieces.iter().map(|piece| piece.points.len()).sum();
        let copied = message.len().saturating_sub(points).saturating_mul(self.pieces.len());
        copied <= message.len().saturating_mul(COPIES_MAX)
    }
}

/// What stands around the points of a metric, read once for all of its owners.
struct MetricFrame {
    kind: u32,
    beside: Vec<u8>,
    within: Vec<u8>,
}

impl MetricFrame {
    fn of(message: &[u8], metric: &MetricPoints<'_>) -> MetricFrame {
        let within = around(metric.data, |number| number == metric_data::DATA_POINTS);
        MetricFrame { kind: metric.kind, beside: around(message, metric_data::is_data), within }
    }

    /// The metric with these points in place of all.
    fn around(&self, points: &[u8]) -> Bytes {
        let length = self.beside.len() + self.within.len() + points.len() + HEAD_BYTES;
        let mut out = Vec::with_capacity(length); // granted: its length is paid for
        out.extend_from_slice(&self.beside); // granted: its capacity
        write::key(&mut out, self.kind, write::LEN);
        write::varint(&mut out, (self.within.len() + points.len()) as u64);
        out.extend_from_slice(&self.within); // granted: its capacity
        out.extend_from_slice(points); // granted: its capacity
        out.into()
    }
}

/// The fields of a message but those whose number is left out.
fn around(message: &[u8], is_out: impl Fn(u32) -> bool) -> Vec<u8> {
    let (mut out, mut start) = (Vec::new(), 0);
    let mut fields = Fields::new(message);
    while let Some(Ok(field)) = fields.next() {
        let end = fields.position();
        if !is_out(field.number) {
            out.extend_from_slice(message.get(start..end).unwrap_or_default()); // granted: a part of the message
        }
        start = end;
    }
    out
}

#[cfg(test)]
mod tests;

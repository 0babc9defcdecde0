//! Runs the rows of statements on a payload, one row after the other over all of it, as the Collector does.

use std::mem::take;
use std::sync::Arc;

use bytes::Bytes;

use crate::core::data::budget::OverBudget;
use crate::core::data::granted::{Allowance, SHARED_BYTES, list_bytes};
use crate::core::data::payload::{Group, Payload, ScopeGroup, Signal};
use crate::core::error::{ConsumeError, Reason};
use crate::core::stage::transform::{CountChange, Transform};
use crate::otlp::envelope::count_item;
use crate::otlp::fields::trace::span;
use crate::otlp::regroup::rewrite::Rewrite;
use crate::otlp::write;
use crate::ottl::{
    Buffers, ChangedPieces, Context, EditTarget, Edits, EvalFailure, Failures, MadeMetrics, MessageEdit, POINTS,
    Points, PointsAround, Statements, is_too_much, places, points_of, put_without, put_without_points,
};
use crate::processors::transform::config::SignalStatements;
use crate::processors::transform::pieces::{content, put_pieces};
use crate::processors::transform::trace_ids::{IDS_BYTES, put_with_ids};

pub struct Transformer {
    pub groups: Arc<SignalStatements>,
    /// Ids in the text of a log record's body go into its own fields, before any statement.
    pub lifts_ids: bool,
    pub failures: Failures,
}

impl Transform for Transformer {
    fn transform(&self, payload: Payload) -> Result<Payload, ConsumeError> {
        self.counted(payload).map(|(payload, _)| payload)
    }

    fn counted(&self, mut payload: Payload) -> Result<(Payload, CountChange), ConsumeError> {
        let rows = self.groups.of(payload.signal);
        let lifts_ids = self.lifts_ids && payload.signal == Signal::Logs;
        if rows.is_empty() && !lifts_ids {
            return Ok((payload, CountChange::default()));
        }
        let mut run = Run {
            failures: &self.failures,
            room: Allowance::of(&payload.ticket),
            working: Allowance::working(&payload.ticket),
            covered: 0,
            refused: None,
            spare: Spare::default(),
            rewrite: Rewrite::within(&payload.ticket),
            made: Made::default(),
            change: CountChange::default(),
        };
        if payload.signal == Signal::Metrics {
            run.made.left = made_max(payload.envelope.items().map(<[u8]>::len).sum());
        }
        if lifts_ids {
            let scopes = payload.envelope.groups.iter_mut().flat_map(|group| &mut group.scopes);
            scopes.for_each(|scope| run.lift_ids(scope));
        }
        for row in rows {
            let mut groups = payload.envelope.groups.iter_mut();
            if let Err(failure) = groups.try_for_each(|group| run.group(row, group)) {
                return Err(ConsumeError::rejected(Reason::STATEMENT, format!("transform: {failure}")));
            }
        }
        if let Some(why) = run.refused {
            return Err(ConsumeError::refused(
                Reason::MEMORY,
                format!("there is no memory for what the transform made: {why}"),
            ));
        }
        payload.items = (payload.items + run.change.made).saturating_sub(run.change.gone);
        Ok((payload, run.change))
    }
}

/// Field of `Span` that holds its events.
const EVENTS: u32 = span::EVENTS;

/// While a message is edited there are its new bytes, the ones before them, and, of a message whose pieces are edited one by
/// one, all of these for the pieces together.
const BUFFERS: usize = 6;

/// One piece of an item while a row runs on it.
#[derive(Default)]
struct Piece<'a> {
    bytes: &'a [u8],
    edits: Edits,
    points: Points,
    around: Option<PointsAround<'a>>,
}

/// Buffers that are used again from item to item.
#[derive(Default)]
struct Spare {
    resource: Edits,
    scope: Edits,
    item: Edits,
    piece: Edits,
    cache: Edits,
    buffers: Buffers,
    /// An item without its pieces, the same with those that changed, and the points of a metric.
    shell: Vec<u8>,
    whole: Vec<u8>,
    inside: Vec<u8>,
    changed: ChangedPieces,
}

struct Run<'f> {
    failures: &'f Failures,
    /// Pays for what is made beside the receive buffer, which stays as long as one slice of it does.
    room: Allowance,
    /// Pays for the buffers of the longest item so far.
    working: Allowance,
    covered: usize,
    /// There was no memory for something that was made.
    refused: Option<OverBudget>,
    spare: Spare,
    rewrite: Rewrite,
    made: Made,
    change: CountChange,
}

/// Metrics that statements made of others in the same scope.
#[derive(Default)]
struct Made {
    /// With how many times each was made of another one.
    list: Vec<(Vec<u8>, u8)>,
    /// Bytes that may still be made for the request.
    left: usize,
    /// Of the metric in hand.
    generation: u8,
}

/// What a row of statements is run on, above the item: shared by all items below it.
#[derive(Default)]
struct Around<'a> {
    resource: Shared<'a>,
    scope: Shared<'a>,
    /// `schema_url` of both.
    resource_url: Shared<'a>,
    scope_url: Shared<'a>,
}

/// A message or text that several items share, and what they made of it.
type Shared<'a> = (&'a [u8], Edits);

impl Run<'_> {
    fn group(&mut self, row: &Statements, group: &mut Group) -> Result<(), EvalFailure> {
        let below = group.scopes.iter().map(|scope| scope.items.len()).sum();
        let bytes: usize = group.scopes.iter().map(|scope| scope.items.byte_len()).sum();
        if is_too_much(below, bytes, group.resource.as_deref().unwrap_or_default()) {
            return row.give_up(self.failures);
        }
        if !self.cover(group.resource.as_ref().map_or(0, Bytes::len)) {
            return Ok(());
        }
        let (resource, url) = (group.resource.take(), take(&mut group.schema_url));
        let mut around = Around {
            resource: (resource.as_deref().unwrap_or_default(), take(&mut self.spare.resource)),
            resource_url: (&url, Edits::default()),
            ..Around::default()
        };
        if row.context != Context::Resource {
            around.resource.1.allow(moved_max(bytes, around.resource.0));
            around.resource_url.1.allow(moved_max(bytes, &url));
        }
        let done = if row.context == Context::Resource {
            self.step(row, &mut around, (b"", Edits::default()), None).map(drop)
        } else {
            group.scopes.iter_mut().try_for_each(|scope| self.scope(row, &mut around, scope))
        };
        group.resource = self.renewed(&around.resource.1).or_else(|| resource.clone());
        group.schema_url = self.renewed(&around.resource_url.1).unwrap_or_else(|| url.clone());
        around.resource.1.clear();
        self.spare.resource = around.resource.1;
        done
    }

    fn scope(&mut self, row: &Statements, above: &mut Around<'_>, group: &mut ScopeGroup) -> Result<(), EvalFailure> {
        let bytes = group.items.byte_len();
        if is_too_much(group.items.len(), bytes, group.scope.as_deref().unwrap_or_default()) {
            return row.give_up(self.failures);
        }
        let (scope, url) = (group.scope.take(), take(&mut group.schema_url));
        let mut around = Around {
            resource: (above.resource.0, take(&mut above.resource.1)),
            resource_url: (above.resource_url.0, take(&mut above.resource_url.1)),
            scope: (scope.as_deref().unwrap_or_default(), take(&mut self.spare.scope)),
            scope_url: (&url, Edits::default()),
        };
        if row.context != Context::Scope {
            around.scope.1.allow(moved_max(bytes, around.scope.0));
            around.scope_url.1.allow(moved_max(bytes, &url));
        }
        let done = if row.context == Context::Scope {
            self.step(row, &mut around, (b"", Edits::default()), None).map(drop)
        } else {
            self.items(row, &mut around, group)
        };
        above.resource.1 = take(&mut around.resource.1);
        above.resource_url.1 = take(&mut around.resource_url.1);
        group.scope = self.renewed(&around.scope.1).or_else(|| scope.clone());
        group.schema_url = self.renewed(&around.scope_url.1).unwrap_or_else(|| url.clone());
        around.scope.1.clear();
        self.spare.scope = around.scope.1;
        done
    }

    fn lift_ids(&mut self, group: &mut ScopeGroup) {
        let mut record = emptied(&mut self.spare.whole);
        for (at, item) in group.items.iter().enumerate() {
            if !self.cover(item.len() + IDS_BYTES) {
                break;
            }
            if put_with_ids(&mut record, item) {
                self.rewrite.replace(&group.items, at, &record);
            }
        }
        self.spare.whole = record;
        self.finish(group);
    }

    /// Puts what was rewritten into its place.
    fn finish(&mut self, group: &mut ScopeGroup) {
        match self.rewrite.finish(&group.items) {
            Ok(Some(items)) => group.items = items,
            Ok(None) => {}
            Err(why) => self.refused = Some(why),
        }
    }

    fn items(&mut self, row: &Statements, around: &mut Around<'_>, group: &mut ScopeGroup) -> Result<(), EvalFailure> {
        for (at, item) in group.items.iter().enumerate() {
            if !self.cover(around.resource.0.len() + around.scope.0.len() + item.len()) {
                return Ok(());
            }
            let mut edits = self.item(row, around, item)?;
            if let Some(new) = edits.bytes() {
                if row.context == Context::Metric {
                    self.count(item, new);
                }
                self.rewrite.replace(&group.items, at, new);
            }
            edits.clear();
            self.spare.item = edits;
        }
        let made = self.run_on_made(row, around)?;
        self.finish(group);
        if !made.is_empty()
            && let Err(why) = self.append(group, &made)
        {
            self.refused = Some(why);
        }
        Ok(())
    }

    fn item(&mut self, row: &Statements, around: &mut Around<'_>, item: &[u8]) -> Result<Edits, EvalFailure> {
        match row.context {
            Context::SpanEvent => self.events(row, around, item),
            Context::DataPoint => self.points(row, around, item),
            _ => {
                let spare = take(&mut self.spare.item);
                Ok(self.step(row, around, (item, spare), None)?.0)
            }
        }
    }

    /// Points that a changed metric has fewer or more.
    fn count(&mut self, before: &[u8], after: &[u8]) {
        let (before, after) = (count_item(Signal::Metrics, before), count_item(Signal::Metrics, after));
        self.change.gone += before.saturating_sub(after);
        self.change.made += after.saturating_sub(before);
    }

    /// Runs the row on the metrics that it made too, as a Collector does: they stand behind those it made them of.
    fn run_on_made(&mut self, row: &Statements, around: &mut Around<'_>) -> Result<Vec<Vec<u8>>, EvalFailure> {
        let mut done = Vec::new();
        while done.len() < self.made.list.len() {
            let Some((metric, generation)) = self.made.list.get_mut(done.len()) else { break };
            let metric = take(metric);
            self.made.generation = *generation;
            if !self.cover(around.resource.0.len() + around.scope.0.len() + metric.len()) {
                break;
            }
            let mut edits = self.item(row, around, &metric)?;
            done.push(edits.bytes().map(<[u8]>::to_vec).unwrap_or(metric));
            edits.clear();
            self.spare.item = edits;
        }
        self.made.list.clear();
        self.made.generation = 0;
        Ok(done)
    }

    /// Puts what was made behind the items of its scope, all of it slices of one buffer.
    fn append(&mut self, group: &mut ScopeGroup, made: &[Vec<u8>]) -> Result<(), OverBudget> {
        let bytes: usize = made.iter().map(Vec::len).sum();
        self.room.take(bytes + SHARED_BYTES + list_bytes::<Bytes>(group.items.len() + made.len()))?;
        let mut buffer = Vec::with_capacity(bytes); // granted: taken above
        made.iter().for_each(|metric| buffer.extend_from_slice(metric));
        let mut rest = Bytes::from(buffer);
        for metric in made {
            self.change.made += count_item(Signal::Metrics, metric);
            group.items.push(rest.split_to(metric.len()));
        }
        Ok(())
    }

    /// Pays for the buffers in which a message of this length is edited; false without memory for them.
    fn cover(&mut self, length: usize) -> bool {
        let bytes = length * BUFFERS;
        if let Err(why) = self.working.take(bytes.saturating_sub(self.covered)) {
            self.refused = Some(why);
            return false;
        }
        self.covered = self.covered.max(bytes);
        true
    }

    /// Runs the row on each event of a span. Meanwhile the span is without its events: they would be walked for each other.
    fn events(&mut self, row: &Statements, around: &mut Around<'_>, span: &[u8]) -> Result<Edits, EvalFailure> {
        let (mut shell, edits) = (emptied(&mut self.spare.shell), take(&mut self.spare.item));
        put_without(&mut shell, span, EVENTS);
        if shell.len() == span.len() {
            self.spare.shell = shell;
            return Ok(edits);
        }
        let (mut edits, changed) = self.pieces(row, around, (&shell, edits), (span, EVENTS, Points::None))?;
        if !changed.is_empty() || edits.bytes().is_some() {
            let mut whole = emptied(&mut self.spare.whole);
            whole.extend_from_slice(edits.bytes().unwrap_or(&shell));
            put_pieces(&mut whole, (span, EVENTS), &changed);
            edits = renew(span, edits, &whole)?;
            self.spare.whole = whole;
        }
        (self.spare.shell, self.spare.changed) = (shell, changed);
        Ok(edits)
    }

    /// Runs the row on each point of a metric. Meanwhile the metric is without its points, as a span without its events.
    fn points(&mut self, row: &Statements, around: &mut Around<'_>, metric: &[u8]) -> Result<Edits, EvalFailure> {
        let edits = take(&mut self.spare.item);
        let Some((points, holder)) = points_of(metric) else { return Ok(edits) };
        let mut shell = emptied(&mut self.spare.shell);
        put_without_points(&mut shell, metric, points, &holder);
        let (mut edits, changed) = self.pieces(row, around, (&shell, edits), (&holder, POINTS, points))?;
        if !changed.is_empty() || edits.bytes().is_some() {
            let (mut whole, mut inside) = (emptied(&mut self.spare.whole), emptied(&mut self.spare.inside));
            let current = edits.bytes().unwrap_or(&shell);
            points_of(current).iter().for_each(|(_, others)| inside.extend_from_slice(others));
            put_pieces(&mut inside, (&holder, POINTS), &changed);
            put_without(&mut whole, current, points.field());
            write::bytes(&mut whole, points.field(), &inside);
            edits = renew(metric, edits, &whole)?;
            (self.spare.whole, self.spare.inside) = (whole, inside);
        }
        (self.spare.shell, self.spare.changed) = (shell, changed);
        Ok(edits)
    }

    /// Runs the row on each piece in field `number` of the message `holder`; gives back the edits of the item and the
    /// pieces that changed, by their place.
    fn pieces(
        &mut self,
        row: &Statements,
        around: &mut Around<'_>,
        (item, mut edits): (&[u8], Edits),
        (holder, number, points): (&[u8], u32, Points),
    ) -> Result<(Edits, ChangedPieces), EvalFailure> {
        let mut changed = take(&mut self.spare.changed);
        changed.clear();
        let all = || places(holder).filter(|(found, _)| *found == number);
        if is_too_much(all().count(), holder.len(), item) {
            row.give_up(self.failures)?;
            return Ok((edits, changed));
        }
        for (at, (_, range)) in all().enumerate() {
            let spare = take(&mut self.spare.piece);
            let beside = PointsAround { holder, changed: &changed, at };
            let piece = Piece { bytes: content(&holder[range]), edits: spare, points, around: Some(beside) };
            let (new_item, mut new_piece) = self.step(row, around, (item, edits), Some(piece))?;
            edits = new_item;
            if let Some(bytes) = new_piece.bytes() {
                changed.push(at, bytes);
            }
            new_piece.clear();
            self.spare.piece = new_piece;
        }
        Ok((edits, changed))
    }

    /// Runs the row once; gives back the edits of item and piece.
    fn step(
        &mut self,
        row: &Statements,
        around: &mut Around<'_>,
        (item, edits): (&[u8], Edits),
        piece: Option<Piece<'_>>,
    ) -> Result<(Edits, Edits), EvalFailure> {
        let piece = piece.unwrap_or_default();
        let mut scene = EditTarget {
            resource: MessageEdit::new(around.resource.0, take(&mut around.resource.1)),
            scope: MessageEdit::new(around.scope.0, take(&mut around.scope.1)),
            resource_url: MessageEdit::new(around.resource_url.0, take(&mut around.resource_url.1)),
            scope_url: MessageEdit::new(around.scope_url.0, take(&mut around.scope_url.1)),
            item: MessageEdit::new(item, edits),
            piece: MessageEdit::new(piece.bytes, piece.edits),
            at: piece.around.map_or(0, |around| around.at),
            points: piece.points,
            around: piece.around.filter(|_| row.context == Context::DataPoint),
            cache: MessageEdit::new(b"", take(&mut self.spare.cache)),
            buffers: take(&mut self.spare.buffers),
            made: MadeMetrics { list: Vec::new(), left: self.made.left, generation: self.made.generation },
            ..EditTarget::default()
        };
        let done = row.run(&mut scene, self.failures);
        around.resource.1 = scene.resource.edits;
        around.scope.1 = scene.scope.edits;
        around.resource_url.1 = scene.resource_url.edits;
        around.scope_url.1 = scene.scope_url.edits;
        self.spare.cache = scene.cache.edits;
        self.spare.cache.clear();
        self.spare.buffers = scene.buffers;
        self.made.left = scene.made.left;
        if !scene.made.list.is_empty() {
            self.keep_made(scene.made.list);
        }
        done?;
        Ok((scene.item.edits, scene.piece.edits))
    }

    fn keep_made(&mut self, list: Vec<Vec<u8>>) {
        if let Err(why) = self.working.take(list.iter().map(Vec::len).sum()) {
            self.refused = Some(why);
            return;
        }
        let next = self.made.generation.saturating_add(1);
        self.made.list.extend(list.into_iter().map(|metric| (metric, next)));
    }

    fn renewed(&mut self, edits: &Edits) -> Option<Bytes> {
        let new = edits.bytes()?;
        match self.room.take(new.len() + SHARED_BYTES) {
            Ok(()) => Some(Bytes::copy_from_slice(new)), // granted: taken above
            Err(why) => {
                self.refused = Some(why);
                None
            }
        }
    }
}

/// Bytes that all items below a message may move in it together: for each of their bytes a few, and a usual message as
/// often as a usual request has items.
fn moved_max(below: usize, message: &[u8]) -> usize {
    (below + message.len()).saturating_mul(32).saturating_add(256 << 10)
}

/// Bytes of metrics that statements may make of a request's metrics.
fn made_max(of: usize) -> usize {
    of.saturating_mul(32).saturating_add(64 << 10)
}

/// The edits that make `new` of an item.
fn renew(item: &[u8], mut edits: Edits, new: &[u8]) -> Result<Edits, EvalFailure> {
    edits.clear();
    let mut draft = MessageEdit::new(item, edits);
    draft.replace(0..item.len(), new)?;
    Ok(draft.edits)
}

/// A buffer that was used before, without what it held.
fn emptied(spare: &mut Vec<u8>) -> Vec<u8> {
    let mut buffer = take(spare);
    buffer.clear();
    buffer
}

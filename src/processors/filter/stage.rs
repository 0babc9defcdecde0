//! Runs the passes on a payload. Nothing is counted before all of them have gone well: a payload that fails is still the
//! caller's.

use std::sync::Arc;

use crate::core::data::budget::OverBudget;
use crate::core::data::granted::Allowance;
use crate::core::data::items::Items;
use crate::core::data::payload::{Group, Payload, ScopeGroup, Signal};
use crate::core::data::settlement::{ItemEnd, Share};
use crate::core::error::{ConsumeError, Reason};
use crate::core::limits::LONG_WORK_BYTES;
use crate::core::offload::Aside;
use crate::core::report::stats::{Counter, Flow};
use crate::core::stage::consumer::{Consumed, Consumer, Next};
use crate::otlp::envelope::count_item;
use crate::otlp::fields::trace::span;
use crate::otlp::regroup::rewrite::Rewrite;
use crate::otlp::write;
use crate::ottl::{
    EvalFailure, Failures, Item, POINTS, is_too_much, places, points_in, points_of, put_without, put_without_points,
    without,
};
use crate::processors::filter::config::FilterRules;
use crate::processors::filter::rules::{FilterTest, Pass};

/// Field of `Span` that holds its events.
const EVENTS: u32 = span::EVENTS;

/// An item without its pieces, without some of them, the verdicts on them, and the item made anew.
const BUFFERS: usize = 4;

pub struct FilterStage {
    pub rules: Arc<FilterRules>,
    pub next: Next,
    pub flow: Flow,
    pub filtered: Arc<Counter>,
    pub failures: Failures,
}

impl Consumer for FilterStage {
    fn consume(&self, mut payload: Payload) -> Consumed<'_> {
        let came = payload.items;
        self.flow.incoming.add(came);
        if payload.ticket.bytes() >= LONG_WORK_BYTES {
            return Box::pin(self.aside(payload));
        }
        match filter(&self.rules, &self.failures, &mut payload) {
            Ok(dropped) => self.hand_on(payload, dropped.min(came)),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }
}

impl FilterStage {
    /// The same beside the worker's other tasks.
    async fn aside(&self, mut payload: Payload) -> Result<(), ConsumeError> {
        let (rules, failures, came) = (self.rules.clone(), self.failures.clone(), payload.items);
        let work = move || filter(&rules, &failures, &mut payload).map(|dropped| (payload, dropped));
        let (payload, dropped) = Aside::shared().run(u64::MAX, work).await?;
        self.hand_on(payload, dropped.min(came)).await
    }

    fn hand_on(&self, mut payload: Payload, dropped: u64) -> Consumed<'_> {
        payload.items -= dropped;
        if dropped > 0 && payload.envelope.messages() == 0 {
            self.count(payload.share, dropped);
            return Box::pin(std::future::ready(Ok(())));
        }
        self.flow.outgoing.add(payload.items);
        if dropped == 0 {
            return self.next.consume(payload);
        }
        let gone = payload.share.spread(dropped);
        Box::pin(async move {
            // What is refused behind here comes again as a whole, and is filtered again.
            self.next.consume(payload).await?;
            self.count(gone, dropped);
            Ok(())
        })
    }

    fn count(&self, gone: Share, dropped: u64) {
        self.filtered.add(dropped);
        gone.end(ItemEnd::Dropped(Reason::FILTERED, "a condition of the filter held"));
    }
}

/// How many items went.
fn filter(rules: &FilterRules, failures: &Failures, payload: &mut Payload) -> Result<u64, ConsumeError> {
    let (rewrite, working) = (Rewrite::within(&payload.ticket), Allowance::working(&payload.ticket));
    let (signal, shell, gone) = (payload.signal, Vec::new(), Vec::new());
    let mut walk = Walk { signal, failures, dropped: 0, refused: None, working, covered: 0, shell, gone, rewrite };
    for pass in rules.of(payload.signal) {
        let passed = payload.envelope.groups.iter_mut().try_for_each(|group| walk.group(pass, group));
        if let Err(failure) = passed {
            return Err(ConsumeError::rejected(Reason::STATEMENT, format!("filter: {failure}")));
        }
        if walk.dropped > 0 {
            payload.envelope.groups.retain(|group| !group.scopes.is_empty());
        }
    }
    if let Some(why) = walk.refused {
        return Err(ConsumeError::refused(Reason::MEMORY, format!("there is no memory for what is left: {why}")));
    }
    Ok(walk.dropped)
}

struct Walk<'f> {
    signal: Signal,
    failures: &'f Failures,
    /// Items gone.
    dropped: u64,
    /// There was there is no memory for what is left.
    refused: Option<OverBudget>,
    /// Pays for copies of the longest item so far that is asked about piece by piece.
    working: Allowance,
    covered: usize,
    /// An item without its pieces, and which of these go; used again from item to item.
    shell: Vec<u8>,
    gone: Vec<bool>,
    rewrite: Rewrite,
}

impl Walk<'_> {
    fn holds(&self, test: Option<&FilterTest>, item: &Item<'_>) -> Result<bool, EvalFailure> {
        match test {
            None => Ok(false),
            Some(FilterTest::Conditions(conditions)) => conditions.any(item, self.failures),
            Some(FilterTest::Properties(skip)) => Ok(skip.skips(item)),
        }
    }

    fn group(&mut self, pass: &Pass, group: &mut Group) -> Result<(), EvalFailure> {
        let resource = group.resource.as_deref().unwrap_or_default();
        let about = Item { resource, resource_url: &group.schema_url, ..Item::default() };
        if self.holds(pass.resource.as_ref(), &about)? {
            self.dropped += group.scopes.iter().map(|scope| self.items_of(scope)).sum::<u64>();
            group.scopes.clear();
            return Ok(());
        }
        if pass.scope.is_none() && pass.item.is_none() && pass.piece.is_none() {
            return Ok(());
        }
        let below = group.scopes.iter().map(|scope| scope.items.len()).sum();
        let bytes = group.scopes.iter().map(|scope| scope.items.byte_len()).sum();
        if is_too_much(below, bytes, resource) {
            return self.give_up(pass);
        }
        let before = self.dropped;
        for scope in &mut group.scopes {
            self.scope(pass, &about, scope)?;
        }
        if self.dropped > before {
            group.scopes.retain(|scope| !scope.items.is_empty());
        }
        Ok(())
    }

    fn scope(&mut self, pass: &Pass, about: &Item<'_>, group: &mut ScopeGroup) -> Result<(), EvalFailure> {
        let scope = group.scope.as_deref().unwrap_or_default();
        let about = Item { scope, scope_url: &group.schema_url, ..*about };
        if self.holds(pass.scope.as_ref(), &about)? {
            self.dropped += self.items_of(group);
            group.items.clear();
            return Ok(());
        }
        if is_too_much(group.items.len(), group.items.byte_len(), about.scope) {
            return self.give_up(pass);
        }
        for (at, item) in group.items.iter().enumerate() {
            let about = Item { item, ..about };
            if self.holds(pass.item.as_ref(), &about)? {
                self.dropped += count_item(self.signal, item);
                self.rewrite.drop_item(&group.items, at);
            } else if pass.piece.is_some() {
                self.pieces(pass, &about, &group.items, at)?;
            }
        }
        match self.rewrite.finish(&group.items) {
            Ok(Some(items)) => group.items = items,
            Ok(None) => {}
            Err(why) => self.refused = Some(why),
        }
        Ok(())
    }

    /// Asks about the events of a span or the points of a metric; a metric that is left without points goes.
    fn pieces(&mut self, pass: &Pass, about: &Item<'_>, items: &Items, at: usize) -> Result<(), EvalFailure> {
        let bytes = about.item.len() * BUFFERS;
        if let Err(why) = self.working.take(bytes.saturating_sub(self.covered)) {
            self.refused = Some(why);
            return Ok(());
        }
        self.covered = self.covered.max(bytes);
        let (mut shell, mut gone) = (std::mem::take(&mut self.shell), std::mem::take(&mut self.gone));
        shell.clear();
        gone.clear();
        let asked = match self.signal {
            Signal::Traces => self.events(pass, about, (items, at), (&mut shell, &mut gone)),
            _ => self.points(pass, about, (items, at), (&mut shell, &mut gone)),
        };
        (self.shell, self.gone) = (shell, gone);
        asked
    }

    fn events(
        &mut self,
        pass: &Pass,
        about: &Item<'_>,
        (items, at): (&Items, usize),
        (shell, gone): (&mut Vec<u8>, &mut Vec<bool>),
    ) -> Result<(), EvalFailure> {
        // Without its events, which would be walked for each other.
        put_without(shell, about.item, EVENTS);
        let about_span = Item { item: shell, ..*about };
        if is_too_much(about.events().count(), about.item.len(), shell) {
            return self.give_up(pass);
        }
        for (at, event) in about.events().enumerate() {
            gone.push(self.holds(pass.piece.as_ref(), &about_span.with_event(at, event))?);
        }
        if gone.contains(&true) {
            self.rewrite.replace(items, at, &without_gone(about.item, EVENTS, gone));
        }
        Ok(())
    }

    fn points(
        &mut self,
        pass: &Pass,
        about: &Item<'_>,
        (items, at): (&Items, usize),
        (shell, gone): (&mut Vec<u8>, &mut Vec<bool>),
    ) -> Result<(), EvalFailure> {
        let Some((points, holder)) = points_of(about.item) else { return Ok(()) };
        put_without_points(shell, about.item, points, &holder);
        let about_metric = Item { item: shell, ..*about };
        if is_too_much(points_in(&holder).count(), holder.len(), shell) {
            return self.give_up(pass);
        }
        for point in points_in(&holder) {
            gone.push(self.holds(pass.piece.as_ref(), &about_metric.with_point(point, points))?);
        }
        let left = gone.iter().filter(|gone| !**gone).count();
        self.dropped += (gone.len() - left) as u64;
        if left == 0 {
            self.rewrite.drop_item(items, at);
        } else if left < gone.len() {
            let mut metric = without(about.item, points.field());
            write::bytes(&mut metric, points.field(), &without_gone(&holder, POINTS, gone));
            self.rewrite.replace(items, at, &metric);
        }
        Ok(())
    }

    /// Leaves alone what would take too long to ask.
    fn give_up(&self, pass: &Pass) -> Result<(), EvalFailure> {
        let tests = [&pass.scope, &pass.item, &pass.piece];
        tests.into_iter().flatten().try_for_each(|test| match test {
            FilterTest::Conditions(conditions) => conditions.give_up(self.failures),
            FilterTest::Properties(_) => {
                self.failures.0.add(1);
                Ok(())
            }
        })
    }

    fn items_of(&self, scope: &ScopeGroup) -> u64 {
        scope.items.iter().map(|item| count_item(self.signal, item)).sum()
    }
}

/// The message without those fields of this number that are gone, in their order.
fn without_gone(message: &[u8], number: u32, gone: &[bool]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len());
    let mut gone = gone.iter();
    for (found, range) in places(message) {
        if found != number || gone.next() != Some(&true) {
            out.extend_from_slice(&message[range]);
        }
    }
    out
}

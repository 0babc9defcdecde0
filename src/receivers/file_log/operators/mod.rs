//! The operators of one receiver, as a chain: each line goes from the first one on, and only forward.
//!
//! Pure but for what a file's [`ChainState`] keeps: pieces of a line that is not whole yet. Where such a piece began is known,
//! so that nothing is marked as read before it went on. What comes of each operator is what comes of a Collector's
//! (pkg/stanza); `tests/lines` has its answers.

mod changes;
pub mod container;
mod held;
mod joining;
mod layout;
pub mod parsers;
pub mod room;
mod rules;
pub mod severity;
pub mod time;

use std::borrow::Cow;
use std::time::Duration;

use crate::core::time::UnixNanos;
use crate::receivers::file_log::entry::{EntryValue, FileEntry, PodOfFile};
use crate::receivers::file_log::operators::changes::changed;
use crate::receivers::file_log::operators::held::{HeldLines, Went, memory_of};
use crate::receivers::file_log::operators::room::PaidBytes;

pub use crate::receivers::file_log::operators::held::{ChainState, LinePlace};
pub use crate::receivers::file_log::operators::rules::{
    ChainStep, ContainerRule, LineOperator, OperatorChain, RecombineRule, TraceReading,
};

/// Pieces of a runtime's line of which the next one does not come go on after this: the time for which a Collector's
/// `recombine`, of which its `container` is made, holds lines.
const PIECE_WAIT: Duration = Duration::from_secs(5);

/// Where entries go that passed the chain.
pub type Passed<'p> = &'p mut dyn FnMut(&FileEntry<'_>);

impl OperatorChain {
    pub fn process<'l>(
        &self,
        state: &mut ChainState,
        entry: FileEntry<'l>,
        (pod, place): (&'l PodOfFile, LinePlace),
        passed: Passed<'_>,
    ) {
        self.process_from(state, (0, entry), (pod, place), passed);
    }

    /// What is held for longer than its rule says goes on as it is.
    pub fn flush(
        &self,
        state: &mut ChainState,
        pod: &PodOfFile,
        (now, observed): (Duration, UnixNanos),
        passed: Passed<'_>,
    ) {
        for (at, step) in self.steps.iter().enumerate() {
            let is_due = |state: &ChainState, is_stderr: bool, after: Duration| {
                state.held.since((at, is_stderr)).is_some_and(|since| now.saturating_sub(since) >= after)
            };
            match &step.what {
                LineOperator::Recombine(rule) if is_due(state, false, rule.flush_after) => {
                    self.release(state, (at, observed), rule, passed);
                }
                LineOperator::Container(rule) => {
                    let due = [false, true].map(|is_stderr| is_due(state, is_stderr, PIECE_WAIT).then_some(is_stderr));
                    let pod = (pod, rule.names_pod.then_some(self.needs_resource));
                    for is_stderr in due.into_iter().flatten() {
                        self.release_pieces(state, ((at, is_stderr), observed), pod, passed);
                    }
                }
                _ => {}
            }
        }
    }

    /// Pieces of a line whose end did not come.
    fn release_pieces(
        &self,
        state: &mut ChainState,
        (key, observed): ((usize, bool), UnixNanos),
        (pod, names_pod): (&PodOfFile, Option<bool>),
        passed: Passed<'_>,
    ) {
        let Some(held) = state.held.held.remove(&key) else { return };
        let mut entry: FileEntry<'_> = held.entry;
        entry.body = EntryValue::Text(Cow::Owned(held.text));
        joining::name_pod(&mut entry, names_pod.map(|in_entry| (pod, in_entry)));
        let place = LinePlace { from: held.from, now: held.since, observed };
        let output = self.steps.get(key.0).map_or(usize::MAX, |step| step.output);
        self.process_from(state, (output, entry), (pod, place), passed);
    }

    fn recombine(
        &self,
        state: &mut ChainState,
        (at, place): (usize, LinePlace),
        (rule, is_edge, entry): (&RecombineRule, bool, FileEntry<'_>),
        passed: Passed<'_>,
    ) {
        if is_edge && rule.edge_is_first {
            self.release(state, (at, place.observed), rule, passed);
        }
        let text = rule.field.get(&entry).and_then(EntryValue::as_text).map(<[u8]>::to_vec); // granted: a line of a file
        let length = text.as_ref().map_or(0, Vec::len) + rule.with.len();
        let Some(paid) = state.pay(memory_of(&entry, length), place) else {
            // What is held goes on as it is, and so does this line.
            self.release(state, (at, place.observed), rule, passed);
            let output = self.steps.get(at).map_or(usize::MAX, |step| step.output);
            self.process_from(state, (output, entry), (&PodOfFile::default(), place), passed);
            return;
        };
        let entry = entry.into_owned();
        let held = match state.held.held.remove(&(at, false)) {
            Some(held) if rule.keeps_newest => HeldLines { entry, ..held },
            Some(held) => held,
            None => {
                let (text, paid) = (Vec::new(), PaidBytes::default());
                HeldLines { entry, text, lines: 0, has_edge: false, from: place.from, since: place.now, paid }
            }
        };
        let held = state.held.held.entry((at, false)).or_insert(held);
        held.paid.join(paid);
        held.lines += 1;
        held.has_edge |= is_edge;
        held.since = place.now;
        let Some(text) = text else {
            state.fail("the field that is joined is no text".to_owned());
            return;
        };
        if !held.text.is_empty() {
            held.text.extend_from_slice(rule.with.as_bytes()); // granted: up to `bytes_max` and a line
        }
        held.text.extend_from_slice(&text); // granted: as above
        let reaches = |most: usize| most > 0 && held.lines >= most;
        let is_full = held.text.len() > rule.bytes_max
            || reaches(rule.lines_max)
            || (!held.has_edge && reaches(rule.unmatched_max));
        if is_full || (is_edge && !rule.edge_is_first) {
            self.release(state, (at, place.observed), rule, passed);
        }
    }

    fn release(
        &self,
        state: &mut ChainState,
        (at, observed): (usize, UnixNanos),
        rule: &RecombineRule,
        passed: Passed<'_>,
    ) {
        let Some(held) = state.held.held.remove(&(at, false)) else { return };
        let mut entry = held.entry;
        if let Err(why) = rule.field.set(&mut entry, EntryValue::Text(Cow::Owned(held.text))) {
            state.fail(why);
        }
        let (pod, place) = (PodOfFile::default(), LinePlace { from: held.from, now: held.since, observed });
        let output = self.steps.get(at).map_or(usize::MAX, |step| step.output);
        self.process_from(state, (output, entry), (&pod, place), passed);
    }

    /// From a later step on: a chain goes forward, so this ends.
    fn process_from<'l>(
        &self,
        state: &mut ChainState,
        (from, entry): (usize, FileEntry<'l>),
        (pod, place): (&'l PodOfFile, LinePlace),
        passed: Passed<'_>,
    ) {
        let (mut at, mut entry, mut place) = (from, entry, place);
        while let Some(step) = self.steps.get(at) {
            let went = match step.condition.as_ref().map_or(Ok(true), |condition| condition.holds(&entry)) {
                Ok(false) => Went::On(entry),
                Err(why) => step.failed(state, entry, why.to_string()),
                Ok(true) => match &step.what {
                    LineOperator::Container(rule) => {
                        let pod = rule.names_pod.then_some((pod, self.needs_resource));
                        joining::contained(state, (at, &mut place), entry, (step, rule, pod))
                    }
                    LineOperator::Recombine(rule) => match rule.is_edge.holds(&entry) {
                        Ok(is_edge) => {
                            self.recombine(state, (at, place), (rule, is_edge, entry), passed);
                            return;
                        }
                        Err(why) => step.failed(state, entry, why.to_string()),
                    },
                    plain => step.apply((plain, place.observed), state, entry),
                },
            };
            (at, entry) = match went {
                Went::On(entry) => (step.output, entry),
                Went::To(to, entry) => (to, entry),
                Went::NoFurther => return,
            };
        }
        passed(&entry);
    }
}

impl ChainStep {
    fn apply<'l>(
        &self,
        (what, now): (&LineOperator, UnixNanos),
        state: &mut ChainState,
        mut entry: FileEntry<'l>,
    ) -> Went<'l> {
        match what {
            // Of an entry that cannot be compared nobody knows whether it may stay: a Collector drops it.
            LineOperator::Filter(condition) => match condition.holds(&entry) {
                Ok(false) => Went::On(entry),
                Ok(true) => state.drop_entry(),
                Err(why) => {
                    state.fail(why.to_string());
                    state.drop_entry()
                }
            },
            LineOperator::Router { routes, default } => {
                let route = routes.iter().find(|(condition, _)| condition.holds(&entry) == Ok(true)).map(|(_, to)| *to);
                route.or(*default).map_or_else(|| state.drop_entry(), |to| Went::To(to, entry))
            }
            change => {
                // Each of what is embedded is tried; the first fault is told.
                let mut done = changed(change, &mut entry, now);
                if done.is_ok() {
                    for embedded in &self.embedded {
                        let one = changed(embedded, &mut entry, now);
                        done = done.and(one);
                    }
                }
                match done {
                    Ok(()) => Went::On(entry),
                    Err(why) => self.failed(state, entry, why),
                }
            }
        }
    }
}

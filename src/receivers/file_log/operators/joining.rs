//! Lines that are one entry: pieces of a runtime's line, by stream, and what `recombine` joins.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::core::time::UnixNanos;
use crate::receivers::file_log::entry::{EntryValue, FileEntry, set};
use crate::receivers::file_log::operators::container::{self, ContainerLine};
use crate::receivers::file_log::operators::{
    ChainState, ChainStep, ContainerRule, LinePlace, OperatorChain, Passed, PodOfFile, RecombineRule, Went,
};

/// Lines of one entry that is not whole.
#[derive(Debug)]
struct HeldLines {
    /// What the entry is but its text.
    entry: FileEntry<'static>,
    text: Vec<u8>,
    lines: usize,
    has_edge: bool,
    from: u64,
    since: Duration,
}

/// By step, and by stream.
#[derive(Debug, Default)]
pub struct HeldPieces {
    held: BTreeMap<(usize, bool), HeldLines>,
}

impl HeldPieces {
    /// Where the first line stands that has not gone on.
    pub fn begun_at(&self) -> Option<u64> {
        self.held.values().map(|held| held.from).min()
    }

    /// When the newest line came that `recombine` at a step holds.
    pub fn since(&self, step: usize) -> Option<Duration> {
        self.held.get(&(step, false)).map(|held| held.since)
    }

    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.held.values().map(|held| held.text.capacity()).sum()
    }
}

impl OperatorChain {
    pub(super) fn recombine(
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
        let entry = entry.into_owned();
        let held = match state.held.held.remove(&(at, false)) {
            Some(held) if rule.keeps_newest => HeldLines { entry, ..held },
            Some(held) => held,
            None => {
                HeldLines { entry, text: Vec::new(), lines: 0, has_edge: false, from: place.from, since: place.now }
            }
        };
        let held = state.held.held.entry((at, false)).or_insert(held);
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

    pub(super) fn release(
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
}

/// A line of a runtime. Its pieces are joined by stream; the first one says when it was.
pub fn contained<'l>(
    state: &mut ChainState,
    (at, place): (usize, LinePlace),
    mut entry: FileEntry<'l>,
    (step, rule, pod): (&ChainStep, &ContainerRule, Option<(&'l PodOfFile, bool)>),
) -> Went<'l> {
    let parsed = match &entry.body {
        EntryValue::Text(Cow::Borrowed(line)) => container::parse(line, rule.format),
        EntryValue::Text(Cow::Owned(line)) => container::parse(line, rule.format).map(ContainerLine::into_owned),
        _ => Err("the body is no text of a runtime"),
    };
    let line = match parsed {
        Ok(line) => line,
        Err(why) => return step.failed(state, entry, why.to_owned()),
    };
    let (key, text) = ((at, line.is_stderr), line.text);
    entry.time = Some(line.time);
    let stream: &[u8] = if line.is_stderr { b"stderr" } else { b"stdout" };
    set(&mut entry.attributes, Cow::Borrowed("log.iostream"), EntryValue::text(stream));
    if let Some(tag) = line.tag {
        set(&mut entry.attributes, Cow::Borrowed("logtag"), EntryValue::Text(tag));
    }
    for (key, value) in line.more {
        set(&mut entry.attributes, key, value);
    }
    let held_bytes = state.held.held.get(&key).map_or(0, |held| held.text.len());
    if line.is_partial && held_bytes + text.len() < rule.bytes_max {
        entry.body = EntryValue::Nil;
        let held = state.held.held.entry(key).or_insert_with(|| HeldLines {
            entry: entry.into_owned(),
            text: Vec::new(),
            lines: 0,
            has_edge: false,
            from: place.from,
            since: place.now,
        });
        held.text.extend_from_slice(&text); // granted: up to `bytes_max`
        held.lines += 1;
        return Went::NoFurther;
    }
    entry.body = EntryValue::Text(text);
    if let Some(mut held) = state.held.held.remove(&key) {
        let last = entry.body.as_text().unwrap_or_default();
        held.text.extend_from_slice(last); // granted: up to `bytes_max` and a line
        held.entry.body = EntryValue::Text(Cow::Owned(held.text));
        entry = held.entry;
    }
    match pod {
        Some((pod, true)) => {
            for (key, value) in &pod.attributes {
                set(&mut entry.resource, Cow::Borrowed(*key), EntryValue::text(value.as_bytes()));
            }
        }
        Some((pod, false)) => entry.pod = Some(pod),
        None => {}
    }
    Went::On(entry)
}

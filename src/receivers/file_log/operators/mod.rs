//! The operators of one receiver, as a chain: each line goes from the first one on, and only forward.
//!
//! Pure but for what a file's [`ChainState`] keeps: pieces of a line that is not whole yet. Where such a piece began is known,
//! so that nothing is marked as read before it went on.

pub mod container;
pub mod parsers;
pub mod severity;
pub mod time;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use regex::bytes::Regex;

use crate::receivers::file_log::condition::EntryCondition;
use crate::receivers::file_log::entry::{EntryValue, FileEntry, set};
use crate::receivers::file_log::field::{EntryField, EntryPart};
use crate::receivers::file_log::operators::container::ContainerFormat;
use crate::receivers::file_log::operators::severity::SeverityReading;
use crate::receivers::file_log::operators::time::TimeReading;

/// What is done to an entry.
#[derive(Clone, Debug)]
pub enum LineOperator {
    Noop,
    Container {
        format: Option<ContainerFormat>,
        names_pod: bool,
        bytes_max: usize,
    },
    Json {
        from: EntryField,
        to: EntryField,
    },
    Regex {
        from: EntryField,
        to: EntryField,
        regex: Regex,
    },
    Time {
        from: EntryField,
        reading: TimeReading,
    },
    Severity(SeverityReading),
    Trace(TraceReading),
    Move {
        from: EntryField,
        to: EntryField,
    },
    Copy {
        from: EntryField,
        to: EntryField,
    },
    Add {
        field: EntryField,
        value: EntryValue<'static>,
    },
    Remove(EntryField),
    Retain(Vec<EntryField>),
    /// Entries of which it holds are dropped.
    Filter(EntryCondition),
    Router {
        routes: Vec<(EntryCondition, usize)>,
        default: Option<usize>,
    },
    Recombine(RecombineRule),
}

/// Where the ids of a trace stand.
#[derive(Clone, Debug)]
pub struct TraceReading {
    pub trace_id: EntryField,
    pub span_id: EntryField,
    pub trace_flags: EntryField,
}

/// Which lines are one entry.
#[derive(Clone, Debug)]
pub struct RecombineRule {
    pub field: EntryField,
    pub is_edge: EntryCondition,
    /// The edge is the first line of an entry, and not the last one.
    pub edge_is_first: bool,
    pub with: String,
    pub lines_max: usize,
    pub bytes_max: usize,
    /// Everything but the field is that of the newest line.
    pub keeps_newest: bool,
    pub flush_after: Duration,
}

/// An operator at its place.
#[derive(Clone, Debug)]
pub struct ChainStep {
    pub what: LineOperator,
    pub condition: Option<EntryCondition>,
    /// Severity, time and ids that a parser reads of what it parsed.
    pub embedded: Vec<LineOperator>,
    /// The step that follows; one beyond the last ends the chain.
    pub output: usize,
    /// A line that the operator fails on goes no further.
    pub drops_failed: bool,
}

#[derive(Clone, Debug, Default)]
pub struct OperatorChain {
    pub steps: Vec<ChainStep>,
}

/// What a file's lines share; texts for the resource, in the order in which they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodOfFile {
    pub attributes: Vec<(&'static str, String)>,
}

/// Where a line begins in its file, and when it was read since the receiver's start.
#[derive(Clone, Copy, Debug)]
pub struct LinePlace {
    pub from: u64,
    pub now: Duration,
}

#[derive(Debug)]
struct HeldLines {
    entry: Option<FileEntry<'static>>,
    text: Vec<u8>,
    lines: usize,
    from: u64,
    since: Duration,
}

/// What a chain keeps of one file.
#[derive(Debug, Default)]
pub struct ChainState {
    /// By step, and by stream.
    held: BTreeMap<(usize, bool), HeldLines>,
    pub failed: u64,
    pub dropped: u64,
    pub last_failure: Option<String>,
}

impl ChainState {
    /// Where the first line stands that has not gone on.
    pub fn held_from(&self) -> Option<u64> {
        self.held.values().map(|held| held.from).min()
    }

    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.held.values().map(|held| held.text.capacity()).sum()
    }
}

enum Went<'l> {
    On(FileEntry<'l>),
    To(usize, FileEntry<'l>),
    /// Dropped, or kept for later.
    NoFurther,
}

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
    pub fn flush(&self, state: &mut ChainState, now: Duration, passed: Passed<'_>) {
        for (at, step) in self.steps.iter().enumerate() {
            let LineOperator::Recombine(rule) = &step.what else { continue };
            let held = state.held.get(&(at, false));
            if held.is_some_and(|held| now.saturating_sub(held.since) >= rule.flush_after) {
                self.release(state, at, rule, passed);
            }
        }
    }

    fn recombine(
        &self,
        state: &mut ChainState,
        (at, place): (usize, LinePlace),
        (rule, entry): (&RecombineRule, FileEntry<'_>),
        passed: Passed<'_>,
    ) {
        let is_edge = rule.is_edge.holds(&entry);
        if is_edge && rule.edge_is_first {
            self.release(state, at, rule, passed);
        }
        let text = rule.field.get(&entry).and_then(EntryValue::written).map(Cow::into_owned).unwrap_or_default();
        let held = state.held.entry((at, false)).or_insert_with(|| HeldLines {
            entry: None,
            text: Vec::new(),
            lines: 0,
            from: place.from,
            since: place.now,
        });
        if held.lines > 0 {
            held.text.extend_from_slice(rule.with.as_bytes()); // granted: up to `bytes_max`
        }
        held.text.extend_from_slice(&text); // granted: up to `bytes_max`
        held.lines += 1;
        held.since = place.now;
        if held.entry.is_none() || rule.keeps_newest {
            held.entry = Some(entry.into_owned());
        }
        let is_full = held.lines >= rule.lines_max || held.text.len() >= rule.bytes_max;
        if is_full || (is_edge && !rule.edge_is_first) {
            self.release(state, at, rule, passed);
        }
    }

    fn release(&self, state: &mut ChainState, at: usize, rule: &RecombineRule, passed: Passed<'_>) {
        let Some(held) = state.held.remove(&(at, false)) else { return };
        let Some(mut entry) = held.entry else { return };
        if let Err(why) = rule.field.set(&mut entry, EntryValue::Text(Cow::Owned(held.text))) {
            state.fail(why);
        }
        let (pod, place) = (PodOfFile::default(), LinePlace { from: held.from, now: held.since });
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
        let (mut at, mut entry) = (from, entry);
        while let Some(step) = self.steps.get(at) {
            if step.condition.as_ref().is_some_and(|condition| !condition.holds(&entry)) {
                at = step.output;
                continue;
            }
            let went = match &step.what {
                LineOperator::Container { format, names_pod, bytes_max } => {
                    let pod = if *names_pod { Some(pod) } else { None };
                    contained(state, (at, place), entry, (*format, pod, *bytes_max))
                }
                LineOperator::Recombine(rule) => {
                    self.recombine(state, (at, place), (rule, entry), passed);
                    return;
                }
                plain => step.apply(plain, state, entry),
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

impl ChainState {
    fn fail(&mut self, why: String) {
        self.failed += 1;
        self.last_failure = Some(why);
    }
}

impl ChainStep {
    fn apply<'l>(&self, what: &LineOperator, state: &mut ChainState, mut entry: FileEntry<'l>) -> Went<'l> {
        let mut done = Ok(());
        match what {
            LineOperator::Filter(condition) => {
                if condition.holds(&entry) {
                    state.dropped += 1;
                    return Went::NoFurther;
                }
            }
            LineOperator::Router { routes, default } => {
                let route = routes.iter().find(|(condition, _)| condition.holds(&entry)).map(|(_, to)| *to);
                return match route.or(*default) {
                    Some(to) => Went::To(to, entry),
                    None => {
                        state.dropped += 1;
                        Went::NoFurther
                    }
                };
            }
            change => done = changed(change, &mut entry),
        }
        for embedded in &self.embedded {
            done = done.and_then(|()| changed(embedded, &mut entry));
        }
        match done {
            Ok(()) => Went::On(entry),
            Err(why) => {
                state.fail(why);
                if self.drops_failed {
                    state.dropped += 1;
                    return Went::NoFurther;
                }
                Went::On(entry)
            }
        }
    }
}

/// An operator that changes an entry and keeps nothing.
fn changed(what: &LineOperator, entry: &mut FileEntry<'_>) -> Result<(), String> {
    let absent = |field: &EntryField| format!("{field:?} is not there");
    match what {
        LineOperator::Json { from, to } => {
            let parsed = parsers::json(text_of(from, entry)?)?;
            to.set(entry, parsed)
        }
        LineOperator::Regex { from, to, regex } => {
            let parsed = parsers::groups(regex, text_of(from, entry)?)?;
            to.set(entry, parsed)
        }
        LineOperator::Time { from, reading } => {
            let value = from.get(entry).ok_or_else(|| absent(from))?;
            entry.time = Some(reading.read(value)?);
            from.take(entry);
            Ok(())
        }
        LineOperator::Severity(reading) => reading.apply(entry),
        LineOperator::Trace(reading) => trace(reading, entry),
        LineOperator::Move { from, to } => {
            let value = from.take(entry).ok_or_else(|| absent(from))?;
            to.set(entry, value)
        }
        LineOperator::Copy { from, to } => {
            let value = from.get(entry).ok_or_else(|| absent(from))?.clone();
            to.set(entry, value)
        }
        LineOperator::Add { field, value } => field.set(entry, value.clone()),
        LineOperator::Remove(field) => field.take(entry).map(drop).ok_or_else(|| absent(field)),
        LineOperator::Retain(fields) => {
            retain(fields, entry);
            Ok(())
        }
        LineOperator::Noop
        | LineOperator::Container { .. }
        | LineOperator::Filter(_)
        | LineOperator::Router { .. }
        | LineOperator::Recombine(_) => Ok(()),
    }
}

fn text_of<'l>(field: &EntryField, entry: &FileEntry<'l>) -> Result<Cow<'l, [u8]>, String> {
    match field.get(entry) {
        Some(EntryValue::Text(text)) => Ok(text.clone()),
        Some(_) => Err("the field is no text".to_owned()),
        None => Err("the field is not there".to_owned()),
    }
}

/// Of each part that is named, only what is named stays; parts that are not named stay whole.
fn retain(fields: &[EntryField], entry: &mut FileEntry<'_>) {
    let kept: Vec<_> = fields.iter().filter_map(|field| Some((field, field.get(entry)?.clone()))).collect();
    let names = |part: EntryPart| fields.iter().any(|field| field.part == part && !field.keys.is_empty());
    if names(EntryPart::Body) {
        entry.body = EntryValue::Map(Vec::new());
    }
    if names(EntryPart::Attributes) {
        entry.attributes.clear();
    }
    if names(EntryPart::Resource) {
        entry.resource.clear();
    }
    for (field, value) in kept {
        // A field that was read can be set.
        let _ = field.set(entry, value);
    }
}

fn trace(reading: &TraceReading, entry: &mut FileEntry<'_>) -> Result<(), String> {
    let hex = |field: &EntryField, entry: &FileEntry<'_>| {
        let text = field.get(entry).and_then(EntryValue::as_text)?.to_vec(); // granted: an id of a line
        Some(text)
    };
    if let Some(text) = hex(&reading.trace_id, entry) {
        entry.trace_id = Some(bytes_of(&text).ok_or("the trace id is not 32 hexadecimal digits")?);
        reading.trace_id.take(entry);
    }
    if let Some(text) = hex(&reading.span_id, entry) {
        entry.span_id = Some(bytes_of(&text).ok_or("the span id is not 16 hexadecimal digits")?);
        reading.span_id.take(entry);
    }
    if let Some(text) = hex(&reading.trace_flags, entry) {
        let [flags] = bytes_of::<1>(&text).ok_or("the trace flags are not 2 hexadecimal digits")?;
        entry.trace_flags = Some(flags);
        reading.trace_flags.take(entry);
    }
    Ok(())
}

fn bytes_of<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0u8; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks(2)) {
        let digits = std::str::from_utf8(pair).ok()?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(bytes)
}

/// A line of a runtime: its pieces are joined by stream, and the newest says when it was.
fn contained<'l>(
    state: &mut ChainState,
    (at, place): (usize, LinePlace),
    mut entry: FileEntry<'l>,
    (format, pod, bytes_max): (Option<ContainerFormat>, Option<&'l PodOfFile>, usize),
) -> Went<'l> {
    let EntryValue::Text(text) = &entry.body else {
        state.fail("the body is no text of a runtime".to_owned());
        return Went::On(entry);
    };
    let parsed = match text {
        Cow::Borrowed(line) => container::parse(line, format),
        Cow::Owned(line) => container::parse(line, format).map(|line| container::ContainerLine {
            time: line.time,
            is_stderr: line.is_stderr,
            is_partial: line.is_partial,
            tag: line.tag.map(|tag| if tag == b"P" { b"P".as_slice() } else { b"F" }),
            text: Cow::Owned(line.text.into_owned()),
        }),
    };
    let line = match parsed {
        Ok(line) => line,
        Err(why) => {
            state.fail(why.to_owned());
            return Went::On(entry);
        }
    };
    let key = (at, line.is_stderr);
    let held_bytes = state.held.get(&key).map_or(0, |held| held.text.len());
    let is_full = bytes_max > 0 && held_bytes + line.text.len() >= bytes_max;
    if line.is_partial && !is_full {
        let held = state.held.entry(key).or_insert_with(|| HeldLines {
            entry: None,
            text: Vec::new(),
            lines: 0,
            from: place.from,
            since: place.now,
        });
        held.text.extend_from_slice(&line.text); // granted: up to `bytes_max`
        held.lines += 1;
        return Went::NoFurther;
    }
    let text = match state.held.remove(&key) {
        Some(mut held) => {
            held.text.extend_from_slice(&line.text); // granted: up to `bytes_max` and a line
            Cow::Owned(held.text)
        }
        None => line.text,
    };
    entry.body = EntryValue::Text(text);
    entry.time = Some(line.time);
    let stream: &[u8] = if line.is_stderr { b"stderr" } else { b"stdout" };
    set(&mut entry.attributes, Cow::Borrowed("log.iostream"), EntryValue::text(stream));
    if let Some(tag) = line.tag {
        set(&mut entry.attributes, Cow::Borrowed("logtag"), EntryValue::text(tag));
    }
    for (key, value) in pod.map_or([].as_slice(), |pod| &pod.attributes) {
        set(&mut entry.resource, Cow::Borrowed(*key), EntryValue::text(value.as_bytes()));
    }
    Went::On(entry)
}

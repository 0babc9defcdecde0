//! Pieces of a runtime's line, joined by stream.

use std::borrow::Cow;

use crate::receivers::file_log::entry::{EntryValue, FileEntry, PodOfFile, set};
use crate::receivers::file_log::operators::container::{self, ContainerLine};
use crate::receivers::file_log::operators::held::{ChainState, HeldLines, LinePlace, Went, memory_of};
use crate::receivers::file_log::operators::room::PaidBytes;
use crate::receivers::file_log::operators::rules::{ChainStep, ContainerRule};

/// A line of a runtime. Its pieces are joined by stream; the first one says when it was.
pub fn contained<'l>(
    state: &mut ChainState,
    (at, place): (usize, &mut LinePlace),
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
    let is_held = line.is_partial && held_bytes + text.len() < rule.bytes_max;
    entry.body = EntryValue::Nil;
    if is_held && let Some(paid) = state.pay(memory_of(&entry, text.len()), *place) {
        let held = state.held.held.entry(key).or_insert_with(|| HeldLines {
            entry: entry.into_owned(),
            text: Vec::new(),
            lines: 0,
            has_edge: false,
            from: place.from,
            since: place.now,
            paid: PaidBytes::default(),
        });
        held.since = place.now;
        held.paid.join(paid);
        held.text.extend_from_slice(&text); // granted: up to `bytes_max`
        held.lines += 1;
        return Went::NoFurther;
    }
    entry.body = EntryValue::Text(text);
    if let Some(mut held) = state.held.held.remove(&key) {
        place.from = held.from;
        let last = entry.body.as_text().unwrap_or_default();
        held.text.extend_from_slice(last); // granted: up to `bytes_max` and a line
        held.entry.body = EntryValue::Text(Cow::Owned(held.text));
        entry = held.entry;
    }
    name_pod(&mut entry, pod);
    Went::On(entry)
}

/// What the file says of the resource: in the entry, where an operator may ask for it.
pub fn name_pod<'l>(entry: &mut FileEntry<'l>, pod: Option<(&'l PodOfFile, bool)>) {
    match pod {
        Some((pod, true)) => {
            for (key, value) in &pod.attributes {
                set(&mut entry.resource, Cow::Borrowed(*key), EntryValue::text(value.as_bytes()));
            }
        }
        Some((pod, false)) => entry.pod = Some(pod),
        None => {}
    }
}

//! What happened to each span, and the laws: every accepted span is taken once or counted, and a trace is torn only where
//! the hash moved it while it was under way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use podgate::core::data::balance::Sheet;
use podgate::exporters::otlp::load_balancing::ring::{Ring, hash};
use tokio::time::Instant;

use crate::otlp::{self, Thing};
use crate::tiers::fleet::{GatewayId, address};

/// An agent may go by a list that is older by so much: its interval of five seconds, and its answer's way.
const VIEW_LAG: Duration = Duration::from_secs(6);
/// An answer that was written so shortly before its gateway ended may have reached nobody.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// A span as a gateway reads it.
#[derive(Clone, Copy, Debug)]
pub struct TakenSpan {
    pub item: u64,
    pub attempt: u64,
    pub trace_id: [u8; 16],
}

#[derive(Clone, Copy, Debug)]
struct Taking {
    gateway: GatewayId,
    attempt: u64,
    at: Instant,
    /// When its answer was written.
    answered: Option<Instant>,
}

#[derive(Default)]
struct Item {
    trace: u64,
    sent: Option<Instant>,
    is_accepted: bool,
    /// Sendings that were refused: what they brought to some gateways comes twice.
    refusals: u64,
    rejected: u64,
    takings: Vec<Taking>,
}

#[derive(Default)]
struct Pages {
    items: BTreeMap<u64, Item>,
    /// Who was published, from which moment on.
    lists: Vec<(Instant, Vec<String>)>,
    ended: BTreeMap<GatewayId, Instant>,
}

/// Cheap to clone.
#[derive(Clone, Default)]
pub struct Book(Arc<Mutex<Pages>>);

/// What came of one seed, or of several.
#[derive(Clone, Copy, Debug, Default)]
pub struct Course {
    seeds: u64,
    accepted: u64,
    once: u64,
    twice: u64,
    rejected: u64,
    dropped: u64,
    lost: u64,
    traces: u64,
    moved: u64,
    torn: u64,
}

impl Course {
    pub const HEAD: &str = "| faults | seeds | spans accepted | taken once | taken twice | rejected, counted | dropped, counted | lost | \
                            traces | moved by the hash | torn |";

    pub fn row(&self, name: &str) -> String {
        let Course { seeds, accepted, once, twice, rejected, dropped, lost, traces, moved, torn } = self;
        format!(
            "| {name} | {seeds} | {accepted} | {once} | {twice} | {rejected} | {dropped} | {lost} | {traces} | {moved} | {torn} |"
        )
    }

    pub fn add(&mut self, other: &Course) {
        self.seeds += other.seeds;
        self.accepted += other.accepted;
        self.once += other.once;
        self.twice += other.twice;
        self.rejected += other.rejected;
        self.dropped += other.dropped;
        self.lost += other.lost;
        self.traces += other.traces;
        self.moved += other.moved;
        self.torn += other.torn;
    }
}

impl Book {
    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().expect("not poisoned")
    }

    pub fn published(&self, members: Vec<String>) {
        self.lock().lists.push((Instant::now(), members));
    }

    pub fn ends(&self, gateway: GatewayId) {
        self.lock().ended.insert(gateway, Instant::now());
    }

    fn each(&self, things: &[Thing], mut note: impl FnMut(&mut Item)) {
        let mut pages = self.lock();
        for thing in things {
            let item = pages.items.entry(thing.item).or_default();
            item.trace = thing.trace;
            note(item);
        }
    }

    pub fn sends(&self, things: &[Thing]) {
        let now = Instant::now();
        self.each(things, |item| _ = item.sent.get_or_insert(now));
    }

    pub fn accepted(&self, things: &[Thing]) {
        self.each(things, |item| item.is_accepted = true);
    }

    pub fn refused(&self, things: &[Thing]) {
        self.each(things, |item| item.refusals += 1);
    }

    pub fn takes(&self, gateway: GatewayId, spans: &[TakenSpan]) {
        let mut pages = self.lock();
        for span in spans {
            let item = pages.items.entry(span.item).or_default();
            assert_eq!(otlp::trace_id(item.trace), span.trace_id, "a span of a trace that nobody made");
            item.takings.push(Taking { gateway, attempt: span.attempt, at: Instant::now(), answered: None });
        }
    }

    pub fn answers(&self, gateway: GatewayId, spans: &[TakenSpan]) {
        let mut pages = self.lock();
        for span in spans {
            let takings = pages.items.get_mut(&span.item).into_iter().flat_map(|item| &mut item.takings);
            let mut mine = takings.filter(|taking| taking.gateway == gateway && taking.attempt == span.attempt);
            if let Some(taking) = mine.find(|taking| taking.answered.is_none()) {
                taking.answered = Some(Instant::now());
            }
        }
    }

    pub fn rejects(&self, spans: &[TakenSpan]) {
        let mut pages = self.lock();
        spans.iter().for_each(|span| pages.items.entry(span.item).or_default().rejected += 1);
    }

    /// What came of it; every broken law is a sentence.
    pub fn judge(&self, sheets: &[Sheet], faults: &mut Vec<String>) -> Course {
        let pages = self.lock();
        let mut course = Course { seeds: 1, ..Course::default() };
        let dropped: u64 = sheets.iter().flat_map(|sheet| sheet.dropped.values()).sum();
        for sheet in sheets.iter().filter(|sheet| !sheet.holds(0) || sheet.held != 0) {
            faults.push(format!("balance: an agent's account does not hold: {sheet:?}"));
        }
        pages.judge_items(&mut course, faults);
        if course.rejected > dropped {
            faults.push(format!("uncounted: {} spans were rejected, and {dropped} dropped", course.rejected));
        }
        course.dropped = dropped.saturating_sub(course.rejected);
        if course.lost > course.dropped {
            faults.push(format!(
                "lost: {} spans were accepted, and neither taken nor counted",
                course.lost - course.dropped
            ));
        }
        pages.judge_traces(&mut course, faults);
        course
    }
}

impl Pages {
    fn judge_items(&self, course: &mut Course, faults: &mut Vec<String>) {
        for (number, item) in self.items.iter().filter(|(_, item)| item.is_accepted) {
            course.accepted += 1;
            course.rejected += item.rejected;
            match item.takings.len() {
                0 if item.rejected == 0 => course.lost += 1,
                0 => {}
                1 => course.once += 1,
                _ => course.twice += 1,
            }
            // A second one follows an answer that nobody heard, or a request that its sender repeats.
            let unheard = item.takings.iter().filter(|taking| !self.is_heard(taking)).count();
            let excused = unheard as u64 + item.refusals + 1;
            if item.takings.len() as u64 > excused {
                faults.push(format!("twice: span {number} was taken {} times: {:?}", item.takings.len(), item.takings));
            }
        }
    }

    fn is_heard(&self, taking: &Taking) -> bool {
        let ended = self.ended.get(&taking.gateway);
        taking.answered.is_some_and(|at| ended.is_none_or(|ended| *ended > at + LAST_WORDS || *ended + LAST_WORDS < at))
    }

    fn judge_traces(&self, course: &mut Course, faults: &mut Vec<String>) {
        let mut traces: BTreeMap<u64, Vec<&Item>> = BTreeMap::new();
        self.items
            .values()
            .filter(|item| item.sent.is_some())
            .for_each(|item| traces.entry(item.trace).or_default().push(item));
        for (trace, items) in traces {
            course.traces += 1;
            let takings = || items.iter().flat_map(|item| &item.takings);
            let at: BTreeSet<GatewayId> = takings().map(|taking| taking.gateway).collect();
            let first = items.iter().filter_map(|item| item.sent).min();
            let last = takings().map(|taking| taking.at).max();
            let (Some(first), Some(last)) = (first, last) else { continue };
            let owners = self.owners(trace, first, last);
            let at: BTreeSet<String> = at.into_iter().map(|gateway| address(gateway).to_string()).collect();
            course.moved += u64::from(owners.len() > 1);
            course.torn += u64::from(at.len() > 1);
            if !at.is_subset(&owners) {
                faults.push(format!("torn: trace {trace} is at {at:?}, and {owners:?} owned it"));
            }
        }
    }

    /// Who owned a trace by any list that an agent may have gone by in this time.
    fn owners(&self, trace: u64, first: Instant, last: Instant) -> BTreeSet<String> {
        let key = hash(&otlp::trace_id(trace));
        let ends = self.lists.iter().skip(1).map(|(from, _)| *from + VIEW_LAG).chain([last + VIEW_LAG]);
        let in_force = self.lists.iter().zip(ends).filter(|((from, _), until)| *from <= last && *until >= first);
        let owner = |(_, members): &(Instant, Vec<String>)| {
            let ring = Ring::new(members.iter().cloned());
            ring.owner(key).map(|at| ring.members()[at].clone())
        };
        in_force.filter_map(|(list, _)| owner(list)).collect()
    }
}

//! A watch of pods, or of other objects, as a pure state machine: what to ask next, when, and what each answer changes.
//!
//! It lists (streaming list where the server can, pages where it cannot), watches from there, and treats every way in
//! which servers and networks fail. Whatever happens, requests are at least `backoff::SPACING` apart and failures back off
//! up to `backoff::DELAY_MAX`. Time and randomness are arguments; it knows no sockets, no tasks and no table.
//!
//! Silence is failure: a server that sends neither event nor bookmark for [`LIVENESS`] is doubted, and doubt is resolved
//! by a streaming list, which (unlike a watch) answers an error when our version lies in its future.

mod backoff;
mod exchange;
mod health;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use self::backoff::WatchBackoff;
use crate::kube::decode::{ApiStatus, DecodedPod, Event, ListEnd, WatchedObject};

use self::exchange::Lapse;
pub use self::exchange::{After, Ask, BURST, Effect, Heard, Input, Told};
pub use self::health::{Verb, WatchCause, WatchHealth};

/// The API server sends a bookmark a minute; nothing for longer means we may be blind.
pub const LIVENESS: Duration = Duration::from_secs(75);
/// From request to the head of the answer.
const HEAD_WAIT: Duration = Duration::from_secs(30);
/// From request to the end of a page.
const PAGE_WAIT: Duration = Duration::from_secs(60);
/// Between two events of a streaming list.
const INITIAL_WAIT: Duration = Duration::from_secs(30);
/// A stream that lived this long was a good one.
const SETTLED_AFTER: Duration = Duration::from_secs(5);
/// Between a stream that ended as it should and the next one.
const HANDOVER: Duration = Duration::from_millis(250);
/// First request after start: nodes of a DaemonSet start together.
const START_JITTER: Duration = Duration::from_millis(500);
/// After a stream that many clients lose at once.
const HERD_JITTER: Duration = Duration::from_secs(2);
/// Watches end after a random time in this range, in seconds: a bookmark always fits in.
const TIMEOUT_SECONDS: std::ops::RangeInclusive<u32> = 90..=120;
/// Consecutive failures after which the version we resume from is suspected.
const SUSPECT_RESUME: u32 = 3;
const SUSPECT_VERSION: u32 = 5;
const PAGE_ITEMS: u32 = 500;
const PAGES_MAX: u32 = 2_000;

#[derive(Debug)]
enum State {
    /// No request is out; leads to Asked at `until`.
    Waiting { until: Instant },
    /// No answer yet; leads to Paging, Initial, Watching or Waiting.
    Asked { ask: Ask, at: Instant },
    /// Items of a page; leads to Waiting.
    Paging { at: Instant },
    /// Objects of a streaming list; leads to Watching at its end mark, to Waiting otherwise.
    Initial { opened: Instant, heard: Instant },
    /// Leads to Waiting.
    Watching { opened: Instant, settled: bool },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Need {
    List,
    Resume,
}

/// One watch. Invariant: `need` is Resume only with a `version`; `collected` is empty outside a list.
#[derive(Debug)]
pub struct Watch<O: WatchedObject = DecodedPod> {
    state: State,
    need: Need,
    version: Option<String>,
    collected: HashMap<Arc<str>, O>,
    page: Option<String>,
    pages: u32,
    // False once a page token expired: then everything is asked for at once.
    paged: bool,
    streaming: bool,
    // Streaming lists in a row that never said where the objects end.
    endless_lists: u32,
    too_large: u32,
    backoff: WatchBackoff,
    health: WatchHealth,
    heard: Heard,
    /// What may have cut off others too, when nothing was answered since.
    cut_off: Option<After>,
    /// The stream before ended as it should.
    follows_sound: bool,
}

impl<O: WatchedObject> Watch<O> {
    /// The first request follows within half a second, drawn from `random`.
    pub fn new(now: Instant, random: fastrand::Rng) -> Watch<O> {
        let mut backoff = WatchBackoff::new(random);
        let until = now + backoff.jitter(START_JITTER);
        Watch {
            state: State::Waiting { until },
            need: Need::List,
            version: None,
            collected: HashMap::new(),
            page: None,
            pages: 0,
            paged: true,
            streaming: true,
            endless_lists: 0,
            too_large: 0,
            backoff,
            health: WatchHealth::Starting,
            heard: Heard::default(),
            cut_off: None,
            follows_sound: false,
        }
    }

    pub fn health(&self) -> &WatchHealth {
        &self.health
    }

    pub fn heard(&self) -> Heard {
        self.heard
    }

    /// No request should be under way.
    pub fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting { .. })
    }

    /// When [`Input::Timer`] is due.
    pub fn deadline(&self) -> Instant {
        match &self.state {
            State::Waiting { until } => *until,
            State::Asked { at, .. } => *at + HEAD_WAIT,
            State::Paging { at } => *at + PAGE_WAIT,
            State::Initial { heard, .. } => *heard + INITIAL_WAIT,
            State::Watching { opened, settled } => {
                let alive = self.heard.latest().unwrap_or(*opened);
                // Bookmarks of a stream that follows a sound one are counted from its beginning.
                let doubted = if self.follows_sound { alive.max(*opened) } else { alive } + LIVENESS;
                if *settled { doubted } else { doubted.min(*opened + SETTLED_AFTER) }
            }
        }
    }

    pub fn on(&mut self, input: Input<O>, now: Instant, effects: &mut Vec<Effect<O>>) {
        match input {
            Input::Timer => self.timer(now, effects),
            Input::Opened => self.opened(now),
            Input::Refused { status, retry_after } => self.refused(&status, retry_after, now, effects),
            Input::Event(event) => self.event(event, now, effects),
            Input::Item(seen) => {
                if matches!(self.state, State::Paging { .. }) {
                    self.collected.insert(seen.uid().clone(), seen);
                }
            }
            Input::Page(end) => self.page_ended(end, now, effects),
            Input::Garbage(fault) => self.fail(WatchCause::Garbage(fault), now, effects),
            Input::Ended => self.ended(now, effects),
            Input::Failed(fault) => self.fail(WatchCause::Unreachable(fault), now, effects),
        }
    }

    fn timer(&mut self, now: Instant, effects: &mut Vec<Effect<O>>) {
        if now < self.deadline() {
            return;
        }
        match &mut self.state {
            State::Waiting { .. } => self.request(now, effects),
            State::Asked { .. } | State::Paging { .. } => {
                self.fail(WatchCause::Silent, now, effects);
            }
            State::Initial { .. } => {
                self.endless_list();
                self.fail(WatchCause::Silent, now, effects);
            }
            State::Watching { opened, settled } => {
                if !*settled && now >= *opened + SETTLED_AFTER {
                    *settled = true;
                    self.backoff.reset();
                    self.report(WatchHealth::Fresh, effects);
                }
                if now >= self.deadline() {
                    self.doubt(now, effects);
                }
            }
        }
    }

    /// Nothing was heard for too long: list again, at once if spacing allows.
    fn doubt(&mut self, now: Instant, effects: &mut Vec<Effect<O>>) {
        self.need = Need::List;
        self.cut_off = Some(After::Silence);
        self.heard.lapse = Lapse::begun(self.heard.lapse, now);
        self.report(WatchHealth::Stale(WatchCause::Silent), effects);
        self.state = State::Waiting { until: self.backoff.earliest(now) };
    }

    fn request(&mut self, now: Instant, effects: &mut Vec<Effect<O>>) {
        if self.need == Need::Resume && self.heard.latest().is_none_or(|alive| now >= alive + LIVENESS) {
            self.need = Need::List;
        }
        let timeout_seconds = self.backoff.pick(TIMEOUT_SECONDS);
        let ask = match (self.need, self.version.clone()) {
            (Need::Resume, Some(from)) => Ask::Watch { from, timeout_seconds },
            (_, at_least) if self.streaming => Ask::StreamingList { at_least, timeout_seconds },
            (_, at_least) => {
                let limit = if self.paged { PAGE_ITEMS } else { 0 };
                Ask::List { at_least, page: self.page.clone(), limit }
            }
        };
        self.backoff.requested(now);
        self.state = State::Asked { ask: ask.clone(), at: now };
        effects.push(Effect::Request(ask));
    }

    fn opened(&mut self, now: Instant) {
        let State::Asked { ask, at } = &self.state else { return };
        if let Some(after) = self.cut_off.take() {
            self.heard.reached_again = Some((now, after));
        }
        self.state = match ask {
            Ask::StreamingList { .. } => State::Initial { opened: now, heard: now },
            Ask::List { .. } => State::Paging { at: *at },
            Ask::Watch { .. } => State::Watching { opened: now, settled: false },
        };
        if matches!(self.state, State::Watching { .. }) {
            // What a sound stream left out is little. After a failure it may be much, and comes within a burst.
            let behind = if self.follows_sound { Duration::ZERO } else { BURST };
            self.heard.lapse = Lapse::over(self.heard.lapse, now + behind);
        }
    }

    fn refused(&mut self, status: &ApiStatus, after: Option<Duration>, now: Instant, effects: &mut Vec<Effect<O>>) {
        let State::Asked { ask, .. } = &self.state else { return };
        let no_streaming = matches!(ask, Ask::StreamingList { .. })
            && status.refuses_streaming()
            && std::mem::take(&mut self.streaming);
        if no_streaming {
            // Servers without streaming lists say so with a 4xx; no failure of theirs.
            self.wait(self.backoff.earliest(now));
            return;
        }
        self.error(status, after, now, effects);
    }

    /// An error status, as the answer or as an event within it.
    fn error(&mut self, status: &ApiStatus, after: Option<Duration>, now: Instant, effects: &mut Vec<Effect<O>>) {
        let verb = match &self.state {
            State::Asked { ask, .. } => ask.verb(),
            _ => Verb::Watch,
        };
        if status.version_too_large {
            // Once may be a server that lags behind; twice is one that was restored to an older state.
            self.too_large += 1;
            self.need = Need::List;
            if self.too_large >= 2 {
                self.version = None;
            }
        } else if status.code == 410 || status.reason == "Expired" || status.reason == "Gone" {
            self.paged &= self.page.take().is_none();
            self.need = Need::List;
        } else if !matches!(status.code, 401 | 403 | 429) {
            self.suspect();
        }
        if status.code == 401 {
            effects.push(Effect::RenewCredentials);
        }
        let told = status.retry_after_seconds.map(Duration::from_secs);
        self.backoff.hold_off(now, after.max(told));
        self.fail(WatchCause::of(status, verb), now, effects);
    }

    /// Failures in a row may come from the version we ask for (a server answers 500 to one it cannot read).
    fn suspect(&mut self) {
        if self.backoff.failures() + 1 >= SUSPECT_RESUME {
            self.need = Need::List;
        }
        if self.backoff.failures() + 1 >= SUSPECT_VERSION {
            self.version = None;
        }
    }

    fn event(&mut self, event: Event<O>, now: Instant, effects: &mut Vec<Effect<O>>) {
        let initial = match &mut self.state {
            State::Initial { heard, .. } => {
                *heard = now;
                true
            }
            State::Watching { .. } => false,
            _ => return,
        };
        match event {
            Event::Error(status) => {
                self.error(&status, None, now, effects);
            }
            Event::Bookmark { version, initial_events_end } => {
                self.heard.bookmark = Some(now);
                if !initial {
                    if self.is_new(&version) {
                        self.heard.told.add(now);
                    }
                    self.advance(version);
                } else if initial_events_end {
                    self.listed_as_of(&version, self.opened_at(now));
                    self.version = Some(version).filter(|version| !version.is_empty());
                    self.state = State::Watching { opened: self.opened_at(now), settled: false };
                    self.endless_lists = 0;
                    self.listed(now, effects);
                }
            }
            Event::Skipped { version, .. } => {
                self.told(now);
                if let (false, Some(version)) = (initial, version) {
                    self.advance(version);
                }
            }
            Event::Applied(seen) if initial => {
                self.collected.insert(seen.uid().clone(), seen);
            }
            Event::Deleted { uid, .. } if initial => {
                self.collected.remove(&uid);
            }
            Event::Applied(seen) => {
                self.told(now);
                self.advance(seen.version().to_owned());
                effects.push(Effect::Applied(seen));
            }
            Event::Deleted { uid, last, version } => {
                self.told(now);
                self.advance(version.clone());
                effects.push(Effect::Deleted { uid, last, version });
            }
        }
    }

    fn opened_at(&self, now: Instant) -> Instant {
        match self.state {
            State::Initial { opened, .. } | State::Watching { opened, .. } => opened,
            _ => now,
        }
    }

    fn told(&mut self, now: Instant) {
        self.heard.event = Some(now);
        self.heard.told.add(now);
    }

    /// A version other than ours comes from the store; ours again may come from a cache that is cut off from it.
    fn is_new(&self, version: &str) -> bool {
        self.version.as_deref() != Some(version)
    }

    fn listed_as_of(&mut self, version: &str, at: Instant) {
        if self.is_new(version) {
            self.heard.listed_anew = Some(at);
        }
    }

    fn advance(&mut self, version: String) {
        if !version.is_empty() {
            self.version = Some(version);
        }
    }

    fn page_ended(&mut self, end: ListEnd, now: Instant, effects: &mut Vec<Effect<O>>) {
        let State::Paging { at } = self.state else { return };
        self.pages += 1;
        if !end.rest.is_empty() && self.pages < PAGES_MAX {
            self.page = Some(end.rest);
            self.wait_in_list(self.backoff.earliest(now));
            return;
        }
        self.listed_as_of(&end.version, at);
        self.version = Some(end.version).filter(|version| !version.is_empty());
        self.listed(now, effects);
        self.wait(self.backoff.earliest(now));
    }

    /// All objects of a list are here: they replace what was known.
    fn listed(&mut self, now: Instant, effects: &mut Vec<Effect<O>>) {
        let seen: Vec<O> = std::mem::take(&mut self.collected).into_values().collect();
        self.page = None;
        self.pages = 0;
        self.too_large = 0;
        self.need = if self.version.is_some() { Need::Resume } else { Need::List };
        self.heard.listed = Some(now);
        if matches!(self.state, State::Watching { .. }) {
            self.heard.lapse = Lapse::over(self.heard.lapse, now);
        }
        effects.push(Effect::Listed(seen));
        self.report(WatchHealth::Fresh, effects);
    }

    fn ended(&mut self, now: Instant, effects: &mut Vec<Effect<O>>) {
        match &self.state {
            State::Watching { opened, .. } if now >= *opened + SETTLED_AFTER => {
                self.backoff.reset();
                self.follows_sound = true;
                self.heard.lapse = Lapse::begun(self.heard.lapse, now + HANDOVER);
                self.wait(self.backoff.earliest(now));
            }
            State::Waiting { .. } => {}
            State::Initial { .. } => {
                self.endless_list();
                self.fail(WatchCause::EndedEarly, now, effects);
            }
            _ => self.fail(WatchCause::EndedEarly, now, effects),
        }
    }

    /// Servers that do not know sendInitialEvents may ignore it: objects come, but never the mark of their end.
    fn endless_list(&mut self) {
        self.endless_lists += 1;
        self.streaming &= self.endless_lists < 2;
    }

    fn fail(&mut self, cause: WatchCause, now: Instant, effects: &mut Vec<Effect<O>>) {
        if matches!(self.state, State::Waiting { .. }) {
            return;
        }
        if matches!(cause, WatchCause::Garbage(_)) {
            self.suspect();
        }
        if cause.is_outage() {
            self.cut_off = Some(After::Failures);
        }
        self.follows_sound = false;
        self.heard.lapse = Lapse::begun(self.heard.lapse, now);
        let lived = match &self.state {
            State::Watching { opened, .. } => now.duration_since(*opened),
            _ => Duration::ZERO,
        };
        if lived >= SETTLED_AFTER {
            self.backoff.reset();
            let until = self.backoff.earliest(now) + self.backoff.jitter(HERD_JITTER);
            self.wait(until);
            return;
        }
        let until = self.backoff.failed(now);
        if self.backoff.failures() >= 2 || cause.is_certain() {
            self.report(WatchHealth::Stale(cause), effects);
        }
        self.wait(until);
    }

    /// Ends a request and forgets a list under way.
    fn wait(&mut self, until: Instant) {
        self.collected = HashMap::new();
        self.page = None;
        self.pages = 0;
        self.state = State::Waiting { until };
    }

    fn wait_in_list(&mut self, until: Instant) {
        self.state = State::Waiting { until };
    }

    fn report(&mut self, health: WatchHealth, effects: &mut Vec<Effect<O>>) {
        if self.health != health {
            self.health = health.clone();
            effects.push(Effect::Report(health));
        }
    }
}

#[cfg(test)]
mod faults;
#[cfg(test)]
mod tests;

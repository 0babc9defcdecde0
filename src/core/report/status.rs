//! What each component says of its own state, for `/status` and `/readyz?verbose`. Never decides liveness.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use crate::core::lock::Locked;

/// The path under which the gateway as a whole stands on the board.
pub const SERVICE: &str = "service";

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Starting,
    Ok,
    /// Works with less than it should have: stale cache, next hop away.
    Degraded,
    Stopped,
}

impl State {
    /// Whether something in this state takes work.
    pub fn is_ready(self) -> bool {
        matches!(self, State::Ok | State::Degraded)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ComponentState {
    pub state: State,
    /// Why, in words a person can act on; empty when there is nothing to say.
    pub message: String,
}

#[derive(Debug, Default)]
pub struct StatusBoard {
    // Written on state changes only.
    reports: Mutex<BTreeMap<String, ComponentState>>,
    /// Whether the gateway as a whole takes work.
    ready: watch::Sender<bool>,
    // By path: who tells at present. Locked at build and on state changes.
    turns: Mutex<Turns>,
}

/// Who tells of each path: the last that asked to.
pub type Turns = BTreeMap<String, u64>;

/// Tells of one component, as long as no successor of it tells: after a reload the one before still drains.
pub struct StatusTeller {
    board: Arc<StatusBoard>,
    path: String,
    turn: u64,
}

impl StatusTeller {
    pub fn tell(&self, state: State, message: impl Into<String>) {
        if self.board.turns.locked().get(&self.path) == Some(&self.turn) {
            self.board.set(&self.path, state, message);
        }
    }
}

impl StatusBoard {
    /// `component` is the path in the configuration. Returns true when the state changed, so that the caller logs it once.
    pub fn set(&self, component: &str, state: State, message: impl Into<String>) -> bool {
        let report = ComponentState { state, message: message.into() };
        let mut reports = self.reports.locked();
        let before = reports.insert(component.to_owned(), report);
        if component == SERVICE {
            // Under the lock, so that the last report and the last word on readiness are of one mind.
            self.ready.send_replace(state.is_ready());
        }
        before.is_none_or(|before| before.state != state)
    }

    /// From now on nobody else who asked for it tells of this path.
    pub fn teller(self: &Arc<StatusBoard>, path: &str) -> StatusTeller {
        let mut turns = self.turns.locked();
        let turn = turns.entry(path.to_owned()).or_default();
        *turn += 1;
        StatusTeller { board: self.clone(), path: path.to_owned(), turn: *turn }
    }

    pub fn turns(&self) -> Turns {
        self.turns.locked().clone()
    }

    /// Who told then tells again.
    pub fn go_back(&self, turns: Turns) {
        *self.turns.locked() = turns;
    }

    /// A component that has begun and has nothing to tell yet stands on the board too; what it said itself stays.
    pub fn begin(&self, component: &str) {
        let mut reports = self.reports.locked();
        let fresh = || ComponentState { state: State::Ok, message: String::new() };
        reports.entry(component.to_owned()).or_insert_with(fresh);
    }

    /// What stands below this path is no part of the gateway any more.
    pub fn forget(&self, path: &str) {
        self.reports.locked().retain(|component, _| !is_below(component, path));
    }

    /// Of what was taken out of the flow; where a successor stands under the same path, the board tells of that one.
    pub fn succeeded(&self, path: &str) {
        let mut reports = self.reports.locked();
        if let Some(report) = reports.get_mut(path).filter(|report| report.state == State::Stopped) {
            *report = ComponentState { state: State::Ok, message: String::new() };
        }
    }

    /// Whether the gateway takes work, now and from now on: false before it has started and once it drains.
    pub fn readiness(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    pub fn all(&self) -> BTreeMap<String, ComponentState> {
        self.reports.locked().clone()
    }
}

/// `receivers::otlp::protocols::grpc` is below `receivers::otlp`, and so is that itself.
pub fn is_below(component: &str, path: &str) -> bool {
    component.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_succeeded_tells_nothing_unless_the_successor_did_not_come_about() {
        let board = Arc::new(StatusBoard::default());
        let message = || board.all().get("exporters::x").map(|report| report.message.clone());
        let (first, before) = (board.teller("exporters::x"), board.turns());
        let second = board.teller("exporters::x");
        first.tell(State::Degraded, "the old next hop");
        assert_eq!(message(), None);
        second.tell(State::Ok, "the new one");
        assert_eq!(message().as_deref(), Some("the new one"));
        board.go_back(before);
        first.tell(State::Degraded, "again");
        assert_eq!(message().as_deref(), Some("again"));
    }

    #[test]
    fn the_gateway_is_ready_between_its_start_and_its_drain_whatever_its_parts_say() {
        let board = StatusBoard::default();
        let ready = board.readiness();
        assert!(!*ready.borrow(), "not before it has started");
        for (component, state, expected) in [
            (SERVICE, State::Starting, false),
            ("receivers::otlp", State::Ok, false),
            (SERVICE, State::Ok, true),
            ("exporters::otlp_grpc", State::Stopped, true),
            (SERVICE, State::Degraded, true),
            (SERVICE, State::Stopped, false),
        ] {
            board.set(component, state, "");
            assert_eq!(*ready.borrow(), expected, "{component} {state:?}");
        }
    }
}

//! What each component says of its own state, for `/status` and `/readyz?verbose`. Never decides liveness.

use std::collections::BTreeMap;
use std::sync::Mutex;

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Starting,
    Ok,
    /// Works with less than it should have: stale cache, next hop away.
    Degraded,
    Stopped,
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
}

impl StatusBoard {
    /// `component` is the path in the configuration. Returns true when the state changed, so that the caller logs it once.
    pub fn set(&self, component: &str, state: State, message: impl Into<String>) -> bool {
        let report = ComponentState { state, message: message.into() };
        let mut reports = self.reports.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let before = reports.insert(component.to_owned(), report);
        before.is_none_or(|before| before.state != state)
    }

    /// A component that has begun and has nothing to tell yet stands on the board too; what it said itself stays.
    pub fn begin(&self, component: &str) {
        let mut reports = self.reports.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let fresh = || ComponentState { state: State::Ok, message: String::new() };
        reports.entry(component.to_owned()).or_insert_with(fresh);
    }

    pub fn all(&self) -> BTreeMap<String, ComponentState> {
        self.reports.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }
}

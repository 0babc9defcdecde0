//! What the log says about the next hop: one line when its state changes, none per payload.
//!
//! Pure: takes outcomes and the time, gives the line to write. Drops are not a state of the connection, so they have their
//! own line, at most one a minute with the number of those not shown.

use std::time::Duration;

use tokio::time::Instant;

/// Why a payload was not taken, in words for the log: a code, the cause, and what the reader can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// `UNAVAILABLE`, `HTTP 503`, `connection refused`: changes of it are changes of state.
    pub code: String,
    pub message: String,
    pub cure: Option<String>,
}

/// A line to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConditionLine {
    /// The first failure, or the first of another kind.
    Failing,
    Recovered {
        after: Duration,
        failures: u64,
    },
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Unknown,
    Flowing,
    Failing {
        code: String,
        since: Instant,
        failures: u64,
        said: Instant,
    },
}

/// The next hop's state as the log knows it.
#[derive(Debug, Default)]
pub struct HopCondition {
    state: State,
    dropping: Option<(Instant, u64)>,
}

/// A peer that alternates between two causes is described at most this often.
const SAY_AGAIN_AFTER: Duration = Duration::from_secs(10);
const DROPS_SAID_EVERY: Duration = Duration::from_secs(60);

impl HopCondition {
    pub fn works(&mut self, now: Instant) -> Option<ConditionLine> {
        match std::mem::replace(&mut self.state, State::Flowing) {
            State::Failing { since, failures, .. } => Some(ConditionLine::Recovered { after: now - since, failures }),
            State::Unknown | State::Flowing => None,
        }
    }

    pub fn fails(&mut self, trouble: &Trouble, now: Instant) -> Option<ConditionLine> {
        let State::Failing { code, failures, said, .. } = &mut self.state else {
            self.state = State::Failing { code: trouble.code.clone(), since: now, failures: 1, said: now };
            return Some(ConditionLine::Failing);
        };
        *failures += 1;
        if *code == trouble.code || now - *said < SAY_AGAIN_AFTER {
            return None;
        }
        code.clone_from(&trouble.code);
        *said = now;
        Some(ConditionLine::Failing)
    }

    /// Items were dropped: `Some(items dropped since the last line, these not counted)` when it is time to say so.
    pub fn drops(&mut self, items: u64, now: Instant) -> Option<u64> {
        match &mut self.dropping {
            Some((said, unsaid)) if now - *said < DROPS_SAID_EVERY => {
                *unsaid += items;
                None
            }
            before => before.replace((now, 0)).map_or(Some(0), |(_, unsaid)| Some(unsaid)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble(code: &str) -> Trouble {
        Trouble { code: code.to_owned(), message: String::new(), cure: None }
    }

    #[tokio::test(start_paused = true)]
    async fn a_state_is_said_once_and_its_end_with_what_it_cost() {
        let start = Instant::now();
        let second = |n| start + Duration::from_secs(n);
        let mut condition = HopCondition::default();
        assert_eq!(condition.works(start), None);
        assert_eq!(condition.fails(&trouble("a"), start), Some(ConditionLine::Failing));
        assert_eq!(condition.fails(&trouble("a"), second(60)), None);
        assert_eq!(condition.fails(&trouble("b"), second(61)), Some(ConditionLine::Failing));
        assert_eq!(condition.fails(&trouble("a"), second(65)), None, "flapping");
        let line = Some(ConditionLine::Recovered { after: Duration::from_secs(70), failures: 4 });
        assert_eq!(condition.works(second(70)), line);
        assert_eq!(condition.works(second(71)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn drops_are_said_once_a_minute_with_what_was_not_said() {
        let start = Instant::now();
        let mut condition = HopCondition::default();
        let said: Vec<_> = [0, 1, 59, 60].map(|n| condition.drops(5, start + Duration::from_secs(n))).into();
        assert_eq!(said, [Some(0), None, None, Some(10)]);
    }
}

//! Topics that resources name (`topic_from_attribute`), and whether the cluster has them.
//!
//! The client waits for a topic that it does not know as long as for a broker, and with it whatever is written beside. So names
//! are looked up first, apart from everything else, and one that is missing is its records' verdict.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hashbrown::HashMap;
use tokio::time::Instant;

use crate::core::lock::Locked;

/// A topic that is missing is looked for again.
const MISSING_FOR: Duration = Duration::from_secs(30);
const NAMES_MAX: usize = 1_000;
/// Brokers that make topics need a moment for it: looks, each after so many milliseconds.
pub const LOOKS: [u64; 5] = [0, 100, 200, 400, 800];

/// What is known of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicVerdict {
    There,
    Missing,
    Unknown,
}

/// By name, when it was found missing; `None` for topics that are there.
#[derive(Default)]
pub struct NamedTopics {
    // Locked for a few instructions.
    seen: Mutex<HashMap<Arc<str>, Option<Instant>>>,
}

impl NamedTopics {
    pub fn verdict(&self, topic: &str, now: Instant) -> TopicVerdict {
        match self.seen.locked().get(topic) {
            Some(None) => TopicVerdict::There,
            Some(Some(since)) if now.saturating_duration_since(*since) < MISSING_FOR => TopicVerdict::Missing,
            _ => TopicVerdict::Unknown,
        }
    }

    pub fn note(&self, topic: &Arc<str>, is_there: bool, now: Instant) {
        let mut seen = self.seen.locked();
        if seen.len() >= NAMES_MAX {
            seen.clear();
        }
        seen.insert(topic.clone(), (!is_there).then_some(now)); // granted: NAMES_MAX names
    }

    pub fn forget(&self, topic: &str) {
        self.seen.locked().remove(topic);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_missing_topic_is_looked_for_again_after_a_while_and_names_have_a_bound() {
        let (topics, now): (NamedTopics, _) = (NamedTopics::default(), Instant::now());
        assert_eq!(topics.verdict("shop", now), TopicVerdict::Unknown);
        topics.note(&"shop".into(), false, now);
        assert_eq!(topics.verdict("shop", now + MISSING_FOR / 2), TopicVerdict::Missing);
        assert_eq!(topics.verdict("shop", now + MISSING_FOR), TopicVerdict::Unknown);
        topics.note(&"shop".into(), true, now);
        assert_eq!(topics.verdict("shop", now + MISSING_FOR), TopicVerdict::There);
        topics.forget("shop");
        assert_eq!(topics.verdict("shop", now), TopicVerdict::Unknown);
        (0..10 * NAMES_MAX).for_each(|at| topics.note(&format!("{at}").into(), false, now));
        assert!(topics.seen.locked().len() <= NAMES_MAX);
    }
}

//! What went wrong between podgate and a cluster, as far as somebody has to act on it.

use std::sync::Arc;

/// Whom a fault is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultScope {
    /// The cluster, the way to it or the right to use it: the same may pass later.
    Passing,
    /// This record is larger than the brokers take.
    Size,
    /// This record, however often it is tried.
    Record,
    /// The client cannot go on and has to be made anew.
    Client,
}

/// Why something was not done, in words for the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct KafkaFault {
    pub scope: FaultScope,
    /// Kafka's name of the error, or a word of ours: changes of it are changes of state.
    pub code: String,
    pub message: String,
    /// What the reader can do.
    pub cure: Option<&'static str>,
    /// The batch of records that cannot be decoded; boxed, because it is rare.
    pub at: Option<Box<BatchPlace>>,
}

/// Where a batch of records stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchPlace {
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
}

/// The client's own word for a topic that it cannot find.
pub const UNKNOWN_TOPIC: &str = "unknown topic";

impl KafkaFault {
    pub fn new(scope: FaultScope, code: impl Into<String>, message: impl Into<String>) -> KafkaFault {
        KafkaFault { scope, code: code.into(), message: message.into(), cure: None, at: None }
    }

    /// The cluster does not have the topic, or not any more.
    pub fn is_of_topic(&self) -> bool {
        self.code == UNKNOWN_TOPIC || self.code == "UnknownTopicOrPartition"
    }

    pub fn with_cure(self, cure: Option<&'static str>) -> KafkaFault {
        KafkaFault { cure, ..self }
    }
}

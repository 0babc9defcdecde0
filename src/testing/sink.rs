//! The end of a pipeline under test: keeps what arrives, or answers as it is told to.

use std::sync::{Arc, Mutex};

use crate::core::data::payload::Payload;
use crate::core::error::ConsumeError;
use crate::core::lock::Locked;
use crate::core::stage::consumer::{Consumed, Consumer};

/// Accepts payloads and keeps them; while an answer is set, every payload gets it and none is kept.
///
/// Counts nothing in a balance: a test that asserts the balance puts an exporter before it.
#[derive(Default)]
pub struct Sink {
    kept: Mutex<Vec<Payload>>,
    answer: Mutex<Option<ConsumeError>>,
}

impl Sink {
    pub fn new() -> Arc<Sink> {
        Arc::default()
    }

    /// From now on every payload is answered with this; `None` accepts again.
    pub fn answer_with(&self, answer: Option<ConsumeError>) {
        *self.answer.locked() = answer;
    }

    /// Takes out what was accepted so far, in order of arrival.
    pub fn take(&self) -> Vec<Payload> {
        std::mem::take(&mut self.kept.locked())
    }

    /// Items accepted and not yet taken.
    pub fn items(&self) -> u64 {
        self.kept.locked().iter().map(|payload| payload.items).sum()
    }
}

impl Consumer for Sink {
    fn consume(&self, payload: Payload) -> Consumed<'_> {
        let answer = self.answer.locked().clone();
        let outcome = match answer {
            Some(error) => Err(error),
            None => {
                self.kept.locked().push(payload);
                Ok(())
            }
        };
        Box::pin(std::future::ready(outcome))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::data::payload::Signal;
    use crate::core::error::Reason;
    use crate::core::time::UnixNanos;
    use crate::testing::telemetry;

    #[tokio::test]
    async fn a_sink_keeps_what_it_accepted_and_nothing_else() {
        let sink = Sink::new();
        let now = UnixNanos::from_secs(1);
        let payload = || telemetry::payload(Signal::Logs, telemetry::logs(2, now), now);
        sink.consume(payload()).await.expect("accepted");
        sink.answer_with(Some(ConsumeError::refused(Reason::UNAVAILABLE, "closed")));
        assert!(sink.consume(payload()).await.is_err());
        assert_eq!(sink.items(), 2);
        assert_eq!(sink.take().len(), 1);
        assert_eq!(sink.items(), 0);
    }
}

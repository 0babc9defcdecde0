//! Whether the brokers of our partitions answer. While one does not, what it has is on its way to us, and samplers wait for it
//! ([`Absences`]).
//!
//! A connection that ended is a reason to ask; only a partition that does not answer then is away. Asking goes on until all
//! answer again.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::core::stage::absences::{Absences, AwaySource};
use crate::kafka::client::fault::{FaultScope, KafkaFault};
use crate::kafka::client::seam::{ConsumerMember, TopicPartition};

/// A broker that has not answered by then is away.
const ANSWER_MAX: Duration = Duration::from_secs(1);
const ASKED_EVERY: Duration = Duration::from_millis(250);

pub struct BrokerWatch {
    absences: Arc<Absences>,
    /// Connections that had ended at the last look.
    ended: u64,
    away: Option<AwaySource>,
    next: Instant,
}

impl BrokerWatch {
    pub fn new(absences: &Arc<Absences>) -> BrokerWatch {
        BrokerWatch { absences: absences.clone(), ended: 0, away: None, next: Instant::now() }
    }

    pub fn is_away(&self) -> bool {
        self.away.is_some()
    }

    /// Looks whether there is a reason to ask, and asks; why nothing can be read of a partition, if that is so.
    pub async fn look(
        &mut self,
        member: &dyn ConsumerMember,
        partitions: impl Iterator<Item = TopicPartition>,
    ) -> Option<KafkaFault> {
        let (now, ended) = (Instant::now(), member.ended_connections());
        let is_news = std::mem::replace(&mut self.ended, ended) != ended;
        if !is_news && (self.away.is_none() || now < self.next) {
            return None;
        }
        let mut fault = None;
        for partition in partitions {
            fault = match timeout(ANSWER_MAX, member.answers(&partition)).await {
                Ok(Ok(())) => continue,
                Ok(Err(fault)) => Some(fault),
                Err(_) => {
                    Some(KafkaFault::new(FaultScope::Passing, "timeout", "the partition's broker does not answer"))
                }
            };
            break;
        }
        match fault {
            Some(_) => {
                self.away.get_or_insert_with(|| self.absences.begin(now));
            }
            None => self.away = None,
        }
        // What was asked may have made and ended connections itself.
        (self.ended, self.next) = (member.ended_connections(), Instant::now() + ASKED_EVERY);
        fault
    }
}

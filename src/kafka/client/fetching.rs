//! Fetches in the brokers' own protocol, through the library's connections: answers come as they are, with their batches closed.
//!
//! The library's own consumer decompresses whatever an answer holds before anybody is asked for memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::future::join_all;
use krafka::__private::protocol::{ApiKey, FetchResponse, VersionedDecode};
use krafka::error::ErrorCode;
use krafka::{__private as library, Kafka};
use tokio::time::timeout;

use crate::core::data::budget::Budget;
use crate::kafka::client::batch;
use crate::kafka::client::fault::{FaultScope, KafkaFault};
use crate::kafka::client::library_fault::fault_of;
use crate::kafka::client::seam::{BatchMemory, TopicPartition};

/// The last version before fields that only followers and logs that were cut need, and the first that knows batches.
const VERSION_MAX: i16 = 11;
const VERSION_MIN: i16 = 4;
/// Who leads which partition is not waited for longer.
const METADATA_MAX: Duration = Duration::from_millis(250);
/// The same after a refusal: the library goes on asking, and whoever watches the brokers is told of it at once.
const METADATA_ASKED: Duration = Duration::from_millis(10);
/// Answers of all brokers together take one part in so many of the budget at most: their records have to find memory, too.
const FETCH_PART: u64 = 4;
/// Less is not asked for, however many brokers there are.
const FETCH_BYTES_MIN: i32 = 64 << 10;

/// How much is asked for at once.
#[derive(Clone, Debug)]
pub struct FetchSettings {
    pub min_bytes: i32,
    pub max_bytes: i32,
    pub max_partition_bytes: i32,
    pub max_wait: Duration,
    pub rack: Option<String>,
}

/// Where a partition is to be read on.
pub struct WantedPartition {
    pub of: TopicPartition,
    pub offset: i64,
    /// The replica to ask in place of the leader.
    pub near: Option<i32>,
}

/// What a broker has said of one partition.
pub enum Answer {
    Batches {
        bytes: Bytes,
        /// Behind the last record.
        end: i64,
        /// The replica to ask from now on.
        near: Option<i32>,
        /// Pays for the whole answer.
        memory: Arc<BatchMemory>,
    },
    /// There is nothing at this offset any more, or not yet.
    OutOfRange,
    /// For now, by this broker.
    Refused,
}

pub struct BrokerFetcher {
    kafka: Kafka,
    settings: FetchSettings,
    budget: Arc<Budget>,
}

impl BrokerFetcher {
    pub fn new(kafka: &Kafka, settings: FetchSettings, budget: &Arc<Budget>) -> BrokerFetcher {
        BrokerFetcher { kafka: kafka.clone(), settings, budget: budget.clone() }
    }

    /// Asks the brokers, all at once; one alone while memory is short.
    pub async fn fetch(&self, wanted: Vec<WantedPartition>, wait: Duration) -> Vec<(TopicPartition, Answer)> {
        let metadata = library::kafka_metadata(&self.kafka);
        let mut topics: Vec<&str> = wanted.iter().map(|wanted| wanted.of.topic.as_ref()).collect();
        topics.sort_unstable();
        topics.dedup();
        let fresh = metadata.refresh_for_topics(Some(topics.as_slice()));
        let is_known = timeout(METADATA_MAX, fresh).await.is_ok_and(|fresh| fresh.is_ok());
        let (mut by_broker, mut answers) = (BTreeMap::<i32, Vec<&WantedPartition>>::new(), Vec::new());
        for one in &wanted {
            let leader = metadata.leader(&one.of.topic, one.of.partition);
            match one.near.or(leader).filter(|id| *id >= 0) {
                Some(broker) => by_broker.entry(broker).or_default().push(one),
                None => answers.push((one.of.clone(), Answer::Refused)),
            }
        }
        let brokers = if self.budget.under_pressure() { 1 } else { by_broker.len() };
        let bytes = self.bytes_of_each(brokers);
        let asked = by_broker.into_iter().take(brokers).map(|(broker, wanted)| async move {
            let answer = self.ask(broker, &wanted, (wait, bytes)).await;
            answer.unwrap_or_else(|error| {
                tracing::debug!(broker, %error, "a fetch has failed");
                wanted.iter().map(|one| (one.of.clone(), Answer::Refused)).collect()
            })
        });
        answers.extend(join_all(asked).await.into_iter().flatten());
        let is_refused = answers.iter().any(|(_, answer)| matches!(answer, Answer::Refused));
        if is_refused && is_known {
            // Another broker may lead by now.
            let _ = timeout(METADATA_ASKED, metadata.force_refresh(Some(topics.as_slice()))).await;
        }
        answers
    }

    async fn ask(
        &self,
        broker: i32,
        wanted: &[&WantedPartition],
        (wait, bytes_max): (Duration, i32),
    ) -> Result<Vec<(TopicPartition, Answer)>, KafkaFault> {
        let metadata = library::kafka_metadata(&self.kafka);
        let unavailable = |why: &str| KafkaFault::new(FaultScope::Passing, "unavailable", why);
        let known = metadata.broker(broker).ok_or_else(|| unavailable("the broker is not known"))?;
        let pool = library::kafka_pool(&self.kafka);
        let connection = pool.get_connection_by_id(broker, known.address()).await.map_err(|error| fault_of(&error))?;
        let version = connection.negotiate_api_version(ApiKey::Fetch, VERSION_MAX, VERSION_MIN);
        let version = version.ok_or_else(|| unavailable("the broker knows no fetch of ours"))?;
        // The answer lies in the client's hands before its size is known.
        let asked = u64::from(bytes_max.unsigned_abs());
        let memory = self.budget.overdraw(asked);
        let sent = connection.send_request(ApiKey::Fetch, version, |request| {
            self.write(wanted, (wait, bytes_max), (version, request));
            Ok(())
        });
        let mut bytes = sent.await.map_err(|error| fault_of(&error))?;
        memory.grow_anyway((bytes.len() as u64).saturating_sub(asked));
        memory.shrink_to(bytes.len() as u64);
        let is_over = bytes.len() as u64 > asked;
        let response = FetchResponse::decode_versioned(version, &mut bytes);
        let mut response = response.map_err(|error| fault_of(&error))?;
        connection.notify_throttle(response.throttle_time_ms);
        let parts = response.responses.iter_mut().flat_map(|topic| topic.partitions.iter_mut());
        if is_over {
            let kept = trimmed(parts.filter_map(|part| part.records.as_mut()), asked);
            memory.shrink_to(kept);
        }
        let memory = BatchMemory::of(memory, None);
        let asked: BTreeMap<(&str, i32), &WantedPartition> =
            wanted.iter().map(|one| ((one.of.topic.as_ref(), one.of.partition), *one)).collect();
        let mut answers = Vec::new();
        for topic in response.responses {
            for of in topic.partitions {
                let Some(one) = asked.get(&(topic.topic.as_str(), of.partition)) else { continue };
                let near = Some(of.preferred_read_replica).filter(|near| *near >= 0);
                let answer = match of.error_code {
                    ErrorCode::None => Answer::Batches {
                        bytes: of.records.unwrap_or_default(),
                        end: of.high_watermark,
                        near,
                        memory: memory.clone(),
                    },
                    ErrorCode::OffsetOutOfRange => Answer::OutOfRange,
                    code => {
                        tracing::debug!(broker, partition = %one.of, ?code, "a partition is not read from this broker");
                        Answer::Refused
                    }
                };
                answers.push((one.of.clone(), answer)); // granted: as many as were asked for
            }
        }
        Ok(answers)
    }

    /// What one of so many brokers may answer with.
    fn bytes_of_each(&self, brokers: usize) -> i32 {
        let part = self.budget.hard() / FETCH_PART / brokers.max(1) as u64;
        i32::try_from(part).unwrap_or(i32::MAX).max(FETCH_BYTES_MIN).min(self.settings.max_bytes)
    }

    /// The request's body (the protocol's guide, Fetch, versions 4 to 11): without a session at the broker, up to the records that
    /// all replicas have.
    fn write(
        &self,
        wanted: &[&WantedPartition],
        (wait, bytes_max): (Duration, i32),
        (version, request): (i16, &mut BytesMut),
    ) {
        let FetchSettings { min_bytes, max_partition_bytes, max_wait, rack, .. } = &self.settings;
        let metadata = library::kafka_metadata(&self.kafka);
        let wait = i32::try_from(wait.min(*max_wait).as_millis()).unwrap_or(i32::MAX);
        // No replica of theirs asks.
        [-1, wait, (*min_bytes).min(bytes_max), bytes_max].into_iter().for_each(|field| request.put_i32(field));
        request.put_i8(0);
        if version >= 7 {
            request.put_i32(0);
            request.put_i32(-1);
        }
        // In the order of turns: a broker fills its answer from the first on.
        let topics: Vec<&[&WantedPartition]> = wanted.chunk_by(|one, next| one.of.topic == next.of.topic).collect();
        count(request, topics.len());
        for of in topics {
            string(request, &of[0].of.topic);
            count(request, of.len());
            for WantedPartition { of: TopicPartition { topic, partition }, offset, .. } in of {
                request.put_i32(*partition);
                if version >= 9 {
                    request.put_i32(metadata.leader_epoch(topic, *partition).unwrap_or(-1));
                }
                request.put_i64(*offset);
                if version >= 5 {
                    request.put_i64(-1);
                }
                request.put_i32((*max_partition_bytes).min(bytes_max));
            }
        }
        if version >= 7 {
            count(request, 0);
        }
        if version >= 11 {
            string(request, rack.as_deref().unwrap_or_default());
        }
    }
}

/// Keeps of an answer that is larger than was asked for as much as was, or one batch, so that what is over is not held with the rest;
/// how many bytes that is.
fn trimmed<'a>(parts: impl Iterator<Item = &'a mut Bytes>, asked: u64) -> u64 {
    let mut kept = 0;
    for part in parts {
        let room = usize::try_from(asked).unwrap_or(usize::MAX).saturating_sub(kept);
        let fitting = batch::fitting(part, room, kept == 0);
        // granted: by the answer, which goes
        *part = Bytes::copy_from_slice(&part[..fitting]);
        kept += fitting;
    }
    kept as u64
}

fn count(request: &mut BytesMut, of: usize) {
    request.put_i32(i32::try_from(of).unwrap_or(i32::MAX));
}

/// Names of topics have 249 bytes at most, those of racks come from the configuration.
fn string(request: &mut BytesMut, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or_default().min(i16::MAX.unsigned_abs());
    request.put_u16(length);
    request.put_slice(&text.as_bytes()[..usize::from(length)]);
}

//! A member of a consumer group: the library keeps the membership, positions to begin at and commits; partitions are read here,
//! so that nothing of an answer is decompressed without a grant ([`Readings`]).
//!
//! For the library all partitions are paused.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use krafka::consumer::{
    AutoOffsetReset, Consumer, ConsumerRebalanceListener, OffsetAndMetadata, PartitionAssignmentStrategy,
    TopicPartition as LibraryPartition,
};
use krafka::{CloseOptions, Kafka};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use crate::core::data::budget::Budget;
use crate::core::stage::component::Task;
use crate::kafka::client::fault::KafkaFault;
use crate::kafka::client::fetching::{Answer, BrokerFetcher, FetchSettings, WantedPartition};
use crate::kafka::client::library_fault::fault_of;
use crate::kafka::client::reading::Readings;
use crate::kafka::client::seam::{
    Assignment, Committable, ConsumerMember, FetchedRecord, MemberSettings, RebalanceStrategy, TopicPartition,
};

/// A commit before partitions go waits no longer: the others of the group wait with it.
const LAST_COMMIT_MAX: Duration = Duration::from_secs(5);
/// A partition that its broker refuses is asked for again.
const REFUSED_WAIT: Duration = Duration::from_millis(250);
/// Between two looks for memory, and for partitions.
const IDLE: Duration = Duration::from_millis(10);
/// A nearest replica is believed in for so long.
const NEAR_FOR: Duration = Duration::from_secs(300);

/// Told by the library, within a poll.
struct Listener {
    assignment: Arc<dyn Assignment>,
    consumer: OnceLock<Weak<Consumer>>,
    // Not held while the library is asked.
    readings: Arc<Mutex<Readings>>,
}

fn ours(partitions: &[LibraryPartition]) -> Vec<TopicPartition> {
    let own = |of: &LibraryPartition| TopicPartition { topic: of.topic.as_str().into(), partition: of.partition };
    partitions.iter().map(own).collect()
}

fn theirs(partition: &TopicPartition) -> LibraryPartition {
    LibraryPartition::new(partition.topic.as_ref(), partition.partition)
}

fn offsets(of: &[Committable]) -> Vec<(LibraryPartition, OffsetAndMetadata)> {
    of.iter().map(|(partition, offset)| (theirs(partition), OffsetAndMetadata::new(*offset))).collect()
}

impl Listener {
    async fn go(&self, partitions: &[TopicPartition]) {
        let mut readings = self.readings.lock().await;
        partitions.iter().for_each(|partition| readings.go(partition));
    }
}

impl ConsumerRebalanceListener for Listener {
    async fn on_partitions_assigned(&self, partitions: &[LibraryPartition]) {
        let (come, consumer) = (ours(partitions), self.consumer.get().and_then(Weak::upgrade));
        for partition in &come {
            if let Some(consumer) = &consumer {
                consumer.pause(&partition.topic, &[partition.partition]).await;
            }
            self.readings.lock().await.come(partition.clone());
        }
        self.assignment.assigned(&come);
    }

    async fn on_partitions_revoked(&self, partitions: &[LibraryPartition]) {
        let gone = ours(partitions);
        self.go(&gone).await;
        let last = offsets(&self.assignment.revoked(&gone));
        let Some(consumer) = self.consumer.get().and_then(Weak::upgrade).filter(|_| !last.is_empty()) else { return };
        match timeout(LAST_COMMIT_MAX, consumer.commit_offsets(last)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the last commit of partitions that go did not come about"),
            Err(_) => tracing::debug!("the last commit of partitions that go took too long"),
        }
    }

    async fn on_partitions_lost(&self, partitions: &[LibraryPartition]) {
        let gone = ours(partitions);
        self.go(&gone).await;
        self.assignment.lost(&gone);
    }
}

pub struct KafkaMember {
    consumer: Arc<Consumer>,
    kafka: Kafka,
    fetcher: BrokerFetcher,
    readings: Arc<Mutex<Readings>>,
    headers: Vec<String>,
    records_max: usize,
    from_earliest: bool,
}

impl KafkaMember {
    pub(super) async fn join(
        kafka: &Kafka,
        rack: Option<&str>,
        (settings, assignment, budget): (&MemberSettings, Arc<dyn Assignment>, &Arc<Budget>),
    ) -> Result<Arc<dyn ConsumerMember>, KafkaFault> {
        let readings = Arc::new(Mutex::new(Readings::new(budget)));
        let listener = Arc::new(Listener { assignment, consumer: OnceLock::new(), readings: readings.clone() });
        let strategies = settings.strategies.iter().map(|strategy| match strategy {
            RebalanceStrategy::CooperativeSticky => PartitionAssignmentStrategy::CooperativeSticky,
            RebalanceStrategy::Range => PartitionAssignmentStrategy::Range,
            RebalanceStrategy::RoundRobin => PartitionAssignmentStrategy::RoundRobin,
        });
        let reset = if settings.from_earliest { AutoOffsetReset::Earliest } else { AutoOffsetReset::Latest };
        let mut builder = kafka
            .consumer(settings.group_id.as_str())
            .auto_offset_reset(reset)
            .enable_auto_commit(false)
            .session_timeout(settings.session_timeout)
            .heartbeat_interval(settings.heartbeat_interval)
            .partition_assignment_strategies(strategies)
            .metrics_push(false)
            .rebalance_listener(listener.clone());
        if let Some(id) = &settings.instance_id {
            builder = builder.group_instance_id(id.as_str());
        }
        let consumer = Arc::new(builder.build().await.map_err(|error| fault_of(&error))?);
        // Before the first poll, in which the listener is asked.
        let _ = listener.consumer.set(Arc::downgrade(&consumer));
        let fetches = FetchSettings {
            min_bytes: settings.min_fetch_bytes,
            max_bytes: settings.max_fetch_bytes,
            max_partition_bytes: settings.max_partition_fetch_bytes,
            max_wait: settings.max_fetch_wait,
            rack: rack.map(str::to_owned),
        };
        Ok(Arc::new(KafkaMember {
            consumer,
            kafka: kafka.clone(),
            fetcher: BrokerFetcher::new(kafka, fetches, budget),
            readings,
            headers: settings.headers.clone(),
            records_max: settings.records_max,
            from_earliest: settings.from_earliest,
        }))
    }

    /// Takes over where the library found that partitions begin. True when there is any partition.
    async fn follow(&self, readings: &mut Readings) -> bool {
        let mut has_any = false;
        for (partition, reading) in readings.all() {
            has_any = true;
            if reading.position.is_none() {
                reading.position = self.consumer.fetch_position(&partition.topic, partition.partition).await;
            }
        }
        has_any
    }

    /// Asks the brokers for partitions of which nothing is here. False when there is none to ask for.
    async fn fetch(&self, readings: &mut Readings, wait: Duration) -> bool {
        let now = Instant::now();
        let mut wanted = Vec::new();
        for of in readings.wanted(now) {
            let Some(reading) = readings.find(&of) else { continue };
            let Some(offset) = reading.position else { continue };
            reading.near = reading.near.filter(|(_, until)| now < *until);
            // granted: as many as there are partitions
            wanted.push(WantedPartition { offset, near: reading.near.map(|(near, _)| near), of });
        }
        if wanted.is_empty() {
            return false;
        }
        for (of, answer) in self.fetcher.fetch(wanted, wait).await {
            self.apply(readings, &of, answer).await;
        }
        true
    }

    async fn apply(&self, readings: &mut Readings, of: &TopicPartition, answer: Answer) {
        let now = Instant::now();
        let Some(reading) = readings.find(of) else { return };
        match answer {
            Answer::Batches { bytes, end, near, memory } => {
                reading.end = end;
                reading.near = near.map(|near| (near, now + NEAR_FOR)).or(reading.near);
                readings.take(of, bytes, &memory);
            }
            Answer::OutOfRange => {
                tracing::warn!(partition = %of, offset = reading.position, "there is no record at this offset any more");
                (reading.position, reading.near) = (None, None);
                let (topic, partition) = (&of.topic, of.partition);
                let moved = if self.from_earliest {
                    self.consumer.seek_to_beginning(topic, partition).await
                } else {
                    self.consumer.seek_to_end(topic, partition).await
                };
                if let Err(error) = moved {
                    tracing::debug!(partition = %of, %error, "where the partition begins is asked for again");
                }
            }
            Answer::Refused => {
                (reading.not_before, reading.near) = (now + REFUSED_WAIT, None);
            }
        }
    }
}

impl ConsumerMember for KafkaMember {
    fn subscribe<'a>(&'a self, topics: &'a [String]) -> Task<'a, Result<(), KafkaFault>> {
        Box::pin(async move { self.consumer.subscribe(topics).await.map_err(|error| fault_of(&error)) })
    }

    fn poll(&self, wait: Duration) -> Task<'_, Result<Vec<FetchedRecord>, KafkaFault>> {
        Box::pin(async move {
            let deadline = Instant::now() + wait;
            // Its partitions are paused, so that it keeps the membership and fetches nothing.
            self.consumer.poll(Duration::ZERO).await.map_err(|error| fault_of(&error))?;
            let mut readings = self.readings.lock().await;
            if !self.follow(&mut readings).await {
                drop(readings);
                let left = deadline.saturating_duration_since(Instant::now());
                self.consumer.poll(left).await.map_err(|error| fault_of(&error))?;
                return Ok(Vec::new());
            }
            loop {
                let records = readings.hand_out(&self.headers, self.records_max).await?;
                let left = deadline.saturating_duration_since(Instant::now());
                if !records.is_empty() || left.is_zero() {
                    return Ok(records);
                }
                if !self.fetch(&mut readings, left).await {
                    sleep(left.min(IDLE)).await;
                }
            }
        })
    }

    fn commit<'a>(&'a self, of: &'a [Committable]) -> Task<'a, Result<(), KafkaFault>> {
        Box::pin(async move { self.consumer.commit_offsets(offsets(of)).await.map_err(|error| fault_of(&error)) })
    }

    fn pause<'a>(&'a self, partition: &'a TopicPartition) -> Task<'a, ()> {
        Box::pin(async move {
            let mut readings = self.readings.lock().await;
            readings.find(partition).into_iter().for_each(|reading| reading.is_paused = true);
        })
    }

    fn resume<'a>(&'a self, partition: &'a TopicPartition) -> Task<'a, ()> {
        Box::pin(async move {
            let mut readings = self.readings.lock().await;
            readings.find(partition).into_iter().for_each(|reading| reading.is_paused = false);
        })
    }

    fn seek<'a>(&'a self, partition: &'a TopicPartition, offset: i64) -> Task<'a, Result<(), KafkaFault>> {
        Box::pin(async move {
            let mut readings = self.readings.lock().await;
            readings.find(partition).into_iter().for_each(|reading| reading.seek(offset));
            Ok(())
        })
    }

    fn committed<'a>(&'a self, partition: &'a TopicPartition) -> Task<'a, Result<Option<i64>, KafkaFault>> {
        Box::pin(async move {
            let asked = [(partition.topic.as_ref(), partition.partition)];
            let known = self.consumer.committed(&asked).await.map_err(|error| fault_of(&error))?;
            Ok(known.into_values().next().map(|position| position.offset).filter(|offset| *offset >= 0))
        })
    }

    fn member_id(&self) -> Task<'_, String> {
        Box::pin(async move {
            let known = self.consumer.group_metadata().await;
            known.map(|known| known.member_id().to_owned()).unwrap_or_default()
        })
    }

    fn topics(&self) -> Task<'_, Result<Vec<String>, KafkaFault>> {
        Box::pin(async move {
            let listed = self.kafka.admin().list_topics(Default::default()).await;
            listed.map_err(|error| fault_of(&error))
        })
    }

    fn ended_connections(&self) -> u64 {
        self.consumer.metrics().connections.connections_closed
    }

    fn answers<'a>(&'a self, partition: &'a TopicPartition) -> Task<'a, Result<(), KafkaFault>> {
        Box::pin(async move {
            let asked = self.consumer.fetch_watermarks(&partition.topic, partition.partition).await;
            asked.map(drop).map_err(|error| fault_of(&error))
        })
    }

    fn lag(&self) -> Task<'_, u64> {
        Box::pin(async move { self.readings.lock().await.lag() })
    }

    fn close(&self, wait: Duration) -> Task<'_, ()> {
        Box::pin(async move {
            if let Err(error) = self.consumer.close_with(CloseOptions::new().timeout(wait)).await {
                tracing::debug!(%error, "the member did not leave its group in time");
            }
        })
    }
}

//! The client library (krafka) behind the seam: the only file that knows it.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use krafka::auth::{AuthConfig, TlsConfig};
use krafka::consumer::{
    AutoOffsetReset, Consumer, ConsumerRebalanceListener, OffsetAndMetadata, PartitionAssignmentStrategy,
    TopicPartition as LibraryPartition,
};
use krafka::error::{ErrorCode, ProtocolErrorKind};
use krafka::producer::{Acks, Partitioner, Producer};
use krafka::{CloseOptions, Compression, Kafka, KrafkaError, Record};
use tokio::time::{Instant, timeout};

use crate::config::client::TlsKeys;
use crate::core::stage::component::Task;
use crate::kafka::client::fault::{BatchPlace, FaultScope, KafkaFault};
use crate::kafka::client::partitioner::{PartitionTurns, partition_of};
use crate::kafka::client::seam::{
    Assignment, BatchCompression, ClusterSettings, Committable, ConsumerMember, FetchedRecord, MemberSettings,
    NewRecord, RebalanceStrategy, RecordWriter, RequiredAcks, SaslKind, SaslUser, TopicPartition, WriterSettings,
};
use crate::net::pem;

/// A connection that is not there by then will not come.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// A batch keeps its sequence number for so long at least: until then the brokers know a repeat for what it is.
const DELIVERY_MIN: Duration = Duration::from_secs(30);
/// The client's own buffers, unless one record needs more.
const BUFFER_BYTES: usize = 32 << 20;
/// A batch larger than this compresses no better.
const BATCH_BYTES_MAX: usize = 1_000_000;
/// A commit before partitions go waits no longer: the others of the group wait with it.
const LAST_COMMIT_MAX: Duration = Duration::from_secs(5);

/// A cluster that has answered.
pub struct KafkaCluster {
    kafka: Kafka,
    rack: Option<String>,
}

impl KafkaCluster {
    /// Asks the first brokers who the others are.
    pub async fn connect(settings: &ClusterSettings) -> Result<KafkaCluster, KafkaFault> {
        let mut builder = Kafka::builder(settings.destination())
            .client_id(settings.client_id.as_str())
            .request_timeout(settings.timeout)
            .connect_timeout(settings.timeout.min(CONNECT_MAX))
            .metadata_max_age(settings.refresh_interval)
            .allow_auto_create_topics(settings.creates_topics);
        if let Some(idle) = settings.idle_timeout {
            builder = builder.connections_max_idle(Some(idle));
        }
        if let Some(security) = security(settings).await? {
            builder = builder.security(security);
        }
        let kafka = builder.connect().await.map_err(|error| fault_of(&error))?;
        Ok(KafkaCluster { kafka, rack: settings.rack.clone() })
    }

    /// Somebody who writes records.
    pub async fn writer(&self, settings: &WriterSettings) -> Result<Arc<dyn RecordWriter>, KafkaFault> {
        let acks = match settings.acks {
            RequiredAcks::None => Acks::None,
            RequiredAcks::Leader => Acks::Leader,
            RequiredAcks::All => Acks::All,
        };
        let compression = match settings.compression {
            BatchCompression::None => Compression::None,
            BatchCompression::Gzip => Compression::Gzip,
            BatchCompression::Snappy => Compression::Snappy,
            BatchCompression::Lz4 => Compression::Lz4,
            BatchCompression::Zstd => Compression::Zstd,
        };
        let producer = self
            .kafka
            .producer()
            .acks(acks)
            // The library numbers batches only where every replica has them.
            .idempotent(acks == Acks::All)
            .compression(compression)
            .compression_level(settings.level)
            .linger(settings.linger)
            .batch_size(settings.record_bytes_max.clamp(1024, BATCH_BYTES_MAX))
            .buffer_memory(BUFFER_BYTES.max(settings.record_bytes_max.saturating_mul(2)))
            .delivery_timeout(DELIVERY_MIN.max(settings.timeout * 2 + settings.linger))
            .max_block(settings.timeout)
            .metrics_push(false)
            .partitioner(CollectorsPartitioner::default());
        let producer = producer.build().await.map_err(|error| fault_of(&error))?;
        Ok(Arc::new(Writer { producer }))
    }

    /// A member of a group, which joins it when it polls.
    pub async fn member(
        &self,
        settings: &MemberSettings,
        assignment: Arc<dyn Assignment>,
    ) -> Result<Arc<dyn ConsumerMember>, KafkaFault> {
        let listener = Arc::new(Listener { assignment, consumer: OnceLock::new() });
        let strategies = settings.strategies.iter().map(|strategy| match strategy {
            RebalanceStrategy::CooperativeSticky => PartitionAssignmentStrategy::CooperativeSticky,
            RebalanceStrategy::Range => PartitionAssignmentStrategy::Range,
            RebalanceStrategy::RoundRobin => PartitionAssignmentStrategy::RoundRobin,
        });
        let records = i32::try_from(settings.records_max).unwrap_or(i32::MAX);
        let reset = if settings.from_earliest { AutoOffsetReset::Earliest } else { AutoOffsetReset::Latest };
        let mut builder = self
            .kafka
            .consumer(settings.group_id.as_str())
            .auto_offset_reset(reset)
            .enable_auto_commit(false)
            .session_timeout(settings.session_timeout)
            .heartbeat_interval(settings.heartbeat_interval)
            .partition_assignment_strategies(strategies)
            .fetch_min_bytes(settings.min_fetch_bytes)
            .fetch_max_bytes(settings.max_fetch_bytes)
            .max_partition_fetch_bytes(settings.max_partition_fetch_bytes)
            .fetch_max_wait(settings.max_fetch_wait)
            .max_poll_records(records)
            // A cap would let the records of one paused partition hold up all others.
            .max_buffered_records(0)
            .max_decompressed_size(settings.batch_bytes_max)
            .metrics_push(false)
            .rebalance_listener(listener.clone());
        if let Some(id) = &settings.instance_id {
            builder = builder.group_instance_id(id.as_str());
        }
        if let Some(rack) = &self.rack {
            builder = builder.client_rack(rack.as_str());
        }
        let consumer = Arc::new(builder.build().await.map_err(|error| fault_of(&error))?);
        // Before the first poll, in which the listener is asked.
        let _ = listener.consumer.set(Arc::downgrade(&consumer));
        Ok(Arc::new(Member { consumer, kafka: self.kafka.clone(), headers: settings.headers.clone() }))
    }
}

async fn security(settings: &ClusterSettings) -> Result<Option<AuthConfig>, KafkaFault> {
    let tls = match &settings.tls {
        Some(keys) => Some(tls_of(keys).await?),
        None => None,
    };
    let sasl = settings.sasl.as_ref().map(|SaslUser { kind, username, password }| match kind {
        SaslKind::Plain => AuthConfig::sasl_plain(username.as_str(), password.expose()),
        SaslKind::ScramSha256 => AuthConfig::sasl_scram_sha256(username.as_str(), password.expose()),
        SaslKind::ScramSha512 => AuthConfig::sasl_scram_sha512(username.as_str(), password.expose()),
    });
    Ok(match (sasl, tls) {
        (Some(sasl), Some(tls)) => Some(sasl.with_tls(tls)),
        (Some(sasl), None) => Some(sasl),
        (None, Some(tls)) => Some(AuthConfig::ssl(tls)),
        (None, None) => None,
    })
}

/// Read at every new client: files may have changed meanwhile.
async fn tls_of(keys: &TlsKeys) -> Result<TlsConfig, KafkaFault> {
    let unreadable = |why: String| KafkaFault::new(FaultScope::Passing, "tls", why);
    let mut tls = if keys.insecure_skip_verify { TlsConfig::insecure() } else { TlsConfig::new() };
    let authority = pem::read(keys.ca.as_ref(), "ca_file").await.map_err(unreadable)?;
    if authority.is_none() || keys.with_system_ca {
        tls = tls.with_native_roots();
    }
    if let Some(pem) = authority {
        tls = tls.with_ca_cert_pem(pem);
    }
    let certificate = pem::read(keys.certificate.as_ref(), "cert_file").await.map_err(unreadable)?;
    let key = pem::read(keys.key.as_ref(), "key_file").await.map_err(unreadable)?;
    if let Some((certificate, key)) = certificate.zip(key) {
        tls = tls.with_client_cert_pem(certificate, key);
    }
    Ok(match &keys.server_name {
        Some(name) => tls.with_sni_hostname(name.as_str()),
        None => tls,
    })
}

#[derive(Default)]
struct CollectorsPartitioner(PartitionTurns);

impl Partitioner for CollectorsPartitioner {
    fn partition(&self, _: &str, key: Option<&[u8]>, partition_count: usize) -> i32 {
        key.map_or_else(|| self.0.next(partition_count), |key| partition_of(key, partition_count))
    }
}

struct Writer {
    producer: Producer,
}

impl RecordWriter for Writer {
    fn write(&self, record: NewRecord) -> Task<'_, Result<(), KafkaFault>> {
        let NewRecord { topic, key, value, headers } = record;
        let mut queued = Record::new(topic.as_ref(), value);
        if let Some(key) = key {
            queued = queued.key(key);
        }
        for (name, value) in headers {
            queued = queued.header(name, value);
        }
        Box::pin(async move {
            let handle = self.producer.enqueue(queued).await.map_err(|error| fault_of(&error))?;
            handle.await.map(drop).map_err(|error| fault_of(&error))
        })
    }

    fn partitions<'a>(&'a self, topic: &'a str) -> Task<'a, Result<usize, KafkaFault>> {
        Box::pin(async move {
            let known = self.producer.partitions_for(topic).await;
            known.map(|partitions| partitions.len()).map_err(|error| fault_of(&error))
        })
    }

    fn close(&self, deadline: Instant) -> Task<'_, ()> {
        let left = deadline.saturating_duration_since(Instant::now());
        Box::pin(async move {
            if let Err(error) = self.producer.close_with(CloseOptions::new().timeout(left)).await {
                tracing::debug!(%error, "the producer did not close in time");
            }
        })
    }
}

/// Told by the library, within a poll.
struct Listener {
    assignment: Arc<dyn Assignment>,
    consumer: OnceLock<Weak<Consumer>>,
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

impl ConsumerRebalanceListener for Listener {
    async fn on_partitions_assigned(&self, partitions: &[LibraryPartition]) {
        self.assignment.assigned(&ours(partitions));
    }

    async fn on_partitions_revoked(&self, partitions: &[LibraryPartition]) {
        let last = offsets(&self.assignment.revoked(&ours(partitions)));
        let Some(consumer) = self.consumer.get().and_then(Weak::upgrade).filter(|_| !last.is_empty()) else { return };
        match timeout(LAST_COMMIT_MAX, consumer.commit_offsets(last)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the last commit of partitions that go did not come about"),
            Err(_) => tracing::debug!("the last commit of partitions that go took too long"),
        }
    }

    async fn on_partitions_lost(&self, partitions: &[LibraryPartition]) {
        self.assignment.lost(&ours(partitions));
    }
}

struct Member {
    consumer: Arc<Consumer>,
    kafka: Kafka,
    headers: Vec<String>,
}

/// Those of a record that are asked for. A header without a value is an empty one.
fn wanted(names: &[String], of: &[(String, Option<Bytes>)]) -> Vec<(usize, Bytes)> {
    let first =
        |name: &String| of.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone().unwrap_or_default());
    names.iter().enumerate().filter_map(|(at, name)| Some((at, first(name)?))).collect()
}

impl ConsumerMember for Member {
    fn subscribe<'a>(&'a self, topics: &'a [String]) -> Task<'a, Result<(), KafkaFault>> {
        Box::pin(async move { self.consumer.subscribe(topics).await.map_err(|error| fault_of(&error)) })
    }

    fn poll(&self, wait: Duration) -> Task<'_, Result<Vec<FetchedRecord>, KafkaFault>> {
        Box::pin(async move {
            let records = self.consumer.poll(wait).await.map_err(|error| read_fault(&error))?;
            let own = records.into_iter().map(|record| FetchedRecord {
                from: TopicPartition { topic: record.topic, partition: record.partition },
                offset: record.offset,
                headers: wanted(&self.headers, &record.headers),
                value: record.value,
            });
            Ok(own.collect())
        })
    }

    fn commit<'a>(&'a self, of: &'a [Committable]) -> Task<'a, Result<(), KafkaFault>> {
        Box::pin(async move { self.consumer.commit_offsets(offsets(of)).await.map_err(|error| fault_of(&error)) })
    }

    fn pause<'a>(&'a self, partition: &'a TopicPartition) -> Task<'a, ()> {
        Box::pin(async move { self.consumer.pause(&partition.topic, &[partition.partition]).await })
    }

    fn resume<'a>(&'a self, partition: &'a TopicPartition) -> Task<'a, ()> {
        Box::pin(async move { self.consumer.resume(&partition.topic, &[partition.partition]).await })
    }

    fn seek<'a>(&'a self, partition: &'a TopicPartition, offset: i64) -> Task<'a, Result<(), KafkaFault>> {
        Box::pin(async move {
            let sought = self.consumer.seek(&partition.topic, partition.partition, offset).await;
            sought.map_err(|error| fault_of(&error))
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
        Box::pin(async move { self.consumer.lag().await.into_values().filter_map(|of| of.lag).sum() })
    }

    fn close(&self, wait: Duration) -> Task<'_, ()> {
        Box::pin(async move {
            if let Err(error) = self.consumer.close_with(CloseOptions::new().timeout(wait)).await {
                tracing::debug!(%error, "the member did not leave its group in time");
            }
        })
    }
}

/// What an error of the library means here.
/// A fault of reading, with its place where it is one batch's alone. The library says that in words only.
fn read_fault(error: &KrafkaError) -> KafkaFault {
    let fault = fault_of(error);
    let at = batch_place(&fault.message).map(Box::new);
    if at.is_some() { KafkaFault { code: "undecodable".to_owned(), at, ..fault } } else { fault }
}

/// `... undecodable record batch at TOPIC-PARTITION offset OFFSET ...`
fn batch_place(words: &str) -> Option<BatchPlace> {
    let (_, place) = words.split_once("undecodable record batch at ")?;
    let (partition, rest) = place.split_once(" offset ")?;
    let (topic, partition) = partition.rsplit_once('-')?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    Some(BatchPlace { topic: topic.into(), partition: partition.parse().ok()?, offset: digits.parse().ok()? })
}

fn fault_of(error: &KrafkaError) -> KafkaFault {
    let text = error.to_string();
    let of = |scope, code: &str| KafkaFault::new(scope, code, text.clone());
    match error {
        KrafkaError::Network(_) => of(FaultScope::Passing, "unreachable").with_cure(Some(UNREACHABLE)),
        KrafkaError::Timeout { .. } => of(FaultScope::Passing, "timeout").with_cure(Some(UNREACHABLE)),
        KrafkaError::DeliveryTimeout { .. } => of(FaultScope::Passing, "delivery timeout"),
        KrafkaError::Auth { .. } => of(FaultScope::Client, "authentication").with_cure(Some(CREDENTIALS)),
        KrafkaError::Broker { code, .. } => {
            let scope = if error.is_fatal() { FaultScope::Client } else { scope_of(*code) };
            of(scope, &format!("{code:?}")).with_cure(cure_of(*code))
        }
        KrafkaError::Protocol { kind: ProtocolErrorKind::FrameTooLarge, .. } => of(FaultScope::Size, "too large"),
        KrafkaError::UnknownTopic { .. } => of(FaultScope::Passing, "unknown topic").with_cure(Some(NO_TOPIC)),
        KrafkaError::Closed { .. } | KrafkaError::Fenced { .. } => of(FaultScope::Client, "closed"),
        KrafkaError::Config { .. } | KrafkaError::Serialization { .. } | KrafkaError::Compression { .. } => {
            of(FaultScope::Record, "record")
        }
        _ => of(FaultScope::Passing, "kafka"),
    }
}

const UNREACHABLE: &str = "check `brokers`, the network to them and their advertised listeners";
const CREDENTIALS: &str = "check `auth` and `tls`: the brokers' listener says which of SASL and TLS it wants";
const NO_TOPIC: &str = "create the topic, or let the brokers do it (auto.create.topics.enable)";
const RIGHTS: &str = "give the user the right to it (kafka-acls)";

fn scope_of(code: ErrorCode) -> FaultScope {
    match code {
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge => FaultScope::Size,
        ErrorCode::InvalidTimestamp
        | ErrorCode::InvalidTopic
        | ErrorCode::InvalidRecord
        | ErrorCode::UnsupportedForMessageFormat
        | ErrorCode::PolicyViolation => FaultScope::Record,
        // Rights and topics are given while podgate runs: what waits is not given up before its time.
        _ => FaultScope::Passing,
    }
}

fn cure_of(code: ErrorCode) -> Option<&'static str> {
    match code {
        ErrorCode::UnknownTopicOrPartition => Some(NO_TOPIC),
        ErrorCode::TopicAuthorizationFailed
        | ErrorCode::GroupAuthorizationFailed
        | ErrorCode::ClusterAuthorizationFailed => Some(RIGHTS),
        ErrorCode::SaslAuthenticationFailed => Some(CREDENTIALS),
        ErrorCode::MessageTooLarge => Some("raise max.message.bytes of the topic, or lower max_message_bytes"),
        ErrorCode::InvalidSessionTimeout => Some("the brokers bound session_timeout (group.min.session.timeout.ms)"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_later_is_told_from_what_is_the_records_fault_or_the_clients() {
        let broker = |code| fault_of(&KrafkaError::broker(code, "words")).scope;
        for (code, scope) in [
            (ErrorCode::MessageTooLarge, FaultScope::Size),
            (ErrorCode::InvalidRecord, FaultScope::Record),
            (ErrorCode::NotEnoughReplicas, FaultScope::Passing),
            (ErrorCode::TopicAuthorizationFailed, FaultScope::Passing),
            (ErrorCode::SaslAuthenticationFailed, FaultScope::Client),
        ] {
            assert_eq!(broker(code), scope, "{code:?}");
        }
        assert_eq!(fault_of(&KrafkaError::auth("no")).scope, FaultScope::Client);
        let late = fault_of(&KrafkaError::delivery_timeout(true, "late"));
        assert_eq!((late.scope, late.code.as_str()), (FaultScope::Passing, "delivery timeout"));
    }

    #[test]
    fn a_batch_that_cannot_be_decoded_is_known_by_its_place() {
        let words = "protocol: undecodable record batch at otlp-spans-12 offset 345 (2 partitions affected); it is";
        let place = BatchPlace { topic: "otlp-spans".into(), partition: 12, offset: 345 };
        assert_eq!(batch_place(words), Some(place));
        assert_eq!(batch_place("a fetch failed at otlp-1 offset 3"), None);
    }
}

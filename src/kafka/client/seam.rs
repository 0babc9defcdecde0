//! The seam to a Kafka client: who writes records, who is a member of a consumer group, and what can go wrong.
//!
//! Traits, so that a test can stand in for a cluster, and so that another library costs one file.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::config::client::TlsKeys;
use crate::config::value::secret::Secret;
use crate::core::data::budget::Ticket;
use crate::core::stage::component::Task;
use crate::kafka::client::fault::KafkaFault;

/// One partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    pub topic: Arc<str>,
    pub partition: i32,
}

impl std::fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// A record to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRecord {
    pub topic: Arc<str>,
    /// BatchRecords of one key go to one partition.
    pub key: Option<Bytes>,
    pub value: Bytes,
    pub headers: Vec<(String, Bytes)>,
}

/// A record as it was read.
#[derive(Clone, Debug)]
pub struct FetchedRecord {
    pub from: TopicPartition,
    pub offset: i64,
    /// `None` for a tombstone.
    pub value: Option<Bytes>,
    /// Of the headers that the member asks for, by their place among these: the first of each name.
    pub headers: Vec<(usize, Bytes)>,
    /// Pays for the buffer that the value is a slice of; `None` where nobody else does.
    pub memory: Option<Arc<BatchMemory>>,
}

/// The memory of a batch, or of a whole answer, as long as anything of it is held.
#[derive(Debug)]
pub struct BatchMemory {
    ticket: Ticket,
    /// What all decompressed batches of a member take.
    inflated: Option<Arc<AtomicU64>>,
}

impl BatchMemory {
    pub fn of(ticket: Ticket, inflated: Option<&Arc<AtomicU64>>) -> Arc<BatchMemory> {
        inflated.iter().for_each(|all| _ = all.fetch_add(ticket.bytes(), Ordering::Relaxed));
        Arc::new(BatchMemory { ticket, inflated: inflated.cloned() })
    }

    pub fn bytes(&self) -> u64 {
        self.ticket.bytes()
    }
}

impl Drop for BatchMemory {
    fn drop(&mut self) {
        self.inflated.iter().for_each(|all| _ = all.fetch_sub(self.ticket.bytes(), Ordering::Relaxed));
    }
}

/// Writes records.
pub trait RecordWriter: Send + Sync {
    /// Queues the record at once; completes when the brokers have answered for it, or cannot.
    fn write(&self, record: NewRecord) -> Task<'_, Result<(), KafkaFault>>;

    /// How many partitions a topic has.
    fn partitions<'a>(&'a self, topic: &'a str) -> Task<'a, Result<usize, KafkaFault>>;

    /// Asks the cluster whether it has a topic now; where brokers make topics, the question makes it.
    fn has_topic<'a>(&'a self, topic: &'a str) -> Task<'a, Result<bool, KafkaFault>>;

    /// Ends by the deadline; what was not written by then is not.
    fn close(&self, deadline: Instant) -> Task<'_, ()>;
}

/// An offset to commit: of the next record that the group shall read.
pub type Committable = (TopicPartition, i64);

/// A member of a consumer group. Who polls also commits, one after the other: so nothing is committed under a membership
/// that began after the partitions were taken away.
pub trait ConsumerMember: Send + Sync {
    /// Reads these topics from the next poll on.
    fn subscribe<'a>(&'a self, topics: &'a [String]) -> Task<'a, Result<(), KafkaFault>>;

    /// BatchRecords of partitions that are not paused, after `wait` at the latest. Partitions come and go in here alone.
    fn poll(&self, wait: Duration) -> Task<'_, Result<Vec<FetchedRecord>, KafkaFault>>;

    fn commit<'a>(&'a self, offsets: &'a [Committable]) -> Task<'a, Result<(), KafkaFault>>;

    /// Nothing of the partition is read until it is resumed.
    fn pause<'a>(&'a self, partition: &'a TopicPartition) -> Task<'a, ()>;

    fn resume<'a>(&'a self, partition: &'a TopicPartition) -> Task<'a, ()>;

    /// Reads on from this offset.
    fn seek<'a>(&'a self, partition: &'a TopicPartition, offset: i64) -> Task<'a, Result<(), KafkaFault>>;

    /// What the group has committed of a partition; `None` where it has nothing.
    fn committed<'a>(&'a self, partition: &'a TopicPartition) -> Task<'a, Result<Option<i64>, KafkaFault>>;

    /// By what the coordinator knows the member; empty while it does not.
    fn member_id(&self) -> Task<'_, String>;

    /// Names of all topics of the cluster.
    fn topics(&self) -> Task<'_, Result<Vec<String>, KafkaFault>>;

    /// Connections to brokers that have ended, for whatever reason.
    fn ended_connections(&self) -> u64;

    /// Asks the partition's broker for something that it always has.
    fn answers<'a>(&'a self, partition: &'a TopicPartition) -> Task<'a, Result<(), KafkaFault>>;

    /// BatchRecords behind the next one to read, of all partitions.
    fn lag(&self) -> Task<'_, u64>;

    /// Leaves the group.
    fn close(&self, wait: Duration) -> Task<'_, ()>;
}

/// Who is told which partitions a member has.
pub trait Assignment: Send + Sync + 'static {
    fn assigned(&self, partitions: &[TopicPartition]);

    /// They go to another member: what can be committed of them before they do. Nothing of them counts afterwards.
    fn revoked(&self, partitions: &[TopicPartition]) -> Vec<Committable>;

    /// They have gone already: nothing of them may be committed.
    fn lost(&self, partitions: &[TopicPartition]);
}

/// How a user is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaslKind {
    Plain,
    ScramSha256,
    ScramSha512,
}

/// Who podgate says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaslUser {
    pub kind: SaslKind,
    pub username: String,
    pub password: Secret,
}

/// How a cluster is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSettings {
    /// `host:port` of those that are asked first.
    pub brokers: Vec<String>,
    pub client_id: String,
    pub rack: Option<String>,
    pub sasl: Option<SaslUser>,
    /// `None`: plaintext.
    pub tls: Option<TlsKeys>,
    /// Of one request; connections are given no longer.
    pub timeout: Duration,
    pub idle_timeout: Option<Duration>,
    pub refresh_interval: Duration,
    pub creates_topics: bool,
}

impl ClusterSettings {
    /// The brokers, for logs.
    pub fn destination(&self) -> String {
        self.brokers.join(",")
    }
}

/// Codecs of record batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BatchCompression {
    #[default]
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// Which brokers have a record before it counts as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequiredAcks {
    /// None says so.
    None,
    /// The partition's leader.
    Leader,
    /// Every replica that is in sync.
    All,
}

/// How records are written.
#[derive(Clone, Debug, PartialEq)]
pub struct WriterSettings {
    pub acks: RequiredAcks,
    pub compression: BatchCompression,
    pub level: Option<i32>,
    pub linger: Duration,
    /// Of one produce request.
    pub timeout: Duration,
    pub record_bytes_max: usize,
}

/// How the next assignment is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RebalanceStrategy {
    CooperativeSticky,
    Range,
    RoundRobin,
}

/// How a group is joined and read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberSettings {
    pub group_id: String,
    pub instance_id: Option<String>,
    /// Where a partition begins of which the group has committed nothing.
    pub from_earliest: bool,
    pub session_timeout: Duration,
    pub heartbeat_interval: Duration,
    pub strategies: Vec<RebalanceStrategy>,
    pub min_fetch_bytes: i32,
    pub max_fetch_bytes: i32,
    pub max_partition_fetch_bytes: i32,
    pub max_fetch_wait: Duration,
    /// BatchRecords of one poll.
    pub records_max: usize,
    /// Names of headers that are read.
    pub headers: Vec<String>,
}

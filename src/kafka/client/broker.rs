//! The client library (krafka) behind the seam: how a cluster is reached, who writes, and what its errors mean.

use std::sync::Arc;
use std::time::Duration;

use krafka::__private::kafka_metadata;
use krafka::auth::{AuthConfig, TlsConfig};
use krafka::producer::{Acks, Partitioner, Producer};
use krafka::{CloseOptions, Compression, Kafka, KrafkaError, Record};
use tokio::time::Instant;

use crate::config::client::TlsKeys;
use crate::core::data::budget::Budget;
use crate::core::stage::component::Task;
use crate::kafka::client::fault::{FaultScope, KafkaFault};
use crate::kafka::client::library_fault::fault_of;
use crate::kafka::client::member::KafkaMember;
use crate::kafka::client::partitioner::{PartitionTurns, partition_of};
use crate::kafka::client::seam::{
    Assignment, BatchCompression, ClusterSettings, ConsumerMember, MemberSettings, NewRecord, RecordWriter,
    RequiredAcks, SaslKind, SaslUser, WriterSettings,
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
        Ok(Arc::new(Writer { producer, kafka: self.kafka.clone() }))
    }

    /// A member of a group, which joins it when it polls.
    pub async fn member(
        &self,
        settings: &MemberSettings,
        assignment: Arc<dyn Assignment>,
        budget: &Arc<Budget>,
    ) -> Result<Arc<dyn ConsumerMember>, KafkaFault> {
        KafkaMember::join(&self.kafka, self.rack.as_deref(), (settings, assignment, budget)).await
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
    kafka: Kafka,
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

    fn has_topic<'a>(&'a self, topic: &'a str) -> Task<'a, Result<bool, KafkaFault>> {
        Box::pin(async move {
            let metadata = kafka_metadata(&self.kafka);
            let is_known = || metadata.topic(topic).is_some_and(|known| known.partition_count() > 0);
            if is_known() {
                return Ok(true);
            }
            match metadata.force_refresh(Some(&[topic])).await {
                Ok(()) | Err(KrafkaError::UnknownTopic { .. }) => Ok(is_known()),
                Err(error) => Err(fault_of(&error)),
            }
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

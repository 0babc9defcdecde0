//! What `doctor` asks a cluster: whether it answers, lets us in and has the topics. Nothing is written by it.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::core::data::payload::Signal;
use crate::core::stage::commands::probe::{Finding, Probe, ProbeHealth, ProbeReport, Remedy};
use crate::core::stage::component::Task;
use crate::kafka::client::broker::KafkaCluster;
use crate::kafka::client::fault::KafkaFault;
use crate::kafka::client::seam::{BatchCompression, ClusterSettings, RequiredAcks, WriterSettings};

/// For the cluster, and again for each topic.
const WAIT: Duration = Duration::from_secs(8);

pub struct TopicProbe {
    cluster: ClusterSettings,
    makes_topics: bool,
    /// With the names of their signals.
    topics: BTreeMap<String, String>,
}

impl TopicProbe {
    /// Opens nothing yet.
    pub fn new(cluster: &ClusterSettings, topics: impl Iterator<Item = (String, Signal)>) -> TopicProbe {
        let mut by_name: BTreeMap<String, String> = BTreeMap::new();
        for (topic, signal) in topics {
            let of = by_name.entry(topic).or_default();
            let comma = if of.is_empty() { "" } else { ", " };
            of.push_str(&format!("{comma}{}", signal.name()));
        }
        let makes_topics = cluster.creates_topics;
        // Asking for a topic makes none.
        let cluster = ClusterSettings { creates_topics: false, timeout: cluster.timeout.min(WAIT), ..cluster.clone() };
        TopicProbe { cluster, makes_topics, topics: by_name }
    }

    /// Nothing is written by it.
    fn asking(&self) -> WriterSettings {
        WriterSettings {
            acks: RequiredAcks::Leader,
            compression: BatchCompression::None,
            level: None,
            linger: Duration::ZERO,
            timeout: self.cluster.timeout,
            record_bytes_max: 1_024,
        }
    }

    async fn run(&self) -> ProbeReport {
        let destination = self.cluster.destination();
        let asked = async {
            let cluster = KafkaCluster::connect(&self.cluster).await?;
            cluster.writer(&self.asking()).await
        };
        let writer = match timeout(WAIT, asked).await {
            Ok(Ok(writer)) => writer,
            Ok(Err(fault)) => return ProbeReport { findings: vec![away(&destination, &fault)], remedies: Vec::new() },
            Err(_) => {
                let finding =
                    Finding::new(ProbeHealth::Bad, "brokers", format!("{destination}: no broker has answered"));
                return ProbeReport { findings: vec![finding], remedies: Vec::new() };
            }
        };
        let mut findings = Vec::new();
        for (topic, signals) in &self.topics {
            let known = timeout(WAIT, writer.partitions(topic)).await;
            findings.push(match known {
                Ok(Ok(count)) => {
                    let message = format!("{destination} has the topic {topic} with {count} partitions");
                    Finding::new(ProbeHealth::Good, signals, message)
                }
                _ if self.makes_topics => {
                    let message = format!("{destination} has no topic {topic} yet; the brokers may make it");
                    Finding::new(ProbeHealth::Doubtful, signals, message).with_help(PARTITIONS)
                }
                _ => {
                    let message = format!("{destination} has no topic {topic}, or shows it to nobody without rights");
                    Finding::new(ProbeHealth::Bad, signals, message).with_help(PARTITIONS)
                }
            });
        }
        writer.close(Instant::now() + Duration::from_secs(1)).await;
        ProbeReport { findings, remedies: Vec::new() }
    }
}

const PARTITIONS: &str = "make it with as many partitions as consumers shall ever share it";

fn away(destination: &str, fault: &KafkaFault) -> Finding {
    let help = fault.cure.map(str::to_owned);
    Finding { help, ..Finding::new(ProbeHealth::Bad, "brokers", format!("{destination}: {fault}")) }
}

impl Probe for TopicProbe {
    fn ask(&self) -> Task<'_, ProbeReport> {
        Box::pin(self.run())
    }

    fn apply<'a>(&'a self, _: &'a Remedy) -> Task<'a, Result<(), String>> {
        Box::pin(std::future::ready(Err("nothing can be changed at a cluster".to_owned())))
    }
}

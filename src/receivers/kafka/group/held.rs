//! The partitions that this member has at present, by who tells it of them; each has a lane of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::core::data::payload::Signal;
use crate::core::lock::Locked;
use crate::kafka::client::seam::{Assignment, Committable, FetchedRecord, TopicPartition};
use crate::receivers::kafka::group::partition::{HeldPartition, WaitingRecord, bytes_of};
use crate::receivers::kafka::lane::{LaneContext, PartitionLane};

pub struct HeldPartitions {
    lanes: Arc<LaneContext>,
    // Locked for a few instructions.
    by_name: Mutex<BTreeMap<TopicPartition, Arc<HeldPartition>>>,
    /// Lanes that have not ended.
    running: watch::Sender<usize>,
}

/// What waits for lanes takes one part in so many of the memory that payloads may have, so that lanes find some.
const WAITING_PART: u64 = 4;
const WAITING_BYTES_MAX: usize = 16 << 20;
/// A larger record than this part of it would wait for ever: its copy and its lists take as much again.
const RECORD_PART: u64 = 3;

fn waiting_of(held: &BTreeMap<TopicPartition, Arc<HeldPartition>>) -> usize {
    held.values().map(|held| held.waiting_bytes()).sum()
}

impl HeldPartitions {
    pub fn new(lanes: Arc<LaneContext>) -> Arc<HeldPartitions> {
        Arc::new(HeldPartitions { lanes, by_name: Mutex::default(), running: watch::Sender::new(0) })
    }

    pub fn all(&self) -> Vec<Arc<HeldPartition>> {
        self.by_name.locked().values().cloned().collect()
    }

    /// Gives records to their lanes, as far as there is memory for them; where there is none each partition has to be read on
    /// from the offset that is returned.
    pub fn hand_out(&self, records: Vec<FetchedRecord>) -> Vec<Committable> {
        let (held, budget) = (self.by_name.locked(), &self.lanes.host.budget);
        let mut waiting = waiting_of(&held);
        let mut left: BTreeMap<TopicPartition, i64> = BTreeMap::new();
        for record in records {
            let Some(partition) = held.get(&record.from) else {
                tracing::error!(partition = %record.from, "a record of a partition that nobody gave us");
                continue;
            };
            let bytes = bytes_of(&record);
            if left.contains_key(&record.from) {
                continue;
            }
            if bytes as u64 > budget.soft() / RECORD_PART {
                partition.push(WaitingRecord::TooLarge(record.offset, bytes));
                continue;
            }
            // One may wait in any case, so that every record comes to its turn.
            let fits = waiting == 0 || waiting + bytes <= self.waiting_max();
            // The value of a record from a batch is paid for by its batch.
            let paid = record.memory.as_ref().and(record.value.as_ref()).map_or(0, Bytes::len);
            match fits.then(|| budget.take((bytes - paid) as u64)) {
                Some(Ok(ticket)) => {
                    waiting += bytes;
                    partition.push(WaitingRecord::Read(record, ticket));
                }
                _ => drop(left.insert(record.from, record.offset)), // granted: as many as partitions
            }
        }
        left.into_iter().collect()
    }

    /// Whether more may be read: enough of what was has gone its way.
    pub fn has_room(&self) -> bool {
        waiting_of(&self.by_name.locked()) <= self.waiting_max() / 2
    }

    /// Bytes of records that may wait for all lanes together.
    fn waiting_max(&self) -> usize {
        usize::try_from(self.lanes.host.budget.soft() / WAITING_PART).unwrap_or(usize::MAX).min(WAITING_BYTES_MAX)
    }

    pub fn find(&self, partition: &TopicPartition) -> Option<Arc<HeldPartition>> {
        self.by_name.locked().get(partition).cloned()
    }

    /// A partition begins anew, with another window.
    pub fn renew(&self, partition: &TopicPartition) {
        self.take_away(std::slice::from_ref(partition));
        self.assigned(std::slice::from_ref(partition));
    }

    /// Nothing is read any more: what waits is forgotten, and what is refused is not tried again.
    pub fn stop(&self) {
        self.by_name.locked().values().for_each(|held| held.let_go());
    }

    /// Waits for the lanes to end what they have in hand.
    pub async fn idle(&self, until: Instant) {
        let mut running = self.running.subscribe();
        let _ = timeout_at(until, running.wait_for(|running| *running == 0)).await;
    }

    /// Forgets all partitions.
    pub fn forget(&self) {
        let all: Vec<TopicPartition> = self.by_name.locked().keys().cloned().collect();
        self.take_away(&all);
    }

    pub fn to_commit(&self) -> Vec<Committable> {
        let held = self.by_name.locked();
        held.iter().filter_map(|(name, held)| Some((name.clone(), held.to_commit()?))).collect()
    }

    pub fn committed(&self, offsets: &[Committable]) {
        let held = self.by_name.locked();
        for (partition, offset) in offsets {
            held.get(partition).iter().for_each(|held| held.committed(*offset));
        }
    }

    /// Records on their way.
    pub fn open(&self) -> usize {
        self.by_name.locked().values().map(|held| held.open()).sum()
    }

    fn take_away(&self, partitions: &[TopicPartition]) {
        let mut held = self.by_name.locked();
        let gone: Vec<Arc<HeldPartition>> = partitions.iter().filter_map(|partition| held.remove(partition)).collect();
        self.lanes.counts.partitions.set(i64::try_from(held.len()).unwrap_or(i64::MAX));
        drop(held);
        for partition in gone {
            partition.let_go();
            self.lanes.counts.let_go.add(partition.open() as u64);
        }
    }

    /// What is to be read of a topic.
    fn signals_of(&self, topic: &str) -> Vec<Signal> {
        let topics = Signal::ALL.into_iter().zip(&self.lanes.settings.topics);
        topics
            .filter(|(signal, _)| self.lanes.outputs.get(*signal).is_some())
            .filter_map(|(signal, topics)| topics.has(topic).then_some(signal))
            .collect()
    }
}

impl Assignment for HeldPartitions {
    fn assigned(&self, partitions: &[TopicPartition]) {
        for partition in partitions {
            let signals = self.signals_of(&partition.topic);
            let Some(first) = signals.first() else { continue };
            let encoding = self.lanes.settings.topics[first.index()].encoding;
            let (in_flight_max, budget) = (self.lanes.settings.in_flight_max, &self.lanes.host.budget);
            let held = HeldPartition::new(partition.clone(), (signals, encoding), in_flight_max, budget);
            let before = self.by_name.locked().insert(partition.clone(), held.clone());
            before.iter().for_each(|before| before.let_go());
            self.running.send_modify(|running| *running += 1);
            let (lane, running) = (PartitionLane::new(held, self.lanes.clone()), self.running.clone());
            let name = format!("{}/{partition}", self.lanes.path);
            // Ends with its partition.
            drop(self.lanes.host.tasks.spawn_idle(&name, async move {
                lane.run().await;
                running.send_modify(|running| *running -= 1);
            }));
        }
        self.lanes.counts.partitions.set(i64::try_from(self.by_name.locked().len()).unwrap_or(i64::MAX));
        if !partitions.is_empty() {
            tracing::info!(receiver = %self.lanes.path, partitions = partitions.len(), "partitions have come");
        }
    }

    fn revoked(&self, partitions: &[TopicPartition]) -> Vec<Committable> {
        let last = self.to_commit().into_iter().filter(|(partition, _)| partitions.contains(partition)).collect();
        self.take_away(partitions);
        tracing::info!(receiver = %self.lanes.path, partitions = partitions.len(), "partitions go to other members");
        last
    }

    fn lost(&self, partitions: &[TopicPartition]) {
        self.take_away(partitions);
        let why = "the group has gone on without this member, which commits nothing of them";
        tracing::warn!(receiver = %self.lanes.path, partitions = partitions.len(), "partitions are lost: {why}");
    }
}

//! Where a member reads its partitions, and the memory of what was fetched and not handed out yet.
//!
//! A batch is decompressed when its records are wanted, under a grant, and once: what is handed back (`seek`) within it is read
//! again from what is there. Batches are paid for as long as a record of them is. One may take as much as the configuration
//! allows while there is no other; beside it only what fits into the part of the budget that reading ahead may take.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::core::data::budget::Budget;
use crate::kafka::client::batch::{self, BatchFault, BatchRecords, HEAD_BYTES, RecordBatchHead};
use crate::kafka::client::fault::{BatchPlace, FaultScope, KafkaFault};
use crate::kafka::client::seam::{BatchMemory, FetchedRecord, TopicPartition};
use crate::net::compression::{InflateError, Inflater};

/// Reading ahead ends at three parts in four of the soft limit, so that records find memory for their way.
const AHEAD_PARTS: u64 = 3;
const AHEAD_OF: u64 = 4;
/// Fetched bytes of partitions that are paused are let go beyond this, and fetched again.
const FETCHED_BYTES_MAX: u64 = 8 << 20;
/// A batch, decompressed, may take half of the budget, so much in any case, and so much at most.
const BATCH_BYTES_MIN: u64 = 16 << 20;
const BATCH_BYTES_MAX: u64 = 64 << 20;
/// A batch that found no memory is tried again.
const MEMORY_WAIT: Duration = Duration::from_millis(100);
/// After so many tries, although hardly anything else has any, it never gets it.
const ALONE_MAX: u32 = 40;

/// Batches as a broker has sent them, from the one on that is read next.
struct Fetched {
    bytes: Bytes,
    memory: Arc<BatchMemory>,
}

/// A batch whose records are read.
struct OpenBatch {
    records: BatchRecords,
    memory: Arc<BatchMemory>,
    end: i64,
    /// Where the last call began to read in it: position, and the records from there on.
    before: (i64, BatchRecords),
}

/// Where one partition is read.
pub struct Reading {
    /// Of the next record; `None` while nobody knows.
    pub position: Option<i64>,
    pub is_paused: bool,
    /// Not asked for before.
    pub not_before: Instant,
    /// The replica that is nearest, and until when that is believed.
    pub near: Option<(i32, Instant)>,
    /// Behind the last record that can be read.
    pub end: i64,
    fetched: Option<Fetched>,
    open: Option<OpenBatch>,
    /// The batch ahead fits only where no other is open.
    is_large: bool,
    /// It is not tried before.
    tried_again: Instant,
    /// Tries of it for which hardly anything else had memory.
    alone: u32,
    fault: Option<KafkaFault>,
}

impl Reading {
    fn new(now: Instant) -> Reading {
        Reading {
            position: None,
            is_paused: false,
            not_before: now,
            near: None,
            end: 0,
            fetched: None,
            open: None,
            is_large: false,
            tried_again: now,
            alone: 0,
            fault: None,
        }
    }

    fn forget(&mut self) {
        (self.fetched, self.open, self.is_large, self.alone) = (None, None, false, 0);
    }

    /// Goes on at this offset, by what is there as far as it is.
    pub fn seek(&mut self, offset: i64) {
        let before = self.open.as_ref().map(|open| open.before.0);
        match (&mut self.open, self.position) {
            (Some(open), Some(position)) if before.is_some_and(|from| (from..=position).contains(&offset)) => {
                open.records = open.before.1.clone();
            }
            _ => self.forget(),
        }
        self.position = Some(offset);
    }

    /// Whether the brokers are to be asked for it.
    pub fn wants(&self, now: Instant) -> Option<i64> {
        let has_any = self.fetched.is_some() || self.open.is_some() || self.fault.is_some();
        self.position.filter(|_| !has_any && !self.is_paused && self.not_before <= now)
    }

    pub fn lag(&self) -> u64 {
        let of = |position: i64| u64::try_from(self.end.saturating_sub(position)).unwrap_or_default();
        self.position.map_or(0, of)
    }

    /// Reads records of the open batch into `out`, up to `max` of them. The batch stays until the next call, should some be handed
    /// back.
    fn read(&mut self, of: &TopicPartition, names: &[String], max: usize, out: &mut Vec<FetchedRecord>) {
        let (Some(open), Some(position)) = (&mut self.open, &mut self.position) else { return };
        open.before = (*position, open.records.clone());
        let had = out.len();
        while out.len() < max {
            match open.records.next(*position, names) {
                Ok(Some(record)) => {
                    *position = record.offset.saturating_add(1);
                    // granted: max records, each a slice of its batch
                    out.push(FetchedRecord {
                        from: of.clone(),
                        offset: record.offset,
                        value: record.value,
                        headers: record.headers,
                        memory: Some(open.memory.clone()),
                    });
                }
                Ok(None) => {
                    *position = open.end.max(*position);
                    drop(self.open.take_if(|_| out.len() == had));
                    return;
                }
                Err(why) => return self.fails(of, &why),
            }
        }
    }

    fn fails(&mut self, of: &TopicPartition, BatchFault(why): &BatchFault) {
        let (partition, offset) = (of.partition, self.position.unwrap_or_default());
        let place = BatchPlace { topic: of.topic.clone(), partition, offset };
        let message = format!("the batch of records at {of} offset {offset} cannot be read: {why}");
        let fault = KafkaFault::new(FaultScope::Record, "undecodable", message);
        self.forget();
        self.fault = Some(KafkaFault { at: Some(Box::new(place)), ..fault });
    }
}

/// All partitions of one member.
pub struct Readings {
    by_name: BTreeMap<TopicPartition, Reading>,
    budget: Arc<Budget>,
    /// Bytes of decompressed batches that are held, also by records on their way.
    inflated: Arc<AtomicU64>,
    inflater: Inflater,
    /// Who is first changes from call to call.
    turn: usize,
}

impl Readings {
    pub fn new(budget: &Arc<Budget>) -> Readings {
        Readings {
            by_name: BTreeMap::new(),
            budget: budget.clone(),
            inflated: Arc::default(),
            inflater: Inflater::default(),
            turn: 0,
        }
    }

    pub fn come(&mut self, partition: TopicPartition) {
        self.by_name.insert(partition, Reading::new(Instant::now()));
    }

    pub fn go(&mut self, partition: &TopicPartition) {
        self.by_name.remove(partition);
    }

    pub fn find(&mut self, partition: &TopicPartition) -> Option<&mut Reading> {
        self.by_name.get_mut(partition)
    }

    pub fn all(&mut self) -> impl Iterator<Item = (&TopicPartition, &mut Reading)> {
        self.by_name.iter_mut()
    }

    pub fn lag(&self) -> u64 {
        self.by_name.values().map(Reading::lag).sum()
    }

    /// Partitions to ask the brokers for, with their positions; others are first each time, because an answer has an end.
    pub fn wanted(&mut self, now: Instant) -> Vec<TopicPartition> {
        if !self.may_read_ahead() {
            return Vec::new();
        }
        let wanting = self.by_name.iter().filter(|(_, reading)| reading.wants(now).is_some());
        let mut wanted: Vec<TopicPartition> = wanting.map(|(name, _)| name.clone()).collect();
        self.turn = self.turn.wrapping_add(1);
        if !wanted.is_empty() {
            let first = self.turn % wanted.len();
            wanted.rotate_left(first);
        }
        wanted
    }

    /// Takes what a broker has sent of a partition; `answer` pays for the whole answer.
    pub fn take(&mut self, partition: &TopicPartition, bytes: Bytes, answer: &Arc<BatchMemory>) {
        if let Some(reading) = self.by_name.get_mut(partition).filter(|_| !bytes.is_empty()) {
            reading.fetched = Some(Fetched { bytes, memory: answer.clone() });
        }
    }

    /// BatchRecords of partitions that are not paused, or why one of them cannot be read.
    pub async fn hand_out(&mut self, names: &[String], max: usize) -> Result<Vec<FetchedRecord>, KafkaFault> {
        let mut out = Vec::new();
        let mut order: Vec<TopicPartition> = self.by_name.keys().cloned().collect();
        if !order.is_empty() {
            let first = self.turn % order.len();
            order.rotate_left(first);
        }
        for partition in order {
            while out.len() < max {
                let Some(reading) = self.by_name.get_mut(&partition).filter(|reading| !reading.is_paused) else {
                    break;
                };
                reading.read(&partition, names, max, &mut out);
                if reading.open.is_some() || reading.fault.is_some() {
                    break;
                }
                if !self.open(&partition).await {
                    break;
                }
            }
        }
        self.let_fetched_go();
        if !out.is_empty() {
            return Ok(out);
        }
        let fault = self.by_name.values_mut().find_map(|reading| reading.fault.take());
        fault.map_or(Ok(out), Err)
    }

    /// Opens the batch that comes next of a partition. False where there is none, or no memory for it.
    async fn open(&mut self, partition: &TopicPartition) -> bool {
        let (others, largest) = (self.inflated.load(Ordering::Relaxed), self.batch_bytes_max());
        let room = self.ahead().saturating_sub(self.budget.used());
        let Some(reading) = self.by_name.get_mut(partition) else { return false };
        // Before its checksum is looked at, which takes as long as the batch.
        if Instant::now() < reading.tried_again || (others > 0 && (reading.is_large || room == 0)) {
            return false;
        }
        let (Some(fetched), Some(position)) = (&mut reading.fetched, reading.position) else { return false };
        let head = match batch::head(&fetched.bytes) {
            Ok(Some(head)) => head,
            Ok(None) => {
                reading.fetched = None;
                return false;
            }
            Err(why) => {
                reading.fails(partition, &why);
                return true;
            }
        };
        let body = fetched.bytes.slice(HEAD_BYTES..head.bytes);
        let opened = if head.is_control || head.records == 0 || head.end <= position {
            Ok(None)
        } else if let Some(codec) = head.codec {
            let limit = if others == 0 { largest } else { room.min(largest) };
            let Ok(ticket) = self.budget.take(0) else { return reading.lacks(partition, others, &self.budget) };
            match self.inflater.inflate_batch(codec, &body, &ticket, limit).await {
                Ok(bytes) => Ok(Some((bytes, BatchMemory::of(ticket, Some(&self.inflated))))),
                Err(InflateError::TooLarge { .. }) if limit < largest => {
                    reading.is_large = true;
                    return false;
                }
                Err(InflateError::OverBudget(_)) => {
                    drop(ticket);
                    reading.is_large = true;
                    return reading.lacks(partition, others, &self.budget);
                }
                Err(InflateError::TooLarge { limit }) => {
                    Err(BatchFault(format!("it has more than {limit} bytes when it is decompressed")))
                }
                Err(why) => Err(BatchFault(why.to_string())),
            }
        } else if body.len() as u64 > largest {
            Err(BatchFault(format!("it has {} bytes, and podgate has memory for {largest}", body.len())))
        } else {
            Ok(Some((body, fetched.memory.clone())))
        };
        reading.opens(partition, &head, opened);
        true
    }

    fn may_read_ahead(&self) -> bool {
        let held = self.by_name.values().any(|reading| reading.fetched.is_some() || reading.open.is_some());
        let has_none = !held && self.inflated.load(Ordering::Relaxed) == 0;
        has_none || self.budget.used() < self.ahead()
    }

    /// What all memory together may be while more is read.
    fn ahead(&self) -> u64 {
        self.budget.soft() / AHEAD_OF * AHEAD_PARTS
    }

    fn batch_bytes_max(&self) -> u64 {
        (self.budget.hard() / 2).clamp(BATCH_BYTES_MIN, BATCH_BYTES_MAX).min(self.budget.soft() / 3 * 2)
    }

    /// What partitions that are paused have of answers is not kept beyond a bound.
    fn let_fetched_go(&mut self) {
        let of = |reading: &Reading| reading.fetched.as_ref().map_or(0, |fetched| fetched.bytes.len() as u64);
        if self.by_name.values().map(of).sum::<u64>() > FETCHED_BYTES_MAX {
            for reading in self.by_name.values_mut().filter(|reading| reading.is_paused) {
                reading.fetched = None;
            }
        }
    }
}

impl Reading {
    /// There is no memory for the batch ahead. True where there never is, which is a fault.
    fn lacks(&mut self, of: &TopicPartition, others: u64, budget: &Budget) -> bool {
        let is_alone = others == 0 && budget.used() < budget.soft() / 2;
        self.alone += u32::from(is_alone);
        self.tried_again = Instant::now() + MEMORY_WAIT;
        if self.alone < ALONE_MAX {
            return false;
        }
        self.fails(of, &BatchFault("it takes more memory than podgate has".to_owned()));
        true
    }

    /// Goes into a batch, or past it.
    fn opens(
        &mut self,
        of: &TopicPartition,
        head: &RecordBatchHead,
        opened: Result<Option<(Bytes, Arc<BatchMemory>)>, BatchFault>,
    ) {
        let position = self.position.unwrap_or(head.first);
        (self.is_large, self.alone) = (false, 0);
        let records = opened.and_then(|opened| {
            let open = |(bytes, memory)| BatchRecords::new(head, bytes).map(|records| (records, memory));
            opened.map(open).transpose()
        });
        match records {
            Ok(Some((records, memory))) => {
                self.open = Some(OpenBatch { before: (position, records.clone()), records, memory, end: head.end });
            }
            Ok(None) => self.position = Some(position.max(head.end)),
            Err(why) => return self.fails(of, &why),
        }
        if let Some(fetched) = &mut self.fetched {
            let rest = fetched.bytes.split_off(head.bytes);
            fetched.bytes = rest;
            drop(self.fetched.take_if(|fetched| fetched.bytes.is_empty()));
        }
    }
}

#[cfg(test)]
mod tests {
    use krafka::__private::protocol::{Compression, RecordBatchBuilder};

    use super::*;

    /// Batches one behind the other, each of so many records of so many bytes.
    fn batches(shape: &[(usize, usize)], codec: Compression) -> Bytes {
        let mut all = Vec::new();
        let mut first = 0_i64;
        for (records, bytes) in shape {
            let mut builder = RecordBatchBuilder::new().compression(codec);
            for _ in 0..*records {
                builder = builder.add_record(None::<Bytes>, Some(vec![7; *bytes]));
            }
            let mut batch = builder.build().encode().expect("a batch").to_vec();
            batch[..8].copy_from_slice(&first.to_be_bytes());
            first += *records as i64;
            all.extend(batch);
        }
        Bytes::from(all)
    }

    fn name(partition: i32) -> TopicPartition {
        TopicPartition { topic: "spans".into(), partition }
    }

    /// A member with these partitions, each at its first record with what was fetched of it.
    fn reading(budget: &Arc<Budget>, fetched: &[Bytes]) -> Readings {
        let mut readings = Readings::new(budget);
        for (at, bytes) in (0..).zip(fetched) {
            readings.come(name(at));
            readings.find(&name(at)).expect("it came").position = Some(0);
            let answer = BatchMemory::of(budget.overdraw(bytes.len() as u64), None);
            readings.take(&name(at), bytes.clone(), &answer);
        }
        readings
    }

    fn offsets(records: &[FetchedRecord]) -> Vec<i64> {
        records.iter().map(|record| record.offset).collect()
    }

    #[tokio::test]
    async fn what_is_handed_back_is_read_again_from_what_is_there() {
        let budget = Budget::new(64 << 20, 64 << 20);
        let mut readings = reading(&budget, &[batches(&[(5, 10), (3, 10)], Compression::Zstd)]);
        assert_eq!(offsets(&readings.hand_out(&[], 3).await.expect("sound")), [0, 1, 2]);
        readings.find(&name(0)).expect("there").seek(1);
        assert_eq!(offsets(&readings.hand_out(&[], 100).await.expect("sound")), [1, 2, 3, 4]);
        readings.find(&name(0)).expect("there").seek(3);
        assert_eq!(readings.find(&name(0)).expect("there").wants(Instant::now()), None, "nothing is fetched for it");
        assert_eq!(offsets(&readings.hand_out(&[], 100).await.expect("sound")), [3, 4]);
        assert_eq!(offsets(&readings.hand_out(&[], 100).await.expect("sound")), [5, 6, 7]);
        assert!(readings.hand_out(&[], 100).await.expect("sound").is_empty());
        assert_eq!((budget.used(), readings.wanted(Instant::now())), (0, vec![name(0)]), "all is given back");
        readings.find(&name(0)).expect("there").seek(2);
        assert_eq!(readings.find(&name(0)).expect("there").wants(Instant::now()), Some(2));
    }

    #[tokio::test]
    async fn a_batch_beside_another_is_opened_only_where_it_fits_and_else_when_that_is_gone() {
        let budget = Budget::new(40 << 20, 32 << 20);
        let large = batches(&[(24, 600_000)], Compression::Zstd);
        let mut readings = reading(&budget, &[large.clone(), large]);
        let first = readings.hand_out(&[], 100).await.expect("sound");
        assert_eq!(first.len(), 24, "of one partition");
        assert!(readings.hand_out(&[], 100).await.expect("sound").is_empty(), "its records hold the batch");
        assert!(budget.peak() <= 32 << 20, "{}", budget.peak());
        drop(first);
        assert_eq!(readings.hand_out(&[], 100).await.expect("sound").len(), 24);
    }

    #[tokio::test]
    async fn a_bomb_is_a_fault_of_its_partition_and_others_are_read() {
        let budget = Budget::new(40 << 20, 32 << 20);
        let bomb = batches(&[(1, 60 << 20)], Compression::Gzip);
        let mut readings = reading(&budget, &[bomb, batches(&[(2, 10)], Compression::None)]);
        assert_eq!(readings.hand_out(&[], 100).await.expect("the other one").len(), 2);
        let fault = readings.hand_out(&[], 100).await.expect_err("the bomb");
        assert_eq!(fault.at.map(|at| (at.partition, at.offset)), Some((0, 0)));
        assert!(budget.peak() <= 40 << 20, "{}", budget.peak());
    }
}

//! A model of the brokers: a topic of twelve partitions, a group with its coordinator, committed offsets.
//!
//! As strict as a real coordinator and no stricter: a commit is taken from any member that it knows, of any partition.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use crate::core::stage::component::Task;
use crate::kafka::client::fault::{FaultScope, KafkaFault};
use crate::kafka::client::seam::{Assignment, Committable, ConsumerMember, FetchedRecord, TopicPartition};
use crate::receivers::kafka::tests::sampler::{Book, Incarnation};

pub const PARTITIONS: usize = 12;
pub const TOPIC: &str = "spans";
const SESSION: Duration = Duration::from_secs(10);
/// Records of one poll.
const POLLED_MAX: usize = 40;

type MemberId = u64;

struct State {
    logs: Vec<Vec<Bytes>>,
    committed: Vec<Option<i64>>,
    /// Known members, and when their sessions end.
    members: BTreeMap<MemberId, Instant>,
    wanted: Vec<Option<MemberId>>,
    owner: Vec<Option<MemberId>>,
    next: MemberId,
    away_until: Option<Instant>,
    times_away: u64,
    faults: Vec<String>,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    state: Arc<Mutex<State>>,
    book: Book,
}

fn partition(at: usize) -> TopicPartition {
    TopicPartition { topic: TOPIC.into(), partition: i32::try_from(at).unwrap_or_default() }
}

fn place(of: &TopicPartition) -> usize {
    usize::try_from(of.partition).unwrap_or_default()
}

fn away() -> KafkaFault {
    KafkaFault::new(FaultScope::Passing, "away", "no broker answers")
}

impl State {
    fn is_away(&self) -> bool {
        self.away_until.is_some_and(|until| until > Instant::now())
    }

    /// Members whose session is over are known no more. A coordinator that comes back gives each another session.
    fn expire(&mut self) {
        let now = Instant::now();
        if self.is_away() {
            return;
        }
        if self.away_until.take().is_some() {
            self.members.values_mut().for_each(|until| *until = now + SESSION);
        }
        let before = self.members.len();
        self.members.retain(|_, until| *until > now);
        if self.members.len() != before {
            self.rebalance();
        }
    }

    /// Each keeps what it has, as far as that is its share.
    fn rebalance(&mut self) {
        for owner in self.owner.iter_mut().filter(|owner| owner.is_some_and(|id| !self.members.contains_key(&id))) {
            *owner = None;
        }
        let share = PARTITIONS.div_ceil(self.members.len().max(1));
        let mut counts: BTreeMap<MemberId, usize> = self.members.keys().map(|id| (*id, 0)).collect();
        for wanted in &mut self.wanted {
            let keeps = wanted.filter(|id| counts.get(id).is_some_and(|count| *count < share));
            keeps.iter().for_each(|id| *counts.entry(*id).or_default() += 1);
            *wanted = keeps;
        }
        for wanted in self.wanted.iter_mut().filter(|wanted| wanted.is_none()) {
            *wanted = counts.iter().min_by_key(|(_, count)| **count).map(|(id, _)| *id);
            wanted.iter().for_each(|id| *counts.entry(*id).or_default() += 1);
        }
    }
}

impl Cluster {
    pub fn new(book: &Book) -> Cluster {
        let state = State {
            logs: vec![Vec::new(); PARTITIONS],
            committed: vec![None; PARTITIONS],
            members: BTreeMap::new(),
            wanted: vec![None; PARTITIONS],
            owner: vec![None; PARTITIONS],
            next: 0,
            away_until: None,
            times_away: 0,
            faults: Vec::new(),
        };
        Cluster { state: Arc::new(Mutex::new(state)), book: book.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }

    pub fn is_away(&self) -> bool {
        self.lock().is_away()
    }

    pub fn away_for(&self, time: Duration) {
        let mut state = self.lock();
        state.away_until = Some(Instant::now() + time);
        state.times_away += 1;
    }

    /// Appends a record; its partition and offset.
    pub fn append(&self, key: u64, value: Bytes) -> (usize, i64) {
        let at = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % PARTITIONS;
        let log = &mut self.lock().logs[at];
        log.push(value);
        (at, log.len() as i64 - 1)
    }

    pub fn is_read_to_the_end(&self) -> bool {
        let state = self.lock();
        let ends = state.logs.iter().map(|log| log.len() as i64);
        ends.zip(&state.committed).all(|(end, committed)| committed.unwrap_or(0) == end)
    }

    /// Of each partition what is committed, and its end.
    pub fn progress(&self) -> String {
        let state = self.lock();
        let each =
            state.logs.iter().zip(&state.committed).map(|(log, at)| format!("{}/{}", at.unwrap_or(0), log.len()));
        each.collect::<Vec<_>>().join(" ")
    }

    pub fn faults(&self) -> Vec<String> {
        self.lock().faults.clone()
    }

    fn commit(&self, by: &Incarnation, id: Option<MemberId>, offsets: &[Committable]) -> Result<(), KafkaFault> {
        let mut state = self.lock();
        if state.is_away() {
            return Err(away());
        }
        state.expire();
        if !id.is_some_and(|id| state.members.contains_key(&id)) {
            return Err(KafkaFault::new(FaultScope::Passing, "UNKNOWN_MEMBER_ID", "the session is over"));
        }
        for (of, offset) in offsets {
            let at = place(of);
            let from = state.committed[at].unwrap_or(0);
            if let Some(open) = (from..*offset).find(|offset| !self.book.has_ended(by.number, at, *offset)) {
                let fault =
                    format!("early: sampler {} commits {of} at {offset}, and {open} has no end there", by.number);
                state.faults.push(fault);
            }
            state.committed[at] = Some(*offset);
        }
        Ok(())
    }
}

/// One member's client. What its process cannot do any more never completes.
pub struct ModelMember {
    pub cluster: Cluster,
    pub process: Incarnation,
    pub told: Arc<dyn Assignment>,
    own: Mutex<Own>,
}

#[derive(Default)]
struct Own {
    id: Option<MemberId>,
    positions: BTreeMap<usize, i64>,
    paused: BTreeSet<usize>,
}

impl ModelMember {
    pub fn new(cluster: &Cluster, process: &Incarnation, told: Arc<dyn Assignment>) -> ModelMember {
        ModelMember { cluster: cluster.clone(), process: process.clone(), told, own: Mutex::default() }
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        self.own.lock().expect("not poisoned")
    }

    /// Joins, or says that it lives; what was its own may be lost.
    fn join(&self) {
        let mut state = self.cluster.lock();
        state.expire();
        let known = self.own().id.filter(|id| state.members.contains_key(id));
        let until = Instant::now() + SESSION;
        if let Some(id) = known {
            state.members.insert(id, until);
            return;
        }
        state.next += 1;
        let id = state.next;
        state.members.insert(id, until);
        state.rebalance();
        drop(state);
        let lost: Vec<TopicPartition> = std::mem::take(&mut self.own().positions).into_keys().map(partition).collect();
        self.own().id = Some(id);
        if !lost.is_empty() {
            self.told.lost(&lost);
        }
    }

    /// Partitions go, and then others come.
    fn exchange(&self) {
        let Some(id) = self.own().id else { return };
        let state = self.cluster.lock();
        let goes = |at: &usize| state.owner[*at] == Some(id) && state.wanted[*at] != Some(id);
        let gone: Vec<usize> = (0..PARTITIONS).filter(goes).collect();
        drop(state);
        if !gone.is_empty() {
            let last = self.told.revoked(&gone.iter().copied().map(partition).collect::<Vec<_>>());
            let _ = self.cluster.commit(&self.process, Some(id), &last);
        }
        let mut state = self.cluster.lock();
        gone.iter().for_each(|at| state.owner[*at] = None);
        let comes = |at: &usize| state.owner[*at].is_none() && state.wanted[*at] == Some(id);
        let come: Vec<usize> = (0..PARTITIONS).filter(comes).collect();
        come.iter().for_each(|at| state.owner[*at] = Some(id));
        let positions: Vec<_> = come.iter().map(|at| (*at, state.committed[*at].unwrap_or(0))).collect();
        drop(state);
        let mut own = self.own();
        gone.iter().for_each(|at| _ = own.positions.remove(at));
        own.positions.extend(positions);
        drop(own);
        if !come.is_empty() {
            self.told.assigned(&come.into_iter().map(partition).collect::<Vec<_>>());
        }
    }

    fn fetch(&self) -> Vec<FetchedRecord> {
        let state = self.cluster.lock();
        let mut own = self.own();
        let Own { positions, paused, .. } = &mut *own;
        let mut records = Vec::new();
        for (at, position) in positions.iter_mut().filter(|(at, _)| !paused.contains(at)) {
            let log = state.logs[*at].iter().enumerate().skip(*position as usize);
            for (offset, value) in log.take(POLLED_MAX.saturating_sub(records.len())) {
                *position = offset as i64 + 1;
                let (from, value) = (partition(*at), Some(value.clone()));
                records.push(FetchedRecord { from, offset: offset as i64, value, headers: Vec::new(), memory: None });
            }
        }
        records
    }
}

impl ConsumerMember for ModelMember {
    fn subscribe<'a>(&'a self, _: &'a [String]) -> Task<'a, Result<(), KafkaFault>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn poll(&self, wait: Duration) -> Task<'_, Result<Vec<FetchedRecord>, KafkaFault>> {
        Box::pin(async move {
            self.process.runs().await;
            if self.cluster.is_away() {
                sleep(wait).await;
                return Err(away());
            }
            self.join();
            self.exchange();
            let records = self.fetch();
            if records.is_empty() {
                sleep(wait).await;
            }
            Ok(records)
        })
    }

    fn commit<'a>(&'a self, offsets: &'a [Committable]) -> Task<'a, Result<(), KafkaFault>> {
        Box::pin(async move {
            self.process.runs().await;
            let id = self.own().id;
            self.cluster.commit(&self.process, id, offsets)
        })
    }

    fn pause<'a>(&'a self, of: &'a TopicPartition) -> Task<'a, ()> {
        self.own().paused.insert(place(of));
        Box::pin(std::future::ready(()))
    }

    fn resume<'a>(&'a self, of: &'a TopicPartition) -> Task<'a, ()> {
        self.own().paused.remove(&place(of));
        Box::pin(std::future::ready(()))
    }

    fn seek<'a>(&'a self, of: &'a TopicPartition, offset: i64) -> Task<'a, Result<(), KafkaFault>> {
        self.own().positions.entry(place(of)).and_modify(|position| *position = offset);
        Box::pin(std::future::ready(Ok(())))
    }

    fn committed<'a>(&'a self, of: &'a TopicPartition) -> Task<'a, Result<Option<i64>, KafkaFault>> {
        let state = self.cluster.lock();
        let committed = if state.is_away() { Err(away()) } else { Ok(state.committed[place(of)]) };
        drop(state);
        Box::pin(std::future::ready(committed))
    }

    fn member_id(&self) -> Task<'_, String> {
        let id = self.own().id.map_or_else(String::new, |id| id.to_string());
        Box::pin(std::future::ready(id))
    }

    fn topics(&self) -> Task<'_, Result<Vec<String>, KafkaFault>> {
        Box::pin(std::future::ready(Ok(vec![TOPIC.to_owned()])))
    }

    fn ended_connections(&self) -> u64 {
        self.cluster.lock().times_away
    }

    fn answers<'a>(&'a self, _: &'a TopicPartition) -> Task<'a, Result<(), KafkaFault>> {
        Box::pin(std::future::ready(if self.cluster.is_away() { Err(away()) } else { Ok(()) }))
    }

    fn lag(&self) -> Task<'_, u64> {
        Box::pin(std::future::ready(0))
    }

    fn close(&self, _: Duration) -> Task<'_, ()> {
        Box::pin(async move {
            let id = self.own().id.take();
            let mut state = self.cluster.lock();
            id.iter().for_each(|id| _ = state.members.remove(id));
            state.rebalance();
        })
    }
}

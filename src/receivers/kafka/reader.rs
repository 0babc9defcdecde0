//! The task that reads: it is the member of the group, gives records to the lanes of their partitions, and commits what
//! has settled.
//!
//! Polls and commits follow each other, so that nothing is committed under a membership that began after partitions were
//! taken away. A partition whose lane is behind is paused; the poll goes on for the others, and keeps the membership.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::core::data::payload::Signal;
use crate::core::report::status::{State, StatusTeller};
use crate::core::stage::tasks::Pulse;
use crate::kafka::client::broker::KafkaCluster;
use crate::kafka::client::fault::{BatchPlace, FaultScope, KafkaFault};
use crate::kafka::client::seam::{ConsumerMember, FetchedRecord, TopicPartition};
use crate::receivers::kafka::away::BrokerWatch;
use crate::receivers::kafka::group::held::HeldPartitions;
use crate::receivers::kafka::lane::LaneContext;

const POLL_WAIT: Duration = Duration::from_millis(200);
/// The same while a partition is paused.
const PAUSED_WAIT: Duration = Duration::from_millis(10);
/// A partition with a batch that cannot be decoded is tried again.
const HALTED_FOR: Duration = Duration::from_secs(60);
/// After records for which there was no memory.
const MEMORY_WAIT: Duration = Duration::from_millis(50);
const IDLE: Duration = Duration::from_millis(5);
/// A coordinator that does not answer a commit by then is asked again at the next one.
const COMMIT_MAX: Duration = Duration::from_secs(10);
/// Between two looks for records that were cut off.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// What was lost is sought again after so many looks, should it not have come.
const LOOKS_A_SEEK: u32 = 15;
/// Between two looks at which topics are wanted.
const TOPICS_EVERY: Duration = Duration::from_secs(5);
/// Patterns are matched against the cluster's topics no more often.
const PATTERNS_EVERY_MAX: Duration = Duration::from_secs(60);
const AGAIN_AFTER: Duration = Duration::from_secs(1);
const RECONNECT_MAX: Duration = Duration::from_secs(10);
const CONNECT_MAX: Duration = Duration::from_secs(60);
/// While the receiver drains offsets are committed this often.
const LAST_COMMITS_EVERY: Duration = Duration::from_millis(200);
const LEAVE_MAX: Duration = Duration::from_secs(2);

/// How reading ended.
enum Ended {
    Drained,
    /// The client has to be made anew.
    Broken(KafkaFault),
}

pub struct KafkaReader {
    pub cx: Arc<LaneContext>,
    pub held: Arc<HeldPartitions>,
    pub status: StatusTeller,
    /// Set when everything behind the receiver has drained.
    pub last: watch::Receiver<bool>,
    /// The code of the trouble that was told of.
    pub failing: Option<String>,
}

/// What is due at which moment.
struct Due {
    commit: Instant,
    look: Instant,
    topics: Instant,
    looks: u32,
}

impl KafkaReader {
    pub async fn run(mut self, pulse: Arc<Pulse>) {
        pulse.waits_for("records, or the group's coordinator");
        let mut wait = AGAIN_AFTER;
        while !self.is_stopped() {
            match self.serve(&pulse).await {
                Ended::Drained => return,
                Ended::Broken(fault) => self.fails(&fault),
            }
            self.pause(wait, &pulse).await;
            wait = (wait * 2).min(RECONNECT_MAX);
        }
    }

    /// The life of one client.
    async fn serve(&mut self, pulse: &Pulse) -> Ended {
        let cx = self.cx.clone();
        let mut stop = cx.stop.clone();
        let joined = async {
            let cluster = KafkaCluster::connect(&cx.settings.cluster).await?;
            cluster.member(&cx.settings.member, self.held.clone(), &cx.host.budget).await
        };
        let joined = beating(pulse, timeout(CONNECT_MAX, joined));
        let member = tokio::select! {
            biased;
            _ = stop.wait_for(Option::is_some) => return Ended::Drained,
            joined = joined => joined,
        };
        let member = match member {
            Ok(Ok(member)) => member,
            Ok(Err(fault)) => return Ended::Broken(fault),
            Err(_) => return Ended::Broken(KafkaFault::new(FaultScope::Client, "timeout", "no broker has answered")),
        };
        let ended = match self.read(&*member, pulse).await {
            Ok(()) => Ended::Drained,
            Err(fault) => Ended::Broken(fault),
        };
        beating(pulse, member.close(LEAVE_MAX)).await;
        self.held.forget();
        ended
    }

    /// Reads until the receiver drains; then commits until everything has settled, or nobody waits for it any more.
    pub(super) async fn read(&mut self, member: &dyn ConsumerMember, pulse: &Pulse) -> Result<(), KafkaFault> {
        let (mut subscribed, mut identity) = (Vec::new(), String::new());
        let now = Instant::now();
        let mut due = Due { commit: now, look: now, topics: now, looks: 0 };
        let mut stop = self.cx.stop.clone();
        let mut wait = POLL_WAIT;
        let mut watch = BrokerWatch::new(&self.cx.host.absences);
        while !self.is_stopped() {
            pulse.beat();
            if Instant::now() >= due.topics {
                self.follow_topics(member, &mut subscribed).await?;
                due.topics = Instant::now() + self.topics_every();
            }
            if subscribed.is_empty() {
                self.pause(AGAIN_AFTER, pulse).await;
                continue;
            }
            let polled = tokio::select! {
                biased;
                _ = stop.wait_for(Option::is_some) => continue,
                polled = beating(pulse, member.poll(wait)) => polled,
            };
            let has_read = match polled {
                Ok(records) => {
                    self.take(member, records, &mut identity).await?;
                    true
                }
                Err(fault) if fault.scope == FaultScope::Client => return Err(fault),
                Err(fault) => {
                    self.misses(&fault, pulse).await;
                    false
                }
            };
            let own = self.held.all().into_iter().map(|held| held.of.clone());
            match beating(pulse, watch.look(member, own)).await {
                Some(fault) => self.fails(&fault),
                None if has_read && !watch.is_away() => self.works(),
                None => {}
            }
            // A poll does not end when a lane has room again.
            wait = if self.regulate(member).await > 0 { PAUSED_WAIT } else { POLL_WAIT };
            self.keep_up(member, &mut due).await;
        }
        self.finish(member, pulse).await;
        Ok(())
    }

    /// Gives what a poll brought to the lanes.
    async fn take(
        &mut self,
        member: &dyn ConsumerMember,
        records: Vec<FetchedRecord>,
        identity: &mut String,
    ) -> Result<(), KafkaFault> {
        let now = member.member_id().await;
        let is_another = !identity.is_empty() && !now.is_empty() && *identity != now;
        if records.is_empty() {
            // A poll may return at once, and lanes share this thread.
            sleep(IDLE).await;
        }
        // What was read by positions of the member before is dropped where partitions begin anew.
        if !(is_another && self.begin_anew(member).await?) {
            let left = self.held.hand_out(records);
            for (partition, offset) in &left {
                // Should that fail, what was left out would be passed over: the client begins anew.
                member.seek(partition, *offset).await?;
            }
            if !left.is_empty() {
                // Without memory each poll would fetch the same records at once.
                sleep(MEMORY_WAIT).await;
            }
        }
        if !now.is_empty() {
            *identity = now;
        }
        Ok(())
    }

    /// A poll brought nothing, for a reason that may pass or is one partition's.
    async fn misses(&mut self, fault: &KafkaFault, pulse: &Pulse) {
        if !fault.at.as_deref().is_some_and(|place| self.halt(place, fault)) {
            self.fails(fault);
            self.pause(AGAIN_AFTER, pulse).await;
        }
    }

    async fn keep_up(&mut self, member: &dyn ConsumerMember, due: &mut Due) {
        let now = Instant::now();
        if now >= due.commit {
            due.commit = now + self.cx.settings.commit_interval;
            self.commit(member).await;
            let counts = &self.cx.counts;
            counts.in_flight.set(i64::try_from(self.held.open()).unwrap_or(i64::MAX));
            counts.lag.set(i64::try_from(member.lag().await).unwrap_or(i64::MAX));
        }
        if now >= due.look {
            (due.look, due.looks) = (now + LOOK_EVERY, due.looks.wrapping_add(1));
            self.read_lost_again(member, due.looks.is_multiple_of(LOOKS_A_SEEK)).await;
        }
    }

    /// What pipelines want of the cluster's topics now.
    async fn follow_topics(
        &mut self,
        member: &dyn ConsumerMember,
        subscribed: &mut Vec<String>,
    ) -> Result<(), KafkaFault> {
        let cx = self.cx.clone();
        let wanted = || Signal::ALL.into_iter().filter(|signal| cx.outputs.get(*signal).is_some());
        let of = |signal: Signal| &cx.settings.topics[signal.index()];
        let mut topics: Vec<String> = wanted().flat_map(|signal| of(signal).names.clone()).collect();
        if wanted().any(|signal| !of(signal).patterns.is_empty()) {
            match member.topics().await {
                // granted: as many as the cluster has and the configuration means
                Ok(all) => topics.extend(all.into_iter().filter(|topic| wanted().any(|signal| of(signal).has(topic)))),
                Err(fault) if fault.scope == FaultScope::Client => return Err(fault),
                Err(fault) => {
                    self.fails(&fault);
                    return Ok(());
                }
            }
        }
        topics.sort_unstable();
        topics.dedup();
        if topics == *subscribed {
            return Ok(());
        }
        match member.subscribe(&topics).await {
            Ok(()) => {
                tracing::info!(receiver = %self.cx.path, topics = %topics.join(","), "subscribes to topics");
                *subscribed = topics;
                Ok(())
            }
            Err(fault) if fault.scope == FaultScope::Client => Err(fault),
            Err(fault) => {
                self.fails(&fault);
                Ok(())
            }
        }
    }

    fn topics_every(&self) -> Duration {
        let has_patterns = self.cx.settings.topics.iter().any(|topics| !topics.patterns.is_empty());
        let refreshed = self.cx.settings.cluster.refresh_interval.min(PATTERNS_EVERY_MAX);
        if has_patterns { refreshed } else { TOPICS_EVERY }
    }

    /// The coordinator knows us as another member: whatever was ours may have been another's meanwhile, which has committed.
    /// True where partitions begin anew at what the group has committed.
    async fn begin_anew(&mut self, member: &dyn ConsumerMember) -> Result<bool, KafkaFault> {
        let mut began = false;
        for held in self.held.all() {
            // Where nothing is committed nobody has gone on.
            let Some(offset) = member.committed(&held.of).await? else { continue };
            self.held.renew(&held.of);
            member.seek(&held.of, offset).await?;
            began = true;
        }
        tracing::info!(receiver = %self.cx.path, "another membership began: reads on from what the group has committed");
        Ok(began)
    }

    /// Pauses partitions whose lanes are behind, and resumes the others; how many are paused.
    async fn regulate(&self, member: &dyn ConsumerMember) -> i64 {
        let (mut paused, has_room) = (0, self.held.has_room());
        for held in self.held.all() {
            let is_full = !has_room || !held.has_room();
            paused += i64::from(is_full);
            match held.set_paused(is_full) {
                true if is_full => member.pause(&held.of).await,
                true => member.resume(&held.of).await,
                false => {}
            }
        }
        self.cx.counts.paused.set(paused);
        paused
    }

    /// A batch cannot be decoded: its partition waits, alone. False where nobody holds it.
    fn halt(&self, place: &BatchPlace, fault: &KafkaFault) -> bool {
        let (partition, offset) = (place.partition, place.offset);
        let partition = TopicPartition { topic: place.topic.clone(), partition };
        let Some(held) = self.held.find(&partition) else { return false };
        self.cx.counts.undecodable.add(1);
        if held.halt(offset, Instant::now() + HALTED_FOR) {
            let cure = "read it with another client, or move the group's offset beyond it (kafka-consumer-groups --reset-offsets)";
            tracing::error!(
                receiver = %self.cx.path, %partition, offset, cause = %fault, cure,
                "a batch of records cannot be decoded: its partition is not read beyond it"
            );
        }
        true
    }

    async fn commit(&mut self, member: &dyn ConsumerMember) {
        let offsets = self.held.to_commit();
        if offsets.is_empty() {
            return;
        }
        match timeout(COMMIT_MAX, member.commit(&offsets)).await {
            Ok(Ok(())) => {
                self.cx.counts.commits.add(1);
                self.held.committed(&offsets);
            }
            Ok(Err(fault)) => tracing::debug!(receiver = %self.cx.path, %fault, "the commit comes again"),
            Err(_) => tracing::debug!(receiver = %self.cx.path, "the coordinator has not answered the commit"),
        }
    }

    async fn read_lost_again(&self, member: &dyn ConsumerMember, is_time: bool) {
        for held in self.held.all() {
            let (lost, lowest) = held.look_for_lost();
            self.cx.counts.again.add(lost);
            let Some(offset) = lowest.filter(|_| lost > 0 || is_time) else { continue };
            if let Err(fault) = member.seek(&held.of, offset).await {
                tracing::debug!(receiver = %self.cx.path, partition = %held.of, %fault, "what was cut off is not read yet");
            }
        }
    }

    /// What is on its way may still settle while the stages behind drain.
    async fn finish(&mut self, member: &dyn ConsumerMember, pulse: &Pulse) {
        self.held.stop();
        let deadline = self.cx.stop.borrow().unwrap_or_else(Instant::now) + LEAVE_MAX;
        let mut last = self.last.clone();
        loop {
            pulse.beat();
            self.commit(member).await;
            let is_over = *last.borrow() || Instant::now() >= deadline || self.held.open() == 0;
            if is_over {
                break;
            }
            tokio::select! {
                () = sleep(LAST_COMMITS_EVERY) => {}
                _ = last.wait_for(|last| *last) => {}
            }
        }
        self.commit(member).await;
        let open = self.held.open();
        if open > 0 {
            tracing::info!(receiver = %self.cx.path, records = open, "records without an end are left to the next member");
        }
    }

    fn is_stopped(&self) -> bool {
        self.cx.stop.borrow().is_some()
    }

    async fn pause(&self, wait: Duration, pulse: &Pulse) {
        let mut stop = self.cx.stop.clone();
        tokio::select! {
            () = beating(pulse, sleep(wait)) => {}
            _ = stop.wait_for(Option::is_some) => {}
        }
    }

    fn works(&mut self) {
        if self.failing.take().is_some() {
            self.status.tell(State::Ok, "");
            tracing::info!(receiver = %self.cx.path, "reads from the brokers again");
        }
    }

    fn fails(&mut self, fault: &KafkaFault) {
        if self.failing.as_ref() == Some(&fault.code) {
            return;
        }
        let brokers = self.cx.settings.cluster.destination();
        let cure = fault.cure.unwrap_or_default();
        self.status.tell(State::Degraded, format!("{brokers}: {fault}; {cure}"));
        tracing::warn!(receiver = %self.cx.path, brokers, cause = %fault, cure, "nothing is read from Kafka for now");
        self.failing = Some(fault.code.clone());
    }
}

/// Waits and beats.
async fn beating<T>(pulse: &Pulse, what: impl Future<Output = T>) -> T {
    tokio::pin!(what);
    loop {
        tokio::select! {
            biased;
            done = &mut what => return done,
            () = sleep(Pulse::INTERVAL / 2) => pulse.beat(),
        }
    }
}

//! The applications of the demo: traces through the shop's pods, sent over real sockets, restarts included.
//!
//! Each run of a container is a process: it has its own connection, sends from its first moment (long before its status
//! is published) and leaves late spans behind when it dies. What is true of each span goes into its id (`truth`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::core::time::UnixNanos;
use crate::lab::api_double::{Sandbox, TrueRun};
use crate::lab::demo::cast::{Member, Tier};
use crate::lab::demo::published::{PublishedStatuses, Reader};
use crate::lab::demo::truth::{IdVerdict, Runs, Stamp, collectors_rule, span_id};
use crate::lab::loadgen::generate::{GeneratedSpan, Templates, request};
use crate::lab::loadgen::sender;
use crate::lab::loadgen::sender::{LoadProtocol, LoadSender};
use crate::net::client::compress::Compression;

/// Between two rounds of sending.
pub const ROUND: Duration = Duration::from_millis(100);
/// Requests in flight at most; a gateway that does not answer stops the traffic, not the demo.
const IN_FLIGHT_MAX: usize = 256;
/// How long after its death the last spans of a run arrive.
const LATE_BY: Duration = Duration::from_millis(1_500);
const LATE_SPANS: usize = 20;
const SLOW: Duration = Duration::from_millis(1_200);
const FAILED_PERCENT: u8 = 5;
const SLOW_PERCENT: u8 = 5;

/// Where the gateway listens.
#[derive(Clone, Debug)]
pub struct Doors {
    pub grpc: String,
    pub http: String,
}

/// What the applications were answered.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    pub spans: u64,
    pub accepted: u64,
    /// Anything else than accepted, with the latest reason.
    pub unhappy: u64,
    pub last_failure: Option<String>,
}

/// A process: one run of one member, with its own connection.
struct Process {
    run: TrueRun,
    number: u32,
    sender: Arc<LoadSender>,
}

/// Spans that leave after the process that made them died.
struct Late {
    due: Instant,
    sender: Arc<LoadSender>,
    resource: bytes::Bytes,
    items: Vec<u8>,
    spans: u64,
}

pub struct Traffic {
    sandbox: Arc<Sandbox>,
    runs: Arc<Runs>,
    doors: Doors,
    reader: Reader,
    members: Vec<Member>,
    /// By place in `members`; `None` while the container is between two runs.
    processes: Vec<Option<Process>>,
    statuses: PublishedStatuses,
    templates: Templates,
    random: fastrand::Rng,
    late: VecDeque<Late>,
    in_flight: JoinSet<(u64, sender::SendResult)>,
    pub sent: Sent,
}

/// Items and spans of one process in one round.
#[derive(Default)]
struct Batch {
    items: Vec<u8>,
    spans: u64,
}

impl Traffic {
    pub fn new(sandbox: Arc<Sandbox>, runs: Arc<Runs>, doors: Doors, reader: Reader, members: Vec<Member>) -> Traffic {
        Traffic {
            processes: members.iter().map(|_| None).collect(),
            sandbox,
            runs,
            doors,
            reader,
            members,
            statuses: PublishedStatuses::default(),
            templates: Templates::default(),
            random: fastrand::Rng::with_seed(7),
            late: VecDeque::new(),
            in_flight: JoinSet::new(),
            sent: Sent::default(),
        }
    }

    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Every run that there was, as it really was.
    pub fn truth(&self) -> Vec<TrueRun> {
        self.sandbox.truth()
    }

    pub fn now(&self) -> UnixNanos {
        self.sandbox.now()
    }

    /// The truth about a member at this moment, when it runs.
    pub fn running(&self, member: usize) -> Option<&TrueRun> {
        self.processes[member].as_ref().map(|process| &process.run)
    }

    /// Sends `traces` traces as they would have ended just now.
    pub async fn round(&mut self, traces: usize) {
        if let Some(statuses) = self.reader.read().await {
            self.statuses = statuses;
        }
        self.follow_truth();
        let mut batches = BTreeMap::new();
        for _ in 0..traces {
            self.trace(&mut batches);
        }
        for (member, batch) in batches {
            let Some(process) = &self.processes[member] else { continue };
            let (sender, resource) = (process.sender.clone(), self.members[member].resource());
            self.send(sender, &resource, batch);
        }
        self.send_late();
        self.collect();
    }

    /// Restarts a member's container; its last spans arrive after the new run began.
    pub fn restart(&mut self, member: usize, crash_loop: bool) -> Option<TrueRun> {
        self.follow_truth();
        self.leave_late_spans(member);
        let Member { pod, container, .. } = &self.members[member];
        let (namespace, name) = (pod.namespace.as_str(), pod.name.as_str());
        match crash_loop {
            true => self.sandbox.crash_container(namespace, name, container),
            false => self.sandbox.restart_container(namespace, name, container),
        }
    }

    /// Waits for answers to everything that was sent.
    pub async fn finish(&mut self) {
        while let Some(late) = self.late.pop_front() {
            self.send(late.sender, &late.resource, Batch { items: late.items, spans: late.spans });
        }
        while let Some(answer) = self.in_flight.join_next().await {
            self.count(answer.ok());
        }
    }

    /// Ends the processes whose run is over and starts those of new runs.
    fn follow_truth(&mut self) {
        let (truth, now) = (self.sandbox.truth(), self.sandbox.now());
        for (at, member) in self.members.iter().enumerate() {
            let alive = truth.iter().rev().find(|run| {
                run.pod_uid == member.pod.uid
                    && run.container == member.container
                    && run.started <= now
                    && run.ended.is_none_or(|ended| ended > now)
            });
            let same = |process: &Process| alive.is_some_and(|run| run.id == process.run.id);
            if self.processes[at].as_ref().is_some_and(same) {
                continue;
            }
            self.processes[at] = alive.and_then(|run| {
                let endpoint = match member.protocol {
                    LoadProtocol::Grpc => &self.doors.grpc,
                    LoadProtocol::Http => &self.doors.http,
                };
                let sender = LoadSender::new(endpoint, member.protocol, Compression::None, 1).ok()?;
                Some(Process { number: self.runs.number(&run.id), run: run.clone(), sender: Arc::new(sender) })
            });
        }
    }

    /// One request through the shop: front, checkout with its proxy, payments. A dead participant leaves a failed caller.
    fn trace(&mut self, batches: &mut BTreeMap<usize, Batch>) {
        let mut trace = [0; 16];
        self.random.fill(&mut trace);
        trace[15] |= 1;
        let slow = self.random.u8(0..100) < SLOW_PERCENT;
        let duration = if slow { SLOW } else { Duration::from_millis(self.random.u64(20..90)) };
        let failed = self.random.u8(0..100) < FAILED_PERCENT;
        let end = self.sandbox.now();
        let mut walk = Walk { trace, parent: None, start: end.saturating_sub(duration), end, failed: false };
        let front = self.pick(Tier::Front);
        let checkout = self.pick(Tier::Checkout);
        // The proxy of the same pod: two containers, two ids, one uid.
        let proxy = self
            .members
            .iter()
            .position(|member| member.tier == Tier::Proxy && member.pod.uid == self.members[checkout].pod.uid);
        let payments = self.pick(Tier::Payments);
        for (member, spans) in [(Some(front), 3), (proxy, 1), (Some(checkout), 2), (Some(payments), 3)] {
            let Some(member) = member else { continue };
            walk.failed = failed && member == payments;
            if !self.spans(member, spans, &mut walk, batches) {
                break;
            }
        }
    }

    fn pick(&mut self, tier: Tier) -> usize {
        let places: Vec<usize> =
            self.members.iter().enumerate().filter(|(_, member)| member.tier == tier).map(|(at, _)| at).collect();
        places[self.random.usize(0..places.len())]
    }

    /// Writes one member's spans of a trace; false when its container is not running.
    fn spans(&mut self, member: usize, spans: u32, walk: &mut Walk, batches: &mut BTreeMap<usize, Batch>) -> bool {
        let Some(process) = &self.processes[member] else { return false };
        let (number, began) = (process.number, process.run.started);
        let stamp = self.stamp(member, &process.run.id, number);
        let batch = batches.entry(member).or_default();
        for operation in 0..spans {
            let span = span_id(self.random.u64(..), stamp);
            // Nothing can have begun before its process did.
            let start = walk.start.max(began).min(walk.end);
            let facts = GeneratedSpan {
                trace: walk.trace,
                span,
                parent: walk.parent,
                start,
                end: walk.end,
                operation: operation as usize,
                failed: walk.failed && operation == 0,
            };
            self.templates.write(&mut batch.items, &facts, self.random.u128(..));
            batch.spans += 1;
            if operation == 0 {
                walk.parent = Some(span);
            }
        }
        // What is called begins a little later and ends a little earlier.
        walk.start = walk.start.saturating_add(Duration::from_millis(1)).min(walk.end);
        true
    }

    /// The truth, and what the Collector's rule makes of the member at this moment.
    fn stamp(&self, member: usize, truth: &str, run: u32) -> Stamp {
        let member = &self.members[member];
        let published = self.statuses.of(&member.pod.uid, member.container);
        let named = collectors_rule(published, member.says_zero.then_some(0));
        let collector = IdVerdict::of(named, truth);
        let named = named.filter(|_| collector == IdVerdict::Wrong).map_or(run, |id| self.runs.number(id));
        Stamp { run, collector, named }
    }

    /// Spans that end now and leave when the next run is already at work.
    fn leave_late_spans(&mut self, member: usize) {
        let Some(process) = &self.processes[member] else { return };
        let sender = process.sender.clone();
        let end = self.sandbox.now();
        let mut batches = BTreeMap::new();
        for _ in 0..LATE_SPANS {
            let mut trace = [0; 16];
            self.random.fill(&mut trace);
            trace[15] |= 1;
            let start = end.saturating_sub(Duration::from_millis(30));
            // Failed, so that the sampler keeps them and the end can judge them.
            let mut walk = Walk { trace, parent: None, start, end, failed: true };
            self.spans(member, 1, &mut walk, &mut batches);
        }
        let resource = self.members[member].resource();
        for batch in batches.into_values() {
            let due = Instant::now() + LATE_BY;
            let (sender, resource) = (sender.clone(), resource.clone());
            self.late.push_back(Late { due, sender, resource, items: batch.items, spans: batch.spans });
        }
    }

    fn send_late(&mut self) {
        while self.late.front().is_some_and(|late| late.due <= Instant::now()) {
            let Some(late) = self.late.pop_front() else { return };
            self.send(late.sender, &late.resource, Batch { items: late.items, spans: late.spans });
        }
    }

    fn send(&mut self, sender: Arc<LoadSender>, resource: &[u8], batch: Batch) {
        if batch.spans == 0 {
            return;
        }
        if self.in_flight.len() >= IN_FLIGHT_MAX {
            self.sent.unhappy += batch.spans;
            self.sent.last_failure = Some("too many requests are unanswered".to_owned());
            return;
        }
        self.sent.spans += batch.spans;
        let body = request(&[(resource, &batch.items)]);
        self.in_flight.spawn(async move { (batch.spans, sender.send(body).await) });
    }

    /// Counts the answers that are there; waits for none.
    fn collect(&mut self) {
        while let Some(answer) = self.in_flight.try_join_next() {
            self.count(answer.ok());
        }
    }

    fn count(&mut self, answer: Option<(u64, sender::SendResult)>) {
        match answer {
            Some((spans, sender::SendResult::Accepted { rejected })) => {
                self.sent.accepted += spans - rejected.min(spans);
                self.sent.unhappy += rejected.min(spans);
            }
            Some((
                spans,
                sender::SendResult::Refused(why) | sender::SendResult::Rejected(why) | sender::SendResult::Failed(why),
            )) => {
                self.sent.unhappy += spans;
                self.sent.last_failure = Some(why);
            }
            None => self.sent.last_failure = Some("a sender ended in a panic".to_owned()),
        }
    }
}

/// Where a trace stands on its way.
struct Walk {
    trace: [u8; 16],
    parent: Option<[u8; 8]>,
    start: UnixNanos,
    end: UnixNanos,
    failed: bool,
}

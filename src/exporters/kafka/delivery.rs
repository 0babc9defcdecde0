//! From a payload to the end of each of its records: written, refused for good, or tried again alone until its time is over.

use std::collections::VecDeque;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{Instant, timeout};

use crate::core::data::payload::Payload;
use crate::core::error::{ConsumeError, Reason};
use crate::core::stage::component::Task;
use crate::core::stage::factory::BuildContext;
use crate::exporters::kafka::config::ExporterSettings;
use crate::exporters::kafka::records::{NoValue, RecordPart};
use crate::exporters::kafka::topics::{LOOKS, NamedTopics, TopicVerdict};
use crate::kafka::client::broker::KafkaCluster;
use crate::kafka::client::fault::{FaultScope, KafkaFault};
use crate::kafka::client::seam::{NewRecord, RecordWriter};
use crate::otlp::envelope::encoded_len;
use crate::otlp::regroup::portion::halve;
use crate::sending::backoff::RetryBackoff;
use crate::sending::deliver::Deliver;
use crate::sending::gate::{ClosingGate, Over};
use crate::sending::outcome::heir::Heir;
use crate::sending::outcome::tally::Tally;
use crate::sending::progress::Progress;
use crate::sending::report::condition::Trouble;
use crate::sending::report::log::HopLog;
use crate::sending::send_memory::Workroom;

/// Values of so many bytes are made and written at once.
const WRITE_BYTES: usize = 4 << 20;
/// A value, the batch it is written into, and the batch compressed.
const COPIES: u64 = 3;
/// A cluster that is looked for is given so many request times.
const CONNECT_TIMEOUTS: u32 = 3;
/// While a drain goes on nobody waits longer for the client to close.
const CLOSE_MAX: Duration = Duration::from_secs(2);

pub struct RecordDelivery {
    settings: ExporterSettings,
    destination: String,
    gate: ClosingGate,
    heir: Arc<Heir>,
    log: HopLog,
    work: Workroom,
    progress: Progress,
    named: NamedTopics,
    /// `None` until the cluster was found, and after the client could not go on.
    writer: AsyncMutex<Option<Arc<dyn RecordWriter>>>,
}

/// What one round over the records left.
#[derive(Default)]
struct Round {
    again: Vec<RecordPart>,
    fault: Option<KafkaFault>,
}

/// Records with the parts that they are made of.
type Batch = Vec<(RecordPart, NewRecord)>;

impl RecordDelivery {
    /// Builds without I/O.
    pub fn new(settings: ExporterSettings, cx: &BuildContext) -> RecordDelivery {
        RecordDelivery {
            destination: settings.cluster.destination(),
            gate: ClosingGate::default(),
            heir: Arc::default(),
            log: HopLog::new(cx.path.clone(), "Kafka", &cx.host.status),
            work: Workroom::new(cx.host.budget.clone()),
            progress: Progress::new(settings.sending.timeout),
            named: NamedTopics::default(),
            writer: AsyncMutex::default(),
            settings,
        }
    }

    async fn deliver_all(&self, whole: Payload) -> Tally {
        let mut tally = Tally::default();
        if whole.envelope.messages() == 0 && whole.envelope.dictionary.is_none() {
            tally.answered = true;
            return tally;
        }
        let retry = self.settings.sending.retry;
        let mut backoff = retry.map(|retry| RetryBackoff::new(retry, Instant::now()));
        let mut work: VecDeque<RecordPart> = self.settings.rules.parts(whole).into();
        loop {
            let Round { again, fault } = self.write_all(work, &mut tally).await;
            if self.gate.is_over() {
                again.into_iter().for_each(|part| self.cut_off(part, &mut tally));
            } else if let Some(fault) = fault.filter(|_| !again.is_empty()) {
                match self.wait(&again, &fault, backoff.as_mut()).await {
                    Ok(()) => {
                        work = again.into();
                        continue;
                    }
                    Err(Some(error)) => again.into_iter().for_each(|part| {
                        let Payload { items, share, .. } = part.payload;
                        tally.lose(items, share, error.clone());
                    }),
                    Err(None) => again.into_iter().for_each(|part| self.cut_off(part, &mut tally)),
                }
            }
            break;
        }
        self.say_losses(&tally);
        tally
    }

    /// Writes each record once; nothing more after a fault that is the cluster's.
    async fn write_all(&self, work: VecDeque<RecordPart>, tally: &mut Tally) -> Round {
        let mut round = Round::default();
        let writer = match self.writer().await {
            Ok(writer) => writer,
            Err(fault) => return Round { again: work.into(), fault: Some(fault) },
        };
        let own = &self.settings.rules.topics;
        let is_known = |part: &RecordPart| {
            own.contains(&part.topic) || self.named.verdict(&part.topic, Instant::now()) == TopicVerdict::There
        };
        let (known, unknown) = work.into_iter().partition(is_known);
        self.write_known(&writer, known, &mut round, tally).await;
        // What has a topic is written; the rest waits for nobody but its own.
        let found = self.find_topics(&writer, unknown, &mut round, tally).await;
        self.write_known(&writer, found, &mut round, tally).await;
        round
    }

    /// Parts whose topics are there now; those of topics that are missing end here.
    async fn find_topics(
        &self,
        writer: &Arc<dyn RecordWriter>,
        parts: VecDeque<RecordPart>,
        round: &mut Round,
        tally: &mut Tally,
    ) -> VecDeque<RecordPart> {
        let mut found = VecDeque::new();
        for part in parts {
            let verdict = match self.named.verdict(&part.topic, Instant::now()) {
                TopicVerdict::Unknown if round.fault.is_none() => self.look_for_topic(writer, &part.topic).await,
                known => Ok(known),
            };
            match verdict {
                Ok(TopicVerdict::There) => found.push_back(part), // granted: the parts of the payload
                Ok(TopicVerdict::Missing) => {
                    let RecordPart { topic, payload: Payload { items, share, .. }, .. } = part;
                    let why = format!("the cluster has no topic {topic:?}, which a resource names; create it");
                    tally.lose(items, share, ConsumeError::rejected(Reason::PERMANENT, why));
                }
                Ok(TopicVerdict::Unknown) => round.again.push(part), // granted: the parts of the payload
                Err(fault) => {
                    round.fault = Some(fault);
                    round.again.push(part); // granted: the parts of the payload
                }
            }
        }
        found
    }

    /// Asks the cluster, several times where it makes topics.
    async fn look_for_topic(
        &self,
        writer: &Arc<dyn RecordWriter>,
        topic: &Arc<str>,
    ) -> Result<TopicVerdict, KafkaFault> {
        let looks = if self.settings.cluster.creates_topics { &LOOKS[..] } else { &LOOKS[..1] };
        for wait in looks {
            if self.gate.pause(Duration::from_millis(*wait)).await.is_err() {
                return Ok(TopicVerdict::Unknown);
            }
            let asked = timeout(self.settings.cluster.timeout, writer.has_topic(topic));
            let late = || KafkaFault::new(FaultScope::Passing, "timeout", "no broker says which topics there are");
            let is_there = tokio::select! {
                biased;
                answer = asked => answer.unwrap_or_else(|_| Err(late()))?,
                () = self.gate.over() => return Ok(TopicVerdict::Unknown),
            };
            self.named.note(topic, is_there, Instant::now());
            if is_there {
                return Ok(TopicVerdict::There);
            }
        }
        Ok(TopicVerdict::Missing)
    }

    /// Writes each record once, to topics that are there.
    async fn write_known(
        &self,
        writer: &Arc<dyn RecordWriter>,
        mut work: VecDeque<RecordPart>,
        round: &mut Round,
        tally: &mut Tally,
    ) {
        while !work.is_empty() && round.fault.is_none() && !self.gate.is_over() {
            let bytes: usize = work.iter().map(|part| encoded_len(&part.payload.envelope)).take(1).sum();
            let room = (bytes.max(WRITE_BYTES) as u64).min(self.waiting_bytes(&work));
            let _room = tokio::select! {
                biased;
                room = self.work.enter(room * COPIES) => room,
                () = self.gate.over() => break,
            };
            let batch = self.batch(&mut work, tally);
            self.write(writer, batch, (round, &mut work), tally).await;
        }
        round.again.extend(work); // granted: the parts of the payload
    }

    fn waiting_bytes(&self, work: &VecDeque<RecordPart>) -> u64 {
        work.iter().take(self.settings.records_at_once).map(|part| encoded_len(&part.payload.envelope) as u64).sum()
    }

    /// Makes the next records; what is too large for one is cut.
    fn batch(&self, work: &mut VecDeque<RecordPart>, tally: &mut Tally) -> Batch {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while bytes < WRITE_BYTES && batch.len() < self.settings.records_at_once {
            let Some(part) = work.pop_front() else { break };
            match self.settings.rules.record(&part, self.settings.writer.record_bytes_max) {
                Ok(record) => {
                    bytes += record.value.len();
                    batch.push((part, record)); // granted: the parts of the payload
                }
                Err(NoValue::TooLarge) => self.smaller(part, work, tally),
                Err(NoValue::Malformed(why)) => {
                    let Payload { items, share, .. } = part.payload;
                    tally.lose(items, share, ConsumeError::rejected(Reason::MALFORMED, why.to_string()));
                }
            }
        }
        batch
    }

    /// Halves go back to work under the same key; one message too large for a record is lost.
    fn smaller(&self, part: RecordPart, work: &mut VecDeque<RecordPart>, tally: &mut Tally) {
        let RecordPart { topic, key, payload } = part;
        match halve(payload) {
            (first, Some(second)) => {
                work.push_front(RecordPart { topic: topic.clone(), key, payload: second });
                work.push_front(RecordPart { topic, key, payload: first });
            }
            (whole, None) => {
                let limit = self.settings.writer.record_bytes_max;
                let message = format!("one message is larger than a record of {limit} bytes, or than the brokers take");
                tally.lose(whole.items, whole.share, ConsumeError::rejected(Reason::TOO_LARGE, message));
            }
        }
    }

    async fn write(
        &self,
        writer: &Arc<dyn RecordWriter>,
        batch: Batch,
        (round, work): (&mut Round, &mut VecDeque<RecordPart>),
        tally: &mut Tally,
    ) {
        let (parts, records): (Vec<RecordPart>, Vec<NewRecord>) = batch.into_iter().unzip();
        let wire = self.progress.attempt(Instant::now());
        let answers = tokio::select! {
            biased;
            answers = join_all(records.into_iter().map(|record| writer.write(record))) => answers,
            () = self.gate.over() => {
                // They may be written all the same.
                round.again.extend(parts); // granted: the parts of the payload
                return;
            }
        };
        drop(wire);
        for (part, answer) in parts.into_iter().zip(answers) {
            let Err(fault) = answer else {
                tally.answered = true;
                tally.deliver(part.payload.items, part.payload.share);
                self.progress.took();
                continue;
            };
            match fault.scope {
                FaultScope::Size => self.smaller(part, work, tally),
                FaultScope::Record => {
                    let Payload { items, share, .. } = part.payload;
                    tally.lose(items, share, ConsumeError::rejected(Reason::PERMANENT, fault.to_string()));
                }
                FaultScope::Passing | FaultScope::Client => {
                    if fault.is_of_topic() {
                        self.named.forget(&part.topic);
                    }
                    round.again.push(part); // granted: the parts of the payload
                    round.fault = Some(fault);
                }
            }
        }
        match &round.fault {
            None => self.log.works(&self.destination),
            Some(fault) if fault.scope == FaultScope::Client => self.give_up_on(writer).await,
            Some(_) => {}
        }
    }

    /// The client, which looks for the cluster where nobody has found it yet.
    async fn writer(&self) -> Result<Arc<dyn RecordWriter>, KafkaFault> {
        let late = || KafkaFault::new(FaultScope::Passing, "timeout", "no broker has answered");
        tokio::select! {
            biased;
            found = timeout(self.settings.cluster.timeout * CONNECT_TIMEOUTS, self.look_for()) => found.unwrap_or(Err(late())),
            () = self.gate.over() => Err(late()),
        }
    }

    async fn look_for(&self) -> Result<Arc<dyn RecordWriter>, KafkaFault> {
        let mut known = self.writer.lock().await;
        if let Some(writer) = known.as_ref() {
            return Ok(writer.clone());
        }
        let cluster = KafkaCluster::connect(&self.settings.cluster).await?;
        let writer = cluster.writer(&self.settings.writer).await?;
        *known = Some(writer.clone());
        Ok(writer)
    }

    /// The next delivery makes another client.
    async fn give_up_on(&self, writer: &Arc<dyn RecordWriter>) {
        let mut known = self.writer.lock().await;
        drop(known.take_if(|known| Arc::ptr_eq(known, writer)));
    }

    /// Waits before the next round. The error says how what is left ends; `None`: the exporter does.
    async fn wait(
        &self,
        again: &[RecordPart],
        fault: &KafkaFault,
        backoff: Option<&mut RetryBackoff>,
    ) -> Result<(), Option<ConsumeError>> {
        let cure = fault.cure.map(str::to_owned);
        let trouble = Trouble { code: fault.code.clone(), message: fault.message.clone(), cure };
        self.log.fails(&self.destination, &trouble);
        let gives_up = |reason| Some(ConsumeError::refused(reason, fault.to_string()));
        let Some(backoff) = backoff else { return Err(gives_up(Reason::UNAVAILABLE)) };
        let Some(wait) = backoff.next(Instant::now(), None, fastrand::f64()) else {
            return Err(gives_up(Reason::RETRIES_EXHAUSTED));
        };
        let is_stored = self.settings.sending.queue.as_ref().is_some_and(|queue| !queue.wait_for_result);
        let abandoned = async {
            match again.first().filter(|_| !is_stored) {
                Some(part) => part.payload.share.abandoned().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            paused = self.gate.pause(wait) => paused.map_err(|Over| None),
            () = abandoned => {
                let why = "the sender no longer waits for the answer";
                Err(Some(ConsumeError::refused(Reason::ABANDONED, why)))
            }
        }
    }

    /// The drain's deadline came first.
    fn cut_off(&self, part: RecordPart, tally: &mut Tally) {
        let is_stored = self.settings.sending.queue.as_ref().is_some_and(|queue| !queue.wait_for_result);
        let left = if is_stored { self.heir.keep(part.payload) } else { Some(part.payload) };
        if let Some(Payload { items, share, .. }) = left {
            tally.lose(items, share, ConsumeError::refused(Reason::SHUTDOWN, "shutting down"));
        }
    }

    fn say_losses(&self, tally: &Tally) {
        let items = tally.lost_for_good();
        let Some(error) = tally.error.as_ref().filter(|_| items > 0) else { return };
        let Some(suppressed) = self.log.unsaid_drops(items) else { return };
        let endpoint = &self.destination;
        tracing::warn!(exporter = %self.log.path, endpoint, items, %error, suppressed, "items were not delivered");
    }
}

impl Deliver for RecordDelivery {
    fn deliver(&self, whole: Payload) -> Pin<Box<dyn Future<Output = Tally> + Send + '_>> {
        Box::pin(self.deliver_all(whole))
    }

    fn drain(&self, deadline: Instant) -> Task<'_, ()> {
        Box::pin(async move {
            let writer = self.writer.lock().await.take();
            match writer {
                Some(writer) => writer.close(deadline.max(Instant::now() + CLOSE_MAX)).await,
                None => ready(()).await,
            }
        })
    }

    fn progress(&self) -> &Progress {
        &self.progress
    }

    fn gate(&self) -> &ClosingGate {
        &self.gate
    }

    fn heir(&self) -> Option<Arc<Heir>> {
        Some(self.heir.clone())
    }

    fn path(&self) -> &str {
        &self.log.path
    }

    fn destination(&self) -> &str {
        &self.destination
    }
}

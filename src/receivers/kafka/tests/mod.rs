//! Four samplers of a group over twelve partitions, faults by a seed (issue 20): the receiver's own reader, lanes and windows
//! against a model of the brokers (`cluster`) and of the sampler behind (`sampler`), on a paused clock.
//!
//! The laws: the committed offset is never above the lowest record without an end, every record gets its end, every trace
//! is seen whole by one sampler, and verdicts are those of an undisturbed run. `PODGATE_TIER_SEEDS` says how many seeds.

mod cluster;
mod sampler;

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use tokio::time::{Instant, sleep, sleep_until};

use crate::receivers::kafka::tests::cluster::{Cluster, PARTITIONS};
use crate::receivers::kafka::tests::sampler::{Book, ModelSampler, WAIT};

const SAMPLERS: usize = 4;
const WRITTEN_FOR: Duration = Duration::from_secs(120);
/// The records of a trace are written within this time, unless the brokers are away.
const TRACE_TAKES: Duration = Duration::from_secs(2);
const TRACES: u64 = 600;
const QUIET_MAX: Duration = Duration::from_secs(300);
/// A sampler that is stopped has so much time.
const DRAIN: Duration = Duration::from_secs(10);
/// Traces whose records are written so far apart, or more, are counted: only a wait that stands still makes them whole.
const APART: Duration = Duration::from_secs(6);

#[derive(Clone, Copy, Debug)]
enum Event {
    /// One leaves in good order, and another one comes.
    Replaced(usize),
    /// One is gone without a word, and another one comes.
    Killed(usize),
    /// One stands still, longer or shorter than its session, and goes on.
    Stopped(usize, Duration),
    BrokersAway(Duration),
    /// What is kept waits in the samplers.
    NextHopAway(Duration),
    Comes,
}

type Script = fn(&mut Rng) -> Vec<Event>;

fn seconds(rng: &mut Rng, range: std::ops::RangeInclusive<u64>) -> Duration {
    Duration::from_secs(rng.u64(range))
}

const KINDS: &[(&str, Script)] = &[
    ("none", |_| Vec::new()),
    ("rolling restart", |_| (0..SAMPLERS).map(Event::Replaced).collect()),
    ("scaling", |_| vec![Event::Comes, Event::Comes, Event::Replaced(0), Event::Replaced(1)]),
    ("samplers killed", |rng| (0..rng.usize(1..SAMPLERS)).map(Event::Killed).collect()),
    ("samplers stopped", |rng| (0..SAMPLERS).map(|at| Event::Stopped(at, seconds(rng, 1..=40))).collect()),
    ("brokers away", |rng| vec![Event::BrokersAway(seconds(rng, 1..=30)), Event::BrokersAway(seconds(rng, 1..=30))]),
    ("next hop away", |rng| vec![Event::NextHopAway(seconds(rng, 5..=40)), Event::Killed(0), Event::Replaced(1)]),
    ("all of them", |rng| {
        let any = |rng: &mut Rng| match rng.u8(0..6) {
            0 => Event::Replaced(rng.usize(0..SAMPLERS)),
            1 => Event::Killed(rng.usize(0..SAMPLERS)),
            2 => Event::Stopped(rng.usize(0..SAMPLERS), seconds(rng, 1..=40)),
            3 => Event::BrokersAway(seconds(rng, 1..=30)),
            4 => Event::NextHopAway(seconds(rng, 1..=30)),
            _ => Event::Comes,
        };
        (0..8).map(|_| any(rng)).collect()
    }),
];

/// What came of one seed, or of several.
#[derive(Clone, Copy, Debug, Default)]
struct Course {
    seeds: u64,
    records: u64,
    /// Records whose spans were handed on by more than one sampler, or twice by one.
    twice: u64,
    traces: u64,
    /// Traces whose records were written [`APART`], because brokers were away.
    apart: u64,
    torn: u64,
}

impl Course {
    fn add(&mut self, other: &Course) {
        self.seeds += other.seeds;
        self.records += other.records;
        self.twice += other.twice;
        self.traces += other.traces;
        self.apart += other.apart;
        self.torn += other.torn;
    }
}

/// Everything in one simulation.
struct Stage {
    cluster: Cluster,
    book: Book,
    samplers: Vec<ModelSampler>,
    begun: u64,
}

impl Stage {
    fn comes(&mut self) -> ModelSampler {
        self.begun += 1;
        ModelSampler::start(self.begun, &self.cluster, &self.book)
    }

    async fn happen(&mut self, event: Event) {
        match event {
            Event::Replaced(at) => {
                let new = self.comes();
                std::mem::replace(&mut self.samplers[at], new).drain(DRAIN).await;
            }
            Event::Killed(at) => {
                let new = self.comes();
                std::mem::replace(&mut self.samplers[at], new).kill();
            }
            Event::Stopped(at, time) => self.samplers[at].stop_for(time),
            Event::BrokersAway(time) => self.cluster.away_for(time),
            Event::NextHopAway(time) => self.book.next_hop_away_for(time),
            Event::Comes => {
                let new = self.comes();
                self.samplers.push(new);
            }
        }
    }
}

/// Writes the records of all traces at their times, in order; one that comes while brokers are away waits for them.
async fn write(cluster: Cluster, book: Book, mut rng: Rng) {
    let begun = Instant::now();
    let mut due: Vec<(Duration, u64)> = Vec::new();
    for trace in 1..=TRACES {
        let begins = WRITTEN_FOR.mul_f64(rng.f64());
        due.extend((0..rng.u64(1..=4)).map(|_| (begins + TRACE_TAKES.mul_f64(rng.f64()), trace)));
    }
    due.sort_unstable();
    let mut written: BTreeMap<u64, bool> = BTreeMap::new();
    for (at, trace) in due {
        sleep_until(begun + at).await;
        while cluster.is_away() {
            sleep(Duration::from_millis(100)).await;
        }
        // A third of the traces is kept, for the sake of one of their spans.
        let failed = trace % 3 == 0 && !*written.get(&trace).unwrap_or(&false) && rng.bool();
        written.entry(trace).and_modify(|before| *before |= failed).or_insert(failed);
        book.write(&cluster, trace, rng.usize(1..=3), failed);
    }
}

async fn play(script: Script, seed: u64) -> (Course, Vec<String>) {
    fastrand::seed(seed);
    let mut rng = Rng::with_seed(seed);
    let book = Book::default();
    let cluster = Cluster::new(&book);
    let mut stage = Stage { cluster: cluster.clone(), book: book.clone(), samplers: Vec::new(), begun: 0 };
    for _ in 0..SAMPLERS {
        let new = stage.comes();
        stage.samplers.push(new);
    }
    let mut writing = tokio::task::JoinSet::new();
    writing.spawn(write(cluster.clone(), book.clone(), rng.fork()));
    let mut events = script(&mut rng);
    rng.shuffle(&mut events);
    for event in events {
        sleep(Duration::from_millis(rng.u64(1_000..=15_000))).await;
        stage.happen(event).await;
    }
    while writing.join_next().await.is_some() {}
    let mut faults = Vec::new();
    let quiet_by = Instant::now() + QUIET_MAX;
    while !cluster.is_read_to_the_end() && Instant::now() < quiet_by {
        sleep(Duration::from_secs(1)).await;
    }
    if !cluster.is_read_to_the_end() {
        faults
            .push(format!("stuck: {QUIET_MAX:?} after the last record not all are committed: {}", cluster.progress()));
    }
    for sampler in std::mem::take(&mut stage.samplers) {
        sampler.drain(DRAIN).await;
    }
    (book.judge(&cluster, &mut faults), faults)
}

#[test]
fn however_samplers_and_brokers_fail_nothing_is_committed_early_nothing_is_lost_and_no_trace_is_torn() {
    let number = |name: &str, default| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (first, seeds) = (number("PODGATE_TIER_FIRST", 0), number("PODGATE_TIER_SEEDS", 2));
    let mut rows: BTreeMap<usize, Course> = BTreeMap::new();
    let mut broken = Vec::new();
    for (at, (name, script)) in KINDS.iter().enumerate() {
        for seed in first..first + seeds {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
            let (course, faults) = runtime.expect("a runtime").block_on(play(*script, seed));
            println!("{name} {seed}: {course:?}");
            broken.extend(faults.into_iter().map(|fault| format!("{name} {seed}: {fault}")));
            rows.entry(at).or_default().add(&course);
        }
    }
    println!("| faults | seeds | records | read twice | traces | written {APART:?} apart | torn |");
    for (at, row) in rows {
        let Course { seeds, records, twice, traces, apart, torn } = row;
        println!("| {} | {seeds} | {records} | {twice} | {traces} | {apart} | {torn} |", KINDS[at].0);
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(PARTITIONS == 12 && WAIT > APART + TRACE_TAKES);
}

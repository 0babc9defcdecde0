//! The pace of one exporter alone, and of five hundred whose next hop comes back.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;
use crate::sending::backoff::{RetryBackoff, RetrySettings};

const TIMEOUT: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(30);
const QUICKLY: Duration = Duration::from_millis(100);

fn begun(pace: &mut SendPace, now: Instant) -> usize {
    (0..1_000).take_while(|_| pace.begin(now) == PaceTurn::Now).count()
}

#[test]
fn an_outage_lets_one_request_ask_and_recovery_admits_one_more_each_step() {
    let start = Instant::now();
    let mut pace = SendPace::new(8, TIMEOUT, LONGEST);
    pace.works(QUICKLY, 0, start, 0.5);
    assert_eq!(begun(&mut pace, start), 8);
    for _ in 0..8 {
        pace.ended();
        pace.fails(start, 0.5);
    }
    let mut now = start;
    for millis in [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000] {
        let PaceTurn::At(at) = pace.begin(now) else { panic!("closed") };
        assert_eq!(at - now, Duration::from_millis(millis), "asked at least about every five seconds");
        assert_eq!((begun(&mut pace, at), pace.begin(at)), (1, PaceTurn::AfterAnother));
        pace.ended();
        pace.fails(at, 0.5);
        now = at;
    }
    let mut seen = Vec::new();
    for _ in 0..200 {
        pace.works(QUICKLY, 0, now, 0.5);
        seen.push(pace.allowed());
        now += QUICKLY;
    }
    assert_eq!((seen[0], seen[19], seen[20], seen[40], seen[199]), (1, 1, 2, 3, 8), "{seen:?}");
}

#[test]
fn who_retries_more_often_asks_more_often() {
    let start = Instant::now();
    let mut pace = SendPace::new(8, TIMEOUT, QUICKLY);
    let waits = (1..10).map(|second| {
        let at = start + Duration::from_secs(second);
        pace.fails(at, 0.5);
        match pace.begin(at) {
            PaceTurn::At(then) => then - at,
            other => panic!("{other:?}"),
        }
    });
    assert!(waits.into_iter().all(|wait| wait == QUICKLY));
}

#[test]
fn after_an_outage_nothing_is_added_while_answers_take_longer_than_usual() {
    let start = Instant::now();
    let mut pace = SendPace::new(10, TIMEOUT, LONGEST);
    (0..20).for_each(|_| pace.works(QUICKLY, 0, start, 0.5));
    (0..3).for_each(|_| pace.fails(start, 0.5));
    let later = |seconds| start + Duration::from_secs(seconds);
    (10..30).for_each(|second| pace.works(2 * QUICKLY, 0, later(second), 0.5));
    assert_eq!(pace.allowed(), 1);
    (30..40).for_each(|second| pace.works(2 * QUICKLY, 2 << 16, later(second), 0.5));
    assert!(pace.allowed() >= 5, "a larger request may take longer: {}", pace.allowed());
    (40..60).for_each(|second| pace.works(5 * QUICKLY, 0, later(second), 0.5));
    assert_eq!(pace.allowed(), 1);
}

#[test]
fn answers_that_need_a_quarter_of_their_time_cost_a_fifth_of_the_requests_and_quick_ones_bring_them_back() {
    let start = Instant::now();
    let mut pace = SendPace::new(10, TIMEOUT, LONGEST);
    let late = TIMEOUT / 4 + QUICKLY;
    pace.works(late, 0, start, 0.5);
    pace.works(late, 0, start + QUICKLY, 0.5);
    assert_eq!(pace.allowed(), 8, "what was sent before counts once");
    (1..20).for_each(|round| pace.works(late, 0, start + late * round, 0.5));
    assert_eq!(pace.allowed(), 1);
    (0..60).for_each(|_| pace.works(QUICKLY, 0, start + late * 20, 0.5));
    assert_eq!(pace.allowed(), 10);
}

#[test]
fn one_trouble_among_successes_halves_and_is_no_outage() {
    let start = Instant::now();
    let mut pace = SendPace::new(10, TIMEOUT, LONGEST);
    pace.fails(start, 0.5);
    assert_eq!(pace.allowed(), 5);
    (0..60).for_each(|_| pace.works(QUICKLY, 0, start, 0.5));
    assert_eq!(pace.allowed(), 10);
}

/// A next hop with room for `QUICK_AT_ONCE` requests at their best speed, which gets slower above and falls over at `FALLS_AT`.
struct Hop {
    down_until: f64,
    in_flight: usize,
    /// Requests of a life before a fall are void.
    life: u32,
    falls: u32,
    taken: u64,
}

const SENDERS: usize = 500;
const CONSUMERS: usize = 10;
const QUICK_AT_ONCE: f64 = 300.0;
const FALLS_AT: usize = 1_500;
const BEST_SECONDS: f64 = 0.1;
const DOWN_SECONDS: f64 = 20.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A consumer wants to send.
    Wants,
    /// Its request ends: begun at this microsecond, in this life of the next hop.
    Ends(u64, u32),
}

struct Fleet {
    origin: Instant,
    random: fastrand::Rng,
    hop: Hop,
    paces: Vec<SendPace>,
    backoffs: Vec<RetryBackoff>,
    waiting: Vec<Vec<usize>>,
    events: BinaryHeap<Reverse<(u64, usize, Event)>>,
    paced: bool,
}

impl Fleet {
    fn new(seed: u64, paced: bool) -> Fleet {
        let origin = Instant::now();
        let mut random = fastrand::Rng::with_seed(seed);
        let backoff = RetryBackoff::new(endless(), origin);
        let wants = (0..SENDERS * CONSUMERS).map(|at| Reverse((random.u64(0..1_000_000), at, Event::Wants)));
        Fleet {
            origin,
            events: wants.collect(),
            random,
            hop: Hop { down_until: 60.0, in_flight: 0, life: 0, falls: 0, taken: 0 },
            paces: (0..SENDERS).map(|_| SendPace::new(CONSUMERS, TIMEOUT, LONGEST)).collect(),
            backoffs: (0..SENDERS * CONSUMERS).map(|_| backoff).collect(),
            waiting: vec![Vec::new(); SENDERS],
            paced,
        }
    }

    /// Runs for so many seconds; gives the falls of the next hop and what it took in the last minute.
    fn run(mut self, seconds: u64) -> (u32, u64) {
        let mut taken_before = 0;
        while let Some(Reverse((at, consumer, event))) = self.events.pop() {
            if at > seconds * 1_000_000 {
                break;
            }
            if at < (seconds - 60) * 1_000_000 {
                taken_before = self.hop.taken;
            }
            match event {
                Event::Wants => self.wants(at, consumer),
                Event::Ends(begun, life) => self.ends(at, consumer, (begun, life)),
            }
        }
        (self.hop.falls, self.hop.taken - taken_before)
    }

    fn now(&self, at: u64) -> Instant {
        self.origin + Duration::from_micros(at)
    }

    fn wants(&mut self, at: u64, consumer: usize) {
        let (now, sender) = (self.now(at), consumer / CONSUMERS);
        match if self.paced { self.paces[sender].begin(now) } else { PaceTurn::Now } {
            PaceTurn::At(then) => {
                let micros = (then - self.origin).as_micros() as u64;
                return self.events.push(Reverse((micros.max(at + 1), consumer, Event::Wants)));
            }
            PaceTurn::AfterAnother => return self.waiting[sender].push(consumer),
            PaceTurn::Now => {}
        }
        let seconds = at as f64 / 1e6;
        if seconds >= self.hop.down_until && self.hop.in_flight >= FALLS_AT {
            self.hop.falls += 1;
            self.hop.life += 1;
            (self.hop.in_flight, self.hop.down_until) = (0, seconds + DOWN_SECONDS);
        }
        let is_up = seconds >= self.hop.down_until;
        self.hop.in_flight += usize::from(is_up);
        let takes = if is_up { BEST_SECONDS * (self.hop.in_flight as f64 / QUICK_AT_ONCE).max(1.0) } else { 0.001 };
        let life = if is_up { self.hop.life } else { u32::MAX };
        self.events.push(Reverse((at + (takes * 1e6) as u64, consumer, Event::Ends(at, life))));
    }

    fn ends(&mut self, at: u64, consumer: usize, (begun, life): (u64, u32)) {
        let (now, sender) = (self.now(at), consumer / CONSUMERS);
        let took = life == self.hop.life;
        let random = self.random.f64();
        self.paces[sender].ended();
        let again = if took {
            self.hop.in_flight -= 1;
            self.hop.taken += 1;
            self.paces[sender].works(Duration::from_micros(at - begun), 0, now, random);
            self.backoffs[consumer] = RetryBackoff::new(endless(), now);
            at + 1
        } else {
            self.paces[sender].fails(now, random);
            let wait = self.backoffs[consumer].next(now, None, self.random.f64()).expect("it never gives up");
            at + wait.as_micros() as u64
        };
        self.events.push(Reverse((again, consumer, Event::Wants)));
        for other in self.waiting[sender].drain(..) {
            self.events.push(Reverse((at + 1, other, Event::Wants)));
        }
    }
}

fn endless() -> RetrySettings {
    RetrySettings { max_elapsed_time: Duration::ZERO, ..RetrySettings::default() }
}

#[test]
fn five_hundred_senders_do_not_push_a_next_hop_over_again_that_has_come_back() {
    for seed in [1, 2, 3] {
        let (falls, taken) = Fleet::new(seed, true).run(180);
        println!("seed {seed}: {falls} falls, {taken} taken in the last minute");
        assert_eq!(falls, 0, "seed {seed}");
        assert!(taken > 150_000, "seed {seed}: nearly all of what it can take: {taken}");
    }
    let (falls, _) = Fleet::new(1, false).run(180);
    assert!(falls >= 3, "by their backoff alone they do: {falls}");
}

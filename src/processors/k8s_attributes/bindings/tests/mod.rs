//! Bindings against a simulated truth: a container restarts at random, its status comes late, telemetry comes with
//! whatever evidence its sender has, and no answer may ever name a run that cannot have made it.
//!
//! `PODGATE_SCHEDULES=n` runs n schedules (300 unless told); `SEED=n` replays one.

mod counting;
mod logged;
mod set_back;

use fastrand::Rng;

use super::*;
use crate::kube::ledger::FRESHNESS;
use crate::kube::pod::{Ended, Pod, RunState};
use crate::kube::table::{PodChange, Table};
use crate::testing::pods::{self, UID};

const SECOND: u64 = 1_000_000_000;
const MILLI: u64 = 1_000_000;

/// One true run, in true nanoseconds.
#[derive(Clone, Debug)]
struct Life {
    id: String,
    start: u64,
    end: u64,
}

/// One request as it arrives.
#[derive(Clone, Debug)]
struct Sent {
    life: usize,
    arrived: u64,
    times: Option<(u64, u64)>,
    identity: Option<String>,
    connection: Option<(u64, u64)>,
    began: Option<u64>,
    /// The start of cumulative points, later than the process's.
    counting_since: Option<u64>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Tally {
    right: u32,
    wrong: u32,
    missing: u32,
}

/// What may happen in a schedule.
#[derive(Clone, Copy)]
struct Rules {
    /// A status is published at most this much after its change.
    delay_max: u64,
    /// Shortest time between two starts.
    spacing_min: u64,
    /// Every process tells when it began.
    tells_start: bool,
    outages: bool,
    clock_steps: bool,
    /// The node's clock is off ours by up to this many seconds either way.
    skew_max: u64,
    /// The node's log folder is mounted.
    logged: bool,
    /// All containers of the pod are removed and begin anew: no status ever tells how a run ended.
    restarts_all: bool,
}

struct World {
    rng: Rng,
    rules: Rules,
    lives: Vec<Life>,
    /// True time of publication and the state then.
    published: Vec<(u64, Pod)>,
    sent: Vec<Sent>,
    /// The watch is cut off between these true times.
    outage: Option<(u64, u64)>,
    /// The clock is set back or forth at this true time.
    step: Option<(u64, i64)>,
    /// The node's clock less ours.
    skew: i64,
}

impl World {
    fn new(seed: u64, rules: Rules) -> World {
        let mut world = World {
            rng: Rng::with_seed(seed),
            rules,
            lives: Vec::new(),
            published: Vec::new(),
            sent: Vec::new(),
            outage: None,
            step: None,
            skew: 0,
        };
        if rules.skew_max > 0 {
            world.skew = world.rng.i64(-(rules.skew_max as i64)..=rules.skew_max as i64) * SECOND as i64;
        }
        world.live();
        let end = world.lives.last().map_or(0, |life| life.end);
        let begin = world.lives[0].start;
        if rules.outages && world.rng.bool() {
            let from = world.rng.u64(begin..end);
            world.outage = Some((from, from + world.rng.u64(SECOND..90 * SECOND)));
        }
        if rules.clock_steps {
            let by = world.rng.i64(-40..40) * SECOND as i64;
            world.step = Some((world.rng.u64(begin..end), by));
        }
        world.publish();
        world.send();
        world
    }

    /// The wall clock at a true time: what everybody on the node reads and stamps.
    fn wall(&self, time: u64) -> u64 {
        match self.step {
            Some((at, by)) if time >= at => time.saturating_add_signed(by),
            _ => time,
        }
    }

    /// What the kubelet and the processes read and stamp.
    fn node(&self, time: u64) -> u64 {
        self.wall(time).saturating_add_signed(self.skew)
    }

    fn live(&mut self) {
        let mut at = 1_000 * SECOND + self.rng.u64(0..SECOND);
        for number in 0..self.rng.usize(1..9) {
            let longest = *self.rng.choice(&[SECOND / 4, SECOND, 5 * SECOND, 20 * SECOND, 100 * SECOND]).expect("some");
            let end = at + self.rng.u64(100 * MILLI..longest + 200 * MILLI);
            self.lives.push(Life { id: format!("{number:064x}"), start: at, end });
            let pause = *self.rng.choice(&[200 * MILLI, 1_200 * MILLI, 5 * SECOND, 40 * SECOND]).expect("some");
            let next = end + self.rng.u64(150 * MILLI..pause + 200 * MILLI);
            at = next.max(at + self.rules.spacing_min);
        }
    }

    fn ended(&mut self, number: usize) -> Ended {
        let life = self.lives[number].clone();
        let whole = |world: &World, time| Some(UnixNanos(world.node(time) / SECOND * SECOND));
        // A kubelet that restarted sometimes has no times of a dead run.
        let told = self.rng.u8(0..10) > 0;
        Ended {
            id: life.id.as_str().into(),
            started: whole(self, life.start),
            finished: whole(self, life.end).filter(|_| told),
            reason: "Error".into(),
            exit_code: 1,
        }
    }

    /// The status sequence of a kubelet: running, terminated, CrashLoopBackOff, created.
    fn publish(&mut self) {
        let mut last_published = 0;
        for number in 0..self.lives.len() {
            let life = self.lives[number].clone();
            let before = number.checked_sub(1).map(|before| self.ended(before));
            let dead = self.ended(number);
            let started = UnixNanos(self.node(life.start) / SECOND * SECOND);
            let mut states = vec![
                (life.start, RunState::Running { started: Some(started) }, before.clone()),
                (life.end, RunState::Terminated(dead.clone()), before.clone()),
            ];
            if self.rng.bool() {
                states.push((life.end, RunState::Waiting { reason: "CrashLoopBackOff".into() }, Some(dead)));
            }
            if self.rng.u8(0..4) == 0 && number > 0 {
                // Created, not yet started: number and id are the new ones already.
                states.insert(0, (life.start, RunState::Waiting { reason: "".into() }, before));
            }
            for (at, mut state, mut last) in states {
                let removed = self.rules.restarts_all && at >= life.end;
                if removed {
                    (state, last) = (RunState::Waiting { reason: "PodInitializing".into() }, None);
                }
                let id = if removed { "" } else { &life.id };
                let published = (at + self.rng.u64(0..=self.rules.delay_max)).max(last_published);
                last_published = published;
                self.published.push((published, pod(id, number, state, last)));
            }
        }
        self.lose();
    }

    /// An outage delivers only the state at its end. Without one, an event may be missed when a later one comes in time.
    fn lose(&mut self) {
        if let Some((from, to)) = self.outage {
            let during: Vec<usize> =
                (0..self.published.len()).filter(|at| (from..to).contains(&self.published[*at].0)).collect();
            if let Some(last) = during.last() {
                self.published[*last].0 = to;
                let last = *last;
                let mut at = 0;
                self.published.retain(|_| {
                    at += 1;
                    !during.contains(&(at - 1)) || at - 1 == last
                });
            }
        }
        let mut at = 0;
        while at + 1 < self.published.len() {
            let next_in_time = self.published[at + 1].0 - self.published[at].0 < 500 * MILLI;
            if self.rules.delay_max <= 2 * SECOND && next_in_time && self.rng.u8(0..3) == 0 {
                self.published.remove(at);
            } else {
                at += 1;
            }
        }
    }

    fn send(&mut self) {
        for number in 0..self.lives.len() {
            for process in 0..self.rng.u64(1..4) {
                self.send_process(number, process);
            }
        }
        self.sent.sort_by_key(|sent| sent.arrived);
    }

    /// Everything one process sends.
    fn send_process(&mut self, number: usize, process: u64) {
        let life = self.lives[number].clone();
        let main = process == 0;
        let start = if main { life.start + self.rng.u64(0..20 * MILLI) } else { self.rng.u64(life.start..life.end) };
        let has_identity = self.rng.bool();
        let tells_start = self.rules.tells_start || self.rng.u8(0..4) == 0;
        let connected = self.rng.u8(0..3) > 0;
        let accepted = self.rng.u64(start.min(life.end - 1)..life.end);
        // Since when it counts is no start, but a time at which it lived: statuses must come in time.
        let counts = tells_start && !self.rules.tells_start && self.rng.bool();
        let since = Some(start + self.rng.u64(0..5 * SECOND)).filter(|since| *since < life.end).unwrap_or(start);
        for _ in 0..self.rng.u32(1..12) {
            let earliest = if counts { since } else { start };
            let made = self.rng.u64(earliest.min(life.end - 1)..life.end);
            let spread = self.rng.u64(0..=(life.end - made).min(SECOND));
            let slow = *self.rng.choice(&[5 * MILLI, 500 * MILLI, 10 * SECOND, 120 * SECOND]).expect("some");
            let mut arrived = made + spread + self.rng.u64(0..slow);
            if connected {
                arrived = arrived.max(accepted);
            }
            let timed = counts || self.rng.u8(0..5) > 0;
            // Without times and without connection nothing dates the data but its arrival.
            if !timed && !connected && self.rng.u8(0..2) == 0 {
                arrived = made + spread;
            }
            self.sent.push(Sent {
                life: number,
                arrived,
                times: timed.then(|| (self.node(made), self.node(made + spread))),
                identity: has_identity.then(|| format!("c7b2a9be-45b7-4a3f-9f5b-{number:06x}{process:06x}")),
                connection: connected.then(|| ((number as u64) * 10 + process + 1, self.wall(accepted))),
                began: (tells_start && !counts).then(|| self.node(start)),
                counting_since: counts.then(|| self.node(since)),
            });
        }
    }

    fn horizon(&self, now: u64, seen_at: UnixNanos) -> Horizon {
        let cut = self.outage.filter(|(from, to)| (*from..*to).contains(&now));
        let in_touch = self.wall(cut.map_or(now, |(from, _)| from)).min(self.wall(now));
        let budget = u64::try_from(FRESHNESS.as_nanos()).expect("three seconds");
        let stepped = self.step.filter(|(at, by)| now >= *at && by.unsigned_abs() > SECOND / 4);
        let doubled = stepped.filter(|(_, by)| *by < 0).map(|(at, by)| {
            (UnixNanos(self.wall(at)).saturating_sub(FRESHNESS), UnixNanos(self.wall(at) + by.unsigned_abs()))
        });
        let unsteady = stepped.is_some_and(|(at, _)| now < at + budget);
        // We look since the first run began.
        let shown = stepped.map(|(at, by)| {
            let ended = (UnixNanos(self.lives[0].start), UnixNanos(self.wall(at).wrapping_sub_signed(by)));
            ShownTimes::new(ended.0).next(ended, UnixNanos(self.wall(at)))
        });
        let clock = ClockStretches { unsteady, doubled, shown, ..ClockStretches::default() };
        Horizon {
            known_until: UnixNanos(in_touch.saturating_sub(budget)),
            seen_at,
            witnessed: None,
            stale: cut.is_some_and(|(from, _)| now - from > budget),
            clock,
            is_new: true,
            apart: self.rules.skew_max > 0,
        }
    }

    /// Plays the schedule; every resource waits as the waiting room lets it.
    fn play(mut self, tally: &mut Tally) -> Vec<String> {
        let mut faults = Vec::new();
        let bindings = Bindings::default();
        let mut table = Table::new(Duration::from_secs(120));
        let sent = std::mem::take(&mut self.sent);
        // (when to ask, when it arrived, which)
        let mut asks: std::collections::BinaryHeap<std::cmp::Reverse<(u64, usize)>> =
            sent.iter().enumerate().map(|(at, sent)| std::cmp::Reverse((sent.arrived, at))).collect();
        let published = std::mem::take(&mut self.published);
        if self.rules.skew_max > 0 {
            let elsewhere = pod("elsewhere", 0, RunState::Unknown, None);
            let elsewhere = Pod { uid: "elsewhere".into(), node: "node-b".into(), ..elsewhere };
            table.apply(PodChange::Applied(elsewhere), UnixNanos(SECOND));
        }
        let mut events = published.iter().peekable();
        let logs = if self.rules.logged { logged::changes(&self.lives, &mut self.rng) } else { Vec::new() };
        let mut logs = logs.iter().peekable();
        while let Some(std::cmp::Reverse((now, at))) = asks.pop() {
            while let Some((at, pod)) = events.next_if(|(published, _)| *published <= now) {
                // Seen when it was published: whoever reads it later cannot say that the pod was looked at later.
                table.apply(PodChange::Applied(pod.clone()), UnixNanos(self.wall(*at)));
                // Now and then an answer that was under way for long.
                let late = (self.rng.u8(0..8) == 0).then(|| &published[self.rng.usize(0..published.len())]);
                if let Some((_, old)) = late.filter(|(then, _)| *then <= now && *then + SECOND > now) {
                    table.apply(PodChange::Applied(old.clone()), UnixNanos(self.wall(*at)));
                    table.apply(PodChange::Applied(pod.clone()), UnixNanos(self.wall(*at)));
                }
            }
            while let Some((at, change)) = logs.next_if(|(made, _)| *made <= now) {
                table.apply(PodChange::Logged(change.clone()), UnixNanos(*at));
            }
            let snapshot = table.snapshot();
            let Some(entry) = snapshot.by_uid(UID).cloned() else { continue };
            let item = &sent[at];
            let sighting = sighting(item, self.wall(item.arrived));
            let counting_since = item.counting_since.map(UnixNanos);
            let times = || {
                let counting_since = counting_since.filter(|since| item.times.is_some_and(|(_, last)| since.0 <= last));
                item.times
                    .map(|(first, last)| Times { counting_since, ..Times::between(UnixNanos(first), UnixNanos(last)) })
            };
            let ledger = entry.ledger.container("app").expect("every event has a status");
            let witnessed = ledger.logged.then(|| UnixNanos(now - logged::LAG));
            let horizon = Horizon { witnessed, ..self.horizon(now, entry.seen_at) };
            let verdict = bindings.resolve(ledger, &sighting, &horizon, &times);
            let deadline = item.arrived + 3 * SECOND + 20 * MILLI;
            match verdict {
                BindingAnswer::Found { run, .. } if *run.id == *self.lives[item.life].id => tally.right += 1,
                BindingAnswer::Found { run, how } => {
                    tally.wrong += 1;
                    let fault = format!("{item:?} got {} ({how:?}) of {:?}", run.id, self.lives);
                    faults.push(format!(
                        "{fault}\nledger {ledger:?}\nat {now} outage {:?} step {:?} skew {}",
                        self.outage, self.step, self.skew
                    ));
                }
                BindingAnswer::Pending { .. } if now < deadline => {
                    let again = (now + self.rng.u64(MILLI..SECOND)).min(deadline);
                    asks.push(std::cmp::Reverse((again, at)));
                }
                BindingAnswer::Pending { .. } | BindingAnswer::Missing(_) => tally.missing += 1,
            }
        }
        faults
    }
}

fn sighting<'a>(sent: &'a Sent, arrived: u64) -> Sighting<'a> {
    Sighting {
        pod_uid: UID,
        container: "app",
        identity: sent.identity.as_deref().map(ProcessIdentity::Instance),
        connection: sent.connection.map(|(number, at)| (number, UnixNanos(at))),
        began: sent.began.map(UnixNanos),
        arrived_at: UnixNanos(arrived),
        trusted_number: None,
    }
}

/// A process that tells nothing of itself.
fn unnamed(arrived_at: UnixNanos) -> Sighting<'static> {
    Sighting {
        pod_uid: UID,
        container: "app",
        identity: None,
        connection: None,
        began: None,
        arrived_at,
        trusted_number: None,
    }
}

fn pod(id: &str, number: usize, state: RunState, last: Option<Ended>) -> Pod {
    let status = pods::status(id, i64::try_from(number).expect("small"), state, last);
    Pod { ips: Vec::new(), started: None, ..pods::pod(UnixNanos(SECOND), status) }
}

/// Plays all schedules; nothing may be wrong, and the share of right answers must not rot away.
fn check(rules: Rules, right_percent_min: u32) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds: Vec<u64> = match number("SEED") {
        Some(seed) => vec![seed],
        None => (0..number("PODGATE_SCHEDULES").unwrap_or(300)).collect(),
    };
    let mut tally = Tally::default();
    for seed in &seeds {
        let faults = World::new(*seed, rules).play(&mut tally);
        assert!(faults.is_empty(), "SEED={seed}: {} wrong, the first: {}", faults.len(), faults[0]);
    }
    println!("{} schedules: {tally:?}", seeds.len());
    let all = tally.right + tally.missing;
    if seeds.len() > 100 {
        assert!(tally.right * 100 >= all * right_percent_min, "{tally:?}");
    }
}

const PLAIN: Rules = Rules {
    delay_max: 2_900 * MILLI,
    spacing_min: 0,
    tells_start: false,
    outages: false,
    clock_steps: false,
    skew_max: 0,
    logged: false,
    restarts_all: false,
};

#[test]
fn no_answer_is_wrong_while_statuses_come_within_the_freshness_budget() {
    check(PLAIN, 50);
}

#[test]
fn no_answer_is_wrong_when_events_are_missed() {
    check(Rules { delay_max: 2 * SECOND, ..PLAIN }, 50);
}

#[test]
fn no_answer_is_wrong_when_the_watch_is_cut_off() {
    check(Rules { outages: true, ..PLAIN }, 40);
}

#[test]
fn no_answer_is_wrong_when_the_clock_steps() {
    check(Rules { clock_steps: true, ..PLAIN }, 30);
}

#[test]
fn no_answer_is_wrong_when_the_nodes_clock_is_ahead_of_ours_or_behind_it() {
    check(Rules { skew_max: 9, ..PLAIN }, 30);
}

#[test]
fn a_process_that_tells_its_start_is_never_given_a_run_it_cannot_be_of_whatever_the_delay() {
    let rules = Rules { delay_max: 60 * SECOND, spacing_min: 1_200 * MILLI, tells_start: true, ..PLAIN };
    check(rules, 10);
}

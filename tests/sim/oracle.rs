//! The laws, checked after every step and at the end of a drain. Each fault it finds is one
//! sentence behind the name of its law.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use podgate::core::data::balance::Sheet;
use podgate::core::data::payload::Signal;
use podgate::core::report::stats::{Metric, Stats};
use podgate::gateway::Gateway;
use tokio::time::Instant;

use crate::clocks;
use crate::scenario::{Between, Ids, Scenario};
use crate::truth::{Arrival, Facts, Heard, Item, Outcome};

/// Owner tasks beat every five seconds; a core that is descheduled does not exist here.
const STUCK: Duration = Duration::from_secs(20);
/// A call whose caller has gone may be on its way to the next hop for so long.
const ABANDONED_GRACE: Duration = Duration::from_millis(100);

/// The end of a simulation, in which everything has been well for long.
const LAST: Duration = Duration::from_secs(30);

pub type Faults = Vec<String>;

/// After every step: the account balances (1), memory is within its grant (6), nobody is stuck or has panicked (8).
pub fn step(gateway: &Gateway, at: Duration, faults: &mut Faults) {
    let host = gateway.host();
    for signal in Signal::ALL {
        let sheet = host.balance.sheet(signal);
        if sheet.held < 0 || !sheet.holds(sheet.held.unsigned_abs()) {
            faults.push(format!("balance: at {at:?} {} do not: {sheet:?}", signal.name()));
        }
    }
    let (used, hard) = (host.budget.used(), host.budget.hard());
    if used > hard {
        faults.push(format!("memory: at {at:?} {used} bytes of {hard} are used"));
    }
    if let Some((task, age)) = host.tasks.slowest().filter(|(_, age)| *age > STUCK) {
        faults.push(format!("tasks: at {at:?} the task {task} has not turned for {age:?}"));
    }
    bounds(&host.stats, at, faults);
    if let Some(task) = host.tasks.failed().borrow().as_ref() {
        faults.push(format!("tasks: at {at:?} the task {task} has panicked"));
    }
}

/// 5: no queue holds more than it may.
fn bounds(stats: &Stats, at: Duration, faults: &mut Faults) {
    let all = stats.all();
    let value = |name: &str, labels: &[(&'static str, String)]| {
        let series = all.iter().find(|series| series.name == name && series.labels.as_slice() == labels)?;
        match &series.metric {
            Metric::Gauge(gauge) => Some(gauge.get() as f64),
            Metric::ReadGauge(read) => Some(read()),
            _ => None,
        }
    };
    for series in all.iter().filter(|series| series.name == "otelcol_exporter_queue_size") {
        let (size, most) =
            (value(&series.name, &series.labels), value("otelcol_exporter_queue_capacity", &series.labels));
        if size.zip(most).is_some_and(|(size, most)| size > most) {
            faults.push(format!("bounds: at {at:?} a queue holds {size:?} of {most:?}"));
        }
    }
}

/// What is known at the end beside the facts.
pub struct End<'a> {
    pub scenario: &'a Scenario,
    pub facts: &'a Facts,
    pub sheets: &'a BTreeMap<&'static str, Sheet>,
    pub drain_began: Instant,
    pub drain_took: Duration,
    /// What the budget still counts.
    pub used: u64,
}

pub fn end(end: &End<'_>) -> Faults {
    let mut faults = Faults::new();
    balance(end, &mut faults);
    acknowledged(end, &mut faults);
    once(end, &mut faults);
    refused(end, &mut faults);
    abandoned(end, &mut faults);
    drained(end, &mut faults);
    containers(end, &mut faults);
    whole_traces(end, &mut faults);
    twins(end, &mut faults);
    between(end, &mut faults);
    faults
}

/// 1 and 6: every item has ended, and nothing is charged any more.
fn balance(end: &End<'_>, faults: &mut Faults) {
    for (signal, sheet) in end.sheets {
        if sheet.held != 0 || !sheet.holds(0) {
            faults.push(format!("balance: {signal} do not balance after the drain: {sheet:?}"));
        }
    }
    // A panic that was scripted would be another; there is none.
    for (signal, sheet) in end.sheets {
        if let Some(lost) = sheet.dropped.get("internal").filter(|lost| **lost > 0) {
            faults.push(format!("balance: {lost} {signal} were lost to an error of ours: {sheet:?}"));
        }
    }
    if end.used != 0 {
        faults.push(format!("memory: {} bytes are still charged after the drain", end.used));
    }
}

fn arrived(facts: &Facts) -> BTreeMap<Item, Vec<(&Arrival, u64)>> {
    let mut by_item: BTreeMap<Item, Vec<(&Arrival, u64)>> = BTreeMap::new();
    for arrival in &facts.arrivals {
        for (item, attempt, _) in &arrival.items {
            let taken = match &arrival.outcome {
                Outcome::Taken | Outcome::Unclear => true,
                Outcome::Partial(items) => items.contains(item),
                Outcome::Refused => false,
            };
            if taken {
                by_item.entry(*item).or_default().push((arrival, *attempt));
            }
        }
    }
    by_item
}

/// What was acknowledged arrived, or is named with its reason.
fn acknowledged(end: &End<'_>, faults: &mut Faults) {
    let arrived = arrived(end.facts);
    for (signal, sheet) in end.sheets {
        let mut missing = BTreeSet::new();
        let mut rejected = 0;
        for (_, sent, told) in end.facts.acknowledged() {
            let ours = |item: &&Item| end.facts.made.get(item).is_some_and(|made| made.signal.name() == *signal);
            missing.extend(sent.items.iter().filter(ours).filter(|item| !arrived.contains_key(item)).copied());
            if sent.items.iter().any(|item| ours(&item)) {
                rejected += told;
            }
        }
        let named = sheet.dropped_total() + sheet.sampled_out;
        if (missing.len() as u64).saturating_sub(rejected) > named && !twin_signal(end, signal) {
            let some: Vec<_> = missing.iter().take(5).collect();
            faults.push(format!(
                "acknowledged: {} {signal} neither arrived nor are named (e.g. {some:?}): {sheet:?}",
                missing.len()
            ));
        }
    }
}

/// Records that cannot be told apart are counted in `twins`.
fn twin_signal(end: &End<'_>, signal: &str) -> bool {
    signal == "logs" && !end.facts.twins.is_empty()
}

/// Exactly once, where no answer was lost: one sending of a request arrives at most once.
fn once(end: &End<'_>, faults: &mut Faults) {
    let mut told = 0;
    for (item, arrivals) in arrived(end.facts) {
        let mut by_attempt: BTreeMap<u64, (usize, bool)> = BTreeMap::new();
        for (arrival, attempt) in arrivals {
            let seen = by_attempt.entry(attempt).or_default();
            seen.0 += 1;
            seen.1 |= arrival.outcome == Outcome::Unclear || is_late(end.scenario, arrival);
        }
        for (attempt, (times, unclear)) in by_attempt {
            if times > 1 && !unclear && item != 0 && told < 3 {
                told += 1;
                faults.push(format!(
                    "once: item {item} of attempt {attempt} arrived {times} times though no answer was lost"
                ));
            }
        }
    }
}

/// The gateway may have stopped waiting for this answer.
fn is_late(scenario: &Scenario, arrival: &Arrival) -> bool {
    let took = arrival.ended.map(|ended| ended.duration_since(arrival.written));
    took.is_none_or(|took| took + Duration::from_millis(50) >= scenario.timeout)
}

/// 2: what a sender was told to repeat was not taken, where the sender waits for the next hop.
fn refused(end: &End<'_>, faults: &mut Faults) {
    if end.scenario.stored {
        return;
    }
    let told = |attempt: &u64| end.facts.sent.get(attempt).and_then(|sent| sent.heard.as_ref()).map(|(heard, _)| heard);
    let taken = end.facts.arrivals.iter().filter(|arrival| arrival.outcome == Outcome::Taken);
    let taken = taken.filter(|arrival| !is_late(end.scenario, arrival)).flat_map(|arrival| &arrival.items);
    let both: Vec<u64> = taken.map(|(_, attempt, _)| *attempt).filter(|of| told(of) == Some(&Heard::Refused)).collect();
    if let Some(attempt) = both.first() {
        faults.push(format!(
            "refused: {} items were taken and their sender told to repeat, e.g. attempt {attempt}",
            both.len()
        ));
    }
}

/// An abandoned call ends between attempts: nothing begins to arrive for a caller who has gone, unless a store took it.
fn abandoned(end: &End<'_>, faults: &mut Faults) {
    if end.scenario.stored {
        return;
    }
    let mut late: BTreeMap<u64, Duration> = BTreeMap::new();
    for arrival in &end.facts.arrivals {
        for (_, attempt, _) in &arrival.items {
            let sent = end.facts.sent.get(attempt).and_then(|sent| sent.heard.as_ref());
            let gone = sent.filter(|(heard, _)| *heard == Heard::Nothing).map(|(_, at)| *at);
            if let Some(after) = gone.map(|gone| arrival.written.saturating_duration_since(gone)) {
                late.insert(*attempt, after);
            }
        }
    }
    late.retain(|_, after| *after > ABANDONED_GRACE);
    if let Some((attempt, after)) = late.iter().max_by_key(|(_, after)| **after) {
        let count = late.len();
        faults.push(format!(
            "abandoned: {count} calls went on to the next hop after their callers had gone, e.g. attempt {attempt} after {after:?}"
        ));
    }
}

/// A drain loses nothing while the next hop answers within its timeout and time is left.
fn drained(end: &End<'_>, faults: &mut Faults) {
    let lost: u64 = end.sheets.values().filter_map(|sheet| sheet.dropped.get("shutdown")).sum();
    let used_up = end.drain_took + Duration::from_millis(500) >= end.scenario.drain;
    let during = end.facts.arrivals.iter().filter(|arrival| arrival.ended.is_none_or(|ended| ended >= end.drain_began));
    let over = end.drain_began + end.drain_took;
    let answered = |arrival: &Arrival| match arrival.ended {
        Some(ended) => {
            ended.duration_since(arrival.begun) <= end.scenario.timeout
                && !matches!(arrival.outcome, Outcome::Refused | Outcome::Unclear)
        }
        // Cut short by the drain, which had to wait for it.
        None => over.duration_since(arrival.begun) + Duration::from_millis(50) < end.scenario.timeout,
    };
    if end.drain_took > end.scenario.drain + Duration::from_secs(3) {
        faults.push(format!("drained: the drain took {:?} of {:?}", end.drain_took, end.scenario.drain));
    }
    let (mut count, mut well) = (0, true);
    for arrival in during {
        count += 1;
        well &= answered(arrival);
    }
    if lost > 0 && !used_up && count > 0 && well {
        faults.push(format!(
            "drained: the drain gave up {lost} items after {:?} of {:?} although the next hop answered, or was within its time to",
            end.drain_took, end.scenario.drain
        ));
    }
}

/// 9: the right container.id or none.
fn containers(end: &End<'_>, faults: &mut Faults) {
    let (mut wrong, mut missing, mut right) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
    for arrival in &end.facts.arrivals {
        for (item, _, container) in &arrival.items {
            let Some(made) = end.facts.made.get(item) else { continue };
            match container {
                Some(id) if *id != made.container => {
                    wrong.insert(*item, (id.clone(), arrival.begun));
                }
                Some(_) => {
                    right.insert(*item);
                }
                None if !made.container.is_empty() && !clocks::is_undecidable(end.facts, made) => {
                    missing.insert(*item);
                }
                None => {}
            }
        }
    }
    if let Some((item, (id, _))) = wrong.first_key_value() {
        let real = &end.facts.made[item].container;
        let (count, id, real) = (wrong.len(), &id[..12.min(id.len())], &real[..12.min(real.len())]);
        faults.push(format!(
            "containers: {count} items have a wrong container.id, e.g. item {item}: {id} and not {real}"
        ));
    }
    let (allowed, since) = match end.scenario.ids {
        Ids::None => (100, None),
        Ids::MissingPercent(allowed) => (allowed, None),
        Ids::MissingAtLastPercent(allowed) => (allowed, end.drain_began.checked_sub(LAST)),
    };
    if let Some(since) = since {
        let late = end.facts.arrivals.iter().filter(|arrival| arrival.begun >= since);
        let late: BTreeSet<Item> = late.flat_map(|arrival| arrival.items.iter().map(|(item, ..)| *item)).collect();
        missing.retain(|item| late.contains(item));
        right.retain(|item| late.contains(item));
    }
    if missing.len() >= 5 {
        let all = missing.len() + right.len();
        if (missing.len() * 100) as u64 > allowed * all as u64 {
            faults.push(format!("missing: {} of {all} items have no container.id; {allowed} % may", missing.len()));
        }
    }
}

/// 10: one decision per trace. Where nothing was dropped or refused, a trace of one request arrives whole or not at all.
fn whole_traces(end: &End<'_>, faults: &mut Faults) {
    let clean = end.sheets.get("traces").is_none_or(|sheet| sheet.dropped_total() == 0);
    if !end.scenario.samples() || !clean {
        return;
    }
    let arrived = arrived(end.facts);
    let mut traces: BTreeMap<u64, (usize, usize)> = BTreeMap::new();
    for (_, sent, _) in end.facts.acknowledged() {
        for item in &sent.items {
            let Some(made) = end.facts.made.get(item).filter(|made| made.signal == Signal::Traces) else { continue };
            let counts = traces.entry(made.trace).or_default();
            counts.0 += 1;
            counts.1 += usize::from(arrived.contains_key(item));
        }
    }
    let torn: Vec<_> = traces.iter().filter(|(_, (sent, came))| *came > 0 && came < sent).take(3).collect();
    if !torn.is_empty() {
        faults.push(format!("traces: they arrived in part (trace, spans, arrived): {torn:?}"));
    }
}

/// Equal records of different requests are different documents.
fn twins(end: &End<'_>, faults: &mut Faults) {
    let dropped = end.sheets.get("logs").map_or(0, Sheet::dropped_total);
    for (body, (acknowledged, documents)) in &end.facts.twins {
        if *acknowledged > 0 && documents + dropped < *acknowledged {
            faults.push(format!("twins: of {acknowledged} equal log records {body:?} there are {documents} documents"));
        }
    }
}

/// What stands behind the enrichment sees what it gave.
fn between(end: &End<'_>, faults: &mut Faults) {
    let came = end.facts.arrivals.iter().flat_map(|arrival| &arrival.items);
    let count = match end.scenario.between {
        Between::Deletes => came.filter(|(.., container)| container.is_some()).count(),
        Between::Copies => {
            let copy = |item: &Item| end.facts.copies.get(item).cloned().flatten();
            came.filter(|(item, _, container)| container.is_some() && copy(item) != *container).count()
        }
        Between::Filters => {
            // Statuses come within two seconds and the hold is three: little is left without an id.
            let sheet = &end.sheets["traces"];
            let filtered = sheet.dropped.get("filtered").copied().unwrap_or(0);
            if filtered * 2 > sheet.received { usize::try_from(filtered).unwrap_or(0) } else { 0 }
        }
        Between::Nothing | Between::Forgets => 0,
    };
    if count > 0 {
        faults.push(format!("between: {count} items are not as the processor behind the enrichment made them"));
    }
}

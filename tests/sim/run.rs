//! One seed from start to end, and many of them in processes of their own.

use std::hash::{Hash, Hasher};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use podgate::cli::sources::{ConfigArgs, check_with};
use podgate::core::data::payload::Signal;
use podgate::core::report::stats::Metric;
use podgate::core::stage::factory::Environment;
use podgate::core::time::UnixNanos;
use podgate::gateway::Gateway;
use tokio::time::{Instant, sleep, sleep_until};

use crate::client::{Habits, Identity, Sender};
use crate::kinds::{KINDS, Kind};
use crate::oracle::{self, End, Faults};
use crate::scenario::{Exporter, Scenario};
use crate::truth::Facts;
use crate::world::{Stage, World};
use crate::{days, files};

/// Between two looks of the oracle.
const STEP: Duration = Duration::from_millis(250);
/// A simulation that takes longer on the real clock is stuck: something turns without time passing.
const PATIENCE: Duration = Duration::from_secs(120);

/// And for the long form.
const LONG_PATIENCE: Duration = Duration::from_secs(7_200);

pub struct Report {
    pub faults: Faults,
    /// What happened, in one line: the same for the same seed.
    pub summary: String,
}

/// Runs a seed on a paused clock in this thread.
pub fn simulate(kind: &Kind, seed: u64) -> Report {
    // Whatever draws a random number in this thread follows from the seed.
    fastrand::seed(seed);
    let mut rng = Rng::with_seed(seed);
    let mut scenario = (kind.make)(&mut rng);
    scenario.script.sort_by_key(|(when, _)| *when);
    let panics = watch_panics();
    let (mut faults, summary) = paused(play(seed, &scenario));
    faults.extend(panics.lock().expect("not poisoned").drain(..).take(3).map(|panic| format!("panic: {panic}")));
    if std::env::var_os("PODGATE_SIM_STRICT").is_none() {
        faults.retain(|fault| !kind.open.iter().any(|law| fault.starts_with(law)));
    }
    Report { faults, summary }
}

/// Every panic of this process from now on: no input may make one, and a double's own is a fault of the simulation.
fn watch_panics() -> Arc<Mutex<Vec<String>>> {
    let panics = Arc::<Mutex<Vec<String>>>::default();
    let seen = panics.clone();
    std::panic::set_hook(Box::new(move |panic| {
        let mut seen = seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if seen.len() < 3 {
            eprintln!("{panic}");
        }
        seen.push(panic.to_string());
    }));
    panics
}

/// Runs a future in this thread on a clock that jumps.
pub fn paused<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(future)
}

pub async fn start(world: &World, scenario: &Scenario) -> Gateway {
    let yaml = scenario.yaml();
    let args = ConfigArgs { config: vec![format!("yaml:{yaml}")], ..ConfigArgs::default() };
    let checked = check_with(&args, Environment::of(|_| None));
    let findings = podgate::config::show::diagnose::render(&checked.findings, &checked.sources, false);
    let plan = checked.plan.unwrap_or_else(|| panic!("the scenario's configuration is sound:\n{findings}\n{yaml}"));
    let gateway = Gateway::start_within(&plan, world.outside()).await;
    gateway.unwrap_or_else(|error| panic!("the gateway starts: {error}\n{yaml}"))
}

async fn play(seed: u64, scenario: &Scenario) -> (Faults, String) {
    let world = World::new(seed);
    let _wall = world.clock.stand_in();
    let mut faults = Faults::new();
    let tasks = Arc::default();
    let mut stage = Stage::set(&world, scenario, &tasks);
    let gateway = start(&world, scenario).await;
    stage.add_senders(&scenario.senders);
    let begun = Instant::now();
    let mut script = scenario.script.iter().peekable();
    let mut mended = false;
    while begun.elapsed() < scenario.length + scenario.recovery && faults.len() < 10 {
        while let Some((_, event)) = script.next_if(|(when, _)| *when <= begun.elapsed()) {
            stage.happen(event);
        }
        if !mended && begun.elapsed() >= scenario.length {
            mended = true;
            stage.mend();
        }
        let next = script.peek().map_or(Duration::MAX, |(when, _)| *when);
        sleep_until(begun + (begun.elapsed() + STEP).min(next)).await;
        oracle::step(&gateway, begun.elapsed(), &mut faults);
    }
    stage.silence().await;
    probe(&world, &mut faults).await;
    if scenario.samples() {
        sleep(Duration::from_secs(1)).await;
    }
    scenario.before_drain.iter().for_each(|event| stage.happen(event));
    burst(&world, scenario.burst).await;
    let host = gateway.host().clone();
    let drain_began = Instant::now();
    let sheets = gateway.drain(scenario.drain).await;
    let drain_took = drain_began.elapsed();
    stage.end().await;
    if scenario.exporter == Exporter::File {
        files::read(&world, drain_began, &mut faults);
    }
    let facts = world.truth.facts();
    if std::env::var_os("PODGATE_SIM_TELL").is_some() {
        tell(&world, scenario, &facts, begun);
        host.stats.all().iter().for_each(|series| {
            if let Metric::Counter(counter) = &series.metric
                && counter.get() > 0
            {
                println!("{} {:?} {}", series.name, series.labels, counter.get());
            }
        });
    }
    let used = host.budget.used();
    faults.extend(oracle::end(&End { scenario, facts: &facts, sheets: &sheets, drain_began, drain_took, used }));
    let heard = facts.sent.values().filter(|sent| sent.heard.is_some()).count();
    let items: usize = facts.arrivals.iter().map(|arrival| arrival.items.len()).sum();
    let summary = format!(
        "course {:016x} made {} sent {} heard {heard} requests {} items {items} drain {drain_took:?} {}",
        course(&facts, begun),
        facts.made.len(),
        facts.sent.len(),
        facts.arrivals.len(),
        podgate::telemetry::balance::line(&sheets)
    );
    (faults, summary)
}

/// What was scripted, which runs there were, and what arrived when, for whoever looks for a fault.
fn tell(world: &World, scenario: &Scenario, facts: &Facts, begun: Instant) {
    println!("{}", scenario.yaml());
    for (when, event) in &scenario.script {
        println!("{when:>9.3?} {event:?}");
    }
    // Steps of the clock are not taken out.
    let origin = world.clock.now().saturating_sub(begun.elapsed());
    for run in world.sandbox.truth() {
        let since = |at: UnixNanos| (at.0 as f64 - origin.0 as f64) / 1e9;
        let ended = run.ended.map_or(f64::INFINITY, since);
        println!(
            "run {} {}/{} #{} {:.3} to {ended:.3}",
            &run.id[..12],
            run.pod,
            run.container,
            run.number,
            since(run.started)
        );
    }
    for arrival in &facts.arrivals {
        let at = arrival.begun.saturating_duration_since(begun);
        for (item, attempt, container) in &arrival.items {
            let made = facts.made.get(item).map_or("", |made| made.container.as_str());
            let (made, is) = (&made[..12.min(made.len())], container.as_deref().unwrap_or("none"));
            let verdict = if made == &is[..12.min(is.len())] { "right" } else { is };
            println!("{at:>9.3?} item {item} attempt {attempt} of {made}: {verdict}");
        }
    }
}

/// One number for all that arrived, when, and how it ended: two runs of a seed have the same.
fn course(facts: &Facts, begun: Instant) -> u64 {
    let mut hash = std::hash::DefaultHasher::new();
    for arrival in &facts.arrivals {
        let at = arrival.begun.saturating_duration_since(begun);
        (at, arrival.ended.map(|ended| ended - arrival.begun), &arrival.items).hash(&mut hash);
    }
    hash.finish()
}

/// Two runs of one seed take the same course.
pub fn twice(kind: &Kind, seed: u64) {
    let said = |text: String| text.lines().find(|line| line.contains("course ")).map(str::to_owned);
    let run = || said(apart(kind, seed).unwrap_or_else(|text| text));
    let (first, second) = (run(), run());
    assert!(first.is_some() && first == second, "two runs of {} {seed}:\n{first:?}\n{second:?}", kind.name);
}

/// When everything is well again, data is taken and arrives again.
async fn probe(world: &World, faults: &mut Faults) {
    for signal in [Signal::Traces, Signal::Metrics, Signal::Logs] {
        let habits = Habits { signal, repeats: Duration::from_secs(30), ..Habits::default() };
        let mut sender = Sender::new(world.clone(), habits, Identity::default());
        let things = sender.make(1);
        if !sender.export(things).await {
            faults.push(format!("recovery: {} are still refused long after everything was mended", signal.name()));
        }
    }
}

/// Requests of five spans, each acknowledged before the next.
async fn burst(world: &World, requests: usize) {
    let habits = Habits { repeats: Duration::ZERO, ..Habits::default() };
    let mut sender = Sender::new(world.clone(), habits, Identity::default());
    for _ in 0..requests {
        let things = sender.make(5);
        sender.export(things).await;
    }
}

/// One seed in a process of its own: nothing is left of the one before, so that a seed means the same wherever it runs.
fn apart(kind: &Kind, seed: u64) -> Result<String, String> {
    let mut command = this_test("one_seed");
    command.env("PODGATE_SIM_KIND", kind.name).env("PODGATE_SIM_SEED", seed.to_string());
    finish(command, PATIENCE)
}

/// A test of this file, to be run in a process of its own.
fn this_test(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this test has a path"));
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]);
    command
}

/// So many hours of a busy node, in a process of its own: its allocator is measured.
pub fn node(hours: u64, pods: u64) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = this_test("one_node");
    command.env("KUBECONFIG", days::kubeconfig(folder.path())).env("PODGATE_SIM_FOLDER", folder.path());
    command.env("PODGATE_SIM_HOURS", hours.to_string()).env("PODGATE_SIM_PODS", pods.to_string());
    match finish(command, LONG_PATIENCE) {
        Ok(text) => println!("{text}"),
        Err(text) => panic!("{text}"),
    }
}

fn finish(mut command: Command, patience: Duration) -> Result<String, String> {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a process");
    let begun = Instant::now();
    // What it says fits into a pipe; a child that says more than that is told off below.
    let status = loop {
        match child.try_wait().expect("a child") {
            Some(status) => break Some(status),
            None if begun.elapsed() > patience => {
                let _ = child.kill();
                break None;
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    let output = child.wait_with_output().expect("its output");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    match status {
        Some(status) if status.success() => Ok(text),
        Some(_) => Err(text),
        None => Err(format!("stuck: {patience:?} of real time are over\n{text}")),
    }
}

/// Plays cases on all cores, the kinds in turn or one of them; says of the first few failures how to play them again.
pub fn many(cases: std::ops::Range<u64>, only: Option<&str>) {
    let kinds: Vec<&Kind> = KINDS.iter().filter(|kind| only.is_none_or(|only| only == kind.name)).collect();
    assert!(!kinds.is_empty(), "no kind has the name {only:?}");
    let next = AtomicU64::new(cases.start);
    let failed: Mutex<Vec<(&str, u64, String)>> = Mutex::default();
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let mine = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|case| *case < cases.end);
                for case in std::iter::from_fn(mine) {
                    let (kind, seed) = (kinds[case as usize % kinds.len()], case / kinds.len() as u64);
                    let fault = apart(kind, seed).err().map(|text| (kind.name, seed, text));
                    failed.lock().expect("not poisoned").extend(fault);
                }
            });
        }
    });
    let mut failed = failed.into_inner().expect("not poisoned");
    failed.sort();
    let count = failed.len();
    let mut shown = failed.clone();
    shown.dedup_by_key(|(kind, ..)| *kind);
    let shown: Vec<String> = shown.iter().map(|(.., text)| told(text)).collect();
    let all: Vec<String> = failed.iter().map(|(kind, seed, _)| format!("{kind} {seed}")).collect();
    assert!(count == 0, "{count} of {cases:?} failed: {}\n{}", all.join(", "), shown.join("\n"));
}

/// Plays one case, which must keep the law.
pub fn one_of(name: &str, seed: u64) {
    let kind = KINDS.iter().find(|kind| kind.name == name).unwrap_or_else(|| panic!("no kind has the name {name}"));
    if let Err(text) = apart(kind, seed) {
        panic!("{}", told(&text));
    }
}

/// What matters of a child's text.
fn told(text: &str) -> String {
    let begin = text.find("breaks the law").map_or(0, |at| text[..at].rfind("seed ").unwrap_or(at));
    text[begin..]
        .lines()
        .take_while(|line| !line.is_empty() && !line.contains("FAILED") && !line.starts_with("note:"))
        .collect::<Vec<_>>()
        .join("\n")
}

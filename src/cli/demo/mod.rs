//! `podgate demo`: the main job on one machine with nothing else installed, judged by an end that knows the truth.
//!
//! A double of the Kubernetes API with late statuses, applications that send real OTLP and lie about their restart count,
//! the shipped pipeline with sampling, and a receiving end that compares every container.id with what really ran. It
//! uses the gateway by its YAML only.

mod stage;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::cli::demo::stage::DemoSurroundings;
use crate::cli::{Exit, run};
use crate::config::value::duration;
use crate::core::limits;
use crate::core::report::routes::PageQuery;
use crate::core::report::stats::{Metric, Stats};
use crate::core::time::UnixNanos;
use crate::gateway::Gateway;
use crate::lab::api_double::{Sandbox, TrueRun};
use crate::lab::demo::asked::DemoInput;
use crate::lab::demo::cast::{Cast, Tier};
use crate::lab::demo::end::DemoEnd;
use crate::lab::demo::print::{DemoBalance, DemoState, Printer};
use crate::lab::demo::published::Reader;
use crate::lab::demo::screen::compose::{Figures, SceneFacts};
use crate::lab::demo::screen::scene::DemoScene;
use crate::lab::demo::screen::{Instead, Screen};
use crate::lab::demo::traffic::{ROUND, Traffic};
use crate::lab::demo::truth::Runs;
use crate::net::client::target::Target;
use crate::telemetry;
use crate::telemetry::stdout;
use crate::telemetry::stdout::Format;

/// Statuses are published this long after the fact, as kubelets do.
const PUBLISH_DELAY: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3);
const PRINT_EVERY: Duration = Duration::from_secs(2);
const DRAW_EVERY: Duration = Duration::from_millis(250);
const FIRST_RESTART: Duration = Duration::from_secs(5);
const RESTART_EVERY: Duration = Duration::from_secs(6);
/// From the last span until its trace is decided and its run is proved: `decision_wait`, and a second.
const LAST_DECISIONS: Duration = Duration::from_millis(6_500);
/// No restart this near to a known end: its spans would be decided before its status can be there.
const CALM_AT_END: Duration = Duration::from_secs(8);

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How long to run (20s, 5m); until Ctrl-C when not given
    #[arg(long, value_parser = duration::parse)]
    pub duration: Option<Duration>,
    /// Traces begun each second, nine spans each
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(10..=5_000))]
    pub traces: u32,
    /// Text for people, or one JSON object a line with a summary at the end
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
    /// Lines instead of a screen
    #[arg(long)]
    pub plain: bool,
    /// Write the screen of the last moment as a picture
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}

/// Fails when a single container.id was wrong.
pub fn run(args: &Args) -> Exit {
    let runtime = match run::runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            stdout::error_line(&format!("cannot start threads: {error}"));
            return Exit::Failure;
        }
    };
    let outcome = runtime.block_on(play(args));
    runtime.shutdown_background();
    match outcome {
        Ok(exit) => exit,
        Err(why) => {
            stdout::error_line(&why);
            Exit::Failure
        }
    }
}

async fn play(args: &Args) -> Result<Exit, String> {
    let sandbox = Sandbox::new(7);
    let cast = Cast::raise(&sandbox);
    sandbox.set_publish_delay(PUBLISH_DELAY);
    let runs = Arc::new(Runs::default());
    let pods = cast.members.iter().map(|member| member.pod.uid.clone()).collect();
    let end = DemoEnd::new(runs.clone(), pods);
    let around = DemoSurroundings::start(&sandbox, end.pages()).await.map_err(|error| error.to_string())?;
    let (gateway, doors, admin) = crate::cli::demo::stage::gateway(&around).await?;
    let mut printer = Printer::new(args.format);
    printer.opening(&cast, &doors, &admin);
    let screen = open_screen(args);
    printer.silent = screen.is_some();
    let endpoint = doors.http.clone();
    let reader = Reader::new(Target::parse(&around.api, None)?);
    let traffic = Traffic::new(sandbox, runs.clone(), doors, reader, cast.members);
    let mut play = Play {
        started: Instant::now(),
        printer,
        gateway,
        end,
        traffic,
        restarts: 0,
        announced: None,
        last: Last::default(),
        view: View {
            asked: DemoInput::listen(screen.as_ref().map(Screen::keys)),
            screen,
            runs,
            restart: None,
            endpoint,
            figures: Figures::default(),
            ended: None,
        },
    };
    play.until_the_end(args).await;
    play.last_decisions().await;
    if let Some(path) = &args.svg {
        let picture = crate::lab::demo::screen::picture(&play.scene());
        std::fs::write(path, picture).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    let exit = play.close().await;
    around.stop().await;
    Ok(exit)
}

/// Everything on the stage.
struct Play {
    started: Instant,
    printer: Printer,
    gateway: Gateway,
    end: Arc<DemoEnd>,
    traffic: Traffic,
    restarts: u32,
    /// A restart that was ordered and whose new run has not begun: member and the run that ended.
    announced: Option<(usize, TrueRun)>,
    last: Last,
    view: View,
}

/// What the screen needs beside the play itself.
struct View {
    screen: Option<Screen>,
    asked: DemoInput,
    runs: Arc<Runs>,
    /// The latest restart: place of the member, and the run that began.
    restart: Option<(usize, TrueRun)>,
    endpoint: String,
    figures: Figures,
    /// When the traffic ended.
    ended: Option<UnixNanos>,
}

/// The figures of the last print, for rates.
#[derive(Default)]
struct Last {
    since_start: Duration,
    accepted: u64,
    cpu_seconds: f64,
}

impl Play {
    async fn until_the_end(&mut self, args: &Args) {
        let mut rounds = interval(ROUND);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut prints = interval(PRINT_EVERY);
        prints.tick().await;
        let over = async {
            match args.duration {
                Some(duration) => tokio::time::sleep(duration).await,
                None => std::future::pending().await,
            }
        };
        let mut over = std::pin::pin!(over);
        let mut draws = interval(DRAW_EVERY);
        draws.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let per_round = (args.traces as usize * ROUND.as_millis() as usize / 1_000).max(1);
        loop {
            tokio::select! {
                () = self.view.asked.again() => return,
                () = &mut over => return,
                _ = prints.tick() => self.print(),
                _ = draws.tick() => self.draw(),
                _ = rounds.tick() => {
                    self.direct(args.duration);
                    self.traffic.round(per_round).await;
                    self.announce();
                }
            }
        }
    }

    /// The last traces are decided in their time: at a stop they would be decided before it is known which runs made them.
    async fn last_decisions(&mut self) {
        self.printer.ending(LAST_DECISIONS);
        self.view.ended = Some(self.traffic.now());
        let mut draws = interval(DRAW_EVERY);
        let mut over = std::pin::pin!(tokio::time::sleep(LAST_DECISIONS));
        loop {
            tokio::select! {
                () = &mut over => return,
                () = self.view.asked.again() => return,
                _ = draws.tick() => self.draw(),
            }
        }
    }

    fn draw(&mut self) {
        if self.view.screen.is_none() {
            return;
        }
        let scene = self.scene();
        if let Some(screen) = &mut self.view.screen {
            screen.draw(&scene);
        }
    }

    fn scene(&self) -> DemoScene {
        let (truth, seen, view) = (self.traffic.truth(), self.end.seen(), &self.view);
        crate::lab::demo::screen::compose::scene(&SceneFacts {
            members: self.traffic.members(),
            truth: &truth,
            runs: &view.runs,
            seen: &seen,
            sampling: &page(&self.gateway, "/v1/sampling"),
            figures: view.figures,
            restart: view.restart.as_ref().map(|(lane, run)| (*lane, run)),
            since_start: self.started.elapsed(),
            now: view.ended.unwrap_or_else(|| self.traffic.now()),
            endpoint: &view.endpoint,
            ending: view.ended.is_some(),
        })
    }

    /// Restarts a container when it is time: checkout and payments in turn, every other one by way of a crash loop.
    fn direct(&mut self, duration: Option<Duration>) {
        let due = FIRST_RESTART + RESTART_EVERY * self.restarts;
        let near_end = self.restarts > 0 && duration.is_some_and(|duration| due + CALM_AT_END > duration);
        if self.started.elapsed() < due || self.announced.is_some() || near_end {
            return;
        }
        let tier = if self.restarts.is_multiple_of(2) { Tier::Checkout } else { Tier::Payments };
        let member = self.traffic.members().iter().position(|member| member.tier == tier).unwrap_or(0);
        let before = self.traffic.running(member).cloned();
        self.restarts += 1;
        let crash_loop = self.restarts.is_multiple_of(4);
        if let (Some(before), Some(_)) = (before, self.traffic.restart(member, crash_loop)) {
            self.announced = Some((member, before));
        }
    }

    /// Says that a restart happened once the new run is at work.
    fn announce(&mut self) {
        let Some((member, before)) = &self.announced else { return };
        let Some(after) = self.traffic.running(*member).filter(|run| run.id != before.id) else { return };
        self.printer.restarted(self.traffic.members()[*member].service, before, after);
        self.view.restart = Some((*member, after.clone()));
        self.announced = None;
    }

    fn print(&mut self) {
        let seen = self.end.seen();
        let sampling = page(&self.gateway, "/v1/sampling");
        let moment = self.last.moment(self.started.elapsed(), &seen, &self.traffic, &sampling);
        self.printer.moment(&moment);
        self.view.figures =
            Figures { spans_per_second: moment.rate, cpu_share: moment.cpu_share, rss_bytes: moment.rss_bytes };
    }

    /// Lets everything arrive, then says the sums.
    async fn close(mut self) -> Exit {
        // Lines come again once the terminal is as it was.
        self.view.screen = None;
        self.printer.silent = false;
        self.traffic.finish().await;
        let host = self.gateway.host().clone();
        let sheets = self.gateway.drain(limits::DRAIN_DEADLINE).await;
        let sampling = host.routes.find("/v1/sampling").map_or(Value::Null, |answer| answer(&PageQuery::new()).body);
        let seen = self.end.seen();
        let last = self.last.moment(self.started.elapsed(), &seen, &self.traffic, &sampling);
        let line = telemetry::balance::line(&sheets);
        let account = DemoBalance { line, sheets: serde_json::json!(sheets), missing: missing(&host.stats) };
        self.printer.summary(&last, &account);
        if seen.podgate.wrong == 0 && seen.podgate.right > 0 { Exit::Ok } else { Exit::Failure }
    }
}

/// A screen where there is a terminal that can show it, and lines are not asked for.
fn open_screen(args: &Args) -> Option<Screen> {
    if args.plain || args.format == Format::Json {
        return None;
    }
    match Screen::open() {
        Ok(screen) => Some(screen),
        Err(Instead::NoTerminal) => None,
        Err(Instead::TooSmall) => {
            stdout::line("this window is smaller than 80 x 24: lines instead of the screen\n");
            None
        }
    }
}

/// Resources without container.id by reason, from the gateway's own metric.
fn missing(stats: &Stats) -> BTreeMap<String, u64> {
    let mut reasons = BTreeMap::new();
    for series in stats.all().into_iter().filter(|series| series.name == "podgate_k8s_container_id_resources") {
        let label = |name| series.labels.iter().find(|(label, _)| *label == name).map(|(_, value)| value.as_str());
        let Metric::Counter(counter) = &series.metric else { continue };
        if label("outcome") == Some("missing") && counter.get() > 0 {
            *reasons.entry(label("reason").unwrap_or_default().to_owned()).or_default() += counter.get();
        }
    }
    reasons
}

fn page(gateway: &Gateway, path: &str) -> Value {
    gateway.host().routes.find(path).map_or(Value::Null, |answer| answer(&PageQuery::new()).body)
}

impl Last {
    fn moment<'a>(
        &mut self,
        since_start: Duration,
        seen: &'a crate::lab::demo::end::Arrived,
        traffic: &'a Traffic,
        sampling: &'a Value,
    ) -> DemoState<'a> {
        let cpu_seconds = telemetry::process::cpu_seconds();
        let seconds = (since_start - self.since_start).as_secs_f64().max(f64::MIN_POSITIVE);
        let rate = (traffic.sent.accepted - self.accepted) as f64 / seconds;
        let cpu_share = (cpu_seconds - self.cpu_seconds) / seconds;
        *self = Last { since_start, accepted: traffic.sent.accepted, cpu_seconds };
        let rss_bytes = telemetry::process::rss_bytes();
        DemoState { since_start, seen, sent: &traffic.sent, rate, sampling, rss_bytes, cpu_seconds, cpu_share }
    }
}

//! The configuration of a running gateway read again: what asks for it, what is checked first, and what is told of it.
//!
//! One reload at a time. A configuration with a fault changes nothing: its findings are told and the old one runs on.

pub mod files;
pub mod page;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::cli::reload::files::FileIdentities;
use crate::cli::reload::page::Shown;
use crate::cli::signals::HangUps;
use crate::cli::sources::{self, Checked, ConfigArgs};
use crate::config::show::diagnose;
use crate::core::diagnostic::{Diagnostic, Severity};
use crate::core::node::Node;
use crate::core::report::routes::{Page, RunningChange};
use crate::core::stage::host::Host;
use crate::gateway::Gateway;
use crate::pipeline::identity::Difference;
use crate::pipeline::plan::Plan;
use crate::pipeline::wiring::restart;
use crate::telemetry::running_config::{self, RELOAD_OUTCOMES};

/// Who asks through the admin page while one is under way waits; one more than these is told to come again.
const ASKED_MAX: usize = 8;

/// How a reload ended, in the order of [`RELOAD_OUTCOMES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReloadEnd {
    Applied,
    /// The configuration is the running one.
    Unchanged,
    /// It has faults, or changes what only a restart can change.
    Refused,
    /// Something of it could not start.
    Failed,
}

impl ReloadEnd {
    fn name(self) -> &'static str {
        RELOAD_OUTCOMES[self as usize]
    }
}

/// What is answered to who asked.
struct Reloaded {
    end: ReloadEnd,
    /// Findings with their carets, secrets hidden; why it could not start.
    told: String,
    difference: Difference,
}

type Answering = oneshot::Sender<Page>;

/// A configuration as it was read.
pub struct RunningConfig {
    pub plan: Plan,
    /// What it was read from; its plan is the one above.
    checked: Checked,
    /// Its files when they were read.
    files: FileIdentities,
}

impl RunningConfig {
    /// `files` were looked at before the configuration was read from them.
    pub fn of(plan: Plan, checked: Checked, files: FileIdentities) -> RunningConfig {
        let files = files.and_of(checked.tree.as_ref());
        RunningConfig { plan, checked, files }
    }
}

/// The gateway's configuration, and who may ask for another.
pub struct Reloading {
    args: ConfigArgs,
    plan: Plan,
    /// Where secrets and places of the running configuration are known.
    tree: Option<Node>,
    shown: Arc<Shown>,
    hang_ups: HangUps,
    asked: mpsc::Receiver<Answering>,
    files: FileIdentities,
}

/// Why the configuration is read again.
pub enum ReloadTrigger {
    Signal,
    Files,
    Admin(Answering),
}

impl Reloading {
    /// Registers page, action and figures.
    pub fn new(args: &ConfigArgs, runs: RunningConfig, hang_ups: HangUps, host: &Arc<Host>) -> Reloading {
        let RunningConfig { plan, checked, files } = runs;
        let (asks, asked) = mpsc::channel(ASKED_MAX);
        host.routes.add_change("/v1/reload", change(asks));
        let shown = Shown::register(args, &plan, &checked, host);
        let tree = checked.tree;
        Reloading { args: args.clone(), plan, tree, shown, hang_ups, asked, files }
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Until somebody wants the configuration to be read again.
    pub async fn wanted(&mut self) -> ReloadTrigger {
        let keys = self.plan.reload;
        let mut looks = interval(keys.interval);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.hang_ups.next() => return ReloadTrigger::Signal,
                Some(answering) = self.asked.recv() => return ReloadTrigger::Admin(answering),
                _ = looks.tick(), if keys.watch => if self.files.have_changed(&self.args, self.tree.as_ref()).await {
                    tracing::info!("the files of the configuration have changed: it is read again");
                    return ReloadTrigger::Files;
                }
            }
        }
    }

    /// Reads, checks and applies; says what came of it.
    pub async fn run(&mut self, trigger: ReloadTrigger, gateway: &mut Gateway) {
        let begun = Instant::now();
        let reloaded = self.reload(gateway).await;
        running_config::reloads(gateway.host(), reloaded.end.name()).add(1);
        say(&reloaded, begun);
        if let ReloadTrigger::Admin(answering) = trigger {
            // Who asked may be gone.
            let _ = answering.send(page_of(&reloaded));
        }
    }

    async fn reload(&mut self, gateway: &mut Gateway) -> Reloaded {
        let files = FileIdentities::look(&self.args);
        // Whatever a configuration holds, the one that runs goes on.
        let Ok(mut checked) = std::panic::catch_unwind(AssertUnwindSafe(|| sources::check(&self.args))) else {
            self.files = files.and_of(self.tree.as_ref());
            let told = "a panic in podgate ended the check of the configuration, which is a bug; the log tells where\n"
                .to_owned();
            return Reloaded { end: ReloadEnd::Failed, told, difference: Difference::default() };
        };
        let plan = checked.plan.take();
        self.files = files.and_of(self.tree.as_ref());
        if let Some(plan) = &plan {
            checked.findings.extend(restart::needed(&self.plan, plan));
        }
        checked.findings.iter().for_each(say_finding);
        let mut told = diagnose::render(&checked.findings, &checked.sources, false);
        let refused = checked.findings.iter().any(|found| found.severity == Severity::Error);
        let Some(plan) = plan.filter(|_| !refused) else {
            return Reloaded { end: ReloadEnd::Refused, told, difference: Difference::default() };
        };
        let end = match gateway.reload(&self.plan, &plan).await {
            Ok(difference) => {
                let same = difference.is_none()
                    && plan.memory_limit == self.plan.memory_limit
                    && plan.reload == self.plan.reload;
                let end = if same { ReloadEnd::Unchanged } else { ReloadEnd::Applied };
                self.shown.now_runs(&plan, &checked, gateway.host());
                self.files = std::mem::take(&mut self.files).and_of(checked.tree.as_ref());
                (self.plan, self.tree) = (plan, checked.tree);
                return Reloaded { end, told, difference };
            }
            Err(error) => {
                told.push_str(&checked.sources.hidden.in_words(&format!("cannot start: {error}\n")));
                ReloadEnd::Failed
            }
        };
        Reloaded { end, told, difference: Difference::default() }
    }
}

/// Asks the gateway's own loop, and waits for its answer.
fn change(asks: mpsc::Sender<Answering>) -> RunningChange {
    Arc::new(move |_, _| {
        let asks = asks.clone();
        Box::pin(async move {
            let (answering, answer) = oneshot::channel();
            if asks.try_send(answering).is_err() {
                return Page::error(503, "a reload is under way and others wait: ask again");
            }
            answer.await.unwrap_or_else(|_| Page::error(503, "the gateway ends"))
        })
    })
}

fn page_of(reloaded: &Reloaded) -> Page {
    let Difference { added, removed, changed, kept } = &reloaded.difference;
    Page::ok(serde_json::json!({
        "outcome": reloaded.end.name(),
        "findings": reloaded.told,
        "added": added,
        "removed": removed,
        "changed": changed,
        "kept": kept,
    }))
}

fn say_finding(found: &Diagnostic) {
    let (code, at, message, line) = (found.code, &found.path, &found.message, found.place.map(|place| place.line));
    match found.severity {
        Severity::Error => tracing::error!(code, %at, line, "{message}"),
        Severity::Warning => tracing::warn!(code, %at, line, "{message}"),
    }
}

fn say(reloaded: &Reloaded, begun: Instant) {
    let Difference { added, removed, changed, kept } = &reloaded.difference;
    let took = begun.elapsed();
    match reloaded.end {
        ReloadEnd::Applied => {
            let (added, removed, changed) = (added.join(","), removed.join(","), changed.join(","));
            tracing::info!(%added, %removed, %changed, kept, ?took, "the new configuration runs");
        }
        ReloadEnd::Unchanged => tracing::info!(kept, ?took, "the configuration is the one that runs already"),
        ReloadEnd::Refused => {
            tracing::error!("the configuration is refused and the one before runs on; `podgate validate` shows where");
        }
        ReloadEnd::Failed => {
            let why = reloaded.told.trim_end().lines().last().unwrap_or_default();
            tracing::error!(%why, "the configuration cannot be applied and the one before runs on");
        }
    }
}

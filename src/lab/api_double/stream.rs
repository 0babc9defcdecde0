//! One open watch: initial events, then what happens, bookmarks, and an end after the time that was asked for.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::fault::ApiFault;
use super::objects;
use crate::lab::api_double::query::PodQuery;
use crate::lab::api_double::sandbox::Sandbox;

pub struct Plan {
    pub selection: PodQuery,
    pub from: u64,
    /// Begin with all objects.
    pub initial: bool,
    pub bookmarks: bool,
    pub timeout: Duration,
    pub fault: Option<ApiFault>,
}

/// How long a real server waits for a version before it says that it lies ahead.
const TOO_LARGE_WAIT: Duration = Duration::from_secs(3);
/// Pieces and pauses of a slow stream.
const SLOW_BYTES: usize = 700;
const SLOW_PAUSE: Duration = Duration::from_millis(20);

struct Gone;

struct Lines {
    lines: mpsc::Sender<Bytes>,
    fault: Option<ApiFault>,
}

impl Lines {
    async fn send(&self, line: &str) -> Result<(), Gone> {
        let text = Bytes::from(format!("{line}\n"));
        match self.fault {
            Some(ApiFault::Truncated) => {
                self.push(text.slice(..text.len() / 2)).await?;
                Err(Gone)
            }
            Some(ApiFault::Slow) => {
                for piece in text.chunks(SLOW_BYTES) {
                    self.push(text.slice_ref(piece)).await?;
                    sleep(SLOW_PAUSE).await;
                }
                Ok(())
            }
            Some(ApiFault::Duplicates) => {
                self.push(text.clone()).await?;
                self.push(text).await
            }
            _ => self.push(text).await,
        }
    }

    async fn push(&self, bytes: Bytes) -> Result<(), Gone> {
        self.lines.send(bytes).await.map_err(|_| Gone)
    }
}

/// Writes lines until the client goes, the time is over or a fault ends it.
pub async fn run(sandbox: Arc<Sandbox>, plan: Plan, lines: mpsc::Sender<Bytes>) {
    let fault = plan.fault;
    let lines = Lines { lines, fault };
    match fault {
        Some(ApiFault::EndAtOnce) => return,
        Some(ApiFault::SilentAfterHead) => return pending().await,
        Some(ApiFault::GoneAsEvent) => {
            let _ = lines.send(&error(410, "Expired", "too old resource version: 210 (318)")).await;
            return;
        }
        Some(ApiFault::ErrorEvent { code }) => {
            let _ = lines.send(&error(code, "InternalError", "something went wrong")).await;
            return;
        }
        _ => {}
    }
    // Gone: nobody reads any more, which is how most watches end.
    let _ = follow(&sandbox, plan, &lines).await;
}

async fn follow(sandbox: &Sandbox, plan: Plan, lines: &Lines) -> Result<(), Gone> {
    let ends = Instant::now() + plan.timeout;
    let mut versions = sandbox.version.subscribe();
    let (latest, too_old) = {
        let cluster = sandbox.cluster();
        (cluster.version(), cluster.is_too_old(plan.from))
    };
    if plan.from > latest {
        if plan.initial {
            sleep(TOO_LARGE_WAIT).await;
            return lines.send(&error(504, "Timeout", "Timeout: Too large resource version")).await;
        }
        // A plain watch from the future is silent to its end.
        sleep_until(ends).await;
        return Ok(());
    }
    if too_old && !plan.initial {
        return lines.send(&error(410, "Expired", "too old resource version")).await;
    }
    let mut sent = plan.from;
    if plan.initial {
        sent = latest;
        for line in initial_lines(sandbox, &plan) {
            lines.send(&line).await?;
        }
        if plan.bookmarks && plan.fault != Some(ApiFault::EndlessInitialEvents) {
            lines.send(&objects::bookmark(latest, true).to_string()).await?;
        }
    }
    let every = sandbox.conduct().bookmark_every;
    let mut bookmark_at = Instant::now() + every;
    loop {
        sandbox.thawed().await;
        versions.borrow_and_update();
        let (news, latest) = {
            let cluster = sandbox.cluster();
            let ours =
                cluster.since(sent).filter(|event| plan.selection.takes(&event.namespace, &event.node, &event.name));
            (ours.map(|event| event.line.clone()).collect::<Vec<String>>(), cluster.version())
        };
        for line in news {
            lines.send(&line).await?;
        }
        sent = latest;
        tokio::select! {
            changed = versions.changed() => changed.map_err(|_| Gone)?,
            () = sleep_until(bookmark_at), if plan.bookmarks => {
                sandbox.thawed().await;
                lines.send(&objects::bookmark(sent, false).to_string()).await?;
                bookmark_at += every;
            }
            () = sleep_until(ends) => return Ok(()),
            () = lines.lines.closed() => return Err(Gone),
        }
    }
}

fn initial_lines(sandbox: &Sandbox, plan: &Plan) -> Vec<String> {
    let cluster = sandbox.cluster();
    let ours = cluster.pods().filter(|(pod, _)| plan.selection.takes(&pod.namespace, &pod.node, &pod.name));
    let mut lines: Vec<String> = ours.map(|(_, object)| added(&object)).collect();
    if plan.fault == Some(ApiFault::BadObject) {
        lines.push(added(&json!({ "metadata": { "name": "bad", "uid": 7, "resourceVersion": "5" }, "spec": "no" })));
    }
    lines
}

fn added(object: &Value) -> String {
    json!({ "type": "ADDED", "object": object }).to_string()
}

fn error(code: u16, reason: &str, message: &str) -> String {
    json!({ "type": "ERROR", "object": objects::status(code, reason, message) }).to_string()
}

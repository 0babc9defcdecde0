//! Runs the detectors: all at the start, those that failed again and again, all of them at every refresh.
//!
//! What was found once stays when a later attempt fails. Readers take a snapshot without a lock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::detector::{Detector, merge};
use crate::core::backoff::around;
use crate::core::error::StartError;
use crate::core::lock::Locked;
use crate::core::stage::component::{Component, Task};
use crate::core::stage::tasks::{Pulse, Tasks};
use crate::processors::resource_detection::outcome::{DetectedAttributes, DetectorOutcome};

/// First and longest pause between attempts.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(30);

pub struct Plans {
    pub detectors: Vec<Arc<Detector>>,
    /// For each attempt of each detector.
    pub timeout: Duration,
    pub refresh: Option<Duration>,
}

pub struct Detection {
    plans: Plans,
    path: String,
    tasks: Arc<Tasks>,
    /// What all detectors found, merged.
    found: ArcSwap<DetectedAttributes>,
    /// Held while results are put in.
    each: Mutex<Vec<Latest>>,
    stop: watch::Sender<bool>,
    started: Mutex<Started>,
}

/// What one detector found last, and what failed last.
#[derive(Clone, Default)]
struct Latest {
    found: DetectedAttributes,
    failure: Option<String>,
}

#[derive(Default)]
struct Started {
    begun: bool,
    /// In which it runs; the last that leaves ends it.
    pipelines: usize,
    task: Option<JoinHandle<()>>,
}

impl Detection {
    pub fn new(plans: Plans, path: String, tasks: Arc<Tasks>) -> Detection {
        let each = Mutex::new(vec![Latest::default(); plans.detectors.len()]);
        let stop = watch::Sender::new(false);
        Detection { plans, path, tasks, found: ArcSwap::default(), each, stop, started: Mutex::default() }
    }

    pub fn found(&self) -> arc_swap::Guard<Arc<DetectedAttributes>> {
        self.found.load()
    }

    /// One attempt of these detectors, side by side; those of which something failed. A failure is told when it is new.
    async fn attempt(&self, which: &[usize]) -> Vec<usize> {
        let attempts = which.iter().filter_map(|at| self.plans.detectors.get(*at)).map(|detector| async {
            let outcome = timeout(self.plans.timeout, detector.detect()).await;
            outcome.unwrap_or_else(|_| DetectorOutcome::failed(format!("no answer within {:?}", self.plans.timeout)))
        });
        let outcomes = join_all(attempts).await;
        let mut each = self.each.locked();
        let mut failed = Vec::new();
        for (at, outcome) in which.iter().zip(outcomes) {
            let (Some(latest), Some(detector)) = (each.get_mut(*at), self.plans.detectors.get(*at)) else { continue };
            if latest.failure != outcome.failure
                && let Some(why) = &outcome.failure
            {
                tracing::warn!(processor = self.path, detector = detector.name, %why, "detection failed; podgate tries again");
            }
            let before = std::mem::replace(&mut latest.found, outcome.found);
            latest.failure = outcome.failure;
            if latest.failure.is_some() {
                // What was found once is more likely still right than gone.
                merge(&mut latest.found, &before);
                failed.push(*at);
            }
        }
        let mut all = DetectedAttributes::new();
        each.iter().for_each(|latest| merge(&mut all, &latest.found));
        if all != **self.found.load() {
            let keys: Vec<&str> = all.iter().map(|(key, _)| key.as_str()).collect();
            tracing::info!(processor = self.path, attributes = keys.join(" "), "detected");
            self.found.store(Arc::new(all));
        }
        failed
    }

    /// Attempts until nothing is left to do or the owner stops it.
    async fn keep_on(self: Arc<Self>, mut failed: Vec<usize>, pulse: Arc<Pulse>) {
        let mut stop = self.stop.subscribe();
        pulse.waits_for("the next attempt of detectors that failed, or the refresh");
        let mut pause = RETRY_FIRST;
        let mut refresh_at = self.plans.refresh.map(|every| Instant::now() + every);
        loop {
            let retry_at = (!failed.is_empty()).then(|| Instant::now() + around(pause, fastrand::f64()));
            let Some(at) = [retry_at, refresh_at].into_iter().flatten().min() else { return };
            while Instant::now() < at {
                pulse.beat();
                let step = at.min(Instant::now() + Pulse::INTERVAL);
                if timeout_at(step, stop.wait_for(|stop| *stop)).await.is_ok() {
                    return;
                }
            }
            pulse.beat();
            let whole = refresh_at.is_some_and(|refresh| refresh <= Instant::now());
            if whole {
                refresh_at = self.plans.refresh.map(|every| Instant::now() + every);
                failed = (0..self.plans.detectors.len()).collect();
            }
            failed = tokio::select! {
                failed = self.attempt(&failed) => failed,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            pause = if whole || failed.is_empty() { RETRY_FIRST } else { (pause * 2).min(RETRY_LONGEST) };
        }
    }

    fn started(&self) -> std::sync::MutexGuard<'_, Started> {
        self.started.locked()
    }
}

/// A component of its own, so that the task can hold what it works on.
pub struct DetectionTask {
    detection: Arc<Detection>,
    left: AtomicBool,
}

impl DetectionTask {
    pub fn of(detection: Arc<Detection>) -> DetectionTask {
        detection.started().pipelines += 1;
        DetectionTask { detection, left: AtomicBool::default() }
    }
}

impl Component for DetectionTask {
    fn start(&self) -> Task<'_, Result<(), StartError>> {
        Box::pin(async move {
            // Stages of several pipelines share one detection.
            if std::mem::replace(&mut self.detection.started().begun, true) {
                return Ok(());
            }
            let all: Vec<usize> = (0..self.detection.plans.detectors.len()).collect();
            let failed = self.detection.attempt(&all).await;
            if !failed.is_empty() || self.detection.plans.refresh.is_some() {
                let detection = self.detection.clone();
                let task =
                    detection.tasks.clone().spawn(&self.detection.path, |pulse| detection.keep_on(failed, pulse));
                self.detection.started().task = Some(task);
            }
            Ok(())
        })
    }

    fn drain(&self, deadline: Instant) -> Task<'_, ()> {
        Box::pin(async move {
            let last = {
                let mut started = self.detection.started();
                let leaves = !self.left.swap(true, Ordering::Relaxed);
                started.pipelines -= usize::from(leaves);
                leaves && started.pipelines == 0
            };
            // The stages of other pipelines go on with what it finds.
            if !last {
                return;
            }
            self.detection.stop.send_replace(true);
            let task = self.detection.started().task.take();
            if let Some(task) = task {
                // It waits for nothing but its own stop.
                let _ = timeout_at(deadline, task).await;
            }
            let detectors = self.detection.plans.detectors.iter();
            let _ = timeout_at(deadline, join_all(detectors.map(|detector| detector.close()))).await;
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::processors::resource_detection::detector::DetectorKind;
    use crate::processors::resource_detection::outcome::text;
    use crate::processors::resource_detection::system::{NameSource, System};

    const HOST: &str = "proc/sys/kernel/hostname";
    const ID: &str = "etc/machine-id";

    fn write(root: &Path, file: &str, text: &str) {
        let file = root.join(file);
        fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        fs::write(file, text).expect("written");
    }

    fn detection(root: &Path, refresh: Option<Duration>) -> DetectionTask {
        let source = DetectorKind::System(System { names: vec![NameSource::Os], root: root.to_owned() });
        let detector = Detector { name: "system", source, enabled: Some(vec!["host.name", "host.id"]) };
        let plans = Plans { detectors: vec![Arc::new(detector)], timeout: Duration::from_secs(5), refresh };
        DetectionTask::of(Arc::new(Detection::new(plans, "processors::resource_detection".to_owned(), Arc::default())))
    }

    fn found(running: &DetectionTask) -> Vec<(String, Vec<u8>)> {
        running.detection.found().to_vec()
    }

    fn pair(key: &str, value: &str) -> (String, Vec<u8>) {
        (key.to_owned(), text(value))
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_is_tried_again_while_the_rest_is_there() {
        let root = tempfile::tempdir().expect("a folder");
        write(root.path(), HOST, "node-1\n");
        let running = detection(root.path(), None);
        running.start().await.expect("starts without the id");
        assert_eq!(found(&running), [pair("host.name", "node-1")]);
        write(root.path(), ID, "4f1c\n");
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(found(&running), [pair("host.name", "node-1"), pair("host.id", "4f1c")]);
        // Nothing is left to do: the task is over, and a drain has nothing to wait for.
        write(root.path(), HOST, "renamed");
        tokio::time::sleep(Duration::from_secs(300)).await;
        assert_eq!(found(&running)[0], pair("host.name", "node-1"));
        running.drain(Instant::now()).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_refresh_finds_changes_and_keeps_what_can_no_longer_be_found() {
        let root = tempfile::tempdir().expect("a folder");
        write(root.path(), HOST, "node-1");
        write(root.path(), ID, "4f1c");
        let running = detection(root.path(), Some(Duration::from_secs(60)));
        running.start().await.expect("starts");
        running.start().await.expect("a second pipeline starts it again");
        write(root.path(), HOST, "node-2");
        fs::remove_file(root.path().join(ID)).expect("removed");
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert_eq!(found(&running), [pair("host.name", "node-2"), pair("host.id", "4f1c")]);
        let before = Instant::now();
        running.drain(before + Duration::from_secs(20)).await;
        running.drain(before + Duration::from_secs(20)).await;
        assert!(before.elapsed() < Duration::from_secs(1), "a drain ends the pauses");
    }
}

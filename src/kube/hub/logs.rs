//! The async shell around the node's log folder: the kernel's alarm, a slow scan, and what is said of it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::feed::Update;
use crate::core::stage::tasks::Pulse;
use crate::kube::hub::known_logs::Watched;
use crate::kube::hub::shared::HubShared;
use crate::kube::node_logs::{Alarm, Folder, LogChange, Rung, WatchedFolder};

/// Between two looks at everything, beside the alarm.
const SCAN_EVERY: Duration = Duration::from_secs(30);
/// The same where the kernel gives no alarm.
const POLL_EVERY: Duration = Duration::from_secs(1);

struct Watcher {
    folder: Folder,
    alarm: Option<Alarm>,
    /// The kernel watches every folder that there is.
    all_watched: bool,
}

impl Watcher {
    /// Watches come before names, so that nothing is made unseen between the two.
    fn scan(&mut self) -> io::Result<Vec<LogChange>> {
        self.all_watched = true;
        self.watch(self.folder.links_path(), WatchedFolder::Links);
        self.watch(self.folder.pods_path(), WatchedFolder::Pods);
        let changes = self.folder.scan()?;
        let folders: Vec<String> = self.folder.pods().map(str::to_owned).collect();
        let more: Vec<LogChange> = folders.iter().flat_map(|folder| self.pod(folder)).collect();
        Ok(changes.into_iter().chain(more).collect())
    }

    fn watch(&mut self, path: PathBuf, place: WatchedFolder) {
        let watched = self.alarm.as_mut().is_some_and(|alarm| alarm.watch(&path, place));
        // A folder that is gone needs no watch.
        self.all_watched &= watched || !path.exists();
    }

    fn pod(&mut self, folder: &str) -> Vec<LogChange> {
        let path = self.folder.pods_path().join(folder);
        self.watch(path.clone(), WatchedFolder::Pod(folder.to_owned()));
        let mut changes = self.folder.pod(folder);
        let containers: Vec<String> = self.folder.containers(folder).map(str::to_owned).collect();
        for container in containers {
            self.watch(path.join(&container), WatchedFolder::Container(folder.to_owned(), container.clone()));
            changes.extend(self.folder.container(folder, &container));
        }
        changes
    }

    fn rung(&mut self, rung: Vec<Rung>) -> io::Result<Vec<LogChange>> {
        let mut changes = Vec::new();
        for one in rung {
            match one {
                Rung::Link(name) => changes.extend(self.folder.link(&name)),
                Rung::Pod(folder) => changes.extend(self.pod(&folder)),
                Rung::Container(folder, container) => changes.extend(self.folder.container(&folder, &container)),
                Rung::All => return self.scan(),
            }
        }
        Ok(changes)
    }
}

/// Follows the folder until the stop, or until nobody takes its updates.
pub(super) async fn run(
    root: PathBuf,
    shared: Arc<HubShared>,
    updates: mpsc::Sender<Update>,
    mut stop: watch::Receiver<bool>,
    pulse: Arc<Pulse>,
) {
    let mut watcher = Watcher { folder: Folder::new(root.clone()), alarm: Alarm::new().ok(), all_watched: false };
    let mut rung = vec![Rung::All];
    pulse.waits_for("changes of the node's log folder");
    let mut scan_at = Instant::now();
    loop {
        let (scanned, begun) = (rung.contains(&Rung::All), Instant::now());
        shared.logs().reading = Some(begun);
        let work = tokio::task::spawn_blocking(move || {
            let changes = watcher.rung(rung);
            (watcher, changes)
        });
        // Only a panic of the reading ends it early; then the API server is what is left.
        let Ok((back, changes)) = work.await else {
            *shared.logs() = Watched::default();
            return;
        };
        watcher = back;
        let known = changes.is_ok();
        for change in changes.as_ref().ok().into_iter().flatten() {
            if updates.send(Update::Logged(change.clone())).await.is_err() {
                return;
            }
        }
        let ringing = known && watcher.all_watched;
        let before = shared.logs().scanned;
        let scanned_at = if scanned { Some(begun) } else { before };
        *shared.logs() = Watched { ringing, scanned: scanned_at.filter(|_| known), reading: None };
        shared.tell.logs(&root, changes.map(|_| watcher.folder.len()), ringing);
        if scanned {
            scan_at = Instant::now() + if ringing || !known { SCAN_EVERY } else { POLL_EVERY };
        }
        rung = loop {
            pulse.beat();
            let wake = scan_at.min(Instant::now() + Pulse::INTERVAL / 2);
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                rung = ring(&mut watcher.alarm) => break rung,
                () = sleep_until(wake) => {
                    if Instant::now() >= scan_at {
                        break vec![Rung::All];
                    }
                }
            }
        };
    }
}

async fn ring(alarm: &mut Option<Alarm>) -> Vec<Rung> {
    match alarm {
        Some(alarm) => alarm.ring().await,
        None => std::future::pending().await,
    }
}

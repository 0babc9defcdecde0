//! The two folders as last read, and what is new in them. Blocking: a few names are read and no file is opened.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::names::{self, PodFolder};
use super::{ContainerLogs, LogChange, LoggedRun};
use crate::core::time::UnixNanos;
use crate::kube::ledger::RUNS_MAX;

/// Four times the pods that a kubelet takes at most.
const PODS_MAX: usize = 2_048;
const CONTAINERS_MAX: usize = 256;
const LINKS_MAX: usize = 16_384;
/// Entries of one folder: what lies behind them is not seen.
const ENTRIES_MAX: usize = 20_000;
/// A container is started within this after its log was made, when the log does not tell.
const STARTING: Duration = Duration::from_secs(2);

/// Pod folder and container that a link leads to.
type Place = (String, String);

#[derive(Debug, Default)]
struct Container {
    /// By the name of the link.
    links: BTreeMap<String, LoggedRun>,
    /// The highest number among its logs.
    newest: Option<i64>,
    /// As last told.
    told: Option<ContainerLogs>,
}

/// Invariant: a link stands in `links` exactly when its container has it.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    pods: BTreeMap<String, BTreeMap<String, Container>>,
    links: HashMap<String, Place>,
}

impl Folder {
    /// `root`: `/var/log`, or where it is mounted.
    pub fn new(root: PathBuf) -> Folder {
        Folder { root, pods: BTreeMap::new(), links: HashMap::new() }
    }

    pub fn links_path(&self) -> PathBuf {
        self.root.join("containers")
    }

    pub fn pods_path(&self) -> PathBuf {
        self.root.join("pods")
    }

    /// Containers with a run whose id is known.
    pub fn len(&self) -> usize {
        let told = |container: &&Container| container.told.as_ref().is_some_and(|logs| !logs.runs.is_empty());
        self.pods.values().flat_map(BTreeMap::values).filter(told).count()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Folders of pods that were seen.
    pub fn pods(&self) -> impl Iterator<Item = &str> {
        self.pods.keys().map(String::as_str)
    }

    /// Folders of a pod's containers that were seen.
    pub fn containers(&self, folder: &str) -> impl Iterator<Item = &str> {
        self.pods.get(folder).into_iter().flat_map(|containers| containers.keys().map(String::as_str))
    }

    /// Reads everything again. The error is that of one of the two folders.
    pub fn scan(&mut self) -> io::Result<Vec<LogChange>> {
        let pods = entries(&self.pods_path())?;
        let links = entries(&self.links_path())?;
        let mut changes = Vec::new();
        let gone: Vec<String> = self.pods.keys().filter(|folder| !pods.contains(*folder)).cloned().collect();
        for folder in gone.iter().chain(&pods) {
            changes.extend(self.pod(folder));
        }
        let gone: Vec<String> = self.links.keys().filter(|name| !links.contains(*name)).cloned().collect();
        for name in gone.iter().chain(&links) {
            changes.extend(self.link(name));
        }
        Ok(changes)
    }

    /// Reads one pod's folder again.
    pub fn pod(&mut self, folder: &str) -> Vec<LogChange> {
        if PodFolder::parse(folder).is_none() {
            return Vec::new();
        }
        let Ok(containers) = entries(&self.pods_path().join(folder)) else {
            let known = self.pods.remove(folder).unwrap_or_default();
            known.values().for_each(|container| container.links.keys().for_each(|name| drop(self.links.remove(name))));
            return known.keys().filter_map(|container| change(folder, container, None)).collect();
        };
        if self.pods.len() >= PODS_MAX && !self.pods.contains_key(folder) {
            return Vec::new();
        }
        let known = self.pods.entry(folder.to_owned()).or_default();
        let gone: Vec<String> = known.keys().filter(|container| !containers.contains(*container)).cloned().collect();
        gone.iter().chain(&containers).filter_map(|container| self.container(folder, container)).collect()
    }

    /// Reads one container's folder again.
    pub fn container(&mut self, folder: &str, container: &str) -> Option<LogChange> {
        if !names::is_plain(container) {
            return None;
        }
        let path = self.pods_path().join(folder).join(container);
        let known = self.pods.get_mut(folder)?;
        let Ok(logs) = entries(&path) else {
            known.remove(container)?.links.keys().for_each(|name| drop(self.links.remove(name)));
            return change(folder, container, None);
        };
        if known.len() >= CONTAINERS_MAX && !known.contains_key(container) {
            return None;
        }
        let newest = logs.iter().filter_map(|name| names::log_number(name)).max();
        known.entry(container.to_owned()).or_default().newest = newest;
        self.tell(folder, container)
    }

    /// Reads one link again.
    pub fn link(&mut self, name: &str) -> Option<LogChange> {
        let before = self.links.remove(name);
        if let Some((folder, container)) = &before
            && let Some(known) = self.pods.get_mut(folder).and_then(|known| known.get_mut(container))
        {
            known.links.remove(name);
        }
        let Some(((folder, container), run)) = self.read_link(name).filter(|_| self.links.len() < LINKS_MAX) else {
            return before.and_then(|(folder, container)| self.tell(&folder, &container));
        };
        let known = self.pods.entry(folder.clone()).or_default();
        if known.len() >= CONTAINERS_MAX && !known.contains_key(&container) {
            return None;
        }
        known.entry(container.clone()).or_default().links.insert(name.to_owned(), run);
        self.links.insert(name.to_owned(), (folder.clone(), container.clone()));
        // Its log may have been made a moment ago, before anybody looked there.
        self.container(&folder, &container)
    }

    fn read_link(&self, name: &str) -> Option<(Place, LoggedRun)> {
        let path = self.links_path().join(name);
        let target = fs::read_link(&path).ok()?;
        let (folder, container, number) = names::target(&target)?;
        if self.pods.len() >= PODS_MAX && !self.pods.contains_key(folder) {
            return None;
        }
        let pod = PodFolder::parse(folder)?;
        let id = names::link_id(name, &pod, container)?;
        let log = self.pods_path().join(folder).join(container).join(format!("{number}.log"));
        // A link without its log is of a container that was removed.
        let log = fs::symlink_metadata(log).ok()?;
        let to = time(fs::symlink_metadata(&path).ok()?.modified().ok()?)?;
        let run = LoggedRun { number, id: Arc::from(id), from: made(&log, to), to };
        Some(((folder.to_owned(), container.to_owned()), run))
    }

    /// What is new of a container.
    fn tell(&mut self, folder: &str, container: &str) -> Option<LogChange> {
        let known = self.pods.get_mut(folder)?.get_mut(container)?;
        let mut runs: Vec<LoggedRun> = known.links.values().cloned().collect();
        // Two links of one number: the kubelet lost count, and the later one is newer.
        runs.sort_by_key(|run| (run.number, run.to));
        runs.drain(..runs.len().saturating_sub(RUNS_MAX));
        let complete = known.newest.is_some() && runs.last().map(|run| run.number) == known.newest;
        let logs = ContainerLogs { runs, complete };
        if known.told.as_ref() == Some(&logs) {
            return None;
        }
        known.told = Some(logs.clone());
        change(folder, container, Some(logs))
    }
}

fn change(folder: &str, container: &str, logs: Option<ContainerLogs>) -> Option<LogChange> {
    let pod = PodFolder::parse(folder)?;
    Some(LogChange { pod: Arc::from(pod.uid), container: Arc::from(container), logs })
}

/// When the log was made. A log that was rotated is younger than the container.
fn made(log: &Metadata, linked: UnixNanos) -> UnixNanos {
    let made = log.created().ok().and_then(time).filter(|made| *made <= linked);
    made.unwrap_or_else(|| linked.saturating_sub(STARTING))
}

fn time(at: SystemTime) -> Option<UnixNanos> {
    let since = at.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_nanos()).ok().map(UnixNanos)
}

/// Names in a folder that are text.
fn entries(path: &Path) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(path)?.take(ENTRIES_MAX) {
        if let Ok(name) = entry?.file_name().into_string() {
            names.insert(name);
        }
    }
    Ok(names)
}

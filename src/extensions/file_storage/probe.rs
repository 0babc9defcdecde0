//! What `doctor` says of the folder of a log: whether it may be written, what survives on its file system, how much room
//! there is. Asks the operating system and changes nothing.

use std::path::Path;

use rustix::fs::{Access, access, statvfs};

use crate::core::stage::commands::probe::{Finding, Probe, ProbeHealth, ProbeReport, Remedy};
use crate::core::stage::component::Task;
use crate::extensions::file_storage::settings::{Durability, StorageSettings};

/// Where Linux tells what is mounted where (proc_pid_mountinfo(5)).
const MOUNTS: &str = "/proc/self/mountinfo";

pub struct FolderProbe {
    pub settings: StorageSettings,
}

impl Probe for FolderProbe {
    fn ask(&self) -> Task<'_, ProbeReport> {
        Box::pin(async move {
            let mounts = std::fs::read_to_string(MOUNTS).unwrap_or_default();
            let findings = if self.settings.durability == Durability::Off {
                let message = "`durability: off` keeps nothing on disk: kill -9 loses what is queued";
                vec![Finding::new(ProbeHealth::Doubtful, "promise", message)]
            } else {
                examine(&self.settings, &mounts)
            };
            ProbeReport { findings, remedies: Vec::new() }
        })
    }

    fn apply<'a>(&'a self, _: &'a Remedy) -> Task<'a, Result<(), String>> {
        Box::pin(std::future::ready(Err("there is nothing to send".to_owned())))
    }
}

fn examine(settings: &StorageSettings, mounts: &str) -> Vec<Finding> {
    let wanted = settings.directory.as_path();
    let is_there = wanted.is_dir();
    // What is not there yet is made in the nearest folder that is.
    let Some(found) = wanted.ancestors().find(|folder| folder.is_dir()) else { return Vec::new() };
    let found = found.canonicalize().unwrap_or_else(|_| found.to_owned());
    let mut findings = vec![writable(settings, is_there, &found)];
    findings.extend(mount_of(mounts, &found).map(|mount| survives(&mount)));
    if let Ok(about) = statvfs(&found) {
        findings.push(room(settings, about.f_bavail.saturating_mul(about.f_frsize), held(wanted)));
    }
    findings
}

fn writable(settings: &StorageSettings, is_there: bool, found: &Path) -> Finding {
    let wanted = settings.directory.display();
    let may = access(found, Access::WRITE_OK | Access::EXEC_OK).is_ok();
    match (is_there, may) {
        (true, true) => Finding::new(ProbeHealth::Good, "folder", format!("{wanted} may be written")),
        (false, true) if settings.create_directory => {
            Finding::new(ProbeHealth::Good, "folder", format!("{wanted} is not there and will be made"))
        }
        (false, _) if !settings.create_directory => {
            Finding::new(ProbeHealth::Bad, "folder", format!("{wanted} is not there"))
                .with_help("make it, or write create_directory: true")
        }
        _ => Finding::new(ProbeHealth::Bad, "folder", format!("{} may not be written by this user", found.display()))
            .with_help("give it to podgate's user: `podgate wal prepare DIR` does, run by root"),
    }
}

/// A mount, as far as it matters.
#[derive(Debug, PartialEq, Eq)]
struct Mount<'a> {
    /// What of its file system is mounted.
    root: &'a str,
    kind: &'a str,
}

/// The mount that a folder is on: the one with the longest path in front of it, the last of several.
fn mount_of<'a>(mounts: &'a str, folder: &Path) -> Option<Mount<'a>> {
    let mount = |line: &'a str| {
        let (own, other) = line.split_once(" - ")?;
        let mut own = own.split(' ').skip(3);
        let (root, at) = (own.next()?, own.next()?);
        folder.starts_with(at).then_some((at.len(), Mount { root, kind: other.split(' ').next()? }))
    };
    mounts.lines().filter_map(mount).max_by_key(|(length, _)| *length).map(|(_, mount)| mount)
}

fn survives(mount: &Mount<'_>) -> Finding {
    let Mount { root, kind } = mount;
    let (health, message, help) = match *kind {
        "tmpfs" | "ramfs" => (
            ProbeHealth::Doubtful,
            format!(
                "the folder is on {kind}: it is memory, which the container is charged for, and ends with the machine's power"
            ),
            "mount a volume on the node's disk",
        ),
        "overlay" => (
            ProbeHealth::Doubtful,
            "the folder is in the container's own layer: it goes when the container is made anew, a crash included"
                .to_owned(),
            "mount an emptyDir, or a hostPath (manifests/components/durable)",
        ),
        _ if root.contains("kubernetes.io~empty-dir") => (
            ProbeHealth::Doubtful,
            format!(
                "the folder is an emptyDir on {kind}: it survives a crash of the container, not the pod's deletion or eviction"
            ),
            "where a roll-out or a drain may not lose what is held, mount a hostPath or a local volume",
        ),
        "nfs" | "nfs4" | "cifs" | "9p" => (
            ProbeHealth::Doubtful,
            format!("the folder is on {kind}: each acknowledgement waits for the network"),
            "mount a volume on the node's disk",
        ),
        _ => {
            let message = format!(
                "the folder is on {kind}, outside of the pod's life: it survives a crash, a roll-out and a restart of the node"
            );
            return Finding::new(ProbeHealth::Good, "file system", message);
        }
    };
    Finding::new(health, "file system", message).with_help(help)
}

fn room(settings: &StorageSettings, free: u64, held: u64) -> Finding {
    let mebibytes = |bytes: u64| bytes >> 20;
    let wanted = settings.max_bytes.saturating_sub(held).saturating_add(settings.reserve);
    let minutes = settings.max_bytes.min(free.saturating_sub(settings.reserve).saturating_add(held)) / (1 << 20) / 60;
    let (max, free_mib) = (mebibytes(settings.max_bytes), mebibytes(free));
    let lasts = format!("an outage of the next hop at 1 MiB/s lasts {minutes} min");
    if free >= wanted {
        let message = format!("max_bytes {max} MiB, {free_mib} MiB are free: {lasts}");
        return Finding::new(ProbeHealth::Good, "room", message);
    }
    let message = format!("max_bytes {max} MiB is more than the {free_mib} MiB that are free: {lasts}");
    Finding::new(ProbeHealth::Doubtful, "room", message).with_help("make room, or write a smaller max_bytes")
}

/// Bytes of the folder's files.
fn held(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|about| about.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "22 1 0:21 / / rw,relatime - overlay overlay rw
30 22 8:1 /var/lib/kubelet/pods/4f/volumes/kubernetes.io~empty-dir/log /var/lib/podgate/log rw - ext4 /dev/sda1 rw
31 22 8:1 /srv/podgate /srv/podgate rw master:1 - xfs /dev/sda1 rw
32 22 0:40 / /tmp rw - tmpfs tmpfs rw
";

    #[test]
    fn what_a_folder_survives_is_told_by_its_mount() {
        let told = |folder: &str| survives(&mount_of(TABLE, Path::new(folder)).expect("a mount"));
        for (folder, health, says) in [
            ("/var/lib/podgate/log", ProbeHealth::Doubtful, "emptyDir on ext4"),
            ("/srv/podgate/log", ProbeHealth::Good, "on xfs"),
            ("/tmp/log", ProbeHealth::Doubtful, "memory"),
            ("/var/lib/podgate", ProbeHealth::Doubtful, "the container's own layer"),
        ] {
            let finding = told(folder);
            assert_eq!(finding.health, health, "{folder}: {finding:?}");
            assert!(
                finding.message.contains(says) && (health == ProbeHealth::Good || finding.help.is_some()),
                "{finding:?}"
            );
        }
        assert_eq!(mount_of("no table", Path::new("/")), None);
    }

    #[test]
    fn a_folder_is_examined_for_being_there_for_room_and_for_its_owner() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = |name: &str, create_directory, max_bytes| StorageSettings {
            directory: folder.path().join(name),
            create_directory,
            permissions: 0o750,
            max_bytes,
            reserve: 0,
            durability: Durability::Group,
            compress_after: None,
        };
        let healths = |settings| -> Vec<_> {
            let findings: Vec<Finding> = examine(&settings, TABLE);
            findings.iter().map(|finding| (finding.subject.clone(), finding.health)).collect()
        };
        assert!(healths(settings("", false, 4 << 20)).contains(&("folder".to_owned(), ProbeHealth::Good)));
        assert!(healths(settings("new", true, 4 << 20)).contains(&("folder".to_owned(), ProbeHealth::Good)));
        assert!(healths(settings("new", false, 4 << 20)).contains(&("folder".to_owned(), ProbeHealth::Bad)));
        assert!(healths(settings("", false, 4 << 20)).contains(&("room".to_owned(), ProbeHealth::Good)));
        assert!(healths(settings("", false, 1 << 60)).contains(&("room".to_owned(), ProbeHealth::Doubtful)));
    }
}

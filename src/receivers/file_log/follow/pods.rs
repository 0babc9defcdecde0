//! What a path says of its container: pod, container and run by the kubelet's names, and the run's id by the link to it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::kube::node_logs::names::{PodFolder, link_id, log_number, target};
use crate::receivers::file_log::entry::PodOfFile;

/// Links that are looked at.
const LINKS_MAX: usize = 20_000;
const ID_DIGITS: usize = 64;

/// `.../pods/<folder>/<container>/<number>.log`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPath {
    folder: String,
    container: String,
    number: i64,
    /// Where the links are, when the path is the kubelet's.
    links: PathBuf,
}

impl LogPath {
    pub fn parse(path: &Path) -> Option<LogPath> {
        let name = path.file_name()?.to_str()?;
        let number = log_number(before_rotation(name).unwrap_or(name))?;
        let container = path.parent()?;
        let folder = container.parent()?;
        let pods = folder.parent()?;
        let text = |path: &Path| Some(path.file_name()?.to_str()?.to_owned());
        let parsed = LogPath {
            folder: text(folder)?,
            container: text(container)?,
            number,
            links: pods.parent().map(|root| root.join("containers")).unwrap_or_default(),
        };
        PodFolder::parse(&parsed.folder)?;
        Some(parsed)
    }

    /// The attributes, as the Collector's container operator names them, and the id.
    pub fn pod(&self, id: Option<&str>) -> PodOfFile {
        let Some(folder) = PodFolder::parse(&self.folder) else { return PodOfFile::default() };
        let mut attributes = vec![
            ("k8s.namespace.name", folder.namespace.to_owned()),
            ("k8s.pod.name", folder.pod.to_owned()),
            ("k8s.pod.uid", folder.uid.to_owned()),
            ("k8s.container.name", self.container.clone()),
            ("k8s.container.restart_count", self.number.to_string()),
        ];
        attributes.extend(id.map(|id| ("container.id", id.to_owned()))); // granted: one for each file
        PodOfFile::of(attributes)
    }

    pub fn links(&self) -> &Path {
        &self.links
    }
}

/// `0.log` of `0.log.20261201-100000`, as the kubelet names what it rotated.
fn before_rotation(name: &str) -> Option<&str> {
    let (name, time) = name.rsplit_once('.')?;
    let (date, clock) = time.split_once('-')?;
    let are_digits = |text: &str, count: usize| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    (are_digits(date, 8) && are_digits(clock, 6)).then_some(name)
}

/// The ids of runs by their logs, as the links of one folder tell them.
#[derive(Debug, Default)]
pub struct RunIds {
    by_log: HashMap<(String, String, i64), String>,
}

impl RunIds {
    /// Reads the names of a folder of links; one that is not there has none.
    pub fn read(folder: &Path) -> RunIds {
        let mut by_log = HashMap::new();
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        for entry in entries.take(LINKS_MAX) {
            let (Ok(name), Ok(to)) = (entry.file_name().into_string(), std::fs::read_link(entry.path())) else {
                continue;
            };
            let Some((folder, container, number)) = target(&to) else { continue };
            let id = PodFolder::parse(folder).and_then(|parsed| link_id(&name, &parsed, container));
            if let Some(id) = id {
                by_log.insert((folder.to_owned(), container.to_owned(), number), id.to_owned());
            }
        }
        RunIds { by_log }
    }

    pub fn of(&self, log: &LogPath) -> Option<&str> {
        self.by_log.get(&(log.folder.clone(), log.container.clone(), log.number)).map(String::as_str)
    }
}

/// The id in the name of Docker's file, `<id>-json.log`, to which the kubelet's log is a link.
pub fn docker_id(resolved: &Path) -> Option<&str> {
    let id = resolved.file_name()?.to_str()?.strip_suffix("-json.log")?;
    (id.len() == ID_DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_s_path_and_its_link_tell_the_run() {
        let root = tempfile::tempdir().unwrap();
        let id = "ab".repeat(32);
        let log = root.path().join("pods/shop_cart-1_0c2a6b3a/main/3.log");
        std::fs::create_dir_all(log.parent().unwrap()).unwrap();
        std::fs::create_dir_all(root.path().join("containers")).unwrap();
        std::fs::write(&log, "").unwrap();
        std::os::unix::fs::symlink(&log, root.path().join(format!("containers/cart-1_shop_main-{id}.log"))).unwrap();
        let parsed = LogPath::parse(&log).unwrap();
        let ids = RunIds::read(parsed.links());
        assert_eq!(ids.of(&parsed), Some(id.as_str()));
        let pod = parsed.pod(ids.of(&parsed));
        assert!(pod.attributes.contains(&("k8s.container.restart_count", "3".to_owned())));
        assert!(pod.attributes.contains(&("container.id", id.clone())));
        assert_eq!(docker_id(Path::new(&format!("/var/lib/docker/{id}-json.log"))), Some(id.as_str()));
        let rotated = root.path().join("pods/shop_cart-1_0c2a6b3a/main/3.log.20261201-100000");
        assert_eq!(ids.of(&LogPath::parse(&rotated).unwrap()), Some(id.as_str()));
        for other in ["/var/log/syslog", "/var/log/pods/x/main/0.log", "/var/log/pods/a_b_c/main/0.log.1"] {
            assert_eq!(LogPath::parse(Path::new(other)), None, "{other}");
        }
    }
}

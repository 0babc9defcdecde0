//! The kubelet's file names taken apart (kuberuntime: `BuildPodLogsDirectory`, `buildContainerLogsPath`, `logSymlink`).
//!
//! A pod's name may hold dots, its namespace and container neither dots nor underscores, but nothing is taken for granted:
//! what does not read back to itself is no name of ours.

use std::path::{Component, Path};

/// Longest file name that file systems of nodes allow; longer ones are cut before their suffix.
const NAME_MAX: usize = 255;
const SUFFIX: &str = ".log";
/// containerd, CRI-O and Docker name containers by 32 bytes in hexadecimal digits.
const ID_DIGITS: usize = 64;

/// `<namespace>_<pod>_<uid>`: the folder of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodFolder<'a> {
    pub namespace: &'a str,
    pub pod: &'a str,
    pub uid: &'a str,
}

impl<'a> PodFolder<'a> {
    pub fn parse(name: &'a str) -> Option<PodFolder<'a>> {
        let (namespace, rest) = name.split_once('_')?;
        let (pod, uid) = rest.rsplit_once('_')?;
        let whole = [namespace, pod, uid].iter().all(|part| is_plain(part));
        whole.then_some(PodFolder { namespace, pod, uid })
    }
}

/// `<restart count>.log`. Rotated logs (`0.log.20261129-120000`, `.gz`) are none.
pub fn log_number(name: &str) -> Option<i64> {
    let digits = name.strip_suffix(SUFFIX)?;
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| plain)
}

/// The container id at the end of a link's name; `None` when the name is not of this container, or when it was cut.
pub fn link_id<'a>(name: &'a str, folder: &PodFolder<'_>, container: &str) -> Option<&'a str> {
    let rest = name.strip_suffix(SUFFIX)?;
    let rest = rest.strip_prefix(folder.pod)?.strip_prefix('_')?.strip_prefix(folder.namespace)?;
    let id = rest.strip_prefix('_')?.strip_prefix(container)?.strip_prefix('-')?;
    let whole = id.len() == ID_DIGITS && name.len() <= NAME_MAX;
    (whole && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

/// Where a link leads: the last three parts of `.../pods/<folder>/<container>/<number>.log`, whatever the mount is called
/// inside of the container. A way that goes up, or elsewhere, is refused.
pub fn target(path: &Path) -> Option<(&str, &str, i64)> {
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::RootDir => {}
            Component::ParentDir | Component::CurDir | Component::Prefix(_) => return None,
        }
    }
    let [.., "pods", folder, container, log] = parts.as_slice() else { return None };
    is_plain(container).then_some((*folder, *container, log_number(log)?))
}

/// A part of a path, and not a way out of it.
pub fn is_plain(part: &str) -> bool {
    !part.is_empty() && part != "." && part != ".." && !part.contains(['/', '\0'])
}

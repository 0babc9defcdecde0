//! What the process's cgroups grant it: bytes of memory and CPUs, of cgroup v1 and v2.
//!
//! Where the cgroup stands says /proc/self/cgroup, where that hierarchy is mounted /proc/self/mountinfo; limits nest, so
//! the smallest of the cgroup's own and its ancestors' holds. Pure: files come through a function. It must not know what
//! becomes of the limits.

/// A file's text; `None` when there is none.
pub type Read<'a> = &'a dyn Fn(&str) -> Option<String>;

/// `None` where nothing is limited.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CgroupLimits {
    pub memory_bytes: Option<u64>,
    /// CPUs' worth of time: 1.5 is one and a half.
    pub cpus: Option<f64>,
}

/// Below this a number is a limit: v1 writes one near 2^63 for "none".
const LIMIT_BYTES_MAX: u64 = 1 << 60;
/// Cgroups inside each other that are looked at; Kubernetes nests five.
const LEVELS_MAX: usize = 32;

pub fn read(read: Read<'_>) -> CgroupLimits {
    let own = read("/proc/self/cgroup").unwrap_or_default();
    let mounts = read("/proc/self/mountinfo").unwrap_or_default();
    let mut granted = CgroupLimits::default();
    for hierarchy in own.lines().filter_map(Hierarchy::of) {
        let Some(folders) = hierarchy.folders(&mounts) else { continue };
        for folder in folders {
            let at = |name: &str| read(&format!("{folder}/{name}"));
            if hierarchy.has("memory") {
                least(&mut granted.memory_bytes, memory(&at));
            }
            if hierarchy.has("cpu") {
                least(&mut granted.cpus, cpus(&at));
            }
        }
    }
    granted
}

fn least<T: PartialOrd>(so_far: &mut Option<T>, next: Option<T>) {
    if let Some(next) = next
        && so_far.as_ref().is_none_or(|so_far| next < *so_far)
    {
        *so_far = Some(next);
    }
}

/// A line of /proc/self/cgroup: `4:memory:/kubepods/pod1`, of v2 `0::/kubepods/pod1`.
struct Hierarchy<'a> {
    /// Empty for v2, which has all.
    controllers: &'a str,
    path: &'a str,
}

impl<'a> Hierarchy<'a> {
    fn of(line: &'a str) -> Option<Hierarchy<'a>> {
        let mut parts = line.splitn(3, ':').skip(1);
        Some(Hierarchy { controllers: parts.next()?, path: parts.next()? })
    }

    fn has(&self, controller: &str) -> bool {
        self.controllers.is_empty() || self.controllers.split(',').any(|held| held == controller)
    }

    /// The cgroup's folder and its ancestors', as far as they are mounted here.
    fn folders(&self, mounts: &str) -> Option<Vec<String>> {
        let (root, point) = mounts.lines().find_map(|line| self.mount(line))?;
        // What is mounted may be a part of the hierarchy. A path outside of it is of another namespace: then what is
        // mounted is all that can be seen.
        let below = if root == "/" { Some(self.path) } else { self.path.strip_prefix(root.as_str()) };
        let below = below.filter(|below| below.is_empty() || below.starts_with('/')).unwrap_or_default();
        let mut folders = vec![point.clone()];
        for part in below.split('/').filter(|part| !part.is_empty() && *part != "..").take(LEVELS_MAX) {
            let deeper = format!("{}/{part}", folders.last().unwrap_or(&point));
            folders.push(deeper);
        }
        Some(folders)
    }

    /// Root and mount point of a line of mountinfo that mounts this hierarchy (proc(5)).
    fn mount(&self, line: &str) -> Option<(String, String)> {
        let (head, tail) = line.split_once(" - ")?;
        let mut tail = tail.split(' ');
        let (kind, options) = (tail.next()?, tail.nth(1).unwrap_or_default());
        let is_ours = match kind {
            "cgroup2" => self.controllers.is_empty(),
            "cgroup" if !self.controllers.is_empty() => {
                self.controllers.split(',').all(|controller| options.split(',').any(|option| option == controller))
            }
            _ => false,
        };
        let mut head = head.split(' ').skip(3);
        let (root, point) = (head.next()?, head.next()?);
        is_ours.then(|| (unescaped(root), unescaped(point).trim_end_matches('/').to_owned()))
    }
}

/// mountinfo writes a space as `\040`.
fn unescaped(path: &str) -> String {
    path.replace("\\040", " ").replace("\\134", "\\")
}

/// v2: `memory.max`; v1: the cgroup's own limit, and in `memory.stat` the least of its ancestors', seen or not.
fn memory(at: &dyn Fn(&str) -> Option<String>) -> Option<u64> {
    let number = |text: &str| text.trim().parse::<u64>().ok().filter(|bytes| *bytes < LIMIT_BYTES_MAX);
    let of_all = |stat: String| {
        let line = stat.lines().find_map(|line| line.strip_prefix("hierarchical_memory_limit "));
        line.and_then(number)
    };
    let mut limit = None;
    least(&mut limit, at("memory.max").as_deref().and_then(number));
    least(&mut limit, at("memory.limit_in_bytes").as_deref().and_then(number));
    least(&mut limit, at("memory.stat").and_then(of_all));
    limit
}

/// v2: `cpu.max` is `QUOTA PERIOD` or `max PERIOD`; v1: a quota of -1 is none.
fn cpus(at: &dyn Fn(&str) -> Option<String>) -> Option<f64> {
    let share = |quota: &str, period: &str| {
        let (quota, period) = (quota.trim().parse::<f64>().ok()?, period.trim().parse::<f64>().ok()?);
        (quota > 0.0 && period > 0.0).then_some(quota / period)
    };
    let of_v2 = at("cpu.max").and_then(|text| {
        let (quota, period) = text.trim().split_once(' ')?;
        share(quota, period)
    });
    of_v2.or_else(|| share(&at("cpu.cfs_quota_us")?, &at("cpu.cfs_period_us")?))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn granted(files: &[(&str, &str)]) -> CgroupLimits {
        let files: HashMap<&str, &str> = files.iter().copied().collect();
        read(&|path| files.get(path).map(|text| (*text).to_owned()))
    }

    const V2_MOUNT: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn in_a_pod_of_cgroup_v2_the_namespace_root_holds_the_limits() {
        // Kubernetes 1.33, containerd with cgroup namespaces.
        let found = granted(&[
            ("/proc/self/cgroup", "0::/\n"),
            ("/proc/self/mountinfo", V2_MOUNT),
            ("/sys/fs/cgroup/memory.max", "268435456\n"),
            ("/sys/fs/cgroup/cpu.max", "150000 100000\n"),
        ]);
        assert_eq!(found, CgroupLimits { memory_bytes: Some(256 << 20), cpus: Some(1.5) });
    }

    #[test]
    fn of_nested_limits_the_smallest_holds_wherever_it_stands() {
        // A systemd service on the node: the slice above it is smaller.
        let found = granted(&[
            ("/proc/self/cgroup", "0::/system.slice/gateways.slice/podgate.service\n"),
            ("/proc/self/mountinfo", V2_MOUNT),
            ("/sys/fs/cgroup/system.slice/memory.max", "max\n"),
            ("/sys/fs/cgroup/system.slice/gateways.slice/memory.max", "134217728\n"),
            ("/sys/fs/cgroup/system.slice/gateways.slice/podgate.service/memory.max", "268435456\n"),
            ("/sys/fs/cgroup/system.slice/gateways.slice/podgate.service/cpu.max", "max 100000\n"),
            ("/sys/fs/cgroup/system.slice/cpu.max", "50000 100000\n"),
        ]);
        assert_eq!(found, CgroupLimits { memory_bytes: Some(128 << 20), cpus: Some(0.5) });
    }

    const V1_MOUNTS: &str = "\
        32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

    #[test]
    fn of_cgroup_v1_each_controller_has_its_own_path() {
        let found = granted(&[
            ("/proc/self/cgroup", "4:memory:/pods/one\n2:cpu,cpuacct:/elsewhere\n1:name=systemd:/\n0::/\n"),
            ("/proc/self/mountinfo", V1_MOUNTS),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("/sys/fs/cgroup/memory/pods/memory.limit_in_bytes", "536870912\n"),
            ("/sys/fs/cgroup/memory/pods/one/memory.limit_in_bytes", "9223372036854771712\n"),
            ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n"),
            ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
            ("/sys/fs/cgroup/cpu,cpuacct/elsewhere/cpu.cfs_quota_us", "200000\n"),
            ("/sys/fs/cgroup/cpu,cpuacct/elsewhere/cpu.cfs_period_us", "100000\n"),
        ]);
        assert_eq!(found, CgroupLimits { memory_bytes: Some(512 << 20), cpus: Some(2.0) });
    }

    #[test]
    fn in_a_container_of_cgroup_v1_the_mount_is_a_part_of_the_hierarchy() {
        // Docker without cgroup namespaces: the path is the host's, the mount begins there.
        let found = granted(&[
            ("/proc/self/cgroup", "9:memory:/kubepods/burstable/pod 1/abc\n"),
            (
                "/proc/self/mountinfo",
                "700 690 0:32 /kubepods/burstable/pod\\0401/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
            ),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("/sys/fs/cgroup/memory/memory.stat", "cache 0\nhierarchical_memory_limit 100000000\nrss 5\n"),
        ]);
        assert_eq!(found, CgroupLimits { memory_bytes: Some(100_000_000), cpus: None });
    }

    #[test]
    fn a_path_of_another_namespace_leaves_what_is_mounted() {
        let found = granted(&[
            ("/proc/self/cgroup", "0::/../../other\n"),
            ("/proc/self/mountinfo", "30 23 0:26 /pods/one /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"),
            ("/sys/fs/cgroup/memory.max", "1000000\n"),
        ]);
        assert_eq!(found.memory_bytes, Some(1_000_000));
    }

    #[test]
    fn without_cgroups_and_with_nonsense_nothing_is_limited() {
        assert_eq!(granted(&[]), CgroupLimits::default());
        let found = granted(&[
            ("/proc/self/cgroup", "0::/\nnonsense\n:\n"),
            ("/proc/self/mountinfo", "x - cgroup2\n - \n30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"),
            ("/sys/fs/cgroup/memory.max", "a lot\n"),
            ("/sys/fs/cgroup/cpu.max", "0 0\n"),
        ]);
        assert_eq!(found, CgroupLimits::default());
    }
}

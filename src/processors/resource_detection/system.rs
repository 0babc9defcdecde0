//! `system`: what the machine says of itself below /etc, /proc and /sys; asks nobody.
//!
//! Attributes and their forms are the Collector's (contrib internal/metadataproviders/system, v0.161). `dns` looks for the
//! full name in /etc/hosts only, where a pod's and most machines' stands; it sends no query.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use crate::processors::resource_detection::outcome::{DetectedAttributes, DetectorOutcome, int, text, texts};

/// Where `host.name` may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameSource {
    /// The name with which /etc/hosts begins the line of this machine.
    Dns,
    /// The kernel's.
    Os,
}

#[derive(Debug)]
pub struct System {
    pub names: Vec<NameSource>,
    /// `/`, and a copy of its files in tests.
    pub root: PathBuf,
}

/// The attributes, and whether they are written unless the configuration says otherwise.
pub const ATTRIBUTES: &[(&str, bool)] = &[
    ("host.name", true),
    ("os.type", true),
    ("host.id", false),
    ("host.arch", false),
    ("host.ip", false),
    ("host.mac", false),
    ("host.cpu.vendor.id", false),
    ("host.cpu.family", false),
    ("host.cpu.model.id", false),
    ("host.cpu.model.name", false),
    ("host.cpu.stepping", false),
    ("host.cpu.cache.l2.size", false),
    ("os.description", false),
];

/// Attributes of `host.cpu` that are text, with their names in /proc/cpuinfo.
const CPU_TEXTS: &[(&str, &str)] = &[
    ("host.cpu.vendor.id", "vendor_id"),
    ("host.cpu.family", "cpu family"),
    ("host.cpu.model.id", "model"),
    ("host.cpu.model.name", "model name"),
    ("host.cpu.stepping", "stepping"),
];

impl System {
    /// Looks only for what is wanted. What a machine does not say is left out and named.
    pub fn detect(&self, wants: impl Fn(&str) -> bool) -> DetectorOutcome {
        let mut found = DetectedAttributes::new();
        let mut missing = Vec::new();
        for (key, _) in ATTRIBUTES.iter().filter(|(key, _)| wants(key)) {
            match self.value(key) {
                Some(value) => found.push(((*key).to_owned(), value)),
                // Not every processor says all of it.
                None if key.starts_with("host.cpu.") => {}
                None => missing.push(*key),
            }
        }
        let failure =
            (!missing.is_empty()).then(|| format!("could not determine {} on this machine", missing.join(", ")));
        DetectorOutcome { found, failure }
    }

    fn value(&self, key: &str) -> Option<Vec<u8>> {
        match key {
            "host.name" => self.names.iter().find_map(|source| self.name(*source)).map(|name| text(&name)),
            "os.type" => Some(text("linux")),
            "host.id" => {
                ["etc/machine-id", "var/lib/dbus/machine-id"].iter().find_map(|at| self.line(at)).map(|id| text(&id))
            }
            "host.arch" => Some(text(arch())),
            "host.ip" => self.addresses().map(|all| texts(all.iter().map(String::as_str))),
            "host.mac" => self.macs().map(|all| texts(all.iter().map(String::as_str))),
            "os.description" => self.description().map(|description| text(&description)),
            "host.cpu.cache.l2.size" => {
                let size = self.cpu("cache size")?;
                size.split_whitespace().next()?.parse().ok().map(int)
            }
            _ => {
                let (_, name) = CPU_TEXTS.iter().find(|(of, _)| *of == key)?;
                self.cpu(name).map(|value| text(&value))
            }
        }
    }

    fn read(&self, file: impl AsRef<Path>) -> Option<String> {
        fs::read_to_string(self.root.join(file)).ok()
    }

    /// A file of one line; none when it is empty.
    fn line(&self, file: impl AsRef<Path>) -> Option<String> {
        self.read(file).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    fn name(&self, source: NameSource) -> Option<String> {
        let host = self.line("proc/sys/kernel/hostname")?;
        match source {
            NameSource::Os => Some(host),
            NameSource::Dns => {
                let hosts = self.read("etc/hosts")?;
                let mut lines = hosts.lines().map(|line| line.split('#').next().unwrap_or_default());
                lines.find_map(|line| {
                    let mut names = line.split_whitespace().skip(1);
                    let first = names.next()?;
                    (first == host || names.any(|name| name == host)).then(|| first.to_owned())
                })
            }
        }
    }

    /// The first processor's line of this name.
    fn cpu(&self, name: &str) -> Option<String> {
        let info = self.read("proc/cpuinfo")?;
        let mut pairs = info.lines().filter_map(|line| line.split_once(':'));
        pairs.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
    }

    /// Names of interfaces that are up and no loopback.
    fn interfaces(&self) -> Option<Vec<String>> {
        const UP: u32 = 1;
        const LOOPBACK: u32 = 8;
        let entries = fs::read_dir(self.root.join("sys/class/net")).ok()?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let is_up = |name: &String| {
            let flags = self.line(format!("sys/class/net/{name}/flags"))?;
            let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16).ok()?;
            Some(flags & UP != 0 && flags & LOOPBACK == 0)
        };
        let mut names: Vec<String> = names.filter(|name| is_up(name) == Some(true)).collect();
        names.sort();
        Some(names)
    }

    fn macs(&self) -> Option<Vec<String>> {
        let macs = self.interfaces()?.into_iter().filter_map(|name| self.line(format!("sys/class/net/{name}/address")));
        // As the IEEE writes them, which semantic conventions ask for.
        Some(macs.map(|mac| mac.to_uppercase().replace(':', "-")).collect())
    }

    /// The machine's own addresses, loopback aside: IPv4 from the routing table, IPv6 from the interfaces.
    fn addresses(&self) -> Option<Vec<String>> {
        let trie = self.read("proc/net/fib_trie")?;
        let (mut all, mut last) = (BTreeSet::new(), None);
        for line in trie.lines().map(str::trim_start) {
            if let Some(address) = line.strip_prefix("|-- ") {
                last = address.trim().parse::<Ipv4Addr>().ok();
            } else if line.starts_with("/32 host LOCAL") {
                all.extend(last.filter(|address| !address.is_loopback()));
            }
        }
        let six = self.read("proc/net/if_inet6").unwrap_or_default();
        let six = six.lines().filter_map(|line| u128::from_str_radix(line.split_whitespace().next()?, 16).ok());
        let six: Vec<Ipv6Addr> = six.map(Ipv6Addr::from).filter(|address| !address.is_loopback()).collect();
        Some(all.iter().map(Ipv4Addr::to_string).chain(six.iter().map(Ipv6Addr::to_string)).collect())
    }

    /// `NAME VERSION (kernel host release version machine)`, as the Go SDK has it.
    fn description(&self) -> Option<String> {
        let kernel = |name: &str| self.line(format!("proc/sys/kernel/{name}"));
        let uname = [kernel("ostype")?, kernel("hostname")?, kernel("osrelease")?, kernel("version")?].join(" ");
        let uname = format!("{uname} {}", std::env::consts::ARCH);
        let Some(release) = self.read("etc/os-release").or_else(|| self.read("usr/lib/os-release")) else {
            return Some(uname);
        };
        let value = |name: &str| {
            let mut pairs = release.lines().filter_map(|line| line.trim().split_once('='));
            let found =
                pairs.find(|(key, _)| *key == name).map(|(_, value)| value.trim_matches(['"', '\'']).to_owned());
            found.filter(|value| !value.is_empty())
        };
        let system = match (value("NAME"), value("VERSION").or_else(|| value("VERSION_ID"))) {
            (Some(name), Some(version)) => Some(format!("{name} {version}")),
            _ => value("PRETTY_NAME"),
        };
        Some(system.map_or(uname.clone(), |system| format!("{system} ({uname})")))
    }
}

/// `host.arch` of semantic conventions.
fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "arm" => "arm32",
        "powerpc" => "ppc32",
        "powerpc64" => "ppc64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: &[(&str, &str)] = &[
        ("proc/sys/kernel/hostname", "node-1\n"),
        ("proc/sys/kernel/ostype", "Linux\n"),
        ("proc/sys/kernel/osrelease", "6.1.0\n"),
        ("proc/sys/kernel/version", "#1 SMP\n"),
        ("etc/hosts", "# one\n127.0.0.1 localhost\n10.0.0.7 node-1.example.org node-1 # us\n"),
        ("etc/os-release", "NAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nPRETTY_NAME=x\n"),
        ("var/lib/dbus/machine-id", "4f1c\n"),
        (
            "proc/cpuinfo",
            "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: EPYC\n\
             stepping\t: 1\ncache size\t: 1024 KB\n\nprocessor\t: 1\nvendor_id\t: Other\n",
        ),
        (
            "proc/net/fib_trie",
            "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.0.0.0\n        /24 link UNICAST\n     |-- 10.0.0.7\n        /32 host LOCAL\n\
             \x20    |-- 127.0.0.1\n        /32 host LOCAL\nLocal:\n     |-- 10.0.0.7\n        /32 host LOCAL\n",
        ),
        (
            "proc/net/if_inet6",
            "00000000000000000000000000000001 01 80 10 80 lo\nfe800000000000000000000000000001 02 40 20 80 eth0\n",
        ),
        ("sys/class/net/lo/flags", "0x9\n"),
        ("sys/class/net/lo/address", "00:00:00:00:00:00\n"),
        ("sys/class/net/eth0/flags", "0x1003\n"),
        ("sys/class/net/eth0/address", "02:42:ac:11:00:0a\n"),
        ("sys/class/net/eth1/flags", "0x1002\n"),
        ("sys/class/net/eth1/address", "02:42:ac:11:00:0b\n"),
    ];

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        for (file, text) in files {
            let file = root.path().join(file);
            fs::create_dir_all(file.parent().expect("a folder")).expect("made");
            fs::write(file, text).expect("written");
        }
        root
    }

    fn system(root: &tempfile::TempDir, names: &[NameSource]) -> System {
        System { names: names.to_vec(), root: root.path().to_owned() }
    }

    #[test]
    fn a_machine_is_described_by_its_files() {
        let root = machine(FILES);
        let outcome = system(&root, &[NameSource::Dns, NameSource::Os]).detect(|_| true);
        let description = format!("Debian GNU/Linux 12 (Linux node-1 6.1.0 #1 SMP {})", std::env::consts::ARCH);
        let wanted: Vec<(&str, Vec<u8>)> = vec![
            ("host.name", text("node-1.example.org")),
            ("os.type", text("linux")),
            ("host.id", text("4f1c")),
            ("host.arch", text(arch())),
            ("host.ip", texts(["10.0.0.7", "fe80::1"].into_iter())),
            ("host.mac", texts(["02-42-AC-11-00-0A"].into_iter())),
            ("host.cpu.vendor.id", text("AuthenticAMD")),
            ("host.cpu.family", text("25")),
            ("host.cpu.model.id", text("17")),
            ("host.cpu.model.name", text("EPYC")),
            ("host.cpu.stepping", text("1")),
            ("host.cpu.cache.l2.size", int(1024)),
            ("os.description", text(&description)),
        ];
        let wanted: DetectedAttributes = wanted.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        assert_eq!(outcome, DetectorOutcome { found: wanted, failure: None });
    }

    #[test]
    fn the_name_comes_from_the_first_source_that_knows_one() {
        let name = |root: &tempfile::TempDir, names: &[NameSource]| {
            system(root, names).detect(|key| key == "host.name").found.first().map(|(_, value)| value.clone())
        };
        let root = machine(FILES);
        assert_eq!(name(&root, &[NameSource::Os, NameSource::Dns]), Some(text("node-1")));
        fs::write(root.path().join("etc/hosts"), "127.0.0.1 localhost\n").expect("written");
        assert_eq!(name(&root, &[NameSource::Dns, NameSource::Os]), Some(text("node-1")));
        assert_eq!(name(&root, &[NameSource::Dns]), None);
    }

    #[test]
    fn what_a_machine_does_not_say_is_named_and_the_rest_is_there() {
        let outcome = system(&machine(&FILES[..1]), &[NameSource::Os]).detect(|_| true);
        assert_eq!(outcome.found.len(), 3, "name, type, architecture: {outcome:?}");
        let failure = outcome.failure.expect("something is missing");
        assert_eq!(failure, "could not determine host.id, host.ip, host.mac, os.description on this machine");
        let nothing = system(&machine(&[]), &[NameSource::Os]).detect(|key| key == "os.type");
        assert_eq!(nothing, DetectorOutcome { found: vec![("os.type".to_owned(), text("linux"))], failure: None });
    }
}

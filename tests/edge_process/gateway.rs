//! A podgate process: started from YAML, watched through /proc, ended by SIGTERM.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::support::free_ports;

/// `PODGATE_BIN`, for the long forms a release build; else what cargo built.
fn binary() -> PathBuf {
    std::env::var_os("PODGATE_BIN").map_or_else(|| env!("CARGO_BIN_EXE_podgate").into(), PathBuf::from)
}

/// A number from the environment, for the long forms.
pub fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// True in the long forms: they pin processes to cores and write their figures down.
pub fn is_long() -> bool {
    std::env::var_os("PODGATE_BIN").is_some()
}

/// In the long forms: on one core, and ahead of the machine's other work where the kernel allows it, so that latencies are
/// podgate's. The attacker shares the honest clients' core and never its rank: real-time work that fills a core has the
/// kernel stop all real-time work there for a twentieth of each second, and the clients' clocks with it.
#[derive(Clone, Copy)]
pub struct Seat {
    pub core: u8,
    /// `chrt`'s words: policy and priority.
    pub rank: [&'static str; 2],
}

pub const GATEWAY: Seat = Seat { core: 1, rank: ["-f", "10"] };
pub const HONEST: Seat = Seat { core: 0, rank: ["-f", "10"] };
pub const ATTACKER: Seat = Seat { core: 0, rank: ["-o", "0"] };

impl Seat {
    /// The program to be started there.
    pub fn command(self, program: &std::path::Path) -> Command {
        if !is_long() {
            return Command::new(program);
        }
        let mut command = Command::new("taskset");
        command.args(["-c", &self.core.to_string()]);
        if real_time() {
            command.arg("chrt").args(self.rank);
        }
        command.arg(program);
        command
    }

    /// This process, which plays the honest clients.
    pub fn take(self) {
        let own = std::process::id().to_string();
        run("taskset", &["-acp", &self.core.to_string(), &own]);
        if real_time() {
            let [policy, priority] = self.rank;
            run("chrt", &["-a", policy, "-p", priority, &own]);
        }
    }
}

fn run(program: &str, words: &[&str]) -> bool {
    let status = Command::new(program).args(words).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Whether the kernel grants real-time priority.
pub fn real_time() -> bool {
    run("chrt", &["-r", "1", "true"])
}

/// A state of `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// Runs until it is ended or dropped.
pub struct Process {
    child: Child,
    folder: tempfile::TempDir,
    pub grpc: SocketAddr,
    pub http: SocketAddr,
    /// Of `health_check`, where the configuration lists it under its extensions.
    pub pages: SocketAddr,
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub took: Duration,
    /// The final line's account of traces; dropped items stand under `dropped(reason)`.
    pub balance: BTreeMap<String, u64>,
    pub log: String,
}

impl Ended {
    pub fn items(&self, entry: &str) -> u64 {
        self.balance.iter().filter(|(name, _)| name.starts_with(entry)).map(|(_, items)| items).sum()
    }
}

impl Process {
    /// Starts podgate with an `otlp` receiver on two ports of all interfaces and the rest of the configuration from
    /// `rest`; returns when it is ready.
    pub async fn start(receiver: &str, rest: &str) -> Process {
        for _ in 0..5 {
            if let Some(process) = Process::try_start(receiver, rest).await {
                return process;
            }
        }
        panic!("no free ports in five attempts");
    }

    /// `None` when somebody took one of the ports meanwhile.
    async fn try_start(receiver: &str, rest: &str) -> Option<Process> {
        let [grpc, http, pages] = free_ports();
        let yaml = format!(
            "extensions:\n  health_check: {{endpoint: '0.0.0.0:{pages}'}}\nreceivers:\n  otlp:\n    protocols:\n      grpc: {{endpoint: '0.0.0.0:{grpc}'{receiver}}}\n      \
             http: {{endpoint: '0.0.0.0:{http}'{receiver}}}\n{rest}"
        );
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config.yaml");
        std::fs::write(&config, yaml).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let mut command = GATEWAY.command(&binary());
        let command = command.args(["--config".as_ref(), config.as_os_str()]).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().unwrap();
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let process = Process { child, folder, grpc: address(grpc), http: address(http), pages: address(pages) };
        for _ in 0..1_000 {
            let log = process.log();
            if log.contains("everything is ready") {
                return Some(process);
            }
            // The admin page does without its port and only warns.
            if log.lines().any(|line| line.contains("cannot start") && line.contains("Address already in use")) {
                return None;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("never ready:\n{}", process.log());
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// CPU time of all threads.
    pub fn cpu(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).into_iter().flatten().flatten();
        let stats = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok());
        let nanos = stats.filter_map(|stat| stat.split_whitespace().next().and_then(|first| first.parse::<u64>().ok()));
        Duration::from_nanos(nanos.sum())
    }

    /// Highest resident memory since start in MiB.
    pub fn peak_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap() / 1024.0
    }

    /// Connections that clients have to this port of the process, each a file descriptor of it.
    pub fn connections(&self, port: u16) -> usize {
        self.sockets(1, port)
    }

    /// Connections of the process to this port of a next hop.
    pub fn connections_to(&self, port: u16) -> usize {
        self.sockets(2, port)
    }

    /// Its TCP sockets, listeners aside, with this port in that column of the kernel's table.
    fn sockets(&self, column: usize, port: u16) -> usize {
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).into_iter().flatten().flatten();
        let links = descriptors.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        let own: Vec<String> = links.map(|link| link.to_string_lossy().into_owned()).collect();
        let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", self.child.id())).unwrap();
        let port = format!(":{port:04X}");
        let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
        let matching = rows.filter(|row| row[column].ends_with(&port) && row[3] != LISTEN);
        matching.filter(|row| own.contains(&format!("socket:[{}]", row[9]))).count()
    }

    /// SIGTERM, then the end; killed and failed after 30 seconds.
    pub async fn stop(mut self) -> Ended {
        let begun = Instant::now();
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "no process to stop:\n{}", self.log());
        let code = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status.code(),
                None if begun.elapsed() > Duration::from_secs(30) => panic!("never ended:\n{}", self.log()),
                None => sleep(Duration::from_millis(5)).await,
            }
        };
        let log = self.log();
        Ended { code, took: begun.elapsed(), balance: balance(&log), log }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `... balance: traces: received 10, delivered 6, dropped(shutdown) 1, held 0`
fn balance(log: &str) -> BTreeMap<String, u64> {
    let line = log.lines().rev().find_map(|line| line.split_once("traces: ")).map_or("", |(_, line)| line);
    let line = line.split(';').next().unwrap_or_default();
    let entries = line.split(", ").filter_map(|entry| entry.trim().rsplit_once(' '));
    entries.filter_map(|(name, items)| Some((name.to_owned(), items.parse().ok()?))).collect()
}

#[test]
fn the_final_line_is_read_as_it_is_written() {
    let read =
        balance("x\n INFO balance: traces: received 10, delivered 6, dropped(shutdown) 1, held 0; logs: received 1");
    let entries = [("received", 10), ("delivered", 6), ("dropped(shutdown)", 1), ("held", 0)];
    assert_eq!(read, entries.map(|(name, items)| (name.to_owned(), items)).into());
}

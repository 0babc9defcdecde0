//! The attacker: a process of its own, so that its CPU can be capped. This binary starts itself in that role.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, sleep, timeout};

use super::gateway::{ATTACKER, Process, setting};
use crate::abuses::{self, Door};
use crate::socket::{SENT, SOURCE};

/// Share of a core the attacker may use, in percent.
const CORE_PERCENT: u32 = 30;
/// Runs of one attack at the same time.
const AT_ONCE: usize = 8;
/// Limits of the gateway are tens of seconds; an attack that outlasts them has ended for our purpose.
const ATTACK_MAX: Duration = Duration::from_secs(45);

/// Attacks for as long as it lives; killed when dropped.
pub struct Attacker(Child);

impl Attacker {
    /// Attacks `process` for so many seconds at most.
    pub fn start(number: usize, process: &Process, seconds: u64) -> Attacker {
        let program = std::env::current_exe().unwrap();
        let mut command = ATTACKER.command(&program);
        let role = ["--exact", "edge_process::attacker::attacker_role", "--ignored", "--nocapture"];
        let (first, second) = match abuses::all()[number].door {
            Door::Otlp => (process.grpc, process.http),
            Door::Pages => (process.pages, process.pages),
        };
        let ports = [("FIRST", first.port().into()), ("SECOND", second.port().into())];
        let numbers = [("NUMBER", number as u64), ("SECONDS", seconds)];
        let environment =
            numbers.into_iter().chain(ports).map(|(name, value)| (format!("PODGATE_ATTACK_{name}"), value.to_string()));
        command.args(role).envs(environment).stdout(Stdio::piped()).stderr(Stdio::null());
        Attacker(command.spawn().unwrap())
    }

    /// Ends it: how many bytes it has sent.
    pub fn end(mut self) -> u64 {
        let _ = self.0.kill();
        let mut told = String::new();
        self.0.stdout.take().unwrap().read_to_string(&mut told).unwrap();
        let mut sent = told.lines().filter_map(|line| line.strip_prefix(SENT_SO_FAR)?.parse().ok());
        sent.next_back().expect("an attacker tells what it sent")
    }
}

/// Before the number of bytes, a line each tenth of a second.
const SENT_SO_FAR: &str = "sent so far: ";

impl Drop for Attacker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Not a test: what [`Attacker::start`] runs in the other process.
#[test]
#[ignore = "a role, started by the tests of abuse"]
fn attacker_role() {
    let number = setting("PODGATE_ATTACK_NUMBER", 0) as usize;
    let port = |name| u16::try_from(setting(name, 0)).unwrap();
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let (first, second) = (address(port("PODGATE_ATTACK_FIRST")), address(port("PODGATE_ATTACK_SECOND")));
    // Another address than the honest clients', which the gateway tells apart.
    SOURCE.set([127, 0, 0, 2].into()).unwrap();
    let until = Duration::from_secs(setting("PODGATE_ATTACK_SECONDS", 1));
    let attack = abuses::all()[number].attack;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async move {
        let mut attacks = JoinSet::new();
        for _ in 0..AT_ONCE {
            attacks.spawn(async move {
                loop {
                    // An attack that is refused may panic on what it expected; it begins anew.
                    let mut one = JoinSet::new();
                    one.spawn(timeout(ATTACK_MAX, attack(first, second)));
                    _ = one.join_next().await;
                    sleep(Duration::from_millis(1)).await;
                }
            });
        }
        tokio::select! { () = sleep(until) => {}, () = hold_back() => {}, () = tell() => {} }
    });
}

async fn tell() {
    loop {
        let _ = writeln!(std::io::stdout(), "{SENT_SO_FAR}{}", SENT.load(Ordering::Relaxed));
        sleep(Duration::from_millis(100)).await;
    }
}

/// Stops the only thread of this process for as long as it has used more than its share.
async fn hold_back() {
    let begun = Instant::now();
    loop {
        sleep(Duration::from_millis(5)).await;
        let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        let used = stat.split(' ').next().and_then(|nanos| nanos.parse().ok()).map(Duration::from_nanos).unwrap();
        let allowed = begun.elapsed() * CORE_PERCENT / 100;
        std::thread::sleep(used.saturating_sub(allowed) * 100 / CORE_PERCENT);
    }
}

//! The attacker: a process of its own, so that its CPU can be capped. This binary starts itself in that role.

use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::time::Duration;

use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, sleep, timeout};

use super::gateway::{ATTACKER, setting};
use crate::abuses;

/// Share of a core the attacker may use, in percent.
const CORE_PERCENT: u32 = 30;
/// Runs of one attack at the same time.
const AT_ONCE: usize = 8;
/// Limits of the gateway are tens of seconds; an attack that outlasts them has ended for our purpose.
const ATTACK_MAX: Duration = Duration::from_secs(45);

/// Attacks for as long as it lives; killed when dropped.
pub struct Attacker(Child);

impl Attacker {
    /// Addresses other than the honest clients', which the gateway tells apart.
    pub fn start(number: usize, grpc: u16, http: u16, seconds: u64) -> Attacker {
        let program = std::env::current_exe().unwrap();
        let mut command = ATTACKER.command(&program);
        let role = ["--exact", "edge_process::attacker::attacker_role", "--ignored", "--nocapture"];
        let environment =
            [("NUMBER", number as u64), ("GRPC", grpc.into()), ("HTTP", http.into()), ("SECONDS", seconds)];
        let environment = environment.map(|(name, value)| (format!("PODGATE_ATTACK_{name}"), value.to_string()));
        command.args(role).envs(environment).stdout(Stdio::null()).stderr(Stdio::null());
        Attacker(command.spawn().unwrap())
    }
}

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
    let address = |port| SocketAddr::from(([127, 0, 0, 2], port));
    let (grpc, http) = (address(port("PODGATE_ATTACK_GRPC")), address(port("PODGATE_ATTACK_HTTP")));
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
                    one.spawn(timeout(ATTACK_MAX, attack(grpc, http)));
                    _ = one.join_next().await;
                    sleep(Duration::from_millis(1)).await;
                }
            });
        }
        tokio::select! { () = sleep(until) => {}, () = hold_back() => {} }
    });
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

//! The reference deployment on loopback addresses of its own: an API server, APM Server's double, podgate as a process under
//! the Collector's name with `relay.yaml` as it stands, and applications that know of themselves what the field's know.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use podgate::core::data::budget::Budget;
use podgate::core::stage::host::Host;
use podgate::lab::api_double::{MadePod, PodSpec, Sandbox};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::apm_server::ApmServer;
use crate::apm_server::seen::{Item, Signal};
use crate::apps::App;

const RELAY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reference/relay.yaml");
const SHOP: &str = "shop";
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A loopback address on which none of these ports is taken, so that the configuration's ports can stay what they are.
pub fn own_address(ports: &[u16]) -> Ipv4Addr {
    for _ in 0..1_000 {
        let address = Ipv4Addr::new(127, fastrand::u8(1..255), fastrand::u8(..), fastrand::u8(1..255));
        if ports.iter().all(|port| TcpListener::bind((address, *port)).is_ok()) {
            return address;
        }
    }
    panic!("no loopback address has the ports {ports:?} free");
}

pub struct World {
    pub sandbox: Arc<Sandbox>,
    pub apm: ApmServer,
    pub pod_ip: Ipv4Addr,
    pub acknowledged: Arc<Mutex<BTreeSet<(Signal, String)>>>,
    process: Child,
    folder: tempfile::TempDir,
    _host: Arc<Host>,
    _stop: watch::Sender<bool>,
}

impl World {
    /// `set`: changes of single keys, as `--set` takes them.
    pub async fn new(seed: u64, set: &[&str]) -> World {
        let host = Host::new(Budget::unlimited());
        let sandbox = Sandbox::new(seed);
        sandbox.set_publish_delay(Duration::from_millis(100)..=Duration::from_millis(900));
        // A kubelet looks for dead containers once a second.
        sandbox.set_restart_gap(Duration::from_millis(1_000));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
        let api_server = format!("http://{}", listener.local_addr().expect("bound"));
        let (stop, stopped) = watch::channel(false);
        drop(host.tasks.spawn("sandbox", |pulse| sandbox.clone().serve(listener, stopped, pulse)));
        let node_ip = own_address(&[8200]);
        let apm = ApmServer::at(SocketAddr::new(IpAddr::V4(node_ip), 8200)).await.expect("8200 is free there");
        let pod_ip = own_address(&[4317, 4318, 8888, 13133]);
        let folder = tempfile::tempdir().expect("a folder");
        let process = start(folder.path(), pod_ip, node_ip, &api_server, set);
        let acknowledged = Arc::default();
        let world = World { sandbox, apm, pod_ip, acknowledged, process, folder, _host: host, _stop: stop };
        world.until("everything is ready", |log| log.contains("everything is ready")).await;
        world
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).expect("a log")
    }

    pub async fn until(&self, what: &str, holds: impl Fn(&str) -> bool) {
        let began = Instant::now();
        while !holds(&self.log()) {
            assert!(began.elapsed() < PATIENCE, "never happened: {what}\n{}", self.log());
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Its address is one from which its applications really connect, as through a hostPort.
    pub fn pod(&self, name: &str) -> MadePod {
        let ip = Some(own_address(&[]).to_string());
        self.sandbox.add_pod(PodSpec { ip, ..PodSpec::deployed(SHOP, name, &["app"]) })
    }

    /// An application in the pod's container `app`, which believes that its container is called `label`.
    pub fn app(&self, pod: &MadePod, label: &str) -> App {
        let run = self.sandbox.latest_run(&pod.uid, "app").expect("a run");
        App::new(pod, label, &run.id, SocketAddr::from((self.pod_ip, 4317)), self.acknowledged.clone())
    }

    /// The pod's container dies and runs again, by way of CrashLoopBackOff.
    pub async fn restart(&self, pod: &MadePod) {
        let run = self.sandbox.crash_container(SHOP, &pod.name, "app").expect("it runs");
        // It is known before it begins.
        while self.sandbox.now() <= run.started {
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Drains podgate; the exit code and its last words.
    pub fn end(&mut self) -> (Option<i32>, String) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().is_ok_and(|status| status.success()));
        let code = self.process.wait().expect("ends").code();
        (code, self.log())
    }

    pub fn score(&self) -> Score {
        Score::of(&self.acknowledged.lock().expect("not poisoned"), &self.apm.items())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The command of the field's manifests: `otelcontribcol --config=/conf/relay.yaml`.
fn start(folder: &std::path::Path, pod_ip: Ipv4Addr, node_ip: Ipv4Addr, api_server: &str, set: &[&str]) -> Child {
    let command = folder.join("otelcontribcol");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_podgate"), &command).expect("a link");
    let log = std::fs::File::create(folder.join("log")).expect("a log");
    let mut command = Command::new(command);
    command.arg(format!("--config={RELAY}"));
    // No service account here: the one thing that is not as in a cluster.
    command.args(["--set", &format!("processors.k8sattributes.podgate.api_server={api_server}")]);
    for one in set {
        command.args(["--set", one]);
    }
    command.envs([
        ("MY_POD_IP", pod_ip.to_string()),
        ("OTEL_K8S_NODE_IP", node_ip.to_string()),
        ("OTEL_K8S_NODE_NAME", PodSpec::NODE.to_owned()),
    ]);
    command.stdout(Stdio::null()).stderr(log).spawn().expect("the binary runs")
}

/// What became of the items of one signal that podgate acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub right: u64,
    pub wrong: u64,
    /// Arrived without a container.id.
    pub missing: u64,
    /// Acknowledged to the application and never acknowledged by APM Server.
    pub not_arrived: u64,
    /// Acknowledged by APM Server, and lost by it.
    pub lost_there: u64,
}

#[derive(Debug, Default)]
pub struct Score(pub BTreeMap<Signal, Tally>);

impl Score {
    fn of(acknowledged: &BTreeSet<(Signal, String)>, items: &[Item]) -> Score {
        let arrived: BTreeMap<(Signal, &str), &Item> =
            items.iter().filter_map(|item| Some(((item.signal, item.item.as_deref()?), item))).collect();
        let mut score = Score::default();
        for (signal, name) in acknowledged {
            let tally = score.0.entry(*signal).or_default();
            match arrived.get(&(*signal, name.as_str())) {
                None => tally.not_arrived += 1,
                Some(item) if item.container_id.is_none() => tally.missing += 1,
                Some(item) if item.container_id == item.made_by => tally.right += 1,
                Some(_) => tally.wrong += 1,
            }
            tally.lost_there += u64::from(arrived.get(&(*signal, name.as_str())).is_some_and(|item| !item.kept));
        }
        score
    }

    pub fn sum(&self, of: impl Fn(&Tally) -> u64) -> u64 {
        self.0.values().map(of).sum()
    }
}

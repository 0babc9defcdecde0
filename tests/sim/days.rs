//! A busy node for many days: pods come and go, containers restart, the token rotates, files are rotated. Nothing may grow.
//!
//! What is measured: every gauge the product has, the number of its series, and the bytes that the allocator holds for this
//! whole process, doubles included.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::time::Duration;

use fastrand::Rng;
use podgate::core::report::stats::Metric;
use podgate::gateway::Gateway;
use podgate::lab::api_double::{MadePod, PodSpec};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

use crate::client::{Habits, Identity, Sender};
use crate::memory;
use crate::scenario::Scenario;
use crate::world::{NAMESPACE, Stage, World};
use crate::{api, run};

const MINUTE: Duration = Duration::from_secs(60);
/// Pods that live at a time.
const LIVING: usize = 60;

/// What is there at one moment.
#[derive(Clone, Debug, Default)]
pub struct Sizes {
    pub live_bytes: u64,
    pub series: usize,
    pub gauges: BTreeMap<String, f64>,
}

fn sizes(gateway: &Gateway) -> Sizes {
    let all = gateway.host().stats.all();
    let gauges = all.iter().filter_map(|series| {
        let value = match &series.metric {
            Metric::Gauge(gauge) => gauge.get() as f64,
            Metric::ReadGauge(read) => read(),
            _ => return None,
        };
        Some((format!("{}{:?}", series.name, series.labels), value))
    });
    Sizes { live_bytes: memory::live(), series: all.len(), gauges: gauges.collect() }
}

fn scenario() -> Scenario {
    let metadata =
        "[k8s.namespace.name, k8s.pod.name, k8s.pod.uid, k8s.container.name, container.id, k8s.deployment.name]";
    let kubernetes = format!(
        "{{auth_type: kubeConfig, wait_for_metadata: true, filter: {{node: node-a}}, extract: {{metadata: {metadata}}}, \
         pod_association: [{{sources: [{{from: resource_attribute, name: k8s.pod.uid}}]}}, {{sources: [{{from: connection}}]}}]}}"
    );
    // Verdicts are remembered up to a number: a small one, so that they are full within an hour and what else grows shows.
    let sampling = "{decision_wait: 5s, decision_cache: {sampled_cache_size: 500, non_sampled_cache_size: 500}, \
         policies: [{name: some, type: probabilistic, probabilistic: {sampling_percentage: 50}}]}";
    Scenario {
        processors: vec![
            ("memory_limiter".to_owned(), "{limit_mib: 256, spike_limit_mib: 38}".to_owned()),
            ("k8s_attributes".to_owned(), kubernetes),
            ("tail_sampling".to_owned(), sampling.to_owned()),
            ("batch".to_owned(), "{timeout: 1s}".to_owned()),
        ],
        publish_delay: (Duration::from_millis(100), Duration::from_millis(1_500)),
        ..Scenario::default()
    }
}

/// The configuration a pod has, with a token in a file of its own.
pub fn kubeconfig(folder: &Path) -> String {
    let token = folder.join("token");
    let text = format!(
        "{{apiVersion: v1, kind: Config, current-context: sim, contexts: [{{name: sim, context: {{cluster: sim, user: sim}}}}], \
         clusters: [{{name: sim, cluster: {{server: 'http://api:{}'}}}}], users: [{{name: sim, user: {{tokenFile: '{}'}}}}]}}",
        api::PORT,
        token.display()
    );
    let path = folder.join("kubeconfig");
    std::fs::write(&token, "token-0").expect("a temporary folder");
    std::fs::write(&path, text).expect("a temporary folder");
    path.display().to_string()
}

/// Plays `hours` in which `pods` come and go. `folder` holds the kubeconfig that `KUBECONFIG` names. Sizes by the hour.
pub async fn play(hours: u64, pods: u64, folder: &Path) -> Vec<Sizes> {
    let (world, scenario) = (World::new(1), scenario());
    let _wall = world.clock.stand_in();
    let tasks = std::sync::Arc::default();
    world.sandbox.require_token(Some("token-0"));
    let stage = Stage::set(&world, &scenario, &tasks);
    let gateway = run::start(&world, &scenario).await;
    let mut node =
        Node { world: world.clone(), rng: Rng::with_seed(1), living: VecDeque::new(), sending: JoinSet::new() };
    let mut measured = Vec::new();
    let minutes = hours * 60;
    let mut made = 0;
    for minute in 0..minutes {
        while made * minutes < pods * (minute + 1) {
            node.add();
            made += 1;
        }
        node.trouble();
        sleep(MINUTE).await;
        if minute % 720 == 719 {
            let token = format!("token-{minute}");
            std::fs::write(folder.join("token"), &token).expect("a temporary folder");
            world.sandbox.require_token(Some(&token));
            world.sandbox.cut_watches();
        }
        if minute % 60 == 59 {
            node.look();
            measured.push(sizes(&gateway));
        }
    }
    node.sending.shutdown().await;
    drop(gateway.drain(Duration::from_secs(20)).await);
    stage.end().await;
    measured
}

struct Node {
    world: World,
    rng: Rng,
    living: VecDeque<(MadePod, AbortHandle)>,
    sending: JoinSet<()>,
}

impl Node {
    /// A new pod in place of the oldest; its process sends a few requests in its first minutes.
    fn add(&mut self) {
        let deployment = format!("app-{}", self.rng.u8(0..20));
        let made = self.world.sandbox.add_pod(PodSpec::deployed(NAMESPACE, &deployment, &["app0"]));
        if let Some(process) = self.send(&made) {
            self.living.push_back((made, process));
        }
        if self.living.len() > LIVING
            && let Some((old, process)) = self.living.pop_front()
        {
            process.abort();
            self.world.sandbox.delete_pod(NAMESPACE, &old.name);
        }
    }

    fn trouble(&mut self) {
        if self.living.is_empty() || self.rng.u8(0..4) > 0 {
            return;
        }
        let at = self.rng.usize(0..self.living.len());
        let made = self.living[at].0.clone();
        if self.world.sandbox.restart_container(NAMESPACE, &made.name, "app0").is_some() {
            self.living[at].1.abort();
            if let Some(process) = self.send(&made) {
                self.living[at].1 = process;
            }
        }
    }

    fn send(&mut self, made: &MadePod) -> Option<AbortHandle> {
        while self.sending.try_join_next().is_some() {}
        let run = self.world.sandbox.latest_run(&made.uid, "app0")?;
        let identity = Identity {
            address: made.ip.parse().ok(),
            container: run.id.clone(),
            attributes: vec![
                ("k8s.pod.uid".to_owned(), made.uid.clone()),
                ("k8s.container.name".to_owned(), "app0".to_owned()),
                ("service.instance.id".to_owned(), run.id[..32].to_owned()),
            ],
        };
        let habits = Habits { grpc: self.rng.bool(), renews: self.rng.bool(), ..Habits::default() };
        let mut sender = Sender::new(self.world.clone(), habits, identity);
        let starts_in = run.started.since(self.world.clock.now()) + Duration::from_millis(self.rng.u64(100..3_000));
        let requests = self.rng.u8(1..=3);
        Some(self.sending.spawn(async move {
            sleep(starts_in).await;
            for _ in 0..requests {
                let things = sender.make(3);
                sleep(Duration::from_secs(2)).await;
                sender.export(things).await;
            }
        }))
    }

    /// No id is wrong; then the facts are forgotten, because they grow.
    fn look(&self) {
        let mut facts = self.world.truth.facts();
        for (item, _, container) in facts.arrivals.iter().flat_map(|arrival| &arrival.items) {
            let real = facts.made.get(item).map(|made| &made.container);
            assert!(container.is_none() || real.is_none() || container.as_ref() == real, "item {item} has a wrong id");
        }
        facts.forget();
    }
}

/// What is larger at the end than it ever was in the second quarter, by more than a tenth and more than `slack`.
pub fn grown(measured: &[Sizes], slack_bytes: u64) -> Vec<String> {
    let quarter = measured.len() / 4;
    let (before, after) = (&measured[quarter..2 * quarter], &measured[3 * quarter..]);
    let mut grown = Vec::new();
    let live = |part: &[Sizes]| part.iter().map(|sizes| sizes.live_bytes).max().unwrap_or(0);
    let (early, late) = (live(before), live(after));
    if late > early + early / 10 + slack_bytes {
        grown.push(format!("bytes of the process: {early} -> {late}"));
    }
    let series = |part: &[Sizes]| part.iter().map(|sizes| sizes.series).max().unwrap_or(0);
    if series(after) > series(before) {
        grown.push(format!("metric series: {} -> {}", series(before), series(after)));
    }
    let names = after.last().map(|sizes| sizes.gauges.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
    for name in names.into_iter().filter(|name| !is_clock(name)) {
        let most =
            |part: &[Sizes]| part.iter().filter_map(|sizes| sizes.gauges.get(&name)).copied().fold(0.0, f64::max);
        let (early, late) = (most(before), most(after));
        if late > early * 1.1 + 16.0 {
            grown.push(format!("{name}: {early} -> {late}"));
        }
    }
    grown
}

/// Gauges of the process and of time grow by their nature.
fn is_clock(name: &str) -> bool {
    ["process_", "seconds", "uptime", "memory", "cpu"].iter().any(|part| name.contains(part))
}

//! Everything around one gateway: network, clock, disk, next hop, Elasticsearch, API server, pods and their processes.

use std::net::IpAddr;
use std::sync::Arc;

use podgate::core::outside::{DiskRef, Outside};
use podgate::core::stage::tasks::Tasks;
use podgate::lab::api_double::{MadePod, PodSpec, Sandbox, TrueRun};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

use crate::api;
use crate::client::{Habits, Identity, Sender};
use crate::clock::Clock;
use crate::disk::{Health, MemoryDisk};
use crate::elastic::Elastic;
use crate::net::{Net, Way};
use crate::next_hop::{Manner, NextHop};
use crate::scenario::{Event, PodPlan, Scenario};
use crate::truth::{Life, Truth};

/// What all parts of one simulation share. Cheap to clone.
#[derive(Clone)]
pub struct World {
    pub net: Net,
    pub clock: Clock,
    pub disk: MemoryDisk,
    pub truth: Truth,
    pub hop: NextHop,
    pub elastic: Elastic,
    pub sandbox: Arc<Sandbox>,
}

impl World {
    pub fn new(seed: u64) -> World {
        let (clock, truth, net) = (Clock::start(), Truth::default(), Net::default());
        World {
            sandbox: Sandbox::by_clock(seed, clock.reader()),
            hop: NextHop::new(truth.clone(), net.clone()),
            elastic: Elastic::new(truth.clone()),
            disk: MemoryDisk::default(),
            clock,
            net,
            truth,
        }
    }

    /// What the gateway is given in place of the operating system.
    pub fn outside(&self) -> Outside {
        Outside { network: Some(Arc::new(self.net.clone())), disk: DiskRef::of(Arc::new(self.disk.clone())) }
    }
}

/// A pod with the processes in it.
struct Living {
    plan: PodPlan,
    made: MadePod,
    /// One for each container, in order.
    processes: Vec<AbortHandle>,
}

/// What runs in the world beside the gateway. Dropping it ends everything.
pub struct Stage {
    world: World,
    pods: Vec<Living>,
    running: JoinSet<()>,
    servers: JoinSet<()>,
}

pub const NAMESPACE: &str = "shop";

impl Stage {
    /// Starts the servers and the pods.
    pub fn set(world: &World, scenario: &Scenario, tasks: &Arc<Tasks>) -> Stage {
        let mut servers = JoinSet::new();
        servers.spawn(world.hop.clone().run());
        servers.spawn(world.elastic.clone().run(world.net.clone()));
        servers.spawn(api::run(world.sandbox.clone(), world.net.clone()));
        world.sandbox.set_publish_delay(scenario.publish_delay.0..=scenario.publish_delay.1);
        let sandbox = world.sandbox.clone();
        let publisher = tasks.spawn("sandbox", |pulse| async move { sandbox.publish(&pulse).await });
        servers.spawn(async move {
            let _ = publisher.await;
        });
        let mut stage = Stage { world: world.clone(), pods: Vec::new(), running: JoinSet::new(), servers };
        for plan in &scenario.pods {
            stage.add_pod(plan.clone(), None);
        }
        stage
    }

    /// Senders outside of pods.
    pub fn add_senders(&mut self, habits: &[Habits]) {
        for habits in habits {
            let attributes = vec![("service.name".to_owned(), "outside".to_owned())];
            let identity = Identity { attributes, ..Identity::default() };
            self.running.spawn(Sender::new(self.world.clone(), habits.clone(), identity).run());
        }
    }

    fn add_pod(&mut self, plan: PodPlan, address: Option<String>) -> usize {
        let names: Vec<String> = (0..plan.containers).map(|at| format!("app{at}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let spec = PodSpec { ip: address, ..PodSpec::deployed(NAMESPACE, "cart", &names) };
        let made = self.world.sandbox.add_pod(spec);
        let runs = self.runs_of(&made);
        let processes = runs.into_iter().map(|run| self.begin(&plan, &made, run)).collect();
        self.pods.push(Living { plan, made, processes });
        self.pods.len() - 1
    }

    /// The latest run of each container, in order of the containers' names.
    fn runs_of(&self, made: &MadePod) -> Vec<TrueRun> {
        let mut runs: Vec<TrueRun> =
            self.world.sandbox.truth().into_iter().filter(|run| run.pod_uid == made.uid).collect();
        runs.sort_by(|a, b| (&a.container, b.number).cmp(&(&b.container, a.number)));
        runs.dedup_by(|a, b| a.container == b.container);
        runs
    }

    fn begin(&mut self, plan: &PodPlan, made: &MadePod, run: TrueRun) -> AbortHandle {
        let attributes = plan.habits.names.iter().map(|name| ((*name).to_owned(), named(name, made, &run))).collect();
        let address: Option<IpAddr> = made.ip.parse().ok();
        let identity = Identity { address, container: run.id.clone(), attributes };
        let life = Life {
            id: run.id.clone(),
            pod: made.uid.clone(),
            container: run.container.clone(),
            address: made.ip.clone(),
            began: run.started,
            named: plan.habits.names.contains(&"k8s.pod.uid"),
        };
        self.world.truth.facts().lives.push(life);
        let sender = Sender::new(self.world.clone(), plan.habits.clone(), identity);
        let starts_in = run.started.since(self.world.clock.now()) + plan.boots;
        self.running.spawn(async move {
            sleep(starts_in).await;
            sender.run().await;
        })
    }

    fn restart(&mut self, at: usize, crash: bool) {
        let Some(pod) = self.pods.get(at) else { return };
        let (made, plan) = (pod.made.clone(), pod.plan.clone());
        // Restarts hit the first container; its neighbours live on.
        let sandbox = &self.world.sandbox;
        let run = match crash {
            true => sandbox.crash_container(NAMESPACE, &made.name, "app0"),
            false => sandbox.restart_container(NAMESPACE, &made.name, "app0"),
        };
        // The container may be between two runs.
        let Some(run) = run else { return };
        self.pods[at].processes[0].abort();
        self.pods[at].processes[0] = self.begin(&plan, &made, run);
    }

    fn roll(&mut self, at: usize, same_address: bool) {
        let Some(pod) = self.pods.get(at) else { return };
        pod.processes.iter().for_each(AbortHandle::abort);
        let (made, plan) = (pod.made.clone(), pod.plan.clone());
        self.world.sandbox.delete_pod(NAMESPACE, &made.name);
        let new = self.add_pod(plan, same_address.then_some(made.ip));
        self.pods.swap_remove(at);
        debug_assert!(new == self.pods.len());
    }

    pub fn happen(&mut self, event: &Event) {
        let world = self.world.clone();
        match event {
            Event::Hop(manner) => world.hop.set(*manner),
            Event::Way(port, way) => {
                world.truth.disturb();
                world.net.set(*port, *way);
            }
            Event::Reset(port) => {
                world.truth.disturb();
                world.net.reset(*port);
            }
            Event::Step(milliseconds) => {
                let before = world.clock.now();
                world.clock.step(*milliseconds);
                if *milliseconds < 0 {
                    world.truth.facts().set_back.push((before, world.clock.now()));
                }
            }
            Event::Disk(health) => world.disk.set(*health),
            Event::Api(fault) => world.sandbox.set_fault(*fault),
            Event::Kubelet(least, most) => world.sandbox.set_publish_delay(*least..=*most),
            Event::Elastic(verdicts) => world.elastic.set(*verdicts),
            Event::Restart(at) => self.restart(*at, false),
            Event::Crash(at) => self.restart(*at, true),
            Event::Roll(at, same_address) => self.roll(*at, *same_address),
        }
        while self.running.try_join_next().is_some() {}
    }

    /// Everything is well again. The clock stays where it is.
    pub fn mend(&mut self) {
        let world = &self.world;
        world.hop.set(Manner::Answers);
        world.elastic.set(crate::elastic::Verdicts::default());
        world.disk.set(Health::Well);
        world.sandbox.set_fault(None);
        for port in
            [NextHop::GRPC, NextHop::HTTP, api::PORT, crate::elastic::PORT, crate::client::GRPC, crate::client::HTTP]
        {
            world.net.set(port, Way::Open);
        }
    }

    /// Processes and senders are killed; servers go on.
    pub async fn silence(&mut self) {
        self.running.shutdown().await;
    }

    /// Ends the servers too.
    pub async fn end(mut self) {
        self.running.shutdown().await;
        self.servers.shutdown().await;
    }
}

/// What a process calls itself.
fn named(name: &str, made: &MadePod, run: &TrueRun) -> String {
    match name {
        "k8s.pod.uid" => made.uid.clone(),
        "k8s.pod.ip" => made.ip.clone(),
        "k8s.pod.name" => made.name.clone(),
        "k8s.namespace.name" => made.namespace.clone(),
        "k8s.container.name" => run.container.clone(),
        "service.instance.id" => {
            let id = &run.id;
            format!("{}-{}-4{}-a{}-{}", &id[..8], &id[8..12], &id[13..16], &id[17..20], &id[20..32])
        }
        _ => "cart".to_owned(),
    }
}

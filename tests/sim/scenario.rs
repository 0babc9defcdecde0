//! What a simulation is made of: a pipeline, senders, pods, and what happens when. Plain values; a kind fills one by its seed.

use std::time::Duration;

use podgate::lab::api_double::ApiFault;

use crate::client::Habits;
use crate::disk::Health;
use crate::elastic::Verdicts;
use crate::net::Way;
use crate::next_hop::Manner;

/// Something that happens.
#[derive(Clone, Debug)]
pub enum Event {
    /// How the next hop answers from now on.
    Hop(Manner),
    /// How the way to a port is from now on (`NextHop::GRPC`, `api::PORT`, `client::GRPC`, ...).
    Way(u16, Way),
    /// Open connections to a port are reset.
    Reset(u16),
    /// The wall clock steps by so many milliseconds.
    Step(i64),
    Disk(Health),
    /// How the API server behaves from now on.
    Api(Option<ApiFault>),
    /// How long statuses of what happens from now on take.
    Kubelet(Duration, Duration),
    /// How Elasticsearch answers from now on.
    Elastic(Verdicts),
    /// The container of this pod (by its place in `pods`) ends and starts again.
    Restart(usize),
    /// The same by way of CrashLoopBackOff.
    Crash(usize),
    /// The pod is deleted and another takes its place, at the same address when true.
    Roll(usize, bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exporter {
    Grpc,
    Http,
    File,
    Elastic,
}

/// A pod, and how the process in it sends; `containers` of them are in it and all send.
#[derive(Clone, Debug)]
pub struct PodPlan {
    pub containers: usize,
    pub habits: Habits,
    /// From a container's start to the process's first item.
    pub boots: Duration,
}

#[derive(Clone, Debug)]
pub struct Scenario {
    /// The rest of the processors' YAML, two blanks deep, by id; they stand in every pipeline in this order.
    pub processors: Vec<(String, String)>,
    pub exporter: Exporter,
    /// The rest of the exporter's YAML, as one flow map without its braces.
    pub sending: String,
    /// Behind acknowledged items stands a store (queue, batch, sampler): senders do not wait for the next hop.
    pub stored: bool,
    /// Longest wait for an answer of the next hop, as configured.
    pub timeout: Duration,
    pub pods: Vec<PodPlan>,
    /// Senders outside of pods.
    pub senders: Vec<Habits>,
    /// How long after the fact kubelets publish.
    pub publish_delay: (Duration, Duration),
    pub script: Vec<(Duration, Event)>,
    /// After this everything is mended.
    pub length: Duration,
    /// And after this again, everything has to be well.
    pub recovery: Duration,
    /// What happens just before the drain.
    pub before_drain: Vec<Event>,
    /// Requests sent and acknowledged just before the drain, if the gateway takes them.
    pub burst: usize,
    pub drain: Duration,
    /// Whether an item whose container is known to nobody in time may come without an id. A wrong one is never allowed.
    pub ids: Ids,
    pub between: Between,
}

/// What is asked of container.id where it is not wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids {
    /// Nobody enriches.
    None,
    /// At most this share, in percent, may be missing.
    MissingPercent(u64),
    /// At most this share of what arrives in the last half minute, long after everything was mended.
    MissingAtLastPercent(u64),
}

/// What a processor does between the enrichment and the sampler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Between {
    Nothing,
    /// Takes container.id off.
    Deletes,
    /// Copies container.id to [`Between::COPY`].
    Copies,
    /// Takes off what the pod was found by.
    Forgets,
    /// Drops what has no container.id.
    Filters,
}

impl Between {
    pub const COPY: &'static str = "copied";
}

impl Default for Scenario {
    fn default() -> Scenario {
        Scenario {
            processors: Vec::new(),
            exporter: Exporter::Grpc,
            sending: String::new(),
            stored: true,
            timeout: Duration::from_secs(5),
            pods: Vec::new(),
            senders: vec![Habits::default()],
            publish_delay: (Duration::ZERO, Duration::from_millis(1_500)),
            script: Vec::new(),
            length: Duration::from_secs(30),
            recovery: Duration::from_secs(60),
            before_drain: Vec::new(),
            burst: 0,
            drain: Duration::from_secs(20),
            ids: Ids::None,
            between: Between::Nothing,
        }
    }
}

impl Scenario {
    pub fn at(&mut self, when: Duration, event: Event) {
        self.script.push((when, event));
    }

    pub fn samples(&self) -> bool {
        self.processors.iter().any(|(id, _)| id.starts_with("tail_sampling"))
    }

    pub fn yaml(&self) -> String {
        let mut text = format!(
            "receivers:\n  otlp: {{protocols: {{grpc: {{endpoint: '0.0.0.0:{}'}}, http: {{endpoint: '0.0.0.0:{}'}}}}}}\n",
            crate::client::GRPC,
            crate::client::HTTP
        );
        text.push_str("processors:\n");
        for (id, body) in &self.processors {
            text.push_str(&format!("  {id}: {body}\n"));
        }
        let rest = if self.sending.is_empty() { String::new() } else { format!(", {}", self.sending) };
        let timeout = format!("timeout: {}ms", self.timeout.as_millis());
        let (id, exporter) = match self.exporter {
            Exporter::Grpc => (
                "otlp_grpc",
                format!(
                    "{{endpoint: 'hop:{}', tls: {{insecure: true}}, compression: none, {timeout}{rest}}}",
                    crate::next_hop::NextHop::GRPC
                ),
            ),
            Exporter::Http => (
                "otlp_http",
                format!(
                    "{{endpoint: 'http://hop:{}', compression: none, {timeout}{rest}}}",
                    crate::next_hop::NextHop::HTTP
                ),
            ),
            Exporter::File => ("file", format!("{{path: /var/log/out.jsonl{rest}}}")),
            Exporter::Elastic => (
                "elasticsearch",
                format!(
                    "{{endpoints: ['http://elastic:{}'], compression: none, {timeout}{rest}}}",
                    crate::elastic::PORT
                ),
            ),
        };
        text.push_str(&format!(
            "exporters:\n  {id}: {exporter}\nservice:\n  telemetry: {{metrics: {{level: none}}}}\n  pipelines:\n"
        ));
        for signal in ["traces", "metrics", "logs"] {
            let fits = |id: &&str| signal == "traces" || !id.starts_with("tail_sampling");
            let ids: Vec<&str> = self.processors.iter().map(|(id, _)| id.as_str()).filter(|id| fits(id)).collect();
            text.push_str(&format!(
                "    {signal}: {{receivers: [otlp], processors: [{}], exporters: [{id}]}}\n",
                ids.join(", ")
            ));
        }
        text
    }
}

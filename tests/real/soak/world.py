"""What stands around podgate in a soak: a node whose pods come, restart and go, a next hop and a stand-in of Elasticsearch that end."""

import json
import pathlib
import random
import re
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import control_plane  # noqa: E402
from kubelet import Api, Cluster  # noqa: E402
from peers import get  # noqa: E402
from toolbox import Process, free_ports, wait_for  # noqa: E402

# Pods of `podgate loadgen`, which stay.
SERVICES = 3
PODGATE = """
extensions:
  health_check: {{endpoint: "127.0.0.1:{health}"}}
  admin: {{endpoint: "127.0.0.1:{admin}"}}
receivers:
  otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{grpc}"}}, http: {{endpoint: "127.0.0.1:{http}"}}}}}}
processors:
  memory_limiter: {{check_interval: 1s, limit_mib: 192}}
  k8s_attributes:
    auth_type: kubeConfig
    filter: {{node: node-1}}
    extract:
      metadata: [k8s.namespace.name, k8s.pod.name, k8s.pod.uid, k8s.pod.start_time, k8s.node.name, k8s.deployment.name,
                 k8s.container.name, container.id, container.image.name, container.image.tag]
    pod_association:
      - sources: [{{from: resource_attribute, name: k8s.pod.name}}, {{from: resource_attribute, name: k8s.namespace.name}}]
  # What is remembered of decided traces is full within two minutes: what grows afterwards is something else.
  tail_sampling:
    decision_wait: 5s
    decision_cache: {{sampled_cache_size: 4096, non_sampled_cache_size: 8192}}
    podgate: {{journal_bytes: 1MiB}}
    policies:
      - {{name: failed, type: status_code, status_code: {{status_codes: [ERROR]}}}}
      - {{name: slow, type: latency, latency: {{threshold_ms: 1000}}}}
      - {{name: rest, type: probabilistic, probabilistic: {{sampling_percentage: 10}}}}
exporters:
  otlp_grpc: {{endpoint: "127.0.0.1:{hop}", tls: {{insecure: true}}, retry_on_failure: {{initial_interval: 200ms, max_interval: 2s}}}}
  elasticsearch:
    endpoints: ["http://127.0.0.1:{elastic}"]
    mapping: {{mode: otel}}
    retry: {{initial_interval: 200ms, max_interval: 2s, max_retries: 1000}}
    sending_queue: {{queue_size: 1000, batch: {{flush_timeout: 1s}}}}
service:
  extensions: [health_check, admin]
  telemetry: {{metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {metrics}}}}}}}}}]}}}}
  pipelines:
    traces: {{receivers: [otlp], processors: [memory_limiter, k8s_attributes, tail_sampling], exporters: [otlp_grpc, elasticsearch]}}
    logs: {{receivers: [otlp], processors: [memory_limiter, k8s_attributes], exporters: [elasticsearch]}}
"""
HOP = """
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{hop}"}}}}}}}}
exporters: {{nop: {{}}}}
extensions: {{health_check: {{endpoint: "127.0.0.1:{hop_health}"}}}}
service:
  extensions: [health_check]
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [nop]}}}}
"""
NAMES = ("grpc", "http", "health", "admin", "metrics", "hop", "hop_health", "elastic")


class Gateway:
    """podgate under the soak."""

    def __init__(self, binary, folder, ports, kubeconfig):
        self.ports = ports
        config = folder / "podgate.yaml"
        config.write_text(PODGATE.format(**ports))
        self.process = Process("podgate", [binary, "--config", config], folder / "podgate.log", env={"KUBECONFIG": str(kubeconfig)})
        wait_for("podgate is ready", lambda: get(f"http://127.0.0.1:{ports['health']}/readyz")[0] == 200, 30, self.process)

    def metrics(self):
        status, text = get(f"http://127.0.0.1:{self.ports['metrics']}/metrics")
        return text.splitlines() if status == 200 else []

    def balance(self):
        return json.loads(get(f"http://127.0.0.1:{self.ports['admin']}/v1/balance")[1])

    def load(self, rate, seconds):
        """`podgate loadgen` over gRPC, as a process that says at its end what became of its spans."""
        command = [self.process.child.args[0], "loadgen", "--endpoint", f"127.0.0.1:{self.ports['grpc']}", "--rate", str(rate),
                   "--duration", f"{int(seconds)}s", "--services", str(SERVICES), "--spans-per-request", "100", "--spread-percent", "20",
                   "--format", "json"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


class NextHop:
    """A second podgate, which takes every span; each life of it says at its end how many it had."""

    def __init__(self, binary, folder, ports):
        self.binary, self.folder, self.ports, self.lives = binary, folder, ports, 0
        (folder / "hop.yaml").write_text(HOP.format(**ports))
        self.start()

    def start(self):
        self.lives += 1
        log = self.folder / f"hop-{self.lives}.log"
        self.process = Process("next hop", [self.binary, "--config", self.folder / "hop.yaml"], log)
        ready = lambda: get(f"http://127.0.0.1:{self.ports['hop_health']}/readyz")[0] == 200  # noqa: E731
        wait_for("the next hop is ready", ready, 30, self.process)

    def stop(self):
        self.process.stop()

    def taken(self):
        """Spans of all lives that are over."""
        texts = [log.read_text() for log in self.folder.glob("hop-*.log")]
        return sum(int(found[-1]) for found in (re.findall(r"balance: traces: received (\d+)", text) for text in texts) if found)


class Elastic:
    """The stand-in of Elasticsearch, which is killed in the middle of what it does."""

    def __init__(self, folder, port):
        self.counts, self.port, self.log, self.lives = folder / "documents", port, folder / "elastic.log", 0
        self.start()

    def start(self):
        self.lives += 1
        self.process = Process("elastic", [sys.executable, HERE / "elastic.py", self.port, self.counts], self.log)
        wait_for("the stand-in of Elasticsearch answers", lambda: get(f"http://127.0.0.1:{self.port}/")[0] == 200, 30, self.process)

    def stop(self):
        self.process.kill()

    def taken(self):
        """Documents of spans; events of spans and log records are in other indices."""
        return sum(int(line.split()[0]) for line in self.counts.read_text().split("\n")[:-1]) if self.counts.exists() else 0


class Outages(threading.Thread):
    """Ends the next hops in turn: `every` seconds one of them is away for `away` seconds."""

    def __init__(self, hops, every, away):
        super().__init__(daemon=True)
        self.hops, self.every, self.away = hops, every, away
        self.over, self.failed = threading.Event(), None

    def run(self):
        try:
            turn = 0
            while not self.over.wait(self.every):
                hop = self.hops[turn % len(self.hops)]
                hop.stop()
                self.over.wait(self.away)
                hop.start()
                turn += 1
        except Exception as error:  # the run's judge says it
            self.failed = repr(error)

    def stop(self):
        self.over.set()
        self.join(60)


class Churn(threading.Thread):
    """The node's pods: `rate` times a second the oldest gives its place to a new one, or a container of some pod restarts."""

    def __init__(self, plane, pods, rate):
        super().__init__(daemon=True)
        self.cluster, self.rate = Cluster(Api(plane.url, plane.tls, control_plane.TOKEN)), rate
        self.replica_set = self.cluster.deployment("orders")
        self.guard, self.over, self.failed, self.rng = threading.Lock(), threading.Event(), None, random.Random(1)
        self.made = self.gone = self.restarts = 0
        for number in range(SERVICES):
            self.start_pod(f"service-{number}-0")
        self.living = [self.start_pod() for _ in range(pods)]

    def start_pod(self, name=None):
        ip = f"10.{64 + self.made // 62500}.{self.made // 250 % 250}.{self.made % 250 + 1}"
        self.made += 1
        pod = self.cluster.pod(name or f"orders-7d9c5b6f48-{self.made:06d}", self.replica_set, ip=ip)
        pod.start()
        pod.publish()
        return pod

    def speaker(self, rng):
        """What a process in some pod says of itself."""
        with self.guard:
            pod = rng.choice(self.living)
        return pod.resource_attributes("orders")

    def run(self):
        begun, turn = time.monotonic(), 0
        try:
            while not self.over.wait(max(0.0, begun + turn / self.rate - time.monotonic())):
                turn += 1
                if turn % 2:
                    new = self.start_pod()
                    with self.guard:
                        self.living.append(new)
                        old = self.living.pop(0)
                    old.delete()
                    self.gone += 1
                else:
                    pod = self.rng.choice(self.living)
                    pod.end()
                    pod.start()
                    pod.publish()
                    self.restarts += 1
        except Exception as error:  # the run's judge says it
            self.failed = repr(error)

    def stop(self):
        self.over.set()
        self.join(60)

"""Three agents and three gateways as processes: `load_balancing` finds the gateways by EndpointSlices of a real API server.

Usage: python3 tests/real/tiers.py PODGATE-BINARY [--keep] [--seconds N] [--rate N]. While spans come, one gateway is added, one drained and
one killed: every accepted span arrives, traces are whole but for those that were under way as the members changed. Agents have exactly the
rights that `podgate rbac` prints. Prints one sentence per check; without Go it is skipped aloud.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import time
import urllib.request

import control_plane
from kubelet import Api
from peers import get
from run import Suite
from toolbox import Process, finish, free_ports, scratch, wait_for

GATEWAY = """
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: "{host}:{port}"}}}}}}}}
exporters: {{file: {{path: "{out}"}}}}
extensions: {{health_check: {{endpoint: "127.0.0.1:{health}"}}}}
service:
  extensions: [health_check]
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [file]}}}}
"""

AGENT = """
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{grpc}"}}}}}}}}
exporters:
  load_balancing:
    protocol: {{otlp: {{tls: {{insecure: true}}, timeout: 2s, retry_on_failure: {{initial_interval: 200ms, max_interval: 1s}}}}}}
    resolver: {{k8s: {{service: gateway.otel, ports: [{port}]}}}}
extensions: {{health_check: {{endpoint: "127.0.0.1:{health}"}}}}
service:
  extensions: [health_check]
  telemetry: {{metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {metrics}}}}}}}}}]}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [load_balancing]}}}}
"""

SLICES = "/apis/discovery.k8s.io/v1/namespaces/otel/endpointslices"
# Of all traces, those that may be torn: what was under way at three changes of the members.
TORN_MAX = 0.05


class Gateway:
    def __init__(self, binary, folder, number, port):
        self.host, self.name = f"127.0.0.{number}", f"gateway-{number}"
        self.out, (health,) = folder / f"{self.name}.jsonl", free_ports(1)
        config = folder / f"{self.name}.yaml"
        config.write_text(GATEWAY.format(host=self.host, port=port, out=self.out, health=health))
        self.process = Process(self.name, [binary, "--config", config], folder / f"{self.name}.log")
        wait_for(f"{self.name} is ready", lambda: get(f"http://127.0.0.1:{health}/readyz")[0] == 200, 20, self.process)

    def spans(self):
        """`(trace, span)` of every span that was written, as often as it was."""
        # What a killed gateway was writing has no end.
        whole = [line for line in self.out.read_text().splitlines(keepends=True) if line.endswith("\n")] if self.out.exists() else []
        for line in whole:
            for group in json.loads(line)["resourceSpans"]:
                for scope in group["scopeSpans"]:
                    yield from ((span["traceId"], span["spanId"]) for span in scope["spans"])


class Agent:
    def __init__(self, binary, folder, number, port, kubeconfig):
        self.ports = dict(zip(("grpc", "health", "metrics"), free_ports(3)))
        self.binary, self.config = binary, folder / f"agent-{number}.yaml"
        self.config.write_text(AGENT.format(port=port, **self.ports))
        self.env = {"KUBECONFIG": str(kubeconfig)}
        self.process = Process(f"agent-{number}", [binary, "--config", self.config], folder / f"agent-{number}.log", self.env)

    def ready(self):
        return get(f"http://127.0.0.1:{self.ports['health']}/readyz")[0] == 200

    def metric(self, name):
        _, text = get(f"http://127.0.0.1:{self.ports['metrics']}/metrics")
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))

    def dropped(self):
        """Spans that the account of a stopped agent says were given up, for whatever reason."""
        accounts = [line for line in self.process.text().splitlines() if "balance: traces: received" in line]
        return sum(map(int, re.findall(r"dropped\(\w+\) (\d+)", accounts[-1]))) if accounts else 0

    def load(self, seed, rate, seconds):
        command = [self.binary, "loadgen", "--endpoint", f"127.0.0.1:{self.ports['grpc']}", "--rate", str(rate), "--duration", f"{seconds}s",
                   "--spread-percent", "20", "--spans-per-request", "100", "--seed", str(seed), "--format", "json"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


class Endpoints:
    """The Service's one slice. Addresses of the loopback are written as names, since an API server takes them only as such."""

    def __init__(self, api):
        self.api, self.conditions = api, {}
        api.create("/api/v1/namespaces", {"metadata": {"name": "otel"}})

    def are(self, **conditions):
        self.conditions.update(conditions)
        listed = [
            {"addresses": [f"127.0.0.{name[1:]}"], "conditions": {"ready": said == "ready", "serving": True, "terminating": said == "terminating"}}
            for name, said in self.conditions.items() if said != "gone"
        ]
        self.api.replace(SLICES, {"metadata": {"name": "gateway-x", "namespace": "otel", "labels": {"kubernetes.io/service-name": "gateway"}},
                                  "addressType": "FQDN", "endpoints": listed, "ports": []})


def grant(plane, yaml):
    """Applies the Role and its binding that `podgate rbac` printed, for the user that podgate is here."""
    yaml = yaml.replace("kind: ServiceAccount\n    name: podgate\n    namespace: podgate",
                        f"kind: User\n    apiGroup: rbac.authorization.k8s.io\n    name: {control_plane.USER}")
    for document in yaml.split("---\n"):
        plural = "rolebindings" if "kind: RoleBinding" in document.split("metadata:")[0] else "roles"
        url = f"{plane.url}/apis/rbac.authorization.k8s.io/v1/namespaces/otel/{plural}"
        request = urllib.request.Request(url, method="POST", data=document.encode())
        request.add_header("Authorization", f"Bearer {control_plane.TOKEN}")
        request.add_header("Content-Type", "application/yaml")
        with urllib.request.urlopen(request, timeout=20, context=plane.tls) as answer:
            answer.read()


def moves(suite, plane, stage, arguments):
    binary, folder = arguments.binary.resolve(), stage["folder"]
    endpoints = Endpoints(Api(plane.url, plane.tls, control_plane.TOKEN))
    (port,) = free_ports(1)
    gateways = stage["gateways"] = {number: Gateway(binary, folder, number, port) for number in (2, 3, 4)}
    endpoints.are(g2="ready", g3="ready", g4="ready")
    config = plane.kubeconfig("podgate.kubeconfig", control_plane.USER_TOKEN)
    agents = stage["agents"] = [Agent(binary, folder, number, port, config) for number in range(3)]
    for agent in agents:
        wait_for("the agent is ready", agent.ready, 20, agent.process)
    wait_for("the missing right is told", lambda: "podgate rbac" in agents[0].process.text(), 20, agents[0].process)
    command = [binary, "rbac", "--config", agents[0].config]
    rules = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    suite.check("podgate rbac prints the right to watch endpointslices in the service's namespace alone",
                "endpointslices" in rules and "namespace: otel" in rules and "ClusterRole" not in rules, rules)
    grant(plane, rules)
    for agent in agents:
        wait_for("three members are known", lambda: agent.metric("otelcol_loadbalancer_num_backends{") == 3, 40, agent.process)
    command = [binary, "doctor", "--config", agents[0].config]
    asked = subprocess.run(command, capture_output=True, text=True, timeout=60, env={"KUBECONFIG": str(config), "PATH": ""})
    suite.check("doctor finds the right and three members that take traces",
                "may watch endpointslices in namespace otel" in asked.stdout and asked.stdout.count("takes them") == 3, asked.stdout)

    each, step = arguments.rate // len(agents), arguments.seconds / 5
    loads = stage["loads"] = [agent.load(seed, each, arguments.seconds) for seed, agent in enumerate(agents)]
    time.sleep(step)
    gateways[5] = Gateway(binary, folder, 5, port)
    endpoints.are(g5="ready")
    time.sleep(step)
    endpoints.are(g3="terminating")
    time.sleep(1)
    gateways[3].process.stop(grace=10)
    endpoints.are(g3="gone")
    time.sleep(step)
    gateways[2].process.kill()
    # As long as a control plane needs to see it.
    time.sleep(1)
    endpoints.are(g2="gone")
    reports = [json.loads(load.communicate(timeout=arguments.seconds + 60)[0]) for load in loads]
    moved = sum(agent.metric("podgate_load_balancing_moved_total") for agent in agents)
    known = {agent.metric("otelcol_loadbalancer_num_backends{") for agent in agents}
    for agent in agents:
        wait_for("queues are empty", lambda: agent.metric("otelcol_exporter_queue_size{") == 0, 60, agent.process)
        agent.process.stop(grace=30)
    judge(suite, gateways, reports, (moved, sum(agent.dropped() for agent in agents)), known)


def judge(suite, gateways, reports, counted, known):
    moved, dropped = counted
    accepted, refused = (sum(report["spans"][key] for report in reports) for key in ("accepted", "refused"))
    places, seen, copies = {}, set(), 0
    for number, gateway in gateways.items():
        for trace, span in gateway.spans():
            copies += (trace, span) in seen
            seen.add((trace, span))
            places.setdefault(trace, set()).add(number)
    torn = sum(len(at) > 1 for at in places.values())
    suite.equal("after one came and two went, every agent knows two members", known, {2.0})
    suite.check(f"{accepted} spans were accepted, {refused} refused; each accepted one arrived or is one of {dropped} that are counted",
                len(seen) + dropped >= accepted > 0 and (refused or len(seen) <= accepted), (len(seen), accepted))
    suite.check("fewer than one of a thousand was given up", dropped * 1000 <= accepted, dropped)
    suite.check(f"{copies} came twice, {moved:.0f} moved from queues of members that went", copies <= 0.02 * accepted, copies)
    suite.check(f"{torn} of {len(places)} traces are at more than one gateway", torn <= TORN_MAX * len(places), torn)
    shares = {number: sum(number in at for at in places.values()) for number in gateways}
    suite.check(f"every gateway had its part: {shares}", all(shares.values()), shares)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=pathlib.Path, help="the podgate binary under test")
    parser.add_argument("--keep", action="store_true", help="keep logs and configurations and say where they are")
    parser.add_argument("--seconds", type=int, default=25, help="how long spans come")
    parser.add_argument("--rate", type=int, default=5_000, help="spans a second, all agents together")
    arguments = parser.parse_args()
    suite = Suite()
    if control_plane.missing():
        suite.skip(f"tiers: {control_plane.missing()}")
        return finish(suite)
    with scratch("podgate-tiers-", lambda: arguments.keep or suite.failed) as folder:
        plane = control_plane.ControlPlane(control_plane.build(), folder / "control-plane")
        stage = {"folder": folder, "gateways": {}, "agents": [], "loads": []}
        try:
            plane.start()
            suite.scenario("three agents, three gateways, one added, one drained, one killed", lambda: moves(suite, plane, stage, arguments))
        finally:
            for load in stage["loads"]:
                load.kill()
            for one in [*stage["agents"], *stage["gateways"].values()]:
                one.process.stop()
            plane.stop()
    return finish(suite)


if __name__ == "__main__":
    sys.exit(main())

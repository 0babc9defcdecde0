"""Audit events of a real API server: its log backend beside its webhook, which is podgate, in batches and blocking-strict.

Usage: python3 tests/real/audit.py PODGATE-BINARY [--keep]. Policy and kubeconfig are those that `podgate rbac --audit` prints. Every event
of the log backend has to be in the output once, through a restart of podgate and a time without the next hop. Prints one sentence per
check; without Go it is skipped aloud.
"""

import argparse
import collections
import json
import pathlib
import subprocess
import sys
import time

import control_plane
from kubelet import Api
from peers import get
from run import Suite
from toolbox import Process, finish, free_ports, scratch, wait_for

GATEWAY = """
extensions:
  file_storage: {{directory: {folder}/log, create_directory: true}}
  health_check: {{endpoint: "127.0.0.1:{health}"}}
receivers:
  k8s_audit: {{endpoint: "127.0.0.1:{audit}", data_stream: {{from: namespace}}}}
exporters:
  otlp_grpc:
    endpoint: 127.0.0.1:{hop}
    tls: {{insecure: true}}
    sending_queue: {{storage: file_storage}}
    retry_on_failure: {{initial_interval: 200ms, max_interval: 500ms, max_elapsed_time: 0}}
service:
  extensions: [health_check, file_storage]
  telemetry: {{metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {metrics}}}}}}}}}]}}}}
  pipelines:
    logs: {{receivers: [k8s_audit], exporters: [otlp_grpc]}}
"""
HOP = """
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{hop}"}}}}}}}}
exporters: {{file: {{path: {out}, append: true}}}}
extensions: {{admin: {{endpoint: "127.0.0.1:{admin}"}}}}
service:
  extensions: [admin]
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{logs: {{receivers: [otlp], exporters: [file]}}}}
"""


class World:
    """podgate, its next hop and the flags of the API server."""

    def __init__(self, binary, folder):
        self.binary, self.folder, self.out, self.log = binary, folder, folder / "out.jsonl", folder / "audit.log"
        names = ("audit", "health", "metrics", "hop", "admin")
        self.ports = dict(zip(names, free_ports(len(names))))
        (folder / "podgate.yaml").write_text(GATEWAY.format(folder=folder, **self.ports))
        (folder / "hop.yaml").write_text(HOP.format(out=self.out, **self.ports))
        self.gateway = self.hop = None
        url = f"http://127.0.0.1:{self.ports['audit']}/audit"
        printed = subprocess.run([binary, "rbac", "--audit", url], capture_output=True, text=True, timeout=30, check=True).stdout
        policy, webhook = printed.split("---\n")
        (folder / "policy.yaml").write_text(policy)
        (folder / "webhook.yaml").write_text(webhook)

    def flags(self, mode):
        return {
            "audit-policy-file": self.folder / "policy.yaml",
            "audit-webhook-config-file": self.folder / "webhook.yaml",
            "audit-webhook-mode": mode,
            "audit-webhook-batch-max-wait": "500ms",
            "audit-webhook-initial-backoff": "1s",
            "audit-log-path": self.log,
            "audit-log-mode": "blocking",
        }

    def start_gateway(self):
        self.gateway = Process("podgate", [self.binary, "--config", self.folder / "podgate.yaml"], self.folder / "podgate.log")
        ready = lambda: get(f"http://127.0.0.1:{self.ports['health']}/readyz")[0] == 200  # noqa: E731
        wait_for("podgate is ready", ready, 20, self.gateway)

    def start_hop(self):
        self.hop = Process("next hop", [self.binary, "--config", self.folder / "hop.yaml"], self.folder / "hop.log")

    def logged(self):
        """The events of the log backend: audit id and stage."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return collections.Counter((event["auditID"], event["stage"]) for event in map(json.loads, lines))

    def delivered(self):
        found = collections.Counter()
        for line in self.out.read_text().splitlines() if self.out.exists() else []:
            for group in json.loads(line).get("resourceLogs", []):
                for record in (record for scope in group["scopeLogs"] for record in scope["logRecords"]):
                    known = {pair["key"]: pair["value"].get("stringValue") for pair in record["attributes"]}
                    found[(known["k8s.audit.id"], known["k8s.audit.stage"])] += 1
        return found

    def missing(self):
        return self.logged() - self.delivered()

    def stop(self):
        for process in (self.gateway, self.hop):
            if process is not None:
                process.stop()


def load(api, start, count):
    for number in range(start, start + count):
        name = f"audited-{number}"
        api.create("/api/v1/namespaces/default/configmaps", {"metadata": {"name": name}, "data": {"k": "v" * 500}})
        api.delete(f"/api/v1/namespaces/default/configmaps/{name}", 0)


def compared(suite, world, what):
    try:
        wait_for("all events have come", lambda: not world.missing(), 25, every=0.3)
    except Exception:  # The checks below say what is missing.
        pass
    logged, delivered = world.logged(), world.delivered()
    suite.check(f"{what}: all {len(logged)} events of the log backend are in the output", not logged - delivered, list((logged - delivered))[:3])
    twice = {key: times for key, times in delivered.items() if times > 1}
    suite.check(f"{what}: each of them once", not twice, list(twice.items())[:3])


def all_of_it(suite, plane, world, api):
    load(api, 0, 40)
    compared(suite, world, "batches")
    code = world.gateway.stop()
    load(api, 100, 10)
    world.start_gateway()
    load(api, 200, 10)
    suite.equal("podgate stops with code 0", code, 0)
    compared(suite, world, "batches, through a restart of podgate")
    world.hop.stop()
    load(api, 300, 40)
    time.sleep(2)
    world.start_hop()
    compared(suite, world, "batches, after a time without the next hop")

    plane.stop_api()
    plane.flags.update(world.flags("blocking-strict"))
    plane.start_api()
    world.hop.stop()
    began = time.monotonic()
    load(api, 400, 40)
    took = (time.monotonic() - began) / 80
    world.start_hop()
    suite.check(f"blocking-strict without the next hop: a request takes {took * 1000:.0f} ms", took < 0.5, took)
    compared(suite, world, "blocking-strict")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=pathlib.Path, help="the podgate binary under test")
    parser.add_argument("--keep", action="store_true", help="keep logs and configurations and say where they are")
    arguments = parser.parse_args()
    suite = Suite()
    if control_plane.missing():
        suite.skip(f"audit events: {control_plane.missing()}")
        return finish(suite)
    with scratch("podgate-audit-", lambda: arguments.keep or suite.failed) as folder:
        world = World(arguments.binary.resolve(), folder)
        plane = control_plane.ControlPlane(control_plane.build(), folder / "control-plane", world.flags("batch"))
        try:
            world.start_hop()
            world.start_gateway()
            plane.start()
            api = Api(plane.url, plane.tls, control_plane.TOKEN)
            suite.scenario("audit events of a real API server", lambda: all_of_it(suite, plane, world, api))
        finally:
            plane.stop()
            world.stop()
    return finish(suite)


if __name__ == "__main__":
    sys.exit(main())

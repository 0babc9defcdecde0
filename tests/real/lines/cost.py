"""What lines of files and audit events cost: CPU beside a Collector in the same run, and memory by lines and files.

Usage: python3 tests/real/lines/cost.py PODGATE-BINARY [--seconds 10] [--repeats 3] [--rate 100000] [--only WORD]. Writer and next hop are on
the first core, the subject on the last one. CPU is the scheduler's account of the subject's threads. The Collector is the one of
collector/ beside this file (filelogreceiver v0.160, core v0.161) with GOMAXPROCS=1. Prints figures and asserts none.
"""

import argparse
import itertools
import json
import os
import pathlib
import statistics
import sys
import threading
import time
import urllib.request
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from peers import get  # noqa: E402
from suite import collector, missing  # noqa: E402
from toolbox import Process, free_ports, say, scratch, version_of, wait_for  # noqa: E402
from versus import LAST_CORE, cpu_nanos, mib  # noqa: E402

LINE_BYTES = 300
FILES = 10
TICK = 0.05
HOP = """
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{hop}"}}}}}}}}
exporters: {{nop: {{}}}}
extensions: {{health_check: {{endpoint: "127.0.0.1:{health}"}}}}
service:
  extensions: [health_check]
  telemetry: {{metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {metrics}}}}}}}}}]}}}}
  pipelines: {{logs: {{receivers: [otlp], exporters: [nop]}}}}
"""
AUDIT = """
receivers: {{k8s_audit: {{endpoint: "127.0.0.1:{audit}", data_stream: {{from: namespace}}}}}}
exporters: {{otlp_grpc: {{endpoint: "127.0.0.1:{hop}", tls: {{insecure: true}}, sending_queue: {{enabled: false}}}}}}
extensions: {{admin: {{endpoint: "127.0.0.1:{admin}"}}}}
service:
  extensions: [admin]
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{logs: {{receivers: [k8s_audit], exporters: [otlp_grpc]}}}}
"""


def lines_config(folder, hop, container, name="podgate"):
    """The same keys for either subject, in JSON, which is YAML too. The Collector of few parts has no metrics of its own."""
    storage = {"directory": str(folder / "storage"), "create_directory": True}
    receiver = {
        "include": [f"{folder}/pods/*/*/*.log"], "start_at": "beginning", "include_file_path": True, "storage": "file_storage",
        "operators": [{"type": "container"}] if container else [],
    }
    batch = {"flush_timeout": "200ms", "min_size": 8192, "max_size": 8192, "sizer": "items"}
    exporter = {"endpoint": f"127.0.0.1:{hop}", "compression": "none", "tls": {"insecure": True}, "sending_queue": {"batch": batch}}
    return {
        "receivers": {"file_log": receiver},
        "exporters": {"otlp_grpc": exporter},
        "extensions": {"file_storage": storage},
        "service": {
            "extensions": ["file_storage"],
            **({"telemetry": {"metrics": {"level": "none"}}} if name == "podgate" else {}),
            "pipelines": {"logs": {"receivers": ["file_log"], "exporters": ["otlp_grpc"]}},
        },
    }


class Writer(threading.Thread):
    """Lines of a runtime at a rate, of each file the same bytes over and over."""

    def __init__(self, folder, rate, files=FILES):
        super().__init__(daemon=True)
        self.paths = [folder / f"pods/shop_cart-{number}_{uuid.uuid4()}/main/0.log" for number in range(files)]
        for path in self.paths:
            path.parent.mkdir(parents=True)
        head = "2026-12-01T10:00:00.123456789Z stdout F "
        self.a_tick = int(rate * TICK / files)
        # Files that begin alike are one file to a Collector.
        of_file = lambda file: "".join(head + f"{file} {line:07d} ".ljust(LINE_BYTES - len(head) - 1, "x") + "\n" for line in range(self.a_tick))  # noqa: E731
        self.blocks = [of_file(file).encode() for file in range(files)]
        self.ends, self.written = threading.Event(), 0

    def run(self):
        files = [path.open("ab", buffering=0) for path in self.paths]
        for turn in itertools.count(1):
            begun = time.monotonic() if turn == 1 else begun
            for file, block in zip(files, self.blocks):
                file.write(block)
            self.written += self.a_tick * len(files)
            if self.ends.wait(max(0, begun + turn * TICK - time.monotonic())):
                return

    def stop(self):
        self.ends.set()
        self.join()


def accepted(port):
    """Log records that the next hop took."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith("otelcol_receiver_accepted_log_records"))


def hop(binary, folder):
    ports = dict(zip(("hop", "health", "metrics"), free_ports(3)))
    (folder / "hop.yaml").write_text(HOP.format(**ports))
    process = Process("next hop", ["taskset", "-c", "0", binary, "--config", folder / "hop.yaml"], folder / "hop.log")
    wait_for("the next hop is ready", lambda: get(f"http://127.0.0.1:{ports['health']}/readyz")[0] == 200, 30, process)
    return process, ports


def subject(name, program, folder, config):
    (folder / f"{name}.yaml").write_text(json.dumps(config) if isinstance(config, dict) else config)
    command = ["taskset", "-c", LAST_CORE, program, "--config", folder / f"{name}.yaml"]
    return Process(name, command, folder / f"{name}.log", env={"GOMAXPROCS": "1"})


def lines_of(asked, binary, name, folder, container):
    """CPU for each line that came, of one subject under the asked rate."""
    folder.mkdir(parents=True)
    next_hop, ports = hop(binary, folder)
    writer = Writer(folder, asked.rate)
    process = subject(name, binary if name == "podgate" else collector(), folder, lines_config(folder, ports["hop"], container, name))
    try:
        writer.start()
        wait_for("lines come", lambda: accepted(ports["metrics"]) > 0, 30, process)
        time.sleep(3)
        begun, before, seen, rss = time.monotonic(), cpu_nanos(process.child.pid), accepted(ports["metrics"]), mib(process.child.pid, "VmRSS")
        time.sleep(asked.seconds)
        nanos, came, took = cpu_nanos(process.child.pid) - before, accepted(ports["metrics"]) - seen, time.monotonic() - begun
        return {
            "row": "container lines" if container else "plain lines", "subject": name, "ns_per_line": round(nanos / max(1, came)),
            "lines_a_second": round(came / took), "written_a_second": round(asked.rate), "cores": round(nanos / took / 1e9, 2),
            "rss_mib": [round(rss, 1), round(mib(process.child.pid, "VmRSS"), 1)], "load_average": os.getloadavg()[0],
        }
    finally:
        writer.stop()
        process.stop()
        next_hop.stop()


def memory_of_files(binary, folder):
    """What 500 files and what many lines take."""
    taken = {}
    for files in (1, 500):
        place = folder / str(files)
        place.mkdir(parents=True)
        next_hop, ports = hop(binary, place)
        writer = Writer(place, 20_000, files)
        process = subject("podgate", binary, place, lines_config(place, ports["hop"], True))
        try:
            writer.start()
            wait_for("lines come", lambda: accepted(ports["metrics"]) > 0, 30, process)
            readings = []
            for _ in range(6):
                time.sleep(3)
                readings.append((accepted(ports["metrics"]), round(mib(process.child.pid, "VmRSS"), 1)))
            taken[files] = readings
        finally:
            writer.stop()
            process.stop()
            next_hop.stop()
    by_file = (max(rss for _, rss in taken[500]) - max(rss for _, rss in taken[1])) * 1024 / 499
    say(json.dumps({"row": "memory", "lines and MiB": taken, "KiB a file": round(by_file, 1)}))


def event(number):
    """An audit event of 3 KB."""
    objects = {"kind": "ConfigMap", "metadata": {"name": f"audited-{number}"}, "data": {"k": "v" * 2000}}
    return {
        "level": "Request", "auditID": str(uuid.UUID(int=number)), "stage": "ResponseComplete", "verb": "create",
        "requestURI": "/api/v1/namespaces/default/configmaps?fieldManager=kubectl", "sourceIPs": ["10.0.0.1"],
        "user": {"username": "system:serviceaccount:shop:cart", "groups": ["system:serviceaccounts", "system:authenticated"]},
        "userAgent": "kubectl/v1.36.3 (linux/amd64) kubernetes/abcdef0", "responseStatus": {"metadata": {}, "code": 201},
        "objectRef": {"resource": "configmaps", "namespace": "default", "name": f"audited-{number}", "apiVersion": "v1"},
        "requestReceivedTimestamp": "2026-12-01T10:00:00.000000Z", "stageTimestamp": "2026-12-01T10:00:00.010000Z",
        "annotations": {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": "RBAC: allowed by " + "r" * 150},
        "requestObject": objects,
    }


def audit(asked, binary, folder):
    """Batches of 400 events, five a second."""
    folder.mkdir(parents=True)
    next_hop, ports = hop(binary, folder)
    ports |= dict(zip(("audit", "admin"), free_ports(2)))
    process = subject("podgate", binary, folder, AUDIT.format(**ports))
    url, count, batches = f"http://127.0.0.1:{ports['audit']}/audit?timeout=30s", 400, int(5 * asked.audit_seconds)
    bodies = []
    for batch in range(batches):
        items = [event(batch * count + number) for number in range(count)]
        bodies.append(json.dumps({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": items}).encode())
    try:
        wait_for("podgate is ready", lambda: get(f"http://127.0.0.1:{ports['admin']}/v1/status")[0] == 200, 30, process)
        begun, before, slowest = time.monotonic(), cpu_nanos(process.child.pid), 0
        for turn, body in enumerate(bodies, 1):
            sent = time.monotonic()
            request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=30) as answer:
                assert answer.status == 200, answer.status
            slowest = max(slowest, time.monotonic() - sent)
            time.sleep(max(0, begun + turn / 5 - time.monotonic()))
        nanos, took, came = cpu_nanos(process.child.pid) - before, time.monotonic() - begun, accepted(ports["metrics"])
        say(json.dumps({
            "row": "audit", "events": batches * count, "came": came, "bytes_an_event": len(bodies[0]) // count, "events_a_second": round(came / took),
            "cores": round(nanos / took / 1e9, 3), "us_an_event": round(nanos / max(1, came) / 1000, 1), "slowest_answer_ms": round(slowest * 1000),
            "peak_mib": round(mib(process.child.pid, "VmHWM"), 1), "load_average": os.getloadavg()[0],
        }))
    finally:
        process.stop()
        next_hop.stop()


def compared(asked, binary, folder):
    """podgate and the Collector in turn."""
    for container in (True, False):
        by = {"podgate": [], "collector": []}
        for repeat in range(asked.repeats):
            for name in by:
                one = lines_of(asked, binary, name, folder / f"{container}-{repeat}-{name}", container)
                by[name].append(one["ns_per_line"])
                say(json.dumps(one))
        middle = {name: statistics.median(nanos) for name, nanos in by.items()}
        say(f"{'container' if container else 'plain'} lines: {middle}, a Collector takes {middle['collector'] / middle['podgate']:.1f} times podgate's CPU")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=pathlib.Path)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--audit-seconds", type=float, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rate", type=int, default=100_000)
    parser.add_argument("--only", default="", choices=["", "lines", "memory", "audit"])
    asked = parser.parse_args()
    if missing():
        sys.exit(missing())
    binary = asked.binary.resolve()
    say(f"{os.cpu_count()} cores, {(version_of([binary, '--version']) or 'unknown').splitlines()[0]}")
    with scratch("podgate-lines-cost-") as folder:
        if asked.only in ("", "lines"):
            compared(asked, binary, folder / "lines")
        if asked.only in ("", "memory"):
            memory_of_files(binary, folder / "memory")
        if asked.only in ("", "audit"):
            audit(asked, binary, folder / "audit")


if __name__ == "__main__":
    sys.exit(main())

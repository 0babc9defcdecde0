#!/usr/bin/env python3
"""What the journal, weights and a shadow cost of the whole process, in instructions: `make sampling-cost`.

Usage: python3 tests/sampling/cost.py PODGATE-BINARY [--requests N] [--only WORD] [--keep FOLDER]. podgate takes OTLP over gRPC, finds the
pod, samples and delivers, as in the bench's case W5, under valgrind, which counts instructions and neither time nor waits for
memory; neighbours do not change the count. Each case runs with N and with 2N requests of 500 spans: the difference is what the spans
cost, without the start and the end. The share is of the whole process with none of the three, half of whose work the network is. Prints figures and asserts nothing.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests/real"))

from peers import get  # noqa: E402
from toolbox import Process, free_ports, wait_for  # noqa: E402

# Few pods: the file is read again and again, which is work by time and not by span.
PODS, SPANS_A_REQUEST = 2, 500
# Requests a second: valgrind must keep up.
PACE = 8
POLICIES = [
    {"name": "failed", "type": "status_code", "status_code": {"status_codes": ["ERROR"]}},
    {"name": "slow", "type": "latency", "latency": {"threshold_ms": 1000}},
    {"name": "rest", "type": "probabilistic", "probabilistic": {"sampling_percentage": 10}},
]
NONE = {"journal_bytes": 0}
CASES = {
    "none of them": NONE,
    "journal": {},
    "weights": {**NONE, "weights": "th"},
    "shadow of the same size": {**NONE, "shadow": {"policies": POLICIES}},
    "all three": {"weights": "th", "shadow": {"policies": POLICIES}},
}
EXTRACT = ["k8s.namespace.name", "k8s.pod.name", "k8s.pod.uid", "k8s.pod.start_time", "k8s.pod.ip", "k8s.node.name", "k8s.deployment.name",
           "k8s.container.name", "container.id", "container.image.name", "container.image.tag"]


def pod(number):
    """One of a PodList; its uid is the one that `podgate loadgen` sends for the service of this number."""
    name, image = f"service-{number}-7d9c5b6f48-x2x4z", "registry.example/shop/app:1.4.2"
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name[:-6], "uid": f"rs-{number}", "controller": True}
    status = {"name": "app", "image": image, "imageID": f"registry.example/shop/app@sha256:{number:064x}",
              "containerID": f"containerd://{number:064x}", "restartCount": 0, "ready": True,
              "state": {"running": {"startedAt": "2026-11-21T10:00:01Z"}}}
    address = f"10.244.{number // 250 + 1}.{number % 250 + 1}"
    return {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "uid": f"6f1c2a90-0000-4000-8000-{number:012x}",
                     "creationTimestamp": "2026-11-21T10:00:00Z", "labels": {"app": f"service-{number}"}, "ownerReferences": [owner]},
        "spec": {"nodeName": "node-1", "containers": [{"name": "app", "image": image}]},
        "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "startTime": "2026-11-21T10:00:00Z",
                   "containerStatuses": [status]},
    }


def config(own, ports, pods):
    grpc, sink, health, admin = ports
    association = [{"sources": [{"from": "resource_attribute", "name": "k8s.pod.uid"}]}]
    return {
        "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": f"127.0.0.1:{grpc}", "max_recv_msg_size_mib": 16}}}},
        "processors": {
            "memory_limiter": {"limit_mib": 6144},
            "k8s_attributes": {"extract": {"metadata": EXTRACT}, "pod_association": association, "podgate": {"pods_file": str(pods)}},
            "tail_sampling": {"decision_wait": "1s", "podgate": {"max_bytes": "4GiB", **own}, "policies": POLICIES},
        },
        "exporters": {"otlp_grpc": {"endpoint": f"127.0.0.1:{sink}", "tls": {"insecure": True}, "compression": "none",
                                    "sending_queue": {"enabled": False}}},
        "extensions": {"health_check": {"endpoint": f"127.0.0.1:{health}"}, "admin": {"endpoint": f"127.0.0.1:{admin}"}},
        "service": {
            "extensions": ["health_check", "admin"],
            "telemetry": {"metrics": {"level": "none"}, "logs": {"level": "error"}},
            "pipelines": {"traces": {"receivers": ["otlp"], "processors": ["memory_limiter", "k8s_attributes", "tail_sampling"],
                                     "exporters": ["otlp_grpc"]}},
        },
    }


def next_hop(ports):
    grpc, health = ports
    return {
        "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": f"127.0.0.1:{grpc}"}}}},
        "exporters": {"nop": None},
        "extensions": {"health_check": {"endpoint": f"127.0.0.1:{health}"}, "admin": {"endpoint": "127.0.0.1:0"}},
        "service": {"extensions": ["health_check", "admin"], "telemetry": {"metrics": {"level": "none"}},
                    "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["nop"]}}},
    }


def started(name, command, health, text, folder):
    (folder / f"{name}.yaml").write_text(json.dumps(text))
    process = Process(name, [*command, "--config", folder / f"{name}.yaml"], folder / f"{name}.log")
    wait_for(f"{name} is ready", lambda: get(f"http://127.0.0.1:{health}/readyz")[0] == 200, 300, process, every=0.5)
    return process


def counted(binary, own, requests, folder):
    """Instructions of a run with so many requests, and what became of the spans."""
    grpc, sink, sink_health, health, admin = free_ports(5)
    pods, counts = folder / "pods.yaml", folder / "callgrind"
    pods.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [pod(number) for number in range(PODS)]}))
    hop = started("hop", [binary], sink_health, next_hop((sink, sink_health)), folder)
    # podgate starts itself once more with its allocator's settings.
    under = ["valgrind", "--tool=callgrind", "--trace-children=yes", f"--callgrind-out-file={counts}", "--", binary]
    podgate = started("podgate", under, health, config(own, (grpc, sink, health, admin), pods), folder)
    try:
        load = [binary, "loadgen", "--endpoint", f"127.0.0.1:{grpc}", "--rate", PACE * SPANS_A_REQUEST, "--duration", f"{requests / PACE}s",
                "--services", 1, "--spans-per-request", SPANS_A_REQUEST, "--spread-percent", 20, "--connections", 1, "--format", "json"]
        done = subprocess.run([str(word) for word in load], capture_output=True, text=True, timeout=600, check=True)
        spans = json.loads(done.stdout)["spans"]["accepted"]
        # Each trace is decided by its wait; asking for it would count.
        time.sleep(4)
        sheet = json.loads(get(f"http://127.0.0.1:{admin}/v1/balance")[1])["traces"]
        if sheet["held"]:
            raise RuntimeError(f"{sheet['held']} spans are still held: --pace is too fast for this machine")
    finally:
        podgate.stop(120)
        hop.stop()
    total = int(re.findall(r"^totals: (\d+)", counts.read_text(errors="replace"), re.MULTILINE)[-1])
    return total, spans, sheet


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=pathlib.Path)
    parser.add_argument("--requests", type=int, default=120, help="requests of the shorter run")
    parser.add_argument("--only", default="", help="cases whose name holds this word, beside the first")
    parser.add_argument("--keep", type=pathlib.Path, help="a new folder for logs and callgrind's files, which then stay")
    arguments = parser.parse_args()
    base = None
    for name, own in CASES.items():
        if base is not None and arguments.only not in name:
            continue
        runs = []
        for requests in (arguments.requests, 2 * arguments.requests):
            with tempfile.TemporaryDirectory(prefix="podgate-cost-") as folder:
                if arguments.keep:
                    folder = arguments.keep / f"{name.replace(' ', '-')}-{requests}"
                    folder.mkdir(parents=True)
                runs.append(counted(arguments.binary.resolve(), own, requests, pathlib.Path(folder)))
        (few, fewer, _), (many, more, sheet) = runs
        each = (many - few) / (more - fewer)
        base = base or each
        kept = 100 * sheet["delivered"] / sheet["received"]
        print(f"{name:24} {each:8.1f} instructions a span ({100 * (each - base) / base:+.1f} %), {kept:.0f} % of the spans kept", flush=True)


if __name__ == "__main__":
    main()

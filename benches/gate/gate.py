#!/usr/bin/env python3
"""What a request costs podgate in instructions and in allocations, counted by callgrind, against an agreed figure.

    python3 benches/gate/gate.py target/release/podgate [--why REASON] [--case W1 ...] [--against OTHER-PODGATE] [--keep FOLDER]

Times on a shared machine differ by a quarter between two runs; instructions do not. The program runs under callgrind on one
core, once with N requests and once with 2N, one at a time: the difference is what N requests cost, because whatever starts
and stops is in both. benches/baseline.json holds what was agreed; a case that costs more than 3 % above it fails (5 % where a
request is too large for one read of the socket), and whoever means it writes the file anew with the reason (`--why`).
`--against` compares two programs and judges nothing.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from next_hops import BulkSink, GrpcSink, Line
from spans import Traces, uid

BASELINE = pathlib.Path(__file__).resolve().parent.parent / "baseline.json"
MORE_MAX = 0.03
# How many reads a large request takes is the kernel's: the same program needed 638,000 instructions and 63 allocations for the
# first case on one machine, 654,000 and 66 on two others.
MORE_MAX_LARGE = 0.05
LARGE_SPANS = 500
# Allocations that a request may have more in any case: a list that grows at another moment is no change of the code.
ALLOCATIONS_FREE = 0.5
# A program under callgrind is 50 times slower.
WAIT_SECONDS = 90

K8S = """
  k8s_attributes:
    extract:
      metadata: [k8s.namespace.name, k8s.pod.name, k8s.pod.uid, k8s.pod.start_time, k8s.pod.ip, k8s.node.name,
                 k8s.deployment.name, k8s.container.name, container.id, container.image.name, container.image.tag]
    pod_association:
      - sources: [{from: resource_attribute, name: k8s.pod.uid}]
    podgate: {pods_file: "PODS"}
"""
# Nothing is decided before the end: how often the sampler looks is the clock's.
SAMPLING = """
  memory_limiter: {check_interval: 1s, limit_mib: 4096}
  tail_sampling:
    decision_wait: 10m
    num_traces: 2000000
    policies:
      - {name: failed, type: status_code, status_code: {status_codes: [ERROR]}}
      - {name: slow, type: latency, latency: {threshold_ms: 1000}}
      - {name: rest, type: probabilistic, probabilistic: {sampling_percentage: 10}}
"""


class Case:
    def __init__(self, name, spans, requests, processors=(), connections=1, documents=False, resources=1):
        self.name, self.spans, self.requests, self.processors = name, spans, requests, processors
        self.connections, self.documents, self.resources = connections, documents, resources
        self.more_max = MORE_MAX_LARGE if spans >= LARGE_SPANS else MORE_MAX

    def yaml(self, listens, next_hop, pods):
        declared = K8S.replace("PODS", str(pods)) if "k8s_attributes" in self.processors else ""
        declared += SAMPLING if "tail_sampling" in self.processors else ""
        exporter = f'otlp_grpc: {{endpoint: "127.0.0.1:{next_hop}", tls: {{insecure: true}}, compression: none, sending_queue: {{enabled: false}}}}'
        if self.documents:
            exporter = f'elasticsearch: {{endpoints: ["http://127.0.0.1:{next_hop}"], sending_queue: {{enabled: false}}}}'
        return f"""
receivers:
  otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{listens}", max_recv_msg_size_mib: 16}}}}}}
{"processors:" if declared else ""}{declared}
exporters:
  {exporter}
extensions:
  admin: {{endpoint: "127.0.0.1:0"}}
service:
  extensions: [admin]
  telemetry: {{metrics: {{level: none}}, logs: {{level: error}}}}
  pipelines:
    traces: {{receivers: [otlp], processors: [{", ".join(self.processors)}], exporters: [{exporter.split(":")[0]}]}}
"""


ENRICH = ("k8s_attributes",)
CASES = [
    Case("W1 pass on", 500, 50),
    Case("W1 enrich", 500, 50, ENRICH),
    Case("W2 enrich", 50, 150, ENRICH),
    Case("W5 enrich and sample", 500, 40, ("memory_limiter", "k8s_attributes", "tail_sampling")),
    Case("W6 to Elasticsearch", 500, 15, documents=True),
    Case("W9 enrich", 5, 300, ENRICH, connections=100),
    Case("W10 enrich", 500, 40, ENRICH, resources=100),
]


def pod_list(count):
    """A PodList as kubectl prints it; JSON is YAML."""
    items = []
    for number in range(count):
        name = f"service-{number}"
        replica_set = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": f"{name}-7d9c5b6f48", "uid": f"rs-{number}", "controller": True}
        container = {
            "name": "app", "image": "registry.example/shop/app:1.4.2", "imageID": f"registry.example/shop/app@sha256:{number:064x}",
            "containerID": f"containerd://{number:064x}", "restartCount": 0, "ready": True,
            "state": {"running": {"startedAt": "2026-11-21T10:00:01Z"}},
        }
        address = f"10.244.1.{number + 1}"
        items.append({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": f"{name}-7d9c5b6f48-x2x4z", "namespace": "shop", "uid": uid(number),
                "creationTimestamp": "2026-11-21T10:00:00Z", "labels": {"app": name, "pod-template-hash": "7d9c5b6f48"},
                "ownerReferences": [replica_set],
            },
            "spec": {"nodeName": "node-1", "containers": [{"name": "app", "image": "registry.example/shop/app:1.4.2"}]},
            "status": {
                "phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "startTime": "2026-11-21T10:00:00Z",
                "containerStatuses": [container],
            },
        })
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Subject:
    """The program under callgrind."""

    FLAGS = ()

    def __init__(self, program, yaml, out):
        self.out = out
        env = {
            **os.environ,
            # Set here, so that the program does not load itself once more.
            "MIMALLOC_ARENA_MAX_OBJECT_SIZE": "4096K",
            # glibc copies by vectors on every machine: callgrind counts a `rep movsb` byte by byte.
            "GLIBC_TUNABLES": "glibc.cpu.x86_rep_movsb_threshold=1073741824:glibc.cpu.x86_rep_stosb_threshold=1073741824",
        }
        tool = ["valgrind", "--tool=callgrind", "--quiet", *self.FLAGS, f"--callgrind-out-file={out}"]
        command = [*tool, program, "--config", f"yaml:{yaml}"]
        self.child = subprocess.Popen(["taskset", "-c", "0", *map(str, command)], env=env, stdout=subprocess.DEVNULL)

    def wait_for(self, port):
        until = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < until and self.child.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.02)
        raise SystemExit("the program does not listen")

    def stop(self):
        self.child.send_signal(signal.SIGTERM)
        self.child.wait(WAIT_SECONDS)
        return counts(self.out)


# The allocator's ways in, and what the clock sets off rather than a request: a look at the cgroup every few seconds.
GIVES, CLOCKED = re.compile(r"mi_(malloc|zalloc|calloc|realloc|rezalloc)"), re.compile(r"podgate::telemetry::cgroup::")


def counts(file):
    """Instructions of the whole run without what the clock set off, and calls into the allocator from outside of it.

    A function is named once in the file, with a number, and is that number from then on."""
    kinds, caller, callee, calls, allocations, clocked, total = {}, (0, 0), (0, 0), 0, 0, 0, None

    def kind(word):
        number, _, name = word.partition(" ")
        if name:
            kinds[number] = (bool(GIVES.match(name)), bool(CLOCKED.search(name)))
        return kinds.get(number, (False, False))

    with open(file, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith("fn="):
                caller = kind(line[3:].strip())
            elif line.startswith("cfn="):
                callee = kind(line[4:].strip())
            elif line.startswith("calls="):
                calls = int(line[6:].split()[0])
            elif line.startswith(("totals:", "summary:")):
                total = int(line.split()[1])
            elif calls:
                # What a call cost in all. What the allocator calls of itself is the same block once more.
                allocations += calls if callee[0] and not caller[0] else 0
                clocked += int(line.split()[1]) if callee[1] and not caller[1] else 0
                calls = 0
    if total is None:
        raise SystemExit(f"{file} holds no totals")
    return total - clocked, allocations


def life(program, case, requests, folder):
    """The counts of one life of the program in which it was sent so many requests."""
    sink = BulkSink() if case.documents else GrpcSink()
    pods, port = folder / "pods.json", free_port()
    pods.write_text(pod_list(max(case.connections, case.resources)))
    out = folder / f"{case.name.replace(' ', '-')}-{requests}.out"
    subject = Subject(program, case.yaml(port, sink.port, pods), out)
    try:
        subject.wait_for(port)
        lines = [(Line(port), Traces(number), number) for number in range(case.connections)]
        for turn in range(requests):
            line, traces, pod = lines[turn % len(lines)]
            line.send(traces.request(case.spans, *range(pod, pod + case.resources)))
        if "tail_sampling" not in case.processors and sink.taken < requests:
            raise SystemExit(f"{case.name}: {sink.taken} of {requests} requests arrived")
        for line, _, _ in lines:
            line.close()
        return subject.stop()
    finally:
        subject.child.kill()
        subject.child.wait()
        sink.close()


def measure(program, case, folder):
    half, whole = (life(program, case, times * case.requests, folder) for times in (1, 2))
    instructions, allocations = ((more - less) / case.requests for more, less in zip(whole, half))
    return {
        "instructions_per_request": round(instructions),
        "allocations_per_request": round(allocations, 1),
        "allocations_per_span": round(allocations / case.spans, 3),
    }


def excess(found, agreed, more_max):
    """What is too much, in words."""
    more = found["instructions_per_request"] / agreed["instructions_per_request"] - 1
    if more > more_max:
        return f"{found['instructions_per_request']} instructions a request, {more:+.1%} of the {agreed['instructions_per_request']} agreed"
    if found["allocations_per_request"] > agreed["allocations_per_request"] * (1 + more_max) + ALLOCATIONS_FREE:
        return f"{found['allocations_per_request']} allocations a request, {agreed['allocations_per_request']} agreed"
    return None


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("program")
    arguments.add_argument("--why", default="", help="write benches/baseline.json anew for this reason")
    arguments.add_argument("--case", nargs="*", default=[], help="words of the cases' names")
    arguments.add_argument("--against", help="another program, in place of the agreed figures")
    arguments.add_argument("--keep", type=pathlib.Path, help="where callgrind's files stay")
    asked = arguments.parse_args()
    if shutil.which("valgrind") is None:
        sys.exit("valgrind is not on this machine: its package has the same name")
    agreed = json.loads(BASELINE.read_text()) if BASELINE.exists() else {"reason": "", "cases": {}}
    broken = []
    print(f"{'case':<22} {'instructions':>13} {'allocations':>12} {'a span':>8} {'before':>13} {'change':>8}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.keep or pathlib.Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for case in CASES:
            if asked.case and not any(word in case.name for word in asked.case):
                continue
            found = measure(asked.program, case, folder)
            before = measure(asked.against, case, folder) if asked.against else agreed["cases"].get(case.name)
            base = before["instructions_per_request"] if before else 0
            change = f"{found['instructions_per_request'] / base - 1:+.2%}" if base else "new"
            print(
                f"{case.name:<22} {found['instructions_per_request']:>13,} {found['allocations_per_request']:>12}"
                f" {found['allocations_per_span']:>8} {base:>13,} {change:>8}",
                flush=True,
            )
            if asked.why:
                agreed["cases"][case.name] = found
            elif not asked.against:
                broken.append((case.name, excess(found, before, case.more_max) if before else "not in benches/baseline.json"))
    if asked.why:
        agreed["reason"] = asked.why
        BASELINE.write_text(json.dumps(agreed, indent=2) + "\n")
    said = [f"{name}: {words}" for name, words in broken if words]
    if said:
        said.append('if this is meant, agree to it: make bench-gate WHY="the reason", and commit benches/baseline.json')
        sys.exit("\n".join(said))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Requests that cost most beside their own bytes, against podgate in a memory cgroup of 256 MiB.

    python3 tests/real/memory.py target/release/podgate [--seconds 10] [--report FILE]

podgate runs the shipped manifest's own configuration (with a pods file instead of an API server, and `resource` behind
`k8s_attributes`); a second podgate is its next hop. Each kind of request is sent alone and ten at once while an honest
client sends beside it. It fails when memory goes above 95 % of the limit, when the kernel kills the process, when a
refusal is not retryable or has no hint, or when the honest client, which gives up after ten seconds as SDKs do, is not served
nine times in ten. Where no memory cgroup can be written, it says so
and judges by the process's own peak alone. Nothing but the standard library is needed.
"""

import argparse
import gzip
import http.client
import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

from toolbox import scratch

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 256 << 20
SHARE = 0.95
HOST = "127.71.0.1"
NEXT_HOP = "127.71.0.2"
# Shares are by address: whoever floods has another one than whoever is honest.
ATTACKER = "127.71.0.3"
HONEST = "127.71.0.4"
POD_UID = "11111111-0e5b-4c6e-9f0b-2f1c9a7d5b11"


def varint(number):
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def attribute(key, value):
    return field(1, field(1, key.encode()) + field(2, field(1, value.encode())))


def span(at):
    return field(2, field(1, at.to_bytes(16, "big")) + field(2, at.to_bytes(8, "big")) + field(5, b"s"))


def small_groups(size):
    one = field(1, field(1, attribute("service.name", "orders")) + field(2, span(7)))
    return one * (size // len(one))


def pod_groups(size):
    one = field(1, field(1, attribute("k8s.pod.uid", POD_UID)) + field(2, field(2, b"")))
    # A record of a trace needs its ids; logs do not.
    return one * (size // len(one))


def rows(scale):
    mib = 1 << 20
    big = max(1, int(63 * scale)) * mib
    return [
        ("63 MiB of empty groups", "traces", b"\x0a\x00" * (big // 2), False),
        ("63 MiB of empty spans", "traces", field(1, field(2, b"\x12\x00" * (big // 2 - 16))), False),
        ("30 MB of groups of 75 bytes", "traces", small_groups(int(30_000_000 * scale)), False),
        ("8 MB of groups of 75 bytes, gzip", "traces", small_groups(8_000_000), True),
        ("8 MB of groups that name a pod, gzip", "logs", pod_groups(8_000_000), True),
        ("8 MB of empty attributes in a resource, gzip", "traces",
         field(1, field(1, b"\x0a\x00" * 4_000_000) + field(2, span(7))), True),
        ("8 MB of empty attributes in a span, gzip", "traces",
         field(1, field(2, field(2, field(1, b"1" * 16) + field(2, b"2" * 8) + b"\x4a\x00" * 4_000_000))), True),
        ("8 MB of empty groups in JSON, gzip", "json", b'{"resourceSpans":[' + b",".join([b"{}"] * 2_600_000) + b"]}", True),
    ]


class Cgroup:
    """A memory cgroup of v1 or v2; `None` from `make` when none can be written."""

    @staticmethod
    def make():
        text = Path("/proc/self/cgroup").read_text()
        v1 = re.search(r"^\d+:(?:[^:]*,)?memory(?:,[^:]*)?:(.*)$", text, re.M)
        try:
            if v1:
                base = Path("/sys/fs/cgroup/memory" + v1.group(1).rstrip("/"))
                return Cgroup(base, "memory.limit_in_bytes", "memory.max_usage_in_bytes")
            v2 = re.search(r"^0::(.*)$", text, re.M)
            base = Path("/sys/fs/cgroup" + (v2.group(1) if v2 else "/").rstrip("/"))
            return Cgroup(base, "memory.max", "memory.peak")
        except OSError as why:
            print(f"no memory cgroup can be written ({why}): judged by the process's own peak alone")
            return None

    def __init__(self, base, limit, peak):
        self.folder = base / f"podgate-memory-{os.getpid()}"
        self.folder.mkdir()
        try:
            (self.folder / limit).write_text(str(LIMIT))
        except OSError:
            self.folder.rmdir()
            raise
        self.peak_file = self.folder / peak

    def enter(self):
        (self.folder / "cgroup.procs").write_text(str(os.getpid()))

    def killed(self):
        for name in ("memory.oom_control", "memory.events"):
            try:
                found = re.search(r"^oom_kill (\d+)$", (self.folder / name).read_text(), re.M)
            except OSError:
                continue
            if found:
                return int(found.group(1))
        return 0

    def remove(self):
        for _ in range(50):
            try:
                return self.folder.rmdir()
            except OSError:
                time.sleep(0.1)


def manifest():
    """The configuration of the base."""
    return (ROOT / "manifests/base/config/base.yaml").read_text()


OVERLAY = """
processors:
  k8s_attributes:
    auth_type: none
    filter: null
    podgate: {pods_file: PODS}
  resource:
    attributes: [{key: deployment.environment.name, value: production, action: upsert}]
service:
  pipelines:
    traces: {processors: [memory_limiter, k8s_attributes, resource]}
    logs: {processors: [memory_limiter, k8s_attributes, resource], exporters: [otlp_grpc]}
"""

SINK = f"""
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: "{NEXT_HOP}:8200"}}}}}}}}
exporters: {{nop: {{}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [nop]}}
    logs: {{receivers: [otlp], exporters: [nop]}}
    metrics: {{receivers: [otlp], exporters: [nop]}}
"""


def pods():
    container = {"name": "orders", "image": "registry.local/shop/orders:1.4.2"}
    status = {"name": "orders", "restartCount": 0, "image": container["image"], "containerID": "containerd://" + "c" * 64,
              "imageID": "registry.local/x@sha256:" + "ab" * 32, "state": {"running": {"startedAt": "2026-01-01T00:00:10Z"}}}
    pod = {"metadata": {"name": "orders-7c9d8b6f5-x2x4z", "namespace": "shop", "uid": POD_UID,
                        "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"pod-template-hash": "7c9d8b6f5"},
                        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "orders-7c9d8b6f5",
                                             "uid": "3751b9aa-942d-4029-9352-6e13d938e780", "controller": True}]},
           "spec": {"nodeName": "node-1", "containers": [container]},
           "status": {"phase": "Running", "startTime": "2026-01-01T00:00:00Z", "podIP": "10.1.0.7",
                      "podIPs": [{"ip": "10.1.0.7"}], "containerStatuses": [status]}}
    return json.dumps({"kind": "List", "apiVersion": "v1", "items": [pod]})


class Lab:
    def __init__(self, binary, folder):
        self.folder = folder
        (self.folder / "base.yaml").write_text(manifest())
        (self.folder / "pods.json").write_text(pods())
        (self.folder / "over.yaml").write_text(OVERLAY.replace("PODS", str(self.folder / "pods.json")))
        (self.folder / "sink.yaml").write_text(SINK)
        self.cgroup = Cgroup.make()
        self.log = open(self.folder / "log", "w+")
        self.sink = subprocess.Popen([binary, "--config", self.folder / "sink.yaml"], stderr=subprocess.STDOUT, stdout=self.log)
        env = {**os.environ, "MY_POD_IP": HOST, "OTEL_K8S_NODE_NAME": "node-1", "OTEL_K8S_NODE_IP": NEXT_HOP}
        command = [binary, "--config", self.folder / "base.yaml", "--config", self.folder / "over.yaml"]
        self.podgate = subprocess.Popen(command, stderr=subprocess.STDOUT, stdout=self.log, env=env,
                                        preexec_fn=self.cgroup.enter if self.cgroup else None)
        for _ in range(200):
            try:
                if post("traces", small_groups(100), False)[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        self.end()
        raise SystemExit("podgate did not start:\n" + (self.folder / "log").read_text()[-3000:])

    def status(self, key):
        found = re.search(rf"^{key}:\s+(\d+) kB$", Path(f"/proc/{self.podgate.pid}/status").read_text(), re.M)
        # A process that was killed has none.
        return int(found.group(1)) << 10 if found else 0

    def forget_peak(self):
        Path(f"/proc/{self.podgate.pid}/clear_refs").write_text("5")

    def end(self):
        for process in (self.podgate, self.sink):
            process.terminate()
        for process in (self.podgate, self.sink):
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.log.close()
        if self.cgroup:
            self.cgroup.remove()


def post(kind, body, zipped, source=HONEST, timeout=60):
    """Status and hint; status 0 when the connection was closed before an answer."""
    headers = {"Content-Type": "application/json" if kind == "json" else "application/x-protobuf"}
    if zipped:
        headers["Content-Encoding"] = "gzip"
    connection = http.client.HTTPConnection(HOST, 4318, timeout=timeout, source_address=(source, 0))
    try:
        try:
            connection.request("POST", "/v1/logs" if kind == "logs" else "/v1/traces", body, headers)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before all of it was sent: the answer may be there
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.getheader("Retry-After")
    except (http.client.HTTPException, ConnectionError, TimeoutError):
        return 0, None
    finally:
        connection.close()


class Honest(threading.Thread):
    """Sends small requests and repeats what is refused, as an SDK does."""

    def __init__(self):
        super().__init__(daemon=True)
        self.stop, self.sent, self.served, self.lost, self.longest = threading.Event(), 0, 0, 0, 0.0

    def run(self):
        body = small_groups(2_000)
        while not self.stop.is_set():
            self.sent += 1
            begun = time.monotonic()
            served = False
            # A stock SDK gives up after ten seconds.
            while not served and time.monotonic() - begun < 10:
                served = post("traces", body, False)[0] == 200
                if not served:
                    time.sleep(0.5)
            self.served += served
            self.lost += not served
            self.longest = max(self.longest, time.monotonic() - begun)
            time.sleep(0.05)


def attack(lab, kind, body, zipped, clients, seconds):
    answers, lock = [], threading.Lock()
    until = time.monotonic() + seconds

    def client():
        while True:
            answer = post(kind, body, zipped, ATTACKER)
            with lock:
                answers.append(answer)
            if time.monotonic() >= until:
                return

    lab.forget_peak()
    honest = Honest()
    honest.start()
    threads = [threading.Thread(target=client, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    peak = 0
    while any(thread.is_alive() for thread in threads):
        if lab.podgate.poll() is not None:
            break
        peak = max(peak, lab.status("VmHWM"))
        time.sleep(0.02)
    honest.stop.set()
    honest.join(15)
    if lab.podgate.poll() is None:
        peak = max(peak, lab.status("VmHWM"))
    return answers, peak, honest


def judge(lab, answers, peak, honest):
    faults = []
    if lab.podgate.poll() is not None or (lab.cgroup and lab.cgroup.killed()):
        faults.append("the process was killed")
    if peak > LIMIT * SHARE:
        faults.append(f"{peak >> 20} MiB are above 95 % of {LIMIT >> 20}")
    if any(status in (429, 502, 503, 504) and not hint for status, hint in answers):
        faults.append("a refusal without a hint")
    if any(status not in (0, 200, 400, 413, 503) for status, _ in answers):
        faults.append("an answer that no table has")
    if honest.lost * 10 > honest.sent or not honest.served:
        faults.append(f"the honest client: {honest.served} served, {honest.lost} given up")
    return faults


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("--seconds", type=float, default=3, help="for each row and number of clients")
    parser.add_argument("--scale", type=float, default=1, help="of the large bodies")
    parser.add_argument("--report", help="write the table here")
    args = parser.parse_args()
    lines = ["| request | bytes sent | at once | answers | process at its peak | honest client |", "|---|---|---|---|---|---|"]
    print("\n".join(lines), flush=True)
    failed, where = [], ""
    for name, kind, body, zipped in rows(args.scale):
        sent = gzip.compress(body, 9) if zipped else body
        for clients in (1, 10):
            faults = []
            with scratch("podgate-memory-", lambda: faults) as folder:  # noqa: B023
                lab = Lab(args.binary, folder)
                where = "in a memory cgroup of 256 MiB" if lab.cgroup else "without a cgroup"
                try:
                    answers, peak, honest = attack(lab, kind, sent, zipped, clients, args.seconds)
                    faults += judge(lab, answers, peak, honest)
                finally:
                    lab.end()
            codes = {}
            for status, _ in answers:
                codes[status] = codes.get(status, 0) + 1
            said = ", ".join(f"{count} x {status or 'closed'}" for status, count in sorted(codes.items()))
            line = (f"| {name} | {len(sent):,} | {clients} | {said} | {peak >> 20} MiB | "
                    f"{honest.served} of {honest.sent}, {honest.longest:.1f} s at most |")
            lines.append(line)
            print(line + ("  <-- " + "; ".join(faults) if faults else ""), flush=True)
            failed += [f"{name}, {clients} at once: {fault}" for fault in faults]
    print(f"{len(lines) - 2} rows {where}, {len(failed)} faults")
    if args.report:
        Path(args.report).write_text("\n".join(lines) + "\n")
    if failed:
        print("\n".join(failed))
        sys.exit(1)


if __name__ == "__main__":
    main()

"""Logs of a node: a stand-in kubelet writes real link and path names, containers restart, files rotate by three kinds, podgate is killed.

Usage: python3 tests/real/node_logs.py PODGATE-BINARY [--ends 12] [--rate 4000] [--keep]. podgate ends so many times, by SIGKILL and by
SIGTERM in turn, and starts again. What it accepts is on disk (`storage`) before the next hop has it, which is a second podgate that
stays. Lines found are compared with lines written: all of them, in the order of their file, each with the id of the run that wrote it.
Lines may come twice after a kill, and only then. `make test-node-logs` is the long form: 60 ends, 10,000 lines a second.
"""

import argparse
import collections
import gzip
import json
import os
import pathlib
import random
import shutil
import sys
import time

from peers import get
from run import Suite
from toolbox import Process, finish, free_ports, scratch, wait_for

CONFIG = """
extensions:
  file_storage: {{directory: {folder}/log, create_directory: true}}
  health_check: {{endpoint: "127.0.0.1:{health}"}}
receivers:
  file_log:
    include: [{folder}/var/pods/*/*/*.log, {folder}/var/plain/*.log, {folder}/var/plain/*.log.*]
    exclude: ["{folder}/var/plain/*.gz"]
    start_at: beginning
    poll_interval: 50ms
    storage: file_storage
    operators: [{{type: container, if: 'body matches "^[0-9T:.-]+Z std"'}}]
exporters:
  otlp_grpc:
    endpoint: 127.0.0.1:{hop}
    tls: {{insecure: true}}
    sending_queue: {{storage: file_storage, num_consumers: 1}}
    retry_on_failure: {{initial_interval: 100ms, max_interval: 500ms, max_elapsed_time: 0}}
service:
  extensions: [health_check, file_storage]
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    logs: {{receivers: [file_log], exporters: [otlp_grpc]}}
"""
HOP = """
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{hop}"}}}}}}}}
exporters: {{file: {{path: {folder}/out.jsonl, append: true, flush_interval: 50ms}}}}
extensions: {{health_check: {{endpoint: "127.0.0.1:{hop_health}"}}}}
service:
  extensions: [health_check]
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{logs: {{receivers: [otlp], exporters: [file]}}}}
"""
CONTAINERS, FILES = 5, 10
TICK = 0.05
# podgate lives for so long each time, and that its files are packed is later than one life: then they were read.
LIFE = 1.6
PACKED_AFTER = 8


class Node:
    """Files as a kubelet and applications write them."""

    def __init__(self, folder):
        self.root, self.random = folder / "var", random.Random(7)
        (self.root / "containers").mkdir(parents=True)
        (self.root / "plain").mkdir()
        self.runs, self.truth, self.count = {}, {}, 0
        self.generations, self.rotations, self.to_pack = collections.Counter(), collections.Counter(), []

    def restart(self, container):
        """The next run of a container: its log, its first line, and then the link."""
        number = self.runs.get(container, (-1,))[0] + 1
        name, identity = f"shop_{container}-1_0c2a6b3a-{container}", os.urandom(32).hex()
        log = self.root / "pods" / name / "main" / f"{number}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        self.runs[container] = (number, log, identity)
        self.lines(container, 1)
        (self.root / "containers" / f"{container}-1_shop_main-{identity}.log").symlink_to(log)

    def lines(self, container, count):
        _, log, identity = self.runs[container]
        written = []
        for _ in range(count):
            text = f"{container} {self.count:09d} {'x' * self.random.randrange(200)}"
            cut = self.random.randrange(len(text))
            stamp = f"2026-12-01T10:00:00.{self.count:09d}Z stdout"
            pieces = [("P", text[:cut]), ("F", text[cut:])] if self.random.random() < 0.1 else [("F", text)]
            written += [f"{stamp} {tag} {piece}\n" for tag, piece in pieces]
            self.truth[text.strip()] = identity
            self.count += 1
        with log.open("a") as file:
            file.write("".join(written))

    def plain(self, number, count):
        texts = []
        for _ in range(count):
            texts.append(f"plain{number}.{self.generations[number]} {self.count:09d} {'y' * self.random.randrange(1, 200)}")
            self.count += 1
        with (self.root / "plain" / f"p{number}.log").open("a") as file:
            file.write("".join(f"{text}\n" for text in texts))
        self.truth.update(dict.fromkeys(texts))

    def rotate(self, number, kind):
        log = self.root / "plain" / f"p{number}.log"
        if not log.exists():
            return
        self.rotations[kind] += 1
        self.generations[number] += 1
        beside = log.with_name(f"{log.name}.{self.generations[number]}")
        if kind == "copy":
            shutil.copy(log, beside)
            os.truncate(log, 0)
        else:
            log.rename(beside)
        if kind == "packed":
            self.to_pack.append((time.monotonic(), beside))

    def pack(self):
        """Packs what was rotated a while ago, as logrotate's delaycompress does."""
        while self.to_pack and time.monotonic() - self.to_pack[0][0] > PACKED_AFTER:
            _, beside = self.to_pack.pop(0)
            with gzip.open(f"{beside}.gz", "wb", compresslevel=1) as packed:
                packed.write(beside.read_bytes())
            beside.unlink()


class Found:
    """What came out, read as far as it is written."""

    def __init__(self, out):
        self.out, self.at, self.lines, self.times = out, 0, [], collections.Counter()

    def read(self):
        if not self.out.exists():
            return
        with self.out.open("rb") as file:
            file.seek(self.at)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self.at += len(line)
                self.take(json.loads(line))

    def take(self, request):
        for group in request.get("resourceLogs", []):
            known = {pair["key"]: pair["value"].get("stringValue") for pair in group.get("resource", {}).get("attributes", [])}
            for record in (record for scope in group["scopeLogs"] for record in scope["logRecords"]):
                body = record["body"].get("stringValue", "")
                self.times[body] += 1
                if self.times[body] == 1:
                    self.lines.append((body, known.get("container.id")))

    def missing(self, truth):
        self.read()
        return truth.keys() - self.times.keys()


def play(suite, binary, folder, ends, rate):
    names = ("health", "hop", "hop_health")
    ports, node = dict(zip(names, free_ports(len(names)))), Node(folder)
    for name, text in (("podgate", CONFIG), ("hop", HOP)):
        (folder / f"{name}.yaml").write_text(text.format(folder=folder, **ports))

    def start(name, health):
        process = Process(name, [binary, "--config", folder / f"{name}.yaml"], folder / f"{name}.log")
        wait_for(f"{name} is ready", lambda: get(f"http://127.0.0.1:{ports[health]}/readyz")[0] == 200, 30, process)
        return process

    hop = start("hop", "hop_health")
    podgate, kills, stops, codes = start("podgate", "health"), 0, 0, []
    containers = [f"c{number}" for number in range(CONTAINERS)]
    for container in containers:
        node.restart(container)
    found, a_tick = Found(folder / "out.jsonl"), max(1, int(rate * TICK / (CONTAINERS + FILES)))
    begun, turn, next_end = time.monotonic(), 0, time.monotonic() + LIFE
    try:
        while kills + stops < ends:
            turn += 1
            for container in containers:
                node.lines(container, a_tick)
            for number in range(FILES):
                node.plain(number, a_tick)
            if turn % 15 == 0:
                node.restart(node.random.choice(containers))
            if turn % 5 == 0:
                node.rotate(node.random.randrange(FILES), ["rename", "copy", "packed"][turn // 5 % 3])
            node.pack()
            if time.monotonic() > next_end:
                if (kills + stops) % 2 == 0:
                    podgate.kill()
                    kills += 1
                else:
                    codes.append(podgate.stop())
                    stops += 1
                podgate, next_end = start("podgate", "health"), time.monotonic() + LIFE
            time.sleep(max(0, begun + turn * TICK - time.monotonic()))
        took = time.monotonic() - begun
        try:
            wait_for("all lines have come", lambda: not found.missing(node.truth), 60, podgate, every=0.5)
        except Exception:  # The checks below say what is missing.
            pass
    finally:
        podgate.stop()
        hop.stop()
    lost, rotations = found.missing(node.truth), ", ".join(f"{count} by {kind}" for kind, count in sorted(node.rotations.items()))
    suite.figure(f"{len(node.truth)} lines in {took:.0f} s ({len(node.truth) / took:.0f} a second), {rotations}, {kills} kills, {stops} stops")
    suite.check("every line is found", not lost, (len(lost), sorted(lost)[:3]))
    suite.equal("podgate stops with code 0", set(codes) - {0}, set())
    strangers = [body for body in found.times if body not in node.truth]
    suite.check("no line is found that was not written", not strangers, strangers[:3])
    again = sum(found.times.values()) - len(found.times)
    suite.check(f"{again} lines came again after kills", again == 0 or kills, again)
    wrong = [(body, run) for body, run in found.lines if run != node.truth.get(body)]
    suite.check("each line of a container has the id of the run that wrote it", not wrong, wrong[:3])
    last, early = {}, []
    for body, run in found.lines:
        source = (body.split(" ")[0], run)
        if last.get(source, "") > body.split(" ")[1]:
            early.append((last[source], body))
        last[source] = body.split(" ")[1]
    suite.check("within a file the order is as it was written", not early, (len(early), early[:3]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=pathlib.Path, help="the podgate binary under test")
    parser.add_argument("--ends", type=int, default=12, help="how often podgate is killed or stopped")
    parser.add_argument("--rate", type=int, default=4_000, help="lines a second")
    parser.add_argument("--keep", action="store_true", help="keep logs and configurations and say where they are")
    arguments = parser.parse_args()
    suite = Suite()
    with scratch("podgate-node-logs-", lambda: arguments.keep or suite.failed) as folder:
        binary = arguments.binary.resolve()
        suite.scenario("logs of a node, by a stand-in kubelet", lambda: play(suite, binary, folder, arguments.ends, arguments.rate))
    return finish(suite)


if __name__ == "__main__":
    sys.exit(main())

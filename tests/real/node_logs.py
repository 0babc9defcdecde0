"""Logs of a node: a stand-in kubelet writes real link and path names, containers restart, files rotate by three kinds, podgate is killed.

Usage: python3 tests/real/node_logs.py PODGATE-BINARY [--seconds 20] [--keep]. Lines found are compared with lines written: all of them, in
the order of their file, each with the id of the run that wrote it. Lines may come twice after a kill, and only then.
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
  file: {{path: {folder}/out.jsonl, append: true, flush_interval: 50ms}}
service:
  extensions: [health_check, file_storage]
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    logs: {{receivers: [file_log], exporters: [file]}}
"""
LINES_A_SECOND = 2_000


class Node:
    """Files as a kubelet and applications write them."""

    def __init__(self, folder):
        self.root, self.random = folder / "var", random.Random(7)
        (self.root / "containers").mkdir(parents=True)
        (self.root / "plain").mkdir()
        self.runs, self.truth, self.count, self.rotations = {}, {}, 0, 0

    def restart(self, container):
        """The next run of a container: its log, its first line, and then the link."""
        number = self.runs.get(container, (-1,))[0] + 1
        name, identity = f"shop_{container}-1_0c2a6b3a-{container}", os.urandom(32).hex()
        log = self.root / "pods" / name / "main" / f"{number}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        self.runs[container] = (number, log, identity)
        self.line(container)
        (self.root / "containers" / f"{container}-1_shop_main-{identity}.log").symlink_to(log)

    def line(self, container):
        _, log, identity = self.runs[container]
        text = f"{container} {self.count:07d} {'x' * self.random.randrange(200)}"
        cut = self.random.randrange(len(text))
        stamp = f"2026-12-01T10:00:00.{self.count:09d}Z stdout"
        pieces = [("P", text[:cut]), ("F", text[cut:])] if self.random.random() < 0.1 else [("F", text)]
        with log.open("a") as file:
            file.writelines(f"{stamp} {tag} {piece}\n" for tag, piece in pieces)
        self.truth[text] = identity
        self.count += 1

    def plain(self, number):
        text = f"plain{number} {self.count:07d} {'y' * self.random.randrange(200)}"
        with (self.root / "plain" / f"p{number}.log").open("a") as file:
            file.write(text + "\n")
        self.truth[text] = None
        self.count += 1

    def rotate(self, number, kind, settle):
        log = self.root / "plain" / f"p{number}.log"
        if not log.exists():
            return
        self.rotations += 1
        beside = log.with_name(f"{log.name}.{self.rotations}")
        if kind == "rename":
            log.rename(beside)
        elif kind == "copy":
            shutil.copy(log, beside)
            os.truncate(log, 0)
        else:
            settle()
            log.rename(beside)
            with gzip.open(f"{beside}.gz", "wb") as packed:
                packed.write(beside.read_bytes())
            beside.unlink()


def found(out):
    """Body, run and order of what came out."""
    for line in out.read_text(errors="replace").splitlines() if out.exists() else []:
        try:
            groups = json.loads(line).get("resourceLogs", [])
        except ValueError:  # A line that a kill cut; what was in it comes again.
            continue
        for group in groups:
            known = {pair["key"]: pair["value"].get("stringValue") for pair in group.get("resource", {}).get("attributes", [])}
            for record in (record for scope in group["scopeLogs"] for record in scope["logRecords"]):
                yield record["body"].get("stringValue", ""), known.get("container.id")


def play(suite, binary, folder, seconds):
    (health,) = free_ports(1)
    config, out, node = folder / "podgate.yaml", folder / "out.jsonl", Node(folder)
    config.write_text(CONFIG.format(folder=folder, health=health))

    def start():
        process = Process("podgate", [binary, "--config", config], folder / "podgate.log")
        wait_for("podgate is ready", lambda: get(f"http://127.0.0.1:{health}/readyz")[0] == 200, 20, process)
        return process

    podgate, kills, stops = start(), 0, 0
    containers = [f"c{number}" for number in range(5)]
    for container in containers:
        node.restart(container)
    begun, turn = time.monotonic(), 0
    try:
        while time.monotonic() - begun < seconds:
            turn += 1
            for _ in range(LINES_A_SECOND // 20):
                node.line(node.random.choice(containers))
                node.plain(node.random.randrange(5))
            time.sleep(0.05)
            if turn % 10 == 0:
                node.restart(node.random.choice(containers))
            if turn % 16 == 0:
                settle = lambda: time.sleep(1.5)  # noqa: E731
                node.rotate(node.random.randrange(5), ["rename", "copy", "packed"][turn // 16 % 3], settle)
            if turn % 60 == 0:
                podgate.kill()
                kills, podgate = kills + 1, start()
            elif turn % 60 == 30:
                podgate.stop()
                stops, podgate = stops + 1, start()
        missing = lambda: node.truth.keys() - {body for body, _ in found(out)}  # noqa: E731
        try:
            wait_for("all lines have come", lambda: not missing(), 20, podgate, every=0.5)
        except Exception:  # The checks below say what is missing.
            pass
    finally:
        podgate.stop()
    lines, lost = list(found(out)), missing()
    times = collections.Counter(body for body, _ in lines)
    strangers = [body for body in times if body not in node.truth]
    what = f"{len(node.truth)} lines, {node.rotations} rotations, {kills} kills, {stops} stops"
    suite.check(f"{what}: every line is found", not lost, sorted(lost)[:3])
    suite.check("no line is found that was not written", not strangers, strangers[:3])
    again = sum(count - 1 for count in times.values())
    suite.check(f"{again} lines came again after kills", again == 0 or kills, again)
    wrong = [(body, run) for body, run in lines if body in node.truth and run != node.truth[body]]
    suite.check("each line of a container has the id of the run that wrote it", not wrong, wrong[:3])
    last, early = {}, []
    for body, run in dict(reversed([(body, run) for body, run in lines])).items():
        source = (body.split(" ")[0], run)
        last.setdefault(source, []).append(body)
    for bodies in last.values():
        ordered = list(reversed(bodies))
        early += [pair for pair in zip(ordered, ordered[1:]) if pair[0] > pair[1]]
    suite.check("within a run the order is that of its file", not [pair for pair in early if pair[0].startswith("c")], early[:3])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=pathlib.Path, help="the podgate binary under test")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--keep", action="store_true", help="keep logs and configurations and say where they are")
    arguments = parser.parse_args()
    suite = Suite()
    with scratch("podgate-node-logs-", lambda: arguments.keep or suite.failed) as folder:
        binary = arguments.binary.resolve()
        suite.scenario("logs of a node, by a stand-in kubelet", lambda: play(suite, binary, folder, arguments.seconds))
    return finish(suite)


if __name__ == "__main__":
    sys.exit(main())

"""Senders that batch, as SDKs do, and what became of every item, by signal, with the node's log folder and without.

A `Sender` is what speaks in one container: a process per run that makes a span and a log record four times a second and
counts, and exports each signal every so often over its own connections. Everything goes to two gateways at once: one reads
the node's log folder, the other has the API server alone. A batch is named by its scope, so what arrives is compared with
the run that made it.
"""

import http.client
import itertools
import os
import queue
import random
import subprocess
import threading
import time
from collections import Counter, defaultdict, namedtuple

import kubelet
from kubelet import Cluster
from middleman import Middleman
from peers import KEEP_ALL, Gateway, Sink
from score import PAUSE, Way, reasons
from toolbox import ROOT, wait_for
from wire import batch, item

SIGNALS = ("traces", "metrics", "logs")
PORTS = ("unsampled", "http", "between")
MODES = ("folder", "api")
NODE = "node-2"
# After the clock was set, an application whose container did not restart has its id again within so many seconds.
SETTLED = 12

# Who made a batch: its pod, run and port, how many items, of which signal, and for which gateway.
Made = namedtuple("Made", "uid pod run port signal items mode")
NUMBERS = itertools.count(1)


class Shift:
    """The wall clock of the node's processes: podgate by a preloaded library, the kubelet and the applications here."""

    def __init__(self, folder):
        self.file = folder / "shift"
        self.library = folder / "shift.so"
        self.set(0)
        source = ROOT / "tests/clock_process/shift.c"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", self.library, source, "-ldl"], check=True)

    def env(self):
        return {"LD_PRELOAD": str(self.library), "SHIFT_FILE": str(self.file)}

    def set(self, seconds):
        kubelet.CLOCK.ahead = seconds
        # In place: the processes have the file mapped.
        with open(self.file, "r+b" if self.file.exists() else "wb") as out:
            out.write(int(seconds).to_bytes(8, "little", signed=True))


class Exporter:
    """Sends what one process has of one signal to one gateway, one request after the other."""

    def __init__(self, process, mode, signal):
        self.process, self.mode, self.signal = process, mode, signal
        self.waiting, self.connection, self.first, self.busy = queue.SimpleQueue(), None, True, False
        process.sender.pair.spawn(self.run)

    def run(self):
        while (one := self.waiting.get()) is not None:
            self.deliver(*one)
            self.busy = False
            if not self.process.sender.way.lasting:
                self.close()
        self.close()

    def close(self):
        if self.connection is not None:
            self.connection.close()
        self.connection = None

    def deliver(self, name, body):
        sender = self.process.sender
        pair, began = sender.pair, time.monotonic()
        for _ in range(4):
            try:
                if self.connection is None:
                    port = pair.gateways[self.mode].ports[sender.way.port]
                    self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
                    self.connection.connect()
                began = time.monotonic()
                self.connection.request("POST", f"/v1/{self.signal}", body, {"Content-Type": "application/x-protobuf"})
                answer = self.connection.getresponse()
                answer.read()
                if answer.status == 200:
                    # The sampled pipeline waits for nothing.
                    if sender.way.port != "http" or self.signal != "traces":
                        pair.took[self.mode, self.first].append(time.monotonic() - began)
                    self.first = False
                    return
            except (OSError, http.client.HTTPException):
                self.close()
            time.sleep(0.3)
        pair.refused[self.mode].add(name)


class Process:
    """One run's process, from its start until it is silenced; in the end it flushes, or what it has is lost with it."""

    def __init__(self, sender):
        self.sender, self.silent, self.flushes = sender, threading.Event(), True
        self.run_id = sender.pod.id()
        sender.pair.spawn(self.run)

    def run(self):
        sender = self.sender
        # What an interpreter takes until its SDK is there; silenced before, it never spoke.
        if self.silent.wait(sender.pair.dice.uniform(0.1, 2.5)):
            return
        exporters = {(mode, one): Exporter(self, mode, one) for mode in MODES for one in sender.signals}
        began, due, held = kubelet.CLOCK.ns(), time.monotonic() + sender.every, defaultdict(list)
        while not self.silent.wait(PAUSE):
            at = kubelet.CLOCK.ns()
            for (mode, signal) in exporters:
                if signal != "metrics":
                    held[mode, signal].append(item(signal, at, began))
            if time.monotonic() >= due - PAUSE / 2:
                due += sender.every
                # As in an SDK, what cannot leave yet leaves with the next batch.
                self.export([one for one in exporters.values() if not one.busy], held, began)
        if self.flushes:
            self.export(exporters.values(), held, began)
        for exporter in exporters.values():
            exporter.waiting.put(None)

    def export(self, exporters, held, began):
        sender = self.sender
        for exporter in exporters:
            mode, signal = exporter.mode, exporter.signal
            items = held.pop((mode, signal), [])
            if signal == "metrics":
                items = [item(signal, kubelet.CLOCK.ns(), began)]
            if not items:
                continue
            name = f"batch-{next(NUMBERS)}"
            made = Made(sender.pod.uid, sender.pod.name, self.run_id, sender.way.port, signal, len(items), mode)
            sender.pair.truth[name] = made
            exporter.busy = True
            exporter.waiting.put((name, batch(sender.attributes, name, items)))


class Sender:
    """A pod with one container and what speaks in it."""

    def __init__(self, pair, name, way, every, signals=SIGNALS, **spec):
        self.pair, self.way, self.every, self.signals = pair, way, every, signals
        self.pod = pair.cluster.pod(name, **spec)
        self.attributes = self.pod.resource_attributes("api")
        self.process = None
        pair.senders.append(self)

    def rise(self):
        """A new run and its process; the API server does not know yet."""
        self.pod.start()
        self.process = Process(self)

    def die(self, flushes=True):
        """The process ends; without a flush what it had not sent is lost with it."""
        self.process.flushes = flushes
        self.process.silent.set()
        self.pod.end()


class Pair:
    """Two gateways with a sink each on one node with a log folder: one reads it, the other must do without."""

    def __init__(self, stage, name, shift=False, middle=False):
        self.stage, self.room = stage, stage.room(name)
        self.dice = random.Random(int(os.environ.get("SEED", "0")) or None)
        self.truth, self.senders, self.threads = {}, [], []
        # When the clock was set, and the pods whose containers did not restart since.
        self.steps, self.steady = [], set()
        # How often whoever stands in between did what a story has him for.
        self.did = None
        self.refused = {mode: set() for mode in MODES}
        # Seconds that requests took where data waits for its run, by mode and whether they were the first of a process.
        self.took = defaultdict(list)
        self.cluster = self.node(stage)
        self.shift = Shift(self.room) if shift else None
        self.middle = Middleman(stage.plane) if middle else None
        self.sinks = {mode: Sink(stage.python, self.room / mode) for mode in MODES}
        self.gateways = {mode: self.gateway(mode) for mode in MODES}
        for gateway in self.gateways.values():
            gateway.ready()

    @staticmethod
    def node(stage):
        """The cluster of these stories, with a folder of logs; made once."""
        if stage.second is None:
            stage.second = Cluster(stage.api, "batches", NODE, logs=stage.log_folder("log-of-node-2"))
        return stage.second

    def gateway(self, mode):
        options = {
            "policies": KEEP_ALL,
            "wait": "2s",
            "filter": f"{{node: {NODE}}}",
            "node_logs": self.cluster.logs if mode == "folder" else "off",
        }
        env = self.shift.env() if self.shift else None
        room, plane = self.room / mode, self.stage.plane
        config = plane.kubeconfig("kubeconfig-middle", url=self.middle.url) if self.middle else plane.kubeconfig()
        return Gateway(self.stage.binary, room, self.sinks[mode], config, env=env, **options)

    def cast(self, name, everies, **spec):
        """A sender for every interval, port and kind of connection, running and published; none speaks yet."""
        ways = [Way(port, lasting) for port in PORTS for lasting in (True, False)]
        made = []
        for every, way in itertools.product(everies, ways):
            label = f"{name}-{every}-{way.port}-{'lasting' if way.lasting else 'new'}".replace(".", "-")
            made.append(Sender(self, label, way, every, **spec))
        for sender in made:
            sender.rise()
            sender.pod.publish()
        for gateway in self.gateways.values():
            gateway.synced(len(made))
        return made

    def spawn(self, work):
        thread = threading.Thread(target=work, daemon=True)
        self.threads.append(thread)
        thread.start()

    def found(self, mode):
        """Runs whose id came out of a gateway."""
        return {line["resource"].get("container.id") for line in self.sinks[mode].batches()}

    def until_found(self, senders, seconds=90):
        """Until the newest run of every sender came out of both gateways with its id."""
        wanted = {sender.pod.id() for sender in senders}
        for mode in MODES:
            process = self.gateways[mode].process
            wait_for(f"every newest run found ({mode})", lambda mode=mode: wanted <= self.found(mode), seconds, process)

    def end(self):
        """Every sender flushes; waits until all that was taken has come out."""
        for sender in self.senders:
            sender.process.silent.set()
        for thread in self.threads:
            thread.join(60)
        for mode in MODES:
            taken = [made for name, made in self.truth.items() if name not in self.refused[mode]]
            wanted = sum(made.items for made in taken if made.mode == mode)
            arrived = lambda mode=mode: sum(line["items"] for line in self.sinks[mode].batches())  # noqa: E731
            here = lambda wanted=wanted, arrived=arrived: arrived() >= wanted  # noqa: E731
            wait_for(f"every item at the sink ({mode})", here, 60, self.gateways[mode].process)
        return {mode: Tally(self, mode) for mode in MODES}

    def close(self):
        for sender in self.senders:
            if sender.process:
                sender.process.silent.set()
        for mode in MODES:
            self.gateways[mode].stop()
            self.sinks[mode].stop()
        if self.shift:
            self.shift.set(0)
        if self.middle:
            self.middle.stop()
        for sender in self.senders:
            sender.pod.forget()


class Tally:
    """What one gateway made of every item, by signal."""

    def __init__(self, pair, mode):
        self.mode = mode
        self.right, self.missing, self.wrong = Counter(), Counter(), []
        # Items that a processor in between did not see the id of, though they have one.
        self.unseen = 0
        # Items without an id of runs that went on across a step of the clock, some seconds after it.
        self.unsettled, self.pair = 0, pair
        self.refused = len(pair.refused[mode])
        self.firsts, self.laters = (sorted(pair.took[mode, first]) for first in (True, False))
        for line in pair.sinks[mode].batches():
            self.judge(line, pair.truth[line["batch"]])
        self.reasons = reasons(pair.gateways[mode])
        # How long podgate saw statuses take.
        self.delay = pair.gateways[mode].metric("podgate_k8s_status_delay_seconds") or 0.0

    def judge(self, line, made):
        resource, items = line["resource"], line["items"]
        seen = [resource.get(key) for key in ("k8s.pod.uid", "k8s.pod.name", "container.id")]
        if any(one not in (None, truth) for one, truth in zip(seen, made)):
            self.wrong.append({"made by": made, "seen": seen})
        elif seen[-1] is None:
            self.missing[made.signal] += items
            before = [step for step in self.pair.steps if step <= line["arrived"]]
            self.unsettled += items * (made.uid in self.pair.steady and bool(before) and line["arrived"] - before[-1] > SETTLED)
        else:
            self.right[made.signal] += items
            if made.port == "between" and made.signal == "traces":
                self.unseen += items * (resource.get("seen.container.id") != seen[-1])

    def items(self, signal):
        wrong = sum(one["made by"].items for one in self.wrong if one["made by"].signal == signal)
        return self.right[signal] + self.missing[signal] + wrong

    def share(self, signal):
        """Which part of the items has no id, in percent."""
        return 100 * self.missing[signal] / max(1, self.items(signal))

    @staticmethod
    def latency(seconds, part):
        """Milliseconds that this part of the requests took, at most."""
        return 1000 * seconds[min(len(seconds) - 1, int(part * len(seconds)))] if seconds else float("nan")

    def __repr__(self):
        cells = [f"{signal} {self.right[signal]} right {self.missing[signal]} missing" for signal in SIGNALS]
        return f"{self.mode}: {', '.join(cells)}, {len(self.wrong)} wrong, {self.reasons}, {len(self.firsts)} first requests, statuses took {self.delay:.1f} s"

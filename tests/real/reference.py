"""The reference deployment as a whole: podgate under the field's configuration and command, a real API server, APM
Server's double behind it in every failure that was recorded of APM Server, and containers that restart 0, 1, 2 and 5 times.

Each failure has a podgate, a double and four pods of its own; all of them are played at the same time. Applications tell
their pod's uid, a container name from a label and restart_count=0; each item carries the truth under another name.
"""

import http.client
import json
import pathlib
import random
import re
import secrets
import socket
import struct
import threading
import time
from collections import Counter, defaultdict

from peers import get
from toolbox import ROOT, Process, wait_for
from wire import attribute, field, fixed64, request, varint

RELAY = ROOT / "tests/reference/relay.yaml"
DOUBLE = ROOT / "target/debug/examples/apm_server"
SIGNALS = ("traces", "metrics", "logs")
RESTARTS = (0, 1, 2, 5)

# Seconds of a run, and of the failure, which begins in the second run of whoever restarts often.
RUN, FAILS_AT, FAILS_FOR = 5.0, 6.0, 6.0
# A kubelet looks for dead containers once a second; a process speaks when it has started.
NOTICED, STARTED = 1.2, 0.5
# Statuses come so late at most.
LATE_MAX = 2.5
BEAT = 0.7

WELL = {"conduct": "well"}
STRANGER = {"credentials": ["Bearer s3cret"], "conduct": "well"}
# Not a failure: the room in which podgate scores itself.
TELL = "none, containers told"
# Name, what APM Server is like meanwhile, what its senders see of it.
FAILURES = (
    ("none", WELL, "OK"),
    ("overloaded", {"conduct": "failing"}, "gRPC UNKNOWN for 6 s"),
    ("rate limit", {"conduct": "limited"}, "RESOURCE_EXHAUSTED without a hint for 6 s"),
    ("silent", {"conduct": "hanging"}, "no answer to what is sent within 6 s"),
    ("restarting", {"conduct": "away"}, "nothing listens for 6 s"),
    ("Elasticsearch away", {"conduct": "outage"}, "OK, and 54 of 55 items are lost there, for 6 s"),
    ("no credentials", STRANGER, "UNAUTHENTICATED for 6 s"),
    ("requests of 6 MiB", WELL, "OK; above 4 MiB RESOURCE_EXHAUSTED"),
    ("exponential histograms", WELL, "OK with a partial success"),
    (TELL, WELL, "OK"),
)


def own_address(ports):
    """A loopback address on which these ports are free, so that the configuration's ports stay what they are."""
    for _ in range(1000):
        address = f"127.{random.randint(1, 254)}.{random.randint(0, 255)}.{random.randint(1, 254)}"
        try:
            for port in ports:
                with socket.socket() as one:
                    one.bind((address, port))
        except OSError:
            continue
        return address
    raise OSError(f"no loopback address has the ports {ports} free")


class Double:
    """APM Server's double as a process."""

    def __init__(self, folder):
        self.address, self.control = own_address([8200]), own_address([8201])
        command = [DOUBLE, f"{self.address}:8200", f"{self.control}:8201"]
        self.process = Process("apm_server", command, folder / "apm_server.log")
        wait_for("the double listens", lambda: get(f"http://{self.control}:8201/answers")[0] == 200, 20, self.process)

    def behave(self, habits):
        connection = http.client.HTTPConnection(self.control, 8201, timeout=10)
        connection.request("POST", "/habits", json.dumps(habits))
        assert connection.getresponse().status == 200, habits
        connection.close()

    def items(self):
        return json.loads(get(f"http://{self.control}:8201/items", 60)[1])


class Relay:
    """podgate as the field's manifests start it: `otelcontribcol --config=/conf/relay.yaml`."""

    def __init__(self, stage, folder, double):
        self.address = own_address([4317, 4318, 8888, 13133])
        command = folder / "otelcontribcol"
        command.symlink_to(stage.binary)
        # There is no service account on this machine: the one thing that is not as in a cluster.
        words = [command, f"--config={RELAY}", "--set", "processors.k8sattributes.auth_type=kubeConfig"]
        env = {
            "KUBECONFIG": str(stage.plane.kubeconfig()),
            "MY_POD_IP": self.address,
            "OTEL_K8S_NODE_IP": double.address,
            "OTEL_K8S_NODE_NAME": stage.cluster.node,
        }
        self.process = Process("podgate", words, folder / "podgate.log", env=env)
        ready = lambda: get(f"http://{self.address}:13133/readyz")[0] == 200  # noqa: E731
        wait_for("podgate ready", ready, 30, self.process)

    def scored(self):
        """How many resources that told their container.id podgate would have found, by outcome."""
        lines = get(f"http://{self.address}:8888/metrics")[1].splitlines()
        found = [line for line in lines if line.startswith("podgate_k8s_self_scored_total{")]
        return {line.split('outcome="')[1].split('"')[0]: int(float(line.rsplit(" ", 1)[1])) for line in found}

    def named(self):
        """After its end: items that its last line names as dropped, by signal."""
        lines = [line for line in self.process.text().splitlines() if "balance:" in line]
        found = Counter()
        for part in re.split(r"(?=traces: |metrics: |logs: )", lines[-1] if lines else ""):
            signal = part.split(":")[0]
            for reason, count in re.findall(r"dropped\((\w+)\) (\d+)", part):
                found[signal] += int(count) if reason != "filtered" else 0
        return found


def item_of(signal, attributes, at, big, exponential):
    """One item as bytes, in the scope's field of items; `big` bytes are added to a span."""
    pairs = lambda number: b"".join(field(number, attribute(key, text)) for key, text in attributes)  # noqa: E731
    if signal == "traces":
        ids = field(1, secrets.token_bytes(16)) + field(2, secrets.token_bytes(8))
        span = ids + field(5, "GET /cart") + varint(6 << 3) + varint(2)
        span += fixed64(7, at - 20_000_000) + fixed64(8, at) + pairs(9)
        return field(2, span + (field(9, attribute("payload", "x" * big)) if big else b""))
    if signal == "metrics" and exponential:
        point = pairs(1) + fixed64(3, at) + fixed64(4, 1) + varint(5 << 3 | 1) + struct.pack("<d", 1.0)
        histogram = field(1, point) + varint(2 << 3) + varint(1)
        return field(2, field(1, "work.time") + field(10, histogram))
    if signal == "metrics":
        point = fixed64(3, at) + fixed64(6, 1) + pairs(7)
        return field(2, field(1, "queue.length") + field(5, field(1, point)))
    line = fixed64(1, at) + fixed64(11, at) + field(5, field(1, "work done"))
    # A line without an event name is what its file has too.
    return field(2, line) + field(2, line + pairs(6) + field(12, "cart.emptied"))


class Speaker:
    """The process of one run: it speaks until it ends, and once more after that, with what it made before."""

    def __init__(self, room, pod, label, restarts):
        self.room, self.restarts = room, restarts
        self.run, self.silent, self.threads, self.ended_at = pod.id(), threading.Event(), [], None
        # Through a hostPort its node sees the pod's own address.
        self.source = (pod.ip, 0)
        self.attributes = (
            f"service.name=checkout,k8s.pod.uid={pod.uid},k8s.container.name={label},k8s.container.restart_count=0"
        )
        if room.name == TELL:
            self.attributes += f",container.id={self.run}"

    def speak(self):
        for signal in SIGNALS:
            thread = threading.Thread(target=self.talk, args=(signal,), daemon=True)
            thread.start()
            self.threads.append(thread)

    def hush(self):
        """The process ends."""
        self.ended_at = time.time_ns()
        self.silent.set()

    def talk(self, signal):
        connection, number, last = None, 0, False
        while True:
            # Taken before the look, so that nothing is made after the process's end.
            at = time.time_ns()
            last = self.silent.is_set()
            # Large requests come first of all, where they do.
            big = self.room.big(signal) if number == 0 else 0
            made = [f"{self.run[:12]}-{signal}-{number}-{one}" for one in range(300 if big else 1)]
            if last:
                # Made before the end and sent after it, as a process does that flushes.
                at = self.ended_at
                time.sleep(1.0)
            attributes = lambda name: (("test.item", name), ("test.made_by", self.run))  # noqa: E731
            exponential = self.room.exponential
            scope = b"".join(item_of(signal, attributes(name), at, big, exponential) for name in made)
            connection = self.deliver(connection, signal, request(self.attributes, scope), made)
            number += 1
            if last:
                return
            self.silent.wait(BEAT)

    def connect(self):
        return http.client.HTTPConnection(self.room.relay.address, 4318, timeout=20, source_address=self.source)

    def deliver(self, connection, signal, body, made):
        """As SDKs do: what may be tried again is, within ten seconds; then it is the application's own loss."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                connection = connection or self.connect()
                connection.request("POST", f"/v1/{signal}", body, {"Content-Type": "application/x-protobuf"})
                answer = connection.getresponse()
                answer.read()
                if answer.status == 200:
                    self.room.acknowledged[signal, self.restarts].extend((name, self.run) for name in made)
                    return connection
                if answer.status not in (429, 502, 503, 504):
                    return connection
            except (OSError, http.client.HTTPException):
                connection = None
            time.sleep(0.5)
        return connection


class Room:
    """One failure: podgate, the double, and the pods that send to it."""

    def __init__(self, stage, failure):
        self.stage, (self.name, self.habits, self.sees) = stage, failure
        self.folder = stage.room("reference-" + self.name.replace(" ", "-"))
        self.exponential = self.name.startswith("exponential")
        self.acknowledged, self.pods, self.processes = defaultdict(list), [], []
        self.double = self.relay = None

    def open(self):
        self.double = Double(self.folder)
        self.relay = Relay(self.stage, self.folder, self.double)

    def big(self, signal):
        """Bytes added to each of 300 spans."""
        return 20_000 if signal == "traces" and self.name == "requests of 6 MiB" else 0

    def play(self):
        stories = [threading.Thread(target=self.story, args=(times,), daemon=True) for times in RESTARTS]
        for story in stories:
            story.start()
        time.sleep(FAILS_AT)
        self.double.behave(self.habits)
        time.sleep(FAILS_FOR)
        self.double.behave(WELL)
        for story in stories:
            story.join(120)
        for process in self.processes:
            for thread in process.threads:
                thread.join(30)
        # What was queued while it failed goes out within a backoff or two.
        time.sleep(2)

    def story(self, times):
        name = f"cart-{times}-{re.sub('[^a-z]+', '-', self.name.lower())}"
        pod = self.stage.cluster.pod(name, ip=own_address([]))
        self.pods.append(pod)
        for number in range(times + 1):
            pod.start()
            # The label of the deployment: in half of the pods it is not the container's name.
            process = Speaker(self, pod, "app" if times % 2 == 0 else "checkout", times)
            self.processes.append(process)
            time.sleep(STARTED)
            process.speak()
            late = random.uniform(0.0, LATE_MAX)
            time.sleep(late)
            pod.publish()
            # Whoever restarts less often lives longer in its last run.
            time.sleep(RUN - late if number < times else RUN * (max(RESTARTS) + 1 - times) - late + 3)
            process.hush()
            if number < times:
                pod.end()
                time.sleep(NOTICED)

    def score(self):
        """Counts of right, wrong, missing, not arrived and lost by APM Server, by signal and restarts."""
        arrived = {(item["signal"], item["item"]): item for item in self.double.items()}
        table = defaultdict(Counter)
        for (signal, restarts), made in self.acknowledged.items():
            for name, run in made:
                item = arrived.get((signal, name))
                table[signal, restarts][verdict(item, run)] += 1
                table[signal, restarts]["lost there"] += item is not None and not item["kept"]
        return table

    def close(self):
        for pod in self.pods:
            pod.forget()
        for process in (self.relay and self.relay.process, self.double and self.double.process):
            if process:
                process.stop()


def verdict(item, run):
    if item is None:
        return "not arrived"
    if item["container_id"] is None:
        return "missing"
    return "right" if item["container_id"] == run == item["made_by"] else "wrong"


def reference_deployment(stage, suite):
    """The reference deployment in front of APM Server: right containers after 0, 1, 2 and 5 restarts in every failure"""
    if not DOUBLE.exists():
        suite.skip(f"the reference deployment: {DOUBLE.relative_to(ROOT)} is not built")
        return
    rooms = [Room(stage, failure) for failure in FAILURES]
    try:
        for room in rooms:
            room.open()
        plays = [threading.Thread(target=room.play, daemon=True) for room in rooms]
        for play in plays:
            play.start()
        for play in plays:
            play.join(200)
        for room in rooms:
            judge(suite, room)
    finally:
        for room in rooms:
            room.close()


def judge(suite, room):
    scored = room.relay.scored()
    code = room.relay.process.stop(grace=40)
    table, named = room.score(), room.relay.named()
    total = lambda key, signal: sum(row[key] for (of, _), row in table.items() if of == signal)  # noqa: E731
    suite.check(f"{room.name}: no wrong container", not any(total("wrong", signal) for signal in SIGNALS), table)
    for signal in SIGNALS:
        gone = total("not arrived", signal)
        suite.check(
            f"{room.name}: every item of {signal} that was acknowledged arrived or is named ({gone} of {named[signal]})",
            gone <= named[signal],
            room.relay.process.tail(3),
        )
        suite.check(f"{room.name}: {signal} arrived with the right container", total("right", signal) or gone, table)
    if named:
        suite.equal(f"{room.name}: a stop that lost items ends with code 3, or they were lost before it", code in (0, 3), True)
    told = room.name == TELL
    seen = {outcome: count for outcome, count in scored.items() if count}
    suite.check(f"{room.name}: podgate scored itself {seen or 'never'}", bool(scored.get("right")) == told, scored)
    suite.check(f"{room.name}: and never wrong", not scored.get("wrong"), scored)
    suite.reference.append((room.name, room.sees, table, named, seen))


BEGIN, END = "<!-- written by make test-real: begin -->", "<!-- written by make test-real: end -->"


def written(rows, version):
    """The table of the page, as Markdown."""
    lines = [
        f"Written on {time.strftime('%Y-%m-%d')} with {version}. Each cell: right / wrong / missing / not delivered.",
        "",
        "| APM Server | what senders see | restarts | traces | metrics | logs |",
        "|---|---|---|---|---|---|",
    ]
    cell = lambda row: " / ".join(str(row[key]) for key in ("right", "wrong", "missing", "not arrived"))  # noqa: E731
    for name, sees, table, _, _ in rows:
        for restarts in RESTARTS:
            cells = [cell(table[signal, restarts]) for signal in SIGNALS]
            lines.append(f"| {name} | {sees} | {restarts} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "| APM Server | not delivered | named by podgate | lost silently by podgate | acknowledged and lost by APM Server |",
        "|---|---|---|---|---|",
    ]
    scores = next(seen for name, _, _, _, seen in rows if name == TELL)
    for name, _, table, named, _ in rows:
        sums = Counter()
        for (signal, _), row in table.items():
            sums[signal] += row["not arrived"]
        silent = sum(max(0, sums[signal] - named[signal]) for signal in SIGNALS)
        there = sum(row["lost there"] for row in table.values())
        lines.append(f"| {name} | {sum(sums.values())} | {sum(named.values())} | {silent} | {there} |")
    words = ", ".join(f"{outcome} {count}" for outcome, count in scores.items())
    return [*lines, "", f"Where applications told their container.id, podgate scored itself without it: {words} (resources).", ""]


def report(rows, page: pathlib.Path, version):
    """Replaces the table in the page, which the tree has; elsewhere only the table is written."""
    table = "\n".join([BEGIN, *written(rows, version), END])
    source = (ROOT / "docs/reference-deployment.md").read_text()
    head, rest = source.split(BEGIN)
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(head + table + rest.split(END)[1])

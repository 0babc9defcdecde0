#!/usr/bin/env python3
"""podgate side by side with the OpenTelemetry Collector: CPU, memory and latency of both under the same load.

    python3 tests/real/versus.py PODGATE --collector PATH [--repeats 3] [--seconds 6] [--rows W1,W9] [--lines FILE] [--report FILE]

The bench program `gateway` brings the load of traces, its next hops and the floors; it is built first, if a row needs it. Metrics
and logs are sent by signals.py, and a second podgate counts them. Every row runs with one subject after the other, and all rows
once more for each repeat, so that a slow moment of the machine hits all of them; each subject of a row gets the same items. The
subject is pinned to the last core, everything else to the first; in rows of two cores it has the last two. CPU is the scheduler's
account of its threads, for each item that was accepted. API server and pods are the real suite's. The same YAML starts both.
Nothing here asserts a time.
"""

import argparse
import datetime
import json
import os
import pathlib
import re
import socket
import statistics
import subprocess
import sys
import time

import control_plane
import peers
from kubelet import Api, Cluster
from toolbox import HERE, ROOT, Process, commit, free_ports, paragraph, say, scratch, version_of, wait_for, write_section

PODS = 100
# Seconds after which every sender's run is known, and more.
KNOWN_AFTER = 9
HEAD = "## Beside the OpenTelemetry Collector"
CORES = os.cpu_count() or 1
LAST_CORE = str(CORES - 1)
# The floors: words that the bench program is told, and what the table calls them.
FLOORS = {
    "http2": (("forward",), "floor: HTTP/2, nothing read"),
    "held": (("forward", "held"), "floor: HTTP/2, held for 10 s, a fifth sent on, nothing read"),
    "http1": (("forward", "http1"), "floor: HTTP/2 in, the same bytes out by HTTP/1.1, nothing read"),
    "tcp": (("floor",), "floor: bare TCP"),
}
# What a receiver counts of each signal.
ACCEPTED = {"traces": "spans", "metrics": "metric_points", "logs": "log_records"}

METADATA = [
    "k8s.namespace.name", "k8s.pod.name", "k8s.pod.uid", "k8s.deployment.name", "k8s.node.name", "k8s.container.name",
    "container.id", "container.image.name",
]
PROCESSORS = {
    "memory_limiter": {"check_interval": "1s", "limit_mib": 4000, "spike_limit_mib": 400},
    "k8s_attributes": {
        "auth_type": "kubeConfig",
        "wait_for_metadata": True,
        "filter": {"node": "node-1"},
        "extract": {"metadata": METADATA, "labels": [{"tag_name": "app", "key": "app", "from": "pod"}]},
        "pod_association": [{"sources": [{"from": "resource_attribute", "name": "k8s.pod.uid"}]}],
    },
    "tail_sampling": {
        "decision_wait": "10s",
        "num_traces": 2_000_000,
        "policies": [
            {"name": "failed", "type": "status_code", "status_code": {"status_codes": ["ERROR"]}},
            {"name": "slow", "type": "latency", "latency": {"threshold_ms": 1000}},
            {"name": "rest", "type": "probabilistic", "probabilistic": {"sampling_percentage": 10}},
        ],
    },
}
ENRICH = ["memory_limiter", "k8s_attributes"]


class Row:
    def __init__(self, name, stages, rate, spans=500, trace=10, connections=2, in_flight=8, pods=1, wire="grpc", after=0, out="none",
                 floors=(), signal="traces", cores=1):
        """`rate` in requests a second; `after`: seconds that belong to the row when everything is sent; `floors`: beside it."""
        self.name, self.stages, self.out, self.after, self.floors = name, stages, out, after, floors
        self.pods, self.wire, self.signal, self.cores = pods, wire, signal, cores
        self.load = {
            "spans": spans, "spans_per_trace": trace, "connections": connections, "in_flight": in_flight, "rate": rate,
            "wire": wire,
        }


ROWS = [
    Row("W1 pass on", [], 60, floors=("tcp", "http2")),
    Row("W1 enrich", ENRICH, 60),
    Row("W1 enrich, sample", [*ENRICH, "tail_sampling"], 40, after=11, floors=("held",)),
    Row("W2 enrich, 50 spans", ENRICH, 400, spans=50, floors=("http2",)),
    Row("W9 enrich, 5 spans, 200 connections", ENRICH, 1000, spans=5, trace=5, connections=200, in_flight=1, pods=PODS, floors=("http2",)),
    Row("W10 enrich, 100 resources of 5 spans", ENRICH, 40, trace=5, pods=PODS, floors=("http2",)),
    Row("gzip in and out, enrich", ENRICH, 20, wire="gzip", out="gzip"),
    Row("JSON in, enrich", ENRICH, 20, wire="json", connections=8),
    Row("to Elasticsearch, gzip", [], 20, out="elasticsearch", floors=("http1",)),
    Row("metrics of W1's bytes, pass on", [], 60, signal="metrics"),
    Row("metrics of W1's bytes, enrich", ENRICH, 60, signal="metrics"),
    Row("logs of W1's bytes, pass on", [], 60, signal="logs"),
    Row("logs of W1's bytes, enrich", ENRICH, 60, signal="logs"),
    Row("W1 enrich -- two cores", ENRICH, 60, cores=2),
    Row("W9 enrich, 5 spans, 200 connections -- two cores", ENRICH, 1000, spans=5, trace=5, connections=200, in_flight=1, pods=PODS,
        cores=2),
]


def yaml(row, listens, next_hop):
    """The configuration of either subject, in JSON, which is YAML too."""
    protocol = {"http" if row.wire == "json" else "grpc": {"endpoint": f"127.0.0.1:{listens}"}}
    if row.out == "elasticsearch":
        batch = {"flush_timeout": "1s"}
        exporter = {
            "elasticsearch": {
                "endpoints": [f"http://{next_hop}"],
                "mapping": {"mode": "otel"},
                "sending_queue": {"queue_size": 100, "batch": batch},
            }
        }
    else:
        queue = {"enabled": "tail_sampling" in row.stages}
        exporter = {
            "otlp_grpc": {"endpoint": next_hop, "compression": row.out, "tls": {"insecure": True}, "sending_queue": queue}
        }
    return {
        "receivers": {"otlp": {"protocols": protocol}},
        "processors": {stage: PROCESSORS[stage] for stage in row.stages},
        "exporters": exporter,
        "service": {
            "telemetry": {"metrics": {"level": "none"}},
            "pipelines": {row.signal: {"receivers": ["otlp"], "processors": row.stages, "exporters": list(exporter)}},
        },
    }


def cpu_nanos(pid):
    sums = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            sums += int((task / "schedstat").read_text().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            pass
    return sums


def mib(pid, what):
    line = next(line for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(what))
    return int(line.split()[1]) / 1024


class Told:
    """A child of the bench program on the first core that says where it listens, and may be asked."""

    def __init__(self, core, *command):
        self.child = subprocess.Popen(
            ["taskset", "-c", core, *map(str, command)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.address = self.child.stdout.readline().strip()
        self.pid = self.child.pid

    def ask(self):
        self.child.stdin.write("count\n")
        self.child.stdin.flush()
        return int(self.child.stdout.readline())

    def stop(self):
        self.child.kill()
        self.child.wait()


class Hop:
    """A second podgate on the first core, which takes and counts the items of any signal."""

    def __init__(self, binary, folder, signal):
        self.signal, (port, self.metrics) = signal, free_ports(2)
        self.address = f"127.0.0.1:{port}"
        reader = {"pull": {"exporter": {"prometheus": {"host": "127.0.0.1", "port": self.metrics}}}}
        config = {
            "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": self.address}}}},
            "exporters": {"nop": {}},
            "service": {
                "telemetry": {"metrics": {"readers": [reader]}},
                "pipelines": {signal: {"receivers": ["otlp"], "exporters": ["nop"]}},
            },
        }
        (folder / "hop.yaml").write_text(json.dumps(config))
        self.process = Process("next hop", ["taskset", "-c", "0", binary, "--config", folder / "hop.yaml"], folder / "hop.log")
        wait_for("the next hop listens", lambda: listens(port) and listens(self.metrics), 30, self.process)

    def ask(self):
        _, page = peers.get(f"http://127.0.0.1:{self.metrics}/metrics")
        name = f"otelcol_receiver_accepted_{ACCEPTED[self.signal]}_total"
        return int(sum(float(line.rsplit(" ", 1)[1]) for line in page.splitlines() if line.startswith(name)))

    def stop(self):
        self.process.stop()


class Bench:
    def __init__(self, asked, folder, plane, uids):
        self.asked, self.folder, self.plane, self.uids = asked, folder, plane, uids

    def sink(self, row, subject):
        if row.signal != "traces":
            return Hop(self.asked.podgate, self.folder, row.signal)
        role = "bulk-sink" if row.out == "elasticsearch" else "floor-sink" if subject == "tcp" else "sink"
        return Told("0", self.asked.bench, role)

    def start(self, row, subject, sink):
        """The subject, and where it listens."""
        if subject in FLOORS:
            (role, *how), _ = FLOORS[subject]
            told = Told(LAST_CORE, self.asked.bench, role, sink.address, *how)
            return told, told.address
        (port,) = free_ports(1)
        name = f"{subject}-{row.name.split(',')[0].replace(' ', '-')}"
        config = self.folder / f"{name}.yaml"
        config.write_text(json.dumps(yaml(row, port, sink.address)))
        binary = self.asked.podgate if subject == "podgate" else self.asked.collector
        env = {"KUBECONFIG": str(self.plane.kubeconfig()), "GOMAXPROCS": str(row.cores)}
        cores = f"{max(0, CORES - row.cores)}-{LAST_CORE}"
        process = Process(name, ["taskset", "-c", cores, binary, "--config", config], self.folder / f"{name}.log", env=env)
        process.pid = process.child.pid
        wait_for(f"{name} listens", lambda: listens(port), 40, process)
        return process, f"127.0.0.1:{port}"

    def load(self, row, subject, address, seconds, seed):
        if row.signal != "traces":
            told = {"address": address, "signal": row.signal, "uids": self.uids[: row.pods], "seconds": seconds, "seed": seed}
            told |= {key: row.load[key] for key in ("rate", "connections", "in_flight")}
            return self.said(row, subject, [peers.python() / "bin/python", HERE / "signals.py", json.dumps(told)])
        if subject == "tcp":
            rate = int(row.load["rate"] * row.load["spans"])
            words = ["floor-load", address, rate, row.load["spans"], int(seconds)]
        else:
            told = {**row.load, "address": address, "uids": self.uids[: row.pods], "seconds": seconds, "seed": seed}
            words = ["load", json.dumps(told)]
        said = self.said(row, subject, [self.asked.bench, *map(str, words)])
        if subject == "tcp":
            latency = said["latency_us"]
            return {"items": said["spans"]["accepted"], "failed": 0, "unsent": 0, "p50_us": latency["p50"], "p99_us": latency["p99"]}
        return {**said, "items": said["spans"]}

    def said(self, row, subject, command):
        """What a load said at its end."""
        done = subprocess.run(["taskset", "-c", "0", *command], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"the load of {row.name} on {subject} failed: {done.stderr}")
        return json.loads(done.stdout)

    def one(self, row, subject, repeat):
        sink = self.sink(row, subject)
        try:
            process, address = self.start(row, subject, sink)
            try:
                return self.measured(row, subject, sink, process, address, 2 * repeat)
            finally:
                process.stop()
        finally:
            sink.stop()

    def measured(self, row, subject, sink, process, address, seed):
        """One row of one subject. The seeds are those of the row's other subject, so that both get the same items."""
        self.load(row, subject, address, 1, seed)
        # The first data of a process waits until podgate knows its run for sure, which is not what is measured.
        time.sleep(max(1 + row.after, KNOWN_AFTER if "k8s_attributes" in row.stages else 0))
        seen = 0 if subject == "tcp" else sink.ask()
        before, idle = cpu_nanos(process.pid), mib(process.pid, "VmRSS")
        said = self.load(row, subject, address, self.asked.seconds, seed + 1)
        time.sleep(row.after or (2 if row.out == "elasticsearch" else 0))
        nanos = (cpu_nanos(process.pid) - before) / max(1, said["items"])
        arrived = said["items"] if subject == "tcp" else sink.ask() - seen
        return {
            "row": row.name, "subject": subject, "ns_per_item": round(nanos, 1), "items": said["items"],
            "failed_requests": said["failed"], "unsent_requests": said["unsent"], "arrived": arrived,
            "bytes": said.get("bytes"), "p50_us": said["p50_us"], "p99_us": said["p99_us"], "idle_mib": round(idle, 1),
            "peak_mib": round(mib(process.pid, "VmHWM"), 1), "load_average": os.getloadavg()[0],
        }


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def program():
    """The optimised bench program."""
    command = ["cargo", "bench", "--locked", "--all-features", "--bench", "gateway", "--no-run", "--message-format=short"]
    built = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    found = re.search(r"\((target/release/deps/gateway-[0-9a-f]+)\)", built.stderr)
    if built.returncode != 0 or not found:
        sys.exit(built.stderr)
    return ROOT / found.group(1)


def pods(plane):
    """The uids of running pods of one deployment."""
    cluster = Cluster(Api(plane.url, plane.tls, control_plane.TOKEN))
    replica_set = cluster.deployment("orders")
    made = [cluster.pod(f"orders-7d9c5b6f48-{number:05d}", replica_set) for number in range(PODS)]
    for pod in made:
        pod.start()
        pod.publish()
    return [pod.uid for pod in made]


def same_items(measured, row, repeat):
    """Ends the run if the two programs were not sent the same: figures of different loads are no comparison."""
    ones = [one for one in measured if (one["row"], one["repeat"]) == (row.name, repeat) and one["subject"] in ("podgate", "collector")]
    whole = [one for one in ones if not one["failed_requests"] + one["unsent_requests"]]
    if len({(one["items"], one["bytes"]) for one in whole}) > 1:
        sys.exit(f"{row.name}: the subjects were not sent the same: {whole}")


def table(measured, asked):
    by = {}
    for one in measured:
        by.setdefault((one["row"], one["subject"]), []).append(one)
    middle = lambda ones, key: statistics.median(one[key] for one in ones)  # noqa: E731
    lines = [
        "| row | subject | CPU ns an item | times podgate's | p50 / p99 us | RSS idle / peak MiB | lost |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in ROWS:
        own = by.get((row.name, "podgate"))
        for subject in ("podgate", "collector", *FLOORS):
            ones = by.get((row.name, subject))
            if not ones:
                continue
            nanos = [one["ns_per_item"] for one in ones]
            spread = f"{statistics.median(nanos):,.0f} ({min(nanos):,.0f} to {max(nanos):,.0f})"
            times = ""
            if own and subject != "podgate":
                pairs = [other["ns_per_item"] / one["ns_per_item"] for one, other in zip(own, ones)]
                times = f"{statistics.median(pairs):.1f} ({min(pairs):.1f} to {max(pairs):.1f})"
            latency = f"{middle(ones, 'p50_us'):,.0f} / {middle(ones, 'p99_us'):,.0f}"
            memory = f"{middle(ones, 'idle_mib'):.0f} / {max(one['peak_mib'] for one in ones):.0f}"
            whole = row.out != "elasticsearch" and "tail_sampling" not in row.stages
            lost = str(sum(one["items"] - one["arrived"] for one in ones)) if whole else "-"
            names = {"collector": "Collector", **{floor: name for floor, (_, name) in FLOORS.items()}}
            lines.append(f"| {row.name} | {names.get(subject, subject)} | {spread} | {times} | {latency} | {memory} | {lost} |")
    loads = [one["load_average"] for one in measured]
    about = paragraph(
        f"On {datetime.date.today()}, commit {commit()}, {asked.repeats} interleaved repeats of {asked.seconds:g} s a row,",
        f"{CORES} cores, load average of the machine {min(loads):.1f} to {max(loads):.1f}. The Collector:",
        f"`{(version_of([asked.collector, '--version']) or 'unknown').splitlines()[0]}`, `GOMAXPROCS` the cores of the row.",
        "An item is a span, a data point or a log record. Medians, in brackets the range; *lost* are items that were acknowledged and did",
        "not arrive, where none may be left out on purpose.",
    )
    return [HEAD, "", *about, "", *lines, ""]


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("podgate")
    arguments.add_argument("--collector", required=True)
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--seconds", type=float, default=6)
    arguments.add_argument("--rows", default="")
    arguments.add_argument("--bench", help="the built bench program; without it it is built")
    arguments.add_argument("--lines", type=pathlib.Path)
    arguments.add_argument("--report", type=pathlib.Path)
    asked = arguments.parse_args()
    if not asked.collector or not pathlib.Path(asked.collector).exists():
        sys.exit("name the Collector's program: make bench-versus COLLECTOR=path")
    if control_plane.missing():
        sys.exit(control_plane.missing())
    wanted = [row for row in ROWS if row.cores <= CORES and any(word in row.name for word in asked.rows.split(","))]
    if any(row.signal == "traces" for row in wanted):
        asked.bench = asked.bench or program()
    if any(row.signal != "traces" for row in wanted) and peers.python_missing():
        sys.exit(peers.python_missing())
    with scratch("podgate-versus-") as folder:
        plane = control_plane.ControlPlane(control_plane.build(), folder / "plane")
        measured = []
        try:
            plane.start()
            bench = Bench(asked, folder, plane, pods(plane))
            for repeat in range(asked.repeats):
                for row in wanted:
                    for subject in ("podgate", "collector", *row.floors):
                        measured.append({"repeat": repeat, **bench.one(row, subject, repeat)})
                        say(json.dumps(measured[-1]))
                    same_items(measured, row, repeat)
        finally:
            plane.stop()
        if asked.lines:
            asked.lines.write_text("".join(json.dumps(one) + "\n" for one in measured))
        lines = table(measured, asked)
        say("\n".join(lines))
        if asked.report:
            write_section(asked.report, HEAD, lines)


if __name__ == "__main__":
    main()

"""How podgate's CPU and memory grow: with traffic, connections, spans a request, pods, policies and held traces, on one core and on two.

Usage: python3 tests/real/scale/suite.py PODGATE [--seconds 4] [--pods 5000] [--cores 1,2] [--only WORD] [--collector PATH]
[--lines FILE] [--pictures FOLDER] [--report FILE].
`podgate loadgen` brings the load and a second podgate is the next hop, both on the first core. The subject has the last core, or the
last two. CPU is the scheduler's account of its threads over a load, for each accepted span; RSS is that at the end of the load. Pods
are a real API server's. With a Collector its figures stand at both ends of each series, on one core. Nothing here asserts a time; the
run fails where a request fails.
"""

import argparse
import datetime
import json
import os
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import control_plane  # noqa: E402
import plots  # noqa: E402
from kubelet import Api, Cluster  # noqa: E402
from loader import Loader  # noqa: E402
from peers import get  # noqa: E402
from toolbox import Process, commit, free_ports, paragraph, say, scratch, wait_for, write_section  # noqa: E402
from versus import CORES, KNOWN_AFTER, LAST_CORE, PROCESSORS, Hop, cpu_nanos, listens, mib  # noqa: E402

HEAD = "## Scale"
SPEAKERS = 10
WAIT = 10
SPANS_PER_TRACE = 10
LIMIT_MIB = 4000


class Point:
    """What differs from point to point; the rest of a series is as here."""

    def __init__(self, rate=5_000, spans=50, connections=2, pods=0, policies=0, wait=0.0, enrich=True):
        """`rate` in spans a second; `wait` in seconds, with `policies` of a sampler."""
        self.rate, self.spans, self.connections = rate, spans, connections
        self.pods, self.policies, self.wait, self.enrich = pods, policies, wait, enrich

    def subject(self):
        """Points that differ in nothing here may follow each other in one process."""
        return self.pods, self.policies, self.wait, self.enrich


class Series:
    """Points of growing `x`; `what` says what stays the same."""

    def __init__(self, name, x_name, xs, point, what):
        self.name, self.x_name, self.xs, self.point, self.what = name, x_name, xs, point, what


def all_series(pods):
    """`pods`: those of the largest cluster."""
    clusters = [size for size in (50, 150, 500, 1_500, 5_000) if size <= pods]
    return [
        Series("traffic", "spans a second", (1_000, 3_000, 10_000, 30_000, 100_000), lambda x: Point(rate=x, spans=500),
               "500 spans a request, enriched"),
        Series("connections", "connections", (2, 6, 20, 60, 200), lambda x: Point(connections=x),
               "5,000 spans a second, 50 a request, enriched"),
        Series("request", "spans a request", (5, 15, 50, 150, 500), lambda x: Point(spans=x, connections=16),
               "5,000 spans a second, enriched"),
        Series("pods", "pods in the table", clusters, lambda x: Point(pods=x), "5,000 spans a second, 50 a request, enriched"),
        Series("policies", "policies", (2, 6, 20, 60, 200), lambda x: Point(rate=20_000, spans=500, policies=x, wait=1, enrich=False),
               "20,000 spans a second in traces of ten, 500 a request, sampled"),
        Series("held", "held traces", (0.1, 0.3, 1, 3, 10), lambda x: Point(rate=20_000, spans=500, policies=2, wait=x, enrich=False),
               "as above, two policies, held for 0.1 to 10 s"),
    ]


def policies(count):
    """The first and the last are of whole traces, those between of attributes that no span of the load has. podgate takes 256."""
    whole = PROCESSORS["tail_sampling"]["policies"]
    first, last = whole[0], whole[-1]
    keys = ("http.route", "user.tier", "shop.region", "messaging.destination.name", "db.namespace")
    more = [
        {"name": f"attribute-{number}", "type": "string_attribute",
         "string_attribute": {"key": keys[number % len(keys)], "values": [f"value-{number}", f"other-{number}"]}}
        for number in range(count - 2)
    ]
    return [first, *more, last]


def yaml(point, ports, hop, tells):
    """The configuration of either subject, in JSON; `tells`: with metrics, by which podgate says what it holds."""
    stages = {"memory_limiter": {"check_interval": "1s", "limit_mib": LIMIT_MIB, "spike_limit_mib": 400}}
    if point.enrich:
        by_name = [{"sources": [{"from": "resource_attribute", "name": name} for name in ("k8s.pod.name", "k8s.namespace.name")]}]
        own = {"filter": {} if point.pods else {"node": "node-1"}, "pod_association": by_name}
        stages["k8s_attributes"] = {**PROCESSORS["k8s_attributes"], **own}
    if point.policies:
        wait = f"{round(point.wait * 1000)}ms"
        stages["tail_sampling"] = {"decision_wait": wait, "num_traces": 2_000_000, "policies": policies(point.policies)}
    reader = {"pull": {"exporter": {"prometheus": {"host": "127.0.0.1", "port": ports["metrics"]}}}}
    queue = {"enabled": bool(point.policies)}
    exporter = {"endpoint": hop, "compression": "none", "tls": {"insecure": True}, "sending_queue": queue}
    return {
        "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": f"127.0.0.1:{ports['grpc']}"}}}},
        "processors": stages,
        "exporters": {"otlp_grpc": exporter},
        "service": {
            "telemetry": {"metrics": {"readers": [reader]} if tells else {"level": "none"}},
            "pipelines": {"traces": {"receivers": ["otlp"], "processors": list(stages), "exporters": ["otlp_grpc"]}},
        },
    }


class Subject:
    """podgate or the Collector under measurement."""

    def __init__(self, bench, name, point, cores):
        self.bench, self.name, self.hop = bench, name, Hop(bench.asked.podgate, bench.folder, "traces")
        self.ports = dict(zip(("grpc", "metrics"), free_ports(2)))
        config = bench.folder / f"{name}.yaml"
        config.write_text(json.dumps(yaml(point, self.ports, self.hop.address, name == "podgate")))
        binary = bench.asked.podgate if name == "podgate" else bench.asked.collector
        env = {"KUBECONFIG": str(bench.plane.kubeconfig()), "GOMAXPROCS": str(cores)}
        command = ["taskset", "-c", f"{max(0, CORES - cores)}-{LAST_CORE}", binary, "--config", config]
        self.process = Process(name, command, bench.folder / f"{name}.log", env=env)
        self.pid = self.process.child.pid
        try:
            wait_for(f"{name} listens", lambda: listens(self.ports["grpc"]), 60, self.process)
            if name == "podgate" and point.pods:
                # Those that speak are in the table too.
                known = lambda: self.metric("otelcol_otelsvc_k8s_pod_table_size") >= point.pods  # noqa: E731
                wait_for("podgate knows the pods", known, 120, self.process)
            self.load(point, 1, 1)
            # The first data of a process waits until podgate knows its run for sure, which is not what is measured.
            time.sleep(KNOWN_AFTER if point.enrich else 1 + point.wait)
        except BaseException:
            self.stop()
            raise

    def metric(self, name):
        _, page = get(f"http://127.0.0.1:{self.ports['metrics']}/metrics")
        return sum(float(line.rsplit(" ", 1)[1]) for line in page.splitlines() if line.startswith((f"{name}{{", f"{name} ")))

    def load(self, point, seconds, seed):
        command = ["taskset", "-c", "0", self.bench.asked.podgate, "loadgen", "--endpoint", f"127.0.0.1:{self.ports['grpc']}",
                   "--rate", point.rate, "--spans-per-request", point.spans, "--spans-per-trace", min(SPANS_PER_TRACE, point.spans),
                   "--connections", point.connections, "--workers", max(16, point.connections), "--services", SPEAKERS,
                   "--duration", f"{seconds * 1000:.0f}ms", "--seed", seed, "--format", "json"]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
        if done.returncode not in (0, 1):
            sys.exit(f"the load failed: {done.stderr}")
        return json.loads(done.stdout)

    def measure(self, point, seconds, seed):
        idle, before = mib(self.pid, "VmRSS"), cpu_nanos(self.pid)
        said = self.load(point, seconds + point.wait, seed)
        rss = mib(self.pid, "VmRSS")
        held = self.metric("otelcol_processor_tail_sampling_sampling_traces_on_memory") if self.name == "podgate" and point.policies else 0
        time.sleep(point.wait + 1 if point.policies else 0)
        spans = said["spans"]
        return {
            "ns_per_span": round((cpu_nanos(self.pid) - before) / max(1, spans["accepted"]), 1), "spans": spans["accepted"],
            "failed": spans["failed"] + spans["refused"] + spans["rejected"], "unsent": spans["unsent"],
            "rss_mib": round(rss, 1), "idle_mib": round(idle, 1), "held": round(held), "load_average": os.getloadavg()[0],
        }

    def stop(self):
        self.process.stop()
        self.hop.stop()


class Bench:
    def __init__(self, asked, folder, plane):
        self.asked, self.folder, self.plane, self.measured = asked, folder, plane, []
        cluster = Cluster(Api(plane.url, plane.tls, control_plane.TOKEN))
        replica_set = cluster.deployment("orders")
        for number in range(SPEAKERS):
            pod = cluster.pod(f"service-{number}-0", replica_set)
            pod.start()
            pod.publish()
        self.loader, self.made = Loader(plane, control_plane.TOKEN), 0

    def cluster_of(self, pods):
        """Makes what lacks of so many pods on other nodes."""
        if pods - SPEAKERS > self.made:
            self.loader.roll_out("a", None, range(self.made, pods - SPEAKERS), 100)
            self.made = pods - SPEAKERS

    def series(self, series, name, cores, xs):
        subject, shape = None, None
        try:
            for seed, x in enumerate(xs, 2):
                point = series.point(x)
                if subject is None or point.subject() != shape:
                    if subject is not None:
                        subject.stop()
                    self.cluster_of(point.pods)
                    subject, shape = None, point.subject()
                    subject = Subject(self, name, point, cores)
                one = {"series": series.name, "subject": name, "cores": cores, "x": x, **subject.measure(point, self.asked.seconds, seed)}
                if series.name == "held":
                    # Traces a second times the wait; `held` is what podgate said as the load ended.
                    one["x"] = round(point.rate / SPANS_PER_TRACE * point.wait)
                self.measured.append(one)
                say(json.dumps(one))
        finally:
            if subject is not None:
                subject.stop()

    def run(self):
        # By series and not by cores, because a cluster only grows.
        for series in all_series(self.asked.pods):
            if self.asked.only not in series.name:
                continue
            for cores in self.asked.cores:
                self.series(series, "podgate", cores, series.xs)
            if self.asked.collector:
                self.series(series, "collector", 1, (series.xs[0], series.xs[-1]))
        return self.measured


def lines_of(measured, series, key):
    """`(name, points)` for a panel."""
    by = {}
    for one in measured:
        if one["series"] == series.name:
            cores = {1: "one core", 2: "two cores"}.get(one["cores"], f"{one['cores']} cores")
            by.setdefault(cores if one["subject"] == "podgate" else "Collector", []).append((one["x"], one[key]))
    return list(by.items())


def pictures(measured, asked):
    """Writes a picture for each series; their names."""
    asked.pictures.mkdir(parents=True, exist_ok=True)
    names = []
    for series in all_series(asked.pods):
        cpu = lines_of(measured, series, "ns_per_span")
        if cpu:
            names.append(f"scale-{series.name}.svg")
            panels = [("CPU, ns a span", series.x_name, cpu), ("RSS, MiB", series.x_name, lines_of(measured, series, "rss_mib"))]
            (asked.pictures / names[-1]).write_text(plots.chart(panels))
    return names


def report(measured, asked, took):
    """The section, as lines of Markdown: a table of the ends of each series, and the pictures."""
    loads = [one["load_average"] for one in measured]
    about = paragraph(
        f"`make bench-scale` on {datetime.date.today()}, commit {commit()}, {asked.seconds:g} s a point, {took / 60:.0f} minutes,",
        f"{CORES} cores, load average {min(loads):.1f} to {max(loads):.1f}. Load and next hop are on the first core, podgate has",
        "the last one or the last two; pods are a real API server's. CPU is for each accepted span; RSS is that at the end of a point's",
        "load, in one process for traffic, connections and spans a request. Of each series its ends:",
    )
    lines = [
        HEAD, "", *about, "",
        "| series | what stays the same | cores | from | to | CPU ns a span | RSS MiB | failed or unsent spans |",
        "|---|---|---|---|---|---|---|---|",
    ]
    chosen = [series for series in all_series(asked.pods) if any(one["series"] == series.name for one in measured)]
    for series in chosen:
        for subject, cores in (*(("podgate", cores) for cores in asked.cores), ("collector", 1)):
            ones = [one for one in measured if (one["series"], one["subject"], one["cores"]) == (series.name, subject, cores)]
            if ones:
                first, last = ones[0], ones[-1]
                who = f"{cores}" if subject == "podgate" else f"Collector, {cores}"
                lines.append(
                    f"| {series.x_name} | {series.what} | {who} | {first['x']:,} | {last['x']:,} "
                    f"| {first['ns_per_span']:,.0f} to {last['ns_per_span']:,.0f} | {first['rss_mib']:.0f} to {last['rss_mib']:.0f} "
                    f"| {sum(one['failed'] + one['unsent'] for one in ones)} |"
                )
    lines.append("")
    where = os.path.relpath(asked.pictures, asked.report.parent) if asked.report else asked.pictures
    for series in chosen:
        lines += [f"![CPU and RSS by {series.x_name}]({where}/scale-{series.name}.svg)", ""]
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("podgate", type=pathlib.Path)
    parser.add_argument("--seconds", type=float, default=4, help="of load for each point")
    parser.add_argument("--pods", type=int, default=5_000, help="of the largest cluster")
    parser.add_argument("--cores", default="1,2")
    parser.add_argument("--only", default="", help="series whose name holds this word")
    parser.add_argument("--collector", default="", help="the Collector's program")
    parser.add_argument("--lines", type=pathlib.Path)
    parser.add_argument("--pictures", type=pathlib.Path)
    parser.add_argument("--report", type=pathlib.Path)
    asked = parser.parse_args()
    asked.podgate, asked.cores = asked.podgate.resolve(), [cores for cores in map(int, asked.cores.split(",")) if cores <= CORES]
    if control_plane.missing():
        sys.exit(control_plane.missing())
    began = time.monotonic()
    with scratch("podgate-scale-") as folder:
        plane = control_plane.ControlPlane(control_plane.build(), folder / "plane")
        try:
            plane.start()
            measured = Bench(asked, folder, plane).run()
        finally:
            plane.stop()
    if asked.lines:
        asked.lines.write_text("".join(json.dumps(one) + "\n" for one in measured))
    if asked.pictures:
        pictures(measured, asked)
        lines = report(measured, asked, time.monotonic() - began)
        say("\n".join(lines))
        if asked.report:
            write_section(asked.report, HEAD, lines)
    broken = [one for one in measured if one["failed"]]
    sys.exit(f"requests failed: {broken}" if broken else 0)


if __name__ == "__main__":
    main()

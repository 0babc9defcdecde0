"""What podgate's watches cost a real API server, and what a large cluster costs podgate.

Usage: watches.py PODGATE-BINARY NODE-WATCHES-BINARY [--watches N] [--pods N] [--steady S] [--report FILE].
One process opens N watches as N nodes would (each its own connection, its own field selector); the API server is
watched from outside, by /proc and its own metrics. Nothing here asserts a time; it fails when a watch does not come
back or does not see all pods.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys
import threading
import time

import control_plane
from loader import Loader
from peers import KEEP_ALL, Gateway
from toolbox import Process, say, scratch, version_of, wait_for

TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def resident_mib(pid):
    line = next(line for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if "VmRSS" in line)
    return int(line.split()[1]) / 1024


class Fleet:
    """The process with the watches, and its latest report."""

    def __init__(self, binary, folder, kubeconfig, which):
        self.lines = folder / f"fleet-{which}.jsonl"
        env = {"KUBECONFIG": str(kubeconfig)}
        self.process = Process("node_watches", [binary, str(which)], self.lines, env=env)

    def now(self):
        """Its latest line; the file also has what it logs, and its last line may be half written."""
        with self.lines.open("rb") as lines:
            lines.seek(max(0, self.lines.stat().st_size - 2_000))
            whole = [line for line in lines.read().split(b"\n")[1:-1] if line.startswith(b"{")]
        return json.loads(whole[-1]) if whole else {"synced": 0, "fresh": 0, "pods": -1, "requests": 0, "lists": 0}

    def until(self, what, condition, seconds=180):
        return wait_for(what, lambda: (now := self.now()) and condition(now) and now, seconds, self.process)

    def stop(self):
        self.process.stop(grace=2)


class Meter:
    """CPU of the API server and requests of the fleet over one phase, with the busiest second of it."""

    def __init__(self, rows, name, plane, fleet=None):
        self.rows, self.name, self.plane, self.fleet = rows, name, plane, fleet

    def __enter__(self):
        self.pid = self.plane.api.child.pid
        self.began, self.cpu, self.requests = time.monotonic(), cpu_seconds(self.pid), self.asked()
        self.peak_rss, self.peak_rate, self.over = 0.0, 0.0, threading.Event()
        self.sampler = threading.Thread(target=self.sample, daemon=True)
        self.sampler.start()
        return self

    def asked(self):
        return self.fleet.now()["requests"] if self.fleet else 0

    def sample(self):
        before, at = self.requests, self.began
        while not self.over.wait(1):
            if self.fleet:
                now, moment = self.asked(), time.monotonic()
                self.peak_rate = max(self.peak_rate, (now - before) / (moment - at))
                before, at = now, moment
            try:
                self.peak_rss = max(self.peak_rss, resident_mib(self.plane.api.child.pid))
            except (OSError, StopIteration):
                pass  # between two API servers

    def __exit__(self, kind, *_):
        self.over.set()
        self.sampler.join()
        if kind is not None:
            return
        seconds = time.monotonic() - self.began
        pid = self.plane.api.child.pid
        # A new process begins to count at zero.
        cpu = cpu_seconds(pid) - (self.cpu if pid == self.pid else 0)
        requests = self.asked() - self.requests
        rate = f"{requests / seconds:.1f} ({self.peak_rate:.0f})" if self.fleet else "-"
        rss = resident_mib(pid)
        peak = max(self.peak_rss, rss)
        row = (self.name, f"{seconds:.0f}", rate, f"{cpu:.1f}", f"{cpu / seconds:.2f}", f"{rss:.0f} ({peak:.0f})")
        self.rows.append(row)
        say("  " + ", ".join(row))


HEAD = "| phase | seconds | podgate's requests/s (busiest second) | API server CPU s | CPU s/s | RSS MiB (peak) |\n|---|---|---|---|---|---|"


def fleet_phases(arguments, folder, plane, loader):
    """Start, steady state, roll-out and restart with all watches; the roll-out also without any, to compare."""
    rows, notes = [], []
    count, pods = arguments.watches, arguments.pods
    first, second = range(250, pods), range(pods, 2 * pods)
    say(f"{count} watches, {pods} and then {2 * pods} pods:")
    with Meter(rows, f"{len(first)} pods made, nobody watching", plane):
        loader.roll_out("a", None, first, count)
    fleet = Fleet(arguments.node_watches, folder, plane.kubeconfig(), count)
    try:
        with Meter(rows, f"start of {count} watches", plane, fleet):
            synced = fleet.until("all watches listed", lambda now: now["synced"] == count)
        notes.append(f"All {count} watches had listed their pods {synced['synced_after']} s after the start.")
        fleet.until("all pods known", lambda now: now["pods"] == pods)
        with Meter(rows, "steady, nothing changes", plane, fleet):
            time.sleep(arguments.steady)
        with Meter(rows, f"{pods} more pods made, all watching", plane, fleet):
            loader.roll_out("b", None, second, count)
            written = time.monotonic()
            fleet.until("all changes seen", lambda now: now["pods"] == 2 * pods)
        notes.append(f"The last of the new pods was known {time.monotonic() - written:.1f} s after its last write.")
        # The server's own writes alone make versions too old; these make it certain that every watch must list again.
        loader.roll_out("c", "b", range(pods, pods + count), count)
        with Meter(rows, "API server restarted, until all are fresh", plane, fleet):
            lists = fleet.now()["lists"]
            plane.stop_api()
            plane.start_api()
            up = time.monotonic()
            fleet.until("all listed again", lambda now: now["fresh"] == count and now["lists"] >= lists + count)
        notes.append(f"{count} of {count} watches were fresh again {time.monotonic() - up:.1f} s after the API server was.")
        with Meter(rows, "the half minute after it", plane, fleet):
            time.sleep(min(30, arguments.steady))
        assert fleet.now()["pods"] == 2 * pods, fleet.now()
    finally:
        fleet.stop()
    return rows, notes


class Nowhere:
    """A next hop that nothing is sent to."""

    grpc = http = 9


def whole_cluster(arguments, folder, plane, pods, times=1):
    """Seconds from the start of the real binary, which watches the whole cluster, until it knows all pods; the CPU
    seconds it took for it; and its resident MiB at rest, the smallest of some looks."""
    seconds, cpu, sizes = [], [], []
    for attempt in range(times):
        room = folder / f"whole-{pods}-{attempt}"
        started = time.monotonic()
        gateway = Gateway(arguments.podgate, room, Nowhere, plane.kubeconfig(), policies=KEEP_ALL, filter="{}")
        try:
            wait_for(f"podgate knows {pods} pods", lambda: gateway.pods() == pods, 120, gateway.process, every=0.01)
            seconds.append(time.monotonic() - started)
            cpu.append(cpu_seconds(gateway.process.child.pid))
            for _ in range(6):
                time.sleep(0.5)
                sizes.append(resident_mib(gateway.process.child.pid))
        finally:
            gateway.stop()
    return seconds, cpu, min(sizes)


def measure(arguments, folder, plane):
    loader = Loader(plane, control_plane.TOKEN)
    whole = {}

    def look(pods, times=1):
        whole[pods] = whole_cluster(arguments, folder, plane, pods, times)
        seconds, cpu, size = whole[pods]
        say(f"podgate with {pods} pods: {size:.1f} MiB, known after {seconds} s, {cpu} s of CPU")

    look(0)
    loader.roll_out("a", None, range(250), arguments.watches)
    look(250)
    rows, notes = fleet_phases(arguments, folder, plane, loader)
    look(2 * arguments.pods, times=5)
    return rows, notes, whole


def report(path, arguments, measured):
    rows, notes, whole = measured
    (times, cpu, _), empty = whole[2 * arguments.pods], whole[0][2]
    version = version_of([str(arguments.podgate), "--version"]) or "podgate"
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    lines = [
        "# Scale against a real API server",
        "",
        f"Written by `make test-watches` on {time.strftime('%Y-%m-%d')} with {version}, kube-apiserver "
        f"{control_plane.VERSION} and etcd on loopback,",
        f"{os.cpu_count()} cores shared by server, etcd, watches and the writer of the pods (load average at the end: {load}).",
        "",
        f"## {arguments.watches} nodes",
        "",
        f"One process holds {arguments.watches} of podgate's watches, each with the node selector and the connection of its "
        "own node; the pods have",
        "two containers and are spread over the nodes. Making one is two writes: its creation and its first status.",
        "",
        HEAD,
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
        *notes,
        "",
        "## One podgate that watches the whole cluster",
        "",
        "| pods | RSS MiB at rest | above an empty cluster |",
        "|---|---|---|",
        *(f"| {pods} | {size:.1f} | {size - empty:.1f} |" for pods, (*_, size) in sorted(whole.items())),
        "",
        f"{2 * arguments.pods} pods are known {statistics.median(times):.2f} s after the start of the process (median of "
        f"{len(times)}, {min(times):.2f} to {max(times):.2f}), the",
        "random wait of up to half a second before the first request included; the process has then used "
        f"{min(cpu):.2f} s of CPU, an empty one {min(whole[0][1]):.2f}.",
        "",
    ]
    path.write_text("\n".join(lines))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("podgate", type=pathlib.Path)
    parser.add_argument("node_watches", type=pathlib.Path)
    parser.add_argument("--watches", type=int, default=500)
    parser.add_argument("--pods", type=int, default=5000)
    parser.add_argument("--steady", type=int, default=100, help="seconds of watching a cluster in which nothing changes")
    parser.add_argument("--report", type=pathlib.Path)
    arguments = parser.parse_args()
    arguments.podgate, arguments.node_watches = arguments.podgate.resolve(), arguments.node_watches.resolve()
    if control_plane.missing():
        say(f"SKIPPED: {control_plane.missing()}")
        sys.exit(os.environ.get("PODGATE_REAL_STRICT") == "1")
    with scratch("podgate-watches-") as folder:
        plane = control_plane.ControlPlane(control_plane.build(), folder / "control-plane")
        try:
            plane.start()
            measured = measure(arguments, folder, plane)
            if arguments.report:
                report(arguments.report, arguments, measured)
        finally:
            plane.stop()
    say("all watches saw all pods")


if __name__ == "__main__":
    main()

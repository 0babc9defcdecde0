#!/usr/bin/env python3
"""One sampler at half of its capacity for ten minutes: lag and memory stay where they are.

    python3 tests/real/kafka/steady.py PODGATE [--minutes 10] [--quota 0.2] [--keep] [--lines FILE]

A sampler reads a real Apache Kafka, decides by `tail_sampling` and sends on by OTLP; it gets a fifth of a core by a cgroup, as a small pod
does. First it reads a topic that is full: what it commits a second is its capacity, as a record is committed after the verdict of its
trace. Then an agent writes at half of that, and every five seconds the broker is asked for the ends and the committed offsets, and the
kernel for the sampler's memory. Fails when lag or memory have a slope, or when a span has no end. Where no cgroup can be written, it says
so and the sampler has a whole core.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import broker as kafka  # noqa: E402
from hops import LAST_CORE, PARTITIONS, SAMPLER, SPANS_A_TRACE, WAIT, Pinned, Sink, from_kafka, otlp, to_kafka  # noqa: E402
from peers import get  # noqa: E402
from suite import Suite  # noqa: E402
from toolbox import finish, free_ports, say, scratch, wait_for  # noqa: E402
from versus import cpu_nanos, mib  # noqa: E402

TOPIC, GROUP = "steady", "steady"
MEMORY_MIB, JOURNAL_BYTES = 1024, 4 << 20
# Spans of the full topic, and the least time over which capacity is taken.
BACKLOG, CAPACITY_SECONDS = 2_000_000, 20
EVERY = 5.0
# What belongs to the start of the load, in samples.
START = 12
# Of the median, over the whole run; a leak or a sampler that falls behind is above it within minutes.
SLOPE_MAX = 0.15
PERIOD_US = 100_000


class Quota:
    """A share of a core for one process, by a cgroup of version 1."""

    def __init__(self, share):
        self.folder = pathlib.Path("/sys/fs/cgroup/cpu") / f"podgate-steady-{os.getpid()}"
        self.folder.mkdir()
        (self.folder / "cpu.cfs_period_us").write_text(str(PERIOD_US))
        (self.folder / "cpu.cfs_quota_us").write_text(str(round(PERIOD_US * share)))

    def take(self, pid):
        (self.folder / "cgroup.procs").write_text(str(pid))

    def remove(self):
        self.folder.rmdir()


def quota(share):
    try:
        return Quota(share)
    except OSError as why:
        say(f"no CPU cgroup can be written ({why}): the sampler has a whole core")
        return None


class Tier:
    """The agent, the sampler and its next hop."""

    def __init__(self, binary, folder, broker, share):
        self.binary, self.broker, self.share = binary, broker, share
        self.port, self.admin = free_ports(2)
        broker.topic(TOPIC, PARTITIONS)
        self.sink = Sink("sink", binary, folder)
        agent = {"receivers": otlp(self.port), "exporters": to_kafka(broker.address, TOPIC, "zstd")}
        agent["service"] = {"pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["kafka"]}}}
        self.agent = Pinned("agent", f"0-{LAST_CORE}", binary, agent, folder, own=True)
        self.folder, self.sampler = folder, None
        self.reader = broker.reader(GROUP)

    def sample(self):
        """Starts the sampler."""
        exporter = {"endpoint": f"127.0.0.1:{self.sink.port}", "compression": "none", "tls": {"insecure": True}}
        pipeline = {"receivers": ["kafka"], "processors": ["memory_limiter", "tail_sampling"], "exporters": ["otlp_grpc"]}
        config = {
            "extensions": {"admin": {"endpoint": f"127.0.0.1:{self.admin}"}},
            "receivers": from_kafka(self.broker.address, TOPIC, GROUP),
            # The journal is full before the load begins: by its default it grows to 55 MiB for nine minutes.
            "processors": {
                "memory_limiter": {"check_interval": "1s", "limit_mib": MEMORY_MIB},
                "tail_sampling": {**SAMPLER, "podgate": {"journal_bytes": JOURNAL_BYTES}},
            },
            "exporters": {"otlp_grpc": {**exporter, "retry_on_failure": {"max_elapsed_time": 0}}},
            "service": {"extensions": ["admin"], "pipelines": {"traces": pipeline}},
        }
        self.sampler = Pinned("sampler", LAST_CORE, self.binary, config, self.folder, own=True)
        if self.share:
            self.share.take(self.sampler.pid)

    def load(self, rate, seconds, seed):
        words = ["loadgen", "--endpoint", f"127.0.0.1:{self.port}", "--rate", rate, "--duration", f"{seconds:g}s", "--seed", seed]
        command = [self.binary, *words, "--spans-per-trace", SPANS_A_TRACE, "--format", "json"]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True)
        return json.loads(done.stdout)["spans"]["accepted"]

    def offsets(self):
        """Records that were written, and that are committed."""
        ends = sum(self.broker.ends(self.reader, TOPIC, PARTITIONS).values())
        return ends, sum(self.broker.committed(self.reader, TOPIC, PARTITIONS).values())

    def lag(self):
        ends, committed = self.offsets()
        return ends - committed

    def balance(self):
        return json.loads(get(f"http://127.0.0.1:{self.admin}/v1/balance")[1])["traces"]

    def stop(self):
        self.reader.close()
        for process in (self.agent, self.sampler, self.sink):
            if process:
                process.stop(30)


def capacity(tier):
    """Spans a second that the sampler takes from a full topic to their verdicts, and the CPU that it had of it."""
    filled = 0
    while filled < BACKLOG:
        filled += tier.load(0, 10, filled)
    say(f"  {filled:,} spans wait in the topic")
    wait_for("the agent has written them", lambda: tier.offsets()[0] * SPANS_A_TRACE >= filled, 60)
    tier.sample()
    wait_for("the first verdicts", lambda: tier.offsets()[1] > 0, 60, tier.sampler)
    begun, before, nanos = time.monotonic(), tier.offsets()[1], cpu_nanos(tier.sampler.pid)
    while time.monotonic() - begun < CAPACITY_SECONDS and tier.lag() * SPANS_A_TRACE > filled / 10:
        time.sleep(0.5)
    took, done = time.monotonic() - begun, (tier.offsets()[1] - before) * SPANS_A_TRACE
    cores = (cpu_nanos(tier.sampler.pid) - nanos) / took / 1e9
    memory = mib(tier.sampler.pid, "VmRSS")
    say(f"  capacity: {done / took:,.0f} spans/s over {took:.0f} s with {cores:.2f} cores, {memory:.0f} MiB resident")
    wait_for("the topic is read", lambda: tier.lag() == 0, 180, tier.sampler)
    return filled, done / took


def slope(points):
    """Of a straight line through equally spaced points: how much it rises over all of them."""
    middle = (len(points) - 1) / 2
    mean = statistics.mean(points)
    above = sum((at - middle) * (point - mean) for at, point in enumerate(points))
    return above / sum((at - middle) ** 2 for at in range(len(points))) * (len(points) - 1)


def held(tier, rate, seconds, lines):
    """The load, and what was seen every five seconds: lag in spans, MiB resident, the machine's load average."""
    sent, seen = [], []
    thread = threading.Thread(target=lambda: sent.append(tier.load(rate, seconds, 7)), daemon=True)
    thread.start()
    begun, nanos = time.monotonic(), cpu_nanos(tier.sampler.pid)
    while thread.is_alive():
        time.sleep(max(0, begun + (len(seen) + 1) * EVERY - time.monotonic()))
        if not thread.is_alive():
            break
        lag, memory = tier.lag() * SPANS_A_TRACE, mib(tier.sampler.pid, "VmRSS")
        seen.append({"at": round(time.monotonic() - begun, 1), "lag": lag, "mib": round(memory, 1), "load_average": os.getloadavg()[0]})
        if lines:
            lines.write_text("".join(json.dumps(one) + "\n" for one in seen))
    cores = (cpu_nanos(tier.sampler.pid) - nanos) / (time.monotonic() - begun) / 1e9
    thread.join()
    return sent[0] if sent else 0, seen, cores


def judged(suite, tier, rate, sent, filled, seen):
    steady = seen[START:]
    # Spans wait for their verdict, a commit and a look; twice of it is behind.
    waits = rate * (WAIT + 2)
    for name, unit in (("lag", "spans"), ("mib", "MiB")):
        points = [one[name] for one in steady]
        middle, rise = statistics.median(points), slope(points)
        text = f"{name}: median {middle:,.0f} {unit}, {min(points):,.0f} to {max(points):,.0f}, a line through it rises by {rise:+,.1f}"
        suite.check(f"{text} in {steady[-1]['at'] - steady[0]['at']:.0f} s", abs(rise) < SLOPE_MAX * middle, "that is a slope")
    behind = [one for one in steady if one["lag"] > 2 * waits]
    suite.check(f"the sampler was never behind: no lag above {2 * waits:,.0f} spans", not behind, behind[:3])
    wait_for("everything is committed", lambda: tier.lag() == 0, 60, tier.sampler)
    wait_for("nothing is held", lambda: tier.balance()["held"] == 0, 30, tier.sampler)
    sheet, arrived = tier.balance(), tier.sink.took()[0]
    ended = sheet["delivered"] + sheet["sampled_out"]
    suite.check(f"each of {sent + filled:,} spans was delivered or sampled out, once", sheet["received"] == ended == sent + filled, sheet)
    suite.check(f"the {sheet['delivered']:,} delivered ones arrived", arrived == sheet["delivered"], arrived)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("podgate", type=pathlib.Path)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--quota", type=float, default=0.2, help="of a core, for the sampler")
    parser.add_argument("--keep", action="store_true", help="logs and configurations stay")
    parser.add_argument("--lines", type=pathlib.Path, help="where each look goes as a line of JSON")
    asked = parser.parse_args()
    suite = Suite()
    if kafka.missing():
        suite.skip(kafka.missing())
        return finish(suite)
    kafka.client()
    share = quota(asked.quota)
    with scratch("podgate-steady-", lambda: asked.keep or suite.failed) as folder:
        broker, tier = kafka.Broker(folder / "broker"), None
        try:
            tier = Tier(asked.podgate.resolve(), folder, broker, share)
            filled, most = capacity(tier)
            rate = round(most / 2)
            sent, seen, cores = held(tier, rate, asked.minutes * 60, asked.lines)
            say(f"  {sent:,} spans in {asked.minutes:g} minutes, {rate:,} spans/s asked, {cores:.3f} cores")
            judged(suite, tier, rate, sent, filled, seen)
        finally:
            if tier:
                tier.stop()
            broker.stop()
            if share:
                share.remove()
    return finish(suite)


if __name__ == "__main__":
    sys.exit(main())

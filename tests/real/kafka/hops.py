#!/usr/bin/env python3
"""What a hop between tiers costs: CPU of podgate and of a Collector under the same load and keys, each span's way one hop long.

    python3 tests/real/kafka/hops.py PODGATE [--repeats 3] [--seconds 8] [--rate 20000] [--hops WORD,...] [--lines FILE]

`podgate loadgen` sends; a real Apache Kafka is between the tiers; next hops are podgates that count spans and requests. What writes to
the topic before a sampler is podgate for either subject, so both read the same records. The subject is pinned to the last core,
everything else to the first; CPU is the scheduler's account of its threads over the load and what follows of it, for each span that was
sent. Subjects take turns, and all hops come once more for each repeat. The Collector is the one of collector/ beside this file
with GOMAXPROCS=1. Nothing here asserts a time.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import broker as kafka  # noqa: E402
import peer  # noqa: E402
from toolbox import Process, free_ports, say, scratch, version_of, wait_for  # noqa: E402
from versus import LAST_CORE, PROCESSORS, cpu_nanos, mib  # noqa: E402

PARTITIONS, SPANS_A_TRACE, SPANS_A_REQUEST = 6, 10, 500
FIRST_CORE = "0"
GATEWAYS = 3
# The policies of `make bench-versus`, with a shorter wait.
WAIT = 5
SAMPLER = {**PROCESSORS["tail_sampling"], "decision_wait": f"{WAIT}s"}
# Records have a trace each; what leaves is put together again by the same keys.
GATHERED = {"batch": {"flush_timeout": "200ms", "min_size": 1000, "max_size": 2000, "sizer": "items"}}


class Hop:
    """`reads`: from the topic that an agent writes; `writes`: to a topic; `hops`: next hops that take OTLP."""

    def __init__(self, name, title, reads=False, writes=False, hops=1, compression="none", sampled=False, gathered=False):
        self.name, self.title, self.reads, self.writes, self.hops = name, title, reads, writes, 0 if writes else hops
        self.compression, self.sampled, self.gathered = compression, sampled, gathered
        self.after = WAIT + 3 if sampled else 2


HOPS = [
    Hop("balance", f"OTLP in, load_balancing to {GATEWAYS} gateways", hops=GATEWAYS),
    Hop("gateway", "OTLP in, tail_sampling, OTLP out, batched", sampled=True, gathered=True),
    Hop("produce", "OTLP in, kafka out", writes=True),
    Hop("produce-zstd", "OTLP in, kafka out, zstd", writes=True, compression="zstd"),
    Hop("sample", "kafka in, tail_sampling, OTLP out, batched", reads=True, sampled=True, gathered=True),
    Hop("consume", "kafka in, OTLP out, a request a record", reads=True),
    Hop("consume-batched", "kafka in, OTLP out, batched", reads=True, gathered=True),
    Hop("consume-zstd", "kafka in, zstd, OTLP out, batched", reads=True, compression="zstd", gathered=True),
]


def otlp(port):
    return {"otlp": {"protocols": {"grpc": {"endpoint": f"127.0.0.1:{port}"}}}}


def to_kafka(address, topic, compression):
    traces = {"traces": {"topic": topic, "encoding": "otlp_proto"}, "partition_traces_by_id": True}
    return {"kafka": {"brokers": [address], **traces, "producer": {"required_acks": "all", "compression": compression}}}


def from_kafka(address, topic, group):
    of = {"group_id": group, "initial_offset": "earliest", "traces": {"topics": [topic], "encoding": "otlp_proto"}}
    # A Collector by its default marks records before it passes them on; podgate never does.
    return {"kafka": {"brokers": [address], **of, "message_marking": {"after": True}}}


def configuration(hop, address, topic, port, sinks):
    """Of either subject, in JSON, which is YAML too."""
    client = {"compression": "none", "tls": {"insecure": True}}
    if hop.writes:
        exporters = to_kafka(address, topic, hop.compression)
    elif hop.hops == 1:
        # Without waiting a Collector pauses a partition for good at the first record that its full queue refuses.
        queue = {"sending_queue": {"enabled": True, "block_on_overflow": True, **(GATHERED if hop.gathered else {})}}
        exporters = {"otlp_grpc": {"endpoint": f"127.0.0.1:{sinks[0].port}", **client, **queue}}
    else:
        names = [f"127.0.0.1:{sink.port}" for sink in sinks]
        exporters = {"load_balancing": {"protocol": {"otlp": client}, "resolver": {"static": {"hostnames": names}}}}
    receivers = from_kafka(address, topic, f"{topic}-samplers") if hop.reads else otlp(port)
    processors = {"tail_sampling": SAMPLER} if hop.sampled else {}
    pipeline = {"receivers": list(receivers), "processors": list(processors), "exporters": list(exporters)}
    service = {"pipelines": {"traces": pipeline}}
    return {"receivers": receivers, "processors": processors, "exporters": exporters, "service": service}


class Pinned(Process):
    """A process on one core that is ready."""

    def __init__(self, name, core, binary, config, folder, own=False):
        if own:
            config["service"].setdefault("telemetry", {"metrics": {"level": "none"}})
        path = folder / f"{name}.yaml"
        path.write_text(json.dumps(config))
        command = ["taskset", "-c", core, binary, "--config", path]
        super().__init__(name, command, folder / f"{name}.log", env={"GOMAXPROCS": "1"})
        wait_for(f"{name} is ready", lambda: "verything is ready" in self.text(), 60, self)

    @property
    def pid(self):
        return self.child.pid


class Sink(Pinned):
    """A next hop that counts what it takes."""

    def __init__(self, name, binary, folder):
        self.port, self.metrics = free_ports(2)
        reader = {"pull": {"exporter": {"prometheus": {"host": "127.0.0.1", "port": self.metrics}}}}
        pipelines = {"traces": {"receivers": ["otlp"], "exporters": ["nop"]}}
        service = {"telemetry": {"metrics": {"readers": [reader]}}, "pipelines": pipelines}
        config = {"receivers": otlp(self.port), "exporters": {"nop": {}}, "service": service}
        super().__init__(name, FIRST_CORE, binary, config, folder)

    def took(self):
        """Spans and requests until now."""
        text = urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics", timeout=10).read().decode()
        of = lambda name: sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(f"{name}_total{{"))  # noqa: E731
        return int(of("otelcol_receiver_accepted_spans")), int(of("otelcol_receiver_requests"))


class Bench:
    def __init__(self, asked, folder):
        self.asked, self.folder, self.broker, self.runs = asked, folder, kafka.Broker(folder / "broker"), 0
        subprocess.run(["taskset", "-a", "-c", "-p", FIRST_CORE, str(self.broker.process.child.pid)], capture_output=True, check=True)

    def load(self, port, seconds, seed):
        words = ["loadgen", "--endpoint", f"127.0.0.1:{port}", "--rate", self.asked.rate, "--duration", f"{seconds:g}s"]
        sizes = ["--spans-per-trace", SPANS_A_TRACE, "--spans-per-request", SPANS_A_REQUEST, "--seed", seed]
        command = ["taskset", "-c", FIRST_CORE, self.asked.podgate, *words, *sizes, "--format", "json"]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"the load failed: {done.stderr or done.stdout}")
        return json.loads(done.stdout)

    def one(self, hop, name, repeat):
        """One measurement of a hop with the subject of this name; both subjects get the same traces in a repeat."""
        self.runs += 1
        topic, started = f"{hop.name}-{self.runs}", []
        folder = self.folder / f"{topic}-{name}"
        folder.mkdir()
        self.broker.topics([topic], PARTITIONS)
        try:
            sinks = [Sink(f"sink-{number}", self.asked.podgate, folder) for number in range(hop.hops)]
            started.extend(sinks)
            (port,) = free_ports(1)
            if hop.reads:
                agent = {"receivers": otlp(port), "exporters": to_kafka(self.broker.address, topic, hop.compression)}
                agent["service"] = {"pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["kafka"]}}}
                started.append(Pinned("agent", FIRST_CORE, self.asked.podgate, agent, folder, own=True))
            config = configuration(hop, self.broker.address, topic, port, sinks)
            binary = self.asked.podgate if name == "podgate" else peer.collector("hops")
            subject = Pinned(name, LAST_CORE, binary, config, folder, own=name == "podgate")
            started.append(subject)
            return {"hop": hop.name, "subject": name, **self.measured(hop, subject, port, sinks, topic, 2 * repeat)}
        finally:
            for process in reversed(started):
                process.stop(30)

    def measured(self, hop, subject, port, sinks, topic, seed):
        idle = mib(subject.pid, "VmRSS")
        self.load(port, 2, seed + 1)
        time.sleep(hop.after)
        self.settled(sinks, topic)
        seen, begun = self.took(sinks, topic), time.monotonic()
        before, brokers = cpu_nanos(subject.pid), cpu_nanos(self.broker.process.child.pid)
        said = self.load(port, self.asked.seconds, seed + 2)
        time.sleep(hop.after)
        self.settled(sinks, topic)
        nanos, of_broker = cpu_nanos(subject.pid) - before, cpu_nanos(self.broker.process.child.pid) - brokers
        took = time.monotonic() - begun
        spans, requests = (now - then for now, then in zip(self.took(sinks, topic), seen))
        sent = said["spans"]["accepted"]
        return {
            "ns_per_span": round(nanos / max(1, sent)), "spans": sent, "arrived": spans, "requests_out": requests,
            "spans_a_second": round(sent / self.asked.seconds), "cores": round(nanos / took / 1e9, 3),
            "broker_ns_per_span": round(of_broker / max(1, sent)), "idle_mib": round(idle, 1),
            "peak_mib": round(mib(subject.pid, "VmHWM"), 1), "load_average": round(os.getloadavg()[0], 1),
        }

    def settled(self, sinks, topic):
        """Waits until nothing more comes, on a machine that is too busy for the load."""
        now = self.took(sinks, topic)
        for _ in range(30):
            time.sleep(1)
            then, now = now, self.took(sinks, topic)
            if then == now:
                return

    def took(self, sinks, topic):
        """Spans and requests of the next hops, or of the topic: there a record is a whole trace."""
        if sinks:
            both = [sink.took() for sink in sinks]
            return sum(spans for spans, _ in both), sum(requests for _, requests in both)
        reader = self.broker.reader("podgate-hops")
        records = sum(self.broker.ends(reader, topic, PARTITIONS).values())
        reader.close()
        return records * SPANS_A_TRACE, records


def table(measured, asked, repeats):
    """The figures as a table of Markdown, with what they were measured on."""
    by = {}
    for one in measured:
        by.setdefault((one["hop"], one["subject"]), []).append(one)
    head = "| hop | subject | CPU ns a span | times podgate's | arrived | sent on as | RSS idle / peak MiB |"
    lines = [head, "|---" * (head.count("|") - 1) + "|"]
    for hop in HOPS:
        own = by.get((hop.name, "podgate"), [])
        for name in ("podgate", "collector"):
            ones = by.get((hop.name, name))
            if not ones:
                continue
            nanos = [one["ns_per_span"] for one in ones]
            pairs = [other["ns_per_span"] / one["ns_per_span"] for one, other in zip(own, ones)]
            times = "" if name == "podgate" else f"{statistics.median(pairs):.1f} ({min(pairs):.1f} to {max(pairs):.1f})"
            cost = f"{statistics.median(nanos):,.0f} ({min(nanos):,} to {max(nanos):,})"
            arrived, sent = sum(one["arrived"] for one in ones), sum(one["spans"] for one in ones)
            all_came = "all" if arrived == sent else f"{arrived - sent:+,}"
            share = f"{100 * arrived / sent:.2f} % kept" if hop.sampled else all_came
            requests = max(1, sum(one["requests_out"] for one in ones))
            out = f"{arrived / requests:,.0f} spans a {'record' if hop.writes else 'request'}"
            memory = f"{statistics.median(one['idle_mib'] for one in ones):.0f} / {max(one['peak_mib'] for one in ones):.0f}"
            who = "Collector" if name == "collector" else name
            lines.append(f"| {hop.title} | {who} | {cost} | {times} | {share} | {out} | {memory} |")
    loads = [one["load_average"] for one in measured]
    about = f"{asked.rate:,} spans/s for {asked.seconds} s, {repeats} interleaved repeats, {os.cpu_count()} cores, "
    about += f"load average {min(loads)} to {max(loads)}"
    version = (version_of([asked.podgate, "--version"]) or "unknown").splitlines()[0]
    return [f"{version}: {about}", "", *lines]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("podgate", type=pathlib.Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--rate", type=int, default=20_000)
    parser.add_argument("--hops", default="", help="names of hops, by commas")
    parser.add_argument("--subjects", default="podgate,collector")
    parser.add_argument("--lines", type=pathlib.Path, help="where each measurement goes as a line of JSON")
    parser.add_argument("--keep", action="store_true")
    asked = parser.parse_args()
    asked.podgate = asked.podgate.resolve()
    lacking = kafka.missing() or peer.missing()
    if lacking:
        sys.exit(lacking)
    kafka.client()
    peer.collector("hops")
    wanted = [hop for hop in HOPS if not asked.hops or hop.name in asked.hops.split(",")]
    measured, whole = [], 0
    with scratch("podgate-hops-", lambda: asked.keep) as folder:
        bench = Bench(asked, folder)
        try:
            for repeat in range(asked.repeats):
                for hop in wanted:
                    for name in asked.subjects.split(","):
                        measured.append({"repeat": repeat, **bench.one(hop, name, repeat)})
                        say(json.dumps(measured[-1]))
                        if asked.lines:
                            asked.lines.write_text("".join(json.dumps(one) + "\n" for one in measured))
                whole += 1
        finally:
            bench.broker.stop()
            if measured:
                say("\n".join(table(measured, asked, whole)))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""podgate beside a real Apache Kafka: agents write traces to six partitions, samplers of one group read them.

    python3 tests/real/kafka/suite.py target/release/podgate [--long] [--keep]

While spans come, a sampler is killed with -9 in the middle of its window, one is added, the broker is stopped and started, and both
samplers are killed at once. Every span of a kept trace arrives, none of another one; the committed offset, polled throughout, is never
above a record whose spans have not arrived; what came twice is counted, by whether its record may have been read twice. Then the next hop
is away and the offset stands still; an independent client reads and writes; SASL and TLS are spoken. Last a Collector's Kafka parts stand
beside podgate's (peer.py). Without a JDK and Maven it is skipped aloud, and without Go that last part.
"""

import argparse
import collections
import json
import os
import pathlib
import sys
import threading
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import broker as kafka
import peer
from broker import PASSWORD, TLS, USER, Broker
from toolbox import Process, finish, free_ports, say, scratch, wait_for

PARTITIONS, GROUP, TOPIC = 6, "samplers", "otlp_spans"
WAIT = 3.0
# Spans of one trace leave in this many requests, so that a window holds torn ones.
PARTS, BETWEEN = 3, 0.3

AGENT = """
receivers: {{otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{http}"}}}}}}}}
exporters:
  kafka:
    brokers: ["{brokers}"]
    traces: {{topic: {topic}, encoding: {encoding}}}
    partition_traces_by_id: true
    producer: {{required_acks: all, compression: zstd}}
    retry_on_failure: {{initial_interval: 200ms, max_interval: 1s, max_elapsed_time: 0}}
{security}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [kafka]}}}}
"""

SAMPLER = """
receivers:
  kafka:
    brokers: ["{brokers}"]
    group_id: {group}
    initial_offset: earliest
    session_timeout: 6s
    heartbeat_interval: 500ms
    autocommit: {{interval: 200ms}}
    traces: {{topics: [{topic}], encoding: {encoding}}}
{security}
processors:
  tail_sampling:
    decision_wait: {wait}s
    policies: [{{name: errors, type: status_code, status_code: {{status_codes: [ERROR]}}}}]
exporters:
  file: {{path: "{out}"}}
  otlp_http: {{endpoint: "http://127.0.0.1:{hop}", retry_on_failure: {{initial_interval: 200ms, max_interval: 1s, max_elapsed_time: 0}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [kafka], processors: [tail_sampling], exporters: [{exporter}]}}}}
"""

SINK = """
receivers: {{otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{http}"}}}}}}}}
exporters: {{file: {{path: "{out}"}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [file]}}}}
"""

SECURED = f"""    auth: {{sasl: {{mechanism: SCRAM-SHA-512, username: {USER}, password: "{PASSWORD}"}}}}
    tls: {{ca_file: "{TLS / 'ca.pem'}"}}
"""
PLAIN = f"""    auth: {{sasl: {{mechanism: PLAIN, username: {USER}, password: "{PASSWORD}"}}}}
"""


class Suite:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def skip(self, why):
        strict = os.environ.get("PODGATE_REAL_STRICT") == "1"
        self.skipped, self.failed = self.skipped + 1, self.failed + strict
        say(f"skipped: {why}{' (a failure, because PODGATE_REAL_STRICT=1)' if strict else ''}")

    def check(self, what, holds, found=""):
        self.passed, self.failed = self.passed + bool(holds), self.failed + (not holds)
        say(f"{'ok' if holds else 'FAILED'}: {what}{'' if holds else f' ({found})'}")


def fields(message):
    """The fields of a protobuf message: number and value."""
    at = 0
    while at < len(message):
        key, at = varint(message, at)
        if key & 7 == 0:
            value, at = varint(message, at)
        elif key & 7 == 2:
            length, at = varint(message, at)
            value, at = message[at : at + length], at + length
        else:
            length = {1: 8, 5: 4}[key & 7]
            value, at = message[at : at + length], at + length
        yield key >> 3, value


def varint(message, at):
    value, shift = 0, 0
    while True:
        byte = message[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return value, at


def within(messages, number):
    return [value for message in messages for found, value in fields(message) if found == number]


def ids_of(value):
    """`(trace, span)` of every span of a request in protobuf, read by hand: no code of podgate's."""
    spans = within(within(within([value], 1), 2), 2)
    return [(dict(fields(span))[1].hex(), dict(fields(span))[2].hex()) for span in spans]


class Out:
    """The file of a sampler or a sink: `(trace, span)` of every span, as often as it was written, read as it grows."""

    def __init__(self, path):
        self.path, self.at, self.found = path, 0, []

    def read(self):
        if not self.path.exists():
            return self.found
        with self.path.open("rb") as file:
            file.seek(self.at)
            text = file.read()
        # What a killed process was writing has no end.
        whole = text[: text.rfind(b"\n") + 1]
        self.at += len(whole)
        for line in whole.splitlines():
            for group in json.loads(line)["resourceSpans"]:
                for scope in group["scopeSpans"]:
                    self.found.extend((span["traceId"], span["spanId"]) for span in scope["spans"])
        return self.found


class Load:
    """Traces of three spans each in as many requests, at a pace; every third one has an error in its last span."""

    def __init__(self, port, rate):
        self.port, self.rate = port, rate
        self.sent, self.kept, self.refused = set(), set(), 0
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def span(self, number, part):
        trace, span = f"{number + 1:032x}", f"{number * PARTS + part + 1:016x}"
        # The second digits of the key are spread by the id's own hash.
        status = {"code": 2} if part == PARTS - 1 and number % 3 == 0 else {}
        now = str(time.time_ns())
        body = {"traceId": trace, "spanId": span, "name": "work", "kind": 1, "startTimeUnixNano": now, "endTimeUnixNano": now}
        return {**body, "status": status}

    def post(self, spans):
        scope = {"scope": {"name": "suite"}, "spans": spans}
        resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}
        body = json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [scope]}]}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/v1/traces", body, {"content-type": "application/json"})
        while True:
            try:
                urllib.request.urlopen(request, timeout=30).read()
                break
            except OSError:
                self.refused += 1
                time.sleep(0.1)
        self.sent.update((span["traceId"], span["spanId"]) for span in spans)

    def run(self):
        tick, number, open_traces = 0, 0, collections.deque()
        begun = time.monotonic()
        while not self.stop.is_set() or open_traces:
            batch = max(1, round(self.rate * BETWEEN / 3))
            if not self.stop.is_set():
                open_traces.append((number, batch, 0))
                number += batch
            spans, again = [], collections.deque()
            for first, count, part in open_traces:
                spans.extend(self.span(at, part) for at in range(first, first + count))
                if part + 1 < PARTS:
                    again.append((first, count, part + 1))
            self.kept.update(f"{at + 1:032x}" for first, count, _ in open_traces for at in range(first, first + count) if at % 3 == 0)
            self.post(spans)
            open_traces, tick = again, tick + 1
            time.sleep(max(0, begun + tick * BETWEEN / 3 - time.monotonic()))


class Poller:
    """Polls what the group has committed, and right after it what has arrived."""

    def __init__(self, broker, outs):
        self.broker, self.outs = broker, outs
        self.samples, self.stop = [], threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        reader = self.broker.reader(GROUP)
        while not self.stop.is_set():
            try:
                committed = self.broker.committed(reader, TOPIC, PARTITIONS)
                now = time.time()
                self.samples.append((now, committed, {out.path: len(out.read()) for out in list(self.outs)}))
            except Exception:  # noqa: BLE001 - the broker is away for a while
                pass
            time.sleep(0.1)
        reader.close()


class Run:
    def __init__(self, binary, folder, broker):
        self.binary, self.folder, self.broker = binary, folder, broker
        self.outs, self.samplers = [], 0

    def start(self, name, text):
        config = self.folder / f"{name}.yaml"
        config.write_text(text)
        return Process(name, [self.binary, "--config", config], self.folder / f"{name}.log")

    def agent(self, name, http, encoding="otlp_proto", topic=TOPIC, security="", port="plain"):
        brokers = f"127.0.0.1:{self.broker.ports[port]}"
        text = AGENT.format(http=http, brokers=brokers, topic=topic, encoding=encoding, security=security)
        process = self.start(name, text)
        wait_for(f"{name} listens", lambda: "listening" in process.text(), 20, process)
        return process

    def sampler(self, exporter="file", hop=1, group=GROUP, encoding="otlp_proto", topic=TOPIC, wait=WAIT, security="", port="plain"):
        self.samplers += 1
        name = f"sampler-{self.samplers}"
        out = Out(self.folder / f"{name}.jsonl")
        brokers = f"127.0.0.1:{self.broker.ports[port]}"
        text = SAMPLER.format(
            brokers=brokers, group=group, topic=topic, encoding=encoding, out=out.path, wait=wait, exporter=exporter, hop=hop, security=security
        )
        if exporter == "file":
            self.outs.append(out)
        return self.start(name, text), out


def tier(suite, run, broker, seconds, rate):
    """The run with deaths; its findings."""
    (http,) = free_ports(1)
    agent = run.agent("agent", http)
    first, _ = run.sampler()
    second, _ = run.sampler()
    load, poller = Load(http, rate), Poller(broker, run.outs)
    poller.thread.start()
    load.thread.start()
    begun, events = time.time(), []

    def at(share, what):
        time.sleep(max(0, begun + seconds * share - time.time()))
        events.append((time.time(), what))

    at(0.2, "one sampler is killed")
    first.kill()
    at(0.4, "one is added")
    third, _ = run.sampler()
    at(0.6, "the broker is stopped")
    broker.stop()
    broker.start()
    at(0.8, "both samplers are killed")
    second.kill()
    third.kill()
    fourth, _ = run.sampler()
    fifth, _ = run.sampler()
    at(1.0, "the load ends")
    load.stop.set()
    load.thread.join(60)
    reader = broker.reader("podgate-suite-looks")
    ends = {}

    def done():
        # The agent may still have some to write.
        ends.update(broker.ends(reader, TOPIC, PARTITIONS))
        return poller.samples and poller.samples[-1][1] == ends

    try:
        wait_for("everything is committed", done, 90)
        time.sleep(3)
        wait_for("and stays so", done, 60)
        settled = True
    except Exception:  # noqa: BLE001
        settled = False
    reader.close()
    suite.check("the committed offsets reach the end of every partition", settled, f"{poller.samples[-1][1]} of {ends}")
    poller.stop.set()
    poller.thread.join(10)
    for process in (fourth, fifth, agent):
        suite.check(f"{process.name} ends with code 0", process.stop(30) == 0, process.returncode)
    judge(suite, run, broker, load, poller, events)


def judge(suite, run, broker, load, poller, events):
    records = broker.records(TOPIC, PARTITIONS)
    place, keys = {}, collections.defaultdict(set)
    for partition, offset, millis, key, value in records:
        for trace, span in ids_of(value):
            place[(trace, span)] = (partition, offset, millis / 1000)
            keys[trace].add((partition, key))
    suite.check("every accepted span is in a record", load.sent <= set(place), len(load.sent - set(place)))
    own = all(len(found) == 1 and next(iter(found))[1] == trace.encode() for trace, found in keys.items())
    suite.check("a trace has one key, its id in hex, and one partition", own)
    twice = len([1 for _, _, _, _, value in records for _ in ids_of(value)]) - len(place)
    suite.check("the agent wrote no span twice, the broker's restart included", twice == 0, twice)
    arrived = collections.Counter(span for out in run.outs for span in out.read())
    wanted = {span for span in load.sent if span[0] in load.kept}
    suite.check(f"every span of a kept trace has arrived ({len(wanted)} of {len(load.sent)} spans)", wanted <= set(arrived), len(wanted - set(arrived)))
    suite.check("no span of another trace has: verdicts are those of an undisturbed run", set(arrived) <= wanted, len(set(arrived) - wanted))
    early = premature(poller, run, place, wanted)
    suite.check(f"no committed offset was above an unsettled record ({len(poller.samples)} looks)", not early, early[:3])
    again = sum(count - 1 for count in arrived.values())
    outside = sum(count - 1 for span, count in arrived.items() if count > 1 and not read_twice(place[span], poller, events))
    suite.check(
        f"of {len(wanted)} spans {again} came again, {outside} of them without a reason to be read twice (< 1 %)",
        outside < 0.01 * len(wanted),
    )


def premature(poller, run, place, wanted):
    """Looks at which a committed offset was above a record with a span that had not arrived, or too young for a verdict."""
    faults = []
    by_partition = collections.defaultdict(list)
    for span, (partition, offset, written) in place.items():
        by_partition[partition].append((offset, span, written))
    for spans in by_partition.values():
        spans.sort()
    known = {out.path: out.read() for out in run.outs}
    done = collections.Counter()
    there, seen = set(), collections.Counter()
    for now, committed, lengths in poller.samples:
        for path, length in lengths.items():
            there.update(known[path][seen[path] : length])
            seen[path] = max(seen[path], length)
        for partition, offset in committed.items():
            spans = by_partition[partition]
            while done[partition] < len(spans) and spans[done[partition]][0] < offset:
                _, span, written = spans[done[partition]]
                if span in wanted and span not in there:
                    faults.append((now, partition, offset, span, "has not arrived"))
                if now < written + WAIT - BETWEEN - 0.5:
                    faults.append((now, partition, offset, span, "is too young"))
                done[partition] += 1
    return faults


def read_twice(at, poller, events):
    """Whether a record may have been read twice: it was not committed when a member died, came or lost its session."""
    partition, offset, written = at
    for when, _ in events[:-1]:
        before = [committed.get(partition, 0) for now, committed, _ in poller.samples if now <= when]
        # A rebalance is over some seconds after its cause: the session of 6 s, and what it takes to join.
        if offset >= (before[-1] if before else 0) and written <= when + 10:
            return True
    return False


def hop_away(suite, run, broker):
    """The next hop is away: nothing moves, and everything arrives when it is back."""
    topic, group = "otlp_away", "away"
    broker.topic(topic, 1)
    http, hop = free_ports(2)
    agent = run.agent("agent-away", http, topic=topic)
    sampler, _ = run.sampler("otlp_http", hop, group, topic=topic, wait=0.5)
    load = Load(http, 30)
    load.post([load.span(0, part) for part in range(PARTS)])
    reader = broker.reader(group)
    until, moved = time.monotonic() + 5, 0
    while time.monotonic() < until:
        moved = max([moved, *broker.committed(reader, topic, 1).values()])
        time.sleep(0.2)
    suite.check("while the next hop is away the committed offset does not move", moved == 0, moved)
    out = Out(run.folder / "sink.jsonl")
    sink = run.start("sink", SINK.format(http=hop, out=out.path))
    wait_for("what waited arrives", lambda: len(out.read()) == PARTS, 20, sink)
    wait_for("and is committed", lambda: broker.committed(reader, topic, 1).get(0) == 1, 20)
    suite.check("when it is back what waited arrives, and is committed", True)
    reader.close()
    for process in (agent, sampler, sink):
        process.stop()


def encodings_and_rights(suite, run, broker):
    """OTLP/JSON from an independent client and to it; SASL and TLS on both sides."""
    for name, security, port in (("scram-tls", SECURED, "secured"), ("plain", PLAIN, "sasl")):
        topic = f"otlp_{name}"
        broker.topic(topic, 2)
        (http,) = free_ports(1)
        agent = run.agent(f"agent-{name}", http, "otlp_json", topic, security, port)
        sampler, out = run.sampler(group=name, encoding="otlp_json", topic=topic, wait=0.2, security=security, port=port)
        load = Load(http, 30)
        load.post([load.span(0, part) for part in range(PARTS)])
        wait_for(f"{name}: the spans arrive", lambda: len(out.read()) == PARTS, 30, sampler)
        written = [json.loads(value) for _, _, _, _, value in broker.records(topic, 2)]
        spans = [span for value in written for scope in value["resourceSpans"][0]["scopeSpans"] for span in scope["spans"]]
        suite.check(f"{name}: what the agent writes an independent client reads", len(spans) == PARTS, written)
        theirs = written[0]
        for span in theirs["resourceSpans"][0]["scopeSpans"][0]["spans"]:
            span["traceId"], span["status"] = "f" * 32, {"code": 2}
        broker.produce(topic, [json.dumps(theirs).encode(), b"no OTLP at all"])
        wait_for(f"{name}: theirs arrive", lambda: len(out.read()) > PARTS, 30, sampler)
        suite.check(f"{name}: what an independent client writes podgate reads", True)
        suite.check(f"{name}: a poison record is named", "is not OTLP" in sampler.text() or wait_log(sampler, "is not OTLP"))
        for process in (agent, sampler):
            process.stop()


def beside_a_collector(suite, run, broker):
    if peer.missing():
        suite.skip(f"what stands beside a Collector: {peer.missing()}")
        return
    peer.both_ways(suite, run, broker)
    peer.one_group(suite, run, broker)


def wait_log(process, words):
    try:
        return wait_for(words, lambda: words in process.text(), 10, process)
    except Exception:  # noqa: BLE001
        return False


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=pathlib.Path)
    parser.add_argument("--long", action="store_true", help="ten minutes of load instead of half of one")
    parser.add_argument("--keep", action="store_true", help="logs and configurations stay")
    options = parser.parse_args()
    suite = Suite()
    if kafka.missing():
        suite.skip(kafka.missing())
        return finish(suite)
    kafka.client()
    with scratch("podgate-kafka-", lambda: options.keep or suite.failed) as folder:
        broker = Broker(folder / "broker")
        try:
            broker.topic(TOPIC, PARTITIONS)
            run = Run(options.binary.resolve(), folder, broker)
            tier(suite, run, broker, 600 if options.long else 30, 300)
            hop_away(suite, run, broker)
            encodings_and_rights(suite, run, broker)
            beside_a_collector(suite, run, broker)
        finally:
            broker.stop()
    return finish(suite)


if __name__ == "__main__":
    sys.exit(main())

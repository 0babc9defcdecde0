"""podgate's Kafka parts beside a Collector's own (0.165): what one writes the other reads, in each encoding and compression.

Agents of both kinds are sent the same three signals and write them to topics of their own, once for each way of `WAYS`; readers of both
kinds read what the other one wrote. What comes out is compared with what was sent as data: resources, scopes, spans, metrics, log records.
Then a Collector and podgate share a consumer group. The Collector (collector/) is built once from its modules.
"""

import collections
import itertools
import json
import random
import struct
import urllib.request

from broker import PASSWORD, TLS, USER
from toolbox import HERE, Process, cache, fingerprint, free_ports, once, run, say, version_of, wait_for

SOURCE = HERE / "kafka" / "collector"
SIGNALS = {"traces": "resourceSpans", "metrics": "resourceMetrics", "logs": "resourceLogs"}
SCOPES = {"traces": ("scopeSpans", "spans"), "metrics": ("scopeMetrics", "metrics"), "logs": ("scopeLogs", "logRecords")}
# As a batch of records names them in its head.
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
PARTITIONS = 4
REQUESTS, TRACES_A_REQUEST = 4, 12
SEED = 20

Way = collections.namedtuple("Way", "name encoding compression keyed headers")
WAYS = [
    Way(f"{encoding}-{codec}", f"otlp_{encoding}", codec, number % 2 == 1, codec == "zstd")
    for number, (encoding, codec) in enumerate(itertools.product(("proto", "json"), CODECS))
]
# Values that are there where they are zero: the arms of a oneof, and optional fields.
SAID_WHEN_ZERO = {"stringValue", "boolValue", "intValue", "doubleValue", "bytesValue", "asInt", "asDouble", "sum", "min", "max"}


def missing():
    """Why the Collector cannot be built here, or None."""
    return None if version_of(["go", "version"]) else "Go is not on this machine"


@once
def collector(tags=""):
    """The Collector's program, from the cache when sources and compiler are the same; tagged `hops` it has more, see hops.go."""
    inputs = sorted(path for path in SOURCE.iterdir() if path.suffix in (".go", ".mod", ".sum"))
    program = cache() / f"kafka-collector-{fingerprint(version_of(['go', 'version']), tags, *inputs)}"
    if not program.exists():
        say("building a Collector with the Kafka parts from its modules (minutes, once)")
        part = program.with_suffix(".part")
        env = {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false -mod=readonly"}
        command = ["go", "build", "-trimpath", "-tags", tags, "-o", part, "."]
        run(command, cache() / "kafka-collector.log", env=env, cwd=SOURCE, seconds=1800)
        part.rename(program)
    return program


def attributes(**values):
    return [{"key": key.replace("_", "."), "value": value} for key, value in values.items()]


def every_kind(rng):
    """An attribute of each kind, with values at the edges of their ranges."""
    inner = {"arrayValue": {"values": [{"boolValue": False}, {"stringValue": "\u00e9\u4e16"}]}}
    deep = {"kvlistValue": {"values": attributes(inner=inner)}}
    return attributes(
        text={"stringValue": f'a "quoted" \\ line\n{rng.randrange(10**6)}'}, empty={"stringValue": ""}, yes={"boolValue": True},
        no={"boolValue": False}, least={"intValue": str(-(2**63))}, most={"intValue": str(2**63 - 1)}, zero={"intValue": "0"},
        part={"doubleValue": rng.random()}, tiny={"doubleValue": 5e-324}, bytes={"bytesValue": "AP/+gA=="}, deep=deep, none={},
    )


def resource(rng, signal):
    of = {"attributes": attributes(service_name={"stringValue": f"shop-{rng.randrange(3)}"}, host_name={"stringValue": "node-1"})}
    return {"resource": {**of, "droppedAttributesCount": 2}, "schemaUrl": "https://opentelemetry.io/schemas/1.27.0"}, SCOPES[signal]


def spans(rng):
    for _ in range(TRACES_A_REQUEST):
        trace, first = rng.randbytes(16).hex(), rng.randbytes(8).hex()
        for number in range(3):
            begin = 1_760_000_000_000_000_000 + rng.randrange(10**9)
            span = {
                "traceId": trace, "spanId": rng.randbytes(8).hex() if number else first, "name": f"GET /{number}", "kind": 2 + number,
                "startTimeUnixNano": str(begin), "endTimeUnixNano": str(begin + 1 + rng.randrange(10**9)),
                "attributes": every_kind(rng), "droppedAttributesCount": number,
                "traceState": "ot=th:8;rv:fedcba98765432,vendor=x", "flags": 257,
            }
            event = {"timeUnixNano": str(begin + 1), "name": "exception", "attributes": every_kind(rng), "droppedAttributesCount": 1}
            link = {"traceId": rng.randbytes(16).hex(), "spanId": rng.randbytes(8).hex(), "traceState": "a=b", "flags": 256}
            more = {"parentSpanId": first, "events": [event], "links": [{**link, "attributes": every_kind(rng)}]} if number else {}
            yield {**span, **more, "status": {"code": 2, "message": "refused"} if number == 2 else {}}


def metrics(rng):
    """One of each kind, with exemplars, flags and values that are no numbers."""
    when = {"startTimeUnixNano": "1760000000000000000", "timeUnixNano": "1760000001000000000"}
    exemplar = {"timeUnixNano": when["timeUnixNano"], "traceId": rng.randbytes(16).hex(), "spanId": rng.randbytes(8).hex()}
    exemplars = [{**exemplar, "asDouble": rng.random(), "filteredAttributes": every_kind(rng)}]
    point = lambda **more: {**when, "attributes": every_kind(rng), **more}  # noqa: E731
    about = {"description": "d", "unit": "By", "metadata": attributes(source={"stringValue": "m"})}
    name = lambda kind: {"name": f"shop.{kind}", **about}  # noqa: E731
    no_numbers = [point(asDouble=value) for value in ("NaN", "Infinity", "-Infinity")]
    yield {**name("gauge"), "gauge": {"dataPoints": [point(asDouble=-0.5), point(asInt="0"), *no_numbers, {**point(), "flags": 1}]}}
    added = {"aggregationTemporality": 2, "isMonotonic": True}
    yield {**name("sum"), "sum": {"dataPoints": [point(asInt=str(2**63 - 1), exemplars=exemplars)], **added}}
    buckets = {"count": "6", "sum": 12.5, "min": 0, "max": 9.5, "explicitBounds": [1, 5.5], "bucketCounts": ["1", "2", "3"]}
    yield {**name("histogram"), "histogram": {"dataPoints": [point(**buckets, exemplars=exemplars)], "aggregationTemporality": 1}}
    powers = {"count": "7", "sum": 3.25, "scale": -2, "zeroCount": "1", "zeroThreshold": 0.001}
    sides = {"positive": {"offset": -3, "bucketCounts": ["1", "0", "2"]}, "negative": {"offset": 4, "bucketCounts": ["3"]}}
    yield {**name("powers"), "exponentialHistogram": {"dataPoints": [point(**powers, **sides)], "aggregationTemporality": 2}}
    quantiles = [{"quantile": 0.5, "value": 3}, {"quantile": 0.99, "value": 1e300}]
    yield {**name("summary"), "summary": {"dataPoints": [point(count="9", sum=27, quantileValues=quantiles)]}}


def logs(rng):
    for number in range(TRACES_A_REQUEST):
        of_trace = {"traceId": rng.randbytes(16).hex(), "spanId": rng.randbytes(8).hex(), "flags": 1} if number % 3 else {}
        body = ({"stringValue": f"line {number}"}, {"kvlistValue": {"values": every_kind(rng)}}, {"bytesValue": "AAEC"})[number % 3]
        times = {"timeUnixNano": str(1_760_000_000_000_000_000 + number), "observedTimeUnixNano": "1760000009000000000"}
        record = {"severityNumber": 9 + number % 4, "severityText": "INFO", "body": body, "eventName": "shop.sold"}
        yield {**times, **record, "attributes": every_kind(rng), **of_trace}


def requests(signal):
    """Requests of this signal with two resources each, the same in every run."""
    rng = random.Random(SEED)
    for _ in range(REQUESTS):
        groups = []
        for half in range(2):
            group, (scopes, items) = resource(rng, signal)
            made = list({"traces": spans, "metrics": metrics, "logs": logs}[signal](rng))
            scope = {"name": "suite", "version": "1.0", "attributes": attributes(half={"intValue": str(half)})}
            groups.append({**group, scopes: [{"scope": scope, items: made, "schemaUrl": "https://example.com/scope"}]})
        yield {SIGNALS[signal]: groups}


def plain(value, key=None):
    """A value without what says nothing: absent and default are one, numbers are numbers, attributes have no order."""
    if isinstance(value, dict):
        said = {name: plain(one, name) for name, one in value.items()}
        return {name: one for name, one in said.items() if name in SAID_WHEN_ZERO or one not in (None, "", "0", 0, [], {}, False)}
    if isinstance(value, list):
        values = [plain(one) for one in value]
        pairs = key in ("attributes", "filteredAttributes", "metadata")
        return sorted(values, key=lambda pair: pair.get("key", "")) if pairs else values
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def items(documents, header=None):
    """Each item with its resource and scope, as often as it is there; `header`: an attribute that every resource has besides."""
    found = collections.Counter()
    for document in documents:
        for signal, field in SIGNALS.items():
            for group in document.get(field, []):
                whose = plain({"resource": group.get("resource"), "schema": group.get("schemaUrl")})
                if header:
                    whose["resource"]["attributes"] = plain([*whose["resource"]["attributes"], header], "attributes")
                scopes, of = SCOPES[signal]
                for scope in group.get(scopes, []):
                    about = plain({"scope": scope.get("scope"), "schema": scope.get("schemaUrl")})
                    found.update(json.dumps([signal, whose, about, plain(item)], sort_keys=True) for item in scope.get(of, []))
    return found


TENANT = {"key": "kafka.header.x-tenant", "value": {"stringValue": "north"}}


def topic(writer, way, signal):
    return f"{writer}.{way.name}.{signal}"


def connection(broker, secured):
    """With `secured` over TLS with SCRAM, so that both clients speak to that listener too."""
    if not secured:
        return {"brokers": [broker.address]}
    sasl = {"mechanism": "SCRAM-SHA-512", "username": USER, "password": PASSWORD}
    return {"brokers": [f"127.0.0.1:{broker.ports['secured']}"], "auth": {"sasl": sasl}, "tls": {"ca_file": str(TLS / "ca.pem")}}


def agent_config(broker, writer, http):
    exporters = {}
    for way in WAYS:
        logs_by = "partition_logs_by_trace_id" if way.encoding == "otlp_proto" else "partition_logs_by_resource_attributes"
        keyed = {"partition_traces_by_id": True, "partition_metrics_by_resource_attributes": True, logs_by: True} if way.keyed else {}
        exporters[f"kafka/{way.name}"] = {
            **connection(broker, way.headers), **keyed, **({"include_metadata_keys": ["x-tenant"]} if way.headers else {}),
            **{signal: {"topic": topic(writer, way, signal), "encoding": way.encoding} for signal in SIGNALS},
            "producer": {"compression": way.compression, "required_acks": "all"},
        }
    endpoint = {"endpoint": f"127.0.0.1:{http}", "include_metadata": True}
    pipeline = {"receivers": ["otlp"], "exporters": list(exporters)}
    receivers = {"otlp": {"protocols": {"http": endpoint}}}
    return {"receivers": receivers, "exporters": exporters, "service": {"pipelines": dict.fromkeys(SIGNALS, pipeline)}}


def reader_config(broker, writer, reader, folder):
    receivers, exporters, pipelines = {}, {}, {}
    for way in WAYS:
        headers = {"header_extraction": {"extract_headers": True, "headers": ["x-tenant"]}} if way.headers else {}
        receivers[f"kafka/{way.name}"] = {
            **connection(broker, way.headers), **headers, "group_id": f"{reader}-{way.name}", "initial_offset": "earliest",
            **{signal: {"topics": [topic(writer, way, signal)], "encoding": way.encoding} for signal in SIGNALS},
        }
        exporters[f"file/{way.name}"] = {"path": str(folder / f"{reader}-{way.name}.jsonl")}
        for signal in SIGNALS:
            pipelines[f"{signal}/{way.name}"] = {"receivers": [f"kafka/{way.name}"], "exporters": [f"file/{way.name}"]}
    return {"receivers": receivers, "exporters": exporters, "service": {"pipelines": pipelines}}


def start(run, kind, name, config):
    """A process of either kind, ready."""
    if kind == "podgate":
        config = {**config, "service": {**config["service"], "telemetry": {"metrics": {"level": "none"}}}}
    path = run.folder / f"{name}.yaml"
    path.write_text(json.dumps(config))
    binary = run.binary if kind == "podgate" else collector()
    process = Process(name, [binary, "--config", path], run.folder / f"{name}.log")
    wait_for(f"{name} is ready", lambda: "verything is ready" in process.text(), 40, process)
    return process


def send(port, signal, body):
    headers = {"content-type": "application/json", "x-tenant": "north"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/{signal}", json.dumps(body).encode(), headers)
    urllib.request.urlopen(request, timeout=30).read()


def documents(path):
    """What a file exporter wrote, without a last line that is not whole yet."""
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def codecs(broker, name):
    """The compression of each batch of records, as the broker's own files have it."""
    found = set()
    for partition in range(PARTITIONS):
        data = (broker.folder / "data" / f"{name}-{partition}" / f"{0:020}.log").read_bytes()
        at = 0
        while at + 23 <= len(data):
            length, = struct.unpack_from(">i", data, at + 8)
            found.add(CODECS[struct.unpack_from(">h", data, at + 21)[0] & 7])
            at += 12 + length
    return found


def both_ways(suite, run, broker):
    """Each reads what the other wrote, and both wrote the same keys to the same partitions."""
    broker.topics([topic(writer, way, signal) for writer in ("podgate", "collector") for way in WAYS for signal in SIGNALS], PARTITIONS)
    sent = {signal: list(requests(signal)) for signal in SIGNALS}
    for writer in ("podgate", "collector"):
        (http,) = free_ports(1)
        agent = start(run, writer, f"agent-{writer}", agent_config(broker, writer, http))
        for signal, bodies in sent.items():
            for body in bodies:
                send(http, signal, body)
        suite.check(f"{writer}'s agent ends with code 0", agent.stop(60) == 0, agent.returncode)
    whole = [body for bodies in sent.values() for body in bodies]
    for writer, reader in (("collector", "podgate"), ("podgate", "collector")):
        process = start(run, reader, f"reader-{reader}", reader_config(broker, writer, reader, run.folder))
        for way in WAYS:
            wanted = items(whole, TENANT if way.headers else None)
            path = run.folder / f"{reader}-{way.name}.jsonl"
            try:
                wait_for(path.name, lambda: items(documents(path)).total() >= wanted.total(), 40, process)  # noqa: B023
            except Exception:  # noqa: BLE001 - what is lacking is told below
                pass
            found = items(documents(path))
            wrong = [*(found - wanted), *(wanted - found)]
            traits = [*way[1:3], *(["keyed"] if way.keyed else []), *(["headers, SCRAM, TLS"] if way.headers else [])]
            what = f"{reader} reads {writer}'s {', '.join(traits)}: {wanted.total()} items as they were sent"
            suite.check(what, not wrong, (len(wrong), wrong[:2]))
        suite.check(f"{reader}'s reader ends with code 0", process.stop(30) == 0, process.returncode)
    wrote_alike(suite, broker)


def wrote_alike(suite, broker):
    for way in WAYS:
        told = {writer: codecs(broker, topic(writer, way, "traces")) for writer in ("podgate", "collector")}
        suite.check(f"{way.name}: both compress as told", all(found == {way.compression} for found in told.values()), told)
    for way in (way for way in WAYS if way.keyed):
        for signal in ("traces", "logs") if way.encoding == "otlp_proto" else ("traces",):
            places = {}
            for writer in ("podgate", "collector"):
                records = broker.records(topic(writer, way, signal), PARTITIONS)
                # Log records without a trace have no key, and any partition.
                places[writer] = {(key, partition) for partition, _, _, key, _ in records if key}
            count = len(places["podgate"])
            alike = places["podgate"] == places["collector"] and count > PARTITIONS
            suite.check(f"{way.name}: the keys of {count} {signal} and their partitions are the Collector's", alike, places)


class Group:
    """A Collector and podgate in one consumer group of a topic, an agent that writes to it, and what each of them read."""

    def __init__(self, run, broker, name):
        self.name, self.broker, self.run = name, broker, run
        broker.topic(name, PARTITIONS)
        (self.http,) = free_ports(1)
        otlp = {"protocols": {"http": {"endpoint": f"127.0.0.1:{self.http}"}}}
        keyed = {"traces": {"topic": name}, "partition_traces_by_id": True, "producer": {"required_acks": "all"}}
        exporter = {"brokers": [broker.address], **keyed}
        pipelines = {"traces": {"receivers": ["otlp"], "exporters": ["kafka"]}}
        config = {"receivers": {"otlp": otlp}, "exporters": {"kafka": exporter}, "service": {"pipelines": pipelines}}
        self.agent = start(run, "podgate", f"agent-{name}", config)
        self.paths = {kind: run.folder / f"{name}-{kind}.jsonl" for kind in ("collector", "podgate")}
        self.members = {kind: self.member(kind) for kind in self.paths}

    def member(self, kind):
        of = {"group_id": self.name, "initial_offset": "earliest", "traces": {"topics": [self.name]}}
        receivers = {"kafka": {"brokers": [self.broker.address], **of}}
        exporters = {"file": {"path": str(self.paths[kind])}}
        pipelines = {"traces": {"receivers": ["kafka"], "exporters": ["file"]}}
        config = {"receivers": receivers, "exporters": exporters, "service": {"pipelines": pipelines}}
        return start(self.run, kind, f"member-{kind}", config)

    def divided(self, *shares):
        wait_for("the members have their partitions", lambda: sorted(self.broker.assigned(self.name).values()) == [*shares], 60)

    def came(self):
        return {kind: items(documents(path)) for kind, path in self.paths.items()}

    def all_came(self, wanted):
        """Whether what both read together is just this, once."""
        total = lambda: sum(found.total() for found in self.came().values())  # noqa: E731
        try:
            wait_for("the spans", lambda: total() >= wanted.total(), 30)
        except Exception:  # noqa: BLE001 - what is lacking is told by the check
            pass
        return sum(self.came().values(), collections.Counter()) == wanted

    def counts(self):
        return {kind: found.total() for kind, found in self.came().items()}

    def committed(self):
        reader = self.broker.reader(self.name)
        ends = {at: end for at, end in self.broker.ends(reader, self.name, PARTITIONS).items() if end}
        wait_for("both commit what they read", lambda: self.broker.committed(reader, self.name, PARTITIONS) == ends, 30)
        reader.close()


def one_group(suite, run, broker):
    """A Collector and podgate in one consumer group, as when one is rolled out for the other."""
    group = Group(run, broker, "shared")
    group.divided(PARTITIONS // 2, PARTITIONS // 2)
    bodies = list(requests("traces"))
    for body in bodies[:2]:
        send(group.http, "traces", body)
    suite.check("a Collector and podgate in one group read each span once", group.all_came(items(bodies[:2])), group.counts())
    suite.check("and both read some", all(group.counts().values()), group.counts())
    group.committed()
    leaver = group.members["collector"]
    suite.check("the Collector leaves", leaver.stop(30) == 0, leaver.returncode)
    group.divided(PARTITIONS)
    for body in bodies[2:]:
        send(group.http, "traces", body)
    what = "podgate goes on from what the Collector committed, nothing is lost or comes twice"
    suite.check(what, group.all_came(items(bodies)), group.counts())
    for process in (group.members["podgate"], group.agent):
        process.stop()
